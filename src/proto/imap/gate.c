/* SPDX-License-Identifier: Apache-2.0
 *
 * The gate's half: the not-authenticated state (RFC 9051 6.1, 6.2). It ends by handing the session
 * on or by closing.
 */
#include <assert.h>

#include "base/log.h"
#include "base/num.h"
#include "core/handoff.h"
#include "format/imap_args.h"
#include "proto/imap/capability.h"
#include "proto/imap/reader.h"
#include "proto/imap/sign_in.h"

#define CONNECTION_ARENA_MAX 32768
#define SCRATCH_ARENA_MAX 262144
#define KEEPALIVE_S 300 /* a peer that is gone is noticed in ten minutes */

struct gate {
    struct stream *stream;
    const struct imap_listener *listener;
    const struct imap_config *config;
    const struct house *house;
    struct arena connection, scratch;
    struct buf command;
    struct auth_grant who;
    str tag;
    uint32_t errors;
    bool secure, closing, handed_on;
};

typedef void gate_command_fn(struct gate *x, struct imap_cursor *c) WAITS;

static void say(struct gate *x, const char *kind, const char *text)
{
    stream_writef(x->stream, "%.*s %s %s\r\n", STR_ARG(x->tag), kind, text);
}

static void say_bad(struct gate *x, const char *text)
{
    say(x, "BAD", text);
    if (++x->errors >= x->config->errors_max) {
        stream_write(x->stream, STR("* BYE Too many bad commands\r\n"));
        x->closing = true;
    }
}

static void refuse(struct gate *x, const struct imap_cursor *c)
{
    BUF_AUTO struct buf text = BUF_INIT(512);
    imap_error_render(&text, c);
    buf_add_char(&text, '\0');
    say_bad(x, buf_ok(&text) ? text.data : "Syntax error");
}

static void say_no(struct gate *x, enum err e)
{
    const struct err_info *info = err_info(e);
    bool coded = info->imap_code[0] != '\0';
    stream_writef(x->stream, "%.*s NO %s%s%s%s\r\n", STR_ARG(x->tag), coded ? "[" : "",
                  info->imap_code, coded ? "] " : "", info->text);
    if (info->class == ERR_CLASS_PERM && ++x->errors >= x->config->errors_max) {
        stream_write(x->stream, STR("* BYE Too many failures\r\n"));
        x->closing = true;
    }
}

static bool tls_offered(const struct gate *x)
{
    return x->listener->tls && !stream_is_tls(x->stream);
}

static void capabilities(struct gate *x, bool signed_in, struct buf *out)
{
    imap_capabilities(x->stream, x->config, signed_in, tls_offered(x), x->secure, false, out);
}

static void gate_capability(struct gate *x, struct imap_cursor *c)
{
    if (!imap_end(c)) {
        refuse(x, c);
        return;
    }
    buf_add(stream_out(x->stream), STR("* CAPABILITY "));
    capabilities(x, false, stream_out(x->stream));
    buf_add(stream_out(x->stream), STR("\r\n"));
    say(x, "OK", "CAPABILITY completed");
}

static void gate_noop(struct gate *x, struct imap_cursor *c)
{
    if (imap_end(c))
        say(x, "OK", "NOOP completed");
    else
        refuse(x, c);
}

static void gate_logout(struct gate *x, struct imap_cursor *c)
{
    if (!imap_end(c)) {
        refuse(x, c);
        return;
    }
    stream_write(x->stream, STR("* BYE Goodbye\r\n"));
    say(x, "OK", "LOGOUT completed");
    x->closing = true;
}

static void gate_id(struct gate *x, struct imap_cursor *c)
{
    struct imap_pairs pairs;
    if (!imap_take_id(c, &pairs) || !imap_end(c)) {
        refuse(x, c);
        return;
    }
    stream_write(x->stream, STR("* ID (\"name\" \"Posthouse\")\r\n"));
    say(x, "OK", "ID completed");
}

/* RFC 9051 6.2.1; rule wire-2. */
static void gate_starttls(struct gate *x, struct imap_cursor *c)
{
    if (!imap_end(c)) {
        refuse(x, c);
        return;
    }
    if (!tls_offered(x)) {
        say_bad(x, stream_is_tls(x->stream) ? "TLS is active already" : "TLS is not available");
        return;
    }
    if (stream_has_input(x->stream)) {
        char source[ADDRESS_TEXT_MAX];
        LOG_WARN("imap", "dropped source=%s cause=\"input behind STARTTLS\"",
                 address_text(stream_peer(x->stream), source));
        stream_write(x->stream, STR("* BYE Nothing may follow STARTTLS\r\n"));
        x->closing = true;
        return;
    }
    say(x, "OK", "Begin TLS");
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
    BUF_AUTO struct buf greeting = BUF_INIT(8192);
    buf_addf(&greeting, "%.*s OK [CAPABILITY ", STR_ARG(x->tag));
    capabilities(x, true, &greeting);
    buf_add(&greeting, STR("] Signed in\r\n"));
    struct session_handoff h = {
        .protocol = PROTOCOL_IMAP,
        .who = x->who,
        .greeting = buf_str(&greeting),
        .fd = -1,
    };
    enum err e = buf_ok(&greeting) ? handoff(x->stream, x->house, &h, x->config->idle_timeout_ms,
                                             x->listener->group)
                                   : ERR_LIMIT;
    if (e == ERR_OK)
        x->handed_on = true;
    else
        say_no(x, e);
}

