/* SPDX-License-Identifier: Apache-2.0 */
#include "store/record.h"

#include <string.h>

#include "base/code.h"
#include "store/engine.h"

static void put32(uint8_t *p, uint32_t n)
{
    n = __builtin_bswap32(n);
    memcpy(p, &n, 4);
}

static void put64(uint8_t *p, uint64_t n)
{
    n = __builtin_bswap64(n);
    memcpy(p, &n, 8);
}

static uint32_t get32(const uint8_t *p)
{
    uint32_t n;
    memcpy(&n, p, 4);
    return __builtin_bswap32(n);
}

static uint64_t get64(const uint8_t *p)
{
    uint64_t n;
    memcpy(&n, p, 8);
    return __builtin_bswap64(n);
}

void record_header_write(const struct record_header *h, uint32_t salt, uint8_t out[RECORD_HEADER])
{
    put32(out, RECORD_MAGIC);
    out[4] = h->type;
    out[5] = h->format;
    out[6] = out[7] = 0;
    put32(out + 8, h->length);
    put32(out + 12, h->meta_length);
    put64(out + 16, h->partition);
    put64(out + 24, h->version);
    put64(out + 32, h->sequence);
    put64(out + 40, h->durable);
    put64(out + 48, h->wall_ms);
    put32(out + 56, h->meta_crc);
    put32(out + 60, code_crc32c(salt, out, 60));
}

enum err record_header_read(const uint8_t in[RECORD_HEADER], uint32_t salt,
                            struct record_header *out)
{
    if (get32(in) != RECORD_MAGIC || get32(in + 60) != code_crc32c(salt, in, 60))
        return ERR_CORRUPT;
    *out = (struct record_header){
        .type = in[4],
        .format = in[5],
        .length = get32(in + 8),
        .meta_length = get32(in + 12),
        .partition = get64(in + 16),
        .version = get64(in + 24),
        .sequence = get64(in + 32),
        .durable = get64(in + 40),
        .wall_ms = get64(in + 48),
        .meta_crc = get32(in + 56),
    };
    if (out->length < RECORD_HEADER || out->length % 8 != 0 ||
        out->meta_length > out->length - RECORD_HEADER)
        return ERR_CORRUPT;
    return ERR_OK;
}

static struct blob_id read_id(struct reader *r)
{
    struct blob_id id = BLOB_NONE;
    str s = read_bytes(r, sizeof id.bytes);
    if (s.len == sizeof id.bytes)
        memcpy(id.bytes, s.data, sizeof id.bytes);
    return id;
}

enum err record_commit_read(str meta, uint8_t format, struct record_commit *out)
{
    if (format != RECORD_FORMAT && format != RECORD_FORMAT_STAGED)
        return ERR_CORRUPT;
    out->format = format;
    out->r = reader_of(meta);
    out->owner_epoch = read_be64(&out->r);
    str token = read_bytes(&out->r, sizeof out->token.bytes);
    if (out->r.failed)
        return ERR_CORRUPT;
    memcpy(out->token.bytes, token.data, sizeof out->token.bytes);
    out->blob_at = RECORD_HEADER + record_align(meta.len);
    return ERR_OK;
}

uint64_t record_count(struct record_commit *c)
{
    uint64_t n = read_varint(&c->r);
    if (n > STORE_OPS_MAX)
        c->r.failed = true;
    return c->r.failed ? 0 : n;
}

struct record_blob record_next_blob(struct record_commit *c)
{
    struct record_blob b = {.id = read_id(&c->r), .at = c->blob_at};
    b.length = read_varint(&c->r);
    b.crc = read_be32(&c->r);
    if (c->format == RECORD_FORMAT_STAGED)
        b.segment = read_be32(&c->r);
    if (b.segment != 0)
        b.at = read_be64(&c->r);
    if (b.length > STORE_BLOB_MAX)
        c->r.failed = true;
    else if (b.segment == 0)
        c->blob_at += b.length;
    return b;
}

struct blob_id record_next_id(struct record_commit *c) { return read_id(&c->r); }

struct record_op record_next_op(struct record_commit *c)
{
    struct record_op op = {.kind = read_u8(&c->r), .key = read_sized(&c->r)};
    if (op.kind == STORE_PUT || op.kind == STORE_DELETE_RANGE)
        op.value = read_sized(&c->r);
    else if (op.kind == STORE_ADD)
        op.delta = (int64_t)read_be64(&c->r);
    else if (op.kind != STORE_DELETE)
        c->r.failed = true;
    return op;
}

static void write_ids(struct buf *out, const struct blob_id *ids, size_t n)
{
    buf_add_varint(out, n);
    for (size_t i = 0; i < n; i++)
        buf_add(out, str_of(ids[i].bytes, sizeof ids[i].bytes));
}

uint8_t record_commit_format(const struct store_commit *c)
{
    for (size_t i = 0; i < c->nblobs; i++)
        if (c->blobs[i].staged != NULL && c->blobs[i].staged->segment != NULL)
            return RECORD_FORMAT_STAGED;
    return RECORD_FORMAT;
}

static void write_blob(const struct store_blob_new *b, uint8_t format, uint32_t crc,
                       struct buf *out)
{
    buf_add(out, str_of(b->id.bytes, sizeof b->id.bytes));
    buf_add_varint(out, b->staged != NULL ? b->staged->length : b->prefix.len + b->len);
    buf_add_be32(out, crc);
    if (format != RECORD_FORMAT_STAGED)
        return;
    bool there = b->staged != NULL && b->staged->segment != NULL;
    buf_add_be32(out, there ? b->staged->number : 0);
    if (there)
        buf_add_be64(out, b->staged->offset);
}

void record_commit_write(const struct store_commit *c, uint8_t format, const uint32_t *crcs,
                         struct buf *out)
{
    buf_add_be64(out, c->owner_epoch);
    buf_add(out, str_of(c->token.bytes, sizeof c->token.bytes));
    buf_add_varint(out, c->nblobs);
    for (size_t i = 0; i < c->nblobs; i++)
        write_blob(&c->blobs[i], format, crcs[i], out);
    write_ids(out, c->refs, c->nrefs);
    write_ids(out, c->drops, c->ndrops);
    buf_add_varint(out, c->nops);
    for (size_t i = 0; i < c->nops; i++) {
        const struct store_op *op = &c->ops[i];
        buf_add_char(out, (char)op->kind);
        buf_add_sized(out, op->key);
        if (op->kind == STORE_PUT || op->kind == STORE_DELETE_RANGE)
            buf_add_sized(out, op->value);
        else if (op->kind == STORE_ADD)
            buf_add_be64(out, (uint64_t)op->delta);
    }
}
