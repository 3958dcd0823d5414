/* SPDX-License-Identifier: Apache-2.0 */
#include "core/directory_rows.h"

#include <assert.h>
#include <string.h>

static void key_start(struct store_key *k, char space)
{
    k->bytes[0] = (uint8_t)space;
    k->len = 1;
}

static bool key_add(struct store_key *k, str s)
{
    if (s.len > (size_t)(STORE_KEY_MAX - k->len))
        return false;
    if (s.len > 0)
        memcpy(k->bytes + k->len, s.data, s.len);
    k->len = (uint8_t)(k->len + s.len);
    return true;
}

static void key_add_be(struct store_key *k, uint64_t n, unsigned bytes)
{
    assert(k->len + bytes <= STORE_KEY_MAX);
    for (unsigned i = bytes; i-- > 0;)
        k->bytes[k->len++] = (uint8_t)(n >> (8 * i));
}

enum err key_domain(struct store_key *k, str domain)
{
    key_start(k, DIR_SPACE_DOMAIN);
    return key_add(k, domain) ? ERR_OK : ERR_LIMIT;
}

enum err key_address(struct store_key *k, str address)
{
    size_t at = str_rfind_char(address, '@');
    if (at == STR_NPOS)
        return ERR_SYNTAX;
    key_start(k, DIR_SPACE_ADDRESS);
    bool fits = key_add(k, str_skip(address, at + 1)) && key_add(k, str_of("", 1)) &&
                key_add(k, str_head(address, at));
    return fits ? ERR_OK : ERR_LIMIT;
}

enum err address_of_key(str key, struct arena *a, str *out)
{
    str domain, local;
    if (key.len < 2 || !str_cut(str_skip(key, 1), '\0', &domain, &local))
        return ERR_CORRUPT;
    *out = arena_fmt(a, "%.*s@%.*s", STR_ARG(local), STR_ARG(domain));
    return str_empty(*out) ? ERR_LIMIT : ERR_OK;
}

enum err key_grant(struct store_key *k, uint64_t account, str address)
{
    key_start(k, DIR_SPACE_GRANT);
    key_add_be(k, account, 8);
    return key_add(k, address) ? ERR_OK : ERR_LIMIT;
}

void key_account(struct store_key *k, uint64_t id)
{
    key_start(k, DIR_SPACE_ACCOUNT);
    key_add_be(k, id, 8);
}

void key_credential(struct store_key *k, uint64_t account, uint32_t id)
{
    key_start(k, DIR_SPACE_CREDENTIAL);
    key_add_be(k, account, 8);
    key_add_be(k, id, 4);
}

void key_next_account(struct store_key *k) { key_start(k, DIR_SPACE_NEXT); }

void key_after_prefix(struct store_key *k, str prefix)
{
    assert(prefix.len > 0 && prefix.len <= STORE_KEY_MAX);
    memcpy(k->bytes, prefix.data, prefix.len);
    k->len = (uint8_t)prefix.len;
    while (k->len > 0 && k->bytes[k->len - 1] == 0xff)
        k->len--;
    assert(k->len > 0); /* no space is 0xff */
    k->bytes[k->len - 1]++;
}

static struct reader row_open(str row, bool *known)
{
    struct reader r = reader_of(row);
    *known = read_u8(&r) == DIRECTORY_ROW_VERSION && !r.failed;
    return r;
}

void domain_row_encode(const struct domain *d, struct buf *out)
{
    buf_add_char(out, DIRECTORY_ROW_VERSION);
    buf_add_sized(out, d->catch_all);
    buf_add_char(out, (char)d->separator);
    buf_add_varint(out, d->quota_bytes);
    buf_add_varint(out, d->quota_messages);
    buf_add_be64(out, (uint64_t)d->created_s);
}

enum err domain_row_decode(str row, str name, struct domain *out)
{
    bool known;
    struct reader r = row_open(row, &known);
    if (!known)
        return ERR_CORRUPT;
    *out = (struct domain){.name = name};
    out->catch_all = read_sized(&r);
    out->separator = read_u8(&r);
    out->quota_bytes = read_varint(&r);
    out->quota_messages = read_varint(&r);
    out->created_s = (int64_t)read_be64(&r);
    return r.failed ? ERR_CORRUPT : ERR_OK;
}

