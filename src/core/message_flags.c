/* SPDX-License-Identifier: Apache-2.0 */
#include "core/message_private.h"

#include "base/num.h"

#include <assert.h>

size_t message_pick(struct mailbox_view *v, const struct set *uids, uint32_t flags, uint64_t *next,
                    struct message_row *out, size_t max)
{
    bool quiet = !change_sets_flags(v->account, v->mailbox); /* then they are as they will be */
    struct view_want want = {.deleted = quiet && (flags & FLAG_DELETED)};
    size_t got = 0;
    for (size_t r = 0; r < uids->count; r++) {
        if (uids->ranges[r].last < *next)
            continue;
        uint64_t first = MAX(*next, uids->ranges[r].first), last = uids->ranges[r].last;
        const struct message_row *rows;
        for (size_t i = view_seek(v, view_place(v, (uint32_t)first), &want), n;
             (n = view_run(v, i, &rows)) > 0; i = view_seek(v, i + n, &want)) {
            for (size_t k = 0; k < n && rows[k].uid <= last; k++) {
                if (quiet && (rows[k].flags & flags) != flags)
                    continue;
                if (got == max) {
                    *next = rows[k].uid;
                    return got;
                }
                got += change_predicted(v->account, v, rows[k].uid, &out[got]) &&
                       (out[got].flags & flags) == flags;
            }
            if (rows[n - 1].uid > last)
                break;
        }
    }
    *next = (uint64_t)UINT32_MAX + 1;
    return got;
}

static bool apply(const struct flag_change *f, struct message_row *row)
{
    uint32_t flags = row->flags;
    uint64_t keywords = row->keywords;
    if (f->how == FLAGS_ADD) {
        row->flags |= f->flags & FLAGS_ALL;
        row->keywords |= f->keywords;
    } else if (f->how == FLAGS_REMOVE) {
        row->flags &= ~f->flags;
        row->keywords &= ~f->keywords;
    } else {
        row->flags = (row->flags & f->kept_flags) | (f->flags & FLAGS_ALL & ~f->kept_flags);
        if (!f->keeps_keywords)
            row->keywords = f->keywords;
    }
    return flags != row->flags || keywords != row->keywords;
}

/* What one commit is to do. */
struct flag_batch {
    struct message_row *rows; /* MESSAGE_BATCH; the changed ones, after compose */
    size_t n;
    struct set failed;
    uint64_t next;
};

static enum err compose(struct change *c, struct box *b, struct mailbox_view *v,
                        const struct set *uids, const struct flag_change *f, struct flag_batch *k)
{
    size_t picked = message_pick(v, uids, 0, &k->next, k->rows, MESSAGE_BATCH);
    struct state_row *state = NULL;
    for (size_t i = 0; i < picked; i++) {
        struct message_row before = k->rows[i], after = before;
        if (f->has_unchanged_since && before.modseq > f->unchanged_since) {
            TRY(set_add(&k->failed, before.uid));
            continue;
        }
        if (!apply(f, &after))
            continue;
        if (!state && !(state = change_state(c, b)))
            return ERR_NOMEM;
        after.modseq = c->version;
        message_count(c, state, &before, -1);
        message_count(c, state, &after, 1);
        message_put_instance(c, b->pub.id, &after);
        k->rows[k->n++] = after;
    }
    if (!k->n)
        return ERR_OK;
    struct message_row *rows = ARENA_ARRAY(&c->arena, struct message_row, k->n);
    if (!rows)
        return ERR_NOMEM;
    __builtin_memcpy(rows, k->rows, k->n * sizeof *rows);
    change_effect(c, EFFECT_FLAGS, b->pub.id, rows, k->n);
    return c->failed;
}

static enum err flags_once(struct mailbox_view *v, const struct set *uids,
                           const struct flag_change *f, struct mailbox_session *by,
                           struct flag_batch *k, uint64_t *modseq)
{
    struct account *a = v->account;
    struct change *c;
    struct store_result result;
    TRY(change_begin(a, &c));
    struct box *b = v->gone ? NULL : box_get(a, v->mailbox);
    enum err e = !b || b->head_gone ? ERR_NOT_FOUND : compose(c, b, v, uids, f, k);
    if (e != ERR_OK || !k->n) {
        change_drop(c);
        return e;
    }
    c->by = by;
    TRY(change_commit(c, NULL, &result));
    *modseq = result.version;
    return ERR_OK;
}

static enum err flags_batch(struct mailbox_view *v, const struct set *uids,
                            const struct flag_change *f, struct mailbox_session *by,
                            struct flag_batch *k, struct flag_result *out)
{
    uint64_t next = k->next;
    unsigned tries = 0;
    enum err e;
    do {
        k->next = next;
        k->n = 0;
        set_free(&k->failed);
        e = flags_once(v, uids, f, by, k, &out->modseq);
    } while (change_again(&e, &tries));
    TRY(e);
    for (size_t i = 0; i < k->n; i++)
        TRY(set_add(&out->changed, k->rows[i].uid));
    return set_union(&out->failed, &k->failed);
}

enum err message_set_flags(struct account *a, uint32_t mailbox, const struct set *uids,
                           const struct flag_change *f, struct mailbox_session *by,
                           struct flag_result *out)
{
    struct arena arena = ARENA_INIT(1 << 18);
    struct mailbox_view *v = NULL;
    struct flag_batch k = {.next = 1};
    *out = (struct flag_result){0};
    /* Many small stores are usual: no more room than there are messages. */
    k.rows =
        ARENA_ARRAY(&arena, struct message_row, MIN(set_size(uids), (uint64_t)MESSAGE_BATCH) + 1);
    enum err e = k.rows ? view_open(a, mailbox, &v) : ERR_NOMEM;
    while (e == ERR_OK && k.next <= UINT32_MAX)
        e = flags_batch(v, uids, f, by, &k, out);
    set_free(&k.failed);
    view_close(v);
    arena_free(&arena);
    return e;
}
