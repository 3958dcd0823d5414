/* SPDX-License-Identifier: Apache-2.0
 *
 * dnsbl: block lists in the DNS (RFC 5782) and allow lists, asked beside the session from its first
 * moment, each list on a fiber of its own; whoever has not answered by the deadline lists nobody.
 */
#ifndef CORE_DNSBL_H
#define CORE_DNSBL_H

#include "core/dns.h"
#include "format/dnsbl_syntax.h"
#include "os/sock.h"

#define DNSBL_ZONES_MAX 16   /* of both kinds together */
#define DNSBL_REASON_MAX 200 /* bytes of a list's own words */

struct dnsbl_verdict {
    bool allowed;   /* an allow list knows it: nothing else counts */
    uint32_t score; /* the weights of all block lists that list it */
    str zone;       /* of the first of them, in the order given; empty: none does */
    str reason;     /* what that list says of it in TXT: printable ASCII, often empty */
};

struct dnsbl;
/* sites are borrowed until dnsbl_free; those beyond DNSBL_ZONES_MAX are not asked. ERR_NOMEM,
 * ERR_INVALID: not an Internet address. */
enum err dnsbl_begin(const struct dns *dns, const struct address *source,
                     const struct dnsbl_site *sites, size_t n, struct dnsbl **out) MUST;
/* Waits at most until deadline_ms (monotonic) and not at all when called again. *out borrows from
 * the sites and b. */
void dnsbl_end(struct dnsbl *b, uint64_t deadline_ms, struct dnsbl_verdict *out) WAITS;
void dnsbl_free(struct dnsbl *b) WAITS; /* NULL is fine */

#endif
