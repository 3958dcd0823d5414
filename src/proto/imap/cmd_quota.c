/* SPDX-License-Identifier: Apache-2.0
 *
 * GETQUOTA, GETQUOTAROOT, SETQUOTA (RFC 9208). Each account is one quota root, named by its
 * address; STORAGE and MESSAGE are what it may hold, where it is limited; MAILBOX is limited for
 * all.
 */
#include "base/num.h"
#include "proto/imap/place.h"

static void resource(struct buf *out, const char *name, uint64_t used, uint64_t limit)
{
    if (out->data[out->len - 1] != '(')
        buf_add_char(out, ' ');
    buf_addf(out, "%s %llu %llu", name, (unsigned long long)used, (unsigned long long)limit);
}

/* STORAGE counts in units of 1,024 bytes (RFC 9208 5.1); what is begun counts. */
static enum err tell_quota(struct imap *x, struct account *a, str root)
{
    struct account_status status;
    struct quota quota;
    TRY(account_quota(a, &quota));
    account_status(a, &status);
    struct buf *out = imap_out(x);
    buf_add(out, STR("* QUOTA "));
    imap_render_astring(out, root);
    buf_add(out, STR(" ("));
    if (quota.bytes)
        resource(out, "STORAGE", (status.bytes + 1023) / 1024, (quota.bytes + 1023) / 1024);
    if (quota.messages)
        resource(out, "MESSAGE", status.messages, quota.messages);
    resource(out, "MAILBOX", status.mailboxes, MAILBOXES_MAX);
    buf_add(out, STR(")\r\n"));
    return ERR_OK;
}

static enum err root_name(struct imap *x, uint64_t account, str *out)
{
    struct account_entry e;
    if (account == account_id(x->account)) {
        *out = x->who.address;
        return ERR_OK;
    }
    TRY(directory_account_get(x->house->directory, account, &x->scratch, &e));
    *out = e.address;
    return ERR_OK;
}

void imap_cmd_getquotaroot(struct imap *x, struct imap_cursor *c)
{
    struct imap_place place;
    str name = imap_mailbox(c), root;
    if (!imap_end(c)) {
        imap_refuse(x, c);
        return;
    }
    enum err e = imap_place_find(x, name, IMAP_RIGHT('r'), &place);
    if (e == ERR_OK)
        e = root_name(x, account_id(place.account), &root);
    if (e == ERR_OK) {
        struct buf *out = imap_out(x);
        buf_add(out, STR("* QUOTAROOT "));
        imap_render_mailbox(out, name, imap_utf8_names(x));
        buf_add_char(out, ' ');
        imap_render_astring(out, root);
        buf_add(out, STR("\r\n"));
        e = tell_quota(x, place.account, root);
    }
    imap_place_close(&place);
    if (e == ERR_OK)
        imap_done(x, STR_NONE, "GETQUOTAROOT completed");
    else
        imap_no(x, e);
}

static enum err is_admin(struct imap *x, bool *yes)
{
    struct account_entry me;
    TRY(directory_account_get(x->house->directory, x->who.account, &x->scratch, &me));
    *yes = me.admin && me.state == ACCOUNT_ACTIVE;
    return ERR_OK;
}

/* Does that account share a mailbox that may be read here? */
static enum err shares(struct imap *x, uint64_t owner, bool *yes)
{
    struct imap_listing all;
    *yes = owner == account_id(x->account);
    if (*yes)
        return ERR_OK;
    TRY(is_admin(x, yes));
    if (*yes)
        return ERR_OK;
    enum err e = imap_listing_gather(x, IMAP_LISTING_SHARED, &x->scratch, &all);
    for (size_t i = 0; e == ERR_OK && i < all.n; i++)
        *yes = *yes || (all.rows[i].account && account_id(all.rows[i].account) == owner &&
                        (all.rows[i].rights & IMAP_RIGHT('r')));
    imap_listing_close(&all);
    return e;
}

/* The account behind a root that may be seen here; "" is one's own. Held open. */
static enum err root_open(struct imap *x, str root, struct account **out, str *name)
{
    struct address_entry entry;
    uint64_t id = account_id(x->account);
    bool may = true;
    *out = NULL;
    *name = x->who.address;
    if (!str_empty(root) && !str_eq_nocase(root, x->who.address)) {
        enum err e = directory_address_get(x->house->directory, root, &x->scratch, &entry);
        if (e != ERR_OK)
            return e == ERR_SYNTAX ? ERR_NOT_FOUND : e;
        if (entry.kind == ADDRESS_ALIAS || !entry.account)
            return ERR_NOT_FOUND;
        id = entry.account;
        *name = entry.address;
        TRY(shares(x, id, &may));
    }
    return may ? account_open(x->house->accounts, id, out) : ERR_NOT_FOUND;
}

void imap_cmd_getquota(struct imap *x, struct imap_cursor *c)
{
    struct account *a = NULL;
    str root = imap_astring(c), name;
    if (!imap_end(c)) {
        imap_refuse(x, c);
        return;
    }
    enum err e = root_open(x, root, &a, &name);
    if (e == ERR_OK)
        e = tell_quota(x, a, name);
    account_close(a);
    if (e == ERR_OK)
        imap_done(x, STR_NONE, "GETQUOTA completed");
    else
        imap_no(x, e);
}

/* What is not named is not limited any more (RFC 9208 4.1.3). */
static enum err limits_of(const struct imap_quota *args, struct account_entry *e)
{
    e->quota_bytes = e->quota_messages = 0;
    for (size_t i = 0; i < args->count; i++) {
        const struct imap_quota_resource *r = &args->resources[i];
        if (str_eq_nocase(r->name, STR("STORAGE")) && r->limit <= UINT64_MAX / 1024)
            e->quota_bytes = MAX(r->limit * 1024, 1ull);
        else if (str_eq_nocase(r->name, STR("MESSAGE")))
            e->quota_messages = MAX(r->limit, 1ull);
        else
            return ERR_UNSUPPORTED;
    }
    return ERR_OK;
}

static enum err set_quota(struct imap *x, const struct imap_quota *args, struct account *a)
{
    struct account_entry e;
    TRY(directory_account_get(x->house->directory, account_id(a), &x->scratch, &e));
    TRY(limits_of(args, &e));
    TRY(directory_account_set(x->house->directory, &e));
    account_quota_changed(a);
    return ERR_OK;
}

/* Limits are set by those who run the server, never by those whom they limit. */
void imap_cmd_setquota(struct imap *x, struct imap_cursor *c)
{
    struct imap_quota args;
    struct account *a = NULL;
    str name;
    bool admin = false;
    if (!imap_take_setquota(c, &args) || !imap_end(c)) {
        imap_refuse(x, c);
        return;
    }
    enum err e = is_admin(x, &admin);
    if (e == ERR_OK && !admin)
        e = ERR_DENIED;
    if (e == ERR_OK)
        e = root_open(x, args.root, &a, &name);
    if (e == ERR_OK)
        e = set_quota(x, &args, a);
    if (e == ERR_OK)
        e = tell_quota(x, a, name);
    account_close(a);
    if (e == ERR_OK)
        imap_done(x, STR_NONE, "SETQUOTA completed");
    else
        imap_no(x, e);
}
