/* SPDX-License-Identifier: Apache-2.0 */
#include "format/test_cmocka.h"

#include <string.h>

#include "base/num.h"
#include "format/addr.h"
#include "format/test_linear.h"

/* "local|domain", or the name of the error. */
static void assert_parse(const char *text, unsigned flags, const char *want)
{
    ARENA_AUTO struct arena a = ARENA_INIT(65536);
    struct addr addr;
    enum err e = addr_parse(&a, str_c(text), flags, &addr);
    str got = e == ERR_OK ? arena_fmt(&a, "%.*s|%.*s", STR_ARG(addr.local), STR_ARG(addr.domain))
                          : str_c(err_name(e));
    if (!str_eq(got, str_c(want)))
        fail_msg("%s: got %.*s, want %s", text, STR_ARG(got), want);
}

/* rule: wire-6: one address parser, one result type. */
static void test_wire_6_strict(void **state)
{
    assert_parse("user@example.com", 0, "user|example.com");
    assert_parse("User.Name+tag@EXAMPLE.Com", 0, "User.Name+tag|example.com");
    assert_parse("\"john doe\"@example.com", 0, "john doe|example.com");
    assert_parse("\"a\\\"b\\\\c\"@example.com", 0, "a\"b\\c|example.com");
    assert_parse("\"user\"@example.com", 0, "user|example.com");
    assert_parse("\"\"@example.com", 0, "|example.com");
    assert_parse("user@[192.0.2.1]", 0, "user|[192.0.2.1]");
    assert_parse("user@[IPv6:2001:DB8::1]", 0, "user|[ipv6:2001:db8::1]");
    assert_parse("j\xc3\xb8rn@bl\xc3\xa5.example", 0, "j\xc3\xb8rn|bl\xc3\xa5.example");
    assert_parse("!#$%&'*+-/=?^_`{|}~@x-y.z", 0, "!#$%&'*+-/=?^_`{|}~|x-y.z");
    assert_parse("postmaster", 0, "SYNTAX");
    assert_parse("postmaster", ADDR_DOMAIN_OPTIONAL, "postmaster|");
    static const char *const bad[] = {
        "",        "@",      "@x",     "a@",       ".a@x",    "a.@x",    "a..b@x",      "a b@x",
        "a@x.",    "a@.x",   "a@x..y", "a@-x",     "a@x-.y",  "a@x y",   "a@[1.2.3.4",  "a@[]",
        "a@[1 2]", "\"a@x",  "a@b@c",  "<a@b>",    "a@b,c@d", "a\x01@b", "\"a\x01\"@b", "a\xff@b",
        "a@b\xff", "a(c)@b", "a@b(c)", "\"a\"b@c", "a@x\xc3", "a;b@c",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_parse(bad[i], 0, "SYNTAX");
}

static void test_wire_4_lengths(void **state)
{
    char text[512];
    memset(text, 'a', sizeof(text));
    memcpy(text + ADDR_LOCAL_MAX, "@x", 3);
    ARENA_AUTO struct arena a = ARENA_INIT(4096);
    struct addr addr;
    assert_ok(addr_parse(&a, str_c(text), 0, &addr));
    memset(text, 'a', sizeof(text));
    memcpy(text + ADDR_LOCAL_MAX + 1, "@x", 3);
    assert_int_equal(addr_parse(&a, str_c(text), 0, &addr), ERR_LIMIT);
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = i % 50 == 49 ? '.' : 'a';
    memcpy(text, "u@", 2);
    assert_ok(addr_parse(&a, str_of(text, 2 + ADDR_DOMAIN_MAX), 0, &addr));
    assert_int_equal(addr_parse(&a, str_of(text, 3 + ADDR_DOMAIN_MAX), 0, &addr), ERR_LIMIT);
    memset(text + 2, 'a', 64);
    assert_int_equal(addr_parse(&a, str_of(text, 66), 0, &addr), ERR_SYNTAX);
}

static void test_take_stops(void **state)
{
    ARENA_AUTO struct arena a = ARENA_INIT(4096);
    str rest = STR("user@example.com> SIZE=5");
    struct addr addr;
    assert_ok(addr_take(&a, &rest, 0, &addr));
    assert_str(addr.domain, "example.com");
    assert_str(rest, "> SIZE=5");
}

static void assert_render(struct addr addr, const char *want)
{
    ARENA_AUTO struct arena a = ARENA_INIT(4096);
    BUF_AUTO struct buf out = BUF_INIT(1000);
    addr_render(&out, &addr);
    if (!str_eq(buf_str(&out), str_c(want)))
        fail_msg("got %.*s, want %s", STR_ARG(buf_str(&out)), want);
    struct addr back = {STR_NONE, STR_NONE};
    if (out.len)
        assert_ok(addr_parse(&a, buf_str(&out), 0, &back));
    assert_true(addr_eq(&back, &addr));
}

static void test_render(void **state)
{
    assert_render((struct addr){STR("user"), STR("x.y")}, "user@x.y");
    assert_render((struct addr){STR("a b"), STR("x")}, "\"a b\"@x");
    assert_render((struct addr){STR("a\"\\"), STR("x")}, "\"a\\\"\\\\\"@x");
    assert_render((struct addr){STR("a..b"), STR("x")}, "\"a..b\"@x");
    assert_render((struct addr){STR(""), STR("x")}, "\"\"@x");
    assert_render((struct addr){STR_NONE, STR_NONE}, "");
    BUF_AUTO struct buf out = BUF_INIT(1000);
    struct addr addr = {STR("user"), STR("x")};
    addr_render_mailbox(&out, STR("Doe, \"J\""), &addr);
    assert_str(buf_str(&out), "\"Doe, \\\"J\\\"\" <user@x>");
    buf_reset(&out);
    addr_render_mailbox(&out, STR("J\xc3\xb6rg\r\nBcc: x"), &addr);
    assert_str(buf_str(&out), "=?UTF-8?B?SsO2cmcgIEJjYzogeA==?= <user@x>");
}

/* Items as "name|route|local|domain", groups as "name:" and ";", with spaces between. */
static void assert_list(const char *text, const char *want)
{
    ARENA_AUTO struct arena a = ARENA_INIT(1 << 20);
    BUF_AUTO struct buf out = BUF_INIT(1 << 20);
    struct addr_list list;
    assert_ok(addr_list_parse(&a, str_c(text), &list));
    for (size_t i = 0; i < list.count; i++) {
        const struct addr_item *it = &list.items[i];
        if (i)
            buf_add_char(&out, ' ');
        buf_add(&out, it->name);
        if (it->kind != ADDR_MAILBOX) {
            buf_add_char(&out, it->kind == ADDR_GROUP_START ? ':' : ';');
            continue;
        }
        buf_addf(&out, "|%.*s|%.*s|%.*s", STR_ARG(it->route), STR_ARG(it->addr.local),
                 STR_ARG(it->addr.domain));
    }
    if (!str_eq(buf_str(&out), str_c(want)))
        fail_msg("%s\ngot  %.*s\nwant %s", text, STR_ARG(buf_str(&out)), want);
}

/* RFC 5322 appendix A. */
static void test_list_rfc5322(void **state)
{
    assert_list("John Doe <jdoe@machine.example>", "John Doe||jdoe|machine.example");
    assert_list("\"Joe Q. Public\" <john.q.public@example.com>",
                "Joe Q. Public||john.q.public|example.com");
    assert_list("Mary Smith <mary@x.test>, jdoe@example.org, Who? <one@y.test>",
                "Mary Smith||mary|x.test ||jdoe|example.org Who?||one|y.test");
    assert_list("<boss@nil.test>, \"Giant; \\\"Big\\\" Box\" <sysservices@example.net>",
                "||boss|nil.test Giant; \"Big\" Box||sysservices|example.net");
    assert_list("A Group:Ed Jones <c@a.test>,joe@where.test,John <jdoe@one.test>;",
                "A Group: Ed Jones||c|a.test ||joe|where.test John||jdoe|one.test ;");
    assert_list("Undisclosed recipients:;", "Undisclosed recipients: ;");
    assert_list("Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>",
                "Pete||pete|silly.test");
    assert_list("A Group(Some people)\r\n     :Chris Jones <c@(Chris's host.)public.example>,\r\n"
                "         joe@example.org,\r\n  John <jdoe@one.test> (my dear friend); (the end)",
                "A Group: Chris Jones||c|public.example ||joe|example.org John||jdoe|one.test ;");
    assert_list("(Empty list)(start)Hidden recipients  :(nobody(that I know))  ;",
                "Hidden recipients: ;");
    assert_list("Joe Q. Public <john.q.public@example.com>",
                "Joe Q. Public||john.q.public|example.com");
    assert_list("Mary Smith <@node.test:mary@example.net>, , jdoe@test  . example",
                "Mary Smith|@node.test|mary|example.net ||jdoe|test.example");
    assert_list("John Doe <jdoe@machine(comment).  example>", "John Doe||jdoe|machine.example");
}

static void test_list_broken(void **state)
{
    assert_list("", "");
    assert_list(" , ,;,", "");
    assert_list("user@host (Real Name)", "Real Name||user|host");
    assert_list("me@x.test <me@x.test>", "me@x.test||me|x.test");
    assert_list("a@b; c@d", "||a|b ||c|d");
    assert_list("nobody", "||nobody|");
    assert_list("<>", "|||");
    assert_list("<@host>", "|||host");
    assert_list("Foo <a@b", "Foo||a|b");
    assert_list("\"open <a@b>", "||open <a@b>|");
    assert_list("(open a@b", "");
    assert_list("\"john doe\"@x.test", "||john doe|x.test");
    assert_list("=?utf-8?q?J=C3=B6rg?= <j@x>", "=?utf-8?q?J=C3=B6rg?=||j|x");
    assert_list("\"folded\r\n name\" <j@x>", "folded name||j|x");
    assert_list("a@[192.0.2.1], b@c", "||a|[192.0.2.1] ||b|c");
    /* A comment that only a failed route had read is not used twice. */
    assert_list("<@n x(<@n,(c)", "|||n");
    assert_list("g: a@b", "g: ||a|b ;");
    assert_list("A <x@y> B <z@w>, q@r", "A||x|y ||q|r");
    assert_list("j\xc3\xb8 <j\xc3\xb8@bl\xc3\xa5>", "j\xc3\xb8||j\xc3\xb8|bl\xc3\xa5");
}

static char *repeat(const char *piece, size_t n)
{
    size_t len = strlen(piece);
    char *text = test_malloc(n + len);
    for (size_t i = 0; i < n; i += len)
        memcpy(text + i, piece, len);
    return text;
}

static const char *piece;

static void parse_repeated(size_t n)
{
    ARENA_AUTO struct arena a = ARENA_INIT(64 << 20);
    char *text = repeat(piece, n);
    struct addr_list list;
    assert_ok(addr_list_parse(&a, str_of(text, n), &list));
    test_free(text);
}

/* rule: wire-4: 100,000 addresses end in a named limit within a second; every shape is linear. */
static void test_wire_4_linear(void **state)
{
    static const char *const pieces[] = {"a@b, ",  "(",     "\"",      "\\",     "<a@b, ", "a@b <",
                                         "x:y;",   "@",     "<@a:",    ")",      "a.",     " ",
                                         "\" (\\", "a@b c", "\"a\" ",  "=?a?q?", "a@(b)",  "[",
                                         "a@[",    ",",     "(a)@(b)", "<>"};
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        piece = pieces[i];
        if (!linear_holds(parse_repeated, 200000))
            fail_msg("not linear: %s", piece);
    }
    ARENA_AUTO struct arena a = ARENA_INIT(64 << 20);
    size_t n = 100000 * strlen("user@example.com, ");
    char *text = repeat("user@example.com, ", n);
    struct addr_list list;
    assert_ok(addr_list_parse(&a, str_of(text, n), &list));
    assert_int_equal(list.count, ADDRS_PER_FIELD_MAX);
    assert_int_equal(list.limit, LIMIT_ADDRS_PER_FIELD_MAX);
    assert_str(limit_name(list.limit), "ADDRS_PER_FIELD_MAX");
    test_free(text);
}

static void test_arena_full(void **state)
{
    ARENA_AUTO struct arena a = ARENA_INIT(64);
    struct addr_list list;
    assert_int_equal(addr_list_parse(&a, STR("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@b"), &list),
                     ERR_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wire_6_strict), cmocka_unit_test(test_wire_4_lengths),
        cmocka_unit_test(test_take_stops),    cmocka_unit_test(test_render),
        cmocka_unit_test(test_list_rfc5322),  cmocka_unit_test(test_list_broken),
        cmocka_unit_test(test_wire_4_linear), cmocka_unit_test(test_arena_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
