/* SPDX-License-Identifier: Apache-2.0
 *
 * dns_name: names on their way to a DNS question. Pure but for dns_ask.
 */
#ifndef CORE_DNS_NAME_H
#define CORE_DNS_NAME_H

#include "core/dns.h"

/* Lower case, A-labels (RFC 5890), without a final dot; borrowed when there is nothing to change.
 * ERR_SYNTAX for what is no name (a literal, a label too long), ERR_NOMEM. */
enum err dns_name_of(str name, struct arena *a, str *out) MUST;
/* Two labels at least, none empty or above 63 bytes, 253 in all, no literal (RFC 7208 4.3). Bytes
 * are printable ASCII. */
bool dns_name_is_host(str name);
size_t dns_name_labels(str name);
/* The last n labels; all when there are not more. */
str dns_name_last(str name, size_t n);
/* name is zone or below it; ASCII case-insensitive. */
bool dns_name_within(str name, str zone);
/* dns->query with a name in any case, checked: ERR_SYNTAX for one that is none. Without a resolver:
 * ERR_UNAVAILABLE. */
enum err dns_ask(const struct dns *dns, str name, enum dns_type type, struct arena *arena,
                 struct dns_answer *out) WAITS MUST;

#endif
