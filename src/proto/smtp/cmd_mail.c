/* SPDX-License-Identifier: Apache-2.0
 *
 * MAIL and RCPT: who sends, and to whom. Everything that can be refused is refused here, before the
 * content (RFC 5321 4.1.1.2, 4.1.1.3).
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/code.h"
#include "base/log.h"
#include "base/num.h"
#include "os/clock.h"
#include "os/rand.h"
#include "proto/smtp/session.h"

static void transaction_name(struct smtp *x)
{
    uint64_t random = rand_u64();
    BUF_AUTO struct buf text = BUF_INIT(64);
    code_base32(&text, str_of(&random, sizeof(random)));
    int n =
        snprintf(x->t.id, sizeof(x->t.id), "%s%.*s", x->listener->role_id, STR_ARG(buf_str(&text)));
    assert(n > 0);
}

static bool path_text(struct smtp *x, const struct addr *a, str *out)
{
    BUF_AUTO struct buf b = BUF_INIT(1024);
    addr_render(&b, a);
    return buf_ok(&b) && arena_dup(&x->transaction, buf_str(&b), out);
}

/* At submission somebody has signed in, and the sender address is one of theirs (rule auth-3). */
static bool sender_may(struct smtp *x, const struct smtp_mail *m)
{
    str address;
    char source[ADDRESS_TEXT_MAX];
    if (!x->who.account) {
        if (x->listener->kind != SMTP_SUBMISSION)
            return true;
        smtp_say_err(x, ERR_AUTH_REQUIRED);
        return false;
    }
    if (!path_text(x, &m->from.addr, &address)) {
        smtp_say_err(x, ERR_NOMEM);
        return false;
    }
    enum err e = x->house->sender_check(x->house->ctx, x->who.account, address);
    if (e == ERR_OK)
        return true;
    LOG_WARN("smtp", "refused sender=%.*s account=%llu source=%s cause=%s", STR_ARG(address),
             (unsigned long long)x->who.account, address_text(stream_peer(x->stream), source),
             err_name(e));
    smtp_say_err(x, e);
    return false;
}

/* What was announced about times holds. */
static bool times_fit(struct smtp *x, const struct smtp_mail *m)
{
    uint64_t latest = (uint64_t)clock_wall_s() + SMTP_HOLD_MAX_S;
    bool hold = (m->seen & SMTP_MAIL_HOLDFOR && m->hold_for_s > SMTP_HOLD_MAX_S) ||
                (m->seen & SMTP_MAIL_HOLDUNTIL && m->hold_until_s > latest);
    if (hold)
        smtp_say_bad(x, 501, "5.5.4", "That is later than FUTURERELEASE allows");
    else if (m->seen & SMTP_MAIL_BY && m->by_return && m->by_s < SMTP_BY_MIN_S)
        smtp_say_bad(x, 501, "5.5.4", "That is sooner than DELIVERBY allows");
    else
        return true;
    return false;
}

void smtp_cmd_mail(struct smtp *x, str args)
{
    struct smtp_mail m;
    struct smtp_fault fault;
    str copy;
    if (x->t.open) {
        smtp_say_bad(x, 503, "5.5.1", "Nested MAIL");
        return;
    }
    smtp_reset(x); /* a BDAT refused without MAIL may have left its mark */
    if (x->transactions >= x->config->transactions_max) {
        smtp_say(x, 421, "4.7.0", "Too many messages in one session");
        x->closing = true;
        return;
    }
    if (!arena_dup(&x->transaction, args, &copy)) {
        smtp_say_err(x, ERR_NOMEM);
        return;
    }
    if (smtp_parse_mail(&x->transaction, copy, smtp_mail_offered(x), &m, &fault) != ERR_OK) {
        smtp_say_fault(x, &fault);
        return;
    }
    if (!times_fit(x, &m))
        return;
    if (m.size > x->config->size_max) {
        smtp_say_err(x, ERR_TOO_LARGE);
        return;
    }
    if (!sender_may(x, &m))
        return;
    x->transactions++;
    x->t.open = true;
    x->t.mail = m;
    x->t.chunk.binary = m.body == SMTP_BODY_BINARYMIME;
    transaction_name(x);
    smtp_say(x, 250, "2.1.0", "Sender OK");
}

