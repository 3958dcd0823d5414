/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "os/loop_impl.h"
#include "os/offload.h"
#include "os/proc.h"
#include "os/sock.h"

static struct proc_exit await(int pid)
{
    struct proc_exit e = {0};
    for (int i = 0; i < 2000 && !proc_reap(&e); i++)
        poll(NULL, 0, 5);
    assert_int_equal(e.pid, pid);
    return e;
}

static int answer(void *arg) { return *(int *)arg; }

static int die(void *arg)
{
    raise(SIGKILL);
    return 0;
}

static void children_end_and_are_reaped(void **state)
{
    int pid, code = 42;
    struct proc_exit none;
    assert_false(proc_reap(&none));
    assert_int_equal(proc_fork(answer, &code, &pid), ERR_OK);
    assert_int_equal(await(pid).code, 42);
    assert_int_equal(proc_fork(die, NULL, &pid), ERR_OK);
    assert_int_equal(await(pid).signal, SIGKILL);
    assert_int_equal(proc_fork(answer, &code, &pid), ERR_OK);
    proc_kill(pid, SIGTERM);
    struct proc_exit e = await(pid);
    assert_true(e.signal == SIGTERM || e.code == 42);
}

static int hide(void *arg)
{
    return proc_hide_memory() == ERR_OK && prctl(PR_GET_DUMPABLE) == 0 ? 5 : 1;
}

static void memory_is_hidden(void **state)
{
    int pid;
    assert_int_equal(proc_fork(hide, NULL, &pid), ERR_OK);
    assert_int_equal(await(pid).code, 5);
}

static int hang(void *arg)
{
    poll(NULL, 0, 60000);
    return 0;
}

static void awaits(void *arg)
{
    int pid, code = 3;
    assert_int_equal(proc_fork(answer, &code, &pid), ERR_OK);
    assert_int_equal(proc_await(pid, deadline_in_ms(20000)), ERR_OK);
    assert_int_equal(proc_fork(hang, NULL, &pid), ERR_OK);
    assert_int_equal(proc_await(pid, deadline_in_ms(30)), ERR_TIMEOUT);
    struct proc_exit none;
    assert_false(proc_reap(&none)); /* both were taken away */
}

/* On a fiber and off one. */
static void a_child_is_awaited(void **state)
{
    struct loop *l;
    struct fiber_group g;
    awaits(NULL);
    assert_int_equal(loop_open(&l, NULL), ERR_OK);
    fiber_group_init(&g);
    assert_int_equal(fiber_start(&g, "awaits", awaits, NULL), ERR_OK);
    loop_run_until_idle(l);
    loop_close(l);
}

static void child_fiber(void *arg) { *(int *)arg += 1; }

/* A role: it opens its own loop though its parent has one, on a stack that fits a role. */
static int role(void *arg)
{
    volatile char large[1 << 20];
    large[0] = large[sizeof large - 1] = 1;
    if (loop_current())
        return 1;
    struct loop *l;
    struct fiber_group g;
    int n = 6;
    fiber_group_init(&g);
    if (loop_open(&l, NULL) != ERR_OK || fiber_start(&g, "child", child_fiber, &n) != ERR_OK)
        return 2;
    fiber_group_join(&g);
    loop_close(l);
    return n;
}

static void forking_fiber(void *arg)
{
    assert_int_equal(proc_fork(role, NULL, arg), ERR_OK);
    assert_int_equal(wait_until(deadline_in_ms(5)), ERR_TIMEOUT); /* this loop goes on */
}

static void a_fiber_can_fork(void **state)
{
    struct loop *l;
    struct fiber_group g;
    int pid = 0;
    fiber_group_init(&g);
    assert_int_equal(loop_open(&l, NULL), ERR_OK);
    assert_int_equal(fiber_start(&g, "forker", forking_fiber, &pid), ERR_OK);
    fiber_group_join(&g);
    assert_int_equal(await(pid).code, 7);
    loop_close(l);
}

static int linger(void *arg)
{
    char c = 'x';
    if (write(((int *)arg)[1], &c, 1) != 1)
        return 1;
    poll(NULL, 0, 60000);
    return 0;
}

static int middle(void *arg)
{
    int pid;
    if (proc_fork(linger, arg, &pid) != ERR_OK)
        return 1;
    poll(NULL, 0, 60000);
    return 0;
}

static void child_dies_with_its_parent(void **state)
{
    int fds[2], pid;
    char c;
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(proc_fork(middle, fds, &pid), ERR_OK);
    close(fds[1]);
    assert_int_equal(read(fds[0], &c, 1), 1); /* the grandchild lives */
    proc_kill(pid, SIGKILL);
    assert_int_equal(await(pid).signal, SIGKILL);
    struct pollfd p = {.fd = fds[0], .events = POLLIN};
    assert_int_equal(poll(&p, 1, 10000), 1);
    assert_int_equal(read(fds[0], &c, 1), 0); /* and has ended: nobody holds the pipe */
    close(fds[0]);
}

