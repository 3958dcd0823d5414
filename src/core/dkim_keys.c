/* SPDX-License-Identifier: Apache-2.0 */
#include "core/dkim_keys.h"

#include <string.h>

#include "base/code.h"
#include "base/num.h"
#include "core/directory_rows.h"
#include "core/mail_auth_private.h"
#include "format/header.h"
#include "os/file.h"
#include "os/offload.h"
#include "os/rand.h"

#define ROW_MAX 16384 /* bytes of one row */
#define SIGN_ARENA 4194304

/* ---- rows: 'K' domain 00 selector ---- */

static enum err key_prefix(str domain, struct buf *out)
{
    buf_add_char(out, DIR_SPACE_DKIM);
    buf_add(out, domain);
    buf_add_char(out, 0);
    return buf_ok(out) ? ERR_OK : ERR_LIMIT;
}

static void row_encode(const struct dkim_domain_key *k, struct buf *out)
{
    buf_add_char(out, DIRECTORY_ROW_VERSION);
    buf_add_char(out, (char)k->use);
    buf_add_char(out, k->ed25519);
    buf_add_be64(out, (uint64_t)k->created_s);
    buf_add_be64(out, (uint64_t)k->changed_s);
    buf_add_sized(out, k->pem);
}

static enum err row_decode(str row, struct dkim_domain_key *out)
{
    struct reader r = reader_of(row);
    uint8_t version = read_u8(&r);
    out->use = (enum dkim_use)read_u8(&r);
    out->ed25519 = read_u8(&r);
    out->created_s = (int64_t)read_be64(&r);
    out->changed_s = (int64_t)read_be64(&r);
    out->pem = read_sized(&r);
    bool known =
        version == DIRECTORY_ROW_VERSION && out->use >= DKIM_WAITING && out->use <= DKIM_RETIRED;
    return !r.failed && known ? ERR_OK : ERR_CORRUPT;
}

struct listing {
    struct arena *arena;
    struct dkim_domain_keys *out;
    str domain;
    size_t prefix;
    enum err err;
};

static bool take_row(void *arg, const struct store_row *row)
{
    struct listing *l = arg;
    struct dkim_domain_key k = {.domain = l->domain};
    if (l->out->count == DKIM_DOMAIN_KEYS_MAX)
        return false;
    l->err = row_decode(row->value, &k);
    if (l->err == ERR_OK && (!arena_dup(l->arena, k.pem, &k.pem) ||
                             !arena_dup(l->arena, str_skip(row->key, l->prefix), &k.selector)))
        l->err = ERR_NOMEM;
    if (l->err == ERR_OK)
        l->out->keys[l->out->count++] = k;
    return l->err == ERR_OK;
}

enum err dkim_keys_of(struct directory *d, str domain, struct arena *a,
                      struct dkim_domain_keys *out)
{
    struct store_key end;
    BUF_AUTO struct buf prefix = BUF_INIT(STORE_KEY_MAX);
    out->count = 0;
    TRY(key_prefix(domain, &prefix));
    key_after_prefix(&end, buf_str(&prefix));
    struct listing l = {.arena = a, .out = out, .prefix = prefix.len};
    if (!arena_dup(a, domain, &l.domain))
        return ERR_NOMEM;
    struct store_scan scan = {.partition = STORE_PARTITION_DIRECTORY,
                              .from = buf_str(&prefix),
                              .to = key_str(&end),
                              .limit = DKIM_DOMAIN_KEYS_MAX};
    TRY(store_scan(d->store, &scan, take_row, &l, NULL));
    return l.err;
}

/* ---- changes ---- */

static enum err key_of(str domain, str selector, struct buf *out)
{
    TRY(key_prefix(domain, out));
    buf_add(out, selector);
    return buf_ok(out) ? ERR_OK : ERR_LIMIT;
}

static enum err commit(struct directory *d, const struct store_expect *expects, size_t nexpects,
                       const struct store_op *ops, size_t nops)
{
    struct store_result result;
    struct store_commit c = {.partition = STORE_PARTITION_DIRECTORY,
                             .expect_version = STORE_ANY_VERSION,
                             .expects = expects,
                             .nexpects = nexpects,
                             .ops = ops,
                             .nops = nops};
    return store_commit(d->store, &c, &result);
}

