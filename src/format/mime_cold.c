/* SPDX-License-Identifier: Apache-2.0
 *
 * Row, version 1 (numbers are varints unless said, strings "sized"):
 *   u8 version, flags, name of the limit reached, be64 sent, be16 zone, size,
 *   be64 message id hash, count and be64s of references,
 *   base subject, from, to, cc mailbox, from, to display, preview, envelope, body, structure,
 *   number of parts, parts
 * Part: parent + 1 (0: none), u8 kind and encoding (high nibble), header offset, header size, body
 * size, type, charset. Its body follows its header.
 */
#include "format/mime_cold.h"

#include <assert.h>
#include <string.h>

#include "base/num.h"
#include "base/utf8.h"
#include "format/addr.h"
#include "format/charset.h"
#include "format/date.h"
#include "format/header.h"
#include "format/html_text.h"
#include "format/params.h"
#include "format/words.h"

enum { VERSION = 1, CHARSET_SHOWN_MAX = 40, TYPE_SHOWN_MAX = 120 };

/* Leaves of the row before it is put together. */
struct row {
    unsigned flags;
    struct date sent;
    uint64_t id_hash;
    uint64_t refs[MIME_REFERENCES_MAX];
    uint32_t refs_count;
    struct buf subject, keys[5], preview; /* keys: from, to, cc mailbox, from, to display */
    struct buf envelope, body, structure, parts;
};

static void row_init(struct row *r)
{
    buf_init(&r->subject, 2 * MIME_BASE_SUBJECT_MAX);
    for (size_t i = 0; i < ARRAY_LEN(r->keys); i++)
        buf_init(&r->keys[i], MIME_COLD_MAX);
    buf_init(&r->preview, MIME_COLD_MAX);
    buf_init(&r->envelope, MIME_COLD_MAX);
    buf_init(&r->body, MIME_COLD_MAX);
    buf_init(&r->structure, MIME_COLD_MAX);
    buf_init(&r->parts, MIME_COLD_MAX);
}

static void row_free(struct row *r)
{
    buf_free(&r->subject);
    for (size_t i = 0; i < ARRAY_LEN(r->keys); i++)
        buf_free(&r->keys[i]);
    buf_free(&r->preview);
    buf_free(&r->envelope);
    buf_free(&r->body);
    buf_free(&r->structure);
    buf_free(&r->parts);
}

/* Cuts at a character. */
static void buf_cut(struct buf *b, size_t max)
{
    if (b->len <= max)
        return;
    while (max && ((uint8_t)b->data[max] & 0xc0) == 0x80)
        max--;
    buf_truncate(b, max);
}

/* The first of the list is enough, so only the front of a long field is parsed. */
static enum err add_keys(struct arena *a, str raw, struct buf *mailbox, struct buf *display)
{
    struct addr_list list;
    TRY(addr_list_parse(a, str_head(raw, 4096), &list));
    size_t i = 0;
    while (i < list.count && list.items[i].kind == ADDR_GROUP_END)
        i++;
    if (i == list.count)
        return ERR_OK;
    const struct addr_item *item = &list.items[i];
    bool group = item->kind == ADDR_GROUP_START;
    utf8_add_lossy(mailbox, group ? item->name : item->addr.local);
    buf_cut(mailbox, MIME_SORT_KEY_MAX);
    if (!display)
        return ERR_OK;
    /* RFC 5957 2: the decoded display name, else local@domain. */
    words_decode(display, item->name);
    if (!display->len) {
        utf8_add_lossy(display, item->addr.local);
        if (item->addr.domain.len) {
            buf_add_char(display, '@');
            utf8_add_lossy(display, item->addr.domain);
        }
    }
    buf_cut(display, MIME_SORT_KEY_MAX);
    return ERR_OK;
}

static uint64_t id_hash(str id)
{
    uint64_t h = str_hash_stable(id);
    return h ? h : 1;
}

/* At the limit the oldest stays (it names the thread) and the newest push out what is between. */
static void add_reference(struct row *r, str id)
{
    if (r->refs_count == MIME_REFERENCES_MAX) {
        memmove(&r->refs[1], &r->refs[2], (MIME_REFERENCES_MAX - 2) * sizeof(r->refs[0]));
        r->refs_count--;
    }
    r->refs[r->refs_count++] = id_hash(id);
}

struct fields {
    str date, subject, from, to, cc, message_id, in_reply_to, references;
};

