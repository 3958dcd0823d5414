/* SPDX-License-Identifier: Apache-2.0
 *
 * Lists of the directory, a page at a time, and granted sender addresses.
 */
#include "core/directory.h"
#include "core/directory_rows.h"

#include "base/num.h"

struct page {
    struct arena *arena;
    directory_domain_fn *domain;
    directory_account_fn *account;
    directory_address_fn *address;
    void *arg;
    unsigned kind_mask;
    enum err err;
};

static enum err scan_space(struct directory *d, str prefix, str after, size_t limit,
                           store_row_fn *fn, struct page *p)
{
    struct store_key from, end;
    key_after_prefix(&end, prefix);
    str start = prefix;
    if (!str_empty(after)) {
        from.len = 0;
        if (after.len + 1 > STORE_KEY_MAX)
            return ERR_LIMIT;
        for (size_t i = 0; i < after.len; i++)
            from.bytes[from.len++] = (uint8_t)after.data[i];
        store_key_next(&from);
        start = key_str(&from);
    }
    struct store_scan scan = {.partition = STORE_PARTITION_DIRECTORY,
                              .from = start,
                              .to = key_str(&end),
                              .limit = MIN(limit, (size_t)STORE_PAGE_MAX)};
    TRY(store_scan(d->store, &scan, fn, p, NULL));
    return p->err;
}

static bool domain_row(void *arg, const struct store_row *row)
{
    struct page *p = arg;
    struct domain dom;
    if (domain_row_decode(row->value, str_skip(row->key, 1), &dom) != ERR_OK)
        return true; /* `posthouse check` reports it; the others are still listed */
    return p->domain(p->arg, &dom);
}

enum err directory_domains(struct directory *d, str after, size_t limit, directory_domain_fn *fn,
                           void *arg)
{
    struct page p = {.domain = fn, .arg = arg};
    struct store_key key = {.len = 0};
    if (!str_empty(after))
        TRY(key_domain(&key, after));
    return scan_space(d, STR("D"), key_str(&key), limit, domain_row, &p);
}

static bool account_row(void *arg, const struct store_row *row)
{
    struct page *p = arg;
    struct account_entry e;
    struct reader r = reader_of(str_skip(row->key, 1));
    uint64_t id = read_be64(&r);
    if (r.failed || account_row_decode(row->value, id, &e) != ERR_OK)
        return true;
    return p->account(p->arg, &e);
}

enum err directory_accounts(struct directory *d, uint64_t after_id, size_t limit,
                            directory_account_fn *fn, void *arg)
{
    struct page p = {.account = fn, .arg = arg};
    struct store_key key = {.len = 0};
    if (after_id)
        key_account(&key, after_id);
    return scan_space(d, STR("I"), key_str(&key), limit, account_row, &p);
}

static bool address_row(void *arg, const struct store_row *row)
{
    struct page *p = arg;
    struct address_entry e;
    str address;
    arena_reset(p->arena);
    if (address_of_key(row->key, p->arena, &address) != ERR_OK ||
        address_row_decode(row->value, address, p->arena, &e) != ERR_OK)
        return true;
    if (!(p->kind_mask & (1u << e.kind)))
        return true;
    return p->address(p->arg, &e);
}

enum err directory_addresses(struct directory *d, str domain, str after, unsigned kind_mask,
                             size_t limit, directory_address_fn *fn, void *arg)
{
    ARENA_AUTO struct arena a = ARENA_INIT((size_t)1 << 20);
    struct page p = {.arena = &a, .address = fn, .arg = arg, .kind_mask = kind_mask};
    struct store_key prefix = {.bytes = {'A'}, .len = 1}, key = {.len = 0};
    if (!str_empty(domain)) {
        str name = arena_fmt(&a, "@%.*s", STR_ARG(domain));
        TRY(key_address(&prefix, name));
    }
    if (!str_empty(after))
        TRY(key_address(&key, after));
    return scan_space(d, key_str(&prefix), key_str(&key), limit, address_row, &p);
}

enum err directory_grant_send(struct directory *d, uint64_t account, str address, bool granted)
{
    ARENA_AUTO struct arena a = ARENA_INIT(16384);
    struct store_key key;
    str normal;
    TRY(directory_normalise(address, &a, &normal));
    TRY(key_grant(&key, account, normal));
    struct store_op op = {.kind = granted ? STORE_PUT : STORE_DELETE,
                          .key = key_str(&key),
                          .value = granted ? STR("\001") : STR_NONE};
    struct store_commit c = {.partition = STORE_PARTITION_DIRECTORY,
                             .expect_version = STORE_ANY_VERSION,
                             .ops = &op,
                             .nops = 1};
    struct store_result result;
    return store_commit(d->store, &c, &result);
}

struct grants {
    struct arena *arena;
    str *list;
    size_t count;
    enum err err;
};

static bool grant_row(void *arg, const struct store_row *row)
{
    struct grants *g = arg;
    if (!arena_dup(g->arena, str_skip(row->key, DIR_GRANT_ADDRESS_AT), &g->list[g->count])) {
        g->err = ERR_LIMIT;
        return false;
    }
    return ++g->count < DIR_GRANTS_MAX;
}

enum err directory_grants(struct directory *d, uint64_t account, struct arena *a, const str **list,
                          size_t *n)
{
    struct store_key from, end;
    struct grants g = {.arena = a, .list = ARENA_ARRAY(a, str, DIR_GRANTS_MAX)};
    if (!g.list)
        return ERR_LIMIT;
    TRY(key_grant(&from, account, STR_NONE));
    key_after_prefix(&end, key_str(&from));
    struct store_scan scan = {.partition = STORE_PARTITION_DIRECTORY,
                              .from = key_str(&from),
                              .to = key_str(&end),
                              .limit = DIR_GRANTS_MAX};
    TRY(store_scan(d->store, &scan, grant_row, &g, NULL));
    *list = g.list;
    *n = g.count;
    return g.err;
}
