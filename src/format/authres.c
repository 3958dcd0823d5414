/* SPDX-License-Identifier: Apache-2.0 */
#include "format/authres.h"

#include <string.h>

#include "base/num.h"
#include "base/utf8.h"

/* MIME token (RFC 2045 5.1), also with what addresses and names need unquoted. */
static bool is_plain(unsigned char c)
{
    return c > 0x20 && c != 0x7f && !strchr("()<>,;:\\\"/[]?=", c);
}

static void add_value(struct buf *out, str s)
{
    bool plain = s.len > 0;
    for (size_t i = 0; plain && i < s.len; i++)
        plain = is_plain((unsigned char)s.data[i]);
    if (plain && utf8_valid(s)) {
        buf_add(out, s);
        return;
    }
    buf_add_char(out, '"');
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = s.data[i];
        if (c == '"' || c == '\\')
            buf_add_char(out, '\\');
        buf_add_char(out, c < 0x20 || c == 0x7f ? '?' : (char)c);
    }
    buf_add_char(out, '"');
}

void authres_render(struct buf *out, const struct authres *r)
{
    add_value(out, r->id);
    if (!r->count)
        buf_add_c(out, "; none");
    for (size_t i = 0; i < r->count; i++) {
        const struct authres_result *result = &r->results[i];
        buf_add_c(out, ";\r\n\t");
        add_value(out, result->method);
        buf_add_char(out, '=');
        add_value(out, result->result);
        if (result->reason.len) {
            buf_add_c(out, " reason=");
            add_value(out, result->reason);
        }
        for (size_t k = 0; k < result->count; k++) {
            const struct authres_property *p = &result->properties[k];
            buf_add_c(out, k && k % 2 == 0 ? "\r\n\t " : " ");
            add_value(out, p->type);
            buf_add_char(out, '.');
            add_value(out, p->name);
            buf_add_char(out, '=');
            add_value(out, p->value);
        }
    }
}

struct scan {
    struct arena *arena;
    str rest;
};

/* White space, folding and comments (CFWS); false for a comment without end. */
static bool skip_cfws(struct scan *s)
{
    size_t depth = 0;
    while (s->rest.len) {
        char c = s->rest.data[0];
        if (c == '(')
            depth++;
        else if (depth && c == ')')
            depth--;
        else if (depth && c == '\\')
            s->rest = str_skip(s->rest, 1);
        else if (!depth && c != ' ' && c != '\t' && c != '\r' && c != '\n')
            return true;
        s->rest = str_skip(s->rest, 1);
    }
    return depth == 0;
}

static bool accept(struct scan *s, char c)
{
    if (!skip_cfws(s) || !s->rest.len || s->rest.data[0] != c)
        return false;
    s->rest = str_skip(s->rest, 1);
    return true;
}

static enum err take_quoted(struct scan *s, str *out)
{
    char *to = arena_alloc(s->arena, s->rest.len + 1);
    size_t n = 0, i = 1;
    if (!to)
        return ERR_NOMEM;
    for (; i < s->rest.len && s->rest.data[i] != '"'; i++) {
        if (s->rest.data[i] == '\\' && i + 1 < s->rest.len)
            i++;
        if (s->rest.data[i] != '\r' && s->rest.data[i] != '\n')
            to[n++] = s->rest.data[i];
    }
    if (i >= s->rest.len)
        return ERR_SYNTAX;
    *out = str_of(to, n);
    s->rest = str_skip(s->rest, i + 1);
    return ERR_OK;
}

/* A token or quoted string; more: further bytes that the word may hold. */
static enum err take_word(struct scan *s, const char *more, str *out)
{
    *out = STR_NONE;
    if (!skip_cfws(s) || !s->rest.len)
        return ERR_SYNTAX;
    if (s->rest.data[0] == '"')
        return take_quoted(s, out);
    size_t n = 0;
    while (n < s->rest.len) {
        unsigned char c = s->rest.data[n];
        if (!is_plain(c) && !(c && strchr(more, c)))
            break;
        n++;
    }
    *out = str_head(s->rest, n);
    s->rest = str_skip(s->rest, n);
    return n ? ERR_OK : ERR_SYNTAX;
}

