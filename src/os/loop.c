/* SPDX-License-Identifier: Apache-2.0
 *
 * The loop. A round: posted tasks, ready fibers, resumed connections, then one epoll_wait, then due
 * timers. Nothing of the user runs while a batch of events is being spread, so a watch that is
 * closed by a fiber can never be named by an event that is still to be handled.
 */
#include "os/loop.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "os/loop_impl.h"
#include "os/sys.h"

#ifdef OS_TSAN
void *__tsan_get_current_fiber(void);
#endif

#define EVENTS_BATCH 128
#define SLICES_BATCH 1024     /* fibers run before the kernel is asked again */
#define ALT_STACK_BYTES 65536 /* the crash handler unwinds on it */
#define STARVED_RETRY_MS 20

static _Thread_local struct loop *loop_this;
static struct loop *loops[LOOPS_MAX];

struct loop *loop_current(void) { return loop_this; }

struct loop *loop_nth(size_t n) { return __atomic_load_n(&loops[n], __ATOMIC_ACQUIRE); }

uint64_t loop_now_ms(void)
{
    return loop_this && loop_this->running ? loop_this->now_ms : clock_mono_ms();
}

static bool loop_register(struct loop *l)
{
    for (size_t i = 0; i < LOOPS_MAX; i++) {
        struct loop *none = NULL;
        if (__atomic_compare_exchange_n(&loops[i], &none, l, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_RELAXED))
            return true;
    }
    return false;
}

static void loop_unregister(struct loop *l)
{
    for (size_t i = 0; i < LOOPS_MAX; i++)
        if (loop_nth(i) == l)
            __atomic_store_n(&loops[i], NULL, __ATOMIC_RELEASE);
}

/* A fiber that runs into its guard page leaves no stack to report it on. Sanitizers bring theirs.
 */
static void loop_alt_stack(struct loop *l)
{
#if !defined(OS_ASAN) && !defined(OS_TSAN)
    void *mem = mmap(NULL, ALT_STACK_BYTES, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mem == MAP_FAILED)
        return;
    l->alt_stack = mem;
    stack_t stack = {.ss_sp = mem, .ss_size = ALT_STACK_BYTES};
    sigaltstack(&stack, NULL);
#endif
}

static enum err loop_open_fds(struct loop *l)
{
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll_fd < 0)
        return sys_err(errno);
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->wake_fd < 0)
        return sys_err(errno);
    struct epoll_event e = {.events = EPOLLIN | EPOLLET};
    return epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, l->wake_fd, &e) == 0 ? ERR_OK : sys_err(errno);
}

enum err loop_open(struct loop **out, const struct loop_options *options)
{
    assert(!loop_this);
    signal(SIGPIPE, SIG_IGN); /* a closed peer is an error of the write */
    struct loop *l = calloc(1, sizeof *l);
    if (!l)
        return ERR_NOMEM;
    l->name = options && options->name ? options->name : "loop";
    l->stacks.kept = options && options->stacks_kept ? options->stacks_kept : LOOP_STACKS_KEPT;
    l->stacks.trim_at_ms = DEADLINE_NEVER;
    l->slice_warn_ms = options && options->slice_warn_ms ? options->slice_warn_ms : 20;
    l->now_ms = clock_mono_ms();
    l->epoll_fd = l->wake_fd = -1;
    list_init(&l->ready);
    list_init(&l->yielded);
    list_init(&l->all);
    list_init(&l->parked);
    list_init(&l->resuming);
    enum err e = loop_open_fds(l);
    if (e == ERR_OK && !loop_register(l))
        e = ERR_LIMIT;
    if (e != ERR_OK) {
        loop_close(l);
        return e;
    }
#ifdef OS_TSAN
    l->tsan = __tsan_get_current_fiber();
#endif
    loop_alt_stack(l);
    loop_this = l;
    *out = l;
    return ERR_OK;
}

void loop_close(struct loop *l)
{
    if (!l)
        return;
    assert(!l->running && list_empty(&l->all));
    while (__atomic_load_n(&l->posting, __ATOMIC_ACQUIRE))
        sched_yield(); /* another thread is in the last steps of loop_post */
    loop_unregister(l);
    if (l->alt_stack) {
        sigaltstack(&(stack_t){.ss_flags = SS_DISABLE}, NULL);
        munmap(l->alt_stack, ALT_STACK_BYTES);
    }
    stack_pool_free(&l->stacks);
    heap_free(&l->timers);
    if (l->epoll_fd >= 0)
        close(l->epoll_fd);
    if (l->wake_fd >= 0)
        close(l->wake_fd);
    if (loop_this == l)
        loop_this = NULL;
    free(l);
}

