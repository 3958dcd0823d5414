/* SPDX-License-Identifier: Apache-2.0
 *
 * Commands that concern no running server: help, version, configuration, and `serve` itself.
 */
#include "app/client.h"
#include "app/command.h"
#include "app/parent.h"
#include "app/server.h"
#include "app/version.h"
#include "base/log.h"
#include "os/file.h"
#include "os/user.h"

#include <stdio.h>

enum err local_version(struct command_run *r)
{
    report_str(&r->report, "version", STR(POSTHOUSE_VERSION));
    return ERR_OK;
}

static bool help_wanted(const struct command_run *r, const struct command_row *row)
{
    if (r->nargs > 0 && !str_eq(r->args[0], str_c(row->name)))
        return false;
    return r->nargs < 2 || !row->sub[0] || str_eq(r->args[1], str_c(row->sub));
}

enum err local_help(struct command_run *r)
{
    BUF_AUTO struct buf line = BUF_INIT(65536);
    size_t wanted = 0;
    for (size_t i = 0; i < command_rows_count; i++)
        wanted += help_wanted(r, &command_rows[i]);
    if (wanted == 0)
        return command_fail(r, ERR_INVALID,
                            "There is no command \"%.*s%s%.*s\"; try: posthouse help.",
                            STR_ARG(r->args[0]), r->nargs > 1 ? " " : "",
                            STR_ARG(r->nargs > 1 ? r->args[1] : STR_NONE));
    report_list(&r->report, "commands");
    for (size_t i = 0; i < command_rows_count; i++) {
        const struct command_row *row = &command_rows[i];
        if (!help_wanted(r, row))
            continue;
        buf_reset(&line);
        command_usage(row, &line);
        if (r->json) {
            report_item(&r->report);
            report_str(&r->report, "usage", buf_str(&line));
            report_str(&r->report, "help", str_c(row->help));
            report_item_end(&r->report);
        } else {
            buf_addf(r->report.out, "%.*s\n        %s\n", STR_ARG(buf_str(&line)), row->help);
        }
    }
    report_list_end(&r->report);
    if (!r->json && r->nargs == 0)
        buf_add_c(r->report.out, "Everywhere: [--json] [--config FILE] [--data DIR]\n");
    return ERR_OK;
}

/* posthouse(8), from the table of commands. */
static void manual(struct buf *out)
{
    BUF_AUTO struct buf usage = BUF_INIT(65536);
    buf_add_c(
        out,
        ".TH POSTHOUSE 8\n.SH NAME\nposthouse \\- a mail server in one program\n.SH SYNOPSIS\n"
        ".B posthouse\n.I COMMAND\n[\\-\\-json] [\\-\\-config FILE] [\\-\\-data DIR]\n"
        ".SH DESCRIPTION\nA command speaks to the running server over its control socket, and "
        "opens the store alone when none runs. With \\-\\-json it answers with one JSON object. "
        "Its exit status is 0 when it succeeded, 1 when it failed, 2 when it was not "
        "understood, 75 when it may succeed later.\n.SH OPTIONS\nOf every command:\n"
        ".TP\n.B \\-\\-config FILE\nthe configuration, when it is not the usual one\n"
        ".TP\n.B \\-\\-data DIR\nthe data folder, when it is not that of the configuration\n"
        ".TP\n.B \\-\\-json\nthe answer as one JSON object\n"
        ".TP\n.B \\-\\-help\nthe help for the command before it\n.SH COMMANDS\n");
    for (size_t i = 0; i < command_rows_count; i++) {
        buf_reset(&usage);
        command_usage(&command_rows[i], &usage);
        buf_add_char(&usage, 0);
        buf_add_c(out, ".TP\n.B ");
        config_manual_text(usage.data, out);
        buf_add_char(out, '\n');
        config_manual_text(command_rows[i].help, out);
        buf_add_char(out, '\n');
    }
    buf_add_c(out, ".SH FILES\n.TP\n.I " CONFIG_PATH_DEFAULT "\nThe configuration.\n"
                   ".TP\n.I /var/lib/posthouse\nThe store and the control socket.\n"
                   ".SH SEE ALSO\n.BR posthouse.conf (5)\n");
}

enum err local_manual(struct command_run *r)
{
    BUF_AUTO struct buf text = BUF_INIT(1048576);
    manual(&text);
    if (r->json)
        report_str(&r->report, "manual", buf_str(&text));
    else
        buf_add(r->report.out, buf_str(&text));
    return ERR_OK;
}

