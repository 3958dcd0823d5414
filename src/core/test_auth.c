/* SPDX-License-Identifier: Apache-2.0
 *
 * Who may do what, and what guessing costs.
 * rule: auth-1, auth-4, auth-5, wire-3
 */
#include "core/test_people.h"

#include "base/log.h"
#include "base/num.h"
#include "core/auth.h"
#include "os/clock.h"

#define FAILURES 3

struct door {
    struct people p;
    struct auth *auth;
    uint64_t a, b;
    struct auth_grant grant;
};

static void door_open(struct door *d, struct auth_policy policy)
{
    people_open(&d->p);
    OK(auth_open(&d->p.d, &policy, &hasher_here, &d->auth));
    d->a = people_account(&d->p, "a@example.test");
    d->b = people_account(&d->p, "b@example.test");
    people_password(&d->p, d->a, 0, PROTOCOL_ALL, 0, "alpha");
    people_password(&d->p, d->b, 0, PROTOCOL_ALL, 0, "beta");
}

static void door_close(struct door *d)
{
    auth_close(d->auth);
    people_close(&d->p);
}

static struct auth_attempt attempt(const char *login, const char *source)
{
    struct auth_attempt at = {.protocol = PROTOCOL_IMAP, .login = str_c(login), .secure = true};
    assert_true(address_parse(str_c(source), &at.source));
    return at;
}

static enum err try(struct door *d, const char *login, const char *source, const char *password)
{
    struct auth_attempt at = attempt(login, source);
    return auth_password(d->auth, &at, str_c(password), &d->p.a, &d->grant);
}

static enum err scram_with(struct door *d, const struct auth_attempt *at, const char *password)
{
    struct auth_scram_salt salt;
    uint8_t proof[32], signature[32];
    str message = STR("n=x,r=y,r=yz,s=,i=4096,c=biws,r=yz");
    TRY(auth_scram_salt(d->auth, at, &salt));
    scram_prove(password, salt.salt, salt.iterations, message, proof);
    return auth_scram_verify(d->auth, at, message, str_of(proof, 32), signature, &d->p.a,
                             &d->grant);
}

/* ---- rule auth-1: the decision, over every combination ---- */

static void decision_is_one_table(void **state)
{
    static const enum protocol protocols[] = {PROTOCOL_SMTP, PROTOCOL_IMAP, PROTOCOL_POP3,
                                              PROTOCOL_HTTP, PROTOCOL_SIEVE};
    for (unsigned bits = 0; bits < 64; bits++)
        for (size_t k = 0; k < ARRAY_LEN(protocols); k++) {
            bool secure = bits & 1, off = bits & 2, other = bits & 4, late = bits & 8;
            bool account = bits & 16, credential = bits & 32;
            struct auth_facts f = {
                .state = off ? ACCOUNT_DISABLED : ACCOUNT_ACTIVE,
                .account_protocols = PROTOCOL_ALL & ~(account ? 0u : protocols[k]),
                .credential_protocols = PROTOCOL_ALL & ~(credential ? 0u : protocols[k]),
                .expires_s = late ? 99 : 0,
                .now_s = 100,
                .secure = secure,
                .protocol = protocols[k],
                .act_as_other = other,
            };
            enum err wanted = !secure                                   ? ERR_TLS_REQUIRED
                              : off || other || !account || !credential ? ERR_AUTH
                              : late                                    ? ERR_EXPIRED
                                                                        : ERR_OK;
            assert_int_equal(auth_decide(&f), wanted);
        }
    struct auth_facts edge = {.account_protocols = 1,
                              .credential_protocols = 1,
                              .protocol = 1,
                              .secure = true,
                              .expires_s = 100,
                              .now_s = 99};
    OK(auth_decide(&edge));
    edge.now_s = 100;
    assert_int_equal(auth_decide(&edge), ERR_EXPIRED);
}

