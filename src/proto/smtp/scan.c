/* SPDX-License-Identifier: Apache-2.0
 *
 * A scanner's opinion of a complete message (core/scan.h), and what the configuration makes of it.
 * Whatever goes wrong with the scanner costs this message the declared action and nothing else
 * (rule proc-3).
 */
#include "core/scan.h"

#include "base/log.h"
#include "base/num.h"
#include "os/clock.h"
#include "proto/smtp/session.h"

#define SCAN_ARENA_MAX (2 * SCAN_ANSWER_MAX + 1048576)
#define GRACE_MS 250 /* the relay's deadline comes first: it knows what it was waiting for */
#define TESTS_MAX 2048

/* What strangers may not say about their own mail when a scanner speaks here. */
static const struct scan_removal forged[] = {{STR_INIT("X-Spam-Flag"), 0},
                                             {STR_INIT("X-Spam-Status"), 0},
                                             {STR_INIT("X-Spam-Score"), 0},
                                             {STR_INIT("X-Spam-Level"), 0}};

struct opinion {
    struct scan_answer answer;
    enum err error; /* there is none: why */
    enum scan_doing doing;
};

static bool is_scanned(const struct smtp *x)
{
    const struct smtp_scanner *p = &x->config->policy.scanner;
    if (!p->enabled || !x->listener->relay || !x->listener->relay->scan)
        return false;
    return smtp_is_stranger(x) || (p->submissions && x->who.account);
}

static enum err ask(struct smtp *x, struct arena *arena, struct scan_answer *out) WAITS
{
    const struct smtp_scanner *p = &x->config->policy.scanner;
    struct smtp_transaction *t = &x->t;
    BUF_AUTO struct buf sender = BUF_INIT(1024);
    str *recipients = ARENA_ARRAY(arena, str, t->nrecipients);
    str json;
    if (!recipients)
        return ERR_NOMEM;
    TRY(spool_to_file(&t->spool)); /* the relay reads a descriptor */
    for (size_t i = 0; i < t->nrecipients; i++)
        recipients[i] = t->recipients[i].address;
    addr_render(&sender, &t->mail.from.addr);
    struct relay_scan q = {.sender = buf_str(&sender),
                           .recipients = recipients,
                           .nrecipients = t->nrecipients,
                           .source = *stream_peer(x->stream),
                           .helo = x->helo,
                           .id = str_c(t->id),
                           .user = x->who.account ? x->who.address : STR_NONE,
                           .fd = t->spool.fd,
                           .size = t->spool.size,
                           .timeout_ms = p->deadline_ms};
    DEADLINE_SCOPE(p->deadline_ms + GRACE_MS);
    TRY(x->listener->relay->scan(x->listener->relay->ctx, &q, arena, &json));
    return scan_answer_parse(json, arena, out);
}

static enum scan_doing doing_of(const struct smtp_scanner *p, const struct opinion *o)
{
    if (o->error != ERR_OK)
        return p->on_failure;
    switch (o->answer.action) {
    case SCAN_NO_ACTION:
        break;
    case SCAN_GREYLIST:
        return p->on_greylist;
    case SCAN_ADD_HEADER:
        return p->on_add_header;
    case SCAN_REWRITE_SUBJECT:
        return p->on_rewrite_subject;
    case SCAN_SOFT_REJECT:
        return p->on_soft_reject;
    case SCAN_REJECT:
        return p->on_reject;
    }
    return SCAN_DO_ACCEPT;
}

static void say(const struct smtp *x, const struct opinion *o, uint64_t began_ms)
{
    static const char *const words[] = {
        [SCAN_DO_ACCEPT] = "accept",   [SCAN_DO_TAG] = "tag",
        [SCAN_DO_REWRITE] = "rewrite", [SCAN_DO_QUARANTINE] = "quarantine",
        [SCAN_DO_DEFER] = "defer",     [SCAN_DO_REJECT] = "reject"};
    uint64_t took = clock_mono_ms() - began_ms;
    if (o->error != ERR_OK)
        LOG_WARN("smtp", "not scanned id=%s cause=%s took_ms=%llu doing=%s", x->t.id,
                 err_name(o->error), (unsigned long long)took, words[o->doing]);
    else
        LOG_INFO("smtp", "scanned id=%s action=%s score=%.2f required=%.2f took_ms=%llu doing=%s",
                 x->t.id, scan_action_name(o->answer.action), o->answer.score, o->answer.required,
                 (unsigned long long)took, words[o->doing]);
}

/* ---- refusing ---- */

static enum err refuse(struct smtp *x, const struct opinion *o)
{
    bool never = o->doing == SCAN_DO_REJECT;
    str said = o->error == ERR_OK ? o->answer.message : STR_NONE;
    str usual = o->error != ERR_OK ? STR("Not checked for spam now, please try again later")
                : never            ? STR("Refused as spam")
                                   : STR("Not accepted now, please try again later");
    x->t.refusal_code = never ? 550 : 451;
    x->t.refusal_status = never ? "5.7.1" : "4.7.1";
    if (str_empty(said) || !arena_dup(&x->transaction, said, &x->t.refusal))
        x->t.refusal = usual;
    return never ? ERR_DENIED : ERR_UNAVAILABLE;
}

