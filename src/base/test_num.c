/* SPDX-License-Identifier: Apache-2.0 */
#include "base/num.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void whole_numbers(void **state)
{
    uint64_t n = 7;
    uint32_t small = 7;
    assert_true(num_parse_u64(STR("0"), UINT64_MAX, &n) && n == 0);
    assert_true(num_parse_u64(STR("18446744073709551615"), UINT64_MAX, &n) && n == UINT64_MAX);
    assert_true(num_parse_u64(STR("000000000000000000000000001"), 1, &n) && n == 1);
    assert_true(num_parse_u32(STR("4294967295"), &small) && small == UINT32_MAX);
    n = 7;
    small = 7;
    static const str bad[] = {STR_INIT(""),
                              STR_INIT("-1"),
                              STR_INIT("+1"),
                              STR_INIT(" 1"),
                              STR_INIT("1 "),
                              STR_INIT("1a"),
                              STR_INIT("0x1"),
                              STR_INIT("18446744073709551616"),
                              STR_INIT("99999999999999999999"),
                              STR_INIT("\xb2")};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(num_parse_u64(bad[i], UINT64_MAX, &n));
    assert_false(num_parse_u64(STR("101"), 100, &n));
    assert_false(num_parse_u32(STR("4294967296"), &small));
    assert_int_equal(n, 7); /* unchanged */
    assert_int_equal(small, 7);
}

static void leading_numbers(void **state)
{
    str s = STR("12:*");
    uint64_t n;
    assert_true(num_take_u64(&s, UINT32_MAX, &n));
    assert_int_equal(n, 12);
    assert_true(str_eq(s, STR(":*")));
    assert_false(num_take_u64(&s, UINT32_MAX, &n));
    assert_true(str_eq(s, STR(":*")));
    s = STR("256x");
    assert_false(num_take_u64(&s, 255, &n));
    assert_true(str_eq(s, STR("256x")));
}

static void sizes_and_durations(void **state)
{
    uint64_t n;
    assert_true(num_parse_bytes(STR("10"), &n) && n == 10);
    assert_true(num_parse_bytes(STR("64K"), &n) && n == 65536);
    assert_true(num_parse_bytes(STR("25MB"), &n) && n == 26214400);
    assert_true(num_parse_bytes(STR("2gb"), &n) && n == 2147483648);
    assert_true(num_parse_bytes(STR("7B"), &n) && n == 7);
    assert_true(num_parse_bytes(STR("16777215T"), &n) && n == 16777215ull << 40);
    assert_false(num_parse_bytes(STR("16777216T"), &n));
    assert_false(num_parse_bytes(STR("M"), &n));
    assert_false(num_parse_bytes(STR("1 M"), &n));
    assert_false(num_parse_bytes(STR("1X"), &n));
    assert_false(num_parse_bytes(STR("1.5M"), &n));
    assert_true(num_parse_duration(STR("500ms"), &n) && n == 500);
    assert_true(num_parse_duration(STR("30"), &n) && n == 30000);
    assert_true(num_parse_duration(STR("30s"), &n) && n == 30000);
    assert_true(num_parse_duration(STR("5m"), &n) && n == 300000);
    assert_true(num_parse_duration(STR("1h"), &n) && n == 3600000);
    assert_true(num_parse_duration(STR("7d"), &n) && n == 604800000);
    assert_false(num_parse_duration(STR("7w"), &n));
    assert_false(num_parse_duration(STR("18446744073709551615s"), &n));
}

static void checked_sums(void **state)
{
    size_t n = 1;
    assert_true(size_add(2, 3, &n) && n == 5);
    assert_true(size_mul(4, 3, &n) && n == 12);
    assert_false(size_add(SIZE_MAX, 1, &n));
    assert_false(size_mul(SIZE_MAX, 2, &n));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_numbers),
        cmocka_unit_test(leading_numbers),
        cmocka_unit_test(sizes_and_durations),
        cmocka_unit_test(checked_sums),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
