/* SPDX-License-Identifier: Apache-2.0 */
#include "core/mail_crypto.h"

#include <assert.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <string.h>

enum err mail_hash_begin(struct mail_hash *h)
{
    h->gathered = 0;
    h->state = EVP_MD_CTX_new();
    if (h->state && EVP_DigestInit_ex(h->state, EVP_sha256(), NULL) == 1)
        return ERR_OK;
    mail_hash_free(h);
    return ERR_NOMEM;
}

static void flush(struct mail_hash *h)
{
    int ok = EVP_DigestUpdate(h->state, h->bytes, h->gathered);
    assert(ok == 1);
    h->gathered = 0;
}

void mail_hash_add(void *hash, str bytes)
{
    struct mail_hash *h = hash;
    assert(h->state);
    if (bytes.len > sizeof(h->bytes) - h->gathered)
        flush(h);
    if (bytes.len > sizeof(h->bytes)) {
        int ok = EVP_DigestUpdate(h->state, bytes.data, bytes.len);
        assert(ok == 1);
        return;
    }
    if (bytes.len)
        memcpy(h->bytes + h->gathered, bytes.data, bytes.len);
    h->gathered += bytes.len;
}

void mail_hash_end(struct mail_hash *h, uint8_t digest[MAIL_DIGEST_BYTES])
{
    flush(h);
    int ok = EVP_DigestFinal_ex(h->state, digest, NULL);
    assert(ok == 1);
    mail_hash_free(h);
}

void mail_hash_free(struct mail_hash *h)
{
    EVP_MD_CTX_free(h->state);
    h->state = NULL;
}

/* SubjectPublicKeyInfo as the world writes it, or the bare RSAPublicKey of RFC 6376 3.6.1. */
static EVP_PKEY *rsa_public(str der)
{
    const uint8_t *p = (const uint8_t *)der.data;
    EVP_PKEY *k = d2i_PUBKEY(NULL, &p, (long)der.len);
    if (!k) {
        p = (const uint8_t *)der.data;
        k = d2i_PublicKey(EVP_PKEY_RSA, NULL, &p, (long)der.len);
    }
    if (k && EVP_PKEY_base_id(k) == EVP_PKEY_RSA)
        return k;
    EVP_PKEY_free(k);
    return NULL;
}

static enum err verify_rsa(EVP_PKEY *k, const uint8_t *digest, str signature)
{
    if (EVP_PKEY_bits(k) < MAIL_RSA_BITS_MIN)
        return ERR_DENIED;
    if (EVP_PKEY_bits(k) > MAIL_RSA_BITS_MAX)
        return ERR_INVALID;
    EVP_PKEY_CTX *c = EVP_PKEY_CTX_new(k, NULL);
    bool ok = c && EVP_PKEY_verify_init(c) == 1 &&
              EVP_PKEY_CTX_set_rsa_padding(c, RSA_PKCS1_PADDING) == 1 &&
              EVP_PKEY_CTX_set_signature_md(c, EVP_sha256()) == 1 &&
              EVP_PKEY_verify(c, (const uint8_t *)signature.data, signature.len, digest,
                              MAIL_DIGEST_BYTES) == 1;
    EVP_PKEY_CTX_free(c);
    return ok ? ERR_OK : ERR_AUTH;
}

/* RFC 8463 3: PureEdDSA over the SHA-256 digest. */
static enum err verify_ed25519(EVP_PKEY *k, const uint8_t *digest, str signature)
{
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    bool ok = c && EVP_DigestVerifyInit(c, NULL, NULL, NULL, k) == 1 &&
              EVP_DigestVerify(c, (const uint8_t *)signature.data, signature.len, digest,
                               MAIL_DIGEST_BYTES) == 1;
    EVP_MD_CTX_free(c);
    return ok ? ERR_OK : ERR_AUTH;
}

enum err mail_signature_verify(bool ed25519, str key, const uint8_t digest[MAIL_DIGEST_BYTES],
                               str signature)
{
    enum err e = ERR_INVALID;
    if (str_empty(key) || key.len > LONG_MAX || str_empty(signature))
        return ERR_INVALID;
    EVP_PKEY *k = ed25519 ? EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL,
                                                        (const uint8_t *)key.data, key.len)
                          : rsa_public(key);
    if (k)
        e = ed25519 ? verify_ed25519(k, digest, signature) : verify_rsa(k, digest, signature);
    EVP_PKEY_free(k);
    ERR_clear_error();
    return e;
}

static const EVP_PKEY *pkey_of(const struct mail_key *k) { return (const EVP_PKEY *)k; }

