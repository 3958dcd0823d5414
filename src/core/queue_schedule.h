/* SPDX-License-Identifier: Apache-2.0
 *
 * queue_schedule: decides what is tried when. One per house thread, each with shards of its own, so
 * that no two ever meet. It looks through the due index (never through messages), keeps a window
 * of each destination in memory (core/queue_lane.h), and runs an attempt per turn: read the
 * message, choose its way (core/transport.h), lease the rows, ask the relay, settle in one commit.
 *
 * A lease is never waited for after a crash: at start every ACTIVE row of the shards is READY
 * again, for nobody else can be trying it.
 */
#ifndef CORE_QUEUE_SCHEDULE_H
#define CORE_QUEUE_SCHEDULE_H

#include "core/deliver.h"
#include "core/queue.h"
#include "core/relay.h"

#define QUEUE_JOB_RECIPIENTS 100    /* of one transaction (RFC 5321 4.5.3.1.8) */
#define QUEUE_LEASE_MS 4200000      /* longer than any attempt may take */
#define QUEUE_SCAN_PAGE 500         /* rows looked at between two turns of others */
#define QUEUE_SLACK_MS 2000         /* how late a row may appear behind what was looked at */
#define QUEUE_LATE_MS 60000         /* the same, when everything is looked through */
#define QUEUE_LOOK_PAUSE_MS 4       /* between two looks for what is new */
#define QUEUE_AWAY_PAUSE_MS 2000    /* after the relay was not there */
#define QUEUE_UNKNOWN_PAUSE_MS 5000 /* after an attempt whose end nobody knows */

struct queue_policy {
    uint64_t retry_first_ms, retry_max_ms; /* pauses double from the first to the longest */
    uint64_t age_max_ms;                   /* then it goes back to the sender */
    uint64_t warn_after_ms;                /* then the sender is told; 0: never */
    unsigned attempts_max;                 /* at a time, of this scheduler */
    unsigned lane_max;                     /* of these to one destination */
};

/* Appends header fields that go before a message on its way out: a signature for what our users
 * send, a seal on what is forwarded. fd holds the message (size bytes). An error delays it. */
typedef enum err queue_dress_fn(void *ctx, const struct queue_message *m, bool forwarded, int fd,
                                uint64_t size, struct buf *out) WAITS;

struct queue_schedule_options {
    struct deliver_ctx *deliver;
    const struct relay *relay; /* attempt may be NULL: then all waits */
    struct queue_policy policy;
    unsigned first, step; /* shards first, first + step, … */
    queue_dress_fn *dress;
    void *dress_ctx;
    /* What was seen of TLS to a domain (core/report_note.h: report_tls_put); may be NULL. */
    void (*note)(void *ctx, str domain, str note);
    void *note_ctx;
};
struct queue_schedule;
/* Starts its fibers in the group; it ends, and is freed, when the group is cancelled. */
enum err queue_schedule_start(const struct queue_schedule_options *o, struct fiber_group *g,
                              struct queue_schedule **out) WAITS MUST;
/* From now on. On its thread. */
void queue_schedule_policy(struct queue_schedule *s, const struct queue_policy *p);
/* A person wants it now: destinations that are left alone after trouble are tried again at once. On
 * its thread. */
void queue_schedule_unblock(struct queue_schedule *s);
struct queue_schedule_stats {
    size_t lanes, waiting, running; /* waiting: references in memory, not messages in the queue */
    uint64_t attempts, looks, rows;
};
void queue_schedule_stats(const struct queue_schedule *s, struct queue_schedule_stats *out);

#endif
