/* SPDX-License-Identifier: Apache-2.0
 *
 * The cache of account views, and how a view follows the store.
 */
#include "core/account_private.h"
#include "core/search_index.h"

#include "base/log.h"
#include "base/num.h"
#include "os/loop.h"

#include <assert.h>
#include <string.h>

#define ACCOUNTS_MAX 1048576
#define ROW_MAX 65536
#define REFRESH_ROUNDS 100

/* ---- the cache ---- */

enum err accounts_open(const struct accounts_options *o, struct accounts **out)
{
    struct arena self = ARENA_INIT(65536);
    struct accounts *as = ARENA_NEW(&self, struct accounts);
    if (!as)
        return ERR_NOMEM;
    as->self = self;
    as->o = *o;
    if (!as->o.accounts_max)
        as->o.accounts_max = 1024;
    if (!as->o.bytes_max)
        as->o.bytes_max = 128ull << 20;
    if (!as->o.unpacked_max)
        as->o.unpacked_max = (size_t)16 << 20;
    if (!as->o.snapshot_min)
        as->o.snapshot_min = SNAPSHOT_MIN;
    if (!as->o.snapshot_part)
        as->o.snapshot_part = SNAPSHOT_PART_ROWS;
    map_init(&as->open, ACCOUNTS_MAX);
    list_init(&as->idle);
    list_init(&as->views);
    fiber_group_init(&as->group);
    *out = as;
    return ERR_OK;
}

struct store *accounts_store(const struct accounts *as) { return as->o.store; }
uint64_t account_id(const struct account *a) { return a->id; }
struct accounts *account_accounts(const struct account *a) { return a->owner; }

static void box_free(struct box *b)
{
    if (b->view)
        view_free(b->view);
    arena_free(&b->names);
    struct arena self = b->self;
    arena_free(&self);
}

static void account_free(struct account *a)
{
    size_t at = 0;
    void *box;
    assert(a->users == 0 && list_empty(&a->in_flight));
    map_remove_u64(&a->owner->open, a->id);
    if (a->watching)
        store_watch_stop(a->owner->o.store, &a->watch);
    while (map_next(&a->boxes, &at, NULL, &box))
        box_free(box);
    map_free(&a->boxes);
    buf_free(&a->order);
    struct arena self = a->self;
    arena_free(&self);
}

static void trim(struct accounts *as)
{
    while (!list_empty(&as->idle) &&
           (as->idle_count > as->o.accounts_max || as->bytes > as->o.bytes_max)) {
        struct list *oldest = list_pop_front(&as->idle);
        as->idle_count--;
        account_free(container_of(oldest, struct account, idle_link));
    }
}

void accounts_close(struct accounts *as)
{
    fiber_group_cancel(&as->group);
    if (loop_current())
        fiber_group_join(&as->group);
    as->o.accounts_max = 0;
    while (!list_empty(&as->idle)) {
        as->idle_count--;
        account_free(container_of(list_pop_front(&as->idle), struct account, idle_link));
    }
    assert(as->open.count == 0);
    map_free(&as->open);
    struct arena self = as->self;
    arena_free(&self);
}

static struct account *account_new(struct accounts *as, uint64_t id)
{
    struct arena self = ARENA_INIT(65536);
    struct account *a = ARENA_NEW(&self, struct account);
    if (!a)
        return NULL;
    a->self = self;
    a->owner = as;
    a->id = id;
    list_init(&a->idle_link);
    list_init(&a->in_flight);
    list_init(&a->watchers);
    map_init(&a->boxes, 2 * MAILBOXES_MAX);
    buf_init(&a->order, 2 * MAILBOXES_MAX * sizeof(struct box *));
    event_init(&a->settled);
    event_init(&a->turn_free);
    if (map_put_u64(&as->open, id, a, NULL) != ERR_OK) {
        arena_free(&self);
        return NULL;
    }
    return a;
}

struct account *account_ref(struct account *a)
{
    if (a->users++ == 0 && !list_empty(&a->idle_link)) {
        list_remove(&a->idle_link);
        a->owner->idle_count--;
    }
    return a;
}

enum err account_open_rows(struct accounts *as, uint64_t id, struct account **out)
{
    assert(id >= STORE_PARTITION_ACCOUNTS);
    struct account *a = map_get_u64(&as->open, id);
    if (!a && !(a = account_new(as, id)))
        return ERR_NOMEM;
    *out = account_ref(a);
    return ERR_OK;
}

