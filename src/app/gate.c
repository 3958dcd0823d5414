/* SPDX-License-Identifier: Apache-2.0
 *
 * The gate: every byte of a stranger is read here, in a process that can open no file and no
 * connection. It knows the house as a table of calls (gate_house.c) and the parent as a link.
 */
#include "app/gate_house.h"
#include "app/gate_web.h"
#include "app/keys_peer.h"
#include "app/mail_policy.h"
#include "app/relay_peer.h"
#include "app/roles.h"
#include "base/log.h"
#include "base/num.h"
#include "net/limit.h"
#include "net/listen.h"
#include "os/file.h"
#include "os/loop.h"
#include "proto/imap/imap.h"
#include "proto/pop3/pop3.h"

#include <stdio.h>
#include <string.h>

#define REFUSE_MS 5000    /* for a client that is one too many to take the reason */
#define SOURCES_MAX 65536 /* addresses that are counted at the same time */

/* The configuration as sessions use it; an old one lives until its last session ends. */
struct gate_config {
    struct config all; /* its arena holds this struct too */
    struct smtp_config smtp;
    struct pop3_config pop3;
    struct imap_config imap;
    size_t refs;
};

struct gate;
struct gate_socket {
    struct gate *gate;
    enum listener_kind kind;
    int fd; /* -1: not used */
    struct listener listener;
    struct smtp_listener smtp;
    struct pop3_listener pop3;
    struct imap_listener imap;
};

struct gate {
    struct server *server;
    char name[24];
    uint32_t number;
    struct loop *loop;
    struct fiber_group group;
    struct ipc_link parent;
    struct gate_house house;
    struct gate_house_peer *peers;
    struct relay_peer relay; /* of its table, dns only */
    struct keys_peer keys;
    struct ipc_slot *slots[ROLES]; /* of the two; others: NULL */
    struct gate_config *config;
    struct tls_server *tls;
    struct limit_table *sources;
    struct gate_socket sockets[SOCKETS_MAX];
    uint64_t stop_by_ms;
    struct arena arena;
};

/* ---- configuration ---- */

static struct gate_config *gate_config_of(struct config *c)
{
    struct gate_config *g = ARENA_NEW(&c->arena, struct gate_config);
    if (!g)
        return NULL;
    g->smtp = (struct smtp_config){
        .hostname = c->server_hostname,
        .size_max = c->smtp_size_max,
        .recipients_max = (uint32_t)c->smtp_recipients_max,
        .transactions_max = (uint32_t)c->smtp_transactions_max,
        .errors_max = (uint32_t)c->smtp_errors_max,
        .command_timeout_ms = c->smtp_command_timeout,
        .data_timeout_ms = c->smtp_data_timeout,
        .message_timeout_ms = c->smtp_message_timeout,
        .allow_bare_lf = c->smtp_allow_bare_lf,
        .auth_plain_loopback = c->auth_plain_on_loopback,
        .auth_on_mx = c->smtp_auth_on_port_25,
        .relays = c->smtp_relays.items,
        .nrelays = c->smtp_relays.count,
        .proxies = c->smtp_proxies.items,
        .nproxies = c->smtp_proxies.count,
        .xclients = c->smtp_xclients.items,
        .nxclients = c->smtp_xclients.count,
    };
    const char *bad;
    str word;
    if (mail_policy_of(c, &g->smtp.policy, &bad, &word) != ERR_OK)
        return NULL;
    g->pop3 = (struct pop3_config){
        .hostname = c->server_hostname,
        .errors_max = (uint32_t)c->pop3_errors_max,
        .login_timeout_ms = c->pop3_login_timeout,
        .idle_timeout_ms = c->pop3_idle_timeout,
        .auth_plain_loopback = c->auth_plain_on_loopback,
    };
    g->imap = (struct imap_config){
        .hostname = c->server_hostname,
        .errors_max = (uint32_t)c->imap_errors_max,
        .login_timeout_ms = c->imap_login_timeout,
        .idle_timeout_ms = c->imap_idle_timeout,
        .keepalive_ms = c->imap_keepalive,
        .append_max = c->imap_append_max,
        .message_limit = (uint32_t)c->imap_message_limit,
        .auth_plain_loopback = c->auth_plain_on_loopback,
    };
    g->refs = 1;
    g->all = *c; /* the arena moves along */
    return g;
}

static void gate_config_drop(struct gate_config *g)
{
    if (--g->refs > 0)
        return;
    struct config all = g->all;
    config_free(&all);
}

