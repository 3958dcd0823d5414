/* SPDX-License-Identifier: Apache-2.0
 *
 * check_host() as the RFC tells it: fetch the record, go through its mechanisms from left to right,
 * the first that matches gives the result.
 */
#include "core/spf.h"

#include <assert.h>
#include <string.h>

#include "core/dns_name.h"
#include "format/spf_syntax.h"
#include "os/clock.h"

const char *spf_result_name(enum spf_result r)
{
    static const char *const names[] = {"none",     "neutral",   "pass",     "fail",
                                        "softfail", "temperror", "permerror"};
    assert(r <= SPF_RESULT_PERMERROR);
    return names[r];
}

struct spf_run {
    const struct dns *dns;
    struct arena *arena;
    const struct address *source;
    struct spf_values values; /* all but domain and validated */
    unsigned lookups, voids;
    const char *problem;
    str explain_macro, explain_domain; /* of the record that gave the fail */
};

/* What one mechanism says. */
enum match { MATCH_NO, MATCH_YES, MATCH_TEMPERROR, MATCH_PERMERROR };

static enum match broken(struct spf_run *r, const char *problem)
{
    r->problem = problem;
    return MATCH_PERMERROR;
}

static bool count_lookup(struct spf_run *r)
{
    if (++r->lookups <= SPF_LOOKUPS_MAX)
        return true;
    r->problem = "more than 10 DNS lookups";
    return false;
}

static enum match voids_counted(struct spf_run *r)
{
    return r->voids > SPF_VOID_LOOKUPS_MAX ? broken(r, "too many DNS lookups without answer")
                                           : MATCH_NO;
}

/* MATCH_NO: *a is set (found, or nothing there). RFC 7208 5: other failures are temporary; 4.6.4:
 * answers without records are counted. */
static enum match ask(struct spf_run *r, str name, enum dns_type type, struct dns_answer *a)
{
    enum err e = dns_ask(r->dns, name, type, r->arena, a);
    if (e == ERR_SYNTAX) { /* not a name that could exist: nobody is asked */
        *a = (struct dns_answer){.status = DNS_NXDOMAIN};
        return MATCH_NO;
    }
    if (e != ERR_OK || a->status == DNS_FAILED || a->status == DNS_BOGUS)
        return MATCH_TEMPERROR;
    r->voids += a->status != DNS_FOUND;
    return voids_counted(r);
}

static enum dns_type address_type(const struct spf_run *r)
{
    return r->source->family == 6 ? DNS_AAAA : DNS_A;
}

static bool same_network(const struct spf_run *r, const uint8_t *ip, const struct spf_term *t)
{
    struct address net = {.family = r->source->family};
    memcpy(net.ip, ip, net.family == 6 ? 16 : 4);
    return address_in(r->source, &net, net.family == 6 ? t->prefix6 : t->prefix4);
}

static bool answer_matches(const struct spf_run *r, const struct dns_answer *a,
                           const struct spf_term *t)
{
    size_t len = r->source->family == 6 ? 16 : 4;
    for (size_t i = 0; i < a->count; i++)
        if (a->records[i].bytes.len == len &&
            same_network(r, (const uint8_t *)a->records[i].bytes.data, t))
            return true;
    return false;
}

static enum match match_a(struct spf_run *r, str target, const struct spf_term *t)
{
    struct dns_answer a;
    enum match m = ask(r, target, address_type(r), &a);
    if (m != MATCH_NO)
        return m;
    return answer_matches(r, &a, t) ? MATCH_YES : MATCH_NO;
}

static enum match match_mx(struct spf_run *r, str target, const struct spf_term *t)
{
    struct dns_answer a;
    enum match m = ask(r, target, DNS_MX, &a);
    if (m != MATCH_NO)
        return m;
    if (a.count > SPF_MX_MAX)
        return broken(r, "more than 10 MX names");
    for (size_t i = 0; i < a.count; i++) {
        if (str_empty(a.records[i].name))
            continue; /* a null MX (RFC 7505) has no address */
        m = match_a(r, a.records[i].name, t);
        if (m != MATCH_NO)
            return m;
    }
    return MATCH_NO;
}

/* The reverse names of the source that lead back to it (RFC 7208 5.5); errors only make it fewer.
 * Gives the best for the macro p (7.3): the domain itself, one below it, or any. */
