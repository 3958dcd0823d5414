/* SPDX-License-Identifier: Apache-2.0 */
#include "net/stream.h"

#include <unistd.h>

#include "net/test_net.h"
#include "os/file.h"

/* --- off a fiber: everything blocks --- */

static void test_lines(void **state)
{
    struct ends p;
    str line;
    bool crlf;
    ends_open(&p);
    stream_write(p.a, STR("EHLO x\r\nbare\n\r\n\nlast\r"));
    stream_writef(p.a, "%s=%d\r\n", "n", 7);
    OK(stream_flush(p.a));
    OK(stream_line(p.b, 100, &line, &crlf));
    assert_str(line, "EHLO x");
    assert_true(crlf);
    assert_true(stream_has_input(p.b));
    OK(stream_line(p.b, 100, &line, &crlf));
    assert_str(line, "bare");
    assert_false(crlf);
    OK(stream_line(p.b, 100, &line, &crlf));
    assert_true(crlf && line.len == 0);
    OK(stream_line(p.b, 100, &line, &crlf));
    assert_true(!crlf && line.len == 0);
    OK(stream_line(p.b, 100, &line, NULL));
    assert_str(line, "last\rn=7");
    assert_false(stream_has_input(p.b));
    assert_true(stream_is_idle(p.b));
    ends_close(&p);
}

/* A line that is too long is refused, and the next one is read. */
static void test_long_line(void **state)
{
    struct ends p;
    str line;
    char long_line[3000];
    memset(long_line, 'x', sizeof long_line);
    ends_open(&p);
    stream_write(p.a, str_of(long_line, sizeof long_line));
    stream_write(p.a, STR("\r\nNOOP\r\n12345\r\n123456\r\n"));
    OK(stream_flush(p.a));
    assert_int_equal(stream_line(p.b, 1000, &line, NULL), ERR_LINE_TOO_LONG);
    assert_int_equal(stream_error(p.b), ERR_OK);
    OK(stream_line(p.b, 1000, &line, NULL));
    assert_str(line, "NOOP");
    OK(stream_line(p.b, 6, &line, NULL)); /* the CR counts */
    assert_str(line, "12345");
    assert_int_equal(stream_line(p.b, 6, &line, NULL), ERR_LINE_TOO_LONG);
    stream_set_in_max(p.b, 600);
    stream_write(p.a, str_of(long_line, sizeof long_line));
    stream_write(p.a, STR("\nok\n"));
    OK(stream_flush(p.a));
    assert_int_equal(stream_line(p.b, 100000, &line, NULL), ERR_LINE_TOO_LONG);
    OK(stream_line(p.b, 1000, &line, NULL));
    assert_str(line, "ok");
    ends_close(&p);
}

static void test_fill_limit(void **state)
{
    struct ends p;
    char much[2000];
    memset(much, 'x', sizeof much);
    ends_open(&p);
    stream_set_in_max(p.b, 1000);
    stream_write(p.a, str_of(much, sizeof much));
    OK(stream_flush(p.a));
    OK(stream_fill(p.b, 999));
    assert_int_equal(stream_fill(p.b, 1000), ERR_LINE_TOO_LONG);
    stream_skip(p.b, 500);
    OK(stream_fill(p.b, 500));
    assert_int_equal(stream_error(p.b), ERR_OK);
    ends_close(&p);
}

/* The end in the middle of a line is an end, not a line; it sticks. */
static void test_eof_mid_line(void **state)
{
    struct ends p;
    str line;
    ends_open(&p);
    stream_write(p.a, STR("whole\r\nhal"));
    OK(stream_flush(p.a));
    stream_close(p.a);
    p.a = NULL;
    OK(stream_line(p.b, 100, &line, NULL));
    assert_str(line, "whole");
    assert_int_equal(stream_line(p.b, 100, &line, NULL), ERR_EOF);
    assert_int_equal(stream_error(p.b), ERR_EOF);
    assert_int_equal(stream_line(p.b, 100, &line, NULL), ERR_EOF);
    assert_int_equal(stream_fill(p.b, 50), ERR_EOF);
    stream_write(p.b, STR("vanishes"));
    assert_int_equal(stream_flush(p.b), ERR_EOF);
    ends_close(&p);
}

