/* SPDX-License-Identifier: Apache-2.0
 *
 * SELECT, EXAMINE, CLOSE, UNSELECT (RFC 9051 6.3.2, 6.4.1, 6.4.2; RFC 7162 for CONDSTORE and
 * QRESYNC), and telling what happens in the selected mailbox.
 */
#include "base/num.h"
#include "proto/imap/session.h"

#define GATHER_BATCH 256

void imap_unselect(struct imap *x)
{
    if (!x->selected)
        return;
    imap_search_unselected(x);
    mailbox_session_close(&x->selected->view);
    account_close(x->selected->account);
    x->selected->account = NULL;
    x->selected = NULL;
}

/* Rights may have been taken away while the mailbox is open (RFC 4314 5.1). */
bool imap_may(struct imap *x, uint32_t rights)
{
    if (x->selected->read_only) {
        imap_no_code(x, "READ-ONLY", "The mailbox is open read-only");
        return false;
    }
    if ((x->selected->rights & rights) == rights)
        return true;
    imap_no(x, ERR_DENIED);
    return false;
}

static bool sequence_uids(struct imap *x, const struct imap_seq *seq, struct set *uids)
{
    struct mailbox_session *s = &x->selected->view;
    SET_AUTO struct set seqs = {0};
    enum err e = imap_seq_resolve(seq, mailbox_session_exists(s), &seqs);
    if (e == ERR_OK)
        e = mailbox_session_uids(s, &seqs, uids);
    if (e == ERR_OK)
        return true;
    if (e == ERR_INVALID)
        imap_bad_text(x, "No message has that number");
    else
        imap_no(x, e);
    return false;
}

bool imap_named_uids(struct imap *x, const struct imap_seq *seq, struct set *uids)
{
    struct mailbox_session *s = &x->selected->view;
    enum err e;
    if (seq->saved) {
        const struct set *saved = imap_search_saved(x);
        e = saved ? set_union(uids, saved) : ERR_OK;
    } else if (!x->uid) {
        return sequence_uids(x, seq, uids);
    } else {
        uint32_t exists = mailbox_session_exists(s);
        e = imap_seq_resolve(seq, exists ? mailbox_session_uid(s, exists) : 0, uids);
    }
    if (e != ERR_OK)
        imap_no(x, e);
    return e == ERR_OK;
}

size_t imap_gather(struct imap *x, struct imap_gather *g, struct imap_gathered *out, size_t max)
{
    struct mailbox_session *s = &x->selected->view;
    size_t got = 0;
    for (; g->range < g->uids->count && got < max; g->range++) {
        const struct range *r = &g->uids->ranges[g->range];
        uint32_t last = MIN(r->last, s->exists_uid);
        size_t place = view_place(s->view, MAX(r->first, g->next_uid));
        const struct message_row *rows;
        for (size_t n; (n = view_run(s->view, place, &rows)) > 0; place += n)
            for (size_t k = 0; k < n; k++) {
                if (rows[k].uid > last)
                    goto next_range;
                if (got == max)
                    return got;
                out[got].row = rows[k];
                out[got++].seq = s->owed_count == 0 ? (uint32_t)(place + k + 1)
                                                    : mailbox_session_seq(s, rows[k].uid);
                g->next_uid = rows[k].uid + 1;
            }
    next_range:;
    }
    return got;
}

enum err imap_changed_uids(struct imap *x, const struct set *uids, uint64_t since, struct set *out)
{
    struct mailbox_session *s = &x->selected->view;
    const struct message_row *rows;
    struct view_want newer = {.modseq_above = since};
    for (size_t r = 0; r < uids->count; r++) {
        uint32_t last = MIN(uids->ranges[r].last, s->exists_uid);
        size_t i = view_seek(s->view, view_place(s->view, uids->ranges[r].first), &newer);
        for (size_t n; (n = view_run(s->view, i, &rows)) > 0 && rows[0].uid <= last;
             i = view_seek(s->view, i + n, &newer))
            for (size_t k = 0; k < n && rows[k].uid <= last; k++)
                if (rows[k].modseq > since)
                    TRY(set_add(out, rows[k].uid));
    }
    return ERR_OK;
}

/* The UIDs that exist, without the lowest `skip`. */
static enum err existing(struct imap *x, const struct set *uids, uint64_t skip, struct set *out,
                         uint64_t *count)
{
    struct imap_gather g = {.uids = uids};
    struct imap_gathered *batch = ARENA_ARRAY(&x->scratch, struct imap_gathered, GATHER_BATCH);
    *count = 0;
    if (!batch)
        return ERR_LIMIT;
    for (size_t n; (n = imap_gather(x, &g, batch, GATHER_BATCH)) > 0;)
        for (size_t i = 0; i < n; i++)
            if (++*count > skip && out)
                TRY(set_add(out, batch[i].row.uid));
    return ERR_OK;
}

