/* SPDX-License-Identifier: Apache-2.0 */
#include "base/utf8.h"

#include "base/num.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void every_code_point_comes_back(void **state)
{
    BUF_AUTO struct buf b = BUF_INIT(8);
    for (uint32_t c = 0; c <= 0x110010; c++) {
        bool exists = c <= 0x10ffff && (c < 0xd800 || c > 0xdfff);
        uint32_t back;
        buf_reset(&b);
        utf8_add(&b, c);
        str s = buf_str(&b);
        assert_true(utf8_valid(s));
        assert_true(utf8_take(&s, &back));
        assert_int_equal(s.len, 0);
        assert_int_equal(back, exists ? c : 0xfffd);
    }
}

static void invalid_forms(void **state)
{
    static const str bad[] = {
        STR_INIT("\x80"),
        STR_INIT("\xc0\x80"),
        STR_INIT("\xc1\xbf"),
        STR_INIT("\xe0\x9f\xbf"),
        STR_INIT("\xed\xa0\x80"),
        STR_INIT("\xf0\x8f\xbf\xbf"),
        STR_INIT("\xf4\x90\x80\x80"),
        STR_INIT("\xf5\x80\x80\x80"),
        STR_INIT("\xc3"),
        STR_INIT("\xe2\x82"),
        STR_INIT("\xf0\x9f\x98"),
        STR_INIT("\xc3("),
        STR_INIT("\xff"),
        STR_INIT("\xf8\x88\x80\x80\x80"),
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        for (size_t before = 0; before < 20; before++) {
            char text[64];
            memset(text, 'a', sizeof text);
            memcpy(text + before, bad[i].data, bad[i].len);
            assert_false(utf8_valid(str_of(text, before + bad[i].len)));
            assert_false(utf8_valid(str_of(text, sizeof text)));
            assert_false(utf8_is_ascii(str_of(text, before + bad[i].len)));
            assert_true(utf8_valid(str_of(text, before)));
            assert_true(utf8_is_ascii(str_of(text, before)));
        }
    assert_true(utf8_valid(STR_NONE));
    assert_true(utf8_is_ascii(STR_NONE));
}

static void lossy_copies(void **state)
{
    BUF_AUTO struct buf b = BUF_INIT(100);
    utf8_add_lossy(&b, STR("a\xff\xc3\xa9\xe2\x82z"));
    assert_true(str_eq(buf_str(&b), STR("a\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd\xef\xbf\xbdz")));
    uint32_t c;
    str s = STR("\xe2\x82z");
    assert_false(utf8_take(&s, &c));
    assert_int_equal(c, 0xfffd);
    assert_int_equal(s.len, 2); /* one byte only */
}

/* RFC 3501 5.1.3 */
static void mailbox_names(void **state)
{
    static const struct {
        str utf8, utf7;
    } names[] = {
        {STR_INIT(""), STR_INIT("")},
        {STR_INIT("INBOX"), STR_INIT("INBOX")},
        {STR_INIT("Q&A"), STR_INIT("Q&-A")},
        {STR_INIT("&&"), STR_INIT("&-&-")},
        {STR_INIT("~peter/mail/\xe5\x8f\xb0\xe5\x8c\x97/\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e"),
         STR_INIT("~peter/mail/&U,BTFw-/&ZeVnLIqe-")},
        {STR_INIT("Entw\xc3\xbcrfe"), STR_INIT("Entw&APw-rfe")},
        {STR_INIT("\xf0\x9f\x93\xac"), STR_INIT("&2D3c7A-")},
        {STR_INIT("\xc3\xa9&"), STR_INIT("&AOk-&-")},
        {STR_INIT("a\tb"), STR_INIT("a&AAk-b")},
        {STR_INIT("\xef\xbf\xbf"), STR_INIT("&,,8-")},
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        BUF_AUTO struct buf b = BUF_INIT(100);
        utf7_imap_encode(&b, names[i].utf8);
        assert_true(str_eq(buf_str(&b), names[i].utf7));
        buf_reset(&b);
        assert_true(utf7_imap_decode(&b, names[i].utf7));
        assert_true(str_eq(buf_str(&b), names[i].utf8));
    }
}

static void other_spellings_are_refused(void **state)
{
    static const str bad[] = {
        STR_INIT("&"),        STR_INIT("&AOk"),     STR_INIT("&AO-"),       STR_INIT("&AOkA-"),
        STR_INIT("&AOl-"),    STR_INIT("&AGE-"),    STR_INIT("&AOk-&AOk-"), STR_INIT("&2D0-"),
        STR_INIT("&3Kw-"),    STR_INIT("&2D3YPQ-"), STR_INIT("a\xc3\xa9"),  STR_INIT("a\tb"),
        STR_INIT("&U/BTFw-"), STR_INIT("&AOk=-"),   STR_INIT("a\x7f"),      STR_INIT("&AOkAYQ-"),
        STR_INIT("&AO\0-"),   STR_INIT("a\0"),      STR_INIT("&ACY-"),      STR_INIT("&A-"),
    };
    BUF_AUTO struct buf b = BUF_INIT(100);
    buf_add_char(&b, '!');
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(utf7_imap_decode(&b, bad[i]));
    assert_true(str_eq(buf_str(&b), STR("!")));
    BUF_AUTO struct buf small = BUF_INIT(1);
    assert_false(utf7_imap_decode(&small, STR("&AOk-")));
}

static void invalid_names_are_encoded_as_replacements(void **state)
{
    BUF_AUTO struct buf b = BUF_INIT(100);
    utf7_imap_encode(&b, STR("a\xff"));
    assert_true(str_eq(buf_str(&b), STR("a&,,0-")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_point_comes_back),
        cmocka_unit_test(invalid_forms),
        cmocka_unit_test(lossy_copies),
        cmocka_unit_test(mailbox_names),
        cmocka_unit_test(other_spellings_are_refused),
        cmocka_unit_test(invalid_names_are_encoded_as_replacements),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