void loop_forget(void)
{
    for (size_t i = 0; i < LOOPS_MAX; i++) {
        struct loop *l = loops[i];
        loops[i] = NULL;
        if (!l)
            continue;
        close(l->epoll_fd);
        close(l->wake_fd);
    }
    loop_this = NULL;
}

/* Posting */

/* Store, then look (here) and look, then sleep (loop_poll) are in one total order, so either the
 * poster sees the sleeper or the loop sees the post. */
static void loop_wake(struct loop *l)
{
    if (__atomic_exchange_n(&l->asleep, 0, __ATOMIC_SEQ_CST)) {
        uint64_t one = 1;
        ssize_t n = write(l->wake_fd, &one, sizeof one);
        (void)n; /* full: it is readable already */
    }
}

void loop_post(struct loop *l, struct loop_task *task)
{
    /* The task may end the loop's work before this call is over: loop_close waits for us. */
    __atomic_fetch_add(&l->posting, 1, __ATOMIC_RELAXED);
    struct loop_task *head = __atomic_load_n(&l->posted, __ATOMIC_RELAXED);
    do {
        task->next = head;
    } while (!__atomic_compare_exchange_n(&l->posted, &head, task, true, __ATOMIC_SEQ_CST,
                                          __ATOMIC_RELAXED));
    loop_wake(l);
    __atomic_fetch_sub(&l->posting, 1, __ATOMIC_RELEASE);
}

void loop_stop(struct loop *l)
{
    __atomic_store_n(&l->stop, 1, __ATOMIC_SEQ_CST);
    int saved = errno;
    loop_wake(l);
    errno = saved;
}

bool loop_stopping(const struct loop *l)
{
    return __atomic_load_n(&l->stop, __ATOMIC_SEQ_CST) != 0;
}

static void loop_run_posted(struct loop *l)
{
    struct loop_task *newest = __atomic_exchange_n(&l->posted, NULL, __ATOMIC_ACQUIRE);
    struct loop_task *oldest = NULL;
    while (newest) {
        struct loop_task *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest) {
        struct loop_task *task = oldest;
        oldest = task->next;
        task->fn(task);
    }
}

/* The end of a round */

static size_t ending_find(const struct loop *l, loop_ending_fn *fn, const void *arg)
{
    size_t i = 0;
    while (i < l->nendings && (l->endings[i].fn != fn || l->endings[i].arg != arg))
        i++;
    return i;
}

enum err loop_at_round_end(loop_ending_fn *fn, void *arg)
{
    struct loop *l = loop_this;
    if (!l)
        return ERR_INVALID;
    if (!list_empty(&l->ready) || !list_empty(&l->resuming))
        return ERR_BUSY;
    if (ending_find(l, fn, arg) < l->nendings)
        return ERR_OK;
    if (l->nendings == LOOP_ENDINGS_MAX)
        return ERR_LIMIT;
    l->endings[l->nendings++] = (struct loop_ending){fn, arg};
    return ERR_OK;
}

void loop_at_round_end_forget(loop_ending_fn *fn, void *arg)
{
    struct loop *l = loop_this;
    size_t i = l ? ending_find(l, fn, arg) : 0;
    if (l && i < l->nendings)
        l->endings[i] = l->endings[--l->nendings];
}

static void loop_run_endings(struct loop *l, bool quiet)
{
    while (l->nendings > 0) {
        struct loop_ending e = l->endings[--l->nendings];
        e.fn(e.arg, quiet);
    }
}

/* Timers */

enum err loop_timer_set(struct loop_timer *t, uint64_t deadline_ms)
{
    struct loop *l = loop_this;
    assert(l && t->fn);
    heap_remove(&l->timers, &t->node);
    if (deadline_ms == DEADLINE_NEVER)
        return ERR_OK;
    return heap_insert(&l->timers, &t->node, deadline_ms);
}

void loop_timer_clear(struct loop_timer *t)
{
    if (t->node.index != 0)
        heap_remove(&loop_this->timers, &t->node);
}

static void loop_run_timers(struct loop *l)
{
    if (l->now_ms >= l->stacks.trim_at_ms)
        stack_trim(&l->stacks);
    struct heap_node *n;
    while ((n = heap_min(&l->timers)) && n->key <= l->now_ms) {
        heap_remove(&l->timers, n);
        struct loop_timer *t = container_of(n, struct loop_timer, node);
        t->fn(t);
    }
}

