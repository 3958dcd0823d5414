/* SPDX-License-Identifier: Apache-2.0
 *
 * What one client has been told of a mailbox. Invariant: announced = rows of the view up to
 * exists_uid + owed UIDs.
 */
#include "core/account_private.h"

#include "base/num.h"

#include <assert.h>
#include <string.h>

#define SESSION_RANKS_MAX (SET_RANGES_MAX * sizeof(uint32_t))

enum err mailbox_session_open(struct account *a, uint32_t mailbox, struct event *wake,
                              struct mailbox_session *s)
{
    *s = (struct mailbox_session){0};
    TRY(view_open(a, mailbox, &s->view));
    const struct mailbox *m = view_mailbox(s->view);
    s->ranks = BUF_INIT(SESSION_RANKS_MAX);
    s->watcher.event = wake;
    s->exists_uid = view_last_uid(s->view);
    s->announced = (uint32_t)view_count(s->view);
    s->keywords_told = m->keywords->count;
    s->told_version = s->changed_version = a->pub_version;
    list_push_back(&s->view->sessions, &s->link);
    view_watch(s->view, &s->watcher);
    return ERR_OK;
}

void mailbox_session_close(struct mailbox_session *s)
{
    if (!s->view)
        return;
    list_remove(&s->link);
    change_watcher_stop(&s->watcher);
    set_free(&s->owed);
    set_free(&s->changed);
    buf_free(&s->ranks);
    struct mailbox_view *v = s->view;
    *s = (struct mailbox_session){0};
    view_close(v);
}

/* ---- pushed by the view ---- */

/* The part of uids that the session has announced. */
static enum err announced_part(const struct mailbox_session *s, const struct set *uids,
                               struct set *into)
{
    const struct range *last = &uids->ranges[uids->count - 1];
    if (last->last <= s->exists_uid)
        return set_union(into, uids);
    for (size_t i = 0; i < uids->count && uids->ranges[i].first <= s->exists_uid; i++)
        TRY(set_add_range(into, uids->ranges[i].first, MIN(uids->ranges[i].last, s->exists_uid)));
    return ERR_OK;
}

/* Owed ranges that were told one by one are dropped here, not one by one. */
static void owed_compact(struct mailbox_session *s)
{
    if (!s->owed_from)
        return;
    s->owed.count -= s->owed_from;
    memmove(s->owed.ranges, s->owed.ranges + s->owed_from, s->owed.count * sizeof(struct range));
    s->owed_from = 0;
    s->ranked = false;
}

void session_push_expunged(struct mailbox_session *s, const struct set *uids, uint64_t version)
{
    owed_compact(s);
    if (s->owed_count == 0)
        s->told_version = version - 1;
    if (announced_part(s, uids, &s->owed) != ERR_OK)
        s->failed = true;
    s->owed_count = set_size(&s->owed);
    s->ranked = false;
    if (s->changed.count && set_subtract(&s->changed, uids) != ERR_OK)
        s->failed = true;
}

void session_push_changed(struct mailbox_session *s, const struct set *uids, uint64_t version)
{
    if (announced_part(s, uids, &s->changed) != ERR_OK)
        s->failed = true;
    if (s->changed.count <= MAILBOX_SESSION_CHANGED_MAX)
        return;
    if (!s->changed_all)
        s->changed_since = s->changed_version;
    s->changed_all = true;
    s->changed_next = 1;
    set_free(&s->changed);
}

/* ---- numbers ---- */

uint32_t mailbox_session_exists(const struct mailbox_session *s) { return s->announced; }

static bool rank(struct mailbox_session *s)
{
    owed_compact(s);
    if (s->ranked)
        return true;
    uint32_t before = 0;
    buf_reset(&s->ranks);
    for (size_t i = 0; i < s->owed.count; i++) {
        buf_add(&s->ranks, str_of(&before, sizeof before));
        before += s->owed.ranges[i].last - s->owed.ranges[i].first + 1;
    }
    s->ranked = buf_ok(&s->ranks);
    s->failed = s->failed || !s->ranked;
    return s->ranked;
}

