/* SPDX-License-Identifier: Apache-2.0 */
#include "format/test_cmocka.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/num.h"
#include "format/mime.h"
#include "format/test_linear.h"

static void assert_body(const char *message, bool extended, const char *want)
{
    ARENA_AUTO struct arena a = ARENA_INIT(MIME_ARENA_MAX);
    BUF_AUTO struct buf out = BUF_INIT(1 << 20);
    struct mime m;
    assert_ok(mime_parse(&a, str_c(message), &m));
    assert_ok(mime_render_body(&m, extended, &out));
    if (!str_eq(buf_str(&out), str_c(want)))
        fail_msg("%s\ngot  %.*s\nwant %s", message, STR_ARG(buf_str(&out)), want);
}

#define PLAIN_ARGS "(\"charset\" \"us-ascii\") NIL NIL \"7bit\" "
#define PLAIN(octets_lines) "(\"text\" \"plain\" " PLAIN_ARGS octets_lines ")"

static void test_leaf(void **state)
{
    assert_body("", false, PLAIN("0 0"));
    assert_body("Subject: x\r\n\r\nhi\r\nyou\r\n", false, PLAIN("9 2"));
    assert_body("Subject: x\n\nhi\nyou", false, PLAIN("6 1"));
    assert_body("\r\nbody", false, PLAIN("4 0"));
    assert_body("Content-Type: image/PNG; name=\"a b\"\r\nContent-ID: <x@y>\r\n"
                "Content-Description: A\r\n picture\r\nContent-Transfer-Encoding: BASE64\r\n\r\nxx",
                false,
                "(\"image\" \"PNG\" (\"name\" \"a b\") \"<x@y>\" \"A picture\" \"BASE64\" 2)");
    assert_body("Content-Type: text\r\n\r\n", false, PLAIN("0 0"));
    assert_body("Content-Type: a b/c\r\n\r\n", false, PLAIN("0 0"));
    assert_body("Content-MD5: abc\nContent-Disposition: attachment; filename=\"x\"\n"
                "Content-Language: en, de\nContent-Location: u\n\n",
                true,
                "(\"text\" \"plain\" " PLAIN_ARGS "0 0 \"abc\" (\"attachment\" (\"filename\" "
                "\"x\")) (\"en\" \"de\") \"u\")");
    assert_body("Content-Language: en\n\n", true,
                "(\"text\" \"plain\" " PLAIN_ARGS "0 0 NIL NIL \"en\" NIL)");
    assert_body(
        "Content-Type: text/x; n=\"\xc3\xb6\"\n\n", false,
        "(\"text\" \"x\" (\"n\" {2}\r\n\xc3\xb6 \"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0)");
}

/* RFC 2045 5.1 allows comments; what is no token is the default. */
static void test_encoding(void **state)
{
    const char *rows[][2] = {{"base64 (c)", "base64"},
                             {"(c) BASE64", "BASE64"},
                             {"8bit;", "8bit"},
                             {"\"8bit\"", "7bit"},
                             {"", "7bit"},
                             {"x-y z", "x-y"}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char message[100], want[200];
        snprintf(message, sizeof message,
                 "Content-Transfer-Encoding: %s\nContent-Type: a/b\n\neA==\n", rows[i][0]);
        snprintf(want, sizeof want, "(\"a\" \"b\" NIL NIL NIL \"%s\" 5)", rows[i][1]);
        assert_body(message, false, want);
    }
    ARENA_AUTO struct arena a = ARENA_INIT(MIME_ARENA_MAX);
    struct mime m;
    assert_ok(mime_parse(&a, STR("Content-Transfer-Encoding: (c) base64\n\n"), &m));
    assert_int_equal(m.parts[0].cte, CTE_BASE64);
}

