/* SPDX-License-Identifier: Apache-2.0
 *
 * posthouse dev: the whole server as one unprivileged command for developers and tests. The same
 * roles run as separate sandboxed processes; only ports, certificates, accounts and (without
 * --store) the memory engine are its own.
 */
#include "app/apart.h"
#include "app/command.h"
#include "app/parent.h"
#include "app/server.h"
#include "base/num.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/user.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#define DEV_ACCOUNTS_MAX 100000
#define DEV_ACCOUNTS 2

struct dev {
    struct command_run *run;
    struct server *server;
    bool temporary;
    uint32_t accounts;
    str ca_path, lmtp_path;
};

/* ---- certificates ---- */

static enum err dev_ca(struct dev *d, struct buf *cert, struct buf *key)
{
    str dir = d->server->data_dir;
    str key_path = arena_fmt(&d->run->arena, "%.*s/dev-ca.key", STR_ARG(dir));
    if (file_read_whole(AT_FDCWD, d->ca_path, cert) == ERR_OK &&
        file_read_whole(AT_FDCWD, key_path, key) == ERR_OK)
        return ERR_OK; /* a kept store keeps its CA */
    buf_reset(cert);
    buf_reset(key);
    TRY(tls_make_ca(STR("Posthouse dev CA"), cert, key));
    TRY(file_replace(AT_FDCWD, key_path, buf_str(key)));
    return file_replace(AT_FDCWD, d->ca_path, buf_str(cert));
}

static enum err dev_certificate(struct dev *d, bool rsa, str ca, str ca_key, const char *file)
{
    static const str names[] = {STR_INIT("localhost"), STR_INIT("mail.example.test"),
                                STR_INIT("example.test"), STR_INIT("127.0.0.1")};
    BUF_AUTO struct buf cert = BUF_INIT(65536);
    BUF_AUTO struct buf key = BUF_INIT(65536);
    TRY(tls_make_certificate(ca, ca_key, names, ARRAY_LEN(names), rsa, &cert, &key));
    buf_add(&cert, buf_str(&key));
    str path = arena_fmt(&d->run->arena, "%.*s/%s", STR_ARG(d->server->data_dir), file);
    return file_replace(AT_FDCWD, path, buf_str(&cert));
}

static enum err certificates_apart(void *arg, struct buf *answer)
{
    struct dev *d = arg;
    BUF_AUTO struct buf ca = BUF_INIT(65536);
    BUF_AUTO struct buf ca_key = BUF_INIT(65536);
    TRY(dev_ca(d, &ca, &ca_key));
    return dev_certificate(d, false, buf_str(&ca), buf_str(&ca_key), "dev-ecdsa.pem");
}

static enum err dev_certificates(struct dev *d)
{
    BUF_AUTO struct buf none = BUF_INIT(16);
    d->ca_path = arena_fmt(&d->run->arena, "%.*s/dev-ca.pem", STR_ARG(d->server->data_dir));
    return apart_run(certificates_apart, d, &none);
}

/* ---- the folder and the configuration ---- */

static enum err dev_folder(struct dev *d)
{
    const str *store = command_option(d->run, "store");
    BUF_AUTO struct buf path = BUF_INIT(8192);
    enum err e;
    if (store) {
        e = file_make_dirs(*store);
        if (e == ERR_OK)
            e = user_absolute_path(*store, &path);
    } else {
        d->temporary = true;
        e = user_temporary_dir("posthouse-dev", &path);
    }
    if (e != ERR_OK)
        return command_fail(d->run, e, "The folder for the store cannot be made: %s.", err_text(e));
    d->server->memory_store = !store;
    return arena_dup(&d->run->arena, buf_str(&path), &d->server->data_dir) ? ERR_OK : ERR_NOMEM;
}

/* Values of --set=SECTION.KEY=VALUE replace those that dev gives itself. */
static bool set_by_user(const struct dev *d, str name)
{
    for (size_t i = 0; i < d->run->noptions; i++) {
        str key, value;
        (void)str_cut(d->run->options[i].value, '=', &key, &value);
        if (str_eq(d->run->options[i].name, STR("set")) && str_eq(key, name))
            return true;
    }
    return false;
}

