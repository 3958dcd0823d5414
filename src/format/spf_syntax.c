/* SPDX-License-Identifier: Apache-2.0
 *
 * Records; spf_macro.c expands macros.
 */
#include "format/spf_syntax.h"

#include <string.h>

#include "base/num.h"
#include "format/ip_text.h"

bool spf_record_is(str txt)
{
    return str_starts_nocase(txt, STR("v=spf1")) && (txt.len == 6 || txt.data[6] == ' ');
}

/* "/24", "//64", "/24//64" at the end of *s are taken off. */
static bool take_prefixes(str *s, struct spf_term *t)
{
    /* a slash within a macro is a delimiter */
    size_t from = str_rfind_char(*s, '}');
    from = from == STR_NPOS ? 0 : from;
    size_t slash = str_find_char(str_skip(*s, from), '/');
    uint64_t n;
    if (slash == STR_NPOS)
        return true;
    slash += from;
    str rest = str_skip(*s, slash);
    *s = str_head(*s, slash);
    if (!str_starts(rest, STR("//"))) {
        rest = str_skip(rest, 1);
        if ((rest.len > 1 && rest.data[0] == '0' && rest.data[1] != '/') ||
            !num_take_u64(&rest, 32, &n))
            return false;
        t->prefix4 = (uint8_t)n;
        if (!rest.len)
            return true;
    }
    if (!str_starts(rest, STR("//")))
        return false;
    rest = str_skip(rest, 2);
    if ((rest.len > 1 && rest.data[0] == '0') || !num_parse_u64(rest, 128, &n))
        return false;
    t->prefix6 = (uint8_t)n;
    return true;
}

static bool parse_ip(str value, struct spf_term *t)
{
    str ip, prefix;
    uint64_t n;
    bool v6 = t->mechanism == SPF_IP6;
    if (str_cut(value, '/', &ip, &prefix)) {
        if ((prefix.len > 1 && prefix.data[0] == '0') || !num_parse_u64(prefix, v6 ? 128 : 32, &n))
            return false;
        *(v6 ? &t->prefix6 : &t->prefix4) = (uint8_t)n;
    }
    return v6 ? ip_parse_v6(ip, t->ip) : ip_parse_v4(ip, t->ip);
}

/* RFC 7208 7.1: macro-string ending in a top label or a macro; every macro well-formed. */
static bool domain_spec_valid(str s)
{
    if (!s.len || s.len > 1000)
        return false;
    static const uint8_t ip[4];
    struct spf_values v = {.ip = ip};
    BUF_AUTO struct buf scratch = BUF_INIT(16384);
    if (spf_expand(&scratch, s, &v, false) != ERR_OK)
        return false;
    if (str_ends(s, STR("}")))
        return true;
    if (str_ends(s, STR(".")))
        s.len--;
    size_t dot = str_rfind_char(s, '.');
    if (dot == STR_NPOS)
        return false;
    str label = str_skip(s, dot + 1);
    bool alpha = false;
    for (size_t i = 0; i < label.len; i++) {
        unsigned char c = label.data[i], l = c | 32;
        alpha |= (l >= 'a' && l <= 'z') || c == '-';
        if (!((l >= 'a' && l <= 'z') || (c >= '0' && c <= '9') || c == '-'))
            return false;
    }
    return label.len && alpha && label.data[0] != '-' && label.data[label.len - 1] != '-';
}

enum spf_argument { ARG_NONE, ARG_DOMAIN, ARG_OPTIONAL, ARG_OPTIONAL_PREFIX, ARG_IP };
static const struct {
    str name;
    enum spf_mechanism mechanism;
    enum spf_argument argument;
} mechanism_rows[] = {
    {STR_INIT("all"), SPF_ALL, ARG_NONE},        {STR_INIT("include"), SPF_INCLUDE, ARG_DOMAIN},
    {STR_INIT("a"), SPF_A, ARG_OPTIONAL_PREFIX}, {STR_INIT("mx"), SPF_MX, ARG_OPTIONAL_PREFIX},
    {STR_INIT("ptr"), SPF_PTR, ARG_OPTIONAL},    {STR_INIT("ip4"), SPF_IP4, ARG_IP},
    {STR_INIT("ip6"), SPF_IP6, ARG_IP},          {STR_INIT("exists"), SPF_EXISTS, ARG_DOMAIN},
};