/* Text of a configuration that the parent has checked. */
static enum err gate_config_load(str text, struct gate_config **out)
{
    struct config c;
    BUF_AUTO struct buf error = BUF_INIT(4096);
    enum err e = config_parse(STR("posthouse.conf"), text, &c, &error);
    if (e != ERR_OK) {
        LOG_ERROR("gate", "configuration not taken: %.*s", STR_ARG(buf_str(&error)));
        return e;
    }
    *out = gate_config_of(&c);
    if (*out)
        return ERR_OK;
    config_free(&c);
    return ERR_NOMEM;
}

static void gate_config_use(struct gate *g, struct gate_config *next)
{
    struct gate_config *old = g->config;
    g->config = next;
    for (size_t i = 0; i < SOCKETS_MAX; i++) {
        g->sockets[i].smtp.config = &next->smtp;
        g->sockets[i].smtp.tls = g->tls;
        g->sockets[i].pop3.config = &next->pop3;
        g->sockets[i].pop3.tls = g->tls;
        g->sockets[i].imap.config = &next->imap;
        g->sockets[i].imap.tls = g->tls;
    }
    if (old)
        gate_config_drop(old);
}

/* ---- sessions ---- */

static bool from_proxy(const struct gate *g, const struct address *peer)
{
    const struct config_networks *n = &g->config->all.smtp_proxies;
    for (size_t i = 0; i < n->count; i++) {
        if (address_in(peer, &n->items[i].address, n->items[i].bits))
            return true;
    }
    return false;
}

/* Says why where the client can read it: on a port with TLS from the start it only closes. */
static void refuse(struct stream *s, const char *text) WAITS
{
    stream_set_timeouts(s, REFUSE_MS, REFUSE_MS);
    stream_write(s, str_c(text));
    enum err gone = stream_flush(s);
    (void)gone;
    stream_close(s);
}

/* A place among the sessions of its source; the key is empty where sources are not counted. */
struct place {
    struct limit_key room;
    str key;
    struct gate_config *config;
};

static bool place_take(const struct gate_socket *k, struct stream *s, struct place *p,
                       const char *refusal) WAITS
{
    struct gate *g = k->gate;
    const struct address *peer = stream_peer(s);
    uint32_t max = (uint32_t)g->config->all.limits_connections_per_source;
    p->key = STR_NONE;
    if (peer->family > 1 && !from_proxy(g, peer))
        p->key = limit_address_key(peer, &p->room);
    if (!str_empty(p->key) && !limit_enter(g->sources, p->key, max)) {
        LOG_WARN("gate", "too many connections from one source gate=%s", g->name);
        refuse(s, listener_rows[k->kind].implicit_tls ? "" : refusal);
        return false;
    }
    p->config = g->config;
    p->config->refs++;
    return true;
}

static void place_leave(struct gate *g, struct place *p)
{
    if (!str_empty(p->key))
        limit_leave(g->sources, p->key);
    gate_config_drop(p->config);
}

static void serve_smtp(void *arg, struct stream *s) WAITS
{
    struct gate_socket *k = arg;
    struct place p;
    if (!place_take(k, s, &p, "421 4.7.0 Too many connections from your address\r\n"))
        return;
    smtp_serve(s, &k->smtp);
    place_leave(k->gate, &p);
}

static void serve_pop3(void *arg, struct stream *s) WAITS
{
    struct gate_socket *k = arg;
    struct place p;
    if (!place_take(k, s, &p, "-ERR [SYS/TEMP] Too many connections from your address\r\n"))
        return;
    pop3_gate(s, &k->pop3);
    place_leave(k->gate, &p);
}

static void serve_imap(void *arg, struct stream *s) WAITS
{
    struct gate_socket *k = arg;
    struct place p;
    if (!place_take(k, s, &p, "* BYE [LIMIT] Too many connections from your address\r\n"))
        return;
    imap_gate(s, &k->imap);
    place_leave(k->gate, &p);
}

static void serve_web(void *arg, struct stream *s) WAITS
{
    struct gate_socket *k = arg;
    struct place p;
    if (!place_take(k, s, &p, "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\n"))
        return;
    gate_web_serve(s, &k->gate->house.table, listener_rows[k->kind].implicit_tls, k->smtp.tls);
    place_leave(k->gate, &p);
}

