/* SPDX-License-Identifier: Apache-2.0
 *
 * FETCH (RFC 9051 6.4.5). Three depths: what the view holds (flags, sizes, dates, ids), what the
 * cold row holds (envelope, structure, preview), and the text itself, which is streamed from the
 * blob.
 */
#include <assert.h>

#include "base/num.h"
#include "proto/imap/fetch.h"

#define FETCH_BATCH 256 /* messages between two looks at the output buffer */

enum depth { DEPTH_ROW, DEPTH_COLD, DEPTH_TEXT };

static enum depth depth_of(enum imap_fetch_kind kind)
{
    switch (kind) {
    case IMAP_FETCH_FLAGS:
    case IMAP_FETCH_INTERNALDATE:
    case IMAP_FETCH_RFC822_SIZE:
    case IMAP_FETCH_UID:
    case IMAP_FETCH_MODSEQ:
    case IMAP_FETCH_EMAILID:
    case IMAP_FETCH_THREADID:
    case IMAP_FETCH_SAVEDATE:
        return DEPTH_ROW;
    case IMAP_FETCH_ENVELOPE:
    case IMAP_FETCH_BODY:
    case IMAP_FETCH_BODYSTRUCTURE:
    case IMAP_FETCH_PREVIEW:
    case IMAP_FETCH_PREVIEW_LAZY:
        return DEPTH_COLD;
    default:
        return DEPTH_TEXT;
    }
}

static bool marks_seen(enum imap_fetch_kind kind)
{
    return kind == IMAP_FETCH_BODY_SECTION || kind == IMAP_FETCH_RFC822 ||
           kind == IMAP_FETCH_RFC822_TEXT || kind == IMAP_FETCH_BINARY;
}

/* Whole texts are ranges that need no structure. */
static bool looks_inside(const struct imap_fetch_item *item)
{
    if (item->kind == IMAP_FETCH_BODY_SECTION || item->kind == IMAP_FETCH_BODY_PEEK)
        return item->section.nparts > 0 || item->section.kind != IMAP_SECTION_ALL;
    return item->kind != IMAP_FETCH_RFC822 && depth_of(item->kind) != DEPTH_ROW;
}

/* ---- items of the hot row ---- */

void fetch_row_item(struct fetch *f, const struct imap_gathered *g, enum imap_fetch_kind kind,
                    struct buf *out)
{
    const struct message_row *row = &g->row;
    switch (kind) {
    case IMAP_FETCH_FLAGS:
        buf_add(out, STR("FLAGS "));
        imap_render_row_flags(row, f->keywords, out);
        break;
    case IMAP_FETCH_UID:
        buf_add(out, STR("UID "));
        buf_add_u64(out, row->uid);
        break;
    case IMAP_FETCH_INTERNALDATE:
        buf_add(out, STR("INTERNALDATE "));
        imap_render_date_time(out, row->internal_date, 0);
        break;
    case IMAP_FETCH_RFC822_SIZE:
        buf_add(out, STR("RFC822.SIZE "));
        buf_add_u64(out, row->size);
        break;
    case IMAP_FETCH_MODSEQ:
        buf_add(out, STR("MODSEQ ("));
        buf_add_u64(out, row->modseq);
        buf_add_char(out, ')');
        break;
    case IMAP_FETCH_EMAILID:
        buf_add(out, STR("EMAILID "));
        imap_render_id('M', row->message, out);
        break;
    case IMAP_FETCH_THREADID:
        buf_add(out, STR("THREADID "));
        imap_render_id('T', row->thread, out);
        break;
    case IMAP_FETCH_SAVEDATE:
        buf_add(out, STR("SAVEDATE "));
        imap_render_date_time(out, row->save_date, 0);
        break;
    default:
        assert(!"an item of the hot row");
    }
}

static void flags_after(struct fetch *f, const struct imap_gathered *g, struct buf *out)
{
    if (!f->marked || !set_has(f->marked, g->row.uid) || f->has_flags)
        return;
    buf_add(out, STR(" FLAGS "));
    imap_render_row_flags(&g->row, f->keywords, out);
    if (imap_has(f->x, IMAP_ENABLED_CONDSTORE) && !f->has_modseq)
        buf_addf(out, " MODSEQ (%llu)", (unsigned long long)g->row.modseq);
}

static void walk_rows(struct fetch *f, const struct imap_gathered *batch, size_t n)
{
    struct buf *out = imap_out(f->x);
    for (size_t i = 0; i < n; i++) {
        imap_fetch_open(f->x, batch[i].seq, batch[i].row.uid, out);
        for (size_t k = 0; k < f->nitems; k++) {
            if (k > 0)
                buf_add_char(out, ' ');
            fetch_row_item(f, &batch[i], f->items[k].kind, out);
        }
        imap_fetch_close(out);
    }
}

