/* SPDX-License-Identifier: Apache-2.0
 *
 * Every cause of a refusal gives the client the same ERR_AUTH, and takes the same time where that
 * could tell an unknown login from a wrong password; the log has the cause.
 */
#include "core/auth.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#include "base/log.h"
#include "base/num.h"
#include "net/limit.h"
#include "os/rand.h"

#define AUTH_PAIRS_MAX 65536 /* (login, source) pairs watched */
#define AUTH_REMEMBERED 4096 /* verified passwords remembered; a power of two */
#define AUTH_SLOWED_MS 2000  /* wait of a source that is known but fails too often */

/* A verified password, as a keyed hash over it and the stored hash it matched: changing the
 * password forgets it by itself. */
struct remembered {
    uint8_t digest[16];
    uint64_t until_ms;
};

struct auth {
    struct directory *directory;
    const struct hasher *hasher;
    struct auth_policy policy;
    struct limit_table *pairs;   /* failures by login and source */
    struct limit_table *sources; /* failures by source */
    struct limit_table *good;    /* used up: this pair signed in lately */
    uint8_t key[32];             /* of this process, for remembered */
    uint8_t secret[32];          /* of this store, for unknown logins */
    bool has_secret;
    char *dummy_hash; /* verified for unknown logins, so that they take as long */
    struct arena arena;
    struct remembered *remembered;
};

static enum err counters_open(const struct auth_policy *p, struct limit_table **pairs,
                              struct limit_table **sources)
{
    TRY(limit_open(AUTH_PAIRS_MAX, p->failures, p->period_ms, p->failures, pairs));
    enum err e =
        limit_open(AUTH_PAIRS_MAX, p->source_failures, p->period_ms, p->source_failures, sources);
    if (e != ERR_OK) {
        limit_close(*pairs);
        *pairs = NULL;
    }
    return e;
}

enum err auth_open(struct directory *d, const struct auth_policy *p, const struct hasher *hasher,
                   struct auth **out)
{
    struct arena arena = ARENA_INIT((size_t)1 << 18);
    struct auth *a = ARENA_NEW(&arena, struct auth);
    struct remembered *r = ARENA_ARRAY(&arena, struct remembered, AUTH_REMEMBERED);
    if (!a || !r) {
        arena_free(&arena);
        return ERR_NOMEM;
    }
    a->arena = arena;
    a->directory = d;
    a->hasher = hasher;
    a->policy = *p;
    a->remembered = r;
    rand_bytes(a->key, sizeof(a->key));
    enum err e = counters_open(p, &a->pairs, &a->sources);
    if (e == ERR_OK)
        e = limit_open(AUTH_PAIRS_MAX, 1, (uint64_t)7 * 86400 * 1000, 1, &a->good);
    if (e != ERR_OK) {
        auth_close(a);
        return e;
    }
    *out = a;
    return ERR_OK;
}

enum err auth_change(struct auth *a, const struct auth_policy *p)
{
    struct limit_table *pairs, *sources;
    a->policy.external = p->external;
    if (p->failures == a->policy.failures && p->source_failures == a->policy.source_failures &&
        p->period_ms == a->policy.period_ms && p->remember_ms == a->policy.remember_ms)
        return ERR_OK;
    TRY(counters_open(p, &pairs, &sources));
    limit_close(a->pairs);
    limit_close(a->sources);
    a->pairs = pairs;
    a->sources = sources;
    a->policy = *p;
    memset(a->remembered, 0, AUTH_REMEMBERED * sizeof(*a->remembered));
    return ERR_OK;
}

void auth_close(struct auth *a)
{
    if (!a)
        return;
    limit_close(a->pairs);
    limit_close(a->sources);
    limit_close(a->good);
    struct arena arena = a->arena;
    OPENSSL_cleanse(a->key, sizeof(a->key));
    arena_free(&arena);
}

const char *protocol_name(enum protocol one)
{
    static const char *const names[PROTOCOLS] = {"smtp", "imap", "pop3", "http", "sieve"};
    size_t bit = (size_t)__builtin_ctz(one | 1u << PROTOCOLS);
    return bit < PROTOCOLS ? names[bit] : "none";
}

