/* SPDX-License-Identifier: Apache-2.0 */
#include "os/chan.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os/loop_impl.h"

static void completion_arrived(struct loop_task *task)
{
    struct completion *c = container_of(task, struct completion, task);
    c->done = true;
    if (c->waiter)
        fiber_wake(c->waiter, WAKE_EVENT);
}

void completion_init(struct completion *c)
{
    *c = (struct completion){.task.fn = completion_arrived,
                             .loop = fiber_current() ? loop_current() : NULL};
}

/* After the store, or the post, the waiter may return and c be gone: nothing may touch it. The wake
 * only names the address. */
void completion_done(struct completion *c)
{
    if (c->loop) {
        loop_post(c->loop, &c->task);
        return;
    }
    uint32_t *futex = &c->futex;
    __atomic_store_n(futex, 1, __ATOMIC_RELEASE);
    syscall(SYS_futex, futex, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void completion_wait(struct completion *c)
{
    if (!c->loop) {
        while (!__atomic_load_n(&c->futex, __ATOMIC_ACQUIRE))
            syscall(SYS_futex, &c->futex, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
        return;
    }
    struct fiber *f = fiber_current();
    f->uninterruptible = true;
    while (!c->done) {
        c->waiter = f;
        fiber_block(f, "completion", DEADLINE_NEVER);
    }
    f->uninterruptible = false;
}
