/* SPDX-License-Identifier: Apache-2.0
 *
 * HELO, EHLO, LHLO, STARTTLS, XCLIENT, and the commands that change nothing.
 */
#include "base/log.h"
#include "core/sasl.h"
#include "format/date.h"
#include "os/clock.h"
#include "proto/smtp/session.h"

/* RFC 5321 4.1.4: a new hello ends the transaction. */
static bool hello(struct smtp *x, str args, bool extended)
{
    struct smtp_helo helo;
    struct smtp_fault fault;
    if (smtp_parse_helo(args, &helo, &fault) != ERR_OK) {
        smtp_say_fault(x, &fault);
        return false;
    }
    smtp_reset(x);
    x->extended = extended;
    if (!arena_dup(&x->connection, helo.name, &x->helo)) {
        smtp_say_err(x, ERR_NOMEM);
        x->closing = true;
        return false;
    }
    return true;
}

void smtp_cmd_helo(struct smtp *x, str args)
{
    if (hello(x, args, false))
        smtp_say_str(x, 250, NULL, x->config->hostname);
}

uint32_t smtp_mail_offered(const struct smtp *x)
{
    if (!x->extended)
        return 0;
    uint32_t bits = SMTP_MAIL_SIZE | SMTP_MAIL_BODY | SMTP_MAIL_SMTPUTF8 | SMTP_MAIL_RET |
                    SMTP_MAIL_ENVID | SMTP_MAIL_BINARYMIME;
    if (x->who.account)
        bits |= SMTP_MAIL_AUTH;
    if (x->listener->kind == SMTP_SUBMISSION)
        bits |= SMTP_MAIL_HOLDFOR | SMTP_MAIL_HOLDUNTIL | SMTP_MAIL_BY | SMTP_MAIL_MT_PRIORITY;
    if (stream_is_tls(x->stream)) /* RFC 8689 3: only said under TLS */
        bits |= SMTP_MAIL_REQUIRETLS;
    return bits;
}

uint32_t smtp_rcpt_offered(const struct smtp *x)
{
    return x->extended ? SMTP_RCPT_NOTIFY | SMTP_RCPT_ORCPT : 0;
}

static bool tls_offered(const struct smtp *x)
{
    return x->listener->tls && !stream_is_tls(x->stream);
}

static bool auth_offered(const struct smtp *x)
{
    return (x->listener->kind == SMTP_SUBMISSION ||
            (x->listener->kind == SMTP_MX && x->config->auth_on_mx)) &&
           !x->who.account;
}

static bool xclient_offered(const struct smtp *x)
{
    return smtp_in_networks(stream_peer(x->stream), x->config->xclients, x->config->nxclients);
}

/* RFC 4865 4: the longest interval and the date it ends; RFC 2852 2: the shortest time; RFC 6710 3:
 * the policy by which priorities are understood, its default. */
static void announce_times(struct smtp *x, struct buf *out)
{
    if (x->listener->kind == SMTP_SUBMISSION) {
        buf_addf(out, "250-FUTURERELEASE %d ", SMTP_HOLD_MAX_S);
        date_render_rfc3339(out, clock_wall_s() + SMTP_HOLD_MAX_S);
        buf_addf(out, "\r\n250-DELIVERBY %d\r\n250-MT-PRIORITY MIXER\r\n", SMTP_BY_MIN_S);
    }
    if (stream_is_tls(x->stream))
        buf_add(out, STR("250-REQUIRETLS\r\n"));
}

static void announce(struct smtp *x)
{
    struct buf *out = stream_out(x->stream);
    BUF_AUTO struct buf mechanisms = BUF_INIT(512);
    buf_addf(out, "250-%.*s\r\n", STR_ARG(x->config->hostname));
    buf_add(out, STR("250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n"
                     "250-BINARYMIME\r\n250-DSN\r\n250-ENHANCEDSTATUSCODES\r\n"));
    announce_times(x, out);
    if (tls_offered(x))
        buf_add(out, STR("250-STARTTLS\r\n"));
    if (auth_offered(x))
        sasl_mechanisms(x->stream, x->secure, &mechanisms);
    if (mechanisms.len > 0)
        buf_addf(out, "250-AUTH%.*s\r\n", STR_ARG(buf_str(&mechanisms)));
    if (xclient_offered(x))
        buf_add(out, STR("250-XCLIENT NAME ADDR PORT PROTO HELO DESTADDR DESTPORT\r\n"));
    buf_addf(out, "250-LIMITS MAILMAX=%u RCPTMAX=%u\r\n", x->config->transactions_max,
             x->config->recipients_max);
    buf_addf(out, "250 SIZE %llu\r\n", (unsigned long long)x->config->size_max);
    stream_out_check(x->stream);
}

