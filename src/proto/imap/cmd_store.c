/* SPDX-License-Identifier: Apache-2.0
 *
 * STORE (RFC 9051 6.4.6, RFC 7162 3.1.3), EXPUNGE, COPY and MOVE (RFC 6851, RFC 4315 for their
 * codes).
 */
#include "base/num.h"
#include "proto/imap/session.h"

#define STORE_BATCH 256

static enum flag_how how_of(enum imap_store_op op)
{
    return op == IMAP_STORE_ADD      ? FLAGS_ADD
           : op == IMAP_STORE_REMOVE ? FLAGS_REMOVE
                                     : FLAGS_REPLACE;
}

/* Rights by flag (RFC 4314 4): s for \Seen, t for \Deleted, w for the rest. */
static uint32_t rights_for(const struct imap_store *args)
{
    uint32_t rights = 0, flags = args->flags.system;
    if (flags & IMAP_FLAG_SEEN)
        rights |= IMAP_RIGHT('s');
    if (flags & IMAP_FLAG_DELETED)
        rights |= IMAP_RIGHT('t');
    if ((flags & ~(uint32_t)(IMAP_FLAG_SEEN | IMAP_FLAG_DELETED)) || args->flags.count > 0)
        rights |= IMAP_RIGHT('w');
    if (args->op == IMAP_STORE_SET)
        rights |= IMAP_RIGHT('w') | IMAP_RIGHT('s') | IMAP_RIGHT('t');
    return rights;
}

static enum err change_of(struct imap *x, const struct imap_store *args, struct flag_change *out)
{
    struct imap_selected *s = x->selected;
    *out = (struct flag_change){
        .how = how_of(args->op),
        .flags = imap_flags_to(args->flags.system),
        .has_unchanged_since = args->has_unchangedsince,
        .unchanged_since = args->unchangedsince,
    };
    if (args->flags.count == 0)
        return ERR_OK;
    if (args->op != IMAP_STORE_REMOVE)
        return mailbox_keywords(s->account, s->mailbox, args->flags.keywords, args->flags.count,
                                &out->keywords);
    const struct mailbox *m = view_mailbox(s->view.view); /* removing makes no keyword */
    for (size_t i = 0; m && i < args->flags.count; i++) {
        int bit = keyword_bit(m->keywords, args->flags.keywords[i]);
        if (bit >= 0)
            out->keywords |= (uint64_t)1 << bit;
    }
    return ERR_OK;
}

/* The new state of each message, unless .SILENT; with CONDSTORE its MODSEQ in any case. */
static void tell_result(struct imap *x, const struct imap_store *args, const struct set *uids,
                        const struct flag_result *r)
{
    bool condstore = imap_has(x, IMAP_ENABLED_CONDSTORE);
    if (args->silent && !condstore)
        return;
    const struct set *tell = args->silent ? &r->changed : uids;
    struct imap_gather g = {.uids = tell};
    struct imap_gathered *batch = ARENA_ARRAY(&x->scratch, struct imap_gathered, STORE_BATCH);
    for (size_t n; batch && (n = imap_gather(x, &g, batch, STORE_BATCH)) > 0;) {
        const struct mailbox *m = view_mailbox(x->selected->view.view);
        for (size_t i = 0; m && i < n; i++) {
            if (set_has(&r->failed, batch[i].row.uid))
                continue;
            if (!args->silent) {
                imap_fetch_flags(x, batch[i].seq, &batch[i].row, m->keywords, x->uid, condstore);
                continue;
            }
            struct buf *out = imap_out(x);
            imap_fetch_open(x, batch[i].seq, batch[i].row.uid, out);
            if (x->uid && !imap_has(x, IMAP_ENABLED_UIDONLY))
                buf_addf(out, "UID %u ", batch[i].row.uid);
            buf_addf(out, "MODSEQ (%llu)", (unsigned long long)batch[i].row.modseq);
            imap_fetch_close(out);
        }
        stream_out_check(x->stream);
    }
}

/* "MODIFIED 7,9": what unchanged-since kept from being changed, in the command's numbers. */
static void modified_code(struct imap *x, const struct set *failed, struct buf *out)
{
    SET_AUTO struct set seqs = {0};
    buf_add(out, STR("MODIFIED "));
    if (x->uid) {
        set_render(failed, out);
        return;
    }
    for (size_t i = 0; i < failed->count; i++)
        for (uint64_t uid = failed->ranges[i].first; uid <= failed->ranges[i].last; uid++) {
            uint32_t seq = mailbox_session_seq(&x->selected->view, (uint32_t)uid);
            if (seq && set_add(&seqs, seq) != ERR_OK)
                return;
        }
    set_render(&seqs, out);
}

static void store_answer(struct imap *x, const struct imap_store *args, const struct set *uids,
                         const struct flag_result *r)
{
    BUF_AUTO struct buf code = BUF_INIT((size_t)1 << 20);
    tell_result(x, args, uids, r);
    if (r->failed.count == 0) {
        imap_done(x, STR_NONE, "STORE completed");
        return;
    }
    modified_code(x, &r->failed, &code);
    imap_done(x, buf_str(&code), "Some messages were changed meanwhile");
}