/* The same by each way to sign in: the way never decides. */
static void every_way_asks_the_decision(void **state)
{
    struct door d;
    struct auth_policy policy = {1000, 10000, 60000, 60000, true};
    door_open(&d, policy);
    people_password(&d.p, d.a, CREDENTIAL_NEW, PROTOCOL_IMAP, 0, "only-imap");
    people_password(&d.p, d.a, CREDENTIAL_NEW, PROTOCOL_ALL, clock_wall_s() - 1, "late");
    people_password(&d.p, d.a, CREDENTIAL_NEW, PROTOCOL_ALL, clock_wall_s() + 1000, "in-time");
    static const struct {
        const char *password;
        enum protocol protocol;
        bool secure;
        const char *authzid;
        enum err wanted;
    } rows[] = {
        {"alpha", PROTOCOL_SMTP, true, "", ERR_OK},
        {"alpha", PROTOCOL_SMTP, false, "", ERR_TLS_REQUIRED},
        {"alpha", PROTOCOL_POP3, true, "a@example.test", ERR_OK},
        {"alpha", PROTOCOL_POP3, true, "b@example.test", ERR_AUTH},
        {"beta", PROTOCOL_POP3, true, "", ERR_AUTH},
        {"only-imap", PROTOCOL_IMAP, true, "", ERR_OK},
        {"only-imap", PROTOCOL_SMTP, true, "", ERR_AUTH},
        {"only-imap", PROTOCOL_POP3, true, "", ERR_AUTH},
        {"late", PROTOCOL_IMAP, true, "", ERR_AUTH},
        {"in-time", PROTOCOL_IMAP, true, "", ERR_OK},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct auth_attempt at = attempt("a@example.test", "192.0.2.1");
        at.protocol = rows[i].protocol;
        at.secure = rows[i].secure;
        at.authzid = str_c(rows[i].authzid);
        enum err e = auth_password(d.auth, &at, str_c(rows[i].password), &d.p.a, &d.grant);
        assert_int_equal(e, rows[i].wanted);
        assert_int_equal(scram_with(&d, &at, rows[i].password), rows[i].wanted);
    }
    struct account_entry e;
    OK(directory_account_get(&d.p.d, d.a, &d.p.a, &e));
    e.protocols = PROTOCOL_SMTP;
    OK(directory_account_set(&d.p.d, &e));
    struct auth_attempt at = attempt("a@example.test", "192.0.2.1");
    assert_int_equal(try(&d, "a@example.test", "192.0.2.1", "alpha"), ERR_AUTH);
    assert_int_equal(auth_external(d.auth, &at, &d.p.a, &d.grant), ERR_AUTH);
    at.protocol = PROTOCOL_SMTP;
    OK(auth_external(d.auth, &at, &d.p.a, &d.grant));
    policy.external = false; /* then a gate is not believed */
    OK(auth_change(d.auth, &policy));
    assert_int_equal(auth_external(d.auth, &at, &d.p.a, &d.grant), ERR_AUTH);
    policy.external = true;
    OK(auth_change(d.auth, &policy));
    OK(auth_external(d.auth, &at, &d.p.a, &d.grant));
    e.state = ACCOUNT_DISABLED;
    OK(directory_account_set(&d.p.d, &e));
    assert_int_equal(auth_external(d.auth, &at, &d.p.a, &d.grant), ERR_AUTH);
    assert_int_equal(scram_with(&d, &at, "alpha"), ERR_AUTH);
    door_close(&d);
}

static void the_grant_names_the_account(void **state)
{
    struct door d;
    door_open(&d, AUTH_POLICY_DEFAULT);
    OK(try(&d, "A@EXAMPLE.test", "192.0.2.1", "alpha"));
    assert_true(d.grant.account == d.a && str_eq(d.grant.address, STR("a@example.test")));
    struct auth_attempt at = attempt("b@example.test", "192.0.2.1");
    OK(scram_with(&d, &at, "beta"));
    assert_true(d.grant.account == d.b);
    door_close(&d);
}

/* ---- what an unknown login hears ---- */

