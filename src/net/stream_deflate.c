/* SPDX-License-Identifier: Apache-2.0
 *
 * COMPRESS=DEFLATE (RFC 4978): a raw deflate stream (RFC 1951) each way. Inflated bytes only ever
 * go into room that the reader offers, so a bomb costs its sender the time to send it, not us
 * memory.
 *
 * tidy: allow alloc because connections and contexts live and die one by one
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/num.h"
#include "net/stream_private.h"

#define DEFLATE_LEVEL 3 /* most of the gain at a third of the time of the default */
#define WINDOW_BITS 15  /* RFC 4978 4: peers may expect the full window */
#define MEM_LEVEL 8

struct stream_deflate {
    z_stream in, out;
    bool in_open, out_open;
    bool out_dirty; /* given to deflate since the last sync */
    bool in_more;   /* inflate filled its room: it may hold more output */
    char *raw;      /* STREAM_CHUNK bytes; compressed input not yet inflated */
    size_t raw_at, raw_len;
    char *window; /* of a resting inflate: what came out of it last */
    unsigned window_len;
};

enum err stream_deflate_open(struct stream_deflate **out, str unread)
{
    struct stream_deflate *z = calloc(1, sizeof *z);
    *out = z;
    if (!z)
        return ERR_NOMEM;
    size_t room = MAX(unread.len, STREAM_CHUNK);
    if (unread.len > 0 && !(z->raw = malloc(room))) {
        free(z);
        *out = NULL;
        return ERR_NOMEM;
    }
    if (unread.len > 0)
        memcpy(z->raw, unread.data, unread.len);
    z->raw_len = unread.len;
    return ERR_OK;
}

static void raw_release(struct stream_deflate *z)
{
    /* The first chunk may be longer than a pooled one; giving it to the pool does no harm. */
    stream_chunk_put(z->raw, STREAM_CHUNK);
    z->raw = NULL;
    z->raw_at = z->raw_len = 0;
}

void stream_deflate_close(struct stream_deflate *z)
{
    if (!z)
        return;
    if (z->in_open)
        (void)inflateEnd(&z->in);
    if (z->out_open)
        (void)deflateEnd(&z->out);
    raw_release(z);
    free(z->window);
    free(z);
}

static enum err inflate_open(struct stream_deflate *z)
{
    z->in = (z_stream){0};
    if (inflateInit2(&z->in, -WINDOW_BITS) != Z_OK)
        return ERR_NOMEM;
    z->in_open = true;
    if (z->window_len > 0 &&
        inflateSetDictionary(&z->in, (Bytef *)z->window, z->window_len) != Z_OK)
        return ERR_NOMEM;
    free(z->window);
    z->window = NULL;
    z->window_len = 0;
    return ERR_OK;
}

static enum err inflate_some(struct stream_deflate *z, void *out, size_t len, size_t *got)
{
    if (!z->in_open)
        TRY(inflate_open(z));
    z->in.next_in = (Bytef *)z->raw + z->raw_at;
    z->in.avail_in = (uInt)(z->raw_len - z->raw_at);
    z->in.next_out = out;
    z->in.avail_out = (uInt)MIN(len, 1u << 30);
    int r = inflate(&z->in, Z_SYNC_FLUSH);
    z->raw_at = z->raw_len - z->in.avail_in;
    *got = (size_t)(z->in.next_out - (Bytef *)out);
    z->in_more = z->in.avail_out == 0;
    if (z->raw_at == z->raw_len)
        z->raw_at = z->raw_len = 0;
    if (r == Z_OK || r == Z_BUF_ERROR)
        return ERR_OK;
    if (r == Z_MEM_ERROR)
        return ERR_NOMEM;
    /* Z_STREAM_END: the peer said that nothing follows. Anything else is garbage. */
    return *got > 0 ? ERR_OK : r == Z_STREAM_END ? ERR_EOF : ERR_SYNTAX;
}

