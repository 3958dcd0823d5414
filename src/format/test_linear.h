/* SPDX-License-Identifier: Apache-2.0
 *
 * test_linear: twice the input takes at most 2.5 times as long (rule: wire-4).
 */
#ifndef FORMAT_TEST_LINEAR_H
#define FORMAT_TEST_LINEAR_H

#include <malloc.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>

/* Does the work on an input of about n bytes. */
typedef void linear_fn(size_t n);

static inline double linear_seconds(linear_fn *work, size_t n)
{
    double best = 1e9;
    for (int i = 0; i < 5; i++) {
        struct timespec a, b;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
        work(n);
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
        double t = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
        best = t < best ? t : best;
    }
    return best;
}

/* A noisy machine gets six tries; 200 microseconds are forgiven as set-up. Under a sanitizer
 * (tools/suite says so in SANITIZED) the time is the sanitizer's own, so the work is only done. */
static inline int linear_holds(linear_fn *work, size_t n)
{
    if (getenv("SANITIZED")) {
        work(n);
        return 1;
    }
    /* Large blocks stay mapped: else their page faults, from some size on, are what is measured. */
    (void)mallopt(M_MMAP_MAX, 0);
    (void)mallopt(M_TRIM_THRESHOLD, 1 << 30);
    for (int i = 0; i < 6; i++)
        if (linear_seconds(work, 2 * n) <= 2.5 * linear_seconds(work, n) + 0.0002)
            return 1;
    return 0;
}

#endif