enum err imap_limit(struct imap *x, struct set *uids, uint32_t *lowest)
{
    uint64_t count, limit = x->config->message_limit;
    *lowest = 0;
    if (!limit || set_size(uids) <= limit)
        return ERR_OK;
    TRY(existing(x, uids, 0, NULL, &count));
    if (count <= limit)
        return ERR_OK;
    struct set kept = {0};
    enum err e = existing(x, uids, count - limit, &kept, &count);
    set_free(uids);
    *uids = kept;
    if (e == ERR_OK && kept.count)
        *lowest = kept.ranges[0].first;
    return e;
}

void imap_limit_code(const struct imap *x, uint32_t lowest, struct buf *code)
{
    if (lowest)
        buf_addf(code, "MESSAGELIMIT %u %u", x->config->message_limit, lowest);
}

/* ---- news ---- */

/* What this session may change for good: w, t and s each allow their flags (RFC 4314 4). */
static void permanent_flags(struct imap *x, const struct mailbox *m, struct buf *out)
{
    uint32_t rights = x->selected->read_only ? 0 : x->selected->rights;
    size_t begin = out->len;
    if (rights & IMAP_RIGHT('w'))
        buf_add(out, STR(" \\Answered \\Flagged"));
    if (rights & IMAP_RIGHT('t'))
        buf_add(out, STR(" \\Deleted"));
    if (rights & IMAP_RIGHT('s'))
        buf_add(out, STR(" \\Seen"));
    if (rights & IMAP_RIGHT('w')) {
        buf_add(out, STR(" \\Draft"));
        for (uint32_t i = 0; i < m->keywords->count; i++)
            buf_addf(out, " %.*s", STR_ARG(m->keywords->names[i]));
        if (m->keywords->count < KEYWORDS_MAX)
            buf_add(out, STR(" \\*"));
    }
    if (buf_ok(out) && out->len > begin)
        out->data[begin] = '('; /* instead of the first space */
    else
        buf_add_char(out, '(');
}

static void tell_keywords(struct imap *x, const struct mailbox *m)
{
    struct buf *out = imap_out(x);
    buf_add(out, STR("* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft"));
    for (uint32_t i = 0; i < m->keywords->count; i++)
        buf_addf(out, " %.*s", STR_ARG(m->keywords->names[i]));
    buf_add(out, STR(")\r\n* OK [PERMANENTFLAGS "));
    permanent_flags(x, m, out);
    buf_add(out, STR(")] Flags that stay\r\n"));
}

static void tell_one(struct imap *x, const struct mailbox_news *n)
{
    struct buf *out = imap_out(x);
    const struct mailbox *m = view_mailbox(x->selected->view.view);
    switch (n->kind) {
    case MAILBOX_NEWS_GONE:
        buf_add(out, STR("* BYE The selected mailbox was deleted\r\n"));
        x->closing = true;
        break;
    case MAILBOX_NEWS_KEYWORDS:
        if (m)
            tell_keywords(x, m);
        break;
    case MAILBOX_NEWS_EXPUNGED:
        buf_add(out, STR("* "));
        buf_add_u64(out, n->seq);
        buf_add(out, STR(" EXPUNGE\r\n"));
        break;
    case MAILBOX_NEWS_EXISTS:
        buf_addf(out, "* %u EXISTS\r\n", n->count);
        imap_notify_arrived(x, n->first_new);
        break;
    case MAILBOX_NEWS_FLAGS:
        if (m && n->row)
            imap_fetch_flags(x, n->seq, n->row, m->keywords, imap_has(x, IMAP_ENABLED_CONDSTORE),
                             imap_has(x, IMAP_ENABLED_CONDSTORE));
        break;
    }
    stream_out_check(x->stream);
}

static void tell_vanished(struct imap *x)
{
    SET_AUTO struct set gone = {0};
    if (mailbox_session_vanished(&x->selected->view, &gone) != ERR_OK || gone.count == 0)
        return;
    buf_add(imap_out(x), STR("* VANISHED "));
    set_render(&gone, imap_out(x));
    buf_add(imap_out(x), STR("\r\n"));
}

void imap_tell_news(struct imap *x, bool expunges)
{
    struct mailbox_news n;
    if (x->selected && x->selected->view.failed && !x->closing) {
        stream_write(x->stream, STR("* BYE Out of memory for this mailbox\r\n"));
        x->closing = true;
    }
    if (!imap_rights_recheck(x) || !x->selected)
        return;
    if (!mailbox_session_has_news(&x->selected->view)) {
        imap_search_after_news(x); /* the session's own changes */
        return;
    }
    imap_search_before_news(x, expunges);
    bool vanished = x->enabled & (IMAP_ENABLED_QRESYNC | IMAP_ENABLED_UIDONLY);
    if (expunges && vanished)
        tell_vanished(x);
    while (x->selected && mailbox_session_next(&x->selected->view, expunges, &n))
        tell_one(x, &n);
    imap_search_after_news(x);
}

