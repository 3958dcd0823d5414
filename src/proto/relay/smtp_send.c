/* SPDX-License-Identifier: Apache-2.0
 *
 * One transaction: what must hold before, the content as this hop can take it, MAIL and RCPT
 * (pipelined where offered, RFC 2920), the content by DATA or BDAT, and the final reply, of which
 * LMTP has one a recipient (RFC 2033 4.2).
 */
#include "proto/relay/smtp_private.h"

#include "base/log.h"
#include "base/num.h"
#include "format/smtp_data.h"
#include "format/smtp_syntax.h"
#include "os/clock.h"
#include "os/file.h"
#include "proto/relay/conversion.h"
#include "proto/relay/mx.h"

#include <assert.h>

#define GROUP_MAX 100 /* recipients of a transaction, RFC 5321 4.5.3.1.8 */
#define CHUNK 65536

struct transaction {
    struct smtp_client *c;
    const struct relay_job *job;
    const struct smtp_content *content;
    struct arena *arena;
    struct relay_verdict *verdicts;
    bool *decided;
    bool utf8;
    /* the content as this hop gets it */
    bool binary, has_8bit, converted;
    uint64_t size;
    struct conversion conversion;
    size_t members[GROUP_MAX]; /* indices of the job's recipients */
    size_t nmembers;
    bool accepted[GROUP_MAX];
    size_t naccepted;
    struct buf chunk;
};

/* ---- verdicts ---- */

static enum err decide(struct transaction *t, size_t i, enum relay_outcome outcome, uint16_t code,
                       str enhanced, str text)
{
    struct relay_verdict *v = &t->verdicts[i];
    *v = (struct relay_verdict){.outcome = outcome, .code = code};
    t->decided[i] = true;
    return arena_dup(t->arena, enhanced, &v->enhanced) && arena_dup(t->arena, text, &v->text)
               ? ERR_OK
               : ERR_NOMEM;
}

static enum err decide_all(struct transaction *t, enum relay_outcome outcome, const char *enhanced,
                           str text)
{
    for (size_t i = 0; i < t->job->nrecipients; i++) {
        if (!t->decided[i])
            TRY(decide(t, i, outcome, 0, str_c(enhanced), text));
    }
    return ERR_OK;
}

static enum relay_outcome outcome_of(const struct smtp_client *c)
{
    switch (smtp_client_class(c)) {
    case 2:
        return c->ehlo.ext & SMTP_EXT_DSN ? RELAY_DELIVERED : RELAY_DELIVERED_NO_DSN;
    case 5:
        return RELAY_PERMANENT;
    default: /* 4; and 3, which answers nothing that was asked */
        return RELAY_TEMPORARY;
    }
}

/* The last reply is the verdict on recipient i. */
static enum err decide_by_reply(struct transaction *t, size_t i)
{
    const struct smtp_client *c = t->c;
    BUF_AUTO struct buf enhanced = BUF_INIT(32);
    if (c->reply.status.given)
        buf_addf(&enhanced, "%u.%u.%u", c->reply.status.class, c->reply.status.subject,
                 c->reply.status.detail);
    else
        buf_addf(&enhanced, "%u.0.0",
                 smtp_client_class(c) == 5   ? 5
                 : smtp_client_class(c) == 2 ? 2
                                             : 4);
    return decide(t, i, outcome_of(c), (uint16_t)c->reply.code, buf_str(&enhanced),
                  buf_str(&c->reply.text));
}

static enum err decide_accepted(struct transaction *t)
{
    for (size_t m = 0; m < t->nmembers; m++) {
        if (t->accepted[m])
            TRY(decide_by_reply(t, t->members[m]));
    }
    return ERR_OK;
}

/* ---- before ---- */

static bool ascii(str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if ((uint8_t)s.data[i] >= 0x80)
            return false;
    }
    return true;
}

/* The address in ASCII: a domain in A-labels is the same domain (RFC 5890 2.3.2.1), a local part
 * has no second form. False: there is none. */
