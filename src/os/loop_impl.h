/* SPDX-License-Identifier: Apache-2.0
 *
 * loop_impl: what loop, fiber, wait and park share. Private to os/.
 */
#ifndef OS_LOOP_IMPL_H
#define OS_LOOP_IMPL_H

#include "base/heap.h"
#include "base/list.h"
#include "base/num.h"
#include "os/fiber.h"
#include "os/loop.h"
#include "os/park.h"
#include "os/wait.h"

#if defined(__SANITIZE_ADDRESS__)
#define OS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define OS_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define OS_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define OS_TSAN 1
#endif
#endif

#if defined(OS_ASAN) || defined(OS_TSAN)
#define STACK_BYTES ((size_t)FIBER_STACK_BYTES * 4)
#else
#define STACK_BYTES ((size_t)FIBER_STACK_BYTES)
#endif

/* Free stacks of one loop. The newest are hot: their pages stay. After a quiet second the others
 * give their pages back, and what is more than `kept` is unmapped. */
struct stack_pool {
    char **bases;
    size_t count, cap, kept;
    size_t cold;         /* bases[0..cold) hold no pages */
    uint64_t trim_at_ms; /* DEADLINE_NEVER when nothing is to be trimmed */
};
#define STACKS_HOT 8
#define STACKS_FREE_MAX 4096 /* free stacks in a burst, before the trim */
#define STACKS_TRIM_MS 1000
char *stack_get(struct stack_pool *p); /* lowest usable byte of STACK_BYTES, or NULL */
void stack_put(struct stack_pool *p, char *base);
void stack_trim(struct stack_pool *p);
void stack_pool_free(struct stack_pool *p);

enum fiber_state { FIBER_READY, FIBER_RUNNING, FIBER_WAITING, FIBER_ENDED };
enum fiber_wake { WAKE_FIRST, WAKE_SECOND, WAKE_EVENT, WAKE_TIMEOUT, WAKE_CANCELED, WAKE_YIELD };

/* Lives at the top of its own stack. */
struct fiber {
    struct list run_link, all_link, group_link;
    struct loop *loop;
    struct fiber_group *group;
    const char *name;
    fiber_fn *fn;
    void *arg;
    void *context;
    char *stack;
    enum fiber_state state;
    uint64_t scope_ms; /* innermost deadline scope */
    /* one wait */
    enum fiber_wake woken_by;
    const char *wait_reason;
    uint64_t wait_since_ms;
    struct watch *watches[2];
    struct event_waiter event_waiter;
    struct loop_timer timer;
    struct fiber_group *joining;
    bool uninterruptible;
    /* sanitizers */
    void *asan_fake;
    void *tsan;
};

struct loop {
    const char *name;
    int epoll_fd, wake_fd;
    uint64_t now_ms;
    uint64_t slice_warn_ms;
    struct heap timers;
    struct list ready, yielded;   /* of struct fiber by run_link */
    struct list all;              /* of struct fiber by all_link */
    struct list parked, resuming; /* of struct park by loop_link */
    struct fiber *current;
    void *context; /* of the loop itself, while a fiber runs */
    struct stack_pool stacks;
    struct loop_task *posted; /* atomic, newest first */
    uint32_t asleep;          /* atomic: a poster must write wake_fd */
    uint32_t posting;         /* atomic: threads inside loop_post */
    uint32_t stop;            /* atomic */
    bool running, canceling, starved;
    uint64_t slices_late;
    struct loop_ending {
        loop_ending_fn *fn;
        void *arg;
    } endings[LOOP_ENDINGS_MAX];
    size_t nendings;
    void *alt_stack; /* signal stack of this thread, so a fiber's overflow can be reported */
    const void *asan_bottom;
    size_t asan_size;
    void *tsan;
};

/* The loop at large. */
/* Runs rounds while more(arg); off any fiber, not inside another run of the loop. */
void loop_run_while(struct loop *l, bool (*more)(void *arg), void *arg);
void loop_forget(void); /* in a forked child: this process has no loop */
#define LOOPS_MAX 64
struct loop *loop_nth(size_t n); /* of the process; NULL when there is none at n < LOOPS_MAX */

/* fiber.c: called by the loop, off any fiber. */
void fiber_run(struct loop *l, struct fiber *f);
enum err fiber_new(struct loop *l, struct fiber_group *g, const char *name, fiber_fn *fn, void *arg,
                   struct fiber **out) MUST;
void fiber_cancel_all(struct loop *l);
void fiber_group_left(struct fiber_group *g); /* signals ended when nothing is left */

/* Called on the fiber: registers nothing, switches to the loop until fiber_wake. */
enum fiber_wake fiber_block(struct fiber *f, const char *reason, uint64_t deadline_ms);
/* Makes a waiting fiber ready and withdraws it from all that it waited for. No-op else. */
void fiber_wake(struct fiber *f, enum fiber_wake why);

/* wait.c */
void watch_notify(struct watch *w, uint32_t epoll_events);

/* park.c */
struct fiber *park_take_next(struct loop *l); /* to run now; NULL: none, or no memory (starved) */
void park_wake(struct park *p, enum park_reason why);

/* Worker threads, fork and caches that a forked child must not keep. */
void offload_forget(void);
void rand_forget(void);

#endif
