/* SPDX-License-Identifier: Apache-2.0
 *
 * CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE, STATUS (RFC 9051 6.3.3 to 6.3.11; RFC 6154 for
 * CREATE with USE).
 */
#include "base/num.h"
#include "proto/imap/session.h"

/* One mailbox name and nothing else. False: answered. */
static bool only_name(struct imap *x, struct imap_cursor *c, str *name)
{
    *name = imap_mailbox(c);
    if (imap_end(c))
        return true;
    imap_refuse(x, c);
    return false;
}

static bool role_of_uses(struct imap *x, const struct imap_create *args, enum mailbox_role *role)
{
    *role = ROLE_NONE;
    for (size_t i = 0; i < args->nuses; i++) {
        enum mailbox_role one = mailbox_role_parse(args->uses[i]);
        if (one == ROLE_NONE || one == ROLE_ALL || (*role != ROLE_NONE && one != *role)) {
            imap_no_code(x, "USEATTR", "That special use cannot be given");
            return false;
        }
        *role = one;
    }
    return true;
}

void imap_cmd_create(struct imap *x, struct imap_cursor *c)
{
    struct imap_create args;
    enum mailbox_role role;
    struct imap_place made;
    if (!imap_take_create(c, &args) || !imap_end(c)) {
        imap_refuse(x, c);
        return;
    }
    if (!role_of_uses(x, &args, &role))
        return;
    if (str_ends(args.mailbox, STR("/"))) /* RFC 9051 6.3.4: only says that children will come */
        args.mailbox.len--;
    enum err e = imap_mailbox_create(x, args.mailbox, role, &made);
    if (e == ERR_EXISTS && role != ROLE_NONE && !mailbox_find(x->account, args.mailbox)) {
        imap_place_close(&made);
        imap_no_code(x, "USEATTR", "Another mailbox has that special use");
        return;
    }
    if (e != ERR_OK) {
        imap_place_close(&made);
        imap_no(x, e);
        return;
    }
    BUF_AUTO struct buf code = BUF_INIT(128);
    const struct mailbox *m = imap_place_mailbox(&made);
    if (m) {
        buf_add(&code, STR("MAILBOXID "));
        imap_render_id('F', (uint64_t)m->uidvalidity << 32 | m->id, &code);
    }
    imap_place_close(&made);
    imap_done(x, buf_str(&code), "CREATE completed");
}

void imap_cmd_delete(struct imap *x, struct imap_cursor *c)
{
    str name;
    if (!only_name(x, c, &name))
        return;
    enum err e = imap_mailbox_delete(x, name);
    if (e == ERR_OK)
        imap_done(x, STR_NONE, "DELETE completed");
    else
        imap_no(x, e);
}

void imap_cmd_rename(struct imap *x, struct imap_cursor *c)
{
    str from = imap_mailbox(c);
    imap_sp(c);
    str to = imap_mailbox(c);
    if (!imap_end(c)) {
        imap_refuse(x, c);
        return;
    }
    enum err e = imap_mailbox_rename(x, from, to);
    if (e == ERR_OK)
        imap_done(x, STR_NONE, "RENAME completed");
    else
        imap_no(x, e);
}

static void subscribe(struct imap *x, struct imap_cursor *c, bool on)
{
    str name;
    if (!only_name(x, c, &name))
        return;
    enum err e = imap_mailbox_subscribe(x, name, on);
    if (e == ERR_OK)
        imap_done(x, STR_NONE, on ? "SUBSCRIBE completed" : "UNSUBSCRIBE completed");
    else
        imap_no(x, e);
}

void imap_cmd_subscribe(struct imap *x, struct imap_cursor *c) { subscribe(x, c, true); }

void imap_cmd_unsubscribe(struct imap *x, struct imap_cursor *c) { subscribe(x, c, false); }

/* ---- STATUS ---- */

static void item(struct buf *out, bool *first, const char *name, uint64_t n)
{
    if (!*first)
        buf_add_char(out, ' ');
    *first = false;
    buf_add_c(out, name);
    buf_add_char(out, ' ');
    buf_add_u64(out, n);
}

void imap_render_status(struct imap *x, str name, const struct mailbox *m, uint32_t items,
                        struct buf *out)
{
    bool first = true;
    const struct state_row *s = &m->state;
    buf_add(out, STR("* STATUS "));
    imap_render_mailbox(out, name, imap_utf8_names(x));
    buf_add(out, STR(" ("));
    if (items & IMAP_STATUS_MESSAGES)
        item(out, &first, "MESSAGES", s->messages);
    if (items & IMAP_STATUS_RECENT)
        item(out, &first, "RECENT", 0);
    if (items & IMAP_STATUS_UIDNEXT)
        item(out, &first, "UIDNEXT", s->uidnext);
    if (items & IMAP_STATUS_UIDVALIDITY)
        item(out, &first, "UIDVALIDITY", m->uidvalidity);
    if (items & IMAP_STATUS_UNSEEN)
        item(out, &first, "UNSEEN", s->unseen);
    if (items & IMAP_STATUS_DELETED)
        item(out, &first, "DELETED", s->deleted);
    if (items & IMAP_STATUS_DELETED_STORAGE)
        item(out, &first, "DELETED-STORAGE", s->deleted_bytes);
    if (items & IMAP_STATUS_SIZE)
        item(out, &first, "SIZE", s->bytes);
    if (items & IMAP_STATUS_HIGHESTMODSEQ)
        item(out, &first, "HIGHESTMODSEQ", MAX(s->highest_modseq, 1ull));
    if (items & IMAP_STATUS_APPENDLIMIT)
        item(out, &first, "APPENDLIMIT", x->config->append_max);
    if (items & IMAP_STATUS_MAILBOXID) {
        buf_add_c(out, first ? "MAILBOXID " : " MAILBOXID ");
        imap_render_id('F', (uint64_t)m->uidvalidity << 32 | m->id, out);
    }
    buf_add(out, STR(")\r\n"));
}

void imap_cmd_status(struct imap *x, struct imap_cursor *c)
{
    struct imap_place place;
    str name = imap_mailbox(c);
    imap_sp(c);
    uint32_t items = imap_take_status_items(c);
    if (!imap_end(c)) {
        imap_refuse(x, c);
        return;
    }
    enum err e = imap_place_find(x, name, IMAP_RIGHT('r'), &place);
    const struct mailbox *m = e == ERR_OK ? imap_place_mailbox(&place) : NULL;
    if (m) {
        if (items & IMAP_STATUS_HIGHESTMODSEQ)
            imap_condstore_on(x);
        imap_render_status(x, name, m, items, imap_out(x));
        imap_done(x, STR_NONE, "STATUS completed");
    } else {
        imap_no(x, e == ERR_OK ? ERR_NOT_FOUND : e);
    }
    imap_place_close(&place);
}
