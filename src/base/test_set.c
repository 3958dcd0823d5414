/* SPDX-License-Identifier: Apache-2.0 */
#include "base/set.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void assert_set(const struct set *s, const char *want)
{
    BUF_AUTO struct buf text = BUF_INIT(65536);
    set_render(s, &text);
    buf_add_char(&text, '\0');
    assert_true(buf_ok(&text));
    assert_string_equal(text.data, want);
}

#define assert_ok(call) assert_int_equal((call), ERR_OK)

static void ranges_melt_and_split(void **state)
{
    SET_AUTO struct set s = {0};
    assert_set(&s, "");
    assert_ok(set_add_range(&s, 1, 5));
    assert_ok(set_add(&s, 7));
    assert_ok(set_add_range(&s, 9, 12));
    assert_set(&s, "1:5,7,9:12");
    assert_int_equal(set_size(&s), 10);
    assert_true(set_has(&s, 1) && set_has(&s, 5) && set_has(&s, 12));
    assert_false(set_has(&s, 0) || set_has(&s, 6) || set_has(&s, 13));
    assert_ok(set_add(&s, 6));
    assert_set(&s, "1:7,9:12");
    assert_ok(set_add(&s, 3));
    assert_ok(set_add_range(&s, 8, 20));
    assert_set(&s, "1:20");
    assert_ok(set_remove_range(&s, 5, 6));
    assert_ok(set_remove_range(&s, 20, 30));
    assert_ok(set_remove_range(&s, 40, 50));
    assert_set(&s, "1:4,7:19");
    assert_ok(set_remove_range(&s, 0, UINT32_MAX));
    assert_set(&s, "");
}

static void both_ends_of_the_numbers(void **state)
{
    SET_AUTO struct set s = {0};
    assert_ok(set_add(&s, UINT32_MAX));
    assert_ok(set_add(&s, UINT32_MAX));
    assert_ok(set_add(&s, 0));
    assert_set(&s, "0,4294967295");
    assert_ok(set_add_range(&s, 1, UINT32_MAX - 1));
    assert_int_equal(s.count, 1);
    assert_true(set_size(&s) == 1ull << 32);
    assert_ok(set_remove_range(&s, UINT32_MAX, UINT32_MAX));
    assert_ok(set_remove_range(&s, 0, 0));
    assert_set(&s, "1:4294967294");
    SET_AUTO struct set all = {0};
    assert_ok(set_add_range(&all, 0, UINT32_MAX));
    assert_ok(set_subtract(&all, &s));
    assert_set(&all, "0,4294967295");
    assert_ok(set_union(&all, &s));
    assert_set(&all, "0:4294967295");
    assert_ok(set_subtract(&s, &all));
    assert_set(&s, "");
}

static void limit_leaves_the_set_alone(void **state)
{
    SET_AUTO struct set s = {.max = 3};
    SET_AUTO struct set other = {0};
    for (uint32_t i = 1; i <= 3; i++)
        assert_ok(set_add_range(&s, i * 10, i * 10 + 2));
    assert_int_equal(set_add(&s, 99), ERR_LIMIT);
    assert_int_equal(set_add(&s, 5), ERR_LIMIT);
    assert_int_equal(set_remove_range(&s, 11, 11), ERR_LIMIT);
    assert_ok(set_add(&other, 21));
    assert_ok(set_add(&other, 50));
    assert_int_equal(set_union(&s, &other), ERR_LIMIT);
    assert_int_equal(set_subtract(&s, &other), ERR_LIMIT);
    assert_set(&s, "10:12,20:22,30:32");
    assert_ok(set_add_range(&s, 13, 19));
    assert_set(&s, "10:22,30:32");
}

