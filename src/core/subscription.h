/* SPDX-License-Identifier: Apache-2.0
 *
 * subscription: names that an account stays subscribed to after their mailbox was deleted: a name
 * leaves the list only when its user takes it off (RFC 9051 6.3.7). Of a mailbox that exists, the
 * subscription is in its row (mailbox.h). When a mailbox with such a name comes again, it is
 * subscribed. Rows in the space of others' mailboxes, with 0 for the owner.
 */
#ifndef CORE_SUBSCRIPTION_H
#define CORE_SUBSCRIPTION_H

#include "core/account.h"

/* Of one account; later ones are forgotten with their mailbox. */
#define SUBSCRIPTIONS_KEPT_MAX 500

/* The names, in order of path; they and the array live in the arena. */
enum err subscription_kept(struct account *a, struct arena *arena, const str **names,
                           size_t *n) WAITS MUST;
/* Takes a name off. ERR_NOT_FOUND: it was not kept. */
enum err subscription_forget(struct account *a, str path) WAITS MUST;

struct change;
/* Part of the commit that deletes a subscribed mailbox. */
void subscription_keep(struct change *c, uint32_t mailbox, str path);
/* For check. */
bool subscription_row_valid(str key, str value);

#endif
