/* SPDX-License-Identifier: Apache-2.0
 *
 * The keys role over links to a gate and to the house: what it signs and what not, the limits of
 * hashing, and what a death of it costs those who ask.
 * rule: proc-1 — a gate gets signatures of handshakes, never a key and never another signature.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "app/keys_calls.h"
#include "app/keys_peer.h"
#include "base/num.h"
#include "os/loop.h"
#include "os/offload.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

#define OK(call) assert_int_equal((call), ERR_OK)
enum { ECDSA_SHA256 = 0x0403, RSA_PKCS1_SHA256 = 0x0401, RSA_PSS_SHA256 = 0x0804 };

static struct pair {
    struct buf chain, key;
    EVP_PKEY *public;
    uint8_t id[TLS_KEY_ID_BYTES];
} ecdsa, rsa;

struct world {
    struct fiber_group group;
    struct keys_state state;
    struct keys_caller gate_caller, house_caller;
    struct ipc_slot for_gate, for_house; /* in the keys role */
    struct keys_peer gate, house;
};

/* What a server signs in TLS 1.3 (RFC 8446 4.4.3). */
static str verify_content(void)
{
    static char text[130];
    memset(text, ' ', 64);
    memcpy(text + 64, "TLS 1.3, server CertificateVerify", 34);
    memset(text + 98, 'h', 32);
    return str_of(text, sizeof(text));
}

static enum err sign(struct world *w, const struct pair *p, uint16_t scheme, str content,
                     struct buf *out) WAITS
{
    buf_reset(out);
    return w->gate.signer.sign(w->gate.signer.ctx, p->id, scheme, content, out);
}

static void signs_handshakes(struct world *w)
{
    BUF_AUTO struct buf s = BUF_INIT(TLS_SIGNATURE_MAX);
    str content = verify_content();
    OK(sign(w, &ecdsa, ECDSA_SHA256, content, &s));
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, ecdsa.public), 1);
    assert_int_equal(EVP_DigestVerify(ctx, (const uint8_t *)s.data, s.len,
                                      (const uint8_t *)content.data, content.len),
                     1);
    EVP_MD_CTX_free(ctx);
    OK(sign(w, &rsa, RSA_PSS_SHA256, content, &s));
    assert_int_equal(s.len, 256);
}

static void signs_nothing_else(struct world *w)
{
    BUF_AUTO struct buf s = BUF_INIT(TLS_SIGNATURE_MAX);
    str content = verify_content();
    struct pair other = ecdsa;
    other.id[31] ^= 1;
    assert_int_equal(sign(w, &ecdsa, ECDSA_SHA256, str_head(content, 129), &s), ERR_DENIED);
    assert_int_equal(sign(w, &ecdsa, ECDSA_SHA256, STR("a certificate request"), &s), ERR_DENIED);
    assert_int_equal(sign(w, &ecdsa, ECDSA_SHA256, STR_NONE, &s), ERR_DENIED);
    assert_int_equal(sign(w, &rsa, RSA_PKCS1_SHA256, content, &s), ERR_DENIED);
    assert_int_equal(sign(w, &rsa, ECDSA_SHA256, content, &s), ERR_INVALID);
    assert_int_equal(sign(w, &other, ECDSA_SHA256, content, &s), ERR_NOT_FOUND);
    assert_int_equal(s.len, 0);
}

static void signs_so_much_and_no_more(struct world *w)
{
    BUF_AUTO struct buf s = BUF_INIT(TLS_SIGNATURE_MAX);
    struct pair nobody = {.id = {1}};
    enum err e = ERR_OK;
    uint32_t asked = 0;
    for (; e != ERR_BUSY && asked < 20 * SIGNS_PER_S_MAX; asked++)
        e = sign(w, &nobody, ECDSA_SHA256, verify_content(), &s);
    assert_int_equal(e, ERR_BUSY);
    assert_true(asked >= SIGNS_PER_S_MAX);
}

static void a_gate_asks_for_a_hash(struct world *w)
{
    struct ipc_password_verify_results r;
    assert_int_equal(ipc_password_verify(&w->gate.slot.link,
                                         &(struct ipc_password_verify_args){STR("x"), STR("y")},
                                         NULL, &r),
                     ERR_UNAVAILABLE);
    assert_false(w->gate.slot.link.up); /* it asked what it may not */
}

/* ---- passwords ---- */

static void make_hash(struct world *w, struct arena *a, struct credential *c)
{
    const struct hasher *h = &w->house.hasher;
    *c = (struct credential){.scram.iterations = SCRAM_ITERATIONS, .scram.salt = {7}};
    OK(h->hash(h->ctx, STR("secret"), PASSWORD_COST_DEV, a, c));
}