enum err account_open(struct accounts *as, uint64_t id, struct account **out)
{
    struct account *a;
    TRY(account_open_rows(as, id, &a));
    bool first = !a->loaded;
    enum err e = account_refresh(a);
    if (e != ERR_OK) {
        account_close(a);
        return e;
    }
    mailbox_purge_start(a); /* what a crash left */
    if (first && as->indexer)
        search_indexer_wake(as->indexer, id); /* it may not have been complete */
    *out = a;
    return ERR_OK;
}

void account_close(struct account *a)
{
    if (!a)
        return;
    assert(a->users > 0);
    if (--a->users)
        return;
    if (a->watching) {
        store_watch_stop(a->owner->o.store, &a->watch);
        a->watching = false;
    }
    list_push_back(&a->owner->idle, &a->idle_link);
    a->owner->idle_count++;
    trim(a->owner);
}

void account_status(const struct account *a, struct account_status *out)
{
    *out = (struct account_status){
        .version = a->pub_version,
        .bytes = a->pub.bytes,
        .messages = a->pub.messages,
        .change_floor = a->pub.change_floor,
        .mailboxes = a->order.len / sizeof(struct box *),
    };
}

enum err account_quota(struct account *a, struct quota *out)
{
    *out = (struct quota){0};
    const struct accounts_options *o = &a->owner->o;
    return o->quota ? o->quota(o->quota_ctx, a->id, out) : ERR_OK;
}

void account_quota_changed(struct account *a)
{
    const struct accounts_options *o = &a->owner->o;
    if (o->quota_changed)
        o->quota_changed(o->quota_ctx);
}

/* ---- waking ---- */

void watchers_signal(struct list *watchers)
{
    LIST_EACH (it, watchers) {
        struct change_watcher *w = container_of(it, struct change_watcher, link);
        w->dirty = true;
        if (w->event)
            event_signal(w->event);
    }
}

void account_published(struct account *a)
{
    watchers_signal(&a->watchers);
    if (a->owner->indexer)
        search_indexer_wake(a->owner->indexer, a->id);
}

void account_watch(struct account *a, struct change_watcher *w)
{
    list_push_back(&a->watchers, &w->link);
    account_follow(a);
}

void change_watcher_stop(struct change_watcher *w)
{
    if (w->link.next)
        list_remove(&w->link);
}

static void follow_fiber(void *arg)
{
    struct account *a = arg;
    enum err e = account_refresh(a);
    if (e != ERR_OK && e != ERR_CANCELED)
        LOG_WARN("account", "cannot follow account=%llu cause=%s", (unsigned long long)a->id,
                 err_name(e));
    a->following = false;
    account_close(a);
}

/* The store's hint. Our own commits come here too: then the version is one that we gave. */
static void watch_changed(struct store_watch *w)
{
    struct account *a = container_of(w, struct account, watch);
    if (a->following || store_version(a->owner->o.store, a->id) <= a->head_version)
        return;
    a->following = true;
    account_ref(a);
    if (fiber_start(&a->owner->group, "account follow", follow_fiber, a) != ERR_OK) {
        a->following = false;
        account_close(a);
    }
}

void account_follow(struct account *a)
{
    if (a->watching)
        return;
    a->watch = (struct store_watch){.partition = a->id, .changed = watch_changed};
    a->watching = store_watch_start(a->owner->o.store, &a->watch) == ERR_OK;
}

/* ---- turns ---- */

enum err turn_take(struct account *a)
{
    uint64_t deadline = deadline_in_ms(ACCOUNT_WAIT_MS);
    while (a->turn_taken)
        TRY(event_wait(&a->turn_free, deadline));
    a->turn_taken = true;
    return ERR_OK;
}

void turn_give(struct account *a)
{
    assert(a->turn_taken);
    a->turn_taken = false;
    event_signal(&a->turn_free);
}

/* ---- following the store ---- */

/* A page of rows, copied out of the scan since taking them in may ask the store again. */
struct page {
    struct buf bytes; /* per row: id, value; both sized */
    struct store_key last;
    size_t n;
};

static bool page_row(void *arg, const struct store_row *row)
{
    struct page *p = arg;
    buf_add_sized(&p->bytes, row->key);
    buf_add_sized(&p->bytes, row->value);
    p->n++;
    return buf_ok(&p->bytes);
}

