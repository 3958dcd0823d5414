/* SPDX-License-Identifier: Apache-2.0
 *
 * Every mechanism from its first message to its last, in the clear and over TLS.
 * rule: wire-3
 */
#include "core/test_people.h"

#include "base/code.h"
#include "base/num.h"
#include "core/house_local.h"
#include "core/sasl.h"
#include "net/tls.h"
#include "os/sock.h"

#define GARBAGE_ROUNDS 3000

/* A connection with TLS or without, and a house that knows a@example.test, "alpha". */
struct talk {
    struct people p;
    struct house_local local;
    struct house house;
    struct stream *server, *client;
    struct sasl sasl;
    struct buf challenge;
    enum err why;
    bool secure;
    void (*test)(struct talk *t);
    struct tls_server *tls_server;
    struct tls_client *tls_client;
};

static void begin(struct talk *t)
{
    sasl_free(&t->sasl);
    sasl_init(&t->sasl, &t->house, t->server, PROTOCOL_IMAP, t->secure, &t->p.a);
    buf_reset(&t->challenge);
    t->why = ERR_OK;
}

static enum sasl_result start(struct talk *t, const char *mechanism, const str *initial)
{
    begin(t);
    return sasl_start(&t->sasl, str_c(mechanism), initial, &t->challenge, &t->why);
}

static enum sasl_result step(struct talk *t, str response)
{
    /* The response lives in a buffer that the protocol uses again. */
    BUF_AUTO struct buf copy = BUF_INIT(SASL_MESSAGE_MAX);
    buf_add(&copy, response);
    buf_reset(&t->challenge);
    return sasl_step(&t->sasl, buf_str(&copy), &t->challenge, &t->why);
}

static void talk_open(struct talk *t, bool secure)
{
    int fds[2];
    *t = (struct talk){.secure = secure, .challenge = BUF_INIT(SASL_MESSAGE_MAX)};
    people_open(&t->p);
    uint64_t id = people_account(&t->p, "a@example.test");
    people_password(&t->p, id, 0, PROTOCOL_ALL, 0, "alpha");
    people_password(&t->p, id, CREDENTIAL_NEW, PROTOCOL_IMAP, 0, "phone");
    t->local.directory = t->p.d;
    struct auth_policy policy = {100000, 100000, 60000, 60000};
    OK(auth_open(&t->local.directory, &policy, &hasher_here, &t->local.auth));
    house_local_table(&t->local, &t->house);
    OK(sock_pair(fds));
    OK(stream_open(fds[0], &t->server));
    OK(stream_open(fds[1], &t->client));
    struct address peer;
    assert_true(address_parse(STR("192.0.2.1"), &peer));
    stream_set_peer(t->server, &peer, &peer);
    begin(t);
}

static void talk_close(struct talk *t)
{
    sasl_free(&t->sasl);
    stream_close(t->server);
    stream_close(t->client);
    buf_free(&t->challenge);
    auth_close(t->local.auth);
    people_close(&t->p);
}

static void mechanisms_are(struct talk *t, const char *wanted)
{
    BUF_AUTO struct buf got = BUF_INIT(512);
    sasl_mechanisms(t->server, t->secure, &got);
    assert_true(str_eq(buf_str(&got), str_c(wanted)));
}

/* ---- PLAIN and LOGIN ---- */

