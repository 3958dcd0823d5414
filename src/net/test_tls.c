/* SPDX-License-Identifier: Apache-2.0 */
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <pthread.h>

#include "net/stream_private.h"
#include "net/test_net.h"
#include "net/tls_private.h"
#include "os/clock.h"

static struct pki pki;
static struct tls_server *server;
static struct tls_client *client;
static struct ends ends;
static str host = STR_INIT("mail.a.example");
static enum err server_result, client_result;

static void handshake_server(void *arg) { server_result = stream_start_tls_server(ends.b, server); }

static void handshake_client(void *arg)
{
    client_result = stream_start_tls_client(ends.a, client, host);
}

static void connect_tls(void)
{
    struct fiber_group g;
    fiber_group_init(&g);
    ends_open(&ends);
    OK(fiber_start(&g, "server", handshake_server, NULL));
    OK(fiber_start(&g, "client", handshake_client, NULL));
    fiber_group_join(&g);
}

static void talk(void)
{
    str line;
    stream_write(ends.a, STR("ping\r\n"));
    OK(stream_flush(ends.a));
    OK(stream_line(ends.b, 100, &line, NULL));
    assert_str(line, "ping");
    stream_write(ends.b, STR("pong\r\n"));
    OK(stream_flush(ends.b));
    OK(stream_line(ends.a, 100, &line, NULL));
    assert_str(line, "pong");
}

static int setup(void **state)
{
    pki_make(&pki);
    struct tls_certificate certs[] = {pki_certificate(&pki, PKI_A_EC),
                                      pki_certificate(&pki, PKI_A_RSA),
                                      pki_certificate(&pki, PKI_B_EC)};
    OK(tls_server_open(certs, ARRAY_LEN(certs), NULL, &server));
    OK(tls_client_open(TLS_VERIFY_NAME, buf_str(&pki.ca), &client));
    return 0;
}

static int teardown(void **state)
{
    tls_server_close(server);
    tls_client_close(client);
    pki_free(&pki);
    return 0;
}

/* A client of its own, so that no earlier session is resumed. */
static struct tls_client *fresh_client(void)
{
    struct tls_client *c;
    OK(tls_client_open(TLS_VERIFY_NAME, buf_str(&pki.ca), &c));
    return c;
}

static void versions_main(void *arg)
{
    struct tls_client *kept = client;
    int version = *(int *)arg;
    struct stream_tls_info info;
    BUF_AUTO struct buf ca = BUF_INIT(100), sb = BUF_INIT(100);
    client = fresh_client();
    SSL_CTX_set_max_proto_version(tls_client_context(client), version);
    connect_tls();
    OK(server_result);
    OK(client_result);
    assert_true(stream_is_tls(ends.a) && stream_is_tls(ends.b));
    /* The ticket waits for the first words; in TLS 1.2 the client waits for what is behind it. */
    assert_int_equal(ends.b->held.len > 0, version == TLS1_3_VERSION);
    talk();
    assert_int_equal(ends.b->held.len, 0);
    stream_tls_info(ends.b, &info);
    assert_string_equal(info.version, version == TLS1_3_VERSION ? "TLSv1.3" : "TLSv1.2");
    assert_str(info.server_name, "mail.a.example");
    assert_str(info.alpn, "");
    assert_non_null(strstr(info.cipher, "GCM"));
    assert_false(info.resumed);
    OK(stream_channel_binding(ends.a, STR("tls-server-end-point"), &ca));
    OK(stream_channel_binding(ends.b, STR("tls-server-end-point"), &sb));
    assert_int_equal(ca.len, 32);
    assert_true(str_eq(buf_str(&ca), buf_str(&sb)));
    buf_reset(&ca);
    buf_reset(&sb);
    enum err e = stream_channel_binding(ends.a, STR("tls-exporter"), &ca);
    assert_int_equal(e, version == TLS1_3_VERSION ? ERR_OK : ERR_UNSUPPORTED);
    assert_int_equal(stream_channel_binding(ends.b, STR("tls-exporter"), &sb), e);
    assert_true(str_eq(buf_str(&ca), buf_str(&sb)));
    assert_int_equal(stream_channel_binding(ends.b, STR("tls-unique"), &sb), ERR_UNSUPPORTED);
    assert_int_equal(stream_detach(ends.b, &sb), -1);
    /* The end is a close_notify and reads as an end. */
    stream_close(ends.a);
    assert_int_equal(stream_fill(ends.b, 0), ERR_EOF);
    stream_close(ends.b);
    tls_client_close(client);
    client = kept;
}

