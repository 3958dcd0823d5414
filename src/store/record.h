/* SPDX-License-Identifier: Apache-2.0
 *
 * record: one commit as bytes: the journal's record, and what the planner reads. All integers are
 * big endian. docs/store.md holds the same as a table; a change here is a new format number.
 *
 *   header (64): magic u32, type u8, format u8, flags u16, length u32 (whole record, multiple of
 * 8), meta_length u32, partition u64, version u64, sequence u64, durable u64, wall_ms u64, meta_crc
 * u32, header_crc u32 meta of a commit: owner_epoch u64, token (16), varint nblobs {id (16), varint
 * length, crc u32}, varint nrefs {id}, varint ndrops {id}, varint nops {kind u8, sized key, then
 * sized value (put, delete range) or delta u64 (add)} meta of a move: varint n {id (16), old
 * segment u32, old offset u64, location (40)} blob bytes one after the other, then zeros up to 8
 *
 * header_crc covers the 60 bytes before it and starts with the segment's salt, so that bytes inside
 * of a stranger's message can never pass for a record. meta_crc covers meta; each blob has its own.
 */
#ifndef STORE_RECORD_H
#define STORE_RECORD_H

#include "store/store.h"

#define RECORD_MAGIC 0x50484a52u /* "PHJR" */
#define RECORD_HEADER 64
#define RECORD_FORMAT 1
/* A commit with blobs that were staged: each blob of meta is followed by its segment u32 (0: in the
 * record, as in format 1) and, when that is not 0, the offset u64 of its bytes there. */
#define RECORD_FORMAT_STAGED 2

enum record_type { RECORD_COMMIT = 1, RECORD_MOVE = 2, RECORD_BLOB = 3, RECORD_END = 4 };

struct record_header {
    uint8_t type, format;
    uint32_t length, meta_length;
    uint64_t partition, version, sequence, durable, wall_ms;
    uint32_t meta_crc;
};
void record_header_write(const struct record_header *h, uint32_t salt, uint8_t out[RECORD_HEADER]);
/* ERR_CORRUPT when this is no record. */
enum err record_header_read(const uint8_t in[RECORD_HEADER], uint32_t salt,
                            struct record_header *out) MUST;

struct record_blob {
    struct blob_id id;
    uint64_t length;
    uint32_t crc;
    uint32_t segment; /* 0: in the record */
    uint64_t at;      /* of the bytes, from the beginning of the record or of the segment's file */
};

/* A commit's meta, half read: fixed parts here, lists by the calls below, in this order. */
struct record_commit {
    uint64_t owner_epoch;
    struct store_token token;
    struct reader r;
    uint64_t blob_at; /* of the next blob's bytes */
    uint8_t format;
};
struct record_op {
    enum store_op_kind kind;
    str key, value;
    int64_t delta;
};
/* ERR_CORRUPT: also a format that is not known. */
enum err record_commit_read(str meta, uint8_t format, struct record_commit *out) MUST;
/* Each list begins with its count; read all its elements before the next count. */
uint64_t record_count(struct record_commit *c);
struct record_blob record_next_blob(struct record_commit *c);
struct blob_id record_next_id(struct record_commit *c);
struct record_op record_next_op(struct record_commit *c);

/* The meta of a commit. crcs: one per blob. */
uint8_t record_commit_format(const struct store_commit *c);
void record_commit_write(const struct store_commit *c, uint8_t format, const uint32_t *crcs,
                         struct buf *out);

static inline uint64_t record_align(uint64_t n) { return (n + 7) & ~UINT64_C(7); }

#endif
