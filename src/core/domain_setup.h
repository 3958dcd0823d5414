/* SPDX-License-Identifier: Apache-2.0
 *
 * domain_setup: which records a domain of ours should have, whether the world sees them, and what
 * to change. Pure: facts and DNS answers in, records and sentences out. MX (RFC 5321 5), SPF (RFC
 * 7208), DKIM (RFC 6376 3.6.2), DMARC (RFC 9989), MTA-STS (RFC 8461), TLS-RPT (RFC 8460), TLSA (RFC
 * 7672 3.1: DANE-EE with the key's SHA-256), SRV for clients (RFC 6186, 8314 5.1).
 */
#ifndef CORE_DOMAIN_SETUP_H
#define CORE_DOMAIN_SETUP_H

#include "core/dns.h"
#include "format/dns_update.h"
#include "os/sock.h"

#define SETUP_RECORDS_MAX 128
#define SETUP_TTL_S 3600

struct setup_dkim {
    str selector, record; /* "2026a", "v=DKIM1; …" */
};
struct setup_tlsa {
    uint8_t sha256[32]; /* of the SubjectPublicKeyInfo */
};
struct setup_ports { /* 0: not offered */
    uint16_t submissions, submission, imaps, imap, pop3s, pop3, https;
};
struct setup_facts {
    str domain, hostname;            /* lower-case A-labels */
    const struct address *addresses; /* of hostname, as far as they are known */
    size_t naddresses;
    const struct setup_dkim *dkim;
    size_t ndkim;
    const struct setup_tlsa *tlsa; /* keys of certificates that cover hostname; the next one too */
    size_t ntlsa;
    str mta_sts_id; /* empty: no policy is served */
    str reports_to; /* address for DMARC and TLS reports */
    struct setup_ports ports;
};

enum setup_rule {
    SETUP_ADDRESS,
    SETUP_MX,
    SETUP_SPF,
    SETUP_DKIM,
    SETUP_DMARC,
    SETUP_MTA_STS,
    SETUP_TLSRPT,
    SETUP_ALIAS, /* CNAME to, or the same address as, hostname */
    SETUP_TLSA,
    SETUP_SRV,
};
struct setup_record {
    enum setup_rule rule;
    enum dns_type type;
    str name;
    bool optional; /* mail flows without it */
    uint16_t preference, weight, port;
    str target; /* CNAME, MX, SRV */
    str data;   /* TXT: text; A, AAAA: address; TLSA: association data (3 1 1) */
};
/* Records of one name and type stand together. ERR_NOMEM, ERR_LIMIT. */
enum err setup_records(const struct setup_facts *f, struct arena *a, struct setup_record *out,
                       size_t max, size_t *n) MUST;
/* One line of a zone file, with its line end. */
void setup_render(const struct setup_record *r, struct buf *out);
const char *setup_type_name(enum dns_type t);
/* What is asked to judge a record: A for SETUP_ALIAS, else its own type. */
enum dns_type setup_question(const struct setup_record *r);

enum setup_state { SETUP_RIGHT, SETUP_WRONG, SETUP_MISSING, SETUP_UNKNOWN };
struct setup_verdict {
    enum setup_state state;
    str found;  /* what the world sees instead; may be empty */
    str advice; /* a sentence; empty when right and nothing is to be said */
};
const char *setup_state_name(enum setup_state s);
/* host: the addresses of hostname as the world sees them (A), for SETUP_ALIAS and SPF; may be NULL.
 */
enum err setup_judge(const struct setup_facts *f, const struct setup_record *r,
                     const struct dns_answer *answer, const struct dns_answer *host,
                     struct arena *a, struct setup_verdict *out) MUST;

/* Addresses of the name itself stand where an alias is to be. They are removed by an update of
 * their own, before: in one update, Knot takes what is left of a signed name for other records, and
 * says yes without adding the alias (RFC 2136 3.4.2.2). */
bool setup_in_the_way(const struct setup_record *r, const struct dns_answer *answer);
enum err setup_update_clear(struct dns_update *u, const struct setup_record *r) MUST;
/* Adds to an update what makes the group of records of one name and type right. answer: what is
 * there now (of that type); other texts at the name stay. ERR_UNAVAILABLE: what is there must be
 * known first and is not. */
enum err setup_update_group(struct dns_update *u, const struct setup_record *records, size_t n,
                            const struct dns_answer *answer) MUST;
/* Is name the zone or below it? */
bool setup_in_zone(str name, str zone);

#endif
