/* SPDX-License-Identifier: Apache-2.0
 *
 * message_private: steps shared by the message_*.c files.
 */
#ifndef CORE_MESSAGE_PRIVATE_H
#define CORE_MESSAGE_PRIVATE_H

#include "core/account_private.h"
#include "core/message.h"
#include "core/thread.h"

/* The threads that a message's keys lead to in the store; 0: none. */
struct thread_found {
    struct thread_keys keys;
    uint64_t threads[THREAD_KEYS_MAX];
};
enum err message_gather_threads(struct account *a, str mime, struct thread_found *out) WAITS MUST;

struct add_plan {
    const struct message_new *news;
    size_t n;
    struct thread_found *found;  /* n */
    struct message_added *added; /* n */
    const struct store_token *token;
    struct quota quota;
};
/* Composes and commits once; ERR_CONFLICT: gather again. */
enum err message_add_once(struct account *a, uint32_t mailbox, const struct add_plan *p,
                          struct message_add_result *out) WAITS MUST;

/* While composing: the row, and the counters of mailbox and account (sign +1 or -1). */
void message_put_instance(struct change *c, uint32_t mailbox, const struct message_row *row);
void message_count(struct change *c, struct state_row *s, const struct message_row *row, int sign);

/* Up to `max` rows of the UIDs from *next on that have all of `flags`, as the commits in flight
 * will leave them; *next moves behind the last. Does not wait. */
size_t message_pick(struct mailbox_view *v, const struct set *uids, uint32_t flags, uint64_t *next,
                    struct message_row *out, size_t max);

#endif
