/* SPDX-License-Identifier: Apache-2.0
 *
 * posthouse init DOMAIN: a configuration, the store, the domain and the first account.
 */
#include "app/client.h"
#include "app/command.h"
#include "app/server.h"
#include "base/log.h"
#include "os/file.h"
#include "os/user.h"

#include <fcntl.h>

/* Whoever is not root names both places. */
static const char *what_else(const struct command_run *r, enum err e)
{
    bool usual = str_empty(r->config_path) || str_empty(r->data_dir);
    if (e != ERR_DENIED || user_is_root() || !usual)
        return "";
    return "; as an ordinary user, name others with --config and --data";
}

static enum err write_config(struct command_run *r, str path, str domain, str data)
{
    struct config existing;
    BUF_AUTO struct buf error = BUF_INIT(65536);
    BUF_AUTO struct buf text = BUF_INIT(65536);
    enum err e = server_config_read(path, &existing, &error);
    if (e == ERR_OK) {
        config_free(&existing);
        return command_fail(r, ERR_EXISTS,
                            "The configuration %.*s exists already; remove it to begin anew.",
                            STR_ARG(path));
    }
    if (e != ERR_NOT_FOUND)
        return command_fail(r, e, "%.*s", STR_ARG(buf_str(&error)));
    size_t slash = str_rfind_char(path, '/');
    if (slash != STR_NPOS && slash > 0)
        e = file_make_dirs(str_head(path, slash));
    buf_addf(&text,
             "# posthouse config defaults shows every setting.\n[server]\nhostname = mail.%.*s\n"
             "data = %.*s\n\n[tls]\n# certificates = /etc/ssl/mail.pem /etc/ssl/mail.key\n",
             STR_ARG(domain), STR_ARG(data));
    if (e == ERR_OK || e == ERR_NOT_FOUND)
        e = file_replace(AT_FDCWD, path, buf_str(&text));
    if (e != ERR_OK)
        return command_fail(r, e, "The configuration %.*s cannot be written: %s%s.", STR_ARG(path),
                            err_text(e), what_else(r, e));
    return ERR_OK;
}

/* Runs one STORE command over the new store, with what it says in this report's place. */
static enum err run_words(struct command_run *r, struct admin *admin, const str *words, size_t n)
{
    struct command_run *sub = ARENA_NEW(&r->arena, struct command_run);
    if (!sub)
        return ERR_NOMEM;
    *sub = (struct command_run){.admin = admin, .secret = r->secret, .report = r->report};
    arena_init(&sub->arena, 1048576);
    buf_init(&sub->error, 65536);
    enum err e = command_parse(sub, words, n);
    if (e == ERR_OK)
        e = sub->row->run(sub);
    if (e != ERR_OK)
        command_fail(r, e, "%.*s", STR_ARG(buf_str(&sub->error)));
    r->report = sub->report;
    buf_free(&sub->error);
    arena_free(&sub->arena);
    return e;
}

static enum err fill(struct command_run *r, struct store *store, str domain)
{
    struct directory directory = {store};
    struct admin admin = {.directory = &directory, .hasher = &hasher_here};
    TRY(accounts_open(&(struct accounts_options){.store = store}, &admin.accounts));
    str add_domain[] = {STR("domain"), STR("add"), domain};
    str add_account[] = {STR("account"), STR("add"),
                         arena_fmt(&r->arena, "postmaster@%.*s", STR_ARG(domain))};
    enum err e = run_words(r, &admin, add_domain, 3);
    if (e == ERR_OK)
        e = run_words(r, &admin, add_account, 3);
    accounts_close(admin.accounts);
    return e;
}

struct init {
    struct command_run *run;
    struct store *store;
    str domain;
    enum err result;
};

static void init_fiber(void *arg) WAITS
{
    struct init *i = arg;
    i->result = fill(i->run, i->store, i->domain);
}

static enum err open_and_fill(struct command_run *r, struct server *s, str domain)
{
    struct init i = {.run = r, .domain = domain};
    enum err e =
        store_open_embedded(&(struct store_options){.dir = s->data_dir, .create = true}, &i.store);
    if (e != ERR_OK)
        return command_fail(r, e, "The store %.*s cannot be made: %s.", STR_ARG(s->data_dir),
                            err_text(e));
    struct loop *loop;
    struct fiber_group group;
    fiber_group_init(&group);
    e = loop_open(&loop, &(struct loop_options){.name = "init", .slice_warn_ms = 10000});
    if (e == ERR_OK) {
        e = fiber_start(&group, "init", init_fiber, &i);
        if (e == ERR_OK)
            loop_run_until_idle(loop);
        loop_close(loop);
    }
    store_close(i.store);
    return e == ERR_OK ? i.result : e;
}

static void say_what_is_next(struct command_run *r, const struct server *s, str path, str domain)
{
    str dir = s->data_dir, user = s->config.server_user;
    report_say(&r->report, "The configuration is %.*s, the data lies in %.*s.", STR_ARG(path),
               STR_ARG(dir));
    if (s->config.server_user.len > 0 && user_is_root() && s->uid == 0)
        report_say(&r->report,
                   "There is no user %.*s yet: useradd --system --home-dir %.*s --shell "
                   "/usr/sbin/nologin %.*s && chown -R %.*s: %.*s",
                   STR_ARG(user), STR_ARG(dir), STR_ARG(user), STR_ARG(user), STR_ARG(dir));
    report_say(&r->report,
               "Next: a certificate (in [tls], or by [acme]), the records of posthouse dns %.*s, "
               "then posthouse serve; posthouse doctor says what is missing.",
               STR_ARG(domain));
}

enum err local_init(struct command_run *r)
{
    struct server *s = ARENA_NEW(&r->arena, struct server);
    str domain, path = str_empty(r->config_path) ? STR(CONFIG_PATH_DEFAULT) : r->config_path;
    if (!s)
        return ERR_NOMEM;
    log_set_level(LOG_LEVEL_WARN);
    if (directory_normalise_domain(r->args[0], &r->arena, &domain) != ERR_OK)
        return command_fail(r, ERR_INVALID, "%.*s is not a domain name.", STR_ARG(r->args[0]));
    str data = str_empty(r->data_dir) ? STR("/var/lib/posthouse") : r->data_dir;
    BUF_AUTO struct buf real = BUF_INIT(8192);
    enum err e = file_make_dirs(data);
    if (e == ERR_OK)
        e = user_absolute_path(data, &real);
    if (e != ERR_OK)
        return command_fail(r, e, "The data folder %.*s cannot be made: %s%s.", STR_ARG(data),
                            err_text(e), what_else(r, e));
    s->data_dir = buf_str(&real);
    TRY(write_config(r, path, domain, s->data_dir));
    TRY(server_config_read(path, &s->config, &r->error));
    if (user_is_root() && user_find(s->config.server_user, &s->uid, &s->gid) == ERR_OK)
        TRY(user_give(s->data_dir, s->uid, s->gid));
    TRY(role_enter(ROLE_HOUSE, s));
    e = open_and_fill(r, s, domain);
    if (e == ERR_OK)
        say_what_is_next(r, s, path, domain);
    config_free(&s->config);
    return e;
}
