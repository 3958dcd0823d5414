/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "app/config.h"
#include "app/json.h"

#include <string.h>

static void expect_error(const char *text, const char *sentence)
{
    struct config c;
    BUF_AUTO struct buf error = BUF_INIT(65536);
    assert_int_not_equal(config_parse(STR("f.conf"), str_c(text), &c, &error), ERR_OK);
    buf_add_char(&error, 0);
    assert_string_equal(error.data, sentence);
}

static void test_defaults_are_valid(void **state)
{
    struct config c;
    BUF_AUTO struct buf error = BUF_INIT(65536);
    assert_int_equal(config_parse(STR("f.conf"), STR_NONE, &c, &error), ERR_OK);
    assert_true(str_eq(c.server_hostname, STR("localhost")));
    assert_int_equal(c.smtp_size_max, 50 << 20);
    assert_int_equal(c.listen_smtp.count, 1);
    assert_true(c.listen_smtp.items[0].any);
    assert_int_equal(c.listen_smtp.items[0].address.port, 25);
    assert_int_equal(c.listen_lmtp.count, 0);
    assert_false(c.smtp_allow_bare_lf);
    assert_int_equal(c.smtp_relays.count, 0); /* rule: wire-7 */
    assert_false(c.auth_plain_on_loopback);   /* rule: wire-3 */
    config_free(&c);
}

static void test_values(void **state)
{
    struct config c;
    BUF_AUTO struct buf error = BUF_INIT(65536);
    str text = STR("# comment\r\n[server]\nhostname=mx.example.test\n\n[listen]\n"
                   "smtp = 127.0.0.1:2525, [::1]:2526 , 2527\nlmtp = lmtp.sock\n[smtp]\n"
                   "size_max = 10M\nrelays = 192.0.2.0/24, 2001:db8::/32,198.51.100.7\n"
                   "command_timeout = 90s\nallow_bare_lf = yes\n; end");
    assert_int_equal(config_parse(STR("f.conf"), text, &c, &error), ERR_OK);
    assert_true(str_eq(c.server_hostname, STR("mx.example.test")));
    assert_int_equal(c.listen_smtp.count, 3);
    assert_int_equal(c.listen_smtp.items[0].address.family, 4);
    assert_int_equal(c.listen_smtp.items[1].address.family, 6);
    assert_int_equal(c.listen_smtp.items[1].address.port, 2526);
    assert_true(c.listen_smtp.items[2].any);
    assert_true(str_eq(c.listen_lmtp.items[0].path, STR("lmtp.sock")));
    assert_int_equal(c.smtp_relays.count, 3);
    assert_int_equal(c.smtp_relays.items[0].bits, 24);
    assert_int_equal(c.smtp_relays.items[2].bits, 32);
    assert_int_equal(c.smtp_command_timeout, 90000);
    assert_true(c.smtp_allow_bare_lf);
    config_free(&c);
}

static void test_errors_name_file_and_line(void **state)
{
    expect_error("[server]\nhostnam = x\n", "f.conf:2: there is no setting hostnam");
    expect_error("[smtp]\nhostname = x\n",
                 "f.conf:2: the setting hostname belongs into section [server]");
    expect_error("hostname = x\n", "f.conf:1: the setting hostname belongs into section [server]");
    expect_error("[servr]\n", "f.conf:1: there is no section [servr]");
    expect_error("[server\n", "f.conf:1: a section needs its closing bracket");
    expect_error("[smtp]\n\nsize_max = lots\n",
                 "f.conf:3: the value of size_max is not a size like 25M");
    expect_error("[smtp]\nallow_bare_lf = maybe\n",
                 "f.conf:2: the value of allow_bare_lf is neither yes nor no");
    expect_error("[smtp]\nerrors_max = 3\nerrors_max = 4\n",
                 "f.conf:3: the setting errors_max was already given in line 2");
    expect_error("[listen]\nsmtp = 70000\n",
                 "f.conf:2: the value of smtp is not a port, an address with a port, or the path "
                 "of a socket");
    expect_error("[smtp]\nrelays = 10.0.0.0/99\n",
                 "f.conf:2: the value of relays is not an address or a network like "
                 "192.0.2.0/24");
    expect_error("nonsense\n", "f.conf:1: expected [section] or key = value, found \"nonsense\"");
    expect_error("[listen]\nsubmission = *:2587\npop3 = 127.0.0.1:2587\n",
                 "f.conf:3: listen.submission and listen.pop3 want the same port");
    expect_error("[listen]\nimap = 127.0.0.1:25\n",
                 "f.conf:2: listen.smtp and listen.imap want the same port");
    expect_error("[listen]\nlmtp = a.sock, a.sock\n",
                 "f.conf:2: listen.lmtp and listen.lmtp want the same socket");
    expect_error("[acme]\nproof = mail-01\n",
                 "f.conf: acme.proof is http-01, tls-alpn-01 or dns-01, not \"mail-01\"");
    expect_error("[acme]\nenabled = yes\nproof = tls-alpn-01\n",
                 "f.conf: acme.proof is tls-alpn-01, but listen.https is off");
    expect_error("[log]\nlevel = loud\n",
                 "f.conf: log.level is debug, info, warn or error, not \"loud\"");
}

