/* SPDX-License-Identifier: Apache-2.0 */
#include "format/tags.h"

#include "base/code.h"

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

/* RFC 6376 3.2: ALPHA *(ALPHA / DIGIT / "_") */
static bool name_valid(str s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = s.data[i], l = c | 32;
        if (!((l >= 'a' && l <= 'z') || (i && ((c >= '0' && c <= '9') || c == '_'))))
            return false;
    }
    return s.len > 0;
}

enum err tag_list_parse(str s, struct tag_list *out)
{
    out->count = 0;
    while (str_trim(s).len) {
        str item, name, raw;
        str_cut(s, ';', &item, &s);
        if (!str_cut(item, '=', &name, &raw) || !name_valid(str_trim(name)))
            return ERR_SYNTAX;
        if (out->count == TAGS_MAX)
            return ERR_LIMIT;
        name = str_trim(name);
        for (size_t i = 0; i < out->count; i++)
            if (str_eq(out->tags[i].name, name))
                return ERR_SYNTAX;
        out->tags[out->count++] = (struct tag){name, str_trim(raw), raw};
    }
    return out->count ? ERR_OK : ERR_SYNTAX;
}

bool tag_get(const struct tag_list *list, const char *name, str *value)
{
    *value = STR_NONE;
    for (size_t i = 0; i < list->count; i++) {
        if (str_eq(list->tags[i].name, str_c(name))) {
            *value = list->tags[i].value;
            return true;
        }
    }
    return false;
}

enum err tag_strip(struct arena *a, str value, str *out)
{
    size_t n = 0, spaces = 0;
    for (size_t i = 0; i < value.len; i++)
        spaces += is_space(value.data[i]);
    *out = value;
    if (!spaces)
        return ERR_OK;
    char *to = arena_alloc(a, value.len);
    if (!to)
        return ERR_NOMEM;
    for (size_t i = 0; i < value.len; i++)
        if (!is_space(value.data[i]))
            to[n++] = value.data[i];
    *out = str_of(to, n);
    return ERR_OK;
}

enum err tag_base64(struct arena *a, str value, size_t max, str *out)
{
    str text;
    BUF_AUTO struct buf bytes = BUF_INIT(max);
    TRY(tag_strip(a, value, &text));
    TRY(code_base64_decode(&bytes, text));
    if (!buf_ok(&bytes))
        return ERR_SYNTAX;
    return arena_dup(a, buf_str(&bytes), out) ? ERR_OK : ERR_NOMEM;
}
