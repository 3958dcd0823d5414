/* SPDX-License-Identifier: Apache-2.0 */
#include "core/dmarc.h"

#include "core/dns_name.h"

/* RFC 9989 4.10: of several records none counts. */
static void take_records(struct dmarc_walks *w, const struct dns_answer *a,
                         struct dmarc_answer *out)
{
    size_t n = 0;
    for (size_t i = 0; i < a->count; i++) {
        struct dmarc_record record;
        enum err e = dmarc_record_parse(w->arena, a->records[i].bytes, &record);
        if (e == ERR_NOT_FOUND)
            continue;
        n++;
        if (e == ERR_OK)
            out->record = record;
        out->found = e == ERR_OK;
    }
    if (n != 1)
        out->found = false;
}

static void ask(struct dmarc_walks *w, struct dmarc_answer *out)
{
    struct dns_answer a;
    str name = arena_fmt(w->arena, "_dmarc.%.*s", STR_ARG(out->domain));
    enum err e = str_empty(name) ? ERR_NOMEM : dns_ask(w->dns, name, DNS_TXT, w->arena, &a);
    if (e == ERR_SYNTAX)
        return; /* too long a name cannot exist */
    if (e != ERR_OK || a.status == DNS_FAILED || a.status == DNS_BOGUS)
        out->temporary = true;
    else
        take_records(w, &a, out);
}

static struct dmarc_answer answer_of(struct dmarc_walks *w, str domain)
{
    struct dmarc_answer a = {.domain = domain};
    if (!w->answers)
        w->answers = ARENA_ARRAY(w->arena, struct dmarc_answer, DMARC_CACHE_MAX);
    for (size_t i = 0; w->answers && i < w->count; i++)
        if (str_eq(w->answers[i].domain, domain))
            return w->answers[i];
    ask(w, &a);
    if (w->answers && w->count < DMARC_CACHE_MAX)
        w->answers[w->count++] = a;
    return a;
}

/* What one walk found; the records themselves are in the cache. */
struct walk {
    str start, organizational, public_suffix;
    bool temporary;
};

static void walk_up(struct dmarc_walks *w, str start, struct walk *out)
{
    *out = (struct walk){.start = start, .organizational = start};
    size_t labels = dns_name_labels(start);
    str below = start, target = start;
    for (size_t i = 0; i < DMARC_WALK_MAX && labels > 0; i++) {
        struct dmarc_answer a = answer_of(w, target);
        if (a.temporary) {
            out->temporary = true;
            return;
        }
        if (a.found && a.record.psd == DMARC_PSD_YES && i > 0) {
            out->organizational = below;
            out->public_suffix = target;
            return;
        }
        if (a.found)
            out->organizational = target; /* the fewest labels win */
        if (a.found && a.record.psd == DMARC_PSD_NO)
            return;
        labels = labels > DMARC_WALK_MAX - 1 ? DMARC_WALK_MAX - 1 : labels - 1;
        /* One label below the next target, whatever was left out in between. */
        below = dns_name_last(start, labels + 1);
        target = dns_name_last(start, labels);
    }
}

str dmarc_organizational(struct dmarc_walks *w, str domain, bool *temporary)
{
    struct walk walk;
    walk_up(w, domain, &walk);
    *temporary |= walk.temporary;
    return walk.organizational;
}

/* RFC 8020: NXDOMAIN for the name says that nothing is below it either. */
static bool is_nonexistent(struct dmarc_walks *w, str domain)
{
    struct dns_answer a;
    return dns_ask(w->dns, domain, DNS_A, w->arena, &a) == ERR_OK && a.status == DNS_NXDOMAIN;
}

static enum dmarc_policy told(struct dmarc_walks *w, const struct dmarc_found *f, str author_domain)
{
    const struct dmarc_record *r = &f->record;
    enum dmarc_policy p = r->policy;
    if (!str_eq(f->at, author_domain)) {
        p = r->subdomain;
        if (r->nonexistent != r->subdomain && is_nonexistent(w, author_domain))
            p = r->nonexistent;
    }
    return p;
}

/* 4.7 t=y: one step milder. */
static enum dmarc_policy milder(enum dmarc_policy p)
{
    return p == DMARC_REJECT ? DMARC_QUARANTINE : DMARC_NONE;
}

void dmarc_find(struct dmarc_walks *w, str author_domain, struct dmarc_found *out)
{
    struct walk walk;
    walk_up(w, author_domain, &walk);
    *out = (struct dmarc_found){.organizational = walk.organizational, .temporary = walk.temporary};
    /* 4.10.1: the author's own record, the organizational domain's, the public suffix's. */
    const str places[] = {author_domain, walk.organizational, walk.public_suffix};
    for (size_t i = 0; i < 3 && !walk.temporary; i++) {
        if (str_empty(places[i]))
            continue;
        struct dmarc_answer a = answer_of(w, places[i]);
        out->temporary |= a.temporary;
        if (!a.found)
            continue;
        out->found = true;
        out->at = places[i];
        out->record = a.record;
        out->told = told(w, out, author_domain);
        out->policy = out->record.testing ? milder(out->told) : out->told;
        return;
    }
}

bool dmarc_aligned(struct dmarc_walks *w, const struct dmarc_found *f, str author_domain,
                   str authenticated, bool strict, bool *temporary)
{
    if (str_eq_nocase(author_domain, authenticated))
        return true;
    if (strict || !dns_name_within(authenticated, f->organizational))
        return false;
    bool unknown = false;
    str organizational = dmarc_organizational(w, authenticated, &unknown);
    *temporary |= unknown;
    return !unknown && str_eq_nocase(organizational, f->organizational);
}
