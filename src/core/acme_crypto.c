/* SPDX-License-Identifier: Apache-2.0 */
#include "core/acme_crypto.h"

#include "base/code.h"
#include "os/clock.h"

#include <assert.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <string.h>

#define COORDINATE 32 /* bytes of a number of P-256 */

/* ---- keys ---- */

static enum err take_bio(BIO *b, bool ok, struct buf *out)
{
    char *data = NULL;
    long n = ok && b ? BIO_get_mem_data(b, &data) : -1;
    if (n > 0)
        buf_add(out, str_of(data, (size_t)n));
    BIO_free(b);
    if (n <= 0)
        ERR_clear_error();
    return n > 0 && buf_ok(out) ? ERR_OK : ERR_NOMEM;
}

enum err acme_make_key(struct buf *pem)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    BIO *b = BIO_new(BIO_s_secmem());
    bool ok = key && b && PEM_write_bio_PKCS8PrivateKey(b, key, NULL, NULL, 0, NULL, NULL) == 1;
    EVP_PKEY_free(key);
    return take_bio(b, ok, pem);
}

static EVP_PKEY *key_of(str pem)
{
    char no_password[1] = "";
    BIO *b = BIO_new_mem_buf(pem.data, (int)pem.len);
    EVP_PKEY *key = b ? PEM_read_bio_PrivateKey(b, NULL, NULL, no_password) : NULL;
    BIO_free(b);
    if (!key)
        ERR_clear_error();
    return key;
}

static bool spki_of(const EVP_PKEY *key, uint8_t out[32])
{
    unsigned char *der = NULL;
    int n = i2d_PUBKEY(key, &der);
    if (n > 0)
        SHA256(der, (size_t)n, out);
    OPENSSL_free(der);
    return n > 0;
}

enum err acme_key_spki(str key_pem, uint8_t out[32])
{
    EVP_PKEY *key = key_of(key_pem);
    bool ok = key && spki_of(key, out);
    EVP_PKEY_free(key);
    return ok ? ERR_OK : ERR_INVALID;
}

/* ---- signed requests ---- */

static bool add_coordinate(const EVP_PKEY *key, const char *which, struct buf *out)
{
    BIGNUM *n = NULL;
    unsigned char bytes[COORDINATE];
    bool ok = EVP_PKEY_get_bn_param(key, which, &n) == 1 &&
              BN_bn2binpad(n, bytes, COORDINATE) == COORDINATE;
    BN_free(n);
    if (ok)
        code_base64url(out, str_of(bytes, COORDINATE));
    return ok;
}

/* Members in the order of their names and nothing between them, as the thumbprint wants it (RFC
 * 7638 3). */
static bool add_jwk(const EVP_PKEY *key, struct buf *out)
{
    char group[32] = "";
    if (EVP_PKEY_get_base_id(key) != EVP_PKEY_EC ||
        EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) != 1 ||
        !str_eq(str_c(group), STR("prime256v1")))
        return false;
    buf_add_c(out, "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"");
    bool ok = add_coordinate(key, OSSL_PKEY_PARAM_EC_PUB_X, out);
    buf_add_c(out, "\",\"y\":\"");
    ok = ok && add_coordinate(key, OSSL_PKEY_PARAM_EC_PUB_Y, out);
    buf_add_c(out, "\"}");
    return ok;
}

enum err acme_thumbprint(str key_pem, struct buf *out)
{
    BUF_AUTO struct buf jwk = BUF_INIT(4096);
    uint8_t hash[32];
    EVP_PKEY *key = key_of(key_pem);
    bool ok = key && add_jwk(key, &jwk);
    EVP_PKEY_free(key);
    if (!ok)
        return ERR_INVALID;
    SHA256((const unsigned char *)jwk.data, jwk.len, hash);
    code_base64url(out, str_of(hash, sizeof(hash)));
    return ERR_OK;
}

/* ES256: the two numbers side by side, not the DER that OpenSSL gives (RFC 7518 3.4). */
static bool raw_signature(const unsigned char *der, size_t len, unsigned char out[2 * COORDINATE])
{
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)len);
    bool ok = sig && BN_bn2binpad(ECDSA_SIG_get0_r(sig), out, COORDINATE) == COORDINATE &&
              BN_bn2binpad(ECDSA_SIG_get0_s(sig), out + COORDINATE, COORDINATE) == COORDINATE;
    ECDSA_SIG_free(sig);
    return ok;
}

