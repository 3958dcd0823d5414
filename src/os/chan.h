/* SPDX-License-Identifier: Apache-2.0
 *
 * chan: completion from any thread to a fiber. One side waits, the other completes, once.
 */
#ifndef OS_CHAN_H
#define OS_CHAN_H

#include "base/err.h"
#include "os/loop.h"
#include "os/wait.h"

struct completion {
    struct loop_task task; /* first */
    struct loop *loop;     /* NULL off a fiber */
    struct fiber *waiter;
    bool done;      /* seen on the waiting fiber */
    uint32_t futex; /* used off a fiber */
};
void completion_init(struct completion *c); /* on the waiting thread */
void completion_done(struct completion *c); /* from any thread, exactly once */
/* Not interrupted by cancellation, no deadline: the completer guarantees to complete. */
void completion_wait(struct completion *c) WAITS;

#endif