static void test_timeout_sticks(void **state)
{
    struct ends p;
    str line;
    ends_open(&p);
    stream_set_timeouts(p.b, 5, 5);
    assert_int_equal(stream_line(p.b, 100, &line, NULL), ERR_TIMEOUT);
    stream_write(p.a, STR("late\r\n"));
    OK(stream_flush(p.a));
    assert_int_equal(stream_line(p.b, 100, &line, NULL), ERR_TIMEOUT);
    /* The scope counts too, and writing times out like reading. */
    DEADLINE_SCOPE(10);
    stream_set_timeouts(p.a, 0, 0);
    char *much = calloc(1, 4 << 20);
    stream_write(p.a, str_of(much, 4 << 20));
    assert_int_equal(stream_error(p.a), ERR_TIMEOUT);
    free(much);
    ends_close(&p);
}

static void test_write_to_the_gone(void **state)
{
    struct ends p;
    ends_open(&p);
    stream_close(p.b);
    p.b = NULL;
    for (int i = 0; i < 3 && stream_error(p.a) == ERR_OK; i++) {
        stream_write(p.a, STR("x"));
        (void)!stream_flush(p.a);
    }
    assert_int_equal(stream_error(p.a), ERR_EOF); /* and no SIGPIPE */
    ends_close(&p);
}

/* Waiting for input sends what was written, so the two ends never wait for each other. */
static void test_waiting_flushes(void **state)
{
    struct ends p;
    str line;
    ends_open(&p);
    stream_set_timeouts(p.a, 1, 1);
    stream_write(p.a, STR("220 hello\r\n"));
    assert_int_equal(stream_fill(p.a, 0), ERR_TIMEOUT);
    OK(stream_line(p.b, 100, &line, NULL));
    assert_str(line, "220 hello");
    ends_close(&p);
}

static void test_detach_carries_unread(void **state)
{
    struct ends p;
    str line;
    BUF_AUTO struct buf unread = BUF_INIT(65536);
    ends_open(&p);
    stream_write(p.a, STR("LOGIN\r\nSELECT\r\nFET"));
    OK(stream_flush(p.a));
    OK(stream_line(p.b, 100, &line, NULL));
    int fd = stream_detach(p.b, &unread);
    assert_true(fd >= 0);
    assert_str(buf_str(&unread), "SELECT\r\nFET");
    OK(stream_open_with(fd, buf_str(&unread), &p.b));
    stream_write(p.a, STR("CH\r\n"));
    OK(stream_flush(p.a));
    OK(stream_line(p.b, 100, &line, NULL));
    assert_str(line, "SELECT");
    OK(stream_line(p.b, 100, &line, NULL));
    assert_str(line, "FETCH");
    ends_close(&p);
}

static void count_up(void *arg) { ++*(int *)arg; }

static void test_on_close(void **state)
{
    struct ends p;
    int closed = 0;
    ends_open(&p);
    stream_on_close(p.a, count_up, &closed);
    ends_close(&p);
    assert_int_equal(closed, 1);
}

static void test_out_limit(void **state)
{
    struct ends p;
    ends_open(&p);
    (void)buf_reserve(stream_out(p.a), STREAM_OUT_MAX + 1);
    stream_out_check(p.a);
    assert_int_equal(stream_error(p.a), ERR_LIMIT);
    ends_close(&p);
}

/* --- on fibers --- */

#define BULK (3u << 20)
static char bulk[BULK];
static struct ends ends;

