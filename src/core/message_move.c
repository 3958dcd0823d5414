/* SPDX-License-Identifier: Apache-2.0
 *
 * Removing, copying and moving. Within an account these take turns: whether a message's last
 * instance goes is known from its AT rows, and those are changed only here.
 */
#include "core/message_private.h"
#include "core/search_private.h"

#include "base/log.h"
#include "base/num.h"

#include <assert.h>
#include <string.h>

/* ---- removing ---- */

/* What is known of a row's message before composing. */
struct fate {
    bool destroyed; /* all its instances go in this commit; said at the last of them */
    bool has_blob;  /* the cold row could be read */
    struct blob_id blob;
};

struct at_walk {
    uint32_t mailbox;
    const struct message_row *rows; /* that go, by UID */
    size_t n;
    bool stays;
    uint32_t last_uid;
};

static bool rows_have(const struct message_row *rows, size_t n, uint32_t uid)
{
    size_t at = row_find(rows, n, uid);
    return at < n && rows[at].uid == uid;
}

static bool at_row(void *arg, const struct store_row *row)
{
    struct at_walk *w = arg;
    uint32_t mailbox, uid;
    if (!key_u32(row->key, 9, &mailbox) || !key_u32(row->key, 13, &uid))
        return true;
    w->stays = mailbox != w->mailbox || !rows_have(w->rows, w->n, uid);
    w->last_uid = uid;
    return !w->stays;
}

static enum err gather_fate(struct account *a, struct at_walk *w, const struct message_row *row,
                            struct buf *raw, struct fate *out)
{
    struct store *s = accounts_store(a->owner);
    struct store_key from = key_at(row->message, 0, 0), to = key_at(row->message + 1, 0, 0);
    struct store_scan q = {.partition = a->id,
                           .from = key_str(&from),
                           .to = key_str(&to),
                           .limit = STORE_PAGE_MAX,
                           .keys_only = true};
    *out = (struct fate){0};
    w->stays = false;
    w->last_uid = row->uid;
    TRY(store_scan(s, &q, at_row, w, NULL));
    out->destroyed = !w->stays && w->last_uid == row->uid;
    if (!out->destroyed)
        return ERR_OK;
    struct message_cold cold;
    struct store_key key = key_message(row->message);
    buf_reset(raw);
    enum err e = store_get(s, a->id, key_str(&key), raw);
    if (e != ERR_OK && e != ERR_NOT_FOUND)
        return e;
    out->has_blob = e == ERR_OK && cold_decode(buf_str(raw), &cold) == ERR_OK;
    if (out->has_blob)
        out->blob = cold.blob;
    return ERR_OK;
}

static enum err gather_fates(struct account *a, uint32_t mailbox, const struct message_row *rows,
                             size_t n, struct fate *out)
{
    BUF_AUTO struct buf raw = BUF_INIT(STORE_VALUE_MAX);
    struct at_walk w = {.mailbox = mailbox, .rows = rows, .n = n};
    struct search_slice slice = {0};
    for (size_t i = 0; i < n; i++) {
        TRY(gather_fate(a, &w, &rows[i], &raw, &out[i]));
        search_slice_over(&slice);
    }
    return ERR_OK;
}

static void note_destroyed(struct change *c, const uint64_t *ids, size_t n)
{
    struct change_entry e = {.kind = CHANGE_DESTROYED, .messages = ids, .nmessages = n};
    if (n)
        change_encode_entry(&e, &c->log);
    if (!buf_ok(&c->log) && c->failed == ERR_OK)
        c->failed = ERR_LIMIT;
}

