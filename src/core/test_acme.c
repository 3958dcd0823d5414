/* SPDX-License-Identifier: Apache-2.0
 *
 * The parts of ACME that need no authority; tests/run_acme has one. The thumbprint and the
 * signature are checked with OpenSSL's own verification.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <string.h>

#include "base/code.h"
#include "base/num.h"
#include "core/acme.h"
#include "core/acme_crypto.h"
#include "core/acme_rows.h"
#include "core/policy_web.h"
#include "net/tls.h"

#define OK(call) assert_int_equal((call), ERR_OK)

static void test_names(void **state)
{
    static const char *const good[] = {"mail.example.test", "xn--bcher-kva.example", "a", "1.test"};
    static const char *const bad[] = {"",  "a..b", ".a",         "a.", "*.example.test",
                                      "A", "a b",  "a\",\"b\":", "ä.b"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_true(certificate_name_valid(str_c(good[i])));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(certificate_name_valid(str_c(bad[i])));
}

static str member(const struct buf *body, const char *name)
{
    str value, rest;
    size_t at = str_find(buf_str(body), str_c(name));
    assert_int_not_equal(at, STR_NPOS);
    rest = str_skip(buf_str(body), at + strlen(name) + 3);
    (void)str_cut(rest, '"', &value, &rest);
    return value;
}

/* RFC 7518 3.4: the numbers side by side; back into DER for OpenSSL. */
static void verify(const struct buf *pem, str input, str raw)
{
    assert_int_equal(raw.len, 64);
    ECDSA_SIG *sig = ECDSA_SIG_new();
    const unsigned char *bytes = (const unsigned char *)raw.data;
    ECDSA_SIG_set0(sig, BN_bin2bn(bytes, 32, NULL), BN_bin2bn(bytes + 32, 32, NULL));
    unsigned char *der = NULL;
    int len = i2d_ECDSA_SIG(sig, &der);
    BIO *b = BIO_new_mem_buf(pem->data, (int)pem->len);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(b, NULL, NULL, NULL);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key), 1);
    assert_int_equal(
        EVP_DigestVerify(ctx, der, (size_t)len, (const unsigned char *)input.data, input.len), 1);
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(key);
    BIO_free(b);
    OPENSSL_free(der);
    ECDSA_SIG_free(sig);
}

static void test_requests(void **state)
{
    BUF_AUTO struct buf pem = BUF_INIT(8192), body = BUF_INIT(65536), raw = BUF_INIT(256),
                        head = BUF_INIT(4096), input = BUF_INIT(65536), thumb = BUF_INIT(256);
    OK(acme_make_key(&pem));
    struct acme_request r = {buf_str(&pem), STR_NONE, STR("nonce-1"), STR("https://ca.test/new"),
                             STR("{\"a\":1}")};
    OK(acme_sign(&r, &body));
    OK(code_base64url_decode(&raw, member(&body, "signature")));
    buf_addf(&input, "%.*s.%.*s", STR_ARG(member(&body, "protected")),
             STR_ARG(member(&body, "payload")));
    verify(&pem, buf_str(&input), buf_str(&raw));
    OK(code_base64url_decode(&head, member(&body, "protected")));
    assert_true(
        str_starts(buf_str(&head), STR("{\"alg\":\"ES256\",\"nonce\":\"nonce-1\","
                                       "\"url\":\"https://ca.test/new\",\"jwk\":{\"crv\"")));
    OK(acme_thumbprint(buf_str(&pem), &thumb));
    assert_int_equal(thumb.len, 43);
    r.nonce = STR("x\",\"jwk\":{}");
    assert_int_equal(acme_sign(&r, &body), ERR_INVALID);
    r = (struct acme_request){.key_pem = STR("none")};
    assert_int_equal(acme_sign(&r, &body), ERR_INVALID);
}

static void test_certificate_request(void **state)
{
    static const str names[] = {STR_INIT("mail.example.test"), STR_INIT("mta-sts.example.test")};
    static const str bad[] = {STR_INIT("mail.example.test"), STR_INIT("x,DNS:y")};
    BUF_AUTO struct buf pem = BUF_INIT(8192), der = BUF_INIT(65536);
    OK(acme_make_key(&pem));
    OK(certificate_request(buf_str(&pem), names, 2, &der));
    const unsigned char *p = (const unsigned char *)der.data;
    X509_REQ *req = d2i_X509_REQ(NULL, &p, (long)der.len);
    assert_non_null(req);
    assert_int_equal(X509_REQ_verify(req, X509_REQ_get0_pubkey(req)), 1);
    X509_REQ_free(req);
    assert_int_equal(certificate_request(buf_str(&pem), bad, 2, &der), ERR_INVALID);
    assert_int_equal(certificate_request(STR("none"), names, 2, &der), ERR_INVALID);
}

