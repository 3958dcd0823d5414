/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "os/chan.h"
#include "os/fiber.h"
#include "os/loop.h"
#include "os/loop_impl.h"
#include "os/sock.h"
#include "os/wait.h"

struct world {
    struct loop *loop;
    struct fiber_group group;
    struct event event;
    struct watch watch;
    int fds[2];
    char trace[4096];
    enum err err;
    int count;
    void *extra; /* the test's own */
};

static struct world *world_new(void)
{
    struct world *w = calloc(1, sizeof *w);
    assert_int_equal(loop_open(&w->loop, &(struct loop_options){.name = "test"}), ERR_OK);
    fiber_group_init(&w->group);
    event_init(&w->event);
    assert_int_equal(sock_pair(w->fds), ERR_OK);
    return w;
}

static void world_free(struct world *w)
{
    loop_close(w->loop);
    close(w->fds[0]);
    close(w->fds[1]);
    free(w);
}

static void start(struct world *w, fiber_fn *fn)
{
    assert_int_equal(fiber_start(&w->group, "test", fn, w), ERR_OK);
}

static void trace(struct world *w, const char *what)
{
    assert_true(strlen(w->trace) + strlen(what) < sizeof w->trace);
    memcpy(w->trace + strlen(w->trace), what, strlen(what) + 1);
}

static void trace_a(void *arg)
{
    trace(arg, "a1 ");
    fiber_yield();
    trace(arg, "a2 ");
    fiber_yield();
    trace(arg, "a3 ");
}

static void trace_b(void *arg)
{
    trace(arg, "b1 ");
    fiber_yield();
    trace(arg, "b2 ");
}

static void fibers_take_turns(void **state)
{
    struct world *w = world_new();
    start(w, trace_a);
    start(w, trace_b);
    assert_string_equal(w->trace, ""); /* nothing runs before its starter waits */
    fiber_group_join(&w->group);
    assert_string_equal(w->trace, "a1 b1 a2 b2 a3 ");
    world_free(w);
}

static void event_waiter(void *arg)
{
    struct world *w = arg;
    while (w->count == 0)
        assert_int_equal(event_wait(&w->event, DEADLINE_NEVER), ERR_OK);
    w->count++;
}

static void event_signaller(void *arg)
{
    struct world *w = arg;
    event_signal(&w->event); /* spurious for those who wait on count */
    fiber_yield();
    w->count = 1;
    event_signal(&w->event);
}

static void event_wakes_all_present(void **state)
{
    struct world *w = world_new();
    for (int i = 0; i < 5; i++)
        start(w, event_waiter);
    start(w, event_signaller);
    fiber_group_join(&w->group);
    assert_int_equal(w->count, 6);
    world_free(w);
}

static void event_with_deadline(void *arg)
{
    struct world *w = arg;
    uint64_t before = clock_mono_ms();
    assert_int_equal(event_wait(&w->event, deadline_in_ms(30)), ERR_TIMEOUT);
    assert_true(clock_mono_ms() - before >= 30);
    assert_int_equal(event_wait(&w->event, 0), ERR_TIMEOUT);
    assert_true(list_empty(&w->event.waiters));
}

static void event_times_out(void **state)
{
    struct world *w = world_new();
    start(w, event_with_deadline);
    fiber_group_join(&w->group);
    world_free(w);
}

/* rule: proc-3 (every wait has a deadline): the innermost scope that ends first wins. */
static void scoped_fiber(void *arg)
{
    struct world *w = arg;
    uint64_t before = clock_mono_ms();
    {
        DEADLINE_SCOPE(20);
        {
            DEADLINE_SCOPE(60000);
            assert_int_equal(event_wait(&w->event, DEADLINE_NEVER), ERR_TIMEOUT);
        }
        assert_int_equal(wait_fd(&w->watch, WAIT_READ, DEADLINE_NEVER), ERR_TIMEOUT);
    }
    assert_true(clock_mono_ms() - before < 10000);
    assert_int_equal(wait_until(deadline_in_ms(5)), ERR_TIMEOUT);
    assert_int_equal(fiber_current()->scope_ms, DEADLINE_NEVER);
}

