/* SPDX-License-Identifier: Apache-2.0
 *
 * Results that are kept up to date: RETURN (UPDATE) and CANCELUPDATE (RFC 5267). A change is told
 * with the news of the mailbox: what leaves before its EXPUNGE, what comes after its EXISTS.
 */
#include "proto/imap/search_context.h"

#include "base/num.h"
#include "proto/imap/search_key.h"
#include "proto/imap/search_sort.h"

#define CONTEXT_ARENA_MAX ((size_t)1 << 20)
#define CONTEXT_UIDS_MAX ((size_t)64 << 20)

struct search_context {
    struct list link;
    struct arena arena;
    str tag;
    bool uid, sorted;
    struct imap_search args;
    struct search_program *program;
    struct search_found now; /* its uids */
    struct buf order;        /* u32 each, when sorted */
    uint32_t seen_uid;       /* up to here, and */
    uint64_t seen_modseq;    /* up to this change, it is right */
};

static void context_free(struct imap *x, struct search_context *k)
{
    list_remove(&k->link);
    x->search->ncontexts--;
    search_program_free(k->program);
    search_found_free(&k->now);
    buf_free(&k->order);
    struct arena arena = k->arena;
    arena_free(&arena);
}

void search_contexts_free(struct imap *x)
{
    LIST_EACH (it, &x->search->contexts)
        context_free(x, container_of(it, struct search_context, link));
}

static uint64_t modseq_now(const struct imap *x)
{
    const struct mailbox *m = view_mailbox(x->selected->view.view);
    return m ? m->state.highest_modseq : 0;
}

/* The command is read once more into memory that stays. */
static enum err parse_again(struct imap *x, const struct imap_cursor *c, size_t start,
                            struct search_context *k)
{
    struct search_place place = search_place_selected(x);
    struct imap_cursor again = {.arena = &k->arena, .pos = start, .utf8 = c->utf8};
    if (!arena_dup(&k->arena, c->in, &again.in) || !arena_dup(&k->arena, x->tag, &k->tag))
        return ERR_LIMIT;
    bool ok = k->sorted ? imap_take_sort(&again, &k->args) : imap_take_search(&again, &k->args);
    return ok ? search_compile(x, &k->args, &place, &k->arena, &k->program) : ERR_LIMIT;
}

static enum err context_open(struct imap *x, const struct imap_cursor *c, size_t start,
                             const struct search_reply *r)
{
    struct imap_search_state *state = search_state(x);
    struct arena arena = ARENA_INIT(CONTEXT_ARENA_MAX);
    if (!state || state->ncontexts == SEARCH_CONTEXTS_MAX)
        return ERR_LIMIT;
    struct search_context *k = ARENA_NEW(&arena, struct search_context);
    if (!k)
        return ERR_LIMIT;
    k->arena = arena;
    k->uid = r->uid;
    k->sorted = r->sorted;
    buf_init(&k->order, CONTEXT_UIDS_MAX);
    list_push_back(&state->contexts, &k->link);
    state->ncontexts++;
    enum err e = parse_again(x, c, start, k);
    if (e == ERR_OK)
        e = set_union(&k->now.uids, &r->found->uids);
    if (e == ERR_OK && k->sorted)
        buf_add(&k->order, buf_str(&r->uids));
    k->seen_uid = r->seen_uid;
    k->seen_modseq = r->seen_modseq;
    if (e != ERR_OK || !buf_ok(&k->order)) {
        context_free(x, k);
        return ERR_LIMIT;
    }
    return ERR_OK;
}

void search_context_start(struct imap *x, const struct imap_cursor *c, size_t start,
                          const struct search_reply *r)
{
    if (context_open(x, c, start, r) == ERR_OK)
        return;
    buf_add(imap_out(x), STR("* NO [NOUPDATE "));
    imap_render_string(imap_out(x), x->tag);
    buf_add(imap_out(x), STR("] Too many searches are kept up to date\r\n"));
}

