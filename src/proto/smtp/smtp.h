/* SPDX-License-Identifier: Apache-2.0
 *
 * smtp: reception. The whole of an SMTP (RFC 5321), submission (RFC 6409, 8314) or LMTP (RFC 2033)
 * session is one function that runs in the gate and asks the house (core/house.h).
 */
#ifndef PROTO_SMTP_SMTP_H
#define PROTO_SMTP_SMTP_H

#include "core/house.h"
#include "core/mail_auth.h"
#include "net/limit.h"
#include "net/tls.h"

enum smtp_kind { SMTP_MX, SMTP_SUBMISSION, SMTP_LMTP };

/* "192.0.2.0/24" as a value. */
struct smtp_network {
    struct address address;
    unsigned bits;
};

/* What is done about mail from outside (core/mail_auth.h). */
struct smtp_domain_policy {
    str domain;                 /* of recipients */
    enum mail_disposition most; /* MAIL_ACCEPT: only the field is added */
};
struct smtp_policy {
    bool verify;
    uint64_t deadline_ms; /* for the DNS, from the end of the message */
    enum mail_disposition on_reject, on_quarantine, on_spf_fail;
    bool defer_temporary; /* 451 when the DNS does not answer; else it is only noted */
    const struct smtp_domain_policy *domains;
    size_t ndomains;
    const str *trusted_sealers;
    size_t ntrusted_sealers;
    const str *blocklists;
    size_t nblocklists;
    uint64_t blocklist_deadline_ms;
    bool blocklist_tags; /* listed sources go to Junk; else they are refused */
    bool observe;        /* what is judged is counted for DMARC reports */
    str report_mailbox;  /* local part of the address that reports about us come to; empty: none */
};

struct smtp_config {
    str hostname;
    uint64_t size_max;                 /* bytes of a message; SIZE */
    uint32_t recipients_max;           /* per transaction; LIMITS RCPTMAX */
    uint32_t transactions_max;         /* per session; LIMITS MAILMAX */
    uint32_t errors_max;               /* bad commands before the connection is closed */
    uint64_t command_timeout_ms;       /* RFC 5321 4.5.3.2 */
    uint64_t data_timeout_ms;          /* between two pieces of DATA */
    uint64_t message_timeout_ms;       /* for the whole of one message */
    bool allow_bare_lf;                /* accept bare LF from loopback (rule wire-1) */
    bool auth_plain_loopback;          /* credentials without TLS on loopback (rule wire-3) */
    bool auth_on_mx;                   /* offer AUTH on port 25 */
    const struct smtp_network *relays; /* may send to foreign domains without signing in */
    size_t nrelays;
    const struct smtp_network *proxies; /* PROXY protocol is expected from these */
    size_t nproxies;
    const struct smtp_network *xclients; /* may use XCLIENT */
    size_t nxclients;
    struct smtp_policy policy;
};

struct smtp_listener {
    enum smtp_kind kind;
    bool implicit_tls;
    const struct smtp_config *config; /* replaced on reload: read once per session */
    const struct house *house;
    const struct dns *dns;  /* NULL: nothing is verified and no block list asked */
    struct tls_server *tls; /* NULL: no TLS is offered */
    const char *role_id;    /* distinguishes transaction ids of several gates; borrowed */
};

/* Serves one connection to its end and closes the stream. */
void smtp_serve(struct stream *s, const struct smtp_listener *l) WAITS;

#endif
