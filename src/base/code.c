/* SPDX-License-Identifier: Apache-2.0 */
#include "base/code.h"

#include <string.h>

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char base64url_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static inline uint32_t byte_at(str s, size_t i) { return (unsigned char)s.data[i]; }

static void encode64(struct buf *out, str s, const char *digits, bool pad)
{
    if (s.len > SIZE_MAX / 2) {
        out->failed = true;
        return;
    }
    size_t exact = s.len / 3 * 4 + (s.len % 3 == 0 ? 0 : pad ? 4 : s.len % 3 + 1);
    char *to = s.len ? buf_reserve(out, exact) : NULL;
    if (!to)
        return;
    size_t i = 0;
    for (; i + 3 <= s.len; i += 3) {
        uint32_t n = byte_at(s, i) << 16 | byte_at(s, i + 1) << 8 | byte_at(s, i + 2);
        *to++ = digits[n >> 18];
        *to++ = digits[n >> 12 & 63];
        *to++ = digits[n >> 6 & 63];
        *to++ = digits[n & 63];
    }
    size_t left = s.len - i;
    if (left) {
        uint32_t n = byte_at(s, i) << 16 | (left == 2 ? byte_at(s, i + 1) << 8 : 0);
        *to++ = digits[n >> 18];
        *to++ = digits[n >> 12 & 63];
        if (left == 2)
            *to++ = digits[n >> 6 & 63];
        else if (pad)
            *to++ = '=';
        if (pad)
            *to++ = '=';
    }
    buf_commit(out, exact);
}

void code_base64(struct buf *out, str bytes) { encode64(out, bytes, base64_digits, true); }
void code_base64url(struct buf *out, str bytes) { encode64(out, bytes, base64url_digits, false); }

/* The value of each byte as a digit, or 255; made before main, so that threads only read it. */
static unsigned char base64_values[256], base64url_values[256];

__attribute__((constructor)) static void make_values(void)
{
    memset(base64_values, 255, sizeof base64_values);
    memset(base64url_values, 255, sizeof base64url_values);
    for (unsigned char i = 0; i < 64; i++) {
        base64_values[(unsigned char)base64_digits[i]] = i;
        base64url_values[(unsigned char)base64url_digits[i]] = i;
    }
}

/* `text` is without padding. The bits that no byte uses must be zero (RFC 4648 3.5), so that bytes
 * have one text. */
static enum err decode64(struct buf *out, str text, const unsigned char *values)
{
    size_t left = text.len % 4, whole = text.len - left;
    if (left == 1)
        return ERR_SYNTAX;
    char *to = text.len ? buf_reserve(out, whole / 4 * 3 + (left ? left - 1 : 0)) : NULL;
    if (!to)
        return text.len || !buf_ok(out) ? ERR_LIMIT : ERR_OK;
    size_t made = 0;
    for (size_t i = 0; i < text.len; i += 4) {
        uint32_t n = 0, bad = 0;
        size_t digits = i < whole ? 4 : left;
        for (size_t k = 0; k < digits; k++) {
            unsigned d = values[byte_at(text, i + k)];
            bad |= d;
            n |= (d & 63) << (18 - 6 * k);
        }
        if (bad > 63 || (digits == 3 && n & 0xff) || (digits == 2 && n & 0xffff))
            return ERR_SYNTAX;
        to[made++] = (char)(n >> 16);
        if (digits > 2)
            to[made++] = (char)(n >> 8);
        if (digits > 3)
            to[made++] = (char)n;
    }
    buf_commit(out, made);
    return ERR_OK;
}

enum err code_base64_decode(struct buf *out, str text)
{
    if (text.len % 4)
        return ERR_SYNTAX;
    for (int pad = 0; pad < 2 && text.len && text.data[text.len - 1] == '='; pad++)
        text.len--;
    return decode64(out, text, base64_values);
}

enum err code_base64url_decode(struct buf *out, str text)
{
    return decode64(out, text, base64url_values);
}

void code_hex(struct buf *out, str bytes)
{
    static const char digits[] = "0123456789abcdef";
    if (bytes.len > SIZE_MAX / 2) {
        out->failed = true;
        return;
    }
    char *to = bytes.len ? buf_reserve(out, bytes.len * 2) : NULL;
    if (!to)
        return;
    for (size_t i = 0; i < bytes.len; i++) {
        to[2 * i] = digits[byte_at(bytes, i) >> 4];
        to[2 * i + 1] = digits[byte_at(bytes, i) & 15];
    }
    buf_commit(out, bytes.len * 2);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    char low = (char)(c | 0x20);
    return low >= 'a' && low <= 'f' ? low - 'a' + 10 : -1;
}

enum err code_hex_decode(struct buf *out, str text)
{
    if (text.len % 2)
        return ERR_SYNTAX;
    char *to = text.len ? buf_reserve(out, text.len / 2) : NULL;
    if (!to)
        return text.len || !buf_ok(out) ? ERR_LIMIT : ERR_OK;
    for (size_t i = 0; i < text.len; i += 2) {
        int high = hex_digit(text.data[i]), low = hex_digit(text.data[i + 1]);
        if (high < 0 || low < 0)
            return ERR_SYNTAX;
        to[i / 2] = (char)(high << 4 | low);
    }
    buf_commit(out, text.len / 2);
    return ERR_OK;
}

void code_base32(struct buf *out, str bytes)
{
    static const char digits[] = "abcdefghijklmnopqrstuvwxyz234567";
    uint32_t bits = 0;
    int count = 0;
    for (size_t i = 0; i < bytes.len; i++) {
        bits = bits << 8 | byte_at(bytes, i);
        for (count += 8; count >= 5; count -= 5)
            buf_add_char(out, digits[bits >> (count - 5) & 31]);
    }
    if (count)
        buf_add_char(out, digits[bits << (5 - count) & 31]);
}
