/* SPDX-License-Identifier: Apache-2.0 */
#include "app/server.h"

#include "app/certificates.h"
#include "app/house_control.h"
#include "base/log.h"
#include "os/file.h"
#include "os/user.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define BACKLOG 1024
#define PEM_FILE_MAX 1048576

enum err server_config_read(str path, struct config *out, struct buf *error)
{
    BUF_AUTO struct buf text = BUF_INIT(CONFIG_TEXT_MAX);
    enum err e = file_read_whole(AT_FDCWD, path, &text);
    if (e != ERR_OK) {
        buf_addf(error, "The configuration %.*s cannot be read: %s%s.", STR_ARG(path), err_text(e),
                 e == ERR_NOT_FOUND ? "; posthouse init makes one, --config names another" : "");
        return e;
    }
    return config_parse(path, buf_str(&text), out, error);
}

/* ---- certificates ---- */

static enum err read_pem(str path, struct arena *a, str *out, struct buf *error)
{
    BUF_AUTO struct buf text = BUF_INIT(PEM_FILE_MAX);
    enum err e = file_read_whole(AT_FDCWD, path, &text);
    if (e == ERR_OK && !arena_dup(a, buf_str(&text), out))
        e = ERR_NOMEM;
    if (text.data)
        explicit_bzero(text.data, text.len);
    if (e != ERR_OK)
        buf_addf(error, "tls.certificates: %.*s cannot be read: %s.", STR_ARG(path), err_text(e));
    return e;
}