void search_context_mark(struct imap *x, struct search_reply *r)
{
    r->seen_uid = x->selected->view.exists_uid;
    r->seen_modseq = modseq_now(x);
}

/* ---- telling ---- */

static void tell_open(struct imap *x, const struct search_context *k, str what)
{
    struct buf *out = imap_out(x);
    buf_add(out, STR("* ESEARCH (TAG "));
    imap_render_string(out, k->tag);
    buf_add(out, k->uid ? STR(") UID ") : STR(") "));
    buf_add(out, what);
    buf_add(out, STR(" ("));
}

static void add_number(struct imap *x, const struct search_context *k, uint32_t uid)
{
    buf_add_u64(imap_out(x), k->uid ? uid : mailbox_session_seq(&x->selected->view, uid));
}

/* Unordered results have position 0 (RFC 5267 4.3). */
static void tell_set(struct imap *x, const struct search_context *k, str what,
                     const struct set *uids)
{
    BUF_AUTO struct buf numbers = BUF_INIT(CONTEXT_UIDS_MAX);
    for (size_t i = 0; i < uids->count; i++)
        for (uint64_t uid = uids->ranges[i].first; uid <= uids->ranges[i].last; uid++) {
            uint32_t n =
                k->uid ? (uint32_t)uid : mailbox_session_seq(&x->selected->view, (uint32_t)uid);
            buf_add(&numbers, str_of(&n, sizeof n));
        }
    tell_open(x, k, what);
    buf_add(imap_out(x), STR("0 "));
    search_render_numbers((const uint32_t *)numbers.data, numbers.len / sizeof(uint32_t),
                          imap_out(x));
    buf_add(imap_out(x), STR(")\r\n"));
    imap_flush_check(x);
}

/* Each with the position that it has when its turn comes. */
static void tell_removed_sorted(struct imap *x, struct search_context *k, const struct set *gone)
{
    uint32_t *order = (uint32_t *)k->order.data;
    size_t n = k->order.len / sizeof *order, kept = 0;
    bool first = true;
    tell_open(x, k, STR("REMOVEFROM"));
    for (size_t i = 0; i < n; i++) {
        if (!set_has(gone, order[i])) {
            order[kept++] = order[i];
            continue;
        }
        buf_addf(imap_out(x), "%s%zu ", first ? "" : " ", kept + 1);
        add_number(x, k, order[i]);
        first = false;
    }
    buf_truncate(&k->order, kept * sizeof *order);
    buf_add(imap_out(x), STR(")\r\n"));
    imap_flush_check(x);
}

static enum err tell_added_sorted(struct imap *x, struct search_context *k, const struct set *added)
{
    struct search_place place = search_place_selected(x);
    bool first = true;
    buf_reset(&k->order);
    TRY(search_sort(&place, &k->args, &k->now, &k->order));
    tell_open(x, k, STR("ADDTO"));
    for (size_t i = 0; i < k->order.len / sizeof(uint32_t); i++) {
        uint32_t uid = ((const uint32_t *)k->order.data)[i];
        if (!set_has(added, uid))
            continue;
        buf_addf(imap_out(x), "%s%zu ", first ? "" : " ", i + 1);
        add_number(x, k, uid);
        first = false;
    }
    buf_add(imap_out(x), STR(")\r\n"));
    imap_flush_check(x);
    return ERR_OK;
}

static enum err tell_removed(struct imap *x, struct search_context *k, const struct set *gone)
{
    if (gone->count == 0)
        return ERR_OK;
    TRY(set_subtract(&k->now.uids, gone));
    if (k->sorted)
        tell_removed_sorted(x, k, gone);
    else
        tell_set(x, k, STR("REMOVEFROM"), gone);
    return ERR_OK;
}

static enum err tell_added(struct imap *x, struct search_context *k, const struct set *added)
{
    if (added->count == 0)
        return ERR_OK;
    TRY(set_union(&k->now.uids, added));
    if (k->sorted)
        return tell_added_sorted(x, k, added);
    tell_set(x, k, STR("ADDTO"), added);
    return ERR_OK;
}

