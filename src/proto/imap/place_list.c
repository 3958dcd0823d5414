/* SPDX-License-Identifier: Apache-2.0
 *
 * All mailboxes that a session may see. Gathered first and told after, since telling may wait and a
 * view's mailboxes live only until the next wait.
 */
#include <string.h>

#include "base/num.h"
#include "core/subscription.h"
#include "proto/imap/place.h"

#define OWNER_BYTES_MAX ((size_t)8 << 20) /* lists of rights of one owner */

static struct imap_listed *add(struct imap_listing *l)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 64;
        struct imap_listed *more = ARENA_ARRAY(l->arena, struct imap_listed, cap);
        if (!more)
            return NULL;
        if (l->n)
            memcpy(more, l->rows, l->n * sizeof *more);
        l->rows = more;
        l->cap = cap;
    }
    l->rows[l->n] = (struct imap_listed){0};
    return &l->rows[l->n++];
}

static bool is_below(str name, str parent)
{
    return name.len > parent.len && name.data[parent.len] == '/' && str_starts(name, parent);
}

/* Levels above a name that are not there by themselves. */
static enum err add_levels(struct imap_listing *l, str name, bool gone)
{
    str before = l->n ? l->rows[l->n - 1].name : STR_NONE;
    for (size_t i = 0; i < name.len; i++) {
        str level = str_head(name, i);
        if (name.data[i] != '/' || str_eq(before, level) || is_below(before, level))
            continue;
        struct imap_listed *row = add(l);
        if (!row)
            return ERR_LIMIT;
        row->name = level;
        row->gone = gone;
    }
    return ERR_OK;
}

/* The names of deleted mailboxes that stay subscribed, in order of path. */
struct gone {
    const str *names;
    size_t n;
};

static enum err add_gone(struct imap_listing *l, str name)
{
    TRY(add_levels(l, name, true));
    struct imap_listed *row = add(l);
    if (!row)
        return ERR_LIMIT;
    row->name = name;
    row->subscribed = row->gone = true;
    return ERR_OK;
}

/* Those that come before this path; true when the next one is this path itself. */
static enum err gone_before(struct imap_listing *l, struct gone *g, str path, bool *same)
{
    *same = false;
    while (g->n && mailbox_path_cmp(g->names[0], path) < 0) {
        TRY(add_gone(l, g->names[0]));
        g->names++;
        g->n--;
    }
    for (; g->n && str_eq(g->names[0], path); g->names++, g->n--)
        *same = true;
    return ERR_OK;
}

static enum err gather_own(struct imap *x, bool with_gone, struct imap_listing *l)
{
    const struct mailbox *m;
    struct gone gone = {0};
    bool same;
    if (with_gone)
        TRY(subscription_kept(x->account, l->arena, &gone.names, &gone.n));
    for (size_t i = 0; (m = mailbox_at(x->account, i)); i++) {
        TRY(gone_before(l, &gone, m->path, &same));
        struct imap_listed *row = add(l);
        if (!row || !arena_dup(l->arena, m->path, &row->name))
            return ERR_LIMIT;
        row->account = x->account;
        row->mailbox = m->id;
        row->rights = ACL_RIGHTS_ALL;
        row->own = true;
        row->subscribed = m->subscribed || same;
        row->role = m->role;
    }
    while (gone.n) {
        TRY(add_gone(l, gone.names[0]));
        gone.names++;
        gone.n--;
    }
    return ERR_OK;
}

struct shared {
    struct imap *x;
    struct imap_listing *l;
    const struct acl_subscription *subscriptions;
    size_t nsubscriptions;
    bool groups; /* the pass of the "Shared" namespace */
};

static bool subscribed(const struct shared *s, uint64_t owner, uint32_t mailbox)
{
    for (size_t i = 0; i < s->nsubscriptions; i++)
        if (s->subscriptions[i].owner == owner && s->subscriptions[i].mailbox == mailbox)
            return true;
    return false;
}

static const struct acl *acl_find(const struct acl_of *all, size_t n, uint32_t mailbox)
{
    for (size_t from = 0, to = n; from < to;) {
        size_t mid = from + (to - from) / 2;
        if (all[mid].mailbox == mailbox)
            return &all[mid].acl;
        if (all[mid].mailbox < mailbox)
            from = mid + 1;
        else
            to = mid;
    }
    return NULL;
}

struct candidate {
    uint32_t mailbox;
    const struct acl *acl;
    str path;
};

