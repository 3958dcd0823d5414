/* SPDX-License-Identifier: Apache-2.0
 *
 * queue: messages that are accepted and not yet at their end: one message row (envelope, blob), one
 * row per recipient. docs/queue.md holds the table of legal states, which queue.c asserts. Every
 * transition is one commit in the message's shard; all of a message's rows are in one shard.
 *
 *   LOCAL    to be put into an account here; core/deliver.h does it at once and after a crash
 *   READY    for another host, to be tried when due
 *   ACTIVE   being tried; due is then the end of the lease, after which it is READY again
 *   HELD     waits for a person (posthouse queue release)
 *   done     the row is gone; with a message's last row its message row and blob reference go too
 */
#ifndef CORE_QUEUE_H
#define CORE_QUEUE_H

#include "core/house.h"
#include "core/schema.h"

enum queue_state { QUEUE_LOCAL = 1, QUEUE_READY = 2, QUEUE_ACTIVE = 3, QUEUE_HELD = 4 };
#define QUEUE_REPLY_MAX 1000 /* bytes kept of a remote's words */
#define QUEUE_LOG_MAX 16     /* attempts remembered of one recipient; then the oldest go */
#define QUEUE_STATUS_MAX 20
#define QUEUE_HOST_MAX 300
#define QUEUE_PRIORITY_NORMAL 9
#define QUEUE_ROWS_MAX 2000 /* rows of one message: distinct targets after aliases and groups */

struct queue_recipient {
    uint64_t id; /* of the message */
    uint32_t n;  /* of the recipient in it, from 0 */
    enum queue_state state;
    enum queue_state held_from; /* HELD: where release leads back to */
    /* LOCAL: whose. 0 there: nobody's, refused for good with last_error before it was queued; it
     * goes back to the sender. Else 0. */
    uint64_t account;
    str address;  /* final: Delivered-To here, RCPT there */
    str original; /* as the sender gave it */
    str orcpt;
    uint8_t notify; /* NOTIFY_* */
    bool junk;      /* as in struct envelope_recipient */
    uint32_t attempts;
    uint64_t due_ms, last_ms; /* wall clock; last attempt, 0 never */
    enum err last_error;
    str last_status; /* "4.4.1"; may be empty */
    str last_host;   /* who said it; empty: we did */
    str last_reply;
    bool warned; /* the sender has been told of the delay */
};
struct queue_message {
    uint64_t id; /* 48 bits of wall ms when it was queued, 16 random */
    uint64_t created_ms;
    struct blob_id blob;
    uint64_t trace_len, content_len;
    struct envelope envelope; /* without fd, mime, trace (in the blob) and recipients */
};
/* Do state, account and last_error fit together? */
bool queue_recipient_fits(const struct queue_recipient *r);
/* Where an id's rows are. */
uint64_t queue_partition(uint64_t id);

/* One durable commit: message row, mime row, recipients (their n, id and due_ms are filled in), and
 * the blob (trace + fd). A row may come in ACTIVE, with due_ms as the end of its lease: then the
 * caller tries it at once. ERR_LIMIT beyond QUEUE_ROWS_MAX. */
enum err queue_add(struct store *s, const struct envelope *e, struct queue_recipient *recipients,
                   size_t n, struct queue_message *out) WAITS MUST;

/* A message that we make (a report). */
struct queue_made {
    const struct envelope *envelope; /* sender, mime, …; fd is not used */
    str content;
    struct queue_recipient *rows; /* LOCAL or READY; ACTIVE is not for these */
    size_t n;
    struct queue_message out; /* filled in */
};
/* Queues a made message under an id that was chosen, and noted, before: said again after a crash it
 * is queued once (for as long as the store remembers tokens, a day). ERR_LIMIT beyond
 * QUEUE_ROWS_MAX. */
uint64_t queue_id_new(void);
enum err queue_add_as(struct store *s, uint64_t id, struct queue_made *made) WAITS MUST;

/* ERR_NOT_FOUND. Slices in the arena. */
enum err queue_get(struct store *s, uint64_t id, struct arena *arena,
                   struct queue_message *out) WAITS MUST;
enum err queue_get_mime(struct store *s, uint64_t id, struct buf *out) WAITS MUST;
enum err queue_recipients(struct store *s, uint64_t id, struct arena *arena,
                          struct queue_recipient **out, size_t *n) WAITS MUST;

struct queue_filter {
    uint64_t after;  /* id, exclusive; 0 from the start */
    unsigned states; /* bits 1 << enum queue_state; 0: all */
    str sender;      /* part of it; empty: all */
    str recipient;   /* part of an address; empty: all */
    size_t limit;    /* messages; 0: 1,000 */
};
/* Ascending by id over all shards; fn may wait. `more`: filter.after for the next page, 0 at the
 * end. */