static bool parse_argument(enum spf_argument shape, bool has_value, str value, struct spf_term *t)
{
    switch (shape) {
    case ARG_NONE:
        return !has_value;
    case ARG_IP:
        return has_value && parse_ip(value, t);
    case ARG_DOMAIN:
        t->domain = value;
        return has_value && domain_spec_valid(value);
    case ARG_OPTIONAL:
    case ARG_OPTIONAL_PREFIX:
        t->domain = value;
        return !has_value || domain_spec_valid(value);
    }
    return false;
}

static bool parse_mechanism(str word, struct spf_term *t)
{
    *t = (struct spf_term){.prefix4 = 32, .prefix6 = 128};
    size_t q = str_find_char(STR("+-~?"), word.data[0]);
    if (q != STR_NPOS) {
        t->qualifier = (enum spf_qualifier)q;
        word = str_skip(word, 1);
    }
    size_t n = 0;
    while (n < word.len && word.data[n] != ':' && word.data[n] != '/')
        n++;
    str name = str_head(word, n), rest = str_skip(word, n);
    bool has_value = rest.len && rest.data[0] == ':';
    str value = has_value ? str_skip(rest, 1) : STR_NONE;
    for (size_t i = 0; i < ARRAY_LEN(mechanism_rows); i++) {
        if (!str_eq_nocase(name, mechanism_rows[i].name))
            continue;
        t->mechanism = mechanism_rows[i].mechanism;
        bool prefixes = mechanism_rows[i].argument == ARG_OPTIONAL_PREFIX;
        if (prefixes && !take_prefixes(has_value ? &value : &rest, t))
            return false;
        if (!has_value && !prefixes && rest.len)
            return false;
        return parse_argument(mechanism_rows[i].argument, has_value, value, t);
    }
    return false;
}

static bool modifier_name_valid(str s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = s.data[i], l = c | 32;
        if (!((l >= 'a' && l <= 'z') ||
              (i && ((c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.'))))
            return false;
    }
    return s.len > 0;
}

static enum err parse_modifier(str name, str value, struct spf_record *out)
{
    bool redirect = str_eq_nocase(name, STR("redirect"));
    if (redirect || str_eq_nocase(name, STR("exp"))) {
        str *place = redirect ? &out->redirect : &out->explanation;
        if (place->len || !domain_spec_valid(value))
            return ERR_SYNTAX; /* RFC 7208 6: at most once */
        *place = value;
        return ERR_OK;
    }
    static const uint8_t ip[4];
    struct spf_values v = {.ip = ip};
    BUF_AUTO struct buf scratch = BUF_INIT(16384);
    return spf_expand(&scratch, value, &v, true); /* unknown: only well-formed */
}

enum err spf_record_parse(struct arena *a, str txt, struct spf_record *out)
{
    *out = (struct spf_record){0};
    if (!spf_record_is(txt) || txt.len > SPF_RECORD_MAX)
        return ERR_SYNTAX;
    str rest = str_skip(txt, 6), word;
    size_t n = 0;
    for (size_t i = 0; i < rest.len; i++) {
        n += rest.data[i] == ' ';
        if (rest.data[i] < 0x20 || rest.data[i] >= 0x7f)
            return ERR_SYNTAX;
    }
    if (n > SPF_TERMS_MAX)
        return ERR_SYNTAX;
    out->terms = ARENA_ARRAY(a, struct spf_term, n + 1);
    if (!out->terms)
        return ERR_NOMEM;
    while (str_next_word(&rest, &word)) {
        size_t end = 0;
        while (end < word.len && word.data[end] != '=' && word.data[end] != ':' &&
               word.data[end] != '/')
            end++;
        str name = str_head(word, end);
        if (end < word.len && word.data[end] == '=' && modifier_name_valid(name)) {
            TRY(parse_modifier(name, str_skip(word, end + 1), out));
        } else if (parse_mechanism(word, &out->terms[out->count])) {
            out->count++;
        } else {
            return ERR_SYNTAX;
        }
    }
    return ERR_OK;
}
