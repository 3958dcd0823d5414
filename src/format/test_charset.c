/* SPDX-License-Identifier: Apache-2.0 */
#include "format/test_cmocka.h"

#include <string.h>

#include "base/num.h"
#include "base/utf8.h"
#include "format/charset.h"
#include "format/test_linear.h"

/* The same for every division of the input. */
static void assert_converts(const char *charset, str in, const char *want)
{
    const struct charset *cs = charset_find(str_c(charset));
    if (!cs)
        fail_msg("unknown: %s", charset);
    for (size_t step = 1; step <= in.len + 1; step++) {
        BUF_AUTO struct buf out = BUF_INIT(1 << 20);
        CHARSET_CONV_AUTO struct charset_conv c;
        charset_conv_init(&c, cs);
        for (str rest = in; rest.len; rest = str_skip(rest, step))
            charset_conv_add(&c, str_head(rest, step), &out);
        charset_conv_end(&c, &out);
        if (!str_eq(buf_str(&out), str_c(want)))
            fail_msg("%s by %zu: got \"%.*s\", want \"%s\"", charset, step, STR_ARG(buf_str(&out)),
                     want);
    }
}

#define FFFD "\xef\xbf\xbd"

static void test_own_sets(void **state)
{
    assert_converts("utf-8", STR("a\xc3\xb6\xe2\x82\xac\xf0\x9f\x98\x80"),
                    "a\xc3\xb6\xe2\x82\xac\xf0\x9f\x98\x80");
    assert_converts("UTF8", STR("a\xff\xc3x\xe2\x82"), "a" FFFD FFFD "x" FFFD FFFD);
    assert_converts("utf-8", STR("\xc0\xaf\xed\xa0\x80"), FFFD FFFD FFFD FFFD FFFD);
    assert_converts("us-ascii", STR("a\xe4z"), "a" FFFD "z");
    assert_converts("iso-8859-1", STR("a\xe4z"), "a\xc3\xa4z");
    assert_converts("ISO8859-15", STR("\xa4"), "\xe2\x82\xac");
    assert_converts("windows-1252", STR("\x80\x81"), "\xe2\x82\xac" FFFD);
    assert_converts("cp1251", STR("\xcf\xf0"), "\xd0\x9f\xd1\x80");
    assert_converts("koi8-r", STR("\xf0\xd2"), "\xd0\x9f\xd1\x80");
    assert_converts("KOI8-U", STR("\xa6"), "\xd1\x96");
    assert_converts("ibm850", STR("\x84"), "\xc3\xa4");
    assert_converts("utf-16", STR("\xff\xfe\x41\x00\x3d\xd8\x00\xde"), "A\xf0\x9f\x98\x80");
    assert_converts("utf-16", STR("\xfe\xff\x00\x41\xd8\x3d"), "A" FFFD);
    assert_converts("utf-16le", STR("A\0\x00\xdcZ\0x"), "A" FFFD "Z" FFFD);
    assert_converts("utf-7", STR("A+ImIDkQ.+- Hi Mom -+Jjo--!+AGE"),
                    "A\xe2\x89\xa2\xce\x91.+ Hi Mom -\xe2\x98\xba-!a");
    assert_converts("utf-7", STR("\xff+2D3eAA-"), FFFD "\xf0\x9f\x98\x80");
}

