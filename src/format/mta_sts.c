/* SPDX-License-Identifier: Apache-2.0 */
#include "format/mta_sts.h"

#include "base/num.h"
#include "format/addr.h"
#include "format/tags.h"

enum err mta_sts_txt_parse(str txt, str *id)
{
    struct tag_list tags;
    str version;
    *id = STR_NONE;
    if (!str_starts(txt, STR("v=STSv1")) ||
        (txt.len > 7 && txt.data[7] != ';' && txt.data[7] != ' '))
        return ERR_NOT_FOUND;
    if (tag_list_parse(txt, &tags) != ERR_OK || !tag_get(&tags, "v", &version) ||
        !str_eq(version, STR("STSv1")) || !tag_get(&tags, "id", id) || !id->len || id->len > 32)
        return ERR_SYNTAX;
    for (size_t i = 0; i < id->len; i++) {
        unsigned char c = id->data[i], l = c | 32;
        if (!((l >= 'a' && l <= 'z') || (c >= '0' && c <= '9')))
            return ERR_SYNTAX;
    }
    return ERR_OK;
}

static bool mx_valid(str s)
{
    return addr_domain_valid(str_starts(s, STR("*.")) ? str_skip(s, 2) : s) && s.data[0] != '[';
}

enum { POLICY_VERSION = 1, POLICY_MODE = 2, POLICY_MAX_AGE = 4 };

/* One "name: value"; *seen gets the bits above. Unknown names are ignored, and so are repeated ones
 * but for mx (RFC 8461 3.2). */
static enum err policy_line(str line, struct mta_sts_policy *out, unsigned *seen)
{
    static const str modes[] = {STR_INIT("none"), STR_INIT("testing"), STR_INIT("enforce")};
    str name, value;
    if (!str_cut(line, ':', &name, &value))
        return ERR_SYNTAX;
    name = str_trim(name);
    value = str_trim(value);
    if (str_eq(name, STR("version")) && !(*seen & POLICY_VERSION)) {
        *seen |= POLICY_VERSION;
        return str_eq(value, STR("STSv1")) ? ERR_OK : ERR_SYNTAX;
    }
    if (str_eq(name, STR("mode")) && !(*seen & POLICY_MODE)) {
        *seen |= POLICY_MODE;
        for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
            if (str_eq(value, modes[i])) {
                out->mode = (enum mta_sts_mode)i;
                return ERR_OK;
            }
        }
        return ERR_SYNTAX;
    }
    if (str_eq(name, STR("max_age")) && !(*seen & POLICY_MAX_AGE)) {
        *seen |= POLICY_MAX_AGE;
        bool ok = value.len <= 10 && num_parse_u64(value, UINT64_MAX, &out->max_age_s);
        out->max_age_s = MIN(out->max_age_s, 31557600); /* a year at most (3.2) */
        return ok ? ERR_OK : ERR_SYNTAX;
    }
    if (str_eq(name, STR("mx"))) {
        if (!mx_valid(value))
            return ERR_SYNTAX;
        if (out->nmx == MTA_STS_MX_MAX)
            return ERR_LIMIT;
        out->mx[out->nmx++] = value;
    }
    return ERR_OK;
}

enum err mta_sts_policy_parse(struct arena *a, str body, struct mta_sts_policy *out)
{
    unsigned seen = 0;
    *out = (struct mta_sts_policy){0};
    if (body.len > MTA_STS_POLICY_MAX)
        return ERR_LIMIT;
    out->mx = ARENA_ARRAY(a, str, MTA_STS_MX_MAX);
    if (!out->mx)
        return ERR_NOMEM;
    while (body.len) {
        str line;
        str_cut(body, '\n', &line, &body);
        line = str_trim(line);
        if (line.len)
            TRY(policy_line(line, out, &seen));
    }
    if (seen != (POLICY_VERSION | POLICY_MODE | POLICY_MAX_AGE))
        return ERR_SYNTAX;
    return out->mode == MTA_STS_NONE || out->nmx ? ERR_OK : ERR_SYNTAX;
}

void mta_sts_policy_render(struct buf *out, const struct mta_sts_policy *p)
{
    static const char *const modes[] = {"none", "testing", "enforce"};
    buf_addf(out, "version: STSv1\r\nmode: %s\r\n", modes[p->mode]);
    for (size_t i = 0; i < p->nmx; i++)
        buf_addf(out, "mx: %.*s\r\n", STR_ARG(p->mx[i]));
    buf_addf(out, "max_age: %llu\r\n", (unsigned long long)p->max_age_s);
}

bool mta_sts_mx_matches(const struct mta_sts_policy *p, str host)
{
    str label, rest;
    if (str_ends(host, STR(".")))
        host.len--;
    bool below = str_cut(host, '.', &label, &rest) && label.len && rest.len;
    for (size_t i = 0; i < p->nmx; i++) {
        str mx = p->mx[i];
        if (str_starts(mx, STR("*.")) ? below && str_eq_nocase(rest, str_skip(mx, 2))
                                      : str_eq_nocase(host, mx))
            return true;
    }
    return false;
}
