/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <unistd.h>

#include "os/loop_impl.h"
#include "os/park.h"
#include "os/sock.h"

/* A session that counts bytes and parks whenever there are none: the shape of IMAP's IDLE. */
struct session {
    struct park park;
    struct watch watch;
    int fds[2];
    struct event event;
    int bytes, resumes;
    enum park_reason last;
    bool again; /* park again after a deadline or an event */
};

static struct fiber_group sessions;

static void session_park(struct session *s, uint64_t deadline_ms);

static void session_resume(void *arg)
{
    struct session *s = arg;
    s->resumes++;
    s->last = s->park.reason;
    assert_non_null(fiber_current());
    char c[16];
    ssize_t n = read(s->fds[0], c, 2); /* leaves a rest in the kernel */
    if (n > 0)
        s->bytes += (int)n;
    if (n != 0 && s->again && s->last != PARK_CANCELED)
        session_park(s, DEADLINE_NEVER);
}

static void session_park(struct session *s, uint64_t deadline_ms)
{
    s->park.watch = &s->watch;
    s->park.event = &s->event;
    s->park.deadline_ms = deadline_ms;
    s->park.group = &sessions;
    s->park.name = "session";
    s->park.resume = session_resume;
    s->park.arg = s;
    assert_int_equal(park_start(&s->park), ERR_OK);
}

static void session_open(struct session *s)
{
    *s = (struct session){0};
    assert_int_equal(sock_pair(s->fds), ERR_OK);
    assert_int_equal(watch_open(&s->watch, s->fds[0]), ERR_OK);
    event_init(&s->event);
}

static void session_close(struct session *s)
{
    watch_close(&s->watch);
    close(s->fds[0]);
    if (s->fds[1] >= 0)
        close(s->fds[1]);
}

static struct loop *loop;

static int setup(void **state)
{
    fiber_group_init(&sessions);
    return loop_open(&loop, NULL) == ERR_OK ? 0 : -1;
}

static int teardown(void **state)
{
    loop_close(loop);
    return 0;
}

static void readable_resumes_until_all_is_read(void **state)
{
    struct session s;
    session_open(&s);
    s.again = true;
    session_park(&s, DEADLINE_NEVER);
    assert_int_equal(write(s.fds[1], "1234567", 7), 7);
    close(s.fds[1]);
    s.fds[1] = -1;
    fiber_group_join(&sessions);
    assert_int_equal(s.bytes, 7);
    assert_int_equal(s.last, PARK_READABLE);
    session_close(&s);
}

static void deadline_and_event_resume(void **state)
{
    struct session s;
    session_open(&s);
    session_park(&s, deadline_in_ms(10));
    fiber_group_join(&sessions);
    assert_int_equal(s.last, PARK_DEADLINE);
    session_park(&s, DEADLINE_NEVER);
    event_signal(&s.event);
    event_signal(&s.event);
    fiber_group_join(&sessions);
    assert_int_equal(s.last, PARK_EVENT);
    assert_int_equal(s.resumes, 2);
    session_park(&s, 0); /* long past */
    fiber_group_join(&sessions);
    assert_int_equal(s.last, PARK_DEADLINE);
    session_close(&s);
}

static void stopped_park_never_resumes(void **state)
{
    struct session s;
    session_open(&s);
    session_park(&s, deadline_in_ms(1));
    park_stop(&s.park);
    park_stop(&s.park);
    session_park(&s, DEADLINE_NEVER);
    event_signal(&s.event); /* woken already, but not yet run */
    park_stop(&s.park);
    fiber_group_join(&sessions);
    assert_int_equal(s.resumes, 0);
    assert_null(s.watch.park);
    session_close(&s);
}

#define CROWD 2000
static void cancelled_crowd_runs_on_one_stack(void **state)
{
    struct session *crowd = calloc(CROWD, sizeof *crowd);
    for (int i = 0; i < CROWD; i++) {
        session_open(&crowd[i]);
        crowd[i].again = true;
        session_park(&crowd[i], DEADLINE_NEVER);
    }
    fiber_group_cancel(&sessions);
    fiber_group_join(&sessions);
    for (int i = 0; i < CROWD; i++) {
        assert_int_equal(crowd[i].resumes, 1);
        assert_int_equal(crowd[i].last, PARK_CANCELED);
        session_close(&crowd[i]);
    }
    assert_int_equal(loop->stacks.count, 1);
    free(crowd);
}

static void stopping_the_loop_resumes_the_parked(void **state)
{
    struct session s;
    session_open(&s);
    s.again = true;
    session_park(&s, DEADLINE_NEVER);
    loop_stop(loop);
    loop_run(loop);
    assert_int_equal(s.last, PARK_CANCELED);
    assert_int_equal(s.resumes, 1);
    session_close(&s);
}

static void parked_in_a_cancelled_group_resumes(void **state)
{
    struct session s;
    session_open(&s);
    fiber_group_cancel(&sessions);
    session_park(&s, DEADLINE_NEVER);
    fiber_group_join(&sessions);
    assert_int_equal(s.last, PARK_CANCELED);
    session_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(readable_resumes_until_all_is_read, setup, teardown),
        cmocka_unit_test_setup_teardown(deadline_and_event_resume, setup, teardown),
        cmocka_unit_test_setup_teardown(stopped_park_never_resumes, setup, teardown),
        cmocka_unit_test_setup_teardown(cancelled_crowd_runs_on_one_stack, setup, teardown),
        cmocka_unit_test_setup_teardown(stopping_the_loop_resumes_the_parked, setup, teardown),
        cmocka_unit_test_setup_teardown(parked_in_a_cancelled_group_resumes, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
