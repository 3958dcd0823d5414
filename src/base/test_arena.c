/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void memory_is_zeroed_and_aligned(void **state)
{
    ARENA_AUTO struct arena a = ARENA_INIT(1 << 20);
    for (int pass = 0; pass < 3; pass++) {
        for (size_t size = 0; size < 700; size += 7) {
            unsigned char *p = arena_alloc(&a, size);
            assert_non_null(p);
            assert_int_equal((uintptr_t)p % 16, 0);
            for (size_t i = 0; i < size; i++)
                assert_int_equal(p[i], 0);
            if (size)
                memset(p, 0xa5, size);
        }
        arena_reset(&a);
    }
}

static void allocations_do_not_overlap(void **state)
{
    struct {
        unsigned char *at;
        size_t size;
    } given[2000];
    ARENA_AUTO struct arena a = ARENA_INIT(64 << 20);
    srand(3);
    for (size_t i = 0; i < 2000; i++) {
        size_t size = (size_t)rand() % (rand() % 20 ? 100 : 50000);
        given[i].at = arena_alloc(&a, size);
        given[i].size = size;
        assert_non_null(given[i].at);
        if (size)
            memset(given[i].at, (int)(i & 255), size);
    }
    for (size_t i = 0; i < 2000; i++)
        for (size_t k = 0; k < given[i].size; k++)
            assert_int_equal(given[i].at[k], i & 255);
    assert_true(a.used <= a.max);
}

static void limit_is_hard(void **state)
{
    ARENA_AUTO struct arena a = ARENA_INIT(8192);
    assert_null(arena_alloc(&a, 8193));
    assert_non_null(arena_alloc(&a, 8192));
    assert_null(arena_alloc(&a, 1));
    arena_free(&a);
    size_t got = 0;
    while (arena_alloc(&a, 100))
        got += 112;
    assert_true(got >= 7000 && got <= 8192);
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_null(arena_alloc_array(&a, SIZE_MAX / 2, 3));
    arena_free(&a);
    struct arena none = {0};
    assert_null(arena_alloc(&none, 1));
}

static void small_use_costs_little(void **state)
{
    ARENA_AUTO struct arena a = ARENA_INIT(1 << 20);
    assert_int_equal(a.used, 0);
    assert_non_null(arena_alloc(&a, 10));
    assert_int_equal(a.used, 1024);
    for (int i = 0; i < 10000; i++)
        assert_non_null(arena_alloc(&a, 64));
    arena_reset(&a);
    assert_true(a.used <= 4096);
    assert_non_null(arena_alloc(&a, 1000));
    assert_true(a.used <= 4096);
}

static void copies_and_formats(void **state)
{
    ARENA_AUTO struct arena a = ARENA_INIT(1024);
    str copy;
    assert_true(arena_dup(&a, STR("a\0b"), &copy));
    assert_true(str_eq(copy, STR("a\0b")));
    assert_int_equal(copy.data[3], 0);
    assert_true(arena_dup_lower(&a, STR("@AbZ[\xc4\0"), &copy));
    assert_true(str_eq(copy, STR("@abz[\xc4\0")));
    assert_true(arena_dup(&a, STR_NONE, &copy));
    assert_int_equal(copy.len, 0);
    assert_non_null(copy.data);
    assert_true(str_eq(arena_fmt(&a, "%s=%d", "n", 5), STR("n=5")));
    char big[2000] = {0};
    assert_false(arena_dup(&a, str_of(big, sizeof big), &copy));
    assert_int_equal(copy.len, 0);
    assert_int_equal(arena_fmt(&a, "%02000d", 1).len, 0);
    int *row = ARENA_ARRAY(&a, int, 8);
    assert_non_null(row);
    assert_non_null(ARENA_NEW(&a, struct arena));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_zeroed_and_aligned),
        cmocka_unit_test(allocations_do_not_overlap),
        cmocka_unit_test(limit_is_hard),
        cmocka_unit_test(small_use_costs_little),
        cmocka_unit_test(copies_and_formats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
