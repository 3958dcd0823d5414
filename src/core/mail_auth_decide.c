/* SPDX-License-Identifier: Apache-2.0
 *
 * From judgements to a verdict: DMARC (RFC 9989 5.3), and the field that says it all (RFC 8601).
 */
#include "core/mail_auth_private.h"

#include "base/code.h"
#include "base/num.h"
#include "core/dns_name.h"
#include "format/authres.h"

#define AUTHOR_SCRATCH_MAX 2097152 /* bytes for the addresses of From */
#define FIELD_MAX 32768            /* bytes of our Authentication-Results field */
#define SIGNATURE_SHOWN 8          /* characters of b= (RFC 6008) */

/* ---- the author ---- */

static enum err add_domain(struct arena *a, str domain, str *out, const char **problem)
{
    str name;
    enum err e = dns_name_of(domain, a, &name);
    if (e == ERR_NOMEM)
        return e;
    if (e != ERR_OK)
        *problem = "From with an address without domain";
    else if (str_empty(*out))
        *out = name;
    else if (!str_eq(*out, name))
        *problem = "From with several domains";
    return ERR_OK;
}

enum err mail_auth_author(struct arena *a, const struct dkim_fields *fields, str *out,
                          const char **problem)
{
    const struct dkim_field *from = NULL;
    struct addr_list list;
    *out = STR_NONE;
    *problem = NULL;
    for (size_t i = 0; i < fields->count; i++) {
        if (!str_eq_nocase(fields->fields[i].name, STR("From")))
            continue;
        if (from)
            *problem = "several From fields";
        from = &fields->fields[i];
    }
    if (!from || *problem)
        return ERR_OK;
    ARENA_AUTO struct arena scratch = ARENA_INIT(AUTHOR_SCRATCH_MAX);
    if (addr_list_parse(&scratch, from->value, &list) != ERR_OK) {
        *problem = "From cannot be read";
        return ERR_OK;
    }
    for (size_t i = 0; i < list.count && !*problem; i++)
        if (list.items[i].kind == ADDR_MAILBOX)
            TRY(add_domain(a, list.items[i].addr.domain, out, problem));
    if (*problem) {
        *out = STR_NONE;
        return ERR_OK;
    }
    str kept; /* out of the scratch */
    if (!arena_dup(a, *out, &kept))
        return ERR_NOMEM;
    *out = kept;
    return ERR_OK;
}

/* ---- DMARC ---- */

enum dmarc_result {
    DMARC_RESULT_NONE,
    DMARC_RESULT_PASS,
    DMARC_RESULT_FAIL,
    DMARC_RESULT_TEMP,
    DMARC_RESULT_PERM
};
static const char *const dmarc_names[] = {"none", "pass", "fail", "temperror", "permerror"};

/* Is one of what passed aligned? *maybe: one of what could not be asked might have been. */
static bool passes(struct mail_auth *m, bool *maybe)
{
    const struct dmarc_found *f = &m->dmarc;
    bool pass = false;
    if (m->spf.result == SPF_RESULT_PASS)
        pass = dmarc_aligned(&m->walks, f, m->author_domain, m->spf.domain, f->record.strict_spf,
                             maybe);
    else if (m->spf.result == SPF_RESULT_TEMPERROR)
        *maybe |= dns_name_within(m->spf.domain, f->organizational);
    for (size_t i = 0; i < m->nchecks && !pass; i++) {
        const struct dkim_check *c = &m->checks[i];
        if (c->judgement.result == DKIM_RESULT_PASS)
            pass = dmarc_aligned(&m->walks, f, m->author_domain, c->sig.domain,
                                 f->record.strict_dkim, maybe);
        else if (c->judgement.result == DKIM_RESULT_TEMPERROR)
            *maybe |= dns_name_within(c->sig.domain, f->organizational);
    }
    return pass;
}

static enum dmarc_result decide_dmarc(struct mail_auth *m, struct mail_auth_verdict *v)
{
    bool maybe = false;
    if (str_empty(m->author_domain)) {
        if (!m->author_problem)
            return DMARC_RESULT_NONE;
        v->disposition = MAIL_QUARANTINE; /* nobody honest has several authors' domains */
        return DMARC_RESULT_PERM;
    }
    if (m->dmarc.temporary && !m->dmarc.found) {
        v->temporary = true;
        return DMARC_RESULT_TEMP;
    }
    if (!m->dmarc.found)
        return DMARC_RESULT_NONE;
    if (passes(m, &maybe)) {
        v->dmarc_pass = true;
        return DMARC_RESULT_PASS;
    }
    v->chain_trusted = m->arc_judgement.result == DKIM_RESULT_PASS &&
                       arc_vouches(&m->arc, &m->arena, m->facts->trusted_sealers,
                                   m->facts->ntrusted_sealers, m->author_domain);
    if (!v->chain_trusted && m->dmarc.policy != DMARC_NONE)
        v->disposition = m->dmarc.policy == DMARC_REJECT ? MAIL_REJECT : MAIL_QUARANTINE;
    v->reject_as = maybe ? ERR_UNAVAILABLE : ERR_UNAUTHENTICATED;
    v->temporary |= maybe;
    return maybe ? DMARC_RESULT_TEMP : DMARC_RESULT_FAIL;
}

