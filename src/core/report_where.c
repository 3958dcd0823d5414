/* SPDX-License-Identifier: Apache-2.0
 *
 * Where a report goes: the domain's record as it is now, and for a DMARC report the consent of
 * those who are named in it (RFC 9990, "Verifying External Destinations").
 */
#include "core/report_send_private.h"

#include "base/log.h"
#include "core/dmarc.h"
#include "core/dns_name.h"
#include "format/addr.h"
#include "format/report_mail.h"
#include "format/tlsrpt.h"

#define ADDRESS_MAX 320

/* A checked address in the arena; empty: it is none that we can use. */
static str address_of(struct report_sending *g, str uri)
{
    BUF_AUTO struct buf text = BUF_INIT(ADDRESS_MAX);
    struct addr a;
    str copy;
    if (!report_mailto(uri, &text) || !arena_dup(&g->arena, buf_str(&text), &copy) ||
        addr_parse(&g->arena, copy, 0, &a) != ERR_OK || !addr_is_ascii(&a) ||
        str_starts(a.domain, STR("[")))
        return STR_NONE;
    return copy;
}

static str host_of(str address) { return str_skip(address, str_rfind_char(address, '@') + 1); }

static enum err add(struct report_sending *g, struct report_destination d) WAITS
{
    struct domain dom;
    for (size_t i = 0; i < g->nto; i++)
        if (str_eq_nocase(g->to[i].address, d.address) && str_eq(g->to[i].url, d.url))
            return ERR_OK;
    if (!str_empty(d.address)) {
        enum err e =
            directory_domain_get(g->s->deliver->directory, host_of(d.address), &g->arena, &dom);
        if (e != ERR_OK && e != ERR_NO_DOMAIN && err_class(e) == ERR_CLASS_TEMP)
            return e;
        d.here = e == ERR_OK;
    }
    if (g->nto < DMARC_URIS_MAX)
        g->to[g->nto++] = d;
    return ERR_OK;
}

static enum err ask(struct report_sending *g, str name, struct dns_answer *out) WAITS
{
    enum err e = dns_ask(&g->s->relay->dns, name, DNS_TXT, &g->arena, out);
    if (e == ERR_SYNTAX) { /* too long a name: nothing is there */
        *out = (struct dns_answer){.status = DNS_NXDOMAIN};
        return ERR_OK;
    }
    if (e != ERR_OK || out->status == DNS_FAILED || out->status == DNS_BOGUS)
        return ERR_UNAVAILABLE;
    return ERR_OK;
}

/* ---- DMARC ---- */

/* The consent may name another address of the same host (RFC 9990, step 9). */
static enum err take_consent(struct report_sending *g, const struct dns_answer *a, str host,
                             bool *consents, struct report_destination *d)
{
    for (size_t i = 0; i < a->count && a->status == DNS_FOUND; i++) {
        struct dmarc_record r;
        enum err e = dmarc_record_parse(&g->arena, a->records[i].bytes, &r);
        if (e == ERR_NOMEM)
            return e;
        if (e == ERR_NOT_FOUND)
            continue;
        *consents = true; /* ERR_SYNTAX too: it has no p, and needs none */
        if (e != ERR_OK || r.nrua == 0)
            continue;
        str address = address_of(g, r.rua[0].uri);
        if (str_empty(address) || !str_eq_nocase(host_of(address), host)) {
            *consents = false; /* "MUST NOT generate a report to either" */
            return ERR_OK;
        }
        d->address = address;
        d->size_max = r.rua[0].size_max;
    }
    return ERR_OK;
}

static enum err may_send(struct report_sending *g, struct dmarc_walks *w, bool *may,
                         struct report_destination *d) WAITS
{
    struct dns_answer a;
    str host;
    bool temporary = false;
    *may = false;
    if (dns_name_of(host_of(d->address), &g->arena, &host) != ERR_OK)
        return ERR_OK;
    str ours = dmarc_organizational(w, host, &temporary);
    str theirs = dmarc_organizational(w, g->key.domain, &temporary);
    if (temporary)
        return ERR_UNAVAILABLE;
    if (str_eq_nocase(ours, theirs)) {
        *may = true;
        return ERR_OK;
    }
    str name =
        arena_fmt(&g->arena, "%.*s._report._dmarc.%.*s", STR_ARG(g->key.domain), STR_ARG(host));
    TRY(ask(g, name, &a));
    TRY(take_consent(g, &a, host, may, d));
    if (!*may)
        LOG_INFO("report", "no consent domain=%.*s address=%.*s", STR_ARG(g->key.domain),
                 STR_ARG(d->address));
    return ERR_OK;
}

static enum err where_dmarc(struct report_sending *g) WAITS
{
    struct dmarc_walks w = {.dns = &g->s->relay->dns, .arena = &g->arena};
    struct dmarc_found found;
    dmarc_find(&w, g->key.domain, &found);
    if (found.temporary)
        return ERR_UNAVAILABLE;
    if (!found.found || !str_eq_nocase(found.at, g->key.domain))
        return ERR_OK; /* it was there, and is gone */
    for (size_t i = 0; i < found.record.nrua; i++) {
        struct report_destination d = {.address = address_of(g, found.record.rua[i].uri),
                                       .size_max = found.record.rua[i].size_max};
        bool may;
        if (str_empty(d.address))
            continue;
        TRY(may_send(g, &w, &may, &d));
        if (may)
            TRY(add(g, d));
    }
    return ERR_OK;
}

/* ---- TLS ---- */

static enum err where_tls(struct report_sending *g) WAITS
{
    struct dns_answer a;
    struct tlsrpt_record record = {0}, one;
    size_t found = 0;
    TRY(ask(g, arena_fmt(&g->arena, "_smtp._tls.%.*s", STR_ARG(g->key.domain)), &a));
    for (size_t i = 0; i < a.count && a.status == DNS_FOUND; i++) {
        enum err e = tlsrpt_parse(&g->arena, a.records[i].bytes, &one);
        found += e != ERR_NOT_FOUND;
        if (e == ERR_OK)
            record = one;
    }
    if (found != 1) /* RFC 8460 3: of several none counts */
        return ERR_OK;
    for (size_t i = 0; i < record.count; i++) {
        bool https = str_starts_nocase(record.rua[i], STR("https://"));
        struct report_destination d = {.url = https ? record.rua[i] : STR_NONE,
                                       .address = https ? STR_NONE : address_of(g, record.rua[i])};
        if (https || !str_empty(d.address))
            TRY(add(g, d));
    }
    return ERR_OK;
}

enum err report_where(struct report_sending *g)
{
    g->nto = 0;
    return g->key.kind == REPORT_TLS ? where_tls(g) : where_dmarc(g);
}
