/* SPDX-License-Identifier: Apache-2.0 */
#include "os/clock.h"

#include <assert.h>
#include <stdlib.h>
#include <time.h>

#include "base/num.h"

static int64_t wall_offset_ms;

/* Rule wire-8: the suite runs in 2038 and 2106. */
void clock_allow_offset(void)
{
    const char *text = secure_getenv("POSTHOUSE_CLOCK_OFFSET_S");
    if (!text)
        return;
    bool negative = *text == '-';
    uint64_t seconds;
    if (num_parse_u64(str_c(text + negative), UINT32_MAX * UINT64_C(16), &seconds))
        wall_offset_ms = negative ? -(int64_t)(seconds * 1000) : (int64_t)(seconds * 1000);
}

uint64_t clock_mono_ns(void)
{
    struct timespec t;
    int r = clock_gettime(CLOCK_MONOTONIC, &t);
    assert(r == 0);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

uint64_t clock_mono_ms(void) { return clock_mono_ns() / 1000000; }

uint64_t clock_wall_ms(void)
{
    struct timespec t;
    int r = clock_gettime(CLOCK_REALTIME, &t);
    assert(r == 0);
    int64_t ms = (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000 + wall_offset_ms;
    return ms > 0 ? (uint64_t)ms : 0;
}

uint64_t deadline_in_ms(uint64_t ms)
{
    uint64_t now = clock_mono_ms();
    return ms >= DEADLINE_NEVER - now ? DEADLINE_NEVER : now + ms;
}
