/* SPDX-License-Identifier: Apache-2.0 */
#include "os/background.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "os/chan.h"

/* A thirtieth of the weight of an ordinary thread. With less, one that was interrupted while it
 * holds a lock would be away for long. The slice is short so that whoever wakes up has the
 * processor at once, and so that those who have waited for the lock get it soon (Linux 6.12; older
 * ones pay no attention to it, and need none for the former). */
#define BACKGROUND_NICE 15
#define BACKGROUND_SLICE_NS 100000
#define SLICE_WARN_MS 600000 /* long slices are what the thread is for */

static _Thread_local bool is_background;

/* sched_setattr(2), which has no function in the C library. */
struct sched_attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

void background_enter(void)
{
    struct sched_attributes a = {
        .size = sizeof a,
        .policy = SCHED_BATCH, /* takes the processor from nobody when it wakes */
        .nice = BACKGROUND_NICE,
        .runtime = BACKGROUND_SLICE_NS};
    if (syscall(SYS_sched_setattr, 0, &a, 0) != 0) /* of this thread */
        LOG_INFO("os", "background work cannot be given a lower priority");
    is_background = true;
}

bool background_thread(void) { return is_background; }

struct background {
    const char *name;
    fiber_fn *fn;
    void *arg;
    pthread_t thread;
    struct loop *loop;
    enum err opened;
    struct completion ready, *ended;
    struct loop_task stop;
};

static enum err open_here(struct background *b, struct fiber_group *group)
{
    TRY(loop_open(
        &b->loop,
        &(struct loop_options){.name = b->name, .stacks_kept = 4, .slice_warn_ms = SLICE_WARN_MS}));
    fiber_group_init(group);
    enum err e = fiber_start(group, b->name, b->fn, b->arg);
    if (e != ERR_OK)
        loop_close(b->loop);
    return e;
}

static void *thread_main(void *arg)
{
    struct background *b = arg;
    struct fiber_group group;
    background_enter();
    b->opened = open_here(b, &group);
    bool run = b->opened == ERR_OK;
    completion_done(&b->ready); /* b may be gone now, if it did not open */
    if (!run)
        return NULL;
    loop_run(b->loop);
    loop_close(b->loop);
    completion_done(b->ended);
    return NULL;
}

/* Signals belong to the threads that read them. */
static bool thread_start(struct background *b)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(&b->thread, NULL, thread_main, b) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

enum err background_start(const char *name, fiber_fn *fn, void *arg, struct background **out)
{
    struct background *b = calloc(1, sizeof *b);
    if (!b)
        return ERR_NOMEM;
    *b = (struct background){.name = name, .fn = fn, .arg = arg};
    completion_init(&b->ready);
    enum err e = thread_start(b) ? ERR_OK : ERR_NOMEM;
    if (e == ERR_OK) {
        completion_wait(&b->ready);
        e = b->opened;
        if (e != ERR_OK)
            pthread_join(b->thread, NULL);
    }
    if (e != ERR_OK) {
        free(b);
        return e;
    }
    *out = b;
    return ERR_OK;
}

/* On its own thread: the loop may be gone as soon as it knows. */
static void stop_here(struct loop_task *task) { loop_stop(loop_current()); }

void background_stop(struct background *b)
{
    if (!b)
        return;
    struct completion ended;
    completion_init(&ended);
    b->ended = &ended;
    b->stop.fn = stop_here;
    loop_post(b->loop, &b->stop);
    completion_wait(&ended);
    pthread_join(b->thread, NULL);
    free(b);
}