static void test_versions(void **state)
{
    run_fibers(versions_main, NULL, &(int){TLS1_2_VERSION});
    run_fibers(versions_main, NULL, &(int){TLS1_3_VERSION});
}

static void old_version_main(void *arg)
{
    struct tls_client *kept = client;
    client = fresh_client();
    SSL_CTX_set_min_proto_version(tls_client_context(client), TLS1_VERSION);
    SSL_CTX_set_max_proto_version(tls_client_context(client), TLS1_1_VERSION);
    SSL_CTX_set_security_level(tls_client_context(client), 0);
    connect_tls();
    assert_int_not_equal(server_result, ERR_OK);
    assert_int_not_equal(client_result, ERR_OK);
    ends_close(&ends);
    tls_client_close(client);
    client = kept;
}

static void test_old_versions_refused(void **state) { run_fibers(old_version_main, NULL, NULL); }

static int key_kind_seen(void)
{
    return EVP_PKEY_get_base_id(X509_get0_pubkey(SSL_get0_peer_certificate(ends.a->ssl)));
}

/* SNI picks the names; the client's signature algorithms pick the kind of key. */
static void sni_main(void *arg)
{
    struct tls_client *kept = client;
    client = fresh_client();
    connect_tls();
    OK(client_result);
    assert_int_equal(key_kind_seen(), EVP_PKEY_EC);
    ends_close(&ends);
    host = STR("Imap.B.example");
    connect_tls();
    OK(client_result);
    ends_close(&ends);
    host = STR("not.there.example"); /* gets the default, which does not verify */
    connect_tls();
    assert_int_equal(client_result, ERR_TLS);
    assert_int_not_equal(server_result, ERR_OK);
    ends_close(&ends);
    host = STR("x.y.b.example"); /* the wildcard is one label */
    connect_tls();
    assert_int_equal(client_result, ERR_TLS);
    ends_close(&ends);
    tls_client_close(client);
    client = fresh_client();
    host = STR("a.example");
    /* In TLS 1.3 the ECDSA one here needs P-384, which the server's certificate is not. */
    SSL_CTX_set1_sigalgs_list(tls_client_context(client), "ECDSA+SHA384:RSA-PSS+SHA256");
    SSL_CTX_set_min_proto_version(tls_client_context(client), TLS1_3_VERSION);
    connect_tls();
    OK(server_result);
    OK(client_result);
    assert_int_equal(key_kind_seen(), EVP_PKEY_RSA);
    ends_close(&ends);
    host = STR("mail.a.example");
    tls_client_close(client);
    client = kept;
}

static void test_sni_and_key_kind(void **state) { run_fibers(sni_main, NULL, NULL); }

static void rsa_only_main(void *arg)
{
    struct tls_client *kept = client;
    client = fresh_client();
    SSL_CTX_set_max_proto_version(tls_client_context(client), TLS1_2_VERSION);
    SSL_CTX_set_cipher_list(tls_client_context(client), "ECDHE-RSA-AES128-GCM-SHA256");
    connect_tls();
    OK(client_result);
    assert_int_equal(key_kind_seen(), EVP_PKEY_RSA);
    talk();
    ends_close(&ends);
    tls_client_close(client);
    client = kept;
}

static void test_rsa_client(void **state) { run_fibers(rsa_only_main, NULL, NULL); }

