/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading a snapshot. snapshot_save.c writes it.
 */
#include "core/snapshot.h"

#include "base/log.h"
#include "base/num.h"
#include "core/account_private.h"
#include "core/search_private.h"

#include <string.h>

#define PART_FORMAT 1
#define ROW_MAX STORE_VALUE_MAX
#define TOUCHED_MAX 16384 /* ranges */
#define REPLAY_GAP 32     /* UIDs between two that are read again: one scan is cheaper than two */
#define PARTS_BYTES (SNAPSHOT_PARTS_MAX * sizeof(struct snapshot_part))

void snapshot_init(struct mailbox_view *v)
{
    buf_init(&v->snapshot.row, ROW_MAX);
    buf_init(&v->snapshot.parts, PARTS_BYTES);
}

void snapshot_forget(struct mailbox_view *v)
{
    struct view_snapshot *s = &v->snapshot;
    buf_free(&s->row);
    buf_free(&s->parts);
    set_free(&s->touched);
    s->version = s->cost = s->covered = 0;
    s->touched_all = false;
}

void snapshot_touch(struct mailbox_view *v, uint32_t uid)
{
    struct view_snapshot *s = &v->snapshot;
    if (s->touched_all || (uid > s->covered && !s->saving))
        return;
    s->touched.max = TOUCHED_MAX;
    s->touched_all = set_add(&s->touched, uid) != ERR_OK;
}

/* Commits elsewhere in the account are looked through too, at a third of the price. */
static uint64_t cost_of(const struct mailbox_view *v)
{
    const struct view_snapshot *s = &v->snapshot;
    return s->cost + (v->account->pub_version - MIN(s->version, v->account->pub_version)) / 3;
}

bool snapshot_stale(const struct mailbox_view *v, uint64_t cost)
{
    size_t count = view_count(v), min = v->account->owner->o.snapshot_min;
    if (!v->loaded || v->gone || v->broken || v->snapshot.saving)
        return false;
    if (!v->snapshot.row.len)
        return count >= min && min < UINT32_MAX;
    return v->snapshot.cost > 0 && cost_of(v) >= cost;
}

void snapshot_cost(struct mailbox_view *v, uint64_t rows)
{
    struct accounts *as = v->account->owner;
    uint64_t eighth = view_count(v) / 8;
    v->snapshot.cost += rows;
    if (!as->keeper || v->snapshot.wanted ||
        !snapshot_stale(v, MIN(MAX(eighth, 16), (uint64_t)SNAPSHOT_COST_MAX)))
        return;
    v->snapshot.wanted = true;
    view_keeper_ask(as->keeper, v->account->id);
}

void snapshot_box_behind(struct box *b)
{
    struct accounts *as = b->account->owner;
    if (!as->keeper || b->snapshot_wanted || b->behind < SNAPSHOT_COST_MAX ||
        b->pub.state.messages < as->o.snapshot_min || as->o.snapshot_min == UINT32_MAX)
        return;
    b->snapshot_wanted = true;
    view_keeper_ask(as->keeper, b->account->id);
}

/* ---- the bytes of a part ---- */

enum err snapshot_part_start(str blob, struct reader *r)
{
    *r = reader_of(blob);
    return read_u8(r) == 'S' && read_u8(r) == PART_FORMAT && !r->failed ? ERR_OK : ERR_CORRUPT;
}

enum err snapshot_part_chunk(struct reader *r, struct row_sum *sum, str *packed)
{
    if (!r->rest.len)
        return r->failed ? ERR_CORRUPT : ERR_EOF;
    uint32_t bytes = read_be32(r);
    *sum = (struct row_sum){.count = read_be16(r)};
    sum->first = read_be32(r);
    sum->last = read_be32(r);
    sum->unseen = read_be16(r);
    sum->deleted = read_be16(r);
    sum->modseq = read_be64(r);
    *packed = read_bytes(r, bytes);
    bool good = !r->failed && sum->count > 0 && sum->count <= CHUNK_ROWS && sum->first > 0 &&
                sum->first <= sum->last && sum->last - sum->first >= sum->count - 1 &&
                sum->unseen <= sum->count && sum->deleted <= sum->count;
    return good ? ERR_OK : ERR_CORRUPT;
}

/* ---- loading ---- */

static enum err take_part(struct mailbox_view *v, const struct snapshot_part *p, str blob)
{
    struct reader r;
    struct row_sum sum;
    str packed;
    uint32_t before = view_last_uid(v);
    size_t count = view_count(v);
    TRY(snapshot_part_start(blob, &r));
    enum err e;
    while ((e = snapshot_part_chunk(&r, &sum, &packed)) == ERR_OK) {
        if (sum.first <= before)
            return ERR_CORRUPT;
        before = sum.last;
        if (!view_chunk_put(v, &sum, packed))
            return ERR_NOMEM;
    }
    bool whole = e == ERR_EOF && before == p->last && view_count(v) - count == p->rows;
    return whole ? ERR_OK : e == ERR_EOF ? ERR_CORRUPT : e;
}

