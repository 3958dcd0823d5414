/* SPDX-License-Identifier: Apache-2.0 */
#include "app/house_control.h"

#include "app/command.h"
#include "base/log.h"
#include "os/file.h"

#include <string.h>

struct control_link {
    struct ipc_link link;
    struct house_control *control;
    bool used;
};
struct house_control {
    struct house_process *house;
    struct watch watch;
    struct event freed;
    struct control_link links[CONTROL_CONNECTIONS_MAX];
};

static size_t split_words(str argv, str *words, size_t max)
{
    size_t n = 0;
    for (str word; !str_empty(argv) && n < max;) {
        str_cut(argv, 0, &word, &argv);
        words[n++] = word;
    }
    return n;
}

/* Secrets stand behind --password= only in what the client keeps to itself; argv may be logged. */
static void log_command(const struct command_run *r)
{
    if (!r->row || r->row->where == COMMAND_LOCAL)
        return;
    LOG_INFO("control", "command=\"%s%s%s\" arg=%.*s", r->row->name, r->row->sub[0] ? " " : "",
             r->row->sub, r->nargs ? (int)r->args[0].len : 0, r->nargs ? r->args[0].data : "");
}

static enum err pack_output(struct buf *out, int *fd)
{
    return text_pack(buf_str(out), "output", fd);
}

static enum err on_command(void *ctx, struct ipc_command_args *a, struct arena *arena,
                           struct ipc_command_results *out) WAITS
{
    struct house_process *h = ctx;
    struct house_config *config = house_config_hold(h);
    struct admin admin = {&h->directory, h->threads[0].accounts,     h,
                          &config->all,  &h->threads[0].keys.hasher, h->server->data_dir};
    BUF_AUTO struct buf output = BUF_INIT(COMMAND_OUT_MAX);
    BUF_AUTO struct buf errors = BUF_INIT(65536);
    str *words = ARENA_ARRAY(arena, str, COMMAND_WORDS_MAX);
    struct command_run *r = ARENA_NEW(arena, struct command_run);
    if (!words || !r) {
        house_config_drop(config);
        return ERR_NOMEM;
    }
    *r = (struct command_run){.admin = &admin, .secret = a->secret, .json = a->json != 0};
    arena_init(&r->arena, 16777216);
    buf_init(&r->error, 65536);
    size_t n = split_words(a->argv, words, COMMAND_WORDS_MAX);
    enum err e = command_parse(r, words, n);
    if (e == ERR_OK && r->row->where == COMMAND_LOCAL)
        e = command_fail(r, ERR_INVALID, "This command does not run in the server.");
    log_command(r);
    if (e == ERR_OK) {
        out->exit_code = (uint32_t)command_execute(r, &output, &errors);
    } else {
        out->exit_code = 2;
        report_open(&r->report, r->json, &output);
        report_failure(&r->report, e, buf_str(&r->error), &errors);
    }
    buf_free(&r->error);
    arena_free(&r->arena);
    house_config_drop(config);
    TRY(pack_output(&output, &out->output));
    e = pack_output(&errors, &out->errors);
    if (e != ERR_OK)
        file_close(&out->output);
    return e;
}

static const struct ipc_service for_commands = {.role = IPC_ROLE_HOUSE, .command = on_command};

static void control_ended(struct ipc_link *l)
{
    struct control_link *k = container_of(l, struct control_link, link);
    k->used = false;
    event_signal(&k->control->freed);
}

static struct control_link *free_link(struct house_control *c) WAITS
{
    for (;;) {
        for (size_t i = 0; i < CONTROL_CONNECTIONS_MAX; i++) {
            if (!c->links[i].used)
                return &c->links[i];
        }
        if (event_wait(&c->freed, DEADLINE_NEVER) != ERR_OK)
            return NULL;
    }
}

static void control_fiber(void *arg) WAITS
{
    struct house_control *c = arg;
    for (;;) {
        struct control_link *k = free_link(c);
        int fd;
        struct address peer;
        if (!k || sock_accept(&c->watch, &fd, &peer) != ERR_OK)
            break;
        k->link = (struct ipc_link){
            .name = "control", .service = &for_commands, .ctx = c->house, .ended = control_ended};
        k->used = ipc_link_start(&k->link, fd, &c->house->threads[0].group) == ERR_OK;
    }
    watch_close(&c->watch);
}

enum err house_control_start(struct house_process *h)
{
    struct house_control *c = ARENA_NEW(&h->arena, struct house_control);
    if (!c)
        return ERR_NOMEM;
    h->control = c;
    c->house = h;
    for (size_t i = 0; i < CONTROL_CONNECTIONS_MAX; i++)
        c->links[i].control = c;
    event_init(&c->freed);
    TRY(watch_open(&c->watch, h->server->control_fd));
    return fiber_start(&h->threads[0].group, "control", control_fiber, c);
}