/* A new set for new handshakes; the old session talks on, and its ticket still works. */
static void reload_main(void *arg)
{
    struct tls_client *kept = client;
    struct stream_tls_info info;
    BUF_AUTO struct buf before = BUF_INIT(100), after = BUF_INIT(100);
    client = fresh_client();
    connect_tls();
    OK(client_result);
    talk(); /* takes the ticket in */
    OK(stream_channel_binding(ends.b, STR("tls-server-end-point"), &before));
    struct ends old = ends;
    struct tls_certificate other = pki_certificate(&pki, PKI_OTHER_EC);
    struct tls_certificate bad = {buf_str(&pki.cert[PKI_A_EC]), buf_str(&pki.key[PKI_B_EC])};
    assert_int_equal(tls_server_reload(server, &bad, 1), ERR_INVALID);
    assert_int_equal(tls_server_reload(server, NULL, 0), ERR_INVALID);
    OK(tls_server_reload(server, &other, 1));
    connect_tls();
    OK(client_result);
    stream_tls_info(ends.b, &info);
    assert_true(info.resumed);
    OK(stream_channel_binding(ends.b, STR("tls-server-end-point"), &after));
    assert_true(str_eq(buf_str(&before), buf_str(&after))); /* the certificate that was sent then */
    talk();
    ends_close(&ends);
    tls_client_close(client);
    client = fresh_client();
    connect_tls();
    OK(client_result);
    BUF_AUTO struct buf fresh = BUF_INIT(100);
    OK(stream_channel_binding(ends.a, STR("tls-server-end-point"), &fresh));
    assert_false(str_eq(buf_str(&before), buf_str(&fresh)));
    ends_close(&ends);
    ends = old;
    talk();
    ends_close(&ends);
    struct tls_certificate certs[] = {pki_certificate(&pki, PKI_A_EC),
                                      pki_certificate(&pki, PKI_A_RSA),
                                      pki_certificate(&pki, PKI_B_EC)};
    OK(tls_server_reload(server, certs, ARRAY_LEN(certs)));
    tls_client_close(client);
    client = kept;
}

static void test_reload(void **state) { run_fibers(reload_main, NULL, NULL); }

static void resume_main(void *arg)
{
    struct tls_client *kept = client;
    client = fresh_client();
    SSL_CTX_set_max_proto_version(tls_client_context(client), *(int *)arg);
    for (int i = 0; i < 3; i++) {
        struct stream_tls_info info;
        connect_tls();
        OK(client_result);
        talk();
        stream_tls_info(ends.a, &info);
        assert_int_equal(info.resumed, i > 0);
        ends_close(&ends);
    }
    tls_client_close(client);
    client = kept;
}

static void test_resumption(void **state)
{
    run_fibers(resume_main, NULL, &(int){TLS1_2_VERSION});
    run_fibers(resume_main, NULL, &(int){TLS1_3_VERSION});
}

static int ticket_use(struct tls_tickets *k, unsigned char name[16], bool encrypt)
{
    unsigned char iv[16] = {0};
    EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
    EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *mac = EVP_MAC_CTX_new(hmac);
    int r = tls_tickets_use(k, name, iv, cipher, mac, encrypt);
    EVP_MAC_CTX_free(mac);
    EVP_MAC_free(hmac);
    EVP_CIPHER_CTX_free(cipher);
    return r;
}

/* As gates that were forked from one parent at different times. */
static void test_tickets_are_good_at_every_gate(void **state)
{
    unsigned char seed[TLS_TICKETS_SEED] = {42}, first[16], name[16];
    uint64_t now = clock_mono_ms();
    struct tls_tickets *one = tls_tickets_new(seed, now), *other = tls_tickets_new(seed, now);
    seed[0] = 43;
    struct tls_tickets *stranger = tls_tickets_new(seed, now);
    assert_int_equal(ticket_use(one, first, true), 1);
    assert_int_equal(ticket_use(other, first, false), 1);
    assert_int_equal(ticket_use(stranger, first, false), 0);
    for (uint64_t turn = 1; turn <= 3; turn++)
        tls_tickets_turn(one, now + turn * TLS_TICKETS_LIFE_MS);
    tls_tickets_turn(other, now + 3 * TLS_TICKETS_LIFE_MS);
    assert_int_equal(ticket_use(one, name, true), 1);
    assert_memory_not_equal(name, first, sizeof name);
    assert_int_equal(ticket_use(other, name, false), 1);
    assert_int_equal(ticket_use(other, first, false), 0); /* too old */
    tls_tickets_turn(other, now + 4 * TLS_TICKETS_LIFE_MS);
    assert_int_equal(ticket_use(other, name, false), 2); /* good, and to be renewed */
    tls_tickets_free(one);
    tls_tickets_free(other);
    tls_tickets_free(stranger);
}

