/* SPDX-License-Identifier: Apache-2.0
 *
 * The items of FETCH that show text: sections are ranges of the stored message, found in the cold
 * row and streamed from the blob; only HEADER.FIELDS and BINARY look at the bytes.
 */
#include <assert.h>

#include "base/log.h"
#include "base/num.h"
#include "format/header.h"
#include "proto/imap/fetch.h"

#define PIECE_MAX 65536               /* bytes between two looks at the output buffer */
#define PARSE_MAX ((size_t)256 << 20) /* a message parsed again as a whole */

/* ---- from the cold row ---- */

static void text_item(const char *name, str text, struct buf *out)
{
    buf_add_c(out, name);
    buf_add_char(out, ' ');
    buf_add(out, text);
}

void fetch_cold_item(const struct mime_cold *m, enum imap_fetch_kind kind, struct buf *out)
{
    switch (kind) {
    case IMAP_FETCH_ENVELOPE:
        text_item("ENVELOPE", m->envelope, out);
        break;
    case IMAP_FETCH_BODY:
        text_item("BODY", m->body, out);
        break;
    case IMAP_FETCH_BODYSTRUCTURE:
        text_item("BODYSTRUCTURE", m->structure, out);
        break;
    case IMAP_FETCH_PREVIEW:
    case IMAP_FETCH_PREVIEW_LAZY:
        buf_add(out, STR("PREVIEW "));
        imap_render_string(out, m->preview);
        break;
    default:
        assert(!"an item of the cold row");
    }
}

/* ---- sections to ranges ---- */

static struct fetch_range whole_header(const struct fetch_text *t, const struct mime_cold_part *p)
{
    uint64_t shift = message_content_offset(t->cold);
    if (p->parent == MIME_NO_PART) /* the message itself: our own trace fields come first */
        return (struct fetch_range){true, 0, shift + p->header_offset + p->header_size};
    return (struct fetch_range){true, shift + p->header_offset, p->header_size};
}

static struct fetch_range whole_body(const struct fetch_text *t, const struct mime_cold_part *p)
{
    return (struct fetch_range){true, message_content_offset(t->cold) + p->body_offset,
                                p->body_size};
}

struct fetch_range fetch_section_range(const struct fetch_text *t, const struct imap_section *s)
{
    struct mime_cold_part part, inside;
    if (s->nparts == 0 && s->kind == IMAP_SECTION_ALL)
        return (struct fetch_range){true, 0, message_size(t->cold)};
    if (!mime_cold_find(t->mime, s->parts, s->nparts, &part))
        return (struct fetch_range){0};
    switch (s->kind) {
    case IMAP_SECTION_ALL:
        return whole_body(t, &part);
    case IMAP_SECTION_MIME:
        return whole_header(t, &part);
    default:
        break;
    }
    inside = part;
    if (s->nparts > 0 && !mime_cold_inside(t->mime, &part, &inside))
        return (struct fetch_range){0}; /* HEADER and TEXT are of messages only */
    return s->kind == IMAP_SECTION_TEXT ? whole_body(t, &inside) : whole_header(t, &inside);
}

enum err fetch_header_fields(const struct fetch_text *t, const struct imap_section *s,
                             struct buf *out)
{
    struct fetch_range r = fetch_section_range(t, s);
    BUF_AUTO struct buf block = BUF_INIT(FETCH_HEADER_MAX);
    if (!r.exists)
        return ERR_NOT_FOUND;
    TRY(message_read(t->account, t->cold, r.offset, MIN(r.size, block.max), &block));
    if (!buf_ok(&block))
        return ERR_NOMEM;
    header_filter(out, buf_str(&block), s->fields, s->nfields,
                  s->kind == IMAP_SECTION_HEADER_FIELDS_NOT);
    return buf_ok(out) ? ERR_OK : ERR_LIMIT;
}

/* ---- streaming ---- */

static bool add_piece(void *arg, str piece)
{
    struct buf *out = arg;
    size_t before = out->len;
    buf_add(out, piece);
    imap_hide_nul(out, before);
    return true;
}

