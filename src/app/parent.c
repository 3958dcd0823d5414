/* SPDX-License-Identifier: Apache-2.0
 *
 * One fiber waits for signals and due restarts; each child has a link, over which it says `ready`
 * and hears everything else. Two roles of links.def are joined as soon as both ends are ready, so a
 * start and the restart of either are one and the same step.
 */
#include "app/parent_private.h"

#include "app/server.h"
#include "base/log.h"
#include "base/num.h"
#include "format/charset.h"
#include "os/file.h"
#include "os/proc.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#define QUICK_DEATH_MS 10000 /* a child that lived shorter counts as dying quickly */
#define QUICK_DEATHS_FREE 5  /* so often it is restarted at once */
#define BACKOFF_MS_FIRST 200
#define BACKOFF_MS_MAX 30000
#define GRACE_MS 3000 /* for deliveries under way at a clean end */
#define END_MS 20000  /* for the store to close */

struct child *parent_next(struct parent *p, struct child *c)
{
    if (!c || c == &p->keys)
        return c ? &p->house : &p->keys;
    if (c == &p->house)
        return &p->relay;
    uint32_t i = c == &p->relay ? 0 : c->number + 1;
    return i < p->server->ngates ? &p->gates[i] : NULL;
}

/* ---- forking ---- */

struct start {
    struct child *child;
    int parent_end, child_end;
};

static void keep_own_socket(struct server_socket *k, bool gate, uint32_t number)
{
    int own = gate ? server_socket_fd(k, number) : -1;
    if (k->fd != own)
        file_close(&k->fd);
    for (size_t i = 0; i < GATES_MAX; i++) {
        if (k->more[i] != own)
            file_close(&k->more[i]);
    }
}

/* A child keeps what its role needs of the descriptors and secrets that it inherits, nothing else.
 */
static void keep_own(struct start *start)
{
    struct parent *p = start->child->parent;
    struct server *s = p->server;
    file_close(&start->parent_end);
    file_close(&p->signals_fd);
    for (struct child *c = NULL; (c = parent_next(p, c));) {
        if (c->linked)
            file_close(&c->link.fd);
    }
    bool gate = start->child->role == ROLE_GATE;
    for (size_t i = 0; i < SOCKETS_MAX; i++)
        keep_own_socket(&s->sockets[i], gate, start->child->number);
    file_close(&s->keys_fd); /* keys gets its own over its link */
    if (start->child->role != ROLE_HOUSE)
        file_close(&s->control_fd);
    if (gate)
        return;
    tls_server_close(s->tls);
    s->tls = NULL;
}

static int child_main(void *arg)
{
    struct start *start = arg;
    struct server *s = start->child->parent->server;
    keep_own(start);
    proc_close_passed(start->child_end); /* links and keys on their way to other roles */
    switch (start->child->role) {
    case ROLE_GATE:
        return gate_main(s, start->child->number, start->child_end);
    case ROLE_HOUSE:
        return house_main(s, start->child_end);
    case ROLE_RELAY:
        return relay_main(s, start->child_end);
    case ROLE_KEYS:
        return keys_main(s, start->child_end);
    default:
        return 1;
    }
}

static const struct ipc_service from_child = {.role = IPC_ROLE_PARENT, .ready = parent_on_ready};

static void link_ended(struct ipc_link *l)
{
    struct child *c = l->ctx;
    c->linked = false;
    event_signal(&c->parent->changed);
}

static enum err child_start(struct child *c) WAITS
{
    struct parent *p = c->parent;
    int fds[2];
    TRY(sock_pair(fds));
    struct start start = {c, fds[0], fds[1]};
    tls_turn();
    enum err e = proc_fork(child_main, &start, &c->pid);
    file_close(&fds[1]);
    if (e != ERR_OK) {
        c->pid = 0;
        file_close(&fds[0]);
        return e;
    }
    c->ready = false;
    memset(c->joined, 0, sizeof(c->joined));
    memset(c->reaches, 0, sizeof(c->reaches));
    c->started_ms = clock_mono_ms();
    c->link =
        (struct ipc_link){.name = c->name,
                          .service = c->role == ROLE_HOUSE ? &parent_calls_for_house : &from_child,
                          .ctx = c,
                          .ended = link_ended};
    e = ipc_link_start(&c->link, fds[0], &p->group);
    c->linked = e == ERR_OK;
    if (e != ERR_OK)
        proc_kill(c->pid, SIGKILL);
    LOG_INFO("parent", "started role=%s pid=%d", c->name, c->pid);
    return e;
}

