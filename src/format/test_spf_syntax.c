/* SPDX-License-Identifier: Apache-2.0 */
#include "format/test_cmocka.h"

#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "format/spf_syntax.h"
#include "format/test_linear.h"

static struct arena arena;
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

static const uint8_t ip4[] = {192, 0, 2, 3};
static const uint8_t ip6[] = {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xcb, 0x01};
static struct spf_values values(bool v6)
{
    return (struct spf_values){.sender_local = STR("strong-bad"),
                               .sender_domain = STR("email.example.com"),
                               .domain = STR("email.example.com"),
                               .helo = STR("mx.example.org"),
                               .ip = v6 ? ip6 : ip4,
                               .v6 = v6,
                               .time_s = 7};
}

/* RFC 7208 7.4. */
static void test_published_macros(void **state)
{
    static const struct {
        const char *macro, *want;
        bool v6;
    } rows[] = {
        {"%{s}", "strong-bad@email.example.com"},
        {"%{o}", "email.example.com"},
        {"%{d}", "email.example.com"},
        {"%{d4}", "email.example.com"},
        {"%{d3}", "email.example.com"},
        {"%{d2}", "example.com"},
        {"%{d1}", "com"},
        {"%{dr}", "com.example.email"},
        {"%{d2r}", "example.email"},
        {"%{l}", "strong-bad"},
        {"%{l-}", "strong.bad"},
        {"%{lr}", "strong-bad"},
        {"%{lr-}", "bad.strong"},
        {"%{l1r-}", "strong"},
        {"%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"},
        {"%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"},
        {"%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com"},
        {"%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com"},
        {"%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"},
        {"%{ir}.%{v}._spf.%{d2}",
         "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com",
         true},
        {"a%%b%_c%-d", "a%b c%20d"},
        {"%{S}", "strong-bad%40email.example.com"},
        {"%{p}", "unknown"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        BUF_AUTO struct buf out = BUF_INIT(4096);
        struct spf_values v = values(rows[i].v6);
        assert_ok(spf_expand(&out, str_c(rows[i].macro), &v, false));
        if (!str_eq(buf_str(&out), str_c(rows[i].want)))
            fail_msg("%s: %.*s", rows[i].macro, STR_ARG(buf_str(&out)));
    }
    static const char *const bad[] = {"%",  "%{",      "%{s", "%{x}", "%{c}", "%{d0}",
                                      "%x", "%{d2r*}", "a b", "%{t}", "%{}",  "\x01"};
    struct spf_values v = values(false);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        BUF_AUTO struct buf out = BUF_INIT(4096);
        if (spf_expand(&out, str_c(bad[i]), &v, false) == ERR_OK)
            fail_msg("accepted %s", bad[i]);
    }
    BUF_AUTO struct buf out = BUF_INIT(4096);
    assert_ok(spf_expand(&out, STR("%{c} is not one of %{d}'s %{t}"), &v, true));
    assert_str(buf_str(&out), "192.0.2.3 is not one of email.example.com's 7");
}

static void test_record(void **state)
{
    struct spf_record r;
    assert_ok(spf_record_parse(
        &arena,
        STR("v=spf1 +mx a:colo.example.com/28//64 ~include:_spf.%{d} ip4:192.0.2.0/24 "
            "ip6:2001:db8::/32 "
            "?exists:%{ir}.%{l1r+-}._spf.%{d} ptr A/8 unknown=x%{d} -all redirect=_spf.example.com "
            "exp=explain._spf.%{d}"),
        &r));
    assert_int_equal(r.count, 9);
    assert_true(r.terms[1].mechanism == SPF_A && r.terms[1].prefix4 == 28 &&
                r.terms[1].prefix6 == 64);
    assert_str(r.terms[1].domain, "colo.example.com");
    assert_true(r.terms[2].qualifier == SPF_SOFTFAIL && r.terms[2].mechanism == SPF_INCLUDE);
    assert_true(r.terms[3].prefix4 == 24 && r.terms[3].ip[2] == 2 && r.terms[4].prefix6 == 32);
    assert_true(r.terms[7].prefix4 == 8 && r.terms[8].qualifier == SPF_FAIL);
    assert_str(r.redirect, "_spf.example.com");
    assert_ok(spf_record_parse(&arena, STR("v=spf1"), &r));
    assert_ok(spf_record_parse(&arena, STR("V=SPF1   -all  "), &r));
    assert_false(spf_record_is(STR("v=spf10")));
    static const char *const bad[] = {
        "v=spf2 -all",
        "v=spf1 foo",
        "v=spf1 all:x",
        "v=spf1 include",
        "v=spf1 include:",
        "v=spf1 ip4",
        "v=spf1 ip4:1.2.3",
        "v=spf1 ip4:1.2.3.4/33",
        "v=spf1 ip4:1.2.3.4/01",
        "v=spf1 ip6:::1/129",
        "v=spf1 a/33",
        "v=spf1 a//129",
        "v=spf1 a/",
        "v=spf1 mx:/24",
        "v=spf1 all/8",
        "v=spf1 redirect=a.test redirect=b.test",
        "v=spf1 exp=",
        "v=spf1 exists:%{x}.test",
        "v=spf1 include:localhost",
        "v=spf1 a:foo.123",
        "v=spf1 ++all",
        "v=spf1 -",
        "v=spf1 \x80",
        "v=spf1 x=%",
        "v=spf1 ptr/24",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (spf_record_parse(&arena, str_c(bad[i]), &r) == ERR_OK)
            fail_msg("accepted %s", bad[i]);
}

static void test_long_names_lose_labels(void **state)
{
    char text[300];
    memset(text, 'a', sizeof(text));
    for (size_t i = 50; i < sizeof(text); i += 50)
        text[i] = '.';
    struct spf_values v = values(false);
    str out;
    assert_ok(spf_expand_domain(&arena, str_of(text, sizeof(text)), &v, &out));
    assert_int_equal(out.len, 249);
}

static void linear_record(size_t n)
{
    BUF_AUTO struct buf txt = BUF_INIT(1 << 20);
    struct spf_record r;
    buf_add_c(&txt, "v=spf1");
    for (size_t i = 0; i < n; i++)
        buf_add_c(&txt, " a:%{d}.b.test");
    for (int i = 0; i < 20; i++) {
        assert_ok(spf_record_parse(&arena, buf_str(&txt), &r));
        arena_reset(&arena);
    }
}
static void test_wire_4_linear(void **state) { assert_true(linear_holds(linear_record, 200)); }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_published_macros, setup, teardown),
        cmocka_unit_test_setup_teardown(test_record, setup, teardown),
        cmocka_unit_test_setup_teardown(test_long_names_lose_labels, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wire_4_linear, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