/* The owner's mailboxes that have a list of rights; copied, since asking for rights may wait. */
static enum err candidates_of(struct account *a, struct arena *arena, struct candidate **out,
                              size_t *count)
{
    const struct acl_of *all;
    const struct mailbox *m;
    size_t n;
    TRY(acl_all(a, arena, &all, &n));
    *count = 0;
    *out = ARENA_ARRAY(arena, struct candidate, n + 1);
    if (!*out)
        return ERR_LIMIT;
    for (size_t i = 0; n && (m = mailbox_at(a, i)); i++) {
        struct candidate *c = &(*out)[*count];
        c->acl = acl_find(all, n, m->id);
        c->mailbox = m->id;
        if (!c->acl)
            continue;
        if (!arena_dup(arena, m->path, &c->path))
            return ERR_LIMIT;
        ++*count;
    }
    return ERR_OK;
}

static enum err gather_candidate(struct shared *s, struct account *a, str prefix,
                                 const struct candidate *c)
{
    struct imap *x = s->x;
    uint32_t rights;
    TRY(acl_rights(x->house->directory, c->acl, place_me(x), &rights));
    if (!(rights & IMAP_RIGHT('l')))
        return ERR_OK;
    str name = arena_fmt(s->l->arena, "%.*s%.*s", STR_ARG(prefix), STR_ARG(c->path));
    if (str_empty(name))
        return ERR_LIMIT;
    TRY(add_levels(s->l, name, false));
    struct imap_listed *row = add(s->l);
    if (!row)
        return ERR_LIMIT;
    row->account = a;
    row->mailbox = c->mailbox;
    row->rights = rights;
    row->subscribed = subscribed(s, account_id(a), c->mailbox);
    row->name = name;
    return ERR_OK;
}

static enum err hold(struct imap_listing *l, struct account *a)
{
    if (l->nowners == l->owners_cap) {
        size_t cap = l->owners_cap ? l->owners_cap * 2 : 8;
        struct account **more = ARENA_ARRAY(l->arena, struct account *, cap);
        if (!more) {
            account_close(a);
            return ERR_LIMIT;
        }
        if (l->nowners)
            memcpy(more, l->owners, l->nowners * sizeof *more);
        l->owners = more;
        l->owners_cap = cap;
    }
    l->owners[l->nowners++] = a;
    return ERR_OK;
}

static enum err gather_owner(struct shared *s, uint64_t owner)
{
    ARENA_AUTO struct arena arena = ARENA_INIT(OWNER_BYTES_MAX);
    BUF_AUTO struct buf prefix = BUF_INIT(4096);
    struct candidate *candidates;
    struct account *a;
    size_t n;
    enum err e = place_prefix(s->x, owner, &prefix);
    if (e == ERR_NOT_FOUND)
        return ERR_OK; /* the account was removed */
    TRY(e);
    if (str_starts(buf_str(&prefix), PLACE_SHARED) != s->groups)
        return ERR_OK;
    TRY(account_open(s->x->house->accounts, owner, &a));
    TRY(hold(s->l, a));
    TRY(candidates_of(a, &arena, &candidates, &n));
    for (size_t i = 0; i < n; i++)
        TRY(gather_candidate(s, a, buf_str(&prefix), &candidates[i]));
    return ERR_OK;
}

static enum err gather_shared(struct imap *x, struct imap_listing *l)
{
    struct shared s = {.x = x, .l = l};
    const uint64_t *owners;
    size_t n;
    TRY(acl_owners(x->house->directory, place_me(x), l->arena, &owners, &n));
    if (n == 0)
        return ERR_OK;
    TRY(acl_subscriptions(x->account, l->arena, &s.subscriptions, &s.nsubscriptions));
    for (int pass = 0; pass < 2; pass++) {
        s.groups = pass == 1;
        for (size_t i = 0; i < n; i++)
            TRY(gather_owner(&s, owners[i]));
    }
    return ERR_OK;
}

/* Has it something below that is there? What is gone is skipped; it comes in between. */
static bool has_children(const struct imap_listing *l, size_t at)
{
    for (size_t i = at + 1; i < l->n && is_below(l->rows[i].name, l->rows[at].name); i++)
        if (!l->rows[i].gone)
            return true;
    return false;
}

enum err imap_listing_gather(struct imap *x, unsigned what, struct arena *arena,
                             struct imap_listing *out)
{
    *out = (struct imap_listing){.arena = arena};
    TRY(gather_own(x, what & IMAP_LISTING_GONE, out));
    if (what & IMAP_LISTING_SHARED)
        TRY(gather_shared(x, out));
    for (size_t i = 0; i + 1 < out->n; i++)
        out->rows[i].children = has_children(out, i);
    return ERR_OK;
}

void imap_listing_close(struct imap_listing *l)
{
    for (size_t i = 0; i < l->nowners; i++)
        account_close(l->owners[i]);
    l->nowners = 0;
}
