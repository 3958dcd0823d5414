/* SPDX-License-Identifier: Apache-2.0
 *
 * What changes while the server runs. Everything is read and checked, apart from the parent where
 * it could touch a private key (apart.h), before anything changes.
 */
#include "app/parent_private.h"

#include "app/apart.h"
#include "app/certificates.h"
#include "app/json.h"
#include "app/server.h"
#include "base/log.h"
#include "os/file.h"
#include "os/proc.h"

#include <signal.h>

#define TURN_MS 60000 /* for a reload to wait for another */

void parent_give_keys(struct parent *p)
{
    struct ipc_keys_load_results r;
    FD_AUTO int fd = p->server->keys_fd >= 0 ? file_duplicate(p->server->keys_fd) : -1;
    int pid = p->keys.pid;
    if (fd < 0)
        return;
    enum err e = ipc_keys_load(&p->keys.link, &(struct ipc_keys_load_args){fd}, NULL, &r);
    if (e == ERR_OK || p->keys.pid != pid || pid == 0)
        return;
    LOG_ERROR("parent", "keys did not take the certificates: %s", err_text(e));
    proc_kill(pid, SIGKILL);
}

/* ---- reload ---- */

/* What the gates must hear of sockets; certs_new: listeners with TLS from the start may open now.
 */
static enum err tell_gate(struct parent *p, struct child *gate, int config, int certificates,
                          const bool opened[SOCKETS_MAX], const bool closed[SOCKETS_MAX]) WAITS
{
    struct ipc_gate_reload_results rr;
    enum err e = ipc_gate_reload(&gate->link, &(struct ipc_gate_reload_args){config, certificates},
                                 NULL, &rr);
    for (uint32_t i = 0; i < SOCKETS_MAX; i++) {
        const struct server_socket *k = &p->server->sockets[i];
        struct ipc_gate_unlisten_results ur;
        struct ipc_gate_listen_results lr;
        enum err one = ERR_OK;
        if (closed[i])
            one = ipc_gate_unlisten(&gate->link, &(struct ipc_gate_unlisten_args){i}, NULL, &ur);
        if (k->fd >= 0 && (opened[i] || listener_rows[k->kind].implicit_tls))
            one = ipc_gate_listen(
                &gate->link,
                &(struct ipc_gate_listen_args){k->kind, i, server_socket_fd(k, gate->number)}, NULL,
                &lr);
        if (one != ERR_OK && (opened[i] || closed[i]))
            LOG_WARN("parent", "socket %s not taken role=%s cause=%s", k->text, gate->name,
                     err_name(one));
    }
    return e;
}

/* Certificates without their keys for the gates, those with them for keys, which hears first. */
static enum err use_certificates(struct parent *p, const struct tls_certificate *certs, size_t n,
                                 str client_ca, int *keys_fd) WAITS
{
    struct server *s = p->server;
    if (n == 0) /* those in use stay */
        return ERR_OK;
    TRY(s->tls ? tls_server_reload(s->tls, certs, n)
               : tls_server_open(certs, n, &s->signer, &s->tls));
    TRY(tls_server_set_client_ca(s->tls, client_ca));
    file_close(&s->keys_fd);
    s->keys_fd = *keys_fd;
    *keys_fd = -1;
    if (p->keys.linked) /* also one that is not ready: it was given older ones, or is about to be */
        parent_give_keys(p);
    return ERR_OK;
}

/* One reload or new certificate at a time: what was read first must not be used last. */
static enum err turn_take(struct parent *p) WAITS
{
    uint64_t deadline = deadline_in_ms(TURN_MS);
    while (p->turn_taken)
        TRY(event_wait(&p->turn_left, deadline));
    p->turn_taken = true;
    return ERR_OK;
}

static void turn_leave(struct parent *p)
{
    p->turn_taken = false;
    event_signal(&p->turn_left);
}

static void tell_all(struct parent *p, int config, int certificates, const bool opened[SOCKETS_MAX],
                     const bool closed[SOCKETS_MAX]) WAITS
{
    struct ipc_house_reload_results hr;
    if (p->house.ready &&
        ipc_house_reload(&p->house.link, &(struct ipc_house_reload_args){config}, NULL, &hr))
        LOG_WARN("parent", "the house did not take the configuration");
    struct ipc_relay_reload_results rr;
    if (p->relay.ready &&
        ipc_relay_reload(&p->relay.link, &(struct ipc_relay_reload_args){config}, NULL, &rr))
        LOG_WARN("parent", "the relay did not take the configuration");
    for (uint32_t i = 0; i < p->server->ngates; i++) {
        if (p->gates[i].ready &&
            tell_gate(p, &p->gates[i], config, certificates, opened, closed) != ERR_OK)
            LOG_WARN("parent", "not reloaded role=%s", p->gates[i].name);
    }
}

