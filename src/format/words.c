/* SPDX-License-Identifier: Apache-2.0 */
#include "format/words.h"

#include <string.h>

#include "base/code.h"
#include "base/num.h"
#include "base/utf8.h"
#include "format/charset.h"
#include "format/cte.h"

struct word {
    str charset, text;
    bool base64;
    size_t end; /* offset behind "?=" */
};

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

/* Parses the word at s.data[at], where "=?" stands. On failure w->end is where to look on: nothing
 * before it can begin a word, which keeps the whole linear. */
static bool word_parse(str s, size_t at, struct word *w)
{
    size_t i = at + 2;
    w->end = i;
    while (i < s.len && s.data[i] > ' ' && s.data[i] < 0x7f && s.data[i] != '?' && i - at < 80)
        i++;
    if (i + 2 >= s.len || s.data[i] != '?' || i == at + 2 || s.data[i + 2] != '?')
        return false;
    w->charset = str_sub(s, at + 2, i - at - 2);
    char encoding = s.data[i + 1] | 0x20;
    w->base64 = encoding == 'b';
    if (encoding != 'b' && encoding != 'q')
        return false;
    size_t from = i + 3;
    for (i = from; i + 1 < s.len; i++) {
        if (s.data[i] == '?' && s.data[i + 1] == '=') {
            w->text = str_sub(s, from, i - from);
            w->end = i + 2;
            /* The language is for readers with several voices (RFC 2231 5). */
            str_cut(w->charset, '*', &w->charset, &(str){0});
            return true;
        }
        bool next_word =
            s.data[i] == '=' && s.data[i + 1] == '?' && !(i + 2 < s.len && s.data[i + 2] == '=');
        if (next_word || (w->base64 && is_space(s.data[i]))) {
            w->end = i;
            return false;
        }
    }
    w->end = s.len;
    return false;
}

/* Offset of the next "=?" from pos on, or the length. */
static size_t find_word(str s, size_t pos)
{
    const char *at;
    while (pos < s.len && (at = memchr(s.data + pos, '=', s.len - pos))) {
        pos = (size_t)(at - s.data);
        if (pos + 1 < s.len && s.data[pos + 1] == '?')
            return pos;
        pos++;
    }
    return s.len;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* RFC 2047 4.2 */
static void q_decode(str text, struct charset_conv *conv, struct buf *out)
{
    char bytes[256];
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i] == '_' ? ' ' : text.data[i];
        if (c == '=' && i + 2 < text.len && hex_value(text.data[i + 1]) >= 0 &&
            hex_value(text.data[i + 2]) >= 0) {
            c = (char)(hex_value(text.data[i + 1]) << 4 | hex_value(text.data[i + 2]));
            i += 2;
        }
        if (len == sizeof(bytes)) {
            charset_conv_add(conv, str_of(bytes, len), out);
            len = 0;
        }
        bytes[len++] = c;
    }
    charset_conv_add(conv, str_of(bytes, len), out);
}

static void b_decode(str text, struct charset_conv *conv, struct buf *out)
{
    struct cte_decoder d;
    BUF_AUTO struct buf bytes = BUF_INIT(4096);
    cte_decoder_init(&d, CTE_BASE64);
    while (text.len) {
        buf_reset(&bytes);
        cte_decode(&d, str_head(text, 4096), &bytes);
        charset_conv_add(conv, buf_str(&bytes), out);
        text = str_skip(text, 4096);
    }
    buf_reset(&bytes);
    cte_decode_end(&d, &bytes);
    charset_conv_add(conv, buf_str(&bytes), out);
}

/* Text that is no encoded word. */
static void add_raw(struct buf *out, str s)
{
    if (utf8_valid(s)) {
        buf_add(out, s);
        return;
    }
    charset_to_utf8(STR_NONE, s, out);
}

static bool only_space(str s) { return str_trim(s).len == 0; }

/* Line ends before white space vanish, other control characters become spaces. */
static void clean(struct buf *out, size_t from)
{
    size_t to = from;
    for (size_t i = from; i < out->len; i++) {
        char c = out->data[i];
        if (c == '\r' && i + 1 < out->len && out->data[i + 1] == '\n')
            continue;
        if (c == '\n' && i + 1 < out->len && (out->data[i + 1] == ' ' || out->data[i + 1] == '\t'))
            continue;
        out->data[to++] = (uint8_t)c < ' ' || c == 0x7f ? ' ' : c;
    }
    buf_truncate(out, to);
}