static void write_bulk(void *arg)
{
    uint64_t seed = 7;
    for (size_t at = 0; at < BULK;) {
        seed = seed * 6364136223846793005u + 1;
        size_t n = MIN(BULK - at, (seed >> 33) % 50000 + 1);
        if (seed >> 63) {
            buf_add(stream_out(ends.a), str_of(bulk + at, n));
            stream_out_check(ends.a);
        } else {
            stream_write(ends.a, str_of(bulk + at, n));
        }
        at += n;
    }
    OK(stream_flush(ends.a));
    stream_close(ends.a);
}

static void read_bulk(void *arg)
{
    size_t at = 0;
    enum err e;
    while ((e = stream_fill(ends.b, 0)) == ERR_OK) {
        str got = stream_buffered(ends.b);
        assert_true(at + got.len <= BULK);
        assert_memory_equal(got.data, bulk + at, got.len);
        at += got.len;
        stream_skip(ends.b, got.len);
    }
    assert_int_equal(e, ERR_EOF);
    assert_int_equal(at, BULK);
    stream_close(ends.b);
}

static void open_on_loop(void *arg)
{
    ends_open(&ends);
    fill_noise(bulk, BULK, 1);
}

static void bulk_main(void *arg)
{
    struct fiber_group g;
    open_on_loop(NULL);
    fiber_group_init(&g);
    OK(fiber_start(&g, "writer", write_bulk, NULL));
    OK(fiber_start(&g, "reader", read_bulk, NULL));
    fiber_group_join(&g);
}

static void test_bulk(void **state) { run_fibers(bulk_main, NULL, NULL); }

static void write_files(void *arg)
{
    int fd = *(int *)arg;
    stream_write(ends.a, str_of(bulk, 10));
    stream_write_file(ends.a, fd, 10, 1000);
    stream_write_file(ends.a, fd, 1010, BULK - 1010);
    OK(stream_flush(ends.a));
    stream_close(ends.a);
}

static void file_main(void *arg)
{
    struct fiber_group g;
    int fd;
    open_on_loop(NULL);
    OK(file_memory("test", &fd));
    OK(file_write_all_at(fd, 0, bulk, BULK));
    fiber_group_init(&g);
    OK(fiber_start(&g, "writer", write_files, &fd));
    OK(fiber_start(&g, "reader", read_bulk, NULL));
    fiber_group_join(&g);
    ends_open(&ends);
    stream_write_file(ends.a, fd, BULK - 5, 100);
    assert_int_equal(stream_error(ends.a), ERR_IO);
    ends_close(&ends);
    file_close(&fd);
}

static void test_write_file(void **state) { run_fibers(file_main, NULL, NULL); }

/* Parking: the session's function returns, and is called again when there is something to say. */
static struct {
    struct park park;
    struct event event;
    struct fiber_group group;
    unsigned lines, events, deadlines, cancels;
    bool over;
} idle;

static void session(void *arg)
{
    str line;
    switch (idle.park.reason) {
    case PARK_EVENT:
        idle.events++;
        break;
    case PARK_DEADLINE:
        idle.deadlines++;
        break;
    case PARK_CANCELED:
        idle.cancels++;
        stream_close(ends.b);
        idle.over = true;
        return;
    default:
        OK(stream_line(ends.b, 100, &line, NULL));
        idle.lines++;
    }
    while (stream_has_input(ends.b)) {
        OK(stream_line(ends.b, 100, &line, NULL));
        idle.lines++;
    }
    stream_write(ends.b, STR("ok\r\n"));
    OK(stream_flush(ends.b));
    assert_true(stream_is_idle(ends.b));
    uint64_t deadline = idle.events == 1 && !idle.deadlines ? deadline_in_ms(1) : DEADLINE_NEVER;
    OK(stream_park(ends.b, &idle.park, &idle.event, deadline, &idle.group, "session", session,
                   NULL));
}

