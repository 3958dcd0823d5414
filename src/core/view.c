/* SPDX-License-Identifier: Apache-2.0
 *
 * The life of a view: loaded, told of commits, freed. Its rows are kept by view_rows.c.
 */
#include "core/account_private.h"
#include "core/search_private.h"

#include "base/log.h"
#include "base/num.h"

#include <assert.h>
#include <string.h>

#define CHUNKS_BYTES_MAX (1ull << 32)

const struct mailbox *view_mailbox(const struct mailbox_view *v)
{
    struct box *b = v->gone ? NULL : box_get(v->account, v->mailbox);
    return b ? &b->pub : NULL;
}

void view_signal(struct mailbox_view *v) { watchers_signal(&v->watchers); }

void view_watch(struct mailbox_view *v, struct change_watcher *w)
{
    list_push_back(&v->watchers, &w->link);
    account_follow(v->account);
}

static void tell_changed(struct mailbox_view *v, const struct set *uids, uint64_t version,
                         const struct mailbox_session *by)
{
    LIST_EACH (it, &v->sessions) {
        struct mailbox_session *s = container_of(it, struct mailbox_session, link);
        if (s != by)
            session_push_changed(s, uids, version);
    }
}

static void tell_expunged(struct mailbox_view *v, const struct set *uids, uint64_t version)
{
    LIST_EACH (it, &v->sessions)
        session_push_expunged(container_of(it, struct mailbox_session, link), uids, version);
}

/* The sessions cannot be told the truth any more. */
void view_failed(struct mailbox_view *v, enum err e)
{
    struct box *b = v->gone ? NULL : box_get(v->account, v->mailbox);
    LOG_ERROR("view", "rows cannot be kept: %s account=%llu mailbox=%u", err_name(e),
              (unsigned long long)v->account->id, v->mailbox);
    v->account->stale = true;
    v->broken = true;
    if (b && e == ERR_CORRUPT)
        b->snapshot_bad = true;
    LIST_EACH (it, &v->sessions)
        container_of(it, struct mailbox_session, link)->failed = true;
}

static void redo_later(struct mailbox_view *v, const struct message_row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (set_add(&v->redo, rows[i].uid) != ERR_OK)
            view_failed(v, ERR_NOMEM);
}

void view_apply_rows(struct mailbox_view *v, const struct message_row *rows, size_t n,
                     uint64_t version, const struct mailbox_session *by)
{
    SET_AUTO struct set changed = {0};
    if (v->loading)
        redo_later(v, rows, n);
    if (v->loading || !v->loaded)
        return;
    for (size_t i = 0; i < n; i++) {
        enum row_put put = view_row_put(v, &rows[i]);
        if (put == ROW_PUT_FAILED ||
            (put == ROW_PUT_CHANGED && set_add(&changed, rows[i].uid) != ERR_OK))
            view_failed(v, ERR_NOMEM);
    }
    if (changed.count)
        tell_changed(v, &changed, version, by);
    snapshot_cost(v, n);
}

void view_apply_expunged(struct mailbox_view *v, const struct message_row *rows, size_t n,
                         uint64_t version)
{
    SET_AUTO struct set gone = {0};
    if (v->loading)
        redo_later(v, rows, n);
    if (v->loading || !v->loaded)
        return;
    if (view_rows_remove(v, rows, n, &gone) != ERR_OK)
        view_failed(v, ERR_NOMEM);
    if (gone.count)
        tell_expunged(v, &gone, version);
    snapshot_cost(v, n);
}

/* ---- reading from the store ---- */

struct row_page {
    struct mailbox_view *v;
    struct buf rows;
    uint64_t unreadable;
    uint32_t last; /* UID of the last row seen */
    size_t n;
};

static bool row_read(void *arg, const struct store_row *row)
{
    struct row_page *p = arg;
    struct message_row m;
    p->n++;
    if (!key_u32(row->key, 5, &p->last) || instance_decode(p->last, row->value, &m) != ERR_OK) {
        p->unreadable++; /* set aside; check reports it (rule store-2) */
        return true;
    }
    buf_add(&p->rows, str_of(&m, sizeof m));
    return buf_ok(&p->rows);
}

