/* SPDX-License-Identifier: Apache-2.0 */
#include "format/test_cmocka.h"

#include <string.h>

#include "base/num.h"
#include "format/sasl.h"

static void test_plain(void **state)
{
    struct sasl_plain m;
    assert_ok(sasl_plain_parse(STR("\0tim\0tanstaaftanstaaf"), &m)); /* RFC 4616 4 */
    assert_str(m.authcid, "tim");
    assert_str(m.password, "tanstaaftanstaaf");
    assert_int_equal(m.authzid.len, 0);
    assert_ok(sasl_plain_parse(STR("Ursel\0Kurt\0xipj3plmq"), &m));
    assert_str(m.authzid, "Ursel");
    static const str bad[] = {
        STR_INIT(""),         STR_INIT("a"),          STR_INIT("\0tim"),
        STR_INIT("\0\0pw"),   STR_INIT("\0tim\0"),    STR_INIT("\0a\0b\0c"),
        STR_INIT("\0a\0b\n"), STR_INIT("\0a\xff\0b"), STR_INIT("\0a\xc2\x85\0b"),
        STR_INIT("\1\0a\0b"),
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(sasl_plain_parse(bad[i], &m), ERR_SYNTAX);
}

static void test_login_external(void **state)
{
    str s;
    assert_ok(sasl_login_parse(STR("user\0"), &s));
    assert_str(s, "user");
    assert_int_equal(sasl_login_parse(STR(""), &s), ERR_SYNTAX);
    assert_ok(sasl_external_parse(STR(""), &s));
    assert_ok(sasl_external_parse(STR("fred@example.com"), &s));
    assert_int_equal(sasl_external_parse(STR("a\nb"), &s), ERR_SYNTAX);
}

/* RFC 7677 3. */
static void test_scram_published(void **state)
{
    ARENA_AUTO struct arena a = ARENA_INIT(65536);
    struct scram_client_first f;
    assert_ok(scram_client_first_parse(&a, STR("n,,n=user,r=rOprNGfwEbeRWgbNEkqO"), &f));
    assert_int_equal(f.binding, SCRAM_BINDING_NONE);
    assert_str(f.gs2_header, "n,,");
    assert_str(f.bare, "n=user,r=rOprNGfwEbeRWgbNEkqO");
    assert_str(f.user, "user");
    assert_str(f.nonce, "rOprNGfwEbeRWgbNEkqO");
    struct scram_client_final l;
    assert_ok(
        scram_client_final_parse(&a,
                                 STR("c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
                                     "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="),
                                 &l));
    assert_str(l.binding, "n,,");
    assert_int_equal(l.proof.len, 32);
    assert_str(l.without_proof, "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
    assert_true(scram_binding_matches(l.binding, f.gs2_header, STR_NONE));
    assert_false(scram_binding_matches(l.binding, STR("y,,"), STR_NONE));
    struct scram_server_first sf;
    assert_ok(scram_server_first_parse(&a,
                                       STR("r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s="
                                           "W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"),
                                       &sf));
    assert_int_equal(sf.iterations, 4096);
    BUF_AUTO struct buf out = BUF_INIT(4096);
    scram_server_first(&out, sf.nonce, sf.salt, 4096);
    assert_str(
        buf_str(&out),
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
    str signature;
    assert_ok(scram_server_final_parse(&a, STR("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="),
                                       &signature));
    assert_int_equal(signature.len, 32);
    assert_int_equal(scram_server_final_parse(&a, STR("e=invalid-proof"), &signature), ERR_AUTH);
}

static void test_scram_first(void **state)
{
    ARENA_AUTO struct arena a = ARENA_INIT(65536);
    struct scram_client_first f;
    assert_ok(scram_client_first_parse(&a, STR("p=tls-exporter,a=ad=2Cmin,n=a=3Db,r=x,ext=1"), &f));
    assert_int_equal(f.binding, SCRAM_BINDING_EXPORTER);
    assert_str(f.authzid, "ad,min");
    assert_str(f.user, "a=b");
    assert_str(f.gs2_header, "p=tls-exporter,a=ad=2Cmin,");
    static const str bad[] = {
        STR_INIT(""),
        STR_INIT("n,,"),
        STR_INIT("n,,n=u"),
        STR_INIT("x,,n=u,r=n"),
        STR_INIT("n,b=c,n=u,r=n"),
        STR_INIT("n,,m=1,n=u,r=n"),
        STR_INIT("n,,n=u=2,r=n"),
        STR_INIT("n,,n=,r=n"),
        STR_INIT("n,,n=u,r="),
        STR_INIT("n,,n=u,r=a b"),
        STR_INIT("n,,n=u\0,r=n"),
        STR_INIT("p=,,n=u,r=n"),
        STR_INIT("n,,r=n,n=u"),
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(scram_client_first_parse(&a, bad[i], &f), ERR_SYNTAX);
    struct scram_client_final l;
    assert_int_equal(scram_client_final_parse(&a, STR("c=biws,r=x"), &l), ERR_SYNTAX);
    assert_int_equal(scram_client_final_parse(&a, STR("c=bi*s,r=x,p=AAAA"), &l), ERR_SYNTAX);
    assert_int_equal(scram_client_final_parse(&a, STR("p=AAAA"), &l), ERR_SYNTAX);
}

static void test_oauth(void **state)
{
    ARENA_AUTO struct arena a = ARENA_INIT(65536);
    struct sasl_oauth o;
    assert_ok(
        sasl_oauthbearer_parse(/* RFC 7628 4.1 */
                               &a,
                               STR("n,a=user@example.com,\1host=server.example.com\1port=143\1"
                                   "auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\1\1"),
                               &o));
    assert_str(o.authzid, "user@example.com");
    assert_str(o.host, "server.example.com");
    assert_str(o.token, "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==");
    assert_ok(sasl_xoauth2_parse(STR("user=a@b\1auth=Bearer ya29.vF9d\1\1"), &o));
    assert_str(o.authzid, "a@b");
    assert_int_equal(sasl_oauthbearer_parse(&a, STR("\1"), &o), ERR_SYNTAX);
    assert_int_equal(sasl_oauthbearer_parse(&a, STR("n,,\1auth=Basic x\1\1"), &o), ERR_SYNTAX);
    assert_int_equal(sasl_oauthbearer_parse(&a, STR("n,,\1auth=Bearer x\1"), &o), ERR_SYNTAX);
    assert_int_equal(sasl_xoauth2_parse(STR("auth=Bearer x\1\1"), &o), ERR_SYNTAX);
    BUF_AUTO struct buf out = BUF_INIT(4096);
    sasl_oauth_error(&out, "invalid_token", STR("mail"));
    assert_str(buf_str(&out), "{\"status\":\"invalid_token\",\"scope\":\"mail\"}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),           cmocka_unit_test(test_login_external),
        cmocka_unit_test(test_scram_published), cmocka_unit_test(test_scram_first),
        cmocka_unit_test(test_oauth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