static bool add_signature(EVP_PKEY *key, str input, struct buf *out)
{
    unsigned char der[128], raw[2 * COORDINATE];
    size_t len = sizeof(der);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 &&
              EVP_DigestSign(ctx, der, &len, (const unsigned char *)input.data, input.len) == 1 &&
              raw_signature(der, len, raw);
    EVP_MD_CTX_free(ctx);
    if (ok)
        code_base64url(out, str_of(raw, sizeof(raw)));
    return ok;
}

/* Nonces, URLs and account names come from the authority: nothing that could end a string. */
static bool plain(str s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.data[i];
        if (c <= 0x20 || c >= 0x7f || c == '"' || c == '\\')
            return false;
    }
    return true;
}

enum err acme_sign(const struct acme_request *r, struct buf *body)
{
    BUF_AUTO struct buf head = BUF_INIT(16384);
    BUF_AUTO struct buf input = BUF_INIT(1 << 20);
    if (!plain(r->nonce) || !plain(r->url) || !plain(r->kid))
        return ERR_INVALID;
    EVP_PKEY *key = key_of(r->key_pem);
    buf_addf(&head, "{\"alg\":\"ES256\",\"nonce\":\"%.*s\",\"url\":\"%.*s\",", STR_ARG(r->nonce),
             STR_ARG(r->url));
    bool ok = key != NULL;
    if (!str_empty(r->kid)) {
        buf_addf(&head, "\"kid\":\"%.*s\"}", STR_ARG(r->kid));
    } else {
        buf_add_c(&head, "\"jwk\":");
        ok = ok && add_jwk(key, &head);
        buf_add_char(&head, '}');
    }
    code_base64url(&input, buf_str(&head));
    size_t dot = input.len;
    buf_add_char(&input, '.');
    code_base64url(&input, r->payload);
    buf_addf(body, "{\"protected\":\"%.*s\",\"payload\":\"%.*s\",\"signature\":\"", (int)dot,
             input.data, (int)(input.len - dot - 1), input.data + dot + 1);
    ok = ok && buf_ok(&input) && add_signature(key, buf_str(&input), body);
    buf_add_c(body, "\"}");
    EVP_PKEY_free(key);
    return ok && buf_ok(body) ? ERR_OK : ERR_INVALID;
}

void acme_dns_value(str key_authorization, struct buf *out)
{
    uint8_t hash[32];
    SHA256((const unsigned char *)key_authorization.data, key_authorization.len, hash);
    code_base64url(out, str_of(hash, sizeof(hash)));
}

void hmac_sha256(str key, str bytes, uint8_t out[32])
{
    unsigned len = 32;
    unsigned char *r = HMAC(EVP_sha256(), key.data, (int)key.len, (const unsigned char *)bytes.data,
                            bytes.len, out, &len);
    assert(r && len == 32);
}

/* ---- certificate requests ---- */

bool certificate_name_valid(str name)
{
    str label;
    if (name.len == 0 || name.len > 253 || str_ends(name, STR(".")))
        return false;
    while (!str_empty(name)) {
        (void)str_cut(name, '.', &label, &name);
        for (size_t i = 0; i < label.len; i++) {
            char c = label.data[i];
            if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '-'))
                return false;
        }
        if (label.len == 0 || label.len > 63)
            return false;
    }
    return true;
}

static bool push_name(GENERAL_NAMES *all, str name)
{
    GENERAL_NAME *g = GENERAL_NAME_new();
    ASN1_IA5STRING *text = ASN1_IA5STRING_new();
    bool ok = g && text && ASN1_STRING_set(text, name.data, (int)name.len) == 1;
    if (ok)
        GENERAL_NAME_set0_value(g, GEN_DNS, text);
    else
        ASN1_IA5STRING_free(text);
    if (ok && sk_GENERAL_NAME_push(all, g) > 0)
        return true;
    GENERAL_NAME_free(g);
    return false;
}

static bool add_names(X509_REQ *req, const str *names, size_t n)
{
    GENERAL_NAMES *all = sk_GENERAL_NAME_new_null();
    STACK_OF(X509_EXTENSION) *extensions = sk_X509_EXTENSION_new_null();
    bool ok = all && extensions;
    for (size_t i = 0; ok && i < n; i++)
        ok = push_name(all, names[i]);
    ok = ok &&
         X509V3_add1_i2d(&extensions, NID_subject_alt_name, all, 0, X509V3_ADD_DEFAULT) == 1 &&
         X509_REQ_add_extensions(req, extensions) == 1;
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    GENERAL_NAMES_free(all);
    return ok;
}

