/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/relay/notes.h"

#include "base/code.h"
#include "base/num.h"

struct report_tls_note notes_of_none(void)
{
    return (struct report_tls_note){.policy_type = STR("no-policy-found")};
}

struct report_tls_note notes_of_sts(const struct mta_sts_policy *p, struct arena *arena)
{
    struct report_tls_note n = {.policy_type = STR("sts"), .mx = p->mx, .nmx = p->nmx};
    BUF_AUTO struct buf text = BUF_INIT(MTA_STS_POLICY_MAX);
    str *lines = ARENA_ARRAY(arena, str, REPORT_LINES_MAX), copy;
    mta_sts_policy_render(&text, p);
    if (!lines || !arena_dup(arena, buf_str(&text), &copy))
        return n;
    while (n.nstrings < REPORT_LINES_MAX && !str_empty(copy)) {
        str line;
        str_cut(copy, '\n', &line, &copy);
        lines[n.nstrings++] = str_trim(line);
    }
    n.strings = lines;
    return n;
}

struct report_tls_note notes_of_dane(const struct dane *d, struct arena *arena)
{
    struct report_tls_note n = {.policy_type = STR("tlsa")};
    str *lines = ARENA_ARRAY(arena, str, REPORT_LINES_MAX);
    for (size_t i = 0; lines && i < MIN(d->count, (size_t)REPORT_LINES_MAX); i++) {
        const struct tls_dane_record *r = &d->records[i];
        BUF_AUTO struct buf text = BUF_INIT(REPORT_TEXT_MAX);
        buf_addf(&text, "%u %u %u ", r->usage, r->selector, r->matching);
        code_hex(&text, str_head(r->data, (REPORT_TEXT_MAX - 16) / 2));
        if (arena_dup(arena, buf_str(&text), &lines[n.nstrings]))
            n.nstrings++;
    }
    n.strings = lines;
    return n;
}

str notes_failure(const struct stream *s, enum err e)
{
    if (e == ERR_UNSUPPORTED || e == ERR_DENIED)
        return STR("starttls-not-supported");
    switch (stream_tls_fault(s)) {
    case TLS_FAULT_NAME:
        return STR("certificate-host-mismatch");
    case TLS_FAULT_DATE:
        return STR("certificate-expired");
    case TLS_FAULT_TRUST:
        return STR("certificate-not-trusted");
    case TLS_FAULT_DANE:
    case TLS_FAULT_OTHER:
        break;
    }
    return STR("validation-failure");
}

str notes_sts_failure(enum err e)
{
    if (e == ERR_TLS)
        return STR("sts-webpki-invalid");
    return e == ERR_SYNTAX || e == ERR_LIMIT ? STR("sts-policy-invalid")
                                             : STR("sts-policy-fetch-error");
}

void notes_add(struct relay_report *report, struct arena *arena, const struct report_tls_note *n)
{
    BUF_AUTO struct buf body = BUF_INIT(REPORT_BODY_MAX);
    if (!report->notes)
        report->notes = ARENA_ARRAY(arena, str, RELAY_NOTES_MAX);
    report_tls_put(n, &body);
    if (report->notes && buf_ok(&body) && report->nnotes < RELAY_NOTES_MAX &&
        arena_dup(arena, buf_str(&body), &report->notes[report->nnotes]))
        report->nnotes++;
}