static void setting(const struct dev *d, struct buf *text, str name, str value)
{
    str section, key;
    if (set_by_user(d, name))
        return;
    (void)str_cut(name, '.', &section, &key);
    buf_addf(text, "[%.*s]\n%.*s = %.*s\n", STR_ARG(section), STR_ARG(key), STR_ARG(value));
}

static enum err users_settings(const struct dev *d, struct buf *text)
{
    for (size_t i = 0; i < d->run->noptions; i++) {
        str name, value, section, key;
        if (!str_eq(d->run->options[i].name, STR("set")))
            continue;
        if (!str_cut(d->run->options[i].value, '=', &name, &value) ||
            !str_cut(name, '.', &section, &key))
            return command_fail(d->run, ERR_INVALID, "--set wants SECTION.KEY=VALUE.");
        buf_addf(text, "[%.*s]\n%.*s = %.*s\n", STR_ARG(section), STR_ARG(key), STR_ARG(value));
    }
    return ERR_OK;
}

static void listen_settings(struct dev *d, uint64_t base, struct buf *text)
{
    struct arena *a = &d->run->arena;
    for (size_t i = 0; i < LISTENER_KINDS; i++) {
        const struct listener_row *row = &listener_rows[i];
        unsigned port = base ? (unsigned)(base + row->dev_port) : 0;
        setting(d, text, arena_fmt(a, "listen.%s", row->name),
                row->dev_port == 0 ? d->lmtp_path : arena_fmt(a, "127.0.0.1:%u", port));
    }
}

static enum err dev_config(struct dev *d, uint64_t base)
{
    struct arena *a = &d->run->arena;
    BUF_AUTO struct buf text = BUF_INIT(65536);
    str dir = d->server->data_dir;
    const char *level = getenv("POSTHOUSE_LOG");
    d->lmtp_path = arena_fmt(a, "%.*s/lmtp.sock", STR_ARG(dir));
    buf_addf(&text, "[server]\ndata = %.*s\n", STR_ARG(dir));
    setting(d, &text, STR("server.hostname"), STR("mail.example.test"));
    setting(d, &text, STR("tls.certificates"), arena_fmt(a, "%.*s/dev-ecdsa.pem", STR_ARG(dir)));
    setting(d, &text, STR("acme.folder"), arena_fmt(a, "%.*s/tls", STR_ARG(dir)));
    setting(d, &text, STR("auth.plain_on_loopback"), STR("yes"));
    setting(d, &text, STR("smtp.transactions_max"), STR("100000000"));
    setting(d, &text, STR("limits.connections_per_source"), STR("100000"));
    setting(d, &text, STR("send_limit.messages_hour"), STR("0"));
    setting(d, &text, STR("send_limit.messages_day"), STR("0"));
    setting(d, &text, STR("send_limit.recipients_hour"), STR("0"));
    setting(d, &text, STR("send_limit.recipients_day"), STR("0"));
    setting(d, &text, STR("log.level"), level ? str_c(level) : STR("warn"));
    listen_settings(d, base, &text);
    TRY(users_settings(d, &text));
    return config_parse(STR("dev"), buf_str(&text), &d->server->config, &d->run->error);
}

static enum err dev_numbers(struct command_run *r, uint64_t *accounts, uint64_t *base)
{
    const str *a = command_option(r, "accounts"), *p = command_option(r, "ports");
    *accounts = DEV_ACCOUNTS;
    *base = 0;
    if (a && !num_parse_u64(*a, DEV_ACCOUNTS_MAX, accounts))
        return command_fail(r, ERR_INVALID, "--accounts is a number up to %d.", DEV_ACCOUNTS_MAX);
    if (p && (!num_parse_u64(*p, 64000, base) || *base == 0))
        return command_fail(r, ERR_INVALID, "--ports is a number from 1 to 64000.");
    return ERR_OK;
}

/* ---- what it says ---- */