static void text_sent(struct fetch *f) WAITS
{
    struct buf *out = stream_out(f->x->stream);
    size_t before = out->len;
    stream_out_check(f->x->stream);
    f->row_whole = f->row_whole && out->len == before;
}

/* After a literal's length was sent its bytes must come: a failure can only end the connection. */
static void stream_range(struct fetch *f, const struct fetch_text *t, uint64_t offset, uint64_t n)
{
    struct stream *s = f->x->stream;
    for (uint64_t at = 0; at < n && stream_error(s) == ERR_OK; at += PIECE_MAX) {
        enum err e = message_pieces(t->account, t->cold, offset + at, MIN(n - at, PIECE_MAX),
                                    add_piece, stream_out(s));
        if (e == ERR_NOT_FOUND && f->row_whole) {
            f->row_gone = true;
            return;
        }
        if (e != ERR_OK) {
            LOG_ERROR("imap", "message unreadable account=%llu cause=%s",
                      (unsigned long long)account_id(t->account), err_name(e));
            stream_fail(s, e);
            return;
        }
        text_sent(f);
    }
}

static void literal_open(struct buf *out, uint64_t n)
{
    buf_add_char(out, '{');
    buf_add_u64(out, n);
    buf_add(out, STR("}\r\n"));
}

/* Cuts a range by <offset.count>. */
static void cut(const struct imap_section *s, uint64_t *offset, uint64_t *size)
{
    if (!s->partial)
        return;
    uint64_t skip = MIN(s->offset, *size);
    *offset += skip;
    *size = MIN(*size - skip, s->count);
}

static void section_name(const char *name, const struct imap_section *s, struct buf *out)
{
    buf_add_c(out, name);
    buf_add_char(out, '[');
    buf_add(out, s->text);
    buf_add_char(out, ']');
    if (s->partial) {
        buf_add_char(out, '<');
        buf_add_u64(out, s->offset);
        buf_add_char(out, '>');
    }
    buf_add_char(out, ' ');
}

static void section_fields(struct fetch *f, const struct fetch_text *t,
                           const struct imap_section *s, struct buf *out)
{
    BUF_AUTO struct buf fields = BUF_INIT(FETCH_FIELDS_MAX);
    enum err e = fetch_header_fields(t, s, &fields);
    if (e != ERR_OK) {
        buf_add(out, STR("NIL"));
        if (e != ERR_NOT_FOUND && f->err == ERR_OK)
            f->err = e;
        return;
    }
    uint64_t offset = 0, size = fields.len;
    cut(s, &offset, &size);
    literal_open(out, size);
    imap_hide_nul(&fields, 0);
    buf_add(out, str_sub(buf_str(&fields), offset, size));
}

static void body_section(struct fetch *f, const struct fetch_text *t, const struct imap_section *s,
                         struct buf *out)
{
    section_name("BODY", s, out);
    if (s->kind == IMAP_SECTION_HEADER_FIELDS || s->kind == IMAP_SECTION_HEADER_FIELDS_NOT) {
        section_fields(f, t, s, out);
        return;
    }
    struct fetch_range r = fetch_section_range(t, s);
    if (!r.exists) {
        buf_add(out, STR("NIL"));
        return;
    }
    cut(s, &r.offset, &r.size);
    literal_open(out, r.size);
    stream_range(f, t, r.offset, r.size);
}

/* RFC822, RFC822.HEADER, RFC822.TEXT: old names of sections. */
static void old_section(struct fetch *f, const struct fetch_text *t, enum imap_fetch_kind kind,
                        struct buf *out)
{
    struct imap_section s = {.kind = kind == IMAP_FETCH_RFC822_HEADER ? IMAP_SECTION_HEADER
                                     : kind == IMAP_FETCH_RFC822_TEXT ? IMAP_SECTION_TEXT
                                                                      : IMAP_SECTION_ALL};
    struct fetch_range r = fetch_section_range(t, &s);
    buf_add_c(out, kind == IMAP_FETCH_RFC822_HEADER ? "RFC822.HEADER "
                   : kind == IMAP_FETCH_RFC822_TEXT ? "RFC822.TEXT "
                                                    : "RFC822 ");
    literal_open(out, r.size);
    stream_range(f, t, r.offset, r.size);
}

/* ---- BINARY (RFC 3516) ---- */