static void park_main(void *arg)
{
    str line;
    ends_open(&ends);
    event_init(&idle.event);
    fiber_group_init(&idle.group);
    stream_write(ends.a, STR("one\r\n"));
    OK(stream_flush(ends.a));
    idle.park.reason = PARK_READABLE;
    OK(fiber_start(&idle.group, "session", session, NULL));
    OK(stream_line(ends.a, 100, &line, NULL));
    stream_write(ends.a, STR("two\r\nthree\r\n"));
    OK(stream_flush(ends.a));
    OK(stream_line(ends.a, 100, &line, NULL));
    assert_int_equal(idle.lines, 3);
    assert_int_equal(idle.group.count, 0);
    assert_false(list_empty(&idle.group.parked));
    event_signal(&idle.event);
    OK(stream_line(ends.a, 100, &line, NULL));
    assert_int_equal(idle.events, 1);
    OK(stream_line(ends.a, 100, &line, NULL));
    assert_int_equal(idle.deadlines, 1);
    fiber_group_cancel(&idle.group);
    fiber_group_join(&idle.group);
    assert_true(idle.over);
    assert_int_equal(stream_fill(ends.a, 0), ERR_EOF);
    stream_close(ends.a);
}

static void test_park(void **state) { run_fibers(park_main, NULL, NULL); }

static void waiter(void *arg)
{
    enum wait_any_result *r = arg;
    r[0] = stream_wait(ends.b, &idle.event, DEADLINE_NEVER);
    r[1] = stream_wait(ends.b, &idle.event, DEADLINE_NEVER);
    r[2] = stream_wait(ends.b, &idle.event, DEADLINE_NEVER);
    stream_skip(ends.b, stream_buffered(ends.b).len);
    r[3] = stream_wait(ends.b, &idle.event, deadline_in_ms(1));
    stream_close(ends.a);
    r[4] = stream_wait(ends.b, &idle.event, DEADLINE_NEVER);
    assert_int_equal(stream_fill(ends.b, 0), ERR_EOF);
    stream_close(ends.b);
}

static void wait_main(void *arg)
{
    struct fiber_group g;
    fiber_group_init(&g);
    ends_open(&ends);
    event_init(&idle.event);
    OK(fiber_start(&g, "waiter", waiter, arg));
    fiber_yield();
    event_signal(&idle.event);
    fiber_yield();
    stream_write(ends.a, STR("x"));
    OK(stream_flush(ends.a));
    fiber_group_join(&g);
}

static void test_wait(void **state)
{
    enum wait_any_result r[5];
    run_fibers(wait_main, NULL, r);
    assert_int_equal(r[0], WAIT_ANY_EVENT);
    assert_int_equal(r[1], WAIT_ANY_READABLE);
    assert_int_equal(r[2], WAIT_ANY_READABLE);
    assert_int_equal(r[3], WAIT_ANY_TIMEOUT);
    assert_int_equal(r[4], WAIT_ANY_READABLE);
}

static void canceled_reader(void *arg)
{
    assert_int_equal(stream_fill(ends.b, 0), ERR_CANCELED);
    assert_int_equal(stream_error(ends.b), ERR_CANCELED);
}

static void cancel_main(void *arg)
{
    struct fiber_group g;
    fiber_group_init(&g);
    ends_open(&ends);
    OK(fiber_start(&g, "reader", canceled_reader, arg));
    fiber_yield();
    fiber_group_cancel(&g);
    fiber_group_join(&g);
    ends_close(&ends);
}

static void test_cancel(void **state) { run_fibers(cancel_main, NULL, NULL); }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_long_line),
        cmocka_unit_test(test_fill_limit),
        cmocka_unit_test(test_eof_mid_line),
        cmocka_unit_test(test_timeout_sticks),
        cmocka_unit_test(test_write_to_the_gone),
        cmocka_unit_test(test_waiting_flushes),
        cmocka_unit_test(test_detach_carries_unread),
        cmocka_unit_test(test_on_close),
        cmocka_unit_test(test_out_limit),
        cmocka_unit_test(test_bulk),
        cmocka_unit_test(test_write_file),
        cmocka_unit_test(test_park),
        cmocka_unit_test(test_wait),
        cmocka_unit_test(test_cancel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
