/* SPDX-License-Identifier: Apache-2.0
 *
 * A signature is made of its own field with an empty b=, hashed behind the header fields that it
 * names (RFC 6376 3.7).
 */
#include "core/dkim_sign.h"

#include <assert.h>

#include "base/num.h"
#include "core/mail_crypto.h"
#include "format/arc_syntax.h"
#include "format/header.h"

#define SIGN_ARENA_MAX 16777216 /* bytes: the fields of a header at its limit */
#define FIELD_MAX 131072        /* bytes of one rendered field */

/* RFC 6376 5.4.1, and what mailing-list and unsubscribe features rely on (RFC 8058 4). Those marked
 * are named once more than they occur, so that none can be added later (5.4.2, 8.15). */
static const struct signed_name {
    str name;
    bool oversign;
} signed_names[] = {
    {STR_INIT("From"), true},
    {STR_INIT("To"), true},
    {STR_INIT("Cc"), true},
    {STR_INIT("Subject"), true},
    {STR_INIT("Date"), true},
    {STR_INIT("Message-ID"), true},
    {STR_INIT("Reply-To"), true},
    {STR_INIT("Sender"), false},
    {STR_INIT("In-Reply-To"), true},
    {STR_INIT("References"), true},
    {STR_INIT("MIME-Version"), true},
    {STR_INIT("Content-Type"), true},
    {STR_INIT("Content-Transfer-Encoding"), true},
    {STR_INIT("Content-Disposition"), false},
    {STR_INIT("Content-ID"), false},
    {STR_INIT("Resent-From"), false},
    {STR_INIT("Resent-To"), false},
    {STR_INIT("Resent-Cc"), false},
    {STR_INIT("Resent-Date"), false},
    {STR_INIT("Resent-Message-ID"), false},
    {STR_INIT("List-Id"), false},
    {STR_INIT("List-Help"), false},
    {STR_INIT("List-Unsubscribe"), false},
    {STR_INIT("List-Unsubscribe-Post"), false},
    {STR_INIT("List-Subscribe"), false},
    {STR_INIT("List-Post"), false},
    {STR_INIT("List-Owner"), false},
    {STR_INIT("List-Archive"), false},
};

struct signing {
    struct arena arena;
    struct dkim_fields fields;
    uint8_t body[MAIL_DIGEST_BYTES];
    int64_t now_s;
};

static size_t count_of(const struct dkim_fields *f, str name)
{
    size_t n = 0;
    for (size_t i = 0; i < f->count; i++)
        n += str_eq_nocase(f->fields[i].name, name);
    return n;
}

/* h=. more: names that this kind of signature covers beyond the table (ARC: DKIM-Signature). */
static enum err names_to_sign(struct signing *s, str more, struct dkim_signature *sig)
{
    size_t n = 0;
    sig->headers = ARENA_ARRAY(&s->arena, str, DKIM_HEADERS_MAX);
    if (!sig->headers)
        return ERR_NOMEM;
    for (size_t i = 0; i < ARRAY_LEN(signed_names); i++) {
        size_t times = count_of(&s->fields, signed_names[i].name);
        if (i == 0 && times == 0)
            return ERR_INVALID; /* no From */
        for (times += signed_names[i].oversign; times > 0 && n < DKIM_HEADERS_MAX / 2; times--)
            sig->headers[n++] = signed_names[i].name;
    }
    for (size_t times = str_empty(more) ? 0 : count_of(&s->fields, more);
         times > 0 && n < DKIM_HEADERS_MAX; times--)
        sig->headers[n++] = more;
    sig->nheaders = n;
    return ERR_OK;
}

static enum err hash_body(str body, uint8_t digest[MAIL_DIGEST_BYTES])
{
    struct mail_hash hash;
    TRY(mail_hash_begin(&hash));
    struct dkim_body b = {
        .canon = DKIM_RELAXED, .limit = UINT64_MAX, .sink = mail_hash_add, .context = &hash};
    dkim_body_add(&b, body);
    dkim_body_end(&b);
    mail_hash_end(&hash, digest);
    return ERR_OK;
}

static enum err signing_begin(struct signing *s, str header, str body, int64_t now_s)
{
    arena_init(&s->arena, SIGN_ARENA_MAX);
    s->now_s = now_s;
    enum err e = dkim_fields_of(&s->arena, header, &s->fields);
    if (e == ERR_OK)
        e = hash_body(body, s->body);
    return e;
}

