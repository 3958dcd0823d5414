/* SPDX-License-Identifier: Apache-2.0
 *
 * DATA (RFC 5321 4.1.1.4) and BDAT (RFC 3030): the content, into the spool. Rule wire-1 is decided
 * in format/smtp_data.h; here a breach ends the session.
 */
#include "base/log.h"
#include "base/num.h"
#include "proto/smtp/session.h"

#define DISCARD_FACTOR 2 /* a message too large is read on for at most so many times the limit */

static void refuse_newline(struct smtp *x, enum smtp_data_step step)
{
    char source[ADDRESS_TEXT_MAX];
    LOG_WARN("smtp", "refused id=%s source=%s cause=\"bare %s in the content\"", x->t.id,
             address_text(stream_peer(x->stream), source), step == SMTP_DATA_BARE_CR ? "CR" : "LF");
    smtp_say_err(x, ERR_BARE_NEWLINE);
    x->closing = true;
}

static void spool_begin(struct smtp *x)
{
    if (x->t.spooling)
        return;
    spool_init(&x->t.spool, x->config->size_max);
    x->t.spooling = true;
    smtp_judge_begin(x);
}

/* Reads to the final dot. False: the session is over (said where possible). */
static bool read_data(struct smtp *x)
{
    struct stream *s = x->stream;
    uint64_t seen = 0;
    struct smtp_data d = {.allow_bare_lf =
                              x->config->allow_bare_lf && address_is_loopback(stream_peer(s))};
    for (;;) {
        str in = stream_buffered(s), span;
        size_t before = in.len;
        enum smtp_data_step step = smtp_data_next(&d, &in, &span);
        if (step == SMTP_DATA_SPAN)
            smtp_content(x, span);
        stream_skip(s, before - in.len);
        seen += before - in.len;
        if (step == SMTP_DATA_END)
            return true;
        if (step == SMTP_DATA_BARE_CR || step == SMTP_DATA_BARE_LF) {
            refuse_newline(x, step);
            return false;
        }
        if (seen > DISCARD_FACTOR * x->config->size_max) {
            smtp_say_err(x, ERR_TOO_LARGE);
            x->closing = true;
            return false;
        }
        if (step == SMTP_DATA_MORE && stream_fill(s, 0) != ERR_OK)
            return false;
    }
}

void smtp_cmd_data(struct smtp *x, str args)
{
    struct smtp_fault fault;
    if (smtp_parse_none(args, &fault) != ERR_OK) {
        smtp_say_fault(x, &fault);
        return;
    }
    if (x->t.chunking || x->t.chunk.binary) { /* RFC 3030 2, 3 */
        smtp_say_bad(x, 503, "5.5.1", "BDAT is needed here");
        return;
    }
    smtp_say(x, 354, NULL, "Go ahead, end with <CRLF>.<CRLF>");
    if (stream_flush(x->stream) != ERR_OK)
        return;
    DEADLINE_SCOPE(x->config->message_timeout_ms);
    stream_set_timeouts(x->stream, x->config->data_timeout_ms, x->config->command_timeout_ms);
    spool_begin(x);
    bool complete = read_data(x);
    stream_set_timeouts(x->stream, x->config->command_timeout_ms, x->config->command_timeout_ms);
    if (!complete) {
        smtp_say_last(x, stream_error(x->stream));
        return;
    }
    smtp_accept(x);
    smtp_reset(x);
}

/* Reads the chunk's bytes, into the spool unless discard. */
static bool read_chunk(struct smtp *x, const struct smtp_bdat *b, bool discard)
{
    uint64_t left = b->size;
    while (left > 0) {
        str in = str_head(stream_buffered(x->stream), MIN(left, (uint64_t)SIZE_MAX));
        if (in.len == 0) {
            if (stream_fill(x->stream, 0) != ERR_OK)
                return false;
            continue;
        }
        left -= in.len;
        if (!discard) {
            enum smtp_data_step step = smtp_chunk_check(&x->t.chunk, in, b->last && left == 0);
            if (step != SMTP_DATA_MORE) {
                refuse_newline(x, step);
                return false;
            }
            smtp_content(x, in);
        }
        stream_skip(x->stream, in.len);
    }
    return true;
}

/* Why this chunk cannot be taken; NULL when it can. Its bytes are read either way. */
static const char *bdat_refusal(struct smtp *x)
{
    if (!x->extended || !x->t.open)
        return "MAIL first";
    if (x->t.nrecipients == 0)
        return "No valid recipients";
    return x->t.broken ? "The transaction failed, RSET first" : NULL;
}

void smtp_cmd_bdat(struct smtp *x, str args)
{
    struct smtp_bdat b;
    struct smtp_fault fault;
    if (smtp_parse_bdat(args, &b, &fault) != ERR_OK) {
        smtp_say_fault(x, &fault);
        x->closing = true; /* how many bytes follow is not known */
        return;
    }
    const char *refusal = bdat_refusal(x);
    if (b.size > DISCARD_FACTOR * x->config->size_max) {
        smtp_say_err(x, ERR_TOO_LARGE);
        x->closing = true;
        return;
    }
    DEADLINE_SCOPE(x->config->message_timeout_ms);
    stream_set_timeouts(x->stream, x->config->data_timeout_ms, x->config->command_timeout_ms);
    if (!refusal) {
        spool_begin(x);
        x->t.chunking = true;
    }
    bool complete = read_chunk(x, &b, refusal != NULL);
    stream_set_timeouts(x->stream, x->config->command_timeout_ms, x->config->command_timeout_ms);
    if (!complete) {
        smtp_say_last(x, stream_error(x->stream));
        return;
    }
    if (refusal) {
        smtp_say_bad(x, 503, "5.5.1", refusal);
        return;
    }
    if (x->t.spool.err != ERR_OK) {
        smtp_say_err(x, x->t.spool.err);
        x->t.broken = true;
        return;
    }
    if (!b.last) {
        BUF_AUTO struct buf text = BUF_INIT(64);
        buf_addf(&text, "%llu bytes taken", (unsigned long long)b.size);
        smtp_say_str(x, 250, "2.0.0", buf_str(&text));
        return;
    }
    smtp_accept(x);
    smtp_reset(x);
}
