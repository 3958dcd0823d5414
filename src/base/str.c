/* SPDX-License-Identifier: Apache-2.0 */
#include "base/str.h"

#include <string.h>
#include <sys/auxv.h>

static inline unsigned char lower(unsigned char c) { return (unsigned char)char_lower((char)c); }

str str_c(const char *nul_terminated)
{
    return nul_terminated ? (str){nul_terminated, strlen(nul_terminated)} : STR_NONE;
}

/* memcmp with a NULL pointer is undefined even for no bytes; an empty slice may hold NULL. */
static bool same(const char *a, const char *b, size_t n) { return n == 0 || memcmp(a, b, n) == 0; }

static bool same_nocase(const char *a, const char *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (lower((unsigned char)a[i]) != lower((unsigned char)b[i]))
            return false;
    return true;
}

bool str_eq(str a, str b) { return a.len == b.len && same(a.data, b.data, a.len); }

bool str_eq_nocase(str a, str b) { return a.len == b.len && same_nocase(a.data, b.data, a.len); }

int str_cmp(str a, str b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int order = n ? memcmp(a.data, b.data, n) : 0;
    if (order)
        return order;
    return (a.len > b.len) - (a.len < b.len);
}

bool str_starts(str s, str prefix)
{
    return s.len >= prefix.len && same(s.data, prefix.data, prefix.len);
}

bool str_starts_nocase(str s, str prefix)
{
    return s.len >= prefix.len && same_nocase(s.data, prefix.data, prefix.len);
}

bool str_ends(str s, str suffix)
{
    return s.len >= suffix.len && str_eq(str_skip(s, s.len - suffix.len), suffix);
}

bool str_ends_nocase(str s, str suffix)
{
    return s.len >= suffix.len && str_eq_nocase(str_skip(s, s.len - suffix.len), suffix);
}

/* glibc's memmem is linear: two-way for long needles, a bounded factor for short ones. */
size_t str_find(str s, str needle)
{
    if (needle.len == 0)
        return 0;
    if (needle.len > s.len)
        return STR_NPOS;
    const char *at = memmem(s.data, s.len, needle.data, needle.len);
    return at ? (size_t)(at - s.data) : STR_NPOS;
}

/* The Two-Way algorithm (Crochemore and Perrin 1991): linear time, constant space. This is the
 * maximal suffix of x under one of the two orders; gives its start - 1 and its period. */
static ptrdiff_t maximal_suffix(str x, bool reversed, ptrdiff_t *period)
{
    ptrdiff_t suffix = -1, j = 0, k = 1, p = 1, m = (ptrdiff_t)x.len;
    while (j + k < m) {
        int a = lower((unsigned char)x.data[j + k]), b = lower((unsigned char)x.data[suffix + k]);
        int order = reversed ? b - a : a - b;
        if (order < 0) {
            j += k;
            k = 1;
            p = j - suffix;
        } else if (order == 0) {
            if (k != p) {
                k++;
            } else {
                j += p;
                k = 1;
            }
        } else {
            suffix = j++;
            k = p = 1;
        }
    }
    *period = p;
    return suffix;
}

size_t str_find_nocase(str s, str needle)
{
    if (needle.len == 0)
        return 0;
    if (needle.len > s.len)
        return STR_NPOS;
    ptrdiff_t p, q, m = (ptrdiff_t)needle.len, n = (ptrdiff_t)s.len;
    ptrdiff_t a = maximal_suffix(needle, false, &p), b = maximal_suffix(needle, true, &q);
    ptrdiff_t cut = a > b ? a : b, period = a > b ? p : q;
    bool periodic =
        cut + 1 + period <= m && same_nocase(needle.data, needle.data + period, (size_t)cut + 1);
    if (!periodic)
        period = (cut + 1 > m - cut - 1 ? cut + 1 : m - cut - 1) + 1;
    const unsigned char *x = (const unsigned char *)needle.data;
    const unsigned char *y = (const unsigned char *)s.data;
    ptrdiff_t known = -1; /* x[0..known] is known to match, from the shift by a period */
    for (ptrdiff_t at = 0; at <= n - m;) {
        ptrdiff_t i = (cut > known ? cut : known) + 1;
        while (i < m && lower(x[i]) == lower(y[at + i]))
            i++;
        if (i < m) {
            at += i - cut;
            known = -1;
            continue;
        }
        for (i = cut; i > known && lower(x[i]) == lower(y[at + i]);)
            i--;
        if (i <= known)
            return (size_t)at;
        at += period;
        known = periodic ? m - period - 1 : -1;
    }
    return STR_NPOS;
}

size_t str_find_char(str s, char c)
{
    const char *at = s.len ? memchr(s.data, c, s.len) : NULL;
    return at ? (size_t)(at - s.data) : STR_NPOS;
}

size_t str_rfind_char(str s, char c)
{
    const char *at = s.len ? memrchr(s.data, c, s.len) : NULL;
    return at ? (size_t)(at - s.data) : STR_NPOS;
}

str str_skip(str s, size_t n)
{
    if (n >= s.len)
        return (str){s.data ? s.data + s.len : NULL, 0};
    return (str){s.data + n, s.len - n};
}