/* RFC 2231 6: continuations are joined in what IMAP shows. */
static void test_continuations(void **state)
{
    const char *rows[][2] = {
        {"n*0=\"a \"; n*1=b.txt", "\"n\" \"a b.txt\""},
        {"n*1=b; x=y; n*0=a", "\"n\" \"ab\" \"x\" \"y\""},
        {"n*0*=utf-8''%e2%82; n*1*=%ac; n*2=\" c\"", "\"n*\" \"utf-8''%e2%82%ac%20c\""},
        {"n*=utf-8''%e2", "\"n*\" \"utf-8''%e2\""},
        {"n*1=b", "\"n*1\" \"b\""},
        {"*0=b; *1=c", "\"*0\" \"b\" \"*1\" \"c\""},
        {"n*0=a; m*0=b; n*x=c", "\"n\" \"a\" \"m\" \"b\" \"n*x\" \"c\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char message[200], want[300];
        snprintf(message, sizeof message, "Content-Type: a/b; %s\n\n", rows[i][0]);
        snprintf(want, sizeof want, "(\"a\" \"b\" (%s) NIL NIL \"7bit\" 0)", rows[i][1]);
        assert_body(message, false, want);
    }
}

static void test_multipart(void **state)
{
    assert_body("Content-Type: multipart/mixed; boundary=b\r\n\r\npreamble\r\n--b\r\n\r\none\r\n"
                "--b \t\r\nContent-Type: text/html\r\n\r\ntwo\r\n\r\n--b--\r\nepilogue --b\r\n",
                false, "(" PLAIN("3 0") "(\"text\" \"html\" " PLAIN_ARGS "5 1) \"mixed\")");
    assert_body("Content-Type: multipart/mixed; boundary=b\n\n--b\n--b\nX: y\n--b--\n", true,
                "((\"text\" \"plain\" " PLAIN_ARGS
                "0 0 NIL NIL NIL NIL)(\"text\" \"plain\" " PLAIN_ARGS
                "0 0 NIL NIL NIL NIL) \"mixed\" (\"boundary\" \"b\") NIL NIL NIL)");
    /* A prefix of a boundary is none; nor is a longer line. */
    assert_body("Content-Type: multipart/x; boundary=bb\n\n--bb\n\n--b\n--bbb\n--bb-\n", false,
                "(" PLAIN("16 3") " \"x\")");
    /* The outer boundary ends the inner parts that were not closed. */
    assert_body("Content-Type: multipart/a; boundary=o\n\n--o\nContent-Type: multipart/b; "
                "boundary=i\n\n--i\n\nx\n--o\n\ny\n--o--\n--i\n",
                false, "((" PLAIN("1 0") " \"b\")" PLAIN("1 0") " \"a\")");
    /* Inner and outer boundary are the same. */
    assert_body("Content-Type: multipart/a; boundary=o\n\n--o\nContent-Type: multipart/b; "
                "boundary=o\n\n--o\n\nx\n--o--\n--o\n\ny\n--o--\n",
                false, "((" PLAIN("1 0") " \"b\")" PLAIN("1 0") " \"a\")");
    assert_body("Content-Type: multipart/mixed\n\nno boundary", false, PLAIN("11 0"));
    assert_body(
        "Content-Type: multipart/mixed; boundary=b\n\nnever comes", false,
        "(\"text\" \"plain\" (\"boundary\" \"b\" \"charset\" \"us-ascii\") NIL NIL \"7bit\" 11 0)");
    assert_body("Content-Type: multipart/mixed; boundary=\"b--\"\n\n--b--\n\nx\n--b----\n", false,
                "(" PLAIN("1 0") " \"mixed\")");
}

static void test_message(void **state)
{
    assert_body(
        "Content-Type: message/rfc822\n\nSubject: in\nFrom: a@b\n\nhi\n", false,
        "(\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 26 (NIL \"in\" ((NIL NIL \"a\" "
        "\"b\")) ((NIL NIL \"a\" \"b\")) ((NIL NIL \"a\" \"b\")) NIL NIL NIL NIL NIL) " PLAIN(
            "3 1") " 4)");
    assert_body("Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: in\n\nhi\n--b--\n",
                false,
                "((\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 15 (NIL \"in\" NIL NIL NIL NIL NIL "
                "NIL NIL NIL) " PLAIN("2 0") " 2) \"digest\")");
    /* An encoded message cannot be looked into by offsets (RFC 2046 5.2.1 forbids it). */
    assert_body("Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\neA==\n", false,
                "(\"application\" \"octet-stream\" NIL NIL NIL \"base64\" 5)");
}

static void assert_envelope(const char *header, const char *want)
{
    BUF_AUTO struct buf out = BUF_INIT(1 << 20);
    assert_ok(mime_render_envelope(str_c(header), &out));
    if (!str_eq(buf_str(&out), str_c(want)))
        fail_msg("%s\ngot  %.*s\nwant %s", header, STR_ARG(buf_str(&out)), want);
}

/* RFC 9051 7.5.2, its example of FETCH. */
static void test_envelope(void **state)
{
    assert_envelope(
        "Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\r\nFrom: Terry Gray "
        "<gray@cac.washington.edu>\r\n"
        "Subject: IMAP4rev2 WG mtg summary and minutes\r\nTo: imap@cac.washington.edu\r\n"
        "cc: minutes@CNRI.Reston.VA.US, John Klensin <KLENSIN@MIT.EDU>\r\n"
        "Message-Id: <B27397-0100000@cac.washington.example>\r\n\r\n",
        "(\"Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\" \"IMAP4rev2 WG mtg summary and minutes\" "
        "((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\")) "
        "((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\")) "
        "((\"Terry Gray\" NIL \"gray\" \"cac.washington.edu\")) "
        "((NIL NIL \"imap\" \"cac.washington.edu\")) "
        "((NIL NIL \"minutes\" \"CNRI.Reston.VA.US\")"
        "(\"John Klensin\" NIL \"KLENSIN\" \"MIT.EDU\")) NIL NIL "
        "\"<B27397-0100000@cac.washington.example>\")");
    assert_envelope("Subject:\nFrom: a@b\nSender: \nReply-To: c@d\nTo: g: e@f;\nBcc: nobody\n\n",
                    "(NIL \"\" ((NIL NIL \"a\" \"b\")) ((NIL NIL \"a\" \"b\")) ((NIL NIL \"c\" "
                    "\"d\")) ((NIL NIL \"g\" NIL)(NIL NIL \"e\" \"f\")(NIL NIL NIL NIL)) NIL "
                    "((NIL NIL \"nobody\" \"\")) NIL NIL)");
    assert_envelope("Subject: \"q\\\" \xc3\xb6\nFrom: \"a\\\"b\" <@r:c@d>\n\n",
                    "(NIL {7}\r\n\"q\\\" \xc3\xb6 ((\"a\\\"b\" \"@r\" \"c\" \"d\")) ((\"a\\\"b\" "
                    "\"@r\" \"c\" \"d\")) ((\"a\\\"b\" \"@r\" \"c\" \"d\")) NIL NIL NIL NIL NIL)");
    assert_envelope("Subject: =?utf-8?q?=C3=B6?=\r\n =?utf-8?q?x?=\r\nSubject: second\r\n\r\n",
                    "(NIL \"=?utf-8?q?=C3=B6?= =?utf-8?q?x?=\" NIL NIL NIL NIL NIL NIL NIL NIL)");
}

static void assert_subject(const char *raw, const char *want, bool want_reply)
{
    BUF_AUTO struct buf out = BUF_INIT(10000);
    bool reply;
    mime_base_subject(str_c(raw), &out, &reply);
    if (!str_eq(buf_str(&out), str_c(want)) || reply != want_reply)
        fail_msg("%s: got \"%.*s\" %d", raw, STR_ARG(buf_str(&out)), reply);
}

/* RFC 5256 2.1 */
static void test_base_subject(void **state)
{
    assert_subject("Re: hello", "hello", true);
    assert_subject("  RE:  fwd: Fw [x]: hello \t there (fwd) (Fwd)", "hello there", true);
    assert_subject("[list] hello", "hello", false);
    assert_subject("[a] [b] Re: [c] hello", "hello", true);
    assert_subject("[only]", "[only]", false);
    assert_subject("[fwd: Re: hello]", "hello", true);
    assert_subject("Re:", "", true);
    assert_subject("Regarding: x", "Regarding: x", false);
    assert_subject("=?utf-8?q?Re=3A_=C3=B6?=", "\xc3\xb6", true);
    assert_subject("[open hello", "[open hello", false);
}

static void test_message_ids(void **state)
{
    str rest = STR(" <a@b> junk <x y> <> <c@d>\r\n\t<\"from <e@f> <open"), id;
    assert_true(mime_next_message_id(&rest, &id));
    assert_str(id, "a@b");
    assert_true(mime_next_message_id(&rest, &id));
    assert_str(id, "c@d");
    assert_true(mime_next_message_id(&rest, &id));
    assert_str(id, "e@f");
    assert_false(mime_next_message_id(&rest, &id));
    assert_false(mime_next_message_id(&rest, &id));
}

/* Makes messages of any size out of a head, a repeated piece and a numbered nesting. */
static char *repeat(const char *head, const char *piece, size_t n, size_t *len)
{
    size_t head_len = strlen(head), piece_len = strlen(piece);
    char *text = test_malloc(head_len + n + piece_len);
    memcpy(text, head, head_len);
    size_t i = 0;
    for (; i < n; i += piece_len)
        memcpy(text + head_len + i, piece, piece_len);
    *len = head_len + i;
    return text;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* A message of parts times piece; the limit it ends in, within a second, renderings included. */
static void assert_limit(const char *head, const char *piece, size_t times, enum limit want,
                         size_t parts)
{
    ARENA_AUTO struct arena a = ARENA_INIT(MIME_ARENA_MAX);
    BUF_AUTO struct buf out = BUF_INIT(64 << 20);
    size_t len;
    char *text = repeat(head, piece, times * strlen(piece), &len);
    struct mime m;
    double start = seconds();
    assert_ok(mime_parse(&a, str_of(text, len), &m));
    assert_ok(mime_render_body(&m, true, &out));
    assert_true(getenv("SANITIZED") || seconds() - start < 1); /* else it is the sanitizer's time */
    assert_true(buf_ok(&out));
    assert_int_equal(m.limit, want);
    assert_int_equal(m.count, parts);
    test_free(text);
}

/* rule: wire-4: 10,000 parts, 1,000 levels. */
static void test_wire_4_limits(void **state)
{
    const char *mixed = "Content-Type: multipart/mixed; boundary=b\n\n";
    assert_limit(mixed, "--b\n\nx\n", MIME_PARTS_MAX - 1, LIMIT_NONE, MIME_PARTS_MAX);
    assert_limit(mixed, "--b\n\nx\n", 4 * MIME_PARTS_MAX, LIMIT_MIME_PARTS_MAX, MIME_PARTS_MAX);
    assert_limit("", "Content-Type: message/rfc822\n\n", 1000, LIMIT_MIME_DEPTH_MAX,
                 MIME_DEPTH_MAX);
    assert_limit(mixed, "--b\nContent-Type: multipart/mixed; boundary=b\n\n", 1000,
                 LIMIT_MIME_DEPTH_MAX, MIME_DEPTH_MAX + 901);
    /* 200 parameters in each of 10,000 parts: memory is needed for one part at a time. */
    BUF_AUTO struct buf part = BUF_INIT(2000);
    buf_add(&part, STR("--b\nContent-Type: a/b"));
    for (size_t i = 0; i < PARAMS_MAX; i++)
        buf_add(&part, STR(";a=b"));
    buf_add(&part, STR("\n\nx\n\0"));
    assert_limit(mixed, part.data, MIME_PARTS_MAX - 1, LIMIT_NONE, MIME_PARTS_MAX);
    assert_limit("", "A: b\n", HEADER_FIELDS_MAX + 1, LIMIT_HEADER_FIELDS_MAX, 1);
    char head[2 * MIME_BOUNDARY_MAX + 100] = "Content-Type: multipart/mixed; boundary=";
    memset(head + strlen(head), 'x', MIME_BOUNDARY_MAX + 1);
    assert_limit(head, "\n\n", 1, LIMIT_MIME_BOUNDARY_MAX, 1);
}

static const char *linear_head, *linear_piece;

static void parse_repeated(size_t n)
{
    ARENA_AUTO struct arena a = ARENA_INIT(MIME_ARENA_MAX);
    size_t len;
    char *text = repeat(linear_head, linear_piece, n, &len);
    struct mime m;
    assert_ok(mime_parse(&a, str_of(text, len), &m));
    test_free(text);
}

static void test_wire_4_linear(void **state)
{
    static const char *const pieces[] = {
        "--b\n",
        "--",
        "--b--\n",
        "\n",
        "-",
        "--c\n",
        "\r\n",
        "x",
        "--b\nContent-Type: message/rfc822\n\n",
        "--b\nContent-Type: multipart/mixed; boundary=c\n\n",
        "--b ",
        "A: b\n",
        "--bb\n--b--",
    };
    static const char *const heads[] = {
        "Content-Type: multipart/mixed; boundary=b\n\n",
        "Content-Type: message/rfc822\n\nContent-Type: multipart/mixed; boundary=b\n\n",
        "",
    };
    for (size_t h = 0; h < ARRAY_LEN(heads); h++)
        for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
            linear_head = heads[h];
            linear_piece = pieces[i];
            if (!linear_holds(parse_repeated, 300000))
                fail_msg("not linear: %s%s", linear_head, linear_piece);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_leaf),          cmocka_unit_test(test_encoding),
        cmocka_unit_test(test_continuations), cmocka_unit_test(test_multipart),
        cmocka_unit_test(test_message),       cmocka_unit_test(test_envelope),
        cmocka_unit_test(test_base_subject),  cmocka_unit_test(test_message_ids),
        cmocka_unit_test(test_wire_4_limits), cmocka_unit_test(test_wire_4_linear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
