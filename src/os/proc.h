/* SPDX-License-Identifier: Apache-2.0
 *
 * proc: child processes and signals. No shell, ever.
 */
#ifndef OS_PROC_H
#define OS_PROC_H

#include "base/err.h"

#include <stdint.h>

/* Forks; the child runs fn(arg) and exits with its result. The child dies with its parent
 * (PR_SET_PDEATHSIG). In the child no loop is open any more (it may open its own), signals are
 * unblocked, and fn runs on a full-sized stack also when the caller is a fiber. Call it while the
 * process has no other threads. ERR_NOMEM. */
enum err proc_fork(int (*fn)(void *arg), void *arg, int *pid) WAITS MUST;
struct proc_exit {
    int pid, code, signal; /* signal 0 when it exited */
};
/* A descriptor that is readable when one of the named signals or SIGCHLD came. */
enum err proc_signals_open(int *fd) MUST; /* TERM INT HUP CHLD USR1; blocked in this thread */
/* The next signal number, 0 when none is pending. */
int proc_signals_next(int fd);
bool proc_reap(struct proc_exit *out); /* one ended child; false when none */
/* Waits until this child has ended, and takes it away. At the deadline it is killed. ERR_TIMEOUT,
 * ERR_CANCELED. */
enum err proc_await(int pid, uint64_t deadline_ms) WAITS MUST;
/* In a child: closes the connected local sockets and memory files (from 3 on, but for `keep`) that
 * were on their way to others when it was forked. */
void proc_close_passed(int keep);
/* This process's memory never becomes a core file, and nobody but root looks into it. After
 * sandbox_enter. ERR_IO. */
enum err proc_hide_memory(void) MUST;
void proc_kill(int pid, int signal);    /* pid > 0 */
void proc_set_title(const char *title); /* for ps and top; cut after 15 bytes */
/* From now on what is freed of PROC_LARGE bytes and more goes back to the system, and so does the
 * end of each heap: else an index once built stays in memory for ever. Also for what is forked. */
#define PROC_LARGE 262144
void proc_return_memory(void);
/* A handler that prints the stack trace and the fiber table to standard error on a crash (a fiber's
 * stack overflow too), then dies of the signal. Once, early: it is inherited by forks. */
void proc_crash_handler(void);

#endif