enum err certificate_request(str key_pem, const str *names, size_t n, struct buf *der)
{
    if (n == 0 || n > CERTIFICATE_NAMES_MAX)
        return ERR_INVALID;
    for (size_t i = 0; i < n; i++) {
        if (!certificate_name_valid(names[i]))
            return ERR_INVALID;
    }
    EVP_PKEY *key = key_of(key_pem);
    X509_REQ *req = X509_REQ_new();
    unsigned char *bytes = NULL;
    int len = -1;
    /* No common name: it is optional, and limited to 64 bytes (RFC 8555 7.4). */
    if (key && req && X509_REQ_set_version(req, X509_REQ_VERSION_1) == 1 &&
        X509_REQ_set_pubkey(req, key) == 1 && add_names(req, names, n) &&
        X509_REQ_sign(req, key, EVP_sha256()) > 0)
        len = i2d_X509_REQ(req, &bytes);
    if (len > 0)
        buf_add(der, str_of(bytes, (size_t)len));
    OPENSSL_free(bytes);
    X509_REQ_free(req);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return len > 0 && buf_ok(der) ? ERR_OK : ERR_INVALID;
}

/* ---- TLS-ALPN-01 ---- */

#define PROOF_DAYS 7
#define PROOF_BACKDATE_S 86400 /* for authorities whose clock is behind */

static bool add_proof(X509 *x, str key_authorization)
{
    unsigned char der[2 + SHA256_DIGEST_LENGTH] = {V_ASN1_OCTET_STRING, SHA256_DIGEST_LENGTH};
    SHA256((const unsigned char *)key_authorization.data, key_authorization.len, der + 2);
    ASN1_OBJECT *id = OBJ_txt2obj("1.3.6.1.5.5.7.1.31", 1); /* id-pe-acmeIdentifier */
    ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
    bool ok = id && value && ASN1_OCTET_STRING_set(value, der, sizeof(der)) == 1;
    X509_EXTENSION *e = ok ? X509_EXTENSION_create_by_OBJ(NULL, id, 1, value) : NULL;
    ok = e && X509_add_ext(x, e, -1) == 1;
    X509_EXTENSION_free(e);
    ASN1_OCTET_STRING_free(value);
    ASN1_OBJECT_free(id);
    return ok;
}

static bool add_name(X509 *x, str name)
{
    GENERAL_NAMES *all = sk_GENERAL_NAME_new_null();
    bool ok = all && push_name(all, name) &&
              X509_add1_ext_i2d(x, NID_subject_alt_name, all, 0, X509V3_ADD_DEFAULT) == 1;
    GENERAL_NAMES_free(all);
    return ok;
}

static bool fill_proof(X509 *x, EVP_PKEY *key, str name, str key_authorization)
{
    static const unsigned char subject[] = "ACME proof";
    time_t now = (time_t)clock_wall_s();
    return X509_set_version(x, X509_VERSION_3) == 1 &&
           ASN1_INTEGER_set(X509_get_serialNumber(x), 1) == 1 &&
           X509_time_adj_ex(X509_getm_notBefore(x), 0, -PROOF_BACKDATE_S, &now) &&
           X509_time_adj_ex(X509_getm_notAfter(x), PROOF_DAYS, 0, &now) &&
           X509_set_pubkey(x, key) == 1 &&
           X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, subject, -1, -1,
                                      0) == 1 &&
           X509_set_issuer_name(x, X509_get_subject_name(x)) == 1 && add_name(x, name) &&
           add_proof(x, key_authorization) && X509_sign(x, key, EVP_sha256()) > 0;
}

enum err acme_alpn_certificate(str name, str key_authorization, struct buf *cert_pem,
                               struct buf *key_pem)
{
    if (!certificate_name_valid(name))
        return ERR_INVALID;
    TRY(acme_make_key(key_pem));
    EVP_PKEY *key = key_of(buf_str(key_pem));
    X509 *x = key ? X509_new() : NULL;
    BIO *b = BIO_new(BIO_s_mem());
    bool ok = x && b && fill_proof(x, key, name, key_authorization) && PEM_write_bio_X509(b, x);
    X509_free(x);
    EVP_PKEY_free(key);
    return take_bio(b, ok, cert_pem);
}