void smtp_cmd_ehlo(struct smtp *x, str args)
{
    if (hello(x, args, true))
        announce(x);
}

void smtp_cmd_lhlo(struct smtp *x, str args) { smtp_cmd_ehlo(x, args); }

/* RFC 3207 4; rule wire-2: whatever came behind the command in the clear is refused, and the
 * session begins again. */
void smtp_cmd_starttls(struct smtp *x, str args)
{
    struct smtp_fault fault;
    if (smtp_parse_none(args, &fault) != ERR_OK) {
        smtp_say_fault(x, &fault);
        return;
    }
    if (!tls_offered(x)) {
        smtp_say_bad(x, 503, "5.5.1",
                     stream_is_tls(x->stream) ? "TLS is active already" : "TLS is not available");
        return;
    }
    if (stream_has_input(x->stream)) {
        char source[ADDRESS_TEXT_MAX];
        LOG_WARN("smtp", "dropped source=%s cause=\"input behind STARTTLS\"",
                 address_text(stream_peer(x->stream), source));
        smtp_say(x, 421, "4.7.0", "Nothing may follow STARTTLS");
        x->closing = true;
        return;
    }
    smtp_say(x, 220, "2.0.0", "Ready to start TLS");
    smtp_reset(x);
    x->helo = STR_NONE;
    x->extended = false;
    x->who = (struct auth_grant){0};
    enum err e = stream_flush(x->stream);
    if (e == ERR_OK)
        e = stream_start_tls_server(x->stream, x->listener->tls);
    if (e != ERR_OK) {
        x->closing = true;
        return;
    }
    x->secure = true;
}

/* A front end that speaks for its client (Postfix XCLIENT_README). */
void smtp_cmd_xclient(struct smtp *x, str args)
{
    struct smtp_xclient a;
    struct smtp_fault fault;
    struct address peer = *stream_peer(x->stream), local = *stream_local(x->stream);
    if (!xclient_offered(x) || x->t.open) {
        smtp_say_bad(x, x->t.open ? 503 : 550, x->t.open ? "5.5.1" : "5.7.1",
                     x->t.open ? "Mail transaction in progress" : "XCLIENT is not for you");
        return;
    }
    if (smtp_parse_xclient(&x->transaction, args, &a, &fault) != ERR_OK) {
        smtp_say_fault(x, &fault);
        return;
    }
    if ((a.seen & SMTP_XCLIENT_ADDR) && !str_empty(a.addr) && !address_parse(a.addr, &peer)) {
        smtp_say_bad(x, 501, "5.5.4", "Bad ADDR");
        return;
    }
    if (a.seen & SMTP_XCLIENT_PORT)
        peer.port = a.port;
    stream_set_peer(x->stream, &peer, &local);
    x->helo = STR_NONE;
    if ((a.seen & SMTP_XCLIENT_HELO) && !str_empty(a.helo) &&
        !arena_dup(&x->connection, a.helo, &x->helo)) {
        x->closing = true;
        return;
    }
    x->who = (struct auth_grant){0};
    smtp_reset(x);
    smtp_greet(x); /* as at the beginning: what depends on the peer is asked again */
}

void smtp_cmd_rset(struct smtp *x, str args)
{
    struct smtp_fault fault;
    if (smtp_parse_none(args, &fault) != ERR_OK) {
        smtp_say_fault(x, &fault);
        return;
    }
    smtp_reset(x);
    smtp_say(x, 250, "2.0.0", "Forgotten");
}

void smtp_cmd_noop(struct smtp *x, str args) { smtp_say(x, 250, "2.0.0", "OK"); }

/* RFC 5321 3.5.3: 252 tells nobody which addresses exist. */
void smtp_cmd_vrfy(struct smtp *x, str args)
{
    struct smtp_fault fault;
    str what;
    if (smtp_parse_text(args, true, &what, &fault) != ERR_OK) {
        smtp_say_fault(x, &fault);
        return;
    }
    smtp_say(x, 252, "2.5.0", "Send some mail, I will try my best");
}

void smtp_cmd_expn(struct smtp *x, str args)
{
    smtp_say_bad(x, 502, "5.5.1", "EXPN is not available");
}

void smtp_cmd_help(struct smtp *x, str args) { smtp_say(x, 214, "2.0.0", "See RFC 5321"); }

void smtp_cmd_quit(struct smtp *x, str args)
{
    smtp_say(x, 221, "2.0.0", "Goodbye");
    x->closing = true;
}
