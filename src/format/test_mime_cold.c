/* SPDX-License-Identifier: Apache-2.0 */
#include "format/test_cmocka.h"

#include <string.h>

#include "base/num.h"
#include "base/utf8.h"
#include "format/mime_cold.h"

/* Encodes and decodes; the row must outlive *c. */
static void cold_of(struct arena *a, str message, struct mime *m, struct buf *row,
                    struct mime_cold *c)
{
    assert_ok(mime_parse(a, message, m));
    assert_ok(mime_cold_encode(a, m, row));
    assert_true(buf_ok(row));
    assert_true(row->len <= MIME_COLD_MAX);
    assert_ok(mime_cold_decode(buf_str(row), c));
}

static const str letter = STR_INIT("Date: Fri, 21 Nov 1997 09:55:06 -0600\r\n"
                                   "From: =?utf-8?q?J=C3=B6rg?= <joerg@example.org>\r\n"
                                   "To: List: a@b, c@d;\r\n"
                                   "Cc: Second <cc@x>\r\n"
                                   "Subject: Re: [list] Hello (fwd)\r\n"
                                   "Message-ID: <3@x>\r\n"
                                   "References: <1@x> <2@x>\r\n"
                                   "In-Reply-To: <9@x>\r\n"
                                   "Content-Type: multipart/mixed; boundary=b\r\n"
                                   "\r\n"
                                   "--b\r\n"
                                   "Content-Type: multipart/alternative; boundary=i\r\n"
                                   "\r\n"
                                   "--i\r\n"
                                   "Content-Type: text/plain; charset=iso-8859-1\r\n"
                                   "Content-Transfer-Encoding: quoted-printable\r\n"
                                   "\r\n"
                                   "Gr=FC=DFe,\r\n  Welt\r\n"
                                   "--i\r\n"
                                   "Content-Type: text/html\r\n"
                                   "\r\n"
                                   "<p>Hallo</p>\r\n"
                                   "--i--\r\n"
                                   "--b\r\n"
                                   "Content-Type: message/rfc822\r\n"
                                   "Content-Disposition: attachment\r\n"
                                   "\r\n"
                                   "Subject: inner\r\n"
                                   "Content-Type: multipart/mixed; boundary=j\r\n"
                                   "\r\n"
                                   "--j\r\n"
                                   "\r\n"
                                   "first\r\n"
                                   "--j\r\n"
                                   "\r\n"
                                   "second\r\n"
                                   "--j--\r\n"
                                   "--b--\r\n");

static void test_row(void **state)
{
    ARENA_AUTO struct arena a = ARENA_INIT(MIME_ARENA_MAX);
    BUF_AUTO struct buf row = BUF_INIT(MIME_COLD_MAX);
    struct mime m;
    struct mime_cold c;
    cold_of(&a, letter, &m, &row, &c);
    assert_int_equal(c.flags, MIME_COLD_HAS_DATE | MIME_COLD_IS_REPLY | MIME_COLD_HAS_ATTACHMENT);
    assert_int_equal(c.sent_seconds, 880127706);
    assert_int_equal(c.sent_zone_minutes, -360);
    assert_int_equal(c.size, letter.len);
    assert_int_equal(c.parts_count, 8);
    assert_true(c.message_id_hash == str_hash_stable(STR("3@x")));
    assert_int_equal(c.references_count, 2);
    assert_true(mime_cold_reference(&c, 0) == str_hash_stable(STR("1@x")));
    assert_true(mime_cold_reference(&c, 1) == str_hash_stable(STR("2@x")));
    assert_str(c.base_subject, "Hello");
    assert_str(c.from_mailbox, "joerg");
    assert_str(c.from_display, "J\xc3\xb6rg");
    assert_str(c.to_mailbox, "List");
    assert_str(c.cc_mailbox, "cc");
    assert_str(c.preview, "Gr\xc3\xbc\xc3\x9f"
                          "e, Welt");
    BUF_AUTO struct buf out = BUF_INIT(1 << 20);
    assert_ok(mime_render_envelope(mime_header(&m, m.parts), &out));
    assert_true(str_eq(c.envelope, buf_str(&out)));
    buf_reset(&out);
    assert_ok(mime_render_body(&m, true, &out));
    assert_true(str_eq(c.structure, buf_str(&out)));
    buf_reset(&out);
    assert_ok(mime_render_body(&m, false, &out));
    assert_true(str_eq(c.body, buf_str(&out)));
}

/* "1.2" as in IMAP. Gives the body. */
static str section(const struct mime_cold *c, const char *path, struct mime_cold_part *p)
{
    uint32_t numbers[16];
    size_t depth = 0;
    for (; *path; path++)
        if (*path != '.')
            numbers[depth++] = (uint32_t)(*path - '0');
    if (!mime_cold_find(c, numbers, depth, p))
        return STR("(none)");
    return str_sub(letter, p->body_offset, p->body_size);
}

