/* SPDX-License-Identifier: Apache-2.0
 *
 * smtp: reception. The whole of an SMTP (RFC 5321), submission (RFC 6409, 8314) or LMTP (RFC 2033)
 * session is one function that runs in the gate and asks the house (core/house.h).
 */
#ifndef PROTO_SMTP_SMTP_H
#define PROTO_SMTP_SMTP_H

#include "core/dnsbl.h"
#include "core/house.h"
#include "core/mail_auth.h"
#include "core/relay.h"
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
/* Strangers are asked to come again (core/greylist.h). */
struct smtp_greylist {
    bool enabled, spf_pass; /* spf_pass: whom the sender's domain lets send need not wait */
    const struct smtp_network *exempt;
    size_t nexempt;
    const str *recipients; /* domains and addresses for which nobody waits */
    size_t nrecipients;
};
/* What becomes of a message that a scanner has seen (core/scan.h). */
enum scan_doing {
    SCAN_DO_ACCEPT,
    SCAN_DO_TAG,        /* X-Spam fields */
    SCAN_DO_REWRITE,    /* and its own subject */
    SCAN_DO_QUARANTINE, /* and Junk */
    SCAN_DO_DEFER,
    SCAN_DO_REJECT,
};
struct smtp_scanner {
    bool enabled, submissions;
    uint64_t deadline_ms, size_max;
    enum scan_doing on_reject, on_soft_reject, on_greylist, on_add_header, on_rewrite_subject;
    enum scan_doing on_failure;
};
struct smtp_policy {
    struct smtp_scanner scanner;
    struct smtp_greylist greylist;
    bool verify;
    uint64_t deadline_ms; /* for the DNS, from the end of the message */
    enum mail_disposition on_reject, on_quarantine, on_spf_fail;
    bool defer_temporary; /* 451 when the DNS does not answer; else it is only noted */
    const struct smtp_domain_policy *domains;
    size_t ndomains;
    const str *trusted_sealers;
    size_t ntrusted_sealers;
    const struct dnsbl_site *blocklists; /* and allow lists */
    size_t nblocklists;
    uint32_t blocklist_threshold; /* the sum of weights from which a source is listed */
    const struct smtp_network *blocklist_exempt;
    size_t nblocklist_exempt;
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
    const struct dns *dns;     /* NULL: nothing is verified and no block list asked */
    const struct relay *relay; /* of which only `scan` is used; NULL: nothing is scanned */
    struct tls_server *tls;    /* NULL: no TLS is offered */
    const char *role_id;       /* distinguishes transaction ids of several gates; borrowed */
};

/* Serves one connection to its end and closes the stream. */
void smtp_serve(struct stream *s, const struct smtp_listener *l) WAITS;

#endif
