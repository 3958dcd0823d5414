/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/relay/smtp_private.h"

#include "format/limits.h"
#include "os/wait.h"

#include <assert.h>

#define MINUTE 60000u
const struct smtp_client_timeouts smtp_client_timeouts_rfc5321 = {
    .greeting = 5 * MINUTE,
    .hello = 5 * MINUTE,
    .mail = 5 * MINUTE,
    .rcpt = 5 * MINUTE,
    .data_begin = 2 * MINUTE,
    .data_block = 3 * MINUTE,
    .data_end = 10 * MINUTE,
    .other = 1 * MINUTE,
};
#define QUIT_MS 2000

enum err smtp_client_open(struct stream *s, const struct smtp_client_options *o,
                          struct smtp_client **out)
{
    struct arena arena = ARENA_INIT(65536);
    struct smtp_client *c = ARENA_NEW(&arena, struct smtp_client);
    str helo = STR_NONE;
    if (!c || !arena_dup(&arena, o->helo, &helo)) {
        arena_free(&arena);
        stream_close(s);
        return ERR_NOMEM;
    }
    *c = (struct smtp_client){
        .stream = s, .timeouts = *o->timeouts, .helo = helo, .lmtp = o->lmtp, .arena = arena};
    smtp_reply_reader_init(&c->reply);
    stream_set_timeouts(s, o->timeouts->data_block, o->timeouts->data_block);
    *out = c;
    return ERR_OK;
}

/* RFC 5321 4.1.1.10 wants the answer to QUIT awaited; nothing is won by that. */
void smtp_client_close(struct smtp_client *c)
{
    if (!c)
        return;
    if (!c->dead && stream_error(c->stream) == ERR_OK) {
        DEADLINE_SCOPE(QUIT_MS);
        stream_write(c->stream, STR("QUIT\r\n"));
        (void)!stream_flush(c->stream);
    }
    stream_close(c->stream);
    smtp_reply_reader_free(&c->reply);
    struct arena arena = c->arena;
    arena_free(&arena);
}

static enum err read_reply(struct smtp_client *c) WAITS
{
    smtp_reply_reader_reset(&c->reply);
    while (!c->reply.done) {
        str line;
        TRY(stream_line(c->stream, SMTP_REPLY_LINE_MAX, &line, NULL));
        TRY(smtp_reply_reader_add(&c->reply, line));
    }
    return ERR_OK;
}

enum err smtp_client_reply(struct smtp_client *c, uint64_t ms)
{
    stream_set_timeouts(c->stream, ms, c->timeouts.data_block);
    DEADLINE_SCOPE(ms);
    enum err e = c->dead ? ERR_EOF : read_reply(c);
    if (e != ERR_OK && !c->reply.done)
        smtp_reply_reader_reset(&c->reply);
    if (e != ERR_OK || c->reply.code == 421) /* RFC 5321 3.8: at any time */
        c->dead = true;
    return e;
}

enum err smtp_client_ask(struct smtp_client *c, str line, uint64_t ms)
{
    stream_write(c->stream, line);
    return smtp_client_reply(c, ms);
}

static enum err say_hello(struct smtp_client *c, const char *verb) WAITS
{
    stream_writef(c->stream, "%s %.*s\r\n", verb, STR_ARG(c->helo));
    return smtp_client_reply(c, c->timeouts.hello);
}

static enum err refused(const struct smtp_client *c) { return c->dead ? ERR_EOF : ERR_DENIED; }

enum err smtp_client_hello(struct smtp_client *c, bool greeting)
{
    if (greeting)
        TRY(smtp_client_reply(c, c->timeouts.greeting));
    if (greeting && smtp_client_class(c) != 2)
        return refused(c);
    c->ehlo = (struct smtp_ehlo){0};
    TRY(say_hello(c, c->lmtp ? "LHLO" : "EHLO"));
    if (smtp_client_class(c) == 2) {
        smtp_ehlo_parse(buf_str(&c->reply.text), &c->ehlo);
        return ERR_OK;
    }
    /* RFC 5321 3.2: a server that does not know EHLO. */
    if (c->lmtp || smtp_client_class(c) != 5 || c->dead)
        return refused(c);
    TRY(say_hello(c, "HELO"));
    return smtp_client_class(c) == 2 ? ERR_OK : refused(c);
}

enum err smtp_client_starttls(struct smtp_client *c, struct tls_client *t,
                              const struct tls_expect *expect)
{
    if (!(c->ehlo.ext & SMTP_EXT_STARTTLS))
        return ERR_UNSUPPORTED;
    TRY(smtp_client_ask(c, STR("STARTTLS\r\n"), c->timeouts.other));
    if (smtp_client_class(c) != 2)
        return refused(c);
    c->ehlo = (struct smtp_ehlo){0}; /* RFC 3207 4.2: what was said in the clear is forgotten */
    DEADLINE_SCOPE(c->timeouts.other);
    enum err e = stream_start_tls_expect(c->stream, t, expect);
    if (e != ERR_OK) {
        c->dead = true;
        smtp_reply_reader_reset(&c->reply);
        return e == ERR_CANCELED ? e : ERR_TLS;
    }
    return smtp_client_hello(c, false);
}

struct smtp_said smtp_client_said(const struct smtp_client *c)
{
    if (!c->reply.done)
        return (struct smtp_said){0};
    return (struct smtp_said){(uint16_t)c->reply.code, c->reply.status, buf_str(&c->reply.text)};
}

const struct smtp_ehlo *smtp_client_ehlo(const struct smtp_client *c) { return &c->ehlo; }

struct stream *smtp_client_stream(struct smtp_client *c) { return c->stream; }

size_t smtp_client_transactions(const struct smtp_client *c) { return c->transactions; }

bool smtp_client_stale(struct smtp_client *c)
{
    return c->dead || stream_error(c->stream) != ERR_OK || !stream_is_idle(c->stream) ||
           stream_wait(c->stream, NULL, 1) != WAIT_ANY_TIMEOUT;
}