enum err stream_deflate_read(struct stream *s, void *out, size_t len, size_t *got, int *want)
{
    struct stream_deflate *z = s->z;
    *got = 0;
    *want = WAIT_READ;
    for (;;) {
        if (z->raw_len > 0 || z->in_more)
            TRY(inflate_some(z, out, len, got));
        if (*got > 0)
            return ERR_OK;
        assert(z->raw_len == 0);
        if (!z->raw && !(z->raw = stream_chunk_get(STREAM_CHUNK)))
            return ERR_NOMEM;
        enum err e = stream_raw_read(s, z->raw, STREAM_CHUNK, &z->raw_len, want);
        if (e != ERR_OK)
            return e;
    }
}

bool stream_deflate_is_idle(const struct stream_deflate *z)
{
    return z->raw_len == 0 && !z->in_more;
}

static enum err deflate_open(struct stream_deflate *z)
{
    if (z->out_open)
        return ERR_OK;
    z->out = (z_stream){0};
    if (deflateInit2(&z->out, DEFLATE_LEVEL, Z_DEFLATED, -WINDOW_BITS, MEM_LEVEL,
                     Z_DEFAULT_STRATEGY) != Z_OK)
        return ERR_NOMEM;
    z->out_open = true;
    return ERR_OK;
}

/* Runs deflate until it has taken all input (and flushed), sending each full chunk. */
static enum err deflate_part(struct stream *s, str part, int flush, char *chunk)
{
    z_stream *o = &s->z->out;
    o->next_in = (Bytef *)(uintptr_t)part.data;
    o->avail_in = (uInt)part.len;
    do {
        o->next_out = (Bytef *)chunk;
        o->avail_out = STREAM_CHUNK;
        int r = deflate(o, flush);
        assert(r == Z_OK || r == Z_BUF_ERROR);
        str piece = str_of(chunk, STREAM_CHUNK - o->avail_out);
        if (piece.len > 0)
            TRY(stream_raw_send(s, &piece, 1));
    } while (o->avail_out == 0);
    return ERR_OK;
}

enum err stream_deflate_send(struct stream *s, const str *parts, size_t nparts, bool sync)
{
    struct stream_deflate *z = s->z;
    for (size_t i = 0; i < nparts; i++)
        z->out_dirty |= parts[i].len > 0;
    if (!z->out_dirty)
        return ERR_OK;
    char *chunk = stream_chunk_get(STREAM_CHUNK);
    enum err e = chunk ? deflate_open(z) : ERR_NOMEM;
    if (e != ERR_OK)
        (void)stream_stick(s, e);
    for (size_t i = 0; e == ERR_OK && i < nparts; i++)
        if (parts[i].len > 0)
            e = deflate_part(s, parts[i], Z_NO_FLUSH, chunk);
    if (e == ERR_OK && sync) {
        e = deflate_part(s, STR_NONE, Z_SYNC_FLUSH, chunk);
        z->out_dirty = false;
    }
    stream_chunk_put(chunk, STREAM_CHUNK);
    return e;
}

/* Between two blocks, on a byte boundary, inflate's state is nothing but its window; a new inflate
 * given that window goes on where the old one stopped. data_type tells (zlib.h): 128 is "at the
 * start of a block", the low bits count the bits left over. */
static void inflate_rest(struct stream_deflate *z)
{
    uInt len = 0;
    if (!z->in_open || (z->in.data_type & 0xff) != 128 ||
        inflateGetDictionary(&z->in, NULL, &len) != Z_OK)
        return;
    char *window = malloc(MAX(len, 1));
    if (!window)
        return;
    if (inflateGetDictionary(&z->in, (Bytef *)window, &len) != Z_OK) {
        free(window);
        return;
    }
    (void)inflateEnd(&z->in);
    z->in_open = false;
    z->window = window;
    z->window_len = len;
}

void stream_deflate_rest(struct stream_deflate *z)
{
    if (!stream_deflate_is_idle(z))
        return;
    raw_release(z);
    inflate_rest(z);
    /* After a sync flush nothing is owed; a fresh compressor goes on without references back. */
    if (z->out_open && !z->out_dirty) {
        (void)deflateEnd(&z->out);
        z->out_open = false;
    }
}

enum err stream_start_deflate(struct stream *s)
{
    assert(!s->z);
    TRY(stream_flush(s));
    str unread = stream_buffered(s);
    enum err e = stream_deflate_open(&s->z, unread);
    if (e != ERR_OK)
        return stream_stick(s, e);
    stream_skip(s, unread.len);
    return ERR_OK;
}
