/* SPDX-License-Identifier: Apache-2.0
 *
 * Fields that cannot be sent as they are. What each may be written as depends on what it holds:
 * text becomes encoded words (RFC 2047 5), names of mailboxes too, parameters get a charset (RFC
 * 2231 4); the others have no way to say it, and are refused. Raw 8-bit bytes are read as
 * everywhere else in the house: UTF-8 if they are, else windows-1252 (words.h). A line that is only
 * too long is folded.
 */
#include "format/convert_private.h"

#include <string.h>

#include "base/num.h"
#include "base/utf8.h"
#include "format/addr.h"
#include "format/charset.h"
#include "format/header.h"
#include "format/params.h"
#include "format/words.h"

#define OUT_MAX ((size_t)4 * HEADER_SIZE_MAX)
#define FOLD_COLUMN 76
#define EXTENDED_CHARS 60 /* of a parameter's value in one section */

enum kind { KIND_TEXT, KIND_ADDRESSES, KIND_PARAMETERS, KIND_FIXED };

static const struct {
    str name;
    enum kind kind;
} kinds[] = {
    {STR_INIT("From"), KIND_ADDRESSES},
    {STR_INIT("Sender"), KIND_ADDRESSES},
    {STR_INIT("Reply-To"), KIND_ADDRESSES},
    {STR_INIT("To"), KIND_ADDRESSES},
    {STR_INIT("Cc"), KIND_ADDRESSES},
    {STR_INIT("Bcc"), KIND_ADDRESSES},
    {STR_INIT("Resent-From"), KIND_ADDRESSES},
    {STR_INIT("Resent-Sender"), KIND_ADDRESSES},
    {STR_INIT("Resent-Reply-To"), KIND_ADDRESSES},
    {STR_INIT("Resent-To"), KIND_ADDRESSES},
    {STR_INIT("Resent-Cc"), KIND_ADDRESSES},
    {STR_INIT("Resent-Bcc"), KIND_ADDRESSES},
    {STR_INIT("Mail-Followup-To"), KIND_ADDRESSES},
    {STR_INIT("Mail-Reply-To"), KIND_ADDRESSES},
    {STR_INIT("Disposition-Notification-To"), KIND_ADDRESSES},
    {STR_INIT("Return-Receipt-To"), KIND_ADDRESSES},
    {STR_INIT("Errors-To"), KIND_ADDRESSES},
    {STR_INIT("Content-Type"), KIND_PARAMETERS},
    {STR_INIT("Content-Disposition"), KIND_PARAMETERS},
    {STR_INIT("Content-Transfer-Encoding"), KIND_FIXED},
    {STR_INIT("Content-ID"), KIND_FIXED},
    {STR_INIT("MIME-Version"), KIND_FIXED},
    {STR_INIT("Date"), KIND_FIXED},
    {STR_INIT("Resent-Date"), KIND_FIXED},
    {STR_INIT("Message-ID"), KIND_FIXED},
    {STR_INIT("Resent-Message-ID"), KIND_FIXED},
    {STR_INIT("In-Reply-To"), KIND_FIXED},
    {STR_INIT("References"), KIND_FIXED},
    {STR_INIT("Return-Path"), KIND_FIXED},
    {STR_INIT("Received"), KIND_FIXED},
    {STR_INIT("Received-SPF"), KIND_FIXED},
    {STR_INIT("Authentication-Results"), KIND_FIXED},
    {STR_INIT("DKIM-Signature"), KIND_FIXED},
    {STR_INIT("ARC-Seal"), KIND_FIXED},
    {STR_INIT("ARC-Message-Signature"), KIND_FIXED},
    {STR_INIT("ARC-Authentication-Results"), KIND_FIXED},
};

struct work {
    struct arena *arena;
    const struct convert_header *how;
    struct buf out;
    const char **refused;
};

static const char cannot_encode[] = "A header field has 8-bit bytes where none can be encoded";
static const char cannot_fold[] = "A header line is longer than 998 bytes and cannot be folded";

static enum err refuse(struct work *w, const char *why)
{
    *w->refused = why;
    return ERR_UNSUPPORTED;
}

static enum kind kind_of(str name)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (str_eq_nocase(name, kinds[i].name))
            return kinds[i].kind;
    }
    return KIND_TEXT;
}

/* ---- lines ---- */

static bool is_wsp(char c) { return c == ' ' || c == '\t'; }

/* Bytes of the name at the beginning of a field's first line, with the white space that may stand
 * before the colon. */
static size_t name_size(str line)
{
    size_t colon = line.len > 0 && is_wsp(line.data[0]) ? STR_NPOS : str_find_char(line, ':');
    return colon == STR_NPOS ? 0 : colon;
}

/* Where a line that is too long may be broken: before the last white space that leaves a word on
 * both sides. 0: nowhere. */
static size_t break_at(str line)
{
    size_t words = name_size(line); /* where the first word begins */
    while (words < line.len && is_wsp(line.data[words]))
        words++;
    for (size_t i = MIN(line.len, (size_t)CONVERT_LINE_MAX); i > words + 1; i--) {
        if (!is_wsp(line.data[i - 1]) || is_wsp(line.data[i - 2]))
            continue;
        if (str_trim(str_skip(line, i - 1)).len > 0)
            return i - 1;
    }
    return 0;
}