enum err auth_decide(const struct auth_facts *f)
{
    if (!f->secure)
        return ERR_TLS_REQUIRED;
    if (f->state != ACCOUNT_ACTIVE || f->act_as_other)
        return ERR_AUTH;
    if (!(f->account_protocols & f->protocol) || !(f->credential_protocols & f->protocol))
        return ERR_AUTH;
    if (f->expires_s && f->now_s >= f->expires_s)
        return ERR_EXPIRED;
    return ERR_OK;
}

/* ---- limits ---- */

struct pair_key {
    char bytes[DIR_ADDRESS_MAX + sizeof(struct limit_key)];
    size_t len;
};

static void pair_key_make(const struct auth_attempt *at, struct pair_key *k, str *source)
{
    static _Thread_local struct limit_key address;
    *source = limit_address_key(&at->source, &address);
    ARENA_AUTO struct arena scratch = ARENA_INIT(8192);
    str login;
    /* As the directory sees it: another spelling is not another try. */
    if (directory_normalise(at->login, &scratch, &login) != ERR_OK)
        login = at->login;
    login = str_head(login, DIR_ADDRESS_MAX);
    memcpy(k->bytes, source->data, source->len);
    memcpy(k->bytes + source->len, login.data, login.len);
    k->len = source->len + login.len;
}

/* May this be tried at all now? A pair that signed in lately waits instead of being refused. */
static enum err limits_ask(struct auth *a, const struct auth_attempt *at)
{
    struct pair_key pair;
    str source;
    pair_key_make(at, &pair, &source);
    str key = str_of(pair.bytes, pair.len);
    uint64_t now = clock_mono_ms();
    if (limit_would_take(a->pairs, key, 1, now) && limit_would_take(a->sources, source, 1, now))
        return ERR_OK;
    bool known = !limit_would_take(a->good, key, 1, now);
    if (!known)
        return ERR_TOO_MANY;
    enum err e = wait_until(deadline_in_ms(AUTH_SLOWED_MS));
    return e == ERR_TIMEOUT ? ERR_OK : e;
}

static void limits_note(struct auth *a, const struct auth_attempt *at, bool success)
{
    struct pair_key pair;
    str source;
    pair_key_make(at, &pair, &source);
    str key = str_of(pair.bytes, pair.len);
    uint64_t now = clock_mono_ms();
    if (success)
        (void)limit_take(a->good, key, 1, now, NULL);
    else if (limit_take(a->pairs, key, 1, now, NULL))
        (void)limit_take(a->sources, source, 1, now, NULL);
}

static enum err refuse(struct auth *a, const struct auth_attempt *at, enum err e, const char *why)
{
    char source[ADDRESS_TEXT_MAX];
    LOG_WARN("auth", "refused login=%.*s source=%s protocol=%s cause=%s", STR_ARG(at->login),
             address_text(&at->source, source), protocol_name(at->protocol), why);
    if (err_class(e) == ERR_CLASS_PERM && e != ERR_TLS_REQUIRED)
        limits_note(a, at, false);
    return e == ERR_EXPIRED ? ERR_AUTH : e;
}

static enum err grant(struct auth *a, const struct auth_attempt *at, const struct account_entry *e,
                      struct arena *arena, struct auth_grant *out)
{
    out->account = e->id;
    if (!arena_dup(arena, e->address, &out->address))
        return ERR_LIMIT;
    limits_note(a, at, true);
    return ERR_OK;
}

static struct auth_facts facts_of(const struct auth_attempt *at, const struct account_entry *e,
                                  const struct credential *c)
{
    return (struct auth_facts){
        .state = e->state,
        .account_protocols = e->protocols,
        .credential_protocols = c ? c->protocols : PROTOCOL_ALL,
        .expires_s = c ? c->expires_s : 0,
        .now_s = clock_wall_s(),
        .secure = at->secure,
        .protocol = at->protocol,
        .act_as_other = at->authzid.len > 0 && !str_eq_nocase(at->authzid, at->login) &&
                        !str_eq_nocase(at->authzid, e->address),
    };
}

/* ---- remembered passwords ---- */

static void digest_make(struct auth *a, str prepared, str encoded, uint8_t out[32])
{
    unsigned len = 32;
    BUF_AUTO struct buf joined = BUF_INIT(4096);
    buf_add_sized(&joined, encoded);
    buf_add_sized(&joined, prepared);
    assert(buf_ok(&joined));
    uint8_t *done = HMAC(EVP_sha256(), a->key, sizeof(a->key), (const uint8_t *)joined.data,
                         joined.len, out, &len);
    assert(done && len == 32);
    OPENSSL_cleanse(joined.data, joined.len);
}

