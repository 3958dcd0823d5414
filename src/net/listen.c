/* SPDX-License-Identifier: Apache-2.0
 *
 * tidy: allow alloc because connections and contexts live and die one by one
 */
#include "net/listen.h"

#include <assert.h>
#include <stdlib.h>

#include "base/log.h"
#include "os/file.h"

struct connection {
    struct listener *listener;
    struct stream *stream;
};

static void connection_closed(void *arg)
{
    struct listener *l = arg;
    assert(l->connections > 0);
    l->connections--;
    event_signal(&l->changed);
}

static void connection_run(void *arg)
{
    struct connection c = *(struct connection *)arg;
    free(arg);
    c.listener->serve(c.listener->arg, c.stream);
}

static enum err serve(struct listener *l, int fd, const struct address *peer)
{
    struct stream *s;
    struct address local = {0};
    if (sock_local(fd, &local) != ERR_OK)
        local = (struct address){0}; /* gone already; the first read will say so */
    TRY(stream_open(fd, &s));
    stream_set_peer(s, peer, &local);
    l->connections++;
    stream_on_close(s, connection_closed, l);
    struct connection *c = malloc(sizeof *c);
    enum err e = c ? ERR_OK : ERR_NOMEM;
    if (c) {
        *c = (struct connection){l, s};
        e = fiber_start(l->group, l->name, connection_run, c);
    }
    if (e != ERR_OK) {
        free(c);
        stream_close(s);
    }
    return e;
}

static enum err accept_one(struct listener *l)
{
    int fd;
    struct address peer;
    TRY(sock_accept(&l->watch, &fd, &peer));
    return serve(l, fd, &peer);
}

/* Waits until there may be room again; true: go on accepting. */
static bool pause_accepting(struct listener *l, uint64_t deadline_ms)
{
    enum err e = event_wait(&l->changed, deadline_ms);
    return e == ERR_OK || e == ERR_TIMEOUT;
}

static void listen_run(void *arg)
{
    struct listener *l = arg;
    bool short_of = false;
    while (!fiber_canceled() && !l->stopping) {
        if (l->connections_max > 0 && l->connections >= l->connections_max) {
            if (!pause_accepting(l, DEADLINE_NEVER))
                break;
            continue;
        }
        enum err e = accept_one(l);
        if (e == ERR_CANCELED)
            break;
        if (e == ERR_OK || e == ERR_TIMEOUT) {
            short_of = false;
            continue;
        }
        if (!short_of)
            LOG_WARN("listen", "accepting pauses listener=%s cause=%s connections=%zu", l->name,
                     err_name(e), l->connections);
        short_of = true;
        if (!pause_accepting(l, deadline_in_ms(LISTEN_PAUSE_MS)))
            break;
    }
    watch_close(&l->watch);
    l->running = false;
    event_signal(&l->changed);
}

void listen_stop(struct listener *l)
{
    l->stopping = true;
    watch_close(&l->watch); /* wakes it from accepting */
    event_signal(&l->changed);
    while (l->running && event_wait(&l->changed, DEADLINE_NEVER) == ERR_OK)
        continue;
}

enum err listen_start(struct listener *l, struct fiber_group *group)
{
    event_init(&l->changed);
    l->connections = 0;
    l->group = group;
    l->stopping = false;
    TRY(watch_open(&l->watch, l->fd));
    enum err e = fiber_start(group, l->name, listen_run, l);
    l->running = e == ERR_OK;
    if (e != ERR_OK)
        watch_close(&l->watch);
    return e;
}