/* ---- certificates ---- */

static X509 *leaf_of(str pem)
{
    BIO *b = BIO_new_mem_buf(pem.data, (int)pem.len);
    X509 *x = b ? PEM_read_bio_X509(b, NULL, NULL, NULL) : NULL;
    BIO_free(b);
    if (!x)
        ERR_clear_error();
    return x;
}

static bool time_of(const ASN1_TIME *t, int64_t *out)
{
    ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
    int days, seconds;
    bool ok = epoch && ASN1_TIME_diff(&days, &seconds, epoch, t) == 1;
    ASN1_TIME_free(epoch);
    *out = ok ? (int64_t)days * 86400 + seconds : 0;
    return ok;
}

static enum err take_names(X509 *x, struct arena *a, struct certificate_facts *out)
{
    GENERAL_NAMES *all = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    enum err e = ERR_OK;
    for (int i = 0; i < sk_GENERAL_NAME_num(all) && out->nnames < CERTIFICATE_NAMES_MAX; i++) {
        const GENERAL_NAME *g = sk_GENERAL_NAME_value(all, i);
        if (g->type != GEN_DNS)
            continue;
        str name =
            str_of(ASN1_STRING_get0_data(g->d.dNSName), (size_t)ASN1_STRING_length(g->d.dNSName));
        if (!arena_dup(a, name, &out->names[out->nnames++]))
            e = ERR_NOMEM;
    }
    GENERAL_NAMES_free(all);
    return e;
}

enum err certificate_read(str pem, struct arena *a, struct certificate_facts *out)
{
    *out = (struct certificate_facts){0};
    X509 *x = leaf_of(pem);
    if (!x)
        return ERR_INVALID;
    char issuer[256] = "";
    X509_NAME_oneline(X509_get_issuer_name(x), issuer, sizeof(issuer));
    out->self_signed = X509_NAME_cmp(X509_get_issuer_name(x), X509_get_subject_name(x)) == 0;
    enum err e = take_names(x, a, out);
    EVP_PKEY *key = X509_get0_pubkey(x);
    if (e == ERR_OK &&
        (!key || !spki_of(key, out->spki) || !time_of(X509_get0_notBefore(x), &out->not_before_s) ||
         !time_of(X509_get0_notAfter(x), &out->not_after_s)))
        e = ERR_INVALID;
    if (e == ERR_OK && !arena_dup(a, str_c(issuer), &out->issuer))
        e = ERR_NOMEM;
    X509_free(x);
    return e;
}

bool certificate_covers(const struct certificate_facts *c, str name)
{
    str label, rest;
    bool below = str_cut(name, '.', &label, &rest);
    for (size_t i = 0; i < c->nnames; i++) {
        if (str_eq_nocase(c->names[i], name))
            return true;
        /* RFC 6125 6.4.3: the whole left-most label */
        if (below && str_starts(c->names[i], STR("*.")) &&
            str_eq_nocase(str_skip(c->names[i], 2), rest))
            return true;
    }
    return false;
}

enum err certificate_leaf(str pem, struct buf *out)
{
    X509 *x = leaf_of(pem);
    BIO *b = BIO_new(BIO_s_mem());
    bool ok = x && b && PEM_write_bio_X509(b, x) == 1;
    X509_free(x);
    return take_bio(b, ok, out) == ERR_OK ? ERR_OK : ERR_INVALID;
}

enum err certificate_chain(str pem, struct buf *out)
{
    BIO *in = BIO_new_mem_buf(pem.data, (int)pem.len);
    BIO *b = BIO_new(BIO_s_mem());
    bool ok = in && b;
    for (X509 *x; ok && (x = PEM_read_bio_X509(in, NULL, NULL, NULL)); X509_free(x))
        ok = PEM_write_bio_X509(b, x) == 1;
    BIO_free(in);
    ERR_clear_error(); /* the end of the text is reported as an error */
    return take_bio(b, ok, out) == ERR_OK ? ERR_OK : ERR_INVALID;
}

int64_t certificate_renew_at(const struct certificate_facts *c, uint32_t spread)
{
    assert(spread <= 1000);
    int64_t life = c->not_after_s - c->not_before_s;
    return c->not_after_s - life / 3 - life / 20 * (int64_t)spread / 1000;
}
