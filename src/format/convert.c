/* SPDX-License-Identifier: Apache-2.0
 *
 * The plan: the parts in their order, and for each stretch of the message a step that says whether
 * it goes as it is, from the arena (rewritten headers), or through a decoder and an encoder.
 */
#include "format/convert_private.h"

#include <assert.h>
#include <string.h>

#include "base/num.h"
#include "base/utf8.h"
#include "format/mime.h"

#define PIECE_IN 16384 /* bytes of input to a piece: each becomes at most three and soft breaks */
#define QP_SPACES 4096 /* white space in a row that the QP decoder may have to hold back */

struct convert_step {
    str bytes;
    bool code;         /* else they go as they are */
    enum cte from, to; /* of code; from: what they are in now */
    bool ends_message; /* of code: nothing follows that would end the last line */
};

struct plan {
    struct arena *arena;
    struct convert *c;
    struct convert_step *steps;
    struct mime mime;
    enum convert_to to;
    const char **refused;
    size_t at; /* what is before it has its steps */
};

static enum err refuse(struct plan *p, const char *why)
{
    *p->refused = why;
    return ERR_UNSUPPORTED;
}

/* ---- facts ---- */

struct convert_facts convert_look(str bytes)
{
    struct convert_facts f = {0};
    size_t line = 0;
    for (size_t i = 0; i < bytes.len; i++) {
        uint8_t c = (uint8_t)bytes.data[i];
        bool crlf = c == '\r' && i + 1 < bytes.len && bytes.data[i + 1] == '\n';
        if (crlf) {
            i++;
            line = 0;
            continue;
        }
        f.has_8bit |= c >= 0x80;
        f.raw |= c == 0 || c == '\r' || c == '\n';
        f.unsafe += c >= 0x7f || c == '=' || (c < ' ' && c != '\t');
        f.long_line |= ++line > CONVERT_LINE_MAX;
    }
    return f;
}

bool convert_lines_legal(str bytes)
{
    bool bare = bytes.len && memchr(bytes.data, 0, bytes.len);
    while (bytes.len && !bare) {
        str line;
        bool ended = str_cut(bytes, '\n', &line, &bytes);
        if (ended && !str_ends(line, STR("\r")))
            return false;
        line.len -= ended;
        bare = line.len > CONVERT_LINE_MAX || str_find_char(line, '\r') != STR_NPOS;
    }
    return !bare;
}

/* ---- steps ---- */

static enum err add_step(struct plan *p, struct convert_step step)
{
    struct convert *c = p->c;
    if (step.bytes.len == 0)
        return ERR_OK;
    if (c->count == c->cap) {
        size_t cap = c->cap ? c->cap * 2 : 16;
        struct convert_step *steps = ARENA_ARRAY(p->arena, struct convert_step, cap);
        if (!steps)
            return ERR_LIMIT;
        if (c->count)
            memcpy(steps, p->steps, c->count * sizeof(*steps));
        c->steps = p->steps = steps;
        c->cap = cap;
    }
    p->steps[c->count++] = step;
    return ERR_OK;
}

static enum err add_copy(struct plan *p, str bytes)
{
    return add_step(p, (struct convert_step){.bytes = bytes});
}

/* ---- between parts ---- */

static const char signed_part[] = "A signed part (multipart/signed) would have to be altered";
static const char bad_delimiter[] = "A line between its parts cannot be sent as it is";
static const char bad_structure[] = "Its MIME structure is broken";

/* One line of what no reader shows. A space begins each continuation, so that it is no delimiter.
 */
static enum err clean_line(struct plan *p, str line, struct buf *out)
{
    bool dashes = str_starts(line, STR("--"));
    size_t column = 0;
    while (dashes && line.len && memchr(" \t\r", line.data[line.len - 1], 3))
        line.len--;
    if (dashes && line.len > CONVERT_LINE_MAX)
        return refuse(p, bad_delimiter);
    for (size_t i = 0; i < line.len; i++) {
        char c = line.data[i];
        bool bad = c == 0 || ((uint8_t)c >= 0x80 && p->to == CONVERT_7BIT);
        if (bad && dashes)
            return refuse(p, bad_delimiter);
        if (column == CONVERT_LINE_MAX) {
            buf_add(out, STR("\r\n "));
            column = 1;
        }
        buf_add_char(out, bad ? '?' : c == '\r' ? ' ' : c);
        column++;
    }
    return ERR_OK;
}

