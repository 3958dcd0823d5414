/* SPDX-License-Identifier: Apache-2.0
 *
 * The scan. One position moves forward over the message. Parts that are open form a chain by
 * `parent`; multiparts whose delimiter may still come form a stack of boundaries. A delimiter line
 * is looked up by length and hash, so a line costs its length and at most MIME_DEPTH_MAX compares.
 */
#include "format/mime.h"

#include <assert.h>
#include <string.h>

#include "base/num.h"
#include "format/header.h"
#include "format/params.h"

struct boundary {
    uint64_t hash;
    uint32_t len;
    uint32_t part;
};

struct scan {
    struct arena *arena;
    struct arena field; /* parameters of one part; reset for each */
    struct mime *m;
    size_t cap;
    size_t pos;
    uint32_t open; /* innermost open part */
    struct boundary stack[MIME_DEPTH_MAX];
    size_t depth;     /* of stack */
    uint32_t longest; /* boundary in the stack, or longer */
    /* Line ends counted up to an offset; asked for in ascending order. */
    size_t counted;
    uint64_t lines;
    uint32_t *last_child; /* of each part, parallel to parts */
};

typedef uint8_t bytes16 __attribute__((vector_size(16)));

/* Sixteen bytes at a time: a compare gives -1 for each line end, summed before a byte overflows. */
static uint64_t count_lines(const char *p, size_t len)
{
    uint64_t n = 0;
    while (len >= 16) {
        bytes16 sum = {0};
        size_t blocks = MIN(len / 16, (size_t)255);
        for (size_t i = 0; i < blocks; i++) {
            bytes16 chunk;
            memcpy(&chunk, p + 16 * i, 16);
            sum -= (bytes16)(chunk == '\n');
        }
        for (size_t i = 0; i < 16; i++)
            n += sum[i];
        p += 16 * blocks;
        len -= 16 * blocks;
    }
    for (; len; len--)
        n += *p++ == '\n';
    return n;
}

static uint64_t lines_before(struct scan *s, size_t offset)
{
    assert(offset >= s->counted);
    s->lines += count_lines(s->m->message.data + s->counted, offset - s->counted);
    s->counted = offset;
    return s->lines;
}

static void reach_limit(struct scan *s, enum limit l)
{
    if (s->m->limit == LIMIT_NONE)
        s->m->limit = l;
}

static struct mime_part *part_at(struct scan *s, uint32_t i)
{
    assert(i < s->m->count);
    return &s->m->parts[i];
}

static enum err grow(struct scan *s)
{
    size_t cap = s->cap ? MIN(s->cap * 4, (size_t)MIME_PARTS_MAX) : 4;
    struct mime_part *parts = ARENA_ARRAY(s->arena, struct mime_part, cap);
    uint32_t *last = ARENA_ARRAY(s->arena, uint32_t, cap);
    if (!parts || !last)
        return ERR_LIMIT;
    if (s->m->count) {
        memcpy(parts, s->m->parts, s->m->count * sizeof(*parts));
        memcpy(last, s->last_child, s->m->count * sizeof(*last));
    }
    s->m->parts = parts;
    s->last_child = last;
    s->cap = cap;
    return ERR_OK;
}

/* Appends a part under the innermost open one and opens it. The caller has checked the limit. */
static enum err add_part(struct scan *s)
{
    struct mime *m = s->m;
    assert(m->count < MIME_PARTS_MAX);
    if (m->count == s->cap)
        TRY(grow(s));
    uint32_t i = (uint32_t)m->count++;
    m->parts[i] = (struct mime_part){.parent = s->open,
                                     .first_child = MIME_NO_PART,
                                     .next = MIME_NO_PART,
                                     .header_offset = s->pos};
    s->last_child[i] = MIME_NO_PART;
    if (s->open != MIME_NO_PART) {
        struct mime_part *parent = &m->parts[s->open];
        m->parts[i].depth = parent->depth + 1;
        if (parent->first_child == MIME_NO_PART)
            parent->first_child = i;
        else
            m->parts[s->last_child[s->open]].next = i;
        s->last_child[s->open] = i;
    }
    s->open = i;
    return ERR_OK;
}

/* A delimiter line (RFC 2046 5.1.1) at pos: which boundary, and whether it closes. */
static bool match_boundary(const struct scan *s, size_t pos, size_t *level, bool *closing)
{
    str line = str_skip(s->m->message, pos);
    if (!s->depth || !str_starts(line, STR("--")))
        return false;
    /* Transport padding may be long, the boundary not. */
    const char *nl = memchr(line.data, '\n', line.len);
    line = str_skip(str_head(line, nl ? (size_t)(nl - line.data) : line.len), 2);
    while (line.len && memchr(" \t\r", line.data[line.len - 1], 3))
        line.len--;
    if (line.len > s->longest + 2)
        return false;
    uint64_t hash = str_hash(line), hash_closed = 0;
    bool may_close = line.len > 2 && str_ends(line, STR("--"));
    if (may_close)
        hash_closed = str_hash(str_head(line, line.len - 2));
    for (size_t i = s->depth; i-- > 0;) {
        const struct boundary *b = &s->stack[i];
        *level = i;
        *closing = false;
        if (b->len == line.len && b->hash == hash)
            return true;
        *closing = true;
        if (may_close && b->len == line.len - 2 && b->hash == hash_closed)
            return true;
    }
    return false;
}

