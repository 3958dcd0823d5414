/* SPDX-License-Identifier: Apache-2.0
 *
 * mail_auth: who is responsible for a message from outside: SPF (RFC 7208), DKIM (RFC 6376, 8463),
 * DMARC (RFC 9989), ARC (RFC 8617). Verified in the gate while the message arrives: the caller
 * feeds the content as it comes, DNS questions run beside, and at the end there is one verdict and
 * one Authentication-Results field (RFC 8601). Nothing here decides about mail of signed-in
 * senders. Forged fields of our own name are taken out by core/authres_filter.h; what is fed here
 * are the bytes as they came.
 */
#ifndef CORE_MAIL_AUTH_H
#define CORE_MAIL_AUTH_H

#include "core/dns.h"
#include "format/addr.h"
#include "format/dmarc_report.h"
#include "format/dmarc_syntax.h"
#include "os/sock.h"

struct mail_auth;

#define MAIL_AUTH_ARENA_MAX 8388608  /* bytes of one message's header, records and answers */
#define MAIL_AUTH_HEADER_MAX 1048576 /* bytes of header; beyond: signatures do not verify */

struct mail_auth_facts {
    struct address source;
    str helo;
    struct addr sender;         /* both empty: null sender */
    str hostname;               /* ours: authserv-id */
    const str *trusted_sealers; /* domains whose ARC seals are believed; lower case */
    size_t ntrusted_sealers;
};

enum mail_disposition { MAIL_ACCEPT, MAIL_QUARANTINE, MAIL_REJECT };
struct mail_auth_verdict {
    enum mail_disposition disposition; /* what the author's domain asks for */
    enum err reject_as; /* with MAIL_REJECT: ERR_UNAUTHENTICATED; ERR_UNAVAILABLE when temporary DNS
                           trouble may be why nothing passed: the client is asked to come again */
    str author_domain;  /* of From; empty: none or several */
    bool dmarc_pass;
    bool spf_fail;      /* a plain fail, whatever DMARC says */
    bool temporary;     /* some question had no answer */
    bool chain_trusted; /* DMARC failed, but a trusted sealer says that it passed there */
    str field;          /* "Authentication-Results: …" CRLF, folded */
    /* For the domain's aggregate report, when it asks for one (RFC 9990); else NULL. What was done
     * with the message is not in it yet. */
    struct dmarc_report_row *seen;
    struct dmarc_report_policy published;
    str policy_domain;             /* where the record is */
    enum dmarc_policy policy;      /* that applies; t=y counted */
    enum dmarc_policy policy_told; /* … and not counted */
};

/* Starts; SPF is asked at once, on a fiber of its own (off a fiber: at the end). The facts and the
 * dns table are borrowed until mail_auth_free. ERR_NOMEM. */
enum err mail_auth_begin(const struct dns *dns, const struct mail_auth_facts *facts,
                         struct mail_auth **out) MUST;
/* The content as it arrives, dots and BDAT frames taken off; any split. Never waits. */
void mail_auth_content(struct mail_auth *m, str piece);
/* Waits for DNS at most until deadline_ms (a point on the monotonic clock), then decides with what
 * is known. The verdict lives in the arena. Once. ERR_NOMEM. */
enum err mail_auth_end(struct mail_auth *m, uint64_t deadline_ms, struct arena *arena,
                       struct mail_auth_verdict *out) WAITS MUST;
/* NULL is fine; at any moment: questions under way are cancelled, and their end is awaited. */
void mail_auth_free(struct mail_auth *m) WAITS;

#endif
