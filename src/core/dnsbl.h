/* SPDX-License-Identifier: Apache-2.0
 *
 * dnsbl: block lists in the DNS (RFC 5782), asked beside the session from its first moment, each
 * list on a fiber of its own; whoever has not answered by the deadline lists nobody.
 */
#ifndef CORE_DNSBL_H
#define CORE_DNSBL_H

#include "core/dns.h"
#include "os/sock.h"

#define DNSBL_ZONES_MAX 16

struct dnsbl;
/* zones are borrowed until dnsbl_free; those beyond DNSBL_ZONES_MAX are not asked. ERR_NOMEM,
 * ERR_INVALID: not an Internet address. */
enum err dnsbl_begin(const struct dns *dns, const struct address *source, const str *zones,
                     size_t nzones, struct dnsbl **out) MUST;
/* The first zone (in the order given) that lists the source, or empty. Waits at most until
 * deadline_ms (monotonic) and not at all when called again. */
str dnsbl_end(struct dnsbl *b, uint64_t deadline_ms) WAITS;
void dnsbl_free(struct dnsbl *b) WAITS; /* NULL is fine */

#endif
