/* SPDX-License-Identifier: Apache-2.0 */
#include "format/params.h"

#include <string.h>

#include "base/num.h"
#include "format/charset.h"
#include "format/header.h"
#include "format/words.h"

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

/* White space and comments. */
static void skip_cfws(str *s)
{
    size_t depth = 0, i = 0;
    for (; i < s->len; i++) {
        char c = s->data[i];
        if (c == '(')
            depth++;
        else if (c == ')' && depth)
            depth--;
        else if (c == '\\' && depth)
            i++;
        else if (!depth && !is_space(c))
            break;
    }
    *s = str_skip(*s, i);
}

static str take_until(str *s, const char *stops)
{
    size_t i = 0;
    while (i < s->len && !is_space(s->data[i]) && !(s->data[i] && strchr(stops, s->data[i])))
        i++;
    str word = str_head(*s, i);
    *s = str_skip(*s, i);
    return word;
}

/* *s begins with a quote. Borrows when there is nothing to undo. */
static bool take_quoted(struct arena *a, str *s, str *out)
{
    size_t i = 1;
    bool plain = true;
    for (; i < s->len && s->data[i] != '"'; i++) {
        if (s->data[i] == '\\' || s->data[i] == '\n' || s->data[i] == '\r')
            plain = false;
        if (s->data[i] == '\\')
            i++;
    }
    str raw = str_sub(*s, 1, i - 1);
    *s = str_skip(*s, i + 1);
    *out = raw;
    if (plain)
        return true;
    char *to = arena_alloc(a, raw.len + 1);
    if (!to)
        return false;
    size_t len = 0;
    for (i = 0; i < raw.len; i++) {
        if (raw.data[i] == '\r' || raw.data[i] == '\n')
            continue;
        if (raw.data[i] == '\\' && i + 1 < raw.len)
            i++;
        to[len++] = raw.data[i];
    }
    *out = str_of(to, len);
    return true;
}

/* An unquoted value: a token, but names with spaces are written too. A comment ends it. */
static bool take_unquoted(struct arena *a, str *s, str *out)
{
    size_t i = 0;
    while (i < s->len && s->data[i] != ';' && !(s->data[i] == '(' && i && is_space(s->data[i - 1])))
        i++;
    str raw = str_head(*s, i);
    *s = str_skip(*s, i);
    return header_unfold_arena(a, raw, out);
}

static enum err push(struct arena *a, struct param_list *l, size_t *cap, struct param p)
{
    if (l->count == PARAMS_MAX) {
        l->limit = LIMIT_PARAMS_MAX;
        return ERR_OK;
    }
    if (l->count == *cap) {
        size_t more = *cap ? *cap * 2 : 4;
        struct param *params = ARENA_ARRAY(a, struct param, more);
        if (!params)
            return ERR_LIMIT;
        if (l->count)
            memcpy(params, l->params, l->count * sizeof(*params));
        l->params = params;
        *cap = more;
    }
    l->params[l->count++] = p;
    return ERR_OK;
}

static enum err parse_list(struct arena *a, str s, struct param_list *l)
{
    size_t cap = 0;
    for (;;) {
        skip_cfws(&s);
        while (s.len && s.data[0] == ';') {
            s = str_skip(s, 1);
            skip_cfws(&s);
        }
        if (!s.len || l->limit != LIMIT_NONE)
            return ERR_OK;
        struct param p = {.name = take_until(&s, ";=(")};
        skip_cfws(&s);
        if (!s.len || s.data[0] != '=') {
            /* A word without a value is dropped; a lone byte that starts no name too. */
            if (!p.name.len && s.len && s.data[0] != ';')
                s = str_skip(s, 1);
            continue;
        }
        s = str_skip(s, 1);
        skip_cfws(&s);
        bool fits = s.len && s.data[0] == '"' ? take_quoted(a, &s, &p.value)
                                              : take_unquoted(a, &s, &p.value);
        if (!fits)
            return ERR_LIMIT;
        if (p.name.len)
            TRY(push(a, l, &cap, p));
    }
}

enum err params_parse(struct arena *a, str value, struct param_value *out)
{
    *out = (struct param_value){.params.limit = LIMIT_NONE};
    skip_cfws(&value);
    out->type = take_until(&value, "/;=(\"");
    skip_cfws(&value);
    if (value.len && value.data[0] == '/') {
        value = str_skip(value, 1);
        skip_cfws(&value);
        out->subtype = take_until(&value, ";=(\"");
    }
    return parse_list(a, value, &out->params);
}

bool params_get_raw(const struct param_list *list, str name, str *out)
{
    for (size_t i = 0; i < list->count; i++)
        if (str_eq_nocase(list->params[i].name, name)) {
            *out = list->params[i].value;
            return true;
        }
    return false;
}

/* The pieces of one RFC 2231 parameter. */
struct sections {
    const struct param *at[PARAM_SECTIONS_MAX];
    uint64_t extended[(PARAM_SECTIONS_MAX + 63) / 64]; /* bit: name*N* */
    bool any;
};

static void sections_put(struct sections *s, size_t n, bool extended, const struct param *p)
{
    if (n >= PARAM_SECTIONS_MAX || s->at[n])
        return;
    s->at[n] = p;
    s->any = true;
    if (extended)
        s->extended[n / 64] |= 1ull << (n % 64);
}

