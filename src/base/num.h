/* SPDX-License-Identifier: Apache-2.0
 *
 * num: checked arithmetic and number parsing. Nothing wraps, nothing is guessed.
 */
#ifndef BASE_NUM_H
#define BASE_NUM_H

#include "base/str.h"

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* False when the result does not fit; *out is then unchanged. */
#define size_add(a, b, out) (!__builtin_add_overflow((size_t)(a), (size_t)(b), (size_t *)(out)))
#define size_mul(a, b, out) (!__builtin_mul_overflow((size_t)(a), (size_t)(b), (size_t *)(out)))

/* The whole slice must be decimal digits, at least one, at most max in value. */
bool num_parse_u64(str s, uint64_t max, uint64_t *out);
bool num_parse_u32(str s, uint32_t *out);
/* Takes leading digits off *s; false if there is none or the value passes max. */
bool num_take_u64(str *s, uint64_t max, uint64_t *out);
/* "10", "64K", "25M", "2G" (powers of 1024), also with a trailing "B". */
bool num_parse_bytes(str s, uint64_t *out);
/* "500ms", "30s", "5m", "1h", "7d"; a bare number is seconds. Result in milliseconds. */
bool num_parse_duration(str s, uint64_t *ms_out);

#endif