str str_head(str s, size_t n) { return (str){s.data, n < s.len ? n : s.len}; }

str str_sub(str s, size_t from, size_t n) { return str_head(str_skip(s, from), n); }

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

str str_trim(str s)
{
    while (s.len && is_space(s.data[0]))
        s = str_skip(s, 1);
    while (s.len && is_space(s.data[s.len - 1]))
        s.len--;
    return s;
}

bool str_cut(str s, char sep, str *head, str *tail)
{
    size_t at = str_find_char(s, sep);
    bool found = at != STR_NPOS;
    *head = found ? str_head(s, at) : s;
    *tail = found ? str_skip(s, at + 1) : str_skip(s, s.len);
    return found;
}

bool str_next_word(str *s, str *word)
{
    size_t from = 0;
    while (from < s->len && (s->data[from] == ' ' || s->data[from] == '\t'))
        from++;
    size_t to = from;
    while (to < s->len && s->data[to] != ' ' && s->data[to] != '\t')
        to++;
    *word = str_sub(*s, from, to - from);
    *s = str_skip(*s, to);
    return to > from;
}

/* SipHash (Aumasson and Bernstein 2012): short keys chosen by a stranger do not collide at will. */
struct sip {
    uint64_t v0, v1, v2, v3;
};

static inline uint64_t rotl(uint64_t x, int bits) { return x << bits | x >> (64 - bits); }

static inline void sip_round(struct sip *s)
{
    s->v0 += s->v1;
    s->v2 += s->v3;
    s->v1 = rotl(s->v1, 13) ^ s->v0;
    s->v3 = rotl(s->v3, 16) ^ s->v2;
    s->v0 = rotl(s->v0, 32);
    s->v2 += s->v1;
    s->v0 += s->v3;
    s->v1 = rotl(s->v1, 17) ^ s->v2;
    s->v3 = rotl(s->v3, 21) ^ s->v0;
    s->v2 = rotl(s->v2, 32);
}

/* Up to eight bytes, the first lowest, whatever the machine. */
static inline uint64_t load_le(const char *p, size_t n)
{
    uint64_t word = 0;
    if (n == 8) {
        memcpy(&word, p, 8);
        return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? word : __builtin_bswap64(word);
    }
    for (size_t i = 0; i < n; i++)
        word |= (uint64_t)(unsigned char)p[i] << (8 * i);
    return word;
}

/* Lowers the ASCII letters of eight bytes at once: the top bit of each byte of `upper` is set where
 * the byte is in A..Z. */
static inline uint64_t lower8(uint64_t word)
{
    const uint64_t ones = 0x0101010101010101u, low7 = word & (ones * 0x7f);
    uint64_t from_a = low7 + ones * (0x80 - 'A'), past_z = low7 + ones * (0x80 - 'Z' - 1);
    uint64_t upper = from_a & ~past_z & ~word & (ones * 0x80);
    return word | upper >> 2;
}

static inline uint64_t sip_hash(str s, const uint64_t key[2], int rounds, int last, bool nocase)
{
    struct sip sip = {key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du,
                      key[0] ^ 0x6c7967656e657261u, key[1] ^ 0x7465646279746573u};
    size_t at = 0;
    for (bool more = true; more;) {
        size_t n = s.len - at < 8 ? s.len - at : 8;
        uint64_t word = n ? load_le(s.data + at, n) : 0;
        if (nocase)
            word = lower8(word);
        more = n == 8;
        if (!more)
            word |= (uint64_t)s.len << 56;
        sip.v3 ^= word;
        for (int i = 0; i < rounds; i++)
            sip_round(&sip);
        sip.v0 ^= word;
        at += n;
    }
    sip.v2 ^= 0xff;
    for (int i = 0; i < last; i++)
        sip_round(&sip);
    return sip.v0 ^ sip.v1 ^ sip.v2 ^ sip.v3;
}

/* The kernel hands every process 16 random bytes. Read before main, so no thread sees it change. */
static uint64_t process_key[2];

__attribute__((constructor)) static void seed_process_key(void)
{
    const void *random = (const void *)getauxval(AT_RANDOM);
    if (random)
        memcpy(process_key, random, sizeof process_key);
    /* The same bytes seed the stack protector; give nothing of them away. */
    process_key[0] = sip_hash(STR("posthouse str 0"), process_key, 2, 4, false);
    process_key[1] = sip_hash(STR("posthouse str 1"), process_key, 2, 4, false);
}

uint64_t str_hash(str s) { return sip_hash(s, process_key, 1, 3, false); }

uint64_t str_hash_nocase(str s) { return sip_hash(s, process_key, 1, 3, true); }

/* SipHash-2-4 with the key of the reference test vectors, 00 01 .. 0f. Stored rows depend on it. */
uint64_t str_hash_stable(str s)
{
    static const uint64_t key[2] = {0x0706050403020100u, 0x0f0e0d0c0b0a0908u};
    return sip_hash(s, key, 2, 4, false);
}

bool str_eq_secret(str a, str b)
{
    if (a.len != b.len)
        return false;
    volatile unsigned char differ = 0;
    for (size_t i = 0; i < a.len; i++)
        differ |= (unsigned char)(a.data[i] ^ b.data[i]);
    return differ == 0;
}
