/* SPDX-License-Identifier: Apache-2.0 */
#include "net/listen.h"

#include <sys/resource.h>
#include <unistd.h>

#include "net/test_net.h"
#include "os/file.h"

static struct listener listener;
static struct fiber_group group;
static struct address at;
static struct park parks[64];
static unsigned served, canceled;

static struct stream *sessions[64];

static void session_end(void *arg)
{
    size_t i = (size_t)(uintptr_t)arg;
    canceled += parks[i].reason == PARK_CANCELED;
    stream_close(sessions[i]);
}

/* Greets and parks: its first fiber ends long before its connection. */
static void serve(void *arg, struct stream *s)
{
    size_t i = served++ % 64;
    assert_ptr_equal(arg, &listener);
    assert_int_equal(stream_peer(s)->family, 4);
    assert_int_equal(stream_local(s)->port, at.port);
    sessions[i] = s;
    stream_write(s, STR("220 hello\r\n"));
    OK(stream_flush(s));
    OK(stream_park(s, &parks[i], NULL, DEADLINE_NEVER, &group, "session", session_end,
                   (void *)(uintptr_t)i));
}

static struct stream *dial(void)
{
    int fd;
    struct stream *s;
    OK(sock_connect(&at, NULL, deadline_in_ms(5000), &fd));
    OK(stream_open(fd, &s));
    stream_set_timeouts(s, 5000, 5000);
    return s;
}

static void expect_greeting(struct stream *s)
{
    str line;
    OK(stream_line(s, 100, &line, NULL));
    assert_str(line, "220 hello");
}

static int listen_open(size_t max)
{
    int fd;
    served = canceled = 0;
    assert_true(address_parse(STR("127.0.0.1"), &at));
    at.port = 0;
    OK(sock_listen(&at, 100, &fd));
    fiber_group_init(&group);
    listener = (struct listener){
        .fd = fd, .name = "test", .connections_max = max, .serve = serve, .arg = &listener};
    OK(listen_start(&listener, &group));
    return fd;
}

static void max_main(void *arg)
{
    int fd = listen_open(3);
    struct stream *c[6];
    for (int i = 0; i < 6; i++)
        c[i] = dial(); /* the kernel accepts; we do not yet */
    for (int i = 0; i < 3; i++)
        expect_greeting(c[i]);
    stream_set_timeouts(c[3], 20, 20);
    assert_int_equal(stream_fill(c[3], 0), ERR_TIMEOUT);
    assert_int_equal(served, 3);
    assert_int_equal(listener.connections, 3);
    stream_close(c[0]);
    stream_close(c[1]);
    expect_greeting(c[4]);
    assert_int_equal(served, 5);
    stream_close(c[2]);
    expect_greeting(c[5]);
    fiber_group_cancel(&group);
    fiber_group_join(&group);
    assert_int_equal(listener.connections, 0);
    assert_int_equal(canceled, 3);
    for (int i = 3; i < 6; i++)
        stream_close(c[i]);
    file_close(&fd);
}

static void test_connections_max(void **state) { run_fibers(max_main, NULL, NULL); }

/* Out of descriptors: the connection waits in the backlog until one is free. */
static void emfile_main(void *arg)
{
    int fd = listen_open(0);
    struct stream *first = dial(), *second, *third;
    struct rlimit kept, low;
    expect_greeting(first);
    int next_fd = dup(fd);
    close(next_fd);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &kept), 0);
    low = kept;
    low.rlim_cur = (rlim_t)next_fd + 1; /* one more: the client's */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    second = dial();
    stream_set_timeouts(second, 20, 20);
    assert_int_equal(stream_fill(second, 0), ERR_TIMEOUT);
    assert_int_equal(served, 1);
    assert_int_equal(listener.connections, 1);
    stream_close(first);
    while (served < 2) /* awaited: the listener looks again when a connection closes */
        fiber_yield();
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &kept), 0);
    third = dial();
    expect_greeting(third);
    fiber_group_cancel(&group);
    fiber_group_join(&group);
    stream_close(second);
    stream_close(third);
    file_close(&fd);
}

static void test_out_of_descriptors(void **state) { run_fibers(emfile_main, NULL, NULL); }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connections_max),
        cmocka_unit_test(test_out_of_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