static void unknown_logins_look_like_known_ones(void **state)
{
    struct door d;
    struct auth_scram_salt one, two, other;
    door_open(&d, AUTH_POLICY_DEFAULT);
    assert_int_equal(try(&d, "nobody@example.test", "192.0.2.1", "x"), ERR_AUTH);
    assert_int_equal(try(&d, "a@example.test", "192.0.2.1", "x"), ERR_AUTH);
    assert_int_equal(try(&d, "not an address", "192.0.2.1", "x"), ERR_AUTH);
    struct auth_attempt at = attempt("nobody@example.test", "192.0.2.1");
    OK(auth_scram_salt(d.auth, &at, &one));
    at.login = STR("Nobody@Example.test");
    OK(auth_scram_salt(d.auth, &at, &two));
    at.login = STR("nobody2@example.test");
    OK(auth_scram_salt(d.auth, &at, &other));
    assert_memory_equal(one.salt, two.salt, sizeof one.salt);
    assert_memory_not_equal(one.salt, other.salt, sizeof one.salt);
    assert_int_equal(one.iterations, SCRAM_ITERATIONS);
    /* The same after a restart. */
    struct auth *again;
    OK(auth_open(&d.p.d, &AUTH_POLICY_DEFAULT, &hasher_here, &again));
    at.login = STR("nobody@example.test");
    OK(auth_scram_salt(again, &at, &two));
    assert_memory_equal(one.salt, two.salt, sizeof one.salt);
    auth_close(again);
    assert_int_equal(scram_with(&d, &at, "x"), ERR_AUTH);
    door_close(&d);
}

/* ---- rule auth-5 ---- */

static void fail_often(struct door *d, const char *login, const char *source, int n)
{
    for (int i = 0; i < n; i++)
        assert_int_equal(try(d, login, source, "wrong"), ERR_AUTH);
}

static void guessing_is_limited_by_account_and_source(void **state)
{
    struct door d;
    door_open(&d, (struct auth_policy){FAILURES, 1000, 600000, 60000});
    fail_often(&d, "a@example.test", "192.0.2.1", FAILURES);
    assert_int_equal(try(&d, "a@example.test", "192.0.2.1", "alpha"), ERR_TOO_MANY);
    /* Another spelling is the same login. */
    assert_int_equal(try(&d, "\"A\"@Example.test", "192.0.2.1", "alpha"), ERR_TOO_MANY);
    struct auth_attempt at = attempt("a@example.test", "192.0.2.1");
    assert_int_equal(scram_with(&d, &at, "alpha"), ERR_TOO_MANY);
    /* The owner elsewhere, and the neighbour behind the same address, are not touched. */
    OK(try(&d, "a@example.test", "192.0.2.2", "alpha"));
    OK(try(&d, "b@example.test", "192.0.2.1", "beta"));
    /* One IPv6 customer is one source. */
    fail_often(&d, "b@example.test", "2001:db8::1", FAILURES);
    assert_int_equal(try(&d, "b@example.test", "2001:db8::2", "beta"), ERR_TOO_MANY);
    OK(try(&d, "b@example.test", "2001:db8:1::2", "beta"));
    door_close(&d);
}

static void a_known_source_is_slowed_not_locked_out(void **state)
{
    struct door d;
    door_open(&d, (struct auth_policy){FAILURES, 1000, 600000, 60000});
    OK(try(&d, "a@example.test", "192.0.2.1", "alpha"));
    fail_often(&d, "a@example.test", "192.0.2.1", FAILURES);
    uint64_t began = clock_mono_ms();
    OK(try(&d, "a@example.test", "192.0.2.1", "alpha"));
    assert_true(clock_mono_ms() - began >= 1000);
    door_close(&d);
}

static void a_source_that_tries_all_accounts_is_limited(void **state)
{
    struct door d;
    char login[64];
    door_open(&d, (struct auth_policy){FAILURES, 10, 600000, 60000});
    for (int i = 0; i < 10; i++) {
        snprintf(login, sizeof login, "guess%d@example.test", i);
        assert_int_equal(try(&d, login, "192.0.2.1", "x"), ERR_AUTH);
    }
    assert_int_equal(try(&d, "guess11@example.test", "192.0.2.1", "x"), ERR_TOO_MANY);
    assert_int_equal(try(&d, "a@example.test", "192.0.2.1", "alpha"), ERR_TOO_MANY);
    OK(try(&d, "a@example.test", "192.0.2.9", "alpha"));
    door_close(&d);
}

