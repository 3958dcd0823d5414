/* SPDX-License-Identifier: Apache-2.0
 *
 * check_private: shared by the check*.c files.
 */
#ifndef CORE_CHECK_PRIVATE_H
#define CORE_CHECK_PRIVATE_H

#include "base/arena.h"
#include "core/check.h"
#include "core/schema.h"

/* A reference to a blob that some row holds, and how large the row says it is. */
struct held {
    struct blob_id blob;
    uint64_t size;
};
struct check {
    struct store *store;
    struct check_result *result;
    struct buf held; /* struct held */
    /* Findings of the partition being looked at; given out when it was quiet. */
    struct arena texts;
    struct buf found; /* struct found */
    uint64_t partition;
    bool mute;
};
struct found {
    str text;
    bool fatal, reference; /* reference: may be explained by commits meanwhile */
};
#define CHECK_FINDINGS_MAX 1000 /* of one partition; then one that says there are more */
#define CHECK_BYTES_MAX (1ull << 36)

void check_found(struct check *c, bool fatal, bool reference, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void check_hold(struct check *c, const struct blob_id *blob, uint64_t size);
/* Calls fn for each row of a space, in order; fn must not wait. */
typedef void check_row_fn(void *arg, str key, str value);
enum err check_scan(struct check *c, enum space space, check_row_fn *fn, void *arg) WAITS MUST;

enum err check_account(struct check *c) WAITS MUST;
enum err check_snapshots(struct check *c) WAITS MUST;
enum err check_queue(struct check *c) WAITS MUST;
enum err check_greylist(struct check *c) WAITS MUST;
enum err check_sending(struct check *c) WAITS MUST;
enum err check_reports(struct check *c) WAITS MUST;

#endif
