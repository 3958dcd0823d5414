/* SPDX-License-Identifier: Apache-2.0 */
#include "core/dns_name.h"

#include "base/utf8.h"
#include "core/directory.h"

#define LABEL_MAX 63
#define NAME_MAX_TEXT 253

/* Labels of 1 to 63 printable bytes: more than host names may be, as SPF and DKIM use "_" and
 * macros may give anything. */
static bool is_query_name(str name)
{
    size_t label = 0;
    if (str_empty(name) || name.len > NAME_MAX_TEXT)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.data[i];
        if (c == '.' ? label == 0 : (c <= 0x20 || c >= 0x7f || ++label > LABEL_MAX))
            return false;
        if (c == '.')
            label = 0;
    }
    return label > 0;
}

bool dns_name_is_host(str name)
{
    return is_query_name(name) && name.data[0] != '[' && str_find_char(name, '.') != STR_NPOS;
}

static bool is_lower(str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.data[i] >= 'A' && s.data[i] <= 'Z')
            return false;
    return true;
}

enum err dns_name_of(str name, struct arena *a, str *out)
{
    *out = STR_NONE;
    if (str_ends(name, STR(".")))
        name.len--;
    if (!utf8_is_ascii(name))
        return directory_normalise_domain(name, a, out) == ERR_OK && is_query_name(*out)
                   ? ERR_OK
                   : ERR_SYNTAX;
    if (!is_query_name(name) || name.data[0] == '[')
        return ERR_SYNTAX;
    *out = name;
    return is_lower(name) || arena_dup_lower(a, name, out) ? ERR_OK : ERR_NOMEM;
}

size_t dns_name_labels(str name)
{
    size_t n = name.len > 0;
    for (size_t i = 0; i < name.len; i++)
        n += name.data[i] == '.';
    return n;
}

str dns_name_last(str name, size_t n)
{
    for (size_t have = dns_name_labels(name); have > n; have--)
        name = str_skip(name, str_find_char(name, '.') + 1);
    return name;
}

bool dns_name_within(str name, str zone)
{
    return str_eq_nocase(name, zone) || (name.len > zone.len && str_ends_nocase(name, zone) &&
                                         name.data[name.len - zone.len - 1] == '.');
}

enum err dns_ask(const struct dns *dns, str name, enum dns_type type, struct arena *arena,
                 struct dns_answer *out)
{
    *out = (struct dns_answer){.status = DNS_FAILED};
    if (!dns || !dns->query)
        return ERR_UNAVAILABLE;
    TRY(dns_name_of(name, arena, &name));
    return dns->query(dns->ctx, name, type, arena, out);
}
