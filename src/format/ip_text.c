/* SPDX-License-Identifier: Apache-2.0 */
#include "format/ip_text.h"

#include <string.h>

#include "base/num.h"

bool ip_parse_v4(str s, uint8_t out[4])
{
    for (int i = 0; i < 4; i++) {
        uint64_t n;
        size_t before = s.len;
        if (!num_take_u64(&s, 255, &n) || before - s.len > 3)
            return false;
        out[i] = (uint8_t)n;
        if (i < 3 && (!s.len || s.data[0] != '.'))
            return false;
        s = str_skip(s, i < 3);
    }
    return !s.len;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Groups before and after "::" are gathered, then laid at both ends. */
bool ip_parse_v6(str s, uint8_t out[16])
{
    uint8_t bytes[16];
    size_t n = 0, gap = SIZE_MAX;
    if (str_starts(s, STR("::"))) {
        gap = 0;
        s = str_skip(s, 2);
    }
    while (s.len) {
        if (n <= 12 && str_find_char(s, ':') == STR_NPOS && str_find_char(s, '.') != STR_NPOS) {
            if (!ip_parse_v4(s, bytes + n))
                return false;
            n += 4;
            break;
        }
        unsigned group = 0;
        size_t digits = 0;
        while (digits < s.len && digits < 5 && hex_digit(s.data[digits]) >= 0)
            group = group << 4 | (unsigned)hex_digit(s.data[digits++]);
        if (!digits || digits > 4 || n > 14)
            return false;
        bytes[n++] = (uint8_t)(group >> 8);
        bytes[n++] = (uint8_t)group;
        s = str_skip(s, digits);
        if (!s.len)
            break;
        if (s.len < 2 || s.data[0] != ':')
            return false;
        bool doubled = s.data[1] == ':';
        if (doubled && gap != SIZE_MAX)
            return false;
        if (doubled)
            gap = n;
        s = str_skip(s, doubled ? 2 : 1);
    }
    if (gap == SIZE_MAX ? n != 16 : n > 14)
        return false;
    memset(out, 0, 16);
    if (gap == SIZE_MAX)
        gap = n;
    memcpy(out, bytes, gap);
    memcpy(out + 16 - (n - gap), bytes + gap, n - gap);
    return true;
}
