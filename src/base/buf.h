/* SPDX-License-Identifier: Apache-2.0
 *
 * buf: owned, growing bytes with a maximum. Errors are sticky: an append that would pass max (or
 * for which there is no memory) sets `failed`, adds nothing, and all later appends vanish; so a
 * caller renders a whole answer and asks once, with buf_ok(). Nothing here waits.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/str.h"

struct buf {
    char *data;
    size_t len, cap; /* bytes */
    size_t max;      /* len never passes it */
    bool failed;
};

#define BUF_INIT(max_bytes) ((struct buf){.max = (max_bytes)})
/* Frees the bytes at scope end: BUF_AUTO struct buf out = BUF_INIT(4096); */
#define BUF_AUTO __attribute__((cleanup(buf_free)))

void buf_init(struct buf *b, size_t max);
void buf_free(struct buf *b);  /* and leaves an empty, usable buf with the same max */
void buf_reset(struct buf *b); /* len 0, failed false, keeps the memory */
static inline bool buf_ok(const struct buf *b) { return !b->failed; }
static inline str buf_str(const struct buf *b) { return (str){b->data, b->len}; }

/* Room for n more bytes, or `failed`. The three calls that renderers are made of are inline: most
 * of what they add is a few bytes whose number the compiler knows. */
bool buf_grow(struct buf *b, size_t n);
static inline bool buf_room(struct buf *b, size_t n)
{
    return __builtin_expect(n <= b->cap - b->len && !b->failed, 1) || buf_grow(b, n);
}
static inline void buf_add(struct buf *b, str s)
{
    if (s.len == 0 || !buf_room(b, s.len))
        return;
    __builtin_memcpy(b->data + b->len, s.data, s.len);
    b->len += s.len;
}
static inline void buf_add_char(struct buf *b, char c)
{
    if (buf_room(b, 1))
        b->data[b->len++] = c;
}
void buf_add_c(struct buf *b, const char *nul_terminated);
void buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_add_u64(struct buf *b, uint64_t n); /* decimal; much faster than buf_addf */
/* Binary rows: fixed width big endian, and unsigned LEB128. */
void buf_add_be16(struct buf *b, uint16_t n);
void buf_add_be32(struct buf *b, uint32_t n);
void buf_add_be64(struct buf *b, uint64_t n);
void buf_add_varint(struct buf *b, uint64_t n);
/* varint length, then the bytes. */
void buf_add_sized(struct buf *b, str s);

/* Makes room for n more bytes and returns where they go, or NULL (and sets failed). The caller
 * writes up to n bytes there and then calls buf_commit with the number written. */
char *buf_reserve(struct buf *b, size_t n);
void buf_commit(struct buf *b, size_t n);
void buf_consume(struct buf *b, size_t n);  /* drops n bytes at the front */
void buf_truncate(struct buf *b, size_t n); /* keeps the first n bytes */

/* Reads rows written by the calls above. Sticky too: past the end gives zeros and sets failed. */
struct reader {
    str rest;
    bool failed;
};
static inline struct reader reader_of(str s) { return (struct reader){s, false}; }
uint8_t read_u8(struct reader *r);
uint16_t read_be16(struct reader *r);
uint32_t read_be32(struct reader *r);
uint64_t read_be64(struct reader *r);
uint64_t read_varint(struct reader *r);
str read_bytes(struct reader *r, size_t n); /* borrowed from the input */
str read_sized(struct reader *r);           /* borrowed from the input */

#endif