static struct remembered *remembered_slot(struct auth *a, const uint8_t digest[32])
{
    size_t i = ((size_t)digest[16] << 8 | digest[17]) & (AUTH_REMEMBERED - 1);
    return &a->remembered[i];
}

static enum err verify(struct auth *a, str prepared, str encoded)
{
    uint8_t digest[32];
    digest_make(a, prepared, encoded, digest);
    struct remembered *r = remembered_slot(a, digest);
    uint64_t now = clock_mono_ms();
    if (r->until_ms > now && CRYPTO_memcmp(r->digest, digest, sizeof(r->digest)) == 0)
        return ERR_OK;
    TRY(a->hasher->verify(a->hasher->ctx, prepared, encoded));
    memcpy(r->digest, digest, sizeof(r->digest));
    r->until_ms = clock_mono_ms() + a->policy.remember_ms;
    return ERR_OK;
}

/* ---- the ways to sign in ---- */

/* An unknown login takes as long as a wrong password. */
static void pretend(struct auth *a, str prepared)
{
    if (!a->dummy_hash) {
        ARENA_AUTO struct arena scratch = ARENA_INIT(4096);
        struct credential c = {.scram.iterations = SCRAM_ITERATIONS};
        str copy;
        if (a->hasher->hash(a->hasher->ctx, STR("nobody"), PASSWORD_COST_DEFAULT, &scratch, &c) ||
            !arena_dup(&a->arena, c.argon2id, &copy))
            return;
        a->dummy_hash = (char *)copy.data;
        return;
    }
    enum err ignored = a->hasher->verify(a->hasher->ctx, prepared, str_c(a->dummy_hash));
    (void)ignored;
}

static enum err try_credentials(struct auth *a, const struct auth_attempt *at,
                                const struct account_entry *entry, str prepared,
                                struct arena *scratch, const char **why)
{
    const struct credential *items;
    size_t n;
    TRY(credentials_list(a->directory, entry->id, scratch, &items, &n));
    *why = "wrong password";
    for (size_t i = 0; i < n; i++) {
        enum err e = verify(a, prepared, items[i].argon2id);
        if (e == ERR_AUTH)
            continue;
        TRY(e);
        struct auth_facts f = facts_of(at, entry, &items[i]);
        e = auth_decide(&f);
        *why = e == ERR_EXPIRED ? "expired" : "not allowed by policy";
        return e;
    }
    return ERR_AUTH;
}

enum err auth_password(struct auth *a, const struct auth_attempt *at, str password,
                       struct arena *arena, struct auth_grant *out)
{
    ARENA_AUTO struct arena scratch = ARENA_INIT((size_t)1 << 18);
    struct account_entry entry;
    str prepared;
    const char *why = "policy";
    if (!at->secure)
        return refuse(a, at, ERR_TLS_REQUIRED, "no TLS");
    enum err e = limits_ask(a, at);
    if (e != ERR_OK)
        return refuse(a, at, e, "too many failures");
    if (password_prepare(password, &scratch, &prepared) != ERR_OK)
        return refuse(a, at, ERR_AUTH, "not a password");
    e = directory_account_find(a->directory, at->login, &scratch, &entry);
    if (e == ERR_OK)
        e = try_credentials(a, at, &entry, prepared, &scratch, &why);
    else if (err_class(e) == ERR_CLASS_PERM) {
        pretend(a, prepared);
        why = "unknown login";
        e = ERR_AUTH;
    }
    OPENSSL_cleanse((char *)prepared.data, prepared.len);
    if (e != ERR_OK)
        return refuse(a, at, e, err_class(e) == ERR_CLASS_TEMP ? err_text(e) : why);
    return grant(a, at, &entry, arena, out);
}

static enum err scram_fake_salt(struct auth *a, str login, struct auth_scram_salt *out)
{
    uint8_t digest[32];
    unsigned len = 32;
    if (!a->has_secret) {
        TRY(directory_secret(a->directory, a->secret));
        a->has_secret = true;
    }
    ARENA_AUTO struct arena scratch = ARENA_INIT(8192);
    str normal = login;
    if (directory_normalise(login, &scratch, &normal) != ERR_OK)
        normal = login;
    uint8_t *done = HMAC(EVP_sha256(), a->secret, sizeof(a->secret), (const uint8_t *)normal.data,
                         normal.len, digest, &len);
    assert(done);
    memcpy(out->salt, digest, sizeof(out->salt));
    out->iterations = SCRAM_ITERATIONS;
    return ERR_OK;
}

