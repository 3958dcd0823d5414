/* SPDX-License-Identifier: Apache-2.0
 *
 * acme: certificates from an authority that speaks ACME (RFC 8555), over the relay's fetch. Proof
 * of control by HTTP-01 (the proof is a row, served by core/policy_web.h), TLS-ALPN-01 (RFC 8737:
 * the proof is a row, of which acme_alpn_certificate makes what a gate serves) or DNS-01 (the
 * caller writes the record). The private key of the certificate is not here: the caller brings a
 * request that is signed with it.
 */
#ifndef CORE_ACME_H
#define CORE_ACME_H

#include "core/relay.h"
#include "store/store.h"

enum acme_proof { ACME_HTTP_01, ACME_DNS_01, ACME_TLS_ALPN_01 };
#define ACME_PROOFS 3
extern const str acme_proof_names[ACME_PROOFS]; /* as the authority and acme.proof spell them */

struct acme {
    const struct relay *relay;
    struct store *store;
    str directory_url;
    str contact; /* mail address; empty: none */
    enum acme_proof proof;
    uint64_t poll_ms_first; /* pause between questions, doubled up to 16 times it; 0: 1000 */
    /* DNS-01: the TXT record _acme-challenge.NAME comes (and is visible to the world when this
     * returns) or, with an empty value, goes. */
    void *ctx;
    enum err (*dns_proof)(void *ctx, str name, str value) WAITS;
};
#define ACME_CHAIN_MAX 262144

/* One order from start to end: account (made when there is none), proofs, request, chain. On an
 * error *error says in a sentence what the authority said, or what failed. Takes up to minutes.
 * ERR_DENIED: the authority refuses; others are temporary. */
enum err acme_obtain(const struct acme *a, const str *names, size_t n, str request_der,
                     struct buf *chain_pem, struct buf *error) WAITS MUST;

/* The pause after so many failures in a row, before jitter. */
uint64_t acme_retry_s(uint32_t failures);

#endif
