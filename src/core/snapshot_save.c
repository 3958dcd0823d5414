/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing a snapshot. From the smallest UID up: a part in which nothing changed is kept, the rows
 * of others are packed into new ones. After each commit the row is right: new parts, then old ones
 * as far as they are not replaced yet, at the older of their versions.
 */
#include "core/snapshot.h"

#include "base/log.h"
#include "base/num.h"
#include "core/account_private.h"
#include "core/message.h"
#include "core/search_private.h"

#include <assert.h>
#include <string.h>

#define ROW_MAX STORE_VALUE_MAX
#define STAGED_BLOBS 60    /* of a commit; STORE_BLOBS_MAX */
#define AHEAD_BYTES 131072 /* parts from here on are written ahead of their commit */

struct save {
    struct account *account;
    uint32_t mailbox;
    struct mailbox_view *view; /* NULL: the snapshot is dropped */
    struct arena arena;
    uint64_t version; /* of the account when this began */
    struct buf value; /* the row as it is in the store; empty: none */
    struct snapshot_row old;
    size_t at;          /* old parts before it are in `next` or in `drops` */
    struct set touched; /* before this began */
    bool all;           /* the old parts are not those of the view, or all of them changed */
    struct buf next;    /* struct snapshot_part: the new row's, so far */
    struct buf drops;   /* struct blob_id: replaced, not yet dropped */
    struct buf blob;    /* the part being made */
    struct snapshot_part part;
    struct buf staged[STAGED_BLOBS];
    struct blob_id staged_ids[STAGED_BLOBS];
    struct store_staged *ahead[STAGED_BLOBS]; /* of the large ones: they are on the disk already */
    size_t nstaged, staged_bytes;
    uint64_t part_rows, written;
    uint32_t done; /* UIDs up to it are in `next` or in `part` */
    struct search_slice slice;
};

static size_t part_count(const struct buf *parts)
{
    return parts->len / sizeof(struct snapshot_part);
}

/* ---- committing ---- */

/* The row after this commit, and the version that it is right at. */
static enum err next_row(struct save *s, struct buf *parts, uint64_t *version, struct buf *value)
{
    size_t left = s->old.nparts - s->at;
    buf_add(parts, buf_str(&s->next));
    if (left)
        buf_add(parts, str_of(s->old.parts + s->at, left * sizeof *s->old.parts));
    const struct box *b = box_get(s->account, s->mailbox);
    if (!b)
        return ERR_NOT_FOUND;
    *version = left ? MIN(s->old.version, s->version) : s->version;
    struct snapshot_row row = {.version = *version,
                               .uidvalidity = b->pub.uidvalidity,
                               .nparts = part_count(parts),
                               .parts = (const struct snapshot_part *)parts->data};
    snapshot_row_encode(&row, value);
    if (row.nparts > SNAPSHOT_PARTS_MAX)
        return ERR_LIMIT;
    return buf_ok(parts) && buf_ok(value) ? ERR_OK : ERR_NOMEM;
}

/* value is empty when the snapshot is dropped. */
static enum err commit_once(struct save *s, const struct buf *value)
{
    struct change *c;
    TRY(change_begin(s->account, &c));
    struct box *b = box_get(s->account, s->mailbox);
    bool there = b && (!s->view || !(b->purging || b->head_gone));
    c->blobs = there ? ARENA_ARRAY(&c->arena, struct store_blob_new, s->nstaged + 1) : NULL;
    if (!c->blobs) {
        change_drop(c);
        return there ? ERR_NOMEM : ERR_NOT_FOUND;
    }
    for (size_t i = 0; i < s->nstaged; i++)
        c->blobs[c->nblobs++] = (struct store_blob_new){.id = s->staged_ids[i],
                                                        .data = buf_str(&s->staged[i]),
                                                        .fd = -1,
                                                        .len = s->staged[i].len,
                                                        .staged = s->ahead[i]};
    c->drops = (struct blob_id *)s->drops.data;
    c->ndrops = s->drops.len / sizeof(struct blob_id);
    change_expect(c, key_snapshot(s->mailbox), buf_str(&s->value));
    if (value->len)
        change_put(c, key_snapshot(s->mailbox), buf_str(value));
    else
        change_delete(c, key_snapshot(s->mailbox));
    return change_commit(c, NULL, NULL);
}