/* ---- the field ---- */

struct results {
    struct arena *arena;
    struct authres_result items[DKIM_CHECKS_MAX + 4];
    size_t count;
    bool failed;
};

static struct authres_result *add_result(struct results *r, const char *method, const char *result,
                                         const char *reason)
{
    struct authres_result *one = &r->items[r->count++];
    *one = (struct authres_result){
        .method = str_c(method), .result = str_c(result), .reason = str_c(reason)};
    one->properties = ARENA_ARRAY(r->arena, struct authres_property, 4);
    r->failed |= !one->properties;
    return one;
}

static void add_property(struct authres_result *one, const char *type, const char *name, str value)
{
    if (one->properties && !str_empty(value))
        one->properties[one->count++] = (struct authres_property){str_c(type), str_c(name), value};
}

static void add_spf(struct mail_auth *m, struct results *r)
{
    BUF_AUTO struct buf sender = BUF_INIT(1024);
    str copy;
    struct authres_result *one =
        add_result(r, "spf", spf_result_name(m->spf.result), m->spf.problem);
    addr_render(&sender, &m->facts->sender);
    if (m->spf.helo)
        add_property(one, "smtp", "helo", str_head(m->facts->helo, 255));
    else if (arena_dup(r->arena, buf_str(&sender), &copy))
        add_property(one, "smtp", "mailfrom", copy);
}

static str signature_shown(struct arena *a, const struct dkim_signature *sig)
{
    BUF_AUTO struct buf text = BUF_INIT(2 * DKIM_KEY_MAX);
    str copy;
    code_base64(&text, sig->signature);
    return arena_dup(a, str_head(buf_str(&text), SIGNATURE_SHOWN), &copy) ? copy : STR_NONE;
}

static void add_dkim(struct mail_auth *m, struct results *r)
{
    if (!m->nchecks)
        add_result(r, "dkim", m->header_broken ? "permerror" : "none", NULL);
    for (size_t i = 0; i < m->nchecks; i++) {
        const struct dkim_check *c = &m->checks[i];
        struct authres_result *one =
            add_result(r, "dkim", dkim_result_name(c->judgement.result), c->judgement.reason);
        if (c->parsed != ERR_OK)
            continue;
        add_property(one, "header", "d", c->sig.domain);
        add_property(one, "header", "s", c->sig.selector);
        add_property(one, "header", "b", signature_shown(r->arena, &c->sig));
    }
}

static void add_arc(struct mail_auth *m, struct results *r)
{
    if (m->arc_judgement.result == DKIM_RESULT_NONE)
        return;
    struct authres_result *one =
        add_result(r, "arc", dkim_result_name(m->arc_judgement.result), m->arc_judgement.reason);
    if (m->arc.chain.count)
        add_property(one, "header", "d", m->arc.chain.sets[m->arc.chain.count - 1].seal_sig.domain);
}

static void add_dmarc(struct mail_auth *m, struct results *r, enum dmarc_result result,
                      const struct mail_auth_verdict *v)
{
    const char *reason = v->chain_trusted ? "trusted ARC seal" : m->author_problem;
    struct authres_result *one = add_result(r, "dmarc", dmarc_names[result], reason);
    add_property(one, "header", "from", m->author_domain);
    if (m->dmarc.found)
        add_property(one, "policy", "dmarc", str_c(dmarc_policy_name(m->dmarc.policy)));
}

static enum err render(struct mail_auth *m, enum dmarc_result dmarc, struct arena *arena,
                       struct mail_auth_verdict *v)
{
    struct results r = {.arena = &m->arena};
    BUF_AUTO struct buf text = BUF_INIT(FIELD_MAX);
    add_spf(m, &r);
    add_dkim(m, &r);
    add_arc(m, &r);
    add_dmarc(m, &r, dmarc, v);
    buf_add_c(&text, "Authentication-Results: ");
    authres_render(&text, &(struct authres){m->facts->hostname, r.items, r.count});
    buf_add_c(&text, "\r\n");
    return !r.failed && buf_ok(&text) && arena_dup(arena, buf_str(&text), &v->field) ? ERR_OK
                                                                                     : ERR_NOMEM;
}

/* ---- for the report ---- */

static bool dkim_aligned(struct mail_auth *m, const struct dkim_check *c)
{
    bool maybe = false;
    return c->judgement.result == DKIM_RESULT_PASS &&
           dmarc_aligned(&m->walks, &m->dmarc, m->author_domain, c->sig.domain,
                         m->dmarc.record.strict_dkim, &maybe);
}

