/* SPDX-License-Identifier: Apache-2.0 */
#include "format/test_cmocka.h"

#include "base/num.h"
#include "format/dnsbl_syntax.h"

static bool matches(const struct dnsbl_site *s, uint8_t b, uint8_t c, uint8_t d)
{
    return dnsbl_site_matches(s, (const uint8_t[4]){127, b, c, d});
}

static void test_without_filter(void **state)
{
    struct dnsbl_site s;
    assert_true(dnsbl_site_parse(STR("list.example"), &s));
    assert_true(str_eq(s.zone, STR("list.example")));
    assert_int_equal(s.weight, 1);
    assert_true(matches(&s, 0, 0, 2) && matches(&s, 0, 1, 255));
    assert_false(matches(&s, 255, 255, 254));
    assert_false(dnsbl_site_matches(&s, (const uint8_t[4]){192, 0, 2, 1}));
}

static void test_filters_and_weights(void **state)
{
    struct dnsbl_site s;
    assert_true(dnsbl_site_parse(STR("l.example=127.0.[0..1].[2..4;14]*7"), &s));
    assert_true(str_eq(s.zone, STR("l.example")));
    assert_int_equal(s.weight, 7);
    assert_true(matches(&s, 0, 0, 2) && matches(&s, 0, 1, 4) && matches(&s, 0, 1, 14));
    assert_false(matches(&s, 0, 0, 5) || matches(&s, 0, 2, 2) || matches(&s, 0, 0, 1));
    assert_true(dnsbl_site_parse(STR("l.example=127.0.0.&6"), &s));
    assert_true(matches(&s, 0, 0, 2) && matches(&s, 0, 0, 5) && matches(&s, 0, 0, 255));
    assert_false(matches(&s, 0, 0, 1) || matches(&s, 0, 0, 9));
    assert_true(dnsbl_site_parse(STR("l.example=127.[0..255].[0..255].2"), &s));
    assert_false(matches(&s, 255, 255, 2)); /* it does not answer us, whatever one writes */
}

static void test_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "=127.0.0.2",
                                      "l=",
                                      "l=127.0.0",
                                      "l=127.0.0.2.3",
                                      "l=127.0.0.256",
                                      "l=127.0.0.[2",
                                      "l=127.0.0.[2..]",
                                      "l=127.0.0.[4..2]",
                                      "l=127.0.0.[2,3]",
                                      "l=127.0.0.&0",
                                      "l=127.0.0.2 ",
                                      "l*0",
                                      "l*-1",
                                      "l*1001",
                                      "l*"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct dnsbl_site s;
        if (dnsbl_site_parse(str_c(bad[i]), &s))
            fail_msg("taken: %s", bad[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_filter),
        cmocka_unit_test(test_filters_and_weights),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
