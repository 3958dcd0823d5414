/* SPDX-License-Identifier: Apache-2.0 */
#include "base/num.h"

bool num_take_u64(str *s, uint64_t max, uint64_t *out)
{
    uint64_t n = 0;
    size_t at = 0;
    for (; at < s->len && s->data[at] >= '0' && s->data[at] <= '9'; at++)
        if (__builtin_mul_overflow(n, 10u, &n) ||
            __builtin_add_overflow(n, (uint64_t)(s->data[at] - '0'), &n) || n > max)
            return false;
    if (at == 0)
        return false;
    *s = str_skip(*s, at);
    *out = n;
    return true;
}

bool num_parse_u64(str s, uint64_t max, uint64_t *out)
{
    uint64_t n;
    if (!num_take_u64(&s, max, &n) || s.len)
        return false;
    *out = n;
    return true;
}

bool num_parse_u32(str s, uint32_t *out)
{
    uint64_t n;
    if (!num_parse_u64(s, UINT32_MAX, &n))
        return false;
    *out = (uint32_t)n;
    return true;
}

/* A number and a unit of the table. */
struct unit {
    str name;
    uint64_t factor;
};

static bool parse_with_unit(str s, const struct unit *units, size_t count, uint64_t *out)
{
    uint64_t n;
    if (!num_take_u64(&s, UINT64_MAX, &n))
        return false;
    for (size_t i = 0; i < count; i++) {
        if (!str_eq_nocase(s, units[i].name))
            continue;
        if (__builtin_mul_overflow(n, units[i].factor, &n))
            return false;
        *out = n;
        return true;
    }
    return false;
}

bool num_parse_bytes(str s, uint64_t *out)
{
    static const struct unit units[] = {
        {STR_INIT(""), 1},           {STR_INIT("B"), 1},
        {STR_INIT("K"), 1u << 10},   {STR_INIT("KB"), 1u << 10},
        {STR_INIT("M"), 1u << 20},   {STR_INIT("MB"), 1u << 20},
        {STR_INIT("G"), 1u << 30},   {STR_INIT("GB"), 1u << 30},
        {STR_INIT("T"), 1ull << 40}, {STR_INIT("TB"), 1ull << 40},
    };
    return parse_with_unit(s, units, ARRAY_LEN(units), out);
}

bool num_parse_duration(str s, uint64_t *ms_out)
{
    static const struct unit units[] = {
        {STR_INIT(""), 1000},   {STR_INIT("ms"), 1},      {STR_INIT("s"), 1000},
        {STR_INIT("m"), 60000}, {STR_INIT("h"), 3600000}, {STR_INIT("d"), 86400000},
    };
    return parse_with_unit(s, units, ARRAY_LEN(units), ms_out);
}
