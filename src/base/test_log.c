/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static char last[LOG_LINE_MAX + 1];
static size_t lines;
static uint64_t now_ms;

static void keep(enum log_level level, str line)
{
    assert_true(line.len <= LOG_LINE_MAX);
    memcpy(last, line.data, line.len);
    last[line.len] = 0;
    lines++;
}

static uint64_t wall(void) { return now_ms; }

static int setup(void **state)
{
    log_set_sink(keep);
    log_set_level(LOG_LEVEL_INFO);
    log_set_role("gate");
    log_set_clock(wall);
    lines = 0;
    now_ms = 0;
    return 0;
}

static void lines_look_like_this(void **state)
{
    LOG_INFO("smtp", "accepted id=%d", 7);
    assert_string_equal(last, "1970-01-01T00:00:00.000Z info gate smtp: accepted id=7");
    log_set_clock(NULL);
    LOG_ERROR("smtp", "x");
    assert_string_equal(last, "error gate smtp: x");
}

/* rule: wire-8 */
static void dates_far_away(void **state)
{
    static const struct {
        uint64_t ms;
        const char *text;
    } dates[] = {
        {951782399999, "2000-02-28T23:59:59.999Z"},  {951782400000, "2000-02-29T00:00:00.000Z"},
        {1709164800000, "2024-02-29T00:00:00.000Z"}, {2147483648000, "2038-01-19T03:14:08.000Z"},
        {4107542400000, "2100-03-01T00:00:00.000Z"}, {4294967296000, "2106-02-07T06:28:16.000Z"},
        {1704067199999, "2023-12-31T23:59:59.999Z"},
    };
    for (size_t i = 0; i < sizeof dates / sizeof *dates; i++) {
        now_ms = dates[i].ms;
        LOG_INFO("m", "x");
        assert_memory_equal(last, dates[i].text, 24);
    }
    now_ms = UINT64_MAX;
    LOG_INFO("m", "x");
}

static void levels(void **state)
{
    LOG_DEBUG("m", "hidden");
    assert_int_equal(lines, 0);
    log_set_level(LOG_LEVEL_DEBUG);
    LOG_DEBUG("m", "shown");
    assert_int_equal(lines, 1);
    log_set_level(LOG_LEVEL_ERROR);
    LOG_WARN("m", "hidden");
    assert_int_equal(lines, 1);
}

static void a_stranger_cannot_forge_a_line(void **state)
{
    log_set_clock(NULL);
    LOG_INFO("smtp", "helo=%s", "a\r\nerror \\ \x1b[2J\xff\x7f\t");
    assert_string_equal(last, "info gate smtp: helo=a\\r\\nerror \\\\ \\x1b[2J\\xff\\x7f\\t");
}

static void long_lines_are_cut_and_marked(void **state)
{
    char text[LOG_LINE_MAX * 2];
    for (size_t n = LOG_LINE_MAX - 200; n < sizeof text; n += n < LOG_LINE_MAX + 9 ? 1 : 999)
        for (int bad = 0; bad < 2; bad++) {
            memset(text, bad ? 0x01 : 'a', n);
            text[n] = 0;
            LOG_INFO("m", "%s", text);
            size_t len = strlen(last);
            bool cut = strcmp(last + len - 6, " [cut]") == 0;
            assert_int_equal(cut, bad || n + 38 > LOG_LINE_MAX - 6);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(lines_look_like_this, setup),
        cmocka_unit_test_setup(dates_far_away, setup),
        cmocka_unit_test_setup(levels, setup),
        cmocka_unit_test_setup(a_stranger_cannot_forge_a_line, setup),
        cmocka_unit_test_setup(long_lines_are_cut_and_marked, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
