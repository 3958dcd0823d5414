/* SPDX-License-Identifier: Apache-2.0 */
#include "core/row_pack.h"

#include "base/num.h"

#include <assert.h>

enum { SAME = 0, EACH = 1 };

/* The columns, in their order. What a column keeps of a row is a number that is small or does not
 * change: UIDs, ids and dates ascend mostly, a thread begins with its own message, and most
 * messages are saved when they are received. */
enum column { UID, FLAGS, KEYWORDS, MODSEQ, MESSAGE, THREAD, SIZE, INTERNAL_DATE, SAVE_DATE };
#define COLUMNS (SAVE_DATE + 1)

/* Small numbers of either sign become small numbers. */
static uint64_t fold(uint64_t n) { return n << 1 ^ (0 - (n >> 63)); }
static uint64_t unfold(uint64_t n) { return n >> 1 ^ (0 - (n & 1)); }

static const struct message_row none;

static uint64_t kept(enum column c, const struct message_row *row, const struct message_row *before)
{
    switch (c) {
    case UID:
        return row->uid - before->uid;
    case FLAGS:
        return row->flags;
    case KEYWORDS:
        return row->keywords;
    case MODSEQ:
        return fold(row->modseq - before->modseq);
    case MESSAGE:
        return fold(row->message - before->message);
    case THREAD:
        return fold(row->message - row->thread);
    case SIZE:
        return row->size;
    case INTERNAL_DATE:
        return fold((uint64_t)row->internal_date - (uint64_t)before->internal_date);
    case SAVE_DATE:
        return fold((uint64_t)row->save_date - (uint64_t)row->internal_date);
    }
    return 0;
}

size_t row_find(const struct message_row *rows, size_t n, uint32_t uid)
{
    size_t from = 0, to = n;
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (rows[mid].uid < uid)
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}

void row_sum_add(struct row_sum *s, const struct message_row *row)
{
    if (s->count++ == 0)
        s->first = row->uid;
    s->last = row->uid;
    s->unseen += !(row->flags & FLAG_SEEN);
    s->deleted += !!(row->flags & FLAG_DELETED);
    s->modseq = MAX(s->modseq, row->modseq);
}

/* The first value is apart: it stands for a difference to nothing, and would make others EACH. */
static void pack_column(enum column c, const struct message_row *rows, size_t n, struct buf *out)
{
    uint64_t value = n > 1 ? kept(c, &rows[1], &rows[0]) : 0;
    size_t same = 1;
    while (same < n && kept(c, &rows[same], &rows[same - 1]) == value)
        same++;
    buf_add_char(out, same == n ? SAME : EACH);
    buf_add_varint(out, kept(c, &rows[0], &none));
    if (same == n) {
        buf_add_varint(out, value);
        return;
    }
    for (size_t i = 1; i < n; i++)
        buf_add_varint(out, kept(c, &rows[i], &rows[i - 1]));
}

void row_pack(const struct message_row *rows, size_t n, struct buf *out)
{
    assert(n > 0 && n <= ROW_PACK_ROWS);
    for (int c = 0; c < COLUMNS; c++)
        pack_column((enum column)c, rows, n, out);
}

/* The columns before it are there already. */
static inline void put(enum column c, struct message_row *row, const struct message_row *before,
                       uint64_t n)
{
    switch (c) {
    case UID:
        row->uid = before->uid + (uint32_t)n;
        break;
    case FLAGS:
        row->flags = (uint32_t)n;
        break;
    case KEYWORDS:
        row->keywords = n;
        break;
    case MODSEQ:
        row->modseq = before->modseq + unfold(n);
        break;
    case MESSAGE:
        row->message = before->message + unfold(n);
        break;
    case THREAD:
        row->thread = row->message - unfold(n);
        break;
    case SIZE:
        row->size = n;
        break;
    case INTERNAL_DATE:
        row->internal_date = (int64_t)((uint64_t)before->internal_date + unfold(n));
        break;
    case SAVE_DATE:
        row->save_date = (int64_t)((uint64_t)row->internal_date + unfold(n));
        break;
    }
}

/* read_varint without a call, while a whole number surely is there. */
static inline uint64_t next_number(struct reader *r)
{
    const uint8_t *d = (const uint8_t *)r->rest.data;
    uint64_t n = 0;
    for (size_t i = 0; i < 9 && r->rest.len >= 10; i++) {
        n |= (uint64_t)(d[i] & 0x7f) << (7 * i);
        if (d[i] < 0x80) {
            r->rest = (str){r->rest.data + i + 1, r->rest.len - i - 1};
            return n;
        }
    }
    return read_varint(r);
}

/* Made once for each column, so that what a column is, is known to the compiler. */
static inline __attribute__((always_inline)) void unpack_column(enum column c, struct reader *r,
                                                                size_t n, struct message_row *out)
{
    uint8_t kind = read_u8(r);
    if (kind > EACH)
        r->failed = true;
    put(c, &out[0], &none, next_number(r));
    uint64_t value = kind == SAME ? next_number(r) : 0;
    if (kind == SAME)
        for (size_t i = 1; i < n; i++)
            put(c, &out[i], &out[i - 1], value);
    else
        for (size_t i = 1; i < n; i++)
            put(c, &out[i], &out[i - 1], next_number(r));
}

enum err row_unpack(str bytes, size_t n, struct message_row *out)
{
    struct reader r = reader_of(bytes);
    assert(n > 0 && n <= ROW_PACK_ROWS);
    unpack_column(UID, &r, n, out);
    unpack_column(FLAGS, &r, n, out);
    unpack_column(KEYWORDS, &r, n, out);
    unpack_column(MODSEQ, &r, n, out);
    unpack_column(MESSAGE, &r, n, out);
    unpack_column(THREAD, &r, n, out);
    unpack_column(SIZE, &r, n, out);
    unpack_column(INTERNAL_DATE, &r, n, out);
    unpack_column(SAVE_DATE, &r, n, out);
    if (r.failed || r.rest.len)
        return ERR_CORRUPT;
    uint32_t before = 0;
    for (size_t i = 0; i < n; i++) {
        if (out[i].uid <= before)
            return ERR_CORRUPT;
        before = out[i].uid;
    }
    return ERR_OK;
}
