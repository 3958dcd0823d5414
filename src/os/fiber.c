/* SPDX-License-Identifier: Apache-2.0
 *
 * Fibers: the switch, the groups and the table. A fiber only ever switches to its loop and back, so
 * there is one place where each direction happens.
 */
#include "os/fiber.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "os/loop_impl.h"

#ifdef OS_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef OS_TSAN
void *__tsan_get_current_fiber(void);
void *__tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void *fiber);
void __tsan_switch_to_fiber(void *fiber, unsigned flags);
void __tsan_set_fiber_name(void *fiber, const char *name);
#endif

/* Boost.Context's two functions; the library has no C header. */
typedef struct {
    void *fctx;
    void *data;
} transfer_t;
extern transfer_t jump_fcontext(void *const to, void *vp);
extern void *make_fcontext(void *sp, size_t size, void (*fn)(transfer_t));

/* The context dies with the loop's side of the switch: ended fibers give no fake stack back. */
static transfer_t switch_to_loop(struct fiber *f)
{
    struct loop *l = f->loop;
#ifdef OS_TSAN
    __tsan_switch_to_fiber(l->tsan, 0);
#endif
#ifdef OS_ASAN
    __sanitizer_start_switch_fiber(f->state == FIBER_ENDED ? NULL : &f->asan_fake, l->asan_bottom,
                                   l->asan_size);
#endif
    transfer_t t = jump_fcontext(l->context, NULL);
#ifdef OS_ASAN
    __sanitizer_finish_switch_fiber(f->asan_fake, &l->asan_bottom, &l->asan_size);
#endif
    return t;
}

/* Says that this frame has no caller, so that debuggers and the crash handler end a trace here. */
#if defined(__x86_64__)
#define OUTERMOST_FRAME() __asm__ volatile(".cfi_undefined rip")
#elif defined(__aarch64__)
#define OUTERMOST_FRAME() __asm__ volatile(".cfi_undefined x30")
#else
#define OUTERMOST_FRAME() ((void)0)
#endif

static void fiber_entry(transfer_t t)
{
    OUTERMOST_FRAME();
    struct fiber *f = t.data;
#ifdef OS_ASAN
    __sanitizer_finish_switch_fiber(NULL, &f->loop->asan_bottom, &f->loop->asan_size);
#endif
    f->loop->context = t.fctx;
    f->fn(f->arg);
    f->state = FIBER_ENDED;
    switch_to_loop(f);
    __builtin_unreachable();
}

static void fiber_event_wake(struct event_waiter *w)
{
    fiber_wake(container_of(w, struct fiber, event_waiter), WAKE_EVENT);
}

static void fiber_timeout(struct loop_timer *t)
{
    fiber_wake(container_of(t, struct fiber, timer), WAKE_TIMEOUT);
}

enum err fiber_new(struct loop *l, struct fiber_group *g, const char *name, fiber_fn *fn, void *arg,
                   struct fiber **out)
{
    char *stack = stack_get(&l->stacks);
    if (!stack)
        return ERR_NOMEM;
    size_t room = (STACK_BYTES - sizeof(struct fiber)) & ~(size_t)63;
    struct fiber *f = (struct fiber *)(stack + room);
    *f = (struct fiber){
        .loop = l,
        .group = g,
        .name = name,
        .fn = fn,
        .arg = arg,
        .stack = stack,
        .scope_ms = DEADLINE_NEVER,
        .wait_reason = "ready",
        .wait_since_ms = l->now_ms,
    };
    f->context = make_fcontext(stack + room, room, fiber_entry);
#ifdef OS_TSAN
    f->tsan = __tsan_create_fiber(0);
    __tsan_set_fiber_name(f->tsan, name);
#endif
    list_init(&f->run_link);
    list_init(&f->event_waiter.link);
    f->event_waiter.wake = fiber_event_wake;
    f->timer.fn = fiber_timeout;
    list_push_back(&l->all, &f->all_link);
    list_push_back(&g->fibers, &f->group_link);
    g->count++;
    *out = f;
    return ERR_OK;
}

static void fiber_free(struct fiber *f)
{
    struct fiber_group *g = f->group;
    struct stack_pool *stacks = &f->loop->stacks;
    list_remove(&f->all_link);
    list_remove(&f->group_link);
    g->count--;
#ifdef OS_TSAN
    __tsan_destroy_fiber(f->tsan);
#endif
    stack_put(stacks, f->stack);
    fiber_group_left(g);
}

void fiber_run(struct loop *l, struct fiber *f)
{
    assert(!l->current && f->state == FIBER_READY);
    l->current = f;
    f->state = FIBER_RUNNING;
    f->wait_reason = "running";
#ifdef OS_TSAN
    __tsan_switch_to_fiber(f->tsan, 0);
#endif
#ifdef OS_ASAN
    void *fake = NULL;
    __sanitizer_start_switch_fiber(&fake, f->stack, STACK_BYTES);
#endif
    transfer_t t = jump_fcontext(f->context, f);
#ifdef OS_ASAN
    __sanitizer_finish_switch_fiber(fake, NULL, NULL);
#endif
    l->current = NULL;
    f->context = t.fctx;
    if (f->state == FIBER_ENDED)
        fiber_free(f);
}