static bool is_label(str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.data[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c == '-' && i > 0)))
            return false;
    }
    return s.len > 0 && s.len <= DKIM_SELECTOR_MAX && s.data[s.len - 1] != '-';
}

static enum err name_selector(str given, bool ed25519, struct arena *a, str *out)
{
    uint8_t random[5];
    BUF_AUTO struct buf text = BUF_INIT(64);
    if (!str_empty(given)) {
        *out = given;
        return is_label(given) ? ERR_OK : ERR_INVALID;
    }
    rand_bytes(random, sizeof(random));
    buf_add_c(&text, ed25519 ? "e-" : "r-");
    code_base32(&text, str_of(random, sizeof(random)));
    return arena_dup(a, buf_str(&text), out) ? ERR_OK : ERR_NOMEM;
}

enum err dkim_keys_add(struct directory *d, str domain, str selector, bool ed25519, int64_t now_s,
                       struct arena *a, struct dkim_domain_key *out)
{
    struct domain dom;
    struct dkim_domain_keys have;
    BUF_AUTO struct buf pem = BUF_INIT(8192), record = BUF_INIT(8192), row = BUF_INIT(ROW_MAX);
    BUF_AUTO struct buf key = BUF_INIT(STORE_KEY_MAX);
    TRY(directory_domain_get(d, domain, a, &dom));
    TRY(dkim_keys_of(d, dom.name, a, &have));
    if (have.count == DKIM_DOMAIN_KEYS_MAX)
        return ERR_LIMIT;
    *out = (struct dkim_domain_key){.domain = dom.name,
                                    .use = DKIM_WAITING,
                                    .ed25519 = ed25519,
                                    .created_s = now_s,
                                    .changed_s = now_s};
    TRY(name_selector(selector, ed25519, a, &out->selector));
    TRY(dkim_make_key(ed25519, &pem, &record));
    if (!arena_dup(a, buf_str(&pem), &out->pem))
        return ERR_NOMEM;
    row_encode(out, &row);
    TRY(key_of(dom.name, out->selector, &key));
    struct store_expect absent = {STORE_EXPECT_ABSENT, buf_str(&key), STR_NONE};
    struct store_op put = {.kind = STORE_PUT, .key = buf_str(&key), .value = buf_str(&row)};
    enum err e = commit(d, &absent, 1, &put, 1);
    return e == ERR_CONFLICT ? ERR_EXISTS : e;
}

/* What a key becomes; its present use when nothing changes. */
static enum dkim_use next_use(const struct dkim_domain_keys *all, const struct dkim_domain_key *k)
{
    if (k->use == DKIM_WAITING)
        return DKIM_SIGNING;
    for (size_t i = 0; k->use == DKIM_SIGNING && i < all->count; i++)
        if (all->keys[i].use == DKIM_WAITING && all->keys[i].ed25519 == k->ed25519)
            return DKIM_RETIRED;
    return k->use;
}

static enum err may_switch(const struct dkim_domain_keys *all, bool at_once, int64_t now_s)
{
    bool waiting = false, signing = false, early = false;
    for (size_t i = 0; i < all->count; i++) {
        const struct dkim_domain_key *k = &all->keys[i];
        waiting |= k->use == DKIM_WAITING;
        signing |= k->use == DKIM_SIGNING;
        early |= k->use == DKIM_WAITING && now_s < k->changed_s + DKIM_PUBLISH_WAIT_S;
    }
    if (!waiting)
        return ERR_NOT_FOUND;
    return signing && early && !at_once ? ERR_BUSY : ERR_OK;
}