static void say_json(const struct dev *d, const struct server *s)
{
    BUF_AUTO struct buf line = BUF_INIT(67108864);
    struct json j = json_of(&line);
    json_open(&j, '{');
    json_key(&j, "pid");
    json_u64(&j, (uint64_t)user_process_id());
    json_key(&j, "store");
    json_str(&j, s->data_dir);
    json_key(&j, "engine");
    json_str(&j, s->memory_store ? STR("memory") : STR("embedded"));
    json_key(&j, "ca");
    json_str(&j, d->ca_path);
    json_key(&j, "ports");
    json_open(&j, '{');
    for (enum listener_kind i = 0; i < LISTENER_KINDS; i++) {
        if (listener_rows[i].dev_port == 0)
            continue;
        json_key(&j, listener_rows[i].name);
        json_u64(&j, server_port(s, i));
    }
    json_close(&j, '}');
    json_key(&j, "lmtp");
    json_str(&j, d->lmtp_path);
    json_key(&j, "accounts");
    json_open(&j, '[');
    for (uint32_t i = 1; i <= d->accounts; i++) {
        char address[64];
        int n = snprintf(address, sizeof(address), "user%u@example.test", i);
        json_open(&j, '{');
        json_key(&j, "address");
        json_str(&j, str_of(address, (size_t)n));
        json_key(&j, "password");
        json_str(&j, STR("secret"));
        json_close(&j, '}');
    }
    json_close(&j, ']');
    json_close(&j, '}');
    printf("%.*s\n", STR_ARG(buf_str(&line)));
}

static void say_text(const struct dev *d, const struct server *s)
{
    printf("posthouse dev runs (pid %d), data in %.*s%s\n", user_process_id(), STR_ARG(s->data_dir),
           s->memory_store ? " (mail only in memory)" : "");
    for (enum listener_kind i = 0; i < LISTENER_KINDS; i++) {
        if (listener_rows[i].dev_port)
            printf("  %-12s 127.0.0.1:%u\n", listener_rows[i].name, server_port(s, i));
    }
    printf("  %-12s %.*s\n  CA           %.*s\n", "lmtp", STR_ARG(d->lmtp_path),
           STR_ARG(d->ca_path));
    printf("  accounts     user1@example.test to user%u@example.test, password secret\n",
           d->accounts);
}

static void dev_ready(void *arg, const struct server *s)
{
    struct dev *d = arg;
    if (d->run->json)
        say_json(d, s);
    else
        say_text(d, s);
    fflush(stdout);
}

static void remove_temporary(const struct dev *d)
{
    static const char *files[] = {"dev-ca.key", "dev-ca.pem", "dev-ecdsa.pem", "lmtp.sock",
                                  "control.sock"};
    if (!d->temporary)
        return;
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        str path = arena_fmt(&d->run->arena, "%.*s/%s", STR_ARG(d->server->data_dir), files[i]);
        (void)!file_remove(AT_FDCWD, path);
    }
    user_remove_dir(d->server->data_dir);
}

/* ---- the command ---- */

static enum err dev_open(struct dev *d)
{
    uint64_t accounts, base;
    TRY(dev_numbers(d->run, &accounts, &base));
    d->accounts = d->server->accounts = (uint32_t)accounts;
    TRY(dev_folder(d));
    TRY(dev_certificates(d));
    TRY(dev_config(d, base));
    return server_open(d->server, &d->run->error);
}

enum err local_dev(struct command_run *r)
{
    struct dev d = {.run = r, .server = ARENA_NEW(&r->arena, struct server)};
    if (!d.server)
        return ERR_NOMEM;
    clock_allow_offset(); /* rule wire-8: the suite runs in 2038 and 2106 */
    tls_init();
    server_init(d.server);
    d.server->stay_who_we_are = true;
    enum err e = dev_open(&d);
    if (e == ERR_OK)
        r->exit_code = parent_run(d.server, dev_ready, &d);
    server_close(d.server);
    remove_temporary(&d);
    if (e == ERR_OK)
        report_discard(&r->report);
    return e;
}
