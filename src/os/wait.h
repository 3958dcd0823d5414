/* SPDX-License-Identifier: Apache-2.0
 *
 * wait: everything a fiber can wait for. Off a fiber each call blocks the thread (poll, nanosleep),
 * so that protocol code runs in a unit test over a socketpair.
 * Every wait has a deadline: its own, and that of the innermost scope.
 */
#ifndef OS_WAIT_H
#define OS_WAIT_H

#include "base/err.h"
#include "base/list.h"
#include "os/clock.h"

struct fiber;

/* A descriptor known to the loop, edge-triggered, for its whole life. Room to write is asked of the
 * kernel only while somebody waits for it: a Unix socket tells of room each time its peer reads. */
struct watch {
    int fd;
    uint32_t ready;                /* WAIT_* seen and not yet used up */
    struct fiber *reader, *writer; /* at most one of each waits */
    struct park *park;
    bool registered, always_ready; /* always_ready: a regular file, which epoll refuses */
    bool emptied;                  /* all input was read; the next comes with a new edge */
};
enum { WAIT_READ = 1, WAIT_WRITE = 2, WAIT_HANGUP = 4 };

/* fd must be non-blocking and stays the caller's. Off a loop it registers nothing. */
enum err watch_open(struct watch *w, int fd) MUST;
void watch_close(struct watch *w); /* before close(fd); waiting fibers get ERR_CANCELED */
/* A descriptor is handed to another thread or process by closing its watch here and opening one
 * there; whatever is unread in the kernel is seen by the new watch. */

/* Waits until the descriptor is ready for what (one of READ, WRITE). The caller first tries the
 * system call and waits only after EAGAIN. ERR_TIMEOUT, ERR_CANCELED. */
enum err wait_fd(struct watch *w, int what, uint64_t deadline_ms) WAITS MUST;
/* True when the descriptor has input (or its end) right now; asks the kernel, if it was not emptied
 * since the last edge. Never waits. */
bool watch_readable(struct watch *w);
/* The caller's read left nothing in the kernel (it got less than it had room for; epoll(7)). */
void watch_emptied(struct watch *w);
/* False: a read would certainly find nothing before the loop has told of more. */
bool watch_may_read(const struct watch *w);

/* An event between fibers of one thread. signal wakes all present waiters; it is not remembered,
 * so check the condition in a loop. */
struct event {
    struct list waiters; /* of struct event_waiter */
};
struct event_waiter { /* os's: a waiting fiber or a parked connection */
    struct list link;
    void (*wake)(struct event_waiter *);
};
void event_init(struct event *e);
void event_signal(struct event *e); /* never switches; from any code on the event's thread */
enum err event_wait(struct event *e, uint64_t deadline_ms) WAITS MUST;

enum err wait_until(uint64_t deadline_ms) WAITS MUST; /* ERR_TIMEOUT when it is reached */

/* Waits for the first of several. Any may be NULL / DEADLINE_NEVER. The result says which. */
enum wait_any_result {
    WAIT_ANY_READABLE,
    WAIT_ANY_READABLE2,
    WAIT_ANY_EVENT,
    WAIT_ANY_TIMEOUT,
    WAIT_ANY_CANCELED
};
enum wait_any_result wait_any(struct watch *readable, struct watch *readable2, struct event *event,
                              uint64_t deadline_ms) WAITS;

/* A deadline for everything the current fiber does in a scope:
 *   DEADLINE_SCOPE(30000);   // at most 30 s from here to the end of the block
 * Nested scopes: the earliest wins. */
struct deadline_scope {
    uint64_t outer_ms;
};
struct deadline_scope deadline_scope_enter(uint64_t ms);
void deadline_scope_leave(struct deadline_scope *s);
#define DEADLINE_SCOPE_NAME2(line) deadline_scope_##line
#define DEADLINE_SCOPE_NAME(line) DEADLINE_SCOPE_NAME2(line)
#define DEADLINE_SCOPE(ms)                                                                         \
    __attribute__((cleanup(deadline_scope_leave), unused)) struct deadline_scope                   \
    DEADLINE_SCOPE_NAME(__LINE__) = deadline_scope_enter(ms)

#endif
