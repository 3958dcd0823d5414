/* SPDX-License-Identifier: Apache-2.0
 *
 * search_segment: the index of some messages as one immutable blob: a dictionary of tokens, for
 * each the messages and fields that have it, and the folded texts themselves, compressed. Pure, but
 * that asking reads positions through the source that it is given.
 *
 * A substring without separators lies inside one token, so such a term is answered by looking for
 * it in the dictionary alone. A phrase is answered by the positions of its tokens, which also say
 * what stands between them when that is common; the rest gives candidates, which are compared with
 * the texts.
 *
 * Layout, little endian: header (SEGMENT_HEADER bytes, with a CRC of itself and one of what follows
 * up to the blocks), ids u64[docs], texts {block u32, offset u32, bytes u32}[docs], dictionary
 * offsets u32[terms + 1], postings offsets u32[terms + 1], blocks {offset u32, packed u32,
 * bytes u32}[blocks], the dictionary (0xff before and behind each token), the postings (per term:
 * varint of the step to the next message << 1 | "same fields as the entry before", a byte of
 * fields); here the index part ends. Then the blocks (zstd), and the positions: for each message
 * where its classes of fields begin u32[docs][7], the end of all u32, offsets u32[terms + 1], and
 * per term and message varints of the step to the next position << 2 | "not behind a space" << 1 |
 * "the last here", and a byte for what it is behind (enum segment_gap) if that is no space.
 */
#ifndef CORE_SEARCH_SEGMENT_H
#define CORE_SEARCH_SEGMENT_H

#include "core/search_text.h"

#define SEGMENT_HEADER 48
#define SEGMENT_TEXT_MAX ((size_t)24 << 20) /* bytes of folded text in one segment */
#define SEGMENT_BLOB_MAX ((size_t)160 << 20)
#define SEGMENT_MESSAGE_MAX ((size_t)1 << 20) /* longer texts are not indexed but scanned */

/* ---- building ---- */
struct segment_builder;
struct segment_builder *segment_builder_open(void); /* NULL without memory */
void segment_builder_close(struct segment_builder *b);
/* Ascending ids. too_big: the text is left out, the message is always scanned. */
void segment_add(struct segment_builder *b, uint64_t id, str text, bool too_big);
size_t segment_text_bytes(const struct segment_builder *b);
/* ERR_LIMIT. *index_bytes: of the part before the blocks. */
enum err segment_finish(struct segment_builder *b, struct buf *out, size_t *index_bytes) MUST;

/* ---- reading ---- */
struct segment {
    uint32_t docs, terms, blocks;
    uint32_t positions_at, positions_bytes; /* behind the index part */
    str ids, texts, term_offsets, posting_offsets, block_table, dictionary, postings;
};
/* index: the part before the blocks; borrowed. verify: its checksum too; without, damage gives
 * wrong answers but no harm. ERR_CORRUPT, ERR_UNSUPPORTED (another version). */
enum err segment_open(str index, bool verify, struct segment *out) MUST;
uint64_t segment_id(const struct segment *s, uint32_t doc);
/* Where the text of a document is: its block, and inside it. */
struct segment_text {
    uint32_t block, offset, bytes;
};
/* false: it has none here and must be scanned. */
bool segment_text_at(const struct segment *s, uint32_t doc, struct segment_text *out);
/* The bytes of a block in the blob, behind the index part. */
bool segment_block_at(const struct segment *s, uint32_t block, uint32_t *offset, uint32_t *packed);
enum err segment_unpack(const struct segment *s, uint32_t block, str packed, struct buf *out) MUST;

/* Appends bytes of the blob from `at` behind the index part. */
struct segment_source {
    enum err (*read)(void *arg, uint64_t at, uint64_t len, struct buf *out) WAITS;
    void *arg;
};
/* What a term says of every document: 0 no, SEARCH_MATCH or a score; *verify: those that are not 0
 * are only candidates. answers: docs bytes. Errors: of the source, ERR_CORRUPT, ERR_NOMEM. */
enum err segment_ask(const struct segment *s, const struct search_matcher *m, size_t term,
                     const struct segment_source *source, uint8_t *answers,
                     bool *verify) WAITS MUST;

#endif
