/* SPDX-License-Identifier: Apache-2.0
 *
 * map: hash map from a byte string or a u64 to a pointer, open addressing, seeded hash. Keys given
 * as str are copied. Values are the caller's. Has a limit of entries; never shrinks by itself.
 */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include "base/err.h"

struct map_slot;
struct map {
    struct map_slot *slots;
    size_t count, cap, max; /* entries; slots; limit of entries */
    size_t tombs;
    bool nocase; /* ASCII case-insensitive keys */
};

void map_init(struct map *m, size_t max_entries);
void map_init_nocase(struct map *m, size_t max_entries);
void map_free(struct map *m); /* frees keys and slots, not the values */

void *map_get(const struct map *m, str key); /* NULL if absent */
/* Replaces; the old value (or NULL) goes to *old if old is not NULL. ERR_LIMIT at max. */
enum err map_put(struct map *m, str key, void *value, void **old) MUST;
void *map_remove(struct map *m, str key); /* the value, or NULL if absent */

void *map_get_u64(const struct map *m, uint64_t key);
enum err map_put_u64(struct map *m, uint64_t key, void *value, void **old) MUST;
void *map_remove_u64(struct map *m, uint64_t key);

/* for (size_t i = 0; map_next(&m, &i, &key, &value);) … ; removing the current entry is allowed,
 * putting is not. key and value may be NULL. Order is not defined. The key of a u64 entry is shown
 * as its eight bytes in the order of the machine; keys are borrowed until the entry is removed. */
bool map_next(const struct map *m, size_t *pos, str *key, void **value);

#endif