static bool recipient_room(struct smtp *x)
{
    struct smtp_transaction *t = &x->t;
    if (t->nrecipients >= MIN(x->config->recipients_max, (uint32_t)ENVELOPE_RECIPIENTS_MAX)) {
        smtp_say(x, 452, "4.5.3", "Too many recipients");
        return false;
    }
    if (t->nrecipients < t->cap)
        return true;
    size_t cap = t->cap ? t->cap * 2 : 4;
    struct envelope_recipient *more = ARENA_ARRAY(&x->transaction, struct envelope_recipient, cap);
    if (!more) {
        smtp_say_err(x, ERR_NOMEM);
        return false;
    }
    if (t->nrecipients > 0)
        memcpy(more, t->recipients, t->nrecipients * sizeof(more[0]));
    t->recipients = more;
    t->cap = cap;
    return true;
}

static enum err recipient_ask(struct smtp *x, str address, struct recipient_verdict *out) WAITS
{
    struct recipient_check check = {.address = address,
                                    .size = x->t.mail.size,
                                    .account = x->who.account,
                                    .relay_allowed = x->relay_named};
    enum err e = x->house->recipient_check(x->house->ctx, &check, out);
    if (e == ERR_OK && x->listener->kind == SMTP_LMTP && !out->local)
        return ERR_NO_USER; /* RFC 2033: LMTP delivers, it does not relay */
    return e;
}

/* "<Postmaster>" (RFC 5321 4.5.1) is that of the domain this host is named in: of
 * mail.example.com, postmaster@mail.example.com or else postmaster@example.com. */
static enum err postmaster_ask(struct smtp *x, str *address, struct recipient_verdict *out) WAITS
{
    str host = x->config->hostname, label, rest;
    for (;; host = rest) {
        *address = arena_fmt(&x->transaction, "postmaster@%.*s", STR_ARG(host));
        if (str_empty(*address))
            return ERR_NOMEM;
        enum err e = recipient_ask(x, *address, out);
        if ((e == ERR_OK && out->local) || err_class(e) == ERR_CLASS_TEMP)
            return e;
        if (!str_cut(host, '.', &label, &rest) || str_empty(rest))
            return ERR_NO_USER;
    }
}

static void recipient_add(struct smtp *x, const struct smtp_rcpt *r, str address,
                          const struct recipient_verdict *verdict)
{
    struct envelope_recipient e = {.address = address, .notify = (uint8_t)r->notify};
    if (r->seen & SMTP_RCPT_ORCPT)
        e.orcpt =
            arena_fmt(&x->transaction, "%.*s;%.*s", STR_ARG(r->orcpt_type), STR_ARG(r->orcpt));
    if (verdict->local && x->t.nrecipients == 0)
        x->t.home = verdict->home;
    x->t.recipients[x->t.nrecipients++] = e;
    smtp_say(x, 250, "2.1.5", "Recipient OK");
}

void smtp_cmd_rcpt(struct smtp *x, str args)
{
    struct smtp_rcpt r;
    struct smtp_fault fault;
    struct recipient_verdict verdict = {0};
    str address = STR_NONE, copy;
    if (!arena_dup(&x->transaction, args, &copy)) {
        smtp_say_err(x, ERR_NOMEM);
        return;
    }
    bool utf8 = x->t.mail.seen & SMTP_MAIL_SMTPUTF8;
    if (smtp_parse_rcpt(&x->transaction, copy, smtp_rcpt_offered(x), utf8, &r, &fault) != ERR_OK) {
        smtp_say_fault(x, &fault);
        return;
    }
    if (!smtp_source_may(x))
        return;
    if (!recipient_room(x))
        return;
    enum err e = ERR_NOMEM;
    if (r.to.postmaster)
        e = postmaster_ask(x, &address, &verdict);
    else if (path_text(x, &r.to.addr, &address))
        e = recipient_ask(x, address, &verdict);
    if (e != ERR_OK) {
        char source[ADDRESS_TEXT_MAX];
        LOG_INFO("smtp", "refused recipient=%.*s id=%s source=%s cause=%s", STR_ARG(address),
                 x->t.id, address_text(stream_peer(x->stream), source), err_name(e));
        smtp_say_err(x, e);
        return;
    }
    if (verdict.local && !smtp_greylist_may(x, address))
        return;
    recipient_add(x, &r, address, &verdict);
}