/* Everything is read and checked before anything changes. */
static enum err reload_with(struct parent *p, struct config *next, struct buf *text) WAITS
{
    struct server *s = p->server;
    ARENA_AUTO struct arena arena = ARENA_INIT(16777216);
    struct tls_certificate *certs = ARENA_ARRAY(&arena, struct tls_certificate, CERTIFICATES_MAX);
    FD_AUTO int keys_fd = -1;
    size_t n = 0;
    str client_ca;
    if (!certs)
        return ERR_NOMEM;
    TRY(certificates_load(next, &arena, certs, CERTIFICATES_MAX, &n, &client_ca, &keys_fd, text));
    BUF_AUTO struct buf restart = BUF_INIT(65536);
    config_restart_changes(&s->config, next, &restart);
    struct config old = s->config;
    s->config = *next;
    bool opened[SOCKETS_MAX] = {false}, closed[SOCKETS_MAX] = {false};
    enum err e = server_sockets(s, opened, closed, text);
    if (e != ERR_OK) {
        s->config = old;
        return e;
    }
    config_free(&old);
    *next = (struct config){0};
    BUF_AUTO struct buf rendered = BUF_INIT(CONFIG_TEXT_MAX);
    config_render(&s->config, false, &rendered);
    FD_AUTO int config_fd = -1;
    FD_AUTO int certificates_fd = -1;
    TRY(use_certificates(p, certs, n, client_ca, &keys_fd));
    TRY(text_pack(buf_str(&rendered), "config", &config_fd));
    TRY(certificates_pack(certs, n, client_ca, &certificates_fd));
    config_log_level(&s->config);
    tell_all(p, config_fd, certificates_fd, opened, closed);
    buf_add_c(text, "Reloaded.");
    if (restart.len > 0)
        buf_addf(text, " These settings wait for a restart:%.*s.", STR_ARG(buf_str(&restart)));
    return ERR_OK;
}

static enum err reload(struct parent *p, struct buf *text) WAITS
{
    struct config next;
    if (str_empty(p->server->config_path)) {
        buf_add_c(text, "There is no configuration file to read again.");
        return ERR_UNSUPPORTED;
    }
    TRY(turn_take(p));
    enum err e = server_config_read(p->server->config_path, &next, text);
    if (e == ERR_OK) {
        e = reload_with(p, &next, text);
        config_free(&next);
    }
    turn_leave(p);
    if (e == ERR_OK)
        LOG_INFO("parent", "%.*s", STR_ARG(buf_str(text)));
    else
        LOG_ERROR("parent", "not reloaded: %.*s", STR_ARG(buf_str(text)));
    return e;
}

void parent_reload_fiber(void *arg)
{
    BUF_AUTO struct buf text = BUF_INIT(65536);
    (void)!reload(arg, &text);
}

/* ---- what the house passes on ---- */

static enum err on_operator_reload(void *ctx, struct ipc_operator_reload_args *a,
                                   struct arena *arena, struct ipc_operator_reload_results *r) WAITS
{
    struct child *c = ctx;
    BUF_AUTO struct buf text = BUF_INIT(65536);
    enum err e = reload(c->parent, &text);
    BUF_AUTO struct buf answer = BUF_INIT(65600);
    buf_addf(&answer, "%d", e != ERR_OK); /* the text travels also when it went wrong */
    buf_add(&answer, buf_str(&text));
    return arena_dup(arena, buf_str(&answer), &r->text) ? ERR_OK : ERR_NOMEM;
}

static enum err on_operator_stop(void *ctx, struct ipc_operator_stop_args *a, struct arena *arena,
                                 struct ipc_operator_stop_results *r) WAITS
{
    struct child *c = ctx;
    c->parent->stopping = true;
    event_signal(&c->parent->changed);
    return ERR_OK;
}

static enum err on_roles_status(void *ctx, struct ipc_roles_status_args *a, struct arena *arena,
                                struct ipc_roles_status_results *r) WAITS
{
    struct parent *p = ((struct child *)ctx)->parent;
    BUF_AUTO struct buf text = BUF_INIT(65536);
    struct json j = json_of(&text);
    json_open(&j, '[');
    for (struct child *c = NULL; (c = parent_next(p, c));) {
        json_open(&j, '{');
        json_key(&j, "role");
        json_str(&j, str_c(c->name));
        json_key(&j, "pid");
        json_u64(&j, (uint64_t)c->pid);
        json_key(&j, "ready");
        json_bool(&j, c->ready);
        json_key(&j, "restarts");
        json_u64(&j, c->restarts);
        json_key(&j, "up_ms");
        json_u64(&j, c->pid ? clock_mono_ms() - c->started_ms : 0);
        json_close(&j, '}');
    }
    json_close(&j, ']');
    return arena_dup(arena, buf_str(&text), &r->json) ? ERR_OK : ERR_NOMEM;
}

