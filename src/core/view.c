/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows in chunks of up to CHUNK_ROWS, none empty, so that a removal moves at most 64 KB and a place
 * is found by two binary searches.
 */
#include "core/account_private.h"

#include "base/log.h"
#include "base/num.h"

#include <assert.h>
#include <string.h>

#define CHUNK_BYTES (CHUNK_ROWS * sizeof(struct message_row))
#define CHUNKS_BYTES_MAX (1ull << 32)

static struct chunk *chunks(const struct mailbox_view *v) { return (struct chunk *)v->chunks.data; }
static size_t chunk_count(const struct mailbox_view *v)
{
    return v->chunks.len / sizeof(struct chunk);
}

struct account *view_account(const struct mailbox_view *v) { return v->account; }
size_t view_count(const struct mailbox_view *v) { return v->count; }

const struct mailbox *view_mailbox(const struct mailbox_view *v)
{
    struct box *b = v->gone ? NULL : box_get(v->account, v->mailbox);
    return b ? &b->pub : NULL;
}

static uint32_t chunk_last(const struct chunk *c)
{
    assert(ROWS_COUNT(c) > 0);
    return ROWS(c)[ROWS_COUNT(c) - 1].uid;
}

uint32_t view_last_uid(const struct mailbox_view *v)
{
    return v->count ? chunk_last(&chunks(v)[chunk_count(v) - 1]) : 0;
}

/* The first chunk whose last UID is uid or more. */
static size_t chunk_for_uid(const struct mailbox_view *v, uint32_t uid)
{
    size_t from = 0, to = chunk_count(v);
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (chunk_last(&chunks(v)[mid]) < uid)
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}

/* The first row of the chunk with a UID of uid or more. */
static size_t row_for_uid(const struct chunk *c, uint32_t uid)
{
    size_t from = 0, to = ROWS_COUNT(c);
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (ROWS(c)[mid].uid < uid)
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}

/* Makes `before` right for all chunks; what did not change before `ranked` is kept. */
static void rank(const struct mailbox_view *cv)
{
    struct mailbox_view *v = (struct mailbox_view *)cv; /* a cache */
    size_t n = chunk_count(v), i = v->ranked;
    size_t before = i ? chunks(v)[i - 1].before + ROWS_COUNT(&chunks(v)[i - 1]) : 0;
    for (; i < n; i++) {
        chunks(v)[i].before = before;
        before += ROWS_COUNT(&chunks(v)[i]);
    }
    v->ranked = n;
}

static void unrank(struct mailbox_view *v, size_t from) { v->ranked = MIN(v->ranked, from); }

static size_t chunk_for_place(const struct mailbox_view *v, size_t index)
{
    size_t from = 0, to = chunk_count(v);
    rank(v);
    while (to - from > 1) {
        size_t mid = from + (to - from) / 2;
        if (chunks(v)[mid].before <= index)
            from = mid;
        else
            to = mid;
    }
    return from;
}

const struct message_row *view_at(const struct mailbox_view *v, size_t index)
{
    if (index >= v->count)
        return NULL;
    const struct chunk *c = &chunks(v)[chunk_for_place(v, index)];
    assert(index - c->before < ROWS_COUNT(c));
    return &ROWS(c)[index - c->before];
}

size_t view_run(const struct mailbox_view *v, size_t index, const struct message_row **rows)
{
    if (index >= v->count)
        return 0;
    const struct chunk *c = &chunks(v)[chunk_for_place(v, index)];
    *rows = &ROWS(c)[index - c->before];
    return ROWS_COUNT(c) - (index - c->before);
}

const struct message_row *view_find(const struct mailbox_view *v, uint32_t uid)
{
    size_t at = chunk_for_uid(v, uid);
    if (at == chunk_count(v))
        return NULL;
    const struct chunk *c = &chunks(v)[at];
    const struct message_row *row = &ROWS(c)[row_for_uid(c, uid)];
    return row->uid == uid ? row : NULL;
}

size_t view_place(const struct mailbox_view *v, uint32_t uid)
{
    size_t at = chunk_for_uid(v, uid);
    if (at == chunk_count(v))
        return v->count;
    rank(v);
    return chunks(v)[at].before + row_for_uid(&chunks(v)[at], uid);
}

/* ---- changing ---- */

