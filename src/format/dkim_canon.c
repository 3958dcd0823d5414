/* SPDX-License-Identifier: Apache-2.0
 *
 * What DKIM hashes: canonical body (streaming) and header fields.
 */
#include <assert.h>
#include <string.h>

#include "base/num.h"
#include "format/dkim_syntax.h"
#include "format/header.h"

static bool is_wsp(char c) { return c == ' ' || c == '\t'; }

static void body_emit(struct dkim_body *b, const char *data, size_t len)
{
    uint64_t room = b->total < b->limit ? b->limit - b->total : 0;
    b->total += len;
    if (room)
        b->sink(b->context, str_of(data, (size_t)MIN((uint64_t)len, room)));
}

/* Line ends and space that were held back turn out to be inside the body. */
static void body_flush(struct dkim_body *b)
{
    static const char ends[] = "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n";
    while (b->crlfs) {
        uint64_t n = MIN(b->crlfs, (sizeof(ends) - 1) / 2);
        body_emit(b, ends, (size_t)n * 2);
        b->crlfs -= n;
    }
    if (b->space)
        body_emit(b, " ", 1);
    b->space = false;
    b->any = true;
}

static void body_content(struct dkim_body *b, const char *data, size_t len)
{
    body_flush(b);
    body_emit(b, data, len);
}

/* How far content goes from p without a byte that needs thought. In relaxed form a single SP inside
 * a line goes through. */
static const char *body_run(const struct dkim_body *b, const char *p, const char *end)
{
    const char *cr = memchr(p, '\r', (size_t)(end - p));
    const char *stop = cr ? cr : end;
    if (b->canon == DKIM_SIMPLE)
        return stop;
    for (; p < stop; p++)
        if (is_wsp(*p) && (*p == '\t' || p + 1 >= stop || is_wsp(p[1])))
            return p;
    return stop;
}

void dkim_body_add(struct dkim_body *b, str in)
{
    assert(b->sink);
    if (!in.len)
        return;
    const char *p = in.data, *end = p + in.len;
    while (p < end) {
        if (b->cr) {
            b->cr = false;
            if (*p == '\n') {
                b->space = false; /* white space at the line end goes (RFC 6376 3.4.4) */
                b->crlfs++;
                p++;
                continue;
            }
            body_content(b, "\r", 1);
            continue;
        }
        if (*p == '\r') {
            b->cr = true;
            p++;
            continue;
        }
        if (b->canon == DKIM_RELAXED && is_wsp(*p)) {
            b->space = true;
            p++;
            continue;
        }
        const char *stop = body_run(b, p, end);
        body_content(b, p, (size_t)(stop - p));
        p = stop;
    }
}

void dkim_body_end(struct dkim_body *b)
{
    if (b->cr)
        body_content(b, "\r", 1);
    b->cr = b->space = false;
    b->crlfs = 0;
    /* RFC 6376 3.4.3: an empty body is one CRLF; 3.4.4: relaxed leaves it empty. */
    if (b->any || b->canon == DKIM_SIMPLE)
        body_emit(b, "\r\n", 2);
}

static str without_line_end(str s)
{
    if (str_ends(s, STR("\n")))
        s.len--;
    if (str_ends(s, STR("\r")))
        s.len--;
    return s;
}

static bool is_fold(char c) { return is_wsp(c) || c == '\r' || c == '\n'; }

/* RFC 6376 3.4.2, in pieces. */
static void field_relaxed(str field, dkim_sink_fn *sink, void *context)
{
    str name, value;
    str_cut(field, ':', &name, &value);
    name = str_trim(name);
    char lower[64];
    for (size_t i = 0; i < name.len;) {
        size_t n = 0;
        for (; i < name.len && n < sizeof(lower); i++)
            lower[n++] = char_lower(name.data[i]);
        sink(context, str_of(lower, n));
    }
    sink(context, STR(":"));
    value = str_trim(value);
    for (size_t i = 0; i < value.len;) {
        size_t begin = i;
        while (i < value.len && !is_fold(value.data[i]))
            i++;
        sink(context, str_sub(value, begin, i - begin));
        if (i < value.len)
            sink(context, STR(" "));
        while (i < value.len && is_fold(value.data[i]))
            i++;
    }
}

