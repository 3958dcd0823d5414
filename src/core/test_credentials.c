/* SPDX-License-Identifier: Apache-2.0
 *
 * Passwords: preparing, hashing, verifying, SCRAM keys, app passwords as rows.
 */
#include "core/test_people.h"

#include <crypt.h>

#include "base/code.h"
#include "base/num.h"

#define PREPARED(text) prepared(&p, str_of(text, sizeof(text) - 1))

static str prepared(struct people *p, str password)
{
    str out;
    return password_prepare(password, &p->a, &out) == ERR_OK ? out : STR_NONE;
}

/* RFC 8265: composed, no controls, nothing empty; spaces and case stay. */
static void passwords_are_prepared(void **state)
{
    struct people p;
    static char longest[PASSWORD_MAX + 1];
    people_open(&p);
    assert_true(str_eq(PREPARED(" Two words "), STR(" Two words ")));
    assert_true(str_eq(PREPARED("u\xcc\x88"), STR("\xc3\xbc")));
    assert_true(str_empty(PREPARED("")));
    assert_true(str_empty(PREPARED("a\0b")));
    assert_true(str_empty(PREPARED("a\nb")));
    assert_true(str_empty(PREPARED("a\x7f")));
    assert_true(str_empty(PREPARED("\xff")));
    memset(longest, 'x', sizeof longest);
    assert_int_equal(prepared(&p, str_of(longest, PASSWORD_MAX)).len, PASSWORD_MAX);
    assert_true(str_empty(prepared(&p, str_of(longest, PASSWORD_MAX + 1))));
    people_close(&p);
}

static void hashes_verify(void **state)
{
    struct people p;
    struct credential one = {.scram.iterations = SCRAM_ITERATIONS}, two = one;
    people_open(&p);
    OK(password_hash(STR("secret"), PASSWORD_COST_DEV, &p.a, &one));
    OK(password_hash(STR("secret"), PASSWORD_COST_DEV, &p.a, &two));
    assert_true(str_starts(one.argon2id, STR("$argon2id$")));
    assert_false(str_eq(one.argon2id, two.argon2id)); /* salted */
    OK(password_verify(STR("secret"), one.argon2id));
    assert_int_equal(password_verify(STR("Secret"), one.argon2id), ERR_AUTH);
    assert_int_equal(password_verify(STR("secret"), STR("")), ERR_AUTH);
    assert_int_equal(password_verify(STR("secret"), STR("$argon2id$garbage")), ERR_AUTH);
    assert_int_equal(password_verify(STR("secret"), STR("*")), ERR_AUTH);
    people_close(&p);
}

/* What others made with crypt(3): SHA-512, SHA-256, bcrypt. */
static void imported_hashes_verify(void **state)
{
    static const char *settings[] = {"$6$saltsalt$", "$5$saltsalt$",
                                     "$2b$04$abcdefghijklmnopqrstuu"};
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        static struct crypt_data data;
        const char *made = crypt_rn("secret", settings[i], &data, sizeof data);
        assert_non_null(made);
        OK(password_verify(STR("secret"), str_c(made)));
        assert_int_equal(password_verify(STR("secreT"), str_c(made)), ERR_AUTH);
    }
}

static void base64_is(const uint8_t *bytes, const char *wanted)
{
    BUF_AUTO struct buf text = BUF_INIT(128);
    code_base64(&text, str_of(bytes, 32));
    assert_true(str_eq(buf_str(&text), str_c(wanted)));
}

/* RFC 7677 3: the example's proof and signature follow from its password. */
static void scram_keys_follow_the_rfc(void **state)
{
    static const char message[] =
        "n=user,r=rOprNGfwEbeRWgbNEkqO,"
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    BUF_AUTO struct buf salt = BUF_INIT(64);
    uint8_t bytes[32];
    unsigned n = 32;
    struct scram_keys k = {.iterations = 4096};
    OK(code_base64_decode(&salt, STR("W22ZaJ0SNY7soEsUEjb6gQ==")));
    memcpy(k.salt, salt.data, 16);
    scram_derive(STR("pencil"), &k);
    scram_prove("pencil", k.salt, 4096, str_c(message), bytes);
    base64_is(bytes, "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
    HMAC(EVP_sha256(), k.server_key, 32, (const uint8_t *)message, strlen(message), bytes, &n);
    base64_is(bytes, "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
}

static void generated_ones_differ(void **state)
{
    ARENA_AUTO struct arena a = ARENA_INIT(4096);
    str one = password_generate(&a), two = password_generate(&a);
    assert_int_equal(one.len, 19);
    assert_false(str_eq(one, two));
}

static void app_passwords_are_rows(void **state)
{
    struct people p;
    const struct credential *items;
    size_t n;
    uint32_t id;
    people_open(&p);
    uint64_t account = people_account(&p, "a@example.test");
    struct credential c = {.name = STR("phone"), .protocols = PROTOCOL_IMAP, .expires_s = 77};
    assert_int_equal(people_password(&p, account, 0, PROTOCOL_ALL, 0, "main"), 0);
    for (uint32_t i = 1; i < CREDENTIALS_PER_ACCOUNT_MAX; i++)
        assert_int_equal(people_password(&p, account, CREDENTIAL_NEW, 1, 0, "x"), i);
    c.id = CREDENTIAL_NEW;
    assert_int_equal(credential_put(&p.d, account, &c, &id), ERR_LIMIT);
    OK(credential_remove(&p.d, account, 5));
    assert_int_equal(credential_remove(&p.d, account, 5), ERR_NOT_FOUND);
    OK(credential_put(&p.d, account, &c, &id));
    OK(credentials_list(&p.d, account, &p.a, &items, &n));
    assert_int_equal(n, CREDENTIALS_PER_ACCOUNT_MAX);
    assert_true(str_eq(items[n - 1].name, STR("phone")));
    assert_int_equal(items[n - 1].protocols, PROTOCOL_IMAP);
    assert_int_equal(items[n - 1].expires_s, 77);
    /* One salt for all of an account: SCRAM names it before it knows which is meant. */
    assert_memory_equal(items[0].scram.salt, items[1].scram.salt, 16);
    assert_int_equal(credential_put(&p.d, 999, &c, &id), ERR_NOT_FOUND);
    OK(directory_account_remove(&p.d, account));
    OK(credentials_list(&p.d, account, &p.a, &items, &n));
    assert_int_equal(n, 0);
    people_close(&p);
}

static void the_secret_stays(void **state)
{
    struct people p;
    uint8_t one[32], two[32];
    people_open(&p);
    OK(directory_secret(&p.d, one));
    OK(directory_secret(&p.d, two));
    assert_memory_equal(one, two, 32);
    people_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passwords_are_prepared), cmocka_unit_test(hashes_verify),
        cmocka_unit_test(imported_hashes_verify), cmocka_unit_test(scram_keys_follow_the_rfc),
        cmocka_unit_test(generated_ones_differ),  cmocka_unit_test(app_passwords_are_rows),
        cmocka_unit_test(the_secret_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
