/* SPDX-License-Identifier: Apache-2.0
 *
 * clock: the only source of time.
 */
#ifndef OS_CLOCK_H
#define OS_CLOCK_H

#include <stdint.h>

uint64_t clock_mono_ms(void); /* monotonic, fresh */
uint64_t clock_mono_ns(void);
uint64_t clock_wall_ms(void); /* since 1970, UTC, 64 bits */
static inline int64_t clock_wall_s(void) { return (int64_t)(clock_wall_ms() / 1000); }

/* Shifts the wall clock by the environment variable POSTHOUSE_CLOCK_OFFSET_S (rule wire-8). Only
 * `posthouse dev` and tests call it, before threads start: a shifted clock would let expired
 * credentials live. */
void clock_allow_offset(void);

#define DEADLINE_NEVER UINT64_MAX
/* A deadline is a point on the monotonic clock, in ms. */
uint64_t deadline_in_ms(uint64_t ms);

#endif
