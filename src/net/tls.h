/* SPDX-License-Identifier: Apache-2.0
 *
 * tls: contexts for stream_start_tls_*. TLS 1.2 and 1.3 only. Certificates are found by SNI, with
 * ECDSA preferred when both kinds are there; they can be replaced while sessions go on.
 * Opens no file: certificates are given as PEM text, with their keys or with a signer that has
 * them.
 */
#ifndef NET_TLS_H
#define NET_TLS_H

#include "base/buf.h"
#include "base/err.h"

struct tls_server;
struct tls_client;

void tls_init(void); /* once per process, before the sandbox: loads everything OpenSSL may want */
/* Session tickets are good at every server of every process that was forked after tls_init. Called
 * before a fork, so that the child has no keys that are long out of use. */
void tls_turn(void);

struct tls_certificate {
    str chain_pem;
    str key_pem; /* empty: its private key is elsewhere, and the server's signer is asked */
};
/* Makes the signatures of handshakes where the private keys are. */
#define TLS_KEY_ID_BYTES 32
#define TLS_SIGNATURE_MAX 1024 /* bytes: RSA with 8192 bits */
struct tls_signer {
    void *ctx;
    /* key: SHA-256 of the public key as the certificate has it; scheme: RFC 8446 4.2.3; content:
     * what is signed, before any hash. On the fiber of the handshake, which may wait. */
    enum err (*sign)(void *ctx, const uint8_t key[TLS_KEY_ID_BYTES], uint16_t scheme, str content,
                     struct buf *signature) WAITS;
};
/* The first certificate is the default for clients without (or with unknown) SNI. Names come from
 * the certificates' subjectAltNames, wildcards included. ERR_INVALID with a log line that says
 * which. signer may be NULL when every certificate has its key; it outlives the server. */
enum err tls_server_open(const struct tls_certificate *certs, size_t ncerts,
                         const struct tls_signer *signer, struct tls_server **out) MUST;
/* Atomically replaces the certificates for new handshakes. On error the old ones stay. */
enum err tls_server_reload(struct tls_server *t, const struct tls_certificate *certs,
                           size_t ncerts) MUST;
/* ALPN protocols offered, in order of preference ("imap", "pop3", "h2", …). */
void tls_server_set_alpn(struct tls_server *t, const str *names, size_t n);
/* Asks clients for a certificate and verifies it against these CAs (SASL EXTERNAL), from the next
 * handshake on and after reloads; empty: asks for none. On the thread of the handshakes, or before
 * there are any. ERR_INVALID: no certificate in it, and all stays as it was. */
enum err tls_server_set_client_ca(struct tls_server *t, str ca_pem) MUST;
void tls_server_close(struct tls_server *t); /* when no handshake uses it */

enum tls_verify { TLS_VERIFY_NONE, TLS_VERIFY_NAME };
/* ca_pem empty: the system's roots (read before the sandbox). */
enum err tls_client_open(enum tls_verify verify, str ca_pem, struct tls_client **out) MUST;
void tls_client_close(struct tls_client *t);

/* DANE (RFC 6698, 7671, 7672). */
struct tls_dane_record {
    uint8_t usage, selector, matching;
    str data;
};
/* What the other end must prove in stream_start_tls_expect. */
struct tls_expect {
    str name;                           /* SNI; and the name to verify by the client's own kind */
    const struct tls_dane_record *dane; /* none: the client's kind decides (enum tls_verify) */
    size_t ndane;                       /* a record with usage 2 also checks the names */
    const str *names;                   /* besides `name`, for usage 2 */
    size_t nnames;
};

/* A CA and certificates of our own, for `posthouse dev` and tests. ECDSA P-256 (or RSA 2048). */
enum err tls_make_ca(str common_name, struct buf *cert_pem, struct buf *key_pem) MUST;
enum err tls_make_certificate(str ca_cert_pem, str ca_key_pem, const str *dns_names, size_t n,
                              bool rsa, struct buf *cert_pem, struct buf *key_pem) MUST;
/* Not-after of the first certificate, seconds since 1970. */
enum err tls_certificate_expiry(str cert_pem, int64_t *out) MUST;

#endif
