/* SPDX-License-Identifier: Apache-2.0 */
#include "format/charset.h"

#include <assert.h>
#include <errno.h>
#include <iconv.h>
#include <string.h>

#include "base/num.h"
#include "base/utf8.h"

enum kind { KIND_UTF8, KIND_ASCII, KIND_TABLE, KIND_UTF7, KIND_UTF16, KIND_ICONV };
enum { UTF16_BIG = 1, UTF16_LITTLE = 2 };

struct charset {
    enum kind kind;
    unsigned detail; /* UTF-16: byte order */
    str name;
    const char *iconv_name;
    const uint16_t *upper; /* of KIND_TABLE: code points of the bytes from 0x80; U+FFFD: none */
};

#define TABLE(set, ...) {__VA_ARGS__},
static const uint16_t tables[][128] = {
#include "charset_tables.inc"
};
#undef TABLE

/* The sets that are not single-byte. What senders call GB2312 is GBK in practice, EUC-KR is UHC,
 * Shift_JIS is Microsoft's. HZ and ISO-2022-CN-EXT are left out on purpose: nobody sends them, and
 * their decoders have a history. */
static const struct charset wide_sets[] = {
    {KIND_UTF8, 0, STR_INIT("UTF-8"), NULL, NULL},
    {KIND_ASCII, 0, STR_INIT("US-ASCII"), NULL, NULL},
    {KIND_UTF7, 0, STR_INIT("UTF-7"), NULL, NULL},
    {KIND_UTF16, 0, STR_INIT("UTF-16"), NULL, NULL},
    {KIND_UTF16, UTF16_BIG, STR_INIT("UTF-16BE"), NULL, NULL},
    {KIND_UTF16, UTF16_LITTLE, STR_INIT("UTF-16LE"), NULL, NULL},
    {KIND_ICONV, 0, STR_INIT("GB18030"), "GB18030", NULL},
    {KIND_ICONV, 0, STR_INIT("GBK"), "GBK", NULL},
    {KIND_ICONV, 0, STR_INIT("BIG5"), "BIG5", NULL},
    {KIND_ICONV, 0, STR_INIT("BIG5-HKSCS"), "BIG5-HKSCS", NULL},
    {KIND_ICONV, 0, STR_INIT("SHIFT_JIS"), "CP932", NULL},
    {KIND_ICONV, 0, STR_INIT("EUC-JP"), "EUC-JP-MS", NULL},
    {KIND_ICONV, 0, STR_INIT("ISO-2022-JP"), "ISO-2022-JP-2", NULL},
    {KIND_ICONV, 0, STR_INIT("EUC-KR"), "UHC", NULL},
    {KIND_ICONV, 0, STR_INIT("ISO-2022-KR"), "ISO-2022-KR", NULL},
    {KIND_ICONV, 0, STR_INIT("EUC-TW"), "EUC-TW", NULL},
};

#define TABLE(set, ...)                                                                            \
    {.kind = KIND_TABLE, .name = STR_INIT(set), .upper = tables[__COUNTER__ - TABLE_COUNTER_BASE]},
enum { TABLE_COUNTER_BASE = __COUNTER__ + 1 };
static const struct charset table_sets[] = {
#include "charset_tables.inc"
};
#undef TABLE

