/* SPDX-License-Identifier: Apache-2.0 */
#include "core/domain_setup.h"

#include "base/code.h"
#include "base/num.h"

#include <assert.h>
#include <string.h>

/* ---- which records ---- */

struct setup_list {
    const struct setup_facts *facts;
    struct arena *arena;
    struct setup_record *out;
    size_t n, max;
    bool full, no_memory;
};

static struct setup_record *add(struct setup_list *l, enum setup_rule rule, enum dns_type type,
                                bool optional, const char *label)
{
    static struct setup_record sink;
    if (l->n == l->max) {
        l->full = true;
        return &sink;
    }
    struct setup_record *r = &l->out[l->n++];
    *r = (struct setup_record){.rule = rule, .type = type, .optional = optional};
    r->name = label[0] ? arena_fmt(l->arena, "%s.%.*s", label, STR_ARG(l->facts->domain))
                       : l->facts->domain;
    l->no_memory |= str_empty(r->name);
    return r;
}

static void add_text(struct setup_list *l, enum setup_rule rule, bool optional, const char *label,
                     str text)
{
    l->no_memory |= str_empty(text);
    add(l, rule, DNS_TXT, optional, label)->data = text;
}

static void add_addresses(struct setup_list *l)
{
    const struct setup_facts *f = l->facts;
    for (int family = 4; family <= 6; family += 2) {
        for (size_t i = 0; i < f->naddresses; i++) {
            if (f->addresses[i].family != family)
                continue;
            struct setup_record *r =
                add(l, SETUP_ADDRESS, family == 4 ? DNS_A : DNS_AAAA, false, "");
            r->name = f->hostname;
            r->data = str_of(f->addresses[i].ip, family == 4 ? 4 : 16);
        }
    }
}

static void add_policies(struct setup_list *l)
{
    const struct setup_facts *f = l->facts;
    add_text(l, SETUP_SPF, false, "", STR("v=spf1 mx -all"));
    for (size_t i = 0; i < f->ndkim; i++) {
        struct setup_record *r = add(l, SETUP_DKIM, DNS_TXT, false, "");
        r->name = arena_fmt(l->arena, "%.*s._domainkey.%.*s", STR_ARG(f->dkim[i].selector),
                            STR_ARG(f->domain));
        r->data = f->dkim[i].record;
    }
    add_text(
        l, SETUP_DMARC, false, "_dmarc",
        arena_fmt(l->arena, "v=DMARC1; p=quarantine; rua=mailto:%.*s", STR_ARG(f->reports_to)));
    if (!str_empty(f->mta_sts_id)) {
        add_text(l, SETUP_MTA_STS, true, "_mta-sts",
                 arena_fmt(l->arena, "v=STSv1; id=%.*s", STR_ARG(f->mta_sts_id)));
        add(l, SETUP_ALIAS, DNS_CNAME, true, "mta-sts")->target = f->hostname;
    }
    add_text(l, SETUP_TLSRPT, true, "_smtp._tls",
             arena_fmt(l->arena, "v=TLSRPTv1; rua=mailto:%.*s", STR_ARG(f->reports_to)));
}

static void add_tlsa(struct setup_list *l)
{
    for (size_t i = 0; i < l->facts->ntlsa; i++) {
        struct setup_record *r = add(l, SETUP_TLSA, DNS_TLSA, true, "");
        r->name = arena_fmt(l->arena, "_25._tcp.%.*s", STR_ARG(l->facts->hostname));
        r->data = str_of(l->facts->tlsa[i].sha256, 32);
    }
}

static void add_srv(struct setup_list *l, const char *label, uint16_t preference, uint16_t port)
{
    if (port == 0)
        return;
    struct setup_record *r = add(l, SETUP_SRV, DNS_SRV, true, label);
    r->preference = preference;
    r->weight = 1;
    r->port = port;
    r->target = l->facts->hostname;
}

