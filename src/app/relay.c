/* SPDX-License-Identifier: Apache-2.0
 *
 * The relay: everything that goes out. It opens no file and reads no mailbox; it knows gates and
 * house threads as links over which they ask (relay_calls.c). One loop thread, and the resolver's.
 */
#include "proto/relay/relay.h"
#include "app/ipc_slot.h"
#include "app/relay_calls.h"
#include "app/roles.h"
#include "base/log.h"
#include "base/num.h"
#include "os/file.h"
#include "os/loop.h"
#include "os/proc.h"
#include "proto/relay/resolver.h"

#include <stdio.h>

#define RETIRED_MAX 16

struct relay_link {
    struct ipc_slot slot;
    struct relay_caller caller;
    char name[ASKER_NAME_MAX];
};
struct relay_process {
    struct server *server;
    struct loop *loop;
    struct fiber_group group;
    struct ipc_link parent;
    struct resolver *resolver;
    struct relay_agent *agent;
    struct tls_client *any, *verify;    /* verify: NULL when there are no trusted roots */
    struct config config;               /* its texts are the agent's */
    struct config retired[RETIRED_MAX]; /* older ones, which attempts under way may still use */
    size_t nretired;
    struct relay table;
    struct relay_link *links; /* the gates', then the house threads' */
    uint32_t nlinks;
    uint64_t stop_by_ms;
    struct arena arena;
};

/* ---- links ---- */

static enum err on_attach(void *ctx, struct ipc_attach_args *a, struct arena *arena,
                          struct ipc_attach_results *r) WAITS
{
    struct relay_process *p = ctx;
    uint32_t i;
    TRY(asker_index(p->server, a->role, a->number, &i));
    int fd = a->link;
    a->link = -1;
    return ipc_slot_attach(&p->links[i].slot, fd);
}

static enum err links_open(struct relay_process *p)
{
    const struct server *s = p->server;
    p->nlinks = asker_count(s);
    p->links = ARENA_ARRAY(&p->arena, struct relay_link, p->nlinks);
    if (!p->links)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < p->nlinks; i++) {
        bool gate = i < s->ngates;
        struct relay_link *l = &p->links[i];
        l->caller = (struct relay_caller){.relay = &p->table,
                                          .queries_max = gate ? RELAY_GATE_QUERIES_MAX : SIZE_MAX};
        asker_name(s, i, l->name);
        ipc_slot_init(&l->slot, l->name, gate ? &relay_calls_for_gates : &relay_calls_for_house,
                      &l->caller, &p->group);
    }
    return ERR_OK;
}

/* ---- what the parent says ---- */

static bool busy(const struct relay_process *p)
{
    for (uint32_t i = 0; i < p->nlinks; i++) {
        if (p->links[i].slot.running && p->links[i].slot.link.ncalls > 0)
            return true;
    }
    return false;
}

static struct relay_config agent_config(const struct config *c)
{
    return (struct relay_config){
        .hostname = c->server_hostname,
        .scanner_url = c->scanner_url,
        .port = (uint16_t)c->relay_port,
        .private_addresses = c->relay_private_addresses,
        .ipv6 = c->relay_ipv6,
        .dane = c->relay_dane && c->resolver_dnssec,
        .mta_sts = c->relay_mta_sts,
        .hosts_max = (uint32_t)c->relay_hosts_max,
        .attempt_ms = c->relay_attempt_timeout,
        .connect_ms = c->relay_connect_timeout,
        .reply_ms = c->relay_reply_timeout,
        .idle_ms = c->relay_idle_timeout,
        .uses_max = (uint32_t)c->relay_transactions_max,
    };
}

/* Attempts under way use the old texts: they are freed when none is. */
static void config_use(struct relay_process *p, const struct config *next)
{
    if (!busy(p)) {
        while (p->nretired > 0)
            config_free(&p->retired[--p->nretired]);
    }
    p->retired[p->nretired++] = p->config;
    p->config = *next;
    struct relay_config c = agent_config(&p->config);
    relay_agent_configure(p->agent, &c);
}

static enum err on_reload(void *ctx, struct ipc_relay_reload_args *a, struct arena *arena,
                          struct ipc_relay_reload_results *r) WAITS
{
    struct relay_process *p = ctx;
    struct config c;
    BUF_AUTO struct buf text = BUF_INIT(CONFIG_TEXT_MAX);
    BUF_AUTO struct buf error = BUF_INIT(4096);
    if (p->nretired == RETIRED_MAX && busy(p))
        return ERR_BUSY;
    TRY(text_unpack(a->config, CONFIG_TEXT_MAX, &text));
    TRY(config_parse(STR("posthouse.conf"), buf_str(&text), &c, &error));
    config_log_level(&c);
    config_use(p, &c);
    return ERR_OK;
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
    .attach = on_attach,
    .relay_reload = on_reload,
    .relay_stop = on_stop,
};

static void parent_gone(struct ipc_link *l)
{
    struct relay_process *p = l->ctx;
    loop_stop(p->loop);
}

/* ---- life ---- */

static void say_ready(void *arg) WAITS
{
    struct relay_process *p = arg;
    struct ipc_ready_results r;
    if (ipc_ready(&p->parent, &(struct ipc_ready_args){}, NULL, &r) != ERR_OK)
        loop_stop(p->loop);
}

/* Before the sandbox: the system's roots are a file. */
static enum err trust_open(struct relay_process *p)
{
    TRY(tls_client_open(TLS_VERIFY_NONE, STR_NONE, &p->any));
    if (tls_client_open(TLS_VERIFY_NAME, STR_NONE, &p->verify) != ERR_OK) {
        p->verify = NULL;
        LOG_WARN("relay", "no trusted root certificates: MTA-STS and fetches do not work");
    }
    return ERR_OK;
}

static enum err agent_open(struct relay_process *p)
{
    BUF_AUTO struct buf text = BUF_INIT(CONFIG_TEXT_MAX);
    BUF_AUTO struct buf error = BUF_INIT(4096);
    struct dns dns;
    config_render(&p->server->config, false, &text);
    TRY(config_parse(STR("posthouse.conf"), buf_str(&text), &p->config, &error));
    struct relay_config c = agent_config(&p->config);
    resolver_dns(p->resolver, &dns);
    TRY(relay_agent_open(&c, dns, p->any, p->verify, &p->agent));
    relay_agent_table(p->agent, &p->table);
    return ERR_OK;
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
    TRY(agent_open(p));
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
    proc_set_title(role_name(ROLE_RELAY)); /* reading the roots takes a moment */
    enum err e = trust_open(p);
    if (e == ERR_OK)
        e = role_enter(ROLE_RELAY, s);
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
