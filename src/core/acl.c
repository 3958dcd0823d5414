/* SPDX-License-Identifier: Apache-2.0
 *
 * Lists of rights: the row, what it gives to whom, and changing it.
 */
#include "core/acl.h"

#include <string.h>

#include "base/num.h"
#include "core/account_private.h"
#include "core/acl_private.h"

#define ROW_VERSION 1

void acl_who_init(struct acl_who *w, uint64_t account, str address)
{
    *w = (struct acl_who){.account = account, .address = address, .groups = BUF_INIT(1u << 20)};
}

void acl_who_free(struct acl_who *w) { buf_free(&w->groups); }

/* ---- the row ---- */

void acl_encode(const struct acl *acl, struct buf *out)
{
    buf_add_char(out, SPACE_ACL);
    buf_add_char(out, ROW_VERSION);
    buf_add_varint(out, acl->count);
    for (size_t i = 0; i < acl->count; i++) {
        const struct acl_entry *e = &acl->entries[i];
        buf_add_char(out, (char)e->kind);
        buf_add_char(out, e->negative);
        buf_add_varint(out, e->account);
        buf_add_sized(out, e->address);
        buf_add_varint(out, e->rights);
    }
}

enum err acl_decode(str row, struct arena *a, struct acl *out)
{
    struct reader r = reader_of(row);
    *out = (struct acl){0};
    if (read_u8(&r) != SPACE_ACL || read_u8(&r) != ROW_VERSION)
        return ERR_CORRUPT;
    uint64_t n = read_varint(&r);
    if (r.failed || n > ACL_ENTRIES_MAX)
        return ERR_CORRUPT;
    struct acl_entry *entries = ARENA_ARRAY(a, struct acl_entry, n + 1);
    if (!entries)
        return ERR_NOMEM;
    for (uint64_t i = 0; i < n; i++) {
        struct acl_entry *e = &entries[i];
        e->kind = read_u8(&r);
        e->negative = read_u8(&r);
        e->account = read_varint(&r);
        e->address = read_sized(&r);
        e->rights = (uint32_t)read_varint(&r) & ACL_RIGHTS_ALL;
        if (e->kind < ACL_ANYONE || e->kind > ACL_GROUP)
            return ERR_CORRUPT;
    }
    *out = (struct acl){entries, (size_t)n};
    return r.failed || r.rest.len ? ERR_CORRUPT : ERR_OK;
}

/* The bytes of the row too, for the expectation of a change. */
static enum err read_row(struct account *owner, uint32_t mailbox, struct arena *a, str *row)
{
    BUF_AUTO struct buf value = BUF_INIT(STORE_VALUE_MAX);
    struct store_key key = key_acl(mailbox);
    *row = STR_NONE;
    enum err e = store_get(accounts_store(owner->owner), owner->id, key_str(&key), &value);
    if (e == ERR_NOT_FOUND)
        return ERR_OK;
    TRY(e);
    return arena_dup(a, buf_str(&value), row) ? ERR_OK : ERR_NOMEM;
}

enum err acl_get(struct account *owner, uint32_t mailbox, struct arena *a, struct acl *out)
{
    str row;
    *out = (struct acl){0};
    TRY(read_row(owner, mailbox, a, &row));
    return str_empty(row) ? ERR_OK : acl_decode(row, a, out);
}

/* ---- what it gives ---- */

enum err acl_who_is_member(struct directory *d, struct acl_who *who, str group, bool *member)
{
    uint64_t version = store_version(d->store, STORE_PARTITION_DIRECTORY);
    if (who->directory_version != version) {
        buf_reset(&who->groups);
        who->directory_version = version;
    }
    struct reader r = reader_of(buf_str(&who->groups));
    while (r.rest.len && !r.failed) {
        *member = read_u8(&r);
        if (str_eq(read_sized(&r), group))
            return ERR_OK;
    }
    enum err e = directory_is_member(d, group, who->account, member);
    if (e == ERR_NOT_FOUND) { /* a group that is gone has no members */
        *member = false;
        e = ERR_OK;
    }
    TRY(e);
    buf_add_char(&who->groups, *member);
    buf_add_sized(&who->groups, group);
    if (!buf_ok(&who->groups)) {
        buf_reset(&who->groups);
        who->directory_version = 0;
    }
    return ERR_OK;
}

