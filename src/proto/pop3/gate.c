/* SPDX-License-Identifier: Apache-2.0
 *
 * The gate's half: AUTHORIZATION (RFC 1939 4). It ends by handing the session on, or by closing.
 */
#include <assert.h>
#include <string.h>

#include "base/log.h"
#include "base/num.h"
#include "core/handoff.h"
#include "core/sasl.h"
#include "proto/pop3/common.h"
#include "proto/pop3/pop3.h"

#define CONNECTION_ARENA_MAX 32768

struct gate {
    struct stream *stream;
    const struct pop3_listener *listener;
    const struct pop3_config *config;
    const struct house *house;
    struct arena connection;
    struct auth_grant who;
    str user;
    uint32_t errors;
    bool secure, closing, handed_on;
};

typedef void gate_command_fn(struct gate *x, str args) WAITS;
#define GATE_COMMAND(verb, handler) static gate_command_fn gate_##handler;
#include "proto/pop3/commands.def"

static const struct gate_command {
    str verb;
    gate_command_fn *run;
} commands[] = {
#define GATE_COMMAND(verb, handler) {STR_INIT(#verb), gate_##handler},
#include "proto/pop3/commands.def"
};

static void say(struct gate *x, const char *line) { stream_writef(x->stream, "%s\r\n", line); }

static void say_bad(struct gate *x, const char *text)
{
    stream_writef(x->stream, "-ERR %s\r\n", text);
    if (++x->errors >= x->config->errors_max) {
        say(x, "-ERR [SYS/PERM] Too many errors");
        x->closing = true;
    }
}

/* RFC 3206: AUTH says that the credentials were wrong, SYS/TEMP that we were. */
static void say_err(struct gate *x, enum err e)
{
    BUF_AUTO struct buf text = BUF_INIT(256);
    const char *code = err_class(e) == ERR_CLASS_TEMP && e != ERR_TOO_MANY ? "[SYS/TEMP] "
                       : e == ERR_AUTH                                     ? "[AUTH] "
                       : e == ERR_TOO_MANY                                 ? "[LOGIN-DELAY] "
                                                                           : "";
    buf_addf(&text, "%s%s%c", code, err_text(e), 0);
    say_bad(x, text.data);
}

static bool stls_offered(const struct gate *x)
{
    return x->listener->tls && !stream_is_tls(x->stream);
}

static void gate_capa(struct gate *x, str args)
{
    BUF_AUTO struct buf sasl = BUF_INIT(512);
    sasl_mechanisms(x->stream, x->secure, &sasl);
    pop3_capabilities(stream_out(x->stream), stls_offered(x), buf_str(&sasl));
}

/* RFC 2595 4; rule wire-2. */
static void gate_stls(struct gate *x, str args)
{
    if (!stls_offered(x)) {
        say_bad(x, stream_is_tls(x->stream) ? "TLS is active already" : "TLS is not available");
        return;
    }
    if (stream_has_input(x->stream)) {
        char source[ADDRESS_TEXT_MAX];
        LOG_WARN("pop3", "dropped source=%s cause=\"input behind STLS\"",
                 address_text(stream_peer(x->stream), source));
        say(x, "-ERR Nothing may follow STLS");
        x->closing = true;
        return;
    }
    say(x, "+OK Begin TLS");
    x->user = STR_NONE;
    enum err e = stream_flush(x->stream);
    if (e == ERR_OK)
        e = stream_start_tls_server(x->stream, x->listener->tls);
    if (e != ERR_OK) {
        x->closing = true;
        return;
    }
    x->secure = true;
}

static void hand_on(struct gate *x)
{
    struct session_handoff h = {
        .protocol = PROTOCOL_POP3,
        .who = x->who,
        .greeting = STR("+OK Signed in\r\n"),
        .fd = -1,
    };
    enum err e = handoff(x->stream, x->house, &h, x->config->idle_timeout_ms, x->listener->group);
    if (e == ERR_OK)
        x->handed_on = true;
    else
        say_err(x, e);
}

static void gate_user(struct gate *x, str args)
{
    if (!x->secure)
        say_bad(x, "STLS first");
    else if (str_empty(args))
        say_bad(x, "USER needs a name");
    else if (!arena_dup(&x->connection, args, &x->user))
        say_err(x, ERR_NOMEM);
    else
        say(x, "+OK Name noted, send PASS");
}

static void gate_pass(struct gate *x, str args)
{
    struct sasl sasl;
    if (str_empty(x->user)) {
        say_bad(x, "USER first");
        return;
    }
    sasl_init(&sasl, x->house, x->stream, PROTOCOL_POP3, x->secure, &x->connection);
    sasl.attempt.login = x->user;
    enum err e =
        x->house->auth_password(x->house->ctx, &sasl.attempt, args, &x->connection, &x->who);
    sasl_free(&sasl);
    x->user = STR_NONE;
    if (e == ERR_OK)
        hand_on(x);
    else
        say_err(x, e);
}