/* Rounds */

/* The coarse clock ticks every few ms and costs nearly nothing, which is enough to find 20 ms. */
static uint64_t loop_coarse_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static struct fiber *loop_next_fiber(struct loop *l)
{
    struct list *link = list_pop_front(&l->ready);
    return link ? container_of(link, struct fiber, run_link) : park_take_next(l);
}

static void loop_run_fibers(struct loop *l)
{
    uint64_t before = loop_coarse_ms();
    l->starved = false;
    for (unsigned left = SLICES_BATCH; left > 0; left--) {
        struct fiber *f = loop_next_fiber(l);
        if (!f)
            break;
        const char *name = f->name;
        fiber_run(l, f);
        uint64_t after = loop_coarse_ms();
        if (after - before > l->slice_warn_ms) {
            l->slices_late++;
            LOG_WARN("os", "slow slice loop=%s fiber=%s ms=%llu", l->name, name,
                     (unsigned long long)(after - before));
            after = loop_coarse_ms();
        }
        before = after;
    }
}

static bool loop_has_work(const struct loop *l)
{
    return !list_empty(&l->ready) || !list_empty(&l->yielded) ||
           (!list_empty(&l->resuming) && !l->starved);
}

static int loop_timeout(const struct loop *l)
{
    if (loop_has_work(l))
        return 0;
    uint64_t until = l->stacks.trim_at_ms;
    struct heap_node *n = heap_min(&l->timers);
    if (n)
        until = MIN(until, n->key);
    if (l->starved)
        until = MIN(until, l->now_ms + STARVED_RETRY_MS);
    if (until == DEADLINE_NEVER)
        return -1;
    uint64_t now = clock_mono_ms();
    return until <= now ? 0 : (int)MIN(until - now, (uint64_t)3600000);
}

static void loop_spread(struct loop *l, const struct epoll_event *events, int count)
{
    for (int i = 0; i < count; i++) {
        if (events[i].data.ptr) {
            watch_notify(events[i].data.ptr, events[i].events);
        } else {
            uint64_t n;
            ssize_t r = read(l->wake_fd, &n, sizeof n);
            (void)r;
        }
    }
}

static void loop_poll(struct loop *l)
{
    struct epoll_event events[EVENTS_BATCH];
    loop_run_endings(l, !loop_has_work(l) && !__atomic_load_n(&l->posted, __ATOMIC_RELAXED));
    int timeout = loop_timeout(l);
    if (timeout != 0) {
        __atomic_store_n(&l->asleep, 1, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&l->posted, __ATOMIC_SEQ_CST) || (loop_stopping(l) && !l->canceling))
            timeout = 0;
    }
    int count = epoll_wait(l->epoll_fd, events, EVENTS_BATCH, timeout);
    __atomic_store_n(&l->asleep, 0, __ATOMIC_RELAXED);
    assert(count >= 0 || errno == EINTR);
    l->now_ms = clock_mono_ms();
    loop_spread(l, events, count);
}

static void loop_take_yielded(struct loop *l)
{
    struct list *link;
    while ((link = list_pop_front(&l->yielded)))
        list_push_back(&l->ready, link);
}

static bool loop_has_fibers(const struct loop *l)
{
    return !list_empty(&l->all) || !list_empty(&l->parked) || !list_empty(&l->resuming);
}

void loop_run_while(struct loop *l, bool (*more)(void *arg), void *arg)
{
    assert(l && l == loop_this && !l->running);
    l->running = true;
    l->now_ms = clock_mono_ms();
    while (more(arg)) {
        if (loop_stopping(l) && !l->canceling)
            fiber_cancel_all(l);
        loop_run_posted(l);
        loop_run_fibers(l);
        if (!more(arg)) /* what was waited for has happened: do not sleep */
            break;
        loop_poll(l);
        loop_run_timers(l);
        loop_take_yielded(l);
    }
    loop_run_endings(l, false);
    loop_run_posted(l);
    l->running = false;
}

static bool loop_not_done(void *loop)
{
    struct loop *l = loop;
    return !loop_stopping(l) || loop_has_fibers(l);
}

void loop_run(struct loop *l)
{
    loop_run_while(l, loop_not_done, l);
    l->canceling = false;
    __atomic_store_n(&l->stop, 0, __ATOMIC_SEQ_CST);
}

static bool loop_busy(void *loop) { return loop_has_fibers(loop); }

void loop_run_until_idle(struct loop *l) { loop_run_while(l, loop_busy, l); }
