/* SPDX-License-Identifier: Apache-2.0
 *
 * A byte-wise state machine in the spirit of the HTML standard's tokenizer, much simplified: what
 * is inside script, style and title ends only at that element's end tag.
 */
#include "format/html_text.h"

#include <assert.h>
#include <string.h>

#include "base/num.h"
#include "base/utf8.h"

enum state {
    TEXT,
    ENTITY,
    TAG_OPEN, /* behind "<" */
    TAG_NAME,
    TAG_REST, /* attributes */
    TAG_QUOTE,
    BANG, /* behind "<!" or "<?" */
    COMMENT,
};

static const str skipped[] = {STR_INIT("script"), STR_INIT("style"), STR_INIT("title"),
                              STR_INIT("xml"), STR_INIT("noframes")};

static const str breaking[] = {
    STR_INIT("p"),      STR_INIT("div"),     STR_INIT("br"),         STR_INIT("tr"),
    STR_INIT("li"),     STR_INIT("ul"),      STR_INIT("ol"),         STR_INIT("table"),
    STR_INIT("h1"),     STR_INIT("h2"),      STR_INIT("h3"),         STR_INIT("h4"),
    STR_INIT("h5"),     STR_INIT("h6"),      STR_INIT("blockquote"), STR_INIT("pre"),
    STR_INIT("hr"),     STR_INIT("body"),    STR_INIT("section"),    STR_INIT("article"),
    STR_INIT("dt"),     STR_INIT("dd"),      STR_INIT("header"),     STR_INIT("footer"),
    STR_INIT("dl"),     STR_INIT("address"), STR_INIT("center"),     STR_INIT("form"),
    STR_INIT("option"),
};

static const struct {
    const char *name;
    uint32_t code;
} entities[] = {
    {"amp", '&'},       {"lt", '<'},        {"gt", '>'},       {"quot", '"'},
    {"apos", '\''},     {"nbsp", ' '},      {"shy", 0},        {"zwnj", 0},
    {"zwj", 0},         {"lrm", 0},         {"rlm", 0},        {"ensp", ' '},
    {"emsp", ' '},      {"thinsp", ' '},    {"ndash", 0x2013}, {"mdash", 0x2014},
    {"lsquo", 0x2018},  {"rsquo", 0x2019},  {"sbquo", 0x201a}, {"ldquo", 0x201c},
    {"rdquo", 0x201d},  {"bdquo", 0x201e},  {"bull", 0x2022},  {"hellip", 0x2026},
    {"lsaquo", 0x2039}, {"rsaquo", 0x203a}, {"euro", 0x20ac},  {"trade", 0x2122},
    {"larr", 0x2190},   {"rarr", 0x2192},   {"minus", 0x2212}, {"OElig", 0x152},
    {"oelig", 0x153},   {"Scaron", 0x160},  {"scaron", 0x161}, {"Yuml", 0x178},
};

/* U+00A1 to U+00FF in order (HTML 4's Latin-1 set). */
static const char *const latin1[] = {
    "iexcl",  "cent",   "pound",  "curren", "yen",    "brvbar", "sect",   "uml",    "copy",
    "ordf",   "laquo",  "not",    "shy",    "reg",    "macr",   "deg",    "plusmn", "sup2",
    "sup3",   "acute",  "micro",  "para",   "middot", "cedil",  "sup1",   "ordm",   "raquo",
    "frac14", "frac12", "frac34", "iquest", "Agrave", "Aacute", "Acirc",  "Atilde", "Auml",
    "Aring",  "AElig",  "Ccedil", "Egrave", "Eacute", "Ecirc",  "Euml",   "Igrave", "Iacute",
    "Icirc",  "Iuml",   "ETH",    "Ntilde", "Ograve", "Oacute", "Ocirc",  "Otilde", "Ouml",
    "times",  "Oslash", "Ugrave", "Uacute", "Ucirc",  "Uuml",   "Yacute", "THORN",  "szlig",
    "agrave", "aacute", "acirc",  "atilde", "auml",   "aring",  "aelig",  "ccedil", "egrave",
    "eacute", "ecirc",  "euml",   "igrave", "iacute", "icirc",  "iuml",   "eth",    "ntilde",
    "ograve", "oacute", "ocirc",  "otilde", "ouml",   "divide", "oslash", "ugrave", "uacute",
    "ucirc",  "uuml",   "yacute", "thorn",  "yuml"};

static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static bool is_space(char c) { return (uint8_t)c <= ' ' || c == 0x7f; }

