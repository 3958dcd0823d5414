/* SPDX-License-Identifier: Apache-2.0
 *
 * Who shares with whom: derived rows of the directory partition,
 *   'H'                              → they are complete
 *   'H' 'a' account id, owner id     → the account was given rights by the owner
 *   'H' 'g' group address 00, owner  → a group was
 *   'H' 's' owner                    → "anyone" was
 * and subscriptions to what others share.
 *
 * A row is written before and after the list it belongs to, each time with another value, and taken
 * away only with the value that was there before the lists were read: so one who shares and one who
 * stops sharing at the same time leave a row too many at worst.
 */
#include "core/account_private.h"
#include "core/acl_private.h"
#include "core/directory_rows.h"

#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "os/rand.h"

#define OWNERS_MAX 100000
#define PARTITIONS_PAGE 256

static void add(struct store_key *k, str s)
{
    memcpy(k->bytes + k->len, s.data, s.len);
    k->len = (uint8_t)(k->len + s.len);
}

static void add_be64(struct store_key *k, uint64_t n)
{
    for (unsigned i = 8; i-- > 0;)
        k->bytes[k->len++] = (uint8_t)(n >> (8 * i));
}

static enum err key_hint(struct store_key *k, const struct acl_entry *who, uint64_t owner)
{
    *k = (struct store_key){.bytes = {DIR_SPACE_SHARE}, .len = 1};
    if (who->kind == ACL_ACCOUNT) {
        add(k, STR("a"));
        add_be64(k, who->account);
    } else if (who->kind == ACL_ANYONE) {
        add(k, STR("s"));
    } else {
        if (who->address.len > STORE_KEY_MAX - 16)
            return ERR_LIMIT;
        add(k, STR("g"));
        add(k, who->address);
        add(k, str_of("", 1));
    }
    add_be64(k, owner);
    return ERR_OK;
}

static enum err commit(struct directory *d, const struct store_op *op,
                       const struct store_expect *expect)
{
    struct store_commit c = {
        .partition = STORE_PARTITION_DIRECTORY,
        .expect_version = STORE_ANY_VERSION,
        .ops = op,
        .nops = 1,
        .expects = expect,
        .nexpects = expect ? 1 : 0,
    };
    struct store_result r;
    return store_commit(d->store, &c, &r);
}

enum err acl_hint_put(struct directory *d, const struct acl_entry *who, uint64_t owner)
{
    struct store_key key;
    uint64_t nonce = rand_u64();
    TRY(key_hint(&key, who, owner));
    struct store_op op = {
        .kind = STORE_PUT, .key = key_str(&key), .value = str_of(&nonce, sizeof nonce)};
    return commit(d, &op, NULL);
}

/* ---- lists of an owner ---- */

struct acl_walk {
    bool (*entry)(void *arg, const struct acl_entry *e);
    void *arg;
    bool stop;
};

static bool walk_row(void *arg, const struct store_row *row)
{
    struct acl_walk *w = arg;
    ARENA_AUTO struct arena a = ARENA_INIT(1u << 20);
    struct acl acl;
    if (acl_decode(row->value, &a, &acl) != ERR_OK)
        return true; /* `posthouse check` reports it */
    for (size_t i = 0; i < acl.count && !w->stop; i++)
        w->stop = !w->entry(w->arg, &acl.entries[i]);
    return !w->stop;
}

static enum err walk_lists(struct store *s, uint64_t owner, struct acl_walk *w)
{
    struct store_key from = key_space(SPACE_ACL), to = key_space_end(SPACE_ACL);
    struct store_scan q = {.partition = owner, .from = key_str(&from), .to = key_str(&to)};
    return store_scan_all(s, &q, walk_row, w);
}

struct all {
    struct arena *arena;
    struct acl_of *rows;
    size_t n, cap;
    enum err err;
};

static bool all_row(void *arg, const struct store_row *row)
{
    struct all *all = arg;
    struct acl_of one;
    str kept;
    if (all->n == all->cap) {
        size_t cap = all->cap ? all->cap * 2 : 16;
        struct acl_of *more = ARENA_ARRAY(all->arena, struct acl_of, cap);
        if (!more) {
            all->err = ERR_LIMIT;
            return false;
        }
        if (all->n)
            memcpy(more, all->rows, all->n * sizeof *more);
        all->rows = more;
        all->cap = cap;
    }
    if (!arena_dup(all->arena, row->value, &kept))
        all->err = ERR_LIMIT;
    else if (key_u32(row->key, 1, &one.mailbox) && acl_decode(kept, all->arena, &one.acl) == ERR_OK)
        all->rows[all->n++] = one;
    return all->err == ERR_OK;
}

