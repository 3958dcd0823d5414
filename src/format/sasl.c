/* SPDX-License-Identifier: Apache-2.0 */
#include "format/sasl.h"

#include <string.h>

#include "base/code.h"
#include "base/num.h"
#include "base/utf8.h"
#include "format/limits.h"

bool sasl_text_valid(str s)
{
    if (!s.len || s.len > SASL_TEXT_MAX || !utf8_valid(s))
        return false;
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = s.data[i];
        if (c < 0x20 || c == 0x7f)
            return false;
        if (c == 0xc2 && (unsigned char)s.data[i + 1] < 0xa0) /* C1; valid, so one byte follows */
            return false;
    }
    return true;
}

enum err sasl_plain_parse(str msg, struct sasl_plain *out)
{
    str rest;
    *out = (struct sasl_plain){0};
    if (!str_cut(msg, '\0', &out->authzid, &rest) ||
        !str_cut(rest, '\0', &out->authcid, &out->password))
        return ERR_SYNTAX;
    if (out->authzid.len && !sasl_text_valid(out->authzid))
        return ERR_SYNTAX;
    return sasl_text_valid(out->authcid) && sasl_text_valid(out->password) ? ERR_OK : ERR_SYNTAX;
}

void sasl_plain_render(struct buf *out, const struct sasl_plain *m)
{
    buf_add(out, m->authzid);
    buf_add_char(out, '\0');
    buf_add(out, m->authcid);
    buf_add_char(out, '\0');
    buf_add(out, m->password);
}

enum err sasl_login_parse(str msg, str *out)
{
    /* Some clients end the answer with a NUL. */
    if (msg.len && msg.data[msg.len - 1] == '\0')
        msg.len--;
    *out = msg;
    return sasl_text_valid(msg) ? ERR_OK : ERR_SYNTAX;
}

enum err sasl_external_parse(str msg, str *authzid)
{
    *authzid = msg;
    return !msg.len || sasl_text_valid(msg) ? ERR_OK : ERR_SYNTAX;
}

/* saslname (RFC 5802 7): ',' and '=' are escaped, a bare '=' is an error. */
static enum err name_unescape(struct arena *a, str s, str *out)
{
    char *to = arena_alloc(a, s.len + 1);
    size_t n = 0;
    if (!to)
        return ERR_NOMEM;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.data[i];
        if (c == '=') {
            str code = str_sub(s, i + 1, 2);
            if (!str_eq(code, STR("2C")) && !str_eq(code, STR("3D")))
                return ERR_SYNTAX;
            c = code.data[0] == '2' ? ',' : '=';
            i += 2;
        }
        to[n++] = c;
    }
    *out = str_of(to, n);
    return sasl_text_valid(*out) ? ERR_OK : ERR_SYNTAX;
}

static bool nonce_valid(str s, size_t max)
{
    if (!s.len || s.len > max)
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (s.data[i] < 0x21 || s.data[i] > 0x7e || s.data[i] == ',')
            return false;
    return true;
}

/* Takes "k=value" up to the next comma (which is taken too). */
static bool take_attr(str *rest, char key, str *value)
{
    if (rest->len < 2 || rest->data[0] != key || rest->data[1] != '=')
        return false;
    str_cut(str_skip(*rest, 2), ',', value, rest);
    return true;
}

static bool binding_of(str flag, enum scram_binding *out)
{
    static const struct {
        str flag;
        enum scram_binding binding;
    } rows[] = {
        {STR_INIT("n"), SCRAM_BINDING_NONE},
        {STR_INIT("y"), SCRAM_BINDING_UNSUPPORTED},
        {STR_INIT("p=tls-exporter"), SCRAM_BINDING_EXPORTER},
        {STR_INIT("p=tls-server-end-point"), SCRAM_BINDING_ENDPOINT},
        {STR_INIT("p=tls-unique"), SCRAM_BINDING_UNIQUE},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (str_eq(flag, rows[i].flag)) {
            *out = rows[i].binding;
            return true;
        }
    }
    *out = SCRAM_BINDING_OTHER;
    return flag.len > 2 && str_starts(flag, STR("p=")) && sasl_text_valid(flag);
}