static enum match validated_name(struct spf_run *r, str domain, bool within_only, str *best)
{
    static const struct spf_term whole = {.prefix4 = 32, .prefix6 = 128};
    struct dns_answer names, a;
    *best = STR_NONE;
    BUF_AUTO struct buf reverse = BUF_INIT(128);
    dns_reverse_name(r->source->ip, r->source->family == 6 ? 16 : 4, &reverse);
    if (ask(r, buf_str(&reverse), DNS_PTR, &names) != MATCH_NO)
        return voids_counted(r);
    for (size_t i = 0; i < names.count && i < SPF_PTR_MAX; i++) {
        str name = names.records[i].name;
        if ((within_only && !dns_name_within(name, domain)) ||
            ask(r, name, address_type(r), &a) != MATCH_NO || !answer_matches(r, &a, &whole))
            continue;
        if (str_empty(*best) || str_eq_nocase(name, domain) ||
            (dns_name_within(name, domain) && !dns_name_within(*best, domain)))
            *best = name;
        if (str_eq_nocase(name, domain))
            break;
    }
    return voids_counted(r);
}

static bool wants_validated(str macro) { return str_find_nocase(macro, STR("%{p")) != STR_NPOS; }

static enum match expand(struct spf_run *r, str macro, str domain, str *out)
{
    struct spf_values v = r->values;
    v.domain = domain;
    *out = domain;
    if (str_empty(macro))
        return MATCH_NO;
    if (wants_validated(macro)) {
        enum match m = validated_name(r, domain, false, &v.validated);
        if (m != MATCH_NO)
            return m;
    }
    return spf_expand_domain(r->arena, macro, &v, out) == ERR_OK ? MATCH_NO
                                                                 : broken(r, "bad macro");
}

static enum spf_result check_host(struct spf_run *r, str domain, bool outermost) WAITS;

/* RFC 7208 5.2: the table of what an included result means. */
static enum match match_include(struct spf_run *r, str target)
{
    switch (check_host(r, target, false)) {
    case SPF_RESULT_PASS:
        return MATCH_YES;
    case SPF_RESULT_TEMPERROR:
        return MATCH_TEMPERROR;
    case SPF_RESULT_NONE:
        return broken(r, "an included domain has no record");
    case SPF_RESULT_PERMERROR:
        return MATCH_PERMERROR;
    default:
        return MATCH_NO;
    }
}

static enum match match_exists(struct spf_run *r, str target)
{
    struct dns_answer a;
    enum match m = ask(r, target, DNS_A, &a); /* also for IPv6 (5.7) */
    if (m != MATCH_NO)
        return m;
    return a.status == DNS_FOUND ? MATCH_YES : MATCH_NO;
}

static enum match match_ip(const struct spf_run *r, const struct spf_term *t)
{
    bool v6 = t->mechanism == SPF_IP6;
    return r->source->family == (v6 ? 6 : 4) && same_network(r, t->ip, t) ? MATCH_YES : MATCH_NO;
}

static enum match match_term(struct spf_run *r, const struct spf_term *t, str domain)
{
    str target, name;
    if (t->mechanism == SPF_ALL)
        return MATCH_YES;
    if (t->mechanism == SPF_IP4 || t->mechanism == SPF_IP6)
        return match_ip(r, t);
    if (!count_lookup(r))
        return MATCH_PERMERROR;
    enum match m = expand(r, t->domain, domain, &target);
    if (m != MATCH_NO)
        return m;
    switch (t->mechanism) {
    case SPF_INCLUDE:
        return match_include(r, target);
    case SPF_A:
        return match_a(r, target, t);
    case SPF_MX:
        return match_mx(r, target, t);
    case SPF_PTR:
        m = validated_name(r, target, true, &name);
        return m != MATCH_NO || str_empty(name) ? m : MATCH_YES;
    case SPF_EXISTS:
        return match_exists(r, target);
    default:
        return MATCH_NO;
    }
}

/* RFC 7208 4.5: exactly one record. */
static enum spf_result fetch(struct spf_run *r, str domain, struct spf_record *out)
{
    struct dns_answer a;
    const struct dns_record *found = NULL;
    enum err e = dns_ask(r->dns, domain, DNS_TXT, r->arena, &a);
    if (e == ERR_SYNTAX)
        return SPF_RESULT_NONE;
    if (e != ERR_OK || a.status == DNS_FAILED || a.status == DNS_BOGUS)
        return SPF_RESULT_TEMPERROR;
    for (size_t i = 0; i < a.count; i++) {
        if (!spf_record_is(a.records[i].bytes))
            continue;
        if (found) {
            r->problem = "two records";
            return SPF_RESULT_PERMERROR;
        }
        found = &a.records[i];
    }
    if (!found)
        return SPF_RESULT_NONE;
    e = spf_record_parse(r->arena, found->bytes, out);
    if (e == ERR_OK)
        return SPF_RESULT_PASS;
    r->problem = "malformed record";
    return SPF_RESULT_PERMERROR;
}