enum err acl_all(struct account *owner, struct arena *a, const struct acl_of **out, size_t *n)
{
    struct store_key from = key_space(SPACE_ACL), to = key_space_end(SPACE_ACL);
    struct store_scan q = {.partition = owner->id, .from = key_str(&from), .to = key_str(&to)};
    struct all all = {.arena = a};
    TRY(store_scan_all(accounts_store(owner->owner), &q, all_row, &all));
    *out = all.rows;
    *n = all.n;
    return all.err;
}

static bool is_named(void *arg, const struct acl_entry *e)
{
    const struct acl_entry *who = arg;
    return e->negative || e->kind != who->kind || e->account != who->account ||
           (e->kind == ACL_GROUP && !str_eq(e->address, who->address));
}

enum err acl_hint_tidy(struct directory *d, struct account *owner, const struct acl_entry *who)
{
    BUF_AUTO struct buf before = BUF_INIT(64);
    struct store_key key;
    struct acl_entry copy = *who;
    struct acl_walk w = {.entry = is_named, .arg = &copy};
    TRY(key_hint(&key, who, owner->id));
    enum err e = store_get(d->store, STORE_PARTITION_DIRECTORY, key_str(&key), &before);
    if (e != ERR_OK)
        return e == ERR_NOT_FOUND ? ERR_OK : e;
    TRY(walk_lists(d->store, owner->id, &w));
    if (w.stop)
        return ERR_OK; /* another mailbox names it */
    struct store_op op = {.kind = STORE_DELETE, .key = key_str(&key)};
    struct store_expect expect = {STORE_EXPECT_EQUAL, key_str(&key), buf_str(&before)};
    e = commit(d, &op, &expect);
    return e == ERR_CONFLICT ? ERR_OK : e;
}

/* ---- all owners ---- */

struct rebuild {
    struct directory *d;
    struct buf keys; /* sized */
    uint64_t owner;
    enum err err;
};

static bool take_entry(void *arg, const struct acl_entry *e)
{
    struct rebuild *r = arg;
    struct store_key key;
    if (!e->negative && key_hint(&key, e, r->owner) == ERR_OK)
        buf_add_sized(&r->keys, key_str(&key));
    return buf_ok(&r->keys);
}

static enum err rebuild_owner(struct rebuild *r, uint64_t owner)
{
    struct acl_walk w = {.entry = take_entry, .arg = r};
    r->owner = owner;
    buf_reset(&r->keys);
    TRY(walk_lists(r->d->store, owner, &w));
    if (!buf_ok(&r->keys))
        return ERR_LIMIT;
    struct reader in = reader_of(buf_str(&r->keys));
    while (in.rest.len) {
        uint64_t nonce = rand_u64();
        struct store_op op = {
            .kind = STORE_PUT, .key = read_sized(&in), .value = str_of(&nonce, sizeof nonce)};
        TRY(commit(r->d, &op, NULL));
    }
    return ERR_OK;
}

enum err acl_rebuild(struct directory *d)
{
    struct rebuild r = {.d = d, .keys = BUF_INIT(64u << 20)};
    uint64_t page[PARTITIONS_PAGE], from = STORE_PARTITION_ACCOUNTS;
    size_t got = PARTITIONS_PAGE;
    enum err e = ERR_OK;
    while (e == ERR_OK && got == PARTITIONS_PAGE) {
        e = store_partitions(d->store, from, page, PARTITIONS_PAGE, &got);
        for (size_t i = 0; e == ERR_OK && i < got; i++) {
            e = rebuild_owner(&r, page[i]);
            from = page[i] + 1;
        }
    }
    buf_free(&r.keys);
    TRY(e);
    struct store_op op = {.kind = STORE_PUT, .key = STR("H"), .value = STR("\001")};
    return commit(d, &op, NULL);
}

/* ---- who shares with me ---- */

struct owners {
    struct buf ids;    /* u64 */
    struct buf groups; /* sized address, owner u64 */
    bool complete;
    uint64_t account;
};

static uint64_t be64_at(str s)
{
    struct reader r = reader_of(s);
    return read_be64(&r);
}

static bool owner_row(void *arg, const struct store_row *row)
{
    struct owners *o = arg;
    str key = row->key;
    if (key.len == 1) {
        o->complete = true;
        return true;
    }
    if (key.len < 10)
        return true;
    uint64_t owner = be64_at(str_skip(key, key.len - 8));
    if (key.data[1] != 'g') {
        buf_add(&o->ids, str_of(&owner, sizeof owner));
    } else {
        buf_add_sized(&o->groups, str_sub(key, 2, key.len - 11));
        buf_add_be64(&o->groups, owner);
    }
    return buf_ok(&o->ids) && buf_ok(&o->groups);
}

