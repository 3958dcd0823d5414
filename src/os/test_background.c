/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <sys/resource.h>

#include "os/background.h"
#include "os/chan.h"
#include "os/offload.h"

struct seen {
    int nice, worker_nice;
    bool background, worker_background, ended;
    pthread_t thread;
    struct completion done;
};

static void look(void *arg)
{
    struct seen *s = arg;
    s->worker_nice = getpriority(PRIO_PROCESS, 0);
    s->worker_background = background_thread();
}

static void work(void *arg)
{
    struct seen *s = arg;
    s->nice = getpriority(PRIO_PROCESS, 0);
    s->background = background_thread();
    s->thread = pthread_self();
    assert_int_equal(offload_run(look, s), ERR_OK);
    completion_done(&s->done);
    struct event never;
    event_init(&never);
    assert_int_equal(event_wait(&never, DEADLINE_NEVER), ERR_CANCELED);
    s->ended = true;
}

static void gives_way_and_so_do_its_workers(void **state)
{
    struct background *b;
    struct seen s = {0};
    completion_init(&s.done);
    assert_int_equal(offload_start(1), ERR_OK);
    int here = getpriority(PRIO_PROCESS, 0);
    assert_int_equal(background_start("test", work, &s, &b), ERR_OK);
    completion_wait(&s.done);
    assert_true(s.background && s.worker_background && !background_thread());
    assert_true(s.nice >= 10 && s.worker_nice >= 10);
    assert_false(pthread_equal(s.thread, pthread_self()));
    assert_int_equal(getpriority(PRIO_PROCESS, 0), here);
    background_stop(b); /* cancels the fiber and waits for it */
    assert_true(s.ended);
    offload_stop();
    background_stop(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(gives_way_and_so_do_its_workers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