/* What the view has between two UIDs and the page has not. */
static enum err page_absent(struct mailbox_view *v, const struct row_page *p, uint32_t first,
                            uint32_t last, struct buf *absent)
{
    const struct message_row *there = (const struct message_row *)p->rows.data, *rows;
    size_t nthere = p->rows.len / sizeof *there, k = 0;
    for (size_t i = view_place(v, first), n; (n = view_run(v, i, &rows)) > 0; i += n) {
        for (size_t j = 0; j < n; j++) {
            if (rows[j].uid > last)
                return buf_ok(absent) ? ERR_OK : ERR_NOMEM;
            while (k < nthere && there[k].uid < rows[j].uid)
                k++;
            if (k == nthere || there[k].uid != rows[j].uid)
                buf_add(absent, str_of(&rows[j], sizeof rows[j]));
        }
    }
    return buf_ok(absent) ? ERR_OK : ERR_NOMEM;
}

static enum err page_apply(struct mailbox_view *v, const struct row_page *p, uint32_t first,
                           uint32_t last, uint64_t version)
{
    const struct message_row *rows = (const struct message_row *)p->rows.data;
    SET_AUTO struct set changed = {0}, gone = {0};
    if (view_last_uid(v) >= first) {
        BUF_AUTO struct buf absent = BUF_INIT(CHUNKS_BYTES_MAX);
        TRY(page_absent(v, p, first, last, &absent));
        TRY(view_rows_remove(v, (const struct message_row *)absent.data, absent.len / sizeof *rows,
                             &gone));
    }
    for (size_t i = 0; i < p->rows.len / sizeof *rows; i++) {
        enum row_put put = view_row_put(v, &rows[i]);
        if (put == ROW_PUT_FAILED)
            return ERR_NOMEM;
        if (put == ROW_PUT_CHANGED)
            TRY(set_add(&changed, rows[i].uid));
    }
    if (gone.count)
        tell_expunged(v, &gone, version);
    if (changed.count)
        tell_changed(v, &changed, version, NULL);
    return ERR_OK;
}

enum err view_reread_range(struct mailbox_view *v, uint32_t first, uint32_t last, uint64_t version)
{
    struct row_page p = {.v = v, .rows = BUF_INIT(STORE_PAGE_MAX * sizeof(struct message_row))};
    struct store *s = v->account->owner->o.store;
    struct search_slice slice = {0};
    enum err e = ERR_OK;
    for (bool more = true; e == ERR_OK && more;) {
        struct store_key from = key_instance(v->mailbox, first);
        struct store_key to = last == UINT32_MAX ? key_instance(v->mailbox + 1, 0)
                                                 : key_instance(v->mailbox, last + 1);
        struct store_scan q = {.partition = v->account->id,
                               .from = key_str(&from),
                               .to = key_str(&to),
                               .limit = STORE_PAGE_MAX};
        buf_reset(&p.rows);
        p.n = 0;
        search_slice_over(&slice);
        e = store_scan(s, &q, row_read, &p, NULL);
        more = p.n == STORE_PAGE_MAX && p.last < last;
        if (e == ERR_OK)
            e = page_apply(v, &p, first, more ? p.last : last, version);
        first = p.last + 1;
    }
    if (p.unreadable)
        LOG_ERROR("view", "unreadable rows account=%llu mailbox=%u rows=%llu",
                  (unsigned long long)v->account->id, v->mailbox, (unsigned long long)p.unreadable);
    buf_free(&p.rows);
    return e;
}

static enum err reread_now(struct mailbox_view *v, const struct set *uids, uint64_t version)
{
    for (size_t i = 0; i < uids->count; i++)
        TRY(view_reread_range(v, uids->ranges[i].first, uids->ranges[i].last, version));
    return ERR_OK;
}

static void release(struct mailbox_view *v);

