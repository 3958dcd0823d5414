/* SPDX-License-Identifier: Apache-2.0
 *
 * What happens to views in the background, on one fiber of the thread: rows that nobody looks at
 * are packed, and snapshots are written. While it runs all others wait, so no row is in use.
 */
#include "base/log.h"
#include "base/num.h"
#include "core/account_private.h"
#include "os/clock.h"

#define PACKS 64           /* chunks packed in one go: about 2 ms */
#define GATHER_MS 200      /* changes that come together are written together */
#define RATE_BYTES_MS 8192 /* written a ms, on average */
#define RETRY_MS 5000      /* after an error */
#define END_COST 64        /* at a clean end, less is not worth writing */
#define PENDING_MAX 1048576
#define BOXES_AT_ONCE 64

struct view_keeper {
    struct arena arena;
    struct accounts *accounts;
    struct map pending; /* account id -> something not NULL */
    struct event wake;
    struct fiber_group group;
    uint64_t not_before; /* snapshots */
};

void view_keeper_wake(struct view_keeper *k) { event_signal(&k->wake); }

void view_keeper_ask(struct view_keeper *k, uint64_t account)
{
    if (k->pending.count == 0)
        k->not_before = MAX(k->not_before, deadline_in_ms(GATHER_MS));
    if (map_put_u64(&k->pending, account, k, NULL) == ERR_OK)
        event_signal(&k->wake);
}

/* ---- packing ---- */

/* First what nobody used since the last time, then the rest; ends when half of the limit is free,
 * or when enough was packed for one go (false). */
static bool pack_some(struct accounts *as)
{
    size_t packs = PACKS;
    for (int pass = 0; pass < 2; pass++) {
        struct list *first = as->views.next;
        do {
            struct list *l = as->views.next;
            struct mailbox_view *v = container_of(l, struct mailbox_view, every);
            packs = view_pack(v, packs, pass > 0);
            if (as->unpacked <= as->o.unpacked_max / 2)
                return true;
            if (packs == 0)
                return false;
            list_remove(l);
            list_push_back(&as->views, l);
        } while (as->views.next != first);
    }
    return true;
}

static void pack_views(struct accounts *as)
{
    while (as->unpacked > as->o.unpacked_max && !list_empty(&as->views) && !pack_some(as))
        fiber_yield();
}

/* ---- snapshots ---- */

static enum err save_box(struct view_keeper *k, struct account *a, uint32_t mailbox)
{
    struct mailbox_view *v;
    enum err e = view_open(a, mailbox, &v);
    if (e != ERR_OK)
        return e == ERR_NOT_FOUND ? ERR_OK : e;
    v->snapshot.wanted = false;
    uint64_t begin = clock_mono_ms(), written = 0;
    e = snapshot_save(v, &written);
    if (e == ERR_OK)
        LOG_INFO("snapshot", "written account=%llu mailbox=%u messages=%zu bytes=%llu ms=%llu",
                 (unsigned long long)a->id, mailbox, view_count(v), (unsigned long long)written,
                 (unsigned long long)(clock_mono_ms() - begin));
    k->not_before = deadline_in_ms(GATHER_MS + written / RATE_BYTES_MS);
    view_close(v);
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

static size_t boxes_wanted(struct account *a, uint32_t *ids)
{
    size_t at = 0, n = 0;
    void *box;
    while (n < BOXES_AT_ONCE && map_next(&a->boxes, &at, NULL, &box)) {
        struct box *b = box;
        if (b->purging || !(b->snapshot_wanted || (b->view && b->view->snapshot.wanted)))
            continue;
        b->snapshot_wanted = false;
        b->behind = 0;
        ids[n++] = b->pub.id;
    }
    return n;
}

static enum err save_account(struct view_keeper *k, struct account *a)
{
    uint32_t ids[BOXES_AT_ONCE];
    size_t n;
    do {
        n = boxes_wanted(a, ids);
        for (size_t i = 0; i < n; i++)
            TRY(save_box(k, a, ids[i]));
    } while (n == BOXES_AT_ONCE);
    return ERR_OK;
}

static void save_next(struct view_keeper *k)
{
    size_t at = 0;
    str key;
    void *value;
    uint64_t id;
    struct account *a;
    if (!map_next(&k->pending, &at, &key, &value))
        return;
    __builtin_memcpy(&id, key.data, sizeof id);
    map_remove_u64(&k->pending, id);
    enum err e = account_open(k->accounts, id, &a);
    if (e == ERR_OK) {
        e = save_account(k, a);
        account_close(a);
    }
    if (e == ERR_OK || e == ERR_CANCELED)
        return;
    LOG_WARN("snapshot", "not written account=%llu cause=%s", (unsigned long long)id, err_name(e));
    k->not_before = deadline_in_ms(RETRY_MS); /* its next change asks again */
}

static void run(void *arg)
{
    struct view_keeper *k = arg;
    struct accounts *as = k->accounts;
    enum err e = ERR_OK;
    while (e != ERR_CANCELED) {
        pack_views(as);
        bool due = k->pending.count && clock_mono_ms() >= k->not_before;
        if (due)
            save_next(k);
        else
            e = event_wait(&k->wake, k->pending.count ? k->not_before : DEADLINE_NEVER);
        if (fiber_canceled())
            return;
    }
}

/* ---- life ---- */

enum err view_keeper_start(struct accounts *as, struct view_keeper **out)
{
    struct arena arena = ARENA_INIT(4096);
    struct view_keeper *k = ARENA_NEW(&arena, struct view_keeper);
    if (!k)
        return ERR_NOMEM;
    k->arena = arena;
    k->accounts = as;
    map_init(&k->pending, PENDING_MAX);
    event_init(&k->wake);
    fiber_group_init(&k->group);
    enum err e = fiber_start(&k->group, "view keeper", run, k);
    if (e != ERR_OK) {
        arena = k->arena;
        arena_free(&arena);
        return e;
    }
    as->keeper = k;
    *out = k;
    return ERR_OK;
}

/* Each view once, whatever comes of it. */
static bool save_at_end(struct view_keeper *k)
{
    LIST_EACH (it, &k->accounts->views) {
        struct mailbox_view *v = container_of(it, struct mailbox_view, every);
        if (v->snapshot.ended || !snapshot_stale(v, END_COST))
            continue;
        v->snapshot.ended = true;
        struct account *a = account_ref(v->account);
        uint32_t mailbox = v->mailbox;
        enum err e = save_box(k, a, mailbox);
        if (e != ERR_OK)
            LOG_WARN("snapshot", "not written at the end: %s", err_name(e));
        account_close(a);
        return true;
    }
    return false;
}

void view_keeper_stop(struct view_keeper *k)
{
    if (!k)
        return;
    uint64_t end = deadline_in_ms(VIEW_KEEPER_END_MS);
    fiber_group_cancel(&k->group);
    fiber_group_join(&k->group);
    k->accounts->keeper = NULL;
    while (clock_mono_ms() < end && save_at_end(k)) {
    }
    map_free(&k->pending);
    struct arena arena = k->arena;
    arena_free(&arena);
}
