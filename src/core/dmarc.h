/* SPDX-License-Identifier: Apache-2.0
 *
 * dmarc: finding the policy of an author's domain and its organizational domain by walking up the
 * DNS tree, and alignment (RFC 9989 4.4, 4.10, 5.3). No list of public suffixes.
 */
#ifndef CORE_DMARC_H
#define CORE_DMARC_H

#include "core/dns.h"
#include "format/dmarc_syntax.h"

#define DMARC_WALK_MAX 8   /* questions of one walk (RFC 9989 4.10) */
#define DMARC_CACHE_MAX 64 /* names that one message's walks may ask about */

/* One message's walks share their answers. Zero-initialise, set dns and arena. */
struct dmarc_answer {
    str domain;
    bool found, temporary;
    struct dmarc_record record;
};
struct dmarc_walks {
    const struct dns *dns;
    struct arena *arena;
    struct dmarc_answer *answers; /* DMARC_CACHE_MAX, made at the first question */
    size_t count;
};

/* The organizational domain of a name (4.10.2); the name itself when no record says otherwise.
 * *temporary is set when a question had no answer: the result is then a guess. */
str dmarc_organizational(struct dmarc_walks *w, str domain, bool *temporary) WAITS;

struct dmarc_found {
    bool found;
    bool temporary; /* DNS failed: nothing is known */
    str at;         /* where the record is */
    str organizational;
    struct dmarc_record record;
    enum dmarc_policy policy; /* p, sp or np, whichever applies; t=y already counted (4.7) */
    enum dmarc_policy told;   /* the same without t=y */
};
/* domain: lower case. */
void dmarc_find(struct dmarc_walks *w, str author_domain, struct dmarc_found *out) WAITS;
/* Is an authenticated domain aligned with the author's? (4.4) */
bool dmarc_aligned(struct dmarc_walks *w, const struct dmarc_found *f, str author_domain,
                   str authenticated, bool strict, bool *temporary) WAITS;

#endif