static bool chunk_insert(struct mailbox_view *v, size_t at)
{
    struct chunk fresh = {.rows = BUF_INIT(CHUNK_BYTES)};
    size_t n = chunk_count(v);
    if (!buf_reserve(&v->chunks, sizeof fresh))
        return false;
    buf_commit(&v->chunks, sizeof fresh);
    memmove(&chunks(v)[at + 1], &chunks(v)[at], (n - at) * sizeof fresh);
    chunks(v)[at] = fresh;
    unrank(v, at);
    return true;
}

static void chunk_remove(struct mailbox_view *v, size_t at)
{
    buf_free(&chunks(v)[at].rows);
    memmove(&chunks(v)[at], &chunks(v)[at + 1], (chunk_count(v) - at - 1) * sizeof(struct chunk));
    buf_truncate(&v->chunks, v->chunks.len - sizeof(struct chunk));
    unrank(v, at);
}

/* A full chunk gives its upper half to a new one behind it. */
static bool chunk_split(struct mailbox_view *v, size_t at)
{
    if (!chunk_insert(v, at + 1))
        return false;
    struct chunk *c = &chunks(v)[at], *next = &chunks(v)[at + 1];
    size_t half = c->rows.len / sizeof(struct message_row) / 2 * sizeof(struct message_row);
    buf_add(&next->rows, str_skip(buf_str(&c->rows), half));
    if (!buf_ok(&next->rows)) {
        chunk_remove(v, at + 1);
        return false;
    }
    buf_truncate(&c->rows, half);
    return true;
}

static void count_bytes(struct mailbox_view *v)
{
    uint64_t now = v->count * sizeof(struct message_row);
    v->account->owner->bytes += now - v->bytes_counted;
    v->bytes_counted = now;
}

static bool row_insert(struct mailbox_view *v, size_t at, const struct message_row *row)
{
    struct chunk *c = &chunks(v)[at];
    if (ROWS_COUNT(c) == CHUNK_ROWS) {
        if (!chunk_split(v, at))
            return false;
        at += row->uid > chunk_last(&chunks(v)[at]);
        c = &chunks(v)[at];
    }
    size_t place = row_for_uid(c, row->uid);
    if (!buf_reserve(&c->rows, sizeof *row))
        return false;
    buf_commit(&c->rows, sizeof *row);
    memmove(&ROWS(c)[place + 1], &ROWS(c)[place], (ROWS_COUNT(c) - 1 - place) * sizeof *row);
    ROWS(c)[place] = *row;
    unrank(v, at + 1);
    v->count++;
    return true;
}

static bool row_append(struct mailbox_view *v, const struct message_row *row)
{
    size_t n = chunk_count(v);
    if (n == 0 || ROWS_COUNT(&chunks(v)[n - 1]) == CHUNK_ROWS) {
        if (!chunk_insert(v, n))
            return false;
        n++;
    }
    struct chunk *c = &chunks(v)[n - 1];
    buf_add(&c->rows, str_of(row, sizeof *row));
    if (!buf_ok(&c->rows)) {
        c->rows.failed = false;
        if (c->rows.len == 0)
            chunk_remove(v, n - 1);
        return false;
    }
    v->count++;
    return true;
}

enum put_result { PUT_SAME, PUT_NEW, PUT_CHANGED, PUT_FAILED };

static enum put_result row_put(struct mailbox_view *v, const struct message_row *row)
{
    if (row->uid > view_last_uid(v))
        return row_append(v, row) ? PUT_NEW : PUT_FAILED;
    size_t at = chunk_for_uid(v, row->uid);
    struct chunk *c = &chunks(v)[at];
    struct message_row *here = &ROWS(c)[row_for_uid(c, row->uid)];
    if (here->uid != row->uid)
        return row_insert(v, at, row) ? PUT_NEW : PUT_FAILED;
    bool same = memcmp(here, row, sizeof *row) == 0;
    *here = *row;
    return same ? PUT_SAME : PUT_CHANGED;
}

/* Neighbours that are small together become one. */
static void chunk_tidy(struct mailbox_view *v, size_t at)
{
    if (ROWS_COUNT(&chunks(v)[at]) == 0) {
        chunk_remove(v, at);
        return;
    }
    if (at + 1 >= chunk_count(v))
        return;
    struct chunk *c = &chunks(v)[at], *next = &chunks(v)[at + 1];
    if (ROWS_COUNT(c) + ROWS_COUNT(next) > CHUNK_ROWS / 2)
        return;
    buf_add(&c->rows, buf_str(&next->rows));
    if (buf_ok(&c->rows))
        chunk_remove(v, at + 1);
    else
        c->rows.failed = false;
}

