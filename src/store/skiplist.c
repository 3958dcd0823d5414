/* SPDX-License-Identifier: Apache-2.0 */
#include "store/skiplist.h"

#include <stdlib.h>
#include <string.h>

void skiplist_init(struct skiplist *l) { *l = (struct skiplist){.seed = 0x9e3779b97f4a7c15u}; }

void skiplist_free(struct skiplist *l)
{
    struct skiplist_node *n = l->head[0];
    while (n != NULL) {
        struct skiplist_node *next = n->next[0];
        free(n);
        n = next;
    }
    skiplist_init(l);
}

/* at[i]: the link of level i that leads to the first node >= key; *before: the node ahead of it. */
static void find(struct skiplist *l, str key, struct skiplist_node **at[SKIPLIST_LEVELS],
                 struct skiplist_node **before)
{
    struct skiplist_node **links = l->head, *last = NULL;
    for (int i = SKIPLIST_LEVELS - 1; i >= 0; i--) {
        while (links[i] != NULL && str_cmp(links[i]->key, key) < 0) {
            last = links[i];
            links = last->next;
        }
        at[i] = &links[i];
    }
    *before = last;
}

static uint32_t random_levels(struct skiplist *l)
{
    l->seed ^= l->seed << 13;
    l->seed ^= l->seed >> 7;
    l->seed ^= l->seed << 17;
    uint32_t levels = 1;
    for (uint64_t r = l->seed; (r & 3) == 0 && levels < SKIPLIST_LEVELS; r >>= 2)
        levels++;
    return levels;
}

static void unlink_node(struct skiplist *l, struct skiplist_node *n,
                        struct skiplist_node **at[SKIPLIST_LEVELS])
{
    for (uint32_t i = 0; i < n->levels; i++)
        *at[i] = n->next[i];
    if (n->next[0] != NULL)
        n->next[0]->prev = n->prev;
    l->count--;
    free(n);
}

enum err skiplist_put(struct skiplist *l, str key, str value)
{
    struct skiplist_node **at[SKIPLIST_LEVELS], *before;
    uint32_t levels = random_levels(l);
    size_t head = sizeof(struct skiplist_node) + levels * sizeof(struct skiplist_node *);
    struct skiplist_node *n = malloc(head + key.len + value.len);
    if (n == NULL)
        return ERR_NOMEM;
    find(l, key, at, &before);
    if (*at[0] != NULL && str_eq((*at[0])->key, key))
        unlink_node(l, *at[0], at);
    char *bytes = (char *)n + head;
    memcpy(bytes, key.data, key.len);
    if (value.len > 0)
        memcpy(bytes + key.len, value.data, value.len);
    n->key = str_of(bytes, key.len);
    n->value = str_of(bytes + key.len, value.len);
    n->levels = levels;
    n->prev = before;
    for (uint32_t i = 0; i < levels; i++) {
        n->next[i] = *at[i];
        *at[i] = n;
    }
    if (n->next[0] != NULL)
        n->next[0]->prev = n;
    l->count++;
    return ERR_OK;
}

void skiplist_delete(struct skiplist *l, str key)
{
    struct skiplist_node **at[SKIPLIST_LEVELS], *before;
    find(l, key, at, &before);
    if (*at[0] != NULL && str_eq((*at[0])->key, key))
        unlink_node(l, *at[0], at);
}

void skiplist_delete_range(struct skiplist *l, str from, str to)
{
    struct skiplist_node **at[SKIPLIST_LEVELS], *before;
    find(l, from, at, &before);
    while (*at[0] != NULL && str_cmp((*at[0])->key, to) < 0)
        unlink_node(l, *at[0], at);
}

struct skiplist_node *skiplist_seek(struct skiplist *l, str key)
{
    struct skiplist_node **at[SKIPLIST_LEVELS], *before;
    find(l, key, at, &before);
    return *at[0];
}

struct skiplist_node *skiplist_before(struct skiplist *l, str key)
{
    struct skiplist_node **at[SKIPLIST_LEVELS], *before;
    find(l, key, at, &before);
    return before;
}

struct skiplist_node *skiplist_get(struct skiplist *l, str key)
{
    struct skiplist_node *n = skiplist_seek(l, key);
    return n != NULL && str_eq(n->key, key) ? n : NULL;
}