/* ---- configuration ---- */

static str config_file(const struct command_run *r)
{
    return str_empty(r->config_path) ? STR(CONFIG_PATH_DEFAULT) : r->config_path;
}

static enum err read_config(struct command_run *r, struct config *c)
{
    enum err e = server_config_read(config_file(r), c, &r->error);
    if (e != ERR_OK && r->error.len == 0)
        return command_fail(r, e, "The configuration cannot be read.");
    return e;
}

static enum err check_certificates(struct command_run *r, const struct config *c)
{
    struct tls_certificate *certs =
        ARENA_ARRAY(&r->arena, struct tls_certificate, CERTIFICATES_MAX);
    size_t n;
    if (!certs)
        return ERR_NOMEM;
    TRY(server_certificates(c, &r->arena, certs, CERTIFICATES_MAX, &n, &r->error));
    struct tls_server *tls = NULL;
    tls_init();
    if (n > 0 && tls_server_open(certs, n, NULL, &tls) != ERR_OK)
        return command_fail(r, ERR_INVALID,
                            "tls.certificates: a certificate or its key is not "
                            "valid.");
    tls_server_close(tls);
    report_u64(&r->report, "certificates", n);
    return ERR_OK;
}

enum err local_config_check(struct command_run *r)
{
    struct config c;
    TRY(read_config(r, &c));
    enum err e = check_certificates(r, &c);
    config_free(&c);
    TRY(e);
    report_str(&r->report, "config", config_file(r));
    report_say(&r->report, "The configuration is good.");
    return ERR_OK;
}

enum err local_config_show(struct command_run *r)
{
    struct config c;
    TRY(read_config(r, &c));
    BUF_AUTO struct buf text = BUF_INIT(2 * CONFIG_TEXT_MAX);
    if (r->json) {
        config_render_json(&c, &text);
        report_json(&r->report, "config", buf_str(&text));
    } else {
        config_render(&c, false, r->report.out);
    }
    config_free(&c);
    return ERR_OK;
}

enum err local_config_defaults(struct command_run *r)
{
    struct config c;
    BUF_AUTO struct buf text = BUF_INIT(2 * CONFIG_TEXT_MAX);
    TRY(config_parse(STR("defaults"), STR_NONE, &c, &r->error));
    if (r->json) {
        config_render_json(&c, &text);
        report_json(&r->report, "config", buf_str(&text));
    } else {
        config_render(&c, true, r->report.out);
    }
    config_free(&c);
    return ERR_OK;
}

enum err local_config_manual(struct command_run *r)
{
    BUF_AUTO struct buf text = BUF_INIT(2 * CONFIG_TEXT_MAX);
    config_manual(&text);
    if (r->json)
        report_str(&r->report, "manual", buf_str(&text));
    else
        buf_add(r->report.out, buf_str(&text));
    return ERR_OK;
}

/* ---- serve ---- */

static void serve_ready(void *arg, const struct server *s)
{
    struct command_run *r = arg;
    LOG_INFO("parent", "serving hostname=%.*s data=%.*s", STR_ARG(s->config.server_hostname),
             STR_ARG(s->data_dir));
    if (!r->json)
        return;
    printf("{\"ok\":true,\"message\":\"serving\"}\n");
    fflush(stdout);
}

static enum err serve_data_dir(struct command_run *r, struct server *s)
{
    str dir = str_empty(r->data_dir) ? s->config.server_data : r->data_dir;
    enum err e = file_make_dirs(dir);
    BUF_AUTO struct buf real = BUF_INIT(8192);
    if (e == ERR_OK)
        e = user_absolute_path(dir, &real);
    if (e != ERR_OK)
        return command_fail(r, e, "server.data: the folder %.*s cannot be made: %s.", STR_ARG(dir),
                            err_text(e));
    return arena_dup(&r->arena, buf_str(&real), &s->data_dir) ? ERR_OK : ERR_NOMEM;
}

enum err local_serve(struct command_run *r)
{
    struct server *s = ARENA_NEW(&r->arena, struct server);
    if (!s)
        return ERR_NOMEM;
    tls_init();
    server_init(s);
    s->config_path = config_file(r);
    TRY(read_config(r, &s->config));
    TRY(serve_data_dir(r, s));
    enum err e = server_open(s, &r->error);
    if (e == ERR_OK)
        r->exit_code = parent_run(s, serve_ready, r);
    server_close(s);
    if (e == ERR_OK)
        report_discard(&r->report);
    return e;
}
