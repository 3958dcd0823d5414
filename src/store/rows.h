/* SPDX-License-Identifier: Apache-2.0
 *
 * rows: the engine's own rows, which live in partition 0 of the index: `[0 u64][tag u8][ids]`.
 * docs/store.md lists them. Every row begins with its format number.
 */
#ifndef STORE_ROWS_H
#define STORE_ROWS_H

#include "store/store.h"

/* partition (8) + key; an engine row is shorter. */
#define ROW_KEY_MAX (8 + STORE_KEY_MAX)
struct row_key {
    char bytes[ROW_KEY_MAX];
    size_t len;
};
static inline str row_str(const struct row_key *k) { return str_of(k->bytes, k->len); }

struct row_key row_user(uint64_t partition, str key);
struct row_key row_position(void);                                                         /* 'j' */
struct row_key row_partition(uint64_t partition);                                          /* 'p' */
struct row_key row_blob(const struct blob_id *id);                                         /* 'b' */
struct row_key row_segment(uint32_t segment);                                              /* 's' */
struct row_key row_token(uint64_t partition, const struct store_token *t);                 /* 't' */
struct row_key row_expiry(uint64_t hour, uint64_t partition, const struct store_token *t); /* 'x' */
/* The bounds of all rows of one tag. */
struct row_key row_tag(char tag);
struct row_key row_tag_end(char tag);

struct partition_row {
    uint64_t version, epoch;
};
struct position_row {
    uint64_t position, sequence; /* the next record's place and number */
};
/* BLOB_ZSTD: count u32, then the size u32 of each frame, then the frames: each holds the next
 * BLOB_FRAME bytes of the blob (the last one fewer), so that a range is read without the rest. */
enum blob_codec { BLOB_PLAIN = 0, BLOB_ZSTD = 1 };
#define BLOB_FRAME 262144
struct blob_row {
    uint8_t codec;
    uint32_t segment;
    uint64_t offset; /* of the stored bytes in the segment's file */
    uint64_t stored, length;
    uint32_t crc; /* of the bytes as they came */
    uint32_t refs;
};
struct segment_row {
    uint64_t live_bytes, live_blobs, total_bytes; /* stored blob bytes */
};
struct token_row {
    uint64_t version, wall_ms;
};

void row_write_partition(struct buf *out, const struct partition_row *r);
void row_write_position(struct buf *out, const struct position_row *r);
void row_write_blob(struct buf *out, const struct blob_row *r);
void row_write_segment(struct buf *out, const struct segment_row *r);
void row_write_token(struct buf *out, const struct token_row *r);
/* ERR_CORRUPT */
enum err row_read_partition(str row, struct partition_row *out) MUST;
enum err row_read_position(str row, struct position_row *out) MUST;
enum err row_read_blob(str row, struct blob_row *out) MUST;
enum err row_read_segment(str row, struct segment_row *out) MUST;
enum err row_read_token(str row, struct token_row *out) MUST;

/* A place in the journal: ascending with time. */
static inline uint64_t position_of(uint32_t segment, uint64_t offset)
{
    return (uint64_t)segment << 32 | offset;
}
static inline uint32_t position_segment(uint64_t p) { return (uint32_t)(p >> 32); }
static inline uint64_t position_offset(uint64_t p) { return p & 0xffffffffu; }

#endif