static void unscoped_fiber(void *arg)
{
    struct world *w = arg;
    assert_int_equal(fiber_current()->scope_ms, DEADLINE_NEVER); /* scopes belong to one fiber */
    w->count++;
}

static void scopes_nest(void **state)
{
    struct world *w = world_new();
    assert_int_equal(watch_open(&w->watch, w->fds[0]), ERR_OK);
    start(w, scoped_fiber);
    start(w, unscoped_fiber);
    fiber_group_join(&w->group);
    assert_int_equal(w->count, 1);
    watch_close(&w->watch);
    world_free(w);
}

static void read_all(void *arg)
{
    struct world *w = arg;
    char c[7];
    for (;;) {
        ssize_t n = read(w->fds[0], c, sizeof c);
        if (n > 0) {
            w->count += (int)n;
        } else if (n == 0) {
            w->err = ERR_EOF;
            return;
        } else {
            assert_int_equal(errno, EAGAIN);
            w->err = wait_fd(&w->watch, WAIT_READ, DEADLINE_NEVER);
            if (w->err != ERR_OK)
                return;
        }
    }
}

#define BULK (4 << 20)
static void write_all(void *arg)
{
    struct world *w = arg;
    struct watch out;
    static char chunk[65536];
    assert_int_equal(watch_open(&out, w->fds[1]), ERR_OK);
    for (int left = BULK; left > 0;) {
        ssize_t n = write(w->fds[1], chunk, (size_t)(left < 65536 ? left : 65536));
        if (n > 0)
            left -= (int)n;
        else
            assert_int_equal(wait_fd(&out, WAIT_WRITE, DEADLINE_NEVER), ERR_OK);
    }
    watch_close(&out);
    assert_int_equal(shutdown(w->fds[1], SHUT_WR), 0);
}

static void reader_and_writer_wait_for_each_other(void **state)
{
    struct world *w = world_new();
    assert_int_equal(watch_open(&w->watch, w->fds[0]), ERR_OK);
    start(w, read_all);
    start(w, write_all);
    fiber_group_join(&w->group);
    assert_int_equal(w->err, ERR_EOF);
    assert_int_equal(w->count, BULK);
    watch_close(&w->watch);
    world_free(w);
}

static void cancel_it(void *arg)
{
    struct world *w = arg;
    fiber_yield();
    fiber_group_cancel(&w->group);
}

static void cancelled_fiber(void *arg)
{
    struct world *w = arg;
    w->err = wait_fd(&w->watch, WAIT_READ, DEADLINE_NEVER);
    assert_true(fiber_canceled());
    assert_int_equal(wait_until(deadline_in_ms(60000)), ERR_CANCELED); /* and all later waits */
    assert_int_equal(event_wait(&w->event, DEADLINE_NEVER), ERR_CANCELED);
    assert_int_equal(wait_any(&w->watch, NULL, NULL, DEADLINE_NEVER), WAIT_ANY_CANCELED);
    assert_int_equal(fiber_start(&w->group, "late", cancel_it, w), ERR_CANCELED);
    w->count++;
}

static void cancellation_is_a_returned_error(void **state)
{
    struct world *w = world_new();
    struct fiber_group other;
    fiber_group_init(&other);
    assert_int_equal(watch_open(&w->watch, w->fds[0]), ERR_OK);
    start(w, cancelled_fiber);
    assert_int_equal(fiber_start(&other, "canceller", cancel_it, w), ERR_OK);
    fiber_group_join(&w->group);
    fiber_group_join(&other);
    assert_int_equal(w->err, ERR_CANCELED);
    assert_int_equal(w->count, 1);
    assert_null(w->watch.reader);
    watch_close(&w->watch);
    world_free(w);
}

static void nested_child(void *arg)
{
    struct world *w = arg;
    assert_int_equal(event_wait(&w->event, DEADLINE_NEVER), ERR_CANCELED);
    w->count++;
}

static void nested_parent(void *arg)
{
    struct fiber_group children;
    fiber_group_init(&children);
    for (int i = 0; i < 3; i++)
        assert_int_equal(fiber_start(&children, "child", nested_child, arg), ERR_OK);
    fiber_group_join(&children);
    ((struct world *)arg)->count += 10;
}

