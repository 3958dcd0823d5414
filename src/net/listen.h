/* SPDX-License-Identifier: Apache-2.0
 *
 * listen: accepts connections on a descriptor that the parent bound and starts a fiber for each.
 */
#ifndef NET_LISTEN_H
#define NET_LISTEN_H

#include "net/stream.h"

/* Runs on its own fiber with an open stream that it must close (or hand on), maybe later: it may
 * return and leave the stream parked. peer and local are set. */
typedef void listen_serve_fn(void *arg, struct stream *s) WAITS;

struct listener {
    int fd;                 /* bound and listening; stays the caller's */
    const char *name;       /* "smtp"; borrowed; for logs and the fiber table */
    size_t connections_max; /* open streams per process; above it accepting pauses; 0: no limit */
    listen_serve_fn *serve;
    void *arg;
    /* the module's */
    struct watch watch;
    size_t connections;
    struct event changed;
    struct fiber_group *group;
    bool stopping, running;
};
/* Accepts until the group is canceled. Several processes may share the descriptor. Out of
 * descriptors or memory: pauses (clients wait in the backlog, where another process may take them),
 * logs once, goes on when a connection closes or after LISTEN_PAUSE_MS. Zero the module's members.
 * The listener must stay until the group is joined and its streams are closed. */
#define LISTEN_PAUSE_MS 200
enum err listen_start(struct listener *l, struct fiber_group *group) MUST;
/* Accepts no more; sessions go on. When it returns the descriptor may be closed. */
void listen_stop(struct listener *l) WAITS;

#endif
