/* SPDX-License-Identifier: Apache-2.0
 *
 * offload: blocking work on a pool of threads, from a fiber. Flush, password hash, text extraction,
 * long scans.
 */
#ifndef OS_OFFLOAD_H
#define OS_OFFLOAD_H

#include "base/err.h"

/* Starts `threads` workers (once per process, after the last fork). */
enum err offload_start(unsigned threads) MUST;
void offload_stop(void);
/* Runs fn(arg) on a worker and waits for it. Not interrupted by cancellation: fn always has ended
 * when this returns, so arg may live on the caller's stack. At most OFFLOAD_QUEUE_MAX jobs wait;
 * beyond it ERR_BUSY. Off a fiber it calls fn directly. */
#define OFFLOAD_QUEUE_MAX 1024
enum err offload_run(void (*fn)(void *arg), void *arg) WAITS MUST;

#endif