static void plain_and_login(void **state)
{
    struct talk t;
    static const struct {
        str message;
        enum err wanted;
    } rows[] = {
        {STR_INIT("\0a@example.test\0alpha"), ERR_OK},
        {STR_INIT("\0a@example.test\0phone"), ERR_OK},
        {STR_INIT("a@example.test\0A@example.test\0alpha"), ERR_OK},
        {STR_INIT("b@example.test\0a@example.test\0alpha"), ERR_AUTH},
        {STR_INIT("\0a@example.test\0wrong"), ERR_AUTH},
        {STR_INIT("\0nobody@example.test\0alpha"), ERR_AUTH},
        {STR_INIT("\0a@example.test"), ERR_SYNTAX},
        {STR_INIT(""), ERR_SYNTAX},
        {STR_INIT("\0a@example.test\0al\0pha"), ERR_SYNTAX},
    };
    talk_open(&t, true);
    mechanisms_are(&t, " SCRAM-SHA-256 PLAIN LOGIN");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        enum sasl_result wanted = rows[i].wanted ? SASL_FAILED : SASL_DONE;
        assert_int_equal(start(&t, "plain", &rows[i].message), wanted);
        assert_int_equal(t.why, rows[i].wanted);
        assert_int_equal(start(&t, "PLAIN", NULL), SASL_CONTINUE);
        assert_int_equal(t.challenge.len, 0);
        assert_int_equal(step(&t, rows[i].message), wanted);
    }
    assert_int_equal(start(&t, "LOGIN", NULL), SASL_CONTINUE);
    assert_true(str_eq(buf_str(&t.challenge), STR("Username:")));
    assert_int_equal(step(&t, STR("a@example.test")), SASL_CONTINUE);
    assert_true(str_eq(buf_str(&t.challenge), STR("Password:")));
    assert_int_equal(step(&t, STR("alpha")), SASL_DONE);
    assert_true(str_eq(t.sasl.grant.address, STR("a@example.test")));
    str user = STR("a@example.test");
    assert_int_equal(start(&t, "LOGIN", &user), SASL_CONTINUE);
    assert_int_equal(step(&t, STR("wrong")), SASL_FAILED);
    assert_int_equal(t.why, ERR_AUTH);
    talk_close(&t);
}

static void what_is_not_offered_is_refused(void **state)
{
    struct talk t;
    str plain = STR("\0a@example.test\0alpha"), empty = STR("");
    talk_open(&t, false);
    mechanisms_are(&t, "");
    assert_int_equal(start(&t, "PLAIN", &plain), SASL_FAILED);
    assert_int_equal(t.why, ERR_TLS_REQUIRED);
    t.secure = true;
    static const char *unknown[] = {"", "CRAM-MD5", "PLAIN ", "EXTERNAL", "SCRAM-SHA-256-PLUS"};
    for (size_t i = 0; i < ARRAY_LEN(unknown); i++) {
        assert_int_equal(start(&t, unknown[i], &empty), SASL_FAILED);
        assert_int_equal(t.why, ERR_UNSUPPORTED);
    }
    talk_close(&t);
}

/* ---- SCRAM, the client's side ---- */

struct client {
    const char *gs2, *password, *user;
    str binding; /* data behind the gs2 header */
    bool spoil_nonce, spoil_proof;
};

/* "r=…,s=…,i=…" → its parts. */
static void first_take(str first, str *nonce, uint8_t salt[16], uint32_t *iterations)
{
    str s, i, rest;
    BUF_AUTO struct buf raw = BUF_INIT(64);
    uint64_t n;
    assert_true(str_cut(first, ',', nonce, &rest) && str_cut(rest, ',', &s, &i));
    OK(code_base64_decode(&raw, str_skip(s, 2)));
    assert_int_equal(raw.len, 16);
    memcpy(salt, raw.data, 16);
    assert_true(num_parse_u64(str_skip(i, 2), 100000, &n));
    *iterations = (uint32_t)n;
}

static enum sasl_result scram(struct talk *t, const char *mechanism, const struct client *c)
{
    struct arena *a = &t->p.a;
    uint8_t salt[16], proof[32];
    uint32_t iterations;
    str nonce, bare = arena_fmt(a, "n=%s,r=fyko+d2lbbFgONRv9qkxdawL", c->user);
    str message = arena_fmt(a, "%s%.*s", c->gs2, STR_ARG(bare));
    if (start(t, mechanism, &message) != SASL_CONTINUE)
        return SASL_FAILED;
    str first = arena_fmt(a, "%.*s", STR_ARG(buf_str(&t->challenge)));
    first_take(first, &nonce, salt, &iterations);
    BUF_AUTO struct buf bound = BUF_INIT(4096), bound64 = BUF_INIT(8192), proof64 = BUF_INIT(128);
    buf_add_c(&bound, c->gs2);
    buf_add(&bound, c->binding);
    code_base64(&bound64, buf_str(&bound));
    str without = arena_fmt(a, "c=%.*s,%.*s%s", STR_ARG(buf_str(&bound64)), STR_ARG(nonce),
                            c->spoil_nonce ? "x" : "");
    scram_prove(c->password, salt, iterations,
                arena_fmt(a, "%.*s,%.*s,%.*s", STR_ARG(bare), STR_ARG(first), STR_ARG(without)),
                proof);
    proof[5] ^= c->spoil_proof;
    code_base64(&proof64, str_of(proof, 32));
    return step(t, arena_fmt(a, "%.*s,p=%.*s", STR_ARG(without), STR_ARG(buf_str(&proof64))));
}

