/* SPDX-License-Identifier: Apache-2.0 */
#include "core/metadata.h"

#include <string.h>

#include "core/account_private.h"
#include "core/directory_rows.h"

#define ROW_VERSION 1
#define READ_BYTES_MAX ((size_t)METADATA_ENTRIES_MAX * (METADATA_VALUE_MAX + 1024))

/* ---- names ---- */

static bool name_valid(str name)
{
    char before = '\0';
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        if (c <= 0x20 || c >= 0x7f || c == '*' || c == '%' || (c == '/' && before == '/'))
            return false;
        before = c;
    }
    return before != '/';
}

enum err metadata_name(str name, struct arena *a, enum metadata_scope *scope, str *out)
{
    if (str_starts_nocase(name, STR("/private")))
        *scope = METADATA_PRIVATE;
    else if (str_starts_nocase(name, STR("/shared")))
        *scope = METADATA_SHARED;
    else
        return ERR_INVALID;
    str rest = str_skip(name, *scope == METADATA_PRIVATE ? 8 : 7);
    if ((rest.len && rest.data[0] != '/') || !name_valid(name))
        return ERR_INVALID;
    if (name.len > METADATA_NAME_MAX)
        return ERR_LIMIT;
    return arena_dup_lower(a, name, out) ? ERR_OK : ERR_NOMEM;
}

/* ---- rows ---- */

static void key_add(struct store_key *k, str s)
{
    if (s.len)
        memcpy(k->bytes + k->len, s.data, s.len);
    k->len = (uint8_t)(k->len + s.len);
}

/* The server's are behind 'M' in the directory. */
static struct store_key key_of(const struct metadata_place *p, str name)
{
    struct store_key k = p->account ? key_metadata(p->scope, p->owner, p->mailbox)
                                    : (struct store_key){.bytes = {DIR_SPACE_METADATA}, .len = 1};
    key_add(&k, name);
    return k;
}

static struct store *store_of(const struct metadata_place *p)
{
    return p->account ? accounts_store(p->account->owner) : p->store;
}

static uint64_t partition_of(const struct metadata_place *p)
{
    return p->account ? p->account->id : STORE_PARTITION_DIRECTORY;
}

static void encode(str value, struct buf *out)
{
    buf_add_char(out, SPACE_METADATA);
    buf_add_char(out, ROW_VERSION);
    buf_add(out, value);
}

enum err metadata_decode(str row, str *value)
{
    struct reader r = reader_of(row);
    if (read_u8(&r) != SPACE_METADATA || read_u8(&r) != ROW_VERSION || r.failed)
        return ERR_CORRUPT;
    *value = r.rest;
    return ERR_OK;
}

/* ---- reading ---- */

struct listing {
    struct arena *arena;
    str prefix;
    uint32_t depth;
    size_t skip; /* bytes of the key before the name */
    struct metadata_value *values;
    size_t n;
    const struct metadata_change *changes; /* counts the names that are not among these */
    size_t nchanges;
    enum err err;
};

static bool in_depth(const struct listing *l, str name)
{
    if (str_eq(name, l->prefix))
        return true;
    str rest = str_skip(name, l->prefix.len);
    if (l->depth == 0 || !str_starts(name, l->prefix) || !str_starts(rest, STR("/")))
        return false;
    return l->depth > 1 || str_find_char(str_skip(rest, 1), '/') == STR_NPOS;
}

static bool list_row(void *arg, const struct store_row *row)
{
    struct listing *l = arg;
    str name = str_skip(row->key, l->skip), value;
    if (l->changes) {
        bool changed = false;
        for (size_t i = 0; i < l->nchanges; i++)
            changed = changed || str_eq(l->changes[i].name, name);
        l->n += !changed;
        return true;
    }
    if (!in_depth(l, name) || metadata_decode(row->value, &value) != ERR_OK)
        return true;
    struct metadata_value *out = &l->values[l->n];
    if (!arena_dup(l->arena, name, &out->name) || !arena_dup(l->arena, value, &out->value))
        l->err = ERR_LIMIT;
    else
        l->n++;
    return l->err == ERR_OK && l->n < METADATA_ENTRIES_MAX;
}