/* Somebody else's row would make every try a conflict. */
static enum err still_ours(struct save *s)
{
    BUF_AUTO struct buf now = BUF_INIT(ROW_MAX);
    struct store_key key = key_snapshot(s->mailbox);
    enum err e = store_get(s->account->owner->o.store, s->account->id, key_str(&key), &now);
    if (e != ERR_OK && e != ERR_NOT_FOUND)
        return e;
    return str_eq(buf_str(&now), buf_str(&s->value)) ? ERR_OK : ERR_BUSY;
}

static enum err commit_tries(struct save *s, const struct buf *value)
{
    unsigned tries = 0;
    enum err e;
    do {
        e = commit_once(s, value);
        if (e == ERR_CONFLICT)
            TRY(still_ours(s));
    } while (change_again(&e, &tries));
    return e;
}

static void staged_free(struct save *s)
{
    for (size_t i = 0; i < s->nstaged; i++) {
        buf_free(&s->staged[i]);
        store_staged_drop(s->ahead[i]);
        s->ahead[i] = NULL;
    }
    s->nstaged = s->staged_bytes = 0;
}

/* Megabytes are not copied on this thread, and nobody's commit waits for them. */
static enum err write_ahead(struct save *s)
{
    for (size_t i = 0; i < s->nstaged; i++)
        if (s->staged[i].len >= AHEAD_BYTES && !s->ahead[i])
            TRY(store_blob_stage(s->account->owner->o.store, &s->staged_ids[i],
                                 buf_str(&s->staged[i]), &s->ahead[i]));
    return ERR_OK;
}

/* What the store has now is what the view's later changes are measured by. */
static void install(struct save *s, const struct buf *value, const struct buf *parts,
                    uint64_t version)
{
    struct view_snapshot *w = &s->view->snapshot;
    buf_reset(&w->row);
    buf_add(&w->row, buf_str(value));
    buf_reset(&w->parts);
    buf_add(&w->parts, buf_str(parts));
    w->version = version;
    size_t n = part_count(&w->parts);
    w->covered = n ? ((const struct snapshot_part *)w->parts.data)[n - 1].last : 0;
    if (!buf_ok(&w->row) || !buf_ok(&w->parts))
        snapshot_forget(s->view); /* the next save sees a stranger's row, and writes all */
    buf_reset(&s->value);
    buf_add(&s->value, buf_str(value));
    staged_free(s);
    buf_reset(&s->drops);
}

static enum err commit(struct save *s)
{
    BUF_AUTO struct buf parts = BUF_INIT(2 * SNAPSHOT_PARTS_MAX * sizeof(struct snapshot_part));
    BUF_AUTO struct buf value = BUF_INIT(ROW_MAX);
    uint64_t version = 0;
    TRY(write_ahead(s));
    TRY(next_row(s, &parts, &version, &value));
    TRY(commit_tries(s, &value));
    install(s, &value, &parts, version);
    return buf_ok(&s->value) ? ERR_OK : ERR_NOMEM;
}

/* ---- packing ---- */

static enum err end_part(struct save *s)
{
    if (!s->part.rows)
        return ERR_OK;
    s->part.blob = blob_id_new();
    s->part.bytes = s->blob.len;
    s->staged_ids[s->nstaged] = s->part.blob;
    s->staged_bytes += s->blob.len;
    s->written += s->blob.len;
    s->staged[s->nstaged++] = s->blob;
    s->blob = BUF_INIT(STORE_BLOB_MAX);
    buf_add(&s->next, str_of(&s->part, sizeof s->part));
    s->part = (struct snapshot_part){0};
    return buf_ok(&s->next) ? ERR_OK : ERR_NOMEM;
}