/* RFC 8737 3: the name alone, the hash of the authorization, critical; and it signs itself. */
static void test_alpn_certificate(void **state)
{
    BUF_AUTO struct buf cert = BUF_INIT(8192), key = BUF_INIT(8192);
    ARENA_AUTO struct arena a = ARENA_INIT(65536);
    struct certificate_facts facts;
    uint8_t hash[34] = {0x04, 0x20};
    str name = STR("mail.example.test"), authorization = STR("token.thumbprint");
    OK(acme_alpn_certificate(name, authorization, &cert, &key));
    OK(certificate_read(buf_str(&cert), &a, &facts));
    assert_true(facts.self_signed && facts.nnames == 1 && str_eq(facts.names[0], name));
    BIO *b = BIO_new_mem_buf(cert.data, (int)cert.len);
    X509 *x = PEM_read_bio_X509(b, NULL, NULL, NULL);
    assert_int_equal(X509_verify(x, X509_get0_pubkey(x)), 1);
    ASN1_OBJECT *id = OBJ_txt2obj("1.3.6.1.5.5.7.1.31", 1);
    X509_EXTENSION *e = X509_get_ext(x, X509_get_ext_by_OBJ(x, id, -1));
    assert_non_null(e);
    assert_int_equal(X509_EXTENSION_get_critical(e), 1);
    EVP_Digest(authorization.data, authorization.len, hash + 2, NULL, EVP_sha256(), NULL);
    const ASN1_OCTET_STRING *value = X509_EXTENSION_get_data(e);
    assert_int_equal(ASN1_STRING_length(value), sizeof(hash));
    assert_memory_equal(ASN1_STRING_get0_data(value), hash, sizeof(hash));
    ASN1_OBJECT_free(id);
    X509_free(x);
    BIO_free(b);
    buf_reset(&key);
    assert_int_equal(acme_alpn_certificate(STR("x,DNS:y"), authorization, &cert, &key),
                     ERR_INVALID);
}

static void test_certificate(void **state)
{
    static const str names[] = {STR_INIT("mail.example.test"), STR_INIT("*.example.test")};
    BUF_AUTO struct buf ca = BUF_INIT(8192), ca_key = BUF_INIT(8192), cert = BUF_INIT(8192),
                        key = BUF_INIT(8192), leaf = BUF_INIT(8192);
    ARENA_AUTO struct arena a = ARENA_INIT(65536);
    struct certificate_facts c;
    uint8_t spki[32];
    tls_init();
    OK(tls_make_ca(STR("CA"), &ca, &ca_key));
    OK(tls_make_certificate(buf_str(&ca), buf_str(&ca_key), names, 2, false, &cert, &key));
    buf_add(&cert, buf_str(&key));
    OK(certificate_read(buf_str(&cert), &a, &c));
    OK(acme_key_spki(buf_str(&key), spki));
    assert_memory_equal(c.spki, spki, 32); /* the TLSA of a key and of its certificate are one */
    assert_int_equal(c.nnames, 2);
    assert_false(c.self_signed);
    assert_true(certificate_covers(&c, STR("MAIL.example.test")));
    assert_true(certificate_covers(&c, STR("mta-sts.example.test")));
    assert_false(certificate_covers(&c, STR("a.b.example.test")));
    assert_false(certificate_covers(&c, STR("example.test")));
    OK(certificate_leaf(buf_str(&cert), &leaf));
    assert_int_equal(str_find(buf_str(&leaf), STR("PRIVATE")), STR_NPOS);
    assert_int_equal(certificate_read(STR("x"), &a, &c), ERR_INVALID);
    assert_int_equal(certificate_leaf(STR_NONE, &leaf), ERR_INVALID);
}

