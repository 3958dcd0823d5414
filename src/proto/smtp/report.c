/* SPDX-License-Identifier: Apache-2.0
 *
 * Aggregate reports, at reception: what the judge saw is noted for the report that the author's
 * domain asks for (RFC 9990), and reports that others send about us are read here, where no file
 * can be opened (docs/decisions/009-reports.md). None of it keeps a message from its way.
 */
#include "base/log.h"
#include "base/num.h"
#include "core/report_read.h"
#include "os/clock.h"
#include "proto/smtp/session.h"

static const char *disposition_name(const struct smtp *x, const struct mail_auth_verdict *v,
                                    bool refused)
{
    if (v->dmarc_pass)
        return v->policy_told == DMARC_NONE ? "none" : "pass";
    for (size_t i = 0; i < x->t.nrecipients && !refused; i++)
        if (x->t.recipients[i].junk)
            return "quarantine";
    return refused ? "reject" : "none";
}

/* RFC 9990: when what was done is not what the domain asks for, a reason must say why. */
static str reason_of(const struct mail_auth_verdict *v, str done)
{
    if (v->dmarc_pass || str_eq(done, str_c(dmarc_policy_name(v->policy_told))))
        return STR_NONE;
    if (!str_empty(v->seen->reason))
        return v->seen->reason;
    return str_eq(done, str_c(dmarc_policy_name(v->policy))) ? STR("policy_test_mode")
                                                             : STR("local_policy");
}

void smtp_observe(struct smtp *x, const struct mail_auth_verdict *v, bool refused)
{
    BUF_AUTO struct buf head = BUF_INIT(REPORT_BODY_MAX), body = BUF_INIT(REPORT_BODY_MAX);
    BUF_AUTO struct buf note = BUF_INIT(3 * REPORT_BODY_MAX);
    if (!v->seen || !x->config->policy.observe || !x->house->observe)
        return;
    if (refused && x->t.refusal_code / 100 == 4)
        return; /* it comes again */
    v->seen->disposition = str_c(disposition_name(x, v, refused));
    v->seen->reason = reason_of(v, v->seen->disposition);
    if (str_empty(v->seen->reason))
        v->seen->comment = STR_NONE;
    report_policy_put(&v->published, &head);
    report_dmarc_put(v->seen, &body);
    if (!buf_ok(&head) || !buf_ok(&body) || !report_domain_valid(v->policy_domain))
        return;
    report_note_put(
        &(struct report_note){REPORT_DMARC, v->policy_domain, buf_str(&head), buf_str(&body)},
        &note);
    if (!buf_ok(&note))
        return;
    if (refused)
        x->house->observe(x->house->ctx, buf_str(&note));
    else if (!arena_dup(&x->transaction, buf_str(&note), &x->t.observation))
        x->t.observation = STR_NONE;
}

/* Is it for the address that our zones give to those who report? */
static bool is_for_reports(const struct smtp *x)
{
    str mailbox = x->config->policy.report_mailbox;
    for (size_t i = 0; i < x->t.nrecipients && !str_empty(mailbox); i++) {
        str address = x->t.recipients[i].address;
        size_t at = str_rfind_char(address, '@');
        if (str_eq_nocase(str_head(address, at == STR_NPOS ? address.len : at), mailbox))
            return true;
    }
    return false;
}

/* True: it was a report. */
static bool read_report(struct smtp *x, str content) WAITS
{
    BUF_AUTO struct buf read = BUF_INIT(REPORT_READ_MAX + 65536);
    struct report_facts f = {
        .author = x->t.author, .verified = x->t.author_verified, .now_s = clock_wall_s()};
    if (x->listener->kind != SMTP_MX || x->who.account || !is_for_reports(x) ||
        !report_may_be(content))
        return false;
    enum err e = report_read(content, &f, &read);
    if (e == ERR_NOT_FOUND)
        return false;
    if (e != ERR_OK) {
        LOG_INFO("smtp", "report not read id=%s cause=%s", x->t.id, err_name(e));
        return false;
    }
    if (x->house->report_take)
        e = x->house->report_take(x->house->ctx, buf_str(&read));
    if (e != ERR_OK)
        LOG_WARN("smtp", "report not kept id=%s cause=%s", x->t.id, err_name(e));
    return true;
}

void smtp_report(struct smtp *x, str content)
{
    /* No report about reports: two hosts would tell each other for ever. */
    if (read_report(x, content))
        x->t.observation = STR_NONE;
}

void smtp_observed(struct smtp *x)
{
    if (!str_empty(x->t.observation))
        x->house->observe(x->house->ctx, x->t.observation);
    x->t.observation = STR_NONE;
}
