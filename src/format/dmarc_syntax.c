/* SPDX-License-Identifier: Apache-2.0 */
#include "format/dmarc_syntax.h"

#include "base/num.h"
#include "format/tags.h"

static bool policy_of(str s, enum dmarc_policy *out)
{
    if (str_eq_nocase(s, STR("none")))
        *out = DMARC_NONE;
    else if (str_eq_nocase(s, STR("quarantine")))
        *out = DMARC_QUARANTINE;
    else if (str_eq_nocase(s, STR("reject")))
        *out = DMARC_REJECT;
    else
        return false;
    return true;
}

const char *dmarc_policy_name(enum dmarc_policy p)
{
    static const char *const names[] = {"none", "quarantine", "reject"};
    return names[p];
}

/* "mailto:a@b!10m": the size is historic (RFC 7489 6.2). */
static bool parse_uri(str text, struct dmarc_uri *out)
{
    static const char units[] = "kmgt";
    str size;
    if (str_cut(text, '!', &text, &size)) {
        unsigned shift = 0;
        for (size_t i = 0; size.len && i < 4; i++)
            if ((size.data[size.len - 1] | 32) == units[i])
                shift = (unsigned)(i + 1) * 10;
        if (shift)
            size.len--;
        if (!num_parse_u64(size, UINT64_MAX >> shift, &out->size_max))
            return false;
        out->size_max <<= shift;
    }
    out->uri = text;
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] <= 0x20 || text.data[i] >= 0x7f)
            return false;
    size_t colon = str_find_char(text, ':');
    return colon != STR_NPOS && colon > 0 && colon + 1 < text.len;
}

static enum err parse_uris(struct arena *a, str value, struct dmarc_uri **out, size_t *count)
{
    *out = ARENA_ARRAY(a, struct dmarc_uri, DMARC_URIS_MAX);
    if (!*out)
        return ERR_NOMEM;
    bool more;
    do {
        str item;
        struct dmarc_uri uri = {0};
        more = str_cut(value, ',', &item, &value);
        if (*count < DMARC_URIS_MAX && parse_uri(str_trim(item), &uri))
            (*out)[(*count)++] = uri;
    } while (more);
    return ERR_OK;
}

static void parse_fo(str value, struct dmarc_record *out)
{
    unsigned bits = 0;
    bool more;
    do {
        str item;
        more = str_cut(value, ':', &item, &value);
        item = str_trim(item);
        size_t bit = item.len == 1 ? str_find_char(STR("01ds"), item.data[0]) : STR_NPOS;
        if (bit == STR_NPOS)
            return;
        bits |= 1u << bit;
    } while (more);
    out->fo = bits;
}

/* Malformed optional tags keep their default (RFC 9989 4.7). */
static void parse_optional(const struct tag_list *tags, struct dmarc_record *out)
{
    str v;
    uint64_t n;
    out->strict_dkim = tag_get(tags, "adkim", &v) && str_eq_nocase(v, STR("s"));
    out->strict_spf = tag_get(tags, "aspf", &v) && str_eq_nocase(v, STR("s"));
    out->testing = tag_get(tags, "t", &v) && str_eq_nocase(v, STR("y"));
    if (tag_get(tags, "psd", &v) && str_eq_nocase(v, STR("y")))
        out->psd = DMARC_PSD_YES;
    else if (str_eq_nocase(v, STR("n")))
        out->psd = DMARC_PSD_NO;
    if (tag_get(tags, "fo", &v))
        parse_fo(v, out);
    if (tag_get(tags, "pct", &v) && num_parse_u64(v, 100, &n))
        out->percent = (unsigned)n;
    if (tag_get(tags, "ri", &v) && num_parse_u64(v, UINT32_MAX, &n))
        out->interval_s = (uint32_t)n;
}

enum err dmarc_record_parse(struct arena *a, str txt, struct dmarc_record *out)
{
    struct tag_list tags;
    str v, first, version;
    *out = (struct dmarc_record){.fo = DMARC_FO_0, .percent = 100, .interval_s = 86400};
    str_cut(txt, ';', &first, &v);
    if (!str_cut(first, '=', &first, &version) || !str_eq(str_trim(first), STR("v")) ||
        !str_eq(str_trim(version), STR("DMARC1")))
        return ERR_NOT_FOUND;
    if (tag_list_parse(txt, &tags) != ERR_OK)
        return ERR_SYNTAX;
    parse_optional(&tags, out);
    if (tag_get(&tags, "rua", &v))
        TRY(parse_uris(a, v, &out->rua, &out->nrua));
    if (tag_get(&tags, "ruf", &v))
        TRY(parse_uris(a, v, &out->ruf, &out->nruf));
    bool given = tag_get(&tags, "p", &v);
    bool valid = given && policy_of(v, &out->policy);
    out->subdomain = out->policy;
    if (tag_get(&tags, "sp", &v))
        valid &= policy_of(v, &out->subdomain);
    out->nonexistent = out->subdomain;
    if (tag_get(&tags, "np", &v))
        valid &= policy_of(v, &out->nonexistent);
    if (valid)
        return ERR_OK;
    if (!out->nrua)
        return ERR_SYNTAX;
    out->policy = out->subdomain = out->nonexistent = DMARC_NONE;
    return ERR_OK;
}
