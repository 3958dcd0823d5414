/* SPDX-License-Identifier: Apache-2.0 */
#include "format/test_cmocka.h"

#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "format/smtp_data.h"
#include "format/test_linear.h"

/* Feeds in two chunks; gives the verdict, the content and what is left. */
static enum smtp_data_step feed(str in, size_t split, bool allow, struct buf *out, size_t *left)
{
    struct smtp_data d = {.allow_bare_lf = allow};
    str parts[2] = {str_head(in, split), str_skip(in, split)};
    for (int i = 0; i < 2; i++) {
        str span;
        enum smtp_data_step step;
        while ((step = smtp_data_next(&d, &parts[i], &span)) == SMTP_DATA_SPAN) {
            assert_true(span.len > 0);
            buf_add(out, span);
        }
        if (step != SMTP_DATA_MORE) {
            *left = parts[i].len + (i == 0 ? parts[1].len : 0);
            return step;
        }
        assert_int_equal(parts[i].len, 0);
    }
    *left = 0;
    return SMTP_DATA_MORE;
}

struct data_row {
    str in;
    enum smtp_data_step step;
    str content, left;
    bool allow;
};

/* rule: wire-1: only CRLF.CRLF ends DATA; every mix of CR, LF and CRLF around the dot. */
static const struct data_row data_rows[] = {
    {STR_INIT(".\r\nQUIT"), SMTP_DATA_END, STR_INIT(""), STR_INIT("QUIT")},
    {STR_INIT("a\r\n.\r\nMAIL"), SMTP_DATA_END, STR_INIT("a\r\n"), STR_INIT("MAIL")},
    {STR_INIT("a\r\n..\r\n.\r\n"), SMTP_DATA_END, STR_INIT("a\r\n.\r\n"), STR_INIT("")},
    {STR_INIT("a\r\n.b\r\n...\r\n.\r\n"), SMTP_DATA_END, STR_INIT("a\r\nb\r\n..\r\n"),
     STR_INIT("")},
    {STR_INIT("\r\n\r\na.b\r\n.\r\n"), SMTP_DATA_END, STR_INIT("\r\n\r\na.b\r\n"), STR_INIT("")},
    {STR_INIT("a\n.\nMAIL"), SMTP_DATA_BARE_LF, STR_INIT("a"), STR_INIT(".\nMAIL")},
    {STR_INIT("a\n.\r\nMAIL"), SMTP_DATA_BARE_LF, STR_INIT("a"), STR_INIT(".\r\nMAIL")},
    {STR_INIT("a\r\n.\nMAIL"), SMTP_DATA_BARE_LF, STR_INIT("a\r\n"), STR_INIT("MAIL")},
    {STR_INIT("a\r\n.\rMAIL"), SMTP_DATA_BARE_CR, STR_INIT("a\r\n"), STR_INIT("MAIL")},
    {STR_INIT("a\r.\r\nMAIL"), SMTP_DATA_BARE_CR, STR_INIT("a"), STR_INIT(".\r\nMAIL")},
    {STR_INIT("a\r\r\n.\r\n"), SMTP_DATA_BARE_CR, STR_INIT("a"), STR_INIT("\r\n.\r\n")},
    {STR_INIT("a\r\n\n.\r\n"), SMTP_DATA_BARE_LF, STR_INIT("a\r\n"), STR_INIT(".\r\n")},
    {STR_INIT("a\r\n.\r\r\n"), SMTP_DATA_BARE_CR, STR_INIT("a\r\n"), STR_INIT("\r\n")},
    {STR_INIT("a\r\n.\n\r\n"), SMTP_DATA_BARE_LF, STR_INIT("a\r\n"), STR_INIT("\r\n")},
    {STR_INIT("abc\r\ndef"), SMTP_DATA_MORE, STR_INIT("abc\r\ndef"), STR_INIT("")},
    {STR_INIT("abc\r\n.\r"), SMTP_DATA_MORE, STR_INIT("abc\r\n"), STR_INIT("")},
    {STR_INIT("a\0b\r\n.\r\n"), SMTP_DATA_END, STR_INIT("a\0b\r\n"), STR_INIT("")},
    /* allow_bare_lf: lines end with LF too, but the message does not */
    {STR_INIT("a\nb\r\n.\r\nX"), SMTP_DATA_END, STR_INIT("a\r\nb\r\n"), STR_INIT("X"), true},
    {STR_INIT("a\n.\nMAIL"), SMTP_DATA_MORE, STR_INIT("a\r\n\r\nMAIL"), STR_INIT(""), true},
    {STR_INIT("a\n.\r\nMAIL"), SMTP_DATA_MORE, STR_INIT("a\r\n\r\nMAIL"), STR_INIT(""), true},
    {STR_INIT("a\r\n.\nMAIL"), SMTP_DATA_MORE, STR_INIT("a\r\n\r\nMAIL"), STR_INIT(""), true},
    {STR_INIT("a\r.\nMAIL"), SMTP_DATA_BARE_CR, STR_INIT("a"), STR_INIT(".\nMAIL"), true},
};