/* ---- SELECT ---- */

/* Sequence number of the first message without \Seen; 0: none. Only IMAP4rev1 asks for it. */
static uint32_t first_unseen(struct imap *x)
{
    struct mailbox_view *v = x->selected->view.view;
    const struct message_row *rows;
    struct view_want unseen = {.unseen = true};
    for (size_t i = view_seek(v, 0, &unseen), n; (n = view_run(v, i, &rows)) > 0;
         i = view_seek(v, i + n, &unseen))
        for (size_t k = 0; k < n; k++)
            if (!(rows[k].flags & FLAG_SEEN))
                return (uint32_t)(i + k + 1);
    return 0;
}

static void tell_modseq(struct imap *x)
{
    buf_addf(imap_out(x), "* OK [HIGHESTMODSEQ %llu] Highest\r\n",
             (unsigned long long)MAX(mailbox_session_modseq(&x->selected->view), 1ull));
}

void imap_condstore_on(struct imap *x)
{
    if (!imap_has(x, IMAP_ENABLED_CONDSTORE) && x->selected)
        tell_modseq(x);
    x->enabled |= IMAP_ENABLED_CONDSTORE;
}

static void tell_state(struct imap *x, const struct mailbox *m)
{
    struct buf *out = imap_out(x);
    buf_addf(out, "* %u EXISTS\r\n", mailbox_session_exists(&x->selected->view));
    if (!imap_has(x, IMAP_ENABLED_REV2)) {
        buf_add(out, STR("* 0 RECENT\r\n"));
        uint32_t unseen = m->state.unseen ? first_unseen(x) : 0;
        if (unseen && !imap_has(x, IMAP_ENABLED_UIDONLY))
            buf_addf(out, "* OK [UNSEEN %u] First unseen message\r\n", unseen);
    }
    tell_keywords(x, m);
    buf_addf(out, "* OK [UIDVALIDITY %u] UIDs are valid\r\n", m->uidvalidity);
    buf_addf(out, "* OK [UIDNEXT %llu] Next UID\r\n", (unsigned long long)m->state.uidnext);
    tell_modseq(x);
    buf_add(out, STR("* OK [MAILBOXID "));
    imap_render_id('F', (uint64_t)m->uidvalidity << 32 | m->id, out);
    buf_add(out, STR("] Id\r\n"));
}

/* RFC 9051 6.3.2: a LIST response tells the name in its canonical form, and whose it is (6.3.9.7).
 */
static void tell_name(struct imap *x, const struct mailbox *m, str given)
{
    BUF_AUTO struct buf name = BUF_INIT(4096);
    struct buf *out = imap_out(x);
    if (!imap_has(x, IMAP_ENABLED_REV2))
        return;
    buf_add(out, STR("* LIST ("));
    imap_list_attributes(x, x->selected->account, m, out);
    buf_add(out, STR(") \"/\" "));
    imap_place_name(x, x->selected->account, m, &name);
    imap_render_mailbox(out, buf_str(&name), imap_utf8_names(x));
    if (!str_eq(buf_str(&name), given)) {
        buf_add(out, STR(" (\"OLDNAME\" ("));
        imap_render_mailbox(out, given, imap_utf8_names(x));
        buf_add(out, STR("))"));
    }
    buf_add(out, STR("\r\n"));
}

static bool seq_has(const struct imap_seq *seq, uint32_t uid)
{
    for (size_t i = 0; i < seq->count; i++) {
        uint32_t a = seq->ranges[i].first, b = seq->ranges[i].last;
        if (uid >= MIN(a, b) && uid <= MAX(a, b))
            return true;
    }
    return seq->count == 0;
}

static void tell_vanished_earlier(struct imap *x, const struct imap_select *args)
{
    SET_AUTO struct set gone = {0};
    SET_AUTO struct set known = {0};
    enum err e =
        account_expunged_since(x->selected->account, x->selected->mailbox, args->modseq, &gone);
    if (e == ERR_OK && args->known_uids.count > 0) {
        e = imap_seq_resolve(&args->known_uids, UINT32_MAX, &known);
        if (e == ERR_OK)
            e = set_intersect(&gone, &known);
    }
    if (e != ERR_OK || gone.count == 0)
        return;
    buf_add(imap_out(x), STR("* VANISHED (EARLIER) "));
    set_render(&gone, imap_out(x));
    buf_add(imap_out(x), STR("\r\n"));
}

