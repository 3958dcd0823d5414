/* SPDX-License-Identifier: Apache-2.0
 *
 * row_pack: a run of message rows in few bytes, for views in memory and for their snapshots on
 * disk. Pure: bytes in, values out; about 8 to 14 bytes a row. One column after the other: a kind
 * byte (0: all the same, 1: one each), then varints of what the column keeps (differences to the
 * row before, or to another column).
 */
#ifndef CORE_ROW_PACK_H
#define CORE_ROW_PACK_H

#include "core/schema.h"

#define ROW_PACK_ROWS 1024 /* rows of a run, at most */
#define ROW_PACK_MAX (ROW_PACK_ROWS * 90 + 64)

/* What is known of a run without unpacking it. */
struct row_sum {
    uint32_t count, first, last; /* rows; UIDs */
    uint32_t unseen, deleted;    /* without \Seen; with \Deleted */
    uint64_t modseq;             /* none is above it */
};
/* The first row whose UID is not below; n when there is none. rows ascend by UID. */
size_t row_find(const struct message_row *rows, size_t n, uint32_t uid);
void row_sum_add(struct row_sum *s, const struct message_row *row); /* a row behind the last */

/* rows ascend by UID; n is 1 to ROW_PACK_ROWS. Appends. */
void row_pack(const struct message_row *rows, size_t n, struct buf *out);
/* Exactly n rows, and nothing behind them. ERR_CORRUPT, also when the UIDs do not ascend. */
enum err row_unpack(str bytes, size_t n, struct message_row *out) MUST;

#endif