static void find_fields(str header, struct fields *f)
{
    static const struct {
        str name;
        size_t at;
    } wanted[] = {
        {STR_INIT("Date"), offsetof(struct fields, date)},
        {STR_INIT("Subject"), offsetof(struct fields, subject)},
        {STR_INIT("From"), offsetof(struct fields, from)},
        {STR_INIT("To"), offsetof(struct fields, to)},
        {STR_INIT("Cc"), offsetof(struct fields, cc)},
        {STR_INIT("Message-ID"), offsetof(struct fields, message_id)},
        {STR_INIT("In-Reply-To"), offsetof(struct fields, in_reply_to)},
        {STR_INIT("References"), offsetof(struct fields, references)},
    };
    struct header_iter it = header_iter_of(header);
    struct header_field field;
    while (header_next(&it, &field))
        for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
            str *to = (str *)((char *)f + wanted[i].at);
            if (field.name.len == wanted[i].name.len && !to->data &&
                str_eq_nocase(field.name, wanted[i].name))
                *to = field.value;
        }
}

static enum err fill_header(struct arena *a, const struct mime *m, struct row *r)
{
    struct fields f = {.date = STR_NONE};
    bool reply;
    str id;
    find_fields(mime_header(m, &m->parts[0]), &f);
    if (date_parse(f.date, &r->sent))
        r->flags |= MIME_COLD_HAS_DATE;
    mime_base_subject(f.subject, &r->subject, &reply);
    if (reply)
        r->flags |= MIME_COLD_IS_REPLY;
    TRY(add_keys(a, f.from, &r->keys[0], &r->keys[3]));
    TRY(add_keys(a, f.to, &r->keys[1], &r->keys[4]));
    TRY(add_keys(a, f.cc, &r->keys[2], NULL));
    if (mime_next_message_id(&f.message_id, &id))
        r->id_hash = id_hash(id);
    while (mime_next_message_id(&f.references, &id))
        add_reference(r, id);
    /* RFC 5256 3, REFERENCES 1: the first valid id of In-Reply-To where there are no references. */
    if (!r->refs_count && mime_next_message_id(&f.in_reply_to, &id))
        add_reference(r, id);
    return ERR_OK;
}

static bool is_disposed(const struct mime_part *p, str disposition)
{
    return str_starts_nocase(p->disposition, disposition);
}

static bool is_attachment(const struct mime_part *p)
{
    if (p->kind == MIME_MULTIPART || p->depth == 0)
        return false;
    if (is_disposed(p, STR("attachment")) || p->kind == MIME_MESSAGE)
        return true;
    return str_eq_nocase(p->type, STR("application")) && !is_disposed(p, STR("inline")) &&
           !str_ends_nocase(p->subtype, STR("-signature")) &&
           !str_eq_nocase(p->subtype, STR("pgp-encrypted"));
}

static enum err part_charset(struct arena *a, const struct mime_part *p, str *out)
{
    struct param_value v;
    *out = STR_NONE;
    if (!p->content_type.data || !str_eq_nocase(p->type, STR("text")))
        return ERR_OK;
    TRY(params_parse(a, p->content_type, &v));
    params_get_raw(&v.params, STR("charset"), out);
    *out = str_head(str_trim(*out), CHARSET_SHOWN_MAX);
    return ERR_OK;
}

/* "On Monday X wrote:" before a quotation, in any language: at most two lines, a colon at the end.
 */
static bool introduces_quote(str paragraph)
{
    str head, tail;
    paragraph = str_trim(paragraph);
    str_cut(paragraph, '\n', &head, &tail);
    return str_ends(paragraph, STR(":")) && str_find_char(tail, '\n') == STR_NPOS;
}

/* What the writer of an answer added: no lines that begin with ">", nor what introduces them. */
static void add_own_words(struct buf *out, str text)
{
    size_t begin = 0, at = 0; /* the paragraph that a quotation may follow */
    bool gap = false;         /* it has ended */
    while (at < text.len) {
        str rest = str_skip(text, at), line, tail;
        size_t next = str_cut(rest, '\n', &line, &tail) ? at + line.len + 1 : text.len;
        bool quoted = str_starts(line, STR(">")), blank = str_empty(str_trim(line));
        str paragraph = str_sub(text, begin, at - begin);
        if (quoted ? !introduces_quote(paragraph) : gap && !blank)
            buf_add(out, paragraph);
        if (quoted)
            begin = next;
        else if (gap && !blank)
            begin = at;
        gap = blank && (gap || begin < at);
        at = next;
    }
    buf_add(out, str_skip(text, begin));
}

