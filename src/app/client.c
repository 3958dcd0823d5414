/* SPDX-License-Identifier: Apache-2.0 */
#include "app/client.h"

#include "app/house_control.h"
#include "app/server.h"
#include "base/log.h"
#include "os/file.h"
#include "os/proc.h"
#include "os/user.h"

#include <stdio.h>
#include <string.h>

void client_print(const struct buf *out, const struct buf *errors)
{
    if (out->len)
        fwrite(out->data, 1, out->len, stdout);
    fflush(stdout);
    if (errors->len)
        fwrite(errors->data, 1, errors->len, stderr);
}

enum err client_data_dir(struct command_run *r, struct config *config, str *out)
{
    bool named = !str_empty(r->config_path);
    str path = named ? r->config_path : STR(CONFIG_PATH_DEFAULT);
    BUF_AUTO struct buf error = BUF_INIT(65536);
    enum err e = server_config_read(path, config, &error);
    if (e == ERR_NOT_FOUND && !named && !str_empty(r->data_dir)) {
        buf_reset(&error); /* --data alone is enough */
        e = config_parse(path, STR_NONE, config, &error);
    }
    if (e != ERR_OK)
        return command_fail(r, e, "%.*s", STR_ARG(buf_str(&error)));
    str dir = str_empty(r->data_dir) ? config->server_data : r->data_dir;
    return arena_dup(&r->arena, dir, out) ? ERR_OK : ERR_NOMEM;
}

/* ---- in the running server ---- */

static enum err unpack(int fd, struct buf *out)
{
    FD_AUTO int f = fd;
    return f < 0 ? ERR_CORRUPT : text_unpack(f, COMMAND_OUT_MAX, out);
}

/* What the words say, without what only concerns this side: the secret goes by itself. */
static bool for_the_server(str word)
{
    return !str_starts(word, STR("--password")) && !str_starts(word, STR("--data")) &&
           !str_starts(word, STR("--config")) && !str_starts(word, STR("--store"));
}

static void put_words(struct command_run *r, const str *words, size_t n, struct buf *argv)
{
    for (size_t i = 0; i < n; i++) {
        if (!for_the_server(words[i])) {
            bool value_follows = !str_eq(words[i], STR("--password-stdin")) &&
                                 str_find_char(words[i], '=') == STR_NPOS;
            i += value_follows;
            continue;
        }
        buf_add(argv, words[i]);
        buf_add_char(argv, 0);
    }
}

static int ask_server(struct command_run *r, int fd, const str *words, size_t n)
{
    BUF_AUTO struct buf argv = BUF_INIT(1048576);
    put_words(r, words, n, &argv);
    struct ipc_command_results res;
    struct ipc_command_args args = {.argv = buf_str(&argv), .secret = r->secret, .json = r->json};
    enum err e = buf_ok(&argv) ? ipc_call_once(fd, IPC_command, &args, &r->arena, &res) : ERR_LIMIT;
    BUF_AUTO struct buf out = BUF_INIT(COMMAND_OUT_MAX);
    BUF_AUTO struct buf errors = BUF_INIT(65536);
    if (e == ERR_OK)
        e = unpack(res.output, &out);
    if (e == ERR_OK)
        e = unpack(res.errors, &errors);
    if (e != ERR_OK) {
        report_open(&r->report, r->json, &out);
        command_fail(r, e, "The server did not answer: %s.", err_text(e));
        report_failure(&r->report, e, buf_str(&r->error), &errors);
    }
    client_print(&out, &errors);
    return e == ERR_OK ? (int)res.exit_code : command_exit_code(e);
}

/* ---- over the store alone ---- */