/* ---- items of the cold row ---- */

struct cold_walk {
    struct fetch *f;
    const struct imap_gathered *batch;
    size_t stopped; /* the batch ended early at this place: the row leaves sections out */
    bool stop;
};

static bool cold_complete(const struct fetch *f, const struct mime_cold *m)
{
    return !(m->flags & f->sections_needed);
}

static bool cold_row(void *arg, size_t i, enum err e, const struct message_cold *c)
{
    struct cold_walk *w = arg;
    struct fetch *f = w->f;
    struct buf *out = imap_out(f->x);
    struct mime_cold m;
    if (e == ERR_OK)
        e = mime_cold_decode(c->mime, &m);
    if (e == ERR_NOT_FOUND)
        return true; /* expunged a moment ago */
    if (e != ERR_OK || !cold_complete(f, &m)) {
        w->stopped = i;
        w->stop = true;
        return false;
    }
    const struct imap_gathered *g = &w->batch[i];
    imap_fetch_open(f->x, g->seq, g->row.uid, out);
    for (size_t k = 0; k < f->nitems; k++) {
        if (k > 0)
            buf_add_char(out, ' ');
        if (depth_of(f->items[k].kind) == DEPTH_ROW)
            fetch_row_item(f, g, f->items[k].kind, out);
        else
            fetch_cold_item(&m, f->items[k].kind, out);
    }
    imap_fetch_close(out);
    return true;
}

/* Cold rows, read many at once and kept while their texts are sent. */
#define KEPT_ROWS 64
#define KEPT_BYTES ((size_t)4 * STORE_VALUE_MAX)
struct kept {
    struct arena arena;
    struct {
        enum err e;
        struct message_cold cold;
    } rows[KEPT_ROWS];
    size_t n;
};

static bool keep_row(void *arg, size_t i, enum err e, const struct message_cold *c)
{
    struct kept *k = arg;
    k->rows[i].e = e;
    if (e == ERR_OK) {
        k->rows[i].cold = *c;
        if (!arena_dup(&k->arena, c->prefix, &k->rows[i].cold.prefix) ||
            !arena_dup(&k->arena, c->mime, &k->rows[i].cold.mime))
            return false; /* these are enough for now */
    }
    k->n = i + 1;
    return true;
}

static enum err keep_rows(struct fetch *f, const struct imap_gathered *batch, size_t n,
                          struct kept *k)
{
    uint64_t ids[KEPT_ROWS];
    n = MIN(n, (size_t)KEPT_ROWS);
    for (size_t i = 0; i < n; i++)
        ids[i] = batch[i].row.message;
    arena_reset(&k->arena);
    k->n = 0;
    TRY(message_cold_each(f->x->selected->account, ids, n, keep_row, k));
    return k->n ? ERR_OK : ERR_NOMEM;
}

static void walk_text(struct fetch *f, const struct imap_gathered *batch, size_t n)
{
    ARENA_AUTO struct arena scratch = ARENA_INIT(65536);
    struct kept *k = ARENA_NEW(&scratch, struct kept);
    if (!k) {
        f->err = ERR_NOMEM;
        return;
    }
    arena_init(&k->arena, KEPT_BYTES);
    for (size_t at = 0; at < n && stream_error(f->x->stream) == ERR_OK; at += k->n) {
        enum err e = keep_rows(f, batch + at, n - at, k);
        for (size_t i = 0; e == ERR_OK && i < k->n; i++) {
            if (k->rows[i].e == ERR_OK)
                fetch_one(f, &batch[at + i], &k->rows[i].cold);
            else if (k->rows[i].e != ERR_NOT_FOUND && f->err == ERR_OK) /* that: expunged */
                f->err = k->rows[i].e;
            stream_out_check(f->x->stream);
        }
        if (e != ERR_OK) {
            f->err = e;
            break;
        }
    }
    arena_free(&k->arena);
}

static void walk_cold(struct fetch *f, const struct imap_gathered *batch, size_t n)
{
    uint64_t ids[FETCH_BATCH];
    for (size_t at = 0; at < n;) {
        struct cold_walk w = {.f = f, .batch = batch + at};
        for (size_t i = at; i < n; i++)
            ids[i - at] = batch[i].row.message;
        enum err e = message_cold_each(f->x->selected->account, ids, n - at, cold_row, &w);
        if (e != ERR_OK) {
            f->err = e;
            return;
        }
        if (!w.stop)
            return;
        walk_text(f, batch + at + w.stopped, 1); /* the long way, for this one */
        at += w.stopped + 1;
    }
}

/* ---- the command ---- */