/* Delimiters, preamble and epilogue (RFC 2046 5.1.1: to be ignored). */
static enum err add_gap(struct plan *p, size_t end)
{
    str gap = str_sub(p->mime.message, p->at, end - p->at);
    p->at = end;
    if (!convert_needed(convert_look(gap), p->to))
        return add_copy(p, gap);
    BUF_AUTO struct buf out = BUF_INIT(MIME_ARENA_MAX);
    while (gap.len) {
        str line;
        bool ended = str_cut(gap, '\n', &line, &gap);
        if (ended && str_ends(line, STR("\r")))
            line.len--;
        TRY(clean_line(p, line, &out));
        if (ended)
            buf_add(&out, STR("\r\n"));
    }
    str kept;
    if (!buf_ok(&out) || !arena_dup(p->arena, buf_str(&out), &kept))
        return ERR_LIMIT;
    return add_copy(p, kept);
}

/* ---- parts ---- */

static bool is_root(const struct plan *p, const struct mime_part *part)
{
    return part->parent == MIME_NO_PART || p->mime.parts[part->parent].kind == MIME_MESSAGE;
}

static enum err add_header(struct plan *p, const struct mime_part *part, str encoding, str type)
{
    str header = mime_header(&p->mime, part), out;
    p->at = part->body_offset;
    if (!encoding.data && !convert_needed(convert_look(header), p->to))
        return add_copy(p, header);
    struct convert_header how = {
        .to = p->to, .root = is_root(p, part), .encoding = encoding, .type = type};
    TRY(convert_header(p->arena, header, &how, &out, p->refused));
    return add_copy(p, out);
}

/* The label of what is not encoded, when the present one says more than is true by then. */
static str identity_label(const struct plan *p, const struct mime_part *part, bool has_8bit)
{
    if (!part->encoding.data || part->cte == CTE_7BIT)
        return STR_NONE;
    if (p->to == CONVERT_8BIT && (part->cte == CTE_8BIT || has_8bit))
        return part->cte == CTE_8BIT ? STR_NONE : cte_name(CTE_8BIT);
    return cte_name(p->to == CONVERT_8BIT && part->kind != MIME_LEAF ? CTE_8BIT : CTE_7BIT);
}

static bool is_type(const struct mime_part *part, const char *type, const char *subtype)
{
    return str_eq_nocase(part->type, str_c(type)) &&
           (!subtype || str_eq_nocase(part->subtype, str_c(subtype)));
}

static bool too_many_spaces(str body)
{
    size_t run = 0;
    for (size_t i = 0; i < body.len && run <= QP_SPACES; i++)
        run = body.data[i] == ' ' || body.data[i] == '\t' ? run + 1 : 0;
    return run > QP_SPACES;
}

/* RFC 2045 6.4: no encoding inside an encoding, and none on composite types; message/global and its
 * kind are the exception (RFC 6532 3.5). */
static enum err leaf_may_be_encoded(struct plan *p, const struct mime_part *part)
{
    bool coded = part->cte == CTE_BASE64 || part->cte == CTE_QP;
    if (part->cte == CTE_UNKNOWN && str_starts_nocase(part->encoding, STR("x-")))
        return refuse(p, "A part is in a private transfer encoding and cannot be sent as it is");
    if (str_starts_nocase(part->content_type, STR("multipart/")))
        return refuse(p, bad_structure);
    if (part->cte == CTE_QP && too_many_spaces(mime_body(&p->mime, part)))
        return refuse(p, bad_structure);
    if (!coded && is_type(part, "message", NULL) &&
        !str_starts_nocase(part->subtype, STR("global")))
        return refuse(p, "A part of type message/* may not be encoded and cannot be sent as it is");
    return ERR_OK;
}

/* Sizes with their line ends: 78 bytes for 57 in base64; QP as it comes. */
static enum cte choose(const struct mime_part *part, size_t bytes, size_t unsafe)
{
    if (part->cte == CTE_BASE64 || !is_type(part, "text", NULL))
        return CTE_BASE64;
    return bytes + 2 * unsafe <= bytes / 57 * 78 + 78 ? CTE_QP : CTE_BASE64;
}

static enum err add_leaf(struct plan *p, const struct mime_part *part)
{
    str body = mime_body(&p->mime, part), type = STR_NONE;
    struct convert_facts f = convert_look(body);
    bool coded = part->cte == CTE_BASE64 || part->cte == CTE_QP;
    p->at = part->body_offset;
    if (!convert_needed(f, p->to)) {
        TRY(add_header(p, part, coded ? STR_NONE : identity_label(p, part, f.has_8bit), type));
        p->at += body.len;
        return add_copy(p, body);
    }
    TRY(leaf_may_be_encoded(p, part));
    struct convert_step step = {.bytes = body,
                                .code = true,
                                .from = coded ? part->cte : CTE_BINARY,
                                .to = choose(part, body.len, f.unsafe),
                                .ends_message =
                                    part->body_offset + body.len == p->mime.message.len};
    if (!part->content_type.data && f.has_8bit && !coded) /* RFC 1428 3 */
        type = utf8_valid(body) ? STR("text/plain; charset=utf-8")
                                : STR("text/plain; charset=unknown-8bit");
    TRY(add_header(p, part, step.to == part->cte ? STR_NONE : cte_name(step.to), type));
    p->at += body.len;
    return add_step(p, step);
}