void account_row_encode(const struct account_entry *e, struct buf *out)
{
    buf_add_char(out, DIRECTORY_ROW_VERSION);
    buf_add_sized(out, e->address);
    buf_add_sized(out, e->name);
    buf_add_varint(out, e->quota_bytes);
    buf_add_varint(out, e->quota_messages);
    buf_add_char(out, (char)e->state);
    buf_add_varint(out, e->protocols);
    buf_add_be64(out, (uint64_t)e->created_s);
    if (e->admin)
        buf_add_char(out, 1);
}

enum err account_row_decode(str row, uint64_t id, struct account_entry *out)
{
    bool known;
    struct reader r = row_open(row, &known);
    if (!known)
        return ERR_CORRUPT;
    *out = (struct account_entry){.id = id};
    out->address = read_sized(&r);
    out->name = read_sized(&r);
    out->quota_bytes = read_varint(&r);
    out->quota_messages = read_varint(&r);
    out->state = read_u8(&r);
    out->protocols = (uint32_t)read_varint(&r);
    out->created_s = (int64_t)read_be64(&r);
    out->admin = r.rest.len && read_u8(&r) == 1; /* rows without it are older */
    return r.failed ? ERR_CORRUPT : ERR_OK;
}

void address_row_encode(const struct address_entry *e, struct buf *out)
{
    buf_add_char(out, DIRECTORY_ROW_VERSION);
    buf_add_char(out, (char)e->kind);
    buf_add_char(out, (char)e->flags);
    buf_add_varint(out, e->account);
    buf_add_sized(out, e->name);
    buf_add_varint(out, e->ntargets);
    for (size_t i = 0; i < e->ntargets; i++)
        buf_add_sized(out, e->targets[i]);
}

enum err address_row_decode(str row, str address, struct arena *a, struct address_entry *out)
{
    bool known;
    struct reader r = row_open(row, &known);
    if (!known)
        return ERR_CORRUPT;
    *out = (struct address_entry){.address = address};
    out->kind = read_u8(&r);
    out->flags = read_u8(&r);
    out->account = read_varint(&r);
    out->name = read_sized(&r);
    uint64_t n = read_varint(&r);
    if (r.failed || out->kind > ADDRESS_GROUP || n > DIR_TARGETS_MAX)
        return ERR_CORRUPT;
    str *targets = NULL;
    if (n > 0) {
        targets = ARENA_ARRAY(a, str, n);
        if (!targets)
            return ERR_LIMIT;
    }
    for (uint64_t i = 0; i < n; i++)
        targets[i] = read_sized(&r);
    out->targets = targets;
    out->ntargets = (size_t)n;
    return r.failed ? ERR_CORRUPT : ERR_OK;
}

void credential_row_encode(const struct credential *c, struct buf *out)
{
    buf_add_char(out, DIRECTORY_ROW_VERSION);
    buf_add_sized(out, c->name);
    buf_add_varint(out, c->protocols);
    buf_add_be64(out, (uint64_t)c->created_s);
    buf_add_be64(out, (uint64_t)c->expires_s);
    buf_add_sized(out, c->argon2id);
    buf_add_be32(out, c->scram.iterations);
    buf_add(out, str_of(c->scram.salt, sizeof(c->scram.salt)));
    buf_add(out, str_of(c->scram.stored_key, sizeof(c->scram.stored_key)));
    buf_add(out, str_of(c->scram.server_key, sizeof(c->scram.server_key)));
}

static void read_array(struct reader *r, uint8_t *out, size_t n)
{
    str s = read_bytes(r, n);
    if (s.len == n)
        memcpy(out, s.data, n);
}

enum err credential_row_decode(str row, uint32_t id, struct credential *out)
{
    bool known;
    struct reader r = row_open(row, &known);
    if (!known)
        return ERR_CORRUPT;
    *out = (struct credential){.id = id};
    out->name = read_sized(&r);
    out->protocols = (uint32_t)read_varint(&r);
    out->created_s = (int64_t)read_be64(&r);
    out->expires_s = (int64_t)read_be64(&r);
    out->argon2id = read_sized(&r);
    out->scram.iterations = read_be32(&r);
    read_array(&r, out->scram.salt, sizeof(out->scram.salt));
    read_array(&r, out->scram.stored_key, sizeof(out->scram.stored_key));
    read_array(&r, out->scram.server_key, sizeof(out->scram.server_key));
    return r.failed ? ERR_CORRUPT : ERR_OK;
}