static enum err add_chunk(struct save *s, const struct row_sum *sum, str packed)
{
    if (!s->part.rows) {
        buf_add_char(&s->blob, 'S');
        buf_add_char(&s->blob, 1);
    }
    buf_add_be32(&s->blob, (uint32_t)packed.len);
    buf_add_be16(&s->blob, (uint16_t)sum->count);
    buf_add_be32(&s->blob, sum->first);
    buf_add_be32(&s->blob, sum->last);
    buf_add_be16(&s->blob, (uint16_t)sum->unseen);
    buf_add_be16(&s->blob, (uint16_t)sum->deleted);
    buf_add_be64(&s->blob, sum->modseq);
    buf_add(&s->blob, packed);
    s->part.rows += sum->count;
    s->part.last = sum->last;
    s->done = sum->last;
    if (!buf_ok(&s->blob))
        return ERR_NOMEM;
    return s->part.rows >= s->part_rows ? end_part(s) : ERR_OK;
}

static bool staged_enough(const struct save *s)
{
    return s->staged_bytes >= SNAPSHOT_STAGED_MAX || s->nstaged + 4 > STAGED_BLOBS;
}

/* The rows behind s->done up to a UID. */
static enum err pack_until(struct save *s, uint32_t last)
{
    BUF_AUTO struct buf packed = BUF_INIT(ROW_PACK_MAX);
    enum err e = ERR_OK;
    while (e == ERR_OK && s->done < last) {
        struct row_sum sum;
        buf_reset(&packed);
        e = view_chunk_take(s->view, s->done + 1, last, &sum, &packed);
        if (e == ERR_OK)
            e = add_chunk(s, &sum, buf_str(&packed));
        /* In the middle of an old part its rest would be missing. */
        if (e == ERR_OK && !s->part.rows && s->at == s->old.nparts && staged_enough(s))
            e = commit(s);
        search_slice_over(&s->slice);
        if (s->view->gone || s->view->broken)
            return ERR_NOT_FOUND;
    }
    return e == ERR_EOF ? ERR_OK : e;
}

/* ---- the whole ---- */

static bool part_touched(const struct save *s, size_t i)
{
    uint32_t first = i ? s->old.parts[i - 1].last + 1 : 1, last = s->old.parts[i].last;
    const struct range *r = s->touched.ranges;
    size_t from = 0, to = s->touched.count;
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (r[mid].last < first)
            from = mid + 1;
        else
            to = mid;
    }
    return s->all || (from < s->touched.count && r[from].first <= last);
}

/* Kept as it is; not when it is small beside another that is written anyway. */
static bool part_kept(const struct save *s, size_t i)
{
    bool tail = i + 1 == s->old.nparts && view_last_uid(s->view) > s->old.parts[i].last;
    bool beside = tail || (i > 0 && part_touched(s, i - 1)) ||
                  (i + 1 < s->old.nparts && part_touched(s, i + 1));
    return !part_touched(s, i) && !(beside && s->old.parts[i].rows < s->part_rows / 2);
}

/* A blob that is not there any more cannot be dropped, and would make the commit a conflict. */
static enum err drop_part(struct save *s, size_t i)
{
    uint64_t size;
    enum err e = store_blob_size(s->account->owner->o.store, &s->old.parts[i].blob, &size);
    if (e == ERR_NOT_FOUND)
        return ERR_OK;
    TRY(e);
    buf_add(&s->drops, str_of(&s->old.parts[i].blob, sizeof(struct blob_id)));
    return buf_ok(&s->drops) ? ERR_OK : ERR_NOMEM;
}

static enum err save_parts(struct save *s)
{
    while (s->at < s->old.nparts) {
        const struct snapshot_part *p = &s->old.parts[s->at];
        if (part_kept(s, s->at)) {
            TRY(end_part(s));
            buf_add(&s->next, str_of(p, sizeof *p));
            s->done = p->last;
        } else {
            TRY(pack_until(s, p->last));
            s->done = MAX(s->done, p->last);
            TRY(drop_part(s, s->at));
        }
        s->at++;
        if (staged_enough(s)) {
            TRY(end_part(s));
            TRY(commit(s));
        }
    }
    return pack_until(s, UINT32_MAX);
}