static enum err put_line(struct work *w, str line)
{
    while (line.len > CONVERT_LINE_MAX) {
        size_t at = break_at(line);
        if (at == 0)
            return refuse(w, cannot_fold);
        buf_add(&w->out, str_head(line, at));
        buf_add(&w->out, STR("\r\n"));
        line = str_skip(line, at);
    }
    buf_add(&w->out, line);
    buf_add(&w->out, STR("\r\n"));
    return ERR_OK;
}

/* As it is, but for line ends, NUL and length. A CR is white space (RFC 5322 4.2), but where it
 * would then make the line a continuation, or a name of what was none. */
static enum err put_raw(struct work *w, str lines)
{
    while (lines.len) {
        str line, copy;
        if (str_cut(lines, '\n', &line, &lines) && str_ends(line, STR("\r")))
            line.len--;
        if (!arena_dup(w->arena, line, &copy))
            return ERR_LIMIT;
        size_t name = name_size(line);
        char *c = (char *)(uintptr_t)copy.data;
        for (size_t i = 0; i < copy.len; i++)
            c[i] = c[i] == '\r' && i > name ? ' ' : c[i] == '\r' || c[i] == 0 ? '?' : c[i];
        TRY(put_line(w, copy));
    }
    return ERR_OK;
}

/* A generated field, whose lines are still to be looked at. */
static enum err put_field(struct work *w, const struct buf *field)
{
    if (!buf_ok(field))
        return ERR_LIMIT;
    return utf8_is_ascii(buf_str(field)) ? put_raw(w, buf_str(field)) : refuse(w, cannot_encode);
}

/* ---- kinds ---- */

static enum err text_field(struct work *w, const struct header_field *f)
{
    BUF_AUTO struct buf text = BUF_INIT(OUT_MAX), out = BUF_INIT(OUT_MAX);
    words_decode(&text, f->value);
    buf_addf(&out, "%.*s: ", STR_ARG(f->name));
    words_encode(&out, str_trim(buf_str(&text)), out.len);
    return buf_ok(&text) ? put_field(w, &out) : ERR_LIMIT;
}

static void fold_before(struct buf *out, str item)
{
    size_t line = str_rfind_char(buf_str(out), '\n');
    size_t column = out->len - (line == STR_NPOS ? 0 : line + 1);
    buf_add(out, column > 1 && column + 1 + item.len > FOLD_COLUMN ? STR("\r\n ") : STR(" "));
    buf_add(out, item);
}

static enum err address_field(struct work *w, const struct header_field *f)
{
    struct addr_list list;
    BUF_AUTO struct buf out = BUF_INIT(OUT_MAX), name = BUF_INIT(OUT_MAX), item = BUF_INIT(OUT_MAX);
    if (addr_list_parse(w->arena, f->value, &list) != ERR_OK || list.limit != LIMIT_NONE)
        return refuse(w, cannot_encode);
    buf_addf(&out, "%.*s:", STR_ARG(f->name));
    for (size_t i = 0; i < list.count; i++) {
        const struct addr_item *a = &list.items[i];
        bool more = i + 1 < list.count && list.items[i + 1].kind != ADDR_GROUP_END;
        buf_reset(&name);
        buf_reset(&item);
        words_decode(&name, a->name);
        if (a->kind == ADDR_MAILBOX)
            addr_render_mailbox(&item, buf_str(&name), &a->addr);
        else if (a->kind == ADDR_GROUP_START)
            words_encode_phrase(&item, buf_str(&name));
        if (a->kind == ADDR_GROUP_START)
            buf_add_char(&item, ':');
        if (more && a->kind != ADDR_GROUP_START)
            buf_add_char(&item, ',');
        if (a->kind == ADDR_GROUP_END)
            buf_addf(&out, ";%.*s", STR_ARG(buf_str(&item)));
        else
            fold_before(&out, buf_str(&item));
    }
    buf_add(&out, STR("\r\n"));
    return buf_ok(&name) && buf_ok(&item) ? put_field(w, &out) : ERR_LIMIT;
}

static bool is_attribute_char(uint8_t c)
{
    return c > ' ' && c < 0x7f && !strchr("*'%()<>@,;:\\\"/[]?=", c);
}

/* name*0*=utf-8''…; RFC 2231 3 and 4.1. A percent group is never divided. */
static void add_extended(struct buf *out, str name, str bytes)
{
    BUF_AUTO struct buf utf8 = BUF_INIT(OUT_MAX), item = BUF_INIT(OUT_MAX);
    charset_to_utf8(STR_NONE, bytes, &utf8);
    out->failed |= utf8.failed;
    bool sections = utf8.len * 3 > EXTENDED_CHARS;
    size_t n = 0;
    for (size_t i = 0; i < utf8.len;) {
        size_t begin;
        buf_reset(&item);
        buf_add(&item, name);
        if (sections)
            buf_addf(&item, "*%zu", n);
        buf_add(&item, n++ == 0 ? STR("*=utf-8''") : STR("*="));
        for (begin = item.len; i < utf8.len && item.len - begin < EXTENDED_CHARS; i++) {
            if (is_attribute_char((uint8_t)utf8.data[i]))
                buf_add_char(&item, utf8.data[i]);
            else
                buf_addf(&item, "%%%02X", (uint8_t)utf8.data[i]);
        }
        buf_add_char(out, ';');
        fold_before(out, buf_str(&item));
    }
}