/* Names are ASCII and never quoted. */
static enum err take_name(struct scan *s, str *out)
{
    TRY(take_word(s, "", out));
    bool quoted = s->rest.data != out->data + out->len;
    return !quoted && utf8_is_ascii(*out) ? ERR_OK : ERR_SYNTAX;
}

static bool at_result_end(struct scan *s) { return !s->rest.len || s->rest.data[0] == ';'; }

/* ptype "." property "=" value, any number; and reason= before them. */
static enum err take_properties(struct scan *s, struct authres_result *out)
{
    size_t cap = 0;
    while (skip_cfws(s) && !at_result_end(s)) {
        str name, type, property, value;
        TRY(take_name(s, &name));
        bool dotted = str_cut(name, '.', &type, &property);
        if (!dotted && accept(s, '.')) { /* white space and comments may stand around the dot */
            dotted = true;
            TRY(take_name(s, &property));
        }
        if (!accept(s, '='))
            return ERR_SYNTAX;
        /* addresses, header values and tokens of base64 stand bare too */
        TRY(take_word(s, "@/:[]=+<>?,", &value));
        if (str_eq_nocase(name, STR("reason"))) {
            out->reason = value;
            continue;
        }
        if (!dotted || !type.len || !property.len)
            return ERR_SYNTAX;
        if (out->count >= AUTHRES_RESULTS_MAX)
            return ERR_SYNTAX;
        if (out->count == cap) {
            cap = cap ? cap * 2 : 4;
            struct authres_property *grown = ARENA_ARRAY(s->arena, struct authres_property, cap);
            if (!grown)
                return ERR_NOMEM;
            if (out->count)
                memcpy(grown, out->properties, out->count * sizeof(*grown));
            out->properties = grown;
        }
        out->properties[out->count++] = (struct authres_property){type, property, value};
    }
    return ERR_OK;
}

static enum err take_result(struct scan *s, struct authres_result *out)
{
    str version;
    *out = (struct authres_result){0};
    TRY(take_name(s, &out->method));
    if (accept(s, '/')) /* method version */
        TRY(take_name(s, &version));
    if (!accept(s, '='))
        return str_eq_nocase(out->method, STR("none")) ? ERR_OK : ERR_SYNTAX;
    TRY(take_word(s, "", &out->result));
    TRY(take_properties(s, out));
    return ERR_OK;
}

enum err authres_parse(struct arena *a, str value, struct authres *out)
{
    struct scan s = {a, value};
    str version;
    *out = (struct authres){0};
    TRY(take_word(&s, "", &out->id));
    if (!skip_cfws(&s))
        return ERR_SYNTAX;
    if (!at_result_end(&s))
        TRY(take_word(&s, "", &version));
    size_t cap = 0;
    while (accept(&s, ';')) {
        if (!skip_cfws(&s))
            return ERR_SYNTAX;
        if (!s.rest.len)
            break; /* a last semicolon is common */
        if (out->count >= AUTHRES_RESULTS_MAX)
            return ERR_SYNTAX;
        if (out->count == cap) {
            cap = cap ? cap * 2 : 8;
            struct authres_result *grown = ARENA_ARRAY(a, struct authres_result, cap);
            if (!grown)
                return ERR_NOMEM;
            if (out->count)
                memcpy(grown, out->results, out->count * sizeof(*grown));
            out->results = grown;
        }
        TRY(take_result(&s, &out->results[out->count]));
        out->count += out->results[out->count].result.len > 0;
    }
    return skip_cfws(&s) && !s.rest.len ? ERR_OK : ERR_SYNTAX;
}