static void scram_in_the_clear(void **state)
{
    struct talk t;
    struct client c = {.gs2 = "n,,", .user = "a@example.test", .password = "alpha"};
    talk_open(&t, true);
    assert_int_equal(scram(&t, "SCRAM-SHA-256", &c), SASL_DONE);
    assert_true(str_starts(buf_str(&t.challenge), STR("v=")));
    c.password = "phone"; /* any of the account's credentials */
    assert_int_equal(scram(&t, "scram-sha-256", &c), SASL_DONE);
    c.gs2 = "y,,"; /* the client can bind, and thinks that we cannot: right, without TLS */
    assert_int_equal(scram(&t, "SCRAM-SHA-256", &c), SASL_DONE);
    c.gs2 = "n,a=a@example.test,";
    assert_int_equal(scram(&t, "SCRAM-SHA-256", &c), SASL_DONE);
    c.gs2 = "n,a=b@example.test,";
    assert_int_equal(scram(&t, "SCRAM-SHA-256", &c), SASL_FAILED);
    c.gs2 = "n,,";
    c.password = "wrong";
    assert_int_equal(scram(&t, "SCRAM-SHA-256", &c), SASL_FAILED);
    assert_int_equal(t.why, ERR_AUTH);
    c.user = "nobody@example.test";
    assert_int_equal(scram(&t, "SCRAM-SHA-256", &c), SASL_FAILED);
    assert_int_equal(t.why, ERR_AUTH);
    c = (struct client){.gs2 = "n,,", .user = "a@example.test", .password = "alpha"};
    c.spoil_nonce = true;
    assert_int_equal(scram(&t, "SCRAM-SHA-256", &c), SASL_FAILED);
    c.spoil_nonce = false;
    c.spoil_proof = true;
    assert_int_equal(scram(&t, "SCRAM-SHA-256", &c), SASL_FAILED);
    talk_close(&t);
}

/* ---- over TLS ---- */

static void handshake_server(void *arg)
{
    struct talk *t = arg;
    OK(stream_start_tls_server(t->server, t->tls_server));
    t->secure = true;
    t->test(t);
}

static void handshake_client(void *arg)
{
    struct talk *t = arg;
    OK(stream_start_tls_client(t->client, t->tls_client, STR("mail.example.test")));
}

static void over_tls(void (*test)(struct talk *t))
{
    struct talk t;
    struct loop *loop;
    struct fiber_group group;
    static const str names[] = {STR_INIT("mail.example.test")};
    struct buf pem[4];
    for (size_t i = 0; i < 4; i++)
        pem[i] = BUF_INIT(65536);
    OK(tls_make_ca(STR("Test CA"), &pem[0], &pem[1]));
    OK(tls_make_certificate(buf_str(&pem[0]), buf_str(&pem[1]), names, 1, false, &pem[2], &pem[3]));
    struct tls_certificate cert = {buf_str(&pem[2]), buf_str(&pem[3])};
    OK(loop_open(&loop, &(struct loop_options){.name = "test", .slice_warn_ms = 10000}));
    fiber_group_init(&group);
    talk_open(&t, false);
    t.test = test;
    OK(tls_server_open(&cert, 1, NULL, &t.tls_server));
    OK(tls_client_open(TLS_VERIFY_NAME, buf_str(&pem[0]), &t.tls_client));
    OK(fiber_start(&group, "server", handshake_server, &t));
    OK(fiber_start(&group, "client", handshake_client, &t));
    loop_run_until_idle(loop);
    assert_true(t.secure);
    tls_server_close(t.tls_server);
    tls_client_close(t.tls_client);
    talk_close(&t);
    loop_close(loop);
    for (size_t i = 0; i < 4; i++)
        buf_free(&pem[i]);
}