/* The field as it is hashed: b= empty. Its place is behind the last "b=". */
static enum err render_unsigned(struct signing *s, struct dkim_signature *sig, str *field)
{
    BUF_AUTO struct buf text = BUF_INIT(FIELD_MAX);
    sig->signature = STR_NONE;
    dkim_signature_render(&text, sig);
    if (!buf_ok(&text))
        return ERR_LIMIT;
    if (!arena_dup(&s->arena, buf_str(&text), field))
        return ERR_NOMEM;
    assert(str_ends(*field, STR("b=\r\n")));
    sig->b_raw = str_of(field->data + field->len - 2, 0);
    return ERR_OK;
}

static enum err sign_digest(struct signing *s, const struct mail_key *key, struct mail_hash *hash,
                            struct dkim_signature *sig)
{
    uint8_t digest[MAIL_DIGEST_BYTES];
    BUF_AUTO struct buf bytes = BUF_INIT(MAIL_RSA_BITS_MAX / 8);
    mail_hash_end(hash, digest);
    TRY(mail_key_sign(key, digest, &bytes));
    return arena_dup(&s->arena, buf_str(&bytes), &sig->signature) ? ERR_OK : ERR_NOMEM;
}

/* DKIM-Signature and ARC-Message-Signature. */
static enum err sign_message(struct signing *s, const struct mail_key *key,
                             struct dkim_signature *sig, struct buf *out)
{
    str own;
    struct mail_hash hash;
    TRY(render_unsigned(s, sig, &own));
    TRY(mail_hash_begin(&hash));
    enum err e = dkim_hash_header(&s->arena, &s->fields, sig, own, mail_hash_add, &hash);
    if (e == ERR_OK)
        e = sign_digest(s, key, &hash, sig);
    mail_hash_free(&hash);
    TRY(e);
    dkim_signature_render(out, sig);
    return buf_ok(out) ? ERR_OK : ERR_LIMIT;
}

static struct dkim_signature signature_of(const struct signing *s, const struct dkim_signer *signer,
                                          enum dkim_field_kind kind)
{
    return (struct dkim_signature){
        .kind = kind,
        .algorithm = signer->ed25519 ? DKIM_ED25519_SHA256 : DKIM_RSA_SHA256,
        .header_canon = DKIM_RELAXED,
        .body_canon = DKIM_RELAXED,
        .domain = signer->domain,
        .selector = signer->selector,
        .has_time = true,
        .time_s = (uint64_t)MAX(s->now_s, (int64_t)0),
        .body_hash = str_of(s->body, sizeof(s->body)),
    };
}

static enum err sign_one(struct signing *s, const struct dkim_signer *signer, struct buf *out)
{
    struct dkim_signature sig = signature_of(s, signer, DKIM_SIGNATURE);
    TRY(names_to_sign(s, STR_NONE, &sig));
    struct mail_key *key = mail_key_read(signer->ed25519, signer->key_pem);
    enum err e = key ? sign_message(s, key, &sig, out) : ERR_INVALID;
    mail_key_free(key);
    return e;
}

enum err dkim_sign_parts(const struct dkim_signer *signers, size_t n, str header, str body,
                         int64_t now_s, struct buf *out)
{
    struct signing s = {0};
    assert(n <= DKIM_SIGNERS_MAX);
    enum err e = signing_begin(&s, header, body, now_s);
    for (size_t i = 0; i < n && e == ERR_OK; i++)
        e = sign_one(&s, &signers[i], out);
    arena_free(&s.arena);
    return e;
}

enum err dkim_sign(const struct dkim_signer *signers, size_t n, str message, int64_t now_s,
                   struct buf *out)
{
    size_t header = header_size(message);
    return dkim_sign_parts(signers, n, str_head(message, header), str_skip(message, header), now_s,
                           out);
}

/* ---- ARC ---- */

/* A field as the parts of a chain have it. */
static struct dkim_field *field_of(struct signing *s, str raw)
{
    struct dkim_field *f = ARENA_NEW(&s->arena, struct dkim_field);
    if (!f)
        return NULL;
    f->raw = raw;
    str_cut(raw, ':', &f->name, &f->value);
    return f;
}

static enum err render_results(struct signing *s, uint32_t instance, str results, str *raw)
{
    BUF_AUTO struct buf text = BUF_INIT(FIELD_MAX);
    results = str_trim(results);
    buf_addf(&text, "ARC-Authentication-Results: i=%u; ", instance);
    buf_add(&text, results);
    buf_add_c(&text, "\r\n");
    if (!buf_ok(&text))
        return ERR_LIMIT;
    return arena_dup(&s->arena, buf_str(&text), raw) ? ERR_OK : ERR_NOMEM;
}

