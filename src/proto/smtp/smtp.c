/* SPDX-License-Identifier: Apache-2.0
 *
 * The session from top to bottom: TLS if the port begins with it, the PROXY header if the peer is a
 * named proxy, the greeting, then line → row → checks → handler, until somebody says goodbye.
 */
#include "proto/smtp/smtp.h"

#include <assert.h>
#include <string.h>

#include "base/log.h"
#include "base/num.h"
#include "format/proxy_proto.h"
#include "proto/smtp/session.h"

enum { MX = 1 << SMTP_MX, SUBMISSION = 1 << SMTP_SUBMISSION, LMTP = 1 << SMTP_LMTP };
enum needs { NOTHING, HELLO, MAIL, RCPT };

struct command {
    str verb;
    smtp_command_fn *run;
    unsigned kinds;
    enum needs needs;
};

static const struct command commands[] = {
#define COMMAND(verb, handler, kinds, needs) {STR_INIT(#verb), smtp_cmd_##handler, kinds, needs},
#include "proto/smtp/commands.def"
#undef COMMAND
};

void smtp_say_str(struct smtp *x, int code, const char *enhanced, str text)
{
    smtp_reply(stream_out(x->stream), code, x->extended ? enhanced : NULL, text);
    stream_out_check(x->stream);
}

void smtp_say(struct smtp *x, int code, const char *enhanced, const char *text)
{
    smtp_say_str(x, code, enhanced, str_c(text));
}

static void count_error(struct smtp *x)
{
    if (++x->errors < x->config->errors_max)
        return;
    smtp_say(x, 421, "4.7.0", "Too many errors");
    x->closing = true;
}

void smtp_say_err(struct smtp *x, enum err e)
{
    const struct err_info *info = err_info(e);
    smtp_say(x, info->smtp_code, info->enhanced, info->text);
    if (info->class == ERR_CLASS_PERM)
        count_error(x);
}

void smtp_say_fault(struct smtp *x, const struct smtp_fault *f)
{
    smtp_fault_render(stream_out(x->stream), f);
    count_error(x);
}

void smtp_say_bad(struct smtp *x, int code, const char *enhanced, const char *text)
{
    smtp_say(x, code, enhanced, text);
    count_error(x);
}

void smtp_say_last(struct smtp *x, enum err e)
{
    BUF_AUTO struct buf line = BUF_INIT(1024);
    const char *enhanced = e == ERR_TIMEOUT ? "4.4.2" : "4.3.2";
    smtp_reply(&line, 421, x->extended ? enhanced : NULL, str_c(err_text(e)));
    if (e == ERR_TIMEOUT || e == ERR_CANCELED)
        stream_last_words(x->stream, buf_str(&line));
    x->closing = true;
}

void smtp_reset(struct smtp *x)
{
    smtp_judge_free(x);
    if (x->t.spooling)
        spool_free(&x->t.spool);
    x->t = (struct smtp_transaction){0};
    arena_reset(&x->transaction);
}

bool smtp_in_networks(const struct address *a, const struct smtp_network *nets, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (address_in(a, &nets[i].address, nets[i].bits))
            return true;
    return false;
}

static const struct command *command_find(str verb, enum smtp_kind kind)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (str_eq_nocase(commands[i].verb, verb))
            return commands[i].kinds & (1u << kind) ? &commands[i] : NULL;
    return NULL;
}

/* Is it this command's turn? Replies otherwise. */
static bool in_order(struct smtp *x, const struct command *c)
{
    switch (c->needs) {
    case NOTHING:
        return true;
    case HELLO:
        if (!str_empty(x->helo))
            return true;
        smtp_say_bad(x, 503, "5.5.1", "Say hello first");
        return false;
    case MAIL:
        if (x->t.open)
            return true;
        smtp_say_bad(x, 503, "5.5.1", "MAIL first");
        return false;
    case RCPT:
        if (x->t.open && x->t.nrecipients > 0)
            return true;
        if (x->t.open)
            smtp_say_bad(x, 554, "5.5.1", "No valid recipients");
        else
            smtp_say_bad(x, 503, "5.5.1", "MAIL first");
        return false;
    }
    return false;
}

static void serve_line(struct smtp *x, str line)
{
    str verb, args;
    smtp_line_split(line, &verb, &args);
    const struct command *c = command_find(verb, x->listener->kind);
    if (!c) {
        smtp_say_bad(x, 500, "5.5.2", "Command not recognized");
        return;
    }
    if (in_order(x, c))
        c->run(x, args);
}

