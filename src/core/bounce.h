/* SPDX-License-Identifier: Apache-2.0
 *
 * bounce: reports to the sender (RFC 3461 to 3464, 6522, 6533), and the commit that ends or moves
 * rows together with the report about them: either both are there or neither.
 */
#ifndef CORE_BOUNCE_H
#define CORE_BOUNCE_H

#include "core/deliver.h"
#include "core/queue.h"
#include "format/dsn.h"

#define BOUNCE_FULL_MAX 262144  /* bytes of a message sent back whole; beyond: its header */
#define BOUNCE_HEADER_MAX 65536 /* bytes of header sent back */
#define BOUNCE_ROWS_MAX 100     /* targets of a sender's address that hear of it */

struct bounce_item {
    const struct queue_recipient *row;
    enum dsn_action action;
    str status, host, reply; /* as in struct queue_result */
    str explanation;         /* a sentence for a person; may be empty */
    int64_t retry_until_s;   /* DELAYED */
};
/* Does the sender hear of it? RFC 3461 4.1 and 5.2; never of a report (null sender), never one
 * whose domain says that he is forged (rule accept-5). */
bool bounce_wanted(const struct queue_message *m, const struct queue_recipient *r,
                   enum dsn_action action);
/* queue_settle(), with one report in the same commit about those items that the sender wants to
 * hear of; then its local delivery. A sender that cannot be reached at all gets none, and one that
 * would be too large is left out. When it cannot be made for now (a temporary error), rows that
 * failed or are late stay as they are, to be settled again: rule accept-5. */
enum err bounce_settle(struct deliver_ctx *d, const struct queue_message *m, enum queue_state from,
                       uint64_t lease_ms, const struct queue_result *results, size_t n,
                       const struct bounce_item *items, size_t nitems) WAITS MUST;

#endif
