/* SPDX-License-Identifier: Apache-2.0
 *
 * thread: which conversation a message belongs to. A message joins the thread of any message that
 * names it, or that it names (Message-ID, References, In-Reply-To), with the same base subject (RFC
 * 5256 2.1), as RFC 8621 3 suggests. THREAD rows are derived: key = hash of message id and base
 * subject, value = thread id (the id of the thread's first message). Pure.
 */
#ifndef CORE_THREAD_H
#define CORE_THREAD_H

#include "core/schema.h"

#define THREAD_KEYS_MAX 16 /* the message's own id, and the last of its references */

struct thread_keys {
    uint64_t keys[THREAD_KEYS_MAX]; /* own id first, when has_own */
    size_t count;
    bool has_own;
};
/* From a cold row's mime bytes; unreadable ones give no keys. */
void thread_keys_of_mime(str mime, struct thread_keys *out);

#endif
