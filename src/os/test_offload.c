/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>

#include "os/fiber.h"
#include "os/loop.h"
#include "os/offload.h"

static struct loop *loop;
static struct fiber_group group;
static pthread_t loop_thread;
static atomic_int ran, busy;
static int returned;
static pthread_barrier_t gate;

static void job(void *arg)
{
    *(int *)arg = 7;
    if (!pthread_equal(pthread_self(), loop_thread))
        ran++;
}

static void asker(void *arg)
{
    int answer = 0;
    assert_int_equal(offload_run(job, &answer), ERR_OK);
    assert_int_equal(answer, 7);
    returned++;
}

static void open_all(unsigned threads)
{
    loop_thread = pthread_self();
    ran = busy = returned = 0;
    fiber_group_init(&group);
    assert_int_equal(loop_open(&loop, NULL), ERR_OK);
    assert_int_equal(offload_start(threads), ERR_OK);
}

static void close_all(void)
{
    offload_stop();
    loop_close(loop);
}

static void jobs_run_on_other_threads(void **state)
{
    open_all(4);
    for (int i = 0; i < 500; i++)
        assert_int_equal(fiber_start(&group, "asker", asker, NULL), ERR_OK);
    fiber_group_join(&group);
    assert_int_equal(ran, 500);
    assert_int_equal(returned, 500);
    asker(NULL); /* off a fiber: here and now */
    assert_int_equal(ran, 500);
    close_all();
}

static void cancelled_asker_still_gets_its_answer(void **state)
{
    open_all(1);
    assert_int_equal(fiber_start(&group, "asker", asker, NULL), ERR_OK);
    fiber_group_cancel(&group);
    fiber_group_join(&group);
    assert_int_equal(returned, 1);
    close_all();
}

static void blocking_job(void *arg) { pthread_barrier_wait(&gate); }

static void impatient_asker(void *arg)
{
    enum err e = offload_run(blocking_job, NULL);
    if (e == ERR_BUSY) {
        busy++;
    } else {
        assert_int_equal(e, ERR_OK);
        returned++;
    }
}

static void opener(void *arg)
{
    for (int i = busy; i < OFFLOAD_QUEUE_MAX + 10; i++)
        pthread_barrier_wait(&gate);
}

/* rule: wire-4 (a limit on everything) */
static void full_queue_is_busy(void **state)
{
    open_all(1);
    pthread_barrier_init(&gate, NULL, 2);
    for (int i = 0; i < OFFLOAD_QUEUE_MAX + 10; i++)
        assert_int_equal(fiber_start(&group, "asker", impatient_asker, NULL), ERR_OK);
    assert_int_equal(fiber_start(&group, "opener", opener, NULL), ERR_OK);
    fiber_group_join(&group);
    assert_int_equal(returned + busy, OFFLOAD_QUEUE_MAX + 10);
    assert_true(busy == 9 || busy == 10); /* whether or not the worker had taken one */
    close_all();
    pthread_barrier_destroy(&gate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs_run_on_other_threads),
        cmocka_unit_test(cancelled_asker_still_gets_its_answer),
        cmocka_unit_test(full_queue_is_busy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