/* A cold row that cannot be read stays, and its blob with it (rule store-2). */
static enum err compose_remove(struct change *c, struct box *b, const struct message_row *rows,
                               const struct fate *fates, size_t n)
{
    struct state_row *state = change_state(c, b);
    struct message_row *gone = ARENA_ARRAY(&c->arena, struct message_row, n);
    uint64_t *ids = ARENA_ARRAY(&c->arena, uint64_t, n);
    size_t destroyed = 0;
    c->drops = ARENA_ARRAY(&c->arena, struct blob_id, n);
    if (!state || !gone || !ids || !c->drops)
        return ERR_NOMEM;
    memcpy(gone, rows, n * sizeof *gone);
    for (size_t i = 0; i < n; i++) {
        change_delete(c, key_instance(b->pub.id, rows[i].uid));
        change_delete(c, key_at(rows[i].message, b->pub.id, rows[i].uid));
        message_count(c, state, &rows[i], -1);
        if (!fates[i].destroyed)
            continue;
        ids[destroyed++] = rows[i].message;
        if (!fates[i].has_blob)
            continue;
        change_delete(c, key_message(rows[i].message));
        c->drops[c->ndrops++] = fates[i].blob;
    }
    change_effect(c, EFFECT_EXPUNGED, b->pub.id, gone, n);
    note_destroyed(c, ids, destroyed);
    return c->failed;
}

/* Brings rows to what the commits in flight leave; those that are gone or not asked for drop out.
 */
static size_t still_there(struct account *a, struct mailbox_view *v, struct message_row *rows,
                          struct fate *fates, size_t n, bool deleted_only, bool *fewer)
{
    size_t kept = 0;
    *fewer = false;
    for (size_t i = 0; i < n; i++) {
        struct message_row now = rows[i];
        if ((v && !change_predicted(a, v, rows[i].uid, &now)) ||
            (deleted_only && !(now.flags & FLAG_DELETED))) {
            *fewer = true;
            continue;
        }
        rows[kept] = now;
        fates[kept++] = fates[i];
    }
    return kept;
}

static enum err remove_in(struct account *a, uint32_t mailbox, struct mailbox_view *v,
                          struct message_row *rows, struct fate *fates, size_t n, bool deleted_only,
                          struct set *done, uint64_t *modseq)
{
    struct change *c;
    struct store_result result;
    bool fewer;
    TRY(gather_fates(a, mailbox, rows, n, fates));
    TRY(change_begin(a, &c));
    struct box *b = box_get(a, mailbox);
    n = still_there(a, v, rows, fates, n, deleted_only, &fewer);
    /* Fewer go than the fates were told from: a copy in the same mailbox may stay after all. */
    enum err e = !b ? ERR_NOT_FOUND : fewer && n ? ERR_CONFLICT : ERR_OK;
    if (e == ERR_OK && n)
        e = compose_remove(c, b, rows, fates, n);
    if (e != ERR_OK || !n) {
        change_drop(c);
        return e;
    }
    TRY(change_commit(c, NULL, &result));
    if (modseq)
        *modseq = result.version;
    for (size_t i = 0; i < n; i++) {
        if (fates[i].destroyed && !fates[i].has_blob)
            LOG_ERROR("message", "content row unreadable account=%llu message=%llu",
                      (unsigned long long)a->id, (unsigned long long)rows[i].message);
        TRY(set_add(done, rows[i].uid));
    }
    return ERR_OK;
}

enum err message_remove_batch(struct account *a, uint32_t mailbox, struct mailbox_view *v,
                              const struct message_row *rows, size_t n, bool deleted_only,
                              struct set *done, uint64_t *modseq)
{
    assert(a->turn_taken && n <= MESSAGE_BATCH);
    struct arena arena = ARENA_INIT(1 << 18);
    struct message_row *mine = ARENA_ARRAY(&arena, struct message_row, n);
    struct fate *fates = ARENA_ARRAY(&arena, struct fate, n);
    enum err e = ERR_NOMEM;
    if (mine && fates) {
        memcpy(mine, rows, n * sizeof *mine);
        e = remove_in(a, mailbox, v, mine, fates, n, deleted_only, done, modseq);
    }
    arena_free(&arena);
    return e;
}