static enum err scan_hints(struct directory *d, str prefix, struct owners *o)
{
    struct store_key to;
    key_after_prefix(&to, prefix);
    struct store_scan q = {.partition = STORE_PARTITION_DIRECTORY,
                           .from = prefix,
                           .to = key_str(&to),
                           .keys_only = true};
    TRY(store_scan_all(d->store, &q, owner_row, o));
    return buf_ok(&o->ids) && buf_ok(&o->groups) ? ERR_OK : ERR_LIMIT;
}

static enum err complete(struct directory *d)
{
    BUF_AUTO struct buf value = BUF_INIT(64);
    enum err e = store_get(d->store, STORE_PARTITION_DIRECTORY, STR("H"), &value);
    return e == ERR_NOT_FOUND ? acl_rebuild(d) : e;
}

static enum err gather(struct directory *d, struct acl_who *who, struct owners *o)
{
    struct store_key mine = {.bytes = {DIR_SPACE_SHARE, 'a'}, .len = 2};
    add_be64(&mine, who->account);
    TRY(complete(d));
    TRY(scan_hints(d, key_str(&mine), o));
    TRY(scan_hints(d, STR("Hs"), o));
    TRY(scan_hints(d, STR("Hg"), o));
    struct reader r = reader_of(buf_str(&o->groups));
    while (r.rest.len) {
        bool member;
        str group = read_sized(&r);
        uint64_t owner = read_be64(&r);
        TRY(acl_who_is_member(d, who, group, &member));
        if (member)
            buf_add(&o->ids, str_of(&owner, sizeof owner));
    }
    return buf_ok(&o->ids) ? ERR_OK : ERR_LIMIT;
}

static int compare_ids(const void *a, const void *b)
{
    uint64_t x, y;
    memcpy(&x, a, 8);
    memcpy(&y, b, 8);
    return (x > y) - (x < y);
}

enum err acl_owners(struct directory *d, struct acl_who *who, struct arena *a, const uint64_t **out,
                    size_t *n)
{
    struct owners o = {.ids = BUF_INIT(OWNERS_MAX * 8), .groups = BUF_INIT(8u << 20)};
    enum err e = gather(d, who, &o);
    size_t count = o.ids.len / 8, kept = 0;
    uint64_t *ids = e == ERR_OK ? ARENA_ARRAY(a, uint64_t, count + 1) : NULL;
    if (e == ERR_OK && !ids)
        e = ERR_NOMEM;
    if (e == ERR_OK && count) {
        qsort(o.ids.data, count, 8, compare_ids);
        memcpy(ids, o.ids.data, count * 8);
        for (size_t i = 0; i < count; i++)
            if (ids[i] != who->account && (kept == 0 || ids[kept - 1] != ids[i]))
                ids[kept++] = ids[i];
    }
    buf_free(&o.ids);
    buf_free(&o.groups);
    *out = ids;
    *n = kept;
    return e;
}

/* ---- subscriptions ---- */

struct subscribe_step {
    uint64_t owner;
    uint32_t mailbox;
    bool on;
};

static enum err subscribe_step(struct change *c, void *arg)
{
    const struct subscribe_step *s = arg;
    const char row[] = {SPACE_SUBSCRIBED, 1};
    struct store_key key = key_subscribed(s->owner, s->mailbox);
    if (s->on)
        change_put(c, key, str_of(row, sizeof row));
    else
        change_delete(c, key);
    change_note(c, CHANGE_MAILBOX_CHANGED, 0); /* none of this account's */
    return ERR_OK;
}

enum err acl_subscribe(struct account *a, uint64_t owner, uint32_t mailbox, bool on)
{
    struct subscribe_step s = {owner, mailbox, on};
    return change_run_step(a, subscribe_step, &s);
}

struct subscriptions {
    struct acl_subscription *rows;
    size_t n;
};

static bool subscription_row(void *arg, const struct store_row *row)
{
    struct subscriptions *s = arg;
    struct acl_subscription *out = &s->rows[s->n];
    s->n += key_u64(row->key, 1, &out->owner) && key_u32(row->key, 9, &out->mailbox);
    return s->n < ACL_SUBSCRIPTIONS_MAX;
}

enum err acl_subscriptions(struct account *a, struct arena *arena,
                           const struct acl_subscription **out, size_t *n)
{
    struct store_key from = key_subscribed(1, 0), to = key_space_end(SPACE_SUBSCRIBED);
    struct store_scan q = {
        .partition = a->id, .from = key_str(&from), .to = key_str(&to), .keys_only = true};
    struct subscriptions s = {
        .rows = ARENA_ARRAY(arena, struct acl_subscription, ACL_SUBSCRIPTIONS_MAX)};
    if (!s.rows)
        return ERR_NOMEM;
    TRY(store_scan_all(accounts_store(a->owner), &q, subscription_row, &s));
    *out = s.rows;
    *n = s.n;
    return ERR_OK;
}