static enum err matches(struct directory *d, const struct acl_entry *e, struct acl_who *who,
                        bool *out)
{
    *out = e->kind == ACL_ANYONE || (e->kind == ACL_ACCOUNT && e->account == who->account);
    return e->kind == ACL_GROUP ? acl_who_is_member(d, who, e->address, out) : ERR_OK;
}

enum err acl_rights(struct directory *d, const struct acl *acl, struct acl_who *who,
                    uint32_t *rights)
{
    uint32_t given = 0, taken = 0;
    *rights = 0;
    for (size_t i = 0; i < acl->count; i++) {
        const struct acl_entry *e = &acl->entries[i];
        bool match;
        TRY(matches(d, e, who, &match));
        if (match && e->negative)
            taken |= e->rights;
        else if (match)
            given |= e->rights;
    }
    *rights = given & ~taken;
    return ERR_OK;
}

/* ---- identifiers ---- */

enum err acl_identifier_parse(struct directory *d, str text, struct arena *a, struct acl_entry *out)
{
    struct address_entry e;
    *out = (struct acl_entry){0};
    if (str_starts(text, STR("-"))) {
        out->negative = true;
        text = str_skip(text, 1);
    }
    if (str_eq_nocase(text, STR("anyone"))) {
        out->kind = ACL_ANYONE;
        return ERR_OK;
    }
    bool group = str_starts(text, STR("$"));
    enum err err = directory_address_get(d, group ? str_skip(text, 1) : text, a, &e);
    if (err == ERR_SYNTAX || err == ERR_NO_DOMAIN)
        return ERR_NOT_FOUND;
    TRY(err);
    if (e.kind == ADDRESS_GROUP) {
        out->kind = ACL_GROUP;
        out->address = e.address;
        return ERR_OK;
    }
    if (group)
        return ERR_NOT_FOUND;
    struct resolution r;
    struct account_entry account;
    TRY(directory_resolve(d, e.address, a, &r));
    if (r.ntargets != 1 || !r.targets[0].account)
        return ERR_NOT_FOUND; /* an alias of several people is no identity */
    TRY(directory_account_get(d, r.targets[0].account, a, &account));
    out->kind = ACL_ACCOUNT;
    out->account = account.id;
    out->address = account.address;
    return ERR_OK;
}

bool acl_rights_parse(str letters, uint32_t *out)
{
    *out = 0;
    for (size_t i = 0; i < letters.len; i++) {
        size_t bit = str_find_char(STR(ACL_RIGHTS), letters.data[i]);
        if (bit == STR_NPOS)
            return false;
        *out |= 1u << bit;
    }
    return letters.len > 0;
}

void acl_identifier_render(const struct acl_entry *e, struct buf *out)
{
    if (e->negative)
        buf_add_char(out, '-');
    if (e->kind == ACL_ANYONE) {
        buf_add(out, STR("anyone"));
        return;
    }
    if (e->kind == ACL_GROUP)
        buf_add_char(out, '$');
    buf_add(out, e->address);
}

static bool same_identifier(const struct acl_entry *a, const struct acl_entry *b)
{
    return a->kind == b->kind && a->negative == b->negative && a->account == b->account &&
           (a->kind != ACL_GROUP || str_eq(a->address, b->address));
}

/* ---- changing ---- */

struct set_step {
    struct account *owner;
    uint32_t mailbox;
    str before, after; /* rows; empty: none */
};

