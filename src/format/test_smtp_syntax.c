/* SPDX-License-Identifier: Apache-2.0 */
#include "format/test_cmocka.h"

#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "format/limits.h"
#include "format/smtp_syntax.h"
#include "format/test_linear.h"

static struct arena arena;
static struct smtp_fault fault;
static int teardown(void **state)
{
    arena_free(&arena);
    return 0;
}
static int setup(void **state)
{
    arena_init(&arena, 16 << 20);
    return 0;
}

static void test_lines(void **state)
{
    str verb, args;
    smtp_line_split(STR("MAIL FROM:<a@b>  "), &verb, &args);
    assert_str(verb, "MAIL");
    assert_str(args, "FROM:<a@b>");
    smtp_line_split(STR("QUIT"), &verb, &args);
    assert_str(verb, "QUIT");
    assert_int_equal(args.len, 0);
    smtp_line_split(STR(""), &verb, &args);
    assert_int_equal(verb.len, 0);
}

static void test_helo(void **state)
{
    static const char *const good[] = {"mx.example.com",
                                       "localhost",
                                       "[127.0.0.1]",
                                       "[IPv6:::1]",
                                       "my_host",
                                       "[IPv6:2001:db8::1]",
                                       "[IPv6:::ffff:1.2.3.4]",
                                       "b\xc3\xbc"
                                       "cher.example",
                                       "[ipv6:1:2:3:4:5:6:7:8]"};
    static const char *const bad[] = {"",           "a b",
                                      "[1.2.3]",    "[1.2.3.256]",
                                      "[IPv6:1:2]", "[::1]",
                                      ".a",         "a\tb",
                                      "\xff",       "[IPv6:1::2::3]",
                                      "[1.2.3.4",   "a;b",
                                      "[IPv6:]",    "[IPv6:1:2:3:4:5:6:7:8:9]",
                                      "[x400:abc]", "[IPv6:12345::]"};
    struct smtp_helo h;
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        if (smtp_parse_helo(str_c(good[i]), &h, &fault) != ERR_OK)
            fail_msg("refused %s", good[i]);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (smtp_parse_helo(str_c(bad[i]), &h, &fault) == ERR_OK)
            fail_msg("accepted %s", bad[i]);
}

#define MAIL_ALL ((SMTP_MAIL_BINARYMIME << 1) - 1)
static enum err mail(const char *args, struct smtp_mail *m)
{
    return smtp_parse_mail(&arena, str_c(args), MAIL_ALL, m, &fault);
}

static void test_mail(void **state)
{
    struct smtp_mail m;
    assert_ok(mail("FROM:<>", &m));
    assert_true(m.from.null && !m.seen);
    assert_ok(mail("from: <bob@Example.ORG> SIZE=123 body=8BITMIME RET=HDRS ENVID=QQ+2B1 AUTH=<> "
                   "BY=120;RT MT-PRIORITY=-3 REQUIRETLS HOLDFOR=60 smtputf8",
                   &m));
    assert_str(m.from.addr.local, "bob");
    assert_str(m.from.addr.domain, "example.org");
    assert_true(m.size == 123 && m.body == SMTP_BODY_8BITMIME && m.ret == SMTP_RET_HDRS);
    assert_str(m.envid, "QQ+1");
    assert_true(m.by_s == 120 && m.by_return && m.by_trace && m.mt_priority == -3);
    assert_true(addr_is_null(&m.auth) && m.hold_for_s == 60);
    assert_ok(mail("FROM:<@a.test,@b.test:\"joe smith\"@[192.0.2.1]> AUTH=e+3Dmc2@example.com "
                   "HOLDUNTIL=2106-02-07T06:28:16Z BY=-5;N",
                   &m)); /* rule: wire-8: a date beyond 32 bits */
    assert_str(m.from.addr.local, "joe smith");
    assert_true(m.from.literal && m.by_s == -5);
    assert_str(m.auth.local, "e=mc2");
    assert_true(m.hold_until_s == 4294967296);
    assert_ok(mail("FROM:<j\xc3\xb6@b.test> SMTPUTF8", &m));
    assert_true(m.from.utf8);
}

