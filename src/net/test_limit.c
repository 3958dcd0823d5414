/* SPDX-License-Identifier: Apache-2.0 */
#include "net/limit.h"

#include "net/test_net.h"

static struct limit_table *table(size_t entries, uint32_t rate, uint64_t period_ms, uint32_t burst)
{
    struct limit_table *t;
    OK(limit_open(entries, rate, period_ms, burst, &t));
    return t;
}

static void test_burst_then_rate(void **state)
{
    struct limit_table *t = table(10, 3, 1000, 5);
    uint64_t retry;
    for (int i = 0; i < 5; i++)
        assert_true(limit_take(t, STR("k"), 1, 100, &retry));
    assert_int_equal(retry, 0);
    assert_false(limit_take(t, STR("k"), 1, 100, &retry));
    assert_int_equal(retry, 334); /* a third of a second, rounded up */
    assert_false(limit_take(t, STR("k"), 1, 433, &retry));
    assert_int_equal(retry, 1);
    assert_true(limit_take(t, STR("k"), 1, 434, NULL));
    /* Nothing was rounded away: 434 ms gave 1.002 tokens, the third token is there at 1100 sharp.
     */
    assert_true(limit_take(t, STR("k"), 1, 767, NULL));
    assert_false(limit_take(t, STR("k"), 1, 1099, NULL));
    assert_true(limit_take(t, STR("k"), 1, 1100, NULL));
    limit_close(t);
}

static void test_cost_and_would_take(void **state)
{
    struct limit_table *t = table(10, 1, 1000, 10);
    uint64_t retry;
    assert_true(limit_would_take(t, STR("k"), 10, 0));
    assert_false(limit_take(t, STR("k"), 11, 0, &retry));
    assert_true(retry == UINT64_MAX);
    assert_true(limit_take(t, STR("k"), 7, 0, NULL));
    assert_false(limit_take(t, STR("k"), 4, 0, &retry));
    assert_int_equal(retry, 1000);
    assert_true(limit_would_take(t, STR("k"), 3, 0));
    assert_true(limit_take(t, STR("k"), 3, 0, NULL)); /* nothing was taken by the attempts */
    assert_false(limit_would_take(t, STR("k"), 1, 999));
    assert_true(limit_would_take(t, STR("k"), 1, 1000));
    assert_true(limit_would_take(t, STR("k"), 10, UINT64_MAX));
    assert_false(limit_take(t, STR("k"), 1, 0, NULL)); /* time that goes back gives nothing */
    limit_close(t);
}

/* Each key has its own bucket; the least recently used one is forgotten. */
static void test_bounded(void **state)
{
    struct limit_table *t = table(2, 1, 1000, 1);
    assert_true(limit_take(t, STR("a"), 1, 0, NULL));
    assert_true(limit_take(t, STR("b"), 1, 0, NULL));
    assert_false(limit_take(t, STR("a"), 1, 0, NULL)); /* and is now the most recently used */
    assert_true(limit_take(t, STR("c"), 1, 0, NULL));  /* evicts b */
    assert_false(limit_take(t, STR("a"), 1, 0, NULL));
    assert_true(limit_take(t, STR("b"), 1, 0, NULL));
    limit_close(t);
}

static void test_in_use(void **state)
{
    struct limit_table *t = table(2, 1, 1000, 1);
    assert_true(limit_enter(t, STR("a"), 2));
    assert_true(limit_enter(t, STR("a"), 2));
    assert_false(limit_enter(t, STR("a"), 2));
    assert_true(limit_enter(t, STR("b"), 1));
    assert_false(limit_enter(t, STR("c"), 1)); /* no entry may be evicted */
    assert_false(limit_take(t, STR("c"), 1, 0, NULL));
    limit_leave(t, STR("a"));
    assert_true(limit_enter(t, STR("a"), 2));
    limit_leave(t, STR("a"));
    limit_leave(t, STR("a"));
    assert_true(limit_enter(t, STR("c"), 1));
    limit_leave(t, STR("c"));
    limit_leave(t, STR("b"));
    assert_false(limit_enter(t, STR("d"), 0));
    limit_close(t);
}

static void test_address_key(void **state)
{
    struct address a, b;
    struct limit_key ka, kb;
    assert_true(address_parse(STR("192.0.2.1"), &a) && address_parse(STR("192.0.2.2"), &b));
    assert_false(str_eq(limit_address_key(&a, &ka), limit_address_key(&b, &kb)));
    assert_true(address_parse(STR("2001:db8:1:2::1"), &a));
    assert_true(address_parse(STR("2001:db8:1:2:ffff::9"), &b));
    assert_true(str_eq(limit_address_key(&a, &ka), limit_address_key(&b, &kb)));
    assert_true(address_parse(STR("2001:db8:1:3::1"), &b));
    assert_false(str_eq(limit_address_key(&a, &ka), limit_address_key(&b, &kb)));
}

static void test_refuses_nonsense(void **state)
{
    struct limit_table *t;
    assert_int_equal(limit_open(0, 1, 1, 1, &t), ERR_INVALID);
    assert_int_equal(limit_open(1, 0, 1, 1, &t), ERR_INVALID);
    assert_int_equal(limit_open(1, 1, UINT64_MAX, 2, &t), ERR_INVALID);
    assert_null(t);
    limit_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_burst_then_rate), cmocka_unit_test(test_cost_and_would_take),
        cmocka_unit_test(test_bounded),         cmocka_unit_test(test_in_use),
        cmocka_unit_test(test_address_key),     cmocka_unit_test(test_refuses_nonsense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
