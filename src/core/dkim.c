/* SPDX-License-Identifier: Apache-2.0 */
#include "core/dkim.h"

#include <assert.h>
#include <string.h>

#include "base/num.h"
#include "core/dns_name.h"

const char *dkim_result_name(enum dkim_result r)
{
    static const char *const names[] = {"none",    "pass",      "fail",     "policy",
                                        "neutral", "temperror", "permerror"};
    assert(r <= DKIM_RESULT_PERMERROR);
    return names[r];
}

/* ---- bodies ---- */

struct dkim_body_hash *dkim_bodies_want(struct dkim_bodies *b, struct arena *a,
                                        const struct dkim_signature *sig)
{
    uint64_t limit = sig->has_length ? sig->length : UINT64_MAX;
    for (size_t i = 0; i < b->count; i++)
        if (b->items[i]->body.canon == sig->body_canon && b->items[i]->body.limit == limit)
            return b->items[i];
    if (b->count == DKIM_BODIES_MAX)
        return NULL;
    struct dkim_body_hash *h = ARENA_NEW(a, struct dkim_body_hash);
    if (!h || mail_hash_begin(&h->hash) != ERR_OK)
        return NULL;
    h->body = (struct dkim_body){
        .canon = sig->body_canon, .limit = limit, .sink = mail_hash_add, .context = &h->hash};
    b->items[b->count++] = h;
    return h;
}

void dkim_bodies_add(struct dkim_bodies *b, str body)
{
    for (size_t i = 0; i < b->count; i++)
        dkim_body_add(&b->items[i]->body, body);
}

void dkim_bodies_end(struct dkim_bodies *b)
{
    for (size_t i = 0; i < b->count; i++) {
        dkim_body_end(&b->items[i]->body);
        mail_hash_end(&b->items[i]->hash, b->items[i]->digest);
    }
}

void dkim_bodies_free(struct dkim_bodies *b)
{
    for (size_t i = 0; i < b->count; i++)
        mail_hash_free(&b->items[i]->hash);
    b->count = 0;
}

/* ---- keys ---- */

struct dkim_key_entry *dkim_keys_want(struct dkim_keys *k, struct arena *a,
                                      const struct dkim_signature *sig)
{
    if (!k->entries)
        k->entries = ARENA_ARRAY(a, struct dkim_key_entry, DKIM_KEYS_MAX);
    if (!k->entries)
        return NULL;
    for (size_t i = 0; i < k->count; i++)
        if (str_eq_nocase(k->entries[i].selector, sig->selector) &&
            str_eq_nocase(k->entries[i].domain, sig->domain))
            return &k->entries[i];
    if (k->count == DKIM_KEYS_MAX)
        return NULL;
    struct dkim_key_entry *e = &k->entries[k->count++];
    *e = (struct dkim_key_entry){.selector = sig->selector, .domain = sig->domain};
    return e;
}

/* Several records: the first that can be read (RFC 6376 3.6.2.2 leaves it open). */
static void take_answer(struct arena *a, struct dkim_key_entry *k, const struct dns_answer *answer)
{
    k->state = answer->count ? DKIM_KEY_MALFORMED : DKIM_KEY_NONE;
    for (size_t i = 0; i < answer->count && i < DNS_RECORDS_MAX; i++) {
        if (dkim_key_parse(a, answer->records[i].bytes, &k->key) == ERR_OK) {
            k->state = DKIM_KEY_FOUND;
            return;
        }
    }
}

void dkim_key_ask(const struct dns *dns, struct arena *a, struct dkim_key_entry *k)
{
    struct dns_answer answer;
    str name = arena_fmt(a, "%.*s._domainkey.%.*s", STR_ARG(k->selector), STR_ARG(k->domain));
    if (str_empty(name))
        return;
    enum err e = dns_ask(dns, name, DNS_TXT, a, &answer);
    if (e == ERR_SYNTAX)
        k->state = DKIM_KEY_NONE;
    else if (e == ERR_OK && answer.status != DNS_FAILED && answer.status != DNS_BOGUS)
        take_answer(a, k, &answer);
}

/* ---- one signature ---- */

#define JUDGE(word, text) ((struct dkim_judgement){DKIM_RESULT_##word, (text)})

static bool identity_is_domain(const struct dkim_signature *sig)
{
    size_t at = str_rfind_char(sig->identity, '@');
    return at == STR_NPOS || str_eq_nocase(str_skip(sig->identity, at + 1), sig->domain);
}

