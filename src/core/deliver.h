/* SPDX-License-Identifier: Apache-2.0
 *
 * deliver: a message that the gate has received comes to rest (rules accept-1 to accept-4).
 *
 *   one account here        one commit there; its outcome is the answer
 *   anything else           one commit of queue rows (now it is durable, all recipients are OK),
 *                           then at once one idempotent commit per account, each ending its rows;
 *                           what is left after a crash or an error is done by deliver_recover()
 *
 * A recipient that fails for good after the queue commit goes back to the sender (core/bounce.h).
 * One that fails for good while resolving is the answer; but where one answer stands for all and
 * others are accepted, it is queued with them and goes back to the sender too.
 */
#ifndef CORE_DELIVER_H
#define CORE_DELIVER_H

#include "core/account.h"
#include "core/directory.h"
#include "core/house.h"

struct deliver_ctx {
    struct accounts *accounts;
    struct directory *directory;
    str host_name;       /* reports are from here */
    uint64_t age_max_ms; /* a row is given up then; 0: 5 days */
};
struct queue_message;
struct queue_recipient;

/* The table's `deliver`. Resolves each recipient; decides; commits. Errors of single recipients are
 * in out->recipients; the result is not ERR_OK only when it stands for all of them. ERR_LOOP: a
 * Delivered-To of the same address stands in the message. */
enum err deliver_envelope(struct deliver_ctx *d, const struct envelope *e,
                          struct deliver_result *out) WAITS MUST;

/* Delivers LOCAL queue rows that are due at or before due_ms (wall clock), of all shards, once. At
 * start, then from a background fiber; due_ms some seconds behind the clock passes over what is
 * just being delivered. A failed row is tried again later, with growing pauses. The first error;
 * the other messages have had their turn nevertheless. */
enum err deliver_recover(struct deliver_ctx *d, uint64_t due_ms) WAITS MUST;

/* Delivers the LOCAL ones among rows that have just been queued. What fails waits in the queue. */
void deliver_rows(struct deliver_ctx *d, const struct queue_message *q,
                  const struct queue_recipient *rows, size_t n, str mime) WAITS;

/* Header lines put before the message in this account. */
void deliver_prefix(str sender, const str *delivered_to, size_t n, struct buf *out);

#endif