static void test_rendered_text_parses_to_the_same(void **state)
{
    struct config a, b;
    BUF_AUTO struct buf error = BUF_INIT(65536);
    BUF_AUTO struct buf once = BUF_INIT(1 << 20);
    BUF_AUTO struct buf twice = BUF_INIT(1 << 20);
    str text = STR("[listen]\nsmtp = [2001:db8::1]:25, *:26, /run/x.sock\n[smtp]\n"
                   "relays = 192.0.2.0/24\ncommand_timeout = 1500ms\nsize_max = 12345\n");
    assert_int_equal(config_parse(STR("f"), text, &a, &error), ERR_OK);
    config_render(&a, true, &once);
    assert_int_equal(config_parse(STR("g"), buf_str(&once), &b, &error), ERR_OK);
    config_render(&b, true, &twice);
    assert_true(str_eq(buf_str(&once), buf_str(&twice)));
    BUF_AUTO struct buf changes = BUF_INIT(4096);
    config_restart_changes(&a, &b, &changes);
    assert_int_equal(changes.len, 0);
    config_free(&b);
    assert_int_equal(config_parse(STR("h"), STR("[server]\ngates = 3\n"), &b, &error), ERR_OK);
    config_restart_changes(&a, &b, &changes);
    assert_true(str_eq(buf_str(&changes), STR(" server.gates")));
    config_free(&a);
    config_free(&b);
}

static void test_any_bytes_are_refused_or_parsed(void **state)
{
    uint32_t seed = 1;
    for (int i = 0; i < 20000; i++) {
        char text[64];
        for (size_t k = 0; k < sizeof(text); k++) {
            seed = seed * 1664525u + 1013904223u;
            text[k] = "[]=\n#;,:/ \0server.hostname\xff"
                      "09"[(seed >> 16) % 30];
        }
        struct config c;
        BUF_AUTO struct buf error = BUF_INIT(65536);
        if (config_parse(STR("f"), str_of(text, seed % 64), &c, &error) == ERR_OK)
            config_free(&c);
    }
}

static void test_json(void **state)
{
    BUF_AUTO struct buf out = BUF_INIT(65536);
    struct json j = json_of(&out);
    json_open(&j, '{');
    json_key(&j, "a");
    json_str(&j, STR("x\"\\\n\xff\xc3\xa4"));
    json_key(&j, "b");
    json_open(&j, '[');
    json_u64(&j, 1);
    json_bool(&j, false);
    json_open(&j, '{');
    json_close(&j, '}');
    json_close(&j, ']');
    json_close(&j, '}');
    assert_true(str_eq(buf_str(&out),
                       STR("{\"a\":\"x\\\"\\\\\\u000a\xef\xbf\xbd\xc3\xa4\",\"b\":[1,false,{}]}")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_are_valid),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_errors_name_file_and_line),
        cmocka_unit_test(test_rendered_text_parses_to_the_same),
        cmocka_unit_test(test_any_bytes_are_refused_or_parsed),
        cmocka_unit_test(test_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
