/* SPDX-License-Identifier: Apache-2.0
 *
 * Signature fields and key records; dkim_canon.c has what is hashed.
 */
#include "format/dkim_syntax.h"

#include <assert.h>

#include "base/code.h"
#include "base/num.h"
#include "base/utf8.h"
#include "format/addr.h"
#include "format/tags.h"

static enum err parse_algorithm(str value, enum dkim_algorithm *out)
{
    if (str_eq_nocase(value, STR("rsa-sha256")))
        *out = DKIM_RSA_SHA256;
    else if (str_eq_nocase(value, STR("ed25519-sha256")))
        *out = DKIM_ED25519_SHA256;
    else if (str_eq_nocase(value, STR("rsa-sha1")))
        *out = DKIM_RSA_SHA1;
    else
        return ERR_UNSUPPORTED;
    return ERR_OK;
}

static bool canon_of(str s, enum dkim_canon *out)
{
    *out = str_eq_nocase(s, STR("relaxed")) ? DKIM_RELAXED : DKIM_SIMPLE;
    return *out == DKIM_RELAXED || str_eq_nocase(s, STR("simple"));
}

/* "relaxed/simple"; a missing second half is simple (RFC 6376 3.5). */
static enum err parse_canon(str value, struct dkim_signature *out)
{
    str header, body;
    if (!str_cut(value, '/', &header, &body))
        body = STR("simple");
    return canon_of(str_trim(header), &out->header_canon) &&
                   canon_of(str_trim(body), &out->body_canon)
               ? ERR_OK
               : ERR_SYNTAX;
}

/* h=: names split by colons, white space around them allowed. */
static enum err parse_headers(struct arena *a, str value, struct dkim_signature *out)
{
    size_t n = 1;
    for (size_t i = 0; i < value.len; i++)
        n += value.data[i] == ':';
    if (n > DKIM_HEADERS_MAX)
        return ERR_SYNTAX;
    out->headers = ARENA_ARRAY(a, str, n);
    if (!out->headers)
        return ERR_NOMEM;
    bool more, from = false;
    do {
        str name;
        more = str_cut(value, ':', &name, &value);
        name = str_trim(name);
        if (!name.len)
            return ERR_SYNTAX;
        from |= str_eq_nocase(name, STR("From"));
        out->headers[out->nheaders++] = name;
    } while (more);
    /* RFC 6376 5.4: From must be signed; ARC-Seal and Received exclusions are the signer's. */
    return from ? ERR_OK : ERR_SYNTAX;
}

static bool time_of(const struct tag_list *tags, const char *name, bool *has, uint64_t *out)
{
    str value;
    *has = tag_get(tags, name, &value);
    return !*has || num_parse_u64(value, 999999999999, out);
}

/* i= is below d= (RFC 6376 3.5). */
static enum err parse_identity(struct arena *a, str value, bool given, struct dkim_signature *out)
{
    if (!given) {
        out->identity = arena_fmt(a, "@%.*s", STR_ARG(out->domain));
        return out->identity.len ? ERR_OK : ERR_NOMEM;
    }
    TRY(tag_strip(a, value, &out->identity));
    size_t at = str_rfind_char(out->identity, '@');
    if (at == STR_NPOS)
        return ERR_SYNTAX;
    str domain = str_skip(out->identity, at + 1), d = out->domain;
    if (str_eq_nocase(domain, d))
        return ERR_OK;
    return domain.len > d.len + 1 && str_ends_nocase(domain, d) &&
                   domain.data[domain.len - d.len - 1] == '.'
               ? ERR_OK
               : ERR_SYNTAX;
}

static enum err parse_chain(const struct tag_list *tags, struct dkim_signature *out)
{
    str value;
    if (!tag_get(tags, "cv", &value))
        return ERR_SYNTAX;
    if (str_eq_nocase(value, STR("none")))
        out->chain = DKIM_CHAIN_NONE;
    else if (str_eq_nocase(value, STR("pass")))
        out->chain = DKIM_CHAIN_PASS;
    else if (str_eq_nocase(value, STR("fail")))
        out->chain = DKIM_CHAIN_FAIL;
    else
        return ERR_SYNTAX;
    /* RFC 8617 4.1.3: h= is not allowed in a seal. */
    return tag_get(tags, "h", &value) ? ERR_SYNTAX : ERR_OK;
}