enum err server_certificates(const struct config *c, struct arena *a, struct tls_certificate *certs,
                             size_t max, size_t *n, struct buf *error)
{
    *n = 0;
    for (size_t i = 0; i < c->tls_certificates.count; i++) {
        str rest = c->tls_certificates.items[i], chain, key;
        if (*n == max || !str_next_word(&rest, &chain)) {
            buf_addf(error, "tls.certificates: at most %zu certificates.", max);
            return ERR_LIMIT;
        }
        struct tls_certificate *cert = &certs[(*n)++];
        TRY(read_pem(chain, a, &cert->chain_pem, error));
        cert->key_pem = cert->chain_pem;
        if (str_next_word(&rest, &key))
            TRY(read_pem(key, a, &cert->key_pem, error));
    }
    enum err e = *n < max ? certificates_acme(c, a, &certs[*n]) : ERR_NOT_FOUND;
    if (e == ERR_OK)
        (*n)++;
    else if (e != ERR_NOT_FOUND)
        buf_addf(error, "acme.folder: the certificate cannot be read: %s.", err_text(e));
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

static enum err open_tls(struct server *s, struct buf *error)
{
    ARENA_AUTO struct arena arena = ARENA_INIT(16777216);
    struct tls_certificate *certs = ARENA_ARRAY(&arena, struct tls_certificate, CERTIFICATES_MAX);
    size_t n;
    str client_ca;
    if (!certs)
        return ERR_NOMEM;
    TRY(certificates_load(&s->config, &arena, certs, CERTIFICATES_MAX, &n, &client_ca, &s->keys_fd,
                          error));
    if (n == 0)
        return ERR_OK;
    TRY(tls_server_open(certs, n, &s->signer, &s->tls));
    return tls_server_set_client_ca(s->tls, client_ca);
}

/* ---- sockets ---- */

str server_path(const struct server *s, str path, struct arena *a)
{
    if (!str_empty(path) && path.data[0] == '/')
        return path;
    return arena_fmt(a, "%.*s/%.*s", STR_ARG(s->data_dir), STR_ARG(path));
}

static void socket_text(const struct config_listen *where, enum listener_kind kind, char *out,
                        size_t size)
{
    BUF_AUTO struct buf at = BUF_INIT(4096);
    buf_add(&at, where->path);
    if (str_empty(where->path)) {
        bool six = where->address.family == 6;
        buf_add_c(&at, six ? "[" : "");
        address_render(&where->address, &at);
        buf_addf(&at, "%s:%u", six ? "]" : "", where->address.port);
    }
    snprintf(out, size, "%s %.*s", listener_rows[kind].name, STR_ARG(buf_str(&at)));
}

static void socket_close(struct server_socket *k)
{
    file_close(&k->fd);
    for (size_t i = 0; i < GATES_MAX; i++)
        file_close(&k->more[i]);
}

/* A socket for each gate, so that the kernel spreads the connections over them. */
static enum err bind_port(const struct server *s, struct server_socket *k)
{
    TRY(sock_listen(&k->where.address, BACKLOG, &k->fd));
    for (uint32_t i = 1; i < s->ngates; i++) {
        enum err e = sock_listen_more(&k->where.address, BACKLOG, &k->more[i]);
        if (e != ERR_OK) { /* the gates share the first, then */
            LOG_WARN("parent", "%s: gates share a socket: %s", k->text, err_text(e));
            break;
        }
    }
    return ERR_OK;
}

static const char *bind_failure(const struct server_socket *k, enum err e)
{
    bool port = str_empty(k->where.path);
    switch (e) {
    case ERR_EXISTS:
        return "the address is in use";
    case ERR_UNAVAILABLE:
        return port ? "this host does not have the address" : err_text(e);
    case ERR_DENIED:
        return port ? "ports below 1024 are root's" : err_text(e);
    default:
        return err_text(e);
    }
}

static enum err socket_bind(struct server *s, struct server_socket *k, struct buf *error)
{
    ARENA_AUTO struct arena arena = ARENA_INIT(16384);
    enum err e = ERR_OK;
    if (!str_empty(k->where.path))
        e = sock_listen_unix(server_path(s, k->where.path, &arena), BACKLOG, &k->fd);
    else
        e = bind_port(s, k);
    if (e == ERR_OK)
        return ERR_OK;
    k->fd = -1;
    buf_addf(error, "listen.%s: cannot listen on %s: %s.", listener_rows[k->kind].name,
             k->text + strlen(listener_rows[k->kind].name) + 1, bind_failure(k, e));
    return e;
}

static struct server_socket *find_socket(struct server *s, const char *text)
{
    for (size_t i = 0; i < SOCKETS_MAX; i++) {
        if (s->sockets[i].fd >= 0 && strcmp(s->sockets[i].text, text) == 0)
            return &s->sockets[i];
    }
    return NULL;
}

static struct server_socket *free_socket(struct server *s)
{
    for (size_t i = 0; i < SOCKETS_MAX; i++) {
        if (s->sockets[i].fd < 0)
            return &s->sockets[i];
    }
    return NULL;
}

/* Binds one; wanted marks those that stay. */
static enum err want_one(struct server *s, enum listener_kind kind,
                         const struct config_listen *where, bool wanted[SOCKETS_MAX],
                         bool opened[SOCKETS_MAX], struct buf *error)
{
    struct server_socket next = {.kind = kind, .where = *where, .fd = -1};
    for (size_t i = 0; i < GATES_MAX; i++)
        next.more[i] = -1;
    socket_text(where, kind, next.text, sizeof(next.text));
    struct server_socket *k = find_socket(s, next.text);
    if (!k) {
        k = free_socket(s);
        if (!k) {
            buf_addf(error, "At most %d listening sockets.", SOCKETS_MAX);
            return ERR_LIMIT;
        }
        TRY(socket_bind(s, &next, error));
        *k = next;
        opened[k - s->sockets] = true;
    }
    wanted[k - s->sockets] = true;
    return ERR_OK;
}

/* "*" is every address of both families; a host may be without IPv6. */
static enum err want_socket(struct server *s, enum listener_kind kind,
                            const struct config_listen *where, bool wanted[SOCKETS_MAX],
                            bool opened[SOCKETS_MAX], struct buf *error)
{
    if (!where->any)
        return want_one(s, kind, where, wanted, opened, error);
    struct config_listen four = {.address = {.family = 4, .port = where->address.port}};
    struct config_listen six = {.address = {.family = 6, .port = where->address.port}};
    TRY(want_one(s, kind, &four, wanted, opened, error));
    BUF_AUTO struct buf ignored = BUF_INIT(4096);
    if (want_one(s, kind, &six, wanted, opened, &ignored) != ERR_OK)
        LOG_WARN("parent", "no IPv6: %.*s", STR_ARG(buf_str(&ignored)));
    return ERR_OK;
}

enum err server_sockets(struct server *s, bool opened[SOCKETS_MAX], bool closed[SOCKETS_MAX],
                        struct buf *error)
{
    bool wanted[SOCKETS_MAX] = {false};
    enum err e = ERR_OK;
    for (enum listener_kind kind = 0; kind < LISTENER_KINDS && e == ERR_OK; kind++) {
        const struct config_listens *l = config_listens_of(&s->config, kind);
        for (size_t i = 0; i < l->count && e == ERR_OK; i++)
            e = want_socket(s, kind, &l->items[i], wanted, opened, error);
    }
    for (size_t i = 0; i < SOCKETS_MAX; i++) {
        if (e != ERR_OK && opened[i])
            socket_close(&s->sockets[i]);
        closed[i] = e == ERR_OK && s->sockets[i].fd >= 0 && !wanted[i];
        if (closed[i])
            socket_close(&s->sockets[i]);
    }
    return e;
}

uint16_t server_port(const struct server *s, enum listener_kind kind)
{
    for (size_t i = 0; i < SOCKETS_MAX; i++) {
        if (s->sockets[i].fd >= 0 && s->sockets[i].kind == kind)
            return s->sockets[i].where.address.port;
    }
    return 0;
}

/* ---- all of it ---- */

static enum err find_user(struct server *s, struct buf *error)
{
    if (!user_is_root() || s->stay_who_we_are)
        return ERR_OK;
    enum err e = user_find(s->config.server_user, &s->uid, &s->gid);
    if (e == ERR_OK && s->uid != 0)
        return ERR_OK;
    str user = s->config.server_user;
    buf_addf(error,
             "server.user: there is no user \"%.*s\" to run as; make one (useradd --system --shell "
             "/usr/sbin/nologin %.*s, then chown -R %.*s: %.*s), or name another.",
             STR_ARG(user), STR_ARG(user), STR_ARG(user), STR_ARG(s->data_dir));
    return ERR_NOT_FOUND;
}

static enum err open_control(struct server *s, struct buf *error)
{
    ARENA_AUTO struct arena arena = ARENA_INIT(16384);
    str path = server_path(s, STR(CONTROL_SOCKET_NAME), &arena);
    enum err e = sock_listen_unix(path, CONTROL_CONNECTIONS_MAX, &s->control_fd);
    if (e == ERR_OK && s->uid)
        e = user_give(path, s->uid, s->gid);
    if (e == ERR_EXISTS || e == ERR_BUSY)
        buf_addf(error, "A server is already running in %.*s.", STR_ARG(s->data_dir));
    else if (e != ERR_OK)
        buf_addf(error, "The control socket %.*s cannot be made: %s.", STR_ARG(path), err_text(e));
    return e;
}

void server_init(struct server *s)
{
    for (size_t i = 0; i < SOCKETS_MAX; i++) {
        s->sockets[i].fd = -1;
        for (size_t g = 0; g < GATES_MAX; g++)
            s->sockets[i].more[g] = -1;
    }
    s->control_fd = s->keys_fd = -1;
}

enum err server_open(struct server *s, struct buf *error)
{
    unsigned cores = user_processors();
    s->ngates = s->config.server_gates ? (uint32_t)s->config.server_gates : cores;
    s->nthreads = s->config.server_house_threads ? (uint32_t)s->config.server_house_threads : cores;
    TRY(find_user(s, error));
    enum err e = file_make_dirs(s->data_dir);
    if (e == ERR_OK && s->uid)
        e = user_give(s->data_dir, s->uid, s->gid);
    if (e != ERR_OK) {
        buf_addf(error, "server.data: the folder %.*s cannot be made: %s.", STR_ARG(s->data_dir),
                 err_text(e));
        return e;
    }
    TRY(open_control(s, error));
    TRY(open_tls(s, error));
    bool opened[SOCKETS_MAX] = {false}, closed[SOCKETS_MAX] = {false};
    return server_sockets(s, opened, closed, error);
}

void server_stop_listening(struct server *s)
{
    ARENA_AUTO struct arena arena = ARENA_INIT(16384);
    for (size_t i = 0; i < SOCKETS_MAX; i++) {
        struct server_socket *k = &s->sockets[i];
        if (k->fd >= 0 && !str_empty(k->where.path))
            (void)!file_remove(AT_FDCWD, server_path(s, k->where.path, &arena));
        socket_close(k);
    }
}

void server_close(struct server *s)
{
    ARENA_AUTO struct arena arena = ARENA_INIT(16384);
    server_stop_listening(s);
    if (s->control_fd >= 0)
        (void)!file_remove(AT_FDCWD, server_path(s, STR(CONTROL_SOCKET_NAME), &arena));
    file_close(&s->control_fd);
    file_close(&s->keys_fd);
    tls_server_close(s->tls);
    s->tls = NULL;
    config_free(&s->config);
}