static void sign_in(struct gate *x, struct imap_cursor *c,
                    bool (*way)(struct imap_sign_in *s, struct imap_cursor *c)) WAITS
{
    struct imap_sign_in s = {
        .stream = x->stream, .house = x->house, .secure = x->secure, .arena = &x->connection};
    bool signed_in = way(&s, c);
    x->who = s.who;
    if (signed_in)
        hand_on(x);
    else if (!imap_ok(c))
        refuse(x, c);
    else if (s.bad)
        say_bad(x, s.bad);
    else if (s.refused != ERR_OK)
        say_no(x, s.refused);
}

static void gate_login(struct gate *x, struct imap_cursor *c) { sign_in(x, c, imap_sign_in_login); }

static void gate_authenticate(struct gate *x, struct imap_cursor *c)
{
    sign_in(x, c, imap_sign_in_authenticate);
}

static const struct gate_command {
    str name;
    gate_command_fn *run;
} commands[] = {
    {STR_INIT("CAPABILITY"), gate_capability},
    {STR_INIT("NOOP"), gate_noop},
    {STR_INIT("LOGOUT"), gate_logout},
    {STR_INIT("ID"), gate_id},
    {STR_INIT("STARTTLS"), gate_starttls},
    {STR_INIT("LOGIN"), gate_login},
    {STR_INIT("AUTHENTICATE"), gate_authenticate},
};

static void serve_text(struct gate *x)
{
    struct imap_cursor c = imap_cursor_of(buf_str(&x->command), &x->scratch, false);
    x->tag = imap_tag(&c);
    imap_sp(&c);
    str name = imap_atom(&c);
    if (imap_ok(&c) && !imap_at_end(&c))
        imap_sp(&c);
    if (!imap_ok(&c)) {
        if (str_empty(x->tag))
            x->tag = STR("*");
        refuse(x, &c);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (str_eq_nocase(commands[i].name, name)) {
            commands[i].run(x, &c);
            return;
        }
    say_bad(x, "Not known, or not before signing in");
}

static void serve(struct gate *x)
{
    DEADLINE_SCOPE(x->config->login_timeout_ms);
    while (!x->closing && !x->handed_on && stream_error(x->stream) == ERR_OK) {
        bool streams;
        if (!stream_has_input(x->stream) && stream_flush(x->stream) != ERR_OK)
            return;
        enum err e = imap_read_command(x->stream, &x->command, false, &streams);
        arena_reset(&x->scratch);
        if (e == ERR_OK) {
            serve_text(x);
        } else if (e == ERR_LINE_TOO_LONG || e == ERR_LIMIT) {
            struct imap_cursor c = imap_cursor_of(buf_str(&x->command), &x->scratch, false);
            x->tag = imap_tag(&c);
            if (!imap_ok(&c))
                x->tag = STR("*");
            say_bad(x, "Command too large");
        } else {
            if (e == ERR_TIMEOUT)
                stream_write(x->stream, STR("* BYE Timed out before signing in\r\n"));
            return;
        }
    }
}

void imap_gate(struct stream *s, const struct imap_listener *l)
{
    struct gate x = {.stream = s, .listener = l, .config = l->config, .house = l->house};
    enum err e = ERR_OK;
    assert(!l->implicit_tls || l->tls);
    arena_init(&x.connection, CONNECTION_ARENA_MAX);
    arena_init(&x.scratch, SCRATCH_ARENA_MAX);
    buf_init(&x.command, IMAP_COMMAND_PREAUTH_MAX);
    stream_set_timeouts(s, x.config->login_timeout_ms, x.config->login_timeout_ms);
    sock_keep_alive(stream_fd(s), KEEPALIVE_S);
    if (l->implicit_tls)
        e = stream_start_tls_server(s, l->tls);
    if (e == ERR_OK) {
        x.secure = stream_is_tls(s) ||
                   (x.config->auth_plain_loopback && address_is_loopback(stream_peer(s)));
        buf_add(stream_out(s), STR("* OK [CAPABILITY "));
        capabilities(&x, false, stream_out(s));
        buf_addf(stream_out(s), "] %.*s Posthouse\r\n", STR_ARG(x.config->hostname));
        serve(&x);
    }
    buf_free(&x.command);
    arena_free(&x.scratch);
    arena_free(&x.connection);
    if (x.handed_on)
        return;
    if (stream_flush(s) != ERR_OK)
        LOG_DEBUG("imap", "connection lost before signing in");
    stream_close(s);
}