static enum err scan(const struct metadata_place *p, struct listing *l)
{
    struct store_key from = key_of(p, STR_NONE), to;
    l->skip = from.len;
    key_after_prefix(&to, key_str(&from));
    struct store_scan q = {.partition = partition_of(p),
                           .from = key_str(&from),
                           .to = key_str(&to),
                           .limit = STORE_PAGE_MAX,
                           .keys_only = l->changes != NULL};
    TRY(store_scan(store_of(p), &q, list_row, l, NULL));
    return l->err;
}

enum err metadata_list(const struct metadata_place *p, str prefix, uint32_t depth, struct arena *a,
                       const struct metadata_value **out, size_t *n)
{
    struct listing l = {.arena = a, .prefix = prefix, .depth = depth};
    l.values = ARENA_ARRAY(a, struct metadata_value, METADATA_ENTRIES_MAX);
    if (!l.values)
        return ERR_LIMIT;
    TRY(scan(p, &l));
    *out = l.values;
    *n = l.n;
    return ERR_OK;
}

/* ---- writing ---- */

struct set_step {
    const struct metadata_place *place;
    const struct metadata_change *changes;
    size_t n;
};

static enum err set_step(struct change *c, void *arg)
{
    const struct set_step *s = arg;
    const struct metadata_place *p = s->place;
    bool own = p->owner == p->account->id;
    BUF_AUTO struct buf row = BUF_INIT(STORE_VALUE_MAX);
    if (own && p->mailbox && !mailbox_get(p->account, p->mailbox))
        return ERR_NOT_FOUND;
    for (size_t i = 0; i < s->n; i++) {
        struct store_key key = key_of(p, s->changes[i].name);
        buf_reset(&row);
        encode(s->changes[i].value, &row);
        if (s->changes[i].remove)
            change_delete(c, key);
        else
            change_put(c, key, buf_str(&row));
        change_note_entry(c, &(struct change_entry){.kind = CHANGE_METADATA,
                                                    .mailbox = own ? p->mailbox : 0,
                                                    .name = own ? s->changes[i].name : STR_NONE});
    }
    return ERR_OK;
}

static enum err set_server(const struct metadata_place *p, const struct metadata_change *changes,
                           size_t n)
{
    ARENA_AUTO struct arena a = ARENA_INIT(READ_BYTES_MAX);
    struct store_op *ops = ARENA_ARRAY(&a, struct store_op, n);
    struct store_key *keys = ARENA_ARRAY(&a, struct store_key, n);
    if (!ops || !keys)
        return ERR_LIMIT;
    for (size_t i = 0; i < n; i++) {
        BUF_AUTO struct buf row = BUF_INIT(STORE_VALUE_MAX);
        encode(changes[i].value, &row);
        keys[i] = key_of(p, changes[i].name);
        ops[i] = (struct store_op){.kind = changes[i].remove ? STORE_DELETE : STORE_PUT,
                                   .key = key_str(&keys[i])};
        if (!changes[i].remove && !arena_dup(&a, buf_str(&row), &ops[i].value))
            return ERR_LIMIT;
    }
    struct store_commit c = {.partition = STORE_PARTITION_DIRECTORY,
                             .expect_version = STORE_ANY_VERSION,
                             .ops = ops,
                             .nops = n};
    struct store_result r;
    return store_commit(p->store, &c, &r);
}

enum err metadata_set(const struct metadata_place *p, const struct metadata_change *changes,
                      size_t n)
{
    struct listing all = {.changes = changes, .nchanges = n};
    size_t adds = 0;
    for (size_t i = 0; i < n; i++) {
        adds += !changes[i].remove;
        if (changes[i].value.len > METADATA_VALUE_MAX)
            return ERR_TOO_LARGE;
    }
    TRY(scan(p, &all));
    if (adds && all.n + adds > METADATA_ENTRIES_MAX)
        return ERR_LIMIT;
    if (!p->account)
        return set_server(p, changes, n);
    struct set_step s = {p, changes, n};
    return change_run_step(p->account, set_step, &s);
}