bool smtp_line_ends_well(struct smtp *x, str line, bool crlf)
{
    char source[ADDRESS_TEXT_MAX];
    bool lenient = x->config->allow_bare_lf && address_is_loopback(stream_peer(x->stream));
    if ((crlf || lenient) && str_find_char(line, '\r') == STR_NPOS)
        return true;
    LOG_WARN("smtp", "refused source=%s cause=\"bare CR or LF in a command\"",
             address_text(stream_peer(x->stream), source));
    smtp_say_err(x, ERR_BARE_NEWLINE);
    x->closing = true;
    return false;
}

static void serve_commands(struct smtp *x)
{
    while (!x->closing && stream_error(x->stream) == ERR_OK) {
        str line;
        bool crlf;
        if (!stream_has_input(x->stream) && stream_flush(x->stream) != ERR_OK)
            return;
        enum err e = stream_line(x->stream, SMTP_AUTH_LINE_MAX, &line, &crlf);
        if (e == ERR_LINE_TOO_LONG || (e == ERR_OK && line.len > SMTP_LINE_MAX)) {
            smtp_say_bad(x, 500, "5.5.6", "Line too long");
            continue;
        }
        if (e != ERR_OK) {
            smtp_say_last(x, e);
            return;
        }
        if (smtp_line_ends_well(x, line, crlf))
            serve_line(x, line);
    }
}

/* The PROXY header from a named proxy comes before anything else. */
static bool take_proxy_header(struct smtp *x)
{
    char source[ADDRESS_TEXT_MAX];
    struct stream *s = x->stream;
    if (!smtp_in_networks(stream_peer(s), x->config->proxies, x->config->nproxies))
        return true;
    for (;;) {
        struct proxy_header h;
        size_t used;
        str in = stream_buffered(s);
        enum proxy_result r = proxy_header_parse(in, &h, &used);
        if (r == PROXY_BAD || (r == PROXY_MORE && in.len >= PROXY_HEADER_MAX)) {
            LOG_WARN("smtp", "dropped source=%s cause=\"not a PROXY header from a named proxy\"",
                     address_text(stream_peer(s), source));
            return false;
        }
        if (r == PROXY_DONE) {
            if (!h.local && (h.family == PROXY_INET || h.family == PROXY_INET6)) {
                struct address peer = {.family = h.family == PROXY_INET ? 4 : 6,
                                       .port = h.source_port};
                memcpy(peer.ip, h.source, sizeof(peer.ip));
                struct address local = *stream_local(s);
                stream_set_peer(s, &peer, &local);
            }
            stream_skip(s, used);
            return true;
        }
        if (stream_fill(s, in.len) != ERR_OK)
            return false;
    }
}

static bool may_sign_in_plainly(const struct smtp *x)
{
    return x->config->auth_plain_loopback && address_is_loopback(stream_peer(x->stream));
}

void smtp_greet(struct smtp *x)
{
    const struct address *peer = stream_peer(x->stream);
    x->secure = stream_is_tls(x->stream) || may_sign_in_plainly(x);
    x->relay_named = smtp_in_networks(peer, x->config->relays, x->config->nrelays);
    stream_writef(x->stream, "220 %.*s %s Posthouse\r\n", STR_ARG(x->config->hostname),
                  x->listener->kind == SMTP_LMTP ? "LMTP" : "ESMTP");
    smtp_source_ask(x);
}

static bool begin(struct smtp *x)
{
    struct stream *s = x->stream;
    stream_set_timeouts(s, x->config->command_timeout_ms, x->config->command_timeout_ms);
    if (!take_proxy_header(x))
        return false;
    if (x->listener->implicit_tls) {
        /* With a PROXY header the beginning of TLS may have come. */
        if (stream_start_tls_server_seen(s, x->listener->tls) != ERR_OK)
            return false;
    }
    smtp_greet(x);
    return true;
}

void smtp_serve(struct stream *s, const struct smtp_listener *l)
{
    struct smtp x = {.stream = s, .listener = l, .config = l->config, .house = l->house};
    assert(!l->implicit_tls || l->tls);
    arena_init(&x.connection, SMTP_CONNECTION_ARENA_MAX);
    arena_init(&x.transaction, SMTP_TRANSACTION_ARENA_MAX);
    if (begin(&x))
        serve_commands(&x);
    smtp_reset(&x);
    dnsbl_free(x.blocklist);
    arena_free(&x.transaction);
    arena_free(&x.connection);
    enum err e = stream_flush(s);
    if (e != ERR_OK && e != ERR_EOF)
        LOG_DEBUG("smtp", "session ended cause=%s", err_name(e));
    stream_close(s);
}