static void test_mail_faults(void **state)
{
    static const struct {
        const char *args;
        int code;
        const char *where;
    } rows[] = {
        {"", 501, ""},
        {"TO:<a@b>", 501, "TO:<a@b>"},
        {"FROM:a@b", 501, "a@b"},
        {"FROM:<a@b", 501, "<a@b"},
        {"FROM:<Postmaster>", 501, "<Postmaster>"},
        {"FROM:<a@b>SIZE=1", 501, "SIZE=1"},
        {"FROM:<a@b> SIZE=x", 501, "SIZE=x"},
        {"FROM:<a@b> SIZE=", 501, "SIZE="},
        {"FROM:<a@b> SIZE=99999999999999999999999", 501, "SIZE=99999999999999999999999"},
        {"FROM:<a@b> SIZE=1 SIZE=2", 501, "SIZE"},
        {"FROM:<a@b> FOO=1", 555, "FOO"},
        {"FROM:<a@b> NOTIFY=NEVER", 555, "NOTIFY"},
        {"FROM:<a@b> BODY=9BIT", 501, "BODY=9BIT"},
        {"FROM:<a@b> SMTPUTF8=1", 501, "SMTPUTF8=1"},
        {"FROM:<a@b> BY=0;R", 501, "BY=0;R"},
        {"FROM:<a@b> BY=10", 501, "BY=10"},
        {"FROM:<a@b> MT-PRIORITY=10", 501, "MT-PRIORITY=10"},
        {"FROM:<a@b> ENVID=+0A", 501, "ENVID=+0A"},
        {"FROM:<a@b> ENVID=+0a", 501, "ENVID=+0a"},
        {"FROM:<a@b> HOLDFOR=1 HOLDUNTIL=2026-01-01T00:00:00Z", 501, ""},
        {"FROM:<a@b> HOLDUNTIL=2026-13-01T00:00:00Z", 501, "HOLDUNTIL=2026-13-01T00:00:00Z"},
        {"FROM:<j\xc3\xb6@b.test>", 553, "b.test"},
        {"FROM:<@a.test>", 501, "@a.test>"},
        {"FROM:<a@[1.2.3]>", 501, NULL},
        {"FROM:<a@[foo:bar]>", 501, NULL},
        {"FROM:<a@-b.test>", 501, NULL},
    };
    struct smtp_mail m;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (mail(rows[i].args, &m) == ERR_OK)
            fail_msg("accepted %s", rows[i].args);
        if (fault.code != rows[i].code ||
            (rows[i].where && !str_eq(fault.where, str_c(rows[i].where))))
            fail_msg("%s: %d %s: \"%.*s\"", rows[i].args, fault.code, fault.text,
                     STR_ARG(fault.where));
    }
    assert_int_equal(smtp_parse_mail(&arena, STR("FROM:<a@b> SIZE=1"), 0, &m, &fault),
                     ERR_UNSUPPORTED);
    BUF_AUTO struct buf out = BUF_INIT(4096);
    fault.where = STR("a\r\n250 forged");
    smtp_fault_render(&out, &fault);
    assert_str(buf_str(&out), "555 5.5.4 Unknown parameter: a??250 forged\r\n");
    /* BINARYMIME only where it is offered */
    assert_int_equal(
        smtp_parse_mail(&arena, STR("FROM:<a@b> BODY=BINARYMIME"), SMTP_MAIL_BODY, &m, &fault),
        ERR_SYNTAX);
    assert_ok(mail("FROM:<a@b> BODY=BINARYMIME", &m));
}

static enum err rcpt(const char *args, bool utf8, struct smtp_rcpt *r)
{
    return smtp_parse_rcpt(&arena, str_c(args), ~0u, utf8, r, &fault);
}