struct serve_row {
    listen_serve_fn *serve;
    enum smtp_kind smtp_kind;
};
static const struct serve_row serve_rows[LISTENER_KINDS] = {
#define LISTENER(name, fn, kind, tls, port) [LISTENER_##name] = {fn, kind},
#include "app/listeners.def"
#undef LISTENER
};

static enum err socket_open(struct gate *g, uint32_t number, enum listener_kind kind, int fd)
{
    struct gate_socket *k = &g->sockets[number];
    const struct listener_row *row = &listener_rows[kind];
    /* HTTPS is where the first certificate may come from (acme.proof = tls-alpn-01). */
    if (row->implicit_tls && !g->tls && kind != LISTENER_https) {
        LOG_WARN("gate", "%s stays closed: there is no certificate", row->name);
        file_close(&fd);
        return ERR_OK;
    }
    k->gate = g;
    k->kind = kind;
    k->fd = fd;
    k->smtp = (struct smtp_listener){.dns = &g->relay.table.dns,
                                     .relay = &g->relay.table,
                                     .kind = serve_rows[kind].smtp_kind,
                                     .implicit_tls = row->implicit_tls,
                                     .config = &g->config->smtp,
                                     .house = &g->house.table,
                                     .tls = g->tls,
                                     .role_id = g->name};
    k->pop3 = (struct pop3_listener){.implicit_tls = row->implicit_tls,
                                     .config = &g->config->pop3,
                                     .house = &g->house.table,
                                     .tls = g->tls,
                                     .group = &g->group};
    k->imap = (struct imap_listener){.implicit_tls = row->implicit_tls,
                                     .config = &g->config->imap,
                                     .house = &g->house.table,
                                     .tls = g->tls,
                                     .group = &g->group};
    k->listener = (struct listener){.fd = fd,
                                    .name = row->name,
                                    .connections_max = g->config->all.limits_connections,
                                    .serve = serve_rows[kind].serve,
                                    .arg = k};
    return listen_start(&k->listener, &g->group);
}

/* Accepts no more; sessions go on. */
static void socket_close(struct gate_socket *k) WAITS
{
    if (k->fd < 0)
        return;
    listen_stop(&k->listener);
    file_close(&k->fd);
}

/* ---- what the parent says ---- */

static enum err on_attach(void *ctx, struct ipc_attach_args *a, struct arena *arena,
                          struct ipc_attach_results *r) WAITS
{
    struct gate *g = ctx;
    struct ipc_slot *slot = a->role == ROLE_HOUSE ? gate_house_slot(&g->house, a->number)
                            : a->role < ROLES     ? g->slots[a->role]
                                                  : NULL;
    if (!slot)
        return ERR_INVALID;
    int fd = a->link;
    a->link = -1;
    return ipc_slot_attach(slot, fd);
}

static enum err on_listen(void *ctx, struct ipc_gate_listen_args *a, struct arena *arena,
                          struct ipc_gate_listen_results *r) WAITS
{
    struct gate *g = ctx;
    if (a->number >= SOCKETS_MAX || a->kind >= LISTENER_KINDS || g->sockets[a->number].fd >= 0)
        return ERR_INVALID;
    int fd = a->socket;
    a->socket = -1;
    return socket_open(g, a->number, (enum listener_kind)a->kind, fd);
}

static enum err on_unlisten(void *ctx, struct ipc_gate_unlisten_args *a, struct arena *arena,
                            struct ipc_gate_unlisten_results *r) WAITS
{
    struct gate *g = ctx;
    if (a->number >= SOCKETS_MAX)
        return ERR_INVALID;
    socket_close(&g->sockets[a->number]);
    return ERR_OK;
}

static enum err take_certificates(struct gate *g, int fd)
{
    ARENA_AUTO struct arena arena = ARENA_INIT(8388608);
    struct tls_certificate *certs = ARENA_ARRAY(&arena, struct tls_certificate, CERTIFICATES_MAX);
    size_t n = 0;
    str client_ca;
    if (!certs)
        return ERR_NOMEM;
    TRY(certificates_unpack(fd, &arena, certs, CERTIFICATES_MAX, &n, &client_ca));
    if (n == 0)
        return ERR_OK;
    TRY(g->tls ? tls_server_reload(g->tls, certs, n)
               : tls_server_open(certs, n, &g->server->signer, &g->tls));
    return tls_server_set_client_ca(g->tls, client_ca);
}