static void add_quoted(struct buf *out, const struct param *p)
{
    BUF_AUTO struct buf item = BUF_INIT(OUT_MAX);
    buf_add(&item, p->name);
    buf_add(&item, STR("=\""));
    for (size_t i = 0; i < p->value.len; i++) {
        char c = p->value.data[i];
        if (c == '"' || c == '\\')
            buf_add_char(&item, '\\');
        buf_add_char(&item, c);
    }
    buf_add_char(&item, '"');
    buf_add_char(out, ';');
    fold_before(out, buf_str(&item));
    out->failed |= item.failed;
}

/* What could be no quoted string, or would be another one without it (a boundary). */
static bool has_control(str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (((uint8_t)s.data[i] < ' ' && s.data[i] != '\t') || s.data[i] == 0x7f)
            return true;
    }
    return false;
}

static enum err parameter_field(struct work *w, const struct header_field *f)
{
    struct param_value v;
    BUF_AUTO struct buf out = BUF_INIT(OUT_MAX);
    if (params_parse(w->arena, f->value, &v) != ERR_OK || v.params.limit != LIMIT_NONE)
        return refuse(w, cannot_encode);
    buf_addf(&out, "%.*s: ", STR_ARG(f->name));
    buf_add(&out, v.type);
    buf_add(&out, str_empty(v.subtype) ? STR("") : STR("/"));
    buf_add(&out, v.subtype);
    for (size_t i = 0; i < v.params.count; i++) {
        const struct param *p = &v.params.params[i];
        if (has_control(p->name) || has_control(p->value))
            return refuse(w, cannot_encode);
        if (utf8_is_ascii(p->value)) {
            add_quoted(&out, p);
            continue;
        }
        /* A boundary is what the lines between the parts say; a section is part of a whole. */
        if (str_eq_nocase(p->name, STR("boundary")) || str_find_char(p->name, '*') != STR_NPOS)
            return refuse(w, cannot_encode);
        add_extended(&out, p->name, p->value);
    }
    buf_add(&out, STR("\r\n"));
    return put_field(w, &out);
}

static enum err put_converted(struct work *w, const struct header_field *f, str raw)
{
    struct convert_facts facts = convert_look(raw);
    if (!facts.has_8bit || w->how->to == CONVERT_8BIT)
        return put_raw(w, raw);
    if (f->name.len == 0)
        return refuse(w, cannot_encode);
    switch (kind_of(f->name)) {
    case KIND_TEXT:
        return text_field(w, f);
    case KIND_ADDRESSES:
        return address_field(w, f);
    case KIND_PARAMETERS:
        return parameter_field(w, f);
    case KIND_FIXED:
        break;
    }
    return refuse(w, cannot_encode);
}

/* ---- the whole ---- */

static void put_encoding(struct work *w)
{
    buf_addf(&w->out, "Content-Transfer-Encoding: %.*s\r\n", STR_ARG(w->how->encoding));
}

static enum err put_fields(struct work *w, str header)
{
    struct header_iter it = header_iter_of(header);
    struct header_field f;
    bool version = false, encoding = false;
    while (header_next(&it, &f)) {
        version |= str_eq_nocase(f.name, STR("MIME-Version"));
        if (w->how->encoding.data && str_eq_nocase(f.name, STR("Content-Transfer-Encoding"))) {
            if (!encoding)
                put_encoding(w);
            encoding = true;
            continue;
        }
        TRY(put_converted(w, &f, str_sub(header, f.offset, f.size)));
    }
    if (it.limit != LIMIT_NONE)
        return refuse(w, "A header is too large");
    if (w->how->encoding.data && w->how->root && !version)
        buf_add(&w->out, STR("MIME-Version: 1.0\r\n"));
    if (!str_empty(w->how->type))
        buf_addf(&w->out, "Content-Type: %.*s\r\n", STR_ARG(w->how->type));
    if (w->how->encoding.data && !encoding)
        put_encoding(w);
    if (it.end > it.end_fields)
        buf_add(&w->out, STR("\r\n"));
    return ERR_OK;
}

enum err convert_header(struct arena *a, str header, const struct convert_header *how, str *out,
                        const char **refused)
{
    struct work w = {.arena = a, .how = how, .out = BUF_INIT(OUT_MAX), .refused = refused};
    enum err e = put_fields(&w, header);
    if (e == ERR_OK && (!buf_ok(&w.out) || !arena_dup(a, buf_str(&w.out), out)))
        e = ERR_LIMIT;
    buf_free(&w.out);
    return e;
}