/* name* is section 0 too. */
static void sections_find(struct sections *s, const struct param_list *list, str name)
{
    for (size_t i = 0; i < list->count; i++) {
        const struct param *p = &list->params[i];
        if (!str_starts_nocase(p->name, name) || p->name.len <= name.len ||
            p->name.data[name.len] != '*')
            continue;
        str rest = str_skip(p->name, name.len + 1);
        uint64_t n = 0;
        bool numbered = num_take_u64(&rest, PARAM_SECTIONS_MAX, &n);
        if (!rest.len)
            sections_put(s, n, !numbered, p);
        else if (numbered && str_eq(rest, STR("*")))
            sections_put(s, n, true, p);
    }
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void add_percent(struct buf *out, str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] == '%' && i + 2 < s.len && hex_value(s.data[i + 1]) >= 0 &&
            hex_value(s.data[i + 2]) >= 0) {
            buf_add_char(out, (char)(hex_value(s.data[i + 1]) << 4 | hex_value(s.data[i + 2])));
            i += 2;
        } else {
            buf_add_char(out, s.data[i]);
        }
    }
}

/* charset'language'text */
static str cut_charset(str *value)
{
    str charset, language, text;
    if (!str_cut(*value, '\'', &charset, &text) || !str_cut(text, '\'', &language, &text))
        return STR_NONE;
    *value = text;
    return charset;
}

static void sections_join(const struct sections *s, struct buf *out)
{
    str charset = STR_NONE;
    BUF_AUTO struct buf bytes = BUF_INIT(HEADER_SIZE_MAX);
    for (size_t n = 0; n < PARAM_SECTIONS_MAX && s->at[n]; n++) {
        str value = s->at[n]->value;
        bool extended = s->extended[n / 64] >> (n % 64) & 1;
        if (extended && n == 0)
            charset = cut_charset(&value);
        if (extended)
            add_percent(&bytes, value);
        else
            buf_add(&bytes, value);
    }
    charset_to_utf8(charset, buf_str(&bytes), out);
}

/* "n*3" and "n*3*" are sections of "n"; "n*" is whole by itself. */
static bool is_section(str name, str *base)
{
    uint64_t n;
    str rest;
    if (!str_cut(name, '*', base, &rest) || !base->len ||
        !num_take_u64(&rest, PARAM_SECTIONS_MAX, &n))
        return false;
    return !rest.len || str_eq(rest, STR("*"));
}

static bool is_attribute_char(char c)
{
    return c > ' ' && c < 127 && !strchr("()<>@,;:\\\"/[]?=*'%", c);
}

static void add_encoded(struct buf *out, str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (is_attribute_char(s.data[i]))
            buf_add_char(out, s.data[i]);
        else
            buf_addf(out, "%%%02X", (unsigned)(uint8_t)s.data[i]);
    }
}

static bool has_first_section(const struct param_list *list, str base)
{
    struct sections s = {.any = false};
    sections_find(&s, list, base);
    return s.at[0] != NULL;
}

/* The sections of base as one parameter. */
static enum err join(struct arena *a, const struct param_list *list, str base, struct param *out)
{
    struct sections s = {.any = false};
    BUF_AUTO struct buf value = BUF_INIT(3 * HEADER_SIZE_MAX);
    sections_find(&s, list, base);
    bool encoded = s.extended[0] & 1;
    for (size_t n = 0; n < PARAM_SECTIONS_MAX && s.at[n]; n++) {
        if (encoded && !(s.extended[n / 64] >> (n % 64) & 1))
            add_encoded(&value, s.at[n]->value);
        else
            buf_add(&value, s.at[n]->value);
    }
    out->name = encoded ? arena_fmt(a, "%.*s*", STR_ARG(base)) : base;
    if (!buf_ok(&value) || str_empty(out->name) || !arena_dup(a, buf_str(&value), &out->value))
        return ERR_LIMIT;
    return ERR_OK;
}

static bool joined_before(const struct param_list *list, size_t at, str base)
{
    str other;
    for (size_t i = 0; i < at; i++)
        if (is_section(list->params[i].name, &other) && str_eq_nocase(other, base))
            return true;
    return false;
}

enum err params_join(struct arena *a, struct param_list *list)
{
    struct param *out = ARENA_ARRAY(a, struct param, list->count + 1);
    size_t n = 0;
    if (!out)
        return ERR_LIMIT;
    for (size_t i = 0; i < list->count; i++) {
        str base;
        if (!is_section(list->params[i].name, &base) || !has_first_section(list, base))
            out[n++] = list->params[i];
        else if (!joined_before(list, i, base))
            TRY(join(a, list, base, &out[n++]));
    }
    list->params = out;
    list->count = n;
    return ERR_OK;
}

str params_token(str value)
{
    skip_cfws(&value);
    return take_until(&value, "/;=(\"");
}

bool params_get(struct arena *a, const struct param_list *list, str name, str *out_utf8)
{
    struct sections s = {.any = false};
    str plain;
    BUF_AUTO struct buf text = BUF_INIT(4 * HEADER_SIZE_MAX);
    sections_find(&s, list, name);
    if (s.any && s.at[0])
        sections_join(&s, &text);
    else if (params_get_raw(list, name, &plain))
        words_decode(&text, plain);
    else
        return false;
    return buf_ok(&text) && arena_dup(a, buf_str(&text), out_utf8);
}
