/* SPDX-License-Identifier: Apache-2.0
 *
 * check, and the commands that only a running server can answer.
 */
#include "app/command.h"
#include "app/house.h"
#include "core/check.h"
#include "format/date.h"
#include "os/clock.h"
#include "os/file.h"

#include <fcntl.h>
#include <string.h>

/* ---- check ---- */

static void finding(void *arg, bool fatal, uint64_t partition, str text)
{
    struct command_run *r = arg;
    report_item(&r->report);
    report_str(&r->report, "severity", fatal ? STR("fatal") : STR("note"));
    if (partition)
        report_u64(&r->report, "partition", partition);
    report_str(&r->report, "text", text);
    report_item_end(&r->report);
}

enum err store_check_all(struct command_run *r)
{
    struct check_result c = {0};
    report_list(&r->report, "findings");
    TRY(check_store(r->admin->directory->store, finding, r, &c));
    report_list_end(&r->report);
    report_u64(&r->report, "accounts", c.accounts);
    report_u64(&r->report, "mailboxes", c.mailboxes);
    report_u64(&r->report, "messages", c.messages);
    report_u64(&r->report, "snapshots", c.snapshots);
    report_u64(&r->report, "queue_rows", c.queue_rows);
    report_u64(&r->report, "blobs", c.blobs);
    report_u64(&r->report, "fatal", c.findings);
    report_bool(&r->report, "clean", c.findings == 0);
    if (c.findings)
        report_say(&r->report, "The store has %llu faults.", (unsigned long long)c.findings);
    else
        report_say(&r->report, "The store is clean.");
    r->exit_code = c.findings ? 1 : 0;
    return ERR_OK;
}

/* ---- backup ---- */

#define BACKUP_NAME_MAX 100

/* One name of a folder, nothing that leads elsewhere. */
static bool backup_name_good(str name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    c == '-' || c == '_' || (c == '.' && i > 0);
        if (!good)
            return false;
    }
    return name.len > 0 && name.len <= BACKUP_NAME_MAX;
}

/* It lies below the data folder, which is all that the house can write; its closed segments are
 * links, so it takes little room until the originals are rewritten. */
enum err store_backup_now(struct command_run *r)
{
    BUF_AUTO struct buf now = BUF_INIT(64);
    date_render_rfc3339(&now, clock_wall_s());
    for (size_t i = 0; i < now.len; i++)
        now.data[i] = now.data[i] == ':' ? '-' : now.data[i];
    str name = r->nargs > 0 ? r->args[0] : buf_str(&now);
    if (!backup_name_good(name))
        return command_fail(r, ERR_INVALID,
                            "The name of a backup has letters, digits, - . and _ only.");
    str to = arena_fmt(&r->arena, "%.*s/backups/%.*s", STR_ARG(r->admin->data_dir), STR_ARG(name));
    FD_AUTO int there = -1;
    if (str_empty(to))
        return ERR_NOMEM;
    if (file_open(AT_FDCWD, to, FILE_READ | FILE_DIR, &there) == ERR_OK)
        return command_fail(r, ERR_EXISTS, "There is a backup %.*s already.", STR_ARG(name));
    enum err e = store_backup(r->admin->directory->store, to);
    if (e == ERR_UNSUPPORTED)
        return command_fail(r, e, "This store is in memory only; there is nothing to keep.");
    if (e != ERR_OK)
        return command_fail(r, e, "The backup %.*s cannot be made: %s.", STR_ARG(to), err_text(e));
    report_str(&r->report, "backup", to);
    report_say(&r->report, "The backup is complete. Copy it elsewhere, then remove it: it keeps "
                           "the room of what is deleted. To go back to it, stop the server and "
                           "put it in place of the data folder.");
    return ERR_OK;
}

/* ---- ctl ---- */

enum err ctl_status(struct command_run *r)
{
    struct house_process *h = r->admin->house;
    struct ipc_roles_status_results res;
    TRY(ipc_roles_status(&h->parent, &(struct ipc_roles_status_args){}, &r->arena, &res));
    report_str(&r->report, "hostname", h->host_name);
    report_str(&r->report, "data", h->server->data_dir);
    report_str(&r->report, "engine", h->server->memory_store ? STR("memory") : STR("embedded"));
    report_json(&r->report, "roles", res.json);
    return ERR_OK;
}

enum err ctl_stats(struct command_run *r)
{
    struct store_stats s;
    store_stats(r->admin->directory->store, &s);
    report_u64(&r->report, "commits", s.commits);
    report_u64(&r->report, "groups", s.groups);
    report_u64(&r->report, "flushes", s.flushes);
    report_u64(&r->report, "lone", s.lone);
    report_u64(&r->report, "bytes_journal", s.bytes_journal);
    report_u64(&r->report, "bytes_live", s.bytes_live);
    report_u64(&r->report, "bytes_dead", s.bytes_dead);
    report_u64(&r->report, "segments", s.segments);
    report_u64(&r->report, "blobs", s.blobs);
    report_u64(&r->report, "replayed_records", s.replayed_records);
    report_u64(&r->report, "cut_bytes", s.cut_bytes);
    return ERR_OK;
}

enum err ctl_sessions(struct command_run *r)
{
    struct house_process *h = r->admin->house;
    size_t total = 0;
    report_list(&r->report, "threads");
    for (uint32_t i = 0; i < h->nthreads; i++) {
        size_t n = atomic_load(&h->threads[i].sessions);
        report_item(&r->report);
        report_str(&r->report, "thread", str_c(h->threads[i].name));
        report_u64(&r->report, "sessions", n);
        report_item_end(&r->report);
        total += n;
    }
    report_list_end(&r->report);
    report_u64(&r->report, "sessions", total);
    return ERR_OK;
}

struct fiber_lines {
    struct buf text;
};

static void keep_line(void *arg, const char *line)
{
    struct fiber_lines *f = arg;
    buf_add_c(&f->text, line);
    buf_add_char(&f->text, '\n');
}

static void table_here(void *arg) { fiber_table(keep_line, arg); }

enum err ctl_fibers(struct command_run *r)
{
    struct house_process *h = r->admin->house;
    report_list(&r->report, "fibers");
    for (uint32_t i = 0; i < h->nthreads; i++) {
        struct fiber_lines f;
        buf_init(&f.text, 4194304);
        house_run_on(&h->threads[i], table_here, &f);
        str rest = buf_str(&f.text), line;
        while (!str_empty(rest)) {
            str_cut(rest, '\n', &line, &rest);
            report_item(&r->report);
            report_str(&r->report, "thread", str_c(h->threads[i].name));
            report_str(&r->report, "fiber", line);
            report_item_end(&r->report);
        }
        buf_free(&f.text);
    }
    report_list_end(&r->report);
    return ERR_OK;
}

enum err ctl_reload(struct command_run *r)
{
    struct ipc_operator_reload_results res;
    TRY(ipc_operator_reload(&r->admin->house->parent, &(struct ipc_operator_reload_args){},
                            &r->arena, &res));
    bool failed = str_starts(res.text, STR("1"));
    str text = str_skip(res.text, 1);
    if (failed)
        return command_fail(r, ERR_INVALID, "Not reloaded: %.*s", STR_ARG(text));
    report_say(&r->report, "%.*s", STR_ARG(text));
    return ERR_OK;
}

enum err ctl_stop(struct command_run *r)
{
    struct ipc_operator_stop_results res;
    TRY(ipc_operator_stop(&r->admin->house->parent, &(struct ipc_operator_stop_args){}, NULL,
                          &res));
    report_say(&r->report, "The server ends.");
    return ERR_OK;
}
