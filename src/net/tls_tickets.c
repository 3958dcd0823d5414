/* SPDX-License-Identifier: Apache-2.0
 *
 * Stateless session tickets (RFC 5077, RFC 8446 4.6.1): the server keeps nothing per session. The
 * keys live in memory only and are replaced every few hours; older ones still open tickets for a
 * while. Each follows from a chain value that is overwritten by the next, so processes that were
 * forked with the same value have the same keys at all times (a client comes back to any gate), and
 * none can find one of the past again.
 *
 * tidy: allow alloc because connections and contexts live and die one by one
 * tidy: allow system because keys are shared by threads
 */
#include <assert.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/params.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "net/tls_private.h"
#include "os/clock.h"
#include "os/rand.h"

#define KEYS 3
#define CHAIN TLS_TICKETS_SEED
#define KEY_LIFE_MS TLS_TICKETS_LIFE_MS

struct ticket_key {
    unsigned char name[16], aes[32], mac[32];
};
struct tls_tickets {
    pthread_mutex_t lock;
    struct ticket_key keys[KEYS]; /* newest first */
    unsigned char chain[CHAIN];   /* the next key's */
    uint64_t rotate_at_ms;
};

static void derive(const unsigned char chain[CHAIN], const char *label, unsigned char out[CHAIN])
{
    unsigned len = CHAIN;
    unsigned char *done =
        HMAC(EVP_sha256(), chain, CHAIN, (const unsigned char *)label, strlen(label), out, &len);
    assert(done && len == CHAIN);
}

/* With the lock held, or nobody else there. */
static void next_key(struct tls_tickets *k)
{
    unsigned char name[CHAIN], next[CHAIN];
    memmove(k->keys + 1, k->keys, sizeof k->keys - sizeof k->keys[0]);
    derive(k->chain, "name", name);
    memcpy(k->keys[0].name, name, sizeof k->keys[0].name);
    derive(k->chain, "aes", k->keys[0].aes);
    derive(k->chain, "mac", k->keys[0].mac);
    derive(k->chain, "next", next);
    memcpy(k->chain, next, CHAIN);
    OPENSSL_cleanse(next, sizeof next);
}

struct tls_tickets *tls_tickets_new(const unsigned char seed[TLS_TICKETS_SEED], uint64_t now_ms)
{
    struct tls_tickets *k = calloc(1, sizeof *k);
    if (!k)
        return NULL;
    pthread_mutex_init(&k->lock, NULL);
    memcpy(k->chain, seed, CHAIN);
    for (int i = 0; i < KEYS; i++)
        next_key(k);
    k->rotate_at_ms = now_ms + KEY_LIFE_MS;
    return k;
}

void tls_tickets_turn(struct tls_tickets *k, uint64_t now_ms)
{
    pthread_mutex_lock(&k->lock);
    for (; now_ms >= k->rotate_at_ms; k->rotate_at_ms += KEY_LIFE_MS)
        next_key(k);
    pthread_mutex_unlock(&k->lock);
}

void tls_tickets_free(struct tls_tickets *k)
{
    if (!k)
        return;
    pthread_mutex_destroy(&k->lock);
    OPENSSL_cleanse(k, sizeof *k);
    free(k);
}

/* The index of the key by that name, or KEYS. Copies it out. */
static size_t key_find(struct tls_tickets *k, const unsigned char *name, struct ticket_key *out)
{
    tls_tickets_turn(k, clock_mono_ms());
    pthread_mutex_lock(&k->lock);
    size_t i = 0;
    while (name && i < KEYS && memcmp(k->keys[i].name, name, sizeof k->keys[i].name) != 0)
        i++;
    if (i < KEYS)
        *out = k->keys[i];
    pthread_mutex_unlock(&k->lock);
    return i;
}