static uint32_t rank_at(const struct mailbox_session *s, size_t i)
{
    return ((const uint32_t *)s->ranks.data)[i];
}

/* Owed UIDs below uid. */
static uint32_t owed_below(struct mailbox_session *s, uint32_t uid)
{
    if (s->owed_count == 0 || !rank(s))
        return 0;
    size_t from = 0, to = s->owed.count;
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (s->owed.ranges[mid].first < uid)
            from = mid + 1;
        else
            to = mid;
    }
    if (from == 0)
        return 0;
    struct range r = s->owed.ranges[from - 1];
    return rank_at(s, from - 1) + (MIN(r.last, uid - 1) - r.first + 1);
}

uint32_t mailbox_session_seq(struct mailbox_session *s, uint32_t uid)
{
    if (uid == 0 || uid > s->exists_uid)
        return 0;
    owed_compact(s);
    if (!view_find(s->view, uid) && !(s->owed_count && set_has(&s->owed, uid)))
        return 0;
    return (uint32_t)view_place(s->view, uid) + owed_below(s, uid) + 1;
}

uint32_t mailbox_session_uid(struct mailbox_session *s, uint32_t seq)
{
    const struct message_row *row;
    if (seq == 0 || seq > s->announced)
        return 0;
    uint32_t owed = 0;
    if (s->owed_count && rank(s)) {
        /* The last owed range that begins at or before seq. */
        size_t from = 0, to = s->owed.count;
        while (from < to) {
            size_t mid = from + (to - from) / 2;
            if (view_place(s->view, s->owed.ranges[mid].first) + rank_at(s, mid) + 1 <= seq)
                from = mid + 1;
            else
                to = mid;
        }
        if (from > 0) {
            struct range r = s->owed.ranges[from - 1];
            uint32_t start = (uint32_t)view_place(s->view, r.first) + rank_at(s, from - 1) + 1;
            if (seq - start <= r.last - r.first)
                return r.first + (seq - start);
            owed = rank_at(s, from - 1) + (r.last - r.first + 1);
        }
    }
    row = view_at(s->view, seq - 1 - owed);
    return row && row->uid <= s->exists_uid ? row->uid : 0;
}

const struct message_row *mailbox_session_row(struct mailbox_session *s, uint32_t seq)
{
    uint32_t uid = mailbox_session_uid(s, seq);
    return uid ? view_find(s->view, uid) : NULL;
}

static enum err add_places(const struct mailbox_view *v, size_t from, size_t n, struct set *uids)
{
    const struct message_row *rows;
    uint32_t first;
    for (size_t run; n > 0; from += run, n -= run) {
        run = MIN(view_solid(v, from, &first), n);
        if (run) {
            TRY(set_add_range(uids, first, first + (uint32_t)run - 1));
            continue;
        }
        run = MIN(view_run(v, from, &rows), n);
        if (!run)
            return ERR_OK;
        for (size_t i = 0; i < run; i++)
            TRY(set_add(uids, rows[i].uid));
    }
    return ERR_OK;
}

enum err mailbox_session_uids(struct mailbox_session *s, const struct set *seqs, struct set *uids)
{
    for (size_t i = 0; i < seqs->count; i++) {
        struct range r = seqs->ranges[i];
        if (r.first == 0 || r.last > s->announced)
            return ERR_INVALID;
        if (s->owed_count == 0) {
            TRY(add_places(s->view, r.first - 1, r.last - r.first + 1, uids));
            continue;
        }
        for (uint64_t seq = r.first; seq <= r.last; seq++) {
            uint32_t uid = mailbox_session_uid(s, (uint32_t)seq);
            if (uid)
                TRY(set_add(uids, uid));
        }
    }
    return ERR_OK;
}

uint64_t mailbox_session_modseq(const struct mailbox_session *s)
{
    const struct mailbox *m = view_mailbox(s->view);
    uint64_t highest = m ? m->state.highest_modseq : s->told_version;
    return s->owed_count ? MIN(highest, s->told_version) : highest;
}

