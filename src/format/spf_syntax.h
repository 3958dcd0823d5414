/* SPDX-License-Identifier: Apache-2.0
 *
 * spf_syntax: SPF records (RFC 7208 4.6, 5, 12) and macros (7). Evaluation is elsewhere; its limits
 * are here. Linear time, nothing waits.
 */
#ifndef FORMAT_SPF_SYNTAX_H
#define FORMAT_SPF_SYNTAX_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "format/limits.h"

enum spf_mechanism {
    SPF_ALL,
    SPF_INCLUDE,
    SPF_A,
    SPF_MX,
    SPF_PTR,
    SPF_IP4,
    SPF_IP6,
    SPF_EXISTS,
};
enum spf_qualifier { SPF_PASS, SPF_FAIL, SPF_SOFTFAIL, SPF_NEUTRAL };
struct spf_term {
    enum spf_mechanism mechanism;
    enum spf_qualifier qualifier;
    str domain;               /* macro text; empty: the current domain */
    uint8_t ip[16];           /* 4 or 16 bytes */
    uint8_t prefix4, prefix6; /* 32 and 128 when not given */
};
struct spf_record {
    struct spf_term *terms;
    size_t count;
    str redirect, explanation; /* macro text; empty: not given */
};
/* True for "v=spf1" followed by a space or the end: the record counts (RFC 7208 4.5). */
bool spf_record_is(str txt);
/* ERR_SYNTAX: permerror. txt: the strings of the TXT record joined. */
enum err spf_record_parse(struct arena *a, str txt, struct spf_record *out) MUST;

struct spf_values {
    str sender_local, sender_domain; /* "postmaster" when there is no local part (4.3) */
    str domain;                      /* the current domain (d) */
    str helo;
    str validated;     /* p: validated name of the address; empty gives "unknown" */
    str receiver;      /* r, for explanations */
    const uint8_t *ip; /* 4 or 16 bytes */
    bool v6;
    uint64_t time_s; /* t, for explanations */
};
/* Appends the expansion; explanation: the letters c, r, t are allowed, and spaces. ERR_SYNTAX. */
enum err spf_expand(struct buf *out, str macro, const struct spf_values *v, bool explanation) MUST;
/* Expands a domain-spec; too long a name loses labels from the left (RFC 7208 7.3). */
enum err spf_expand_domain(struct arena *a, str macro, const struct spf_values *v, str *out) MUST;

#endif
