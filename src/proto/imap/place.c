/* SPDX-License-Identifier: Apache-2.0
 *
 * Names to mailboxes: the session's own account, and what others have shared with it.
 */
#include "proto/imap/place.h"

#include "base/num.h"

#define RIGHTS_BYTES_MAX ((size_t)1 << 20)

struct acl_who *place_me(struct imap *x)
{
    if (x->me.account != x->who.account) { /* the first time, or after signing in again */
        acl_who_free(&x->me);
        acl_who_init(&x->me, x->who.account, x->who.address);
    }
    return &x->me;
}

void imap_place_end(struct imap *x) { acl_who_free(&x->me); }

/* ---- namespaces ---- */

/* The rest of a name behind "Shared/"; false when it is not there. */
static bool below(str name, str space, str *rest)
{
    if (!str_starts(name, space) || name.len <= space.len || name.data[space.len] != '/')
        return false;
    *rest = str_skip(name, space.len + 1);
    return true;
}

static enum err owner_of(struct imap *x, str address, bool group, uint64_t *id)
{
    ARENA_AUTO struct arena a = ARENA_INIT(RIGHTS_BYTES_MAX);
    struct address_entry e;
    enum err err = directory_address_get(x->house->directory, address, &a, &e);
    if (err == ERR_SYNTAX)
        return ERR_NOT_FOUND;
    TRY(err);
    if (e.kind != (group ? ADDRESS_GROUP : ADDRESS_ACCOUNT) || !e.account)
        return ERR_NOT_FOUND;
    *id = e.account;
    return ERR_OK;
}

enum err place_route(struct imap *x, str name, struct place_route *out)
{
    str rest, address;
    uint64_t id = account_id(x->account);
    BUF_AUTO struct buf normal = BUF_INIT(4 * MAILBOX_PATH_MAX);
    /* Clients decompose names; what is stored is NFC. What is no name at all is found nowhere. */
    if (mailbox_name_normalize(name, &normal) == ERR_OK && !str_eq(buf_str(&normal), name) &&
        !arena_dup(&x->scratch, buf_str(&normal), &name)) {
        *out = (struct place_route){0};
        return ERR_LIMIT;
    }
    bool group = below(name, PLACE_SHARED, &rest);
    *out = (struct place_route){.path = name, .own = true};
    /* A mailbox of one's own that came with such a name stays within reach. */
    if ((group || below(name, PLACE_OTHERS, &rest)) && !mailbox_find(x->account, name)) {
        str_cut(rest, '/', &address, &out->path);
        TRY(owner_of(x, address, group, &id));
        out->own = id == account_id(x->account);
    }
    return account_open(x->house->accounts, id, &out->account);
}

enum err place_prefix(struct imap *x, uint64_t owner, struct buf *out)
{
    ARENA_AUTO struct arena a = ARENA_INIT(RIGHTS_BYTES_MAX);
    struct account_entry e;
    TRY(directory_account_get(x->house->directory, owner, &a, &e));
    buf_add(out, e.state == ACCOUNT_OF_GROUP ? PLACE_SHARED : PLACE_OTHERS);
    buf_addf(out, "/%.*s/", STR_ARG(e.address));
    return buf_ok(out) ? ERR_OK : ERR_LIMIT;
}

/* ---- rights ---- */

enum err place_rights(struct imap *x, struct account *a, uint32_t mailbox, uint32_t *rights)
{
    ARENA_AUTO struct arena arena = ARENA_INIT(RIGHTS_BYTES_MAX);
    struct acl acl;
    *rights = ACL_RIGHTS_ALL;
    if (account_id(a) == account_id(x->account))
        return ERR_OK;
    *rights = 0;
    TRY(acl_get(a, mailbox, &arena, &acl));
    return acl_rights(x->house->directory, &acl, place_me(x), rights);
}

/* What may not be looked up is not there (RFC 4314 6), unless the rights that are asked for are
 * held all the same. */