/* rule: wire-2. Commands that came in the clear behind STARTTLS are not taken for encrypted ones.
 */
static void injection_main(void *arg)
{
    str line;
    ends_open(&ends);
    stream_write(ends.a, STR("STARTTLS\r\nMAIL FROM:<evil@example.com>\r\n"));
    OK(stream_flush(ends.a));
    OK(stream_line(ends.b, 100, &line, NULL));
    stream_write(ends.b, STR("220 go ahead\r\n"));
    assert_int_equal(stream_start_tls_server(ends.b, server), ERR_INVALID);
    assert_int_equal(stream_error(ends.b), ERR_INVALID);
    assert_false(stream_is_tls(ends.b));
    assert_int_equal(stream_line(ends.b, 100, &line, NULL), ERR_INVALID);
    ends_close(&ends);
    /* The same in a second packet: the handshake fails on it, nothing gets through. */
    ends_open(&ends);
    stream_write(ends.a, STR("MAIL FROM:<evil@example.com>\r\n"));
    OK(stream_flush(ends.a));
    assert_int_equal(stream_start_tls_server(ends.b, server), ERR_TLS);
    assert_int_equal(stream_line(ends.b, 100, &line, NULL), ERR_TLS);
    ends_close(&ends);
    /* A server that answers before the handshake fares no better with our client (relay). */
    ends_open(&ends);
    stream_write(ends.b, STR("220 go\r\n250 injected\r\n"));
    OK(stream_flush(ends.b));
    OK(stream_line(ends.a, 100, &line, NULL));
    assert_int_equal(stream_start_tls_client(ends.a, client, host), ERR_INVALID);
    ends_close(&ends);
}

static void test_rule_wire_2_starttls_injection(void **state)
{
    run_fibers(injection_main, NULL, NULL);
}

static void silent_main(void *arg)
{
    ends_open(&ends);
    stream_set_timeouts(ends.b, 5, 5);
    assert_int_equal(stream_start_tls_server(ends.b, server), ERR_TIMEOUT);
    ends_close(&ends);
    ends_open(&ends);
    stream_close(ends.a);
    assert_int_equal(stream_start_tls_server(ends.b, server), ERR_EOF);
    stream_close(ends.b);
}

static void test_silent_peer(void **state) { run_fibers(silent_main, NULL, NULL); }

static void alpn_main(void *arg)
{
    static const str names[] = {STR_INIT("imap"), STR_INIT("pop3")};
    struct tls_client *kept = client;
    struct stream_tls_info info;
    tls_server_set_alpn(server, names, 2);
    client = fresh_client();
    SSL_CTX_set_alpn_protos(tls_client_context(client), (const unsigned char *)"\4pop3\4imap", 10);
    connect_tls();
    OK(client_result);
    stream_tls_info(ends.b, &info);
    assert_str(info.alpn, "imap");
    ends_close(&ends);
    SSL_CTX_set_alpn_protos(tls_client_context(client), (const unsigned char *)"\2h2", 3);
    connect_tls();
    assert_int_equal(client_result, ERR_TLS);
    ends_close(&ends);
    tls_server_set_alpn(server, NULL, 0);
    tls_client_close(client);
    client = kept;
}

static void test_alpn(void **state) { run_fibers(alpn_main, NULL, NULL); }

