/* SPDX-License-Identifier: Apache-2.0
 *
 * Mail from outside is judged while it arrives (core/mail_auth.h): what is said at the end is a
 * field in the trace, and perhaps Junk or a refusal. Only on the port for servers, and not for
 * those who signed in or whom the configuration lets relay.
 */
#include "base/log.h"
#include "proto/smtp/session.h"

bool smtp_is_stranger(const struct smtp *x)
{
    return x->listener->kind == SMTP_MX && !x->who.account && !x->relay_named;
}

/* ---- block lists ---- */

void smtp_source_ask(struct smtp *x)
{
    const struct smtp_policy *p = &x->config->policy;
    const struct address *peer = stream_peer(x->stream);
    dnsbl_free(x->blocklist); /* of the peer before XCLIENT */
    x->blocklist = NULL;
    x->blocklist_waited = x->listed = x->allow_listed = false;
    if (x->listener->kind != SMTP_MX || x->relay_named || p->nblocklists == 0 ||
        !x->listener->dns || address_is_private(peer) ||
        smtp_in_networks(peer, p->blocklist_exempt, p->nblocklist_exempt))
        return;
    enum err e = dnsbl_begin(x->listener->dns, peer, p->blocklists, p->nblocklists, &x->blocklist);
    if (e != ERR_OK)
        x->blocklist = NULL; /* it lists nobody then */
}

static void refuse_listed(struct smtp *x, const char *source, const struct dnsbl_verdict *v)
{
    BUF_AUTO struct buf text = BUF_INIT(512);
    buf_addf(&text, "%s is listed by %.*s", source, STR_ARG(v->zone));
    if (!str_empty(v->reason))
        buf_addf(&text, ": %.*s", STR_ARG(v->reason));
    smtp_say_str(x, 550, "5.7.1", buf_str(&text));
}

bool smtp_source_may(struct smtp *x)
{
    const struct smtp_policy *p = &x->config->policy;
    struct dnsbl_verdict v;
    char source[ADDRESS_TEXT_MAX];
    if (!x->blocklist || x->who.account)
        return true;
    if (!x->blocklist_waited)
        x->blocklist_deadline_ms = deadline_in_ms(p->blocklist_deadline_ms);
    x->blocklist_waited = true;
    dnsbl_end(x->blocklist, x->blocklist_deadline_ms, &v);
    x->allow_listed = v.allowed;
    if (v.allowed || v.score == 0)
        return true;
    bool refused = v.score >= p->blocklist_threshold && !p->blocklist_tags;
    LOG_INFO("smtp", "listed source=%s zone=%.*s score=%u action=%s",
             address_text(stream_peer(x->stream), source), STR_ARG(v.zone), v.score,
             refused                             ? "reject"
             : v.score >= p->blocklist_threshold ? "quarantine"
                                                 : "none");
    x->listed = v.score >= p->blocklist_threshold;
    if (refused)
        refuse_listed(x, source, &v);
    return !refused;
}

/* ---- the message ---- */

static void into_spool(void *context, str bytes)
{
    struct smtp *x = context;
    spool_add(&x->t.spool, bytes);
}

void smtp_judge_begin(struct smtp *x)
{
    const struct smtp_policy *p = &x->config->policy;
    if (!smtp_is_stranger(x))
        return;
    x->t.filter =
        (struct authres_filter){.id = x->config->hostname, .sink = into_spool, .context = x};
    x->t.filtering = true;
    if (!p->verify || !x->listener->dns || address_is_loopback(stream_peer(x->stream)))
        return; /* programs of this host are nobody's mail servers */
    x->t.facts = (struct mail_auth_facts){
        .source = *stream_peer(x->stream),
        .helo = x->helo,
        .sender = x->t.mail.from.addr,
        .hostname = x->config->hostname,
        .trusted_sealers = p->trusted_sealers,
        .ntrusted_sealers = p->ntrusted_sealers,
    };
    if (mail_auth_begin(x->listener->dns, &x->t.facts, &x->t.auth) != ERR_OK)
        x->t.auth = NULL;
}

void smtp_content(struct smtp *x, str bytes)
{
    if (x->t.auth && x->t.spool.err == ERR_OK)
        mail_auth_content(x->t.auth, bytes);
    if (x->t.filtering)
        authres_filter_add(&x->t.filter, bytes);
    else
        spool_add(&x->t.spool, bytes);
}

void smtp_content_end(struct smtp *x)
{
    if (!x->t.filtering)
        return;
    authres_filter_end(&x->t.filter);
    if (x->t.filter.removed > 0)
        LOG_WARN("smtp", "removed forged Authentication-Results id=%s fields=%u", x->t.id,
                 x->t.filter.removed);
}