static void test_wire_1_data_at_every_split(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(data_rows); i++) {
        const struct data_row *r = &data_rows[i];
        for (size_t split = 0; split <= r->in.len; split++) {
            BUF_AUTO struct buf out = BUF_INIT(4096);
            size_t left;
            enum smtp_data_step step = feed(r->in, split, r->allow, &out, &left);
            if (step != r->step || !str_eq(buf_str(&out), r->content) || left != r->left.len)
                fail_msg("row %zu split %zu: step %d content \"%.*s\" left %zu", i, split, step,
                         STR_ARG(buf_str(&out)), left);
        }
    }
}

static void test_random_bytes_split_the_same(void **state)
{
    static const char letters[] = "a.\r\n\r\n.\r\n";
    srand(1);
    for (int round = 0; round < 20000; round++) {
        char text[24];
        for (size_t i = 0; i < sizeof(text); i++)
            text[i] = letters[rand() % (int)(sizeof(letters) - 1)];
        str in = str_of(text, sizeof(text));
        BUF_AUTO struct buf whole = BUF_INIT(4096);
        size_t left;
        enum smtp_data_step step = feed(in, 0, round & 1, &whole, &left);
        size_t split = (size_t)rand() % sizeof(text), left2;
        BUF_AUTO struct buf out = BUF_INIT(4096);
        assert_int_equal(feed(in, split, round & 1, &out, &left2), step);
        assert_true(str_eq(buf_str(&out), buf_str(&whole)));
        assert_int_equal(left, left2);
    }
}

static enum smtp_data_step chunks(str in, size_t split, bool binary)
{
    struct smtp_chunk c = {.binary = binary};
    enum smtp_data_step step = smtp_chunk_check(&c, str_head(in, split), false);
    return step != SMTP_DATA_MORE ? step : smtp_chunk_check(&c, str_skip(in, split), true);
}