/* ---- looking again ---- */

static enum err context_leave(struct imap *x, struct search_context *k)
{
    const struct mailbox_session *s = &x->selected->view;
    SET_AUTO struct set gone = {0};
    for (size_t i = s->owed_from; i < s->owed.count; i++)
        TRY(set_add_range(&gone, s->owed.ranges[i].first, s->owed.ranges[i].last));
    TRY(set_intersect(&gone, &k->now.uids));
    return tell_removed(x, k, &gone);
}

/* Messages whose flags changed, and new ones, since the last look. */
static enum err changed_rows(const struct search_place *place, const struct search_span *span,
                             struct set *out)
{
    const struct message_row *rows;
    for (size_t i = 0, n; (n = view_run(place->view, i, &rows)) > 0; i += n)
        for (size_t j = 0; j < n && rows[j].uid <= place->last_uid; j++)
            if (search_span_has(span, &rows[j]))
                TRY(set_add(out, rows[j].uid));
    return ERR_OK;
}

static enum err context_look(struct imap *x, struct search_context *k)
{
    struct search_place place = search_place_selected(x);
    struct search_span span = {.since = k->seen_modseq, .always_from = k->seen_uid + 1};
    SET_AUTO struct set changed = {0}, gone = {0};
    struct search_found found = {0};
    uint64_t modseq = modseq_now(x);
    if (k->seen_modseq == modseq && k->seen_uid == place.last_uid)
        return ERR_OK;
    search_program_refresh(k->program, place.view);
    TRY(changed_rows(&place, &span, &changed));
    k->seen_uid = place.last_uid;
    k->seen_modseq = modseq;
    if (changed.count == 0)
        return ERR_OK;
    enum err e = search_run(x, k->program, &place, &span, &found);
    if (e == ERR_OK)
        e = set_union(&gone, &changed);
    if (e == ERR_OK)
        e = set_intersect(&gone, &k->now.uids);
    if (e == ERR_OK)
        e = set_subtract(&gone, &found.uids);
    if (e == ERR_OK)
        e = tell_removed(x, k, &gone);
    if (e == ERR_OK)
        e = set_subtract(&found.uids, &k->now.uids);
    if (e == ERR_OK)
        e = tell_added(x, k, &found.uids);
    search_found_free(&found);
    return e;
}

static void each_context(struct imap *x, enum err (*fn)(struct imap *, struct search_context *))
{
    if (!x->search || !x->selected || !view_mailbox(x->selected->view.view))
        return;
    LIST_EACH (it, &x->search->contexts) {
        struct search_context *k = container_of(it, struct search_context, link);
        if (fn(x, k) == ERR_OK)
            continue;
        buf_add(imap_out(x), STR("* NO [NOUPDATE "));
        imap_render_string(imap_out(x), k->tag);
        buf_add(imap_out(x), STR("] No longer kept up to date\r\n"));
        context_free(x, k);
    }
}

void imap_search_before_news(struct imap *x, bool expunges)
{
    if (expunges && x->selected && x->selected->view.owed_count > 0)
        each_context(x, context_leave);
}

void imap_search_after_news(struct imap *x) { each_context(x, context_look); }

/* ---- CANCELUPDATE ---- */

static void cancel(struct imap *x, str tag)
{
    if (!x->search)
        return;
    LIST_EACH (it, &x->search->contexts) {
        struct search_context *k = container_of(it, struct search_context, link);
        if (str_eq(k->tag, tag))
            context_free(x, k);
    }
}

void imap_cmd_cancelupdate(struct imap *x, struct imap_cursor *c)
{
    do {
        str tag = imap_string(c);
        if (imap_ok(c))
            cancel(x, tag);
    } while (imap_ok(c) && imap_accept(c, ' '));
    if (!imap_end(c))
        imap_refuse(x, c);
    else
        imap_done(x, STR_NONE, "CANCELUPDATE completed");
}
