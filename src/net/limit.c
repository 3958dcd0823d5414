/* SPDX-License-Identifier: Apache-2.0
 *
 * Tokens are counted in units of 1/period_ms of a token: every millisecond gives `rate` units and
 * an event costs period_ms units, so nothing is ever rounded.
 *
 * tidy: allow alloc because connections and contexts live and die one by one
 */
#include "net/limit.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "base/map.h"
#include "base/num.h"

struct entry {
    struct list link; /* in idle, most recently used last; or on its own while in use */
    uint64_t spent;   /* units below the full bucket */
    uint64_t at_ms;   /* when that was so */
    uint32_t in_use;
    uint8_t key_len;
    char key[];
};
struct limit_table {
    struct map map;
    struct list idle;
    size_t entries;
    uint64_t rate, period_ms, full; /* full: units in a full bucket */
};

enum err limit_open(size_t entries, uint32_t rate, uint64_t period_ms, uint32_t burst,
                    struct limit_table **out)
{
    uint64_t full;
    *out = NULL;
    if (entries == 0 || rate == 0 || period_ms == 0 || burst == 0 ||
        __builtin_mul_overflow(burst, period_ms, &full))
        return ERR_INVALID;
    struct limit_table *t = malloc(sizeof *t);
    if (!t)
        return ERR_NOMEM;
    *t = (struct limit_table){
        .entries = entries, .rate = rate, .period_ms = period_ms, .full = full};
    map_init(&t->map, entries);
    list_init(&t->idle);
    *out = t;
    return ERR_OK;
}

void limit_close(struct limit_table *t)
{
    void *e;
    if (!t)
        return;
    for (size_t i = 0; map_next(&t->map, &i, NULL, &e);)
        free(e);
    map_free(&t->map);
    free(t);
}

static str key_of(str key) { return str_head(key, LIMIT_KEY_MAX); }

static struct entry *entry_add(struct limit_table *t, str key)
{
    if (t->map.count >= t->entries) {
        struct list *oldest = list_pop_front(&t->idle);
        if (!oldest)
            return NULL;
        struct entry *old = container_of(oldest, struct entry, link);
        (void)map_remove(&t->map, str_of(old->key, old->key_len));
        free(old);
    }
    struct entry *e = calloc(1, sizeof *e + key.len);
    if (!e)
        return NULL;
    list_init(&e->link);
    e->key_len = (uint8_t)key.len;
    if (key.len > 0)
        memcpy(e->key, key.data, key.len);
    if (map_put(&t->map, key, e, NULL) == ERR_OK)
        return e;
    free(e);
    return NULL;
}

/* Finds or makes the entry and makes it the most recently used. NULL: no room. */
static struct entry *entry_use(struct limit_table *t, str key)
{
    key = key_of(key);
    struct entry *e = map_get(&t->map, key);
    if (!e)
        e = entry_add(t, key);
    if (e && e->in_use == 0) {
        list_remove(&e->link);
        list_push_back(&t->idle, &e->link);
    }
    return e;
}

static uint64_t spent_at(const struct limit_table *t, const struct entry *e, uint64_t now_ms)
{
    uint64_t back, passed = now_ms > e->at_ms ? now_ms - e->at_ms : 0;
    if (__builtin_mul_overflow(passed, t->rate, &back) || back >= e->spent)
        return 0;
    return e->spent - back;
}

/* How long until `cost` tokens are there; 0: now. */
static uint64_t wait_for(const struct limit_table *t, uint64_t spent, uint32_t cost)
{
    uint64_t need;
    if (__builtin_mul_overflow(cost, t->period_ms, &need) || need > t->full)
        return UINT64_MAX;
    if (t->full - spent >= need)
        return 0;
    uint64_t missing = need - (t->full - spent);
    return missing / t->rate + (missing % t->rate != 0);
}

bool limit_take(struct limit_table *t, str key, uint32_t cost, uint64_t now_ms, uint64_t *retry_ms)
{
    struct entry *e = entry_use(t, key);
    uint64_t spent = e ? spent_at(t, e, now_ms) : 0;
    uint64_t wait_ms = e ? wait_for(t, spent, cost) : t->period_ms;
    if (retry_ms)
        *retry_ms = wait_ms;
    if (wait_ms > 0)
        return false;
    e->spent = spent + cost * t->period_ms;
    e->at_ms = MAX(now_ms, e->at_ms);
    return true;
}

bool limit_would_take(struct limit_table *t, str key, uint32_t cost, uint64_t now_ms)
{
    const struct entry *e = map_get(&t->map, key_of(key));
    return wait_for(t, e ? spent_at(t, e, now_ms) : 0, cost) == 0;
}

bool limit_enter(struct limit_table *t, str key, uint32_t max)
{
    struct entry *e = entry_use(t, key);
    if (!e || e->in_use >= max)
        return false;
    list_remove(&e->link); /* not evicted while in use */
    e->in_use++;
    return true;
}

void limit_leave(struct limit_table *t, str key)
{
    struct entry *e = map_get(&t->map, key_of(key));
    assert(e && e->in_use > 0);
    if (--e->in_use == 0)
        list_push_back(&t->idle, &e->link);
}

str limit_address_key(const struct address *a, struct limit_key *out)
{
    size_t len = a->family == 4 ? 4 : a->family == 6 ? 8 : 0;
    out->bytes[0] = a->family;
    memcpy(out->bytes + 1, a->ip, len);
    return str_of(out->bytes, 1 + len);
}
