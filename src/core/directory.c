/* SPDX-License-Identifier: Apache-2.0
 *
 * Why one commit per change with expectations: the directory is shared by all threads, and the
 * version check of its rows is all the locking there is.
 */
#include "core/directory.h"

#include "core/directory_rows.h"
#include "os/clock.h"

#include <assert.h>
#include <string.h>

#define DIR_TRIES 50      /* a commit that meets another one is built again so often */
#define DIR_ROW_MAX 65536 /* bytes of one row */
#define DIR_OPS_MAX 200   /* operations of one change */

/* One change being built: rows are read, expectations noted, operations added. */
struct change {
    struct directory *d;
    struct arena arena;
    struct store_expect expects[DIR_OPS_MAX];
    size_t nexpects;
    struct store_op ops[DIR_OPS_MAX];
    size_t nops;
};

static enum err change_copy(struct change *c, str s, str *out)
{
    return arena_dup(&c->arena, s, out) ? ERR_OK : ERR_LIMIT;
}

static enum err change_expect(struct change *c, enum store_expect_kind kind, str key, str value)
{
    if (c->nexpects == DIR_OPS_MAX)
        return ERR_LIMIT;
    struct store_expect *e = &c->expects[c->nexpects++];
    e->kind = kind;
    TRY(change_copy(c, key, &e->key));
    return change_copy(c, value, &e->value);
}

static enum err change_op(struct change *c, enum store_op_kind kind, str key, str value)
{
    if (c->nops == DIR_OPS_MAX)
        return ERR_LIMIT;
    struct store_op *op = &c->ops[c->nops++];
    *op = (struct store_op){.kind = kind};
    TRY(change_copy(c, key, &op->key));
    return change_copy(c, value, &op->value);
}

static enum err change_put(struct change *c, str key, const struct buf *row)
{
    if (!buf_ok(row))
        return ERR_LIMIT;
    return change_op(c, STORE_PUT, key, buf_str(row));
}

/* Reads a row and expects it unchanged. */
static enum err change_read(struct change *c, str key, str *row)
{
    BUF_AUTO struct buf b = BUF_INIT(DIR_ROW_MAX);
    TRY(store_get(c->d->store, STORE_PARTITION_DIRECTORY, key, &b));
    TRY(change_copy(c, buf_str(&b), row));
    return change_expect(c, STORE_EXPECT_EQUAL, key, *row);
}

/* Looks again at each try: who lost a race hears ERR_EXISTS, not a conflict without end. */
static enum err change_absent(struct change *c, str key)
{
    BUF_AUTO struct buf b = BUF_INIT(DIR_ROW_MAX);
    enum err e = store_get(c->d->store, STORE_PARTITION_DIRECTORY, key, &b);
    if (e != ERR_NOT_FOUND)
        return e == ERR_OK ? ERR_EXISTS : e;
    return change_expect(c, STORE_EXPECT_ABSENT, key, STR_NONE);
}

static enum err change_commit(struct change *c)
{
    struct store_commit commit = {
        .partition = STORE_PARTITION_DIRECTORY,
        .expect_version = STORE_ANY_VERSION,
        .expects = c->expects,
        .nexpects = c->nexpects,
        .ops = c->ops,
        .nops = c->nops,
    };
    struct store_result result;
    return store_commit(c->d->store, &commit, &result);
}

typedef enum err change_fn(struct change *c, void *arg);

/* Builds and commits, again when somebody else was faster. */
static enum err change_run(struct directory *d, change_fn *build, void *arg)
{
    enum err e = ERR_BUSY;
    for (int i = 0; i < DIR_TRIES; i++) {
        ARENA_AUTO struct arena holder = ARENA_INIT(sizeof(struct change) + 4096);
        struct change *c = ARENA_NEW(&holder, struct change);
        if (!c)
            return ERR_NOMEM;
        c->d = d;
        arena_init(&c->arena, (size_t)4 << 20);
        e = build(c, arg);
        if (e == ERR_OK)
            e = change_commit(c);
        arena_free(&c->arena);
        if (e != ERR_CONFLICT)
            return e;
    }
    return e;
}

