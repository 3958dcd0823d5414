/* SPDX-License-Identifier: Apache-2.0 */
#include "format/test_cmocka.h"

#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "format/convert.h"
#include "format/limits.h"
#include "format/test_linear.h"

#define ARENA_BYTES (2 * (size_t)MIME_ARENA_MAX)

static enum err convert(str in, enum convert_to to, struct buf *out, const char **refused)
{
    struct convert c;
    ARENA_AUTO struct arena a = ARENA_INIT(ARENA_BYTES);
    TRY(convert_plan(&a, in, to, &c, refused));
    uint64_t bytes = convert_size(&c);
    BUF_AUTO struct buf piece = BUF_INIT(CONVERT_PIECE_MAX);
    while (convert_next(&c, &piece)) {
        assert_true(buf_ok(&piece));
        buf_add(out, buf_str(&piece));
        buf_reset(&piece);
    }
    assert_true(buf_ok(out));
    assert_int_equal(out->len, bytes);
    return ERR_OK;
}

static void assert_to(enum convert_to to, const char *in, const char *want)
{
    const char *refused;
    BUF_AUTO struct buf out = BUF_INIT(1 << 22);
    assert_int_equal(convert(str_c(in), to, &out, &refused), ERR_OK);
    if (!str_eq(buf_str(&out), str_c(want)))
        fail_msg("got \"%.*s\"\nwant \"%s\"", STR_ARG(buf_str(&out)), want);
}

static void assert_refused(enum convert_to to, const char *in, const char *why)
{
    const char *refused;
    BUF_AUTO struct buf out = BUF_INIT(1 << 22);
    assert_int_equal(convert(str_c(in), to, &out, &refused), ERR_UNSUPPORTED);
    if (!strstr(refused, why))
        fail_msg("refused with \"%s\"", refused);
}

#define MIME "MIME-Version: 1.0\r\n"
#define UTF8_TEXT "Content-Type: text/plain; charset=utf-8\r\n"
#define CTE(x) "Content-Transfer-Encoding: " x "\r\n"

static void test_text(void **state)
{
    assert_to(CONVERT_7BIT,
              "Subject: x\r\n" MIME UTF8_TEXT CTE("8bit") "\r\nGr\xc3\xbc\xc3\x9f"
                                                          "e = \r\n.\r\n",
              "Subject: x\r\n" MIME UTF8_TEXT CTE("quoted-printable") "\r\nGr=C3=BC=C3=9F"
                                                                      "e =3D=20\r\n.\r\n");
    /* mostly 8-bit: base64 is smaller */
    assert_to(CONVERT_7BIT,
              MIME UTF8_TEXT CTE("8bit") "\r\n\xd0\x9f\xd0\x9f\xd0\x9f\xd0\x9f\xd0\x9f\xd0\x9f"
                                         "\xd0\x9f\xd0\x9f\xd0\x9f\xd0\x9f\xd0\x9f\xd0\x9f\xd0\x9f"
                                         "\xd0\x9f\xd0\x9f\xd0\x9f\xd0\x9f\xd0\x9f\xd0\x9f\xd0\x9f"
                                         "\r\n",
              MIME UTF8_TEXT CTE("base64") "\r\n0J/Qn9Cf0J/Qn9Cf0J/Qn9Cf0J/Qn9Cf0J/Qn9Cf0J/Qn9Cf"
                                           "0J/Qnw0K\r\n");
    /* 7-bit is left alone, whatever it calls itself, when nothing needs it */
    assert_to(CONVERT_8BIT, MIME CTE("8bit") "\r\nplain\r\n", MIME CTE("8bit") "\r\nplain\r\n");
    /* no MIME yet: RFC 1428 */
    assert_to(CONVERT_7BIT, "Subject: x\r\n\r\nh\xc3\xa9\r\n",
              "Subject: x\r\n" MIME "Content-Type: text/plain; charset=utf-8\r\n" CTE(
                  "quoted-printable") "\r\nh=C3=A9\r\n");
    assert_to(CONVERT_7BIT, "Subject: x\r\n\r\nh\xe9\r\n",
              "Subject: x\r\n" MIME "Content-Type: text/plain; charset=unknown-8bit\r\n" CTE(
                  "quoted-printable") "\r\nh=E9\r\n");
}

static void test_soft_break_makes_no_delimiter(void **state)
{
    assert_to(
        CONVERT_7BIT,
        MIME UTF8_TEXT CTE("8bit") "\r\n\xc3\xa9"
                                   "234567890123456789012345678901234567890123456789012345678"
                                   "901234567890--b--\r\n-- \r\n",
        MIME UTF8_TEXT CTE("quoted-printable") "\r\n=C3=A9"
                                               "2345678901234567890123456789012345678901234567"
                                               "89012345678901234567890=\r\n=2D-b--\r\n"
                                               "=2D-=20\r\n");
}

