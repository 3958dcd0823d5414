/* SPDX-License-Identifier: Apache-2.0
 *
 * limit: who may do how much. Rates (token buckets) and counts in use, by a key such as an address
 * block or an account; bounded memory: the least recently used idle entry is evicted.
 */
#ifndef NET_LIMIT_H
#define NET_LIMIT_H

#include "base/err.h"
#include "os/sock.h"

/* One thread at a time. Keys of at most LIMIT_KEY_MAX bytes (longer ones count by their first).
 * When all entries are in use, new keys are refused. */
#define LIMIT_KEY_MAX 255
struct limit_table;
/* rate: events per period_ms allowed on average, with bursts of `burst`; entries: at most so many
 * keys. All at least 1. ERR_INVALID, ERR_NOMEM. */
enum err limit_open(size_t entries, uint32_t rate, uint64_t period_ms, uint32_t burst,
                    struct limit_table **out) MUST;
void limit_close(struct limit_table *t);
/* Takes `cost` tokens; false when there are too few (none are taken): *retry_ms (may be NULL) is
 * then how long until there are enough, UINT64_MAX when cost is above burst. Exact, without
 * rounding up the rate: tokens come back continuously. */
bool limit_take(struct limit_table *t, str key, uint32_t cost, uint64_t now_ms, uint64_t *retry_ms);
/* Without taking. */
bool limit_would_take(struct limit_table *t, str key, uint32_t cost, uint64_t now_ms);

/* Things in use at the same time. */
bool limit_enter(struct limit_table *t, str key, uint32_t max); /* false: already max in use */
void limit_leave(struct limit_table *t, str key);               /* once for each enter */

/* The key of an address: IPv4 whole, IPv6 by its /64; others share one key. Borrows *out. */
struct limit_key {
    uint8_t bytes[9];
};
str limit_address_key(const struct address *a, struct limit_key *out);

#endif
