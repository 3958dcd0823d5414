/* SPDX-License-Identifier: Apache-2.0 */
#include "format/dmarc_report.h"

#include "base/num.h"
#include "base/utf8.h"

/* Character data (XML 1.0 2.4); what XML cannot say at all becomes '?'. */
static void add_text(struct buf *out, str s)
{
    while (!str_empty(s)) {
        uint32_t c;
        str before = s;
        bool valid = utf8_take(&s, &c);
        if (!valid || (c < 0x20 && c != '\t') || c == 0x7f || c == 0xfffe || c == 0xffff)
            buf_add_char(out, '?');
        else if (c == '&')
            buf_add_c(out, "&amp;");
        else if (c == '<')
            buf_add_c(out, "&lt;");
        else if (c == '>')
            buf_add_c(out, "&gt;");
        else
            buf_add(out, str_head(before, before.len - s.len));
    }
}

static void add_element(struct buf *out, unsigned depth, const char *name, str text)
{
    buf_addf(out, "%*s<%s>", (int)(2 * depth), "", name);
    add_text(out, text);
    buf_addf(out, "</%s>\n", name);
}

static void add_optional(struct buf *out, unsigned depth, const char *name, str text)
{
    if (!str_empty(text))
        add_element(out, depth, name, text);
}

static void add_number(struct buf *out, unsigned depth, const char *name, uint64_t n)
{
    buf_addf(out, "%*s<%s>%llu</%s>\n", (int)(2 * depth), "", name, (unsigned long long)n, name);
}

static void add_policy(struct buf *out, str domain, const struct dmarc_report_policy *p)
{
    buf_add_c(out, "  <policy_published>\n");
    add_element(out, 2, "domain", domain);
    add_element(out, 2, "p", str_empty(p->p) ? STR("none") : p->p);
    add_optional(out, 2, "sp", p->sp);
    add_optional(out, 2, "np", p->np);
    add_optional(out, 2, "fo", p->fo);
    add_optional(out, 2, "adkim", p->adkim);
    add_optional(out, 2, "aspf", p->aspf);
    add_element(out, 2, "testing", p->testing ? STR("y") : STR("n"));
    add_element(out, 2, "discovery_method", STR("treewalk"));
    buf_add_c(out, "  </policy_published>\n");
}

void dmarc_report_open(struct buf *out, const struct dmarc_report_head *h)
{
    buf_add_c(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                   "<feedback xmlns=\"urn:ietf:params:xml:ns:dmarc-2.0\">\n"
                   "  <version>1.0</version>\n  <report_metadata>\n");
    add_element(out, 2, "org_name", h->org_name);
    add_element(out, 2, "email", h->email);
    add_optional(out, 2, "extra_contact_info", h->contact);
    add_element(out, 2, "report_id", h->report_id);
    buf_add_c(out, "    <date_range>\n");
    add_number(out, 3, "begin", (uint64_t)MAX(h->begin_s, (int64_t)0));
    add_number(out, 3, "end", (uint64_t)MAX(h->end_s, (int64_t)0));
    buf_add_c(out, "    </date_range>\n");
    add_optional(out, 2, "error", h->error);
    add_optional(out, 2, "generator", h->generator);
    buf_add_c(out, "  </report_metadata>\n");
    add_policy(out, h->domain, &h->policy);
}

static str verdict(bool aligned) { return aligned ? STR("pass") : STR("fail"); }

static void add_evaluated(struct buf *out, const struct dmarc_report_row *r)
{
    buf_add_c(out, "      <policy_evaluated>\n");
    add_element(out, 4, "disposition", r->disposition);
    add_element(out, 4, "dkim", verdict(r->dkim_aligned));
    add_element(out, 4, "spf", verdict(r->spf_aligned));
    if (!str_empty(r->reason)) {
        buf_add_c(out, "        <reason>\n");
        add_element(out, 5, "type", r->reason);
        add_optional(out, 5, "comment", r->comment);
        buf_add_c(out, "        </reason>\n");
    }
    buf_add_c(out, "      </policy_evaluated>\n");
}

static void add_results(struct buf *out, const struct dmarc_report_row *r)
{
    buf_add_c(out, "    <auth_results>\n");
    for (size_t i = 0; i < MIN(r->ndkim, (size_t)DMARC_REPORT_DKIM_MAX); i++) {
        buf_add_c(out, "      <dkim>\n");
        add_element(out, 4, "domain", r->dkim[i].domain);
        add_element(out, 4, "selector", r->dkim[i].selector);
        add_element(out, 4, "result", r->dkim[i].result);
        buf_add_c(out, "      </dkim>\n");
    }
    if (!str_empty(r->spf_domain)) { /* MAIL FROM is the only identity of DMARC (RFC 9990) */
        buf_add_c(out, "      <spf>\n");
        add_element(out, 4, "domain", r->spf_domain);
        add_element(out, 4, "scope", STR("mfrom"));
        add_element(out, 4, "result", r->spf_result);
        buf_add_c(out, "      </spf>\n");
    }
    buf_add_c(out, "    </auth_results>\n");
}

void dmarc_report_add(struct buf *out, const struct dmarc_report_row *r)
{
    buf_add_c(out, "  <record>\n    <row>\n");
    add_element(out, 3, "source_ip", r->source_ip);
    add_number(out, 3, "count", r->count);
    add_evaluated(out, r);
    buf_add_c(out, "    </row>\n    <identifiers>\n");
    add_element(out, 3, "header_from", r->header_from);
    add_element(out, 3, "envelope_from", r->envelope_from); /* empty: the null reverse-path */
    buf_add_c(out, "    </identifiers>\n");
    add_results(out, r);
    buf_add_c(out, "  </record>\n");
}

void dmarc_report_end(struct buf *out) { buf_add_c(out, "</feedback>\n"); }
