/* SPDX-License-Identifier: Apache-2.0
 *
 * The relay: everything that goes out. It opens no file and reads no mailbox; it knows gates and
 * house threads as links over which they ask (relay_calls.c). One loop thread, and the resolver's.
 */
#include "app/relay_calls.h"
#include "app/roles.h"
#include "base/log.h"
#include "base/num.h"
#include "os/file.h"
#include "os/loop.h"
#include "proto/relay/exchange.h"
#include "proto/relay/resolver.h"

#include <stdio.h>

struct relay_process;
struct relay_link {
    struct ipc_link link;
    struct relay_caller caller;
    struct relay_process *process;
    const struct ipc_service *service;
    char name[24];
    bool running; /* until the link's `ended` */
    int next_fd;  /* a newer link that starts when this one has ended; or -1 */
};
struct relay_process {
    struct server *server;
    struct loop *loop;
    struct fiber_group group;
    struct ipc_link parent;
    struct resolver *resolver;
    struct relay table;
    struct relay_link *links; /* the gates', then the house threads' */
    uint32_t nlinks;
    uint64_t stop_by_ms;
    struct arena arena;
};

/* ---- links ---- */

static enum err link_start(struct relay_link *l, int fd);

static void link_ended(struct ipc_link *link)
{
    struct relay_link *l = container_of(link, struct relay_link, link);
    l->running = false;
    int fd = l->next_fd;
    l->next_fd = -1;
    if (fd >= 0 && link_start(l, fd) != ERR_OK)
        LOG_ERROR("relay", "no link to %s", l->name);
}

static enum err link_start(struct relay_link *l, int fd)
{
    l->link = (struct ipc_link){
        .name = l->name, .service = l->service, .ctx = &l->caller, .ended = link_ended};
    enum err e = ipc_link_start(&l->link, fd, &l->process->group);
    l->running = e == ERR_OK;
    return e;
}

static enum err on_attach(void *ctx, struct ipc_relay_attach_args *a, struct arena *arena,
                          struct ipc_relay_attach_results *r) WAITS
{
    struct relay_process *p = ctx;
    if (a->index >= p->nlinks)
        return ERR_INVALID;
    struct relay_link *l = &p->links[a->index];
    int fd = a->link;
    a->link = -1;
    if (!l->running)
        return link_start(l, fd);
    file_close(&l->next_fd);
    l->next_fd = fd;
    ipc_link_stop(&l->link);
    return ERR_OK;
}

static enum err links_open(struct relay_process *p)
{
    const struct server *s = p->server;
    p->nlinks = s->ngates + s->nthreads;
    p->links = ARENA_ARRAY(&p->arena, struct relay_link, p->nlinks);
    if (!p->links)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < p->nlinks; i++) {
        bool gate = i < s->ngates;
        struct relay_link *l = &p->links[i];
        l->process = p;
        l->next_fd = -1;
        l->service = gate ? &relay_calls_for_gates : &relay_calls_for_house;
        l->caller = (struct relay_caller){.relay = &p->table,
                                          .queries_max = gate ? RELAY_GATE_QUERIES_MAX : SIZE_MAX};
        snprintf(l->name, sizeof(l->name), "%s.%u", gate ? "gate" : "house",
                 gate ? i : i - s->ngates);
    }
    return ERR_OK;
}

/* ---- what the parent says ---- */

static enum err on_reload(void *ctx, struct ipc_relay_reload_args *a, struct arena *arena,
                          struct ipc_relay_reload_results *r) WAITS
{
    struct config c;
    BUF_AUTO struct buf text = BUF_INIT(CONFIG_TEXT_MAX);
    BUF_AUTO struct buf error = BUF_INIT(4096);
    TRY(text_unpack(a->config, CONFIG_TEXT_MAX, &text));
    TRY(config_parse(STR("posthouse.conf"), buf_str(&text), &c, &error));
    config_log_level(&c);
    config_free(&c);
    return ERR_OK;
}

