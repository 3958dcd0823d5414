/* SPDX-License-Identifier: Apache-2.0
 *
 * Stacks. A stack is address space; only the pages that it touched are memory. Its guard page is
 * made without a mapping of its own where the kernel can (Linux 6.13), so that adjacent stacks are
 * one mapping and vm.max_map_count is no limit; elsewhere a stack costs two of the 65,530 mappings.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "os/loop_impl.h"

#ifdef OS_ASAN
#include <sanitizer/asan_interface.h>
#define UNPOISON(base) __asan_unpoison_memory_region((base), STACK_BYTES)
#else
#define UNPOISON(base) ((void)0)
#endif

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif
#define GUARD_BYTES ((size_t)4096)

static char *stack_map(void)
{
    char *base = mmap(NULL, GUARD_BYTES + STACK_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (base == MAP_FAILED)
        return NULL;
    /* One huge page would make a stack of 8 KiB cost 2 MiB. Not fatal where it is refused. */
    (void)madvise(base, GUARD_BYTES + STACK_BYTES, MADV_NOHUGEPAGE);
    if (madvise(base, GUARD_BYTES, MADV_GUARD_INSTALL) != 0 &&
        mprotect(base, GUARD_BYTES, PROT_NONE) != 0) {
        munmap(base, GUARD_BYTES + STACK_BYTES);
        return NULL;
    }
    return base + GUARD_BYTES;
}

/* What is mapped there next is not a stack: the sanitizer must not find its red zones. */
static void stack_unmap(char *base)
{
    UNPOISON(base);
    munmap(base - GUARD_BYTES, GUARD_BYTES + STACK_BYTES);
}

char *stack_get(struct stack_pool *p)
{
    char *base;
    if (p->count > 0) {
        base = p->bases[--p->count];
        p->cold = MIN(p->cold, p->count);
    } else {
        base = stack_map();
    }
    if (base)
        UNPOISON(base);
    return base;
}

static bool stack_pool_grow(struct stack_pool *p)
{
    if (p->count < p->cap)
        return true;
    if (p->cap >= STACKS_FREE_MAX)
        return false;
    size_t cap = p->cap ? p->cap * 2 : 64;
    char **bases = realloc(p->bases, cap * sizeof *bases);
    if (!bases)
        return false;
    p->bases = bases;
    p->cap = cap;
    return true;
}

void stack_put(struct stack_pool *p, char *base)
{
    if (!stack_pool_grow(p)) {
        stack_unmap(base);
        return;
    }
    p->bases[p->count++] = base;
    if (p->count - p->cold > STACKS_HOT && p->trim_at_ms == DEADLINE_NEVER)
        p->trim_at_ms = loop_now_ms() + STACKS_TRIM_MS;
}

void stack_trim(struct stack_pool *p)
{
    p->trim_at_ms = DEADLINE_NEVER;
    if (p->count > p->kept) {
        size_t surplus = p->count - p->kept;
        for (size_t i = 0; i < surplus; i++)
            stack_unmap(p->bases[i]);
        memmove(p->bases, p->bases + surplus, p->kept * sizeof *p->bases);
        p->count = p->kept;
        p->cold = p->cold > surplus ? p->cold - surplus : 0;
    }
    for (; p->count - p->cold > STACKS_HOT; p->cold++)
        (void)madvise(p->bases[p->cold], STACK_BYTES, MADV_DONTNEED);
}

void stack_pool_free(struct stack_pool *p)
{
    for (size_t i = 0; i < p->count; i++)
        stack_unmap(p->bases[i]);
    free(p->bases);
    *p = (struct stack_pool){.trim_at_ms = DEADLINE_NEVER, .kept = p->kept};
}