static void use_certificate(SSL_CTX *ctx, int which)
{
    BIO *b = BIO_new_mem_buf(pki.cert[which].data, (int)pki.cert[which].len);
    BIO *k = BIO_new_mem_buf(pki.key[which].data, (int)pki.key[which].len);
    X509 *x = PEM_read_bio_X509(b, NULL, NULL, NULL);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(k, NULL, NULL, NULL);
    assert_int_equal(SSL_CTX_use_cert_and_key(ctx, x, key, NULL, 1), 1);
    X509_free(x);
    EVP_PKEY_free(key);
    BIO_free(b);
    BIO_free(k);
}

static void client_certificate_main(void *arg)
{
    struct tls_client *kept = client;
    struct tls_server *kept_server = server;
    struct stream_tls_info info;
    struct tls_certificate own = pki_certificate(&pki, PKI_A_EC);
    OK(tls_server_open(&own, 1, NULL, &server));
    bool ours = *(bool *)arg;
    BUF_AUTO struct buf ca = BUF_INIT(65536), ca_key = BUF_INIT(65536);
    OK(tls_make_ca(STR("Another"), &ca, &ca_key));
    OK(tls_server_set_client_ca(server, buf_str(ours ? &pki.ca : &ca)));
    client = fresh_client();
    connect_tls(); /* without one */
    OK(client_result);
    OK(server_result);
    talk();
    stream_tls_info(ends.b, &info);
    assert_str(info.client_certificate_name, "");
    ends_close(&ends);
    tls_client_close(client);
    client = fresh_client();
    use_certificate(tls_client_context(client), PKI_B_EC);
    connect_tls();
    OK(server_result);
    talk();
    stream_tls_info(ends.b, &info);
    assert_str(info.client_certificate_name, ours ? "*.b.example" : "");
    ends_close(&ends);
    tls_client_close(client);
    tls_server_close(server);
    client = kept;
    server = kept_server;
}

static void test_client_certificate(void **state)
{
    run_fibers(client_certificate_main, NULL, &(bool){true});
    run_fibers(client_certificate_main, NULL, &(bool){false});
}

#define BULK (2u << 20)
static char bulk[BULK];

static void write_bulk(void *arg)
{
    struct stream *s = arg;
    for (size_t at = 0; at < BULK; at += BULK / 64)
        stream_write(s, str_of(bulk + at, BULK / 64));
    OK(stream_flush(s));
}

static void read_bulk(void *arg)
{
    struct stream *s = arg;
    for (size_t at = 0; at < BULK;) {
        OK(stream_fill(s, 0));
        str got = stream_buffered(s);
        assert_memory_equal(got.data, bulk + at, got.len);
        at += got.len;
        stream_skip(s, got.len);
    }
}

static void bulk_main(void *arg)
{
    struct fiber_group g;
    fiber_group_init(&g);
    fill_noise(bulk, BULK, 5);
    connect_tls();
    if (*(bool *)arg) {
        OK(stream_start_deflate(ends.a));
        OK(stream_start_deflate(ends.b));
    }
    OK(fiber_start(&g, "wa", write_bulk, ends.a));
    OK(fiber_start(&g, "wb", write_bulk, ends.b));
    OK(fiber_start(&g, "ra", read_bulk, ends.a));
    OK(fiber_start(&g, "rb", read_bulk, ends.b));
    fiber_group_join(&g);
    assert_true(stream_is_idle(ends.a) && stream_is_idle(ends.b));
    ends_close(&ends);
}

static void test_bulk_both_ways(void **state)
{
    run_fibers(bulk_main, NULL, &(bool){false});
    run_fibers(bulk_main, NULL, &(bool){true});
}

/* Parked TLS: several lines in one record, records that carry nothing, then an end. */
static struct park park;
static struct fiber_group group;
static unsigned turns, lines;

