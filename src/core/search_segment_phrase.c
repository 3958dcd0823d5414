/* SPDX-License-Identifier: Apache-2.0
 *
 * Phrases, by the positions of their tokens. All documents of a segment are one row of bits, a bit
 * for each position; the bits of a part, moved by one, meet those of the next.
 */
#include <string.h>

#include "core/search_segment_private.h"

#define RANGES_MAX 8 /* terms read each by itself; more: all at once */

struct phrase {
    const struct segment *s;
    const struct segment_source *source;
    struct buf tables;      /* places and offsets, then maybe all bytes */
    struct buf one;         /* the bytes of a term */
    struct buf found, next; /* bits */
    size_t words;           /* of 64 bits */
    uint8_t gap;            /* of the part; 0: any */
};

static uint32_t u32_of(const struct buf *b, size_t i)
{
    uint32_t n;
    memcpy(&n, b->data + i * sizeof n, sizeof n);
    return n;
}

static size_t places_count(const struct segment *s)
{
    return (size_t)s->docs * SEGMENT_CLASSES + 1;
}

static uint32_t place(const struct phrase *x, uint32_t doc, enum segment_class class)
{
    return u32_of(&x->tables, (size_t)doc * SEGMENT_CLASSES + class);
}

static size_t tables_bytes(const struct segment *s)
{
    return (places_count(s) + s->terms + 1) * sizeof(uint32_t);
}

/* The places ascend, so every position that is inside its document is inside the row. */
static enum err read_tables(struct phrase *x)
{
    const struct segment *s = x->s;
    size_t bytes = tables_bytes(s);
    if (bytes > s->positions_bytes)
        return ERR_CORRUPT;
    TRY(x->source->read(x->source->arg, s->positions_at, bytes, &x->tables));
    if (x->tables.len != bytes)
        return ERR_CORRUPT;
    for (size_t i = 1; i < places_count(s); i++)
        if (u32_of(&x->tables, i - 1) > u32_of(&x->tables, i))
            return ERR_CORRUPT;
    x->words = (size_t)u32_of(&x->tables, places_count(s) - 1) / 64 + 1;
    return x->words <= SEGMENT_POSITIONS_MAX / 64 ? ERR_OK : ERR_CORRUPT;
}

static bool clear_bits(const struct phrase *x, struct buf *bits)
{
    buf_reset(bits);
    char *to = buf_reserve(bits, x->words * sizeof(uint64_t));
    if (!to)
        return false;
    memset(to, 0, x->words * sizeof(uint64_t));
    buf_commit(bits, x->words * sizeof(uint64_t));
    return true;
}

/* ---- the bits of a part ---- */

static void set_doc(struct phrase *x, uint32_t doc, const uint8_t **at, const uint8_t *end)
{
    uint64_t *bits = (uint64_t *)x->next.data;
    uint64_t pos = place(x, doc, 0), limit = place(x, doc + 1, 0), step = 0;
    while (*at < end && !(step & 1)) {
        step = segment_varint(at, end);
        pos += step >> 2;
        uint8_t gap = ' ';
        if (step & 2)
            gap = *at < end ? *(*at)++ : SEGMENT_GAP_OTHER;
        if (pos < limit && (x->gap == 0 || x->gap == gap))
            bits[pos / 64] |= (uint64_t)1 << pos % 64;
    }
}

static enum err set_term(struct phrase *x, uint32_t term, bool all)
{
    size_t base = tables_bytes(x->s), size = x->s->positions_bytes - base;
    uint32_t from = u32_of(&x->tables, places_count(x->s) + term),
             to = u32_of(&x->tables, places_count(x->s) + term + 1);
    if (from > to || to > size)
        return ERR_CORRUPT;
    str bytes;
    if (all) {
        bytes = str_sub(buf_str(&x->tables), base + from, to - from);
    } else {
        buf_reset(&x->one);
        TRY(x->source->read(x->source->arg, x->s->positions_at + base + from, to - from, &x->one));
        bytes = buf_str(&x->one);
    }
    const uint8_t *at = (const uint8_t *)bytes.data, *end = at + bytes.len;
    struct segment_postings p = segment_postings_of(x->s, term);
    while (segment_postings_next(x->s, &p))
        set_doc(x, (uint32_t)p.doc, &at, end);
    return ERR_OK;
}

static enum err set_part(struct phrase *x, const struct segment_terms *terms, size_t part)
{
    size_t tables = tables_bytes(x->s), size = x->s->positions_bytes - tables;
    if (!clear_bits(x, &x->next))
        return ERR_NOMEM;
    uint32_t from = terms->begin[part], to = terms->begin[part + 1];
    if (to - from > RANGES_MAX && x->tables.len == tables)
        TRY(x->source->read(x->source->arg, x->s->positions_at + tables, size, &x->tables));
    if (x->tables.len != tables && x->tables.len != tables + size)
        return ERR_CORRUPT;
    for (uint32_t i = from; i < to; i++)
        TRY(set_term(x, u32_of(&terms->list, i), x->tables.len > tables));
    return ERR_OK;
}

/* ---- meeting ---- */

/* found, moved by one, and next. */
static void meet(struct phrase *x)
{
    uint64_t *found = (uint64_t *)x->found.data;
    const uint64_t *next = (const uint64_t *)x->next.data;
    uint64_t carry = 0;
    for (size_t i = 0; i < x->words; i++) {
        uint64_t moved = found[i] << 1 | carry;
        carry = found[i] >> 63;
        found[i] = moved & next[i];
    }
}

static bool any_between(const struct buf *bits, uint64_t from, uint64_t to)
{
    const uint64_t *words = (const uint64_t *)bits->data;
    for (uint64_t at = from; at < to; at = (at / 64 + 1) * 64) {
        uint64_t word = words[at / 64] >> at % 64;
        uint64_t n = to - at;
        if (n < 64)
            word &= ((uint64_t)1 << n) - 1;
        if (word)
            return true;
    }
    return false;
}

static void take_answers(const struct phrase *x, enum segment_class class, uint8_t *answers)
{
    for (uint32_t doc = 0; doc < x->s->docs; doc++) {
        if (!answers[doc])
            continue;
        bool any = class == SEGMENT_CLASSES;
        uint64_t from = place(x, doc, any ? 0 : class), to = 0;
        to = any || class + 1 == SEGMENT_CLASSES ? place(x, doc + 1, 0) : place(x, doc, class + 1);
        if (!any_between(&x->found, from, to))
            answers[doc] = 0;
    }
}

static enum err ask(struct phrase *x, const struct segment_plan *p,
                    const struct segment_terms *terms)
{
    TRY(read_tables(x));
    for (size_t i = 0; i < p->n; i++) {
        x->gap = i > 0 ? p->parts[i].gap : 0;
        TRY(set_part(x, terms, i));
        if (i > 0) {
            meet(x);
            continue;
        }
        struct buf held = x->found;
        x->found = x->next;
        x->next = held;
    }
    return ERR_OK;
}

enum err segment_ask_positions(const struct segment *s, const struct segment_plan *p,
                               const struct segment_terms *terms, enum segment_class class,
                               const struct segment_source *source, uint8_t *answers)
{
    struct phrase x = {.s = s, .source = source};
    struct buf *all[] = {&x.tables, &x.one, &x.found, &x.next};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        buf_init(all[i], SEGMENT_BLOB_MAX);
    enum err e = ask(&x, p, terms);
    if (e == ERR_OK)
        take_answers(&x, class, answers);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        buf_free(all[i]);
    return e;
}
