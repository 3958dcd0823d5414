/* SPDX-License-Identifier: Apache-2.0
 *
 * skiplist: an ordered map of byte strings in memory. Not thread-safe. Expected O(log n) a call.
 */
#ifndef STORE_SKIPLIST_H
#define STORE_SKIPLIST_H

#include "base/err.h"

#define SKIPLIST_LEVELS 20
struct skiplist_node {
    str key, value;
    uint32_t levels;
    struct skiplist_node *prev;   /* NULL for the first */
    struct skiplist_node *next[]; /* levels of them */
};
struct skiplist {
    struct skiplist_node *head[SKIPLIST_LEVELS];
    size_t count;
    uint64_t seed;
};

void skiplist_init(struct skiplist *l);
void skiplist_free(struct skiplist *l);
/* Copies both; replaces. ERR_NOMEM. */
enum err skiplist_put(struct skiplist *l, str key, str value) MUST;
void skiplist_delete(struct skiplist *l, str key);
void skiplist_delete_range(struct skiplist *l, str from, str to);
struct skiplist_node *skiplist_get(struct skiplist *l, str key);
struct skiplist_node *skiplist_seek(struct skiplist *l, str key);   /* the first >= key */
struct skiplist_node *skiplist_before(struct skiplist *l, str key); /* the last < key */

#endif
