/* SPDX-License-Identifier: Apache-2.0 */
#include "app/command.h"

#include "base/num.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const struct command_row command_rows[] = {
#define COMMAND(name, sub, fn, where, options, arguments, help)                                    \
    {name, sub, fn, COMMAND_##where, options, arguments, help},
#include "app/commands.def"
#undef COMMAND
};
const size_t command_rows_count = ARRAY_LEN(command_rows);

enum err command_fail(struct command_run *r, enum err e, const char *fmt, ...)
{
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    buf_reset(&r->error);
    buf_add_c(&r->error, line);
    return e;
}

void command_usage(const struct command_row *row, struct buf *out)
{
    buf_addf(out, "posthouse %s", row->name);
    if (row->sub[0])
        buf_addf(out, " %s", row->sub);
    if (row->arguments[0])
        buf_addf(out, " %s", row->arguments);
    str rest = str_c(row->options), word;
    while (str_next_word(&rest, &word)) {
        bool value = str_ends(word, STR("="));
        buf_addf(out, " [--%.*s%s]", (int)(word.len - value), word.data, value ? " …" : "");
    }
}

static const struct command_row *find_row(struct command_run *r, const str *words, size_t n,
                                          size_t *used)
{
    bool known = false;
    for (size_t i = 0; n > 0 && i < command_rows_count; i++) {
        const struct command_row *row = &command_rows[i];
        if (!str_eq(words[0], str_c(row->name)))
            continue;
        known = true;
        *used = row->sub[0] ? 2 : 1;
        if (!row->sub[0] || (n > 1 && str_eq(words[1], str_c(row->sub))))
            return row;
    }
    if (!known) {
        command_fail(r, ERR_INVALID,
                     n ? "There is no command \"%.*s\"; try: posthouse help."
                       : "A command is missing; try: posthouse help.",
                     n ? (int)words[0].len : 0, n ? words[0].data : "");
        return NULL;
    }
    command_fail(r, ERR_INVALID, "After %.*s comes one of:", STR_ARG(words[0]));
    for (size_t i = 0; i < command_rows_count; i++) {
        if (str_eq(words[0], str_c(command_rows[i].name)))
            buf_addf(&r->error, " %s", command_rows[i].sub);
    }
    buf_add_char(&r->error, '.');
    return NULL;
}

/* Is "--name" one of the row's options? *value: does a value follow? */
static bool option_known(const struct command_row *row, str name, bool *value)
{
    static const char everywhere[] = "json config= data= store=";
    const char *lists[] = {row->options, everywhere};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        str rest = str_c(lists[i]), word;
        while (str_next_word(&rest, &word)) {
            *value = str_ends(word, STR("="));
            if (str_eq(str_head(word, word.len - *value), name))
                return true;
        }
    }
    return false;
}

static enum err keep_option(struct command_run *r, str name, str value)
{
    if (str_eq(name, STR("json"))) {
        r->json = true;
        return ERR_OK;
    }
    if (str_eq(name, STR("config"))) {
        r->config_path = value;
        return ERR_OK;
    }
    /* dev names its folder by --store, so the other commands take that word too. */
    if (str_eq(name, STR("data")) || (str_eq(name, STR("store")) && r->row->run != local_dev)) {
        r->data_dir = value;
        return ERR_OK;
    }
    if (r->noptions == COMMAND_OPTIONS_MAX)
        return command_fail(r, ERR_LIMIT, "Too many options.");
    r->options[r->noptions++] = (struct command_option){name, value};
    return ERR_OK;
}

static enum err take_option(struct command_run *r, const str *words, size_t n, size_t *i)
{
    str name, value;
    bool inlined = str_cut(str_skip(words[*i], 2), '=', &name, &value), wants;
    if (!option_known(r->row, name, &wants)) {
        command_fail(r, ERR_INVALID, "There is no option --%.*s here; usage: ", STR_ARG(name));
        command_usage(r->row, &r->error);
        buf_add_char(&r->error, '.');
        return ERR_INVALID;
    }
    if (inlined && !wants)
        return command_fail(r, ERR_INVALID, "--%.*s takes no value.", STR_ARG(name));
    if (!inlined && wants) {
        if (*i + 1 >= n)
            return command_fail(r, ERR_INVALID, "--%.*s needs a value.", STR_ARG(name));
        value = words[++*i];
    }
    return keep_option(r, name, value);
}

