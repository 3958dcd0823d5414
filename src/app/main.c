/* SPDX-License-Identifier: Apache-2.0
 *
 * One program: the command's row says where it runs.
 */
#include "app/client.h"
#include "base/log.h"
#include "os/clock.h"
#include "os/user.h"

#include <string.h>

#define SECRET_MAX 1024

/* --password names it; --password-stdin reads it. Neither: the command makes one. */
static enum err take_secret(struct command_run *r)
{
    const str *given = command_option(r, "password");
    if (given) {
        r->secret = *given;
        return str_empty(*given) ? command_fail(r, ERR_INVALID, "The password is empty.") : ERR_OK;
    }
    if (!command_option(r, "password-stdin"))
        return ERR_OK;
    BUF_AUTO struct buf line = BUF_INIT(SECRET_MAX);
    enum err e = user_read_secret("Password: ", &line);
    if (e != ERR_OK || line.len == 0)
        return command_fail(r, ERR_INVALID, "No password came on standard input.");
    return arena_dup(&r->arena, buf_str(&line), &r->secret) ? ERR_OK : ERR_NOMEM;
}

/* "--help" behind a command asks for its row of the help. */
static size_t turn_to_help(str *words, size_t n)
{
    str kept[4] = {STR("help")};
    size_t names = 0, k = 1;
    bool asked = n == 1 && str_eq(words[0], STR("-h")), json = false;
    for (size_t i = 0; i < n && !str_eq(words[i], STR("--")); i++) {
        asked = asked || str_eq(words[i], STR("--help"));
        json = json || str_eq(words[i], STR("--json"));
        if (!str_starts(words[i], STR("-")) && names++ < 2)
            kept[k++] = words[i];
    }
    if (!asked)
        return n;
    if (json)
        kept[k++] = STR("--json");
    memcpy(words, kept, k * sizeof(*words));
    return k;
}

static int run_local(struct command_run *r)
{
    BUF_AUTO struct buf out = BUF_INIT(COMMAND_OUT_MAX);
    BUF_AUTO struct buf errors = BUF_INIT(65536);
    int code = command_execute(r, &out, &errors);
    client_print(&out, &errors);
    return code;
}

static int refuse(struct command_run *r, enum err e)
{
    BUF_AUTO struct buf out = BUF_INIT(65536);
    BUF_AUTO struct buf errors = BUF_INIT(65536);
    report_open(&r->report, r->json, &out);
    report_failure(&r->report, e, buf_str(&r->error), &errors);
    client_print(&out, &errors);
    return 2;
}

int main(int argc, char **argv)
{
    log_set_clock(clock_wall_ms);
    str words[COMMAND_WORDS_MAX];
    size_t n = 0;
    for (int i = 1; i < argc && n < COMMAND_WORDS_MAX; i++)
        words[n++] = str_c(argv[i]);
    n = turn_to_help(words, n);
    if (n == 1 && str_eq(words[0], STR("--version")))
        words[0] = STR("version");
    struct command_run r = {0};
    arena_init(&r.arena, 67108864);
    buf_init(&r.error, 65536);
    enum err e = command_parse(&r, words, n);
    if (e == ERR_OK)
        e = take_secret(&r);
    int code;
    if (e != ERR_OK)
        code = refuse(&r, e);
    else if (r.row->where == COMMAND_LOCAL)
        code = run_local(&r);
    else
        code = client_run(&r, words, n);
    buf_free(&r.error);
    arena_free(&r.arena);
    return code;
}