#define PAGE_ROWS 200
#define PAGE_BYTES (PAGE_ROWS * (STORE_VALUE_MAX + 512ull))

/* Rows from p->last (exclusive; the first time: from) to `to`. */
static enum err page_read(struct account *a, struct page *p, str from, str to)
{
    struct store_key after = p->last;
    if (after.len) {
        store_key_next(&after);
        from = key_str(&after);
    }
    buf_reset(&p->bytes);
    p->n = 0;
    struct store_scan q = {.partition = a->id, .from = from, .to = to, .limit = PAGE_ROWS};
    enum err e = store_scan(a->owner->o.store, &q, page_row, p, &p->last);
    return e == ERR_OK && !buf_ok(&p->bytes) ? ERR_NOMEM : e;
}

static enum err read_state(struct account *a, struct box *b)
{
    BUF_AUTO struct buf value = BUF_INIT(ROW_MAX);
    struct store_key key = key_state(b->pub.id);
    enum err e = store_get(a->owner->o.store, a->id, key_str(&key), &value);
    if (e == ERR_NOT_FOUND)
        return ERR_CORRUPT;
    TRY(e);
    return state_decode(buf_str(&value), &b->pub.state);
}

static enum err read_box(struct account *a, uint32_t id, uint64_t version)
{
    BUF_AUTO struct buf value = BUF_INIT(ROW_MAX);
    struct store_key key = key_mailbox(id);
    enum err e = store_get(a->owner->o.store, a->id, key_str(&key), &value);
    if (e == ERR_NOT_FOUND) {
        box_forget(a, id);
        return ERR_OK;
    }
    TRY(e);
    TRY(box_apply(a, id, buf_str(&value), version));
    struct box *b = box_get(a, id);
    return b ? read_state(a, b) : ERR_OK;
}

static enum err load_boxes(struct account *a, uint64_t version)
{
    struct page p = {.bytes = BUF_INIT(PAGE_BYTES)};
    struct store_key from = key_space(SPACE_MAILBOX), to = key_space_end(SPACE_MAILBOX);
    enum err e;
    do {
        e = page_read(a, &p, key_str(&from), key_str(&to));
        struct reader r = reader_of(buf_str(&p.bytes));
        for (size_t i = 0; e == ERR_OK && i < p.n; i++) {
            uint32_t id;
            str key = read_sized(&r), value = read_sized(&r);
            e = key_u32(key, 1, &id) ? box_apply(a, id, value, version) : ERR_CORRUPT;
            struct box *b = e == ERR_OK ? box_get(a, id) : NULL;
            if (b)
                e = read_state(a, b);
            if (e == ERR_CORRUPT) { /* set aside; the rest goes on (rule store-2) */
                LOG_ERROR("account", "unreadable mailbox row account=%llu mailbox=%u",
                          (unsigned long long)a->id, id);
                box_forget(a, id);
                e = ERR_OK;
            }
        }
    } while (e == ERR_OK && p.n == PAGE_ROWS);
    buf_free(&p.bytes);
    return e;
}

/* The history was cut below what we know: compare everything. */
static enum err reload_all(struct account *a, uint64_t version)
{
    BUF_AUTO struct buf ids = BUF_INIT(4 * MAILBOXES_MAX * sizeof(uint32_t));
    size_t at = 0;
    void *box;
    while (map_next(&a->boxes, &at, NULL, &box))
        buf_add(&ids, str_of(&((struct box *)box)->pub.id, sizeof(uint32_t)));
    if (!buf_ok(&ids))
        return ERR_NOMEM;
    for (size_t i = 0; i < ids.len / sizeof(uint32_t); i++) {
        uint32_t id;
        memcpy(&id, ids.data + i * sizeof id, sizeof id);
        TRY(read_box(a, id, version));
        struct box *b = box_get(a, id);
        struct range all = {1, UINT32_MAX};
        if (b && b->view)
            TRY(view_reread(b->view, &(struct set){&all, 1, 1, 1}, version));
    }
    return load_boxes(a, version);
}

static enum err take_entry(struct account *a, const struct change_entry *e, uint64_t version)
{
    if (e->kind == CHANGE_DESTROYED)
        return ERR_OK;
    TRY(read_box(a, e->mailbox, version));
    struct box *b = box_get(a, e->mailbox);
    if (b && b->view && e->kind <= CHANGE_EXPUNGED)
        TRY(view_reread(b->view, &e->uids, version));
    if (b && b->view)
        view_signal(b->view);
    return ERR_OK;
}

