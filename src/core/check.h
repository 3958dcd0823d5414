/* SPDX-License-Identifier: Apache-2.0
 *
 * check: verifies a whole store, while it is served or at rest. Reads only; an unreadable row is
 * reported and the rest goes on (rule store-2). An account that changes while it is read is read
 * again; the last look takes what it got and leaves out what concurrent commits explain.
 */
#ifndef CORE_CHECK_H
#define CORE_CHECK_H

#include "store/store.h"

struct check_result {
    uint64_t accounts, mailboxes, messages, snapshots, queue_rows, blobs;
    uint64_t findings; /* fatal ones */
};
/* Engine checksums; every row decodes; instances, messages, AT rows and blobs refer to one another
 * rightly; blob reference counts equal the references held; counters, usage, UIDNEXT, modseqs;
 * rights, metadata, subscriptions and URL keys of mailboxes that exist; snapshots say what the rows
 * say; queue rows and their due index; rows of the greylist, of sending limits and of reports;
 * nothing without an owner (rule accept-2). */
enum err check_store(struct store *s, store_finding_fn *finding, void *arg,
                     struct check_result *out) WAITS MUST;

#endif