/* What DKIM-Signature and ARC-Message-Signature have beyond a seal. */
static enum err parse_message_tags(struct arena *a, const struct tag_list *tags,
                                   struct dkim_signature *out)
{
    str value;
    if (!tag_get(tags, "bh", &value))
        return ERR_SYNTAX;
    TRY(tag_base64(a, value, DKIM_HASH_MAX, &out->body_hash));
    if (!tag_get(tags, "h", &value))
        return ERR_SYNTAX;
    TRY(parse_headers(a, value, out));
    if (tag_get(tags, "c", &value))
        TRY(parse_canon(value, out));
    out->has_length = tag_get(tags, "l", &value);
    if (out->has_length && (value.len > 76 || !num_parse_u64(value, UINT64_MAX, &out->length)))
        return ERR_SYNTAX;
    bool given = tag_get(tags, "i", &value);
    return parse_identity(a, value, given && out->kind == DKIM_SIGNATURE, out);
}

static enum err parse_kind(const struct tag_list *tags, struct dkim_signature *out)
{
    str value;
    if (out->kind == DKIM_SIGNATURE) {
        if (!tag_get(tags, "v", &value))
            return ERR_SYNTAX;
        return str_eq(value, STR("1")) ? ERR_OK : ERR_UNSUPPORTED;
    }
    if (!tag_get(tags, "i", &value) || !num_parse_u32(value, &out->instance) || !out->instance ||
        out->instance > ARC_SETS_MAX)
        return ERR_SYNTAX;
    return ERR_OK;
}

enum err dkim_signature_parse(struct arena *a, str value, enum dkim_field_kind kind,
                              struct dkim_signature *out)
{
    struct tag_list tags;
    str v;
    *out = (struct dkim_signature){.kind = kind};
    if (tag_list_parse(value, &tags) != ERR_OK)
        return ERR_SYNTAX;
    TRY(parse_kind(&tags, out));
    if (!tag_get(&tags, "a", &v))
        return ERR_SYNTAX;
    TRY(parse_algorithm(v, &out->algorithm));
    if (!tag_get(&tags, "d", &out->domain) || !tag_get(&tags, "s", &out->selector) ||
        !addr_domain_valid(out->domain) || !out->selector.len || out->domain.data[0] == '[' ||
        out->selector.len > 255 || !utf8_valid(out->selector))
        return ERR_SYNTAX;
    if (!time_of(&tags, "t", &out->has_time, &out->time_s) ||
        !time_of(&tags, "x", &out->has_expiry, &out->expiry_s) ||
        (out->has_time && out->has_expiry && out->expiry_s <= out->time_s))
        return ERR_SYNTAX;
    if (!tag_get(&tags, "b", &v))
        return ERR_SYNTAX;
    TRY(tag_base64(a, v, DKIM_KEY_MAX, &out->signature));
    for (size_t i = 0; i < tags.count; i++)
        if (str_eq(tags.tags[i].name, STR("b")))
            out->b_raw = tags.tags[i].raw;
    if (!out->signature.len)
        return ERR_SYNTAX;
    if (tag_get(&tags, "q", &v) && str_find_nocase(v, STR("dns/txt")) == STR_NPOS)
        return ERR_UNSUPPORTED;
    if (kind != DKIM_ARC_SEAL)
        return parse_message_tags(a, &tags, out);
    out->header_canon = DKIM_RELAXED; /* RFC 8617 5.1.1 */
    return parse_chain(&tags, out);
}

static const char *const algorithm_names[] = {"rsa-sha256", "ed25519-sha256", "rsa-sha1"};
static const char *const field_names[] = {"DKIM-Signature", "ARC-Message-Signature", "ARC-Seal"};
static const char *const chain_names[] = {"none", "pass", "fail"};

/* Long base64 in lines of 72, so that no line passes 78. */
static void add_folded_base64(struct buf *out, str bytes)
{
    BUF_AUTO struct buf text = BUF_INIT(2 * DKIM_KEY_MAX);
    code_base64(&text, bytes);
    str rest = buf_str(&text);
    while (rest.len) {
        buf_add(out, str_head(rest, 72));
        rest = str_skip(rest, 72);
        if (rest.len)
            buf_add_c(out, "\r\n\t ");
    }
}