/* ---- marking ---- */

static void put_tests(const struct scan_answer *a, struct buf *out)
{
    size_t column = 0;
    BUF_AUTO struct buf one = BUF_INIT(256);
    for (size_t i = 0; i < a->nsymbols && out->len < TESTS_MAX; i++) {
        buf_reset(&one);
        buf_addf(&one, "%.*s=%.2f%s", STR_ARG(a->symbols[i].name), a->symbols[i].score,
                 i + 1 < a->nsymbols ? "," : "");
        if (i == 0 || column + one.len > 72) {
            buf_add_c(out, i == 0 ? "\r\n\ttests=[" : "\r\n\t");
            column = 0;
        }
        buf_add(out, buf_str(&one));
        column += one.len;
    }
    if (a->nsymbols > 0)
        buf_add_char(out, ']');
}

static void put_fields(const struct smtp *x, const struct opinion *o, str content,
                       struct buf *trace)
{
    const struct scan_answer *a = &o->answer;
    if (o->error != ERR_OK) {
        if (o->doing == SCAN_DO_TAG)
            buf_addf(trace, "X-Spam-Status: Unknown, not scanned (%s)\r\n", err_text(o->error));
        return;
    }
    bool spam = a->action != SCAN_NO_ACTION;
    if (spam && o->doing == SCAN_DO_ACCEPT)
        return; /* its word is not wanted */
    if (!spam && !smtp_is_stranger(x))
        return; /* what our users send does not tell the world how it was judged */
    if (spam)
        buf_add_c(trace, "X-Spam-Flag: YES\r\n");
    buf_addf(trace, "X-Spam-Status: %s, score=%.2f required=%.2f", spam ? "Yes" : "No", a->score,
             a->required);
    put_tests(a, trace);
    buf_add_c(trace, "\r\n");
    for (size_t i = 0; i < a->nadd; i++)
        if (scan_field_fits(a->add[i].name, content) &&
            scan_field_fits(a->add[i].name, buf_str(trace)))
            buf_addf(trace, "%.*s: %.*s\r\n", STR_ARG(a->add[i].name), STR_ARG(a->add[i].value));
}

static void into_spool(void *context, str bytes) { spool_add(context, bytes); }

/* What is to go out of the message goes; *content is the new spool's then. */
static enum err change_content(struct smtp *x, const struct opinion *o, str *content)
{
    struct scan_removal rules[ARRAY_LEN(forged) + SCAN_FIELDS_MAX];
    struct scan_edit edit = {.remove = rules};
    struct spool changed;
    for (size_t i = 0; i < ARRAY_LEN(forged) && smtp_is_stranger(x); i++)
        rules[edit.nremove++] = forged[i];
    for (size_t i = 0; o->error == ERR_OK && i < o->answer.nremove; i++)
        rules[edit.nremove++] = o->answer.remove[i];
    if (o->doing == SCAN_DO_REWRITE)
        edit.subject = o->answer.subject;
    spool_init(&changed, x->t.spool.max + SCAN_FIELDS_BYTES_MAX);
    if (!scan_edit_apply(&edit, *content, into_spool, &changed)) {
        spool_free(&changed);
        return ERR_OK;
    }
    return spool_replace(&x->t.spool, &changed, content);
}

/* ---- the whole ---- */

static enum err apply(struct smtp *x, const struct opinion *o, str *content, struct buf *trace)
{
    if (o->doing >= SCAN_DO_DEFER)
        return refuse(x, o);
    for (size_t i = 0; o->doing == SCAN_DO_QUARANTINE && i < x->t.nrecipients; i++)
        x->t.recipients[i].junk = true;
    TRY(change_content(x, o, content));
    put_fields(x, o, *content, trace);
    return ERR_OK;
}

enum err smtp_scan(struct smtp *x, str *content, struct buf *trace)
{
    const struct smtp_scanner *p = &x->config->policy.scanner;
    ARENA_AUTO struct arena arena = ARENA_INIT(SCAN_ARENA_MAX);
    if (!is_scanned(x))
        return ERR_OK;
    struct opinion *o = ARENA_NEW(&arena, struct opinion);
    if (!o)
        return ERR_NOMEM;
    if (x->t.spool.size > p->size_max) {
        LOG_INFO("smtp", "not scanned id=%s cause=\"larger than scanner.size_max\"", x->t.id);
        o->error = ERR_TOO_LARGE;
        o->doing = SCAN_DO_ACCEPT;
        return apply(x, o, content, trace);
    }
    uint64_t began = clock_mono_ms();
    o->error = ask(x, &arena, &o->answer);
    if (o->error == ERR_CANCELED)
        return o->error; /* the service ends */
    o->doing = doing_of(p, o);
    say(x, o, began);
    return apply(x, o, content, trace);
}