/* RFC 9394: the range of the matching messages, counted from the front or the back. */
static enum err partial_take(const struct imap_partial *p, struct set *uids)
{
    uint64_t size = set_size(uids), from, to;
    uint64_t a = (uint64_t)(p->first < 0 ? -p->first : p->first);
    uint64_t b = (uint64_t)(p->last < 0 ? -p->last : p->last);
    uint64_t low = MIN(a, b), high = MIN(MAX(a, b), size);
    if (low > size) {
        set_free(uids);
        return ERR_OK;
    }
    from = p->first < 0 ? size - high + 1 : low;
    to = p->first < 0 ? size - low + 1 : high;
    struct set kept = {0};
    enum err e = ERR_OK;
    uint64_t before = 0;
    for (size_t i = 0; i < uids->count && e == ERR_OK; i++) {
        struct range r = uids->ranges[i];
        uint64_t count = (uint64_t)r.last - r.first + 1;
        uint64_t first = MAX(from, before + 1), last = MIN(to, before + count);
        if (first <= last)
            e = set_add_range(&kept, r.first + (uint32_t)(first - before - 1),
                              r.first + (uint32_t)(last - before - 1));
        before += count;
    }
    set_free(uids);
    *uids = kept;
    return e;
}

/* Only messages that exist (and have changed): what PARTIAL counts, and what is marked as seen. */
static enum err narrow(struct fetch *f, const struct imap_fetch *args, struct set *uids)
{
    struct set kept = {0};
    if (!args->has_changedsince && !args->has_partial)
        return ERR_OK;
    enum err e =
        imap_changed_uids(f->x, uids, args->has_changedsince ? args->changedsince : 0, &kept);
    set_free(uids);
    *uids = kept;
    if (e == ERR_OK && args->has_partial)
        e = partial_take(&args->partial, uids);
    return e;
}

/* BODY[…] sets \Seen (RFC 9051 6.4.5), in one commit before the texts are sent. */
static enum err mark_seen(struct fetch *f, const struct set *uids, struct flag_result *result)
{
    struct imap_selected *s = f->x->selected;
    if (!f->marks_seen || s->read_only || !(s->rights & IMAP_RIGHT('s')))
        return ERR_OK;
    struct flag_change change = {.how = FLAGS_ADD, .flags = FLAG_SEEN};
    TRY(message_set_flags(s->account, s->mailbox, uids, &change, &s->view, result));
    f->marked = &result->changed;
    return ERR_OK;
}

static void tell_vanished(struct imap *x, const struct imap_fetch *args, const struct set *uids)
{
    SET_AUTO struct set gone = {0};
    if (account_expunged_since(x->selected->account, x->selected->mailbox, args->changedsince,
                               &gone) != ERR_OK ||
        set_intersect(&gone, uids) != ERR_OK || gone.count == 0)
        return;
    buf_add(imap_out(x), STR("* VANISHED (EARLIER) "));
    set_render(&gone, imap_out(x));
    buf_add(imap_out(x), STR("\r\n"));
}

/* Names of keywords are copied: the table may move while the client reads. It only ever grows. */
static bool keywords_keep(struct fetch *f, const struct keyword_table *table)
{
    for (uint32_t i = f->keywords_copy.count; i < table->count; i++)
        if (!arena_dup(&f->x->scratch, table->names[i], &f->keywords_copy.names[i])) {
            f->err = ERR_LIMIT;
            return false;
        }
    f->keywords_copy.count = table->count;
    f->keywords = &f->keywords_copy;
    return true;
}

static void walk(struct fetch *f, const struct set *uids)
{
    struct imap_gather g = {.uids = uids};
    for (size_t n; (n = imap_gather(f->x, &g, f->batch, FETCH_BATCH)) > 0;) {
        const struct mailbox *m = view_mailbox(f->x->selected->view.view);
        if (!m || f->err != ERR_OK || stream_error(f->x->stream) != ERR_OK)
            return;
        if (!keywords_keep(f, m->keywords))
            return;
        if (f->depth == DEPTH_ROW)
            walk_rows(f, f->batch, n);
        else if (f->depth == DEPTH_COLD)
            walk_cold(f, f->batch, n);
        else
            walk_text(f, f->batch, n);
        stream_out_check(f->x->stream);
    }
}

/* Numbers to UIDs: also of messages whose expunge may not be told yet (RFC 2180 4.1). */
static void walk_numbers(struct fetch *f, const struct set *uids)
{
    struct mailbox_session *s = &f->x->selected->view;
    for (size_t r = 0; r < uids->count; r++)
        for (uint64_t uid = uids->ranges[r].first; uid <= uids->ranges[r].last; uid++) {
            imap_fetch_open(f->x, mailbox_session_seq(s, (uint32_t)uid), (uint32_t)uid,
                            imap_out(f->x));
            buf_addf(imap_out(f->x), "UID %llu", (unsigned long long)uid);
            imap_fetch_close(imap_out(f->x));
            imap_flush_check(f->x);
        }
}