static void add_headers(struct buf *out, const struct dkim_signature *sig)
{
    size_t column = 4;
    buf_add_c(out, "\r\n\th=");
    for (size_t i = 0; i < sig->nheaders; i++) {
        if (i)
            buf_add_char(out, ':');
        if (i && column + sig->headers[i].len > 70) {
            buf_add_c(out, "\r\n\t ");
            column = 2;
        }
        buf_add(out, sig->headers[i]);
        column += sig->headers[i].len + 1;
    }
    buf_add_char(out, ';');
}

void dkim_signature_render(struct buf *out, const struct dkim_signature *sig)
{
    static const char *const canons[] = {"simple", "relaxed"};
    assert(sig->domain.len && sig->selector.len);
    buf_addf(out, "%s: ", field_names[sig->kind]);
    if (sig->kind == DKIM_SIGNATURE)
        buf_add_c(out, "v=1; ");
    else
        buf_addf(out, "i=%u; ", sig->instance);
    buf_addf(out, "a=%s; ", algorithm_names[sig->algorithm]);
    if (sig->kind == DKIM_ARC_SEAL)
        buf_addf(out, "cv=%s; ", chain_names[sig->chain]);
    else
        buf_addf(out, "c=%s/%s; ", canons[sig->header_canon], canons[sig->body_canon]);
    buf_addf(out, "\r\n\td=%.*s; s=%.*s;", STR_ARG(sig->domain), STR_ARG(sig->selector));
    if (sig->has_time)
        buf_addf(out, " t=%llu;", (unsigned long long)sig->time_s);
    if (sig->has_expiry)
        buf_addf(out, " x=%llu;", (unsigned long long)sig->expiry_s);
    if (sig->kind != DKIM_ARC_SEAL) {
        if (sig->kind == DKIM_SIGNATURE && sig->identity.len)
            buf_addf(out, " i=%.*s;", STR_ARG(sig->identity));
        if (sig->has_length)
            buf_addf(out, " l=%llu;", (unsigned long long)sig->length);
        add_headers(out, sig);
        buf_add_c(out, "\r\n\tbh=");
        code_base64(out, sig->body_hash);
        buf_add_char(out, ';');
    }
    buf_add_c(out, "\r\n\tb=");
    add_folded_base64(out, sig->signature);
    buf_add_c(out, "\r\n");
}

static bool list_has(str list, str word)
{
    bool more;
    do {
        str item;
        more = str_cut(list, ':', &item, &list);
        if (str_eq_nocase(str_trim(item), word))
            return true;
    } while (more);
    return false;
}

enum err dkim_key_parse(struct arena *a, str txt, struct dkim_key *out)
{
    struct tag_list tags;
    str v;
    *out = (struct dkim_key){.sha1 = true, .sha256 = true, .email = true};
    if (tag_list_parse(txt, &tags) != ERR_OK)
        return ERR_SYNTAX;
    if (tag_get(&tags, "v", &v) &&
        (!str_eq(v, STR("DKIM1")) || !str_eq(tags.tags[0].name, STR("v"))))
        return ERR_UNSUPPORTED; /* RFC 6376 3.6.1: first, if there */
    if (tag_get(&tags, "k", &v)) {
        out->ed25519 = str_eq_nocase(v, STR("ed25519"));
        if (!out->ed25519 && !str_eq_nocase(v, STR("rsa")))
            return ERR_UNSUPPORTED;
    }
    if (tag_get(&tags, "h", &v)) {
        out->sha1 = list_has(v, STR("sha1"));
        out->sha256 = list_has(v, STR("sha256"));
    }
    if (tag_get(&tags, "s", &v))
        out->email = list_has(v, STR("*")) || list_has(v, STR("email"));
    if (tag_get(&tags, "t", &v)) {
        out->testing = list_has(v, STR("y"));
        out->strict = list_has(v, STR("s"));
    }
    if (!tag_get(&tags, "p", &v))
        return ERR_SYNTAX;
    out->revoked = !v.len;
    if (out->revoked)
        return ERR_OK;
    TRY(tag_base64(a, v, DKIM_KEY_MAX, &out->key));
    return out->ed25519 && out->key.len != 32 ? ERR_SYNTAX : ERR_OK;
}

void dkim_key_render(struct buf *out, bool ed25519, str key)
{
    buf_addf(out, "v=DKIM1; k=%s; p=", ed25519 ? "ed25519" : "rsa");
    code_base64(out, key);
}