static bool busy(const struct relay_process *p)
{
    for (uint32_t i = 0; i < p->nlinks; i++) {
        if (p->links[i].running && p->links[i].link.ncalls > 0)
            return true;
    }
    return false;
}

/* What is under way may end; what is not done by then is tried again after the start. */
static void drain(void *arg) WAITS
{
    struct relay_process *p = arg;
    while (busy(p) && loop_now_ms() < p->stop_by_ms) {
        if (wait_until(MIN(p->stop_by_ms, deadline_in_ms(20))) != ERR_TIMEOUT)
            break;
    }
    loop_stop(p->loop);
}

static enum err on_stop(void *ctx, struct ipc_relay_stop_args *a, struct arena *arena,
                        struct ipc_relay_stop_results *r) WAITS
{
    struct relay_process *p = ctx;
    p->stop_by_ms = deadline_in_ms(a->grace_ms);
    return fiber_start(&p->group, "drain", drain, p);
}

static const struct ipc_service from_parent = {
    .role = IPC_ROLE_RELAY,
    .relay_attach = on_attach,
    .relay_reload = on_reload,
    .relay_stop = on_stop,
};

static void parent_gone(struct ipc_link *l)
{
    struct relay_process *p = l->ctx;
    loop_stop(p->loop);
}

/* ---- life ---- */

static enum err attempt(void *ctx, const struct relay_job *job, struct arena *arena,
                        struct relay_report *out) WAITS
{
    return ERR_UNAVAILABLE;
}

static enum err fetch(void *ctx, const struct relay_fetch *f, struct arena *arena,
                      struct relay_fetched *out) WAITS
{
    return ERR_UNAVAILABLE;
}

static enum err exchange(void *ctx, const struct relay_exchange *x, struct arena *arena,
                         str *answer) WAITS
{
    struct relay_process *p = ctx;
    return exchange_run(&p->table.dns, x, arena, answer);
}

static void say_ready(void *arg) WAITS
{
    struct relay_process *p = arg;
    struct ipc_ready_results r;
    if (ipc_ready(&p->parent, &(struct ipc_ready_args){}, NULL, &r) != ERR_OK)
        loop_stop(p->loop);
}

static enum err relay_process_open(struct relay_process *p, int control)
{
    const struct config *c = &p->server->config;
    struct resolver_options options = {
        .forward = c->resolver_forward.items,
        .nforward = c->resolver_forward.count,
        .zones = c->resolver_zones.items,
        .nzones = c->resolver_zones.count,
        .anchors = c->resolver_trust_anchors.items,
        .nanchors = c->resolver_trust_anchors.count,
        .dnssec = c->resolver_dnssec,
        .ipv6 = c->resolver_ipv6,
        .timeout_ms = c->resolver_timeout,
        .cache_bytes = c->resolver_cache,
    };
    config_log_level(c);
    fiber_group_init(&p->group);
    TRY(resolver_open(&options, &p->group, &p->resolver));
    p->table = (struct relay){.ctx = p, .attempt = attempt, .fetch = fetch, .exchange = exchange};
    resolver_dns(p->resolver, &p->table.dns);
    TRY(links_open(p));
    p->parent = (struct ipc_link){
        .name = "parent", .service = &from_parent, .ctx = p, .ended = parent_gone};
    TRY(ipc_link_start(&p->parent, control, &p->group));
    return fiber_start(&p->group, "ready", say_ready, p);
}

int relay_main(struct server *s, int control)
{
    struct arena arena = ARENA_INIT(67108864);
    struct relay_process *p = ARENA_NEW(&arena, struct relay_process);
    if (!p)
        return 1;
    *p = (struct relay_process){.server = s, .arena = arena};
    enum err e = role_enter(ROLE_RELAY, s);
    if (e == ERR_OK)
        e = loop_open(&p->loop, &(struct loop_options){.name = "relay"});
    if (e == ERR_OK)
        e = relay_process_open(p, control);
    if (e != ERR_OK) {
        LOG_ERROR("relay", "cannot start: %s", err_text(e));
        return 1;
    }
    loop_run(p->loop);
    resolver_close(p->resolver);
    return 0;
}