static enum spf_result redirect(struct spf_run *r, str macro, str domain, bool outermost)
{
    str target;
    if (!count_lookup(r) || expand(r, macro, domain, &target) != MATCH_NO)
        return SPF_RESULT_PERMERROR;
    enum spf_result result = check_host(r, target, outermost);
    if (result != SPF_RESULT_NONE)
        return result;
    r->problem = "the redirection leads to a domain without record";
    return SPF_RESULT_PERMERROR; /* 6.1 */
}

static enum spf_result check_host(struct spf_run *r, str domain, bool outermost)
{
    static const enum spf_result of_qualifier[] = {
        [SPF_PASS] = SPF_RESULT_PASS,
        [SPF_FAIL] = SPF_RESULT_FAIL,
        [SPF_SOFTFAIL] = SPF_RESULT_SOFTFAIL,
        [SPF_NEUTRAL] = SPF_RESULT_NEUTRAL,
    };
    struct spf_record record;
    if (!dns_name_is_host(domain)) /* 4.3 */
        return SPF_RESULT_NONE;
    enum spf_result fetched = fetch(r, domain, &record);
    if (fetched != SPF_RESULT_PASS)
        return fetched;
    for (size_t i = 0; i < record.count; i++) {
        switch (match_term(r, &record.terms[i], domain)) {
        case MATCH_NO:
            continue;
        case MATCH_TEMPERROR:
            return SPF_RESULT_TEMPERROR;
        case MATCH_PERMERROR:
            return SPF_RESULT_PERMERROR;
        case MATCH_YES:
            if (outermost) { /* 6.2: not that of an included record */
                r->explain_macro = record.explanation;
                r->explain_domain = domain;
            }
            return of_qualifier[record.terms[i].qualifier];
        }
    }
    if (!str_empty(record.redirect))
        return redirect(r, record.redirect, domain, outermost);
    return SPF_RESULT_NEUTRAL; /* 4.7 */
}

/* RFC 7208 6.2: whatever goes wrong, there is no explanation then. */
static str explain(struct spf_run *r)
{
    str target;
    struct dns_answer a;
    struct spf_values v = r->values;
    BUF_AUTO struct buf text = BUF_INIT(SPF_EXPANSION_MAX);
    if (str_empty(r->explain_macro) ||
        expand(r, r->explain_macro, r->explain_domain, &target) != MATCH_NO ||
        dns_ask(r->dns, target, DNS_TXT, r->arena, &a) != ERR_OK || a.count != 1)
        return STR_NONE;
    v.domain = r->explain_domain;
    if (wants_validated(a.records[0].bytes) &&
        validated_name(r, v.domain, false, &v.validated) != MATCH_NO)
        return STR_NONE;
    str copy;
    if (spf_expand(&text, a.records[0].bytes, &v, true) != ERR_OK ||
        !arena_dup(r->arena, buf_str(&text), &copy))
        return STR_NONE;
    return copy;
}

void spf_check(const struct dns *dns, const struct spf_question *q, struct arena *arena,
               struct spf_answer *out)
{
    assert(q->source.family == 4 || q->source.family == 6);
    bool helo = addr_is_null(&q->sender);
    *out = (struct spf_answer){.helo = helo};
    str domain = helo ? q->helo : q->sender.domain;
    if (dns_name_of(domain, arena, &out->domain) != ERR_OK)
        return;
    struct spf_run r = {
        .dns = dns,
        .arena = arena,
        .source = &q->source,
        .values =
            {
                .sender_local = helo ? STR("postmaster") : q->sender.local,
                .sender_domain = out->domain,
                .helo = q->helo,
                .receiver = q->receiver,
                .ip = q->source.ip,
                .v6 = q->source.family == 6,
                .time_s = (uint64_t)clock_wall_s(),
            },
    };
    out->result = check_host(&r, out->domain, true);
    if (out->result == SPF_RESULT_PERMERROR || out->result == SPF_RESULT_TEMPERROR)
        out->problem = r.problem ? r.problem : "DNS failed";
    if (out->result == SPF_RESULT_FAIL)
        out->explanation = explain(&r);
}