/* RFC 7162 3.2.5: what changed since the client was here last. */
static void resynchronize(struct imap *x, const struct imap_select *args)
{
    struct mailbox_view *v = x->selected->view.view;
    const struct mailbox *m = view_mailbox(v);
    if (!m || args->uidvalidity != m->uidvalidity)
        return;
    tell_vanished_earlier(x, args);
    SET_AUTO struct set all = {0};
    SET_AUTO struct set changed = {0};
    if (set_add_range(&all, 1, UINT32_MAX) != ERR_OK ||
        imap_changed_uids(x, &all, args->modseq, &changed) != ERR_OK)
        return;
    struct imap_gather g = {.uids = &changed};
    struct imap_gathered *batch = ARENA_ARRAY(&x->scratch, struct imap_gathered, GATHER_BATCH);
    for (size_t n; batch && (n = imap_gather(x, &g, batch, GATHER_BATCH)) > 0;) {
        m = view_mailbox(v);
        for (size_t i = 0; m && i < n; i++)
            if (seq_has(&args->known_uids, batch[i].row.uid))
                imap_fetch_flags(x, batch[i].seq, &batch[i].row, m->keywords, true, true);
        stream_out_check(x->stream);
    }
}

static enum err open_mailbox(struct imap *x, str name, bool read_only)
{
    struct imap_place place;
    enum err e = imap_place_find(x, name, IMAP_RIGHT('r'), &place);
    if (e != ERR_OK) {
        imap_place_close(&place);
        return e;
    }
    if (!x->selection) {
        x->selection = ARENA_NEW(&x->arena, struct imap_selected);
        if (!x->selection) {
            imap_place_close(&place);
            return ERR_NOMEM;
        }
    }
    struct imap_selected *s = x->selection;
    *s = (struct imap_selected){
        .account = place.account,
        .mailbox = place.mailbox,
        .rights = place.rights,
        .own = place.own,
        .read_only = read_only || !(place.rights & IMAP_RIGHTS_WRITE),
    };
    e = mailbox_session_open(s->account, s->mailbox, &x->wake, &s->view);
    if (e != ERR_OK) {
        imap_place_close(&place);
        return e;
    }
    x->selected = s;
    return ERR_OK;
}

static void select_mailbox(struct imap *x, struct imap_cursor *c, bool read_only)
{
    struct imap_select args;
    if (!imap_take_select(c, &args) || !imap_end(c)) {
        imap_refuse(x, c);
        return;
    }
    if (args.qresync && !imap_has(x, IMAP_ENABLED_QRESYNC)) {
        imap_bad_text(x, "ENABLE QRESYNC first");
        return;
    }
    if (args.seqs.count && imap_has(x, IMAP_ENABLED_UIDONLY)) {
        imap_bad_text(x, IMAP_UIDREQUIRED);
        return;
    }
    if (x->selected) {
        imap_unselect(x);
        buf_add(imap_out(x), STR("* OK [CLOSED] The mailbox before is closed\r\n"));
    }
    enum err e = open_mailbox(x, args.mailbox, read_only);
    const struct mailbox *m = e == ERR_OK ? view_mailbox(x->selected->view.view) : NULL;
    if (!m) {
        imap_unselect(x);
        imap_no(x, e == ERR_OK ? ERR_NOT_FOUND : e);
        return;
    }
    if (args.condstore || args.qresync)
        x->enabled |= IMAP_ENABLED_CONDSTORE;
    tell_state(x, m);
    tell_name(x, m, args.mailbox);
    if (args.qresync)
        resynchronize(x, &args);
    imap_done(x, x->selected->read_only ? STR("READ-ONLY") : STR("READ-WRITE"),
              read_only ? "EXAMINE completed" : "SELECT completed");
}

void imap_cmd_select(struct imap *x, struct imap_cursor *c) { select_mailbox(x, c, false); }

void imap_cmd_examine(struct imap *x, struct imap_cursor *c) { select_mailbox(x, c, true); }

/* RFC 9051 6.4.1: deletes in silence what is marked so. */
void imap_cmd_close(struct imap *x, struct imap_cursor *c)
{
    if (!imap_end(c)) {
        imap_refuse(x, c);
        return;
    }
    struct imap_selected *s = x->selected;
    enum err e = ERR_OK;
    if (!s->read_only && (s->rights & IMAP_RIGHT('e'))) {
        SET_AUTO struct set all = {0};
        SET_AUTO struct set expunged = {0};
        e = set_add_range(&all, 1, UINT32_MAX);
        if (e == ERR_OK)
            e = message_expunge_deleted(s->account, s->mailbox, &all, &expunged, NULL);
    }
    imap_unselect(x);
    if (e == ERR_OK)
        imap_done(x, STR_NONE, "CLOSE completed");
    else
        imap_no(x, e);
}

void imap_cmd_unselect(struct imap *x, struct imap_cursor *c)
{
    if (!imap_end(c)) {
        imap_refuse(x, c);
        return;
    }
    imap_unselect(x);
    imap_done(x, STR_NONE, "UNSELECT completed");
}