/* ---- domains ---- */

static enum err domain_put(struct change *c, const struct domain *dom, bool exists)
{
    struct store_key key;
    TRY(key_domain(&key, dom->name));
    struct domain row = *dom;
    if (exists) {
        str old;
        enum err e = change_read(c, key_str(&key), &old);
        if (e != ERR_OK)
            return e == ERR_NOT_FOUND ? ERR_NO_DOMAIN : e;
        struct domain before;
        TRY(domain_row_decode(old, dom->name, &before));
        row.created_s = before.created_s;
    } else {
        row.created_s = clock_wall_s();
        TRY(change_absent(c, key_str(&key)));
    }
    BUF_AUTO struct buf b = BUF_INIT(DIR_ROW_MAX);
    domain_row_encode(&row, &b);
    return change_put(c, key_str(&key), &b);
}

static enum err build_domain_add(struct change *c, void *arg) { return domain_put(c, arg, false); }

static enum err build_domain_set(struct change *c, void *arg) { return domain_put(c, arg, true); }

static enum err domain_write(struct directory *d, const struct domain *dom, change_fn *build)
{
    ARENA_AUTO struct arena a = ARENA_INIT(16384);
    struct domain row = *dom;
    TRY(directory_normalise_domain(dom->name, &a, &row.name));
    if (!str_empty(dom->catch_all))
        TRY(directory_normalise(dom->catch_all, &a, &row.catch_all));
    return change_run(d, build, &row);
}

enum err directory_domain_add(struct directory *d, const struct domain *dom)
{
    ARENA_AUTO struct arena a = ARENA_INIT(16384);
    struct domain there;
    enum err e = directory_domain_get(d, dom->name, &a, &there);
    if (e != ERR_NO_DOMAIN)
        return e == ERR_OK ? ERR_EXISTS : e;
    return domain_write(d, dom, build_domain_add);
}

enum err directory_domain_set(struct directory *d, const struct domain *dom)
{
    return domain_write(d, dom, build_domain_set);
}

/* Reads one row into the arena. */
static enum err row_get(struct directory *d, const struct store_key *key, struct arena *a, str *row)
{
    BUF_AUTO struct buf b = BUF_INIT(DIR_ROW_MAX);
    TRY(store_get(d->store, STORE_PARTITION_DIRECTORY, key_str(key), &b));
    return arena_dup(a, buf_str(&b), row) ? ERR_OK : ERR_LIMIT;
}

static enum err domain_get_normal(struct directory *d, str name, struct arena *a,
                                  struct domain *out)
{
    struct store_key key;
    str row;
    if (key_domain(&key, name) != ERR_OK)
        return ERR_NO_DOMAIN;
    enum err e = row_get(d, &key, a, &row);
    if (e != ERR_OK)
        return e == ERR_NOT_FOUND ? ERR_NO_DOMAIN : e;
    return domain_row_decode(row, name, out);
}

enum err directory_domain_get(struct directory *d, str name, struct arena *a, struct domain *out)
{
    str normal;
    TRY(directory_normalise_domain(name, a, &normal));
    return domain_get_normal(d, normal, a, out);
}

static bool found_one(void *arg, const struct store_row *row)
{
    *(bool *)arg = true;
    return false;
}

static enum err build_domain_remove(struct change *c, void *arg)
{
    const str *name = arg;
    struct store_key key, first, end;
    str row;
    TRY(key_domain(&key, *name));
    enum err e = change_read(c, key_str(&key), &row);
    if (e != ERR_OK)
        return e == ERR_NOT_FOUND ? ERR_NO_DOMAIN : e;
    TRY(key_address(&first, arena_fmt(&c->arena, "@%.*s", STR_ARG(*name))));
    key_after_prefix(&end, key_str(&first));
    bool used = false;
    struct store_scan scan = {.partition = STORE_PARTITION_DIRECTORY,
                              .from = key_str(&first),
                              .to = key_str(&end),
                              .limit = 1,
                              .keys_only = true};
    TRY(store_scan(c->d->store, &scan, found_one, &used, NULL));
    if (used)
        return ERR_HAS_CHILDREN;
    return change_op(c, STORE_DELETE, key_str(&key), STR_NONE);
}