static void test_multipart(void **state)
{
    assert_to(CONVERT_7BIT,
              MIME "Content-Type: multipart/mixed; boundary=b\r\n" CTE(
                  "8bit") "\r\npre\xc3\xa9\r\n--b\r\n" UTF8_TEXT
                  CTE("8bit") "\r\n\xc3\xa9\r\n"
                              "--b\r\nContent-Type: image/png\r\n" CTE(
                                  "base64") "\r\nAAAA\r\n"
                                            "--b\r\n\r\nplain\r\n--b--\r\n",
              MIME "Content-Type: multipart/mixed; boundary=b\r\n" CTE(
                  "7bit") "\r\npre??\r\n--b\r\n" UTF8_TEXT
                  CTE("quoted-printable") "\r\n=C3=A9\r\n"
                                          "--b\r\nContent-Type: image/png\r\n" CTE(
                                              "base64") "\r\nAAAA\r\n"
                                                        "--b\r\n\r\nplain\r\n--b--\r\n");
}

static void test_message_inside(void **state)
{
    assert_to(CONVERT_7BIT,
              MIME "Content-Type: message/rfc822\r\n" CTE("8bit") "\r\nSubject: \xc3\xa9\r\n"
                                                                  "\r\nh\xc3\xa9\r\n",
              MIME "Content-Type: message/rfc822\r\n" CTE(
                  "7bit") "\r\nSubject: =?UTF-8?B?w6k=?=\r\n" MIME
                          "Content-Type: text/plain; charset=utf-8\r\n" CTE(
                              "quoted-printable") "\r\nh=C3=A9\r\n");
    assert_to(
        CONVERT_7BIT, MIME "Content-Type: message/global\r\n\r\nSubject: \xc3\xa9\r\n\r\nx\r\n",
        MIME "Content-Type: message/global\r\n" CTE("base64") "\r\nU3ViamVjdDogw6kNCg0KeA0K\r\n");
    assert_refused(CONVERT_7BIT, MIME "Content-Type: message/partial; id=a\r\n\r\n\xc3\xa9\r\n",
                   "message/*");
}

#define SIGNED "Content-Type: multipart/signed; boundary=s; protocol=\"application/x\"\r\n"

static void test_signed(void **state)
{
    assert_refused(CONVERT_7BIT,
                   MIME SIGNED "\r\n--s\r\n" UTF8_TEXT "\r\n\xc3\xa9\r\n--s\r\n"
                               "Content-Type: application/x\r\n\r\nx\r\n--s--\r\n",
                   "signed");
    /* beside it, all is done as ever */
    assert_to(CONVERT_7BIT,
              MIME "Content-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n" SIGNED
                   "\r\n--s\r\n" CTE("8bit") "\r\na\r\n--s\r\n\r\nx\r\n--s--\r\n"
                                             "--m\r\n" UTF8_TEXT "\r\n\xc3\xa9\r\n--m--\r\n",
              MIME "Content-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n" SIGNED
                   "\r\n--s\r\n" CTE("8bit") "\r\na\r\n--s\r\n\r\nx\r\n--s--\r\n"
                                             "--m\r\n" UTF8_TEXT CTE(
                                                 "quoted-printable") "\r\n=C3=A9\r\n--m--\r\n");
}

static void test_binary(void **state)
{
    static const char in[] =
        MIME "Content-Type: application/octet-stream\r\n" CTE("binary") "\r\n"
                                                                        "a\0b\n\r";
    const char *refused;
    BUF_AUTO struct buf out = BUF_INIT(4096);
    assert_int_equal(convert(str_of(in, sizeof(in) - 1), CONVERT_8BIT, &out, &refused), ERR_OK);
    assert_true(str_ends(buf_str(&out), STR(CTE("base64") "\r\nYQBiCg0=\r\n")));
}

static void test_long_lines(void **state)
{
    char in[4096];
    BUF_AUTO struct buf out = BUF_INIT(8192);
    const char *refused;
    /* an HTML line of 2,000 bytes; 8-bit may stay elsewhere */
    snprintf(in, sizeof(in),
             "Subject: \xc3\xa9\r\n" MIME "Content-Type: text/html\r\n\r\n%02000d\r\n", 0);
    assert_int_equal(convert(str_c(in), CONVERT_8BIT, &out, &refused), ERR_OK);
    assert_true(str_starts(buf_str(&out),
                           STR("Subject: \xc3\xa9\r\n" MIME
                               "Content-Type: text/html\r\n" CTE("quoted-printable") "\r\n00")));
    /* base64 in one line is wrapped, and stays base64 */
    buf_reset(&out);
    snprintf(in, sizeof(in), MIME CTE("base64") "\r\n%02000d\r\n", 0);
    assert_int_equal(convert(str_c(in), CONVERT_8BIT, &out, &refused), ERR_OK);
    assert_true(str_starts(buf_str(&out), STR(MIME CTE("base64") "\r\n0000")));
    assert_int_equal(out.len, strlen(MIME CTE("base64") "\r\n") + 2000 + 27 * 2);
    /* a field is folded where it has spaces, and refused where not */
    buf_reset(&out);
    snprintf(in, sizeof(in), "X: %0900d %0900d\r\n\r\n", 0, 0);
    assert_int_equal(convert(str_c(in), CONVERT_8BIT, &out, &refused), ERR_OK);
    assert_true(str_find(buf_str(&out), STR("\r\n 000")) != STR_NPOS);
    snprintf(in, sizeof(in), "X: %01100d\r\n\r\n", 0);
    assert_refused(CONVERT_8BIT, in, "folded");
}

