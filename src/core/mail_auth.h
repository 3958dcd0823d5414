/* SPDX-License-Identifier: Apache-2.0
 *
 * mail_auth: who is responsible for a message from outside: SPF (RFC 7208), DKIM (RFC 6376, 8463),
 * DMARC (RFC 9989), ARC (RFC 8617). Verified in the gate while the message arrives: the caller
 * feeds the content as it comes, DNS questions run beside, and at the end there is one verdict and
 * one Authentication-Results field (RFC 8601). Nothing here decides about mail of signed-in
 * senders.
 */
#ifndef CORE_MAIL_AUTH_H
#define CORE_MAIL_AUTH_H

#include "core/dns.h"
#include "format/addr.h"
#include "os/sock.h"

struct mail_auth;

struct mail_auth_facts {
    struct address source;
    str helo;
    struct addr sender;         /* both empty: null sender */
    str hostname;               /* ours: authserv-id */
    const str *trusted_sealers; /* domains whose ARC seals are believed */
    size_t ntrusted_sealers;
};

enum mail_disposition { MAIL_ACCEPT, MAIL_QUARANTINE, MAIL_REJECT };
struct mail_auth_verdict {
    enum mail_disposition disposition; /* what the author's domain asks for */
    enum err
        reject_as; /* with MAIL_REJECT: what SMTP answers; ERR_UNAVAILABLE on temporary trouble */
    str author_domain; /* of From; empty: none or several */
    bool dmarc_pass;
    str field;           /* "Authentication-Results: …" CRLF, folded */
    bool removes_forged; /* the content holds Authentication-Results of our own name: take them out
                          */
};

/* Starts; SPF is asked at once, on a fiber of its own. */
enum err mail_auth_begin(const struct dns *dns, const struct mail_auth_facts *facts,
                         struct arena *arena, struct mail_auth **out) MUST;
/* The content as it arrives, dots and BDAT frames taken off; any split. Never waits. */
void mail_auth_content(struct mail_auth *m, str piece);
/* Waits for DNS at most deadline_ms, then decides. The verdict lives in the arena. */
enum err mail_auth_end(struct mail_auth *m, uint64_t deadline_ms,
                       struct mail_auth_verdict *out) WAITS MUST;
void mail_auth_free(struct mail_auth *m); /* NULL is fine; at any moment */

/* ---- signing (house and relay side) ---- */
struct dkim_signer {
    str domain, selector;
    bool ed25519; /* else RSA, 2048 bits or more */
    str key_pem;
};
/* The DKIM-Signature field (CRLF at its end) for a complete message; several signers, several
 * fields. Runs hashing inline: offload large messages. */
enum err dkim_sign(const struct dkim_signer *signers, size_t n, str message, int64_t now_s,
                   struct buf *out) MUST;
/* ARC-Authentication-Results, ARC-Message-Signature, ARC-Seal of the next instance. */
enum err arc_seal(const struct dkim_signer *signer, str authserv_id, str results, str message,
                  int64_t now_s, struct buf *out) MUST;
enum err dkim_make_key(bool ed25519, struct buf *private_pem, struct buf *dns_record) MUST;

#endif