static void set_once(str *to, str value)
{
    value = str_trim(value);
    if (!to->data)
        *to = value.data ? value : STR("");
}

static void take_content_field(struct mime_part *p, const struct header_field *f)
{
    str what = str_skip(f->name, 8); /* behind "Content-" */
    if (str_eq_nocase(what, STR("Type")))
        set_once(&p->content_type, f->value);
    else if (str_eq_nocase(what, STR("Transfer-Encoding")))
        set_once(&p->encoding, f->value);
    else if (str_eq_nocase(what, STR("Disposition")))
        set_once(&p->disposition, f->value);
    else if (str_eq_nocase(what, STR("ID")))
        set_once(&p->id, f->value);
    else if (str_eq_nocase(what, STR("Description")))
        set_once(&p->description, f->value);
    else if (str_eq_nocase(what, STR("MD5")))
        set_once(&p->md5, f->value);
    else if (str_eq_nocase(what, STR("Language")))
        set_once(&p->language, f->value);
    else if (str_eq_nocase(what, STR("Location")))
        set_once(&p->location, f->value);
}

/* Reads the header at pos. It ends at an empty line, or without one at a delimiter or the end. */
static void take_header(struct scan *s, struct mime_part *p)
{
    str message = s->m->message;
    size_t count = 0, level, empty = 0;
    bool closing;
    uint64_t lines = lines_before(s, s->pos);
    while (s->pos < message.len) {
        empty = header_empty_line(message, s->pos);
        if (empty || match_boundary(s, s->pos, &level, &closing))
            break;
        struct header_field f;
        header_take_field(message, &s->pos, &f);
        if (++count > HEADER_FIELDS_MAX || f.offset - p->header_offset > HEADER_SIZE_MAX)
            reach_limit(s, count > HEADER_FIELDS_MAX ? LIMIT_HEADER_FIELDS_MAX
                                                     : LIMIT_HEADER_SIZE_MAX);
        else if (str_starts_nocase(f.name, STR("Content-")))
            take_content_field(p, &f);
    }
    s->pos += empty;
    p->header_size = s->pos - p->header_offset;
    p->body_offset = s->pos;
    p->header_lines = lines_before(s, s->pos) - lines;
    /* body_lines holds the count before the body until the part is closed. */
    p->body_lines = s->lines;
}

static bool is_token(str s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((uint8_t)s.data[i] <= ' ' || (uint8_t)s.data[i] >= 0x7f ||
            strchr("()<>@,;:\\\"/[]?=", s.data[i]))
            return false;
    return s.len > 0;
}

static void set_type(struct mime_part *p, str type, str subtype)
{
    p->type = type;
    p->subtype = subtype;
}

static bool is_multipart(const struct mime_part *p)
{
    return str_eq_nocase(p->type, STR("multipart"));
}

static bool is_message(const struct mime_part *p)
{
    return str_eq_nocase(p->type, STR("message")) &&
           (str_eq_nocase(p->subtype, STR("rfc822")) || str_eq_nocase(p->subtype, STR("global")));
}

/* RFC 2045 5.2: what is missing or broken is text/plain; inside multipart/digest, if it is missing,
 * message/rfc822 (RFC 2046 5.1.5). */
static enum err decide_type(struct scan *s, struct mime_part *p, struct param_value *v)
{
    *v = (struct param_value){.params.limit = LIMIT_NONE};
    const struct mime_part *parent = p->parent == MIME_NO_PART ? NULL : part_at(s, p->parent);
    set_type(p, STR("text"), STR("plain"));
    if (!p->content_type.data && parent && parent->kind == MIME_MULTIPART &&
        str_eq_nocase(parent->subtype, STR("digest")))
        set_type(p, STR("message"), STR("rfc822"));
    if (!p->content_type.data)
        return ERR_OK;
    arena_reset(&s->field);
    TRY(params_parse(&s->field, p->content_type, v));
    if (is_token(v->type) && is_token(v->subtype))
        set_type(p, v->type, v->subtype);
    return ERR_OK;
}

/* Puts the multipart's boundary on the stack; false: there is none that can be used. */
static bool push_boundary(struct scan *s, uint32_t part, const struct param_list *params)
{
    str b;
    if (!params_get_raw(params, STR("boundary"), &b)) {
        if (!params_get(&s->field, params, STR("boundary"), &b))
            return false;
    }
    while (b.len && memchr(" \t\r\n", b.data[b.len - 1], 4))
        b.len--;
    if (b.len > MIME_BOUNDARY_MAX)
        reach_limit(s, LIMIT_MIME_BOUNDARY_MAX);
    if (!b.len || b.len > MIME_BOUNDARY_MAX)
        return false;
    assert(s->depth < MIME_DEPTH_MAX);
    s->stack[s->depth++] = (struct boundary){str_hash(b), (uint32_t)b.len, part};
    s->longest = MAX(s->longest, (uint32_t)b.len);
    return true;
}