/* gs2-header (RFC 5801 4): flag "," ["a=" saslname] "," */
static enum err take_gs2(struct arena *a, str *rest, enum scram_binding *binding, str *authzid)
{
    str flag, name, s = *rest;
    *authzid = STR_NONE;
    if (!str_cut(s, ',', &flag, &s) || !binding_of(flag, binding) || !str_cut(s, ',', &name, &s))
        return ERR_SYNTAX;
    if (name.len) {
        if (!str_starts(name, STR("a=")))
            return ERR_SYNTAX;
        TRY(name_unescape(a, str_skip(name, 2), authzid));
    }
    *rest = s;
    return ERR_OK;
}

enum err scram_client_first_parse(struct arena *a, str msg, struct scram_client_first *out)
{
    *out = (struct scram_client_first){0};
    str rest = msg, user;
    TRY(take_gs2(a, &rest, &out->binding, &out->authzid));
    out->gs2_header = str_head(msg, msg.len - rest.len);
    out->bare = rest;
    /* "m=" is a mandatory extension: none is known, so it must fail (RFC 5802 5.1). */
    if (!take_attr(&rest, 'n', &user) || !take_attr(&rest, 'r', &out->nonce))
        return ERR_SYNTAX;
    if (!nonce_valid(out->nonce, SCRAM_NONCE_MAX) || !utf8_valid(msg))
        return ERR_SYNTAX;
    return name_unescape(a, user, &out->user);
}

static enum err decode(struct arena *a, str text, size_t max, str *out)
{
    BUF_AUTO struct buf bytes = BUF_INIT(max);
    TRY(code_base64_decode(&bytes, text));
    if (!buf_ok(&bytes))
        return ERR_SYNTAX;
    return arena_dup(a, buf_str(&bytes), out) ? ERR_OK : ERR_NOMEM;
}

enum err scram_client_final_parse(struct arena *a, str msg, struct scram_client_final *out)
{
    *out = (struct scram_client_final){0};
    str rest = msg, binding;
    /* The proof is the last attribute; base64 has no comma. */
    size_t comma = str_rfind_char(msg, ',');
    if (comma == STR_NPOS)
        return ERR_SYNTAX;
    str proof = str_skip(msg, comma + 1);
    out->without_proof = str_head(msg, comma);
    rest = out->without_proof;
    if (!take_attr(&rest, 'c', &binding) || !take_attr(&rest, 'r', &out->nonce) ||
        !str_starts(proof, STR("p=")))
        return ERR_SYNTAX;
    if (!nonce_valid(out->nonce, 2 * SCRAM_NONCE_MAX))
        return ERR_SYNTAX;
    TRY(decode(a, binding, SCRAM_BINDING_MAX, &out->binding));
    return decode(a, str_skip(proof, 2), 128, &out->proof);
}

bool scram_binding_matches(str binding, str gs2_header, str cb_data)
{
    if (binding.len != gs2_header.len + cb_data.len)
        return false;
    bool header = str_eq_secret(str_head(binding, gs2_header.len), gs2_header);
    return str_eq_secret(str_skip(binding, gs2_header.len), cb_data) && header;
}

void scram_server_first(struct buf *out, str nonce, str salt, uint32_t iterations)
{
    buf_add_c(out, "r=");
    buf_add(out, nonce);
    buf_add_c(out, ",s=");
    code_base64(out, salt);
    buf_add_c(out, ",i=");
    buf_add_u64(out, iterations);
}

void scram_server_final(struct buf *out, str signature)
{
    buf_add_c(out, "v=");
    code_base64(out, signature);
}

void scram_client_first_render(struct buf *out, const char *gs2_header, str user, str nonce)
{
    buf_add_c(out, gs2_header);
    buf_add_c(out, "n=");
    for (size_t i = 0; i < user.len; i++) {
        if (user.data[i] == ',')
            buf_add_c(out, "=2C");
        else if (user.data[i] == '=')
            buf_add_c(out, "=3D");
        else
            buf_add_char(out, user.data[i]);
    }
    buf_add_c(out, ",r=");
    buf_add(out, nonce);
}