static void test_rcpt(void **state)
{
    struct smtp_rcpt r;
    assert_ok(rcpt("TO:<Postmaster>", false, &r));
    assert_true(r.to.postmaster);
    assert_str(r.to.addr.local, "Postmaster");
    assert_ok(rcpt("TO:<a@b.test> NOTIFY=SUCCESS,delay ORCPT=rfc822;Bob+2B@x.test "
                   "RRVS=2014-04-03T23:01:00Z;R",
                   false, &r));
    assert_int_equal(r.notify, SMTP_NOTIFY_SUCCESS | SMTP_NOTIFY_DELAY);
    assert_str(r.orcpt, "Bob+@x.test");
    assert_true(r.rrvs_reject && r.rrvs_s == 1396566060);
    assert_ok(
        rcpt("TO:<a@b.test> ORCPT=utf-8;j\\x{F6}rg\\x{1F600}@x.test", true, &r)); /* RFC 6533 */
    assert_str(r.orcpt, "j\xc3\xb6rg\xf0\x9f\x98\x80@x.test");
    static const char *const bad[] = {
        "TO:<>",
        "TO:<a>",
        "TO:<a@b> NOTIFY=NEVER,DELAY",
        "TO:<a@b> NOTIFY=",
        "TO:<a@b> ORCPT=x",
        "TO:<a@b> ORCPT=rfc822;",
        "TO:<a@b> ORCPT=rfc822;a+0D+0Ab",
        "TO:<a@b> SIZE=1",
        "TO:<a@b> RRVS=x",
        "TO:<a@b> ORCPT=utf-8;\\x{D800}",
        "TO:<j\xc3\xb6@b.test>",
        "TO:<a@b> ORCPT=utf-8;\\x{}",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (rcpt(bad[i], false, &r) == ERR_OK)
            fail_msg("accepted %s", bad[i]);
}

static void test_smaller(void **state)
{
    struct smtp_bdat b;
    assert_ok(smtp_parse_bdat(STR("0 last"), &b, &fault));
    assert_true(b.last && b.size == 0);
    assert_ok(smtp_parse_bdat(STR("4294967297"), &b, &fault));
    assert_true(!b.last && b.size == 4294967297);
    static const char *const bad[] = {"", "x", "-1", "1 LASTS", "1 LAST x", "99999999999999999999"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(smtp_parse_bdat(str_c(bad[i]), &b, &fault), ERR_SYNTAX);
    struct smtp_auth au;
    assert_ok(smtp_parse_auth(STR("PLAIN AGE="), &au, &fault));
    assert_str(au.initial, "AGE=");
    assert_ok(smtp_parse_auth(STR("EXTERNAL ="), &au, &fault));
    assert_true(au.has_initial && !au.initial.len);
    assert_ok(smtp_parse_auth(STR("SCRAM-SHA-256"), &au, &fault));
    assert_false(au.has_initial);
    assert_int_equal(smtp_parse_auth(STR("PLAIN secret x"), &au, &fault), ERR_SYNTAX);
    assert_int_equal(fault.where.len, 0); /* rule: auth-4 */
    struct smtp_xclient x;
    assert_ok(smtp_parse_xclient(&arena,
                                 STR("NAME=spike.porcupine.org ADDR=IPV6:2001:db8::1 PORT=25 "
                                     "PROTO=ESMTP HELO=[UNAVAILABLE] LOGIN=a+20b"),
                                 &x, &fault));
    assert_str(x.addr, "2001:db8::1");
    assert_str(x.login, "a b");
    assert_true(x.port == 25 && (x.seen & SMTP_XCLIENT_HELO) && !x.helo.len);
    static const char *const badx[] = {"",           "NAME",     "FOO=1",        "PORT=99999",
                                       "ADDR=1.2.3", "NAME=+0A", "NAME=a NAME=b"};
    for (size_t i = 0; i < ARRAY_LEN(badx); i++)
        assert_int_equal(smtp_parse_xclient(&arena, str_c(badx[i]), &x, &fault), ERR_SYNTAX);
    str s;
    assert_int_equal(smtp_parse_text(STR_NONE, true, &s, &fault), ERR_SYNTAX);
    assert_int_equal(smtp_parse_text(STR("a\x01"), false, &s, &fault), ERR_SYNTAX);
    assert_ok(smtp_parse_text(STR_NONE, false, &s, &fault));
    assert_int_equal(smtp_parse_none(STR("x"), &fault), ERR_SYNTAX);
}

static void test_xtext_round_trip(void **state)
{
    char all[256];
    for (size_t i = 0; i < sizeof(all); i++)
        all[i] = (char)i;
    BUF_AUTO struct buf out = BUF_INIT(4096);
    smtp_xtext_encode(&out, str_of(all, sizeof(all)));
    str back;
    assert_ok(smtp_xtext_decode(&arena, buf_str(&out), &back));
    assert_true(str_eq(back, str_of(all, sizeof(all))));
    uint64_t t;
    assert_true(smtp_date_parse(STR("1985-04-12T23:20:50.52Z"), &t) && t == 482196050);
    assert_true(smtp_date_parse(STR("1996-12-19T16:39:57-08:00"), &t) && t == 851042397);
}

static void linear_params(size_t n)
{
    char *text = malloc(n + 32);
    struct smtp_mail m;
    memcpy(text, "FROM:<a@b> ENVID=", 17);
    memset(text + 17, ' ', n);
    for (int i = 0; i < 10; i++)
        assert_int_not_equal(smtp_parse_mail(&arena, str_of(text, n + 17), MAIL_ALL, &m, &fault),
                             ERR_NOMEM);
    memset(text + 7, '@', n);
    for (int i = 0; i < 10; i++)
        assert_int_not_equal(smtp_parse_mail(&arena, str_of(text, n + 17), MAIL_ALL, &m, &fault),
                             ERR_NOMEM);
    free(text);
    arena_reset(&arena);
}
static void test_wire_4_linear(void **state) { assert_true(linear_holds(linear_params, 100000)); }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lines, setup, teardown),
        cmocka_unit_test_setup_teardown(test_helo, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mail, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mail_faults, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rcpt, setup, teardown),
        cmocka_unit_test_setup_teardown(test_smaller, setup, teardown),
        cmocka_unit_test_setup_teardown(test_xtext_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wire_4_linear, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
