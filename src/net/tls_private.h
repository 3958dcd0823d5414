/* SPDX-License-Identifier: Apache-2.0
 *
 * tls_private: between tls.c (contexts) and stream_tls.c (connections).
 */
#ifndef NET_TLS_PRIVATE_H
#define NET_TLS_PRIVATE_H

#include <openssl/types.h>
#include <openssl/x509v3.h>

#include "net/tls.h"

/* The certificates at one time; a handshake holds a reference as the SSL's app data, so that a
 * reload can replace the set meanwhile. */
struct tls_set;
struct tls_set *tls_server_set_get(struct tls_server *t);
void tls_set_put(struct tls_set *set);
SSL_CTX *tls_set_default(struct tls_set *set);

SSL_CTX *tls_client_context(struct tls_client *t);
/* Name, verification and a session to resume. ERR_INVALID, ERR_NOMEM. */
enum err tls_client_prepare(struct tls_client *t, SSL *ssl, str host_name) MUST;

/* The same with TLSA records. ERR_UNSUPPORTED: no record is usable. */
enum err tls_client_prepare_dane(SSL *ssl, const struct tls_expect *expect) MUST;

/* tls-server-end-point (RFC 5929 4.1). ERR_UNSUPPORTED. */
enum err tls_end_point(SSL *ssl, struct buf *out) MUST;

void stream_tls_init(void);

/* tls_keys.c: a certificate with its key, here or at the signer. */
struct tls_pair {
    X509 *leaf;
    STACK_OF(X509) * chain;
    EVP_PKEY *key;
    GENERAL_NAMES *names;
};
/* False: no certificate, no key, or they do not belong together. Also then to be freed. */
bool tls_pair_parse(const struct tls_certificate *in, const struct tls_signer *signer,
                    struct tls_pair *out);
void tls_pair_free(struct tls_pair *p);
bool tls_key_id(X509 *leaf, uint8_t out[TLS_KEY_ID_BYTES]);
/* The code of RFC 8446 4.2.3; digest: the library's name, empty: the key has its own. 0: there is
 * none. */
uint16_t tls_scheme_find(int key, const char *digest, bool pss);

/* tls_remote.c: the leaf's key, whose private half is the signer. NULL: of no kind that we know. */
void tls_remote_init(void);
EVP_PKEY *tls_remote_key(X509 *leaf, const struct tls_signer *signer);

/* tls_tickets.c */
struct tls_tickets;
#define TLS_TICKETS_SEED 32
#define TLS_TICKETS_LIFE_MS (8 * 3600 * 1000ull) /* of a key */
struct tls_tickets *tls_tickets_new(const unsigned char seed[TLS_TICKETS_SEED], uint64_t now_ms);
void tls_tickets_free(struct tls_tickets *k);
/* Makes the keys that are due; those of the past are gone. */
void tls_tickets_turn(struct tls_tickets *k, uint64_t now_ms);
/* Encrypts or opens one ticket; the result is OpenSSL's (ticket key callback). */
int tls_tickets_use(struct tls_tickets *k, unsigned char *key_name, unsigned char *iv,
                    EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypt);
void tls_tickets_attach(SSL_CTX *ctx);
struct tls_tickets *tls_set_tickets(const struct tls_set *set);

#endif