static void rows_come_back(void **state)
{
    SET_AUTO struct set s = {0};
    SET_AUTO struct set back = {0};
    BUF_AUTO struct buf row = BUF_INIT(1000);
    assert_ok(set_add_range(&s, 0, 3));
    assert_ok(set_add_range(&s, 5, 300));
    assert_ok(set_add(&s, UINT32_MAX));
    assert_ok(set_add(&back, 77)); /* is replaced */
    set_encode(&s, &row);
    struct reader r = reader_of(buf_str(&row));
    assert_ok(set_decode(&r, &back));
    assert_int_equal(r.rest.len, 0);
    assert_set(&back, "0:3,5:300,4294967295");
    for (size_t n = 0; n < row.len; n++) {
        r = reader_of(str_head(buf_str(&row), n));
        assert_int_equal(set_decode(&r, &back), ERR_CORRUPT);
    }
    assert_set(&back, "0:3,5:300,4294967295"); /* unchanged by failures */
    r = reader_of(buf_str(&row));
    struct set small = {.max = 2};
    assert_int_equal(set_decode(&r, &small), ERR_LIMIT);
    /* past the last number; a count that no row of this size can hold */
    r = reader_of(STR("\x01\xff\xff\xff\xff\x0f\x01"));
    assert_int_equal(set_decode(&r, &back), ERR_CORRUPT);
    r = reader_of(STR("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01\x01"));
    assert_int_equal(set_decode(&r, &back), ERR_CORRUPT);
    r = reader_of(STR("\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x05"));
    assert_int_equal(set_decode(&r, &back), ERR_CORRUPT);
}

enum { VALUES = 256 };

static void assert_model(const struct set *s, const bool *model)
{
    for (uint32_t n = 0; n < VALUES; n++)
        assert_int_equal(set_has(s, n), model[n]);
    for (size_t i = 0; i + 1 < s->count; i++)
        assert_true(s->ranges[i].last + 1 < s->ranges[i + 1].first);
}

static void agrees_with_a_model(void **state)
{
    SET_AUTO struct set a = {0};
    SET_AUTO struct set b = {0};
    bool in_a[VALUES] = {0}, in_b[VALUES] = {0};
    srand(13);
    for (int step = 0; step < 20000; step++) {
        uint32_t first = (uint32_t)rand() % VALUES, last = first + (uint32_t)rand() % 12;
        last = last < VALUES ? last : VALUES - 1;
        bool adds = rand() % 2, into_b = rand() % 2;
        struct set *s = into_b ? &b : &a;
        assert_ok(adds ? set_add_range(s, first, last) : set_remove_range(s, first, last));
        memset((into_b ? in_b : in_a) + first, adds, last - first + 1);
        int op = rand() % 40;
        if (op > 2) {
            assert_model(s, into_b ? in_b : in_a);
            continue;
        }
        assert_ok(op == 0   ? set_union(&a, &b)
                  : op == 1 ? set_intersect(&a, &b)
                            : set_subtract(&a, &b));
        for (size_t n = 0; n < VALUES; n++)
            in_a[n] = op == 0   ? in_a[n] || in_b[n]
                      : op == 1 ? in_a[n] && in_b[n]
                                : in_a[n] && !in_b[n];
        assert_model(&a, in_a);
    }
}

/* A mailbox of a million messages, every second one read: appending must not be quadratic. */
static void appending_is_cheap(void **state)
{
    SET_AUTO struct set s = {0};
    for (uint32_t i = 0; i < SET_RANGES_MAX; i++)
        assert_ok(set_add(&s, 2 * i + 1));
    assert_int_equal(set_add(&s, UINT32_MAX), ERR_LIMIT);
    assert_int_equal(set_size(&s), SET_RANGES_MAX);
    assert_true(set_has(&s, 999999));
    assert_false(set_has(&s, 1000000));
}

static void a_set_with_itself(void **state)
{
    SET_AUTO struct set s = {0};
    assert_ok(set_add_range(&s, 3, 4));
    assert_ok(set_union(&s, &s));
    assert_ok(set_intersect(&s, &s));
    assert_set(&s, "3:4");
    assert_ok(set_subtract(&s, &s));
    assert_set(&s, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_melt_and_split),      cmocka_unit_test(both_ends_of_the_numbers),
        cmocka_unit_test(limit_leaves_the_set_alone), cmocka_unit_test(rows_come_back),
        cmocka_unit_test(agrees_with_a_model),        cmocka_unit_test(appending_is_cheap),
        cmocka_unit_test(a_set_with_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