static void parked_session(void *arg)
{
    str line;
    turns++;
    while (stream_line(ends.b, 100, &line, NULL) == ERR_OK) {
        lines++;
        stream_write(ends.b, STR("ok\r\n"));
        if (stream_has_input(ends.b))
            continue;
        OK(stream_flush(ends.b));
        if (!stream_is_idle(ends.b))
            continue;
        OK(stream_park(ends.b, &park, NULL, DEADLINE_NEVER, &group, "tls", parked_session, NULL));
        return;
    }
    assert_int_equal(stream_error(ends.b), ERR_EOF);
}

static void park_main(void *arg)
{
    str line;
    fiber_group_init(&group);
    connect_tls();
    OK(stream_park(ends.b, &park, NULL, DEADLINE_NEVER, &group, "tls", parked_session, NULL));
    for (int i = 0; i < 10; i++) {
        assert_int_equal(SSL_key_update(ends.a->ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        assert_int_equal(SSL_do_handshake(ends.a->ssl), 1);
        fiber_yield();
        fiber_yield();
        assert_int_equal(turns, i); /* the key update alone did not bother the session */
        stream_write(ends.a, STR("one\r\ntwo\r\n"));
        OK(stream_flush(ends.a));
        OK(stream_line(ends.a, 100, &line, NULL));
        OK(stream_line(ends.a, 100, &line, NULL));
        assert_int_equal(lines, 2 * (i + 1));
    }
    stream_close(ends.a);
    fiber_group_join(&group);
    stream_close(ends.b);
}

static void test_park(void **state) { run_fibers(park_main, NULL, NULL); }

/* Off a fiber, on two threads that block. */
static void *client_thread(void *arg)
{
    str line;
    handshake_client(NULL);
    stream_write(ends.a, STR("ping\r\n"));
    OK(stream_flush(ends.a));
    OK(stream_line(ends.a, 100, &line, NULL));
    assert_str(line, "pong");
    return NULL;
}

static void test_blocking(void **state)
{
    pthread_t t;
    str line;
    ends_open(&ends);
    assert_int_equal(pthread_create(&t, NULL, client_thread, NULL), 0);
    handshake_server(NULL);
    OK(server_result);
    OK(stream_line(ends.b, 100, &line, NULL));
    assert_str(line, "ping");
    stream_write(ends.b, STR("pong\r\n"));
    OK(stream_flush(ends.b));
    pthread_join(t, NULL);
    OK(client_result);
    ends_close(&ends);
}

static void test_made_certificates(void **state)
{
    int64_t expiry, now = clock_wall_s();
    OK(tls_certificate_expiry(buf_str(&pki.cert[0]), &expiry));
    assert_true(expiry > now + 396 * 86400 && expiry <= now + 397 * 86400);
    OK(tls_certificate_expiry(buf_str(&pki.ca), &expiry));
    assert_true(expiry > now + 3649ll * 86400);
    assert_int_equal(tls_certificate_expiry(STR("nonsense"), &expiry), ERR_INVALID);
    struct tls_server *s;
    struct tls_certificate junk = {STR("junk"), STR("junk")};
    assert_int_equal(tls_server_open(&junk, 1, NULL, &s), ERR_INVALID);
    assert_null(s);
    struct tls_client *c;
    assert_int_equal(tls_client_open(TLS_VERIFY_NAME, STR("junk"), &c), ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_made_certificates),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_old_versions_refused),
        cmocka_unit_test(test_sni_and_key_kind),
        cmocka_unit_test(test_rsa_client),
        cmocka_unit_test(test_reload),
        cmocka_unit_test(test_resumption),
        cmocka_unit_test(test_tickets_are_good_at_every_gate),
        cmocka_unit_test(test_rule_wire_2_starttls_injection),
        cmocka_unit_test(test_silent_peer),
        cmocka_unit_test(test_alpn),
        cmocka_unit_test(test_client_certificate),
        cmocka_unit_test(test_bulk_both_ways),
        cmocka_unit_test(test_park),
        cmocka_unit_test(test_blocking),
    };
    tls_init();
    return cmocka_run_group_tests(tests, setup, teardown);
}
