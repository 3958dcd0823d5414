/* SPDX-License-Identifier: Apache-2.0 */
#include "base/map.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum slot_state { SLOT_EMPTY, SLOT_TOMB, SLOT_STR, SLOT_U64 };

/* Linear probing; at most three quarters of the slots are used or tombs, so a probe ends. */
struct map_slot {
    uint64_t hash;
    union {
        char *key;    /* SLOT_STR: owned */
        uint64_t num; /* SLOT_U64 */
    };
    uint32_t key_len;
    uint32_t state;
    void *value;
};

#define FIRST_CAP 8

void map_init(struct map *m, size_t max_entries) { *m = (struct map){.max = max_entries}; }

void map_init_nocase(struct map *m, size_t max_entries)
{
    *m = (struct map){.max = max_entries, .nocase = true};
}

void map_free(struct map *m)
{
    for (size_t i = 0; i < m->cap; i++)
        if (m->slots[i].state == SLOT_STR)
            free(m->slots[i].key);
    free(m->slots);
    *m = (struct map){.max = m->max, .nocase = m->nocase};
}

/* What is looked for: a string, or a number when state is SLOT_U64. */
struct probe {
    uint64_t hash;
    uint32_t state;
    str key;
    uint64_t num;
};

static struct probe probe_str(const struct map *m, str key)
{
    return (struct probe){m->nocase ? str_hash_nocase(key) : str_hash(key), SLOT_STR, key, 0};
}

static struct probe probe_u64(uint64_t num)
{
    return (struct probe){str_hash(str_of(&num, sizeof num)), SLOT_U64, STR_NONE, num};
}

static bool slot_is(const struct map *m, const struct map_slot *slot, const struct probe *p)
{
    if (slot->hash != p->hash || slot->state != p->state)
        return false;
    if (p->state == SLOT_U64)
        return slot->num == p->num;
    str key = str_of(slot->key, slot->key_len);
    return m->nocase ? str_eq_nocase(key, p->key) : str_eq(key, p->key);
}

static struct map_slot *find(const struct map *m, const struct probe *p)
{
    if (m->cap == 0)
        return NULL;
    for (size_t i = p->hash & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
        struct map_slot *slot = &m->slots[i];
        if (slot->state == SLOT_EMPTY)
            return NULL;
        if (slot_is(m, slot, p))
            return slot;
    }
}

static struct map_slot *free_slot(struct map_slot *slots, size_t cap, uint64_t hash)
{
    size_t i = hash & (cap - 1);
    while (slots[i].state == SLOT_STR || slots[i].state == SLOT_U64)
        i = (i + 1) & (cap - 1);
    return &slots[i];
}

/* Makes sure that one more entry fits; drops the tombs when it moves. */
static enum err make_room(struct map *m)
{
    if ((m->count + m->tombs + 1) * 4 <= m->cap * 3)
        return ERR_OK;
    size_t cap = FIRST_CAP;
    while ((m->count + 1) * 2 > cap)
        if (__builtin_mul_overflow(cap, (size_t)2, &cap))
            return ERR_NOMEM;
    struct map_slot *slots = calloc(cap, sizeof *slots);
    if (!slots)
        return ERR_NOMEM;
    for (size_t i = 0; i < m->cap; i++)
        if (m->slots[i].state == SLOT_STR || m->slots[i].state == SLOT_U64)
            *free_slot(slots, cap, m->slots[i].hash) = m->slots[i];
    free(m->slots);
    m->slots = slots;
    m->cap = cap;
    m->tombs = 0;
    return ERR_OK;
}

static enum err put(struct map *m, const struct probe *p, void *value, void **old)
{
    if (old)
        *old = NULL;
    struct map_slot *slot = find(m, p);
    if (slot) {
        if (old)
            *old = slot->value;
        slot->value = value;
        return ERR_OK;
    }
    if (m->count >= m->max || p->key.len > UINT32_MAX)
        return ERR_LIMIT;
    TRY(make_room(m));
    struct map_slot made = {.hash = p->hash, .state = p->state, .value = value};
    if (p->state == SLOT_STR) {
        made.key_len = (uint32_t)p->key.len;
        made.key = malloc(p->key.len ? p->key.len : 1);
        if (!made.key)
            return ERR_NOMEM;
        if (p->key.len)
            memcpy(made.key, p->key.data, p->key.len);
    } else {
        made.num = p->num;
    }
    slot = free_slot(m->slots, m->cap, p->hash);
    m->tombs -= slot->state == SLOT_TOMB;
    *slot = made;
    m->count++;
    return ERR_OK;
}

static void *take_out(struct map *m, const struct probe *p)
{
    struct map_slot *slot = find(m, p);
    if (!slot)
        return NULL;
    void *value = slot->value;
    if (slot->state == SLOT_STR)
        free(slot->key);
    *slot = (struct map_slot){.state = SLOT_TOMB};
    m->count--;
    m->tombs++;
    /* Tombs before an empty slot hold nothing together. */
    size_t i = (size_t)(slot - m->slots);
    if (m->slots[(i + 1) & (m->cap - 1)].state == SLOT_EMPTY)
        for (; m->slots[i].state == SLOT_TOMB; i = (i - 1) & (m->cap - 1)) {
            m->slots[i].state = SLOT_EMPTY;
            m->tombs--;
        }
    return value;
}

void *map_get(const struct map *m, str key)
{
    struct probe p = probe_str(m, key);
    struct map_slot *slot = find(m, &p);
    return slot ? slot->value : NULL;
}

enum err map_put(struct map *m, str key, void *value, void **old)
{
    struct probe p = probe_str(m, key);
    return put(m, &p, value, old);
}

void *map_remove(struct map *m, str key)
{
    struct probe p = probe_str(m, key);
    return take_out(m, &p);
}

void *map_get_u64(const struct map *m, uint64_t key)
{
    struct probe p = probe_u64(key);
    struct map_slot *slot = find(m, &p);
    return slot ? slot->value : NULL;
}

enum err map_put_u64(struct map *m, uint64_t key, void *value, void **old)
{
    struct probe p = probe_u64(key);
    return put(m, &p, value, old);
}

void *map_remove_u64(struct map *m, uint64_t key)
{
    struct probe p = probe_u64(key);
    return take_out(m, &p);
}

bool map_next(const struct map *m, size_t *pos, str *key, void **value)
{
    while (*pos < m->cap) {
        const struct map_slot *slot = &m->slots[(*pos)++];
        if (slot->state != SLOT_STR && slot->state != SLOT_U64)
            continue;
        if (key && slot->state == SLOT_STR)
            *key = str_of(slot->key, slot->key_len);
        else if (key)
            *key = str_of(&slot->num, sizeof slot->num);
        if (value)
            *value = slot->value;
        return true;
    }
    return false;
}