static enum err allowed(uint32_t rights, uint32_t needed)
{
    if (rights && (rights & needed) == needed)
        return ERR_OK;
    return rights & IMAP_RIGHT('l') ? ERR_DENIED : ERR_NOT_FOUND;
}

static enum err find_in(struct imap *x, const struct place_route *r, struct imap_place *out)
{
    const struct mailbox *m = mailbox_find(r->account, r->path);
    out->own = r->own;
    if (!m)
        return ERR_NOT_FOUND;
    out->mailbox = m->id;
    return place_rights(x, r->account, m->id, &out->rights);
}

enum err imap_place_find(struct imap *x, str name, uint32_t needed, struct imap_place *out)
{
    struct place_route r;
    *out = (struct imap_place){0};
    TRY(place_route(x, name, &r));
    out->account = r.account;
    TRY(find_in(x, &r, out));
    return allowed(out->rights, needed);
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
    str path;
    if (account_id(a) != account_id(x->account)) {
        if (!arena_dup(&x->scratch, m->path, &path) ||
            place_prefix(x, account_id(a), out) != ERR_OK)
            out->failed = true;
        buf_add(out, path);
    } else {
        buf_add(out, m->path);
    }
}

void imap_list_attributes(struct imap *x, struct account *a, const struct mailbox *m,
                          struct buf *out)
{
    if (account_id(a) != account_id(x->account))
        return; /* children are not for everybody to know, and the uses are the owner's */
    str role = mailbox_role_name(m->role);
    buf_add(out, mailbox_has_children(a, m) ? STR("\\HasChildren") : STR("\\HasNoChildren"));
    if (!str_empty(role)) {
        buf_add_char(out, ' ');
        buf_add(out, role);
    }
}

bool imap_rights_recheck(struct imap *x)
{
    struct imap_selected *s = x->selected;
    if (!s || s->own || x->closing)
        return !x->closing;
    struct store *store = accounts_store(x->house->accounts);
    uint64_t version = store_version(store, account_id(s->account));
    uint64_t directory = store_version(store, STORE_PARTITION_DIRECTORY);
    if (version == s->account_version && directory == s->directory_version)
        return true;
    uint32_t rights;
    enum err e = place_rights(x, s->account, s->mailbox, &rights);
    if (e != ERR_OK || !(rights & IMAP_RIGHT('r'))) {
        stream_writef(x->stream, "* BYE [%s] The mailbox may no longer be read\r\n",
                      e == ERR_OK ? "NOPERM" : err_info(e)->imap_code);
        x->closing = true;
        return false;
    }
    s->rights = rights;
    s->account_version = version;
    s->directory_version = directory;
    return true;
}

/* ---- operations ---- */

/* The nearest level above a path that exists; its rights. */
static enum err parent_of(struct imap *x, const struct place_route *r, uint32_t *mailbox,
                          uint32_t *rights)
{
    str path = r->path;
    *mailbox = *rights = 0;
    for (size_t at; (at = str_rfind_char(path, '/')) != STR_NPOS;) {
        path = str_head(path, at);
        const struct mailbox *m = mailbox_find(r->account, path);
        if (m) {
            *mailbox = m->id;
            return place_rights(x, r->account, m->id, rights);
        }
    }
    return ERR_OK;
}

/* May something be made under this name (RFC 4314 4: k on the level above)? */
static enum err may_create(struct imap *x, const struct place_route *r, uint32_t *parent)
{
    uint32_t rights;
    TRY(parent_of(x, r, parent, &rights));
    if (r->own)
        return str_eq(r->path, PLACE_OTHERS) || str_eq(r->path, PLACE_SHARED) ||
                       str_starts(r->path, STR("Other Users/")) ||
                       str_starts(r->path, STR("Shared/"))
                   ? ERR_DENIED
                   : ERR_OK;
    return rights & IMAP_RIGHT('k') ? ERR_OK : ERR_DENIED;
}