static void cancelled_joiner_cancels_what_it_joins(void **state)
{
    struct world *w = world_new();
    start(w, nested_parent);
    struct fiber_group other;
    fiber_group_init(&other);
    assert_int_equal(fiber_start(&other, "canceller", cancel_it, w), ERR_OK);
    fiber_group_join(&w->group);
    fiber_group_join(&other);
    assert_int_equal(w->count, 13);
    world_free(w);
}

static void stop_loop(void *arg)
{
    struct world *w = arg;
    fiber_yield();
    loop_stop(w->loop);
}

static void stopping_cancels_all(void **state)
{
    struct world *w = world_new();
    start(w, nested_parent);
    start(w, nested_child);
    start(w, stop_loop);
    loop_run(w->loop);
    assert_int_equal(w->count, 14);
    start(w, trace_b); /* the loop runs again afterwards */
    fiber_group_join(&w->group);
    assert_string_equal(w->trace, "b1 b2 ");
    world_free(w);
}

static void close_the_watch(void *arg)
{
    struct world *w = arg;
    fiber_yield();
    watch_close(&w->watch);
}

static void closing_a_watch_ends_the_wait(void **state)
{
    struct world *w = world_new();
    assert_int_equal(watch_open(&w->watch, w->fds[0]), ERR_OK);
    start(w, read_all);
    start(w, close_the_watch);
    fiber_group_join(&w->group);
    assert_int_equal(w->err, ERR_CANCELED);
    world_free(w);
}

static void any_waiter(void *arg)
{
    struct world *w = arg;
    struct watch second;
    char c;
    assert_int_equal(watch_open(&second, w->fds[1]), ERR_OK);
    assert_int_equal(wait_any(&w->watch, &second, &w->event, deadline_in_ms(10)), WAIT_ANY_TIMEOUT);
    w->count = 1;
    event_signal(&w->event);
    assert_int_equal(wait_any(&w->watch, &second, &w->event, DEADLINE_NEVER), WAIT_ANY_EVENT);
    w->count = 2;
    event_signal(&w->event);
    assert_int_equal(wait_any(&w->watch, &second, NULL, DEADLINE_NEVER), WAIT_ANY_READABLE);
    /* Half of the input is left in the kernel: it must be seen without a new edge. */
    assert_int_equal(read(w->fds[0], &c, 1), 1);
    assert_int_equal(wait_any(&w->watch, &second, NULL, deadline_in_ms(60000)), WAIT_ANY_READABLE);
    assert_int_equal(read(w->fds[0], &c, 1), 1);
    assert_int_equal(write(w->fds[0], "x", 1), 1);
    assert_int_equal(wait_any(&w->watch, &second, NULL, deadline_in_ms(60000)), WAIT_ANY_READABLE2);
    watch_close(&second);
}

static void any_driver(void *arg)
{
    struct world *w = arg;
    while (w->count < 1)
        assert_int_equal(event_wait(&w->event, DEADLINE_NEVER), ERR_OK);
    event_signal(&w->event);
    while (w->count < 2)
        assert_int_equal(event_wait(&w->event, DEADLINE_NEVER), ERR_OK);
    assert_int_equal(write(w->fds[1], "ab", 2), 2);
}

static void any_tells_which(void **state)
{
    struct world *w = world_new();
    assert_int_equal(watch_open(&w->watch, w->fds[0]), ERR_OK);
    start(w, any_waiter);
    start(w, any_driver);
    fiber_group_join(&w->group);
    watch_close(&w->watch);
    world_free(w);
}

/* Posts and completions from other threads */

#define POSTERS 4
#define POSTS 5000
struct posted {
    struct loop_task task;
    struct world *world;
};

static void posted_run(struct loop_task *task)
{
    struct posted *p = (struct posted *)task;
    assert_null(fiber_current());
    if (++p->world->count == POSTERS * POSTS)
        loop_stop(p->world->loop);
    free(p);
}

static void *poster(void *arg)
{
    struct world *w = arg;
    for (int i = 0; i < POSTS; i++) {
        struct posted *p = malloc(sizeof *p);
        *p = (struct posted){.task.fn = posted_run, .world = w};
        loop_post(w->loop, &p->task);
    }
    return NULL;
}

