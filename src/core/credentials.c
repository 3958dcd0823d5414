/* SPDX-License-Identifier: Apache-2.0 */
#include "core/credentials.h"

#include <argon2.h>
#include <assert.h>
#include <crypt.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/code.h"
#include "base/num.h"
#include "base/utf8.h"
#include "core/directory_rows.h"
#include "os/clock.h"
#include "os/offload.h"
#include "os/rand.h"

#define ARGON2_ENCODED_MAX 256
#define CREDENTIAL_TRIES 20

enum err password_prepare(str password, struct arena *a, str *out)
{
    if (password.len == 0 || password.len > PASSWORD_MAX || !utf8_valid(password))
        return ERR_INVALID;
    for (size_t i = 0; i < password.len; i++)
        if ((uint8_t)password.data[i] < 0x20 || password.data[i] == 0x7f)
            return ERR_INVALID;
    if (utf8_is_ascii(password))
        return arena_dup(a, password, out) ? ERR_OK : ERR_LIMIT;
    uint8_t *composed = NULL;
    utf8proc_ssize_t n =
        utf8proc_map((const uint8_t *)password.data, (utf8proc_ssize_t)password.len, &composed,
                     UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (n < 0)
        return ERR_INVALID;
    bool copied = arena_dup(a, str_of(composed, (size_t)n), out);
    OPENSSL_cleanse(composed, (size_t)n);
    free(composed); /* tidy: allow alloc because utf8proc_map allocates with malloc */
    return copied ? ERR_OK : ERR_LIMIT;
}

static void hmac_sha256(const void *key, size_t key_len, str message, uint8_t out[32])
{
    unsigned len = 32;
    uint8_t *done = HMAC(EVP_sha256(), key, (int)key_len, (const uint8_t *)message.data,
                         message.len, out, &len);
    assert(done && len == 32);
}

/* RFC 5802 3. */
void scram_derive(str prepared, struct scram_keys *k)
{
    uint8_t salted[32], client_key[32];
    int ok = PKCS5_PBKDF2_HMAC(prepared.data, (int)prepared.len, k->salt, sizeof(k->salt),
                               (int)k->iterations, EVP_sha256(), sizeof(salted), salted);
    assert(ok == 1);
    hmac_sha256(salted, sizeof(salted), STR("Client Key"), client_key);
    ok = EVP_Digest(client_key, sizeof(client_key), k->stored_key, NULL, EVP_sha256(), NULL);
    assert(ok == 1);
    hmac_sha256(salted, sizeof(salted), STR("Server Key"), k->server_key);
    OPENSSL_cleanse(salted, sizeof(salted));
    OPENSSL_cleanse(client_key, sizeof(client_key));
}

struct hash_job {
    str prepared;
    struct password_cost cost;
    struct scram_keys *scram;
    char encoded[ARGON2_ENCODED_MAX];
    int rc;
};

static void run_hash(void *arg)
{
    struct hash_job *j = arg;
    uint8_t salt[16];
    rand_bytes(salt, sizeof(salt));
    j->rc = argon2id_hash_encoded(j->cost.passes, j->cost.memory_kib, 1, j->prepared.data,
                                  j->prepared.len, salt, sizeof(salt), 32, j->encoded,
                                  sizeof(j->encoded));
    scram_derive(j->prepared, j->scram);
}

enum err password_hash(str prepared, struct password_cost cost, struct arena *a,
                       struct credential *out)
{
    struct hash_job job = {.prepared = prepared, .cost = cost, .scram = &out->scram};
    assert(out->scram.iterations > 0);
    TRY(offload_run(run_hash, &job));
    if (job.rc != ARGON2_OK)
        return ERR_NOMEM;
    return arena_dup(a, str_c(job.encoded), &out->argon2id) ? ERR_OK : ERR_LIMIT;
}

struct verify_job {
    const char *encoded;
    str prepared;
    bool match;
};

static void run_verify(void *arg)
{
    struct verify_job *j = arg;
    if (str_starts(str_c(j->encoded), STR("$argon2id$"))) {
        j->match = argon2id_verify(j->encoded, j->prepared.data, j->prepared.len) == ARGON2_OK;
        return;
    }
    struct crypt_data *data = OPENSSL_zalloc(sizeof(*data));
    if (!data)
        return;
    const char *again = crypt_rn(j->prepared.data, j->encoded, data, sizeof(*data));
    j->match = again && str_eq_secret(str_c(again), str_c(j->encoded));
    OPENSSL_clear_free(data, sizeof(*data));
}

enum err password_verify(str prepared, str encoded)
{
    ARENA_AUTO struct arena a = ARENA_INIT(8192);
    str hash, password;
    if (!arena_dup(&a, encoded, &hash) || !arena_dup(&a, prepared, &password))
        return ERR_LIMIT;
    struct verify_job job = {.encoded = hash.data, .prepared = password};
    enum err e = offload_run(run_verify, &job);
    OPENSSL_cleanse((char *)password.data, password.len);
    TRY(e);
    return job.match ? ERR_OK : ERR_AUTH;
}

static enum err hash_here(void *ctx, str prepared, struct password_cost cost, struct arena *a,
                          struct credential *out) WAITS
{
    return password_hash(prepared, cost, a, out);
}

static enum err verify_here(void *ctx, str prepared, str encoded) WAITS
{
    return password_verify(prepared, encoded);
}

const struct hasher hasher_here = {NULL, hash_here, verify_here};

uint32_t password_memory_kib(str encoded)
{
    size_t at = str_find(encoded, STR("$m="));
    if (!str_starts(encoded, STR("$argon2")) || at == STR_NPOS)
        return 0;
    str number = str_skip(encoded, at + 3);
    uint64_t kib;
    number = str_head(number, MIN(str_find_char(number, ','), number.len));
    return num_parse_u64(number, UINT32_MAX, &kib) ? (uint32_t)kib : UINT32_MAX;
}

str password_generate(struct arena *a)
{
    uint8_t bytes[10];
    BUF_AUTO struct buf text = BUF_INIT(64);
    rand_bytes(bytes, sizeof(bytes));
    code_base32(&text, str_of(bytes, sizeof(bytes)));
    assert(text.len == 16);
    return arena_fmt(a, "%.4s-%.4s-%.4s-%.4s", text.data, text.data + 4, text.data + 8,
                     text.data + 12);
}

/* ---- rows ---- */

struct listing {
    struct arena *a;
    struct credential *items;
    size_t n;
    enum err err;
};

static bool list_row(void *arg, const struct store_row *row)
{
    struct listing *l = arg;
    struct reader r = reader_of(str_skip(row->key, 9));
    uint32_t id = read_be32(&r);
    str copy;
    if (l->n == CREDENTIALS_PER_ACCOUNT_MAX || !arena_dup(l->a, row->value, &copy)) {
        l->err = ERR_LIMIT;
        return false;
    }
    enum err e = r.failed ? ERR_CORRUPT : credential_row_decode(copy, id, &l->items[l->n]);
    if (e == ERR_OK)
        l->n++; /* an unreadable credential opens nothing; check reports it */
    return true;
}

enum err credentials_list(struct directory *d, uint64_t account, struct arena *a,
                          const struct credential **out, size_t *n)
{
    struct store_key from, end;
    key_credential(&from, account, 0);
    key_after_prefix(&end, str_head(key_str(&from), 9));
    struct listing l = {.a = a,
                        .items = ARENA_ARRAY(a, struct credential, CREDENTIALS_PER_ACCOUNT_MAX)};
    if (!l.items)
        return ERR_LIMIT;
    struct store_scan scan = {.partition = STORE_PARTITION_DIRECTORY,
                              .from = key_str(&from),
                              .to = key_str(&end),
                              .limit = CREDENTIALS_PER_ACCOUNT_MAX + 1};
    TRY(store_scan(d->store, &scan, list_row, &l, NULL));
    *out = l.items;
    *n = l.n;
    return l.err;
}

static enum err commit_one(struct directory *d, uint64_t account, const struct store_key *key,
                           enum store_expect_kind expect, const struct store_op *op)
{
    struct store_key account_key;
    key_account(&account_key, account);
    struct store_expect expects[2] = {
        {.kind = STORE_EXPECT_PRESENT, .key = key_str(&account_key)},
        {.kind = expect, .key = key_str(key)},
    };
    struct store_commit c = {.partition = STORE_PARTITION_DIRECTORY,
                             .expect_version = STORE_ANY_VERSION,
                             .expects = expects,
                             .nexpects = expect == STORE_EXPECT_EQUAL ? 1 : 2,
                             .ops = op,
                             .nops = 1};
    struct store_result result;
    return store_commit(d->store, &c, &result);
}

static uint32_t free_id(const struct credential *items, size_t n)
{
    return n > 0 ? MAX(items[n - 1].id, 0u) + 1 : 1;
}

enum err credential_put(struct directory *d, uint64_t account, const struct credential *c,
                        uint32_t *id)
{
    enum err e = ERR_BUSY;
    for (int i = 0; i < CREDENTIAL_TRIES; i++) {
        ARENA_AUTO struct arena a = ARENA_INIT((size_t)1 << 18);
        const struct credential *items;
        size_t n;
        bool fresh = c->id == CREDENTIAL_NEW;
        TRY(credentials_list(d, account, &a, &items, &n));
        if (fresh && n >= CREDENTIALS_PER_ACCOUNT_MAX)
            return ERR_LIMIT;
        *id = fresh ? free_id(items, n) : c->id;
        struct store_key key;
        key_credential(&key, account, *id);
        BUF_AUTO struct buf row = BUF_INIT(STORE_VALUE_MAX);
        credential_row_encode(c, &row);
        if (!buf_ok(&row))
            return ERR_LIMIT;
        struct store_op op = {.kind = STORE_PUT, .key = key_str(&key), .value = buf_str(&row)};
        /* STORE_EXPECT_EQUAL stands for "whatever is there" in commit_one. */
        e = commit_one(d, account, &key, fresh ? STORE_EXPECT_ABSENT : STORE_EXPECT_EQUAL, &op);
        if (e != ERR_CONFLICT)
            return e;
    }
    return e == ERR_CONFLICT ? ERR_NOT_FOUND : e; /* the account is gone */
}

enum err credential_remove(struct directory *d, uint64_t account, uint32_t id)
{
    struct store_key key;
    key_credential(&key, account, id);
    struct store_op op = {.kind = STORE_DELETE, .key = key_str(&key)};
    enum err e = commit_one(d, account, &key, STORE_EXPECT_PRESENT, &op);
    return e == ERR_CONFLICT ? ERR_NOT_FOUND : e;
}

enum err credential_set_password(struct directory *d, const struct hasher *hasher, uint64_t account,
                                 const struct credential *c, str password,
                                 struct password_cost cost, uint32_t *id)
{
    ARENA_AUTO struct arena a = ARENA_INIT((size_t)1 << 18);
    const struct credential *items;
    size_t n;
    str prepared;
    struct credential fresh = *c;
    TRY(password_prepare(password, &a, &prepared));
    TRY(credentials_list(d, account, &a, &items, &n));
    if (n > 0) {
        fresh.scram = items[0].scram;
    } else {
        rand_bytes(fresh.scram.salt, sizeof(fresh.scram.salt));
        fresh.scram.iterations = SCRAM_ITERATIONS;
    }
    fresh.created_s = clock_wall_s();
    enum err e = hasher->hash(hasher->ctx, prepared, cost, &a, &fresh);
    OPENSSL_cleanse((char *)prepared.data, prepared.len);
    TRY(e);
    return credential_put(d, account, &fresh, id);
}

enum err directory_secret(struct directory *d, uint8_t out[32])
{
    struct store_key key = {.bytes = {DIR_SPACE_SECRET}, .len = 1};
    for (int i = 0; i < CREDENTIAL_TRIES; i++) {
        BUF_AUTO struct buf row = BUF_INIT(64);
        enum err e = store_get(d->store, STORE_PARTITION_DIRECTORY, key_str(&key), &row);
        if (e == ERR_OK && row.len == 32) {
            memcpy(out, row.data, 32);
            return ERR_OK;
        }
        if (e != ERR_NOT_FOUND)
            return e == ERR_OK ? ERR_CORRUPT : e;
        rand_bytes(out, 32);
        struct store_expect absent = {.kind = STORE_EXPECT_ABSENT, .key = key_str(&key)};
        struct store_op op = {.kind = STORE_PUT, .key = key_str(&key), .value = str_of(out, 32)};
        struct store_commit c = {.partition = STORE_PARTITION_DIRECTORY,
                                 .expect_version = STORE_ANY_VERSION,
                                 .expects = &absent,
                                 .nexpects = 1,
                                 .ops = &op,
                                 .nops = 1};
        struct store_result result;
        e = store_commit(d->store, &c, &result);
        if (e != ERR_CONFLICT)
            return e;
    }
    return ERR_BUSY;
}