/* New mailboxes get the rights of the one above. */
static enum err inherit(const struct place_route *r, uint32_t parent)
{
    const struct mailbox *above = parent ? mailbox_get(r->account, parent) : NULL;
    size_t from = above ? above->path.len + 1 : r->path.len;
    for (size_t i = from; i <= r->path.len; i++) {
        if (i < r->path.len && r->path.data[i] != '/')
            continue;
        const struct mailbox *m = mailbox_find(r->account, str_head(r->path, i));
        if (m && parent && m->id != parent)
            TRY(acl_inherit(r->account, parent, m->id));
    }
    return ERR_OK;
}

enum err imap_mailbox_create(struct imap *x, str name, enum mailbox_role role,
                             struct imap_place *made)
{
    struct place_route r;
    uint32_t parent, id;
    *made = (struct imap_place){0};
    TRY(place_route(x, name, &r));
    made->account = r.account;
    made->own = r.own;
    TRY(may_create(x, &r, &parent));
    if (role != ROLE_NONE && !r.own)
        return ERR_UNSUPPORTED; /* the uses are the owner's */
    TRY(mailbox_create(r.account, r.path, role, &id));
    made->mailbox = id;
    return inherit(&r, parent);
}

/* By its path at this moment, in its own account. */
static enum err delete_place(const struct imap_place *p, struct arena *a)
{
    const struct mailbox *m = imap_place_mailbox(p);
    str path;
    if (!m)
        return ERR_NOT_FOUND;
    return arena_dup(a, m->path, &path) ? mailbox_delete(p->account, path) : ERR_NOMEM;
}

enum err imap_mailbox_delete(struct imap *x, str name)
{
    struct imap_place place;
    enum err e = imap_place_find(x, name, IMAP_RIGHT('x'), &place);
    if (e == ERR_OK)
        e = delete_place(&place, &x->scratch);
    /* Whoever deletes what is selected goes on without it; the others are told BYE. */
    if (e == ERR_OK && x->selected && x->selected->mailbox == place.mailbox &&
        account_id(x->selected->account) == account_id(place.account))
        imap_unselect(x);
    imap_place_close(&place);
    return e;
}

static enum err rename_in(struct imap *x, const struct place_route *from,
                          const struct place_route *to)
{
    struct imap_place place = {0};
    uint32_t parent;
    TRY(find_in(x, from, &place));
    TRY(allowed(place.rights, IMAP_RIGHT('x')));
    if (account_id(from->account) != account_id(to->account))
        return ERR_UNSUPPORTED;
    TRY(may_create(x, to, &parent));
    if (!from->own && str_eq_nocase(from->path, STR("INBOX")))
        return ERR_DENIED;
    return mailbox_rename(from->account, from->path, to->path);
}

enum err imap_mailbox_rename(struct imap *x, str from, str to)
{
    struct place_route a = {0}, b = {0};
    enum err e = place_route(x, from, &a);
    if (e == ERR_OK)
        e = place_route(x, to, &b);
    if (e == ERR_OK)
        e = rename_in(x, &a, &b);
    account_close(a.account);
    account_close(b.account);
    return e;
}

enum err imap_mailbox_subscribe(struct imap *x, str name, bool on)
{
    struct imap_place place;
    enum err e = imap_place_find(x, name, IMAP_RIGHT('l'), &place);
    if (place.account && place.own)
        e = mailbox_subscribe(x->account, name, on);
    else if (e == ERR_OK)
        e = acl_subscribe(x->account, account_id(place.account), place.mailbox, on);
    imap_place_close(&place);
    return e;
}

void imap_render_namespaces(struct imap *x, struct buf *out)
{
    buf_add(out, STR("* NAMESPACE ((\"\" \"/\")) ((\"Other Users/\" \"/\")) "
                     "((\"Shared/\" \"/\"))\r\n"));
}
