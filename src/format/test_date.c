/* SPDX-License-Identifier: Apache-2.0 */
#include "format/test_cmocka.h"

#include <string.h>

#include "base/num.h"
#include "format/date.h"

static void assert_date(const char *text, int64_t seconds, int zone, bool known)
{
    struct date d;
    if (!date_parse(str_c(text), &d))
        fail_msg("refused: %s", text);
    if (d.seconds != seconds || d.zone_minutes != zone || d.zone_known != known)
        fail_msg("%s: got %lld %d %d", text, (long long)d.seconds, d.zone_minutes, d.zone_known);
}

static void test_rfc5322(void **state)
{
    assert_date("Fri, 21 Nov 1997 09:55:06 -0600", 880127706, -360, true);
    assert_date("Thu,\r\n      13\r\n        Feb\r\n          1969\r\n      23:32\r\n"
                "               -0330 (Newfoundland Time)",
                -27723480, -210, true);
    assert_date("21 Nov 97 09:55:06 GMT", 880106106, 0, true);
    assert_date("21 Nov 49 00:00:00 GMT", 2521065600, 0, true);
    assert_date("21 Nov 50 00:00:00 GMT", -603158400, 0, true);
    assert_date("21 Nov 097 09:55:06 EST", 880124106, -300, true);
    assert_date("Fri, 21 Nov 1997 09(comment):   55  :  06 -0600", 880127706, -360, true);
    assert_date("Fri, 21 Nov 1997 09:55:06 -0000", 880106106, 0, false);
    assert_date("Fri, 21 Nov 1997 09:55:06 A", 880106106, 0, false);
    assert_date("Fri, 21 Nov 1997 09:55:06 PDT", 880131306, -420, true);
    assert_date("Fri Nov 21 09:55:06 1997", 880106106, 0, false);
    assert_date("Fri Nov 21 09:55:06 PST 1997", 880134906, -480, true);
    assert_date("21-Nov-1997 09:55:06 +01:00", 880102506, 60, true);
    assert_date("Fri, 21 Nov 1997 9:55 PM +0000", 880149300, 0, true);
    assert_date("31 Dec 1998 23:59:60 GMT", 915148799, 0, true);
    assert_date("29 Feb 2000 00:00 GMT", 951782400, 0, true);
}

/* rule: wire-8: nothing ends in 2038 or 2106. */
static void test_wire_8_years(void **state)
{
    assert_date("Tue, 19 Jan 2038 03:14:08 +0000", 2147483648, 0, true);
    assert_date("Sun, 7 Feb 2106 06:28:16 +0000", 4294967296, 0, true);
    assert_date("31 Dec 9999 23:59:59 +0000", 253402300799, 0, true);
    assert_date("1 Jan 1900 00:00:00 +0000", -2208988800, 0, true);
    BUF_AUTO struct buf out = BUF_INIT(1000);
    date_render(&out, 2147483648, 0);
    buf_add_char(&out, '\n');
    date_render_imap(&out, 4294967296, 330);
    buf_add_char(&out, '\n');
    date_render_rfc3339(&out, 4294967296);
    assert_str(buf_str(&out), "Tue, 19 Jan 2038 03:14:08 +0000\n 7-Feb-2106 11:58:16 +0530\n"
                              "2106-02-07T06:28:16Z");
}

static void test_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "yesterday",
                                      "32 Jan 2000 00:00 GMT",
                                      "30 Feb 2000 00:00 GMT",
                                      "29 Feb 2001 00:00 GMT",
                                      "1 Foo 2000 00:00 GMT",
                                      "1 Jan 2000 24:00 GMT",
                                      "1 Jan 2000 00:60 GMT",
                                      "1 Jan 10000 00:00 GMT",
                                      "Jan 2000",
                                      "((((",
                                      "99999999999999999999 Jan 2000"};
    struct date d;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (date_parse(str_c(bad[i]), &d))
            fail_msg("taken: %s", bad[i]);
}

static void test_imap(void **state)
{
    struct date d;
    int64_t day;
    assert_true(date_parse_imap(STR("17-Jul-1996 02:44:25 -0700"), &d));
    assert_int_equal(d.seconds, 837596665);
    assert_int_equal(d.zone_minutes, -420);
    assert_true(date_parse_imap(STR(" 7-Jul-1996 02:44:25 +0000"), &d));
    static const char *const bad[] = {"17-Jul-1996 02:44:25",        "17-Jul-96 02:44:25 +0000",
                                      "17-July-1996 02:44:25 +0000", "17-Jul-1996 2:44:25 +0000",
                                      "17-Jul-1996 02:44:25 +00000", "17-Jul-1996 02:44:25 0000",
                                      "31-Jun-1996 02:44:25 +0000",  " 17-Jul-1996 02:44:25 +0000"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(date_parse_imap(str_c(bad[i]), &d));
    assert_true(date_parse_imap_day(STR("1-Feb-1994"), &day));
    assert_int_equal(day, date_days(1994, 2, 1));
    assert_false(date_parse_imap_day(STR("1-Feb-1994 "), &day));
    assert_false(date_parse_imap_day(STR("0-Feb-1994"), &day));
}

static void test_round_trip(void **state)
{
    BUF_AUTO struct buf out = BUF_INIT(1000);
    for (int64_t t = -2208988800; t < 253402300800 - 86400; t += 7654321987 / 17) {
        struct date d;
        int zone = (int)(t % 1440) / 2;
        buf_reset(&out);
        date_render(&out, t, zone);
        assert_true(date_parse(buf_str(&out), &d));
        assert_int_equal(d.seconds, t);
        assert_int_equal(d.zone_minutes, zone);
        buf_reset(&out);
        date_render_imap(&out, t, zone);
        assert_true(date_parse_imap(buf_str(&out), &d));
        assert_int_equal(d.seconds, t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rfc5322),    cmocka_unit_test(test_wire_8_years),
        cmocka_unit_test(test_refused),    cmocka_unit_test(test_imap),
        cmocka_unit_test(test_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