static bool ascii_address(const struct transaction *t, str address, str *out)
{
    size_t at = str_rfind_char(address, '@');
    str domain;
    *out = address;
    if (ascii(address))
        return true;
    if (at == STR_NPOS || !ascii(str_head(address, at)) ||
        !mx_domain_ascii(str_skip(address, at + 1), t->arena, &domain))
        return false;
    *out = arena_fmt(t->arena, "%.*s@%.*s", STR_ARG(str_head(address, at)), STR_ARG(domain));
    return !str_empty(*out);
}

/* RFC 6531 3.2: the addresses or the header say whether the extension is really needed. */
static bool needs_utf8(const struct transaction *t)
{
    str form;
    bool needed = t->content->header_8bit && t->job->envelope->smtputf8;
    needed |= !ascii_address(t, t->job->envelope->sender, &form);
    for (size_t i = 0; i < t->job->nrecipients; i++)
        needed |= !ascii_address(t, t->job->recipients[i].address, &form);
    return needed;
}

static str wire_address(const struct transaction *t, str address)
{
    str form = address;
    return t->utf8 || ascii_address(t, address, &form) ? form : address;
}

static bool must_be_in_time(const struct envelope *e)
{
    return e->deliver_by != 0 && !e->deliver_by_notify;
}

/* What the message needs and the next hop does not offer; NULL: nothing. */
static const char *lacking(const struct transaction *t, const char **enhanced)
{
    const struct envelope *e = t->job->envelope;
    const struct smtp_ehlo *o = &t->c->ehlo;
    *enhanced = "5.6.7";
    if (t->utf8 && !(o->ext & SMTP_EXT_SMTPUTF8)) /* RFC 6531 3.5 */
        return "The next hop does not take internationalized addresses (SMTPUTF8)";
    *enhanced = "5.7.30";
    if (e->requiretls && !(o->ext & SMTP_EXT_REQUIRETLS)) /* RFC 8689 4.2.1 */
        return "REQUIRETLS support required";
    *enhanced = "5.3.3";
    if (must_be_in_time(e) &&
        (!(o->ext & SMTP_EXT_DELIVERBY) || e->deliver_by - clock_wall_s() < (int64_t)o->by_min_s))
        return "The next hop cannot promise delivery in time (DELIVERBY)"; /* RFC 2852 4.1.4.2 */
    return NULL;
}

/* RFC 6152 3, RFC 3030 3: what the hop does not take is converted. SMTPUTF8 is never without
 * 8BITMIME (RFC 6531 3.1). */
static bool must_convert(const struct transaction *t, enum convert_to *to)
{
    const uint32_t ext = t->c->ehlo.ext, binary = SMTP_EXT_CHUNKING | SMTP_EXT_BINARYMIME;
    bool takes_8bit = t->utf8 || (ext & SMTP_EXT_8BITMIME);
    *to = takes_8bit ? CONVERT_8BIT : CONVERT_7BIT;
    if (t->content->binary)
        return (ext & binary) != binary;
    return t->content->has_8bit && !takes_8bit;
}

static enum err convert(struct transaction *t, enum convert_to to, str *why) WAITS
{
    const char *refused = NULL;
    enum err e = conversion_begin(&t->conversion, t->content->fd, t->content->size, to, &refused);
    if (e == ERR_UNSUPPORTED)
        *why = arena_fmt(t->arena,
                         "The next hop takes lines of %s only, and the message cannot be "
                         "converted: %s",
                         to == CONVERT_7BIT ? "7 bits" : "998 bytes", refused);
    if (e != ERR_OK)
        return e;
    t->converted = true;
    t->binary = false;
    t->has_8bit &= to == CONVERT_8BIT;
    t->size = t->conversion.size;
    LOG_INFO("relay", "converted id=%.*s to=%s bytes=%llu was=%llu", STR_ARG(t->job->envelope->id),
             to == CONVERT_7BIT ? "7bit" : "8bit", (unsigned long long)t->size,
             (unsigned long long)t->content->size);
    return ERR_OK;
}