/* Those that are aligned before those that pass before the others (RFC 9990, "DKIM Signatures"). */
static void add_signatures(struct mail_auth *m, struct dmarc_report_row *r)
{
    for (int turn = 0; turn < 3; turn++) {
        for (size_t i = 0; i < m->nchecks && r->ndkim < DMARC_REPORT_DKIM_MAX; i++) {
            const struct dkim_check *c = &m->checks[i];
            int its = dkim_aligned(m, c) ? 0 : c->judgement.result == DKIM_RESULT_PASS ? 1 : 2;
            if (c->parsed != ERR_OK || its != turn)
                continue;
            r->dkim_aligned |= its == 0;
            r->dkim[r->ndkim++] = (struct dmarc_report_dkim){
                c->sig.domain, c->sig.selector, str_c(dkim_result_name(c->judgement.result))};
        }
    }
}

static bool keep_row(struct arena *a, struct dmarc_report_row *r)
{
    bool kept = arena_dup(a, r->source_ip, &r->source_ip) &&
                arena_dup(a, r->header_from, &r->header_from) &&
                arena_dup(a, r->envelope_from, &r->envelope_from) &&
                arena_dup(a, r->spf_domain, &r->spf_domain) &&
                arena_dup(a, r->comment, &r->comment);
    for (size_t i = 0; i < r->ndkim && kept; i++)
        kept = arena_dup(a, r->dkim[i].domain, &r->dkim[i].domain) &&
               arena_dup(a, r->dkim[i].selector, &r->dkim[i].selector);
    return kept;
}

static str fo_text(struct arena *a, unsigned fo)
{
    BUF_AUTO struct buf text = BUF_INIT(16);
    str copy;
    for (unsigned i = 0; i < 4; i++)
        if (fo & 1u << i)
            buf_addf(&text, "%s%c", text.len ? ":" : "", "01ds"[i]);
    return arena_dup(a, buf_str(&text), &copy) ? copy : STR_NONE;
}

static str mode_of(bool strict) { return strict ? STR("s") : STR("r"); }

static enum err note(struct mail_auth *m, struct arena *arena, struct mail_auth_verdict *v)
{
    const struct dmarc_record *d = &m->dmarc.record;
    struct dmarc_report_row *r;
    BUF_AUTO struct buf source = BUF_INIT(64);
    bool maybe = false;
    if (!m->dmarc.found || d->nrua == 0)
        return ERR_OK;
    r = ARENA_NEW(arena, struct dmarc_report_row);
    if (!r)
        return ERR_NOMEM;
    address_render(&m->facts->source, &source);
    r->source_ip = buf_str(&source);
    r->header_from = m->author_domain;
    r->envelope_from = m->spf.helo ? STR_NONE : m->spf.domain;
    r->spf_domain = m->spf.domain;
    r->spf_result = str_c(spf_result_name(m->spf.result));
    r->spf_aligned =
        m->spf.result == SPF_RESULT_PASS &&
        dmarc_aligned(&m->walks, &m->dmarc, m->author_domain, m->spf.domain, d->strict_spf, &maybe);
    add_signatures(m, r);
    if (v->chain_trusted) { /* RFC 8617 7.2.2 */
        r->reason = STR("local_policy");
        r->comment = arena_fmt(arena, "arc=pass as[%zu].d=%.*s", m->arc.chain.count,
                               STR_ARG(m->arc.chain.sets[m->arc.chain.count - 1].seal_sig.domain));
    }
    v->published = (struct dmarc_report_policy){
        .p = str_c(dmarc_policy_name(d->policy)),
        .sp = str_c(dmarc_policy_name(d->subdomain)),
        .np = str_c(dmarc_policy_name(d->nonexistent)),
        .adkim = mode_of(d->strict_dkim),
        .aspf = mode_of(d->strict_spf),
        .fo = fo_text(arena, d->fo),
        .testing = d->testing,
    };
    v->policy = m->dmarc.policy;
    v->policy_told = m->dmarc.told;
    v->seen = r;
    return keep_row(arena, r) && arena_dup(arena, m->dmarc.at, &v->policy_domain) ? ERR_OK
                                                                                  : ERR_NOMEM;
}

enum err mail_auth_decide(struct mail_auth *m, struct arena *arena, struct mail_auth_verdict *out)
{
    *out = (struct mail_auth_verdict){.spf_fail = m->spf.result == SPF_RESULT_FAIL};
    out->temporary = m->spf.result == SPF_RESULT_TEMPERROR;
    for (size_t i = 0; i < m->nchecks; i++)
        out->temporary |= m->checks[i].judgement.result == DKIM_RESULT_TEMPERROR;
    enum dmarc_result dmarc = decide_dmarc(m, out);
    if (!arena_dup(arena, m->author_domain, &out->author_domain))
        return ERR_NOMEM;
    TRY(note(m, arena, out));
    return render(m, dmarc, arena, out);
}