/* True when signed in; otherwise the client has been answered. */
static bool exchange(struct gate *x, struct sasl *sasl, str mechanism, str initial64)
{
    const struct sasl_wire wire = {.prefix = "+ ", .line_max = POP3_AUTH_LINE_MAX};
    enum err why;
    const str *initial = str_empty(initial64) ? NULL : &initial64;
    switch (sasl_exchange(sasl, &wire, mechanism, initial, &why)) {
    case SASL_END_SIGNED_IN:
        return true;
    case SASL_END_REFUSED:
        say_err(x, why);
        break;
    case SASL_END_CANCELLED:
        say_bad(x, "Authentication cancelled");
        break;
    case SASL_END_NOT_BASE64:
        say_bad(x, "Not base64");
        break;
    case SASL_END_TOO_LONG:
        say_bad(x, "Line too long");
        break;
    case SASL_END_LOST:
        break; /* serve() says why, if anybody still listens */
    }
    return false;
}

static void gate_auth(struct gate *x, str args)
{
    struct sasl sasl;
    str mechanism, initial;
    BUF_AUTO struct buf copy = BUF_INIT(POP3_AUTH_LINE_MAX);
    if (str_empty(args)) { /* RFC 5034 6: the obsolete way of asking */
        BUF_AUTO struct buf list = BUF_INIT(512);
        str word, rest;
        sasl_mechanisms(x->stream, x->secure, &list);
        say(x, "+OK Mechanisms follow");
        for (rest = buf_str(&list); str_next_word(&rest, &word);)
            stream_writef(x->stream, "%.*s\r\n", STR_ARG(word));
        say(x, ".");
        return;
    }
    buf_add(&copy, args);
    str_cut(buf_str(&copy), ' ', &mechanism, &initial);
    sasl_init(&sasl, x->house, x->stream, PROTOCOL_POP3, x->secure, &x->connection);
    bool signed_in = exchange(x, &sasl, mechanism, str_trim(initial));
    x->who = sasl.grant;
    sasl_free(&sasl);
    if (signed_in)
        hand_on(x);
}

static void gate_utf8(struct gate *x, str args)
{
    /* RFC 6856 2: messages are always given as they are stored. */
    say(x, "+OK UTF-8 enabled");
}

static void gate_lang(struct gate *x, str args) { pop3_lang(stream_out(x->stream), args); }

static void gate_quit(struct gate *x, str args)
{
    say(x, "+OK Goodbye");
    x->closing = true;
}

static void serve_line(struct gate *x, str line)
{
    str verb, args;
    pop3_split(line, &verb, &args);
    if (str_eq_nocase(verb, STR("PASS"))) /* RFC 1939 7: a password may begin with a space */
        args = str_skip(line, 5);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (str_eq_nocase(commands[i].verb, verb)) {
            commands[i].run(x, args);
            return;
        }
    say_bad(x, "Not known, or not before signing in");
}

static void serve(struct gate *x)
{
    DEADLINE_SCOPE(x->config->login_timeout_ms);
    while (!x->closing && !x->handed_on && stream_error(x->stream) == ERR_OK) {
        str line;
        bool crlf;
        if (!stream_has_input(x->stream) && stream_flush(x->stream) != ERR_OK)
            return;
        enum err e = stream_line(x->stream, POP3_AUTH_LINE_MAX, &line, &crlf);
        if (e == ERR_LINE_TOO_LONG)
            say_bad(x, "Line too long");
        else if (e == ERR_TIMEOUT)
            stream_last_words(x->stream, STR("-ERR [SYS/TEMP] Timed out before signing in\r\n"));
        else if (e == ERR_OK)
            serve_line(x, line);
        if (e != ERR_OK && e != ERR_LINE_TOO_LONG)
            return;
    }
}

void pop3_gate(struct stream *s, const struct pop3_listener *l)
{
    struct gate x = {.stream = s, .listener = l, .config = l->config, .house = l->house};
    enum err e = ERR_OK;
    assert(!l->implicit_tls || l->tls);
    arena_init(&x.connection, CONNECTION_ARENA_MAX);
    stream_set_timeouts(s, x.config->login_timeout_ms, x.config->login_timeout_ms);
    if (l->implicit_tls)
        e = stream_start_tls_server(s, l->tls);
    if (e == ERR_OK) {
        x.secure = stream_is_tls(s) ||
                   (x.config->auth_plain_loopback && address_is_loopback(stream_peer(s)));
        stream_writef(s, "+OK %.*s Posthouse POP3\r\n", STR_ARG(x.config->hostname));
        serve(&x);
    }
    arena_free(&x.connection);
    if (x.handed_on)
        return;
    if (stream_flush(s) != ERR_OK)
        LOG_DEBUG("pop3", "connection lost before signing in");
    stream_close(s);
}
