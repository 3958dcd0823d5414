/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#include "base/num.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define ARENA_POISONS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_POISONS 1
#endif
#endif
#ifdef ARENA_POISONS
/* Room that is not handed out is poisoned, so that use after arena_reset is found. */
#include <sanitizer/asan_interface.h>
#define POISON(at, n) __asan_poison_memory_region((at), (n))
#define UNPOISON(at, n) __asan_unpoison_memory_region((at), (n))
#else
#define POISON(at, n) ((void)(at), (void)(n))
#define UNPOISON(at, n) ((void)(at), (void)(n))
#endif

/* Connections are many and most need little: begin small, grow by doubling. */
#define BLOCK_FIRST 1024
#define BLOCK_LARGEST 65536
#define BLOCK_KEPT 4096
#define ALIGN 16

struct arena_block {
    struct arena_block *older;
    size_t size; /* bytes of room */
    _Alignas(ALIGN) char room[];
};

void arena_init(struct arena *a, size_t max) { *a = ARENA_INIT(max); }

static void block_free(struct arena_block *b)
{
    UNPOISON(b->room, b->size);
    free(b);
}

/* Keeps `kept` (or nothing) as the only block. */
static void release(struct arena *a, struct arena_block *kept)
{
    for (struct arena_block *b = a->blocks, *older; b; b = older) {
        older = b->older;
        if (b != kept)
            block_free(b);
    }
    size_t max = a->max;
    *a = ARENA_INIT(max);
    if (!kept)
        return;
    kept->older = NULL;
    POISON(kept->room, kept->size);
    a->blocks = kept;
    a->next = kept->room;
    a->end = kept->room + kept->size;
    a->used = kept->size;
}

void arena_free(struct arena *a) { release(a, NULL); }

void arena_reset(struct arena *a)
{
    struct arena_block *kept = NULL;
    for (struct arena_block *b = a->blocks; b; b = b->older)
        if (b->size <= BLOCK_KEPT && (!kept || b->size > kept->size))
            kept = b;
    release(a, kept);
}

static struct arena_block *block_new(struct arena *a, size_t size)
{
    assert(size <= a->max - a->used);
    struct arena_block *b = malloc(sizeof *b + size);
    if (!b)
        return NULL;
    b->size = size;
    a->used += size;
    POISON(b->room, size);
    return b;
}

/* A block for `size` bytes when the newest has no room. A large allocation gets a block of its own
 * behind the newest one, whose room stays in use. */
static char *alloc_in_new_block(struct arena *a, size_t size)
{
    size_t left = a->max - a->used;
    if (size > left)
        return NULL;
    size_t grown = a->blocks ? MIN(MAX(a->used, BLOCK_FIRST), BLOCK_LARGEST) : BLOCK_FIRST;
    bool own = a->blocks && size > grown / 2;
    struct arena_block *b = block_new(a, own ? size : MIN(MAX(grown, size), left));
    if (!b)
        return NULL;
    if (own) {
        b->older = a->blocks->older;
        a->blocks->older = b;
        return b->room;
    }
    b->older = a->blocks;
    a->blocks = b;
    a->next = b->room + size;
    a->end = b->room + b->size;
    return b->room;
}

void *arena_alloc(struct arena *a, size_t size)
{
    size_t rounded;
    if (!size_add(size ? size : 1, ALIGN - 1, &rounded))
        return NULL;
    rounded &= ~(size_t)(ALIGN - 1);
    char *at;
    if (rounded <= (size_t)(a->end - a->next)) {
        at = a->next;
        a->next += rounded;
    } else if (!(at = alloc_in_new_block(a, rounded))) {
        return NULL;
    }
    UNPOISON(at, size);
    if (size)
        memset(at, 0, size);
    return at;
}

void *arena_alloc_array(struct arena *a, size_t count, size_t size)
{
    size_t total;
    return size_mul(count, size, &total) ? arena_alloc(a, total) : NULL;
}

bool arena_dup(struct arena *a, str s, str *out)
{
    size_t with_nul;
    *out = STR_NONE;
    if (!size_add(s.len, 1, &with_nul))
        return false;
    char *copy = arena_alloc(a, with_nul);
    if (!copy)
        return false;
    if (s.len)
        memcpy(copy, s.data, s.len);
    *out = str_of(copy, s.len);
    return true;
}

bool arena_dup_lower(struct arena *a, str s, str *out)
{
    if (!arena_dup(a, s, out))
        return false;
    char *copy = (char *)(uintptr_t)out->data;
    for (size_t i = 0; i < out->len; i++)
        copy[i] = char_lower(copy[i]);
    return true;
}

str arena_fmt(struct arena *a, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    char *text = n < 0 ? NULL : arena_alloc(a, (size_t)n + 1);
    if (!text)
        return STR_NONE;
    va_start(args, fmt);
    vsnprintf(text, (size_t)n + 1, fmt, args);
    va_end(args);
    return str_of(text, (size_t)n);
}