enum fiber_wake fiber_block(struct fiber *f, const char *reason, uint64_t deadline_ms)
{
    assert(f == fiber_current() && f->state == FIBER_RUNNING);
    struct loop *l = f->loop;
    f->state = FIBER_WAITING;
    /* Without memory for a timer the wait ends as if it had timed out. */
    if (deadline_ms != DEADLINE_NEVER && loop_timer_set(&f->timer, deadline_ms) != ERR_OK)
        fiber_wake(f, WAKE_TIMEOUT);
    f->wait_reason = reason;
    f->wait_since_ms = l->now_ms;
    transfer_t t = switch_to_loop(f);
    l->context = t.fctx;
    return f->woken_by;
}

void fiber_wake(struct fiber *f, enum fiber_wake why)
{
    if (f->state != FIBER_WAITING)
        return;
    f->state = FIBER_READY;
    f->woken_by = why;
    for (int i = 0; i < 2; i++) {
        struct watch *w = f->watches[i];
        f->watches[i] = NULL;
        if (w && w->reader == f)
            w->reader = NULL;
        if (w && w->writer == f)
            w->writer = NULL;
    }
    list_remove(&f->event_waiter.link);
    loop_timer_clear(&f->timer);
    list_push_back(&f->loop->ready, &f->run_link);
}

enum err fiber_start(struct fiber_group *g, const char *name, fiber_fn *fn, void *arg)
{
    struct loop *l = loop_current();
    assert(l && g && fn && name);
    if (g->canceled || l->canceling)
        return ERR_CANCELED;
    struct fiber *f;
    TRY(fiber_new(l, g, name, fn, arg, &f));
    list_push_back(&l->ready, &f->run_link);
    return ERR_OK;
}

struct fiber *fiber_current(void)
{
    struct loop *l = loop_current();
    return l ? l->current : NULL;
}

bool fiber_canceled(void)
{
    struct fiber *f = fiber_current();
    return f && (f->group->canceled || f->loop->canceling);
}

void fiber_set_name(const char *name)
{
    struct fiber *f = fiber_current();
    if (f)
        f->name = name;
}

void fiber_yield(void)
{
    struct fiber *f = fiber_current();
    if (!f)
        return;
    f->state = FIBER_READY;
    f->wait_reason = "yield";
    f->wait_since_ms = f->loop->now_ms;
    list_push_back(&f->loop->yielded, &f->run_link);
    transfer_t t = switch_to_loop(f);
    f->loop->context = t.fctx;
}

/* Groups */

void fiber_group_init(struct fiber_group *g)
{
    *g = (struct fiber_group){0};
    list_init(&g->fibers);
    list_init(&g->parked);
    event_init(&g->ended);
}

static void fiber_cancel(struct fiber *f)
{
    if (f->joining)
        fiber_group_cancel(f->joining);
    else if (!f->uninterruptible)
        fiber_wake(f, WAKE_CANCELED);
}

void fiber_group_cancel(struct fiber_group *g)
{
    if (g->canceled)
        return;
    g->canceled = true;
    LIST_EACH (it, &g->fibers)
        fiber_cancel(container_of(it, struct fiber, group_link));
    LIST_EACH (it, &g->parked)
        park_wake(container_of(it, struct park, group_link), PARK_CANCELED);
}

void fiber_cancel_all(struct loop *l)
{
    l->canceling = true;
    LIST_EACH (it, &l->all)
        fiber_cancel(container_of(it, struct fiber, all_link));
    while (!list_empty(&l->parked))
        park_wake(container_of(l->parked.next, struct park, loop_link), PARK_CANCELED);
}

static bool fiber_group_empty(const struct fiber_group *g)
{
    return g->count == 0 && list_empty(&g->parked);
}

static bool fiber_group_busy(void *group) { return !fiber_group_empty(group); }

/* The joiner may free the group as soon as it runs, so nothing touches g after the signal. */
void fiber_group_left(struct fiber_group *g)
{
    if (fiber_group_empty(g))
        event_signal(&g->ended);
}

void fiber_group_join(struct fiber_group *g)
{
    struct fiber *f = fiber_current();
    if (!f) {
        loop_run_while(loop_current(), fiber_group_busy, g);
        return;
    }
    assert(f->group != g);
    while (!fiber_group_empty(g)) {
        if (fiber_canceled())
            fiber_group_cancel(g);
        f->joining = g;
        list_push_back(&g->ended.waiters, &f->event_waiter.link);
        fiber_block(f, "join", DEADLINE_NEVER);
        f->joining = NULL;
    }
}

/* The table */

static void fiber_line(const struct fiber *f, char *out, size_t size)
{
    uint64_t now = clock_mono_ms();
    snprintf(out, size, "%s: %s %llu ms", f->name, f->wait_reason,
             (unsigned long long)(now > f->wait_since_ms ? now - f->wait_since_ms : 0));
}

void fiber_table(void (*emit)(void *arg, const char *line), void *arg)
{
    struct loop *l = loop_current();
    if (!l)
        return;
    char line[256];
    LIST_EACH (it, &l->all) {
        fiber_line(container_of(it, struct fiber, all_link), line, sizeof line);
        emit(arg, line);
    }
}

void fiber_table_dump_all(int fd)
{
    char line[256];
    for (size_t i = 0; i < LOOPS_MAX; i++) {
        struct loop *l = loop_nth(i);
        if (!l)
            continue;
        /* Lists may be broken by the crash that is being reported, so the walk is bounded. */
        size_t left = 1000;
        dprintf(fd, "fibers of loop %s:\n", l->name);
        for (struct list *it = l->all.next; it && it != &l->all && left > 0;
             it = it->next, left--) {
            const struct fiber *f = container_of(it, struct fiber, all_link);
            fiber_line(f, line, sizeof line);
            dprintf(fd, "  %s%s\n", line, f == l->current ? " (current)" : "");
        }
    }
}