/* ERR_UNSUPPORTED: *why says what stands against it. */
static enum err fit(struct transaction *t, const char **enhanced, str *why) WAITS
{
    const struct smtp_ehlo *o = &t->c->ehlo;
    enum convert_to to;
    t->binary = t->content->binary;
    t->has_8bit = t->content->has_8bit;
    t->size = t->content->size;
    *enhanced = "5.6.3"; /* RFC 3463 3.7: conversion required but not supported */
    if (must_convert(t, &to))
        TRY(convert(t, to, why));
    *enhanced = "5.3.4";
    if (!(o->ext & SMTP_EXT_SIZE) || o->size_max == 0 || t->size <= o->size_max)
        return ERR_OK;
    *why = STR("The message is larger than the next hop takes");
    return ERR_UNSUPPORTED;
}

/* ---- envelope ---- */

static void write_mail(struct transaction *t) WAITS
{
    const struct envelope *e = t->job->envelope;
    const uint32_t ext = t->c->ehlo.ext;
    struct buf *out = stream_out(t->c->stream);
    buf_addf(out, "MAIL FROM:<%.*s>", STR_ARG(wire_address(t, e->sender)));
    if (ext & SMTP_EXT_SIZE)
        buf_addf(out, " SIZE=%llu", (unsigned long long)t->size);
    if (t->binary)
        buf_add_c(out, " BODY=BINARYMIME");
    else if ((ext & SMTP_EXT_8BITMIME) && (t->has_8bit || e->body != SMTP_BODY_7BIT))
        buf_add_c(out, " BODY=8BITMIME");
    if (t->utf8)
        buf_add_c(out, " SMTPUTF8");
    if (e->requiretls)
        buf_add_c(out, " REQUIRETLS");
    if ((ext & SMTP_EXT_DSN) && e->ret != SMTP_RET_NONE)
        buf_add_c(out, e->ret == SMTP_RET_FULL ? " RET=FULL" : " RET=HDRS");
    if ((ext & SMTP_EXT_DSN) && !str_empty(e->envid)) {
        buf_add_c(out, " ENVID=");
        smtp_xtext_encode(out, e->envid);
    }
    if ((ext & SMTP_EXT_DELIVERBY) && e->deliver_by != 0)
        buf_addf(out, " BY=%lld;%c", (long long)(e->deliver_by - clock_wall_s()),
                 e->deliver_by_notify ? 'N' : 'R');
    if ((ext & SMTP_EXT_MT_PRIORITY) && e->priority != 0)
        buf_addf(out, " MT-PRIORITY=%d", e->priority - 9);
    buf_add_c(out, "\r\n");
    stream_out_check(t->c->stream);
}

static void write_rcpt(struct transaction *t, const struct relay_recipient *r) WAITS
{
    struct buf *out = stream_out(t->c->stream);
    buf_addf(out, "RCPT TO:<%.*s>", STR_ARG(wire_address(t, r->address)));
    if (t->c->ehlo.ext & SMTP_EXT_DSN) {
        static const char *const names[] = {"NEVER", "SUCCESS", "FAILURE", "DELAY"};
        char sep = '=';
        for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
            if (!(r->notify & 1u << i))
                continue;
            buf_addf(out, "%s%c%s", sep == '=' ? " NOTIFY" : "", sep, names[i]);
            sep = ',';
        }
        str type, address;
        if (ascii(r->orcpt) && str_cut(r->orcpt, ';', &type, &address)) {
            buf_addf(out, " ORCPT=%.*s;", STR_ARG(type));
            smtp_xtext_encode(out, address);
        }
    }
    buf_add_c(out, "\r\n");
    stream_out_check(t->c->stream);
}

/* The reply to one RCPT. 452 after others were taken means "these first" (RFC 5321 4.5.3.1.10). */
static enum err take_rcpt(struct transaction *t, size_t m) WAITS
{
    TRY(smtp_client_reply(t->c, t->c->timeouts.rcpt));
    if (t->c->dead)
        return ERR_EOF;
    t->accepted[m] = smtp_client_class(t->c) == 2;
    t->naccepted += t->accepted[m];
    if (t->accepted[m] || (t->c->reply.code == 452 && t->naccepted > 0))
        return ERR_OK;
    return decide_by_reply(t, t->members[m]);
}