void words_decode(struct buf *out, str raw)
{
    size_t begin = out->len, plain = 0, pos = 0;
    str charset = STR_NONE; /* of the word just before, if nothing but space came since */
    struct charset_conv conv;
    charset_conv_init(&conv, NULL);
    raw = str_trim(raw);
    while (pos < raw.len) {
        size_t at = find_word(raw, pos);
        struct word w;
        if (at == raw.len)
            break;
        bool ok = word_parse(raw, at, &w);
        pos = w.end;
        const struct charset *cs = ok ? charset_find(w.charset) : NULL;
        if (!cs)
            continue;
        str between = str_sub(raw, plain, at - plain);
        bool joined = charset.data && only_space(between);
        if (!joined || !str_eq_nocase(charset, w.charset)) {
            charset_conv_end(&conv, out);
            if (!joined)
                add_raw(out, between);
            charset_conv_init(&conv, cs);
        }
        if (w.base64)
            b_decode(w.text, &conv, out);
        else
            q_decode(w.text, &conv, out);
        charset = w.charset;
        plain = w.end;
    }
    charset_conv_end(&conv, out);
    charset_conv_free(&conv);
    add_raw(out, str_skip(raw, plain));
    clean(out, begin);
}

enum { LINE_CHARS = 76, WORD_BYTES = 42 }; /* 42 bytes are 56 base64 digits: a word of 68 */

static bool needs_encoding(str word)
{
    for (size_t i = 0; i < word.len; i++)
        if ((uint8_t)word.data[i] >= 0x7f || (uint8_t)word.data[i] < ' ')
            return true;
    return str_find(word, STR("=?")) != STR_NPOS;
}

/* A space, or a fold when n more characters would pass the line. */
static void gap(struct buf *out, size_t *column, size_t n)
{
    if (*column > 1 && *column + 1 + n > LINE_CHARS) {
        buf_add(out, STR("\r\n"));
        *column = 0;
    }
    buf_add_char(out, ' ');
    *column += 1;
}

/* How many bytes a word that begins in this column may hold; a few at least. */
static size_t word_room(size_t column)
{
    size_t room = column + 12 < LINE_CHARS ? (LINE_CHARS - 12 - column) / 4 * 3 : 0;
    return MAX(MIN(room, (size_t)WORD_BYTES), (size_t)6);
}

/* Splits at characters. Control characters (a line end would end the field) become spaces. */
static void encode_run(struct buf *out, str run, size_t *column, bool first)
{
    while (run.len) {
        size_t n = MIN(run.len, word_room(first ? *column : 1));
        for (int i = 0; i < 3 && n < run.len && ((uint8_t)run.data[n] & 0xc0) == 0x80; i++)
            n--;
        char piece[WORD_BYTES];
        for (size_t i = 0; i < n; i++)
            piece[i] = (uint8_t)run.data[i] < ' ' || run.data[i] == 0x7f ? ' ' : run.data[i];
        size_t shown = 12 + (n + 2) / 3 * 4;
        if (!first)
            gap(out, column, shown);
        first = false;
        buf_add(out, STR("=?UTF-8?B?"));
        code_base64(out, str_of(piece, n));
        buf_add(out, STR("?="));
        *column += shown;
        run = str_skip(run, n);
    }
}

static str next_word(str *s)
{
    size_t i = 0;
    while (i < s->len && s->data[i] != ' ')
        i++;
    str word = str_head(*s, i);
    *s = str_skip(*s, i);
    return word;
}

/* From the first word to the last that need encoding with only such words between: the space
 * between two encoded words is not shown, so it must be inside. */
static str take_run(str *s)
{
    str all = *s;
    size_t end = next_word(s).len;
    for (;;) {
        str ahead = *s;
        while (ahead.len && ahead.data[0] == ' ')
            ahead = str_skip(ahead, 1);
        if (!ahead.len || !needs_encoding(next_word(&ahead)))
            break;
        end = all.len - ahead.len;
        *s = ahead;
    }
    return str_head(all, end);
}

void words_encode(struct buf *out, str utf8, size_t column)
{
    bool first = true;
    while (utf8.len) {
        str ahead = utf8, word = next_word(&ahead);
        if (needs_encoding(word)) {
            str run = take_run(&utf8);
            if (!first)
                gap(out, &column, 12 + (MIN(run.len, WORD_BYTES) + 2) / 3 * 4);
            encode_run(out, run, &column, true);
        } else {
            if (!first)
                gap(out, &column, word.len);
            buf_add(out, word);
            column += word.len;
            utf8 = ahead;
        }
        first = false;
        utf8 = str_skip(utf8, 1);
    }
}

void words_encode_phrase(struct buf *out, str utf8)
{
    bool atoms = utf8.len > 0;
    if (needs_encoding(utf8)) {
        size_t column = LINE_CHARS / 4;
        encode_run(out, utf8, &column, true);
        return;
    }
    for (size_t i = 0; i < utf8.len && atoms; i++)
        atoms = !strchr("()<>[]:;@\\,.\"", utf8.data[i]);
    if (atoms) {
        buf_add(out, utf8);
        return;
    }
    buf_add_char(out, '"');
    for (size_t i = 0; i < utf8.len; i++) {
        if (utf8.data[i] == '"' || utf8.data[i] == '\\')
            buf_add_char(out, '\\');
        buf_add_char(out, utf8.data[i]);
    }
    buf_add_char(out, '"');
}