static void test_wire_1_bdat_at_every_split(void **state)
{
    static const struct data_row rows[] = {
        {STR_INIT("a\r\n.\r\nb\r\n"), SMTP_DATA_MORE}, {STR_INIT("a\r\nno end"), SMTP_DATA_MORE},
        {STR_INIT("\r\n\r\n"), SMTP_DATA_MORE},        {STR_INIT("a\nb\r\n"), SMTP_DATA_BARE_LF},
        {STR_INIT("a\r\r\n"), SMTP_DATA_BARE_CR},      {STR_INIT("a\r\n\n"), SMTP_DATA_BARE_LF},
        {STR_INIT("ab\r"), SMTP_DATA_BARE_CR},         {STR_INIT("a\rb"), SMTP_DATA_BARE_CR},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        for (size_t split = 0; split <= rows[i].in.len; split++) {
            assert_int_equal(chunks(rows[i].in, split, false), rows[i].step);
            assert_int_equal(chunks(rows[i].in, split, true), SMTP_DATA_MORE);
        }
}

static void stuff(struct buf *out, str in, size_t split)
{
    struct smtp_stuff s = {0};
    smtp_stuff_add(&s, out, str_head(in, split));
    smtp_stuff_add(&s, out, str_skip(in, split));
    smtp_stuff_end(&s, out);
}

/* rule: wire-1: we never send a bare CR or LF. */
static void test_wire_1_stuffing_repairs_line_ends(void **state)
{
    static const str rows[][2] = {
        {STR_INIT(""), STR_INIT(".\r\n")},
        {STR_INIT("a"), STR_INIT("a\r\n.\r\n")},
        {STR_INIT("a\r\n"), STR_INIT("a\r\n.\r\n")},
        {STR_INIT(".\r\n..a\r\nb.\r\n"), STR_INIT("..\r\n...a\r\nb.\r\n.\r\n")},
        {STR_INIT("a\n.b\n"), STR_INIT("a\r\n..b\r\n.\r\n")},
        {STR_INIT("a\r.b\r\r\n"), STR_INIT("a\r\n..b\r\n\r\n.\r\n")},
        {STR_INIT("a\r"), STR_INIT("a\r\n.\r\n")},
        {STR_INIT("\n\r\r"), STR_INIT("\r\n\r\n\r\n.\r\n")},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        for (size_t split = 0; split <= rows[i][0].len; split++) {
            BUF_AUTO struct buf out = BUF_INIT(4096);
            stuff(&out, rows[i][0], split);
            if (!str_eq(buf_str(&out), rows[i][1]))
                fail_msg("row %zu split %zu: \"%.*s\"", i, split, STR_ARG(buf_str(&out)));
        }
}

static void test_stuffed_content_comes_back(void **state)
{
    str text = STR("Subject: x\r\n\r\n.\r\n..\r\n.hidden\r\nlast\r\n");
    BUF_AUTO struct buf wire = BUF_INIT(4096), back = BUF_INIT(4096);
    size_t left;
    stuff(&wire, text, 3);
    assert_int_equal(feed(buf_str(&wire), 5, false, &back, &left), SMTP_DATA_END);
    assert_true(str_eq(buf_str(&back), text));
}

/* 32 KiB again and again, so that neither the cache nor the allocator is measured. */
static void linear_with(const char *unit, size_t n)
{
    static char text[32768];
    size_t len = strlen(unit), used = 0;
    for (; used + len <= sizeof(text); used += len)
        memcpy(text + used, unit, len);
    struct smtp_data d = {.allow_bare_lf = true};
    struct smtp_stuff s = {0};
    BUF_AUTO struct buf out = BUF_INIT(4 * sizeof(text));
    for (size_t done = 0; done < n; done += used) {
        str in = str_of(text, used), span;
        while (smtp_data_next(&d, &in, &span) == SMTP_DATA_SPAN)
            ;
        buf_reset(&out);
        smtp_stuff_add(&s, &out, str_of(text, used));
    }
}
static void linear_dots(size_t n) { linear_with("\r\n..", n); }
static void linear_lines(size_t n) { linear_with("a line of mail that says something\r\n", n); }
static void linear_lf(size_t n) { linear_with("\n", n); }
static void linear_long(size_t n) { linear_with("x", n); }

static void test_wire_4_linear(void **state)
{
    assert_true(linear_holds(linear_dots, 2000000));
    assert_true(linear_holds(linear_lines, 4000000));
    assert_true(linear_holds(linear_lf, 2000000));
    assert_true(linear_holds(linear_long, 8000000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wire_1_data_at_every_split),
        cmocka_unit_test(test_random_bytes_split_the_same),
        cmocka_unit_test(test_wire_1_bdat_at_every_split),
        cmocka_unit_test(test_wire_1_stuffing_repairs_line_ends),
        cmocka_unit_test(test_stuffed_content_comes_back),
        cmocka_unit_test(test_wire_4_linear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
