/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define assert_buf(b, want) assert_true(str_eq(buf_str(b), STR(want)))

static void adds(void **state)
{
    BUF_AUTO struct buf b = BUF_INIT(4096);
    buf_add(&b, STR_NONE);
    assert_null(b.data);
    buf_add(&b, STR("* "));
    buf_add_u64(&b, 0);
    buf_add_char(&b, ' ');
    buf_add_u64(&b, UINT64_MAX);
    buf_addf(&b, " %s %d", "x", -1);
    buf_add_c(&b, "!");
    assert_buf(&b, "* 0 18446744073709551615 x -1!");
    buf_reset(&b);
    buf_addf(&b, "%01000d", 7);
    assert_int_equal(b.len, 1000);
    assert_true(buf_ok(&b));
}

static void limit_is_exact_and_sticky(void **state)
{
    BUF_AUTO struct buf b = BUF_INIT(5);
    buf_add(&b, STR("12345"));
    assert_true(buf_ok(&b));
    buf_add_char(&b, '6');
    assert_false(buf_ok(&b));
    assert_buf(&b, "12345");
    buf_consume(&b, 5);
    buf_add_char(&b, '7'); /* vanishes although there is room now */
    assert_buf(&b, "");
    buf_reset(&b);
    assert_true(buf_ok(&b));
    buf_add(&b, STR("123456"));
    assert_buf(&b, "");
    assert_true(b.cap <= 5);
    BUF_AUTO struct buf none = BUF_INIT(0);
    buf_add_char(&none, 'x');
    assert_false(buf_ok(&none));
    BUF_AUTO struct buf huge = BUF_INIT(SIZE_MAX);
    buf_add_char(&huge, 'x');
    assert_null(buf_reserve(&huge, SIZE_MAX));
    assert_false(buf_ok(&huge));
}

static void formatted_text_at_the_limit(void **state)
{
    BUF_AUTO struct buf b = BUF_INIT(300);
    buf_addf(&b, "%0300d", 1); /* longer than the stack copy, and exactly max */
    assert_true(buf_ok(&b));
    assert_int_equal(b.len, 300);
    buf_reset(&b);
    buf_addf(&b, "%0301d", 1);
    assert_false(buf_ok(&b));
    assert_int_equal(b.len, 0);
    buf_addf(&b, "%0400d", 1);
    assert_int_equal(b.len, 0);
}

static void reserve_commit_consume(void **state)
{
    BUF_AUTO struct buf b = BUF_INIT(100);
    char *room = buf_reserve(&b, 10);
    assert_non_null(room);
    memcpy(room, "abcdefghij", 10);
    buf_commit(&b, 6);
    assert_buf(&b, "abcdef");
    buf_consume(&b, 2);
    assert_buf(&b, "cdef");
    buf_truncate(&b, 3);
    buf_truncate(&b, 30);
    assert_buf(&b, "cde");
    buf_consume(&b, 3);
    assert_buf(&b, "");
    assert_null(buf_reserve(&b, 101));
    assert_false(buf_ok(&b));
    buf_free(&b);
    assert_true(buf_ok(&b));
    assert_int_equal(b.max, 100);
}

static void rows_come_back(void **state)
{
    static const uint64_t numbers[] = {
        0, 1, 127, 128, 16383, 16384, UINT32_MAX, UINT64_MAX / 2, UINT64_MAX};
    BUF_AUTO struct buf b = BUF_INIT(4096);
    buf_add_be16(&b, 0x1234);
    buf_add_be32(&b, 0x89abcdef);
    buf_add_be64(&b, 0x0123456789abcdef);
    assert_buf(&b, "\x12\x34\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef");
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        buf_add_varint(&b, numbers[i]);
    buf_add_sized(&b, STR("a\0b"));
    buf_add_sized(&b, STR_NONE);
    buf_add_char(&b, '\xfe');
    struct reader r = reader_of(buf_str(&b));
    assert_int_equal(read_be16(&r), 0x1234);
    assert_int_equal(read_be32(&r), 0x89abcdef);
    assert_true(read_be64(&r) == 0x0123456789abcdef);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        assert_true(read_varint(&r) == numbers[i]);
    assert_true(str_eq(read_sized(&r), STR("a\0b")));
    assert_true(str_empty(read_sized(&r)));
    assert_false(r.failed);
    assert_int_equal(read_u8(&r), 0xfe);
    assert_int_equal(r.rest.len, 0);
    assert_false(r.failed);
    assert_int_equal(read_u8(&r), 0);
    assert_true(r.failed);
}

static void reader_is_sticky(void **state)
{
    struct reader r = reader_of(STR("\x01\x02\x03"));
    assert_int_equal(read_be32(&r), 0);
    assert_true(r.failed);
    assert_int_equal(read_u8(&r), 0); /* although bytes are left */
    assert_true(str_empty(read_bytes(&r, 1)));
    r = reader_of(STR("\x05"
                      "abcd"));
    assert_true(str_empty(read_sized(&r)));
    assert_true(r.failed);
    r = reader_of(STR("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x"));
    assert_true(read_varint(&r) == UINT64_MAX);
    assert_false(r.failed);
    r = reader_of(STR("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"));
    assert_int_equal(read_varint(&r), 0);
    assert_true(r.failed);
    r = reader_of(STR("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"));
    assert_int_equal(read_varint(&r), 0);
    assert_true(r.failed);
    r = reader_of(STR("\x80"));
    assert_int_equal(read_varint(&r), 0);
    assert_true(r.failed);
    /* a length near 2^64 must not wrap */
    r = reader_of(STR("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x"));
    assert_true(str_empty(read_sized(&r)));
    assert_true(r.failed);
}

static void a_sized_row_is_whole_or_absent(void **state)
{
    BUF_AUTO struct buf b = BUF_INIT(4);
    buf_add_sized(&b, STR("abcd"));
    assert_false(buf_ok(&b));
    assert_int_equal(b.len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adds),
        cmocka_unit_test(limit_is_exact_and_sticky),
        cmocka_unit_test(formatted_text_at_the_limit),
        cmocka_unit_test(reserve_commit_consume),
        cmocka_unit_test(rows_come_back),
        cmocka_unit_test(reader_is_sticky),
        cmocka_unit_test(a_sized_row_is_whole_or_absent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