/* TLS from the start before STARTTLS, IMAP before POP3 (RFC 8314 3, 5.1; RFC 6186 3.4). */
static void add_clients(struct setup_list *l)
{
    const struct setup_ports *p = &l->facts->ports;
    add_srv(l, "_submissions._tcp", 0, p->submissions);
    add_srv(l, "_submission._tcp", 10, p->submission);
    add_srv(l, "_imaps._tcp", 0, p->imaps);
    add_srv(l, "_imap._tcp", 10, p->imap);
    add_srv(l, "_pop3s._tcp", 20, p->pop3s);
    add_srv(l, "_pop3._tcp", 30, p->pop3);
    add_srv(l, "_autodiscover._tcp", 0, p->https);
    if (p->https == 0)
        return;
    add(l, SETUP_ALIAS, DNS_CNAME, true, "autoconfig")->target = l->facts->hostname;
    add(l, SETUP_ALIAS, DNS_CNAME, true, "autodiscover")->target = l->facts->hostname;
}

enum err setup_records(const struct setup_facts *f, struct arena *a, struct setup_record *out,
                       size_t max, size_t *n)
{
    struct setup_list l = {.facts = f, .arena = a, .out = out, .max = max};
    add_addresses(&l);
    struct setup_record *mx = add(&l, SETUP_MX, DNS_MX, false, "");
    mx->preference = 10;
    mx->target = f->hostname;
    add_policies(&l);
    add_tlsa(&l);
    add_clients(&l);
    *n = l.n;
    if (l.full)
        return ERR_LIMIT;
    return l.no_memory ? ERR_NOMEM : ERR_OK;
}

/* ---- as a zone ---- */

const char *setup_type_name(enum dns_type t)
{
    switch (t) {
    case DNS_A:
        return "A";
    case DNS_AAAA:
        return "AAAA";
    case DNS_CNAME:
        return "CNAME";
    case DNS_PTR:
        return "PTR";
    case DNS_MX:
        return "MX";
    case DNS_TXT:
        return "TXT";
    case DNS_SRV:
        return "SRV";
    case DNS_TLSA:
        return "TLSA";
    }
    return "?";
}

/* Strings of at most 255 bytes, quoted as in a zone file (RFC 1035 5.1). */
static void render_text(str text, struct buf *out)
{
    do {
        str piece = str_head(text, 255);
        text = str_skip(text, piece.len);
        buf_add_char(out, '"');
        for (size_t i = 0; i < piece.len; i++) {
            unsigned char c = (unsigned char)piece.data[i];
            if (c == '"' || c == '\\')
                buf_addf(out, "\\%c", c);
            else if (c < 0x20 || c > 0x7e)
                buf_addf(out, "\\%03u", c);
            else
                buf_add_char(out, (char)c);
        }
        buf_add_c(out, str_empty(text) ? "\"" : "\" ");
    } while (!str_empty(text));
}

static void render_address(str ip, struct buf *out)
{
    struct address a = {.family = ip.len == 4 ? 4 : 6};
    memcpy(a.ip, ip.data, MIN(ip.len, sizeof(a.ip)));
    address_render(&a, out);
}

static void render_data(const struct setup_record *r, struct buf *out)
{
    switch (r->type) {
    case DNS_A:
    case DNS_AAAA:
        render_address(r->data, out);
        break;
    case DNS_MX:
        buf_addf(out, "%u %.*s.", r->preference, STR_ARG(r->target));
        break;
    case DNS_SRV:
        buf_addf(out, "%u %u %u %.*s.", r->preference, r->weight, r->port, STR_ARG(r->target));
        break;
    case DNS_TLSA:
        buf_add_c(out, "3 1 1 ");
        code_hex(out, r->data);
        break;
    case DNS_TXT:
        render_text(r->data, out);
        break;
    case DNS_CNAME:
    case DNS_PTR:
        buf_addf(out, "%.*s.", STR_ARG(r->target));
        break;
    }
}

