/* SPDX-License-Identifier: Apache-2.0
 *
 * Names to mailboxes: the session's own account, and what others have shared with it.
 */
#include "proto/imap/session.h"

enum err imap_place_find(struct imap *x, str name, uint32_t needed, struct imap_place *out)
{
    const struct mailbox *m = mailbox_find(x->account, name);
    *out = (struct imap_place){0};
    if (!m)
        return ERR_NOT_FOUND;
    uint32_t id = m->id;
    TRY(account_open(x->house->accounts, account_id(x->account), &out->account));
    out->mailbox = id;
    out->rights = IMAP_RIGHTS_ALL;
    out->own = true;
    return (out->rights & needed) == needed ? ERR_OK : ERR_DENIED;
}

void imap_place_close(struct imap_place *p)
{
    account_close(p->account);
    *p = (struct imap_place){0};
}

const struct mailbox *imap_place_mailbox(const struct imap_place *p)
{
    return mailbox_get(p->account, p->mailbox);
}

void imap_place_name(struct imap *x, struct account *a, const struct mailbox *m, struct buf *out)
{
    buf_add(out, m->path);
}

void imap_list_attributes(struct imap *x, struct account *a, const struct mailbox *m,
                          struct buf *out)
{
    str role = mailbox_role_name(m->role);
    buf_add(out, mailbox_has_children(a, m) ? STR("\\HasChildren") : STR("\\HasNoChildren"));
    if (!str_empty(role)) {
        buf_add_char(out, ' ');
        buf_add(out, role);
    }
}

enum err imap_mailbox_create(struct imap *x, str name, enum mailbox_role role, uint32_t *id)
{
    return mailbox_create(x->account, name, role, id);
}

enum err imap_mailbox_delete(struct imap *x, str name) { return mailbox_delete(x->account, name); }

enum err imap_mailbox_rename(struct imap *x, str from, str to)
{
    return mailbox_rename(x->account, from, to);
}

enum err imap_mailbox_subscribe(struct imap *x, str name, bool on)
{
    return mailbox_subscribe(x->account, name, on);
}

enum err imap_list_all(struct imap *x, const struct imap_list *args, bool lsub)
{
    for (size_t i = 0;; i++) {
        const struct mailbox *m = mailbox_at(x->account, i);
        if (!m)
            return ERR_OK;
        imap_list_one(x, args, lsub, x->account, m->id, m->path);
    }
}

void imap_render_namespaces(struct imap *x, struct buf *out)
{
    buf_add(out, STR("* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n"));
}
