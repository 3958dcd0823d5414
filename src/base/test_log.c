/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <limits.h>
#include <stdio.h>
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
    assert_string_equal(last, "info gate smtp: helo=\"a\\r\\nerror \\\\ \\x1b[2J\\xff\\x7f\\t\"");
    LOG_INFO("smtp", "%s said", "x\nerror");
    assert_string_equal(last, "info gate smtp: \"x\\nerror\" said");
}

static void values_are_quoted_where_they_would_be_read_as_something_else(void **state)
{
    static const struct {
        const char *value, *shown;
    } rows[] = {
        {"a@example.test", "a@example.test"},
        {"[2001:db8::1]:25,'{}", "[2001:db8::1]:25,'{}"},
        {"", "\"\""},
        {"a b", "\"a b\""},
        {"a=b", "\"a=b\""},
        {"x\" result=ok y=\"", "\"x\\\" result=ok y=\\\"\""},
        {"\\", "\"\\\\\""},
        {"\\\" b=c", "\"\\\\\\\" b=c\""},
        {"caf\xc3\xa9", "\"caf\\xc3\\xa9\""},
        {"%s%n", "%s%n"},
    };
    char want[256];
    log_set_clock(NULL);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        LOG_INFO("m", "done value=%.*s next=%d", (int)strlen(rows[i].value), rows[i].value, 7);
        snprintf(want, sizeof want, "info gate m: done value=%s next=7", rows[i].shown);
        assert_string_equal(last, want);
    }
}

static void words_of_the_text_are_quoted_where_they_could_be_a_pair(void **state)
{
    log_set_clock(NULL);
    LOG_WARN("m", "not taken: %s, %s%s", "one word", "a=b", "");
    assert_string_equal(last, "warn gate m: not taken: one word, \"a=b\"");
    LOG_WARN("m", "\"%s=%s %s\" why=%s", "a", "b=\"", "c d", "e");
    assert_string_equal(last, "warn gate m: \"a=b=\\\" c d\" why=e");
    LOG_WARN("m", "name=%s%s", "a=", "b"); /* what a value ends in is no pair of the program's */
    assert_string_equal(last, "warn gate m: name=\"a=\"b");
}

/* Reads one pair as base/log.h says; the value with its escapes undone. */
static const char *take_pair(const char *at, const char *key, char *out)
{
    assert_memory_equal(at, key, strlen(key));
    at += strlen(key);
    if (*at != '"') {
        for (; *at && *at != ' '; at++)
            *out++ = *at;
    } else {
        for (at++; *at != '"'; at++) {
            assert_true(*at >= ' ' && *at <= '~');
            if (*at != '\\') {
                *out++ = *at;
                continue;
            }
            static const char names[] = "nrt\"\\", bytes[] = "\n\r\t\"\\";
            const char *name = strchr(names, *++at);
            unsigned byte = 0;
            if (!name)
                assert_int_equal(sscanf(at, "x%2x", &byte), 1);
            *out++ = (char)(name ? bytes[name - names] : (int)byte);
            at += name ? 0 : 2;
        }
        at++;
    }
    *out = 0;
    return at;
}

static void what_a_line_says_can_be_read_back(void **state)
{
    static const char bytes[] = "ab==\"\"\\\\  \n\xffx[]n";
    char said[2][9], got[2][64];
    uint32_t seed = 1;
    log_set_clock(NULL);
    for (int run = 0; run < 20000; run++) {
        for (int i = 0; i < 2; i++) {
            size_t n = (seed >> 8) % 8;
            for (size_t k = 0; k < n; k++) {
                seed = seed * 1664525u + 1013904223u;
                said[i][k] = bytes[(seed >> 16) % (sizeof bytes - 1)];
            }
            said[i][n] = 0;
            seed += run;
        }
        LOG_INFO("m", "a=%s b=%s", said[0], said[1]);
        const char *at = take_pair(last + strlen("info gate m: "), "a=", got[0]);
        at = take_pair(at, " b=", got[1]);
        assert_int_equal(*at, 0);
        assert_string_equal(got[0], said[0]);
        assert_string_equal(got[1], said[1]);
    }
}

static void numbers_are_printf_s(void **state)
{
    char want[LOG_LINE_MAX];
    log_set_clock(NULL);
#define SAME(fmt, ...)                                                                             \
    do {                                                                                           \
        LOG_INFO("m", fmt, __VA_ARGS__);                                                           \
        snprintf(want, sizeof want, "info gate m: " fmt, __VA_ARGS__);                             \
        assert_string_equal(last, want);                                                           \
    } while (0)
    SAME("%d %i %ld %lld %zd", -1, INT32_MIN, -2L, LLONG_MIN, (size_t)3);
    SAME("%u %lu %llu %zu %hu %hhu", UINT32_MAX, 2UL, (unsigned long long)UINT64_MAX, SIZE_MAX,
         (unsigned short)65535, (unsigned char)255);
    SAME("%x %08x %016llx %5d %05d %*d", 0xabcu, 0xabcu, 1ULL, 42, -42, 4, 7);
    SAME("%.2f %f %.0f %.3f", 1.005, -0.5, 1e300, 0.0);
    SAME("%s %.3s %.*s %c %%", "text", "longer", 2, "xyz", 'c');
    SAME("%d%%", 50);
    SAME("%s", (char[]){"a b c"});
#undef SAME
}

static void long_lines_are_cut_and_marked(void **state)
{
    char text[LOG_LINE_MAX * 2];
    for (size_t n = LOG_LINE_MAX - 200; n < sizeof text; n += n < LOG_LINE_MAX + 9 ? 1 : 999)
        for (int bad = 0; bad < 2; bad++) {
            memset(text, bad ? 0x01 : 'a', n);
            text[n] = 0;
            log_set_clock(NULL);
            LOG_INFO("m", "%s", text);
            size_t len = strlen(last);
            bool cut = strcmp(last + len - 6, " [cut]") == 0;
            assert_int_equal(cut, bad || n + 13 > LOG_LINE_MAX - 7);
            /* A quote is closed, no escape is cut. */
            str shown = str_of(last + 13, len - 13 - (cut ? 6 : 0));
            assert_int_equal(shown.data[0] == '"', bad);
            assert_true(!bad || (shown.data[shown.len - 1] == '"' && (shown.len - 2) % 4 == 0));
        }
}

static void what_fills_the_line_before_it_ends_is_cut(void **state)
{
    char text[LOG_LINE_MAX];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = 0;
    log_set_clock(NULL);
    LOG_INFO("m", "a=%s b=%d c=%s", text, 1, "never");
    assert_null(strstr(last, "b="));
    assert_non_null(strstr(last, "aaa [cut]"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(lines_look_like_this, setup),
        cmocka_unit_test_setup(dates_far_away, setup),
        cmocka_unit_test_setup(levels, setup),
        cmocka_unit_test_setup(a_stranger_cannot_forge_a_line, setup),
        cmocka_unit_test_setup(values_are_quoted_where_they_would_be_read_as_something_else, setup),
        cmocka_unit_test_setup(words_of_the_text_are_quoted_where_they_could_be_a_pair, setup),
        cmocka_unit_test_setup(what_a_line_says_can_be_read_back, setup),
        cmocka_unit_test_setup(numbers_are_printf_s, setup),
        cmocka_unit_test_setup(what_fills_the_line_before_it_ends_is_cut, setup),
        cmocka_unit_test_setup(long_lines_are_cut_and_marked, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
