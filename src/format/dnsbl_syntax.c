/* SPDX-License-Identifier: Apache-2.0 */
#include "format/dnsbl_syntax.h"

#include "base/num.h"

#include <string.h>

static void include(uint8_t set[32], uint64_t first, uint64_t last)
{
    for (uint64_t v = first; v <= last; v++)
        set[v / 8] |= (uint8_t)(1 << (v % 8));
}

/* "2", "2..11" */
static bool take_range(str *s, uint8_t set[32])
{
    uint64_t first, last;
    if (!num_take_u64(s, 255, &first))
        return false;
    last = first;
    if (str_starts(*s, STR(".."))) {
        *s = str_skip(*s, 2);
        if (!num_take_u64(s, 255, &last) || last < first)
            return false;
    }
    include(set, first, last);
    return true;
}

/* "[2..11;14]" behind its bracket. */
static bool take_set(str *s, uint8_t set[32])
{
    for (;;) {
        if (!take_range(s, set) || str_empty(*s))
            return false;
        char c = s->data[0];
        *s = str_skip(*s, 1);
        if (c == ']')
            return true;
        if (c != ';')
            return false;
    }
}

static bool take_mask(str *s, uint8_t set[32])
{
    uint64_t mask;
    if (!num_take_u64(s, 255, &mask) || mask == 0)
        return false;
    for (unsigned v = 0; v < 256; v++)
        if (v & mask)
            include(set, v, v);
    return true;
}

static bool take_octet(str *s, uint8_t set[32])
{
    uint64_t value;
    bool bracket = str_starts(*s, STR("[")), mask = str_starts(*s, STR("&"));
    if (bracket || mask) {
        *s = str_skip(*s, 1);
        return bracket ? take_set(s, set) : take_mask(s, set);
    }
    if (!num_take_u64(s, 255, &value))
        return false;
    include(set, value, value);
    return true;
}

static bool take_answers(str s, uint8_t octets[4][32])
{
    for (int i = 0; i < 4; i++) {
        if (i > 0) {
            if (!str_starts(s, STR(".")))
                return false;
            s = str_skip(s, 1);
        }
        if (!take_octet(&s, octets[i]))
            return false;
    }
    return str_empty(s);
}

bool dnsbl_site_parse(str text, struct dnsbl_site *out)
{
    str answers, weight;
    uint64_t n = 1;
    *out = (struct dnsbl_site){0};
    bool weighs = str_cut(text, '*', &text, &weight);
    bool filters = str_cut(text, '=', &out->zone, &answers);
    if (weighs && (!num_parse_u64(weight, DNSBL_WEIGHT_MAX, &n) || n == 0))
        return false;
    out->weight = (uint32_t)n;
    if (!filters)
        memset(out->octets, 0xff, sizeof(out->octets));
    return !str_empty(out->zone) && (!filters || take_answers(answers, out->octets));
}

bool dnsbl_site_matches(const struct dnsbl_site *s, const uint8_t ip[4])
{
    if (ip[0] != 127 || (ip[1] == 255 && ip[2] == 255))
        return false;
    for (int i = 0; i < 4; i++)
        if (!(s->octets[i][ip[i] / 8] & (1 << (ip[i] % 8))))
            return false;
    return true;
}
