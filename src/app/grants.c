/* SPDX-License-Identifier: Apache-2.0 */
#include "app/grants.h"

#include <string.h>

void grants_init(struct grants *g)
{
    pthread_mutex_init(&g->lock, NULL);
    map_init(&g->accounts, GRANTS_MAX);
}

void grants_reset(struct grants *g)
{
    pthread_mutex_lock(&g->lock);
    map_free(&g->accounts);
    map_init(&g->accounts, GRANTS_MAX);
    pthread_mutex_unlock(&g->lock);
}

static void *time_value(uint64_t now_ms)
{
    return (void *)(uintptr_t)(now_ms + 1); /* never NULL */
}

static bool fresh(const void *value, uint64_t now_ms)
{
    return value && now_ms - ((uintptr_t)value - 1) <= GRANT_MS;
}

static void sweep(struct grants *g, uint64_t now_ms)
{
    void *value;
    str key;
    for (size_t i = 0; map_next(&g->accounts, &i, &key, &value);) {
        uint64_t account;
        memcpy(&account, key.data, sizeof(account));
        if (!fresh(value, now_ms))
            (void)map_remove_u64(&g->accounts, account);
    }
}

enum err grants_add(struct grants *g, uint64_t account, uint64_t now_ms)
{
    pthread_mutex_lock(&g->lock);
    if (g->accounts.count >= GRANTS_MAX)
        sweep(g, now_ms);
    enum err e = map_put_u64(&g->accounts, account, time_value(now_ms), NULL);
    pthread_mutex_unlock(&g->lock);
    return e == ERR_OK ? ERR_OK : ERR_TOO_MANY;
}

bool grants_has(struct grants *g, uint64_t account, uint64_t now_ms)
{
    if (account == 0)
        return true;
    pthread_mutex_lock(&g->lock);
    bool has = fresh(map_get_u64(&g->accounts, account), now_ms);
    if (has)
        has = map_put_u64(&g->accounts, account, time_value(now_ms), NULL) == ERR_OK;
    pthread_mutex_unlock(&g->lock);
    return has;
}
