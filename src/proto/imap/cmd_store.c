/* SPDX-License-Identifier: Apache-2.0
 *
 * STORE (RFC 9051 6.4.6, RFC 7162 3.1.3), EXPUNGE, COPY and MOVE (RFC 6851, RFC 4315 for their
 * codes).
 */
#include "base/log.h"
#include "base/num.h"
#include "proto/imap/session.h"

#define STORE_BATCH 256
#define SLICE 8192 /* messages between two looks at the clock: INPROGRESS */

static enum flag_how how_of(enum imap_store_op op)
{
    return op == IMAP_STORE_ADD      ? FLAGS_ADD
           : op == IMAP_STORE_REMOVE ? FLAGS_REMOVE
                                     : FLAGS_REPLACE;
}

/* Rights by flag (RFC 4314 4): s for \Seen, t for \Deleted, w for the rest. What may not be changed
 * is left out of the command, for a client knows little to do with NO; false, and answered, when
 * nothing is left. kept: the system flags that stay; keywords go with 'w'. */
static bool allowed_flags(struct imap *x, struct imap_store *args, uint32_t *kept)
{
    uint32_t rights = x->selected->rights, given = args->flags.system;
    *kept = 0;
    if (!(rights & IMAP_RIGHT('s')))
        *kept |= IMAP_FLAG_SEEN;
    if (!(rights & IMAP_RIGHT('t')))
        *kept |= IMAP_FLAG_DELETED;
    if (!(rights & IMAP_RIGHT('w')))
        *kept |= ~(uint32_t)(IMAP_FLAG_SEEN | IMAP_FLAG_DELETED);
    bool keywords = args->flags.count && (rights & IMAP_RIGHT('w'));
    bool names_any = given || args->flags.count;
    bool any = keywords || (given & ~*kept);
    if (!names_any) /* FLAGS () clears what may be cleared; "+FLAGS ()" does nothing */
        any = args->op != IMAP_STORE_SET ||
              (rights & (IMAP_RIGHT('s') | IMAP_RIGHT('t') | IMAP_RIGHT('w')));
    if (!imap_may(x, any ? 0 : IMAP_RIGHTS_ALL))
        return false;
    args->flags.system &= ~*kept;
    if (!keywords)
        args->flags.count = 0;
    return true;
}

static enum err change_of(struct imap *x, const struct imap_store *args, uint32_t kept,
                          struct flag_change *out)
{
    struct imap_selected *s = x->selected;
    *out = (struct flag_change){
        .how = how_of(args->op),
        .flags = imap_flags_to(args->flags.system),
        .kept_flags = imap_flags_to(kept),
        .keeps_keywords = !(s->rights & IMAP_RIGHT('w')),
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
                imap_fetch_flags(x, batch[i].seq, &batch[i].row, m->keywords,
                                 x->uid || imap_has(x, IMAP_ENABLED_QRESYNC), condstore);
                continue;
            }
            struct buf *out = imap_out(x);
            imap_fetch_open(x, batch[i].seq, batch[i].row.uid, out);
            if ((x->uid || imap_has(x, IMAP_ENABLED_QRESYNC)) && !imap_has(x, IMAP_ENABLED_UIDONLY))
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
                         const struct flag_result *r, uint32_t lowest)
{
    BUF_AUTO struct buf code = BUF_INIT((size_t)1 << 20);
    imap_tell_news(x, false); /* a keyword that is new comes before the flags that have it */
    tell_result(x, args, uids, r);
    imap_limit_code(x, lowest, &code);
    if (r->failed.count == 0) {
        imap_done(x, buf_str(&code), "STORE completed");
        return;
    }
    if (code.len)
        buf_addf(imap_out(x), "* NO [%.*s] Not all messages\r\n", STR_ARG(buf_str(&code)));
    buf_reset(&code);
    modified_code(x, &r->failed, &code);
    imap_done(x, buf_str(&code), "Some messages were changed meanwhile");
}

/* Existing messages of a large set, so many at a time; small sets are taken as they are. */
struct slices {
    const struct set *all;
    struct imap_gather gather;
    struct imap_gathered *batch;
    uint64_t done, total;
    bool whole;
};

static bool slices_init(struct imap *x, const struct set *uids, struct slices *s)
{
    *s = (struct slices){.all = uids, .gather = {.uids = uids}, .total = set_size(uids)};
    s->whole = s->total <= SLICE;
    s->total = MIN(s->total, (uint64_t)mailbox_session_exists(&x->selected->view));
    s->batch = ARENA_ARRAY(&x->scratch, struct imap_gathered, STORE_BATCH);
    return s->batch;
}

/* The next slice; empty at the end. */
static enum err slices_next(struct imap *x, struct slices *s, struct set *out)
{
    out->count = 0;
    if (s->whole) {
        if (s->done++ == 0)
            return set_union(out, s->all);
        return ERR_OK;
    }
    if (s->done)
        imap_progress(x, MIN(s->done, s->total), s->total);
    for (size_t n, got = 0; got < SLICE; got += n) {
        n = imap_gather(x, &s->gather, s->batch, STORE_BATCH);
        if (n == 0)
            break;
        for (size_t i = 0; i < n; i++)
            TRY(set_add(out, s->batch[i].row.uid));
        s->done += n;
    }
    return ERR_OK;
}