static void posts_come_from_any_thread(void **state)
{
    struct world *w = world_new();
    pthread_t threads[POSTERS];
    for (int i = 0; i < POSTERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, poster, w), 0);
    loop_run(w->loop);
    for (int i = 0; i < POSTERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(w->count, POSTERS * POSTS);
    world_free(w);
}

struct ending {
    int calls, quiet;
};
static void ending_run(void *arg, bool quiet)
{
    struct ending *e = arg;
    e->calls++;
    e->quiet += quiet;
}

static void do_nothing(void *arg) {}

static void ask_for_ending(void *arg)
{
    struct ending *e = ((struct world *)arg)->extra;
    assert_int_equal(loop_at_round_end(ending_run, e), ERR_OK);
    assert_int_equal(loop_at_round_end(ending_run, e), ERR_OK); /* once all the same */
    assert_int_equal(e->calls, 0);
    start(arg, do_nothing);
    assert_int_equal(loop_at_round_end(ending_run, e), ERR_BUSY); /* somebody is still to run */
    fiber_yield(); /* somebody is ready for the next round: not quiet */
    assert_int_equal(e->calls, 1);
    assert_int_equal(e->quiet, 0);
    assert_int_equal(loop_at_round_end(ending_run, e), ERR_OK);
    assert_int_equal(wait_until(deadline_in_ms(1)), ERR_TIMEOUT); /* nobody is */
    assert_int_equal(e->calls, 2);
    assert_int_equal(e->quiet, 1);
    assert_int_equal(loop_at_round_end(ending_run, e), ERR_OK);
    loop_at_round_end_forget(ending_run, e);
    assert_int_equal(wait_until(deadline_in_ms(1)), ERR_TIMEOUT);
    assert_int_equal(e->calls, 2);
    assert_int_equal(loop_at_round_end(ending_run, e), ERR_OK);
}

static void a_round_has_an_end(void **state)
{
    struct ending e = {0};
    assert_int_equal(loop_at_round_end(ending_run, &e), ERR_INVALID); /* no loop */
    struct world *w = world_new();
    w->extra = &e;
    start(w, ask_for_ending);
    loop_run_until_idle(w->loop);
    assert_int_equal(e.calls, 3); /* the last at the loop's own end */
    world_free(w);
}

static void read_short(void *arg)
{
    struct world *w = arg;
    char room[16];
    assert_int_equal(wait_fd(&w->watch, WAIT_READ, DEADLINE_NEVER), ERR_OK);
    assert_int_equal(read(w->fds[0], room, sizeof room), 3);
    watch_emptied(&w->watch);
    assert_false(watch_may_read(&w->watch));
    assert_false(watch_readable(&w->watch));
    assert_int_equal(write(w->fds[1], "end", 3), 3);
    assert_int_equal(shutdown(w->fds[1], SHUT_WR), 0);
    assert_int_equal(wait_fd(&w->watch, WAIT_READ, DEADLINE_NEVER), ERR_OK);
    assert_true(watch_may_read(&w->watch));
    assert_int_equal(read(w->fds[0], room, sizeof room), 3);
    watch_emptied(&w->watch); /* the end came with the same edge and is still to be read */
    assert_true(watch_may_read(&w->watch));
    assert_int_equal(read(w->fds[0], room, sizeof room), 0);
    w->count = 1;
}

static void an_emptied_watch_waits_for_the_next_edge(void **state)
{
    struct world *w = world_new();
    assert_int_equal(watch_open(&w->watch, w->fds[0]), ERR_OK);
    assert_int_equal(write(w->fds[1], "abc", 3), 3);
    start(w, read_short);
    loop_run_until_idle(w->loop);
    assert_int_equal(w->count, 1);
    watch_close(&w->watch);
    world_free(w);
}

static void *complete(void *c)
{
    completion_done(c);
    return NULL;
}

static void completion_waiter(void *arg)
{
    struct world *w = arg;
    for (int i = 0; i < 200; i++) {
        struct completion c;
        completion_init(&c);
        pthread_t t;
        assert_int_equal(pthread_create(&t, NULL, complete, &c), 0);
        completion_wait(&c);
        pthread_join(t, NULL);
    }
    w->count++;
}

