/* SPDX-License-Identifier: Apache-2.0
 *
 * The strict entrance, and rendering. Address lists of header fields are in addr_list.c.
 */
#include "format/addr.h"

#include <assert.h>
#include <string.h>

#include "base/utf8.h"
#include "format/words.h"

static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* RFC 5322 3.2.3; RFC 6531 3.3 adds all of UTF-8 beyond ASCII. */
static bool is_atext(char c)
{
    return is_alnum(c) || (uint8_t)c >= 0x80 || (c && strchr("!#$%&'*+-/=?^_`{|}~", c));
}

/* Length of the dot-string in front, 0 if there is none; *bad when a dot stands wrong. */
static size_t dot_string(str s, bool *bad)
{
    size_t i = 0;
    for (; i < s.len && (is_atext(s.data[i]) || s.data[i] == '.'); i++)
        if (s.data[i] == '.' && (i == 0 || s.data[i - 1] == '.'))
            *bad = true;
    if (i && s.data[i - 1] == '.')
        *bad = true;
    return i;
}

/* RFC 5321 4.1.2 Quoted-string: *rest is behind the closing quote afterwards. */
static enum err take_quoted(struct arena *a, str *rest, str *out)
{
    size_t i = 1;
    bool escaped = false;
    while (i < rest->len && rest->data[i] != '"') {
        escaped |= rest->data[i] == '\\';
        i += rest->data[i] == '\\' ? 2 : 1;
    }
    if (i >= rest->len)
        return ERR_SYNTAX;
    *out = str_sub(*rest, 1, i - 1);
    *rest = str_skip(*rest, i + 1);
    for (size_t k = 0; k < out->len; k++)
        if ((uint8_t)out->data[k] < ' ' || out->data[k] == 0x7f)
            return ERR_SYNTAX;
    if (!escaped)
        return ERR_OK;
    char *plain = arena_alloc(a, out->len);
    if (!plain)
        return ERR_LIMIT;
    size_t len = 0;
    for (size_t k = 0; k < out->len; k++) {
        if (out->data[k] == '\\')
            k++;
        plain[len++] = out->data[k];
    }
    *out = str_of(plain, len);
    return ERR_OK;
}

static enum err take_local(struct arena *a, str *rest, str *out)
{
    if (rest->len && rest->data[0] == '"') {
        TRY(take_quoted(a, rest, out));
    } else {
        bool bad = false;
        *out = str_head(*rest, dot_string(*rest, &bad));
        if (bad || !out->len)
            return ERR_SYNTAX;
        *rest = str_skip(*rest, out->len);
    }
    if (!utf8_valid(*out))
        return ERR_SYNTAX;
    return out->len > ADDR_LOCAL_MAX ? ERR_LIMIT : ERR_OK;
}

/* RFC 5321 4.1.3: the tag's own syntax is not checked, the bytes are. */
static bool literal_valid(str s)
{
    if (s.len < 3 || s.data[0] != '[' || s.data[s.len - 1] != ']')
        return false;
    for (size_t i = 1; i + 1 < s.len; i++)
        if (!is_alnum(s.data[i]) && !strchr(".:-", s.data[i]))
            return false;
    return true;
}

/* The underscore is no letter of a host name, but real domains use it. */
static bool label_valid(str s)
{
    bool ascii = utf8_is_ascii(s);
    if (!s.len || (ascii && s.len > 63) || s.data[0] == '-' || s.data[s.len - 1] == '-')
        return false;
    for (size_t i = 0; i < s.len; i++)
        if (!is_alnum(s.data[i]) && s.data[i] != '-' && s.data[i] != '_' &&
            (uint8_t)s.data[i] < 0x80)
            return false;
    return true;
}

bool addr_domain_valid(str s)
{
    if (!s.len || s.len > ADDR_DOMAIN_MAX || !utf8_valid(s))
        return false;
    if (s.data[0] == '[')
        return literal_valid(s);
    str label;
    bool more;
    do {
        more = str_cut(s, '.', &label, &s);
        if (!label_valid(label))
            return false;
    } while (more);
    return true;
}

static bool lower(struct arena *a, str *s)
{
    size_t i = 0;
    while (i < s->len && !(s->data[i] >= 'A' && s->data[i] <= 'Z'))
        i++;
    if (i == s->len)
        return true;
    char *to = arena_alloc(a, s->len);
    if (!to)
        return false;
    for (i = 0; i < s->len; i++)
        to[i] = char_lower(s->data[i]);
    s->data = to;
    return true;
}

static enum err take_domain(struct arena *a, str *rest, str *out)
{
    size_t i = 0;
    if (rest->len && rest->data[0] == '[') {
        size_t close = str_find_char(str_head(*rest, ADDR_DOMAIN_MAX + 2), ']');
        if (close == STR_NPOS)
            return ERR_SYNTAX;
        i = close + 1;
    } else {
        while (i < rest->len &&
               (is_alnum(rest->data[i]) || strchr(".-_", rest->data[i]) ||
                (uint8_t)rest->data[i] >= 0x80) &&
               rest->data[i])
            i++;
    }
    *out = str_head(*rest, i);
    *rest = str_skip(*rest, i);
    if (out->len > ADDR_DOMAIN_MAX)
        return ERR_LIMIT;
    if (!addr_domain_valid(*out))
        return ERR_SYNTAX;
    return lower(a, out) ? ERR_OK : ERR_LIMIT;
}

enum err addr_take(struct arena *a, str *rest, unsigned flags, struct addr *out)
{
    *out = (struct addr){STR_NONE, STR_NONE};
    TRY(take_local(a, rest, &out->local));
    if (rest->len && rest->data[0] == '@') {
        *rest = str_skip(*rest, 1);
        return take_domain(a, rest, &out->domain);
    }
    return flags & ADDR_DOMAIN_OPTIONAL ? ERR_OK : ERR_SYNTAX;
}

enum err addr_parse(struct arena *a, str text, unsigned flags, struct addr *out)
{
    TRY(addr_take(a, &text, flags, out));
    return text.len ? ERR_SYNTAX : ERR_OK;
}

bool addr_is_ascii(const struct addr *a)
{
    return utf8_is_ascii(a->local) && utf8_is_ascii(a->domain);
}

bool addr_eq(const struct addr *a, const struct addr *b)
{
    return str_eq(a->local, b->local) && str_eq_nocase(a->domain, b->domain);
}

static void render_quoted(struct buf *out, str s)
{
    buf_add_char(out, '"');
    for (size_t i = 0; i < s.len; i++) {
        char c = s.data[i];
        if (c == '"' || c == '\\')
            buf_add_char(out, '\\');
        buf_add_char(out, (uint8_t)c < ' ' || c == 0x7f ? ' ' : c);
    }
    buf_add_char(out, '"');
}

void addr_render(struct buf *out, const struct addr *a)
{
    if (addr_is_null(a))
        return;
    bool bad = false;
    if (a->local.len && dot_string(a->local, &bad) == a->local.len && !bad)
        buf_add(out, a->local);
    else
        render_quoted(out, a->local);
    if (a->domain.len) {
        buf_add_char(out, '@');
        buf_add(out, a->domain);
    }
}

void addr_render_mailbox(struct buf *out, str name_utf8, const struct addr *a)
{
    name_utf8 = str_trim(name_utf8);
    if (name_utf8.len) {
        words_encode_phrase(out, name_utf8);
        buf_add(out, STR(" <"));
    }
    addr_render(out, a);
    if (name_utf8.len)
        buf_add_char(out, '>');
}