/* White space collapsed, cut to the number of characters. */
static void add_preview(struct buf *out, str text)
{
    size_t chars = 0;
    bool gap = false;
    while (text.len && chars < MIME_PREVIEW_CHARS) {
        uint32_t code;
        utf8_take(&text, &code);
        if (code <= ' ' || code == 0x7f || code == 0xa0 || code == 0xfeff) {
            gap = chars > 0;
            continue;
        }
        if (gap && ++chars == MIME_PREVIEW_CHARS)
            break;
        if (gap)
            buf_add_char(out, ' ');
        gap = false;
        utf8_add(out, code);
        chars++;
    }
}

/* Decodes the part in small steps until there is enough for a preview. */
static void preview_of(const struct mime *m, const struct mime_part *p, str charset,
                       struct buf *out)
{
    BUF_AUTO struct buf bytes = BUF_INIT(8 * MIME_PREVIEW_SCAN);
    BUF_AUTO struct buf utf8 = BUF_INIT(8 * MIME_PREVIEW_SCAN);
    BUF_AUTO struct buf text = BUF_INIT(8 * MIME_PREVIEW_SCAN);
    BUF_AUTO struct buf own = BUF_INIT(8 * MIME_PREVIEW_SCAN);
    CHARSET_CONV_AUTO struct charset_conv conv;
    struct cte_decoder cte;
    struct html_text html;
    bool is_html = str_eq_nocase(p->subtype, STR("html"));
    str body = str_head(mime_body(m, p), MIME_PREVIEW_SCAN);
    cte_decoder_init(&cte, p->cte);
    charset_conv_init(&conv, charset_find(charset));
    html_text_init(&html);
    while (body.len && own.len < 4 * MIME_PREVIEW_CHARS) {
        buf_reset(&bytes);
        buf_reset(&utf8);
        cte_decode(&cte, str_head(body, 1024), &bytes);
        body = str_skip(body, 1024);
        if (!body.len)
            cte_decode_end(&cte, &bytes);
        charset_conv_add(&conv, buf_str(&bytes), is_html ? &utf8 : &text);
        if (is_html)
            html_text_add(&html, buf_str(&utf8), &text);
        buf_reset(&own);
        add_own_words(&own, buf_str(&text));
    }
    add_preview(out, buf_str(&own));
    if (!out->len)
        add_preview(out, buf_str(&text)); /* nothing but a quotation */
}

static bool is_shown_text(const struct mime_part *p)
{
    return p->kind == MIME_LEAF && str_eq_nocase(p->type, STR("text")) &&
           (str_eq_nocase(p->subtype, STR("plain")) || str_eq_nocase(p->subtype, STR("html"))) &&
           !is_disposed(p, STR("attachment"));
}

/* From the first text part that is shown (RFC 8970 3), or the next if that is empty. */
static enum err fill_preview(struct arena *a, const struct mime *m, struct row *r)
{
    size_t tries = 3;
    for (size_t i = 0; i < m->count; i++) {
        const struct mime_part *p = &m->parts[i];
        str charset;
        if (is_attachment(p))
            r->flags |= MIME_COLD_HAS_ATTACHMENT;
        if (r->preview.len || !tries || !is_shown_text(p))
            continue;
        tries--;
        TRY(part_charset(a, p, &charset));
        preview_of(m, p, charset, &r->preview);
    }
    return ERR_OK;
}

static void add_lower(struct buf *out, str s)
{
    s = str_head(s, TYPE_SHOWN_MAX);
    for (size_t i = 0; i < s.len; i++)
        buf_add_char(out, char_lower(s.data[i]));
}

static enum err encode_parts(const struct mime *m, struct buf *out)
{
    ARENA_AUTO struct arena a = ARENA_INIT(MIME_ARENA_MAX);
    BUF_AUTO struct buf type = BUF_INIT(2 * TYPE_SHOWN_MAX + 1);
    for (size_t i = 0; i < m->count && buf_ok(out); i++) {
        const struct mime_part *p = &m->parts[i];
        bool root = p->parent == MIME_NO_PART;
        str charset;
        arena_reset(&a);
        TRY(part_charset(&a, p, &charset));
        buf_add_varint(out, root ? 0 : (uint64_t)p->parent + 1);
        buf_add_char(out, (char)((unsigned)p->kind | (unsigned)p->cte << 4));
        buf_add_varint(out, p->header_offset);
        buf_add_varint(out, p->header_size);
        buf_add_varint(out, p->body_size);
        buf_reset(&type);
        add_lower(&type, p->type);
        buf_add_char(&type, '/');
        add_lower(&type, p->subtype);
        buf_add_sized(out, buf_str(&type));
        buf_add_sized(out, charset);
    }
    return ERR_OK;
}