/* ---- joining ---- */

static const struct {
    enum role asks, answers;
    bool needed;
} link_rows[] = {
#define LINK(asks, answers, needed) {ROLE_##asks, ROLE_##answers, needed},
#include "app/links.def"
#undef LINK
};

static uint32_t threads_of(const struct child *c)
{
    return c->role == ROLE_HOUSE ? c->parent->server->nthreads : 1;
}

/* How the other end knows it. */
static uint32_t number_of(const struct child *c, uint32_t thread)
{
    return c->role == ROLE_GATE ? c->number : thread;
}

static enum err join_threads(struct child *asks, uint32_t a, struct child *answers,
                             uint32_t b) WAITS
{
    int fds[2];
    struct ipc_attach_results r;
    TRY(sock_pair(fds));
    struct ipc_attach_args server = {asks->role, number_of(asks, a), b, fds[0]};
    struct ipc_attach_args client = {answers->role, number_of(answers, b), a, fds[1]};
    enum err e = ipc_attach(&answers->link, &server, NULL, &r);
    if (e == ERR_OK)
        e = ipc_attach(&asks->link, &client, NULL, &r);
    file_close(&fds[0]);
    file_close(&fds[1]);
    return e;
}

/* All threads of the one with all of the other, once. */
static void join(struct child *asks, struct child *answers) WAITS
{
    int pid = answers->pid, *joined = &asks->joined[answers->role];
    enum err first = ERR_OK;
    if (!asks->ready || !answers->ready || *joined == pid)
        return;
    *joined = pid;
    asks->reaches[answers->role] = false;
    for (uint32_t a = 0; a < threads_of(asks); a++) {
        for (uint32_t b = 0; b < threads_of(answers); b++) {
            enum err e = join_threads(asks, a, answers, b);
            first = first == ERR_OK ? e : first;
        }
    }
    if (first != ERR_OK)
        LOG_WARN("parent", "not joined role=%s with=%s cause=%s", asks->name, answers->name,
                 err_name(first));
    asks->reaches[answers->role] = first == ERR_OK && *joined == pid;
    event_signal(&asks->parent->changed);
}

/* c with all that it asks and that ask it. */
static void join_all(struct parent *p, struct child *c) WAITS
{
    for (size_t i = 0; i < ARRAY_LEN(link_rows); i++) {
        for (struct child *a = NULL; (a = parent_next(p, a));) {
            for (struct child *b = NULL; (b = parent_next(p, b));) {
                if ((a == c || b == c) && a->role == link_rows[i].asks &&
                    b->role == link_rows[i].answers)
                    join(a, b);
            }
        }
    }
}

enum err parent_on_ready(void *ctx, struct ipc_ready_args *a, struct arena *arena,
                         struct ipc_ready_results *r)
{
    struct child *c = ctx;
    struct parent *p = c->parent;
    if (c->role == ROLE_KEYS)
        parent_give_keys(p);
    c->ready = true;
    LOG_INFO("parent", "ready role=%s pid=%d after_ms=%llu", c->name, c->pid,
             (unsigned long long)(clock_mono_ms() - c->started_ms));
    if (c->role == ROLE_HOUSE)
        p->house_was_ready = true;
    event_signal(&p->changed);
    join_all(p, c);
    return ERR_OK;
}

static void announce(struct parent *p)
{
    for (size_t i = 0; i < ARRAY_LEN(link_rows); i++) {
        for (struct child *c = NULL; (c = parent_next(p, c));) {
            if (link_rows[i].needed && c->role == link_rows[i].asks &&
                !c->reaches[link_rows[i].answers])
                return;
        }
    }
    p->announced = true;
    p->ready(p->ready_arg, p->server);
}

/* ---- deaths and restarts ---- */

