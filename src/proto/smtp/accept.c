/* SPDX-License-Identifier: Apache-2.0
 *
 * The complete message: header checks, trace fields, structure; then one call to the house. Its
 * answer is what the client hears: 250 means durable (rule accept-1).
 */
#include "base/log.h"
#include "base/num.h"
#include "format/convert.h"
#include "format/header.h"
#include "format/mime_cold.h"
#include "os/clock.h"
#include "proto/smtp/session.h"
#include "proto/smtp/trace.h"

#define FROM_ADDRESSES_MAX 10 /* in the From of a submission */

/* What one walk over the header block found. */
struct head {
    size_t received, froms;
    bool has_date, has_message_id;
    str from;
};

static void head_read(str content, struct head *h)
{
    struct header_iter it = header_iter_of(content);
    struct header_field f;
    *h = (struct head){0};
    while (header_next(&it, &f)) {
        if (str_eq_nocase(f.name, STR("Received")))
            h->received++;
        else if (str_eq_nocase(f.name, STR("Date")))
            h->has_date = true;
        else if (str_eq_nocase(f.name, STR("Message-ID")))
            h->has_message_id = true;
        else if (str_eq_nocase(f.name, STR("From")) && h->froms++ == 0)
            h->from = f.value;
    }
}

static enum err authors_check(struct smtp *x, str value)
{
    struct addr_list list;
    ARENA_AUTO struct arena scratch = ARENA_INIT((size_t)1 << 20);
    TRY(addr_list_parse(&scratch, value, &list));
    if (list.count > FROM_ADDRESSES_MAX)
        return ERR_LIMIT;
    for (size_t i = 0; i < list.count; i++) {
        if (list.items[i].kind != ADDR_MAILBOX)
            continue;
        BUF_AUTO struct buf address = BUF_INIT(1024);
        addr_render(&address, &list.items[i].addr);
        TRY(x->house->sender_check(x->house->ctx, x->who.account, buf_str(&address)));
    }
    return ERR_OK;
}

/* The author of a submission is one of the account's addresses too (rule auth-3). RFC 5322 3.6
 * allows one From; with two, whoever reads the message may see the other. */
static enum err from_check(struct smtp *x, const struct head *h)
{
    if (!x->who.account || h->froms == 0)
        return ERR_OK;
    return h->froms > 1 ? ERR_SENDER : authors_check(x, h->from);
}

static enum err structure(str content, struct buf *out)
{
    struct mime m;
    ARENA_AUTO struct arena scratch = ARENA_INIT(MIME_ARENA_MAX);
    TRY(mime_parse(&scratch, content, &m));
    TRY(mime_cold_encode(&scratch, &m, out));
    return buf_ok(out) ? ERR_OK : ERR_NOMEM;
}

/* FUTURERELEASE, DELIVERBY, MT-PRIORITY: as points in time and as rows hold them. */
static void envelope_wishes(const struct smtp_mail *m, struct envelope *e)
{
    int64_t now = clock_wall_s();
    if (m->seen & SMTP_MAIL_HOLDFOR)
        e->hold_until = now + (int64_t)m->hold_for_s;
    if (m->seen & SMTP_MAIL_HOLDUNTIL)
        e->hold_until = (int64_t)m->hold_until_s;
    if (m->seen & SMTP_MAIL_BY) {
        /* Held mail is not late before it may leave (RFC 4865 6). */
        e->deliver_by = MAX(now, e->hold_until) + m->by_s;
        e->deliver_by_notify = !m->by_return;
    }
    if (m->seen & SMTP_MAIL_MT_PRIORITY) /* 0 means unset: -9 is handled as -8 */
        e->priority = (uint8_t)MAX(m->mt_priority + 9, 1);
}

static void envelope_fill(struct smtp *x, struct envelope *e)
{
    const struct smtp_mail *m = &x->t.mail;
    *e = (struct envelope){
        .envid = m->envid,
        .ret = (uint8_t)m->ret,
        .body = (uint8_t)m->body,
        .smtputf8 = m->seen & SMTP_MAIL_SMTPUTF8,
        .requiretls = m->seen & SMTP_MAIL_REQUIRETLS,
        .sender_failed = x->t.sender_failed,
        .one_answer = x->listener->kind != SMTP_LMTP,
        .account = x->who.account,
        .source = *stream_peer(x->stream),
        .helo = x->helo,
        .id = str_c(x->t.id),
        .fd = x->t.spool.fd,
        .size = x->t.spool.size,
        .recipients = x->t.recipients,
        .nrecipients = x->t.nrecipients,
    };
    envelope_wishes(m, e);
}

/* One verdict for all recipients: OK only if each is, and "try again" before "never". What fails
 * beside others that are accepted the house has made OK (core/house.h). */
static enum err fold(const enum err *results, size_t n)
{
    enum err worst = ERR_OK;
    for (size_t i = 0; i < n; i++)
        if (results[i] != ERR_OK && (worst == ERR_OK || err_class(results[i]) == ERR_CLASS_TEMP))
            worst = results[i];
    return worst;
}

static void answer_one(struct smtp *x, enum err e, str recipient)
{
    BUF_AUTO struct buf text = BUF_INIT(1024);
    if (e != ERR_OK && x->t.refusal_code) {
        smtp_say_str(x, x->t.refusal_code, x->t.refusal_status, x->t.refusal);
        return;
    }
    if (e != ERR_OK) {
        smtp_say_err(x, e);
        return;
    }
    if (!str_empty(recipient))
        buf_addf(&text, "<%.*s> ", STR_ARG(recipient));
    buf_addf(&text, "Taken as %s", x->t.id);
    smtp_say_str(x, 250, "2.0.0", buf_str(&text));
}