/* Keeps the section if it fits into what is left. */
static void keep_if(struct row *r, struct buf *section, size_t *left, unsigned flag)
{
    if (buf_ok(section) && section->len + 10 <= *left) {
        *left -= section->len + 10;
        return;
    }
    buf_reset(section);
    r->flags |= flag;
}

static void write_row(const struct row *r, const struct mime *m, struct buf *out)
{
    bool parts = !(r->flags & MIME_COLD_NO_PARTS);
    buf_add_char(out, VERSION);
    buf_add_varint(out, r->flags);
    buf_add_sized(out, limit_name(m->limit));
    buf_add_be64(out, (uint64_t)r->sent.seconds);
    buf_add_be16(out, (uint16_t)(int16_t)r->sent.zone_minutes);
    buf_add_varint(out, m->message.len);
    buf_add_be64(out, r->id_hash);
    buf_add_varint(out, r->refs_count);
    for (uint32_t i = 0; i < r->refs_count; i++)
        buf_add_be64(out, r->refs[i]);
    buf_add_sized(out, buf_str(&r->subject));
    for (size_t i = 0; i < ARRAY_LEN(r->keys); i++)
        buf_add_sized(out, buf_str(&r->keys[i]));
    buf_add_sized(out, buf_str(&r->preview));
    buf_add_sized(out, buf_str(&r->envelope));
    buf_add_sized(out, buf_str(&r->body));
    buf_add_sized(out, buf_str(&r->structure));
    buf_add_varint(out, parts ? m->count : 0);
    buf_add_sized(out, buf_str(&r->parts));
}

static enum err fill(struct arena *a, const struct mime *m, struct row *r)
{
    TRY(fill_header(a, m, r));
    TRY(fill_preview(a, m, r));
    TRY(mime_render_envelope(mime_header(m, &m->parts[0]), &r->envelope));
    TRY(encode_parts(m, &r->parts));
    /* So many parts would not fit anyway; rendering them here would cost memory for nothing. */
    if (buf_ok(&r->parts)) {
        TRY(mime_render_body(m, true, &r->structure));
        TRY(mime_render_body(m, false, &r->body));
    } else {
        r->structure.failed = r->body.failed = true;
    }
    return ERR_OK;
}

enum err mime_cold_encode(struct arena *scratch, const struct mime *m, struct buf *out)
{
    /* What is always there: numbers, references, subject, keys and a preview, all with limits. */
    enum {
        FIXED = 200 + 8 * MIME_REFERENCES_MAX + MIME_BASE_SUBJECT_MAX + 5 * MIME_SORT_KEY_MAX +
                4 * MIME_PREVIEW_CHARS
    };
    assert(m->count);
    struct row r = {.flags = 0};
    row_init(&r);
    enum err e = fill(scratch, m, &r);
    size_t left = MIME_COLD_MAX - FIXED;
    keep_if(&r, &r.envelope, &left, MIME_COLD_NO_ENVELOPE);
    keep_if(&r, &r.parts, &left, MIME_COLD_NO_PARTS);
    keep_if(&r, &r.structure, &left, MIME_COLD_NO_STRUCTURE);
    keep_if(&r, &r.body, &left, MIME_COLD_NO_BODY);
    if (e == ERR_OK)
        write_row(&r, m, out);
    row_free(&r);
    return e;
}

static enum limit limit_of_name(str name)
{
    for (int l = 1; l < LIMITS_COUNT; l++)
        if (name.len && str_eq(limit_name((enum limit)l), name))
            return (enum limit)l;
    return LIMIT_NONE;
}