/* An unreadable row of the log: nothing is lost by comparing everything instead. */
static enum err take_change(struct account *a, str value, uint64_t version)
{
    struct arena arena = ARENA_INIT(1 << 20);
    struct reader r;
    uint64_t nonce;
    enum err e = change_decode_start(value, &r, &nonce);
    while (e == ERR_OK) {
        struct change_entry entry;
        e = change_decode_entry(&r, &arena, &entry);
        if (e == ERR_OK)
            e = take_entry(a, &entry, version);
        set_free(&entry.uids);
    }
    arena_free(&arena);
    return e == ERR_EOF ? ERR_OK : e;
}

static enum err take_changes(struct account *a, uint64_t version)
{
    struct page p = {.bytes = BUF_INIT(PAGE_BYTES)};
    struct store_key from = key_change(a->pub_version + 1), to = key_change(version + 1);
    uint64_t expected = a->pub_version + 1;
    enum err e;
    do {
        e = page_read(a, &p, key_str(&from), key_str(&to));
        struct reader r = reader_of(buf_str(&p.bytes));
        for (size_t i = 0; e == ERR_OK && i < p.n; i++) {
            uint64_t at;
            str key = read_sized(&r), value = read_sized(&r);
            if (!key_u64(key, 1, &at) || at != expected++)
                e = ERR_CORRUPT;
            else
                e = take_change(a, value, at);
        }
    } while (e == ERR_OK && p.n == PAGE_ROWS);
    if (e == ERR_OK && expected != version + 1)
        e = ERR_CORRUPT; /* cut meanwhile, or damaged */
    buf_free(&p.bytes);
    return e;
}

static enum err read_head(struct account *a, struct head_row *out)
{
    BUF_AUTO struct buf value = BUF_INIT(ROW_MAX);
    struct store_key key = key_head();
    *out = (struct head_row){.next_message = 1, .next_mailbox = 1};
    enum err e = store_get(a->owner->o.store, a->id, key_str(&key), &value);
    if (e == ERR_NOT_FOUND)
        return ERR_OK;
    TRY(e);
    return head_decode(buf_str(&value), out);
}

static void settle(struct account *a, const struct head_row *h, uint64_t version)
{
    size_t at = 0;
    void *box;
    a->pub = a->head = *h;
    a->pub_version = a->head_version = version;
    while (map_next(&a->boxes, &at, NULL, &box)) {
        struct box *b = box;
        b->head = b->pub.state;
        b->head_gone = b->fresh = false;
    }
    a->loaded = true;
    a->stale = false;
}

/* Others may go on committing while this reads; each round reads what came since the last one. */
static enum err refresh(struct account *a)
{
    struct store *s = a->owner->o.store;
    for (unsigned round = 0; round < REFRESH_ROUNDS; round++) {
        struct head_row h;
        uint64_t version = store_version(s, a->id), before = a->pub_version;
        TRY(read_head(a, &h));
        enum err e = ERR_OK;
        if (!a->loaded)
            e = load_boxes(a, version);
        else if (h.change_floor > a->pub_version)
            e = reload_all(a, version);
        else if (version > a->pub_version && (e = take_changes(a, version)) == ERR_CORRUPT)
            e = reload_all(a, version);
        TRY(e);
        a->pub_version = version;
        a->loaded = true;
        if (store_version(s, a->id) == version) {
            settle(a, &h, version);
            if (version != before)
                account_published(a);
            return ERR_OK;
        }
    }
    return ERR_BUSY;
}

enum err account_ready(struct account *a)
{
    uint64_t deadline = deadline_in_ms(ACCOUNT_WAIT_MS);
    for (;;) {
        if (!a->refreshing && a->loaded && !a->stale)
            return ERR_OK;
        if (a->refreshing || !list_empty(&a->in_flight)) {
            TRY(event_wait(&a->settled, deadline));
            continue;
        }
        a->refreshing = true;
        enum err e = refresh(a);
        a->refreshing = false;
        event_signal(&a->settled);
        TRY(e);
    }
}

enum err account_refresh(struct account *a)
{
    if (store_version(a->owner->o.store, a->id) > a->head_version)
        a->stale = true;
    return account_ready(a);
}
