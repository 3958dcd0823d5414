/* SPDX-License-Identifier: Apache-2.0 */
#include "format/test_cmocka.h"

#include <string.h>

#include "base/num.h"
#include "format/header.h"
#include "format/test_linear.h"

static void test_fields(void **state)
{
    str block = STR("Subject: a\r\n b\r\nX-Y :c\nTo:\r\n\r\nbody: x\r\n");
    struct header_iter it = header_iter_of(block);
    struct header_field f;
    assert_true(header_next(&it, &f));
    assert_str(f.name, "Subject");
    assert_str(f.value, " a\r\n b");
    assert_int_equal(f.offset, 0);
    assert_int_equal(f.size, 16);
    assert_true(header_next(&it, &f));
    assert_str(f.name, "X-Y");
    assert_str(f.value, "c");
    assert_true(header_next(&it, &f));
    assert_str(f.name, "To");
    assert_str(f.value, "");
    assert_false(header_next(&it, &f));
    assert_false(header_next(&it, &f));
    assert_int_equal(it.count, 3);
    assert_str(str_skip(block, it.end), "body: x\r\n");
    assert_int_equal(it.end - it.end_fields, 2);
    assert_int_equal(header_size(block), it.end);
}

static void test_no_fields(void **state)
{
    static const char *const lines[] = {"From me Mon Jan 1 00:00:00 2001\n",
                                        "no colon here\n",
                                        ": empty\n",
                                        " begins folded\n",
                                        "two words: x\n",
                                        "caf\xc3\xa9: x\n",
                                        "\r",
                                        "\t\n"};
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        struct header_iter it = header_iter_of(str_c(lines[i]));
        struct header_field f;
        assert_true(header_next(&it, &f));
        assert_int_equal(f.name.len, 0);
        assert_int_equal(f.size, strlen(lines[i]));
        assert_false(header_next(&it, &f));
    }
    struct header_iter it = header_iter_of(STR("a\0b: c\nd\0: e\nf: g\0h"));
    struct header_field f;
    assert_true(header_next(&it, &f) && !f.name.len);
    assert_true(header_next(&it, &f) && !f.name.len);
    assert_true(header_next(&it, &f));
    assert_int_equal(f.value.len, 4);
    assert_false(header_next(&it, &f));
    assert_int_equal(it.end, it.block.len);
    it = header_iter_of(STR_NONE);
    assert_false(header_next(&it, &f));
}

static void test_unfold(void **state)
{
    ARENA_AUTO struct arena a = ARENA_INIT(4096);
    BUF_AUTO struct buf out = BUF_INIT(1000);
    str raw = STR(" one\r\n two\n\tthree \r\n"), plain;
    header_unfold(&out, raw);
    assert_str(buf_str(&out), "one two\tthree");
    assert_true(header_unfold_arena(&a, raw, &plain));
    assert_true(str_eq(plain, buf_str(&out)));
    raw = STR(" same ");
    assert_true(header_unfold_arena(&a, raw, &plain));
    assert_ptr_equal(plain.data, raw.data + 1);
}

static void test_filter(void **state)
{
    BUF_AUTO struct buf out = BUF_INIT(1000);
    str block = STR("From x\r\nA: 1\r\nB: 2\r\n 3\r\na: 4\r\n\r\nbody");
    str names[] = {STR("a"), STR("none")};
    header_filter(&out, block, names, 2, false);
    assert_str(buf_str(&out), "A: 1\r\na: 4\r\n\r\n");
    buf_reset(&out);
    header_filter(&out, block, names, 2, true);
    assert_str(buf_str(&out), "From x\r\nB: 2\r\n 3\r\n\r\n");
    struct header_field f;
    assert_true(header_find(block, STR("b"), &f));
    assert_str(f.value, " 2\r\n 3");
    assert_false(header_find(block, STR("body"), &f));
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

static void iterate(size_t n)
{
    char *text = repeat(piece, n);
    struct header_iter it = header_iter_of(str_of(text, n));
    struct header_field f;
    while (header_next(&it, &f))
        assert_true(f.size > 0);
    assert_true(it.end <= n);
    test_free(text);
}

static void test_wire_4_limits(void **state)
{
    static const char *const pieces[] = {"A: b\r\n", "A\r\n ", ":",  "\r", "a\n",
                                         " \n",      "A :",    "A ", "--"};
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        piece = pieces[i];
        if (!linear_holds(iterate, 1000000))
            fail_msg("not linear: %s", piece);
    }
    char *text = repeat("A: b\r\n", 600000);
    memcpy(text + 599998, "\n\n", 2);
    struct header_iter it = header_iter_of(str_of(text, 600000));
    struct header_field f;
    size_t count = 0;
    while (header_next(&it, &f))
        count++;
    assert_int_equal(count, HEADER_FIELDS_MAX);
    assert_int_equal(it.limit, LIMIT_HEADER_FIELDS_MAX);
    assert_int_equal(it.end, 600000);
    test_free(text);
    char *line = repeat("x", 3000000);
    memcpy(line, "A:", 2);
    memcpy(line + 2500000, "\nB: c\n", 6);
    it = header_iter_of(str_of(line, 3000000));
    assert_true(header_next(&it, &f));
    assert_false(header_next(&it, &f));
    assert_int_equal(it.limit, LIMIT_HEADER_SIZE_MAX);
    test_free(line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),        cmocka_unit_test(test_no_fields),
        cmocka_unit_test(test_unfold),        cmocka_unit_test(test_filter),
        cmocka_unit_test(test_wire_4_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
