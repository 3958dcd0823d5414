/* SPDX-License-Identifier: Apache-2.0
 *
 * dns: questions to the validating resolver, which lives in the relay role. One table of one
 * function: in the relay it is the resolver itself, in a gate or the house a call to the relay, in
 * a test a list of records. Answers are values; names are in lower case without a final dot.
 */
#ifndef CORE_DNS_H
#define CORE_DNS_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

enum dns_type {
    DNS_A = 1,
    DNS_CNAME = 5,
    DNS_PTR = 12,
    DNS_MX = 15,
    DNS_TXT = 16,
    DNS_AAAA = 28,
    DNS_SRV = 33,
    DNS_TLSA = 52,
};
enum dns_status {
    DNS_FOUND,    /* at least one record */
    DNS_NODATA,   /* the name exists, the type does not */
    DNS_NXDOMAIN, /* the name does not exist */
    DNS_FAILED,   /* no answer, SERVFAIL, time-out: try again later */
    DNS_BOGUS,    /* DNSSEC validation failed: never use it, treat as try again later */
};
#define DNS_RECORDS_MAX 256
#define DNS_NAME_MAX 255

struct dns_record {
    uint16_t preference;               /* MX preference; SRV priority */
    uint16_t weight, port;             /* SRV */
    uint8_t usage, selector, matching; /* TLSA */
    str name;  /* CNAME, PTR, MX, SRV target; empty for the root (null MX) */
    str bytes; /* A: 4; AAAA: 16; TXT: strings joined; TLSA: association data */
};
struct dns_answer {
    enum dns_status status;
    bool secure; /* validated by DNSSEC, negative answers too */
    uint32_t ttl_s;
    str canonical; /* the end of the CNAME chain */
    const struct dns_record *records;
    size_t count;
};
struct dns {
    void *ctx;
    /* ERR_OK also when the status is not DNS_FOUND; other errors (ERR_UNAVAILABLE, ERR_TIMEOUT,
     * ERR_LIMIT, ERR_SYNTAX for a name that is none) mean that the question was not asked.
     * Everything in *out lives in the arena. */
    enum err (*query)(void *ctx, str name, enum dns_type type, struct arena *arena,
                      struct dns_answer *out) WAITS;
};
/* "4.3.2.1.in-addr.arpa" and the like; ip is 4 or 16 bytes. */
void dns_reverse_name(const uint8_t *ip, size_t len, struct buf *out);

#endif