bool dkim_key_fits(const struct dkim_signature *sig, const struct dkim_key_entry *entry,
                   struct dkim_judgement *out)
{
    const struct dkim_key *key = &entry->key;
    bool ed25519 = sig->algorithm == DKIM_ED25519_SHA256;
    if (entry->state == DKIM_KEY_UNKNOWN)
        *out = JUDGE(TEMPERROR, "key not available");
    else if (entry->state == DKIM_KEY_NONE)
        *out = JUDGE(PERMERROR, "no key");
    else if (entry->state == DKIM_KEY_MALFORMED)
        *out = JUDGE(PERMERROR, "malformed key record");
    else if (key->revoked)
        *out = JUDGE(PERMERROR, "key revoked");
    else if (key->ed25519 != ed25519)
        *out = JUDGE(PERMERROR, "key of another kind");
    else if (!key->sha256)
        *out = JUDGE(PERMERROR, "key not for sha256");
    else if (!key->email)
        *out = JUDGE(PERMERROR, "key not for mail");
    else if (key->strict && sig->kind == DKIM_SIGNATURE && !identity_is_domain(sig))
        *out = JUDGE(PERMERROR, "key not for subdomains");
    else
        return true;
    return false;
}

static struct dkim_judgement judge_signature(struct arena *a, const struct dkim_fields *fields,
                                             const struct dkim_signature *sig, str own,
                                             const struct dkim_key *key)
{
    struct mail_hash hash;
    uint8_t digest[MAIL_DIGEST_BYTES];
    if (mail_hash_begin(&hash) != ERR_OK)
        return JUDGE(TEMPERROR, "out of memory");
    enum err e = dkim_hash_header(a, fields, sig, own, mail_hash_add, &hash);
    mail_hash_end(&hash, digest);
    if (e != ERR_OK)
        return JUDGE(TEMPERROR, "out of memory");
    switch (mail_signature_verify(key->ed25519, key->key, digest, sig->signature)) {
    case ERR_OK:
        return JUDGE(PASS, NULL);
    case ERR_DENIED:
        return JUDGE(POLICY, "key too short");
    case ERR_INVALID:
        return JUDGE(PERMERROR, "unusable key");
    default:
        return JUDGE(FAIL, "signature does not verify");
    }
}

/* A key that is being tried out must not do harm (RFC 6376 3.6.1 t=y). */
static struct dkim_judgement softened(struct dkim_judgement j, const struct dkim_key_entry *key)
{
    bool testing = key && key->state == DKIM_KEY_FOUND && key->key.testing;
    return testing && j.result == DKIM_RESULT_FAIL ? JUDGE(NEUTRAL, "testing") : j;
}

static struct dkim_judgement judge_body(const struct dkim_signature *sig,
                                        const struct dkim_body_hash *body)
{
    if (sig->has_length && body->body.total < sig->length)
        return JUDGE(PERMERROR, "l= is beyond the body");
    if (sig->body_hash.len != MAIL_DIGEST_BYTES ||
        memcmp(sig->body_hash.data, body->digest, MAIL_DIGEST_BYTES) != 0)
        return JUDGE(FAIL, "body was altered");
    return JUDGE(PASS, NULL);
}

struct dkim_judgement dkim_judge(struct arena *a, const struct dkim_fields *fields,
                                 const struct dkim_signature *sig, str own,
                                 const struct dkim_body_hash *body,
                                 const struct dkim_key_entry *key, int64_t now_s)
{
    struct dkim_judgement j;
    if (sig->algorithm == DKIM_RSA_SHA1)
        return JUDGE(PERMERROR, "rsa-sha1"); /* RFC 8301 3.1 */
    if (!body || !key)
        return JUDGE(TEMPERROR, "too many signatures");
    if (sig->has_expiry && now_s > 0 && (uint64_t)now_s > sig->expiry_s)
        return JUDGE(FAIL, "expired");
    if (!dkim_key_fits(sig, key, &j))
        return j;
    j = judge_body(sig, body);
    if (j.result == DKIM_RESULT_PASS)
        j = judge_signature(a, fields, sig, own, &key->key);
    /* What follows the signed part could be anybody's (RFC 6376 8.2). */
    if (j.result == DKIM_RESULT_PASS && sig->has_length && body->body.total > sig->length)
        return JUDGE(NEUTRAL, "part of the body is not signed");
    return softened(j, key);
}