typedef bool queue_list_fn(void *arg, const struct queue_message *m,
                           const struct queue_recipient *recipients, size_t n);
enum err queue_list(struct store *s, const struct queue_filter *f, queue_list_fn *fn, void *arg,
                    uint64_t *more) WAITS MUST;

#define QUEUE_ALL UINT32_MAX
/* For one recipient or QUEUE_ALL; *changed counts those that really changed. ERR_NOT_FOUND. */
enum err queue_hold(struct store *s, uint64_t id, uint32_t n, size_t *changed) WAITS MUST;
enum err queue_release(struct store *s, uint64_t id, uint32_t n, uint64_t due_ms,
                       size_t *changed) WAITS MUST;
/* Rows that wait for their time (LOCAL, READY) come due then. */
enum err queue_retry(struct store *s, uint64_t id, uint32_t n, uint64_t due_ms,
                     size_t *changed) WAITS MUST;
/* Held by hand or not: the recipient gets nothing. */
enum err queue_remove(struct store *s, uint64_t id, uint32_t n, size_t *changed) WAITS MUST;

/* ---- for delivery and the scheduler ---- */
/* Is this step in the table of docs/queue.md? to 0: done. */
bool queue_step_legal(enum queue_state from, enum queue_state to);

/* What an attempt gave for one recipient. */
struct queue_result {
    uint32_t n;
    enum queue_state to; /* READY, HELD; 0: done. With from LOCAL: LOCAL */
    uint64_t due_ms;     /* of READY and LOCAL */
    bool counted;        /* it was an attempt: counts, and is remembered */
    bool warned;         /* the sender is told of the delay with this */
    enum err error;
    str status, host, reply;
};
/* Takes READY rows (and ACTIVE ones whose lease is over) for an attempt: ACTIVE until until_ms,
 * which also names the lease. ns[0..*n) is cut down to those taken; none: ERR_CONFLICT. */
enum err queue_lease(struct store *s, uint64_t id, uint32_t *ns, size_t *n, uint64_t now_ms,
                     uint64_t until_ms) WAITS MUST;
/* The end of an attempt, in one commit: each result is applied to a row that is still in state
 * `from` (ACTIVE: with this lease); one that ends a row is applied in any state, for what was
 * delivered is delivered. made: may be NULL; it is queued by the same commit that gives the reason
 * for it. ERR_CONFLICT: no row was as expected, nothing was done. At most QUEUE_SETTLE_MAX results.
 */
#define QUEUE_SETTLE_MAX 200
enum err queue_settle(struct store *s, uint64_t id, enum queue_state from, uint64_t lease_ms,
                      const struct queue_result *results, size_t n,
                      struct queue_made *made) WAITS MUST;

/* What is remembered of an attempt, oldest first. */
struct queue_attempt {
    uint32_t number;
    uint64_t at_ms;
    enum err error;
    str status, host, reply;
};
enum err queue_attempts(struct store *s, uint64_t id, uint32_t n, struct arena *arena,
                        struct queue_attempt out[QUEUE_LOG_MAX], size_t *got) WAITS MUST;

/* A row of the due index. What stands behind n is a copy from the other rows, so that the whole
 * index can be looked through without reading them. */
struct queue_due {
    uint64_t due_ms, id;
    uint32_t n;
    enum queue_state state;
    uint8_t priority; /* MT-PRIORITY + 9, never 0 */
    bool warned;
    uint32_t domain; /* queue_hash() of the address's domain */
    uint32_t sender; /* queue_hash() of who is charged for it: account or sender */
    uint64_t deliver_by_ms;
};
uint32_t queue_hash(str s); /* case does not matter; the same for ever */
str queue_domain_of(str address);
uint32_t queue_sender_hash(const struct envelope *e);
/* Wall ms when a message was queued, from its id. */
static inline uint64_t queue_id_ms(uint64_t id) { return id >> 16; }
/* Rows due at or before now_ms in one shard, earliest first, at most `max`. */
enum err queue_due(struct store *s, unsigned shard, uint64_t now_ms, struct queue_due *out,
                   size_t max, size_t *got) WAITS MUST;
/* The same, only those that come behind `after` in that order (zeroed: from the start). */
enum err queue_due_after(struct store *s, unsigned shard, const struct queue_due *after,
                         uint64_t now_ms, struct queue_due *out, size_t max,
                         size_t *got) WAITS MUST;

/* Row forms, for check. */
void queue_message_encode(const struct queue_message *m, struct buf *out);
enum err queue_message_decode(uint64_t id, str value, struct arena *arena,
                              struct queue_message *out) MUST;
void queue_recipient_encode(const struct queue_recipient *r, struct buf *out);
enum err queue_recipient_decode(uint64_t id, uint32_t n, str value,
                                struct queue_recipient *out) MUST;

#endif