static void completions_wake_fibers_and_threads(void **state)
{
    struct world *w = world_new();
    start(w, completion_waiter);
    fiber_group_cancel(&w->group); /* they are not interrupted */
    fiber_group_join(&w->group);
    completion_waiter(w);
    assert_int_equal(w->count, 2);
    world_free(w);
}

/* Timers */

struct order {
    struct loop_timer timer;
    struct world *world;
    int name;
};

static void timer_fired(struct loop_timer *t)
{
    struct order *o = (struct order *)t;
    char text[2] = {(char)('0' + o->name)};
    trace(o->world, text);
    if (o->name == 9)
        loop_stop(o->world->loop);
}

static void timers_fire_in_order(void **state)
{
    struct world *w = world_new();
    struct order orders[10];
    uint64_t now = clock_mono_ms();
    for (int i = 9; i >= 0; i--) {
        orders[i] = (struct order){.timer.fn = timer_fired, .world = w, .name = i};
        assert_int_equal(loop_timer_set(&orders[i].timer, now + 1000 + (uint64_t)i), ERR_OK);
    }
    for (int i = 0; i < 10; i++) /* moved */
        assert_int_equal(loop_timer_set(&orders[i].timer, now + 2 * (uint64_t)i), ERR_OK);
    loop_timer_clear(&orders[3].timer);
    loop_timer_clear(&orders[3].timer);
    loop_run(w->loop);
    assert_string_equal(w->trace, "012456789");
    world_free(w);
}

/* Stacks */

static void many_waiter(void *arg)
{
    struct world *w = arg;
    w->count++;
    enum err e = event_wait(&w->event, DEADLINE_NEVER);
    assert_true(e == ERR_OK || e == ERR_CANCELED);
}

#if defined(OS_TSAN)
#define MANY 1000
#else
#define MANY 20000
#endif
static void twenty_thousand_fibers_live(void **state)
{
    struct world *w = world_new();
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < MANY; i++)
            start(w, many_waiter);
        struct fiber_group other;
        fiber_group_init(&other);
        assert_int_equal(fiber_start(&other, "canceller", cancel_it, w), ERR_OK);
        fiber_group_join(&w->group);
        fiber_group_join(&other);
        w->group.canceled = false;
    }
    assert_int_equal(w->count, 2 * MANY);
    stack_trim(&w->loop->stacks);
    assert_true(w->loop->stacks.count <= LOOP_STACKS_KEPT);
    assert_int_equal(w->loop->stacks.cold, w->loop->stacks.count - STACKS_HOT);
    world_free(w);
}

/* With the sanitizer: what is mapped where stacks were has nothing of them. */
static void stacks_leave_nothing_behind(void **state)
{
    enum { FIBERS = 100 };
    struct world *w = world_new();
    struct fiber_group other;
    size_t sum = 0, len = (size_t)FIBERS * STACK_BYTES;
    for (int i = 0; i < FIBERS; i++)
        start(w, many_waiter);
    fiber_group_init(&other);
    assert_int_equal(fiber_start(&other, "canceller", cancel_it, w), ERR_OK);
    fiber_group_join(&w->group);
    fiber_group_join(&other);
    assert_int_equal(w->count, FIBERS);
    world_free(w);
    volatile char *at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(at != MAP_FAILED);
    for (size_t i = 0; i < len; i += 8)
        sum += (uint8_t)at[i];
    assert_int_equal(sum, 0);
    munmap((void *)(uintptr_t)at, len);
}

#if !defined(OS_ASAN) && !defined(OS_TSAN)
static void no_room_for_a_stack_is_an_error(void **state)
{
    struct world *w = world_new();
    struct rlimit before, small;
    assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
    small = before;
    small.rlim_cur = 512u << 20;
    assert_int_equal(setrlimit(RLIMIT_AS, &small), 0);
    enum err e = ERR_OK;
    int started = 0;
    while (e == ERR_OK && started < 100000) {
        e = fiber_start(&w->group, "test", many_waiter, w);
        started += e == ERR_OK;
    }
    assert_int_equal(e, ERR_NOMEM);
    assert_true(started > 1000);
    struct fiber_group other;
    fiber_group_init(&other);
    fiber_group_cancel(&w->group);
    fiber_group_join(&w->group);
    assert_int_equal(w->count, started); /* all those that were started ran and ended */
    assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
    world_free(w);
}
#endif