static void answer(struct smtp *x, enum err all, const enum err *results)
{
    size_t n = x->t.nrecipients;
    if (x->listener->kind != SMTP_LMTP) {
        answer_one(x, all != ERR_OK ? all : fold(results, n), STR_NONE);
        return;
    }
    for (size_t i = 0; i < n; i++) /* RFC 2033 4.2: one reply a recipient */
        answer_one(x, all != ERR_OK ? all : results[i], x->t.recipients[i].address);
}

/* The house says more than the error's own text. */
static void say_more(struct smtp *x, const enum err *results, str text)
{
    enum err e = fold(results, x->t.nrecipients);
    if (e == ERR_OK || str_empty(text) || !arena_dup(&x->transaction, text, &x->t.refusal))
        return;
    x->t.refusal_code = err_info(e)->smtp_code;
    x->t.refusal_status = err_info(e)->enhanced;
}

/* RFC 6376 5.3: lines over 998 bytes, which hardly any hop can take unaltered, are converted before
 * the message is signed. A submission may be altered (RFC 6409 8), unless it asked for BINARYMIME;
 * one that cannot be, by the rules of format/convert.h, stays as it is. */
static enum err fit_lines(struct smtp *x, str *content)
{
    struct convert plan;
    struct spool fitted;
    const char *refused;
    bool binary = x->t.mail.body == SMTP_BODY_BINARYMIME;
    if (!x->who.account || binary || convert_lines_legal(*content))
        return ERR_OK;
    ARENA_AUTO struct arena scratch = ARENA_INIT(2 * (size_t)MIME_ARENA_MAX);
    BUF_AUTO struct buf piece = BUF_INIT(CONVERT_PIECE_MAX);
    if (convert_plan(&scratch, *content, CONVERT_8BIT, &plan, &refused) != ERR_OK)
        return ERR_OK;
    spool_init(&fitted, x->config->size_max);
    while (convert_next(&plan, &piece)) {
        spool_add(&fitted, buf_ok(&piece) ? buf_str(&piece) : STR_NONE);
        if (!buf_ok(&piece))
            fitted.err = ERR_NOMEM;
        buf_reset(&piece);
    }
    enum err e = spool_replace(&x->t.spool, &fitted, content);
    return e == ERR_TOO_LARGE ? ERR_OK : e; /* it had room as it was */
}

/* Everything that may refuse the message, in this order, and the fields that stand above it. What
 * alters the content comes before whoever looks at the altered one. */
static enum err examine(struct smtp *x, str *content, struct buf *trace) WAITS
{
    struct head head;
    smtp_content_end(x);
    TRY(spool_finish(&x->t.spool, content));
    TRY(fit_lines(x, content));
    head_read(*content, &head);
    if (head.received > SMTP_RECEIVED_MAX)
        return ERR_LOOP;
    TRY(from_check(x, &head));
    TRY(smtp_judge(x, trace)); /* our results stand above our Received (RFC 8601 5) */
    TRY(smtp_scan(x, content, trace));
    int64_t now = clock_wall_s();
    trace_received(x, now, trace);
    if (x->who.account)
        trace_missing(x, now, head.has_date, head.has_message_id, trace);
    return buf_ok(trace) ? ERR_OK : ERR_LIMIT;
}

static enum err hand_over(struct smtp *x, enum err *results) WAITS
{
    str content;
    struct envelope e;
    struct deliver_result r = {.recipients = results};
    BUF_AUTO struct buf trace = BUF_INIT(SMTP_TRACE_MAX), mime = BUF_INIT(MIME_COLD_MAX);
    BUF_AUTO struct buf sender = BUF_INIT(1024);
    TRY(examine(x, &content, &trace));
    smtp_report(x, content);
    TRY(structure(content, &mime));
    addr_render(&sender, &x->t.mail.from.addr);
    envelope_fill(x, &e);
    e.sender = buf_str(&sender);
    e.content = e.fd < 0 ? content : STR_NONE;
    e.trace = buf_str(&trace);
    e.mime = buf_str(&mime);
    TRY(x->house->deliver(x->house->ctx, x->t.home, &e, &r));
    say_more(x, results, str_c(r.text));
    if (err_class(fold(results, x->t.nrecipients)) != ERR_CLASS_TEMP)
        smtp_observed(x); /* what comes again is counted then */
    return ERR_OK;
}

void smtp_accept(struct smtp *x)
{
    char source[ADDRESS_TEXT_MAX];
    enum err *results = ARENA_ARRAY(&x->transaction, enum err, x->t.nrecipients);
    enum err e = results ? hand_over(x, results) : ERR_NOMEM;
    enum err folded = e != ERR_OK ? e : fold(results, x->t.nrecipients);
    LOG_INFO("smtp", "%s id=%s size=%llu recipients=%zu account=%llu source=%s result=%s",
             folded == ERR_OK ? "accepted" : "refused", x->t.id,
             (unsigned long long)x->t.spool.size, x->t.nrecipients,
             (unsigned long long)x->who.account, address_text(stream_peer(x->stream), source),
             err_name(folded));
    answer(x, e, results);
    if (!stream_has_input(x->stream))
        (void)!stream_flush(x->stream); /* the client goes on while we clear up */
}