/* Decides what the part is, from its header. A message inside is still to be opened. */
static enum err classify(struct scan *s, struct mime_part *p)
{
    struct param_value v;
    TRY(decide_type(s, p, &v));
    p->cte = cte_find(params_token(p->encoding));
    bool nested = is_multipart(p) || is_message(p);
    if (!nested)
        return ERR_OK;
    if (p->depth + 1 >= MIME_DEPTH_MAX) {
        reach_limit(s, LIMIT_MIME_DEPTH_MAX);
        set_type(p, STR("application"), STR("octet-stream"));
    } else if (is_multipart(p)) {
        if (push_boundary(s, s->open, &v.params))
            p->kind = MIME_MULTIPART;
        else
            set_type(p, STR("text"), STR("plain"));
    } else if (s->m->count == MIME_PARTS_MAX) {
        reach_limit(s, LIMIT_MIME_PARTS_MAX);
        set_type(p, STR("application"), STR("octet-stream"));
    } else if (p->cte != CTE_BASE64 && p->cte != CTE_QP) {
        p->kind = MIME_MESSAGE;
    } else {
        /* RFC 2046 5.2.1 allows no encoding here: the inside cannot be shown by offsets. */
        set_type(p, STR("application"), STR("octet-stream"));
    }
    return ERR_OK;
}

/* Opens the part at pos, and the messages that begin where its header ends. */
static enum err begin_part(struct scan *s)
{
    struct mime_part *p;
    do {
        TRY(add_part(s));
        p = part_at(s, s->open);
        take_header(s, p);
        TRY(classify(s, p));
    } while (p->kind == MIME_MESSAGE);
    return ERR_OK;
}

static void close_part(struct scan *s, uint32_t i, size_t end)
{
    struct mime_part *p = part_at(s, i);
    /* A delimiter right behind the header: its line end is the header's. */
    end = MAX(end, p->body_offset);
    p->body_size = end - p->body_offset;
    uint64_t lines = end > s->counted ? lines_before(s, end) : s->lines;
    p->body_lines = lines - p->body_lines;
    if (p->kind == MIME_MULTIPART && p->first_child == MIME_NO_PART) {
        p->kind = MIME_LEAF;
        set_type(p, STR("text"), STR("plain"));
    }
    s->open = p->parent;
}

/* Offset before the line end in front of pos: it belongs to the delimiter (RFC 2046 5.1.1). */
static size_t before_line_end(str message, size_t pos)
{
    if (pos && message.data[pos - 1] == '\n')
        pos--;
    if (pos && message.data[pos] == '\n' && message.data[pos - 1] == '\r')
        pos--;
    return pos;
}

/* The delimiter line at pos ends all parts inside its multipart. */
static enum err take_delimiter(struct scan *s, size_t level, bool closing, bool *opaque)
{
    str message = s->m->message;
    uint32_t multipart = s->stack[level].part;
    if (!closing && s->m->count == MIME_PARTS_MAX) {
        reach_limit(s, LIMIT_MIME_PARTS_MAX);
        *opaque = true;
        return ERR_OK;
    }
    size_t end = before_line_end(message, s->pos);
    while (s->open != multipart)
        close_part(s, s->open, end);
    const char *nl = memchr(message.data + s->pos, '\n', message.len - s->pos);
    s->pos = nl ? (size_t)(nl - message.data) + 1 : message.len;
    s->depth = closing ? level : level + 1;
    return closing ? ERR_OK : begin_part(s);
}

static enum err scan_all(struct scan *s)
{
    str message = s->m->message;
    bool opaque = false;
    TRY(begin_part(s));
    while (s->depth && s->pos < message.len && !opaque) {
        size_t level;
        bool closing;
        if (match_boundary(s, s->pos, &level, &closing)) {
            TRY(take_delimiter(s, level, closing, &opaque));
            continue;
        }
        const char *nl = memchr(message.data + s->pos, '\n', message.len - s->pos);
        s->pos = nl ? (size_t)(nl - message.data) + 1 : message.len;
    }
    while (s->open != MIME_NO_PART)
        close_part(s, s->open, message.len);
    return ERR_OK;
}

enum err mime_parse(struct arena *a, str message, struct mime *m)
{
    *m = (struct mime){.message = message.len ? message : STR("")};
    struct scan s = {.arena = a, .field = ARENA_INIT(MIME_ARENA_MAX), .m = m, .open = MIME_NO_PART};
    enum err e = scan_all(&s);
    arena_free(&s.field);
    return e;
}
