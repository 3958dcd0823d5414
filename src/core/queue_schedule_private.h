/* SPDX-License-Identifier: Apache-2.0
 *
 * queue_schedule_private: shared by queue_schedule.c and queue_attempt.c.
 */
#ifndef CORE_QUEUE_SCHEDULE_PRIVATE_H
#define CORE_QUEUE_SCHEDULE_PRIVATE_H

#include "core/queue_lane.h"
#include "core/queue_schedule.h"
#include "core/transport.h"

struct queue_shard {
    struct store_watch watch;
    struct queue_schedule *schedule;
    unsigned number;
    bool changed;
    struct queue_due seen; /* the last row looked at */
    uint64_t low_ms;       /* nothing is due before */
    uint64_t next_ms;      /* the first row that is not due yet */
};
struct queue_schedule {
    struct queue_schedule_options o;
    struct store *store;
    struct transport *transport;
    struct lanes lanes;
    struct queue_shard shards[STORE_QUEUE_SHARDS];
    unsigned nshards;
    struct event wake;
    bool woken;
    struct fiber_group attempts;
    unsigned running;
    uint64_t away_until_ms; /* the relay is not there */
    uint64_t look_at_ms;    /* the next look through everything, at the latest */
    uint64_t look_not_before_ms, look_on_at_ms;
    struct queue_due *page;
    uint64_t nattempts, nlooks, nrows;
    struct arena arena; /* holds this struct */
};

static inline uint64_t queue_target(const struct queue_schedule *s, uint32_t domain,
                                    uint32_t sender)
{
    return (uint64_t)domain << 32 | (transport_by_sender(s->transport) ? sender : 0);
}
void queue_schedule_wake(struct queue_schedule *s);

/* One attempt for those rows of the message that are due and for this target. relay: false only
 * ends or warns what is too old, without asking anybody. */
struct queue_tried {
    enum lane_outcome outcome;
    bool more; /* the message has more rows that are due */
    struct buf error;
};
void queue_attempt(struct queue_schedule *s, const struct lane_ref *ref, bool relay, str last_error,
                   struct queue_tried *out) WAITS;

#endif
