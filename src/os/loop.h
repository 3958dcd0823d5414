/* SPDX-License-Identifier: Apache-2.0
 *
 * loop: one epoll loop per thread. It runs fibers (os/fiber.h), timers, posted tasks and parked
 * connections (os/park.h). There is no other event loop in the program.
 */
#ifndef OS_LOOP_H
#define OS_LOOP_H

#include "base/err.h"
#include "base/heap.h"

struct loop;

struct loop_options {
    const char *name;       /* borrowed; for logs and the fiber table */
    size_t stacks_kept;     /* free stacks kept in the pool; 0 means LOOP_STACKS_KEPT */
    uint32_t slice_warn_ms; /* watchdog: a slice longer than this is logged; 0 means 20 */
};
#define LOOP_STACKS_KEPT 64

/* Makes the calling thread's loop. One per thread at most. The process ignores SIGPIPE from now on.
 */
enum err loop_open(struct loop **out, const struct loop_options *options) MUST;
/* Runs until loop_stop and until no fiber is left. When it stops, all fibers are cancelled and all
 * parked connections are resumed with PARK_CANCELED. */
void loop_run(struct loop *l);
/* Runs until no fiber and no parked connection is left, without stopping anything: for tests and
 * commands. Timers and tasks still pending are not waited for. */
void loop_run_until_idle(struct loop *l);
/* From any thread or a signal handler. */
void loop_stop(struct loop *l);
bool loop_stopping(const struct loop *l);
void loop_close(struct loop *l); /* on its thread, after loop_run */

struct loop *loop_current(void); /* NULL on a thread without a loop */
uint64_t loop_now_ms(void);      /* monotonic time of this round; clock_mono_ms off a loop */

/* A task runs fn(task) once on the loop's thread, outside any fiber, soon; it must not wait.
 * The caller owns the task until fn is called. From any thread, lock-free, never fails. */
struct loop_task {
    void (*fn)(struct loop_task *);
    struct loop_task *next; /* the loop's */
};
void loop_post(struct loop *l, struct loop_task *task);

/* Calls fn once, on this loop's thread and off any fiber, when this round of the loop ends, which
 * it is about to: ERR_BUSY when other fibers are still to run. quiet: nobody has become ready
 * meanwhile, and the loop would sleep; then fn may block for a moment, well under a millisecond.
 * The same fn and arg again, before that, is one call. ERR_LIMIT beyond LOOP_ENDINGS_MAX,
 * ERR_INVALID without a loop. */
#define LOOP_ENDINGS_MAX 4
typedef void loop_ending_fn(void *arg, bool quiet);
enum err loop_at_round_end(loop_ending_fn *fn, void *arg) MUST;
void loop_at_round_end_forget(loop_ending_fn *fn, void *arg);

/* A timer runs fn(timer) on the loop's thread outside any fiber; it must not wait. */
struct loop_timer {
    void (*fn)(struct loop_timer *);
    struct heap_node node; /* the loop's */
};
/* Zero the struct and set fn before the first use. Again: moves it. DEADLINE_NEVER: clears it.
 * ERR_NOMEM. */
enum err loop_timer_set(struct loop_timer *t, uint64_t deadline_ms) MUST;
void loop_timer_clear(struct loop_timer *t); /* no-op when not set */

#endif