static void test_header(void **state)
{
    assert_to(CONVERT_7BIT, "From: J\xc3\xb6rg <j@x.test>, b@x.test\r\n\r\n",
              "From: =?UTF-8?B?SsO2cmc=?= <j@x.test>, b@x.test\r\n\r\n");
    assert_to(CONVERT_7BIT, "To: Gr\xc3\xbcppe: a@x.test, b@x.test;, c@x.test\r\n\r\n",
              "To: =?UTF-8?B?R3LDvHBwZQ==?=: a@x.test, b@x.test;, c@x.test\r\n\r\n");
    assert_to(CONVERT_7BIT, "Subject: =?utf-8?q?=C3=A9?= \xe9\r\n\r\n",
              "Subject: =?UTF-8?B?w6kgw6k=?=\r\n\r\n");
    assert_to(
        CONVERT_7BIT, "Content-Disposition: attachment; filename=\"\xc3\xa9 .txt\"; size=5\r\n\r\n",
        "Content-Disposition: attachment; filename*=utf-8''%C3%A9%20.txt; size=\"5\"\r\n\r\n");
    assert_refused(CONVERT_7BIT, "Message-ID: <\xc3\xa9@x.test>\r\n\r\n", "8-bit");
    assert_refused(CONVERT_7BIT, "From: <\xc3\xa9@x.test>\r\n\r\n", "8-bit");
    assert_refused(CONVERT_7BIT, "Content-Type: multipart/mixed; boundary=\"\xc3\xa9\"\r\n\r\n",
                   "8-bit");
    assert_to(CONVERT_8BIT, "Subject: \xc3\xa9\r\n\r\n", "Subject: \xc3\xa9\r\n\r\n");
}

/* What was no field, or one of another name, does not become one. */
static void test_names_stay(void **state)
{
    char in[4096];
    BUF_AUTO struct buf out = BUF_INIT(8192);
    const char *refused;
    static const char raw[] = MIME "X: a\rc\0\r\nContent-Transfer-Encoding\r: base64\r\n\r\naa\r\n";
    buf_reset(&out);
    assert_int_equal(convert(str_of(raw, sizeof(raw) - 1), CONVERT_8BIT, &out, &refused), ERR_OK);
    assert_true(str_eq(buf_str(&out), STR(MIME "X: a c?\r\nContent-Transfer-Encoding?: base64\r\n"
                                               "\r\naa\r\n")));
    /* the white space that may stand before the colon is no place to fold */
    buf_reset(&out);
    snprintf(in, sizeof(in), "Content-Type :%0990d\r\n\r\n", 0);
    assert_refused(CONVERT_8BIT, in, "folded");
    snprintf(in, sizeof(in), "Content-Type : %0980d\r\n\r\n", 0);
    assert_int_equal(convert(str_c(in), CONVERT_8BIT, &out, &refused), ERR_OK);
}

static void test_refused(void **state)
{
    assert_refused(CONVERT_7BIT, MIME CTE("x-uuencode") "\r\n\xc3\xa9\r\n", "private");
    assert_refused(CONVERT_7BIT,
                   MIME "Content-Type: multipart/mixed; boundary=b\r\n\r\n\xc3\xa9\r\n", "broken");
    assert_refused(CONVERT_7BIT,
                   MIME "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n"
                        "x\r\n--b--\r\n--\xc3\xa9\r\n",
                   "between");
}

static void work(size_t n)
{
    BUF_AUTO struct buf in = BUF_INIT(1 << 24), out = BUF_INIT(1 << 25);
    const char *refused;
    buf_add(&in, STR(MIME "Content-Type: multipart/mixed; boundary=b\r\n\r\n"));
    while (in.len < n)
        buf_add(&in, STR("--b\r\nSubject: \xc3\xa9\r\n\r\n\xc3\xa9 word\0 word \r\n\n"));
    assert_int_equal(convert(buf_str(&in), CONVERT_7BIT, &out, &refused), ERR_OK);
}

static void test_linear(void **state) { assert_true(linear_holds(work, 50000)); /* rule: wire-4 */ }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),       cmocka_unit_test(test_soft_break_makes_no_delimiter),
        cmocka_unit_test(test_multipart),  cmocka_unit_test(test_message_inside),
        cmocka_unit_test(test_signed),     cmocka_unit_test(test_binary),
        cmocka_unit_test(test_long_lines), cmocka_unit_test(test_header),
        cmocka_unit_test(test_names_stay), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_linear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