enum err directory_domain_remove(struct directory *d, str name)
{
    ARENA_AUTO struct arena a = ARENA_INIT(16384);
    str normal;
    TRY(directory_normalise_domain(name, &a, &normal));
    return change_run(d, build_domain_remove, &normal);
}

/* ---- addresses ---- */

static enum err address_get_normal(struct directory *d, str address, struct arena *a,
                                   struct address_entry *out)
{
    struct store_key key;
    str row;
    if (key_address(&key, address) != ERR_OK)
        return ERR_NOT_FOUND;
    TRY(row_get(d, &key, a, &row));
    return address_row_decode(row, address, a, out);
}

enum err directory_address_get(struct directory *d, str address, struct arena *a,
                               struct address_entry *out)
{
    str normal;
    TRY(directory_normalise(address, a, &normal));
    return address_get_normal(d, normal, a, out);
}

/* The domain must be ours and stay so while the address is added. */
static enum err expect_domain_of(struct change *c, str address)
{
    struct store_key key;
    str row;
    TRY(key_domain(&key, str_skip(address, str_rfind_char(address, '@') + 1)));
    enum err e = change_read(c, key_str(&key), &row);
    return e == ERR_NOT_FOUND ? ERR_NO_DOMAIN : e;
}

static enum err put_address(struct change *c, const struct address_entry *e)
{
    struct store_key key;
    TRY(key_address(&key, e->address));
    BUF_AUTO struct buf b = BUF_INIT(DIR_ROW_MAX);
    address_row_encode(e, &b);
    return change_put(c, key_str(&key), &b);
}

static enum err build_address_add(struct change *c, void *arg)
{
    const struct address_entry *e = arg;
    struct store_key key;
    TRY(expect_domain_of(c, e->address));
    TRY(key_address(&key, e->address));
    TRY(change_absent(c, key_str(&key)));
    return put_address(c, e);
}

/* The address as it is must be an alias or a group: accounts are changed elsewhere. */
static enum err read_alias(struct change *c, str address, struct address_entry *old)
{
    struct store_key key;
    str row;
    TRY(key_address(&key, address));
    TRY(change_read(c, key_str(&key), &row));
    TRY(address_row_decode(row, address, &c->arena, old));
    return old->kind == ADDRESS_ACCOUNT ? ERR_INVALID : ERR_OK;
}

static enum err build_address_set(struct change *c, void *arg)
{
    const struct address_entry *e = arg;
    struct address_entry old;
    TRY(read_alias(c, e->address, &old));
    return put_address(c, e);
}

static enum err address_normalise(const struct address_entry *e, struct arena *a,
                                  struct address_entry *out)
{
    *out = *e;
    if (e->kind == ADDRESS_ACCOUNT)
        return ERR_INVALID;
    if (e->ntargets > DIR_TARGETS_MAX)
        return ERR_LIMIT;
    TRY(directory_normalise(e->address, a, &out->address));
    if (e->ntargets == 0)
        return ERR_OK;
    str *targets = ARENA_ARRAY(a, str, e->ntargets);
    if (!targets)
        return ERR_LIMIT;
    for (size_t i = 0; i < e->ntargets; i++)
        TRY(directory_normalise(e->targets[i], a, &targets[i]));
    out->targets = targets;
    return ERR_OK;
}

static bool address_taken(struct directory *d, str normal, struct arena *a, enum err *e)
{
    struct address_entry there;
    *e = address_get_normal(d, normal, a, &there);
    return *e != ERR_NOT_FOUND;
}

