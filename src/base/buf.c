/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_CAP 64

void buf_init(struct buf *b, size_t max) { *b = BUF_INIT(max); }

void buf_free(struct buf *b)
{
    free(b->data);
    *b = BUF_INIT(b->max);
}

void buf_reset(struct buf *b)
{
    b->len = 0;
    b->failed = false;
}

bool buf_grow(struct buf *b, size_t n)
{
    assert(b->len <= b->cap);
    if (b->failed)
        return false;
    if (n > b->max || b->len > b->max - n) {
        b->failed = true;
        return false;
    }
    size_t need = b->len + n;
    if (need <= b->cap)
        return true;
    size_t cap = b->cap > b->max / 2 ? b->max : b->cap * 2;
    if (cap < FIRST_CAP)
        cap = FIRST_CAP;
    if (cap < need)
        cap = need;
    if (cap > b->max)
        cap = b->max;
    char *data = realloc(b->data, cap);
    if (!data) {
        b->failed = true;
        return false;
    }
    b->data = data;
    b->cap = cap;
    return true;
}

void buf_add_c(struct buf *b, const char *nul_terminated) { buf_add(b, str_c(nul_terminated)); }

void buf_addf(struct buf *b, const char *fmt, ...)
{
    char small[256];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(small, sizeof small, fmt, args);
    va_end(args);
    if (n < 0) {
        b->failed = true;
        return;
    }
    if ((size_t)n < sizeof small) {
        buf_add(b, str_of(small, (size_t)n));
        return;
    }
    /* vsnprintf wants room for a NUL that we do not keep and that may not fit under max. */
    char *text = b->failed || (size_t)n > b->max - b->len ? NULL : malloc((size_t)n + 1);
    if (!text) {
        b->failed = true;
        return;
    }
    va_start(args, fmt);
    vsnprintf(text, (size_t)n + 1, fmt, args);
    va_end(args);
    buf_add(b, str_of(text, (size_t)n));
    free(text);
}

/* Two digits a division, written where they go. */
void buf_add_u64(struct buf *b, uint64_t n)
{
    static const char pairs[] =
        "00010203040506070809101112131415161718192021222324252627282930313233"
        "34353637383940414243444546474849505152535455565758596061626364656667"
        "6869707172737475767778798081828384858687888990919293949596979899";
    size_t digits = 1;
    for (uint64_t ten = 10; n >= ten && digits < 20; ten *= 10)
        digits++;
    if (!buf_room(b, digits))
        return;
    b->len += digits;
    char *at = b->data + b->len;
    for (; n >= 100; n /= 100)
        memcpy(at -= 2, pairs + 2 * (n % 100), 2);
    if (n >= 10)
        memcpy(at - 2, pairs + 2 * n, 2);
    else
        at[-1] = (char)('0' + n);
}

static void add_be(struct buf *b, uint64_t n, size_t bytes)
{
    char big[8];
    for (size_t i = 0; i < bytes; i++)
        big[i] = (char)(n >> (8 * (bytes - 1 - i)));
    buf_add(b, str_of(big, bytes));
}

void buf_add_be16(struct buf *b, uint16_t n) { add_be(b, n, 2); }
void buf_add_be32(struct buf *b, uint32_t n) { add_be(b, n, 4); }
void buf_add_be64(struct buf *b, uint64_t n) { add_be(b, n, 8); }

void buf_add_varint(struct buf *b, uint64_t n)
{
    char leb[10];
    size_t len = 0;
    for (; n >= 0x80; n >>= 7)
        leb[len++] = (char)(n | 0x80);
    leb[len++] = (char)n;
    buf_add(b, str_of(leb, len));
}

/* All or nothing: a length without its bytes would make the row unreadable. */
void buf_add_sized(struct buf *b, str s)
{
    size_t before = b->len;
    buf_add_varint(b, s.len);
    buf_add(b, s);
    if (b->failed)
        b->len = before;
}

char *buf_reserve(struct buf *b, size_t n)
{
    if (!buf_room(b, n ? n : 1))
        return NULL;
    return b->data + b->len;
}

void buf_commit(struct buf *b, size_t n)
{
    assert(n <= b->cap - b->len);
    b->len += n;
}

void buf_consume(struct buf *b, size_t n)
{
    assert(n <= b->len);
    b->len -= n;
    if (b->len && n)
        memmove(b->data, b->data + n, b->len);
}

void buf_truncate(struct buf *b, size_t n)
{
    if (n < b->len)
        b->len = n;
}

/* The only place that moves a reader: too few bytes left fails it for good. */
static bool take(struct reader *r, size_t n, str *out)
{
    if (r->failed || n > r->rest.len) {
        r->failed = true;
        *out = STR_NONE;
        return false;
    }
    *out = str_head(r->rest, n);
    r->rest = str_skip(r->rest, n);
    return true;
}

static uint64_t read_be(struct reader *r, size_t bytes)
{
    str s;
    uint64_t n = 0;
    if (!take(r, bytes, &s))
        return 0;
    for (size_t i = 0; i < bytes; i++)
        n = n << 8 | (unsigned char)s.data[i];
    return n;
}

uint8_t read_u8(struct reader *r) { return (uint8_t)read_be(r, 1); }
uint16_t read_be16(struct reader *r) { return (uint16_t)read_be(r, 2); }
uint32_t read_be32(struct reader *r) { return (uint32_t)read_be(r, 4); }
uint64_t read_be64(struct reader *r) { return read_be(r, 8); }

/* At most ten bytes, and nothing above the 64th bit. */
uint64_t read_varint(struct reader *r)
{
    uint64_t n = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        uint64_t byte = read_u8(r);
        if (r->failed || (shift == 63 && byte > 1))
            break;
        n |= (byte & 0x7f) << shift;
        if (byte < 0x80)
            return n;
    }
    r->failed = true;
    return 0;
}

str read_bytes(struct reader *r, size_t n)
{
    str s;
    take(r, n, &s);
    return s;
}

str read_sized(struct reader *r)
{
    uint64_t n = read_varint(r);
    return read_bytes(r, n);
}