/* Compared without case and punctuation: "iso_8859-1:1987" is "iso885911987". */
static const struct {
    const char *alias, *name;
} aliases[] = {
    {"ascii", "US-ASCII"},
    {"646", "US-ASCII"},
    {"iso646us", "US-ASCII"},
    {"ansix341968", "US-ASCII"},
    {"csascii", "US-ASCII"},
    {"us", "US-ASCII"},
    {"7bit", "US-ASCII"},
    {"8bit", "UTF-8"},
    {"unicode11utf8", "UTF-8"},
    {"utf8mb4", "UTF-8"},
    {"unicode11utf7", "UTF-7"},
    {"csunicode11utf7", "UTF-7"},
    {"unicode", "UTF-16"},
    {"ucs2", "UTF-16"},
    {"iso10646ucs2", "UTF-16"},
    {"latin1", "ISO-8859-1"},
    {"l1", "ISO-8859-1"},
    {"iso885911987", "ISO-8859-1"},
    {"isoir100", "ISO-8859-1"},
    {"csisolatin1", "ISO-8859-1"},
    {"cp819", "ISO-8859-1"},
    {"ibm819", "ISO-8859-1"},
    {"latin2", "ISO-8859-2"},
    {"l2", "ISO-8859-2"},
    {"iso885921987", "ISO-8859-2"},
    {"csisolatin2", "ISO-8859-2"},
    {"latin3", "ISO-8859-3"},
    {"csisolatin3", "ISO-8859-3"},
    {"latin4", "ISO-8859-4"},
    {"csisolatin4", "ISO-8859-4"},
    {"cyrillic", "ISO-8859-5"},
    {"csisolatincyrillic", "ISO-8859-5"},
    {"arabic", "ISO-8859-6"},
    {"csisolatinarabic", "ISO-8859-6"},
    {"iso88596e", "ISO-8859-6"},
    {"iso88596i", "ISO-8859-6"},
    {"asmo708", "ISO-8859-6"},
    {"greek", "ISO-8859-7"},
    {"greek8", "ISO-8859-7"},
    {"csisolatingreek", "ISO-8859-7"},
    {"hebrew", "ISO-8859-8"},
    {"csisolatinhebrew", "ISO-8859-8"},
    {"iso88598e", "ISO-8859-8"},
    {"iso88598i", "ISO-8859-8"},
    {"logical", "ISO-8859-8"},
    {"visual", "ISO-8859-8"},
    {"latin5", "ISO-8859-9"},
    {"l5", "ISO-8859-9"},
    {"csisolatin5", "ISO-8859-9"},
    {"latin6", "ISO-8859-10"},
    {"csisolatin6", "ISO-8859-10"},
    {"latin7", "ISO-8859-13"},
    {"latin8", "ISO-8859-14"},
    {"latin9", "ISO-8859-15"},
    {"csiso885915", "ISO-8859-15"},
    {"latin10", "ISO-8859-16"},
    {"koi8", "KOI8-R"},
    {"koi", "KOI8-R"},
    {"cskoi8r", "KOI8-R"},
    {"koi8ru", "KOI8-U"},
    {"iso885911", "ISO-8859-11"},
    {"dos874", "WINDOWS-874"},
    {"mac", "MACINTOSH"},
    {"macroman", "MACINTOSH"},
    {"csmacintosh", "MACINTOSH"},
    {"maccyrillic", "X-MAC-CYRILLIC"},
    {"macgreek", "X-MAC-GREEK"},
    {"macturkish", "X-MAC-TURKISH"},
    {"macce", "X-MAC-CE"},
    {"cp154", "PTCP154"},
    {"roman8", "HP-ROMAN8"},
    {"ansi", "WINDOWS-1252"},
    {"gb2312", "GBK"},
    {"gb231280", "GBK"},
    {"csgb2312", "GBK"},
    {"euccn", "GBK"},
    {"csgbk", "GBK"},
    {"chinese", "GBK"},
    {"cp936", "GBK"},
    {"ms936", "GBK"},
    {"windows936", "GBK"},
    {"gb180302000", "GB18030"},
    {"gb180302005", "GB18030"},
    {"csbig5", "BIG5"},
    {"cnbig5", "BIG5"},
    {"big5eten", "BIG5"},
    {"cp950", "BIG5"},
    {"windows950", "BIG5"},
    {"big5hk", "BIG5-HKSCS"},
    {"sjis", "SHIFT_JIS"},
    {"csshiftjis", "SHIFT_JIS"},
    {"mskanji", "SHIFT_JIS"},
    {"cp932", "SHIFT_JIS"},
    {"windows31j", "SHIFT_JIS"},
    {"cswindows31j", "SHIFT_JIS"},
    {"ms932", "SHIFT_JIS"},
    {"cseucpkdfmtjapanese", "EUC-JP"},
    {"eucjpms", "EUC-JP"},
    {"ujis", "EUC-JP"},
    {"csiso2022jp", "ISO-2022-JP"},
    {"iso2022jp1", "ISO-2022-JP"},
    {"iso2022jp2", "ISO-2022-JP"},
    {"iso2022jpms", "ISO-2022-JP"},
    {"jis", "ISO-2022-JP"},
    {"cp50220", "ISO-2022-JP"},
    {"cp50221", "ISO-2022-JP"},
    {"ksc56011987", "EUC-KR"},
    {"ksc5601", "EUC-KR"},
    {"kscs56011987", "EUC-KR"},
    {"ksc56011989", "EUC-KR"},
    {"cseuckr", "EUC-KR"},
    {"korean", "EUC-KR"},
    {"uhc", "EUC-KR"},
    {"cp949", "EUC-KR"},
    {"ms949", "EUC-KR"},
    {"windows949", "EUC-KR"},
    {"csiso2022kr", "ISO-2022-KR"},
};

