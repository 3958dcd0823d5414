/* SPDX-License-Identifier: Apache-2.0
 *
 * tls_keys: private keys of certificates, for the process that signs handshakes and does nothing
 * else with them. Its other end is `struct tls_signer` of net/tls.h. Opens no file, never waits.
 */
#ifndef NET_TLS_KEYS_H
#define NET_TLS_KEYS_H

#include "net/tls.h"

struct tls_keys;

/* Each certificate comes with its key: RSA, ECDSA or Ed25519. ERR_INVALID: one is no such pair;
 * *bad (may be NULL) says which. Nothing of the texts is kept. */
enum err tls_keys_open(const struct tls_certificate *certs, size_t ncerts, size_t *bad,
                       struct tls_keys **out) MUST;
void tls_keys_close(struct tls_keys *k); /* wipes them; NULL is fine */
/* From any thread. ERR_NOT_FOUND: no such key; ERR_INVALID: the scheme is not one of this key;
 * ERR_UNKNOWN: the library failed. */
enum err tls_keys_sign(const struct tls_keys *k, const uint8_t key[TLS_KEY_ID_BYTES],
                       uint16_t scheme, str content, struct buf *signature) MUST;
/* Whether a signature with this key takes so long (RSA) that a loop should not wait for it. */
bool tls_keys_slow(const struct tls_keys *k, const uint8_t key[TLS_KEY_ID_BYTES]);

#endif