struct expunge_job {
    struct mailbox_view *view;
    const struct set *uids;
    bool deleted_only;
    struct message_row *rows; /* MESSAGE_BATCH */
    uint64_t next;
    struct set *done;
    uint64_t modseq;
};

static enum err expunge_once(struct expunge_job *j)
{
    struct account *a = j->view->account;
    TRY(account_ready(a));
    uint32_t flags = j->deleted_only ? FLAG_DELETED : 0;
    size_t n = message_pick(j->view, j->uids, flags, &j->next, j->rows, MESSAGE_BATCH);
    if (!n)
        return ERR_OK;
    if (j->view->gone)
        return ERR_NOT_FOUND;
    return message_remove_batch(a, j->view->mailbox, j->view, j->rows, n, j->deleted_only, j->done,
                                &j->modseq);
}

/* One turn a batch, so that others come in between. */
static enum err expunge_batch(struct expunge_job *j)
{
    uint64_t next = j->next;
    unsigned tries = 0;
    enum err e;
    do {
        j->next = next;
        e = turn_take(j->view->account);
        if (e != ERR_OK)
            return e;
        e = expunge_once(j);
        turn_give(j->view->account);
    } while (change_again(&e, &tries));
    return e;
}

static enum err expunge(struct account *a, uint32_t mailbox, const struct set *uids,
                        bool deleted_only, struct set *expunged, uint64_t *modseq)
{
    struct arena arena = ARENA_INIT(1 << 18);
    struct expunge_job j = {.uids = uids,
                            .deleted_only = deleted_only,
                            .next = 1,
                            .done = expunged,
                            .rows = ARENA_ARRAY(&arena, struct message_row, MESSAGE_BATCH)};
    enum err e = j.rows ? view_open(a, mailbox, &j.view) : ERR_NOMEM;
    while (e == ERR_OK && j.next <= UINT32_MAX)
        e = expunge_batch(&j);
    if (modseq)
        *modseq = j.modseq;
    view_close(j.view);
    arena_free(&arena);
    return e;
}

enum err message_expunge(struct account *a, uint32_t mailbox, const struct set *uids,
                         struct set *expunged, uint64_t *modseq)
{
    return expunge(a, mailbox, uids, false, expunged, modseq);
}

enum err message_expunge_deleted(struct account *a, uint32_t mailbox, const struct set *uids,
                                 struct set *expunged, uint64_t *modseq)
{
    return expunge(a, mailbox, uids, true, expunged, modseq);
}

/* ---- copying and moving ---- */

struct copy_job {
    struct account *from, *to;
    struct mailbox_view *view; /* of the source */
    uint32_t to_mailbox;
    const struct set *uids;
    bool move;
    struct message_row *rows; /* MESSAGE_BATCH */
    uint64_t next;
    struct message_copied *out;
};

/* The keywords that the source uses, made known to the target as far as it has room. */
static enum err copy_keywords(struct copy_job *j)
{
    const struct mailbox *m = view_mailbox(j->view);
    if (!m)
        return ERR_NOT_FOUND;
    uint64_t used = 0, bits;
    const struct message_row *rows;
    for (size_t r = 0; r < j->uids->count && m->keywords->count; r++)
        for (size_t i = view_place(j->view, j->uids->ranges[r].first), n;
             (n = view_run(j->view, i, &rows)) > 0 && rows[0].uid <= j->uids->ranges[r].last;
             i += n)
            for (size_t k = 0; k < n && rows[k].uid <= j->uids->ranges[r].last; k++)
                used |= rows[k].keywords;
    struct arena arena = ARENA_INIT(1 << 16);
    enum err e = ERR_OK;
    for (uint32_t i = 0; e == ERR_OK && used >> i && i < KEYWORDS_MAX; i++) {
        str name;
        m = view_mailbox(j->view);
        if (!m || !(used >> i & 1) || i >= m->keywords->count)
            continue;
        if (!arena_dup(&arena, m->keywords->names[i], &name))
            e = ERR_NOMEM;
        else
            e = mailbox_keywords(j->to, j->to_mailbox, &name, 1, &bits);
        if (e == ERR_LIMIT)
            e = ERR_OK; /* no room: it is lost in the copy */
        arena_reset(&arena);
        if (i == KEYWORDS_MAX - 1)
            break;
    }
    arena_free(&arena);
    return e;
}

