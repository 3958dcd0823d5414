/* SPDX-License-Identifier: Apache-2.0
 *
 * dane: what a mail host's TLSA records demand (RFC 7672). They count only when the MX records, the
 * addresses and the TLSA records themselves were validated.
 */
#ifndef PROTO_RELAY_DANE_H
#define PROTO_RELAY_DANE_H

#include "core/dns.h"
#include "net/tls.h"

#define DANE_RECORDS_MAX 32

enum dane_status {
    DANE_ABSENT,  /* nothing is published, or it was not validated */
    DANE_ENCRYPT, /* published, but none is usable: TLS without authentication (RFC 7672 2.1) */
    DANE_VERIFY,  /* the certificate must match a record */
    DANE_FAILED,  /* lookup failed or forged: this host is not to be used now (RFC 7672 2.1) */
};
struct dane {
    enum dane_status status;
    str base;                        /* TLSA base domain: SNI and first reference name */
    struct tls_dane_record *records; /* the usable ones */
    size_t count;
};
/* host: of the MX record; canonical: where its addresses were found, by a validated chain. */
struct dane dane_find(const struct dns *dns, str host, str canonical, uint16_t port,
                      struct arena *arena) WAITS;

#endif