static bool only_numbers(const struct fetch *f)
{
    return f->nitems == 1 && f->items[0].kind == IMAP_FETCH_UID && !f->x->uid &&
           f->x->selected->view.owed_count;
}

static bool plan(struct fetch *f, const struct imap_fetch *args)
{
    struct imap *x = f->x;
    bool has_uid = false, has_modseq = false;
    f->items = ARENA_ARRAY(&x->scratch, struct imap_fetch_item, args->count + 2);
    f->batch = ARENA_ARRAY(&x->scratch, struct imap_gathered, FETCH_BATCH);
    if (!f->items || !f->batch)
        return false;
    for (size_t i = 0; i < args->count; i++) {
        enum imap_fetch_kind kind = args->items[i].kind;
        has_uid = has_uid || kind == IMAP_FETCH_UID;
        has_modseq = has_modseq || kind == IMAP_FETCH_MODSEQ;
        f->has_flags = f->has_flags || kind == IMAP_FETCH_FLAGS;
        f->marks_seen = f->marks_seen || marks_seen(kind);
        f->depth = MAX(f->depth, (int)depth_of(kind));
        f->needs_mime = f->needs_mime || looks_inside(&args->items[i]);
        f->sections_needed |= kind == IMAP_FETCH_ENVELOPE        ? MIME_COLD_NO_ENVELOPE
                              : kind == IMAP_FETCH_BODY          ? MIME_COLD_NO_BODY
                              : kind == IMAP_FETCH_BODYSTRUCTURE ? MIME_COLD_NO_STRUCTURE
                                                                 : 0;
        if (kind != IMAP_FETCH_UID || !imap_has(x, IMAP_ENABLED_UIDONLY))
            f->items[f->nitems++] = args->items[i];
    }
    if (x->uid && !has_uid && !imap_has(x, IMAP_ENABLED_UIDONLY)) /* RFC 9051 6.4.9 */
        f->items[f->nitems++].kind = IMAP_FETCH_UID;
    /* RFC 7162 3.1: who knows of CONDSTORE is told it with the flags, asked for or not */
    bool aware = f->has_flags && imap_has(x, IMAP_ENABLED_CONDSTORE);
    if ((args->has_changedsince || aware) && !has_modseq) {
        f->items[f->nitems++].kind = IMAP_FETCH_MODSEQ;
        has_modseq = true;
    }
    f->has_modseq = has_modseq;
    if (has_modseq)
        imap_condstore_on(x);
    return true;
}

void fetch_finish_item(struct fetch *f, const struct imap_gathered *g, struct buf *out)
{
    flags_after(f, g, out);
    imap_fetch_close(out);
}

void imap_fetch_told(struct imap *x, const struct imap_fetch *args, const struct set *uids)
{
    struct fetch f = {.x = x};
    bool uid = x->uid;
    x->uid = true; /* adds the UID */
    if (plan(&f, args))
        walk(&f, uids);
    x->uid = uid;
}

void imap_cmd_fetch(struct imap *x, struct imap_cursor *c)
{
    struct imap_fetch args;
    struct fetch f = {.x = x};
    SET_AUTO struct set uids = {0};
    struct flag_result marked = {0};
    uint32_t lowest;
    if (!imap_take_fetch(c, &args) || !imap_end(c)) {
        imap_refuse(x, c);
        return;
    }
    if (args.vanished && (!x->uid || !imap_has(x, IMAP_ENABLED_QRESYNC))) {
        imap_bad_text(x, "VANISHED needs UID FETCH and ENABLE QRESYNC");
        return;
    }
    if (!plan(&f, &args)) {
        imap_no(x, ERR_LIMIT);
        return;
    }
    if (!imap_named_uids(x, &args.seq, &uids))
        return;
    if (args.vanished)
        tell_vanished(x, &args, &uids);
    BUF_AUTO struct buf code = BUF_INIT(64);
    enum err e = narrow(&f, &args, &uids);
    if (e == ERR_OK)
        e = imap_limit(x, &uids, &lowest);
    if (e == ERR_OK)
        e = mark_seen(&f, &uids, &marked);
    if (e == ERR_OK) {
        if (only_numbers(&f) && !args.has_partial)
            walk_numbers(&f, &uids);
        else
            walk(&f, &uids);
        e = f.err;
    }
    set_free(&marked.changed);
    set_free(&marked.failed);
    if (e != ERR_OK) {
        imap_no(x, e);
        return;
    }
    imap_limit_code(x, lowest, &code);
    imap_done(x, buf_str(&code), "FETCH completed");
}