static uint64_t map_keywords(const struct keyword_table *from, const struct keyword_table *to,
                             uint64_t bits)
{
    uint64_t out = 0;
    for (uint32_t i = 0; i < from->count && i < KEYWORDS_MAX; i++) {
        int bit = bits >> i & 1 ? keyword_bit(to, from->names[i]) : -1;
        if (bit >= 0)
            out |= 1ull << bit;
    }
    return out;
}

static void compose_leave(struct change *c, struct box *b, struct state_row *state,
                          const struct message_row *row)
{
    change_delete(c, key_instance(b->pub.id, row->uid));
    change_delete(c, key_at(row->message, b->pub.id, row->uid));
    message_count(c, state, row, -1);
}

/* Within one account: new instances of the same messages, and for a move the old ones go. */
static enum err compose_copy(struct change *c, struct copy_job *j, struct box *src, struct box *dst,
                             const struct message_row *rows, struct message_row *fresh, size_t n)
{
    struct state_row *to = change_state(c, dst), *from = j->move ? change_state(c, src) : NULL;
    int64_t now = clock_wall_s();
    if (!to || (j->move && !from))
        return ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        if (to->uidnext > UINT32_MAX)
            return ERR_LIMIT;
        fresh[i] = rows[i];
        fresh[i].uid = (uint32_t)to->uidnext++;
        fresh[i].keywords = map_keywords(&src->table, &dst->table, rows[i].keywords);
        fresh[i].modseq = c->version;
        fresh[i].save_date = now;
        change_put(c, key_at(fresh[i].message, dst->pub.id, fresh[i].uid), STR_NONE);
        message_put_instance(c, dst->pub.id, &fresh[i]);
        message_count(c, to, &fresh[i], 1);
        if (j->move)
            compose_leave(c, src, from, &rows[i]);
    }
    change_effect(c, EFFECT_ADDED, dst->pub.id, fresh, n);
    return c->failed;
}

static enum err quota_fits(struct account *a, const struct quota *q, const struct message_row *rows,
                           size_t n)
{
    uint64_t bytes = a->head.bytes;
    for (size_t i = 0; i < n; i++)
        bytes += rows[i].size;
    return (q->bytes && bytes > q->bytes) || (q->messages && a->head.messages + n > q->messages)
               ? ERR_QUOTA
               : ERR_OK;
}

static enum err copied(struct message_copied *out, const struct message_row *rows, size_t n,
                       uint32_t first_uid)
{
    for (size_t i = 0; i < n; i++)
        TRY(set_add(&out->source, rows[i].uid));
    return n ? set_add_range(&out->target, first_uid, first_uid + (uint32_t)n - 1) : ERR_OK;
}

static enum err compose_within(struct change *c, struct copy_job *j, const struct quota *q,
                               struct message_row **fresh, size_t *n)
{
    struct account *a = j->from;
    struct box *src = j->view->gone ? NULL : box_get(a, j->view->mailbox);
    struct box *dst = box_get(a, j->to_mailbox);
    if (!src || !dst || dst->purging || dst->head_gone)
        return ERR_NOT_FOUND;
    *n = message_pick(j->view, j->uids, 0, &j->next, j->rows, MESSAGE_BATCH);
    j->out->uidvalidity = dst->pub.uidvalidity;
    if (!*n)
        return ERR_OK;
    if (!j->move)
        TRY(quota_fits(a, q, j->rows, *n));
    *fresh = ARENA_ARRAY(&c->arena, struct message_row, *n);
    struct message_row *gone = ARENA_ARRAY(&c->arena, struct message_row, *n);
    if (!*fresh || !gone)
        return ERR_NOMEM;
    TRY(compose_copy(c, j, src, dst, j->rows, *fresh, *n));
    memcpy(gone, j->rows, *n * sizeof *gone);
    if (j->move)
        change_effect(c, EFFECT_EXPUNGED, src->pub.id, gone, *n);
    return c->failed;
}

