/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading blobs: from the row to the place in a mapped segment. The compactor may move a blob
 * between the two; then the row is read again.
 */
#include <stdlib.h>
#include <zstd.h>

#include "base/code.h"
#include "base/log.h"
#include "store/embedded.h"

#define TRIES 8

void cold_blob_write(struct buf *out, const struct cold_blob *b)
{
    buf_add(out, str_of(b->id.bytes, sizeof b->id.bytes));
    buf_add_char(out, (char)b->codec);
    buf_add_varint(out, b->length);
    buf_add_varint(out, b->stored);
    buf_add_be32(out, b->crc);
}

enum err cold_blob_read(const struct record_view *v, struct cold_blob *out)
{
    struct reader r = reader_of(str_sub(v->bytes, RECORD_HEADER, v->header.meta_length));
    str id = read_bytes(&r, sizeof out->id.bytes);
    out->codec = read_u8(&r);
    out->length = read_varint(&r);
    out->stored = read_varint(&r);
    out->crc = read_be32(&r);
    out->at = RECORD_HEADER + record_align(v->header.meta_length);
    if (r.failed || out->at > v->bytes.len || out->stored > v->bytes.len - out->at)
        return ERR_CORRUPT;
    __builtin_memcpy(out->id.bytes, id.data, sizeof out->id.bytes);
    return ERR_OK;
}

enum err blob_row_get(struct embedded *e, const struct blob_id *id, struct blob_row *out)
{
    struct row_key k = row_blob(id);
    BUF_AUTO struct buf row = BUF_INIT(64);
    TRY(index_get(e->index, row_str(&k), &row));
    return row_read_blob(buf_str(&row), out);
}

static enum err unpack(const struct blob_row *r, struct blob_bytes *b)
{
    if (r->length > STORE_BLOB_MAX || (b->owned = malloc(r->length + 1)) == NULL)
        return r->length > STORE_BLOB_MAX ? ERR_CORRUPT : ERR_NOMEM;
    size_t got = ZSTD_decompress(b->owned, r->length, b->bytes.data, b->bytes.len);
    if (ZSTD_isError(got) || got != r->length)
        return ERR_CORRUPT;
    b->bytes = str_of(b->owned, got);
    return ERR_OK;
}

enum err blob_load(struct embedded *e, const struct blob_row *r, bool verify,
                   struct blob_bytes *out)
{
    *out = (struct blob_bytes){0};
    if (r->stored == 0)
        return ERR_OK;
    out->held = segment_hold(&e->segments, r->segment);
    if (out->held == NULL)
        return ERR_NOT_FOUND;
    enum err err = segment_map(&e->segments, out->held, r->offset, r->stored, &out->bytes);
    if (err == ERR_OK && r->codec == BLOB_ZSTD)
        err = unpack(r, out);
    else if (err == ERR_OK && (r->codec != BLOB_PLAIN || r->stored != r->length))
        err = ERR_CORRUPT;
    if (err == ERR_OK && verify && code_crc32c(0, out->bytes.data, out->bytes.len) != r->crc)
        err = ERR_CORRUPT;
    if (err != ERR_OK)
        blob_unload(e, out);
    return err;
}

void blob_unload(struct embedded *e, struct blob_bytes *b)
{
    segment_release(&e->segments, b->held);
    free(b->owned);
    *b = (struct blob_bytes){0};
}

enum err embedded_blob_size(struct store *s, const struct blob_id *id, uint64_t *out)
{
    struct blob_row r;
    TRY(blob_row_get((struct embedded *)s, id, &r));
    *out = r.length;
    return ERR_OK;
}

enum err embedded_blob_pieces(struct store *s, const struct blob_id *id, uint64_t offset,
                              uint64_t len, store_piece_fn *fn, void *arg)
{
    struct embedded *e = (struct embedded *)s;
    struct blob_bytes b;
    struct blob_row r;
    enum err err = ERR_NOT_FOUND;
    for (int i = 0; i < TRIES && err == ERR_NOT_FOUND; i++) {
        TRY(blob_row_get(e, id, &r));
        bool whole = offset == 0 && len >= r.length;
        err = blob_load(e, &r, whole || r.codec != BLOB_PLAIN, &b);
    }
    if (err != ERR_OK) {
        LOG_ERROR("store", "blob in segment %08x at %llu is unreadable: %s", (unsigned)r.segment,
                  (unsigned long long)r.offset, err_name(err));
        return err == ERR_NOT_FOUND ? ERR_CORRUPT : err;
    }
    str piece = str_sub(b.bytes, offset, len);
    if (piece.len > 0)
        (void)fn(arg, piece);
    blob_unload(e, &b);
    return ERR_OK;
}
