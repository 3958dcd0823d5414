/* SPDX-License-Identifier: Apache-2.0
 *
 * heap: an intrusive binary min-heap by a u64 (timers, due times). Insert, remove, change: O(log
 * n).
 */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include "base/err.h"

struct heap_node {
    uint64_t key;
    size_t index; /* place + 1; 0 when not in a heap */
};
struct heap {
    struct heap_node **nodes;
    size_t count, cap;
};

void heap_free(struct heap *h);
enum err heap_insert(struct heap *h, struct heap_node *n, uint64_t key) MUST; /* ERR_NOMEM */
void heap_remove(struct heap *h, struct heap_node *n); /* no-op when not in */
struct heap_node *heap_min(const struct heap *h);      /* NULL when empty */

#endif