static enum err within_once(struct copy_job *j)
{
    struct change *c;
    struct store_result result;
    struct quota q;
    struct message_row *fresh = NULL;
    size_t n = 0;
    TRY(account_quota(j->from, &q));
    TRY(change_begin(j->from, &c));
    enum err e = compose_within(c, j, &q, &fresh, &n);
    if (e != ERR_OK || !n) {
        change_drop(c);
        return e;
    }
    uint32_t first_uid = fresh[0].uid;
    TRY(change_commit(c, NULL, &result));
    j->out->modseq = result.version;
    return copied(j->out, j->rows, n, first_uid);
}

static enum err within_batch(struct copy_job *j)
{
    uint64_t next = j->next;
    unsigned tries = 0;
    enum err e;
    do {
        j->next = next;
        e = turn_take(j->from);
        if (e != ERR_OK)
            return e;
        e = within_once(j);
        turn_give(j->from);
    } while (change_again(&e, &tries));
    return e;
}

/* ---- into another account ---- */

#define ACROSS_BATCH 100     /* messages; with their threads under STORE_OPS_MAX */
#define ACROSS_BYTES 2097152 /* of cold rows, well under STORE_COMMIT_MAX */

struct across {
    struct arena arena;
    struct message_new *news;
    struct thread_found *found;
    struct message_added *added;
    struct message_row *rows; /* the source rows really taken */
    size_t n, bytes;
};

static enum err across_take(struct copy_job *j, struct across *x, const struct message_row *row,
                            const struct keyword_table *to)
{
    BUF_AUTO struct buf raw = BUF_INIT(STORE_VALUE_MAX);
    struct message_cold cold;
    str kept;
    enum err e = message_cold(j->from, row->message, &raw, &cold);
    if (e == ERR_NOT_FOUND)
        return ERR_OK; /* expunged meanwhile */
    TRY(e);
    if (!arena_dup(&x->arena, buf_str(&raw), &kept) || cold_decode(kept, &cold) != ERR_OK)
        return ERR_NOMEM;
    const struct mailbox *m = view_mailbox(j->view);
    struct message_new *n = &x->news[x->n];
    *n = MESSAGE_NEW_INIT;
    n->has_blob = true;
    n->blob = cold.blob;
    n->trace_len = cold.trace_len;
    n->content_len = cold.content_len;
    n->prefix = cold.prefix;
    n->mime = cold.mime;
    n->flags = row->flags;
    n->keywords = m ? map_keywords(m->keywords, to, row->keywords) : 0;
    n->internal_date = row->internal_date;
    TRY(message_gather_threads(j->to, n->mime, &x->found[x->n]));
    x->rows[x->n++] = *row;
    x->bytes += kept.len;
    return ERR_OK;
}

static enum err across_gather(struct copy_job *j, struct across *x)
{
    size_t n = message_pick(j->view, j->uids, 0, &j->next, j->rows, ACROSS_BATCH);
    x->news = ARENA_ARRAY(&x->arena, struct message_new, n + 1);
    x->found = ARENA_ARRAY(&x->arena, struct thread_found, n + 1);
    x->added = ARENA_ARRAY(&x->arena, struct message_added, n + 1);
    x->rows = ARENA_ARRAY(&x->arena, struct message_row, n + 1);
    if (!x->news || !x->found || !x->added || !x->rows)
        return ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        const struct mailbox *to = mailbox_get(j->to, j->to_mailbox);
        if (!to)
            return ERR_NOT_FOUND;
        if (x->bytes > ACROSS_BYTES) { /* the rest comes in the next batch */
            j->next = j->rows[i].uid;
            break;
        }
        struct keyword_table table = *to->keywords;
        TRY(across_take(j, x, &j->rows[i], &table));
    }
    return ERR_OK;
}

