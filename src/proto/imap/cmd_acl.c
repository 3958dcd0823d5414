/* SPDX-License-Identifier: Apache-2.0
 *
 * SETACL, DELETEACL, GETACL, LISTRIGHTS, MYRIGHTS (RFC 4314).
 */
#include "base/num.h"
#include "proto/imap/place.h"

/* The obsolete c and d are shown while what they stood for is held (RFC 4314 2.1.1). */
static void render_rights(struct buf *out, uint32_t rights)
{
    imap_render_rights(out, rights);
    if (rights & IMAP_RIGHT('k'))
        buf_add_char(out, 'c');
    if (rights & (IMAP_RIGHT('t') | IMAP_RIGHT('e')))
        buf_add_char(out, 'd');
}

static void render_identifier(struct buf *out, const struct acl_entry *e)
{
    BUF_AUTO struct buf name = BUF_INIT(2 * DIR_ADDRESS_MAX);
    acl_identifier_render(e, &name);
    imap_render_astring(out, buf_str(&name));
}

/* Takes the mailbox; with `identifier` also who. False: answered, nothing to close. */
struct target {
    str name, identifier;
    struct imap_place place;
    struct acl_entry who;
};

static bool open_target(struct imap *x, uint32_t needed, struct target *t)
{
    enum err e = imap_place_find(x, t->name, needed, &t->place);
    if (e == ERR_OK && !str_empty(t->identifier)) {
        e = acl_identifier_parse(x->house->directory, t->identifier, &x->scratch, &t->who);
        if (e == ERR_NOT_FOUND) {
            imap_place_close(&t->place);
            imap_no_code(x, "NONEXISTENT", "No such account or group");
            return false;
        }
    }
    if (e == ERR_OK)
        return true;
    imap_place_close(&t->place);
    imap_no(x, e);
    return false;
}

/* What the owner has anyway may be set. */
static bool grants_all(const struct target *t, enum acl_how how, uint32_t rights)
{
    if (t->who.negative)
        return false;
    return how == ACL_ADD || (how == ACL_REPLACE && (rights & ACL_RIGHTS_ALL) == ACL_RIGHTS_ALL);
}

static void change(struct imap *x, struct target *t, enum acl_how how, uint32_t rights,
                   const char *done)
{
    enum err e =
        acl_set(x->house->directory, t->place.account, t->place.mailbox, &t->who, how, rights);
    imap_place_close(&t->place);
    if (e == ERR_OK || (e == ERR_INVALID && grants_all(t, how, rights)))
        imap_done(x, STR_NONE, done);
    else if (e == ERR_INVALID)
        imap_no_code(x, "CANNOT", "The owner has every right");
    else
        imap_no(x, e);
}

void imap_cmd_setacl(struct imap *x, struct imap_cursor *c)
{
    struct target t = {0};
    char op;
    uint32_t rights;
    t.name = imap_mailbox(c);
    imap_sp(c);
    t.identifier = imap_astring(c);
    imap_sp(c);
    if (!imap_take_rights(c, &op, &rights) || !imap_end(c)) {
        imap_refuse(x, c);
        return;
    }
    if (str_empty(t.identifier)) {
        imap_no_code(x, "NONEXISTENT", "No such account or group");
        return;
    }
    if (open_target(x, IMAP_RIGHT('a'), &t))
        change(x, &t,
               op == '+'   ? ACL_ADD
               : op == '-' ? ACL_REMOVE
                           : ACL_REPLACE,
               rights, "SETACL completed");
}

void imap_cmd_deleteacl(struct imap *x, struct imap_cursor *c)
{
    struct target t = {0};
    t.name = imap_mailbox(c);
    imap_sp(c);
    t.identifier = imap_astring(c);
    if (!imap_end(c)) {
        imap_refuse(x, c);
        return;
    }
    if (str_empty(t.identifier)) {
        imap_no_code(x, "NONEXISTENT", "No such account or group");
        return;
    }
    if (open_target(x, IMAP_RIGHT('a'), &t))
        change(x, &t, ACL_REPLACE, 0, "DELETEACL completed");
}