/* White space collapses; a line break wins over a space; none at the beginning. */
static void flush_gap(struct html_text *h, struct buf *out)
{
    if (h->started && (h->newline || h->space))
        buf_add_char(out, h->newline ? '\n' : ' ');
    h->started = true;
    h->newline = h->space = false;
}

static void text_byte(struct html_text *h, char c, struct buf *out)
{
    if (is_space(c)) {
        h->space = true;
        return;
    }
    flush_gap(h, out);
    buf_add_char(out, c);
}

static void text_code(struct html_text *h, uint32_t code, struct buf *out)
{
    if (code == 0xad || (code >= 0x200b && code <= 0x200f) || code == 0xfeff || code == 0x34f)
        return;
    if (code <= ' ' || (code >= 0x7f && code <= 0xa0)) {
        h->space = true;
        return;
    }
    flush_gap(h, out);
    bool valid = code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
    utf8_add(out, valid ? code : 0xfffd);
}

static bool entity_numeric(str name, uint32_t *code)
{
    unsigned base = 10;
    name = str_skip(name, 1);
    if (name.len && (name.data[0] == 'x' || name.data[0] == 'X')) {
        base = 16;
        name = str_skip(name, 1);
    }
    *code = 0;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i] | 0x20;
        unsigned v = is_digit(name.data[i]) ? (unsigned)(name.data[i] - '0')
                     : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10)
                                            : 16;
        if (v >= base)
            return false;
        *code = MIN(*code * base + v, 0x110000u);
    }
    return name.len > 0;
}

static bool entity_named(str name, uint32_t *code)
{
    if (!name.len)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(entities); i++)
        if (entities[i].name[0] == name.data[0] && str_eq(name, str_c(entities[i].name))) {
            *code = entities[i].code ? entities[i].code : 0xad;
            return true;
        }
    for (size_t i = 0; i < ARRAY_LEN(latin1); i++)
        if (latin1[i][0] == name.data[0] && str_eq(name, str_c(latin1[i]))) {
            *code = (uint32_t)(0xa1 + i);
            return true;
        }
    return false;
}

/* The name is complete; what is none stays text. */
static void entity_end(struct html_text *h, bool semicolon, struct buf *out)
{
    str name = str_of(h->word, h->len);
    uint32_t code;
    h->state = TEXT;
    bool known =
        name.len && name.data[0] == '#' ? entity_numeric(name, &code) : entity_named(name, &code);
    if (known) {
        text_code(h, code, out);
        return;
    }
    text_byte(h, '&', out);
    for (size_t i = 0; i < name.len; i++)
        text_byte(h, name.data[i], out);
    if (semicolon)
        text_byte(h, ';', out);
}

static bool in_list(const str *list, size_t count, str name, uint8_t *index)
{
    for (size_t i = 0; i < count; i++)
        if (list[i].len == name.len && list[i].data[0] == (name.data[0] | 0x20) &&
            str_eq_nocase(list[i], name)) {
            *index = (uint8_t)(i + 1);
            return true;
        }
    return false;
}

/* The tag's name is complete: what it does to the text. */
static void tag_named(struct html_text *h)
{
    str name = str_of(h->word, h->len);
    uint8_t index = 0;
    if (h->skip) {
        if (h->closing && str_eq_nocase(name, skipped[h->skip - 1]))
            h->skip = 0;
        else
            h->state = TEXT;
        return;
    }
    if (!h->closing && in_list(skipped, ARRAY_LEN(skipped), name, &index))
        h->skip = index;
    else if (in_list(breaking, ARRAY_LEN(breaking), name, &index))
        h->newline = true;
    else if (str_eq_nocase(name, STR("td")) || str_eq_nocase(name, STR("th")))
        h->space = true;
}

static void add_word(struct html_text *h, char c)
{
    if (h->len < sizeof(h->word))
        h->word[h->len++] = c;
}

/* True when c was used up. */
static bool tag_open(struct html_text *h, char c, struct buf *out)
{
    if (c == '/' && !h->closing) {
        h->closing = true;
        return true;
    }
    if (is_letter(c)) {
        h->state = TAG_NAME;
        return false;
    }
    if (!h->skip && !h->closing && (c == '!' || c == '?')) {
        h->state = BANG;
        h->dashes = 0;
        return true;
    }
    h->state = TEXT;
    if (!h->skip && !h->closing)
        text_byte(h, '<', out);
    if (!h->skip && h->closing) /* "</ >" is a comment for browsers */
        h->state = TAG_REST;
    return false;
}

