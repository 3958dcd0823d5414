/* SPDX-License-Identifier: Apache-2.0
 *
 * mail_crypto: the cryptography of DKIM and ARC: SHA-256 as a sink, and signatures over digests
 * with RSA (RFC 8301) and Ed25519 (RFC 8463). Nothing waits.
 */
#ifndef CORE_MAIL_CRYPTO_H
#define CORE_MAIL_CRYPTO_H

#include "base/buf.h"
#include "base/err.h"

#define MAIL_DIGEST_BYTES 32
#define MAIL_RSA_BITS_MIN 1024  /* to verify (RFC 8301 3.2) */
#define MAIL_RSA_BITS_SIGN 2048 /* to sign */
#define MAIL_RSA_BITS_MAX 8192  /* larger ones only burn time */

/* A running hash; small pieces are gathered. Zero-initialise with mail_hash_begin. */
#define MAIL_HASH_GATHER 2048
struct mail_hash {
    void *state;
    size_t gathered;
    uint8_t bytes[MAIL_HASH_GATHER];
};
enum err mail_hash_begin(struct mail_hash *h) MUST; /* ERR_NOMEM */
void mail_hash_add(void *hash, str bytes);          /* a dkim_sink_fn */
/* Also frees. */
void mail_hash_end(struct mail_hash *h, uint8_t digest[MAIL_DIGEST_BYTES]);
void mail_hash_free(struct mail_hash *h); /* when it is not ended; twice is fine */

/* key: as in the key record: DER for RSA, 32 bytes for Ed25519. ERR_AUTH: the signature is wrong;
 * ERR_INVALID: the key is none or too large; ERR_DENIED: an RSA key that is too short. */
enum err mail_signature_verify(bool ed25519, str key, const uint8_t digest[MAIL_DIGEST_BYTES],
                               str signature) MUST;

/* A private key from PEM; NULL when it is none of this kind or too short. */
struct mail_key;
struct mail_key *mail_key_read(bool ed25519, str pem);
void mail_key_free(struct mail_key *k);
enum err mail_key_sign(const struct mail_key *k, const uint8_t digest[MAIL_DIGEST_BYTES],
                       struct buf *signature) MUST;
/* The public half as key records have it. */
enum err mail_key_public(const struct mail_key *k, struct buf *out) MUST;
enum err mail_key_make(bool ed25519, struct buf *pem) MUST;

#endif
