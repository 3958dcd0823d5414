/* SPDX-License-Identifier: Apache-2.0
 *
 * house_queue: the queue's scheduler on each thread of the house (core/queue_schedule.h), and the
 * delivery of what a crash left.
 */
#ifndef APP_HOUSE_QUEUE_H
#define APP_HOUSE_QUEUE_H

#include "app/house.h"

/* On a fiber of thread 0, once. */
enum err house_queue_start(struct house_process *h) WAITS MUST;
/* These settings hold from now on. On the thread; never waits. */
void house_queue_policy(struct house_thread *t, const struct config *c);
/* After something was retried or released by hand: see queue_schedule_unblock. */
void house_queue_unblock(struct house_process *h) WAITS;

#endif
