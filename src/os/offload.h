/* SPDX-License-Identifier: Apache-2.0
 *
 * offload: blocking work on a pool of threads, from a fiber. Flush, password hash, text extraction,
 * long scans.
 */
#ifndef OS_OFFLOAD_H
#define OS_OFFLOAD_H

#include "base/err.h"

/* Allows up to `threads` workers (once per process). They are made when work comes and end when
 * idle for some seconds, so an idle process has none. ERR_INVALID: 0, or more than 256. */
enum err offload_start(unsigned threads) MUST;
void offload_stop(void); /* waits until all work has ended */
/* Runs fn(arg) on a worker and waits for it. Not interrupted by cancellation: fn always has ended
 * when this returns, so arg may live on the caller's stack. At most OFFLOAD_QUEUE_MAX jobs wait;
 * beyond it ERR_BUSY. Off a fiber, before offload_start, or when no thread can be made it calls fn
 * directly. On a background thread (os/background.h) the worker is one too. */
#define OFFLOAD_QUEUE_MAX 1024
enum err offload_run(void (*fn)(void *arg), void *arg) WAITS MUST;

#endif
