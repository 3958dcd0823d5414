/* SPDX-License-Identifier: Apache-2.0
 *
 * rand: bytes from getrandom(2); never fails after start (the process ends if it does).
 */
#ifndef OS_RAND_H
#define OS_RAND_H

#include <stddef.h>
#include <stdint.h>

void rand_bytes(void *out, size_t len);
uint64_t rand_u64(void);
/* Uniform in [0, below); below > 0. Cheap: for jitter and shuffles, not for secrets. */
uint64_t rand_below(uint64_t below);

#endif