/* ---- news ---- */

static void tell_expunged(struct mailbox_session *s, struct mailbox_news *out)
{
    struct range *r = &s->owed.ranges[s->owed_from];
    assert(s->owed_from < s->owed.count && s->announced > 0);
    out->kind = MAILBOX_NEWS_EXPUNGED;
    out->uid = r->first;
    out->seq = (uint32_t)view_place(s->view, r->first) + 1; /* it is the first that is owed */
    if (r->first == r->last)
        s->owed_from++;
    else
        r->first++;
    s->announced--;
    s->ranked = false;
    if (--s->owed_count == 0) {
        s->owed_from = 0;
        set_free(&s->owed);
        buf_free(&s->ranks);
    }
}

static bool tell_exists(struct mailbox_session *s, struct mailbox_news *out)
{
    uint32_t last = view_last_uid(s->view);
    if (last <= s->exists_uid)
        return false;
    out->first_new = view_at(s->view, view_place(s->view, s->exists_uid + 1))->uid;
    s->exists_uid = last;
    s->announced = (uint32_t)(view_count(s->view) + s->owed_count);
    out->kind = MAILBOX_NEWS_EXISTS;
    out->count = s->announced;
    return true;
}

static const struct message_row *next_changed(struct mailbox_session *s)
{
    while (s->changed.count) {
        uint32_t uid = s->changed.ranges[0].first;
        if (set_remove_range(&s->changed, uid, uid) != ERR_OK)
            set_free(&s->changed);
        const struct message_row *row = view_find(s->view, uid);
        if (row)
            return row;
    }
    const struct message_row *rows;
    struct view_want newer = {.modseq_above = s->changed_since};
    size_t i =
        s->changed_all ? view_seek(s->view, view_place(s->view, s->changed_next), &newer) : 0;
    for (size_t n; s->changed_all && (n = view_run(s->view, i, &rows)) > 0;
         i = view_seek(s->view, i + n, &newer)) {
        for (size_t k = 0; k < n && rows[k].uid <= s->exists_uid; k++) {
            if (rows[k].modseq > s->changed_since) {
                s->changed_next = rows[k].uid + 1;
                return &rows[k];
            }
        }
    }
    s->changed_all = false;
    s->changed_version = s->view->account->pub_version;
    return NULL;
}

bool mailbox_session_has_news(const struct mailbox_session *s)
{
    const struct mailbox *m = view_mailbox(s->view);
    if (!m)
        return !s->gone_told;
    return s->owed_count || s->changed.count || s->changed_all ||
           m->keywords->count > s->keywords_told || view_last_uid(s->view) > s->exists_uid;
}

bool mailbox_session_next(struct mailbox_session *s, bool expunges, struct mailbox_news *out)
{
    const struct mailbox *m = view_mailbox(s->view);
    *out = (struct mailbox_news){0};
    if (!m) {
        out->kind = MAILBOX_NEWS_GONE;
        bool first = !s->gone_told;
        s->gone_told = true;
        return first;
    }
    if (m->keywords->count > s->keywords_told) {
        s->keywords_told = m->keywords->count;
        out->kind = MAILBOX_NEWS_KEYWORDS;
        return true;
    }
    if (expunges && s->owed_count) {
        tell_expunged(s, out);
        return true;
    }
    if (tell_exists(s, out))
        return true;
    const struct message_row *row = next_changed(s);
    if (!row)
        return false;
    out->kind = MAILBOX_NEWS_FLAGS;
    out->uid = row->uid;
    out->row = row;
    out->seq = mailbox_session_seq(s, row->uid);
    return true;
}

enum err mailbox_session_vanished(struct mailbox_session *s, struct set *out)
{
    owed_compact(s);
    TRY(set_union(out, &s->owed));
    s->announced -= (uint32_t)s->owed_count;
    s->owed_count = 0;
    s->ranked = false;
    set_free(&s->owed);
    buf_free(&s->ranks);
    return ERR_OK;
}
