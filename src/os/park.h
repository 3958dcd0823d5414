/* SPDX-License-Identifier: Apache-2.0
 *
 * park: an idle connection without a stack. A session's function returns instead of waiting; the
 * loop keeps this small struct, and starts the function again on a fiber when the descriptor is
 * readable, the event is signalled, the deadline passes or the group is cancelled.
 */
#ifndef OS_PARK_H
#define OS_PARK_H

#include "os/fiber.h"
#include "os/loop.h"
#include "os/wait.h"

enum park_reason { PARK_READABLE, PARK_EVENT, PARK_DEADLINE, PARK_CANCELED };

struct park {
    struct watch *watch; /* or NULL */
    struct event *event; /* or NULL */
    uint64_t deadline_ms;
    struct fiber_group *group;
    const char *name; /* of the fiber to start; borrowed */
    fiber_fn *resume; /* called on a fresh fiber; reason is set before */
    void *arg;
    enum park_reason reason;
    /* the loop's */
    struct list group_link, loop_link;
    struct event_waiter event_waiter;
    struct loop_timer timer;
    bool parked, woken;
};

/* Fills in the loop's members; the struct must stay in place until resume runs or park_stop.
 * If the descriptor is already readable (or the group cancelled), resume is started soon. It always
 * runs on a fresh fiber, never inside this call. Without memory for a stack the loop tries again
 * when other fibers have ended. ERR_NOMEM: nothing is parked. */
enum err park_start(struct park *p) MUST;
void park_stop(struct park *p); /* no-op when not parked */

#endif