enum { NAME_MAX_CHARS = 40 };

/* Lower-case letters and digits only. */
static str name_squeeze(str name, char *to)
{
    size_t len = 0;
    for (size_t i = 0; i < name.len && len < NAME_MAX_CHARS; i++) {
        char c = char_lower(name.data[i]);
        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
            to[len++] = c;
    }
    return str_of(to, len);
}

static bool name_is(const struct charset *cs, str squeezed)
{
    char to[NAME_MAX_CHARS];
    return str_eq(name_squeeze(cs->name, to), squeezed);
}

static const struct charset *find_set(str squeezed)
{
    for (size_t i = 0; i < ARRAY_LEN(wide_sets); i++)
        if (name_is(&wide_sets[i], squeezed))
            return &wide_sets[i];
    for (size_t i = 0; i < ARRAY_LEN(table_sets); i++)
        if (name_is(&table_sets[i], squeezed))
            return &table_sets[i];
    return NULL;
}

static const struct charset *find_squeezed(str squeezed)
{
    const struct charset *cs = find_set(squeezed);
    char to[NAME_MAX_CHARS];
    for (size_t i = 0; i < ARRAY_LEN(aliases) && !cs; i++)
        if (str_eq(squeezed, str_c(aliases[i].alias)))
            return find_set(name_squeeze(str_c(aliases[i].name), to));
    /* "cp1252" and "ibm1252" for windows-1252; "cp850" for IBM850; "win1251". */
    static const char *const families[][2] = {{"cp", "windows"},  {"win", "windows"},
                                              {"ibm", "windows"}, {"windowscp", "windows"},
                                              {"cp", "ibm"},      {"csibm", "ibm"}};
    for (size_t i = 0; i < ARRAY_LEN(families) && !cs; i++) {
        str from = str_c(families[i][0]);
        if (!str_starts(squeezed, from))
            continue;
        BUF_AUTO struct buf name = BUF_INIT(2 * NAME_MAX_CHARS);
        buf_add_c(&name, families[i][1]);
        buf_add(&name, str_skip(squeezed, from.len));
        cs = find_set(buf_str(&name));
    }
    return cs;
}

const struct charset *charset_find(str name)
{
    char squeezed[NAME_MAX_CHARS];
    /* Nearly all mail; saves the search. */
    if (str_eq_nocase(name, STR("utf-8")))
        return &wide_sets[0];
    str key = name_squeeze(name, squeezed);
    if (!key.len)
        return NULL;
    const struct charset *cs = find_squeezed(key);
    if (!cs && key.len > 2 && key.data[0] == 'x')
        cs = find_squeezed(str_skip(key, 1));
    return cs;
}

str charset_name(const struct charset *cs) { return cs->name; }

size_t charset_preload(void)
{
    static iconv_t held[ARRAY_LEN(wide_sets)];
    size_t missing = 0;
    for (size_t i = 0; i < ARRAY_LEN(wide_sets); i++) {
        if (wide_sets[i].kind != KIND_ICONV || held[i])
            continue;
        iconv_t cd = iconv_open("UTF-8", wide_sets[i].iconv_name);
        if (cd == (iconv_t)-1) {
            missing++;
            continue;
        }
        /* The first conversion too may load something. */
        char in[] = "a", to[8], *from = in, *at = to;
        size_t in_left = 1, out_left = sizeof(to);
        (void)iconv(cd, &from, &in_left, &at, &out_left);
        held[i] = cd;
    }
    return missing;
}

void charset_conv_init(struct charset_conv *c, const struct charset *cs)
{
    *c = (struct charset_conv){.cs = cs};
    if (cs && cs->kind == KIND_ICONV) {
        iconv_t cd = iconv_open("UTF-8", cs->iconv_name);
        if (cd == (iconv_t)-1)
            c->cs = NULL;
        else
            c->iconv = cd;
    }
}

void charset_conv_free(struct charset_conv *c)
{
    if (c->iconv)
        iconv_close((iconv_t)c->iconv);
    c->iconv = NULL;
}

static size_t utf8_wants(uint8_t lead)
{
    if (lead >= 0xf0 && lead < 0xf5)
        return 4;
    if (lead >= 0xe0)
        return lead < 0xf0 ? 3 : 1;
    return lead >= 0xc2 ? 2 : 1;
}

