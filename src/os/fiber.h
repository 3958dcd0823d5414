/* SPDX-License-Identifier: Apache-2.0
 *
 * fiber: a function with a stack of its own that can wait. Five laws:
 *   1. a fiber never leaves its thread;
 *   2. a function that may wait is marked WAITS;
 *   3. no lock and no store view is held across a wait;
 *   4. cancellation is a returned error (ERR_CANCELED from every wait) and normal unwinding;
 *   5. a fiber started by a fiber belongs to a group that its starter joins.
 * Stacks: FIBER_STACK_BYTES of address space with a guard page, pooled per loop.
 */
#ifndef OS_FIBER_H
#define OS_FIBER_H

#include "base/err.h"
#include "base/list.h"
#include "os/wait.h"

#define FIBER_STACK_BYTES 65536 /* four times that under sanitizers */

struct fiber;
struct loop;
typedef void fiber_fn(void *arg);

/* Fibers (and parked connections) that end together. Same thread only. Zero is not a valid group:
 * fiber_group_init first. */
struct fiber_group {
    struct list fibers;
    struct list parked; /* of struct park */
    size_t count;       /* running fibers */
    struct event ended; /* signalled when nothing is left */
    bool canceled;
};
void fiber_group_init(struct fiber_group *g);
/* Every wait of the group's fibers returns ERR_CANCELED from now on; parked connections of the
 * group are woken (PARK_CANCELED). */
void fiber_group_cancel(struct fiber_group *g);
/* Waits until no fiber runs and nothing is parked. Not interrupted by cancellation; instead the
 * cancellation of the joining fiber passes on to the group that it joins. */
void fiber_group_join(struct fiber_group *g) WAITS;

/* Starts fn(arg) in the current thread's loop (also before loop_run); it first runs after the
 * caller waits or returns to the loop. name is borrowed for the fiber's life. ERR_NOMEM (memory, or
 * the process's limit of mappings), ERR_CANCELED (group or loop cancelled). */
enum err fiber_start(struct fiber_group *g, const char *name, fiber_fn *fn, void *arg) MUST;

struct fiber *fiber_current(void); /* NULL off a fiber */
bool fiber_canceled(void);         /* false off a fiber */
void fiber_yield(void) WAITS;      /* lets others run once */
/* Shown in the fiber table; borrowed. */
void fiber_set_name(const char *name);

/* Calls emit for each fiber of the calling thread's loop: name, wait reason, waited ms. */
void fiber_table(void (*emit)(void *arg, const char *line), void *arg);
/* Same for all loops of the process, async-signal-unsafe but best effort; used on abort. */
void fiber_table_dump_all(int fd);

#endif
