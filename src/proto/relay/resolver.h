/* SPDX-License-Identifier: Apache-2.0
 *
 * resolver: a validating resolver (libunbound) with a cache, for the relay role. It asks the root
 * servers itself, so that a fresh machine needs no set-up, and validates DNSSEC from the root keys
 * that are built in (IANA's KSK-2017 and KSK-2024). It opens no file: neither resolv.conf nor hosts
 * nor hints are read. The work is done by one thread of libunbound's own; fibers wait for answers.
 *
 * When a question has no answer for a twentieth of timeout_ms, or fails, the resolver asks for a
 * name of its own. If that has no answer either, nobody is there: until a name server answers
 * again, all questions but those below zones of one's own get DNS_FAILED at once, unless the cache
 * knows. What one domain's servers do, or whoever sends us its name, cannot bring this about.
 */
#ifndef PROTO_RELAY_RESOLVER_H
#define PROTO_RELAY_RESOLVER_H

#include "core/dns.h"
#include "os/fiber.h"

#define RESOLVER_QUERIES_MAX 2000 /* asked at the same time; beyond it ERR_BUSY */

struct resolver;
struct resolver_options {
    const str *forward; /* "192.0.2.1" or "192.0.2.1@5353": asked instead of the root servers */
    size_t nforward;
    const str *zones; /* "ZONE ADDRESS[@PORT]": who is asked about a zone; "." replaces the root */
    size_t nzones;
    const str *anchors; /* "ZONE DS …" or "ZONE DNSKEY …"; one for ".", or a zone ".", replaces the
                           built-in keys; a zone without an anchor is not validated */
    size_t nanchors;
    bool dnssec;          /* false: nothing is validated, nothing is secure */
    bool ipv6;            /* ask over IPv6 too */
    uint64_t timeout_ms;  /* for one question */
    uint64_t cache_bytes; /* 0: 8 MiB */
};

/* After the sandbox (it starts a thread), on a loop but off a fiber (it needs a real stack); its
 * fiber lives in the group. The texts are used during the call only. ERR_INVALID with a log line:
 * an option does not parse. */
enum err resolver_open(const struct resolver_options *o, struct fiber_group *group,
                       struct resolver **out) MUST;
void resolver_dns(struct resolver *r, struct dns *out);
/* When no query waits. Ends the thread. */
void resolver_close(struct resolver *r);

/* The name that a DNS message holds at bytes (RFC 1035 3.1, no compression), in lower case; empty:
 * the root. ERR_SYNTAX for what is no name or holds bytes that no host or mail name has. */
enum err resolver_name_parse(str bytes, struct arena *arena, size_t *used, str *out) MUST;
/* One record's data. ERR_SYNTAX, ERR_LIMIT (arena). */
enum err resolver_record_parse(enum dns_type type, str bytes, struct arena *arena,
                               struct dns_record *out) MUST;

#endif
