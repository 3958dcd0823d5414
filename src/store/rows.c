/* SPDX-License-Identifier: Apache-2.0 */
#include "store/rows.h"

#include <assert.h>
#include <string.h>

#define ROW_FORMAT 1

static void key_add(struct row_key *k, const void *data, size_t len)
{
    assert(k->len + len <= sizeof k->bytes);
    memcpy(k->bytes + k->len, data, len);
    k->len += len;
}

static void key_add_be(struct row_key *k, uint64_t n, size_t width)
{
    uint64_t be = __builtin_bswap64(n);
    key_add(k, (const char *)&be + 8 - width, width);
}

struct row_key row_user(uint64_t partition, str key)
{
    struct row_key k;
    k.len = 0;
    key_add_be(&k, partition, 8);
    if (key.len > 0)
        key_add(&k, key.data, key.len);
    return k;
}

struct row_key row_tag(char tag) { return row_user(0, str_of(&tag, 1)); }

struct row_key row_tag_end(char tag) { return row_tag((char)(tag + 1)); }

struct row_key row_position(void) { return row_tag('j'); }

struct row_key row_partition(uint64_t partition)
{
    struct row_key k = row_tag('p');
    key_add_be(&k, partition, 8);
    return k;
}

struct row_key row_blob(const struct blob_id *id)
{
    struct row_key k = row_tag('b');
    key_add(&k, id->bytes, sizeof id->bytes);
    return k;
}

struct row_key row_segment(uint32_t segment)
{
    struct row_key k = row_tag('s');
    key_add_be(&k, segment, 4);
    return k;
}

struct row_key row_token(uint64_t partition, const struct store_token *t)
{
    struct row_key k = row_tag('t');
    key_add_be(&k, partition, 8);
    key_add(&k, t->bytes, sizeof t->bytes);
    return k;
}

struct row_key row_expiry(uint64_t hour, uint64_t partition, const struct store_token *t)
{
    struct row_key k = row_tag('x');
    key_add_be(&k, hour, 4);
    key_add_be(&k, partition, 8);
    key_add(&k, t->bytes, sizeof t->bytes);
    return k;
}

void row_write_partition(struct buf *out, const struct partition_row *r)
{
    buf_add_char(out, ROW_FORMAT);
    buf_add_be64(out, r->version);
    buf_add_be64(out, r->epoch);
}

void row_write_position(struct buf *out, const struct position_row *r)
{
    buf_add_char(out, ROW_FORMAT);
    buf_add_be64(out, r->position);
    buf_add_be64(out, r->sequence);
}

void row_write_blob(struct buf *out, const struct blob_row *r)
{
    buf_add_char(out, ROW_FORMAT);
    buf_add_char(out, (char)r->codec);
    buf_add_be16(out, 0);
    buf_add_be32(out, r->segment);
    buf_add_be64(out, r->offset);
    buf_add_be64(out, r->stored);
    buf_add_be64(out, r->length);
    buf_add_be32(out, r->crc);
    buf_add_be32(out, r->refs);
}

void row_write_segment(struct buf *out, const struct segment_row *r)
{
    buf_add_char(out, ROW_FORMAT);
    buf_add_be64(out, r->live_bytes);
    buf_add_be64(out, r->live_blobs);
    buf_add_be64(out, r->total_bytes);
}

void row_write_token(struct buf *out, const struct token_row *r)
{
    buf_add_char(out, ROW_FORMAT);
    buf_add_be64(out, r->version);
    buf_add_be64(out, r->wall_ms);
}

static enum err ended(const struct reader *r, uint8_t format)
{
    return r->failed || format != ROW_FORMAT ? ERR_CORRUPT : ERR_OK;
}

enum err row_read_partition(str row, struct partition_row *out)
{
    struct reader r = reader_of(row);
    uint8_t format = read_u8(&r);
    out->version = read_be64(&r);
    out->epoch = read_be64(&r);
    return ended(&r, format);
}

enum err row_read_position(str row, struct position_row *out)
{
    struct reader r = reader_of(row);
    uint8_t format = read_u8(&r);
    out->position = read_be64(&r);
    out->sequence = read_be64(&r);
    return ended(&r, format);
}

enum err row_read_blob(str row, struct blob_row *out)
{
    struct reader r = reader_of(row);
    uint8_t format = read_u8(&r);
    out->codec = read_u8(&r);
    (void)read_be16(&r);
    out->segment = read_be32(&r);
    out->offset = read_be64(&r);
    out->stored = read_be64(&r);
    out->length = read_be64(&r);
    out->crc = read_be32(&r);
    out->refs = read_be32(&r);
    return ended(&r, format);
}

enum err row_read_segment(str row, struct segment_row *out)
{
    struct reader r = reader_of(row);
    uint8_t format = read_u8(&r);
    out->live_bytes = read_be64(&r);
    out->live_blobs = read_be64(&r);
    out->total_bytes = read_be64(&r);
    return ended(&r, format);
}

enum err row_read_token(str row, struct token_row *out)
{
    struct reader r = reader_of(row);
    uint8_t format = read_u8(&r);
    out->version = read_be64(&r);
    out->wall_ms = read_be64(&r);
    return ended(&r, format);
}