static void test_iconv_sets(void **state)
{
    assert_int_equal(charset_preload(), 0);
    assert_converts("gb2312", STR("\xc4\xe3z"), "\xe4\xbd\xa0z");
    assert_converts("gb18030", STR("\x81\x30\x81\x30"), "\xc2\x80");
    assert_converts("big5", STR("\xa7\x41"), "\xe4\xbd\xa0");
    assert_converts("shift_jis", STR("\x93\xfa\x96\x7b"), "\xe6\x97\xa5\xe6\x9c\xac");
    assert_converts("euc-jp", STR("\xc6\xfc\xcb\xdc"), "\xe6\x97\xa5\xe6\x9c\xac");
    assert_converts("iso-2022-jp", STR("\x1b$BF|K\\\x1b(Bz"), "\xe6\x97\xa5\xe6\x9c\xacz");
    assert_converts("ks_c_5601-1987", STR("\xb0\xa1"), "\xea\xb0\x80");
    assert_converts("iso-2022-kr", STR("\x1b$)C\x0e\x30\x21\x0f"), "\xea\xb0\x80");
    assert_converts("gbk", STR("a\xc4"), "a" FFFD);
    assert_converts("gbk",
                    STR("a\xff"
                        "b"),
                    "a" FFFD "b");
    /* Each conversion begins anew. */
    assert_converts("iso-2022-jp", STR("\x1b$BF|"), "\xe6\x97\xa5");
    assert_converts("iso-2022-jp", STR("F|"), "F|");
}

static void test_names(void **state)
{
    static const char *const same[][2] = {
        {"Latin1", "ISO-8859-1"},       {"ISO_8859-1:1987", "ISO-8859-1"},
        {"\"utf-8\"", "UTF-8"},         {"x-sjis", "SHIFT_JIS"},
        {"windows-936", "GBK"},         {"iso-8859-8-i", "ISO-8859-8"},
        {"ANSI_X3.4-1968", "US-ASCII"}, {"cp-850", "IBM850"},
        {"win-1250", "WINDOWS-1250"},   {"x-mac-roman", "MACINTOSH"},
        {"unicode-1-1-utf-7", "UTF-7"},
    };
    for (size_t i = 0; i < ARRAY_LEN(same); i++) {
        const struct charset *cs = charset_find(str_c(same[i][0]));
        if (!cs || !str_eq(charset_name(cs), str_c(same[i][1])))
            fail_msg("%s", same[i][0]);
    }
    static const char *const unknown[] = {"",
                                          "x",
                                          "none",
                                          "iso-8859-12",
                                          "iso-2022-cn-ext",
                                          "---",
                                          "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    for (size_t i = 0; i < ARRAY_LEN(unknown); i++)
        assert_null(charset_find(str_c(unknown[i])));
    BUF_AUTO struct buf out = BUF_INIT(1000);
    assert_false(charset_to_utf8(STR("none"), STR("a\xc3\xb6\xf6"), &out));
    assert_true(charset_to_utf8(STR(""), STR("\xc3\xb6"), &out));
    assert_true(charset_to_utf8(STR(""), STR("\xf6"), &out));
    assert_str(buf_str(&out), "a\xc3\xb6" FFFD "\xc3\xb6\xc3\xb6");
}

static const char *const all[] = {"utf-8",  "utf-7",  "utf-16",      "koi8-r",      "gb18030",
                                  "big5",   "euc-jp", "iso-2022-jp", "iso-2022-kr", "shift_jis",
                                  "euc-kr", "euc-tw", "big5-hkscs",  "gbk"};
static const char *charset, *piece;

static void convert_repeated(size_t n)
{
    BUF_AUTO struct buf out = BUF_INIT(64 << 20);
    size_t len = strlen(piece);
    char *text = test_malloc(n + len);
    for (size_t i = 0; i < n; i += len)
        memcpy(text + i, piece, len);
    charset_to_utf8(str_c(charset), str_of(text, n), &out);
    assert_true(buf_ok(&out) && utf8_valid(buf_str(&out)));
    test_free(text);
}

static void test_wire_4_linear(void **state)
{
    static const char *const pieces[] = {"\xff",   "\x81",  "+", "+AA",
                                         "\x1b$B", "\x0e!", "a", "\xf0\x90"};
    for (size_t c = 0; c < ARRAY_LEN(all); c++)
        for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
            charset = all[c];
            piece = pieces[i];
            if (!linear_holds(convert_repeated, 50000))
                fail_msg("not linear: %s in %s", piece, charset);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_sets),
        cmocka_unit_test(test_iconv_sets),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_wire_4_linear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