static void test_sections(void **state)
{
    ARENA_AUTO struct arena a = ARENA_INIT(MIME_ARENA_MAX);
    BUF_AUTO struct buf row = BUF_INIT(MIME_COLD_MAX);
    struct mime m;
    struct mime_cold c;
    struct mime_cold_part p, inside;
    cold_of(&a, letter, &m, &row, &c);
    assert_str(section(&c, "1.1", &p), "Gr=FC=DFe,\r\n  Welt");
    assert_str(p.type, "text/plain");
    assert_str(p.charset, "iso-8859-1");
    assert_int_equal(p.cte, CTE_QP);
    assert_str(section(&c, "1.2", &p), "<p>Hallo</p>");
    assert_str(str_sub(letter, p.header_offset, p.header_size), "Content-Type: text/html\r\n\r\n");
    assert_str(section(&c, "2.1", &p), "first");
    assert_str(section(&c, "2.2", &p), "second");
    section(&c, "2", &p);
    assert_str(p.type, "message/rfc822");
    assert_true(mime_cold_inside(&c, &p, &inside));
    assert_true(str_starts(str_sub(letter, inside.header_offset, inside.header_size),
                           STR("Subject: inner\r\n")));
    assert_true(inside.header_offset == p.body_offset);
    static const char *const none[] = {"3", "0", "1.3", "1.1.1", "1.1.2", "2.3", "2.1.1", "2.0"};
    for (size_t i = 0; i < ARRAY_LEN(none); i++)
        assert_str(section(&c, none[i], &p), "(none)");
    section(&c, "", &p);
    assert_int_equal(p.index, 0);
    assert_int_equal(p.parent, MIME_NO_PART);
}

/* Part 1 of a message that is not multipart is its body; a message in a message nests. */
static void test_sections_single(void **state)
{
    ARENA_AUTO struct arena a = ARENA_INIT(MIME_ARENA_MAX);
    BUF_AUTO struct buf row = BUF_INIT(MIME_COLD_MAX);
    struct mime m;
    struct mime_cold c;
    struct mime_cold_part p;
    cold_of(&a, STR("\r\nx"), &m, &row, &c);
    assert_true(mime_cold_find(&c, (uint32_t[]){1}, 1, &p) && p.index == 0);
    assert_false(mime_cold_find(&c, (uint32_t[]){2}, 1, &p));
    assert_false(mime_cold_find(&c, (uint32_t[]){1, 1}, 2, &p));
    buf_reset(&row);
    cold_of(&a, STR("Content-Type: message/rfc822\n\nContent-Type: message/rfc822\n\nA: b\n\nx"),
            &m, &row, &c);
    assert_true(mime_cold_find(&c, (uint32_t[]){1}, 1, &p) && p.index == 0);
    assert_true(mime_cold_find(&c, (uint32_t[]){1, 1}, 2, &p) && p.index == 1);
    assert_true(mime_cold_find(&c, (uint32_t[]){1, 1, 1}, 3, &p) && p.index == 2);
    assert_false(mime_cold_find(&c, (uint32_t[]){1, 1, 1, 1}, 4, &p));
}

static char *repeat(const char *head, const char *piece, size_t times, size_t *len)
{
    size_t h = strlen(head), n = strlen(piece);
    char *text = test_malloc(h + n * times);
    memcpy(text, head, h);
    for (size_t i = 0; i < times; i++)
        memcpy(text + h + i * n, piece, n);
    *len = h + n * times;
    return text;
}

/* What does not fit is left out, flagged, and rendered on demand. */
static void test_wire_4_row_limit(void **state)
{
    ARENA_AUTO struct arena a = ARENA_INIT(MIME_ARENA_MAX);
    BUF_AUTO struct buf row = BUF_INIT(MIME_COLD_MAX);
    struct mime m;
    struct mime_cold c;
    size_t len;
    char *text = repeat("Content-Type: multipart/mixed; boundary=b\n\n", "--b\n\nx\n", 20000, &len);
    cold_of(&a, str_of(text, len), &m, &row, &c);
    assert_int_equal(c.flags & 15, MIME_COLD_NO_PARTS | MIME_COLD_NO_STRUCTURE | MIME_COLD_NO_BODY);
    assert_int_equal(c.limit, LIMIT_MIME_PARTS_MAX);
    assert_ok(mime_cold_parts_of(&a, &m, &c));
    struct mime_cold_part p;
    assert_true(mime_cold_find(&c, (uint32_t[]){9999}, 1, &p));
    test_free(text);
    buf_reset(&row);
    text = repeat("To: ", "\"A Name\" <user@example.com>, ", 5000, &len);
    cold_of(&a, str_of(text, len), &m, &row, &c);
    assert_int_equal(c.flags & 15, MIME_COLD_NO_ENVELOPE);
    assert_str(c.to_mailbox, "user");
    test_free(text);
    buf_reset(&row);
    text = repeat("References: <first@x>\n", " <x@y>", 1000, &len);
    cold_of(&a, str_of(text, len), &m, &row, &c);
    assert_int_equal(c.references_count, MIME_REFERENCES_MAX);
    assert_true(mime_cold_reference(&c, 0) == str_hash_stable(STR("first@x")));
    test_free(text);
    buf_reset(&row);
    text = repeat("Subject: ", "\xc3\xb6", 3000, &len);
    cold_of(&a, str_of(text, len), &m, &row, &c);
    assert_true(c.base_subject.len <= MIME_BASE_SUBJECT_MAX && utf8_valid(c.base_subject));
    test_free(text);
    buf_reset(&row);
    text = repeat("Content-Type: text/html\n\n<p>", "\xe2\x82\xac ", 3000, &len);
    cold_of(&a, str_of(text, len), &m, &row, &c);
    /* 100 euro signs of three bytes, and the spaces between */
    assert_int_equal(c.preview.len, MIME_PREVIEW_CHARS * 2 - 1);
    test_free(text);
}

