/* SPDX-License-Identifier: Apache-2.0
 *
 * queue_lane: one lane per destination: what waits for it (a window of it: the rest stays in the
 * store), how many attempts run, how many may, and until when it is left alone. Memory has a cap,
 * whatever the length of the queue. Decides only; nothing waits, times are wall ms.
 *
 *   slow start   a new lane may run LANE_FIRST attempts; each good one allows one more
 *   back-off     a 4xx halves that; a host that cannot be reached sets it to one and blocks the
 *                lane, each time for twice as long
 *   fairness     lanes take turns; in a lane priority goes first, then senders take turns, and a
 *                full window makes room for a sender who has less in it
 */
#ifndef CORE_QUEUE_LANE_H
#define CORE_QUEUE_LANE_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/list.h"
#include "base/map.h"

#define LANES_MAX 4096
#define LANE_WINDOW 1024    /* references of one lane */
#define LANE_LOW 16         /* fewer: more are looked for, when there were more */
#define LANE_REFS_MAX 32768 /* references of all lanes */
#define LANE_FIRST 2        /* attempts at a time, of a lane without a past */
#define LANE_ERROR_MAX 300  /* bytes kept of what a blocked destination said */
#define LANE_BLOCK_FIRST_MS 60000
#define LANE_BLOCK_LAST_MS 1800000
#define LANE_BUCKETS 64

struct lane_ref {
    uint64_t id, due_ms;
    uint64_t target; /* whom it is for: the key of its lane, also when it waits in another */
    uint32_t sender;
    uint8_t priority;
};
struct lane {
    uint64_t key;
    struct buf refs; /* struct lane_ref, by time */
    size_t nrefs;
    unsigned running, limit, troubles;
    uint64_t blocked_until_ms; /* 0: not blocked */
    bool more;                 /* the store has more for it than the window */
    uint32_t last_sender;
    uint16_t of_sender[LANE_BUCKETS];
    struct list turn, hungry, idle, blocked;
    struct buf error;
};
struct lanes {
    struct arena arena;
    struct map by_key, in_hand;
    struct list turn, hungry, idle, blocked, unused;
    size_t count, nrefs;
    unsigned limit; /* attempts at a time to one destination */
};
void lanes_init(struct lanes *ls, unsigned limit);
void lanes_free(struct lanes *ls);
/* The destination's lane; NULL: LANES_MAX are busy. */
struct lane *lane_get(struct lanes *ls, uint64_t key);

enum lane_offer { LANE_TAKEN, LANE_IN_HAND, LANE_PARKED };
/* PARKED: it stays in the store until the lane asks for more. */
enum lane_offer lane_offer(struct lanes *ls, struct lane *l, const struct lane_ref *ref);
/* Unblocks what may go on. */
void lanes_unblock(struct lanes *ls, uint64_t now_ms);
/* The next attempt, which runs from now on. False: there is none now. */
bool lanes_next(struct lanes *ls, struct lane **lane, struct lane_ref *ref);
enum lane_outcome {
    LANE_GOOD,    /* answered, took it or said never */
    LANE_SLOW,    /* answered 4xx */
    LANE_TROUBLE, /* could not be reached */
    LANE_NOTHING, /* says nothing about the destination */
};
/* error: what it said; used for LANE_TROUBLE. more: the message has more rows for the lane. */
void lane_ended(struct lanes *ls, struct lane *l, const struct lane_ref *ref,
                enum lane_outcome outcome, str error, bool more, uint64_t now_ms);
/* Is there a lane with room for what the store has? */
static inline bool lanes_hungry(const struct lanes *ls) { return !list_empty(&ls->hungry); }
/* The whole index is looked through now: who still has more will be told again. */
void lanes_looking(struct lanes *ls);
/* When the next lane is unblocked; UINT64_MAX: none is blocked. */
uint64_t lanes_wake_ms(const struct lanes *ls);

#endif
