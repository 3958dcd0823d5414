/* SPDX-License-Identifier: Apache-2.0
 *
 * plan: decides what a commit does to the rows. The same code runs for every engine and for the
 * replay of the journal, so that a replay cannot differ from what was answered.
 */
#ifndef STORE_PLAN_H
#define STORE_PLAN_H

#include "store/overlay.h"
#include "store/record.h"
#include "store/rows.h"

struct plan_input {
    uint64_t partition;
    str meta;         /* of the record; must outlive the txn */
    uint8_t format;   /* of the record */
    uint32_t segment; /* where the record lies or will lie */
    uint64_t offset;
    uint64_t wall_ms;
    bool replay; /* it was accepted before: no expectation is asked again */
    uint64_t expect_version;
    const struct store_expect *expects;
    size_t nexpects;
};
struct planner {
    struct overlay *overlay;
    struct buf row, row2; /* scratch */
};
void planner_init(struct planner *p, struct overlay *o);
void planner_free(struct planner *p);

/* Adds the changes to t. On any error t holds a part of them: end it. A known token gives
 * ERR_OK with out->repeated and no changes. CONFLICT, FENCED, INVALID (a counter's row is not
 * 8 bytes), CORRUPT, NOMEM, IO. */
enum err plan_commit(struct planner *p, struct overlay_txn *t, const struct plan_input *in,
                     struct store_result *out) MUST;

/* Blobs of a moved segment: those that are still where they were get their new place. */
struct plan_move {
    struct blob_id id;
    uint32_t old_segment;
    uint64_t old_offset;
    struct blob_row to; /* refs is not used */
};
void plan_move_write(struct buf *out, const struct plan_move *moves, size_t n);
enum err plan_moves(struct planner *p, struct overlay_txn *t, str meta) MUST;

#define TOKEN_HOUR_MS 3600000u

#endif
