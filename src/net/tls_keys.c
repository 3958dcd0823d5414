/* SPDX-License-Identifier: Apache-2.0
 *
 * tidy: allow alloc because certificate sets live and die as a whole
 */
#include "net/tls_keys.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "net/tls_private.h"

#define KEYS_MAX 10000

/* ---- a certificate with its key ---- */

static bool parse_chain(str pem, struct tls_pair *out)
{
    BIO *b = BIO_new_mem_buf(pem.data, (int)pem.len);
    out->leaf = b ? PEM_read_bio_X509(b, NULL, NULL, NULL) : NULL;
    for (X509 *x; out->leaf && (x = PEM_read_bio_X509(b, NULL, NULL, NULL));)
        if (sk_X509_push(out->chain, x) <= 0)
            X509_free(x);
    BIO_free(b);
    if (!out->leaf)
        return false;
    ERR_clear_error(); /* the end of the text is reported as an error */
    out->names = X509_get_ext_d2i(out->leaf, NID_subject_alt_name, NULL, NULL);
    return true;
}

static EVP_PKEY *parse_key(str pem)
{
    char no_password[1] = "";
    BIO *b = BIO_new_mem_buf(pem.data, (int)pem.len);
    EVP_PKEY *key = b ? PEM_read_bio_PrivateKey(b, NULL, NULL, no_password) : NULL;
    BIO_free(b);
    return key;
}

bool tls_pair_parse(const struct tls_certificate *in, const struct tls_signer *signer,
                    struct tls_pair *out)
{
    *out = (struct tls_pair){.chain = sk_X509_new_null()};
    if (!out->chain || !parse_chain(in->chain_pem, out))
        return false;
    if (in->key_pem.len > 0)
        out->key = parse_key(in->key_pem);
    else if (signer)
        out->key = tls_remote_key(out->leaf, signer);
    return out->key && X509_check_private_key(out->leaf, out->key) == 1;
}

void tls_pair_free(struct tls_pair *p)
{
    X509_free(p->leaf);
    sk_X509_pop_free(p->chain, X509_free);
    EVP_PKEY_free(p->key);
    GENERAL_NAMES_free(p->names);
}

bool tls_key_id(X509 *leaf, uint8_t out[TLS_KEY_ID_BYTES])
{
    unsigned char *der = NULL;
    int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(leaf), &der);
    bool ok = len > 0 && EVP_Digest(der, (size_t)len, out, NULL, EVP_sha256(), NULL) == 1;
    OPENSSL_free(der);
    return ok;
}

/* ---- schemes ---- */

static const struct scheme {
    uint16_t scheme; /* RFC 8446 4.2.3 */
    int key;
    const char *digest; /* the library's own name; empty: the key has its own */
    bool pss;
} schemes[] = {
    {0x0401, EVP_PKEY_RSA, "SHA2-256", false}, {0x0501, EVP_PKEY_RSA, "SHA2-384", false},
    {0x0601, EVP_PKEY_RSA, "SHA2-512", false}, {0x0403, EVP_PKEY_EC, "SHA2-256", false},
    {0x0503, EVP_PKEY_EC, "SHA2-384", false},  {0x0804, EVP_PKEY_RSA, "SHA2-256", true},
    {0x0805, EVP_PKEY_RSA, "SHA2-384", true},  {0x0806, EVP_PKEY_RSA, "SHA2-512", true},
    {0x0807, EVP_PKEY_ED25519, "", false},
};

uint16_t tls_scheme_find(int key, const char *digest, bool pss)
{
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        const struct scheme *s = &schemes[i];
        if (s->key == key && s->pss == pss && strcmp(s->digest, digest) == 0)
            return s->scheme;
    }
    return 0;
}

static const struct scheme *scheme_of(uint16_t scheme)
{
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++)
        if (schemes[i].scheme == scheme)
            return &schemes[i];
    return NULL;
}

/* Of a kind that some scheme is for. */
static bool is_known(const EVP_PKEY *key)
{
    bool known = false;
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++)
        known |= schemes[i].key == EVP_PKEY_get_base_id(key);
    return known;
}

/* ---- keys ---- */

struct tls_held_key {
    uint8_t id[TLS_KEY_ID_BYTES];
    EVP_PKEY *key;
};
struct tls_keys {
    size_t count;
    struct tls_held_key keys[];
};

enum err tls_keys_open(const struct tls_certificate *certs, size_t ncerts, size_t *bad,
                       struct tls_keys **out)
{
    tls_init();
    *out = NULL;
    if (ncerts > KEYS_MAX)
        return ERR_LIMIT;
    struct tls_keys *k = calloc(1, sizeof *k + ncerts * sizeof k->keys[0]);
    if (!k)
        return ERR_NOMEM;
    for (size_t i = 0; i < ncerts; i++) {
        struct tls_pair pair;
        struct tls_held_key *held = &k->keys[k->count];
        bool ok = tls_pair_parse(&certs[i], NULL, &pair) && is_known(pair.key) &&
                  tls_key_id(pair.leaf, held->id);
        if (ok) {
            held->key = pair.key;
            pair.key = NULL;
            k->count++;
        }
        tls_pair_free(&pair);
        if (ok)
            continue;
        ERR_clear_error();
        if (bad)
            *bad = i;
        tls_keys_close(k);
        return ERR_INVALID;
    }
    *out = k;
    return ERR_OK;
}

void tls_keys_close(struct tls_keys *k)
{
    if (!k)
        return;
    for (size_t i = 0; i < k->count; i++)
        EVP_PKEY_free(k->keys[i].key);
    free(k);
}

static EVP_PKEY *find(const struct tls_keys *k, const uint8_t id[TLS_KEY_ID_BYTES])
{
    for (size_t i = 0; i < k->count; i++)
        if (memcmp(k->keys[i].id, id, TLS_KEY_ID_BYTES) == 0)
            return k->keys[i].key;
    return NULL;
}

bool tls_keys_slow(const struct tls_keys *k, const uint8_t key[TLS_KEY_ID_BYTES])
{
    EVP_PKEY *found = find(k, key);
    return found && EVP_PKEY_get_base_id(found) == EVP_PKEY_RSA;
}

static bool sign(EVP_MD_CTX *ctx, EVP_PKEY *key, const struct scheme *s, str content,
                 unsigned char *out, size_t *len)
{
    EVP_PKEY_CTX *pctx; /* ctx's */
    const char *digest = s->digest[0] ? s->digest : NULL;
    if (EVP_DigestSignInit_ex(ctx, &pctx, digest, NULL, NULL, key, NULL) != 1)
        return false;
    if (s->pss && (EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING) != 1 ||
                   EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST) != 1))
        return false;
    return EVP_DigestSign(ctx, out, len, (const unsigned char *)content.data, content.len) == 1;
}

enum err tls_keys_sign(const struct tls_keys *k, const uint8_t key[TLS_KEY_ID_BYTES],
                       uint16_t scheme, str content, struct buf *signature)
{
    EVP_PKEY *found = find(k, key);
    const struct scheme *s = scheme_of(scheme);
    if (!found)
        return ERR_NOT_FOUND;
    if (!s || EVP_PKEY_get_base_id(found) != s->key)
        return ERR_INVALID;
    unsigned char out[TLS_SIGNATURE_MAX];
    size_t len = sizeof out;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx && EVP_PKEY_get_size(found) <= (int)sizeof out &&
              sign(ctx, found, s, content, out, &len);
    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    if (!ok)
        return ERR_UNKNOWN;
    buf_add(signature, str_of(out, len));
    return buf_ok(signature) ? ERR_OK : ERR_LIMIT;
}
