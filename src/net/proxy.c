/* SPDX-License-Identifier: Apache-2.0
 *
 * The two directions know little of each other: each parks on its source and, when there is input,
 * gets a fiber that moves bytes until the source is dry. The last direction to end closes all.
 *
 * tidy: allow alloc because connections and contexts live and die one by one
 */
#include "net/proxy.h"

#include <assert.h>
#include <stdlib.h>

#include "base/num.h"
#include "net/stream_private.h"
#include "os/sock_io.h"

#define PROXY_TURN_BYTES (1u << 20) /* then other fibers get a turn */

struct proxy;
struct direction {
    struct proxy *proxy;
    struct stream *from, *to;
    struct park park;
    bool ended;
};
struct proxy {
    struct direction way[2];
    struct fiber_group *group;
    uint64_t idle_ms, last_ms;
    bool broken; /* both directions end as soon as they can */
    void (*done)(void *arg);
    void *arg;
};

static void proxy_run(void *arg);

static void proxy_free(struct proxy *p)
{
    stream_close(p->way[0].from);
    stream_close(p->way[1].from);
    if (p->done)
        p->done(p->arg);
    free(p);
}

static struct direction *other_way(struct direction *d)
{
    return &d->proxy->way[d == &d->proxy->way[0]];
}

/* Ends d; if that was the last one, frees the proxy. d must not be used afterwards. */
static void direction_end(struct direction *d)
{
    struct proxy *p = d->proxy;
    d->ended = true;
    if (p->way[0].ended && p->way[1].ended)
        proxy_free(p);
}

/* Something failed: the other direction is fetched out of its park or its wait. */
static void break_off(struct direction *d, enum err e)
{
    struct direction *o = other_way(d);
    d->proxy->broken = true;
    if (o->ended)
        return;
    if (o->park.parked) {
        park_stop(&o->park);
        o->ended = true;
        return;
    }
    stream_fail(d->from, e);
    stream_fail(d->to, e);
    sock_shutdown_both(d->from->watch.fd);
    sock_shutdown_both(d->to->watch.fd);
}

static uint64_t deadline_of(const struct direction *d)
{
    const struct proxy *p = d->proxy;
    uint64_t ms = p->idle_ms;
    if (p->way[0].ended || p->way[1].ended)
        ms = ms ? MIN(ms, PROXY_LINGER_MS) : PROXY_LINGER_MS;
    return ms ? p->last_ms + ms : DEADLINE_NEVER;
}

static enum err direction_park(struct direction *d)
{
    struct park *k = &d->park;
    *k = (struct park){.watch = &d->from->watch,
                       .deadline_ms = deadline_of(d),
                       .group = d->proxy->group,
                       .name = "proxy",
                       .resume = proxy_run,
                       .arg = d};
    stream_release_buffers(d->from);
    if (d->from->z)
        stream_deflate_rest(d->from->z);
    return park_start(k);
}

/* Fills the chunk as far as it goes without waiting. ERR_OK: some bytes. */
static enum err gather(struct direction *d, char *chunk, size_t *got, int *want)
{
    *got = 0;
    for (;;) {
        size_t n;
        enum err e = stream_try_read(d->from, chunk + *got, STREAM_CHUNK_BULK - *got, &n, want);
        if (e != ERR_OK)
            return *got > 0 ? ERR_OK : e; /* an end or error is seen again by the next read */
        *got += n;
        /* A plain socket gives all that it has in one read; TLS gives it by the record. */
        if (*got == STREAM_CHUNK_BULK || (!d->from->ssl && !d->from->z))
            return ERR_OK;
    }
}

static enum err forward(struct direction *d, str bytes)
{
    d->proxy->last_ms = loop_now_ms();
    TRY(stream_send(d->to, &bytes, 1, true));
    return d->proxy->broken ? ERR_CANCELED : ERR_OK;
}

/* Moves bytes until the source would block (ERR_BUSY) or something ends. */
static enum err pump(struct direction *d, char *chunk)
{
    size_t turn = 0, got;
    for (;;) {
        int want;
        enum err e = gather(d, chunk, &got, &want);
        if (e == ERR_BUSY && want == WAIT_WRITE) /* TLS has to say something before it can read */
            e = stream_raw_wait(d->from, want, d->from->write_ms);
        else if (e == ERR_OK)
            e = forward(d, str_of(chunk, got));
        if (e != ERR_OK)
            return e;
        turn += got;
        if (turn >= PROXY_TURN_BYTES) {
            turn = 0;
            fiber_yield();
            if (d->proxy->broken || fiber_canceled())
                return ERR_CANCELED;
        }
    }
}

/* What the streams' earlier users left in the buffers goes first. */
static enum err pump_buffered(struct direction *d)
{
    TRY(stream_flush(d->to));
    str left = stream_buffered(d->from);
    if (left.len > 0)
        TRY(forward(d, left));
    stream_skip(d->from, left.len);
    return ERR_OK;
}

static enum err direction_turn(struct direction *d)
{
    struct proxy *p = d->proxy;
    if (p->broken)
        return ERR_CANCELED;
    if (d->park.reason == PARK_CANCELED)
        return ERR_CANCELED;
    if (d->park.reason == PARK_DEADLINE && deadline_of(d) <= loop_now_ms())
        return ERR_TIMEOUT;
    char *chunk = stream_chunk_get(STREAM_CHUNK_BULK);
    if (!chunk)
        return ERR_NOMEM;
    enum err e = pump_buffered(d);
    if (e == ERR_OK)
        e = pump(d, chunk);
    stream_chunk_put(chunk, STREAM_CHUNK_BULK);
    return e;
}

static void proxy_run(void *arg)
{
    struct direction *d = arg;
    enum err e = direction_turn(d);
    if (e == ERR_BUSY && !d->proxy->broken)
        e = direction_park(d);
    if (e == ERR_OK)
        return;
    /* The end of the source is passed on; a failure to write, or anything else, ends both. */
    if (e == ERR_EOF && d->to->error == ERR_OK && !d->proxy->broken)
        stream_end_write(d->to);
    else
        break_off(d, e == ERR_BUSY ? ERR_CANCELED : e);
    /* From now on the other direction lingers only for so long. */
    struct direction *o = other_way(d);
    if (!o->ended && o->park.parked && !d->proxy->broken) {
        park_stop(&o->park);
        if (direction_park(o) != ERR_OK)
            o->ended = true;
    }
    direction_end(d);
}

enum err proxy_start(struct stream *a, struct stream *b, uint64_t idle_ms,
                     struct fiber_group *group, void (*done)(void *arg), void *arg)
{
    struct proxy *p = calloc(1, sizeof *p);
    enum err e = p ? ERR_OK : ERR_NOMEM;
    if (p) {
        *p = (struct proxy){
            .group = group, .idle_ms = idle_ms, .last_ms = loop_now_ms(), .done = done, .arg = arg};
        p->way[0] = (struct direction){.proxy = p, .from = a, .to = b};
        p->way[1] = (struct direction){.proxy = p, .from = b, .to = a};
        e = fiber_start(group, "proxy", proxy_run, &p->way[0]);
    }
    if (e != ERR_OK) {
        stream_close(a);
        stream_close(b);
        free(p);
        return e;
    }
    e = fiber_start(group, "proxy", proxy_run, &p->way[1]);
    if (e != ERR_OK) { /* the first direction runs, sees this, and closes all */
        p->broken = true;
        p->way[1].ended = true;
        p->done = NULL;
    }
    return e;
}
