/* SPDX-License-Identifier: Apache-2.0 */
#include "os/rand.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/log.h"
#include "base/num.h"
#include "os/loop_impl.h"

static _Thread_local uint64_t cheap_state;

void rand_bytes(void *out, size_t len)
{
    char *at = out;
    while (len > 0) {
        ssize_t n = getrandom(at, MIN(len, (size_t)256), 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            LOG_ERROR("os", "getrandom failed, nothing is secret without it errno=%d", errno);
            abort();
        }
        at += n;
        len -= (size_t)n;
    }
}

uint64_t rand_u64(void)
{
    uint64_t n;
    rand_bytes(&n, sizeof n);
    return n;
}

void rand_forget(void) { cheap_state = 0; }

/* splitmix64 (Steele, Lea, Flood 2014), then Lemire's multiply for the range. */
uint64_t rand_below(uint64_t below)
{
    assert(below > 0);
    if (cheap_state == 0)
        cheap_state = rand_u64() | 1;
    for (;;) {
        uint64_t z = cheap_state += UINT64_C(0x9e3779b97f4a7c15);
        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        z ^= z >> 31;
        unsigned __int128 wide = (unsigned __int128)z * below;
        if ((uint64_t)wide >= (-below) % below)
            return (uint64_t)(wide >> 64);
    }
}