static enum err check_count(struct command_run *r)
{
    size_t min = 0, max = 0;
    str rest = str_c(r->row->arguments), word;
    while (str_next_word(&rest, &word)) {
        bool optional = word.data[0] == '[';
        min += !optional;
        max = str_ends(word, STR("...")) ? COMMAND_WORDS_MAX : max + 1;
    }
    if (r->nargs >= min && r->nargs <= max)
        return ERR_OK;
    command_fail(r, ERR_INVALID,
                 "%s; usage: ", r->nargs < min ? "An argument is missing" : "Too many arguments");
    command_usage(r->row, &r->error);
    buf_add_char(&r->error, '.');
    return ERR_INVALID;
}

/* Options that come before the command's name. */
static bool option_early(struct command_run *r, str word)
{
    if (!str_eq(word, STR("--json")))
        return false;
    r->json = true;
    return true;
}

enum err command_parse(struct command_run *r, const str *words, size_t n)
{
    size_t used = 0;
    while (n > 0 && option_early(r, words[0])) {
        words++;
        n--;
    }
    for (size_t i = 0; i < n; i++) /* so that a wrong command is answered in JSON too */
        r->json = r->json || str_eq(words[i], STR("--json"));
    r->row = find_row(r, words, n, &used);
    if (!r->row)
        return ERR_INVALID;
    str *args = ARENA_ARRAY(&r->arena, str, n + 1);
    if (!args || n > COMMAND_WORDS_MAX)
        return command_fail(r, ERR_LIMIT, "Too many words.");
    bool options_end = false;
    for (size_t i = used; i < n; i++) {
        if (!options_end && str_eq(words[i], STR("--")))
            options_end = true;
        else if (!options_end && str_starts(words[i], STR("--")))
            TRY(take_option(r, words, n, &i));
        else
            args[r->nargs++] = words[i];
    }
    r->args = args;
    return check_count(r);
}

int command_exit_code(enum err e)
{
    if (e == ERR_OK)
        return 0;
    return err_class(e) == ERR_CLASS_TEMP ? 75 : 1;
}

int command_execute(struct command_run *r, struct buf *out, struct buf *errors)
{
    report_open(&r->report, r->json, out);
    enum err e = r->row->run(r);
    if (e == ERR_OK && !buf_ok(out))
        e = command_fail(r, ERR_LIMIT, "The answer is too long.");
    if (e != ERR_OK) {
        if (r->error.len == 0)
            command_fail(r, e, "%s %s: %s.", r->row->name, r->row->sub, err_text(e));
        report_failure(&r->report, e, buf_str(&r->error), errors);
        return command_exit_code(e);
    }
    report_close(&r->report);
    return r->exit_code;
}

const str *command_option(const struct command_run *r, const char *name)
{
    for (size_t i = 0; i < r->noptions; i++) {
        if (str_eq(r->options[i].name, str_c(name)))
            return &r->options[i].value;
    }
    return NULL;
}

enum err command_count_option(struct command_run *r, const char *name, uint64_t max, uint64_t *n)
{
    const str *given = command_option(r, name);
    if (given && (!num_parse_u64(*given, max, n) || *n == 0))
        return command_fail(r, ERR_INVALID, "--%s is a number from 1 to %llu.", name,
                            (unsigned long long)max);
    return ERR_OK;
}

enum err command_quota_options(struct command_run *r, uint64_t *bytes, uint64_t *messages)
{
    const str *b = command_option(r, "quota"), *m = command_option(r, "quota-messages");
    if (b && !str_empty(*b) && !num_parse_bytes(*b, bytes))
        return command_fail(r, ERR_INVALID, "--quota is a size like 2G, not \"%.*s\".",
                            STR_ARG(*b));
    if (m && !str_empty(*m) && !num_parse_u64(*m, UINT64_MAX, messages))
        return command_fail(r, ERR_INVALID, "--quota-messages is a number, not \"%.*s\".",
                            STR_ARG(*m));
    if (b && str_empty(*b))
        *bytes = 0;
    if (m && str_empty(*m))
        *messages = 0;
    return ERR_OK;
}