static enum err set_flags(struct imap *x, const struct set *uids, const struct flag_change *change,
                          struct flag_result *result)
{
    struct imap_selected *s = x->selected;
    struct slices slices;
    SET_AUTO struct set part = {0};
    if (!slices_init(x, uids, &slices))
        return ERR_LIMIT;
    for (;;) {
        struct flag_result r = {0};
        TRY(slices_next(x, &slices, &part));
        if (part.count == 0)
            return ERR_OK;
        enum err e = message_set_flags(s->account, s->mailbox, &part, change, &s->view, &r);
        if (e == ERR_OK)
            e = set_union(&result->changed, &r.changed);
        if (e == ERR_OK)
            e = set_union(&result->failed, &r.failed);
        result->modseq = MAX(result->modseq, r.modseq);
        set_free(&r.changed);
        set_free(&r.failed);
        TRY(e);
    }
}

void imap_cmd_store(struct imap *x, struct imap_cursor *c)
{
    struct imap_store args;
    struct flag_change change;
    struct flag_result result = {0};
    SET_AUTO struct set uids = {0};
    uint32_t kept, lowest = 0;
    if (!imap_take_store(c, &args) || !imap_end(c)) {
        imap_refuse(x, c);
        return;
    }
    if (!allowed_flags(x, &args, &kept) || !imap_named_uids(x, &args.seq, &uids))
        return;
    if (args.has_unchangedsince)
        imap_condstore_on(x);
    enum err e = imap_limit(x, &uids, &lowest);
    if (e == ERR_OK)
        e = change_of(x, &args, kept, &change);
    if (e == ERR_OK)
        e = set_flags(x, &uids, &change, &result);
    if (e == ERR_OK)
        store_answer(x, &args, &uids, &result, lowest);
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
    uint32_t lowest;
    enum err e = imap_limit(x, &uids, &lowest);
    if (e == ERR_OK)
        e = message_expunge_deleted(s->account, s->mailbox, &uids, &expunged, &modseq);
    if (e != ERR_OK) {
        imap_no(x, e);
        return;
    }
    imap_tell_news(x, true);
    BUF_AUTO struct buf code = BUF_INIT(128);
    imap_limit_code(x, lowest, &code);
    if (!lowest && expunged.count > 0 && imap_has(x, IMAP_ENABLED_CONDSTORE))
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
    struct message_copied all = {0};
    struct slices slices;
    SET_AUTO struct set part = {0};
    enum err e = slices_init(x, uids, &slices) ? ERR_OK : ERR_LIMIT;
    while (e == ERR_OK) {
        struct message_copied one = {0};
        e = slices_next(x, &slices, &part);
        if (e != ERR_OK || part.count == 0)
            break;
        e = (move ? message_move : message_copy)(s->account, s->mailbox, &part, to->account,
                                                 to->mailbox, &one);
        if (one.source.count > 0) {
            all.uidvalidity = one.uidvalidity;
            if (set_union(&all.source, &one.source) != ERR_OK ||
                set_union(&all.target, &one.target) != ERR_OK)
                e = ERR_LIMIT;
        }
        set_free(&one.source);
        set_free(&one.target);
    }
    /* A COPY that fails leaves the target as it was (RFC 9051 6.4.7); what moved has moved. */
    if (e != ERR_OK && !move && all.target.count > 0) {
        SET_AUTO struct set undone = {0};
        enum err undo = message_expunge(to->account, to->mailbox, &all.target, &undone, NULL);
        if (undo != ERR_OK)
            LOG_WARN("imap", "copies that could not be undone: %s", err_name(undo));
    } else if (all.source.count > 0) {
        copyuid(&all, code);
    }
    set_free(&all.source);
    set_free(&all.target);
    return e;
}

static bool copy_arguments(struct imap *x, struct imap_cursor *c, struct set *uids,
                           struct imap_place *to)
{
    struct imap_seq seq;
    *to = (struct imap_place){0};
    imap_seq_set(c, &seq);
    imap_sp(c);
    str name = imap_mailbox(c);
    if (!imap_end(c)) {
        imap_refuse(x, c);
        return false;
    }
    uint32_t lowest;
    if (!imap_named_uids(x, &seq, uids))
        return false;
    enum err e = imap_limit(x, uids, &lowest);
    if (e == ERR_OK && lowest) { /* RFC 9738: all or nothing */
        BUF_AUTO struct buf code = BUF_INIT(64);
        buf_addf(&code, "MESSAGELIMIT %u%c", x->config->message_limit, 0);
        imap_no_code(x, code.data, "Too many messages at once");
        return false;
    }
    if (e == ERR_OK)
        e = imap_place_find(x, name, IMAP_RIGHT('i'), to);
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
    bool moved = code.len > 0 && imap_has(x, IMAP_ENABLED_CONDSTORE);
    buf_reset(&code);
    if (moved) /* RFC 7162 3.2.7, as after an EXPUNGE */
        buf_addf(&code, "HIGHESTMODSEQ %llu",
                 (unsigned long long)mailbox_session_modseq(&x->selected->view));
    if (e == ERR_OK)
        imap_done(x, buf_str(&code), "MOVE completed");
    else
        imap_no(x, e);
}