enum err view_reread(struct mailbox_view *v, const struct set *uids, uint64_t version)
{
    if (v->loading)
        return set_union(&v->redo, uids);
    if (!v->loaded)
        return ERR_OK;
    /* Waiting: the mailbox may be deleted meanwhile. */
    v->users++;
    enum err e = reread_now(v, uids, version);
    release(v);
    return e;
}

/* ---- life ---- */

static struct mailbox_view *view_new(struct account *a, uint32_t mailbox)
{
    struct arena self = ARENA_INIT(4096);
    struct mailbox_view *v = ARENA_NEW(&self, struct mailbox_view);
    if (!v)
        return NULL;
    v->self = self;
    v->account = a;
    v->mailbox = mailbox;
    buf_init(&v->chunks, CHUNKS_BYTES_MAX);
    list_init(&v->sessions);
    list_init(&v->watchers);
    event_init(&v->loaded_event);
    snapshot_init(v);
    list_push_back(&a->owner->views, &v->every);
    return v;
}

void view_free(struct mailbox_view *v)
{
    assert(v->users == 0 && list_empty(&v->sessions));
    view_clear(v);
    set_free(&v->redo);
    snapshot_forget(v);
    list_remove(&v->every);
    struct arena self = v->self;
    arena_free(&self);
}

void view_gone(struct mailbox_view *v)
{
    v->gone = true;
    view_signal(v);
    if (v->users == 0)
        view_free(v);
}

/* Besides what a snapshot gave, or everything. */
static enum err load_rows(struct mailbox_view *v, bool whole)
{
    if (whole) {
        view_clear(v);
        snapshot_forget(v);
    }
    uint32_t from = v->snapshot.covered + 1;
    enum err e = from ? view_reread_range(v, from, UINT32_MAX, v->account->pub_version) : ERR_OK;
    while (e == ERR_OK && v->redo.count) {
        struct set redo = v->redo;
        v->redo = (struct set){0};
        e = reread_now(v, &redo, v->account->pub_version);
        set_free(&redo);
    }
    return e;
}

static enum err load(struct mailbox_view *v)
{
    v->loading = true;
    bool whole = !snapshot_load(v);
    enum err e = load_rows(v, whole);
    if (e == ERR_OK && !whole && !snapshot_agrees(v))
        e = load_rows(v, true);
    v->loading = false;
    v->loaded = e == ERR_OK;
    if (e != ERR_OK) {
        view_clear(v);
        snapshot_forget(v);
        set_free(&v->redo);
    } else {
        snapshot_cost(v, 0); /* it may be time for one */
    }
    event_signal(&v->loaded_event);
    return e;
}

static enum err view_ready(struct mailbox_view *v)
{
    uint64_t deadline = deadline_in_ms(ACCOUNT_WAIT_MS);
    while (v->loading)
        TRY(event_wait(&v->loaded_event, deadline));
    if (v->gone)
        return ERR_NOT_FOUND;
    return v->loaded ? ERR_OK : load(v);
}

enum err view_open(struct account *a, uint32_t mailbox, struct mailbox_view **out)
{
    struct box *b = box_get(a, mailbox);
    if (!b || b->purging)
        return ERR_NOT_FOUND;
    if (!b->view && !(b->view = view_new(a, mailbox)))
        return ERR_NOMEM;
    struct mailbox_view *v = b->view;
    v->users++;
    account_ref(a);
    enum err e = view_ready(v);
    if (e == ERR_OK && v->gone)
        e = ERR_NOT_FOUND;
    if (e != ERR_OK) {
        view_close(v);
        return e;
    }
    *out = v;
    return ERR_OK;
}

static void release(struct mailbox_view *v)
{
    assert(v->users > 0);
    if (--v->users)
        return;
    struct box *b = v->gone ? NULL : box_get(v->account, v->mailbox);
    struct accounts *as = v->account->owner;
    if (b && as->bytes <= as->o.bytes_max && !v->broken)
        return; /* kept for the next one */
    if (b)
        b->view = NULL;
    view_free(v);
}

void view_close(struct mailbox_view *v)
{
    if (!v)
        return;
    struct account *a = v->account;
    release(v);
    account_close(a);
}
