/* SPDX-License-Identifier: Apache-2.0
 *
 * parent_private: between parent.c (the children's lives) and parent_operate.c (what changes while
 * they run: reloads, certificates, what an operator asks).
 */
#ifndef APP_PARENT_PRIVATE_H
#define APP_PARENT_PRIVATE_H

#include "app/parent.h"
#include "os/loop.h"

struct parent;
struct child {
    struct parent *parent;
    enum role role;
    uint32_t number;
    char name[24];
    int pid; /* 0: not running */
    bool ready;
    bool linked;       /* until the link's `ended` */
    int joined[ROLES]; /* the process of that role that it was joined with, to ask it (links.def) */
    bool reaches[ROLES]; /* and all links to it are there */
    uint64_t started_ms, restart_at_ms;
    uint32_t quick_deaths, restarts;
    struct ipc_link link;
};
struct parent {
    struct server *server;
    struct loop *loop;
    struct fiber_group group;
    struct child keys, house, relay;
    struct child *gates;
    int signals_fd;
    struct watch signals;
    struct event changed; /* a child died or became ready, or a stop was asked for */
    bool turn_taken;      /* by a reload or a new certificate */
    struct event turn_left;
    bool stopping, house_was_ready, announced;
    int exit_code;
    parent_ready_fn *ready;
    void *ready_arg;
    struct arena arena;
};

/* for (struct child *c = NULL; (c = parent_next(p, c));): keys, the house, the relay, the gates. */
struct child *parent_next(struct parent *p, struct child *c);

/* ---- parent.c ---- */
enum err parent_on_ready(void *ctx, struct ipc_ready_args *a, struct arena *arena,
                         struct ipc_ready_results *r) WAITS;

/* ---- parent_operate.c ---- */
/* The certificates with their keys, to keys. A process that does not take them is started again,
 * and gets them then. */
void parent_give_keys(struct parent *p) WAITS;
void parent_reload_fiber(void *parent) WAITS;
/* What the house may ask: `ready`, and what an operator asked it. */
extern const struct ipc_service parent_calls_for_house;

#endif