static struct child *child_of(struct parent *p, int pid)
{
    for (struct child *c = NULL; (c = parent_next(p, c));) {
        if (c->pid == pid)
            return c;
    }
    return NULL;
}

static uint64_t backoff_ms(uint32_t quick_deaths)
{
    if (quick_deaths <= QUICK_DEATHS_FREE)
        return 0;
    uint32_t doublings = MIN(quick_deaths - QUICK_DEATHS_FREE - 1, 10u);
    return MIN((uint64_t)BACKOFF_MS_FIRST << doublings, (uint64_t)BACKOFF_MS_MAX);
}

static void child_died(struct parent *p, struct child *c, const struct proc_exit *x)
{
    uint64_t now = clock_mono_ms();
    c->pid = 0;
    c->ready = false;
    memset(c->reaches, 0, sizeof(c->reaches));
    if (c->linked)
        ipc_link_stop(&c->link);
    if (p->stopping) {
        LOG_INFO("parent", "ended role=%s code=%d signal=%d", c->name, x->code, x->signal);
        return;
    }
    c->quick_deaths = now - c->started_ms < QUICK_DEATH_MS ? c->quick_deaths + 1 : 0;
    c->restart_at_ms = now + backoff_ms(c->quick_deaths);
    c->restarts++;
    LOG_ERROR("parent", "died role=%s pid=%d code=%d signal=%d restart_in_ms=%llu", c->name, x->pid,
              x->code, x->signal, (unsigned long long)backoff_ms(c->quick_deaths));
    if (c->role == ROLE_HOUSE && !p->house_was_ready) {
        LOG_ERROR("parent", "the house did not start; ending");
        p->stopping = true;
        p->exit_code = 1;
    }
}

static void reap(struct parent *p)
{
    struct proc_exit x;
    while (proc_reap(&x)) {
        struct child *c = child_of(p, x.pid);
        if (c)
            child_died(p, c, &x);
    }
}

/* The others wait for the house, which may have much to read. */
static bool wanted(const struct child *c)
{
    return c->role == ROLE_HOUSE || c->role == ROLE_KEYS || c->parent->house_was_ready;
}

static void restart_due(struct parent *p) WAITS
{
    uint64_t now = clock_mono_ms();
    for (struct child *c = NULL; !p->stopping && (c = parent_next(p, c));) {
        if (!wanted(c) || c->pid || c->linked || now < c->restart_at_ms)
            continue;
        enum err e = child_start(c);
        if (e != ERR_OK) {
            LOG_ERROR("parent", "cannot start role=%s cause=%s", c->name, err_name(e));
            c->restart_at_ms = now + BACKOFF_MS_MAX / 30;
        }
    }
}

static uint64_t next_restart(struct parent *p)
{
    uint64_t at = DEADLINE_NEVER;
    for (struct child *c = NULL; (c = parent_next(p, c));) {
        if (!c->pid && !c->linked && wanted(c))
            at = MIN(at, c->restart_at_ms);
    }
    return at;
}

static void take_signals(struct parent *p)
{
    for (int sig; (sig = proc_signals_next(p->signals_fd));) {
        switch (sig) {
        case SIGCHLD:
            reap(p);
            break;
        case SIGHUP:
            if (fiber_start(&p->group, "reload", parent_reload_fiber, p) != ERR_OK)
                LOG_ERROR("parent", "no memory to reload");
            break;
        case SIGTERM:
        case SIGINT:
            p->stopping = true;
            break;
        default:
            break;
        }
    }
}

/* ---- the end ---- */

static bool role_runs(struct parent *p, enum role r)
{
    for (struct child *c = NULL; (c = parent_next(p, c));) {
        if (c->role == r && c->pid)
            return true;
    }
    return false;
}

/* Waits until no process of the role is left; kills what is left at the deadline. */
static void await_end(struct parent *p, enum role r, uint64_t deadline_ms) WAITS
{
    while (role_runs(p, r)) {
        if (wait_any(&p->signals, NULL, &p->changed, deadline_ms) == WAIT_ANY_TIMEOUT) {
            for (struct child *c = NULL; (c = parent_next(p, c));) {
                if (c->role == r && c->pid) {
                    LOG_ERROR("parent", "does not end, killed role=%s pid=%d", c->name, c->pid);
                    proc_kill(c->pid, SIGKILL);
                }
            }
            deadline_ms = deadline_in_ms(END_MS);
        }
        take_signals(p);
    }
}

