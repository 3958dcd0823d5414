/* SPDX-License-Identifier: Apache-2.0 */
#include "app/command.h"
#include "base/num.h"
#include "core/transport.h"

static const struct {
    const char *word;
    enum transport_match match;
} matches[] = {{"recipient", TRANSPORT_RECIPIENT},
               {"sender", TRANSPORT_SENDER},
               {"account", TRANSPORT_ACCOUNT},
               {"default", TRANSPORT_DEFAULT}};
static const char *const action_words[] = {"mx", "smtp", "lmtp", "discard", "fail", "hold"};
static const char *const tls_words[] = {"opportunistic", "encrypt", "verify", "never"};

/* "recipient:example.net", "sender:user@example.com", "account:user@example.com", "default" */
static enum err take_match(struct command_run *r, struct transport_row *row)
{
    str word, name;
    str_cut(r->args[0], ':', &word, &name);
    for (size_t i = 0; i < ARRAY_LEN(matches); i++)
        if (str_eq(word, str_c(matches[i].word))) {
            row->match = matches[i].match;
            row->name = name;
            return ERR_OK;
        }
    return command_fail(r, ERR_INVALID,
                        "%.*s is none of recipient:DOMAIN, sender:ADDRESS, sender:DOMAIN, "
                        "account:ADDRESS, default.",
                        STR_ARG(r->args[0]));
}

static bool take_word(str word, const char *const *words, size_t n, unsigned *out)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(word, str_c(words[i]))) {
            *out = (unsigned)i;
            return true;
        }
    return false;
}

/* "mx", "smtp:host", "smtp:host:587", "lmtp:[::1]:24", "lmtp:/path", "discard", "fail", "hold" */
static enum err take_action(struct command_run *r, struct transport_row *row)
{
    str word, host, port;
    unsigned action;
    uint64_t number;
    str_cut(r->args[1], ':', &word, &host);
    if (!take_word(word, action_words, ARRAY_LEN(action_words), &action))
        return command_fail(r, ERR_INVALID,
                            "%.*s is none of mx, smtp:HOST[:PORT], lmtp:HOST[:PORT], lmtp:PATH, "
                            "discard, fail, hold.",
                            STR_ARG(r->args[1]));
    row->action = action;
    size_t colon = str_rfind_char(host, ':'), bracket = str_rfind_char(host, ']');
    if (colon != STR_NPOS && (bracket == STR_NPOS || bracket < colon)) {
        port = str_skip(host, colon + 1);
        host = str_head(host, colon);
        if (!num_parse_u64(port, 65535, &number) || number == 0)
            return command_fail(r, ERR_INVALID, "%.*s is not a port.", STR_ARG(port));
        row->port = (uint16_t)number;
    }
    row->host = host;
    return ERR_OK;
}

static str option(struct command_run *r, const char *name)
{
    const str *value = command_option(r, name);
    return value ? *value : STR_NONE;
}

enum err route_add(struct command_run *r)
{
    struct transport_row row = {.login = option(r, "login"),
                                .password = option(r, "password"),
                                .source = option(r, "source"),
                                .helo = option(r, "helo"),
                                .text = option(r, "text"),
                                .implicit_tls = command_option(r, "implicit-tls"),
                                .split = command_option(r, "split")};
    str tls = option(r, "tls");
    unsigned n = RELAY_TLS_OPPORTUNISTIC;
    if (str_empty(row.password))
        row.password = r->secret;
    if (!str_empty(tls) && !take_word(tls, tls_words, ARRAY_LEN(tls_words), &n))
        return command_fail(r, ERR_INVALID,
                            "--tls is one of opportunistic, encrypt, verify, never.");
    row.tls = n;
    TRY(take_match(r, &row));
    TRY(take_action(r, &row));
    enum err e = transport_set(r->admin->directory, &row);
    if (e == ERR_INVALID)
        return command_fail(r, e,
                            "smtp and lmtp need a host, others none; a login needs a password; "
                            "--source is an address; --split needs recipient:DOMAIN and a host.");
    if (e == ERR_SYNTAX)
        return command_fail(r, e, "%.*s is not a domain or an address.", STR_ARG(row.name));
    TRY(e);
    report_say(&r->report, "Route %.*s set.", STR_ARG(r->args[0]));
    return ERR_OK;
}

static bool list_row(void *arg, const struct transport_row *t)
{
    struct command_run *r = arg;
    BUF_AUTO struct buf name = BUF_INIT(1024);
    for (size_t i = 0; i < ARRAY_LEN(matches); i++)
        if (matches[i].match == t->match)
            buf_addf(&name, "%s%s%.*s", matches[i].word, str_empty(t->name) ? "" : ":",
                     STR_ARG(t->name));
    report_item(&r->report);
    report_str(&r->report, "route", buf_str(&name));
    report_str(&r->report, "action", str_c(action_words[t->action]));
    report_str(&r->report, "host", t->host);
    if (t->port)
        report_u64(&r->report, "port", t->port);
    report_str(&r->report, "tls", str_c(tls_words[t->tls]));
    report_bool(&r->report, "implicit_tls", t->implicit_tls);
    report_bool(&r->report, "split", t->split);
    report_str(&r->report, "login", t->login); /* the password is never shown */
    report_str(&r->report, "source", t->source);
    report_str(&r->report, "helo", t->helo);
    report_str(&r->report, "text", t->text);
    report_item_end(&r->report);
    return true;
}

enum err route_list(struct command_run *r)
{
    report_list(&r->report, "routes");
    TRY(transport_each(r->admin->directory, list_row, r));
    report_list_end(&r->report);
    return ERR_OK;
}

enum err route_remove(struct command_run *r)
{
    struct transport_row row = {0};
    TRY(take_match(r, &row));
    enum err e = transport_remove(r->admin->directory, row.match, row.name);
    if (e == ERR_NOT_FOUND)
        return command_fail(r, e, "There is no route %.*s.", STR_ARG(r->args[0]));
    TRY(e);
    report_say(&r->report, "Route %.*s removed.", STR_ARG(r->args[0]));
    return ERR_OK;
}
