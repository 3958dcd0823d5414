/* SPDX-License-Identifier: Apache-2.0 */
#include "store/encode.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/code.h"
#include "os/file.h"

/* The checksum follows the copy in pieces that are still in the processor's cache. */
#define COPY_STEP 16384

static void copy_crc(char *to, str from, uint32_t *crc)
{
    for (size_t at = 0; at < from.len; at += COPY_STEP) {
        size_t n = from.len - at < COPY_STEP ? from.len - at : COPY_STEP;
        memcpy(to + at, from.data + at, n);
        *crc = code_crc32c(*crc, to + at, n);
    }
}

/* Bytes of the blob in the record. */
static uint64_t inline_len(const struct store_blob_new *b)
{
    if (b->staged == NULL)
        return b->prefix.len + b->len;
    return b->staged->segment != NULL ? 0 : b->staged->length;
}

static enum err copy_blob(const struct store_blob_new *b, char *to, uint32_t *crc)
{
    *crc = 0;
    if (b->staged != NULL) {
        *crc = b->staged->crc;
        if (b->staged->segment == NULL)
            memcpy(to, b->staged->copy.data, b->staged->copy.len);
        return ERR_OK;
    }
    copy_crc(to, b->prefix, crc);
    to += b->prefix.len;
    if (b->fd < 0) {
        copy_crc(to, b->data, crc);
        return ERR_OK;
    }
    for (uint64_t at = 0; at < b->len;) {
        size_t got = 0;
        uint64_t step = b->len - at < 262144 ? b->len - at : 262144;
        TRY(file_read_at(b->fd, at, to + at, step, &got));
        if (got == 0)
            return ERR_IO;
        *crc = code_crc32c(*crc, to + at, got);
        at += got;
    }
    return ERR_OK;
}

static enum err encode_into(const struct store_commit *c, struct encoded *out, uint64_t blobs)
{
    uint32_t crcs[STORE_BLOBS_MAX] = {0};
    BUF_AUTO struct buf meta = BUF_INIT(STORE_COMMIT_MAX + 16777216);
    uint8_t format = record_commit_format(c);
    record_commit_write(c, format, crcs, &meta);
    if (!buf_ok(&meta))
        return ERR_NOMEM;
    uint64_t at = RECORD_HEADER + record_align(meta.len);
    uint64_t length = at + record_align(blobs);
    assert(length <= UINT32_MAX);
    char *bytes = malloc(length);
    if (bytes == NULL)
        return ERR_NOMEM;
    *out = (struct encoded){bytes, (uint32_t)length, (uint32_t)meta.len, format};
    for (size_t i = 0; i < c->nblobs; i++) {
        TRY(copy_blob(&c->blobs[i], bytes + at, &crcs[i]));
        at += inline_len(&c->blobs[i]);
    }
    if (c->nblobs > 0) { /* now with the checksums; the length is the same */
        buf_reset(&meta);
        record_commit_write(c, format, crcs, &meta);
    }
    assert(meta.len == out->meta_length);
    memset(bytes, 0, RECORD_HEADER);
    memcpy(bytes + RECORD_HEADER, meta.data, meta.len);
    memset(bytes + RECORD_HEADER + meta.len, 0, record_align(meta.len) - meta.len);
    memset(bytes + at, 0, length - at);
    return ERR_OK;
}

enum err encode_commit(const struct store_commit *c, struct encoded *out)
{
    uint64_t blobs = 0;
    for (size_t i = 0; i < c->nblobs; i++)
        blobs += inline_len(&c->blobs[i]);
    *out = (struct encoded){0};
    enum err e = encode_into(c, out, blobs);
    if (e != ERR_OK) {
        free(out->bytes);
        *out = (struct encoded){0};
    }
    return e;
}