void imap_cmd_store(struct imap *x, struct imap_cursor *c)
{
    struct imap_store args;
    struct flag_change change;
    struct flag_result result = {0};
    SET_AUTO struct set uids = {0};
    if (!imap_take_store(c, &args) || !imap_end(c)) {
        imap_refuse(x, c);
        return;
    }
    if (!imap_may(x, rights_for(&args)) || !imap_named_uids(x, &args.seq, &uids))
        return;
    if (args.has_unchangedsince)
        x->enabled |= IMAP_ENABLED_CONDSTORE;
    struct imap_selected *s = x->selected;
    enum err e = change_of(x, &args, &change);
    if (e == ERR_OK)
        e = message_set_flags(s->account, s->mailbox, &uids, &change, &s->view, &result);
    if (e == ERR_OK)
        store_answer(x, &args, &uids, &result);
    else
        imap_no(x, e);
    set_free(&result.changed);
    set_free(&result.failed);
}

/* ---- EXPUNGE ---- */

void imap_cmd_expunge(struct imap *x, struct imap_cursor *c)
{
    struct imap_seq seq;
    SET_AUTO struct set uids = {0};
    SET_AUTO struct set expunged = {0};
    uint64_t modseq = 0;
    if (x->uid)
        imap_seq_set(c, &seq);
    if (!imap_end(c)) {
        imap_refuse(x, c);
        return;
    }
    if (!imap_may(x, IMAP_RIGHT('e')))
        return;
    if (x->uid ? !imap_named_uids(x, &seq, &uids) : set_add_range(&uids, 1, UINT32_MAX) != ERR_OK)
        return;
    struct imap_selected *s = x->selected;
    enum err e = message_expunge_deleted(s->account, s->mailbox, &uids, &expunged, &modseq);
    if (e != ERR_OK) {
        imap_no(x, e);
        return;
    }
    imap_tell_news(x, true);
    BUF_AUTO struct buf code = BUF_INIT(64);
    if (expunged.count > 0 && imap_has(x, IMAP_ENABLED_CONDSTORE))
        buf_addf(&code, "HIGHESTMODSEQ %llu", (unsigned long long)modseq);
    imap_done(x, buf_str(&code), "EXPUNGE completed");
}

/* ---- COPY, MOVE ---- */

static void copyuid(const struct message_copied *copied, struct buf *out)
{
    buf_addf(out, "COPYUID %u ", copied->uidvalidity);
    set_render(&copied->source, out);
    buf_add_char(out, ' ');
    set_render(&copied->target, out);
}

/* Copies or moves; *code gets COPYUID, empty when nothing was there to copy. */
static enum err transfer(struct imap *x, const struct set *uids, const struct imap_place *to,
                         bool move, struct buf *code)
{
    struct imap_selected *s = x->selected;
    struct message_copied copied = {0};
    enum err e =
        move ? message_move(s->account, s->mailbox, uids, to->account, to->mailbox, &copied)
             : message_copy(s->account, s->mailbox, uids, to->account, to->mailbox, &copied);
    if (copied.source.count > 0)
        copyuid(&copied, code);
    set_free(&copied.source);
    set_free(&copied.target);
    return e;
}

static bool copy_arguments(struct imap *x, struct imap_cursor *c, struct set *uids,
                           struct imap_place *to)
{
    struct imap_seq seq;
    imap_seq_set(c, &seq);
    imap_sp(c);
    str name = imap_mailbox(c);
    if (!imap_end(c)) {
        imap_refuse(x, c);
        return false;
    }
    if (!imap_named_uids(x, &seq, uids))
        return false;
    enum err e = imap_place_find(x, name, IMAP_RIGHT('i'), to);
    if (e == ERR_OK)
        return true;
    imap_place_close(to);
    if (e == ERR_NOT_FOUND)
        imap_no_code(x, "TRYCREATE", "No such mailbox");
    else
        imap_no(x, e);
    return false;
}

void imap_cmd_copy(struct imap *x, struct imap_cursor *c)
{
    struct imap_place to;
    SET_AUTO struct set uids = {0};
    BUF_AUTO struct buf code = BUF_INIT((size_t)1 << 22);
    if (!copy_arguments(x, c, &uids, &to))
        return;
    enum err e = transfer(x, &uids, &to, false, &code);
    imap_place_close(&to);
    if (e == ERR_OK)
        imap_done(x, buf_str(&code), "COPY completed");
    else
        imap_no(x, e);
}

/* RFC 6851 4.3: COPYUID comes untagged, before the expunges. */
void imap_cmd_move(struct imap *x, struct imap_cursor *c)
{
    struct imap_place to;
    SET_AUTO struct set uids = {0};
    BUF_AUTO struct buf code = BUF_INIT((size_t)1 << 22);
    if (!imap_may(x, IMAP_RIGHT('t') | IMAP_RIGHT('e')) || !copy_arguments(x, c, &uids, &to))
        return;
    enum err e = transfer(x, &uids, &to, true, &code);
    imap_place_close(&to);
    if (code.len > 0)
        buf_addf(imap_out(x), "* OK [%.*s] Moved\r\n", STR_ARG(buf_str(&code)));
    imap_tell_news(x, true);
    if (e == ERR_OK)
        imap_done(x, STR_NONE, "MOVE completed");
    else
        imap_no(x, e);
}
