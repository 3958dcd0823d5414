/* SPDX-License-Identifier: Apache-2.0
 *
 * DMARC, Authentication-Results, MTA-STS, TLS-RPT and delivery reports.
 */
#include "format/test_cmocka.h"

#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "format/authres.h"
#include "format/dmarc_syntax.h"
#include "format/dsn.h"
#include "format/mta_sts.h"
#include "format/smtp_data.h"
#include "format/test_linear.h"
#include "format/tlsrpt.h"

static struct arena arena;
static int teardown(void **state)
{
    arena_free(&arena);
    return 0;
}
static int setup(void **state)
{
    arena_init(&arena, 64 << 20);
    return 0;
}

static void test_dmarc(void **state)
{
    struct dmarc_record r;
    assert_ok(dmarc_record_parse(
        &arena,
        STR("v=DMARC1; p=quarantine; sp=none; np=reject; adkim=s; aspf=r; psd=n; t=y; fo=1:d; "
            "rua=mailto:a@b.test!10m, bad uri,https://x.test/y; ruf=mailto:c@d.test; pct=50; x=y"),
        &r));
    assert_true(r.policy == DMARC_QUARANTINE && r.subdomain == DMARC_NONE &&
                r.nonexistent == DMARC_REJECT);
    assert_true(r.strict_dkim && !r.strict_spf && r.testing && r.psd == DMARC_PSD_NO);
    assert_true(r.fo == (DMARC_FO_1 | DMARC_FO_D) && r.percent == 50);
    assert_true(r.nrua == 2 && r.nruf == 1 && r.rua[0].size_max == 10485760);
    assert_str(r.rua[0].uri, "mailto:a@b.test");
    assert_ok(dmarc_record_parse(&arena, STR("v=DMARC1;p=reject;"), &r));
    assert_true(r.nonexistent == DMARC_REJECT && r.fo == DMARC_FO_0);
    assert_ok(dmarc_record_parse(&arena, STR("v=DMARC1; p=foo; rua=mailto:a@b.test"), &r));
    assert_int_equal(r.policy, DMARC_NONE);
    assert_ok(dmarc_record_parse(&arena, STR("v=DMARC1; p=reject; pct=500; fo=x; psd=z"), &r));
    assert_int_equal(r.percent, 100);
    assert_int_equal(dmarc_record_parse(&arena, STR("v=DMARC2; p=none"), &r), ERR_NOT_FOUND);
    assert_int_equal(dmarc_record_parse(&arena, STR("p=none; v=DMARC1"), &r), ERR_NOT_FOUND);
    assert_int_equal(dmarc_record_parse(&arena, STR("v=DMARC1"), &r), ERR_SYNTAX);
    assert_int_equal(dmarc_record_parse(&arena, STR("v=DMARC1; p=foo"), &r), ERR_SYNTAX);
    assert_int_equal(dmarc_record_parse(&arena, STR("v=DMARC1; p=none; junk"), &r), ERR_SYNTAX);
}

static void test_authres(void **state)
{
    struct authres r;
    assert_ok(
        authres_parse(/* RFC 8601 B.5 */
                      &arena,
                      STR(" example.com;\r\n   dkim=pass reason=\"good signature\" (really)\r\n"
                          "     header.i=@mail-router.example.net;\r\n   dkim = fail reason=\"bad "
                          "signature\"\r\n"
                          "     header.i=@newyork.example.com\r\n"),
                      &r));
    assert_str(r.id, "example.com");
    assert_int_equal(r.count, 2);
    assert_str(r.results[0].reason, "good signature");
    assert_str(r.results[1].properties[0].value, "@newyork.example.com");
    assert_ok(authres_parse(&arena, STR("example.org 1; none"), &r)); /* B.2 */
    assert_int_equal(r.count, 0);
    assert_ok(authres_parse(/* B.7 */
                            &arena,
                            STR("foo.example.net (foobar) 1 (baz);\r\n dkim (Because I like it) / "
                                "1 (One yay) "
                                "= (wait for it) fail\r\n policy (A dot can go here) . (like that) "
                                "expired "
                                "(this surprised me) = (as I wasn't expecting it) 1362471462"),
                            &r));
    assert_str(r.results[0].properties[0].type, "policy");
    assert_str(r.results[0].properties[0].value, "1362471462");
}

static void test_authres_id_of_malformed(void **state)
{
    struct authres r;
    static const char *const bad[] = {"mx.test; dkim",
                                      "mx.test; dkim=",
                                      "mx.test x y",
                                      "mx.test; (open",
                                      "mx.test; dkim=pass header=x",
                                      "mx.test; a=b \"c",
                                      "mx.test; a=b c.\xff=d",
                                      "mx.test; \"a\"=b"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(authres_parse(&arena, str_c(bad[i]), &r), ERR_SYNTAX);
        assert_str(r.id, "mx.test");
    }
    assert_int_equal(authres_parse(&arena, STR(""), &r), ERR_SYNTAX);
}

