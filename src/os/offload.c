/* SPDX-License-Identifier: Apache-2.0
 *
 * The pool of threads, and a small one beside it for background threads. One queue each, first come
 * first served; workers are made when a job comes and none is idle, and end after WORKER_IDLE_S
 * without work, so that an idle process pays for none.
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
#include "os/background.h"
#include "os/chan.h"
#include "os/fiber.h"
#include "os/loop_impl.h"

#define WORKERS_MAX 256
#define BACKGROUND_WORKERS 2
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
    struct list jobs;
    size_t waiting;
    unsigned workers, idle, max;
    bool stopping, background;
    pthread_t last; /* that ended; who ends next joins it, so that of all nothing is left */
    bool has_last;
} pools[2];

static struct pool *pool_here(void) { return &pools[background_thread()]; }

static void pool_open(struct pool *p, unsigned threads, bool background)
{
    *p = (struct pool){.max = threads, .background = background};
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&p->work, &attr);
    pthread_condattr_destroy(&attr);
    pthread_cond_init(&p->ended, NULL);
    pthread_mutex_init(&p->lock, NULL);
    list_init(&p->jobs);
}

enum err offload_start(unsigned threads)
{
    if (threads == 0 || threads > WORKERS_MAX)
        return ERR_INVALID;
    assert(pools[0].max == 0);
    pool_open(&pools[0], threads, false);
    pool_open(&pools[1], BACKGROUND_WORKERS, true);
    return ERR_OK;
}

static void pool_close(struct pool *p)
{
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    pthread_cond_broadcast(&p->work);
    while (p->workers > 0)
        pthread_cond_wait(&p->ended, &p->lock);
    pthread_mutex_unlock(&p->lock);
    assert(list_empty(&p->jobs));
    if (p->has_last)
        pthread_join(p->last, NULL);
    p->has_last = false;
    pthread_cond_destroy(&p->work);
    pthread_cond_destroy(&p->ended);
    pthread_mutex_destroy(&p->lock);
    p->max = 0;
}

void offload_stop(void)
{
    for (size_t i = 0; i < ARRAY_LEN(pools) && pools[i].max; i++)
        pool_close(&pools[i]);
}

void offload_forget(void)
{
    for (size_t i = 0; i < ARRAY_LEN(pools); i++)
        pools[i] = (struct pool){0};
}

/* With the lock held. False: nothing came for WORKER_IDLE_S, or the pool is stopping. */
static bool worker_await(struct pool *p)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += WORKER_IDLE_S;
    p->idle++;
    int r = 0;
    while (list_empty(&p->jobs) && !p->stopping && r != ETIMEDOUT)
        r = pthread_cond_timedwait(&p->work, &p->lock, &until);
    p->idle--;
    return !list_empty(&p->jobs);
}

static void *worker_main(void *arg)
{
    struct pool *p = arg;
    if (p->background)
        background_enter();
    pthread_mutex_lock(&p->lock);
    while (!list_empty(&p->jobs) || worker_await(p)) {
        struct job *job = container_of(list_pop_front(&p->jobs), struct job, link);
        p->waiting--;
        pthread_mutex_unlock(&p->lock);
        job->fn(job->arg);
        completion_done(&job->done); /* the job is gone now */
        pthread_mutex_lock(&p->lock);
    }
    pthread_t before = p->last;
    bool joins = p->has_last;
    p->last = pthread_self();
    p->has_last = true;
    p->workers--;
    pthread_cond_signal(&p->ended);
    pthread_mutex_unlock(&p->lock);
    if (joins)
        pthread_join(before, NULL);
    return NULL;
}

/* With the lock held. Signals belong to the thread that reads them, so a worker blocks all. */
static void worker_start(struct pool *p)
{
    pthread_attr_t attr;
    pthread_attr_init(&attr);
#if !defined(OS_ASAN) && !defined(OS_TSAN)
    pthread_attr_setstacksize(&attr, WORKER_STACK_BYTES);
#endif
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    if (pthread_create(&thread, &attr, worker_main, p) == 0)
        p->workers++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
}

/* ERR_UNAVAILABLE: no worker can be had. */
static enum err job_queue(struct pool *p, struct job *job)
{
    enum err e = ERR_OK;
    pthread_mutex_lock(&p->lock);
    if (p->waiting >= OFFLOAD_QUEUE_MAX || p->stopping) {
        e = ERR_BUSY;
    } else {
        if (p->idle <= p->waiting && p->workers < p->max)
            worker_start(p);
        if (p->workers == 0) {
            e = ERR_UNAVAILABLE;
        } else {
            list_push_back(&p->jobs, &job->link);
            p->waiting++;
            pthread_cond_signal(&p->work);
        }
    }
    pthread_mutex_unlock(&p->lock);
    return e;
}

enum err offload_run(void (*fn)(void *arg), void *arg)
{
    if (!fiber_current() || pool_here()->max == 0) {
        fn(arg);
        return ERR_OK;
    }
    struct job job = {.fn = fn, .arg = arg};
    completion_init(&job.done);
    enum err e = job_queue(pool_here(), &job);
    if (e == ERR_UNAVAILABLE) {
        fn(arg);
        return ERR_OK;
    }
    TRY(e);
    completion_wait(&job.done);
    return ERR_OK;
}
