/* SPDX-License-Identifier: Apache-2.0
 *
 * tidy: allow alloc because connections and contexts live and die one by one
 * tidy: allow system because a thread that ends gives its chunks back
 */
#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/num.h"
#include "net/stream_private.h"
#include "os/sock_io.h"

/* Buffers come and go with every command of every connection; keeping some per thread saves the
 * allocator's work and keeps the heap from being cut up by them. */
#define CHUNKS_KEPT 16
struct chunk {
    struct chunk *next;
};
struct chunk_pool {
    struct chunk *free;
    size_t count;
};
static _Thread_local struct chunk_pool pools[2];

/* A thread that ends gives its chunks back. */
static pthread_key_t pool_key;
static pthread_once_t pool_once = PTHREAD_ONCE_INIT;
static void pools_free(void *unused)
{
    for (size_t i = 0; i < ARRAY_LEN(pools); i++) {
        for (struct chunk *c = pools[i].free, *next; c; c = next) {
            next = c->next;
            free(c);
        }
        pools[i] = (struct chunk_pool){0};
    }
}
static void pool_key_make(void)
{
    int e = pthread_key_create(&pool_key, pools_free);
    assert(e == 0);
}

static struct chunk_pool *pool_of(size_t size)
{
    return size == STREAM_CHUNK ? &pools[0] : size == STREAM_CHUNK_BULK ? &pools[1] : NULL;
}

void *stream_chunk_get(size_t size)
{
    struct chunk_pool *p = pool_of(size);
    if (!p || !p->free)
        return malloc(size);
    struct chunk *c = p->free;
    p->free = c->next;
    p->count--;
    return c;
}

void stream_chunk_put(void *mem, size_t size)
{
    struct chunk_pool *p = pool_of(size);
    if (!p || !mem || p->count >= CHUNKS_KEPT) {
        free(mem);
        return;
    }
    struct chunk *c = mem;
    if (!p->free) {
        (void)pthread_once(&pool_once, pool_key_make);
        (void)pthread_setspecific(pool_key, pools);
    }
    c->next = p->free;
    p->free = c;
    p->count++;
}

enum err stream_stick(struct stream *s, enum err e)
{
    assert(e != ERR_OK && e != ERR_BUSY);
    if (s->error == ERR_OK)
        s->error = e;
    return s->error;
}

enum err stream_socket_read(struct stream *s, void *out, size_t len, size_t *got)
{
    *got = 0;
    if (!watch_may_read(&s->watch))
        return ERR_BUSY;
    TRY(sock_try_read(s->watch.fd, out, len, got));
    if (*got < len)
        watch_emptied(&s->watch);
    return ERR_OK;
}

enum err stream_raw_read(struct stream *s, void *out, size_t len, size_t *got, int *want)
{
    *got = 0;
    *want = WAIT_READ;
    if (s->ssl)
        return stream_tls_read(s, out, len, got, want);
    enum err e = stream_socket_read(s, out, len, got);
    /* A short read is no proof: the end of the stream may have come with the same edge. */
    s->drained = e == ERR_BUSY;
    return e;
}

enum err stream_raw_write(struct stream *s, const str *parts, size_t nparts, size_t *sent,
                          int *want)
{
    *sent = 0;
    *want = WAIT_WRITE;
    if (!s->ssl)
        return sock_try_write(s->watch.fd, parts, nparts, sent);
    for (size_t i = 0; i < nparts; i++)
        if (parts[i].len > 0)
            return stream_tls_write(s, parts[i], sent, want);
    return ERR_OK;
}

enum err stream_raw_wait(struct stream *s, int want, uint64_t timeout_ms)
{
    return wait_fd(&s->watch, want, timeout_ms ? deadline_in_ms(timeout_ms) : DEADLINE_NEVER);
}

/* Takes n bytes off the front of the parts; gives back how many parts are used up. */
static size_t parts_advance(str *parts, size_t nparts, size_t n)
{
    size_t i = 0;
    while (i < nparts && n >= parts[i].len)
        n -= parts[i++].len;
    if (i < nparts)
        parts[i] = str_skip(parts[i], n);
    return i;
}

static enum err send_parts(struct stream *s, str *parts, size_t nparts)
{
    size_t done = parts_advance(parts, nparts, 0);
    while (done < nparts) {
        size_t sent;
        int want;
        enum err e = stream_raw_write(s, parts + done, nparts - done, &sent, &want);
        if (e == ERR_OK)
            done += parts_advance(parts + done, nparts - done, sent);
        else if (e == ERR_BUSY)
            e = stream_raw_wait(s, want, s->write_ms);
        if (e != ERR_OK)
            s->write_ended = true; /* in the middle of something: nothing may follow */
        if (e != ERR_OK)
            return stream_stick(s, e);
        if (s->error != ERR_OK)
            return s->error;
    }
    return ERR_OK;
}

void stream_last_words(struct stream *s, str text)
{
    size_t sent;
    int want;
    bool silent = s->error == ERR_TIMEOUT || s->error == ERR_CANCELED;
    if (!silent || s->writing || s->write_ended || s->z)
        return;
    if (stream_raw_write(s, &text, 1, &sent, &want) == ERR_OK)
        stream_end_write(s);
}

enum err stream_raw_send(struct stream *s, str *parts, size_t nparts)
{
    if (s->error != ERR_OK)
        return s->error;
    assert(!s->writing);
    s->writing = true;
    enum err e = send_parts(s, parts, nparts);
    s->writing = false;
    return e;
}

void stream_end_write(struct stream *s)
{
    if (s->write_ended)
        return;
    s->write_ended = true;
    if (s->ssl)
        stream_tls_end_write(s);
    else
        sock_shutdown_write(s->watch.fd);
}

enum err stream_try_read(struct stream *s, void *out, size_t len, size_t *got, int *want)
{
    assert(len > 0);
    return s->z ? stream_deflate_read(s, out, len, got, want)
                : stream_raw_read(s, out, len, got, want);
}

enum err stream_send(struct stream *s, str *parts, size_t nparts, bool sync)
{
    if (s->error != ERR_OK)
        return s->error;
    return s->z ? stream_deflate_send(s, parts, nparts, sync) : stream_raw_send(s, parts, nparts);
}