struct decoding {
    struct cte_decoder decoder;
    struct buf decoded; /* of one piece */
    struct buf *out;    /* where the wanted part goes; NULL: only counted */
    uint64_t at, from, to;
    bool nul;
};

static void decoded_take(struct decoding *d)
{
    str s = buf_str(&d->decoded);
    uint64_t begin = d->at, end = d->at + s.len;
    d->nul = d->nul || str_find_char(s, '\0') != STR_NPOS;
    if (d->out && begin < d->to && end > d->from) {
        uint64_t a = MAX(begin, d->from), b = MIN(end, d->to);
        buf_add(d->out, str_sub(s, a - begin, b - a));
    }
    d->at = end;
    buf_reset(&d->decoded);
}

static bool decode_piece(void *arg, str piece)
{
    struct decoding *d = arg;
    cte_decode(&d->decoder, piece, &d->decoded);
    decoded_take(d);
    return buf_ok(&d->decoded);
}

/* Decodes a range; with out, writes what lies in [from, to). */
static enum err decode_range(struct fetch *f, const struct fetch_text *t, enum cte cte,
                             struct fetch_range r, struct decoding *d)
{
    enum err e = ERR_OK;
    cte_decoder_init(&d->decoder, cte);
    buf_init(&d->decoded, 4 * PIECE_MAX);
    for (uint64_t at = 0; at < r.size && e == ERR_OK; at += PIECE_MAX) {
        e = message_pieces(t->account, t->cold, r.offset + at, MIN(r.size - at, PIECE_MAX),
                           decode_piece, d);
        if (d->out)
            text_sent(f);
    }
    cte_decode_end(&d->decoder, &d->decoded);
    decoded_take(d);
    buf_free(&d->decoded);
    return e;
}

/* The part's range and encoding. False: it is not there, or is no leaf. */
static bool binary_part(const struct fetch_text *t, const struct imap_section *s,
                        struct fetch_range *r, enum cte *cte)
{
    struct mime_cold_part part;
    *cte = CTE_BINARY;
    if (s->nparts == 0) {
        *r = (struct fetch_range){true, 0, message_size(t->cold)};
        return true;
    }
    if (!mime_cold_find(t->mime, s->parts, s->nparts, &part))
        return false;
    *r = whole_body(t, &part);
    *cte = part.cte;
    return true;
}

/* ERR_UNKNOWN_CTE ends the command with NO (RFC 3516 4.3). */
static enum err binary_section(struct fetch *f, const struct fetch_text *t,
                               const struct imap_fetch_item *item, struct buf *out)
{
    struct fetch_range r;
    enum cte cte;
    struct decoding count = {0};
    const struct imap_section *s = &item->section;
    bool size_only = item->kind == IMAP_FETCH_BINARY_SIZE;
    section_name(size_only ? "BINARY.SIZE" : "BINARY", s, out);
    if (!binary_part(t, s, &r, &cte)) {
        buf_add(out, size_only ? STR("0") : STR("NIL"));
        return ERR_OK;
    }
    if (cte == CTE_UNKNOWN) {
        buf_add(out, size_only ? STR("0") : STR("NIL"));
        return ERR_UNKNOWN_CTE;
    }
    TRY(decode_range(f, t, cte, r, &count));
    if (size_only) {
        buf_add_u64(out, count.at);
        return ERR_OK;
    }
    struct decoding send = {.out = stream_out(f->x->stream), .to = count.at};
    uint64_t offset = 0, size = count.at;
    cut(s, &offset, &size);
    send.from = offset;
    send.to = offset + size;
    if (count.nul)
        buf_add_char(out, '~'); /* literal8 */
    literal_open(out, size);
    enum err e = decode_range(f, t, cte, r, &send);
    if (e != ERR_OK)
        stream_fail(f->x->stream, e);
    return ERR_OK;
}

/* ---- one message ---- */