static enum err put_step(struct change *c, void *arg)
{
    struct set_step *s = arg;
    struct box *b = box_get(s->owner, s->mailbox);
    if (!b || b->purging)
        return ERR_NOT_FOUND;
    struct mailbox_row row = b->row;
    change_expect(c, key_acl(s->mailbox), s->before);
    if (str_empty(s->after))
        change_delete(c, key_acl(s->mailbox));
    else
        change_put(c, key_acl(s->mailbox), s->after);
    change_box(c, s->mailbox, &row, false); /* wakes those who have it open */
    return ERR_OK;
}

static uint32_t rights_after(uint32_t before, enum acl_how how, uint32_t rights)
{
    return how == ACL_REPLACE ? rights : how == ACL_ADD ? before | rights : before & ~rights;
}

/* The list with the change, in the arena; entries without rights go. */
static enum err edit(const struct acl *acl, const struct acl_entry *who, enum acl_how how,
                     uint32_t rights, struct arena *a, struct acl *out)
{
    struct acl_entry *entries = ARENA_ARRAY(a, struct acl_entry, acl->count + 1);
    size_t n = 0;
    bool found = false;
    if (!entries)
        return ERR_NOMEM;
    for (size_t i = 0; i < acl->count; i++) {
        struct acl_entry e = acl->entries[i];
        if (same_identifier(&e, who)) {
            found = true;
            e.address = who->address;
            e.rights = rights_after(e.rights, how, rights);
        }
        if (e.rights)
            entries[n++] = e;
    }
    if (!found && rights_after(0, how, rights)) {
        if (n == ACL_ENTRIES_MAX)
            return ERR_LIMIT;
        entries[n] = *who;
        entries[n++].rights = rights_after(0, how, rights);
    }
    *out = (struct acl){entries, n};
    return ERR_OK;
}

static enum err set_once(struct account *owner, uint32_t mailbox, const struct acl_entry *who,
                         enum acl_how how, uint32_t rights)
{
    ARENA_AUTO struct arena a = ARENA_INIT(4u << 20);
    BUF_AUTO struct buf row = BUF_INIT(STORE_VALUE_MAX);
    struct set_step s = {.owner = owner, .mailbox = mailbox};
    struct acl before = {0}, after;
    TRY(read_row(owner, mailbox, &a, &s.before));
    if (!str_empty(s.before))
        TRY(acl_decode(s.before, &a, &before));
    TRY(edit(&before, who, how, rights, &a, &after));
    if (after.count)
        acl_encode(&after, &row);
    if (!buf_ok(&row))
        return ERR_LIMIT;
    s.after = buf_str(&row);
    if (str_eq(s.before, s.after))
        return mailbox_get(owner, mailbox) ? ERR_OK : ERR_NOT_FOUND;
    return change_run_step(owner, put_step, &s);
}

enum err acl_set(struct directory *d, struct account *owner, uint32_t mailbox,
                 const struct acl_entry *who, enum acl_how how, uint32_t rights)
{
    unsigned tries = 0;
    enum err e;
    if (who->kind == ACL_ACCOUNT && who->account == owner->id)
        return ERR_INVALID;
    /* Before, so that a crash leaves one too many; and after, so that nobody who saw the list as it
     * was takes the new one away (acl_share.c). */
    bool gives = !who->negative && how != ACL_REMOVE && rights;
    if (gives)
        TRY(acl_hint_put(d, who, owner->id));
    do
        e = set_once(owner, mailbox, who, how, rights);
    while (change_again(&e, &tries));
    if (e == ERR_OK && !who->negative)
        e = gives ? acl_hint_put(d, who, owner->id) : acl_hint_tidy(d, owner, who);
    return e;
}

enum err acl_inherit(struct account *owner, uint32_t parent, uint32_t child)
{
    ARENA_AUTO struct arena a = ARENA_INIT(1u << 20);
    struct set_step s = {.owner = owner, .mailbox = child};
    TRY(read_row(owner, parent, &a, &s.after));
    if (str_empty(s.after))
        return ERR_OK;
    TRY(read_row(owner, child, &a, &s.before));
    return str_empty(s.before) ? change_run_step(owner, put_step, &s) : ERR_OK;
}