static enum err read_old(struct save *s)
{
    struct store_key key = key_snapshot(s->mailbox);
    enum err e = store_get(s->account->owner->o.store, s->account->id, key_str(&key), &s->value);
    if (e != ERR_OK && e != ERR_NOT_FOUND)
        return e;
    if (e == ERR_OK && snapshot_row_decode(buf_str(&s->value), &s->arena, &s->old) != ERR_OK) {
        LOG_WARN("snapshot", "unreadable, its blobs stay account=%llu mailbox=%u",
                 (unsigned long long)s->account->id, s->mailbox);
        s->old = (struct snapshot_row){0};
    }
    return ERR_OK;
}

/* What the view has now or later is what the version says, or newer: later changes are touched. */
static enum err begin(struct save *s)
{
    struct view_snapshot *w = &s->view->snapshot;
    const struct box *b = box_get(s->account, s->mailbox);
    s->version = s->account->pub_version;
    s->all =
        !b || b->snapshot_bad || w->touched_all || !str_eq(buf_str(&s->value), buf_str(&w->row));
    s->touched = w->touched;
    w->touched = (struct set){0};
    w->touched_all = false;
    s->part_rows = MAX((uint64_t)s->account->owner->o.snapshot_part,
                       view_count(s->view) / (SNAPSHOT_PARTS_MAX / 4));
    for (; s->all && s->at < s->old.nparts; s->at++)
        TRY(drop_part(s, s->at));
    return ERR_OK;
}

static enum err save_run(struct save *s)
{
    struct view_snapshot *w = &s->view->snapshot;
    TRY(read_old(s));
    uint64_t cost = w->cost;
    enum err e = begin(s);
    if (e == ERR_OK)
        e = save_parts(s);
    if (e == ERR_OK)
        e = end_part(s);
    if (e == ERR_OK)
        e = commit(s);
    if (e == ERR_OK) {
        struct box *b = box_get(s->account, s->mailbox);
        w->cost -= MIN(cost, w->cost);
        if (b)
            b->snapshot_bad = false;
    } else if (s->all || set_union(&w->touched, &s->touched) != ERR_OK) {
        w->touched_all = true;
    }
    return e;
}

static struct save *save_new(struct account *a, uint32_t mailbox, struct mailbox_view *v)
{
    struct arena arena = ARENA_INIT(1 << 20);
    struct save *s = ARENA_NEW(&arena, struct save);
    if (!s)
        return NULL;
    *s = (struct save){.arena = arena, .account = a, .mailbox = mailbox, .view = v};
    buf_init(&s->value, ROW_MAX);
    buf_init(&s->next, SNAPSHOT_PARTS_MAX * sizeof(struct snapshot_part));
    buf_init(&s->drops, SNAPSHOT_PARTS_MAX * sizeof(struct blob_id));
    buf_init(&s->blob, STORE_BLOB_MAX);
    return s;
}

static void save_free(struct save *s)
{
    staged_free(s);
    set_free(&s->touched);
    buf_free(&s->value);
    buf_free(&s->next);
    buf_free(&s->drops);
    buf_free(&s->blob);
    struct arena arena = s->arena;
    arena_free(&arena);
}

enum err snapshot_save(struct mailbox_view *v, uint64_t *written)
{
    if (v->snapshot.saving)
        return ERR_BUSY;
    struct save *s = save_new(v->account, v->mailbox, v);
    if (!s)
        return ERR_NOMEM;
    v->snapshot.saving = true;
    enum err e = account_ready(v->account);
    if (e == ERR_OK)
        e = v->loaded && !v->gone && !v->broken ? save_run(s) : ERR_NOT_FOUND;
    v->snapshot.saving = false;
    if (written)
        *written = s->written;
    save_free(s);
    return e;
}

enum err snapshot_drop(struct account *a, uint32_t mailbox)
{
    struct save *s = save_new(a, mailbox, NULL);
    struct buf none = {0};
    if (!s)
        return ERR_NOMEM;
    enum err e = read_old(s);
    for (; e == ERR_OK && s->at < s->old.nparts; s->at++)
        e = drop_part(s, s->at);
    if (e == ERR_OK && s->value.len)
        e = commit_tries(s, &none);
    save_free(s);
    return e;
}