static void test_when(void **state)
{
    struct certificate_facts c = {.not_before_s = 0, .not_after_s = 90 * 86400};
    assert_int_equal(certificate_renew_at(&c, 0), 60 * 86400);
    assert_int_equal(certificate_renew_at(&c, 1000), 60 * 86400 - 90 * 86400 / 20);
    assert_int_equal(acme_retry_s(0), 3600);
    assert_int_equal(acme_retry_s(1), 3600);
    assert_int_equal(acme_retry_s(3), 4 * 3600);
    assert_int_equal(acme_retry_s(1000000), 24 * 3600);
    /* rule: wire-8 */
    c = (struct certificate_facts){.not_before_s = 4294967296, .not_after_s = 4294967296 + 900};
    assert_int_equal(certificate_renew_at(&c, 0), 4294967296 + 600);
}

static void test_rows(void **state)
{
    struct store *s;
    ARENA_AUTO struct arena a = ARENA_INIT(65536);
    struct acme_account account = {STR("https://ca.test/dir"), STR("https://ca.test/1"),
                                   STR("key")};
    struct acme_state st;
    BUF_AUTO struct buf body = BUF_INIT(4096);
    struct directory d = {0};
    OK(store_open_memory(&s));
    d.store = s;
    OK(acme_state_get(s, &a, &st));
    assert_int_equal(st.failures, 0);
    assert_int_equal(acme_account_get(s, &a, &account), ERR_NOT_FOUND);
    OK(acme_account_put(s, &account));
    account = (struct acme_account){0};
    OK(acme_account_get(s, &a, &account));
    assert_true(str_eq(account.kid, STR("https://ca.test/1")));
    st = (struct acme_state){.next_try_s = 5000000000, .failures = 2, .error = STR("no")};
    OK(acme_state_put(s, &st));
    OK(acme_state_get(s, &a, &st));
    assert_true(st.next_try_s == 5000000000 && st.failures == 2 && str_eq(st.error, STR("no")));
    OK(acme_challenge_put(s, STR("tok_1-A"), STR("tok_1-A.thumb")));
    OK(policy_web_answer(&d, MTA_STS_TESTING, STR("m.test"), STR("x"),
                         STR("/.well-known/acme-challenge/tok_1-A"), false, &body));
    assert_true(str_eq(buf_str(&body), STR("tok_1-A.thumb")));
    OK(acme_challenge_remove(s, STR("tok_1-A")));
    static const char *const none[] = {"tok_1-A", "other", "a/b", "..", "", "%41"};
    for (size_t i = 0; i < ARRAY_LEN(none); i++) {
        str path = arena_fmt(&a, "/.well-known/acme-challenge/%s", none[i]);
        assert_int_equal(
            policy_web_answer(&d, MTA_STS_TESTING, STR("m.test"), STR("x"), path, false, &body),
            ERR_NOT_FOUND);
    }
    store_close(s);
}

static void test_policy(void **state)
{
    struct store *s;
    OK(store_open_memory(&s));
    struct directory d = {s};
    BUF_AUTO struct buf body = BUF_INIT(4096);
    ARENA_AUTO struct arena a = ARENA_INIT(65536);
    OK(directory_domain_add(&d, &(struct domain){.name = STR("example.test")}));
    OK(policy_web_answer(&d, MTA_STS_ENFORCE, STR("mail.example.test"), STR("MTA-STS.Example.test"),
                         POLICY_WEB_MTA_STS, true, &body));
    assert_true(str_eq(buf_str(&body), STR("version: STSv1\r\nmode: enforce\r\n"
                                           "mx: mail.example.test\r\nmax_age: 604800\r\n")));
    str id = policy_web_mta_sts_id(buf_str(&body), &a);
    assert_int_equal(id.len, 16);
    static const char *const not_ours[] = {"mta-sts.other.test", "example.test", "", "mta-sts."};
    for (size_t i = 0; i < ARRAY_LEN(not_ours); i++)
        assert_int_equal(policy_web_answer(&d, MTA_STS_ENFORCE, STR("m.test"), str_c(not_ours[i]),
                                           POLICY_WEB_MTA_STS, true, &body),
                         ERR_NOT_FOUND);
    assert_int_equal(policy_web_answer(&d, MTA_STS_ENFORCE, STR("m.test"),
                                       STR("mta-sts.example.test"), POLICY_WEB_MTA_STS, false,
                                       &body),
                     ERR_NOT_FOUND);
    assert_false(policy_web_path(STR("/")));
    assert_false(policy_web_path(STR("/.well-known/acme-challenge/")));
    store_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_certificate_request),
        cmocka_unit_test(test_alpn_certificate),
        cmocka_unit_test(test_certificate),
        cmocka_unit_test(test_when),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_policy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
