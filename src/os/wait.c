/* SPDX-License-Identifier: Apache-2.0
 *
 * Waiting, on a fiber and off one.
 */
#include "os/wait.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <time.h>

#include "os/loop_impl.h"
#include "os/sys.h"

/* Watches */

static int watch_control(struct watch *w, int op, uint32_t more)
{
    struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET | more, .data.ptr = w};
    return epoll_ctl(loop_current()->epoll_fd, op, w->fd, &e);
}

static enum err watch_register(struct watch *w)
{
    if (watch_control(w, EPOLL_CTL_ADD, 0) == 0) {
        w->registered = true;
        return ERR_OK;
    }
    if (errno != EPERM)
        return errno == ENOSPC ? ERR_LIMIT : sys_err(errno);
    w->always_ready = true;
    return ERR_OK;
}

enum err watch_open(struct watch *w, int fd)
{
    assert(fd >= 0);
    *w = (struct watch){.fd = fd};
    return loop_current() ? watch_register(w) : ERR_OK;
}

void watch_close(struct watch *w)
{
    assert(!w->park);
    if (w->registered && loop_current())
        epoll_ctl(loop_current()->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
    w->registered = false;
    if (w->reader)
        fiber_wake(w->reader, WAKE_CANCELED);
    if (w->writer)
        fiber_wake(w->writer, WAKE_CANCELED);
    w->fd = -1;
}

static enum fiber_wake watch_wake_of(const struct fiber *f, const struct watch *w)
{
    return f->watches[0] == w ? WAKE_FIRST : WAKE_SECOND;
}

void watch_notify(struct watch *w, uint32_t epoll_events)
{
    if (epoll_events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        w->ready |= WAIT_READ;
        w->emptied = false;
    }
    if (epoll_events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        w->ready |= WAIT_WRITE;
    if (epoll_events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        w->ready |= WAIT_HANGUP;
    if ((w->ready & WAIT_READ) && w->reader)
        fiber_wake(w->reader, watch_wake_of(w->reader, w));
    if ((w->ready & WAIT_WRITE) && w->writer)
        fiber_wake(w->writer, watch_wake_of(w->writer, w));
    if ((w->ready & WAIT_READ) && w->park)
        park_wake(w->park, PARK_READABLE);
}

bool watch_readable(struct watch *w)
{
    if (w->emptied)
        return false;
    struct pollfd p = {.fd = w->fd, .events = POLLIN | POLLRDHUP};
    if (poll(&p, 1, 0) > 0)
        return true;
    w->ready &= ~(uint32_t)WAIT_READ;
    return false;
}

/* The end of the input may have come with the same edge as the bytes: it is read for once more. */
void watch_emptied(struct watch *w)
{
    if (w->registered && !(w->ready & WAIT_HANGUP)) {
        w->emptied = true;
        w->ready &= ~(uint32_t)WAIT_READ;
    }
}

bool watch_may_read(const struct watch *w) { return !w->emptied; }

/* Deadlines */

static _Thread_local uint64_t thread_scope_ms = DEADLINE_NEVER;

static uint64_t *scope_place(void)
{
    struct fiber *f = fiber_current();
    return f ? &f->scope_ms : &thread_scope_ms;
}

struct deadline_scope deadline_scope_enter(uint64_t ms)
{
    uint64_t *place = scope_place();
    struct deadline_scope s = {*place};
    *place = MIN(*place, deadline_in_ms(ms));
    return s;
}

void deadline_scope_leave(struct deadline_scope *s) { *scope_place() = s->outer_ms; }

static uint64_t scoped(uint64_t deadline_ms) { return MIN(deadline_ms, *scope_place()); }

static enum err err_of_wake(enum fiber_wake why)
{
    switch (why) {
    case WAKE_TIMEOUT:
        return ERR_TIMEOUT;
    case WAKE_CANCELED:
        return ERR_CANCELED;
    default:
        return ERR_OK;
    }
}

/* Off a fiber: poll(2). Gives how many are ready, 0 at the deadline. */
static int poll_until(struct pollfd *fds, nfds_t count, uint64_t deadline_ms)
{
    for (;;) {
        int timeout = -1;
        if (deadline_ms != DEADLINE_NEVER) {
            uint64_t now = clock_mono_ms();
            timeout = now >= deadline_ms ? 0 : (int)MIN(deadline_ms - now, (uint64_t)3600000);
        }
        int n = poll(fds, count, timeout);
        if (n > 0 || (n == 0 && clock_mono_ms() >= deadline_ms))
            return n;
        assert(n == 0 || errno == EINTR || errno == ENOMEM);
    }
}

/* Asking anew tells of room that is there already, so none is missed. */
static enum err block_on(struct fiber *f, struct watch *w, int what, uint64_t deadline_ms) WAITS
{
    struct fiber **place = what == WAIT_READ ? &w->reader : &w->writer;
    assert(!*place);
    if (what == WAIT_WRITE && watch_control(w, EPOLL_CTL_MOD, EPOLLOUT) != 0)
        return sys_err(errno);
    *place = f;
    f->watches[0] = w;
    enum err e = err_of_wake(fiber_block(f, what == WAIT_READ ? "read" : "write", deadline_ms));
    if (e != ERR_OK)
        return e; /* the watch may be gone */
    w->ready &= ~(uint32_t)what;
    if (what == WAIT_WRITE && watch_control(w, EPOLL_CTL_MOD, 0) != 0)
        return sys_err(errno);
    return ERR_OK;
}

enum err wait_fd(struct watch *w, int what, uint64_t deadline_ms)
{
    assert(what == WAIT_READ || what == WAIT_WRITE);
    deadline_ms = scoped(deadline_ms);
    struct fiber *f = fiber_current();
    if (!f) {
        struct pollfd p = {.fd = w->fd, .events = what == WAIT_READ ? POLLIN : POLLOUT};
        w->emptied = false; /* nobody spreads events here */
        return poll_until(&p, 1, deadline_ms) > 0 ? ERR_OK : ERR_TIMEOUT;
    }
    if (fiber_canceled() || w->fd < 0)
        return ERR_CANCELED;
    if (!w->registered && !w->always_ready)
        TRY(watch_register(w));
    if (w->always_ready)
        return ERR_OK;
    if (w->ready & (uint32_t)what) {
        w->ready &= ~(uint32_t)what;
        return ERR_OK;
    }
    if (deadline_ms <= f->loop->now_ms)
        return ERR_TIMEOUT;
    return block_on(f, w, what, deadline_ms);
}

/* Events */

void event_init(struct event *e) { list_init(&e->waiters); }

/* Waking only queues, so no waiter is added while the list is walked. */
void event_signal(struct event *e)
{
    struct list *link;
    while ((link = list_pop_front(&e->waiters))) {
        struct event_waiter *w = container_of(link, struct event_waiter, link);
        w->wake(w);
    }
}

static void sleep_until(uint64_t deadline_ms)
{
    struct timespec t = {.tv_sec = (time_t)(deadline_ms / 1000),
                         .tv_nsec = (long)(deadline_ms % 1000) * 1000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        ;
}

enum err event_wait(struct event *e, uint64_t deadline_ms)
{
    deadline_ms = scoped(deadline_ms);
    struct fiber *f = fiber_current();
    if (!f) {
        assert(deadline_ms != DEADLINE_NEVER); /* nobody is left to signal it */
        sleep_until(deadline_ms);
        return ERR_TIMEOUT;
    }
    if (fiber_canceled())
        return ERR_CANCELED;
    if (deadline_ms <= f->loop->now_ms)
        return ERR_TIMEOUT;
    list_push_back(&e->waiters, &f->event_waiter.link);
    return err_of_wake(fiber_block(f, "event", deadline_ms));
}

enum err wait_until(uint64_t deadline_ms)
{
    deadline_ms = scoped(deadline_ms);
    struct fiber *f = fiber_current();
    if (!f) {
        assert(deadline_ms != DEADLINE_NEVER);
        sleep_until(deadline_ms);
        return ERR_TIMEOUT;
    }
    if (fiber_canceled())
        return ERR_CANCELED;
    if (deadline_ms <= f->loop->now_ms)
        return ERR_TIMEOUT;
    return err_of_wake(fiber_block(f, "timer", deadline_ms));
}

/* wait_any */

static enum wait_any_result wait_any_off_fiber(struct watch *a, struct watch *b,
                                               uint64_t deadline_ms)
{
    struct pollfd fds[2] = {{.fd = a ? a->fd : -1, .events = POLLIN | POLLRDHUP},
                            {.fd = b ? b->fd : -1, .events = POLLIN | POLLRDHUP}};
    assert(a || b || deadline_ms != DEADLINE_NEVER);
    if (a)
        a->emptied = false;
    if (b)
        b->emptied = false;
    if (poll_until(fds, 2, deadline_ms) == 0)
        return WAIT_ANY_TIMEOUT;
    return fds[0].revents ? WAIT_ANY_READABLE : WAIT_ANY_READABLE2;
}

static void wait_any_add(struct fiber *f, int place, struct watch *w)
{
    if (!w)
        return;
    assert(!w->reader && w->registered);
    w->reader = f;
    f->watches[place] = w;
}

/* A caller may come with input that it left in the kernel, which no edge will tell of again; so the
 * kernel is asked first. */
enum wait_any_result wait_any(struct watch *readable, struct watch *readable2, struct event *event,
                              uint64_t deadline_ms)
{
    deadline_ms = scoped(deadline_ms);
    struct fiber *f = fiber_current();
    if (!f)
        return wait_any_off_fiber(readable, readable2, deadline_ms);
    if (fiber_canceled())
        return WAIT_ANY_CANCELED;
    if (readable && watch_readable(readable))
        return WAIT_ANY_READABLE;
    if (readable2 && watch_readable(readable2))
        return WAIT_ANY_READABLE2;
    if (deadline_ms <= f->loop->now_ms)
        return WAIT_ANY_TIMEOUT;
    wait_any_add(f, 0, readable);
    wait_any_add(f, 1, readable2);
    if (event)
        list_push_back(&event->waiters, &f->event_waiter.link);
    switch (fiber_block(f, "any", deadline_ms)) {
    case WAKE_FIRST:
        return WAIT_ANY_READABLE;
    case WAKE_SECOND:
        return WAIT_ANY_READABLE2;
    case WAKE_EVENT:
        return WAIT_ANY_EVENT;
    case WAKE_TIMEOUT:
        return WAIT_ANY_TIMEOUT;
    default:
        return WAIT_ANY_CANCELED;
    }
}
