/* SPDX-License-Identifier: Apache-2.0 */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "net/stream_private.h"
#include "net/test_net.h"
#include "net/tls_keys.h"
#include "net/tls_private.h"
#include "os/clock.h"

enum { P256, P384, ED25519, ED448, RSA2048, KINDS };
static const char *const kind_names[KINDS] = {"P-256", "P-384", "ED25519", "ED448", "RSA"};
static struct buf chain[KINDS], key[KINDS];

static EVP_PKEY *make_key(int kind)
{
    switch (kind) {
    case P256:
    case P384:
        return EVP_PKEY_Q_keygen(NULL, NULL, "EC", kind_names[kind]);
    case ED25519:
    case ED448:
        return EVP_PKEY_Q_keygen(NULL, NULL, kind_names[kind]);
    default:
        return EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
    }
}

static void take_pem(BIO *b, struct buf *out)
{
    char *text;
    long len = BIO_get_mem_data(b, &text);
    *out = BUF_INIT(65536);
    buf_add(out, str_of(text, (size_t)len));
    BIO_free(b);
}

static void make_pair(int kind)
{
    EVP_PKEY *k = make_key(kind);
    X509 *x = X509_new();
    assert_true(k && x);
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), kind + 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -60);
    X509_gmtime_adj(X509_getm_notAfter(x), 86400);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                               (const unsigned char *)"a.example", -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    X509_set_pubkey(x, k);
    assert_true(X509_sign(x, k, kind == ED25519 || kind == ED448 ? NULL : EVP_sha256()) > 0);
    BIO *b = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_X509(b, x), 1);
    take_pem(b, &chain[kind]);
    b = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PrivateKey(b, k, NULL, NULL, 0, NULL, NULL), 1);
    take_pem(b, &key[kind]);
    X509_free(x);
    EVP_PKEY_free(k);
}

static struct tls_certificate pair(int kind)
{
    return (struct tls_certificate){buf_str(&chain[kind]), buf_str(&key[kind])};
}

/* ---- a signer that is as far away as another process ---- */

static struct elsewhere {
    struct tls_keys *keys;
    uint64_t wait_ms;
    enum err answer;
    unsigned asked, under_way, most_under_way;
    uint16_t scheme;
    size_t content_len;
} elsewhere;

static enum err sign(void *ctx, const uint8_t id[TLS_KEY_ID_BYTES], uint16_t scheme, str content,
                     struct buf *signature) WAITS
{
    struct elsewhere *e = ctx;
    e->asked++;
    e->scheme = scheme;
    e->content_len = content.len;
    e->under_way++;
    e->most_under_way = MAX(e->most_under_way, e->under_way);
    if (e->wait_ms)
        assert_int_equal(wait_until(deadline_in_ms(e->wait_ms)), ERR_TIMEOUT);
    /* What somebody else's failure leaves behind meanwhile. */
    ERR_raise(ERR_LIB_USER, ERR_R_INTERNAL_ERROR);
    e->under_way--;
    TRY(e->answer);
    return tls_keys_sign(e->keys, id, scheme, content, signature);
}
static const struct tls_signer signer = {&elsewhere, sign};

static void signer_with(int kind, uint64_t wait_ms)
{
    struct tls_certificate certificate = pair(kind);
    elsewhere = (struct elsewhere){.wait_ms = wait_ms};
    OK(tls_keys_open(&certificate, 1, NULL, &elsewhere.keys));
}

static struct tls_server *server_with(int kind)
{
    struct tls_server *s;
    struct tls_certificate public = {.chain_pem = buf_str(&chain[kind])};
    OK(tls_server_open(&public, 1, &signer, &s));
    return s;
}

/* ---- handshakes ---- */

struct meeting {
    struct ends ends;
    struct tls_server *server;
    struct tls_client *client;
    enum err server_result, client_result;
};

static void meet_server(void *arg)
{
    struct meeting *m = arg;
    m->server_result = stream_start_tls_server(m->ends.b, m->server);
    if (m->server_result != ERR_OK)
        stream_close(m->ends.b);
}

static void meet_client(void *arg)
{
    struct meeting *m = arg;
    m->client_result = stream_start_tls_client(m->ends.a, m->client, STR("a.example"));
}

static void meet_start(struct meeting *m, struct fiber_group *g, struct tls_server *s, int version)
{
    *m = (struct meeting){.server = s};
    OK(tls_client_open(TLS_VERIFY_NONE, STR_NONE, &m->client));
    SSL_CTX_set_max_proto_version(tls_client_context(m->client), version);
    ends_open(&m->ends);
    OK(fiber_start(g, "server", meet_server, m));
    OK(fiber_start(g, "client", meet_client, m));
}

static void meet_end(struct meeting *m)
{
    stream_close(m->ends.a);
    if (m->server_result == ERR_OK)
        stream_close(m->ends.b);
    tls_client_close(m->client);
}

struct kind_case {
    int kind, version;
    uint16_t scheme;
};

static void one_kind(void *arg)
{
    const struct kind_case *c = arg;
    struct fiber_group g;
    struct meeting m;
    fiber_group_init(&g);
    signer_with(c->kind, 2);
    struct tls_server *s = server_with(c->kind);
    meet_start(&m, &g, s, c->version);
    fiber_group_join(&g);
    OK(m.server_result);
    OK(m.client_result);
    assert_int_equal(elsewhere.asked, 1);
    assert_int_equal(elsewhere.scheme, c->scheme);
    meet_end(&m);
    tls_server_close(s);
    tls_keys_close(elsewhere.keys);
}