/* Gates and relay first, so that what they accepted and delivered is written; then the house
 * closes the store; keys serves them to the end. */
static void end_all(struct parent *p) WAITS
{
    LOG_INFO("parent", "ending");
    server_stop_listening(p->server);
    for (uint32_t i = 0; i < p->server->ngates; i++) {
        struct child *g = &p->gates[i];
        struct ipc_gate_stop_results r;
        if (g->pid && ipc_gate_stop(&g->link, &(struct ipc_gate_stop_args){GRACE_MS}, NULL, &r))
            proc_kill(g->pid, SIGTERM);
    }
    struct ipc_relay_stop_results rr;
    if (p->relay.pid &&
        ipc_relay_stop(&p->relay.link, &(struct ipc_relay_stop_args){GRACE_MS}, NULL, &rr))
        proc_kill(p->relay.pid, SIGTERM);
    await_end(p, ROLE_GATE, deadline_in_ms(GRACE_MS + 2000));
    await_end(p, ROLE_RELAY, deadline_in_ms(GRACE_MS + 2000));
    struct ipc_house_stop_results r;
    if (p->house.pid &&
        ipc_house_stop(&p->house.link, &(struct ipc_house_stop_args){GRACE_MS}, NULL, &r))
        proc_kill(p->house.pid, SIGTERM);
    await_end(p, ROLE_HOUSE, deadline_in_ms(END_MS));
    if (p->keys.linked)
        ipc_link_stop(&p->keys.link);
    await_end(p, ROLE_KEYS, deadline_in_ms(GRACE_MS));
}

static void parent_fiber(void *arg) WAITS
{
    struct parent *p = arg;
    while (!p->stopping) {
        restart_due(p);
        if (!p->announced)
            announce(p);
        if (wait_any(&p->signals, NULL, &p->changed, next_restart(p)) == WAIT_ANY_CANCELED)
            break;
        take_signals(p);
    }
    end_all(p);
    loop_stop(p->loop);
}

static enum err parent_open(struct parent *p)
{
    struct server *s = p->server;
    p->gates = ARENA_ARRAY(&p->arena, struct child, s->ngates);
    if (!p->gates)
        return ERR_NOMEM;
    p->keys = (struct child){.parent = p, .role = ROLE_KEYS, .name = "keys"};
    p->house = (struct child){.parent = p, .role = ROLE_HOUSE, .name = "house"};
    p->relay = (struct child){.parent = p, .role = ROLE_RELAY, .name = "relay"};
    for (uint32_t i = 0; i < s->ngates; i++) {
        p->gates[i] = (struct child){.parent = p, .role = ROLE_GATE, .number = i};
        snprintf(p->gates[i].name, sizeof(p->gates[i].name), "gate.%u", i);
    }
    TRY(proc_signals_open(&p->signals_fd));
    TRY(loop_open(&p->loop, &(struct loop_options){.name = "parent"}));
    fiber_group_init(&p->group);
    event_init(&p->changed);
    event_init(&p->turn_left);
    TRY(watch_open(&p->signals, p->signals_fd));
    return fiber_start(&p->group, "parent", parent_fiber, p);
}

int parent_run(struct server *s, parent_ready_fn *ready, void *arg)
{
    struct arena arena = ARENA_INIT(16777216);
    struct parent *p = ARENA_NEW(&arena, struct parent);
    if (!p)
        return 1;
    *p = (struct parent){.server = s, .ready = ready, .ready_arg = arg, .arena = arena};
    log_set_role("parent");
    config_log_level(&s->config);
    size_t missing = charset_preload(); /* before the roles are forked: they share its pages */
    if (missing)
        LOG_WARN("parent", "%zu East Asian character sets are missing: libc's gconv modules",
                 missing);
    enum err e = parent_open(p);
    if (e != ERR_OK) {
        LOG_ERROR("parent", "cannot start: %s", err_text(e));
        return 1;
    }
    loop_run(p->loop);
    LOG_INFO("parent", "ended");
    return p->exit_code;
}
