/* SPDX-License-Identifier: Apache-2.0 */
#include <zlib.h>

#include "net/test_net.h"

#define BULK (1u << 20)
static char bulk[BULK];
static struct ends ends;

static void fill_text(void)
{
    fill_noise(bulk, BULK, 3);
    for (size_t i = 0; i < BULK; i++)
        bulk[i] = "abcdefgh ijkl\r\n."[bulk[i] & 15];
}

static void both_deflate(void)
{
    OK(stream_start_deflate(ends.a));
    OK(stream_start_deflate(ends.b));
}

static void test_small_both_ways(void **state)
{
    str line;
    ends_open(&ends);
    both_deflate();
    for (int i = 0; i < 50; i++) {
        stream_writef(ends.a, "a%d NOOP\r\n", i);
        OK(stream_flush(ends.a));
        OK(stream_flush(ends.a)); /* nothing new: nothing is sent */
        OK(stream_line(ends.b, 100, &line, NULL));
        assert_true(stream_is_idle(ends.b));
        stream_writef(ends.b, "%.*s OK\r\n", STR_ARG(line));
        OK(stream_flush(ends.b));
        OK(stream_line(ends.a, 100, &line, NULL));
        char want[40];
        snprintf(want, sizeof want, "a%d NOOP OK", i);
        assert_str(line, want);
    }
    ends_close(&ends);
}

/* What a client pipelines behind COMPRESS is compressed already. */
static void test_bytes_read_early(void **state)
{
    str line;
    char packed[100];
    z_stream z = {0};
    ends_open(&ends);
    stream_write(ends.a, STR("1 COMPRESS DEFLATE\r\n"));
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, -15, 9, 0), Z_OK);
    z.next_in = (Bytef *)(uintptr_t) "2 NOOP\r\n";
    z.avail_in = 8;
    z.next_out = (Bytef *)packed;
    z.avail_out = sizeof packed;
    assert_int_equal(deflate(&z, Z_SYNC_FLUSH), Z_OK);
    stream_write(ends.a, str_of(packed, sizeof packed - z.avail_out));
    deflateEnd(&z);
    OK(stream_flush(ends.a));
    OK(stream_line(ends.b, 100, &line, NULL));
    OK(stream_start_deflate(ends.b));
    assert_false(stream_is_idle(ends.b));
    OK(stream_line(ends.b, 100, &line, NULL));
    assert_str(line, "2 NOOP");
    assert_true(stream_is_idle(ends.b));
    ends_close(&ends);
}

static void test_garbage(void **state)
{
    ends_open(&ends);
    stream_write(ends.a, STR("\xff\xff\xff\xff this is not deflate"));
    OK(stream_flush(ends.a));
    OK(stream_start_deflate(ends.b));
    assert_int_equal(stream_fill(ends.b, 0), ERR_SYNTAX);
    assert_int_equal(stream_error(ends.b), ERR_SYNTAX);
    ends_close(&ends);
}

static void write_bulk(void *arg)
{
    struct stream *s = arg;
    for (size_t at = 0; at < BULK; at += BULK / 8) {
        stream_write(s, str_of(bulk + at, BULK / 8));
        if (at % (BULK / 4) == 0)
            OK(stream_flush(s));
    }
    OK(stream_flush(s));
}

static void read_bulk(void *arg)
{
    struct stream *s = arg;
    for (size_t at = 0; at < BULK;) {
        OK(stream_fill(s, 0));
        str got = stream_buffered(s);
        assert_true(got.len <= STREAM_IN_MAX); /* however well it was packed */
        assert_memory_equal(got.data, bulk + at, got.len);
        at += got.len;
        stream_skip(s, got.len);
    }
}

static void bulk_main(void *arg)
{
    struct fiber_group g;
    fiber_group_init(&g);
    ends_open(&ends);
    both_deflate();
    OK(fiber_start(&g, "wa", write_bulk, ends.a));
    OK(fiber_start(&g, "wb", write_bulk, ends.b));
    OK(fiber_start(&g, "ra", read_bulk, ends.a));
    OK(fiber_start(&g, "rb", read_bulk, ends.b));
    fiber_group_join(&g);
    ends_close(&ends);
}

static void test_bulk_both_ways(void **state)
{
    fill_text();
    run_fibers(bulk_main, NULL, NULL);
    memset(bulk, 'x', sizeof bulk); /* a thousand to one */
    run_fibers(bulk_main, NULL, NULL);
    fill_noise(bulk, BULK, 9);
    run_fibers(bulk_main, NULL, NULL);
}

/* Parked, the compressor is gone and inflate is only its window; both go on where they were, with
 * a peer that keeps its whole state. */
static struct park park;
static struct fiber_group group;
static unsigned turns;

static void echo(void *arg)
{
    str line;
    do {
        OK(stream_line(ends.b, 1000, &line, NULL));
        stream_writef(ends.b, "%.*s\r\n", STR_ARG(line));
    } while (stream_has_input(ends.b));
    OK(stream_flush(ends.b));
    assert_true(stream_is_idle(ends.b));
    if (++turns < 20)
        OK(stream_park(ends.b, &park, NULL, DEADLINE_NEVER, &group, "echo", echo, NULL));
}

static void rest_main(void *arg)
{
    str line;
    fiber_group_init(&group);
    ends_open(&ends);
    both_deflate();
    OK(stream_park(ends.b, &park, NULL, DEADLINE_NEVER, &group, "echo", echo, NULL));
    for (int i = 0; i < 20; i++) {
        /* 300 letters that only the window knows how to unpack */
        stream_writef(ends.a, "%d %.300s\r\n", i % 3, bulk);
        OK(stream_flush(ends.a));
        OK(stream_line(ends.a, 1000, &line, NULL));
        assert_int_equal(line.len, 302);
        assert_memory_equal(line.data + 2, bulk, 300);
    }
    fiber_group_join(&group);
    assert_int_equal(turns, 20);
    ends_close(&ends);
}

static void test_rest(void **state)
{
    fill_text();
    for (size_t i = 0; i < 400; i++)
        bulk[i] = (char)('a' + i * 7 % 26);
    run_fibers(rest_main, NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_both_ways),
        cmocka_unit_test(test_bytes_read_early),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_bulk_both_ways),
        cmocka_unit_test(test_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
