/* SPDX-License-Identifier: Apache-2.0
 *
 * Certificates of our own (RFC 5280), for development and tests.
 */
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "base/num.h"
#include "net/tls.h"
#include "os/clock.h"
#include "os/rand.h"

#define CA_DAYS 3650
#define CERTIFICATE_DAYS 397 /* the most that browsers accept */
#define BACKDATE_S 3600      /* for clocks that are behind */
#define NAMES_MAX 1000

static bool serial_random(X509 *x)
{
    unsigned char bytes[16];
    rand_bytes(bytes, sizeof bytes);
    bytes[0] = (unsigned char)((bytes[0] & 0x7f) | 0x40); /* positive, full length */
    BIGNUM *n = BN_bin2bn(bytes, sizeof bytes, NULL);
    bool ok = n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x));
    BN_free(n);
    return ok;
}

static bool validity(X509 *x, int days)
{
    time_t now = (time_t)clock_wall_s();
    return X509_time_adj_ex(X509_getm_notBefore(x), 0, -BACKDATE_S, &now) &&
           X509_time_adj_ex(X509_getm_notAfter(x), days, -BACKDATE_S, &now);
}

static bool extension(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_nconf_nid(NULL, &ctx, nid, value);
    bool ok = e && X509_add_ext(x, e, -1) == 1;
    X509_EXTENSION_free(e);
    return ok;
}

static bool common_name(X509 *x, str name)
{
    /* RFC 5280 upper bound ub-common-name */
    name = str_head(name, 64);
    return X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8,
                                      (const unsigned char *)name.data, (int)name.len, -1, 0) == 1;
}

static bool alt_names(X509 *x, const str *names, size_t n)
{
    GENERAL_NAMES *list = sk_GENERAL_NAME_new_null();
    bool ok = list != NULL;
    for (size_t i = 0; ok && i < n; i++) {
        GENERAL_NAME *g = GENERAL_NAME_new();
        ASN1_IA5STRING *s = ASN1_IA5STRING_new();
        ok = g && s && ASN1_STRING_set(s, names[i].data, (int)names[i].len) == 1;
        if (ok)
            GENERAL_NAME_set0_value(g, GEN_DNS, s);
        else
            ASN1_IA5STRING_free(s);
        if (!ok || sk_GENERAL_NAME_push(list, g) <= 0) {
            GENERAL_NAME_free(g);
            ok = false;
        }
    }
    ok = ok && X509_add1_ext_i2d(x, NID_subject_alt_name, list, 0, X509V3_ADD_APPEND) == 1;
    GENERAL_NAMES_free(list);
    return ok;
}

static void add_text(struct buf *out, BIO *b)
{
    char *text = NULL;
    long len = BIO_get_mem_data(b, &text);
    buf_add(out, str_of(text, (size_t)len));
    (void)BIO_reset(b);
}

static bool write_pem(X509 *x, EVP_PKEY *key, struct buf *cert_pem, struct buf *key_pem)
{
    BIO *b = BIO_new(BIO_s_mem());
    bool ok = b && PEM_write_bio_X509(b, x) == 1;
    if (ok)
        add_text(cert_pem, b);
    ok = ok && PEM_write_bio_PKCS8PrivateKey(b, key, NULL, NULL, 0, NULL, NULL) == 1;
    if (ok)
        add_text(key_pem, b);
    BIO_free(b);
    return ok && buf_ok(cert_pem) && buf_ok(key_pem);
}

static X509 *certificate_new(EVP_PKEY *key, str name, int days)
{
    X509 *x = X509_new();
    if (x && X509_set_version(x, X509_VERSION_3) == 1 && serial_random(x) && validity(x, days) &&
        X509_set_pubkey(x, key) == 1 && common_name(x, name))
        return x;
    X509_free(x);
    return NULL;
}

enum err tls_make_ca(str name, struct buf *cert_pem, struct buf *key_pem)
{
    tls_init();
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = key ? certificate_new(key, name, CA_DAYS) : NULL;
    bool ok = x && X509_set_issuer_name(x, X509_get_subject_name(x)) == 1 &&
              extension(x, x, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
              extension(x, x, NID_key_usage, "critical,keyCertSign,cRLSign") &&
              extension(x, x, NID_subject_key_identifier, "hash") &&
              X509_sign(x, key, EVP_sha256()) > 0 && write_pem(x, key, cert_pem, key_pem);
    X509_free(x);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return ok ? ERR_OK : ERR_NOMEM;
}

static bool issue(X509 *x, X509 *ca, EVP_PKEY *ca_key, const str *dns_names, size_t n, bool rsa)
{
    return X509_set_issuer_name(x, X509_get_subject_name(ca)) == 1 &&
           extension(x, ca, NID_basic_constraints, "critical,CA:FALSE") &&
           extension(x, ca, NID_key_usage,
                     rsa ? "critical,digitalSignature,keyEncipherment"
                         : "critical,digitalSignature") &&
           extension(x, ca, NID_ext_key_usage, "serverAuth,clientAuth") &&
           extension(x, ca, NID_subject_key_identifier, "hash") &&
           extension(x, ca, NID_authority_key_identifier, "keyid") && alt_names(x, dns_names, n) &&
           X509_sign(x, ca_key, EVP_sha256()) > 0;
}

enum err tls_make_certificate(str ca_cert_pem, str ca_key_pem, const str *dns_names, size_t n,
                              bool rsa, struct buf *cert_pem, struct buf *key_pem)
{
    tls_init();
    if (n == 0 || n > NAMES_MAX)
        return ERR_INVALID;
    BIO *cb = BIO_new_mem_buf(ca_cert_pem.data, (int)ca_cert_pem.len);
    BIO *kb = BIO_new_mem_buf(ca_key_pem.data, (int)ca_key_pem.len);
    char no_password[1] = "";
    X509 *ca = cb ? PEM_read_bio_X509(cb, NULL, NULL, NULL) : NULL;
    EVP_PKEY *ca_key = kb ? PEM_read_bio_PrivateKey(kb, NULL, NULL, no_password) : NULL;
    BIO_free(cb);
    BIO_free(kb);
    enum err e = ca && ca_key ? ERR_OK : ERR_INVALID;
    EVP_PKEY *key = e != ERR_OK ? NULL : rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
    X509 *x = key ? certificate_new(key, dns_names[0], CERTIFICATE_DAYS) : NULL;
    if (e == ERR_OK &&
        (!x || !issue(x, ca, ca_key, dns_names, n, rsa) || !write_pem(x, key, cert_pem, key_pem)))
        e = ERR_NOMEM;
    X509_free(x);
    EVP_PKEY_free(key);
    X509_free(ca);
    EVP_PKEY_free(ca_key);
    ERR_clear_error();
    return e;
}

enum err tls_certificate_expiry(str cert_pem, int64_t *out)
{
    BIO *b = BIO_new_mem_buf(cert_pem.data, (int)cert_pem.len);
    X509 *x = b ? PEM_read_bio_X509(b, NULL, NULL, NULL) : NULL;
    ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
    int days, seconds;
    bool ok = x && epoch && ASN1_TIME_diff(&days, &seconds, epoch, X509_get0_notAfter(x)) == 1;
    if (ok)
        *out = (int64_t)days * 86400 + seconds;
    ASN1_TIME_free(epoch);
    X509_free(x);
    BIO_free(b);
    ERR_clear_error();
    return ok ? ERR_OK : ERR_INVALID;
}
