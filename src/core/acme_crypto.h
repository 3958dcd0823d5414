/* SPDX-License-Identifier: Apache-2.0
 *
 * acme_crypto: keys, signed requests (RFC 8555 6.2, RFC 7515, RFC 7638), certificate requests, and
 * what a certificate says. EC P-256 only. Nothing waits; nothing is read from a file.
 */
#ifndef CORE_ACME_CRYPTO_H
#define CORE_ACME_CRYPTO_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

#define CERTIFICATE_NAMES_MAX 100 /* of one certificate (RFC 8555 sets none; authorities do) */

enum err acme_make_key(struct buf *pem) MUST; /* P-256, PKCS #8 */
/* SHA-256 of the public key as a certificate holds it. ERR_INVALID. */
enum err acme_key_spki(str key_pem, uint8_t out[32]) MUST;

/* base64url(SHA-256(JWK)), RFC 7638. ERR_INVALID: no P-256 key. */
enum err acme_thumbprint(str key_pem, struct buf *out) MUST;
struct acme_request {
    str key_pem;
    str kid; /* empty: the public key itself stands in the request (newAccount) */
    str nonce, url;
    str payload; /* JSON; empty: POST-as-GET */
};
/* The flattened JSON serialisation. ERR_INVALID: the key. */
enum err acme_sign(const struct acme_request *r, struct buf *body) MUST;
/* base64url(SHA-256(key authorization)), RFC 8555 8.4. */
void acme_dns_value(str key_authorization, struct buf *out);

/* Only letters, digits, '-' and '.', no empty label; what may stand in a certificate request. */
bool certificate_name_valid(str name);
/* PKCS #10 in DER for DNS names; the first is the main one. ERR_INVALID. */
enum err certificate_request(str key_pem, const str *names, size_t n, struct buf *der) MUST;

/* What proves by TLS-ALPN-01 that `name` is ours (RFC 8737 3): signed by itself, with the name and
 * the hash of the authorization; its key is made for it and worth nothing. ERR_INVALID: no name;
 * ERR_NOMEM. */
enum err acme_alpn_certificate(str name, str key_authorization, struct buf *cert_pem,
                               struct buf *key_pem) MUST;

struct certificate_facts {
    int64_t not_before_s, not_after_s;
    str names[CERTIFICATE_NAMES_MAX]; /* DNS names, lower case; in the arena */
    size_t nnames;
    str issuer;
    bool self_signed;
    uint8_t spki[32];
};
/* Of the first certificate in the text. ERR_INVALID, ERR_NOMEM. */
enum err certificate_read(str pem, struct arena *a, struct certificate_facts *out) MUST;
bool certificate_covers(const struct certificate_facts *c, str name); /* wildcards too */
/* The first certificate of the text, alone, as PEM: never the key that may stand beside it. */
enum err certificate_leaf(str pem, struct buf *out) MUST;
/* The same with every certificate of the text, in its order. ERR_INVALID: there is none. */
enum err certificate_chain(str pem, struct buf *out) MUST;
/* When to renew: a third of the lifetime is left, earlier by up to a twentieth of it; spread is
 * 0 … 1000. */
int64_t certificate_renew_at(const struct certificate_facts *c, uint32_t spread);

/* HMAC-SHA-256, for transaction signatures of DNS. */
void hmac_sha256(str key, str bytes, uint8_t out[32]);

#endif