enum err directory_address_add(struct directory *d, const struct address_entry *entry)
{
    ARENA_AUTO struct arena a = ARENA_INIT((size_t)1 << 20);
    struct address_entry normal;
    enum err e;
    TRY(address_normalise(entry, &a, &normal));
    if (address_taken(d, normal.address, &a, &e))
        return e == ERR_OK ? ERR_EXISTS : e;
    return change_run(d, build_address_add, &normal);
}

enum err directory_address_set(struct directory *d, const struct address_entry *entry)
{
    ARENA_AUTO struct arena a = ARENA_INIT((size_t)1 << 20);
    struct address_entry normal;
    TRY(address_normalise(entry, &a, &normal));
    return change_run(d, build_address_set, &normal);
}

static enum err build_address_remove(struct change *c, void *arg)
{
    const str *address = arg;
    struct store_key key;
    struct address_entry old;
    TRY(read_alias(c, *address, &old));
    if (old.account) {
        key_account(&key, old.account);
        TRY(change_op(c, STORE_DELETE, key_str(&key), STR_NONE));
    }
    TRY(key_address(&key, *address));
    return change_op(c, STORE_DELETE, key_str(&key), STR_NONE);
}

enum err directory_address_remove(struct directory *d, str address)
{
    ARENA_AUTO struct arena a = ARENA_INIT(16384);
    str normal;
    TRY(directory_normalise(address, &a, &normal));
    return change_run(d, build_address_remove, &normal);
}

/* ---- accounts ---- */

struct account_add {
    struct account_entry entry;
};

static enum err next_account_id(struct change *c, uint64_t *id)
{
    struct store_key key;
    key_next_account(&key);
    str row;
    enum err e = change_read(c, key_str(&key), &row);
    if (e == ERR_NOT_FOUND) {
        *id = STORE_PARTITION_ACCOUNTS;
        TRY(change_expect(c, STORE_EXPECT_ABSENT, key_str(&key), STR_NONE));
    } else {
        if (e != ERR_OK)
            return e;
        struct reader r = reader_of(row);
        *id = read_be64(&r);
        if (r.failed || *id < STORE_PARTITION_ACCOUNTS)
            return ERR_CORRUPT;
    }
    BUF_AUTO struct buf b = BUF_INIT(16);
    buf_add_be64(&b, *id + 1);
    return change_put(c, key_str(&key), &b);
}

static enum err build_account_add(struct change *c, void *arg)
{
    struct account_add *x = arg;
    TRY(expect_domain_of(c, x->entry.address));
    TRY(next_account_id(c, &x->entry.id));
    struct store_key key;
    TRY(key_address(&key, x->entry.address));
    TRY(change_absent(c, key_str(&key)));
    TRY(put_address(c, &(struct address_entry){.address = x->entry.address,
                                               .kind = ADDRESS_ACCOUNT,
                                               .account = x->entry.id}));
    key_account(&key, x->entry.id);
    BUF_AUTO struct buf b = BUF_INIT(DIR_ROW_MAX);
    account_row_encode(&x->entry, &b);
    return change_put(c, key_str(&key), &b);
}

enum err directory_account_add(struct directory *d, const struct account_entry *e, uint64_t *id)
{
    ARENA_AUTO struct arena a = ARENA_INIT(16384);
    struct account_add x = {.entry = *e};
    enum err err;
    if (e->name.len > DIR_NAME_MAX)
        return ERR_LIMIT;
    TRY(directory_normalise(e->address, &a, &x.entry.address));
    if (address_taken(d, x.entry.address, &a, &err))
        return err == ERR_OK ? ERR_EXISTS : err;
    x.entry.created_s = clock_wall_s();
    TRY(change_run(d, build_account_add, &x));
    *id = x.entry.id;
    return ERR_OK;
}

struct group_share {
    str address;
    uint8_t to;
    uint64_t account;
};