static int signalled(void *arg)
{
    int fd;
    if (proc_signals_open(&fd) != ERR_OK || proc_signals_next(fd) != 0)
        return 1;
    raise(SIGHUP);
    raise(SIGTERM);
    int seen = 0, n;
    while ((n = proc_signals_next(fd)) != 0)
        seen += n;
    return seen == SIGHUP + SIGTERM ? 0 : 2;
}

static void signals_arrive_on_a_descriptor(void **state)
{
    int pid;
    assert_int_equal(proc_fork(signalled, NULL, &pid), ERR_OK);
    assert_int_equal(await(pid).code, 0);
}

/* rule: proc-2: a crash leaves a stack trace, with the fibers. */
static void aborting_fiber(void *arg) { abort(); }

static int overflow(volatile char *above)
{
    volatile char frame[512];
    frame[0] = above[0];
    return above[0] < 0 ? 0 : overflow(frame) + frame[0];
}

static void overflowing_fiber(void *arg)
{
    char start = 0;
    overflow(&start);
}

static int crash_in_a_fiber(void *arg)
{
    struct loop *l;
    struct fiber_group g;
    fiber_group_init(&g);
    dup2(((int *)arg)[1], STDERR_FILENO);
    proc_crash_handler();
    if (loop_open(&l, &(struct loop_options){.name = "crashing"}) != ERR_OK ||
        fiber_start(&g, "bystander", aborting_fiber, NULL) != ERR_OK)
        return 1;
    fiber_fn *fn = ((int *)arg)[2] ? overflowing_fiber : aborting_fiber;
    struct fiber *f;
    if (fiber_new(l, &g, "culprit", fn, NULL, &f) != ERR_OK)
        return 2;
    fiber_run(l, f);
    return 3;
}

static void crash_report(bool by_overflow, int signal)
{
    int fds[3], pid;
    static char report[65536];
    size_t len = 0;
    ssize_t n;
    assert_int_equal(pipe(fds), 0);
    fds[2] = by_overflow;
    assert_int_equal(proc_fork(crash_in_a_fiber, fds, &pid), ERR_OK);
    close(fds[1]);
    while ((n = read(fds[0], report + len, sizeof report - 1 - len)) > 0)
        len += (size_t)n;
    report[len] = 0;
    close(fds[0]);
    assert_int_equal(await(pid).signal, signal);
    assert_non_null(strstr(report, "crash: "));
    assert_non_null(strstr(report, "fibers of loop crashing"));
    assert_non_null(strstr(report, "bystander: ready"));
    assert_non_null(strstr(report, "culprit: running"));
    assert_non_null(strstr(report, "(current)"));
}

static void crash_is_reported_with_its_fibers(void **state)
{
    crash_report(false, SIGABRT);
#if !defined(OS_ASAN) && !defined(OS_TSAN)
    crash_report(true, SIGSEGV);
#endif
}

static void title_is_set(void **state)
{
    char name[17] = {0};
    proc_set_title("posthouse-gate-and-more");
    prctl(PR_GET_NAME, name);
    assert_string_equal(name, "posthouse-gate-");
}

#define ONE_MIB ((size_t)1 << 20)

/* glibc keeps the second in the heap unless it is told. */
static int keeper_of_memory(void *arg)
{
    if (arg)
        proc_return_memory();
    for (int i = 0; i < 2; i++) {
        size_t before = mallinfo2().hblkhd;
        char *p = malloc(ONE_MIB);
        if (!p)
            return 2;
        *(volatile char *)p = 1;
        bool own = mallinfo2().hblkhd >= before + ONE_MIB;
        free(p);
        if (!own)
            return 1;
    }
    return 0;
}

static void large_memory_goes_back(void **state)
{
    int pid;
    if (getenv("SANITIZED")) /* they have an allocator of their own */
        return;
    assert_int_equal(proc_fork(keeper_of_memory, NULL, &pid), ERR_OK);
    assert_int_equal(await(pid).code, 1);
    assert_int_equal(proc_fork(keeper_of_memory, &pid, &pid), ERR_OK);
    assert_int_equal(await(pid).code, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(children_end_and_are_reaped),
        cmocka_unit_test(a_fiber_can_fork),
        cmocka_unit_test(memory_is_hidden),
        cmocka_unit_test(a_child_is_awaited),
        cmocka_unit_test(child_dies_with_its_parent),
        cmocka_unit_test(signals_arrive_on_a_descriptor),
        cmocka_unit_test(crash_is_reported_with_its_fibers),
        cmocka_unit_test(title_is_set),
        cmocka_unit_test(large_memory_goes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
