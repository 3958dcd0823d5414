/* SPDX-License-Identifier: Apache-2.0 */
#include "format/test_cmocka.h"

#include <string.h>

#include "base/num.h"
#include "base/utf8.h"
#include "format/params.h"
#include "format/test_linear.h"
#include "format/words.h"

static void assert_words(const char *raw, const char *want)
{
    BUF_AUTO struct buf out = BUF_INIT(1 << 20);
    words_decode(&out, str_c(raw));
    if (!str_eq(buf_str(&out), str_c(want)))
        fail_msg("%s: got \"%.*s\", want \"%s\"", raw, STR_ARG(buf_str(&out)), want);
}

/* RFC 2047 8, and RFC 2231 5. */
static void test_decode_rfc2047(void **state)
{
    assert_words("=?US-ASCII?Q?Keith_Moore?=", "Keith Moore");
    assert_words("=?ISO-8859-1?Q?Keld_J=F8rn_Simonsen?=", "Keld J\xc3\xb8rn Simonsen");
    assert_words("=?ISO-8859-1?Q?Andr=E9?= Pirard", "Andr\xc3\xa9 Pirard");
    assert_words("=?ISO-8859-1?B?SWYgeW91IGNhbiByZWFkIHRoaXMgeW8=?=\r\n"
                 " =?ISO-8859-2?B?dSB1bmRlcnN0YW5kIHRoZSBleGFtcGxlLg==?=",
                 "If you can read this you understand the example.");
    assert_words("(=?ISO-8859-1?Q?a?=)", "(a)");
    assert_words("(=?ISO-8859-1?Q?a?= b)", "(a b)");
    assert_words("(=?ISO-8859-1?Q?a?=  =?ISO-8859-1?Q?b?=)", "(ab)");
    assert_words("(=?ISO-8859-1?Q?a_b?=)", "(a b)");
    assert_words("(=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=)", "(a b)");
    assert_words("=?US-ASCII*EN?Q?Keith_Moore?=", "Keith Moore");
}