/* ---- certificates ---- */

/* What is asked of the folder of certificates, with keys: answered apart. */
struct folder_job {
    const struct config *config;
    str text; /* names, or a chain */
    bool next;
};

static enum err show_apart(void *arg, struct buf *answer)
{
    const struct folder_job *j = arg;
    return certificates_show(j->config, answer);
}

static enum err request_apart(void *arg, struct buf *answer)
{
    const struct folder_job *j = arg;
    return certificates_request(j->config, j->text, j->next, answer);
}

static enum err install_apart(void *arg, struct buf *answer)
{
    const struct folder_job *j = arg;
    return certificates_install(j->config, j->text, j->next);
}

static enum err next_key_apart(void *arg, struct buf *answer)
{
    const struct folder_job *j = arg;
    return certificates_next_key(j->config);
}

static enum err on_certificates_show(void *ctx, struct ipc_certificates_show_args *a,
                                     struct arena *arena,
                                     struct ipc_certificates_show_results *r) WAITS
{
    struct parent *p = ((struct child *)ctx)->parent;
    BUF_AUTO struct buf list = BUF_INIT(1048576);
    struct folder_job j = {.config = &p->server->config};
    TRY(apart_run(show_apart, &j, &list));
    return arena_dup(arena, buf_str(&list), &r->list) ? ERR_OK : ERR_NOMEM;
}

static enum err on_certificate_request(void *ctx, struct ipc_certificate_request_args *a,
                                       struct arena *arena,
                                       struct ipc_certificate_request_results *r) WAITS
{
    struct parent *p = ((struct child *)ctx)->parent;
    BUF_AUTO struct buf der = BUF_INIT(65536);
    struct folder_job j = {&p->server->config, a->names, a->next != 0};
    TRY(apart_run(request_apart, &j, &der));
    return arena_dup(arena, buf_str(&der), &r->request) ? ERR_OK : ERR_NOMEM;
}

/* The new chain is written first; gates that cannot be told now read it when they are restarted. */
static enum err install(struct parent *p, const struct ipc_certificate_install_args *a) WAITS
{
    static const bool none[SOCKETS_MAX];
    ARENA_AUTO struct arena scratch = ARENA_INIT(16777216);
    struct tls_certificate *certs = ARENA_ARRAY(&scratch, struct tls_certificate, CERTIFICATES_MAX);
    BUF_AUTO struct buf text = BUF_INIT(65536), rendered = BUF_INIT(CONFIG_TEXT_MAX);
    FD_AUTO int config_fd = -1;
    FD_AUTO int certificates_fd = -1;
    FD_AUTO int keys_fd = -1;
    struct folder_job j = {&p->server->config, a->chain, a->next != 0};
    size_t n = 0;
    str client_ca;
    if (!certs)
        return ERR_NOMEM;
    TRY(apart_run(install_apart, &j, &text));
    TRY(certificates_load(&p->server->config, &scratch, certs, CERTIFICATES_MAX, &n, &client_ca,
                          &keys_fd, &text));
    TRY(use_certificates(p, certs, n, client_ca, &keys_fd));
    config_render(&p->server->config, false, &rendered);
    TRY(text_pack(buf_str(&rendered), "config", &config_fd));
    TRY(certificates_pack(certs, n, client_ca, &certificates_fd));
    tell_all(p, config_fd, certificates_fd, none, none);
    LOG_INFO("parent", "a new certificate is in use");
    return ERR_OK;
}

static enum err on_certificate_install(void *ctx, struct ipc_certificate_install_args *a,
                                       struct arena *arena,
                                       struct ipc_certificate_install_results *r) WAITS
{
    struct parent *p = ((struct child *)ctx)->parent;
    TRY(turn_take(p));
    enum err e = install(p, a);
    turn_leave(p);
    TRY(e);
    return arena_dup(arena, STR("in use"), &r->text) ? ERR_OK : ERR_NOMEM;
}

static enum err on_certificate_next_key(void *ctx, struct ipc_certificate_next_key_args *a,
                                        struct arena *arena,
                                        struct ipc_certificate_next_key_results *r) WAITS
{
    BUF_AUTO struct buf none = BUF_INIT(16);
    struct folder_job j = {.config = &((struct child *)ctx)->parent->server->config};
    return apart_run(next_key_apart, &j, &none);
}

const struct ipc_service parent_calls_for_house = {
    .role = IPC_ROLE_PARENT,
    .ready = parent_on_ready,
    .operator_reload = on_operator_reload,
    .operator_stop = on_operator_stop,
    .roles_status = on_roles_status,
    .certificates_show = on_certificates_show,
    .certificate_request = on_certificate_request,
    .certificate_install = on_certificate_install,
    .certificate_next_key = on_certificate_next_key,
};