static enum err take_parts(struct mailbox_view *v, const struct snapshot_row *row)
{
    BUF_AUTO struct buf blob = BUF_INIT(STORE_BLOB_MAX);
    struct search_slice slice = {0};
    for (size_t i = 0; i < row->nparts; i++) {
        const struct snapshot_part *p = &row->parts[i];
        buf_reset(&blob);
        TRY(store_blob_read(v->account->owner->o.store, &p->blob, 0, UINT64_MAX, &blob));
        if (blob.len != p->bytes)
            return ERR_CORRUPT;
        TRY(take_part(v, p, buf_str(&blob)));
        buf_add(&v->snapshot.parts, str_of(p, sizeof *p));
        v->snapshot.covered = p->last;
        search_slice_over(&slice);
        if (v->gone)
            return ERR_NOT_FOUND;
    }
    return buf_ok(&v->snapshot.parts) ? ERR_OK : ERR_NOMEM;
}

struct replay {
    struct mailbox_view *view;
    struct set uids;
    uint64_t rows;
    enum err failed;
};

static bool replay_entry(void *arg, uint64_t version, const struct change_entry *e)
{
    struct replay *r = arg;
    if (e->kind > CHANGE_EXPUNGED || e->mailbox != r->view->mailbox)
        return true;
    for (size_t i = 0; i < e->uids.count && r->failed == ERR_OK; i++) {
        struct range u = e->uids.ranges[i];
        u.last = MIN(u.last, r->view->snapshot.covered);
        if (u.first <= u.last)
            r->failed = set_add_range(&r->uids, u.first, u.last);
    }
    r->rows += set_size(&e->uids) + 1;
    return r->failed == ERR_OK;
}

/* Reads again what the log names; what lies close together at once. */
static enum err replay_rows(struct mailbox_view *v, const struct set *uids)
{
    for (size_t i = 0, to; i < uids->count; i = to) {
        for (to = i + 1; to < uids->count; to++)
            if (uids->ranges[to].first - uids->ranges[to - 1].last > REPLAY_GAP)
                break;
        TRY(view_reread_range(v, uids->ranges[i].first, uids->ranges[to - 1].last,
                              v->account->pub_version));
    }
    return ERR_OK;
}

static enum err replay(struct mailbox_view *v, uint64_t since)
{
    const struct box *b = box_get(v->account, v->mailbox);
    struct replay r = {.view = v};
    if (!b || b->pub.state.highest_modseq <= since)
        return ERR_OK;
    enum err e = account_changes(v->account, since, replay_entry, &r);
    if (e == ERR_OK)
        e = r.failed;
    if (e == ERR_OK)
        e = replay_rows(v, &r.uids);
    v->snapshot.cost = r.rows;
    set_free(&r.uids);
    return e;
}

static enum err load_from(struct mailbox_view *v, str value)
{
    struct account *a = v->account;
    struct snapshot_row row;
    ARENA_AUTO struct arena arena = ARENA_INIT(1 << 18);
    TRY(snapshot_row_decode(value, &arena, &row));
    if (row.version > a->pub_version) /* written by another thread */
        TRY(account_refresh(a));
    const struct box *b = v->gone ? NULL : box_get(a, v->mailbox);
    if (!b)
        return ERR_NOT_FOUND;
    if (row.uidvalidity != b->pub.uidvalidity || row.version > a->pub_version)
        return ERR_CORRUPT;
    if (row.version < a->pub.change_floor && row.version < b->pub.state.highest_modseq)
        return ERR_EXPIRED;
    TRY(take_parts(v, &row));
    buf_add(&v->snapshot.row, value);
    v->snapshot.version = row.version;
    TRY(replay(v, row.version));
    return buf_ok(&v->snapshot.row) ? ERR_OK : ERR_NOMEM;
}

static void not_used(struct mailbox_view *v, const char *why)
{
    struct box *b = v->gone ? NULL : box_get(v->account, v->mailbox);
    LOG_WARN("snapshot", "not used, the rows are read instead: %s account=%llu mailbox=%u", why,
             (unsigned long long)v->account->id, v->mailbox);
    if (b)
        b->snapshot_bad = true;
}

bool snapshot_load(struct mailbox_view *v)
{
    BUF_AUTO struct buf value = BUF_INIT(ROW_MAX);
    const struct box *b = box_get(v->account, v->mailbox);
    struct store_key key = key_snapshot(v->mailbox);
    struct store *s = v->account->owner->o.store;
    if (!b || b->snapshot_bad ||
        store_get(s, v->account->id, key_str(&key), &value) == ERR_NOT_FOUND)
        return false;
    enum err e = load_from(v, buf_str(&value));
    if (e != ERR_OK && e != ERR_CANCELED)
        not_used(v, err_name(e));
    return e == ERR_OK;
}

bool snapshot_agrees(struct mailbox_view *v)
{
    const struct box *b = v->gone ? NULL : box_get(v->account, v->mailbox);
    if (!b || v->account->refreshing || b->pub.state.messages == view_count(v))
        return true;
    not_used(v, "its number of messages is wrong");
    return false;
}