/* The owner stands first: an account, or the group whose account it is. */
static enum err tell_owner(struct imap *x, struct account *a, struct buf *out)
{
    struct account_entry owner;
    TRY(directory_account_get(x->house->directory, account_id(a), &x->scratch, &owner));
    if (owner.state == ACCOUNT_OF_GROUP)
        return ERR_OK; /* nobody: rights come from the list alone */
    buf_add_char(out, ' ');
    imap_render_astring(out, owner.address);
    buf_add_char(out, ' ');
    render_rights(out, ACL_RIGHTS_ALL);
    return ERR_OK;
}

static enum err tell_acl(struct imap *x, const struct target *t)
{
    struct acl acl;
    BUF_AUTO struct buf line = BUF_INIT(1u << 20);
    TRY(acl_get(t->place.account, t->place.mailbox, &x->scratch, &acl));
    buf_add(&line, STR("* ACL "));
    imap_render_mailbox(&line, t->name, imap_utf8_names(x));
    TRY(tell_owner(x, t->place.account, &line));
    for (size_t i = 0; i < acl.count; i++) {
        buf_add_char(&line, ' ');
        render_identifier(&line, &acl.entries[i]);
        buf_add_char(&line, ' ');
        render_rights(&line, acl.entries[i].rights);
    }
    buf_add(&line, STR("\r\n"));
    if (!buf_ok(&line))
        return ERR_LIMIT;
    buf_add(imap_out(x), buf_str(&line));
    return ERR_OK;
}

void imap_cmd_getacl(struct imap *x, struct imap_cursor *c)
{
    struct target t = {.name = imap_mailbox(c)};
    if (!imap_end(c)) {
        imap_refuse(x, c);
        return;
    }
    if (!open_target(x, IMAP_RIGHT('a'), &t))
        return;
    enum err e = tell_acl(x, &t);
    imap_place_close(&t.place);
    if (e == ERR_OK)
        imap_done(x, STR_NONE, "GETACL completed");
    else
        imap_no(x, e);
}

/* RFC 4314 3.4: what somebody always has, then what can be given, one by one. */
void imap_cmd_listrights(struct imap *x, struct imap_cursor *c)
{
    struct target t = {.name = imap_mailbox(c)};
    imap_sp(c);
    t.identifier = imap_astring(c);
    if (!imap_end(c)) {
        imap_refuse(x, c);
        return;
    }
    if (!open_target(x, IMAP_RIGHT('a'), &t))
        return;
    bool owner = t.who.kind == ACL_ACCOUNT && t.who.account == account_id(t.place.account);
    imap_place_close(&t.place);
    struct buf *out = imap_out(x);
    buf_add(out, STR("* LISTRIGHTS "));
    imap_render_mailbox(out, t.name, imap_utf8_names(x));
    buf_add_char(out, ' ');
    imap_render_astring(out, t.identifier);
    buf_add_char(out, ' ');
    imap_render_rights(out, owner ? ACL_RIGHTS_ALL : 0);
    for (uint32_t bit = 1; !owner && bit <= ACL_RIGHTS_ALL; bit <<= 1) {
        buf_add_char(out, ' ');
        imap_render_rights(out, bit);
    }
    buf_add(out, STR("\r\n"));
    imap_done(x, STR_NONE, "LISTRIGHTS completed");
}

void imap_cmd_myrights(struct imap *x, struct imap_cursor *c)
{
    struct target t = {.name = imap_mailbox(c)};
    if (!imap_end(c)) {
        imap_refuse(x, c);
        return;
    }
    if (!open_target(x, 0, &t))
        return;
    struct buf *out = imap_out(x);
    buf_add(out, STR("* MYRIGHTS "));
    imap_render_mailbox(out, t.name, imap_utf8_names(x));
    buf_add_char(out, ' ');
    render_rights(out, t.place.rights);
    buf_add(out, STR("\r\n"));
    imap_place_close(&t.place);
    imap_done(x, STR_NONE, "MYRIGHTS completed");
}