/* Length of the cut character at the end of s, 0 if there is none. */
static size_t utf8_cut_tail(str s)
{
    for (size_t back = 1; back <= 3 && back <= s.len; back++) {
        uint8_t c = (uint8_t)s.data[s.len - back];
        if (c >= 0xc0)
            return utf8_wants(c) > back ? back : 0;
        if (c < 0x80)
            return 0;
    }
    return 0;
}

static void utf8_chunk(struct charset_conv *c, str s, struct buf *out)
{
    while (c->pending_len && s.len) {
        size_t want = utf8_wants(c->pending[0]);
        bool goes_on = ((uint8_t)s.data[0] & 0xc0) == 0x80;
        if (goes_on) {
            c->pending[c->pending_len++] = (uint8_t)s.data[0];
            s = str_skip(s, 1);
        }
        if (!goes_on || c->pending_len == want) {
            utf8_add_lossy(out, str_of(c->pending, c->pending_len));
            c->pending_len = 0;
        }
    }
    size_t cut = utf8_cut_tail(s);
    utf8_add_lossy(out, str_head(s, s.len - cut));
    if (cut)
        memcpy(c->pending, s.data + s.len - cut, cut);
    if (s.len)
        c->pending_len = (uint8_t)cut;
}

static size_t ascii_run(str s)
{
    size_t i = 0;
    uint64_t word;
    for (; i + 8 <= s.len; i += 8) {
        memcpy(&word, s.data + i, 8);
        if (word & 0x8080808080808080ull)
            break;
    }
    while (i < s.len && (uint8_t)s.data[i] < 0x80)
        i++;
    return i;
}

static void table_chunk(const uint16_t *upper, str s, struct buf *out)
{
    while (s.len) {
        size_t n = ascii_run(s);
        if (n)
            buf_add(out, str_head(s, n));
        for (; n < s.len && (uint8_t)s.data[n] >= 0x80; n++)
            utf8_add(out, upper ? upper[(uint8_t)s.data[n] - 0x80] : 0xfffd);
        s = str_skip(s, n);
    }
}

static void add_utf16(struct charset_conv *c, uint32_t unit, struct buf *out)
{
    if (c->surrogate) {
        uint32_t high = c->surrogate;
        c->surrogate = 0;
        if (unit >= 0xdc00 && unit <= 0xdfff) {
            utf8_add(out, 0x10000 + ((high - 0xd800) << 10) + (unit - 0xdc00));
            return;
        }
        utf8_add(out, 0xfffd);
    }
    if (unit >= 0xd800 && unit <= 0xdbff)
        c->surrogate = unit;
    else
        utf8_add(out, unit >= 0xdc00 && unit <= 0xdfff ? 0xfffd : unit);
}

/* RFC 2781: without a mark big endian. */
static void utf16_chunk(struct charset_conv *c, str s, struct buf *out)
{
    unsigned order = c->state ? c->state : c->cs->detail;
    for (size_t i = 0; i < s.len; i++) {
        if (!c->pending_len) {
            c->pending[0] = (uint8_t)s.data[i];
            c->pending_len = 1;
            continue;
        }
        c->pending_len = 0;
        uint32_t first = c->pending[0], second = (uint8_t)s.data[i];
        uint32_t unit = order == UTF16_LITTLE ? second << 8 | first : first << 8 | second;
        if (!c->state) {
            c->state = order ? order : unit == 0xfffe ? UTF16_LITTLE : UTF16_BIG;
            order = c->state;
            if (unit == 0xfeff || (unit == 0xfffe && !c->cs->detail))
                continue;
        }
        add_utf16(c, unit, out);
    }
}

static int utf7_value(char ch)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = ch ? strchr(digits, ch) : NULL;
    return at ? (int)(at - digits) : -1;
}

static void utf7_leave(struct charset_conv *c, struct buf *out)
{
    if (c->surrogate)
        utf8_add(out, 0xfffd);
    c->surrogate = c->bits = c->state = 0;
    c->pending_len = 0;
}

