/* SPDX-License-Identifier: Apache-2.0
 *
 * dnsbl_syntax: a list in the DNS as the configuration names it: ZONE[=ANSWERS][*WEIGHT].
 *
 *   list.example                     every answer lists
 *   list.example=127.0.0.2           only this one
 *   list.example=127.0.0.[2..11;14]  these
 *   list.example=127.0.0.&6          those whose last byte has one of these bits (bit masks)
 *   list.example*3                   counts three times
 */
#ifndef FORMAT_DNSBL_SYNTAX_H
#define FORMAT_DNSBL_SYNTAX_H

#include "base/str.h"

#define DNSBL_WEIGHT_MAX 1000

struct dnsbl_site {
    str zone; /* as written */
    uint32_t weight;
    bool allows;           /* an allow list: who is in it is not listed at all; the caller's */
    uint8_t octets[4][32]; /* bit sets: which values of each byte of the answer count */
};
/* zone borrows from text. Weight 1 when none is given. */
bool dnsbl_site_parse(str text, struct dnsbl_site *out);
/* RFC 5782 2.1: 127.0.0.0/8 lists; 127.255.255.0/24 is how lists say that they do not answer us. */
bool dnsbl_site_matches(const struct dnsbl_site *s, const uint8_t ip[4]);

#endif