static void skip_inside(const struct plan *p, size_t end, uint32_t *i)
{
    while (*i + 1 < p->mime.count && p->mime.parts[*i + 1].header_offset < end)
        ++*i;
}

/* What is signed, and the signature: from the first part's header to the last one's end. */
static enum err add_signed(struct plan *p, const struct mime_part *part, uint32_t *i)
{
    const struct mime_part *child = &p->mime.parts[part->first_child];
    size_t begin = child->header_offset;
    TRY(add_header(p, part, STR_NONE, STR_NONE));
    TRY(add_gap(p, begin));
    while (child->next != MIME_NO_PART)
        child = &p->mime.parts[child->next];
    p->at = child->body_offset + child->body_size;
    str inside = str_sub(p->mime.message, begin, p->at - begin);
    if (convert_needed(convert_look(inside), p->to))
        return refuse(p, signed_part);
    skip_inside(p, p->at, i);
    return add_copy(p, inside);
}

static enum err add_part(struct plan *p, uint32_t *i)
{
    const struct mime_part *part = &p->mime.parts[*i];
    TRY(add_gap(p, part->header_offset));
    if (part->kind == MIME_LEAF)
        return add_leaf(p, part);
    if (is_type(part, "multipart", "signed"))
        return add_signed(p, part, i);
    if (is_type(part, "message", "global")) { /* RFC 6532 3.7: may be encoded as a whole */
        skip_inside(p, part->body_offset + part->body_size, i);
        return add_leaf(p, part);
    }
    return add_header(p, part, identity_label(p, part, true), STR_NONE);
}

enum err convert_plan(struct arena *a, str message, enum convert_to to, struct convert *c,
                      const char **refused)
{
    struct plan p = {.arena = a, .c = c, .to = to, .refused = refused};
    *c = (struct convert){0};
    *refused = NULL;
    TRY(mime_parse(a, message, &p.mime));
    if (p.mime.limit != LIMIT_NONE)
        return refuse(&p, "It has too many parts or fields, or they are nested too deep");
    for (uint32_t i = 0; i < p.mime.count; i++)
        TRY(add_part(&p, &i));
    return add_gap(&p, message.len);
}

/* ---- the result ---- */

static void code_piece(struct convert *c, const struct convert_step *s, str in, struct buf *out)
{
    BUF_AUTO struct buf plain = BUF_INIT(PIECE_IN + QP_SPACES + 8);
    if (!c->coding) {
        cte_decoder_init(&c->decoder, s->from);
        cte_encoder_init(&c->encoder, s->to);
        c->coding = true;
    }
    cte_decode(&c->decoder, in, &plain);
    bool last = c->at == s->bytes.len;
    if (last)
        cte_decode_end(&c->decoder, &plain);
    cte_encode(&c->encoder, buf_str(&plain), out);
    if (!last)
        return;
    cte_encode_end(&c->encoder, out);
    /* The line end that the transport will add is not the part's (RFC 2045 6.7 (5)). */
    if (s->ends_message && s->to == CTE_QP && !str_ends(buf_str(out), STR("\n")))
        buf_add(out, STR("=\r\n"));
}

bool convert_next(struct convert *c, struct buf *out)
{
    if (c->step == c->count)
        return false;
    const struct convert_step *s = &c->steps[c->step];
    str in = str_sub(s->bytes, c->at, PIECE_IN);
    c->at += in.len;
    if (s->code)
        code_piece(c, s, in, out);
    else
        buf_add(out, in);
    if (c->at == s->bytes.len) {
        c->step++;
        c->at = 0;
        c->coding = false;
    }
    return true;
}

uint64_t convert_size(const struct convert *c)
{
    struct convert copy = *c;
    uint64_t size = 0;
    BUF_AUTO struct buf piece = BUF_INIT(CONVERT_PIECE_MAX);
    while (convert_next(&copy, &piece)) {
        assert(buf_ok(&piece));
        size += piece.len;
        buf_reset(&piece);
    }
    return size;
}