/* rule: store-2: a row that cannot be read says so. */
static void test_store_2_corrupt(void **state)
{
    ARENA_AUTO struct arena a = ARENA_INIT(MIME_ARENA_MAX);
    BUF_AUTO struct buf row = BUF_INIT(MIME_COLD_MAX);
    struct mime m;
    struct mime_cold c;
    cold_of(&a, letter, &m, &row, &c);
    for (size_t i = 0; i < row.len; i++)
        assert_int_equal(mime_cold_decode(str_head(buf_str(&row), i), &c), ERR_CORRUPT);
    buf_add_char(&row, 'x');
    assert_int_equal(mime_cold_decode(buf_str(&row), &c), ERR_CORRUPT);
    row.data[0] = 2;
    assert_int_equal(mime_cold_decode(buf_str(&row), &c), ERR_UNSUPPORTED);
}

/* RFC 8970 leaves the text to the server: what is new in an answer, not what it quotes. */
static void test_preview_without_quotes(void **state)
{
    static const struct {
        const char *body;
        str preview;
    } cases[] = {
        {"Thanks!\n\nOn Monday X <x@y> wrote:\n> old\n>> older\n", STR_INIT("Thanks!")},
        {"On 1 May at 10:00, X\n<x@y> wrote:\n\n> old\n\nNo.\n> more\nYes.\n",
         STR_INIT("No. Yes.")},
        {"> old\r\nnew\r\n>\r\n> old\r\n\r\nlast", STR_INIT("new last")},
        {"X wrote:\n> old\n> and older\n", STR_INIT("X wrote: > old > and older")},
        {"> old\n\n \n", STR_INIT("> old")},
        {"one\ntwo\nthree:\n> old\n", STR_INIT("one two three:")},
        {"Dear X:\n\nThree things:\n\n> no\n", STR_INIT("Dear X:")},
        {"Dear X:\n\n\ntext > text\n >text\n\nend", STR_INIT("Dear X: text > text >text end")},
        {"-\n> -", STR_INIT("-")},
        {"", STR_INIT("")},
        {"\n\n>", STR_INIT(">")},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        ARENA_AUTO struct arena a = ARENA_INIT(MIME_ARENA_MAX);
        BUF_AUTO struct buf row = BUF_INIT(MIME_COLD_MAX), raw = BUF_INIT(4096);
        struct mime m;
        struct mime_cold c;
        buf_addf(&raw, "Subject: x\n\n%s", cases[i].body);
        cold_of(&a, buf_str(&raw), &m, &row, &c);
        assert_true(str_eq(c.preview, cases[i].preview));
    }
    /* behind a long quotation, too */
    ARENA_AUTO struct arena a = ARENA_INIT(MIME_ARENA_MAX);
    BUF_AUTO struct buf row = BUF_INIT(MIME_COLD_MAX), raw = BUF_INIT(MIME_PREVIEW_SCAN);
    struct mime m;
    struct mime_cold c;
    buf_add(&raw, STR("Content-Type: text/plain; charset=utf-8\r\n\r\n"));
    for (int i = 0; i < 400; i++)
        buf_add(&raw, STR("> what was said before\r\n"));
    buf_add(&raw, STR("Gr\xc3\xbc\xc3\x9f"
                      "e\r\n"));
    cold_of(&a, buf_str(&raw), &m, &row, &c);
    assert_str(c.preview, "Gr\xc3\xbc\xc3\x9f"
                          "e");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_row),
        cmocka_unit_test(test_preview_without_quotes),
        cmocka_unit_test(test_sections),
        cmocka_unit_test(test_sections_single),
        cmocka_unit_test(test_wire_4_row_limit),
        cmocka_unit_test(test_store_2_corrupt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
