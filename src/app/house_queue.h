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
/* The settings in force hold from now on. */
void house_queue_reload(struct house_process *h) WAITS;

#endif
