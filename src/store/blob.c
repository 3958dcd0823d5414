/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading blobs: from the row to the place in a segment. The compactor may move a blob between the
 * two; then the row is read again. A range costs memory and work as the range, not as the blob.
 */
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/code.h"
#include "base/log.h"
#include "base/num.h"
#include "store/embedded.h"

#define TRIES 8
#define PIECE_MAX 65536 /* bytes read at once */

static void cold_blob_write(struct buf *out, const struct cold_blob *b)
{
    buf_add(out, str_of(b->id.bytes, sizeof b->id.bytes));
    buf_add_char(out, (char)b->codec);
    buf_add_varint(out, b->length);
    buf_add_varint(out, b->stored);
    buf_add_be32(out, b->crc);
}

static void cold_meta(const struct cold_blob *b, struct buf *out)
{
    buf_init(out, 128);
    cold_blob_write(out, b);
}

uint64_t cold_record_length(const struct cold_blob *b)
{
    struct buf meta;
    cold_meta(b, &meta);
    uint64_t length = RECORD_HEADER + record_align(meta.len) + record_align(b->stored);
    buf_free(&meta);
    return length;
}

void cold_record_start(struct buf *out, const struct cold_blob *b, uint32_t salt)
{
    struct buf meta;
    static const char zeros[8];
    cold_meta(b, &meta);
    struct record_header header = {.type = RECORD_BLOB,
                                   .format = RECORD_FORMAT,
                                   .length = (uint32_t)cold_record_length(b),
                                   .meta_length = (uint32_t)meta.len,
                                   .meta_crc = code_crc32c(0, meta.data, meta.len)};
    char *h = buf_reserve(out, RECORD_HEADER);
    if (h != NULL) {
        record_header_write(&header, salt, (uint8_t *)h);
        buf_commit(out, RECORD_HEADER);
    }
    buf_add(out, buf_str(&meta));
    buf_add(out, str_of(zeros, record_align(meta.len) - meta.len));
    buf_free(&meta);
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

/* One reading: pieces go to fn, ascending; crc runs over all that was given out. */
struct reading {
    struct embedded *e;
    struct segment *s;
    const struct blob_row *row;
    uint64_t from, to; /* range of the blob */
    store_piece_fn *fn;
    void *arg;
    bool whole; /* else there is nothing to hold the crc against */
    uint32_t crc;
    bool ended; /* fn has had enough */
};

static void give(struct reading *r, str piece)
{
    if (piece.len == 0 || r->ended)
        return;
    if (r->whole)
        r->crc = code_crc32c(r->crc, piece.data, piece.len);
    r->ended = !r->fn(r->arg, piece);
}

static enum err read_plain(struct reading *r)
{
    static _Thread_local char *bytes; /* fn does not wait, so the thread's one is enough */
    if (r->row->stored != r->row->length)
        return ERR_CORRUPT;
    if (bytes == NULL && (bytes = malloc(PIECE_MAX)) == NULL)
        return ERR_NOMEM;
    for (uint64_t at = r->from; at < r->to && !r->ended; at += PIECE_MAX) {
        uint64_t n = MIN(r->to - at, (uint64_t)PIECE_MAX);
        TRY(segment_read(&r->e->segments, r->s, r->row->offset + at, n, bytes));
        give(r, str_of(bytes, n));
    }
    return ERR_OK;
}

static enum err read_frame(struct reading *r, uint64_t begin, uint64_t at, uint32_t size)
{
    uint64_t length = MIN(r->row->length - begin, (uint64_t)BLOB_FRAME);
    BUF_AUTO struct buf packed = BUF_INIT(size), frame = BUF_INIT(BLOB_FRAME);
    char *from = buf_reserve(&packed, size), *to = buf_reserve(&frame, length);
    if (from == NULL || to == NULL)
        return ERR_NOMEM;
    TRY(segment_read(&r->e->segments, r->s, at, size, from));
    size_t got = ZSTD_decompress(to, length, from, size);
    if (ZSTD_isError(got) || got != length)
        return ERR_CORRUPT;
    uint64_t skip = r->from > begin ? r->from - begin : 0;
    give(r, str_sub(str_of(to, length), skip, MIN(r->to - begin, length) - skip));
    return ERR_OK;
}

static enum err read_frames(struct reading *r)
{
    uint64_t count = (r->row->length + BLOB_FRAME - 1) / BLOB_FRAME, table = 4 + 4 * count;
    BUF_AUTO struct buf head = BUF_INIT(table);
    char *bytes = buf_reserve(&head, table);
    if (bytes == NULL)
        return ERR_NOMEM;
    if (table > r->row->stored)
        return ERR_CORRUPT;
    TRY(segment_read(&r->e->segments, r->s, r->row->offset, table, bytes));
    struct reader in = reader_of(str_of(bytes, table));
    if (read_be32(&in) != count)
        return ERR_CORRUPT;
    uint64_t at = table;
    for (uint64_t begin = 0; begin < r->to && !r->ended; begin += BLOB_FRAME) {
        uint32_t size = read_be32(&in);
        if (size > r->row->stored - at)
            return ERR_CORRUPT;
        if (begin + BLOB_FRAME > r->from)
            TRY(read_frame(r, begin, r->row->offset + at, size));
        at += size;
    }
    return ERR_OK;
}

/* A whole blob is verified, also one that is read in pieces: the error then comes at the end. */
static enum err read_range(struct reading *r)
{
    enum err err = ERR_NOT_FOUND;
    if (r->from >= r->to)
        return ERR_OK;
    r->whole = r->from == 0 && r->to == r->row->length;
    r->s = segment_hold(&r->e->segments, r->row->segment);
    if (r->s == NULL)
        return ERR_NOT_FOUND;
    if (r->row->codec == BLOB_PLAIN)
        err = read_plain(r);
    else
        err = r->row->codec == BLOB_ZSTD ? read_frames(r) : ERR_CORRUPT;
    segment_release(&r->e->segments, r->s);
    if (err == ERR_OK && r->whole && !r->ended && r->crc != r->row->crc)
        err = ERR_CORRUPT;
    return err;
}

static bool collect(void *arg, str piece)
{
    struct blob_bytes *b = arg;
    memcpy((char *)b->owned + b->bytes.len, piece.data, piece.len);
    b->bytes.len += piece.len;
    return true;
}

enum err blob_load(struct embedded *e, const struct blob_row *row, struct blob_bytes *out)
{
    *out = (struct blob_bytes){0};
    if (row->length > STORE_BLOB_MAX)
        return ERR_CORRUPT;
    out->owned = malloc(row->length + 1);
    if (out->owned == NULL)
        return ERR_NOMEM;
    out->bytes = str_of(out->owned, 0);
    struct reading r = {.e = e, .row = row, .to = row->length, .fn = collect, .arg = out};
    enum err err = read_range(&r);
    if (err != ERR_OK)
        blob_unload(out);
    return err;
}

void blob_unload(struct blob_bytes *b)
{
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
    struct blob_row row;
    struct reading r = {.e = (struct embedded *)s, .row = &row, .fn = fn, .arg = arg};
    enum err err = ERR_NOT_FOUND;
    for (int i = 0; i < TRIES && err == ERR_NOT_FOUND; i++) {
        TRY(blob_row_get(r.e, id, &row));
        r.from = MIN(offset, row.length);
        r.to = r.from + MIN(len, row.length - r.from);
        err = read_range(&r);
    }
    if (err != ERR_OK) {
        LOG_ERROR("store", "blob in segment %08x at %llu is unreadable: %s", (unsigned)row.segment,
                  (unsigned long long)row.offset, err_name(err));
        return err == ERR_NOT_FOUND ? ERR_CORRUPT : err;
    }
    return ERR_OK;
}
