/* SPDX-License-Identifier: Apache-2.0 */
#include "core/acme_rows.h"

#include "core/acme_crypto.h"

#include <openssl/sha.h>
#include <string.h>

#define ROW_VERSION 1
#define ROW_MAX 16384

static struct store_key key_of(char kind, str rest)
{
    struct store_key k = {.bytes = {'W', (uint8_t)kind}, .len = 2};
    if (rest.len > 0)
        memcpy(k.bytes + 2, rest.data, rest.len);
    k.len = (uint8_t)(2 + rest.len);
    return k;
}

static enum err change(struct store *s, const struct store_op *op) WAITS
{
    struct store_commit c = {.partition = STORE_PARTITION_DIRECTORY,
                             .expect_version = STORE_ANY_VERSION,
                             .ops = op,
                             .nops = 1};
    struct store_result r;
    return store_commit(s, &c, &r);
}

static enum err put(struct store *s, const struct store_key *k, const struct buf *row) WAITS
{
    if (!buf_ok(row))
        return ERR_LIMIT;
    return change(s,
                  &(struct store_op){.kind = STORE_PUT, .key = key_str(k), .value = buf_str(row)});
}

static enum err get(struct store *s, const struct store_key *k, struct arena *a,
                    struct reader *out) WAITS
{
    BUF_AUTO struct buf row = BUF_INIT(ROW_MAX);
    str copy;
    TRY(store_get(s, STORE_PARTITION_DIRECTORY, key_str(k), &row));
    if (!arena_dup(a, buf_str(&row), &copy))
        return ERR_NOMEM;
    *out = reader_of(copy);
    return read_u8(out) == ROW_VERSION ? ERR_OK : ERR_CORRUPT;
}

enum err acme_account_get(struct store *s, struct arena *a, struct acme_account *out)
{
    struct store_key k = key_of('a', STR_NONE);
    struct reader r;
    TRY(get(s, &k, a, &r));
    out->directory_url = read_sized(&r);
    out->kid = read_sized(&r);
    out->key_pem = read_sized(&r);
    return r.failed ? ERR_CORRUPT : ERR_OK;
}

enum err acme_account_put(struct store *s, const struct acme_account *a)
{
    struct store_key k = key_of('a', STR_NONE);
    BUF_AUTO struct buf row = BUF_INIT(ROW_MAX);
    buf_add_char(&row, ROW_VERSION);
    buf_add_sized(&row, a->directory_url);
    buf_add_sized(&row, a->kid);
    buf_add_sized(&row, a->key_pem);
    enum err e = put(s, &k, &row);
    if (row.data)
        explicit_bzero(row.data, row.len);
    return e;
}

enum err acme_state_get(struct store *s, struct arena *a, struct acme_state *out)
{
    struct store_key k = key_of('s', STR_NONE);
    struct reader r;
    *out = (struct acme_state){0};
    enum err e = get(s, &k, a, &r);
    if (e != ERR_OK)
        return e == ERR_NOT_FOUND ? ERR_OK : e;
    out->next_try_s = (int64_t)read_be64(&r);
    out->last_s = (int64_t)read_be64(&r);
    out->failures = read_be32(&r);
    out->error = read_sized(&r);
    return r.failed ? ERR_CORRUPT : ERR_OK;
}

enum err acme_state_put(struct store *s, const struct acme_state *st)
{
    struct store_key k = key_of('s', STR_NONE);
    BUF_AUTO struct buf row = BUF_INIT(ROW_MAX);
    buf_add_char(&row, ROW_VERSION);
    buf_add_be64(&row, (uint64_t)st->next_try_s);
    buf_add_be64(&row, (uint64_t)st->last_s);
    buf_add_be32(&row, st->failures);
    buf_add_sized(&row, str_head(st->error, 4096));
    return put(s, &k, &row);
}

bool acme_token_valid(str token)
{
    for (size_t i = 0; i < token.len; i++) {
        char c = token.data[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
              c == '-' || c == '_'))
            return false;
    }
    return token.len > 0 && token.len <= ACME_TOKEN_MAX;
}

static enum err put_proof(struct store *s, const struct store_key *k, str key_authorization) WAITS
{
    BUF_AUTO struct buf row = BUF_INIT(ROW_MAX);
    buf_add_char(&row, ROW_VERSION);
    buf_add(&row, key_authorization);
    return put(s, k, &row);
}

static enum err get_proof(struct store *s, const struct store_key *k, struct buf *out) WAITS
{
    ARENA_AUTO struct arena a = ARENA_INIT(65536);
    struct reader r;
    TRY(get(s, k, &a, &r));
    buf_add(out, r.rest);
    return buf_ok(out) ? ERR_OK : ERR_LIMIT;
}

static enum err remove_proof(struct store *s, const struct store_key *k) WAITS
{
    return change(s, &(struct store_op){.kind = STORE_DELETE, .key = key_str(k)});
}

enum err acme_challenge_put(struct store *s, str token, str key_authorization)
{
    if (!acme_token_valid(token))
        return ERR_INVALID;
    struct store_key k = key_of('t', token);
    return put_proof(s, &k, key_authorization);
}

enum err acme_challenge_get(struct store *s, str token, struct buf *out)
{
    if (!acme_token_valid(token))
        return ERR_NOT_FOUND;
    struct store_key k = key_of('t', token);
    return get_proof(s, &k, out);
}

enum err acme_challenge_remove(struct store *s, str token)
{
    if (!acme_token_valid(token))
        return ERR_NOT_FOUND;
    struct store_key k = key_of('t', token);
    return remove_proof(s, &k);
}

/* Names are longer than keys may be: their hash is the key. */
static bool name_key(str name, struct store_key *k)
{
    uint8_t hash[SHA256_DIGEST_LENGTH];
    if (!certificate_name_valid(name))
        return false;
    SHA256((const unsigned char *)name.data, name.len, hash);
    *k = key_of('n', str_of(hash, sizeof(hash)));
    return true;
}

enum err acme_alpn_put(struct store *s, str name, str key_authorization)
{
    struct store_key k;
    return name_key(name, &k) ? put_proof(s, &k, key_authorization) : ERR_NOT_FOUND;
}

enum err acme_alpn_get(struct store *s, str name, struct buf *out)
{
    struct store_key k;
    return name_key(name, &k) ? get_proof(s, &k, out) : ERR_NOT_FOUND;
}

enum err acme_alpn_remove(struct store *s, str name)
{
    struct store_key k;
    return name_key(name, &k) ? remove_proof(s, &k) : ERR_NOT_FOUND;
}