static enum err build_group_share(struct change *c, void *arg)
{
    struct group_share *g = arg;
    struct address_entry e;
    TRY(read_alias(c, g->address, &e));
    if (e.kind != ADDRESS_GROUP)
        return ERR_NOT_FOUND;
    if (!e.account) {
        TRY(next_account_id(c, &e.account));
        struct account_entry row = {.id = e.account,
                                    .address = e.address,
                                    .name = e.name,
                                    .state = ACCOUNT_OF_GROUP,
                                    .created_s = clock_wall_s()};
        struct store_key key;
        BUF_AUTO struct buf b = BUF_INIT(DIR_ROW_MAX);
        key_account(&key, e.account);
        account_row_encode(&row, &b);
        TRY(change_put(c, key_str(&key), &b));
    }
    e.flags = (uint8_t)((e.flags & ~(ADDRESS_TO_MAILBOX | ADDRESS_TO_MEMBERS)) | g->to);
    g->account = e.account;
    return put_address(c, &e);
}

enum err directory_group_share(struct directory *d, str address, uint8_t to, uint64_t *account)
{
    ARENA_AUTO struct arena a = ARENA_INIT(16384);
    struct group_share g = {.to = to};
    TRY(directory_normalise(address, &a, &g.address));
    TRY(change_run(d, build_group_share, &g));
    *account = g.account;
    return ERR_OK;
}

enum err directory_account_get(struct directory *d, uint64_t id, struct arena *a,
                               struct account_entry *out)
{
    struct store_key key;
    str row;
    key_account(&key, id);
    TRY(row_get(d, &key, a, &row));
    return account_row_decode(row, id, out);
}

enum err directory_account_find(struct directory *d, str address, struct arena *a,
                                struct account_entry *out)
{
    struct address_entry entry;
    TRY(directory_address_get(d, address, a, &entry));
    if (entry.kind != ADDRESS_ACCOUNT)
        return ERR_NOT_FOUND;
    return directory_account_get(d, entry.account, a, out);
}

static enum err build_account_set(struct change *c, void *arg)
{
    struct account_entry row = *(const struct account_entry *)arg;
    struct account_entry before;
    struct store_key key;
    str old;
    key_account(&key, row.id);
    TRY(change_read(c, key_str(&key), &old));
    TRY(account_row_decode(old, row.id, &before));
    row.address = before.address; /* renaming an account is another operation */
    row.created_s = before.created_s;
    BUF_AUTO struct buf b = BUF_INIT(DIR_ROW_MAX);
    account_row_encode(&row, &b);
    return change_put(c, key_str(&key), &b);
}

enum err directory_account_set(struct directory *d, const struct account_entry *e)
{
    if (e->name.len > DIR_NAME_MAX)
        return ERR_LIMIT;
    struct account_entry copy = *e;
    return change_run(d, build_account_set, &copy);
}

static enum err delete_prefix(struct change *c, str prefix)
{
    struct store_key end;
    key_after_prefix(&end, prefix);
    return change_op(c, STORE_DELETE_RANGE, prefix, key_str(&end));
}

static enum err build_account_remove(struct change *c, void *arg)
{
    uint64_t id = *(const uint64_t *)arg;
    struct store_key key;
    struct account_entry e;
    str row;
    key_account(&key, id);
    TRY(change_read(c, key_str(&key), &row));
    TRY(account_row_decode(row, id, &e));
    TRY(change_op(c, STORE_DELETE, key_str(&key), STR_NONE));
    TRY(key_address(&key, e.address));
    TRY(change_op(c, STORE_DELETE, key_str(&key), STR_NONE));
    key_credential(&key, id, 0);
    TRY(delete_prefix(c, str_head(key_str(&key), 9)));
    TRY(key_grant(&key, id, STR_NONE));
    return delete_prefix(c, key_str(&key));
}

enum err directory_account_remove(struct directory *d, uint64_t id)
{
    return change_run(d, build_account_remove, &id);
}