static void table_line(void *arg, const char *line)
{
    struct world *w = arg;
    trace(w, line);
    trace(w, "\n");
}

static void table_reader(void *arg)
{
    fiber_set_name("reader of the table");
    fiber_table(table_line, arg);
    event_signal(&((struct world *)arg)->event);
}

static void table_shows_name_and_reason(void **state)
{
    struct world *w = world_new();
    start(w, many_waiter);
    start(w, table_reader);
    fiber_group_join(&w->group);
    assert_non_null(strstr(w->trace, "test: event "));
    assert_non_null(strstr(w->trace, "reader of the table: running"));
    world_free(w);
}

static char last_line[LOG_LINE_MAX + 1];
static void keep_line(enum log_level level, str line)
{
    memcpy(last_line, line.data, line.len);
    last_line[line.len] = 0;
}

static void slow_fiber(void *arg)
{
    uint64_t until = clock_mono_ms() + 60;
    while (clock_mono_ms() < until)
        ;
}

static void watchdog_names_the_slow_fiber(void **state)
{
    struct world *w = world_new();
    log_set_sink(keep_line);
    assert_int_equal(fiber_start(&w->group, "slowpoke", slow_fiber, w), ERR_OK);
    fiber_group_join(&w->group);
    log_set_sink(NULL);
    assert_non_null(strstr(last_line, "slowpoke"));
    world_free(w);
}

static void waits_block_off_a_fiber(void **state)
{
    int fds[2];
    struct watch watch;
    assert_int_equal(sock_pair(fds), ERR_OK);
    assert_int_equal(watch_open(&watch, fds[0]), ERR_OK);
    assert_int_equal(wait_fd(&watch, WAIT_READ, deadline_in_ms(5)), ERR_TIMEOUT);
    assert_int_equal(wait_any(&watch, NULL, NULL, deadline_in_ms(5)), WAIT_ANY_TIMEOUT);
    {
        DEADLINE_SCOPE(5);
        assert_int_equal(wait_fd(&watch, WAIT_READ, DEADLINE_NEVER), ERR_TIMEOUT);
    }
    assert_int_equal(write(fds[1], "x", 1), 1);
    assert_int_equal(wait_fd(&watch, WAIT_READ, DEADLINE_NEVER), ERR_OK);
    assert_int_equal(wait_any(&watch, NULL, NULL, DEADLINE_NEVER), WAIT_ANY_READABLE);
    assert_true(watch_readable(&watch));
    assert_int_equal(wait_until(deadline_in_ms(5)), ERR_TIMEOUT);
    watch_close(&watch);
    close(fds[0]);
    close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fibers_take_turns),
        cmocka_unit_test(event_wakes_all_present),
        cmocka_unit_test(event_times_out),
        cmocka_unit_test(scopes_nest),
        cmocka_unit_test(reader_and_writer_wait_for_each_other),
        cmocka_unit_test(cancellation_is_a_returned_error),
        cmocka_unit_test(cancelled_joiner_cancels_what_it_joins),
        cmocka_unit_test(stopping_cancels_all),
        cmocka_unit_test(closing_a_watch_ends_the_wait),
        cmocka_unit_test(any_tells_which),
        cmocka_unit_test(posts_come_from_any_thread),
        cmocka_unit_test(a_round_has_an_end),
        cmocka_unit_test(an_emptied_watch_waits_for_the_next_edge),
        cmocka_unit_test(completions_wake_fibers_and_threads),
        cmocka_unit_test(timers_fire_in_order),
        cmocka_unit_test(twenty_thousand_fibers_live),
        cmocka_unit_test(stacks_leave_nothing_behind),
#if !defined(OS_ASAN) && !defined(OS_TSAN)
        cmocka_unit_test(no_room_for_a_stack_is_an_error),
#endif
        cmocka_unit_test(table_shows_name_and_reason),
        cmocka_unit_test(watchdog_names_the_slow_fiber),
        cmocka_unit_test(waits_block_off_a_fiber),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
