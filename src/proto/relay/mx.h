/* SPDX-License-Identifier: Apache-2.0
 *
 * mx: where mail for a domain goes: RFC 5321 5.1 (MX, implicit MX, our own place in the list),
 * RFC 7505 (null MX), RFC 7672 2.2 (what of it was validated). Records are hostile: their number is
 * limited, and private addresses are refused unless allowed.
 */
#ifndef PROTO_RELAY_MX_H
#define PROTO_RELAY_MX_H

#include "core/dns.h"
#include "os/sock.h"

#define MX_HOSTS_MAX 20
#define MX_ADDRESSES_MAX 8 /* of one host */

enum mx_status {
    MX_OK,
    MX_NULL,      /* the domain takes no mail (5.1.10) */
    MX_NO_DOMAIN, /* it does not exist, or has neither MX nor address (5.1.2) */
    MX_LOOP,      /* the best host is ourselves (5.4.6) */
    MX_FAILED,    /* no answer, or a forged one: try again later (4.4.3) */
};
struct mx_host {
    str name; /* lower case, A-labels */
    uint16_t preference;
};
struct mx_route {
    struct mx_host *hosts; /* in the order of trying */
    size_t count;
    bool secure;   /* the names were validated */
    bool implicit; /* the domain itself stands in for an MX */
};
/* U-labels as A-labels (RFC 5891), lower case, no final dot. False: it is no domain name. */
bool mx_domain_ascii(str domain, struct arena *arena, str *out);
/* own_name: our host name; hosts of its preference and worse are left out. */
enum mx_status mx_find(const struct dns *dns, str domain, str own_name, struct arena *arena,
                       struct mx_route *out) WAITS;

struct mx_addresses {
    struct address list[MX_ADDRESSES_MAX]; /* families by turns, IPv6 first; port is set */
    size_t count;
    bool secure;   /* A and AAAA were validated */
    bool refused;  /* there were private ones only */
    str canonical; /* the end of the CNAME chain */
};
/* host: a name or "[literal]". MX_OK with count > 0; MX_NO_DOMAIN: none; MX_FAILED. */
enum mx_status mx_addresses(const struct dns *dns, str host, uint16_t port, bool ipv6,
                            bool private_ok, struct arena *arena, struct mx_addresses *out) WAITS;

#endif