static void hashes_and_verifies(struct world *w)
{
    ARENA_AUTO struct arena a = ARENA_INIT(16384);
    const struct hasher *h = &w->house.hasher;
    struct credential c;
    make_hash(w, &a, &c);
    struct scram_keys own = {.iterations = SCRAM_ITERATIONS, .salt = {7}};
    scram_derive(STR("secret"), &own);
    assert_memory_equal(&own, &c.scram, sizeof(own));
    OK(h->verify(h->ctx, STR("secret"), c.argon2id));
    OK(password_verify(STR("secret"), c.argon2id));
    assert_int_equal(h->verify(h->ctx, STR("Secret"), c.argon2id), ERR_AUTH);
    assert_int_equal(h->verify(h->ctx, STR("secret"), STR("$argon2id$nonsense")), ERR_AUTH);
}

static void dear_hashes_are_refused(struct world *w)
{
    ARENA_AUTO struct arena a = ARENA_INIT(16384);
    const struct hasher *h = &w->house.hasher;
    struct credential c = {.scram.iterations = SCRAM_ITERATIONS};
    struct password_cost gigabytes = {HASH_MEMORY_KIB_MAX + 1, 1};
    assert_int_equal(h->hash(h->ctx, STR("secret"), gigabytes, &a, &c), ERR_LIMIT);
    assert_int_equal(
        err_class(h->verify(h->ctx, STR("secret"),
                            STR("$argon2id$v=19$m=99999999,t=1,p=1$c2FsdHNhbHQ$aaaa"))),
        ERR_CLASS_TEMP);
}

struct verifier {
    struct world *world;
    str stored;
    enum err result;
};

static void verify_fiber(void *arg) WAITS
{
    struct verifier *v = arg;
    const struct hasher *h = &v->world->house.hasher;
    v->result = h->verify(h->ctx, STR("secret"), v->stored);
}

static void many_wait_for_room(struct world *w)
{
    ARENA_AUTO struct arena a = ARENA_INIT(16384);
    struct verifier v[40];
    struct fiber_group g;
    struct credential c;
    make_hash(w, &a, &c);
    fiber_group_init(&g);
    w->state.room.running_max = 2;
    for (size_t i = 0; i < ARRAY_LEN(v); i++) {
        v[i] = (struct verifier){w, c.argon2id, ERR_UNKNOWN};
        OK(fiber_start(&g, "verify", verify_fiber, &v[i]));
    }
    fiber_group_join(&g);
    for (size_t i = 0; i < ARRAY_LEN(v); i++)
        OK(v[i].result);
    assert_true(w->state.room.most_running <= 2);
    assert_int_equal(w->state.room.running, 0);
    assert_int_equal(w->state.room.memory_kib, 0);
}

/* ---- deaths ---- */

static void join(struct ipc_slot *a, struct ipc_slot *b)
{
    int fds[2];
    OK(sock_pair(fds));
    OK(ipc_slot_attach(a, fds[0]));
    OK(ipc_slot_attach(b, fds[1]));
}

static void come_back(void *arg) WAITS
{
    struct world *w = arg;
    assert_int_equal(wait_until(deadline_in_ms(50)), ERR_TIMEOUT);
    join(&w->for_gate, &w->gate.slot);
}

static void goes_away_for_a_moment(struct world *w)
{
    BUF_AUTO struct buf s = BUF_INIT(TLS_SIGNATURE_MAX);
    struct fiber_group g;
    fiber_group_init(&g);
    ipc_link_stop(&w->for_gate.link);
    OK(fiber_start(&g, "back", come_back, w));
    OK(sign(w, &ecdsa, ECDSA_SHA256, verify_content(), &s));
    fiber_group_join(&g);
}

static void stays_away(struct world *w)
{
    BUF_AUTO struct buf s = BUF_INIT(TLS_SIGNATURE_MAX);
    const struct hasher *h = &w->house.hasher;
    uint64_t before = clock_mono_ms();
    ipc_link_stop(&w->for_gate.link);
    ipc_link_stop(&w->for_house.link);
    assert_int_equal(sign(w, &ecdsa, ECDSA_SHA256, verify_content(), &s), ERR_UNAVAILABLE);
    assert_true(clock_mono_ms() - before >= KEYS_WAIT_MS - 50);
    assert_int_equal(h->verify(h->ctx, STR("secret"), STR("$6$x$y")), ERR_UNAVAILABLE);
}

/* ---- the world ---- */

static void (*body)(struct world *w);

static void world_main(void *arg)
{
    struct world *w = arg;
    body(w);
    ipc_link_stop(&w->gate.slot.link);
    ipc_link_stop(&w->house.slot.link);
    ipc_link_stop(&w->for_gate.link);
    ipc_link_stop(&w->for_house.link);
}