/* Removes the UIDs of rows (ascending) that are there; *gone gets them. */
static enum err rows_remove(struct mailbox_view *v, const struct message_row *rows, size_t n,
                            struct set *gone)
{
    for (size_t i = 0; i < n;) {
        size_t at = chunk_for_uid(v, rows[i].uid);
        if (at == chunk_count(v))
            break;
        struct chunk *c = &chunks(v)[at];
        size_t had = ROWS_COUNT(c), from = row_for_uid(c, rows[i].uid), to = from;
        uint32_t last = chunk_last(c);
        enum err e = ERR_OK;
        for (size_t k = from; k < had; k++) {
            while (i < n && rows[i].uid < ROWS(c)[k].uid)
                i++;
            if (i < n && rows[i].uid == ROWS(c)[k].uid && e == ERR_OK &&
                (e = set_add(gone, rows[i].uid)) == ERR_OK)
                continue;
            ROWS(c)[to++] = ROWS(c)[k];
        }
        buf_truncate(&c->rows, to * sizeof *rows);
        v->count -= had - to;
        unrank(v, at + 1);
        chunk_tidy(v, at);
        TRY(e);
        while (i < n && rows[i].uid <= last)
            i++;
    }
    return ERR_OK;
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

/* Without memory the sessions cannot be told the truth any more. */
static void view_failed(struct mailbox_view *v)
{
    LOG_ERROR("view", "out of memory account=%llu mailbox=%u", (unsigned long long)v->account->id,
              v->mailbox);
    v->account->stale = true;
    LIST_EACH (it, &v->sessions)
        container_of(it, struct mailbox_session, link)->failed = true;
}

static void redo_later(struct mailbox_view *v, const struct message_row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (set_add(&v->redo, rows[i].uid) != ERR_OK)
            view_failed(v);
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
        enum put_result put = row_put(v, &rows[i]);
        if (put == PUT_FAILED || (put == PUT_CHANGED && set_add(&changed, rows[i].uid) != ERR_OK))
            view_failed(v);
    }
    if (changed.count)
        tell_changed(v, &changed, version, by);
    count_bytes(v);
}

void view_apply_expunged(struct mailbox_view *v, const struct message_row *rows, size_t n,
                         uint64_t version)
{
    SET_AUTO struct set gone = {0};
    if (v->loading)
        redo_later(v, rows, n);
    if (v->loading || !v->loaded)
        return;
    if (rows_remove(v, rows, n, &gone) != ERR_OK)
        view_failed(v);
    if (gone.count)
        tell_expunged(v, &gone, version);
    count_bytes(v);
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
        TRY(rows_remove(v, (const struct message_row *)absent.data, absent.len / sizeof *rows,
                        &gone));
    }
    for (size_t i = 0; i < p->rows.len / sizeof *rows; i++) {
        enum put_result put = row_put(v, &rows[i]);
        if (put == PUT_FAILED)
            return ERR_NOMEM;
        if (put == PUT_CHANGED)
            TRY(set_add(&changed, rows[i].uid));
    }
    if (gone.count)
        tell_expunged(v, &gone, version);
    if (changed.count)
        tell_changed(v, &changed, version, NULL);
    count_bytes(v);
    return ERR_OK;
}

static enum err reread_range(struct mailbox_view *v, uint32_t first, uint32_t last,
                             uint64_t version)
{
    struct row_page p = {.v = v, .rows = BUF_INIT(STORE_PAGE_MAX * sizeof(struct message_row))};
    struct store *s = v->account->owner->o.store;
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
        TRY(reread_range(v, uids->ranges[i].first, uids->ranges[i].last, version));
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
    return v;
}

static void view_clear(struct mailbox_view *v)
{
    while (chunk_count(v))
        chunk_remove(v, chunk_count(v) - 1);
    buf_free(&v->chunks);
    set_free(&v->redo);
    v->count = v->ranked = 0;
    count_bytes(v);
}

void view_free(struct mailbox_view *v)
{
    assert(v->users == 0 && list_empty(&v->sessions));
    view_clear(v);
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

static enum err load(struct mailbox_view *v)
{
    v->loading = true;
    enum err e = reread_range(v, 1, UINT32_MAX, v->account->pub_version);
    while (e == ERR_OK && v->redo.count) {
        struct set redo = v->redo;
        v->redo = (struct set){0};
        e = reread_now(v, &redo, v->account->pub_version);
        set_free(&redo);
    }
    v->loading = false;
    v->loaded = e == ERR_OK;
    if (e != ERR_OK)
        view_clear(v);
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
    if (b && as->bytes <= as->o.bytes_max)
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
