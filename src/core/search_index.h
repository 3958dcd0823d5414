/* SPDX-License-Identifier: Apache-2.0
 *
 * search_index: the segments of an account and who makes them. The manifest is a row for each
 * segment (SPACE_SEARCH), covering a range of message ids; the ranges follow one another, and what
 * lies behind the last is not indexed yet. Message ids ascend and contents never change, so a
 * segment is right for ever; it is replaced only by merging, which leaves out what is gone.
 */
#ifndef CORE_SEARCH_INDEX_H
#define CORE_SEARCH_INDEX_H

#include <stdatomic.h>

#include "core/search_private.h"
#include "core/search_segment.h"

void search_indexer_wake(struct search_indexer *x, uint64_t account); /* does not wait */

/* Runs fn(a, arg) where a's commits are made: here, or for the background thread on a session
 * thread, with that thread's account. */
typedef enum err search_commit_fn(struct account *a, void *arg) WAITS;
enum err search_commit_at_home(struct account *a, search_commit_fn *fn, void *arg) WAITS MUST;

/* Becomes true when what a's index is made by is about to end; NULL: nothing tells. */
const atomic_bool *search_stop_flag(const struct account *a);

/* One segment of new messages; one merge. */
struct search_step {
    bool made; /* something was done, also when it is an error */
    bool more; /* and there is more of it */
};
typedef enum err search_step_fn(struct account *a, struct search_step *out) WAITS;
enum err search_index_new(struct account *a, struct search_step *out) WAITS MUST;
enum err search_index_merge(struct account *a, struct search_step *out) WAITS MUST;

struct search_manifest {
    struct buf rows; /* struct search_part */
};
struct search_part {
    uint64_t first;
    struct search_row row;
};
static inline const struct search_part *manifest_parts(const struct search_manifest *m)
{
    return (const struct search_part *)m->rows.data;
}
static inline size_t manifest_count(const struct search_manifest *m)
{
    return m->rows.len / sizeof(struct search_part);
}
/* ERR_CORRUPT: a row is unreadable. The caller frees rows. */
enum err search_manifest_read(struct account *a, struct search_manifest *out) WAITS MUST;

/* Answers what the index can: known[i] is set and answers filled. Other messages are left alone. */
enum err search_index_ask(struct account *a, struct search_matcher *m, const uint64_t *messages,
                          size_t n, uint8_t *answers, uint8_t *known,
                          struct search_slice *slice) WAITS MUST;

#define SEARCH_BATCH_MESSAGES 1000
#define SEARCH_BATCH_BYTES ((size_t)4 << 20) /* of encoded text, gathered before it is built */
#define SEARCH_STAGE_BYTES 131072 /* from here on a segment is written ahead of its commit */
#define SEARCH_MERGE_COUNT 8      /* neighbours of a size that become one */

#endif