static void load_keys(struct keys_state *s)
{
    struct tls_certificate certs[] = {{buf_str(&ecdsa.chain), buf_str(&ecdsa.key)},
                                      {buf_str(&rsa.chain), buf_str(&rsa.key)}};
    s->now = calloc(1, sizeof(*s->now));
    assert_non_null(s->now);
    s->now->uses = 1;
    OK(tls_keys_open(certs, ARRAY_LEN(certs), NULL, &s->now->keys));
}

static void world_run(void (*fn)(struct world *w))
{
    static struct world w;
    struct loop *loop;
    memset(&w, 0, sizeof(w));
    body = fn;
    OK(loop_open(&loop, &(struct loop_options){.name = "test", .slice_warn_ms = 5000}));
    fiber_group_init(&w.group);
    load_keys(&w.state);
    w.state.room.running_max = 4;
    event_init(&w.state.room.freed);
    OK(limit_open(4, SIGNS_PER_S_MAX, 1000, SIGNS_PER_S_MAX, &w.state.rates));
    w.gate_caller = (struct keys_caller){.state = &w.state, .name = "gate.0"};
    w.house_caller = (struct keys_caller){.state = &w.state, .name = "house.0"};
    ipc_slot_init(&w.for_gate, "gate.0", &keys_calls_for_gates, &w.gate_caller, &w.group);
    ipc_slot_init(&w.for_house, "house.0", &keys_calls_for_house, &w.house_caller, &w.group);
    keys_peer_init(&w.gate, &w.group);
    keys_peer_init(&w.house, &w.group);
    join(&w.for_gate, &w.gate.slot);
    join(&w.for_house, &w.house.slot);
    OK(fiber_start(&w.group, "main", world_main, &w));
    loop_run_until_idle(loop);
    loop_close(loop);
    limit_close(w.state.rates);
    key_set_drop(w.state.now);
}

static void test_signs_handshakes(void **state) { world_run(signs_handshakes); }
static void test_signs_nothing_else(void **state) { world_run(signs_nothing_else); }
static void test_signs_at_a_limited_rate(void **state) { world_run(signs_so_much_and_no_more); }
static void test_a_gate_asks_no_hash(void **state) { world_run(a_gate_asks_for_a_hash); }
static void test_hashes_and_verifies(void **state) { world_run(hashes_and_verifies); }
static void test_dear_hashes_are_refused(void **state) { world_run(dear_hashes_are_refused); }
static void test_many_wait_for_room(void **state) { world_run(many_wait_for_room); }
static void test_a_death_is_waited_out(void **state) { world_run(goes_away_for_a_moment); }
/* rule: accept-3, proc-3 */
static void test_an_absent_one_is_temporary(void **state) { world_run(stays_away); }

static void make(struct pair *p, bool is_rsa)
{
    static const str names[] = {STR_INIT("a.example")};
    BUF_AUTO struct buf ca = BUF_INIT(65536), ca_key = BUF_INIT(65536);
    p->chain = p->key = BUF_INIT(65536);
    OK(tls_make_ca(STR("Test CA"), &ca, &ca_key));
    OK(tls_make_certificate(buf_str(&ca), buf_str(&ca_key), names, 1, is_rsa, &p->chain, &p->key));
    BIO *b = BIO_new_mem_buf(p->chain.data, (int)p->chain.len);
    X509 *x = PEM_read_bio_X509(b, NULL, NULL, NULL);
    unsigned char *der = NULL;
    assert_non_null(x);
    p->public = X509_get_pubkey(x);
    int len = i2d_PUBKEY(p->public, &der);
    assert_int_equal(EVP_Digest(der, (size_t)len, p->id, NULL, EVP_sha256(), NULL), 1);
    OPENSSL_free(der);
    X509_free(x);
    BIO_free(b);
}

static int setup(void **state)
{
    tls_init();
    make(&ecdsa, false);
    make(&rsa, true);
    OK(offload_start(4));
    return 0;
}

static int teardown(void **state)
{
    struct pair *pairs[] = {&ecdsa, &rsa};
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        buf_free(&pairs[i]->chain);
        buf_free(&pairs[i]->key);
        EVP_PKEY_free(pairs[i]->public);
    }
    offload_stop();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signs_handshakes),
        cmocka_unit_test(test_signs_nothing_else),
        cmocka_unit_test(test_signs_at_a_limited_rate),
        cmocka_unit_test(test_a_gate_asks_no_hash),
        cmocka_unit_test(test_hashes_and_verifies),
        cmocka_unit_test(test_dear_hashes_are_refused),
        cmocka_unit_test(test_many_wait_for_room),
        cmocka_unit_test(test_a_death_is_waited_out),
        cmocka_unit_test(test_an_absent_one_is_temporary),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
