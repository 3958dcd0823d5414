/* SPDX-License-Identifier: Apache-2.0
 *
 * arena: memory by lifetime (process, connection, command, scratch). Allocations are freed all at
 * once by arena_reset or arena_free. Each arena has a hard limit; at the limit (or without memory)
 * arena_alloc gives NULL, which the caller answers as ERR_LIMIT. Nothing here waits.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/str.h"

struct arena_block;
struct arena {
    struct arena_block *blocks; /* newest first */
    char *next, *end;           /* free room of the newest block */
    size_t used, max;           /* bytes in blocks; hard limit */
};

#define ARENA_AUTO __attribute__((cleanup(arena_free)))
#define ARENA_INIT(max_bytes) ((struct arena){.max = (max_bytes)})

void arena_init(struct arena *a, size_t max);
void arena_free(struct arena *a);
void arena_reset(struct arena *a); /* keeps one block of at most 4 KiB */

/* Zeroed, aligned to 16. NULL at the limit. */
void *arena_alloc(struct arena *a, size_t size) __attribute__((warn_unused_result));
/* count * size, checked. */
void *arena_alloc_array(struct arena *a, size_t count, size_t size)
    __attribute__((warn_unused_result));
#define ARENA_NEW(a, type) ((type *)arena_alloc((a), sizeof(type)))
#define ARENA_ARRAY(a, type, count) ((type *)arena_alloc_array((a), (count), sizeof(type)))

/* Copies; false at the limit (then *out is empty). The copy is followed by a NUL byte. */
bool arena_dup(struct arena *a, str s, str *out) __attribute__((warn_unused_result));
/* The same in lower case (ASCII). */
bool arena_dup_lower(struct arena *a, str s, str *out) __attribute__((warn_unused_result));
/* printf into the arena; empty at the limit. */
str arena_fmt(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