static enum err on_reload(void *ctx, struct ipc_gate_reload_args *a, struct arena *arena,
                          struct ipc_gate_reload_results *r) WAITS
{
    struct gate *g = ctx;
    struct gate_config *next;
    BUF_AUTO struct buf text = BUF_INIT(CONFIG_TEXT_MAX);
    TRY(text_unpack(a->config, CONFIG_TEXT_MAX, &text));
    TRY(gate_config_load(buf_str(&text), &next));
    enum err e = take_certificates(g, a->certificates);
    if (e != ERR_OK)
        LOG_ERROR("gate", "certificates not taken gate=%s cause=%s", g->name, err_name(e));
    gate_config_use(g, next);
    config_log_level(&next->all);
    return e;
}

static void drain(void *arg) WAITS
{
    struct gate *g = arg;
    while (g->house.delivering > 0) {
        if (event_wait(&g->house.delivered, g->stop_by_ms) != ERR_OK)
            break;
    }
    gate_house_tell(&g->house);
    loop_stop(g->loop);
}

static enum err on_stop(void *ctx, struct ipc_gate_stop_args *a, struct arena *arena,
                        struct ipc_gate_stop_results *r) WAITS
{
    struct gate *g = ctx;
    for (size_t i = 0; i < SOCKETS_MAX; i++)
        socket_close(&g->sockets[i]);
    g->stop_by_ms = deadline_in_ms(a->grace_ms);
    return fiber_start(&g->group, "drain", drain, g);
}

static const struct ipc_service from_parent = {
    .role = IPC_ROLE_GATE,
    .attach = on_attach,
    .gate_listen = on_listen,
    .gate_unlisten = on_unlisten,
    .gate_reload = on_reload,
    .gate_stop = on_stop,
};

static void parent_gone(struct ipc_link *l)
{
    struct gate *g = l->ctx;
    loop_stop(g->loop);
}

/* ---- life ---- */

static void say_ready(void *arg) WAITS
{
    struct gate *g = arg;
    struct ipc_ready_results r;
    enum err e = ipc_ready(&g->parent, &(struct ipc_ready_args){}, NULL, &r);
    if (e != ERR_OK)
        loop_stop(g->loop);
}

static enum err gate_open(struct gate *g, int control)
{
    struct server *s = g->server;
    BUF_AUTO struct buf text = BUF_INIT(CONFIG_TEXT_MAX);
    config_render(&s->config, false, &text);
    TRY(gate_config_load(buf_str(&text), &g->config));
    TRY(limit_open(SOURCES_MAX, 1, 1, 1, &g->sources));
    g->tls = s->tls;
    g->peers = ARENA_ARRAY(&g->arena, struct gate_house_peer, s->nthreads);
    if (!g->peers)
        return ERR_NOMEM;
    fiber_group_init(&g->group);
    gate_house_init(&g->house, g->peers, s->nthreads, &g->group);
    relay_peer_init(&g->relay, &g->group);
    keys_peer_init(&g->keys, &g->group);
    g->slots[ROLE_RELAY] = &g->relay.slot;
    g->slots[ROLE_KEYS] = &g->keys.slot;
    s->signer = g->keys.signer;
    g->parent = (struct ipc_link){
        .name = "parent", .service = &from_parent, .ctx = g, .ended = parent_gone};
    TRY(ipc_link_start(&g->parent, control, &g->group));
    for (uint32_t i = 0; i < SOCKETS_MAX; i++)
        g->sockets[i].fd = -1;
    for (uint32_t i = 0; i < SOCKETS_MAX; i++) {
        if (server_socket_fd(&s->sockets[i], g->number) >= 0)
            TRY(socket_open(g, i, s->sockets[i].kind, server_socket_fd(&s->sockets[i], g->number)));
    }
    return fiber_start(&g->group, "ready", say_ready, g);
}

int gate_main(struct server *s, uint32_t number, int control)
{
    struct arena arena = ARENA_INIT(67108864);
    struct gate *g = ARENA_NEW(&arena, struct gate);
    if (!g)
        return 1;
    *g = (struct gate){.server = s, .number = number, .arena = arena};
    snprintf(g->name, sizeof(g->name), "g%u", number);
    enum err e = role_enter(ROLE_GATE, s);
    if (e == ERR_OK)
        e = loop_open(&g->loop, &(struct loop_options){.name = g->name});
    if (e == ERR_OK)
        e = gate_open(g, control);
    if (e != ERR_OK) {
        LOG_ERROR("gate", "cannot start gate=%s cause=%s", g->name, err_name(e));
        return 1;
    }
    loop_run(g->loop);
    return 0;
}
