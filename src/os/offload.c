/* SPDX-License-Identifier: Apache-2.0
 *
 * The pool of threads. One queue, first come first served; workers are made when a job comes and
 * none is idle, and end after WORKER_IDLE_S without work, so that an idle process pays for none.
 */
#include "os/offload.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "base/list.h"
#include "base/num.h"
#include "os/chan.h"
#include "os/fiber.h"
#include "os/loop_impl.h"

#define WORKERS_MAX 256
#define WORKER_IDLE_S 5
#define WORKER_STACK_BYTES ((size_t)256 * 1024)

struct job {
    struct list link;
    void (*fn)(void *arg);
    void *arg;
    struct completion done;
};

static struct pool {
    pthread_mutex_t lock;
    pthread_cond_t work, ended;
    bool ready;
    struct list jobs;
    size_t waiting;
    unsigned workers, idle, max;
    bool stopping;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER};

enum err offload_start(unsigned threads)
{
    if (threads == 0 || threads > WORKERS_MAX)
        return ERR_INVALID;
    assert(pool.max == 0);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&pool.work, &attr);
    pthread_condattr_destroy(&attr);
    list_init(&pool.jobs);
    pool.stopping = false;
    pool.max = threads;
    return ERR_OK;
}

void offload_stop(void)
{
    if (pool.max == 0)
        return;
    pthread_mutex_lock(&pool.lock);
    pool.stopping = true;
    pthread_cond_broadcast(&pool.work);
    while (pool.workers > 0)
        pthread_cond_wait(&pool.ended, &pool.lock);
    pthread_mutex_unlock(&pool.lock);
    assert(list_empty(&pool.jobs));
    pthread_cond_destroy(&pool.work);
    pool.max = 0;
}

void offload_forget(void)
{
    pool = (struct pool){.lock = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER};
}

/* With the lock held. False: nothing came for WORKER_IDLE_S, or the pool is stopping. */
static bool worker_await(void)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += WORKER_IDLE_S;
    pool.idle++;
    int r = 0;
    while (list_empty(&pool.jobs) && !pool.stopping && r != ETIMEDOUT)
        r = pthread_cond_timedwait(&pool.work, &pool.lock, &until);
    pool.idle--;
    return !list_empty(&pool.jobs);
}

static void *worker_main(void *unused)
{
    pthread_mutex_lock(&pool.lock);
    while (!list_empty(&pool.jobs) || worker_await()) {
        struct job *job = container_of(list_pop_front(&pool.jobs), struct job, link);
        pool.waiting--;
        pthread_mutex_unlock(&pool.lock);
        job->fn(job->arg);
        completion_done(&job->done); /* the job is gone now */
        pthread_mutex_lock(&pool.lock);
    }
    pool.workers--;
    pthread_cond_signal(&pool.ended);
    pthread_mutex_unlock(&pool.lock);
    return NULL;
}

/* With the lock held. Signals belong to the thread that reads them, so a worker blocks all. */
static void worker_start(void)
{
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
#if !defined(OS_ASAN) && !defined(OS_TSAN)
    pthread_attr_setstacksize(&attr, WORKER_STACK_BYTES);
#endif
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    if (pthread_create(&thread, &attr, worker_main, NULL) == 0)
        pool.workers++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
}

/* ERR_UNAVAILABLE: no worker can be had. */
static enum err job_queue(struct job *job)
{
    enum err e = ERR_OK;
    pthread_mutex_lock(&pool.lock);
    if (pool.waiting >= OFFLOAD_QUEUE_MAX || pool.stopping) {
        e = ERR_BUSY;
    } else {
        if (pool.idle <= pool.waiting && pool.workers < pool.max)
            worker_start();
        if (pool.workers == 0) {
            e = ERR_UNAVAILABLE;
        } else {
            list_push_back(&pool.jobs, &job->link);
            pool.waiting++;
            pthread_cond_signal(&pool.work);
        }
    }
    pthread_mutex_unlock(&pool.lock);
    return e;
}

enum err offload_run(void (*fn)(void *arg), void *arg)
{
    if (!fiber_current() || pool.max == 0) {
        fn(arg);
        return ERR_OK;
    }
    struct job job = {.fn = fn, .arg = arg};
    completion_init(&job.done);
    enum err e = job_queue(&job);
    if (e == ERR_UNAVAILABLE) {
        fn(arg);
        return ERR_OK;
    }
    TRY(e);
    completion_wait(&job.done);
    return ERR_OK;
}