enum err scram_server_first_parse(struct arena *a, str msg, struct scram_server_first *out)
{
    *out = (struct scram_server_first){0};
    str salt, iterations;
    uint64_t n;
    if (!take_attr(&msg, 'r', &out->nonce) || !take_attr(&msg, 's', &salt) ||
        !take_attr(&msg, 'i', &iterations))
        return ERR_SYNTAX;
    if (!nonce_valid(out->nonce, 2 * SCRAM_NONCE_MAX) ||
        !num_parse_u64(iterations, SCRAM_ITERATIONS_MAX, &n) || !n)
        return ERR_SYNTAX;
    out->iterations = (uint32_t)n;
    return decode(a, salt, 256, &out->salt);
}

enum err scram_server_final_parse(struct arena *a, str msg, str *signature)
{
    str value;
    *signature = STR_NONE;
    if (take_attr(&msg, 'e', &value))
        return ERR_AUTH;
    return take_attr(&msg, 'v', &value) ? decode(a, value, 128, signature) : ERR_SYNTAX;
}

/* RFC 6750 2.1: b68token = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"=" */
static bool token_valid(str s)
{
    size_t i = 0;
    if (!s.len || s.len > SASL_TOKEN_MAX)
        return false;
    while (i < s.len && s.data[i] != '=') {
        unsigned char c = s.data[i++], l = c | 32;
        if (!((c >= '0' && c <= '9') || (l >= 'a' && l <= 'z') || (c && strchr("-._~+/", c))))
            return false;
    }
    size_t body = i;
    while (i < s.len && s.data[i] == '=')
        i++;
    return body && i == s.len;
}

static enum err bearer_parse(str value, str *token)
{
    str scheme, rest;
    str_cut(value, ' ', &scheme, &rest);
    while (rest.len && rest.data[0] == ' ')
        rest = str_skip(rest, 1);
    *token = rest;
    return str_eq_nocase(scheme, STR("Bearer")) && token_valid(rest) ? ERR_OK : ERR_SYNTAX;
}

/* *( key "=" value ^A ) ^A; user may be NULL where the key is not known. */
static enum err kvpairs_parse(str s, struct sasl_oauth *out, str *user)
{
    str pair, key, value;
    bool auth = false;
    while (s.len && s.data[0] != '\x01') {
        if (!str_cut(s, '\x01', &pair, &s) || !str_cut(pair, '=', &key, &value))
            return ERR_SYNTAX;
        if (str_eq(key, STR("auth"))) {
            if (auth)
                return ERR_SYNTAX;
            auth = true;
            TRY(bearer_parse(value, &out->token));
            continue;
        }
        if (value.len && !sasl_text_valid(value))
            return ERR_SYNTAX;
        if (str_eq(key, STR("host")))
            out->host = value;
        else if (str_eq(key, STR("port")))
            out->port = value;
        else if (user && str_eq(key, STR("user")))
            *user = value;
    }
    return auth && s.len == 1 ? ERR_OK : ERR_SYNTAX;
}

enum err sasl_oauthbearer_parse(struct arena *a, str msg, struct sasl_oauth *out)
{
    *out = (struct sasl_oauth){0};
    enum scram_binding binding;
    TRY(take_gs2(a, &msg, &binding, &out->authzid));
    if (!msg.len || msg.data[0] != '\x01')
        return ERR_SYNTAX;
    return kvpairs_parse(str_skip(msg, 1), out, NULL);
}

enum err sasl_xoauth2_parse(str msg, struct sasl_oauth *out)
{
    *out = (struct sasl_oauth){0};
    TRY(kvpairs_parse(msg, out, &out->authzid));
    return out->authzid.len ? ERR_OK : ERR_SYNTAX;
}

void sasl_oauth_error(struct buf *out, const char *status, str scope)
{
    buf_add_c(out, "{\"status\":\"");
    buf_add_c(out, status);
    buf_add_c(out, "\"");
    if (scope.len) {
        buf_add_c(out, ",\"scope\":\"");
        buf_add(out, scope);
        buf_add_c(out, "\"");
    }
    buf_add_c(out, "}");
}