static void test_authres_render(void **state)
{
    struct authres_property p[] = {
        {STR_INIT("header"), STR_INIT("d"), STR_INIT("b.test")},
        {STR_INIT("header"), STR_INIT("i"), STR_INIT("\"x y\"@b.test\r\nEvil: 1")},
    };
    struct authres_result results[] = {
        {STR_INIT("spf"), STR_INIT("fail"), STR_INIT("not listed"), NULL, 0},
        {STR_INIT("dkim"), STR_INIT("pass"), STR_INIT(""), p, 2},
    };
    struct authres r = {STR("mx.test"), results, 2}, back;
    BUF_AUTO struct buf out = BUF_INIT(4096);
    authres_render(&out, &r);
    assert_str(buf_str(&out),
               "mx.test;\r\n\tspf=fail reason=\"not listed\";\r\n\tdkim=pass header.d=b.test "
               "header.i=\"\\\"x y\\\"@b.test??Evil: 1\"");
    assert_ok(authres_parse(&arena, buf_str(&out), &back));
    assert_true(back.count == 2 && back.results[1].count == 2);
    assert_str(back.results[1].properties[1].value, "\"x y\"@b.test??Evil: 1");
}

static void test_mta_sts(void **state)
{
    str id;
    assert_ok(mta_sts_txt_parse(STR("v=STSv1; id=20160831085700Z;"), &id));
    assert_str(id, "20160831085700Z");
    assert_int_equal(mta_sts_txt_parse(STR("v=STSv2; id=1"), &id), ERR_NOT_FOUND);
    assert_int_equal(mta_sts_txt_parse(STR("v=STSv1; id=a-b"), &id), ERR_SYNTAX);
    assert_int_equal(mta_sts_txt_parse(STR("v=STSv1;"), &id), ERR_SYNTAX);
    struct mta_sts_policy p;
    assert_ok(mta_sts_policy_parse(&arena, /* RFC 8461 3.2 */
                                   STR("version: STSv1\nmode: enforce\r\nmx: mail.example.com\n"
                                       "mx: *.example.net\nmx: backupmx.example.com\nfoo: bar\n"
                                       "max_age: 604800\n"),
                                   &p));
    assert_true(p.nmx == 3 && p.mode == MTA_STS_ENFORCE && p.max_age_s == 604800);
    assert_true(mta_sts_mx_matches(&p, STR("MAIL.example.com.")));
    assert_true(mta_sts_mx_matches(&p, STR("a.example.net")));
    assert_false(mta_sts_mx_matches(&p, STR("a.b.example.net")));
    assert_false(mta_sts_mx_matches(&p, STR("example.net")));
    assert_false(mta_sts_mx_matches(&p, STR(".example.net")));
    BUF_AUTO struct buf out = BUF_INIT(4096);
    mta_sts_policy_render(&out, &p);
    struct mta_sts_policy back;
    assert_ok(mta_sts_policy_parse(&arena, buf_str(&out), &back));
    assert_true(back.nmx == 3 && back.max_age_s == p.max_age_s);
    static const char *const bad[] = {
        "",
        "<html>",
        "version: STSv1\nmode: enforce\nmax_age: 1\n",
        "version: STSv1\nmode: x\nmax_age: 1\n",
        "version: STSv1\nmode: none\nmax_age: x\n",
        "mode: none\nmax_age: 1\n",
        "version: STSv1\nmode: enforce\nmx: *.*.a\nmax_age: 1\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(mta_sts_policy_parse(&arena, str_c(bad[i]), &p), ERR_SYNTAX);
}

static void test_tlsrpt(void **state)
{
    struct tlsrpt_record r;
    assert_ok(tlsrpt_parse(&arena, STR("v=TLSRPTv1; rua=mailto:a@b.test,https://r.test/v1;"), &r));
    assert_true(r.count == 2);
    assert_str(r.rua[1], "https://r.test/v1");
    assert_int_equal(tlsrpt_parse(&arena, STR("v=TLSRPTv1;rua=http://x"), &r), ERR_SYNTAX);
    assert_int_equal(tlsrpt_parse(&arena, STR("v=TLSRPTv2;rua=mailto:a@b"), &r), ERR_NOT_FOUND);
}

static void test_dsn(void **state)
{
    struct dsn_recipient rcpt[] = {
        {.action = DSN_FAILED,
         .address = STR("louisl@larry.slip.umd.edu"),
         .orcpt_type = STR("rfc822"),
         .orcpt = STR("louis@x.test"),
         .status = STR("4.0.0"),
         .remote_mta = STR("larry.slip.umd.edu"),
         .diagnostic = STR("426 connection timed out\nsecond\r\nInjected: 1\n\nlast"),
         .explanation = STR("The other side did not answer."),
         .last_attempt_s = 773409000},
        {.action = DSN_DELAYED,
         .address = STR("b@c.test"),
         .status = STR("4.4.1"),
         .retry_until_s = 773509000},
    };
    struct dsn d = {.reporting_mta = STR("cs.utk.edu"),
                    .from = STR("postmaster@cs.utk.edu"),
                    .to = STR("owner@cs.utk.edu"),
                    .message_id = STR("1@cs.utk.edu"),
                    .boundary = STR("=_b1"),
                    .envid = STR("env-1"),
                    .now_s = 773409010,
                    .arrival_s = 773000000,
                    .recipients = rcpt,
                    .count = 2,
                    .original = STR("Subject: x\r\n\r\n")};
    BUF_AUTO struct buf out = BUF_INIT(65536);
    dsn_render(&out, &d);
    str text = buf_str(&out);
    static const char *const parts[] = {
        "To: <owner@cs.utk.edu>\r\nSubject: Your message could not be delivered\r\n",
        "\r\n--=_b1\r\nContent-Type: message/delivery-status\r\n",
        "Original-Envelope-Id: env-1\r\nReporting-MTA: dns; cs.utk.edu\r\nArrival-Date: ",
        "\r\n\r\nOriginal-Recipient: rfc822; louis@x.test\r\nFinal-Recipient: rfc822; "
        "louisl@larry.slip.umd.edu\r\nAction: failed\r\nStatus: 4.0.0\r\n"
        "Remote-MTA: dns; larry.slip.umd.edu\r\n"
        "Diagnostic-Code: smtp; 426 connection timed out\r\n    second \r\n    Injected: 1\r\n    "
        "last\r\n",
        "\r\n\r\nFinal-Recipient: rfc822; b@c.test\r\nAction: delayed\r\n",
        "Content-Type: text/rfc822-headers\r\n",
        "Subject: x\r\n\r\n\r\n--=_b1--\r\n",
        "Auto-Submitted: auto-replied\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (str_find(text, str_c(parts[i])) == STR_NPOS)
            fail_msg("lacks %s in\n%.*s", parts[i], STR_ARG(text));
    assert_true(str_find(text, STR("\r\nInjected")) == STR_NPOS);
    /* rule: wire-1: no bare CR or LF in what we send */
    struct smtp_chunk c = {0};
    assert_int_equal(smtp_chunk_check(&c, text, true), SMTP_DATA_MORE);
    assert_false(c.mid_line);
}

static void test_dsn_utf8(void **state)
{
    struct dsn_recipient rcpt = {
        .action = DSN_FAILED, .address = STR("j\xc3\xb6rg@x.test"), .status = STR("5.1.1")};
    struct dsn d = {.reporting_mta = STR("a"),
                    .from = STR("p@a"),
                    .to = STR("b@c"),
                    .message_id = STR("x"),
                    .boundary = STR("b"),
                    .recipients = &rcpt,
                    .count = 1,
                    .full = true,
                    .original = STR("A: b\r\n")};
    BUF_AUTO struct buf out = BUF_INIT(65536);
    dsn_render(&out, &d);
    assert_true(str_find(buf_str(&out), STR("message/global-delivery-status")) != STR_NPOS);
    assert_true(str_find(buf_str(&out), STR("Final-Recipient: utf-8; j\xc3\xb6rg@x.test")) !=
                STR_NPOS);
    assert_true(str_find(buf_str(&out), STR("Content-Type: message/global\r\n")) != STR_NPOS);
}

static void linear_authres(size_t n)
{
    char *text = malloc(n);
    struct authres r;
    memset(text, '(', n);
    memcpy(text, "a;", 2);
    assert_int_equal(authres_parse(&arena, str_of(text, n), &r), ERR_SYNTAX);
    memset(text + 2, '"', n - 2);
    assert_int_equal(authres_parse(&arena, str_of(text, n), &r), ERR_SYNTAX);
    arena_reset(&arena);
    free(text);
}
static void test_wire_4_linear(void **state) { assert_true(linear_holds(linear_authres, 300000)); }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_dmarc, setup, teardown),
        cmocka_unit_test_setup_teardown(test_authres, setup, teardown),
        cmocka_unit_test_setup_teardown(test_authres_id_of_malformed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_authres_render, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mta_sts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tlsrpt, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dsn, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dsn_utf8, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wire_4_linear, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