static enum err make_message_signature(struct signing *s, const struct dkim_signer *signer,
                                       const struct mail_key *key, uint32_t instance, str *raw)
{
    BUF_AUTO struct buf text = BUF_INIT(FIELD_MAX);
    struct dkim_signature sig = signature_of(s, signer, DKIM_ARC_MESSAGE);
    sig.instance = instance;
    TRY(names_to_sign(s, STR("DKIM-Signature"), &sig)); /* RFC 8617 4.1.2 */
    TRY(sign_message(s, key, &sig, &text));
    return arena_dup(&s->arena, buf_str(&text), raw) ? ERR_OK : ERR_NOMEM;
}

static enum err make_seal(struct signing *s, const struct dkim_signer *signer,
                          const struct mail_key *key, const struct arc_chain *chain,
                          struct buf *out)
{
    struct mail_hash hash;
    str own;
    struct arc_set *last = &chain->sets[chain->count - 1];
    struct dkim_signature *sig = &last->seal_sig;
    *sig = signature_of(s, signer, DKIM_ARC_SEAL);
    sig->instance = (uint32_t)chain->count;
    sig->chain = chain->count > 1 ? DKIM_CHAIN_PASS : DKIM_CHAIN_NONE;
    TRY(render_unsigned(s, sig, &own));
    last->seal = field_of(s, own);
    if (!last->seal)
        return ERR_NOMEM;
    TRY(mail_hash_begin(&hash));
    enum err e = arc_hash_seal(&s->arena, chain, chain->count, mail_hash_add, &hash);
    if (e == ERR_OK)
        e = sign_digest(s, key, &hash, sig);
    mail_hash_free(&hash);
    TRY(e);
    dkim_signature_render(out, sig);
    return buf_ok(out) ? ERR_OK : ERR_LIMIT;
}

static enum err seal(struct signing *s, const struct dkim_signer *signer,
                     const struct mail_key *key, str results, struct buf *out)
{
    struct arc_chain before, chain;
    str aar, ams;
    enum err e = arc_chain_of(&s->arena, &s->fields, &before);
    if (e != ERR_OK)
        return e == ERR_SYNTAX ? ERR_DENIED : e;
    if (before.count >= ARC_SETS_MAX)
        return ERR_LIMIT;
    chain = (struct arc_chain){
        .sets = ARENA_ARRAY(&s->arena, struct arc_set, before.count + 1),
        .count = before.count + 1,
    };
    if (!chain.sets)
        return ERR_NOMEM;
    for (size_t i = 0; i < before.count; i++)
        chain.sets[i] = before.sets[i];
    struct arc_set *last = &chain.sets[before.count];
    TRY(render_results(s, (uint32_t)chain.count, results, &aar));
    TRY(make_message_signature(s, signer, key, (uint32_t)chain.count, &ams));
    last->results = field_of(s, aar);
    last->message = field_of(s, ams);
    if (!last->results || !last->message)
        return ERR_NOMEM;
    TRY(make_seal(s, signer, key, &chain, out));
    buf_add(out, ams);
    buf_add(out, aar);
    return buf_ok(out) ? ERR_OK : ERR_LIMIT;
}

enum err arc_seal(const struct dkim_signer *signer, str results, enum dkim_chain chain, str message,
                  int64_t now_s, struct buf *out)
{
    struct signing s = {0};
    if (chain == DKIM_CHAIN_FAIL)
        return ERR_DENIED;
    struct mail_key *key = mail_key_read(signer->ed25519, signer->key_pem);
    if (!key)
        return ERR_INVALID;
    size_t header = header_size(message);
    enum err e = signing_begin(&s, str_head(message, header), str_skip(message, header), now_s);
    if (e == ERR_OK)
        e = seal(&s, signer, key, results, out);
    arena_free(&s.arena);
    mail_key_free(key);
    return e;
}

/* ---- keys ---- */

static enum err record_of(const struct mail_key *key, bool ed25519, struct buf *dns_record)
{
    BUF_AUTO struct buf public = BUF_INIT(DKIM_KEY_MAX);
    TRY(mail_key_public(key, &public));
    dkim_key_render(dns_record, ed25519, buf_str(&public));
    return buf_ok(dns_record) ? ERR_OK : ERR_LIMIT;
}

enum err dkim_key_record(str key_pem, struct buf *dns_record)
{
    bool ed25519 = false;
    struct mail_key *key = mail_key_read(false, key_pem);
    if (!key) {
        ed25519 = true;
        key = mail_key_read(true, key_pem);
    }
    if (!key)
        return ERR_INVALID;
    enum err e = record_of(key, ed25519, dns_record);
    mail_key_free(key);
    return e;
}

enum err dkim_make_key(bool ed25519, struct buf *private_pem, struct buf *dns_record)
{
    TRY(mail_key_make(ed25519, private_pem));
    return dkim_key_record(buf_str(private_pem), dns_record);
}
