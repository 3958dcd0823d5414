/* SPDX-License-Identifier: Apache-2.0
 *
 * dmarc_syntax: DMARC policy records (RFC 9989 4.7; RFC 7489 6.3 for the historic tags).
 */
#ifndef FORMAT_DMARC_SYNTAX_H
#define FORMAT_DMARC_SYNTAX_H

#include "base/arena.h"
#include "base/err.h"
#include "format/limits.h"

enum dmarc_policy { DMARC_NONE, DMARC_QUARANTINE, DMARC_REJECT };
enum dmarc_psd { DMARC_PSD_UNKNOWN, DMARC_PSD_YES, DMARC_PSD_NO };
enum { DMARC_FO_0 = 1, DMARC_FO_1 = 2, DMARC_FO_D = 4, DMARC_FO_S = 8 };
struct dmarc_uri {
    str uri;           /* "mailto:a@b" */
    uint64_t size_max; /* historic "!10m"; 0: none */
};
struct dmarc_record {
    enum dmarc_policy policy, subdomain, nonexistent; /* sp defaults to p, np to sp */
    bool strict_dkim, strict_spf;                     /* adkim=s, aspf=s */
    bool testing;                                     /* t=y */
    enum dmarc_psd psd;
    unsigned fo;         /* DMARC_FO_ bits */
    unsigned percent;    /* historic; 100 */
    uint32_t interval_s; /* historic ri */
    struct dmarc_uri *rua, *ruf;
    size_t nrua, nruf;
};
/* "v=DMARC1" as first tag, else ERR_NOT_FOUND (not a DMARC record). ERR_SYNTAX: unusable. Unknown
 * tags and malformed optional ones are ignored; without a valid p the record counts as p=none if it
 * has a valid rua (RFC 9989 4.7, RFC 7489 6.6.3), else ERR_SYNTAX. */
enum err dmarc_record_parse(struct arena *a, str txt, struct dmarc_record *out) MUST;
const char *dmarc_policy_name(enum dmarc_policy p);

#endif