/* "<!-- … -->" or "<! … >" */
static void bang(struct html_text *h, char c)
{
    if (h->state == BANG) {
        if (c == '-' && h->dashes < 2)
            h->dashes++;
        else if (c == '>')
            h->state = TEXT;
        else if (h->dashes < 2)
            h->dashes = 3;
        if (h->dashes == 2) {
            h->state = COMMENT;
            h->dashes = 2; /* "<!-->" ends at once, as in browsers */
        }
        return;
    }
    if (c == '>' && h->dashes >= 2)
        h->state = TEXT;
    h->dashes = c == '-' ? MIN(h->dashes + 1, 2) : 0;
}

static void tag_rest(struct html_text *h, char c)
{
    if (h->state == TAG_QUOTE) {
        if ((uint8_t)c == h->quote)
            h->state = TAG_REST;
    } else if (c == '>') {
        h->state = TEXT;
    } else if ((c == '"' || c == '\'') && h->dashes) {
        h->state = TAG_QUOTE;
        h->quote = (uint8_t)c;
    }
    /* dashes here: a quote only opens a value behind "=". */
    h->dashes = c == '=' || (h->dashes && is_space(c));
}

static bool entity_byte(struct html_text *h, char c, struct buf *out)
{
    bool part = is_letter(c) || is_digit(c) || (c == '#' && h->len == 0);
    if (part && h->len < sizeof(h->word)) {
        add_word(h, c);
        return true;
    }
    entity_end(h, c == ';', out);
    return c == ';';
}

/* True when c was used up; else it is looked at again in the new state. */
static bool step(struct html_text *h, char c, struct buf *out)
{
    switch ((enum state)h->state) {
    case TEXT:
        if (c == '<' || (c == '&' && !h->skip)) {
            h->state = c == '<' ? TAG_OPEN : ENTITY;
            h->len = 0;
            h->closing = false;
        } else if (!h->skip) {
            text_byte(h, c, out);
        }
        return true;
    case ENTITY:
        return entity_byte(h, c, out);
    case TAG_OPEN:
        return tag_open(h, c, out);
    case TAG_NAME:
        if (is_letter(c) || is_digit(c) || c == '-' || c == ':') {
            add_word(h, c);
            return true;
        }
        h->state = TAG_REST;
        h->dashes = 0;
        tag_named(h);
        return false;
    case TAG_REST:
    case TAG_QUOTE:
        tag_rest(h, c);
        return true;
    case BANG:
    case COMMENT:
        bang(h, c);
        return true;
    }
    assert(false);
    return true;
}

void html_text_init(struct html_text *h) { *h = (struct html_text){.state = TEXT}; }

static size_t run_until(str s, char stop)
{
    const char *at = memchr(s.data, stop, s.len);
    return at ? (size_t)(at - s.data) : s.len;
}

/* How many bytes from here mean nothing in this state, so that the slow path need not see them. */
static size_t dull_run(struct html_text *h, str s)
{
    size_t n = 0;
    if (h->state == TEXT && h->skip)
        return run_until(s, '<');
    if (h->state == TAG_QUOTE)
        return run_until(s, (char)h->quote);
    if (h->state == COMMENT && h->dashes == 0)
        return run_until(s, '-');
    if (h->state == TAG_REST && h->dashes == 0)
        while (n < s.len && s.data[n] != '>' && s.data[n] != '=')
            n++;
    return n;
}

/* Text and white space up to the next byte that may change the state. */
static size_t text_run(struct html_text *h, str s, struct buf *out)
{
    size_t n = 0;
    while (n < s.len && s.data[n] != '<' && s.data[n] != '&') {
        size_t from = n;
        while (n < s.len && (uint8_t)s.data[n] > ' ' && s.data[n] != '<' && s.data[n] != '&' &&
               s.data[n] != 0x7f)
            n++;
        if (n > from) {
            flush_gap(h, out);
            buf_add(out, str_sub(s, from, n - from));
        }
        for (; n < s.len && is_space(s.data[n]); n++)
            h->space = true;
    }
    return n;
}

void html_text_add(struct html_text *h, str utf8, struct buf *out)
{
    while (utf8.len) {
        bool text = h->state == TEXT && !h->skip;
        utf8 = str_skip(utf8, text ? text_run(h, utf8, out) : dull_run(h, utf8));
        if (utf8.len && step(h, utf8.data[0], out))
            utf8 = str_skip(utf8, 1);
    }
}

void html_text_end(struct html_text *h, struct buf *out)
{
    if (h->state == ENTITY)
        entity_end(h, false, out);
    html_text_init(h);
}