struct mail_key *mail_key_read(bool ed25519, str pem)
{
    if (str_empty(pem) || pem.len > INT_MAX)
        return NULL;
    char no_password[1] = ""; /* never ask at the terminal */
    BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.len);
    EVP_PKEY *k = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, no_password) : NULL;
    BIO_free(bio);
    ERR_clear_error();
    int wanted = ed25519 ? EVP_PKEY_ED25519 : EVP_PKEY_RSA;
    if (k && EVP_PKEY_base_id(k) == wanted &&
        (ed25519 ||
         (EVP_PKEY_bits(k) >= MAIL_RSA_BITS_SIGN && EVP_PKEY_bits(k) <= MAIL_RSA_BITS_MAX)))
        return (struct mail_key *)k;
    EVP_PKEY_free(k);
    return NULL;
}

void mail_key_free(struct mail_key *k) { EVP_PKEY_free((EVP_PKEY *)k); }

static bool sign_ed25519(EVP_PKEY *k, const uint8_t *digest, uint8_t *out, size_t *len)
{
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    bool ok = c && EVP_DigestSignInit(c, NULL, NULL, NULL, k) == 1 &&
              EVP_DigestSign(c, out, len, digest, MAIL_DIGEST_BYTES) == 1;
    EVP_MD_CTX_free(c);
    return ok;
}

static bool sign_rsa(EVP_PKEY *k, const uint8_t *digest, uint8_t *out, size_t *len)
{
    EVP_PKEY_CTX *c = EVP_PKEY_CTX_new(k, NULL);
    bool ok = c && EVP_PKEY_sign_init(c) == 1 &&
              EVP_PKEY_CTX_set_rsa_padding(c, RSA_PKCS1_PADDING) == 1 &&
              EVP_PKEY_CTX_set_signature_md(c, EVP_sha256()) == 1 &&
              EVP_PKEY_sign(c, out, len, digest, MAIL_DIGEST_BYTES) == 1;
    EVP_PKEY_CTX_free(c);
    return ok;
}

enum err mail_key_sign(const struct mail_key *key, const uint8_t digest[MAIL_DIGEST_BYTES],
                       struct buf *signature)
{
    uint8_t out[MAIL_RSA_BITS_MAX / 8];
    size_t len = sizeof(out);
    EVP_PKEY *k = (EVP_PKEY *)key; /* OpenSSL's calls want it so; it is not changed */
    bool ed25519 = EVP_PKEY_base_id(k) == EVP_PKEY_ED25519;
    bool ok = ed25519 ? sign_ed25519(k, digest, out, &len) : sign_rsa(k, digest, out, &len);
    ERR_clear_error();
    if (!ok)
        return ERR_NOMEM;
    buf_add(signature, str_of(out, len));
    return buf_ok(signature) ? ERR_OK : ERR_LIMIT;
}

enum err mail_key_public(const struct mail_key *key, struct buf *out)
{
    const EVP_PKEY *k = pkey_of(key);
    if (EVP_PKEY_base_id(k) == EVP_PKEY_ED25519) {
        uint8_t raw[32];
        size_t len = sizeof(raw);
        if (EVP_PKEY_get_raw_public_key(k, raw, &len) != 1)
            return ERR_NOMEM;
        buf_add(out, str_of(raw, len));
        return buf_ok(out) ? ERR_OK : ERR_LIMIT;
    }
    uint8_t *der = NULL;
    int len = i2d_PUBKEY(k, &der);
    if (len <= 0)
        return ERR_NOMEM;
    buf_add(out, str_of(der, (size_t)len));
    OPENSSL_free(der);
    return buf_ok(out) ? ERR_OK : ERR_LIMIT;
}

enum err mail_key_make(bool ed25519, struct buf *pem)
{
    EVP_PKEY *k = ed25519 ? EVP_PKEY_Q_keygen(NULL, NULL, "ED25519") : EVP_RSA_gen(2048);
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    bool ok = k && bio && PEM_write_bio_PKCS8PrivateKey(bio, k, NULL, NULL, 0, NULL, NULL) == 1;
    long len = ok ? BIO_get_mem_data(bio, &text) : 0;
    if (len > 0)
        buf_add(pem, str_of(text, (size_t)len));
    if (len > 0)
        OPENSSL_cleanse(text, (size_t)len);
    BIO_free(bio);
    EVP_PKEY_free(k);
    ERR_clear_error();
    return len > 0 && buf_ok(pem) ? ERR_OK : ERR_NOMEM;
}