enum err auth_scram_salt(struct auth *a, const struct auth_attempt *at, struct auth_scram_salt *out)
{
    ARENA_AUTO struct arena scratch = ARENA_INIT((size_t)1 << 18);
    struct account_entry entry;
    const struct credential *items;
    size_t n = 0;
    if (!at->secure)
        return refuse(a, at, ERR_TLS_REQUIRED, "no TLS");
    enum err e = directory_account_find(a->directory, at->login, &scratch, &entry);
    if (e == ERR_OK)
        e = credentials_list(a->directory, entry.id, &scratch, &items, &n);
    if (err_class(e) == ERR_CLASS_TEMP)
        return e;
    if (n == 0)
        return scram_fake_salt(a, at->login, out);
    memcpy(out->salt, items[0].scram.salt, sizeof(out->salt));
    out->iterations = items[0].scram.iterations;
    return ERR_OK;
}

/* RFC 5802 3: ClientKey = proof XOR HMAC(StoredKey, AuthMessage), and H(ClientKey) = StoredKey. */
static bool scram_proof_holds(const struct scram_keys *k, str message, str proof)
{
    uint8_t signature[32], client_key[32], digest[32];
    unsigned len = 32;
    if (proof.len != 32 || k->iterations == 0)
        return false;
    HMAC(EVP_sha256(), k->stored_key, 32, (const uint8_t *)message.data, message.len, signature,
         &len);
    for (int i = 0; i < 32; i++)
        client_key[i] = (uint8_t)(signature[i] ^ (uint8_t)proof.data[i]);
    int ok = EVP_Digest(client_key, 32, digest, NULL, EVP_sha256(), NULL);
    OPENSSL_cleanse(client_key, sizeof(client_key));
    return ok == 1 && CRYPTO_memcmp(digest, k->stored_key, 32) == 0;
}

enum err auth_scram_verify(struct auth *a, const struct auth_attempt *at, str auth_message,
                           str proof, uint8_t signature[32], struct arena *arena,
                           struct auth_grant *out)
{
    ARENA_AUTO struct arena scratch = ARENA_INIT((size_t)1 << 18);
    struct account_entry entry;
    const struct credential *items = NULL;
    size_t n = 0;
    enum err e = limits_ask(a, at);
    if (e != ERR_OK)
        return refuse(a, at, e, "too many failures");
    e = directory_account_find(a->directory, at->login, &scratch, &entry);
    if (e == ERR_OK)
        e = credentials_list(a->directory, entry.id, &scratch, &items, &n);
    if (e != ERR_OK)
        return refuse(a, at, err_class(e) == ERR_CLASS_TEMP ? e : ERR_AUTH, "unknown login");
    for (size_t i = 0; i < n; i++) {
        if (!scram_proof_holds(&items[i].scram, auth_message, proof))
            continue;
        struct auth_facts f = facts_of(at, &entry, &items[i]);
        e = auth_decide(&f);
        if (e != ERR_OK)
            return refuse(a, at, e, "not allowed by policy");
        unsigned len = 32;
        HMAC(EVP_sha256(), items[i].scram.server_key, 32, (const uint8_t *)auth_message.data,
             auth_message.len, signature, &len);
        return grant(a, at, &entry, arena, out);
    }
    return refuse(a, at, ERR_AUTH, "wrong proof");
}

enum err auth_external(struct auth *a, const struct auth_attempt *at, struct arena *arena,
                       struct auth_grant *out)
{
    ARENA_AUTO struct arena scratch = ARENA_INIT((size_t)1 << 16);
    struct account_entry entry;
    if (!a->policy.external) /* or a broken gate would need no password for anybody */
        return refuse(a, at, ERR_AUTH, "no certificates of clients are asked for");
    enum err e = directory_account_find(a->directory, at->login, &scratch, &entry);
    if (e != ERR_OK)
        return refuse(a, at, err_class(e) == ERR_CLASS_TEMP ? e : ERR_AUTH, "unknown name");
    struct auth_facts f = facts_of(at, &entry, NULL);
    e = auth_decide(&f);
    if (e != ERR_OK)
        return refuse(a, at, e, "not allowed by policy");
    return grant(a, at, &entry, arena, out);
}