/* MAIL's refusal holds for all; a temporary one may be this host's alone. */
static enum err take_mail(struct transaction *t, bool *refused) WAITS
{
    TRY(smtp_client_reply(t->c, t->c->timeouts.mail));
    *refused = smtp_client_class(t->c) != 2;
    if (!*refused)
        return ERR_OK;
    if (t->c->dead)
        return ERR_EOF;
    for (size_t m = 0; m < t->nmembers; m++)
        TRY(decide_by_reply(t, t->members[m]));
    return ERR_OK;
}

static enum err envelope_pipelined(struct transaction *t, bool *refused) WAITS
{
    write_mail(t);
    for (size_t m = 0; m < t->nmembers; m++)
        write_rcpt(t, &t->job->recipients[t->members[m]]);
    TRY(take_mail(t, refused));
    for (size_t m = 0; m < t->nmembers; m++) {
        if (!*refused)
            TRY(take_rcpt(t, m));
        else /* the reply to what was sent already */
            TRY(smtp_client_reply(t->c, t->c->timeouts.rcpt));
    }
    return ERR_OK;
}

static enum err envelope_stepwise(struct transaction *t, bool *refused) WAITS
{
    write_mail(t);
    TRY(take_mail(t, refused));
    for (size_t m = 0; m < t->nmembers && !*refused; m++) {
        write_rcpt(t, &t->job->recipients[t->members[m]]);
        TRY(take_rcpt(t, m));
    }
    return ERR_OK;
}

/* ---- content ---- */

/* The next piece of the file, or of what it is converted to. None: t->chunk stays empty. */
static enum err read_piece(struct transaction *t, struct convert *run, uint64_t *at)
{
    size_t got = 0;
    buf_reset(&t->chunk);
    if (t->converted) {
        while (t->chunk.len == 0 && convert_next(run, &t->chunk))
            ;
        return buf_ok(&t->chunk) ? ERR_OK : ERR_NOMEM;
    }
    size_t want = (size_t)MIN(t->content->size - *at, (uint64_t)CHUNK);
    char *room = buf_reserve(&t->chunk, CHUNK);
    if (!room)
        return ERR_NOMEM;
    TRY(file_read_at(t->content->fd, *at, room, want, &got));
    buf_commit(&t->chunk, got);
    *at += got;
    return got == 0 && want > 0 ? ERR_IO : ERR_OK;
}

/* rule: wire-1. Line ends are repaired on the way, dots doubled. */
static enum err write_data(struct transaction *t) WAITS
{
    struct smtp_stuff stuff = {0};
    struct convert run = t->conversion.plan;
    uint64_t at = 0;
    for (;;) {
        TRY(read_piece(t, &run, &at));
        if (t->chunk.len == 0)
            break;
        smtp_stuff_add(&stuff, stream_out(t->c->stream), buf_str(&t->chunk));
        stream_out_check(t->c->stream);
        TRY(stream_error(t->c->stream));
    }
    TRY(stream_flush(t->c->stream)); /* so that a failure from here on may hide a delivery */
    smtp_stuff_end(&stuff, stream_out(t->c->stream));
    return ERR_OK;
}

static enum err begin_data(struct transaction *t) WAITS
{
    TRY(smtp_client_ask(t->c, STR("DATA\r\n"), t->c->timeouts.data_begin));
    if (t->c->reply.code == 354)
        return ERR_OK;
    if (t->c->dead)
        return ERR_EOF;
    if (smtp_client_class(t->c) >= 4) {
        TRY(decide_accepted(t));
        return ERR_DENIED;
    }
    /* 2xx here is no permission to send, and above all no delivery. */
    for (size_t m = 0; m < t->nmembers; m++) {
        if (t->accepted[m])
            TRY(decide(t, t->members[m], RELAY_TEMPORARY, 0, STR("4.5.0"),
                       STR("The answer to DATA was neither 354 nor a refusal")));
    }
    return ERR_SYNTAX;
}

/* The file ends the transaction: when its last byte is out, a delivery may have happened. */
static enum err write_bdat(struct transaction *t) WAITS
{
    stream_writef(t->c->stream, "BDAT %llu LAST\r\n", (unsigned long long)t->content->size);
    stream_write_file(t->c->stream, t->content->fd, 0, t->content->size);
    return ERR_OK;
}