static void test_decode_broken(void **state)
{
    /* A character split between two words. */
    assert_words("=?utf-8?Q?J=C3?= =?utf-8?Q?=B6rg?=", "J\xc3\xb6rg");
    assert_words("=?utf-8?B?SsM=?=\r\n =?UTF-8?B?tnJn?=", "J\xc3\xb6rg");
    assert_words("=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "\xe6\x97\xa5\xe6\x9c\xac");
    assert_words("=?x-none?Q?a?= b", "=?x-none?Q?a?= b");
    assert_words("=?utf-8?X?a?=", "=?utf-8?X?a?=");
    assert_words("=?utf-8?Q?open", "=?utf-8?Q?open");
    assert_words("=?utf-8?Q?a=?=?utf-8?Q?b?=", "a=?utf-8?Q?b?=");
    assert_words("=?utf-8?Q?with space?=", "with space");
    assert_words("=?utf-8?Q?a?=b=?utf-8?Q?c?=", "abc");
    assert_words("=?utf-8?Q?"
                 "?=",
                 "");
    assert_words("=?utf-8?Q?a=0D=0AX:_y?=", "a X: y");
    assert_words("=?utf-8?B?YQ?= =?utf-8?B?Yg==?=", "ab");
    assert_words("=?=?=?=?=", "=?=?=?=?=");
    assert_words(" folded\r\n text \r\n", "folded text");
    assert_words("raw \xc3\xb6", "raw \xc3\xb6");
    assert_words("raw \xf6", "raw \xc3\xb6");
    assert_words("=?utf-8?Q?=ff?=", "\xef\xbf\xbd");
}

static void assert_encode(const char *text, size_t column, const char *want)
{
    BUF_AUTO struct buf out = BUF_INIT(1 << 20);
    BUF_AUTO struct buf back = BUF_INIT(1 << 20);
    words_encode(&out, str_c(text), column);
    if (want && !str_eq(buf_str(&out), str_c(want)))
        fail_msg("%s: got \"%.*s\", want \"%s\"", text, STR_ARG(buf_str(&out)), want);
    assert_true(utf8_is_ascii(buf_str(&out)));
    str rest = buf_str(&out), line;
    for (bool more = true; more; column = 0) {
        more = str_cut(rest, '\n', &line, &rest);
        assert_true(column + line.len <= 77);
    }
    words_decode(&back, buf_str(&out));
    assert_true(str_eq(buf_str(&back), str_c(text)));
}

static void test_encode(void **state)
{
    assert_encode("plain text", 9, "plain text");
    assert_encode("J\xc3\xb6rg \xc3\xa4 x", 9, "=?UTF-8?B?SsO2cmcgw6Q=?= x");
    assert_encode("a =?x?= b", 9, "a =?UTF-8?B?PT94Pz0=?= b");
    assert_encode("a  b \xc3\xb6  \xc3\xb6 c", 9, NULL);
    assert_encode("one two three four five six seven eight nine ten eleven twelve thirteen "
                  "fourteen fifteen sixteen seventeen eighteen nineteen twenty",
                  9, NULL);
    char text[1200];
    size_t len = 0;
    for (int i = 0; i < 390; i++) {
        memcpy(text + len, "\xe2\x82\xac", 4);
        len += 3;
    }
    assert_encode(text, 9, NULL);
    BUF_AUTO struct buf out = BUF_INIT(1000);
    words_encode(&out, STR("a\r\nBcc: b"), 0);
    assert_true(str_find_char(buf_str(&out), '\n') == STR_NPOS);
    buf_reset(&out);
    words_encode_phrase(&out, STR("A. B"));
    assert_str(buf_str(&out), "\"A. B\"");
    buf_reset(&out);
    words_encode_phrase(&out, STR("A B"));
    assert_str(buf_str(&out), "A B");
}

static void assert_param(const char *value, const char *name, const char *want)
{
    ARENA_AUTO struct arena a = ARENA_INIT(1 << 20);
    struct param_value v;
    str got = STR("(none)");
    assert_ok(params_parse(&a, str_c(value), &v));
    params_get(&a, &v.params, str_c(name), &got);
    if (!str_eq(got, str_c(want)))
        fail_msg("%s: got \"%.*s\", want \"%s\"", value, STR_ARG(got), want);
}

/* RFC 2045 5.1 and RFC 2231 3 and 4. */
static void test_params_rfc(void **state)
{
    assert_param("text/plain; charset=us-ascii (Plain text)", "charset", "us-ascii");
    assert_param("text/plain; charset=\"us-ascii\"", "CHARSET", "us-ascii");
    assert_param("message/external-body; access-type=URL;\r\n URL*0=\"ftp://\";\r\n"
                 " URL*1=\"cs.utk.edu/pub/moore/bulk-mailer/bulk-mailer.tar\"",
                 "url", "ftp://cs.utk.edu/pub/moore/bulk-mailer/bulk-mailer.tar");
    assert_param("application/x-stuff; title*=us-ascii'en-us'This%20is%20%2A%2A%2Afun%2A%2A%2A",
                 "title", "This is ***fun***");
    assert_param("application/x-stuff;\r\n title*0*=us-ascii'en'This%20is%20even%20more%20;\r\n"
                 " title*1*=%2A%2A%2Afun%2A%2A%2A%20;\r\n title*2=\"isn't it!\"",
                 "title", "This is even more ***fun*** isn't it!");
    assert_param("a/b; n*1*=%B6rg; n*0*=utf-8''J%C3", "n", "J\xc3\xb6rg");
    assert_param("a/b; n*=iso-8859-1''J%F6rg; n=Joerg", "n", "J\xc3\xb6rg");
}

static void test_params_broken(void **state)
{
    assert_param("a/b; name=my file.pdf; x=y", "name", "my file.pdf");
    assert_param("a/b; name=\"=?utf-8?q?J=C3=B6rg.pdf?=\"", "name", "J\xc3\xb6rg.pdf");
    assert_param("a/b; name=\"a\\\"b\\\\c\"", "name", "a\"b\\c");
    assert_param("a/b; name=\"open", "name", "open");
    assert_param("a/b name=x", "name", "x");
    assert_param("a/b; name=\"x\" other=y", "other", "y");
    assert_param("a/b;;; ; name = x", "name", "x");
    assert_param("a/b; name", "name", "(none)");
    assert_param("a/b; =x; name=y", "name", "y");
    assert_param("a/b; n*1=x", "n", "(none)");
    assert_param("a/b; n*0=x; n*2=z", "n", "x");
    assert_param("a/b; n*999999999999=x; n=y", "n", "y");
    assert_param("a/b; n*=%zz%4", "n", "%zz%4");
    ARENA_AUTO struct arena a = ARENA_INIT(1 << 20);
    struct param_value v;
    assert_ok(params_parse(&a, STR(" (c) Text (d) / (e) HTML ; x=y"), &v));
    assert_str(v.type, "Text");
    assert_str(v.subtype, "HTML");
    assert_ok(params_parse(&a, STR("attachment; filename=x"), &v));
    assert_str(v.type, "attachment");
    assert_str(v.subtype, "");
    assert_ok(params_parse(&a, STR(""), &v));
    assert_int_equal(v.type.len + v.params.count, 0);
}

static const char *piece;

static char *repeat(const char *text, size_t n)
{
    size_t len = strlen(text);
    char *to = test_malloc(n + len);
    for (size_t i = 0; i < n; i += len)
        memcpy(to + i, text, len);
    return to;
}

static void decode_repeated(size_t n)
{
    BUF_AUTO struct buf out = BUF_INIT(64 << 20);
    char *text = repeat(piece, n);
    words_decode(&out, str_of(text, n));
    assert_true(buf_ok(&out) && utf8_valid(buf_str(&out)));
    test_free(text);
}

static void parse_repeated(size_t n)
{
    ARENA_AUTO struct arena a = ARENA_INIT(64 << 20);
    char *text = repeat(piece, n);
    struct param_value v;
    str value;
    memcpy(text, "a/b;", 4);
    assert_ok(params_parse(&a, str_of(text, n), &v));
    params_get(&a, &v.params, STR("n"), &value);
    test_free(text);
}

static void test_wire_4_linear(void **state)
{
    static const char *const pieces[] = {
        "=?",    "=?a?q?", "=?utf-8?q?", "?=",   "=?utf-8?q?a?= ",  "=?utf-8?b?YQ==?=\r\n ",
        "\r\n ", "a b=;",  "\"",         "(",    "n*0=a; ",         "n=\"\\",
        "=",     "\\",     "; ",         "\xc3", "=?gbk?q?=d6?= x "};
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        piece = pieces[i];
        if (!linear_holds(decode_repeated, 200000) || !linear_holds(parse_repeated, 200000))
            fail_msg("not linear: %s", piece);
    }
    ARENA_AUTO struct arena a = ARENA_INIT(1 << 20);
    struct param_value v;
    char *text = repeat("; n=a", 5 * (PARAMS_MAX + 5));
    assert_ok(params_parse(&a, str_of(text, 5 * (PARAMS_MAX + 5)), &v));
    assert_int_equal(v.params.count, PARAMS_MAX);
    assert_int_equal(v.params.limit, LIMIT_PARAMS_MAX);
    test_free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decode_rfc2047), cmocka_unit_test(test_decode_broken),
        cmocka_unit_test(test_encode),         cmocka_unit_test(test_params_rfc),
        cmocka_unit_test(test_params_broken),  cmocka_unit_test(test_wire_4_linear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
