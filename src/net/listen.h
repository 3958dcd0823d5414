/* SPDX-License-Identifier: Apache-2.0
 *
 * listen: accepts connections on a descriptor that the parent bound and starts a fiber for each.
 */
#ifndef NET_LISTEN_H
#define NET_LISTEN_H

#include "net/stream.h"

/* Runs on its own fiber with an open stream that it must close; peer and local are set. */
typedef void listen_serve_fn(void *arg, struct stream *s) WAITS;

struct listener {
    int fd;                     /* bound and listening; stays the caller's */
    const char *name;           /* "smtp"; borrowed; for logs and the fiber table */
    size_t connections_max;     /* per process; above it accepting pauses */
    listen_serve_fn *serve;
    void *arg;
    /* the module's */
    struct watch watch;
    size_t connections;
    struct event changed;
};
/* Accepts until the group is canceled. Several processes may share the descriptor. Out of
 * descriptors: pauses, logs once, goes on when one is free. */
enum err listen_start(struct listener *l, struct fiber_group *group) MUST;

#endif