static void one_item(struct fetch *f, const struct fetch_text *t, const struct imap_gathered *g,
                     const struct imap_fetch_item *item)
{
    struct buf *out = imap_out(f->x);
    enum err e;
    switch (item->kind) {
    case IMAP_FETCH_BODY_SECTION:
    case IMAP_FETCH_BODY_PEEK:
        body_section(f, t, &item->section, out);
        break;
    case IMAP_FETCH_RFC822:
    case IMAP_FETCH_RFC822_HEADER:
    case IMAP_FETCH_RFC822_TEXT:
        old_section(f, t, item->kind, out);
        break;
    case IMAP_FETCH_BINARY:
    case IMAP_FETCH_BINARY_PEEK:
    case IMAP_FETCH_BINARY_SIZE:
        e = binary_section(f, t, item, out);
        if (e != ERR_OK && f->err == ERR_OK)
            f->err = e;
        break;
    case IMAP_FETCH_ENVELOPE:
    case IMAP_FETCH_BODY:
    case IMAP_FETCH_BODYSTRUCTURE:
    case IMAP_FETCH_PREVIEW:
    case IMAP_FETCH_PREVIEW_LAZY:
        fetch_cold_item(t->mime, item->kind, out);
        break;
    default:
        fetch_row_item(f, g, item->kind, out);
    }
}

/* What the cold row had no room for is made from the text again. */
static enum err complete(struct fetch *f, struct fetch_text *t, struct mime_cold *m,
                         struct buf *text)
{
    struct mime parsed;
    unsigned missing = m->flags & (f->sections_needed | MIME_COLD_NO_PARTS);
    if (!missing)
        return ERR_OK;
    TRY(message_read(t->account, t->cold, message_content_offset(t->cold), t->cold->content_len,
                     text));
    if (!buf_ok(text))
        return ERR_NOMEM;
    TRY(mime_parse(t->scratch, buf_str(text), &parsed));
    if (missing & MIME_COLD_NO_PARTS)
        TRY(mime_cold_parts_of(t->scratch, &parsed, m));
    BUF_AUTO struct buf rendered = BUF_INIT(MIME_ARENA_MAX);
    if (missing & MIME_COLD_NO_ENVELOPE) {
        TRY(mime_render_envelope(mime_header(&parsed, &parsed.parts[0]), &rendered));
        if (!arena_dup(t->scratch, buf_str(&rendered), &m->envelope))
            return ERR_LIMIT;
    }
    for (int extended = 0; extended < 2; extended++) {
        if (!(missing & (extended ? MIME_COLD_NO_STRUCTURE : MIME_COLD_NO_BODY)))
            continue;
        buf_reset(&rendered);
        TRY(mime_render_body(&parsed, extended, &rendered));
        if (!arena_dup(t->scratch, buf_str(&rendered), extended ? &m->structure : &m->body))
            return ERR_LIMIT;
    }
    return ERR_OK;
}

static enum err structure(struct fetch *f, struct fetch_text *t, struct mime_cold *m)
{
    BUF_AUTO struct buf text = BUF_INIT(PARSE_MAX);
    if (!f->needs_mime)
        return ERR_OK;
    TRY(mime_cold_decode(t->cold->mime, m));
    return complete(f, t, m, &text);
}

void fetch_one(struct fetch *f, const struct imap_gathered *g, const struct message_cold *cold)
{
    struct mime_cold mime = {0};
    ARENA_AUTO struct arena scratch = ARENA_INIT(4 * (size_t)MIME_ARENA_MAX);
    struct fetch_text t = {
        .account = f->x->selected->account, .cold = cold, .mime = &mime, .scratch = &scratch};
    enum err e = structure(f, &t, &mime);
    if (e != ERR_OK) {
        if (e != ERR_NOT_FOUND && f->err == ERR_OK) /* not found: expunged a moment ago */
            f->err = e;
        return;
    }
    f->row_at = imap_out(f->x)->len;
    f->row_whole = true;
    f->row_gone = false;
    imap_fetch_open(f->x, g->seq, g->row.uid, imap_out(f->x));
    for (size_t k = 0; k < f->nitems && !f->row_gone; k++) {
        if (k > 0)
            buf_add_char(imap_out(f->x), ' ');
        one_item(f, &t, g, &f->items[k]);
    }
    if (f->row_gone)
        buf_truncate(imap_out(f->x), f->row_at);
    else
        fetch_finish_item(f, g, imap_out(f->x));
}