static void test_every_kind_of_key(void **state)
{
    static struct kind_case cases[] = {
        {P256, TLS1_3_VERSION, 0x0403},    {P256, TLS1_2_VERSION, 0x0403},
        {P384, TLS1_3_VERSION, 0x0503},    {P384, TLS1_2_VERSION, 0x0403},
        {ED25519, TLS1_3_VERSION, 0x0807}, {ED25519, TLS1_2_VERSION, 0x0807},
        {RSA2048, TLS1_3_VERSION, 0x0804}, {RSA2048, TLS1_2_VERSION, 0x0804},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        run_fibers(one_kind, NULL, &cases[i]);
}

/* The thread goes on with other handshakes while one waits for its signature. */
static void many_at_once(void *arg)
{
    static struct meeting m[64];
    struct fiber_group g;
    fiber_group_init(&g);
    signer_with(P256, 30);
    struct tls_server *s = server_with(P256);
    for (size_t i = 0; i < ARRAY_LEN(m); i++)
        meet_start(&m[i], &g, s, TLS1_3_VERSION);
    fiber_group_join(&g);
    for (size_t i = 0; i < ARRAY_LEN(m); i++) {
        OK(m[i].server_result);
        OK(m[i].client_result);
        meet_end(&m[i]);
    }
    assert_int_equal(elsewhere.asked, ARRAY_LEN(m));
    assert_true(elsewhere.most_under_way > 1);
    tls_server_close(s);
    tls_keys_close(elsewhere.keys);
}

static void test_many_wait_at_once(void **state) { run_fibers(many_at_once, NULL, NULL); }

/* Also the library's own queue of errors stays a handshake's own. */
static void refused(void *arg)
{
    struct fiber_group g;
    struct meeting m;
    fiber_group_init(&g);
    signer_with(P256, 0);
    elsewhere.answer = ERR_UNAVAILABLE;
    struct tls_server *s = server_with(P256);
    meet_start(&m, &g, s, TLS1_3_VERSION);
    fiber_group_join(&g);
    assert_int_equal(m.server_result, ERR_TLS);
    assert_int_not_equal(m.client_result, ERR_OK);
    meet_end(&m);
    elsewhere.answer = ERR_OK; /* it is back */
    meet_start(&m, &g, s, TLS1_3_VERSION);
    fiber_group_join(&g);
    OK(m.server_result);
    OK(m.client_result);
    meet_end(&m);
    tls_server_close(s);
    tls_keys_close(elsewhere.keys);
}

static void test_no_signature_no_session(void **state) { run_fibers(refused, NULL, NULL); }

static void test_what_is_no_pair(void **state)
{
    struct tls_keys *k;
    struct tls_server *s;
    size_t bad = 9;
    struct tls_certificate mixed[] = {pair(P256), {buf_str(&chain[P384]), buf_str(&key[P256])}};
    assert_int_equal(tls_keys_open(mixed, 2, &bad, &k), ERR_INVALID);
    assert_int_equal(bad, 1);
    struct tls_certificate junk = {STR("junk"), STR("junk")};
    assert_int_equal(tls_keys_open(&junk, 1, NULL, &k), ERR_INVALID);
    struct tls_certificate public = {.chain_pem = buf_str(&chain[P256])};
    assert_int_equal(tls_server_open(&public, 1, NULL, &s), ERR_INVALID);
    struct tls_certificate unknown = pair(ED448);
    assert_int_equal(tls_keys_open(&unknown, 1, NULL, &k), ERR_INVALID);
}

static void test_signs_by_the_scheme_only(void **state)
{
    BUF_AUTO struct buf signature = BUF_INIT(TLS_SIGNATURE_MAX);
    uint8_t id[TLS_KEY_ID_BYTES];
    struct tls_certificate certificate = pair(RSA2048);
    struct tls_keys *k;
    struct tls_pair parsed;
    OK(tls_keys_open(&certificate, 1, NULL, &k));
    assert_true(tls_pair_parse(&certificate, NULL, &parsed) && tls_key_id(parsed.leaf, id));
    OK(tls_keys_sign(k, id, 0x0804, STR("content"), &signature));
    assert_int_equal(signature.len, 256);
    assert_true(tls_keys_slow(k, id));
    assert_int_equal(tls_keys_sign(k, id, 0x0403, STR("content"), &signature), ERR_INVALID);
    assert_int_equal(tls_keys_sign(k, id, 0x0201, STR("content"), &signature), ERR_INVALID);
    id[0] ^= 1;
    assert_int_equal(tls_keys_sign(k, id, 0x0804, STR("content"), &signature), ERR_NOT_FOUND);
    tls_pair_free(&parsed);
    tls_keys_close(k);
}

static int setup(void **state)
{
    tls_init();
    for (int kind = 0; kind < KINDS; kind++)
        make_pair(kind);
    return 0;
}

static int teardown(void **state)
{
    for (int kind = 0; kind < KINDS; kind++) {
        buf_free(&chain[kind]);
        buf_free(&key[kind]);
    }
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind_of_key),        cmocka_unit_test(test_many_wait_at_once),
        cmocka_unit_test(test_no_signature_no_session),  cmocka_unit_test(test_what_is_no_pair),
        cmocka_unit_test(test_signs_by_the_scheme_only),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