static void bound_ones(struct talk *t)
{
    BUF_AUTO struct buf exporter = BUF_INIT(1024), endpoint = BUF_INIT(1024);
    struct client c = {.user = "a@example.test", .password = "alpha"};
    mechanisms_are(t, " SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN");
    OK(stream_channel_binding(t->client, STR("tls-exporter"), &exporter));
    OK(stream_channel_binding(t->client, STR("tls-server-end-point"), &endpoint));
    c.gs2 = "p=tls-exporter,,";
    c.binding = buf_str(&exporter);
    assert_int_equal(scram(t, "SCRAM-SHA-256-PLUS", &c), SASL_DONE);
    c.gs2 = "p=tls-server-end-point,,";
    assert_int_equal(scram(t, "SCRAM-SHA-256-PLUS", &c), SASL_FAILED); /* the other's data */
    c.binding = buf_str(&endpoint);
    assert_int_equal(scram(t, "SCRAM-SHA-256-PLUS", &c), SASL_DONE);
    c.gs2 = "p=tls-unique,,";
    assert_int_equal(scram(t, "SCRAM-SHA-256-PLUS", &c), SASL_FAILED);
    /* Somebody in between who binds to nothing, or to his own connection. */
    c.gs2 = "p=tls-exporter,,";
    c.binding = STR("0123456789abcdef0123456789abcdef");
    assert_int_equal(scram(t, "SCRAM-SHA-256-PLUS", &c), SASL_FAILED);
    assert_int_equal(t->why, ERR_AUTH);
    /* Binding under the name without -PLUS, and -PLUS without binding. */
    c.binding = buf_str(&exporter);
    assert_int_equal(scram(t, "SCRAM-SHA-256", &c), SASL_FAILED);
    c.gs2 = "n,,";
    c.binding = STR_NONE;
    assert_int_equal(scram(t, "SCRAM-SHA-256-PLUS", &c), SASL_FAILED);
    assert_int_equal(scram(t, "SCRAM-SHA-256", &c), SASL_DONE);
    /* RFC 5802 6: the client did not see -PLUS in our list: somebody took it out. */
    c.gs2 = "y,,";
    assert_int_equal(scram(t, "SCRAM-SHA-256", &c), SASL_FAILED);
    assert_int_equal(t->why, ERR_AUTH);
    str empty = STR("");
    assert_int_equal(start(t, "EXTERNAL", &empty), SASL_FAILED); /* no client certificate */
    assert_int_equal(t->why, ERR_UNSUPPORTED);
}

static void scram_plus_is_bound_to_the_channel(void **state) { over_tls(bound_ones); }

/* ---- anything at all ---- */

static void garbage_ends_in_refusal(void **state)
{
    static const char *names[] = {"SCRAM-SHA-256", "PLAIN", "LOGIN"};
    static const char letters[] = "\0\0,,==n=r=cbiwsp=a@\xc3\xa9\r\n19";
    struct talk t;
    uint64_t seed = 42;
    talk_open(&t, true);
    for (int round = 0; round < GARBAGE_ROUNDS; round++) {
        char bytes[64];
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        size_t n = (seed >> 40) % sizeof bytes;
        for (size_t i = 0; i < n; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            bytes[i] = letters[(seed >> 40) % sizeof letters];
        }
        str message = str_of(bytes, n);
        enum sasl_result r = start(&t, names[round % 3], &message);
        for (int i = 0; i < 4 && r == SASL_CONTINUE; i++)
            r = step(&t, message);
        assert_int_equal(r, SASL_FAILED);
        assert_int_not_equal(t.why, ERR_OK);
    }
    talk_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_and_login),
        cmocka_unit_test(what_is_not_offered_is_refused),
        cmocka_unit_test(scram_in_the_clear),
        cmocka_unit_test(scram_plus_is_bound_to_the_channel),
        cmocka_unit_test(garbage_ends_in_refusal),
    };
    tls_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
