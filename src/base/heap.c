/* SPDX-License-Identifier: Apache-2.0 */
#include "base/heap.h"

#include <assert.h>
#include <stdlib.h>

#define FIRST_CAP 16

void heap_free(struct heap *h)
{
    for (size_t i = 0; i < h->count; i++)
        h->nodes[i]->index = 0;
    free(h->nodes);
    *h = (struct heap){0};
}

static void place(struct heap *h, size_t at, struct heap_node *n)
{
    h->nodes[at] = n;
    n->index = at + 1;
}

static void sift_up(struct heap *h, size_t at)
{
    struct heap_node *n = h->nodes[at];
    for (; at > 0 && h->nodes[(at - 1) / 2]->key > n->key; at = (at - 1) / 2)
        place(h, at, h->nodes[(at - 1) / 2]);
    place(h, at, n);
}

static void sift_down(struct heap *h, size_t at)
{
    struct heap_node *n = h->nodes[at];
    for (size_t child; (child = 2 * at + 1) < h->count; at = child) {
        if (child + 1 < h->count && h->nodes[child + 1]->key < h->nodes[child]->key)
            child++;
        if (h->nodes[child]->key >= n->key)
            break;
        place(h, at, h->nodes[child]);
    }
    place(h, at, n);
}

enum err heap_insert(struct heap *h, struct heap_node *n, uint64_t key)
{
    assert(n->index == 0);
    if (h->count == h->cap) {
        size_t cap = h->cap ? h->cap * 2 : FIRST_CAP;
        struct heap_node **nodes = reallocarray(h->nodes, cap, sizeof *nodes);
        if (!nodes)
            return ERR_NOMEM;
        h->nodes = nodes;
        h->cap = cap;
    }
    n->key = key;
    place(h, h->count++, n);
    sift_up(h, h->count - 1);
    return ERR_OK;
}

void heap_remove(struct heap *h, struct heap_node *n)
{
    if (n->index == 0)
        return;
    size_t at = n->index - 1;
    assert(at < h->count && h->nodes[at] == n);
    n->index = 0;
    struct heap_node *last = h->nodes[--h->count];
    if (last == n)
        return;
    place(h, at, last);
    sift_up(h, at);
    sift_down(h, last->index - 1);
}

struct heap_node *heap_min(const struct heap *h) { return h->count ? h->nodes[0] : NULL; }