static enum err lost(struct transaction *t)
{
    static const char text[] = "The connection was lost before the final reply; the message may "
                               "have been delivered";
    for (size_t m = 0; m < t->nmembers; m++) {
        size_t i = t->members[m];
        if (t->accepted[m] && !t->decided[i])
            TRY(decide(t, i, RELAY_TEMPORARY, 0, STR("4.4.2"), str_c(text)));
    }
    t->c->dead = true;
    return ERR_EOF;
}

static enum err final_replies(struct transaction *t) WAITS
{
    uint64_t ms = t->c->timeouts.data_end;
    if (!t->c->lmtp) {
        enum err e = smtp_client_reply(t->c, ms);
        return e == ERR_OK ? decide_accepted(t) : lost(t);
    }
    for (size_t m = 0; m < t->nmembers; m++) {
        if (!t->accepted[m])
            continue;
        if (smtp_client_reply(t->c, ms) != ERR_OK)
            return lost(t);
        TRY(decide_by_reply(t, t->members[m]));
    }
    return ERR_OK;
}

static enum err send_content(struct transaction *t) WAITS
{
    if (t->binary) {
        TRY(write_bdat(t));
        return final_replies(t);
    }
    enum err e = begin_data(t);
    if (e == ERR_DENIED)
        return smtp_client_ask(t->c, STR("RSET\r\n"), t->c->timeouts.other);
    TRY(e);
    TRY(write_data(t));
    return final_replies(t);
}

/* ---- a group ---- */

static void choose_members(struct transaction *t)
{
    size_t max = GROUP_MAX;
    if (t->c->ehlo.rcpt_max > 0)
        max = (size_t)MIN((uint64_t)max, t->c->ehlo.rcpt_max);
    t->nmembers = t->naccepted = 0;
    for (size_t i = 0; i < t->job->nrecipients && t->nmembers < max; i++) {
        if (t->decided[i])
            continue;
        t->accepted[t->nmembers] = false;
        t->members[t->nmembers++] = i;
    }
}

static enum err send_group(struct transaction *t) WAITS
{
    bool refused = false;
    t->c->transactions++;
    TRY(t->c->ehlo.ext & SMTP_EXT_PIPELINING ? envelope_pipelined(t, &refused)
                                             : envelope_stepwise(t, &refused));
    if (refused)
        return ERR_OK;
    if (t->naccepted == 0)
        return smtp_client_ask(t->c, STR("RSET\r\n"), t->c->timeouts.other);
    return send_content(t);
}

/* Members are chosen where there is something to send. */
static enum err begin(struct transaction *t, struct smtp_lack *lack) WAITS
{
    const struct envelope *e = t->job->envelope;
    const char *enhanced = NULL;
    *lack = (struct smtp_lack){0};
    if (must_be_in_time(e) && e->deliver_by <= clock_wall_s()) /* RFC 2852 4.1.4.2; anywhere */
        return decide_all(t, RELAY_PERMANENT, "5.4.7", STR("The time of DELIVERBY is over"));
    t->utf8 = needs_utf8(t);
    str why = str_c(lacking(t, &enhanced));
    enum err err = str_empty(why) ? fit(t, &enhanced, &why) : ERR_UNSUPPORTED;
    if (err == ERR_OK)
        choose_members(t);
    if (err != ERR_UNSUPPORTED)
        return err;
    *lack = (struct smtp_lack){.enhanced = enhanced, .text = why};
    return ERR_OK;
}

enum err smtp_client_send(struct smtp_client *c, const struct relay_job *job,
                          const struct smtp_content *content, struct arena *arena,
                          struct relay_verdict *verdicts, bool *decided, struct smtp_lack *lack)
{
    struct transaction t = {.c = c,
                            .job = job,
                            .content = content,
                            .arena = arena,
                            .verdicts = verdicts,
                            .decided = decided,
                            .chunk = BUF_INIT(CHUNK)};
    enum err e = begin(&t, lack);
    while (e == ERR_OK && t.nmembers > 0) {
        e = send_group(&t);
        if (e == ERR_OK && c->dead)
            e = ERR_EOF;
        choose_members(&t);
    }
    conversion_end(&t.conversion);
    buf_free(&t.chunk);
    if (e != ERR_OK)
        c->dead = true;
    return e;
}
