/* SPDX-License-Identifier: Apache-2.0
 *
 * background: threads for work that may wait. The kernel gives them a processor when nobody else
 * wants it, and a thirtieth of one otherwise; so what they hold for others (a lock) must be short.
 */
#ifndef OS_BACKGROUND_H
#define OS_BACKGROUND_H

#include "os/fiber.h"
#include "os/loop.h"

/* The calling thread gives way to others from now on, as far as the system lets it. */
void background_enter(void);
/* Is the calling thread such a one? What offload_run is given there runs on such a thread too. */
bool background_thread(void);

/* A thread of that kind with a loop of its own, on which fn(arg) runs as a fiber, and fibers that
 * it starts. name is borrowed. */
struct background;
enum err background_start(const char *name, fiber_fn *fn, void *arg,
                          struct background **out) WAITS MUST;
/* Cancels its fibers, waits until they have ended, and frees b. NULL is fine. */
void background_stop(struct background *b) WAITS;

#endif