static enum err across_once(struct copy_job *j)
{
    struct across x = {.arena = ARENA_INIT(16 << 20)};
    struct message_add_result added = {0};
    enum err e = across_gather(j, &x);
    struct add_plan p = {.news = x.news, .n = x.n, .found = x.found, .added = x.added};
    if (e == ERR_OK)
        e = account_quota(j->to, &p.quota);
    if (e == ERR_OK && x.n)
        e = message_add_once(j->to, j->to_mailbox, &p, &added);
    if (e == ERR_OK && x.n) {
        j->out->uidvalidity = added.uidvalidity;
        j->out->modseq = added.modseq;
        e = copied(j->out, x.rows, x.n, x.added[0].uid);
    }
    if (e == ERR_OK && x.n && j->move) {
        SET_AUTO struct set source = {0}, gone = {0};
        for (size_t i = 0; e == ERR_OK && i < x.n; i++)
            e = set_add(&source, x.rows[i].uid);
        if (e == ERR_OK)
            e = message_expunge(j->from, j->view->mailbox, &source, &gone, NULL);
        if (e == ERR_CONFLICT || e == ERR_BUSY)
            e = ERR_UNAVAILABLE; /* the copies are made: do not make them again */
    }
    arena_free(&x.arena);
    return e;
}

static enum err across_batch(struct copy_job *j)
{
    uint64_t next = j->next;
    unsigned tries = 0;
    enum err e;
    do {
        j->next = next;
        e = across_once(j);
    } while (change_again(&e, &tries));
    return e;
}

static enum err copy(struct copy_job *j)
{
    TRY(account_ready(j->to));
    const struct mailbox *to = mailbox_get(j->to, j->to_mailbox);
    if (!to)
        return ERR_NOT_FOUND;
    j->out->uidvalidity = to->uidvalidity;
    TRY(copy_keywords(j));
    /* What arrives while a mailbox is copied into itself is not copied again. */
    struct range known = {1, view_last_uid(j->view)};
    SET_AUTO struct set uids = {0};
    TRY(set_union(&uids, j->uids));
    if (known.last == 0)
        return ERR_OK;
    TRY(set_intersect(&uids, &(struct set){&known, 1, 1, 1}));
    j->uids = &uids;
    enum err e = ERR_OK;
    while (e == ERR_OK && j->next <= UINT32_MAX)
        e = j->from == j->to ? within_batch(j) : across_batch(j);
    return e;
}

static enum err copy_or_move(struct account *from, uint32_t mailbox, const struct set *uids,
                             struct account *to, uint32_t to_mailbox, bool move,
                             struct message_copied *out)
{
    struct arena arena = ARENA_INIT(1 << 18);
    struct copy_job j = {.from = from,
                         .to = to,
                         .to_mailbox = to_mailbox,
                         .uids = uids,
                         .move = move,
                         .next = 1,
                         .out = out};
    *out = (struct message_copied){0};
    j.rows = ARENA_ARRAY(&arena, struct message_row, MESSAGE_BATCH);
    enum err e = j.rows ? view_open(from, mailbox, &j.view) : ERR_NOMEM;
    if (e == ERR_OK)
        e = copy(&j);
    view_close(j.view);
    arena_free(&arena);
    return e;
}

enum err message_copy(struct account *from, uint32_t mailbox, const struct set *uids,
                      struct account *to, uint32_t to_mailbox, struct message_copied *out)
{
    return copy_or_move(from, mailbox, uids, to, to_mailbox, false, out);
}

enum err message_move(struct account *from, uint32_t mailbox, const struct set *uids,
                      struct account *to, uint32_t to_mailbox, struct message_copied *out)
{
    return copy_or_move(from, mailbox, uids, to, to_mailbox, true, out);
}