void dkim_field_canon(enum dkim_canon canon, str field, bool crlf, dkim_sink_fn *sink,
                      void *context)
{
    field = without_line_end(field);
    if (canon == DKIM_RELAXED)
        field_relaxed(field, sink, context);
    else
        sink(context, field);
    if (crlf)
        sink(context, STR("\r\n"));
}

/* The slot of a name: of its own, or empty. The table is at most half full. */
static size_t slot_of(const struct dkim_fields *f, str name)
{
    size_t i = str_hash_nocase(name) & (f->nslots - 1);
    while (f->slots[i] && !str_eq_nocase(f->fields[f->slots[i] - 1].name, name))
        i = (i + 1) & (f->nslots - 1);
    return i;
}

enum err dkim_fields_of(struct arena *a, str header, struct dkim_fields *out)
{
    struct header_iter it = header_iter_of(header);
    struct header_field field;
    size_t n = 0;
    *out = (struct dkim_fields){.nslots = 16};
    while (header_next(&it, &field))
        n++;
    while (out->nslots < 2 * n + 2)
        out->nslots *= 2;
    out->fields = ARENA_ARRAY(a, struct dkim_field, n + 1);
    out->slots = ARENA_ARRAY(a, uint32_t, out->nslots);
    if (!out->fields || !out->slots)
        return ERR_NOMEM;
    it = header_iter_of(header);
    while (header_next(&it, &field)) {
        size_t slot = slot_of(out, field.name);
        out->fields[out->count] = (struct dkim_field){
            .name = field.name,
            .value = field.value,
            .raw = str_sub(header, field.offset, field.size),
            .prev = out->slots[slot],
        };
        out->slots[slot] = (uint32_t)++out->count;
    }
    return ERR_OK;
}

/* Above the one at `next` (index + 1), skipping the signature itself. */
static uint32_t skip_own(const struct dkim_fields *f, uint32_t next, str own)
{
    while (next && f->fields[next - 1].raw.data == own.data)
        next = f->fields[next - 1].prev;
    return next;
}

enum err dkim_hash_header(struct arena *a, const struct dkim_fields *fields,
                          const struct dkim_signature *sig, str own, dkim_sink_fn *sink,
                          void *context)
{
    /* Where each name's next field is: from the bottom up. */
    uint32_t *next = ARENA_ARRAY(a, uint32_t, fields->nslots);
    if (!next)
        return ERR_NOMEM;
    memcpy(next, fields->slots, fields->nslots * sizeof(*next));
    for (size_t i = 0; i < sig->nheaders; i++) {
        size_t slot = slot_of(fields, sig->headers[i]);
        uint32_t index = skip_own(fields, next[slot], own);
        if (!index)
            continue; /* a name without a field is the empty string: it forbids adding one */
        dkim_field_canon(sig->header_canon, fields->fields[index - 1].raw, true, sink, context);
        next[slot] = fields->fields[index - 1].prev;
    }
    return dkim_hash_own(a, sig, sig->header_canon, own, sink, context);
}

enum err dkim_hash_own(struct arena *a, const struct dkim_signature *sig, enum dkim_canon canon,
                       str own, dkim_sink_fn *sink, void *context)
{
    str field = without_line_end(own), b = sig->b_raw;
    assert(b.data >= own.data && b.data + b.len <= own.data + own.len);
    size_t before = (size_t)(b.data - own.data);
    size_t after = MIN(before + b.len, field.len);
    before = MIN(before, field.len);
    char *copy = arena_alloc(a, field.len + 1);
    if (!copy)
        return ERR_NOMEM;
    if (before)
        memcpy(copy, field.data, before);
    if (field.len > after)
        memcpy(copy + before, field.data + after, field.len - after);
    dkim_field_canon(canon, str_of(copy, before + field.len - after), false, sink, context);
    return ERR_OK;
}