enum err mime_cold_decode(str row, struct mime_cold *out)
{
    struct reader r = reader_of(row);
    *out = (struct mime_cold){.flags = 0};
    uint8_t version = read_u8(&r);
    if (r.failed || version == 0)
        return ERR_CORRUPT;
    if (version > VERSION)
        return ERR_UNSUPPORTED;
    out->flags = (unsigned)read_varint(&r);
    out->limit = limit_of_name(read_sized(&r));
    out->sent_seconds = (int64_t)read_be64(&r);
    out->sent_zone_minutes = (int16_t)read_be16(&r);
    out->size = read_varint(&r);
    out->message_id_hash = read_be64(&r);
    uint64_t refs = read_varint(&r);
    if (refs > MIME_REFERENCES_MAX)
        return ERR_CORRUPT;
    out->references_count = (uint32_t)refs;
    out->references = read_bytes(&r, 8 * refs);
    str *const texts[] = {&out->base_subject, &out->from_mailbox, &out->to_mailbox,
                          &out->cc_mailbox,   &out->from_display, &out->to_display,
                          &out->preview,      &out->envelope,     &out->body,
                          &out->structure};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        *texts[i] = read_sized(&r);
    uint64_t parts = read_varint(&r);
    out->parts = read_sized(&r);
    if (r.failed || r.rest.len || parts > MIME_PARTS_MAX)
        return ERR_CORRUPT;
    out->parts_count = (uint32_t)parts;
    return ERR_OK;
}

uint64_t mime_cold_reference(const struct mime_cold *c, uint32_t i)
{
    assert(i < c->references_count);
    struct reader r = reader_of(str_skip(c->references, 8 * (size_t)i));
    return read_be64(&r);
}

struct mime_cold_iter mime_cold_iter_of(const struct mime_cold *c)
{
    return (struct mime_cold_iter){reader_of(c->parts), 0};
}

bool mime_cold_next(struct mime_cold_iter *it, struct mime_cold_part *p)
{
    struct reader *r = &it->rest;
    if (!r->rest.len)
        return false;
    uint64_t parent = read_varint(r);
    uint8_t kind = read_u8(r);
    *p = (struct mime_cold_part){.index = it->index, .parent = (uint32_t)(parent - 1)};
    p->kind = (enum mime_kind)(kind & 15);
    p->cte = (enum cte)(kind >> 4);
    p->header_offset = read_varint(r);
    p->header_size = read_varint(r);
    p->body_offset = p->header_offset + p->header_size;
    p->body_size = read_varint(r);
    p->type = read_sized(r);
    p->charset = read_sized(r);
    /* Parents come before their children. */
    bool placed = it->index == 0 ? parent == 0 : parent > 0 && parent <= it->index;
    if (r->failed || !placed || p->kind > MIME_MESSAGE || p->cte > CTE_UNKNOWN)
        return false;
    it->index++;
    return true;
}

static bool child_of(const struct mime_cold *c, uint32_t parent, uint32_t number,
                     struct mime_cold_part *part)
{
    struct mime_cold_iter it = mime_cold_iter_of(c);
    for (uint32_t seen = 0; mime_cold_next(&it, part);)
        if (part->parent == parent && ++seen == number)
            return true;
    return false;
}

bool mime_cold_inside(const struct mime_cold *c, const struct mime_cold_part *message,
                      struct mime_cold_part *inside)
{
    return message->kind == MIME_MESSAGE && child_of(c, message->index, 1, inside);
}

/* RFC 9051 6.4.5.1: in a multipart, number n is its n-th part; of anything else only 1 is there,
 * its body itself. A message part stands for the message inside. */
bool mime_cold_find(const struct mime_cold *c, const uint32_t *path, size_t depth,
                    struct mime_cold_part *part)
{
    if (!child_of(c, MIME_NO_PART, 1, part))
        return false;
    bool message = true; /* *part is a whole message: its body is numbered inside it */
    for (size_t i = 0; i < depth; i++) {
        if (part->kind == MIME_MESSAGE && !message) {
            if (!mime_cold_inside(c, part, part))
                return false;
            message = true;
        }
        if (part->kind == MIME_MULTIPART) {
            if (!child_of(c, part->index, path[i], part))
                return false;
        } else if (path[i] != 1 || !message) {
            return false;
        }
        message = false;
    }
    return true;
}

enum err mime_cold_parts_of(struct arena *a, const struct mime *m, struct mime_cold *c)
{
    BUF_AUTO struct buf parts = BUF_INIT(MIME_ARENA_MAX);
    TRY(encode_parts(m, &parts));
    if (!buf_ok(&parts) || !arena_dup(a, buf_str(&parts), &c->parts))
        return ERR_LIMIT;
    c->parts_count = (uint32_t)m->count;
    c->flags &= ~(unsigned)MIME_COLD_NO_PARTS;
    return ERR_OK;
}