enum err dkim_keys_switch(struct directory *d, str domain, bool at_once, int64_t now_s)
{
    struct dkim_domain_keys all;
    struct store_expect expects[DKIM_DOMAIN_KEYS_MAX];
    struct store_op ops[DKIM_DOMAIN_KEYS_MAX];
    ARENA_AUTO struct arena a = ARENA_INIT((size_t)1 << 20);
    size_t n = 0;
    TRY(dkim_keys_of(d, domain, &a, &all));
    TRY(may_switch(&all, at_once, now_s));
    for (size_t i = 0; i < all.count; i++) {
        struct dkim_domain_key k = all.keys[i];
        BUF_AUTO struct buf key = BUF_INIT(STORE_KEY_MAX), was = BUF_INIT(ROW_MAX),
                            row = BUF_INIT(ROW_MAX);
        k.use = next_use(&all, &all.keys[i]);
        if (k.use == all.keys[i].use)
            continue;
        k.changed_s = now_s;
        row_encode(&all.keys[i], &was);
        row_encode(&k, &row);
        TRY(key_of(domain, k.selector, &key));
        expects[n].kind = STORE_EXPECT_EQUAL;
        ops[n] = (struct store_op){.kind = STORE_PUT};
        if (!arena_dup(&a, buf_str(&key), &ops[n].key) ||
            !arena_dup(&a, buf_str(&row), &ops[n].value) ||
            !arena_dup(&a, buf_str(&was), &expects[n].value))
            return ERR_NOMEM;
        expects[n].key = ops[n].key;
        n++;
    }
    return commit(d, expects, n, ops, n);
}

enum err dkim_keys_remove(struct directory *d, str domain, str selector)
{
    BUF_AUTO struct buf key = BUF_INIT(STORE_KEY_MAX);
    TRY(key_of(domain, selector, &key));
    struct store_expect present = {STORE_EXPECT_PRESENT, buf_str(&key), STR_NONE};
    struct store_op op = {.kind = STORE_DELETE, .key = buf_str(&key)};
    enum err e = commit(d, &present, 1, &op, 1);
    return e == ERR_CONFLICT ? ERR_NOT_FOUND : e;
}

/* ---- signing ---- */

struct sign_job {
    struct dkim_signer signers[DKIM_SIGNERS_MAX];
    size_t nsigners;
    str header, body;
    int64_t now_s;
    struct buf *out;
    enum err err;
};

static void sign_on_worker(void *arg)
{
    struct sign_job *job = arg;
    job->err =
        dkim_sign_parts(job->signers, job->nsigners, job->header, job->body, job->now_s, job->out);
}

static enum err sign_content(struct directory *d, const struct envelope *e, str content,
                             int64_t now_s, struct buf *out)
{
    struct dkim_fields fields;
    struct dkim_domain_keys keys;
    str domain;
    const char *problem;
    ARENA_AUTO struct arena a = ARENA_INIT(SIGN_ARENA);
    BUF_AUTO struct buf header = BUF_INIT(SIGN_ARENA);
    size_t size = header_size(content);
    buf_add(&header, e->trace); /* it may hold the Date and Message-ID of the message */
    buf_add(&header, str_head(content, size));
    if (!buf_ok(&header))
        return ERR_OK; /* a header beyond all reason leaves unsigned */
    TRY(dkim_fields_of(&a, buf_str(&header), &fields));
    TRY(mail_auth_author(&a, &fields, &domain, &problem));
    if (str_empty(domain))
        return ERR_OK;
    TRY(dkim_keys_of(d, domain, &a, &keys));
    struct sign_job job = {
        .header = buf_str(&header), .body = str_skip(content, size), .now_s = now_s, .out = out};
    for (size_t i = 0; i < keys.count && job.nsigners < DKIM_SIGNERS_MAX; i++)
        if (keys.keys[i].use == DKIM_SIGNING)
            job.signers[job.nsigners++] = (struct dkim_signer){
                keys.keys[i].domain, keys.keys[i].selector, keys.keys[i].ed25519, keys.keys[i].pem};
    if (job.nsigners == 0)
        return ERR_OK;
    TRY(offload_run(sign_on_worker, &job));
    return job.err;
}

enum err dkim_sign_envelope(struct directory *d, const struct envelope *e, int64_t now_s,
                            struct buf *out)
{
    str content;
    if (e->size == 0)
        return ERR_OK;
    if (e->fd < 0)
        return sign_content(d, e, e->content, now_s, out);
    TRY(file_map(e->fd, e->size, &content));
    enum err result = sign_content(d, e, content, now_s, out);
    file_unmap(content);
    return result;
}