void smtp_judge_free(struct smtp *x)
{
    mail_auth_free(x->t.auth);
    x->t.auth = NULL;
    authres_filter_free(&x->t.filter);
}

/* What is done for one recipient: what the author's domain asks for, as far as its own goes. */
static enum mail_disposition limit_for(const struct smtp_policy *p, str address,
                                       enum mail_disposition d)
{
    enum mail_disposition most = MAIL_REJECT;
    size_t at = str_rfind_char(address, '@');
    str domain = at == STR_NPOS ? STR_NONE : str_skip(address, at + 1);
    for (size_t i = 0; i < p->ndomains; i++)
        if (str_eq_nocase(p->domains[i].domain, domain))
            most = p->domains[i].most;
    return d < most ? d : most;
}

static enum mail_disposition disposition_of(const struct smtp *x, const struct mail_auth_verdict *v)
{
    const struct smtp_policy *p = &x->config->policy;
    enum mail_disposition d = v->disposition == MAIL_REJECT       ? p->on_reject
                              : v->disposition == MAIL_QUARANTINE ? p->on_quarantine
                                                                  : MAIL_ACCEPT;
    if (v->spf_fail && !v->dmarc_pass && p->on_spf_fail > d)
        d = p->on_spf_fail;
    return x->listed && d == MAIL_ACCEPT ? MAIL_QUARANTINE : d;
}

static void refuse(struct smtp *x, const struct mail_auth_verdict *v)
{
    bool temporary = v->disposition == MAIL_REJECT && v->reject_as == ERR_UNAVAILABLE;
    bool spf = v->disposition != MAIL_REJECT;
    x->t.refusal_code = temporary ? 451 : 550;
    x->t.refusal_status = temporary ? "4.7.0" : spf ? "5.7.23" : "5.7.26";
    if (spf)
        x->t.refusal = STR("The sender's domain does not let this host send (SPF)");
    else
        x->t.refusal = arena_fmt(&x->transaction,
                                 temporary ? "DNS of %.*s does not answer, try again later"
                                           : "Not authenticated, and %.*s asks to reject (DMARC)",
                                 STR_ARG(v->author_domain));
}

/* Refused when every recipient's domain lets it be refused; for the others it is Junk. */
static enum err apply(struct smtp *x, const struct mail_auth_verdict *v, enum mail_disposition d)
{
    struct smtp_transaction *t = &x->t;
    size_t rejecting = 0;
    for (size_t i = 0; i < t->nrecipients; i++) {
        enum mail_disposition one = limit_for(&x->config->policy, t->recipients[i].address, d);
        rejecting += one == MAIL_REJECT;
        t->recipients[i].junk = one != MAIL_ACCEPT;
    }
    if (rejecting < t->nrecipients || rejecting == 0)
        return ERR_OK;
    refuse(x, v);
    return t->refusal_code == 451 ? ERR_UNAVAILABLE : ERR_UNAUTHENTICATED;
}

enum err smtp_judge(struct smtp *x, struct buf *trace)
{
    struct mail_auth_verdict v = {0};
    const struct smtp_policy *p = &x->config->policy;
    if (!x->t.auth)
        return smtp_is_stranger(x) ? apply(x, &v, disposition_of(x, &v)) : ERR_OK;
    TRY(mail_auth_end(x->t.auth, deadline_in_ms(p->deadline_ms), &x->transaction, &v));
    /* Rule accept-5: no report ever goes to a sender that is not who he says. */
    x->t.sender_failed = !v.dmarc_pass && (v.spf_fail || v.disposition != MAIL_ACCEPT);
    enum mail_disposition d = disposition_of(x, &v);
    x->t.author = v.author_domain;
    x->t.author_verified = v.dmarc_pass;
    static const char *const words[] = {"accept", "quarantine", "reject"};
    LOG_INFO("smtp", "judged id=%s author=%.*s dmarc=%s disposition=%s temporary=%s", x->t.id,
             STR_ARG(v.author_domain), v.dmarc_pass ? "pass" : "no", words[d],
             v.temporary ? "yes" : "no");
    if (v.temporary && p->defer_temporary) {
        x->t.refusal_code = 451;
        x->t.refusal_status = "4.7.0";
        x->t.refusal = STR("DNS does not answer, try again later");
        return ERR_UNAVAILABLE;
    }
    enum err e = apply(x, &v, d);
    smtp_observe(x, &v, e != ERR_OK);
    TRY(e);
    buf_add(trace, v.field);
    return ERR_OK;
}
