/* SPDX-License-Identifier: Apache-2.0
 *
 * Who keeps the indexes: one fiber for each thread, woken by what its accounts publish.
 */
#include "core/search_index.h"

#include "base/log.h"
#include "base/map.h"
#include "core/account_private.h"

#define GATHER_MS 200     /* deliveries that come together become one segment */
#define FLOOD_WAKES 50    /* changes in that time: a flood, which goes first … */
#define FLOOD_MS_MAX 5000 /* … for so long */
#define RETRY_MS 5000     /* after a temporary error */
#define PENDING_MAX 1048576

struct search_indexer {
    struct arena arena;
    struct accounts *accounts;
    struct map pending; /* account id -> something not NULL */
    struct event wake;
    struct fiber_group group;
    uint64_t wakes; /* changes announced so far */
};

void search_indexer_wake(struct search_indexer *x, uint64_t account)
{
    x->wakes++;
    if (map_put_u64(&x->pending, account, x, NULL) == ERR_OK) /* else: its next change wakes us */
        event_signal(&x->wake);
}

static bool take_pending(struct search_indexer *x, uint64_t *account)
{
    size_t at = 0;
    str key;
    void *value;
    if (!map_next(&x->pending, &at, &key, &value))
        return false;
    __builtin_memcpy(account, key.data, sizeof *account);
    map_remove_u64(&x->pending, *account);
    return true;
}

static bool wait_for_work(struct search_indexer *x)
{
    while (x->pending.count == 0)
        if (event_wait(&x->wake, DEADLINE_NEVER) == ERR_CANCELED)
            return false;
    /* Delivery needs the processors more than the index does; SEARCH scans what is not indexed. */
    uint64_t end = deadline_in_ms(FLOOD_MS_MAX);
    uint64_t before;
    do {
        before = x->wakes;
        if (wait_until(deadline_in_ms(GATHER_MS)) == ERR_CANCELED)
            return false;
    } while (x->wakes - before >= FLOOD_WAKES && clock_mono_ms() < end);
    return true;
}

static void index_account(struct search_indexer *x, uint64_t id)
{
    struct account *a;
    enum err e = account_open(x->accounts, id, &a);
    if (e == ERR_OK) {
        e = search_index_update(a);
        account_close(a);
    }
    if (e == ERR_OK || e == ERR_CANCELED)
        return;
    LOG_WARN("search", "index of account %llu is late: %s", (unsigned long long)id, err_name(e));
    if (err_class(e) == ERR_CLASS_TEMP && wait_until(deadline_in_ms(RETRY_MS)) != ERR_CANCELED)
        search_indexer_wake(x, id);
}

static void run(void *arg)
{
    struct search_indexer *x = arg;
    while (wait_for_work(x)) {
        uint64_t id;
        while (!fiber_canceled() && take_pending(x, &id))
            index_account(x, id);
    }
}

enum err search_indexer_start(struct accounts *as, struct search_indexer **out)
{
    struct arena arena = ARENA_INIT(4096);
    struct search_indexer *x = ARENA_NEW(&arena, struct search_indexer);
    if (!x)
        return ERR_NOMEM;
    x->arena = arena;
    x->accounts = as;
    map_init(&x->pending, PENDING_MAX);
    event_init(&x->wake);
    fiber_group_init(&x->group);
    enum err e = fiber_start(&x->group, "search index", run, x);
    if (e != ERR_OK) {
        arena = x->arena;
        arena_free(&arena);
        return e;
    }
    as->indexer = x;
    *out = x;
    return ERR_OK;
}

void search_indexer_stop(struct search_indexer *x)
{
    if (!x)
        return;
    x->accounts->indexer = NULL;
    fiber_group_cancel(&x->group);
    fiber_group_join(&x->group);
    map_free(&x->pending);
    struct arena arena = x->arena;
    arena_free(&arena);
}