static enum err alone_open(struct command_run *r, struct server *s, struct store **store)
{
    /* Files that root makes here must be the service's own. */
    if (user_owner(s->data_dir, &s->uid, &s->gid) != ERR_OK)
        return command_fail(r, ERR_NOT_FOUND,
                            "There is no data folder %.*s; begin with: posthouse init DOMAIN.",
                            STR_ARG(s->data_dir));
    if (!user_is_root())
        s->uid = s->gid = 0;
    TRY(role_enter(ROLE_HOUSE, s));
    enum err e =
        store_open_embedded(&(struct store_options){.dir = s->data_dir, .create = true}, store);
    if (e == ERR_BUSY)
        return command_fail(r, e, "The store %.*s is in use by another process.",
                            STR_ARG(s->data_dir));
    if (e != ERR_OK)
        return command_fail(r, e, "The store %.*s cannot be opened: %s.", STR_ARG(s->data_dir),
                            err_text(e));
    return ERR_OK;
}

struct alone {
    struct command_run *run;
    struct store *store;
    struct buf *out, *errors;
    const struct config *config;
    str data_dir;
    int exit_code;
};

static void alone_fiber(void *arg) WAITS
{
    struct alone *a = arg;
    struct directory directory = {a->store};
    struct admin admin = {.directory = &directory,
                          .config = a->config,
                          .hasher = &hasher_here,
                          .data_dir = a->data_dir};
    enum err e = accounts_open(&(struct accounts_options){.store = a->store}, &admin.accounts);
    if (e != ERR_OK) {
        a->exit_code = command_exit_code(e);
        return;
    }
    a->run->admin = &admin;
    a->exit_code = command_execute(a->run, a->out, a->errors);
    accounts_close(admin.accounts);
}

static enum err alone_run(struct alone *a)
{
    struct loop *loop;
    TRY(loop_open(&loop, &(struct loop_options){.name = "command", .slice_warn_ms = 10000}));
    struct fiber_group group;
    fiber_group_init(&group);
    enum err e = fiber_start(&group, "command", alone_fiber, a);
    if (e == ERR_OK)
        loop_run_until_idle(loop);
    loop_close(loop);
    return e;
}

static int run_alone(struct command_run *r, struct server *s)
{
    BUF_AUTO struct buf out = BUF_INIT(COMMAND_OUT_MAX);
    BUF_AUTO struct buf errors = BUF_INIT(65536);
    struct alone a = {
        .run = r, .out = &out, .errors = &errors, .config = &s->config, .data_dir = s->data_dir};
    log_set_level(LOG_LEVEL_WARN);
    enum err e = alone_open(r, s, &a.store);
    if (e == ERR_OK) {
        e = alone_run(&a);
        store_close(a.store);
    }
    if (e != ERR_OK) {
        if (r->error.len == 0)
            command_fail(r, e, "The command cannot run: %s.", err_text(e));
        report_open(&r->report, r->json, &out);
        report_failure(&r->report, e, buf_str(&r->error), &errors);
        a.exit_code = command_exit_code(e);
    }
    client_print(&out, &errors);
    return a.exit_code;
}

int client_run(struct command_run *r, const str *words, size_t n)
{
    struct server s = {0};
    enum err e = client_data_dir(r, &s.config, &s.data_dir);
    BUF_AUTO struct buf out = BUF_INIT(65536);
    BUF_AUTO struct buf errors = BUF_INIT(65536);
    BUF_AUTO struct buf real = BUF_INIT(8192);
    if (e == ERR_OK) {
        if (user_absolute_path(s.data_dir, &real) == ERR_OK)
            s.data_dir = buf_str(&real);
        FD_AUTO int fd = -1;
        if (sock_connect_unix(server_path(&s, STR(CONTROL_SOCKET_NAME), &r->arena), &fd) == ERR_OK)
            return ask_server(r, fd, words, n);
        if (r->row->where == COMMAND_STORE)
            return run_alone(r, &s);
        e = command_fail(r, ERR_UNAVAILABLE,
                         "No server runs over %.*s; posthouse serve starts one.",
                         STR_ARG(s.data_dir));
    }
    report_open(&r->report, r->json, &out);
    report_failure(&r->report, e, buf_str(&r->error), &errors);
    client_print(&out, &errors);
    return command_exit_code(e);
}