/* RFC 2152. state: 0 direct, 1 just behind "+", 2 inside; pending_len counts the bits held. */
static void utf7_chunk(struct charset_conv *c, str s, struct buf *out)
{
    for (size_t i = 0; i < s.len; i++) {
        char ch = s.data[i];
        int v = c->state ? utf7_value(ch) : -1;
        if (v >= 0) {
            c->bits = c->bits << 6 | (uint32_t)v;
            c->pending_len += 6;
            c->state = 2;
            if (c->pending_len >= 16) {
                c->pending_len -= 16;
                add_utf16(c, c->bits >> c->pending_len & 0xffff, out);
                c->bits &= (1u << c->pending_len) - 1;
            }
        } else if (c->state) {
            bool empty = c->state == 1;
            utf7_leave(c, out);
            if (ch == '-' && empty)
                buf_add_char(out, '+');
            else if (ch == '+')
                c->state = 1;
            else if (ch != '-')
                utf8_add(out, (uint8_t)ch < 0x80 ? (uint32_t)ch : 0xfffd);
        } else if (ch == '+') {
            c->state = 1;
        } else {
            utf8_add(out, (uint8_t)ch < 0x80 ? (uint32_t)ch : 0xfffd);
        }
    }
}

/* Converts what it can of *s. False when it ends in the middle of a character. */
static bool iconv_some(struct charset_conv *c, str *s, struct buf *out)
{
    while (s->len) {
        char to[1024], *at = to, *from = (char *)s->data;
        size_t out_left = sizeof(to), in_left = s->len;
        size_t result = iconv((iconv_t)c->iconv, &from, &in_left, &at, &out_left);
        int error = result == (size_t)-1 ? errno : 0;
        utf8_add_lossy(out, str_of(to, sizeof(to) - out_left));
        *s = str_skip(*s, s->len - in_left);
        if (error == EINVAL)
            return false;
        if (error && error != E2BIG) {
            utf8_add(out, 0xfffd);
            *s = str_skip(*s, 1);
        }
    }
    return true;
}

static void iconv_chunk(struct charset_conv *c, str s, struct buf *out)
{
    while (c->pending_len && s.len) {
        c->pending[c->pending_len++] = (uint8_t)s.data[0];
        s = str_skip(s, 1);
        str held = str_of(c->pending, c->pending_len);
        bool whole = iconv_some(c, &held, out);
        if (!whole && held.len == sizeof(c->pending)) {
            utf8_add(out, 0xfffd);
            held = str_skip(held, 1);
        }
        memmove(c->pending, held.data, held.len);
        c->pending_len = (uint8_t)held.len;
    }
    while (s.len && !iconv_some(c, &s, out)) {
        if (s.len < sizeof(c->pending)) {
            memcpy(c->pending, s.data, s.len);
            c->pending_len = (uint8_t)s.len;
            return;
        }
        utf8_add(out, 0xfffd);
        s = str_skip(s, 1);
    }
}

void charset_conv_add(struct charset_conv *c, str chunk, struct buf *out)
{
    switch (c->cs ? c->cs->kind : KIND_UTF8) {
    case KIND_UTF8:
        utf8_chunk(c, chunk, out);
        break;
    case KIND_ASCII:
    case KIND_TABLE:
        table_chunk(c->cs->upper, chunk, out);
        break;
    case KIND_UTF7:
        utf7_chunk(c, chunk, out);
        break;
    case KIND_UTF16:
        utf16_chunk(c, chunk, out);
        break;
    case KIND_ICONV:
        iconv_chunk(c, chunk, out);
        break;
    }
}

void charset_conv_end(struct charset_conv *c, struct buf *out)
{
    enum kind kind = c->cs ? c->cs->kind : KIND_UTF8;
    if (kind == KIND_UTF7)
        utf7_leave(c, out);
    else if (kind == KIND_UTF8 && c->pending_len)
        utf8_add_lossy(out, str_of(c->pending, c->pending_len));
    else if (c->pending_len || c->surrogate)
        utf8_add(out, 0xfffd);
    if (c->iconv) {
        /* Some decoders hold a character back to see what combines with it. */
        char to[64], *at = to;
        size_t left = sizeof(to);
        (void)iconv((iconv_t)c->iconv, NULL, NULL, &at, &left);
        utf8_add_lossy(out, str_of(to, sizeof(to) - left));
    }
    charset_conv_free(c);
    *c = (struct charset_conv){.cs = kind == KIND_ICONV ? NULL : c->cs};
}

bool charset_to_utf8(str charset, str bytes, struct buf *out)
{
    const struct charset *cs = charset_find(charset);
    if (!charset.len && !utf8_valid(bytes))
        cs = charset_find(STR("windows-1252"));
    struct charset_conv c;
    charset_conv_init(&c, cs);
    bool known = !charset.len || c.cs;
    charset_conv_add(&c, bytes, out);
    charset_conv_end(&c, out);
    return known;
}
