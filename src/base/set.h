/* SPDX-License-Identifier: Apache-2.0
 *
 * set: a set of u32 held as sorted, disjoint, non-adjacent ranges (UIDs, sequence numbers).
 */
#ifndef BASE_SET_H
#define BASE_SET_H

#include "base/buf.h"
#include "base/err.h"

struct range {
    uint32_t first, last; /* inclusive; first <= last */
};
struct set {
    struct range *ranges;
    size_t count, cap;
    size_t max; /* ranges; 0 means SET_RANGES_MAX */
};
#define SET_RANGES_MAX 1048576
#define SET_AUTO __attribute__((cleanup(set_free)))

void set_free(struct set *s); /* leaves an empty set */
/* Appending ascending values is O(1). ERR_LIMIT or ERR_NOMEM. */
enum err set_add_range(struct set *s, uint32_t first, uint32_t last) MUST;
static inline enum err set_add(struct set *s, uint32_t n) { return set_add_range(s, n, n); }
enum err set_remove_range(struct set *s, uint32_t first, uint32_t last) MUST;
bool set_has(const struct set *s, uint32_t n); /* O(log ranges) */
uint64_t set_size(const struct set *s);        /* number of values */
enum err set_union(struct set *into, const struct set *from) MUST;
enum err set_intersect(struct set *into, const struct set *with) MUST;
enum err set_subtract(struct set *from, const struct set *what) MUST;
/* "1:5,7,9:12" (RFC 9051 sequence-set). */
void set_render(const struct set *s, struct buf *out);
/* Compact binary form for rows: varint count, then varint gaps. */
void set_encode(const struct set *s, struct buf *out);
enum err set_decode(struct reader *r, struct set *out) MUST; /* ERR_CORRUPT, ERR_LIMIT */

#endif