void setup_render(const struct setup_record *r, struct buf *out)
{
    buf_addf(out, "%.*s.\t%u\tIN\t%s\t", STR_ARG(r->name), SETUP_TTL_S, setup_type_name(r->type));
    render_data(r, out);
    buf_add_char(out, '\n');
}

/* ---- as an update ---- */

bool setup_in_zone(str name, str zone)
{
    if (str_eq(name, zone))
        return true;
    return str_ends(name, zone) && name.len > zone.len && name.data[name.len - zone.len - 1] == '.';
}

static bool put_rdata(const struct setup_record *r, struct buf *out)
{
    switch (r->type) {
    case DNS_A:
    case DNS_AAAA:
        buf_add(out, r->data);
        return true;
    case DNS_MX:
        return dns_rdata_mx(r->preference, r->target, out);
    case DNS_SRV:
        return dns_rdata_srv(r->preference, r->weight, r->port, r->target, out);
    case DNS_TLSA:
        return dns_rdata_tlsa(3, 1, 1, r->data, out);
    case DNS_TXT:
        return dns_rdata_txt(r->data, out);
    case DNS_CNAME:
    case DNS_PTR:
        return dns_rdata_name(r->target, out);
    }
    return false;
}

/* The texts of ours at a name that may hold others' too: by how they begin. */
static str own_prefix(enum setup_rule rule)
{
    switch (rule) {
    case SETUP_SPF:
        return STR("v=spf1");
    case SETUP_DMARC:
        return STR("v=DMARC1");
    case SETUP_MTA_STS:
        return STR("v=STSv1");
    case SETUP_TLSRPT:
        return STR("v=TLSRPTv1");
    default:
        return STR_NONE;
    }
}

static enum err clear_texts(struct dns_update *u, const struct setup_record *r,
                            const struct dns_answer *answer)
{
    if (!answer || answer->status == DNS_FAILED || answer->status == DNS_BOGUS)
        return ERR_UNAVAILABLE;
    str prefix = own_prefix(r->rule);
    for (size_t i = 0; i < answer->count; i++) {
        BUF_AUTO struct buf rdata = BUF_INIT(DNS_MESSAGE_MAX);
        if (str_starts_nocase(answer->records[i].bytes, prefix) &&
            dns_rdata_txt(answer->records[i].bytes, &rdata))
            dns_update_remove(u, r->name, DNS_TXT, buf_str(&rdata));
    }
    return ERR_OK;
}

bool setup_in_the_way(const struct setup_record *r, const struct dns_answer *answer)
{
    return r->rule == SETUP_ALIAS && answer->status == DNS_FOUND &&
           str_eq(answer->canonical, r->name);
}

enum err setup_update_clear(struct dns_update *u, const struct setup_record *r)
{
    dns_update_clear(u, r->name, DNS_A);
    dns_update_clear(u, r->name, DNS_AAAA);
    return dns_update_done(u);
}

enum err setup_update_group(struct dns_update *u, const struct setup_record *records, size_t n,
                            const struct dns_answer *answer)
{
    assert(n > 0);
    const struct setup_record *first = &records[0];
    if (first->rule == SETUP_SPF) {
        TRY(clear_texts(u, first, answer));
    } else if (first->rule != SETUP_ALIAS) { /* a new CNAME replaces the old (RFC 2136 3.4.2.2) */
        dns_update_clear(u, first->name, (uint16_t)first->type);
    }
    for (size_t i = 0; i < n; i++) {
        BUF_AUTO struct buf rdata = BUF_INIT(DNS_MESSAGE_MAX);
        if (!put_rdata(&records[i], &rdata) || !buf_ok(&rdata))
            return ERR_INVALID;
        dns_update_add(u, records[i].name, (uint16_t)records[i].type, SETUP_TTL_S, buf_str(&rdata));
    }
    return dns_update_done(u);
}