static void a_changed_policy_holds_at_once(void **state)
{
    struct door d;
    struct auth_policy p = {FAILURES, 1000, 600000, 60000};
    door_open(&d, p);
    fail_often(&d, "a@example.test", "192.0.2.1", FAILURES);
    OK(auth_change(d.auth, &p)); /* the same: what was counted stays */
    assert_int_equal(try(&d, "a@example.test", "192.0.2.1", "alpha"), ERR_TOO_MANY);
    p.failures = 1;
    OK(auth_change(d.auth, &p));
    fail_often(&d, "a@example.test", "192.0.2.1", 1);
    assert_int_equal(try(&d, "a@example.test", "192.0.2.1", "alpha"), ERR_TOO_MANY);
    p.failures = 0;
    assert_int_equal(auth_change(d.auth, &p), ERR_INVALID);
    assert_int_equal(try(&d, "a@example.test", "192.0.2.1", "alpha"), ERR_TOO_MANY);
    OK(try(&d, "a@example.test", "192.0.2.2", "alpha"));
    door_close(&d);
}

/* ---- remembered passwords ---- */

static void a_change_forgets_the_old_password(void **state)
{
    struct door d;
    door_open(&d, AUTH_POLICY_DEFAULT);
    OK(try(&d, "a@example.test", "192.0.2.1", "alpha"));
    OK(try(&d, "a@example.test", "192.0.2.1", "alpha"));
    people_password(&d.p, d.a, 0, PROTOCOL_ALL, 0, "gamma");
    assert_int_equal(try(&d, "a@example.test", "192.0.2.1", "alpha"), ERR_AUTH);
    OK(try(&d, "a@example.test", "192.0.2.1", "gamma"));
    uint32_t app = people_password(&d.p, d.a, CREDENTIAL_NEW, PROTOCOL_ALL, 0, "app");
    OK(try(&d, "a@example.test", "192.0.2.1", "app"));
    OK(credential_remove(&d.p.d, d.a, app));
    assert_int_equal(try(&d, "a@example.test", "192.0.2.1", "app"), ERR_AUTH);
    door_close(&d);
}

static void remembering_saves_the_hash(void **state)
{
    struct door d;
    door_open(&d, AUTH_POLICY_DEFAULT);
    uint32_t id;
    struct credential c = {.protocols = PROTOCOL_ALL};
    struct password_cost heavy = {65536, 4};
    OK(credential_set_password(&d.p.d, &hasher_here, d.a, &c, STR("slow"), heavy, &id));
    uint64_t began = clock_mono_ms();
    OK(try(&d, "a@example.test", "192.0.2.1", "slow"));
    uint64_t first = clock_mono_ms() - began;
    began = clock_mono_ms();
    for (int i = 0; i < 5; i++)
        OK(try(&d, "a@example.test", "192.0.2.1", "slow"));
    assert_true(clock_mono_ms() - began <= first + 20);
    door_close(&d);
}

/* ---- rule auth-4 ---- */

static struct buf logged;
static void keep_log(enum log_level level, str line) { buf_add(&logged, line); }

static void no_secret_is_logged(void **state)
{
    struct door d;
    door_open(&d, (struct auth_policy){FAILURES, 1000, 600000, 60000});
    logged = BUF_INIT(1 << 20);
    log_set_sink(keep_log);
    for (int i = 0; i < FAILURES + 2; i++)
        assert_int_not_equal(try(&d, "a@example.test", "192.0.2.1", "hunter2"), ERR_OK);
    assert_int_not_equal(try(&d, "nobody@example.test", "192.0.2.1", "hunter2"), ERR_OK);
    OK(try(&d, "b@example.test", "192.0.2.1", "beta"));
    log_set_sink(NULL);
    assert_true(logged.len > 0);
    assert_true(str_find(buf_str(&logged), STR(" source=192.0.2.1 protocol=imap ")) != STR_NPOS);
    assert_true(str_find(buf_str(&logged), STR("hunter2")) == STR_NPOS);
    assert_true(str_find(buf_str(&logged), STR("beta")) == STR_NPOS);
    buf_free(&logged);
    door_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decision_is_one_table),
        cmocka_unit_test(every_way_asks_the_decision),
        cmocka_unit_test(the_grant_names_the_account),
        cmocka_unit_test(unknown_logins_look_like_known_ones),
        cmocka_unit_test(guessing_is_limited_by_account_and_source),
        cmocka_unit_test(a_known_source_is_slowed_not_locked_out),
        cmocka_unit_test(a_source_that_tries_all_accounts_is_limited),
        cmocka_unit_test(a_changed_policy_holds_at_once),
        cmocka_unit_test(a_change_forgets_the_old_password),
        cmocka_unit_test(remembering_saves_the_hash),
        cmocka_unit_test(no_secret_is_logged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