int tls_tickets_use(struct tls_tickets *k, unsigned char *key_name, unsigned char *iv,
                    EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypt)
{
    struct ticket_key key;
    size_t i = key_find(k, encrypt ? NULL : key_name, &key);
    if (i == KEYS)
        return 0; /* unknown: a full handshake, and a new ticket */
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key.mac, sizeof key.mac),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char[]){"SHA256"}, 0),
        OSSL_PARAM_construct_end(),
    };
    if (encrypt) {
        memcpy(key_name, key.name, sizeof key.name);
        rand_bytes(iv, 16);
    }
    int ok = EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, key.aes, iv, encrypt) == 1 &&
             EVP_MAC_CTX_set_params(mac, params) == 1;
    OPENSSL_cleanse(&key, sizeof key);
    if (!ok)
        return -1;
    return encrypt || i == 0 ? 1 : 2; /* 2: opened with an old key, send a new ticket */
}

static int ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                      EVP_MAC_CTX *mac, int encrypt)
{
    const struct tls_set *set = SSL_get_app_data(ssl);
    int r = set ? tls_tickets_use(tls_set_tickets(set), name, iv, cipher, mac, encrypt) : 0;
    /* A TLS 1.3 client uses each ticket once (RFC 8446 C.4), so it gets another. */
    return r == 1 && !encrypt && SSL_version(ssl) >= TLS1_3_VERSION ? 2 : r;
}

/* A resumed session sends no certificate, so the channel binding of the one that was sent travels
 * in the ticket. */
static int ticket_made(SSL *ssl, void *unused)
{
    SSL_SESSION *session = SSL_get_session(ssl);
    void *have;
    size_t len;
    if (SSL_SESSION_get0_ticket_appdata(session, &have, &len) == 1 && len > 0)
        return 1;
    BUF_AUTO struct buf end_point = BUF_INIT(EVP_MAX_MD_SIZE);
    if (tls_end_point(ssl, &end_point) != ERR_OK)
        return 1;
    return SSL_SESSION_set1_ticket_appdata(session, end_point.data, end_point.len);
}

static SSL_TICKET_RETURN ticket_opened(SSL *ssl, SSL_SESSION *session, const unsigned char *name,
                                       size_t name_len, SSL_TICKET_STATUS status, void *unused)
{
    if (status == SSL_TICKET_SUCCESS)
        return SSL_TICKET_RETURN_USE;
    return status == SSL_TICKET_SUCCESS_RENEW ? SSL_TICKET_RETURN_USE_RENEW
                                              : SSL_TICKET_RETURN_IGNORE_RENEW;
}

void tls_tickets_attach(SSL_CTX *ctx)
{
    (void)SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, ticket_key);
    (void)SSL_CTX_set_session_ticket_cb(ctx, ticket_made, ticket_opened, NULL);
    (void)SSL_CTX_set_num_tickets(ctx, 1);
    (void)SSL_CTX_set_timeout(ctx, (long)(KEY_LIFE_MS / 1000) * (KEYS - 1));
}

/* The digest of the certificate's signature, SHA-256 in place of MD5 and SHA-1. */
static const EVP_MD *end_point_digest(X509 *x)
{
    int md_nid = NID_undef;
    if (X509_get_signature_info(x, &md_nid, NULL, NULL, NULL) != 1 || md_nid == NID_undef)
        return NULL;
    if (md_nid == NID_md5 || md_nid == NID_sha1)
        md_nid = NID_sha256;
    return EVP_get_digestbynid(md_nid);
}

enum err tls_end_point(SSL *ssl, struct buf *out)
{
    bool server = SSL_is_server(ssl) == 1;
    void *kept = NULL;
    size_t kept_len = 0;
    if (server && SSL_session_reused(ssl)) {
        (void)SSL_SESSION_get0_ticket_appdata(SSL_get_session(ssl), &kept, &kept_len);
        buf_add(out, str_of(kept, kept_len));
        return kept_len > 0 ? ERR_OK : ERR_UNSUPPORTED;
    }
    X509 *x = server ? SSL_get_certificate(ssl) : SSL_get0_peer_certificate(ssl);
    const EVP_MD *md = x ? end_point_digest(x) : NULL;
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    if (!md || X509_digest(x, md, hash, &len) != 1)
        return ERR_UNSUPPORTED;
    buf_add(out, str_of(hash, len));
    return ERR_OK;
}
