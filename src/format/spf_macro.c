/* SPDX-License-Identifier: Apache-2.0
 *
 * SPF macros (RFC 7208 7).
 */
#include "base/num.h"
#include "format/spf_syntax.h"

/* The address in dotted nibbles or bytes (7.3, letter i). */
static void add_ip(struct buf *out, const struct spf_values *v, bool text)
{
    static const char digits[] = "0123456789abcdef";
    if (!v->v6) {
        buf_addf(out, "%u.%u.%u.%u", v->ip[0], v->ip[1], v->ip[2], v->ip[3]);
        return;
    }
    for (size_t i = 0; i < 16; i++) {
        if (text) { /* letter c: readable */
            buf_add_char(out, digits[v->ip[i] >> 4]);
            buf_add_char(out, digits[v->ip[i] & 15]);
            if (i % 2 && i < 15)
                buf_add_char(out, ':');
            continue;
        }
        buf_addf(out, "%c.%c%s", digits[v->ip[i] >> 4], digits[v->ip[i] & 15], i < 15 ? "." : "");
    }
}

/* The bare value of a letter; false for an unknown one. */
static bool letter_value(struct buf *out, char letter, const struct spf_values *v, bool explanation)
{
    str local = v->sender_local.len ? v->sender_local : STR("postmaster");
    switch (letter | 32) {
    case 's':
        buf_addf(out, "%.*s@%.*s", STR_ARG(local), STR_ARG(v->sender_domain));
        return true;
    case 'l':
        buf_add(out, local);
        return true;
    case 'o':
        buf_add(out, v->sender_domain);
        return true;
    case 'd':
        buf_add(out, v->domain);
        return true;
    case 'i':
        add_ip(out, v, false);
        return true;
    case 'p':
        buf_add(out, v->validated.len ? v->validated : STR("unknown"));
        return true;
    case 'v':
        buf_add_c(out, v->v6 ? "ip6" : "in-addr");
        return true;
    case 'h':
        buf_add(out, v->helo);
        return true;
    case 'c':
        if (explanation)
            add_ip(out, v, true);
        return explanation;
    case 'r':
        if (explanation)
            buf_add(out, v->receiver.len ? v->receiver : STR("unknown"));
        return explanation;
    case 't':
        if (explanation)
            buf_add_u64(out, v->time_s);
        return explanation;
    default:
        return false;
    }
}

static void add_escaped(struct buf *out, str s, bool escape)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = s.data[i], l = c | 32;
        bool plain = (l >= 'a' && l <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
                     c == '_' || c == '~';
        if (plain || !escape)
            buf_add_char(out, (char)c);
        else
            buf_addf(out, "%%%02X", c);
    }
}

/* Splits at delimiters, keeps the last `keep` parts (0: all), reversed or not, joined by dots. */
static void add_transformed(struct buf *out, str value, uint64_t keep, bool reverse, str delimiters,
                            bool escape)
{
    struct range_of_part {
        size_t begin, len;
    } parts[256];
    size_t n = 0, begin = 0;
    for (size_t i = 0; i <= value.len && n < ARRAY_LEN(parts); i++) {
        if (i == value.len || str_find_char(delimiters, value.data[i]) != STR_NPOS) {
            parts[n].begin = begin;
            parts[n++].len = i - begin;
            begin = i + 1;
        }
    }
    size_t first = keep && keep < n ? n - (size_t)keep : 0;
    for (size_t i = first; i < n; i++) {
        /* reversed, the rightmost parts that stay are the first ones of the original */
        size_t k = reverse ? n - 1 - i : i;
        if (i > first)
            buf_add_char(out, '.');
        add_escaped(out, str_sub(value, parts[k].begin, parts[k].len), escape);
    }
}

/* "{" letter [digits] ["r"] *delimiter "}", behind the '%'. */
static enum err take_macro(struct buf *out, str *s, const struct spf_values *v, bool explanation)
{
    BUF_AUTO struct buf value = BUF_INIT(SPF_EXPANSION_MAX);
    str rest = str_skip(*s, 1);
    uint64_t keep = 0;
    if (!rest.len)
        return ERR_SYNTAX;
    char letter = rest.data[0];
    rest = str_skip(rest, 1);
    if (rest.len && rest.data[0] >= '0' && rest.data[0] <= '9' &&
        (!num_take_u64(&rest, 1000000, &keep) || !keep))
        return ERR_SYNTAX;
    bool reverse = rest.len && (rest.data[0] | 32) == 'r';
    rest = str_skip(rest, reverse);
    size_t close = str_find_char(rest, '}');
    if (close == STR_NPOS || close > 7 * 4)
        return ERR_SYNTAX;
    str delimiters = str_head(rest, close);
    for (size_t i = 0; i < delimiters.len; i++)
        if (str_find_char(STR(".-+,/_="), delimiters.data[i]) == STR_NPOS)
            return ERR_SYNTAX;
    if (!letter_value(&value, letter, v, explanation))
        return ERR_SYNTAX;
    bool escape = letter >= 'A' && letter <= 'Z';
    add_transformed(out, buf_str(&value), keep, reverse, delimiters.len ? delimiters : STR("."),
                    escape);
    *s = str_skip(rest, close + 1);
    return ERR_OK;
}

enum err spf_expand(struct buf *out, str macro, const struct spf_values *v, bool explanation)
{
    while (macro.len) {
        char c = macro.data[0];
        macro = str_skip(macro, 1);
        if (c != '%') {
            if (c < 0x20 || c >= 0x7f || (c == ' ' && !explanation))
                return ERR_SYNTAX;
            buf_add_char(out, c);
            continue;
        }
        if (!macro.len)
            return ERR_SYNTAX;
        if (macro.data[0] == '{') {
            TRY(take_macro(out, &macro, v, explanation));
            continue;
        }
        if (macro.data[0] == '%')
            buf_add_char(out, '%');
        else if (macro.data[0] == '_')
            buf_add_char(out, ' ');
        else if (macro.data[0] == '-')
            buf_add_c(out, "%20");
        else
            return ERR_SYNTAX;
        macro = str_skip(macro, 1);
    }
    return buf_ok(out) ? ERR_OK : ERR_SYNTAX;
}

enum err spf_expand_domain(struct arena *a, str macro, const struct spf_values *v, str *out)
{
    BUF_AUTO struct buf text = BUF_INIT(SPF_EXPANSION_MAX);
    TRY(spf_expand(&text, macro, v, false));
    str name = buf_str(&text);
    if (str_ends(name, STR(".")))
        name.len--;
    while (name.len > 253) {
        size_t dot = str_find_char(name, '.');
        name = dot == STR_NPOS ? STR_NONE : str_skip(name, dot + 1);
    }
    return arena_dup(a, name, out) ? ERR_OK : ERR_NOMEM;
}
