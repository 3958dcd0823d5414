/* SPDX-License-Identifier: Apache-2.0 */
#include "os/proc.h"

#include <assert.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/chan.h"
#include "os/loop_impl.h"
#include "os/sys.h"
#include "os/wait.h"

#define PASSED_FD_MAX 65536

/* What is on its way between processes: a connected local socket, or a memory file. */
static bool is_passed(int fd)
{
    int domain = 0, listens = 0;
    socklen_t len = sizeof domain;
    if (fcntl(fd, F_GET_SEALS) >= 0)
        return true;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) != 0 || domain != AF_UNIX)
        return false;
    len = sizeof listens;
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) == 0 && !listens;
}

void proc_close_passed(int keep)
{
    long max = sysconf(_SC_OPEN_MAX);
    for (int fd = 3; fd < max && fd < PASSED_FD_MAX; fd++) {
        if (fd != keep && is_passed(fd))
            close(fd);
    }
}

/* In the child. What the parent has (epoll, threads, seeds) is not the child's. */
static void proc_child(int parent, int (*fn)(void *arg), void *arg)
{
    loop_forget();
    offload_forget();
    rand_forget();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) /* it died before the line above */
        _exit(1);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int code = fn(arg);
    fflush(NULL);
    _exit(code); /* the exit handlers are the parent's */
}

static enum err proc_fork_here(int (*fn)(void *arg), void *arg, int *pid)
{
    int parent = getpid();
    fflush(NULL); /* else both print what is buffered */
    *pid = fork();
    if (*pid == 0)
        proc_child(parent, fn, arg);
    return *pid > 0 ? ERR_OK : sys_err(errno);
}

/* A fiber's stack is too small for a whole role, so the fork happens on the loop's. */
struct fork_task {
    struct loop_task task;
    struct completion done;
    int (*fn)(void *arg);
    void *arg;
    int *pid;
    enum err result;
};

static void proc_fork_task(struct loop_task *task)
{
    struct fork_task *t = container_of(task, struct fork_task, task);
    t->result = proc_fork_here(t->fn, t->arg, t->pid);
    completion_done(&t->done);
}

enum err proc_fork(int (*fn)(void *arg), void *arg, int *pid)
{
    if (!fiber_current())
        return proc_fork_here(fn, arg, pid);
    struct fork_task t = {.task.fn = proc_fork_task, .fn = fn, .arg = arg, .pid = pid};
    completion_init(&t.done);
    loop_post(loop_current(), &t.task);
    completion_wait(&t.done);
    return t.result;
}

enum err proc_signals_open(int *fd)
{
    static const int wanted[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD, SIGUSR1};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
        sigaddset(&set, wanted[i]);
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0)
        return ERR_IO;
    *fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    return *fd >= 0 ? ERR_OK : sys_err(errno);
}

int proc_signals_next(int fd)
{
    struct signalfd_siginfo info;
    ssize_t n = read(fd, &info, sizeof info);
    return n == (ssize_t)sizeof info ? (int)info.ssi_signo : 0;
}

bool proc_reap(struct proc_exit *out)
{
    int status, pid;
    do {
        pid = waitpid(-1, &status, WNOHANG);
    } while (pid < 0 && errno == EINTR);
    if (pid <= 0)
        return false;
    *out = (struct proc_exit){.pid = pid};
    if (WIFSIGNALED(status))
        out->signal = WTERMSIG(status);
    else
        out->code = WEXITSTATUS(status);
    return true;
}

static enum err await_end(int fd, uint64_t deadline_ms) WAITS
{
    struct watch w;
    TRY(watch_open(&w, fd));
    enum err e = wait_fd(&w, WAIT_READ, deadline_ms);
    watch_close(&w);
    return e;
}

enum err proc_await(int pid, uint64_t deadline_ms)
{
    assert(pid > 0);
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    enum err e = fd >= 0 ? await_end(fd, deadline_ms) : ERR_OK; /* it was reaped already */
    if (fd >= 0)
        close(fd);
    if (e != ERR_OK)
        kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ; /* it has ended, or is about to */
    return e;
}

enum err proc_hide_memory(void) { return prctl(PR_SET_DUMPABLE, 0) == 0 ? ERR_OK : ERR_IO; }

void proc_kill(int pid, int signal)
{
    assert(pid > 0); /* 0 and below name groups */
    kill(pid, signal);
}

void proc_set_title(const char *title) { prctl(PR_SET_NAME, title); }

void proc_return_memory(void)
{
    /* Setting them ends that glibc raises them with the largest block it has seen. */
    (void)mallopt(M_MMAP_THRESHOLD, PROC_LARGE);
    (void)mallopt(M_TRIM_THRESHOLD, PROC_LARGE);
}

/* The crash handler */

static void crash_say(const char *text)
{
    ssize_t n = write(STDERR_FILENO, text, strlen(text));
    (void)n;
}

/* Best effort on the signal stack; the alarm ends it should a lock be held or a list be torn. */
static void crash(int number, siginfo_t *info, void *context)
{
    signal(SIGALRM, SIG_DFL);
    alarm(3);
    char line[160];
    snprintf(line, sizeof line, "crash: %s pid=%d address=%p\n", strsignal(number), getpid(),
             number == SIGABRT ? NULL : info->si_addr);
    crash_say(line);
    void *frames[64];
    backtrace_symbols_fd(frames, backtrace(frames, ARRAY_LEN(frames)), STDERR_FILENO);
    fiber_table_dump_all(STDERR_FILENO);
    /* SA_RESETHAND: the second time it kills. */
    raise(number);
}

void proc_crash_handler(void)
{
#if defined(OS_ASAN) || defined(OS_TSAN)
    static const int fatal[] = {SIGABRT}; /* the sanitizer reports the others better */
#else
    static const int fatal[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    static char stack_room[65536];
    stack_t stack = {.ss_sp = stack_room, .ss_size = sizeof stack_room};
    stack_t present;
    if (sigaltstack(NULL, &present) == 0 && (present.ss_flags & SS_DISABLE))
        sigaltstack(&stack, NULL);
#endif
    void *frame;
    backtrace(&frame, 1); /* loads the unwinder now: a sandbox opens no file */
    struct sigaction action = {.sa_sigaction = crash,
                               .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESETHAND | SA_NODEFER};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < ARRAY_LEN(fatal); i++)
        sigaction(fatal[i], &action, NULL);
}
