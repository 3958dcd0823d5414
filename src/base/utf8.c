/* SPDX-License-Identifier: Apache-2.0 */
#include "base/utf8.h"

#include <string.h>

#define REPLACEMENT 0xfffdu

/* Bytes of the sequence at the front of s (not empty), or 0 if it is not valid. RFC 3629 4: only
 * the second byte has bounds of its own, and they depend on the first. */
static size_t sequence(const unsigned char *p, size_t len)
{
    unsigned char first = p[0], low = 0x80, high = 0xbf;
    if (first < 0x80)
        return 1;
    if (first < 0xc2 || first > 0xf4)
        return 0;
    size_t n = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (len < n)
        return 0;
    if (first == 0xe0)
        low = 0xa0;
    else if (first == 0xed)
        high = 0x9f;
    else if (first == 0xf0)
        low = 0x90;
    else if (first == 0xf4)
        high = 0x8f;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

/* Length of the run of ASCII at the front, in steps of eight bytes. */
static size_t ascii_run(str s)
{
    size_t at = 0;
    for (uint64_t word; at + 8 <= s.len; at += 8) {
        memcpy(&word, s.data + at, 8);
        if (word & 0x8080808080808080u)
            break;
    }
    return at;
}

bool utf8_valid(str s)
{
    while (s.len) {
        s = str_skip(s, ascii_run(s));
        /* Up to eight bytes at leisure, then look for a run again. */
        for (int i = 0; i < 8 && s.len; i++) {
            size_t n = sequence((const unsigned char *)s.data, s.len);
            if (n == 0)
                return false;
            s = str_skip(s, n);
        }
    }
    return true;
}

bool utf8_is_ascii(str s)
{
    for (size_t i = ascii_run(s); i < s.len; i++)
        if ((unsigned char)s.data[i] >= 0x80)
            return false;
    return true;
}

bool utf8_take(str *s, uint32_t *code_point)
{
    const unsigned char *p = (const unsigned char *)s->data;
    size_t n = sequence(p, s->len);
    *s = str_skip(*s, n ? n : 1);
    switch (n) {
    case 1:
        *code_point = p[0];
        break;
    case 2:
        *code_point = (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu);
        break;
    case 3:
        *code_point = (p[0] & 0x0fu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu);
        break;
    case 4:
        *code_point =
            (p[0] & 0x07u) << 18 | (p[1] & 0x3fu) << 12 | (p[2] & 0x3fu) << 6 | (p[3] & 0x3fu);
        break;
    default:
        *code_point = REPLACEMENT;
        return false;
    }
    return true;
}

void utf8_add(struct buf *out, uint32_t code_point)
{
    uint32_t c = code_point;
    if (c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        c = REPLACEMENT;
    char text[4];
    size_t n = 0;
    if (c < 0x80) {
        text[n++] = (char)c;
    } else if (c < 0x800) {
        text[n++] = (char)(0xc0 | c >> 6);
        text[n++] = (char)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        text[n++] = (char)(0xe0 | c >> 12);
        text[n++] = (char)(0x80 | (c >> 6 & 0x3f));
        text[n++] = (char)(0x80 | (c & 0x3f));
    } else {
        text[n++] = (char)(0xf0 | c >> 18);
        text[n++] = (char)(0x80 | (c >> 12 & 0x3f));
        text[n++] = (char)(0x80 | (c >> 6 & 0x3f));
        text[n++] = (char)(0x80 | (c & 0x3f));
    }
    buf_add(out, str_of(text, n));
}

void utf8_add_lossy(struct buf *out, str s)
{
    while (s.len) {
        size_t good = 0, n;
        while (good < s.len &&
               (n = sequence((const unsigned char *)s.data + good, s.len - good)) != 0)
            good += n;
        buf_add(out, str_head(s, good));
        s = str_skip(s, good);
        if (s.len) {
            utf8_add(out, REPLACEMENT);
            s = str_skip(s, 1);
        }
    }
}

/* RFC 3501 5.1.3: base64 with "," for "/", of UTF-16 in network order. */
static const char utf7_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

static bool stands_for_itself(uint32_t c) { return c >= 0x20 && c <= 0x7e; }

struct shifted {
    uint32_t bits;
    int count;
};

static void put_unit(struct buf *out, struct shifted *s, uint32_t unit)
{
    s->bits = s->bits << 16 | unit;
    for (s->count += 16; s->count >= 6; s->count -= 6)
        buf_add_char(out, utf7_digits[s->bits >> (s->count - 6) & 63]);
    s->bits &= (1u << s->count) - 1;
}

void utf7_imap_encode(struct buf *out, str utf8)
{
    while (utf8.len) {
        uint32_t c;
        str here = utf8;
        utf8_take(&utf8, &c);
        if (stands_for_itself(c)) {
            buf_add_char(out, (char)c);
            if (c == '&')
                buf_add_char(out, '-');
            continue;
        }
        struct shifted run = {0};
        buf_add_char(out, '&');
        for (utf8 = here; utf8.len; here = utf8) {
            utf8_take(&utf8, &c);
            if (stands_for_itself(c)) {
                utf8 = here;
                break;
            }
            if (c >= 0x10000)
                put_unit(out, &run, 0xd800 + ((c - 0x10000) >> 10));
            put_unit(out, &run, c >= 0x10000 ? 0xdc00 + (c & 0x3ff) : c);
        }
        if (run.count)
            buf_add_char(out, utf7_digits[run.bits << (6 - run.count) & 63]);
        buf_add_char(out, '-');
    }
}

/* The inside of one &...-: whole UTF-16 units, surrogates in pairs, nothing that had no need. */
static bool decode_shifted(struct buf *out, str text)
{
    uint32_t bits = 0, high = 0;
    int count = 0;
    for (size_t i = 0; i < text.len; i++) {
        const char *digit = text.data[i] ? strchr(utf7_digits, text.data[i]) : NULL;
        if (!digit)
            return false;
        bits = bits << 6 | (uint32_t)(digit - utf7_digits);
        if ((count += 6) < 16)
            continue;
        count -= 16;
        uint32_t unit = bits >> count & 0xffff;
        bits &= (1u << count) - 1;
        bool is_high = unit >= 0xd800 && unit <= 0xdbff, is_low = unit >= 0xdc00 && unit <= 0xdfff;
        if (is_low != (high != 0) || stands_for_itself(unit))
            return false;
        if (is_high) {
            high = unit;
            continue;
        }
        utf8_add(out, high ? 0x10000 + ((high - 0xd800) << 10) + (unit - 0xdc00) : unit);
        high = 0;
    }
    return high == 0 && count < 6 && bits == 0;
}

static bool decode_all(struct buf *out, str text)
{
    bool after_shift = false; /* "&AOk-&AOk-" should have been one run */
    while (text.len) {
        char c = text.data[0];
        text = str_skip(text, 1);
        if (!stands_for_itself((unsigned char)c))
            return false;
        if (c != '&') {
            buf_add_char(out, c);
            after_shift = false;
            continue;
        }
        str inside;
        if (!str_cut(text, '-', &inside, &text))
            return false;
        if (inside.len == 0)
            buf_add_char(out, '&');
        else if (after_shift || !decode_shifted(out, inside))
            return false;
        after_shift = inside.len != 0;
    }
    return buf_ok(out);
}

bool utf7_imap_decode(struct buf *out, str utf7)
{
    size_t before = out->len;
    if (decode_all(out, utf7))
        return true;
    buf_truncate(out, before);
    return false;
}
