/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/num.h"
#include "core/search_segment_private.h"

#define BUILD_MAX ((size_t)1 << 30)
#define BLOCK_BYTES 65536
#define ZSTD_LEVEL 1

/* Bytes of a term, in slices of one pool: each begins with the place of the next. */
struct chain {
    uint32_t first, slice, at; /* at: where the next byte goes */
    uint16_t size, left;       /* of the last slice */
};
#define CHAIN_LINK sizeof(uint32_t)
#define CHAIN_FIRST 8
#define CHAIN_MOST 1024

struct term {
    uint32_t at, len; /* in names */
    uint32_t hash;
    uint32_t count;           /* documents that have it */
    uint32_t doc, doc_before; /* the last, which is not written yet, and the one before */
    uint8_t fields, fields_before;
    uint8_t gap;              /* before the last position */
    uint32_t pos, pos_before; /* the last, which is not written yet, and the one before */
    struct chain postings, positions;
};
struct place {
    struct search_record record;
    enum segment_class class;
};
struct segment_builder {
    struct arena arena;
    struct buf ids, texts, names, terms, table; /* table: u32, place of a term + 1 */
    struct buf pool;                            /* of the chains */
    struct buf places;                          /* u32: where classes begin */
    struct buf records;                         /* struct place: of a message */
    struct buf block, blocks, packed;           /* the block being filled */
    size_t text_bytes;
    uint32_t docs, nterms, table_mask, nblocks;
    uint32_t base, pos; /* the first of the document; the next */
    bool failed;
};

static void put_u32(struct buf *b, uint32_t n) { buf_add(b, str_of(&n, sizeof n)); }

static uint32_t *slots(struct segment_builder *b) { return (uint32_t *)b->table.data; }
static struct term *terms(struct segment_builder *b) { return (struct term *)b->terms.data; }

static bool make_table(struct segment_builder *b, uint32_t size)
{
    buf_reset(&b->table);
    char *to = buf_reserve(&b->table, (size_t)size * sizeof(uint32_t));
    if (!to)
        return false;
    memset(to, 0, (size_t)size * sizeof(uint32_t));
    buf_commit(&b->table, (size_t)size * sizeof(uint32_t));
    b->table_mask = size - 1;
    for (uint32_t i = 0; i < b->nterms; i++) {
        uint32_t at = terms(b)[i].hash & b->table_mask;
        while (slots(b)[at])
            at = (at + 1) & b->table_mask;
        slots(b)[at] = i + 1;
    }
    return true;
}

struct segment_builder *segment_builder_open(void)
{
    struct arena arena = ARENA_INIT(4096);
    struct segment_builder *b = ARENA_NEW(&arena, struct segment_builder);
    if (!b)
        return NULL;
    b->arena = arena;
    struct buf *all[] = {&b->ids,    &b->texts,   &b->names, &b->terms,  &b->table, &b->pool,
                         &b->places, &b->records, &b->block, &b->blocks, &b->packed};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        buf_init(all[i], BUILD_MAX);
    b->failed = !make_table(b, 4096);
    return b;
}

void segment_builder_close(struct segment_builder *b)
{
    if (!b)
        return;
    struct buf *all[] = {&b->ids,    &b->texts,   &b->names, &b->terms,  &b->table, &b->pool,
                         &b->places, &b->records, &b->block, &b->blocks, &b->packed};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        buf_free(all[i]);
    struct arena arena = b->arena;
    arena_free(&arena);
}

size_t segment_text_bytes(const struct segment_builder *b) { return b->text_bytes; }

/* ---- chains ---- */

static bool chain_grow(struct segment_builder *b, struct chain *c)
{
    uint16_t size = c->size == 0 ? CHAIN_FIRST : MIN(c->size * 2, CHAIN_MOST);
    uint32_t at = (uint32_t)b->pool.len;
    char *to = buf_reserve(&b->pool, size);
    if (!to)
        return false;
    memset(to, 0, size);
    buf_commit(&b->pool, size);
    if (c->size == 0)
        c->first = at;
    else
        memcpy(b->pool.data + c->slice, &at, CHAIN_LINK);
    c->slice = at;
    c->at = at + CHAIN_LINK;
    c->size = size;
    c->left = size - CHAIN_LINK;
    return true;
}

static void chain_byte(struct segment_builder *b, struct chain *c, uint8_t byte)
{
    if (c->left == 0 && !chain_grow(b, c)) {
        b->failed = true;
        return;
    }
    b->pool.data[c->at++] = (char)byte;
    c->left--;
}

static void chain_varint(struct segment_builder *b, struct chain *c, uint64_t n)
{
    for (; n >= 0x80; n >>= 7)
        chain_byte(b, c, (uint8_t)n | 0x80);
    chain_byte(b, c, (uint8_t)n);
}

static void chain_write(const struct segment_builder *b, const struct chain *c, struct buf *out)
{
    uint32_t slice = c->first;
    for (uint16_t size = CHAIN_FIRST; c->size; size = MIN(size * 2, CHAIN_MOST)) {
        bool last = slice == c->slice;
        size_t n = last ? (size_t)c->size - CHAIN_LINK - c->left : size - CHAIN_LINK;
        buf_add(out, str_of(b->pool.data + slice + CHAIN_LINK, n));
        if (last)
            return;
        memcpy(&slice, b->pool.data + slice, CHAIN_LINK);
    }
}

/* ---- terms ---- */

static uint32_t find_term(struct segment_builder *b, str text)
{
    uint32_t hash = (uint32_t)str_hash(text), at = hash & b->table_mask;
    for (; slots(b)[at]; at = (at + 1) & b->table_mask) {
        const struct term *t = &terms(b)[slots(b)[at] - 1];
        if (t->hash == hash && t->len == text.len &&
            memcmp(b->names.data + t->at, text.data, text.len) == 0)
            return slots(b)[at] - 1;
    }
    struct term t = {.at = (uint32_t)b->names.len, .len = (uint32_t)text.len, .hash = hash};
    slots(b)[at] = ++b->nterms;
    buf_add(&b->names, text);
    buf_add(&b->terms, str_of(&t, sizeof t));
    if (!buf_ok(&b->names) || !buf_ok(&b->terms) ||
        (b->nterms > b->table_mask / 2 && !make_table(b, (b->table_mask + 1) * 2)))
        b->failed = true;
    return b->nterms - 1;
}

static void write_position(struct segment_builder *b, struct term *t, bool last)
{
    bool gap = t->gap != ' ';
    chain_varint(b, &t->positions, (uint64_t)(t->pos - t->pos_before) << 2 | gap << 1 | last);
    if (gap)
        chain_byte(b, &t->positions, t->gap);
    t->pos_before = t->pos;
}

/* The document that has been the last of the term is complete. */
static void end_entry(struct segment_builder *b, struct term *t)
{
    bool same = t->count > 1 && t->fields == t->fields_before;
    chain_varint(b, &t->postings, (uint64_t)(t->doc - t->doc_before) << 1 | same);
    if (!same)
        chain_byte(b, &t->postings, t->fields);
    t->doc_before = t->doc;
    t->fields_before = t->fields;
    write_position(b, t, true);
}

/* The next position. */
static void add_term(struct segment_builder *b, str text, uint8_t fields, uint8_t gap)
{
    uint32_t i = b->failed ? 0 : find_term(b, text);
    if (b->failed)
        return;
    struct term *t = &terms(b)[i];
    if (t->count && t->doc == b->docs) {
        write_position(b, t, false);
        t->fields |= fields;
    } else {
        if (t->count)
            end_entry(b, t);
        t->count++;
        t->doc = b->docs;
        t->fields = fields;
        t->pos_before = b->base;
    }
    t->gap = gap;
    t->pos = b->pos++;
}

static void add_token(struct segment_builder *b, const struct search_token *t, uint8_t fields,
                      uint8_t gap)
{
    str s = t->text;
    if (t->chars) { /* each two neighbours; one alone by itself */
        size_t first = segment_character(s);
        if (first == s.len)
            add_term(b, s, fields, gap);
        for (size_t second; first < s.len; first = second) {
            second = segment_character(str_skip(s, first));
            add_term(b, str_head(s, first + second), fields, gap);
            s = str_skip(s, first);
            gap = SEGMENT_GAP_NONE;
        }
        return;
    }
    /* Overlapping pieces: any SEGMENT_NEEDLE_MAX bytes lie inside one of them. */
    while (s.len > SEGMENT_WORD_MAX) {
        add_term(b, str_head(s, SEGMENT_WORD_MAX), fields, gap);
        s = str_skip(s, SEGMENT_WORD_MAX / 2);
        gap = SEGMENT_GAP_OTHER;
    }
    add_term(b, s, fields, gap);
}

/* ---- messages ---- */

static uint8_t field_of(const struct search_record *r)
{
    if (r->kind == SEARCH_RECORD_BODY)
        return SEGMENT_BODY;
    if (r->kind == SEARCH_RECORD_PART)
        return SEGMENT_META;
    return segment_field_of_name(r->name);
}

static enum segment_class class_of(const struct search_record *r)
{
    switch (field_of(r)) {
    case SEGMENT_SUBJECT:
        return SEGMENT_CLASS_SUBJECT;
    case SEGMENT_FROM:
        return SEGMENT_CLASS_FROM;
    case SEGMENT_TO:
        return SEGMENT_CLASS_TO;
    case SEGMENT_CC:
        return SEGMENT_CLASS_CC;
    case SEGMENT_BCC:
        return SEGMENT_CLASS_BCC;
    case SEGMENT_BODY:
        return SEGMENT_CLASS_BODY;
    default:
        return SEGMENT_CLASS_OTHER;
    }
}

static void add_record(struct segment_builder *b, const struct search_record *r)
{
    struct search_token t;
    uint8_t field = field_of(r);
    str rest = r->text;
    const char *before = NULL; /* the end of the token before */
    while (search_token_next(&rest, &t)) {
        uint8_t gap = before ? segment_gap_of(str_of(before, (size_t)(t.text.data - before)))
                             : SEGMENT_GAP_OTHER;
        add_token(b, &t, t.text.data < r->value.data ? SEGMENT_META : field, gap);
        before = rest.data;
    }
}

static void add_text(struct segment_builder *b, str text)
{
    struct place p;
    buf_reset(&b->records);
    for (str rest = text; search_record_next(&rest, &p.record);) {
        p.class = class_of(&p.record);
        buf_add(&b->records, str_of(&p, sizeof p));
    }
    b->failed = b->failed || !buf_ok(&b->records);
    const struct place *places = (const struct place *)b->records.data;
    for (enum segment_class c = 0; c < SEGMENT_CLASSES; c++) {
        put_u32(&b->places, b->pos);
        for (size_t i = 0; i < b->records.len / sizeof p; i++)
            if (places[i].class == c)
                add_record(b, &places[i].record);
    }
}

static void end_block(struct segment_builder *b)
{
    if (!b->block.len)
        return;
    size_t max = ZSTD_compressBound(b->block.len);
    char *to = buf_reserve(&b->packed, max);
    if (!to) {
        b->failed = true;
        return;
    }
    size_t n = ZSTD_compress(to, max, b->block.data, b->block.len, ZSTD_LEVEL);
    if (ZSTD_isError(n)) {
        b->failed = true;
        return;
    }
    put_u32(&b->blocks, (uint32_t)b->packed.len);
    put_u32(&b->blocks, (uint32_t)n);
    put_u32(&b->blocks, (uint32_t)b->block.len);
    buf_commit(&b->packed, n);
    buf_reset(&b->block);
    b->nblocks++;
}

void segment_add(struct segment_builder *b, uint64_t id, str text, bool too_big)
{
    buf_add(&b->ids, str_of(&id, sizeof id));
    put_u32(&b->texts, too_big ? SEGMENT_NO_BLOCK : b->nblocks);
    put_u32(&b->texts, (uint32_t)b->block.len);
    put_u32(&b->texts, too_big ? 0 : (uint32_t)text.len);
    b->base = b->pos;
    add_text(b, too_big ? STR_NONE : text);
    if (!too_big) {
        buf_add(&b->block, text);
        b->text_bytes += text.len;
        if (b->block.len >= BLOCK_BYTES)
            end_block(b);
    }
    b->docs++;
    b->failed = b->failed || !buf_ok(&b->ids) || !buf_ok(&b->texts) || !buf_ok(&b->block) ||
                !buf_ok(&b->places) || b->pos >= SEGMENT_POSITIONS_MAX;
}

/* ---- putting it together ---- */

static int by_name(const void *pa, const void *pb, void *arg)
{
    struct segment_builder *b = arg;
    const struct term *x = &terms(b)[*(const uint32_t *)pa], *y = &terms(b)[*(const uint32_t *)pb];
    return str_cmp(str_of(b->names.data + x->at, x->len), str_of(b->names.data + y->at, y->len));
}

struct parts {
    struct buf order, term_offsets, posting_offsets, dictionary, postings, position_offsets,
        positions;
};

static bool make_parts(struct segment_builder *b, struct parts *p)
{
    for (uint32_t i = 0; i < b->nterms; i++)
        put_u32(&p->order, i);
    if (!buf_ok(&p->order))
        return false;
    uint32_t *order = (uint32_t *)p->order.data;
    if (b->nterms)
        qsort_r(order, b->nterms, sizeof *order, by_name, b);
    buf_add_char(&p->dictionary, SEGMENT_STOP);
    for (uint32_t i = 0; i < b->nterms; i++) {
        struct term *t = &terms(b)[order[i]];
        end_entry(b, t);
        put_u32(&p->term_offsets, (uint32_t)p->dictionary.len);
        put_u32(&p->posting_offsets, (uint32_t)p->postings.len);
        put_u32(&p->position_offsets, (uint32_t)p->positions.len);
        buf_add(&p->dictionary, str_of(b->names.data + t->at, t->len));
        buf_add_char(&p->dictionary, SEGMENT_STOP);
        chain_write(b, &t->postings, &p->postings);
        chain_write(b, &t->positions, &p->positions);
    }
    put_u32(&p->term_offsets, (uint32_t)p->dictionary.len);
    put_u32(&p->posting_offsets, (uint32_t)p->postings.len);
    put_u32(&p->position_offsets, (uint32_t)p->positions.len);
    put_u32(&b->places, b->pos);
    return !b->failed && buf_ok(&p->term_offsets) && buf_ok(&p->posting_offsets) &&
           buf_ok(&p->position_offsets) && buf_ok(&p->dictionary) && buf_ok(&p->postings) &&
           buf_ok(&p->positions) && buf_ok(&b->places);
}

static void put_header(struct segment_builder *b, const struct parts *p, uint32_t crc,
                       struct buf *out)
{
    size_t begin = out->len;
    buf_add(out, STR(SEGMENT_MAGIC));
    put_u32(out, SEGMENT_VERSION);
    put_u32(out, b->docs);
    put_u32(out, b->nterms);
    put_u32(out, b->nblocks);
    put_u32(out, (uint32_t)p->dictionary.len);
    put_u32(out, (uint32_t)p->postings.len);
    put_u32(out, crc);
    put_u32(out, (uint32_t)b->packed.len); /* the positions lie behind the blocks */
    put_u32(out, (uint32_t)(b->places.len + p->position_offsets.len + p->positions.len));
    put_u32(out, 0);
    put_u32(out, segment_crc(0, str_skip(buf_str(out), begin)));
}

static enum err write_out(struct segment_builder *b, struct parts *p, struct buf *out,
                          size_t *index_bytes)
{
    str sections[] = {buf_str(&b->ids),          buf_str(&b->texts),
                      buf_str(&p->term_offsets), buf_str(&p->posting_offsets),
                      buf_str(&b->blocks),       buf_str(&p->dictionary),
                      buf_str(&p->postings)};
    uint32_t crc = 0;
    for (size_t i = 0; i < ARRAY_LEN(sections); i++)
        crc = segment_crc(crc, sections[i]);
    put_header(b, p, crc, out);
    for (size_t i = 0; i < ARRAY_LEN(sections); i++)
        buf_add(out, sections[i]);
    *index_bytes = out->len;
    buf_add(out, buf_str(&b->packed));
    buf_add(out, buf_str(&b->places));
    buf_add(out, buf_str(&p->position_offsets));
    buf_add(out, buf_str(&p->positions));
    return buf_ok(out) ? ERR_OK : ERR_LIMIT;
}

enum err segment_finish(struct segment_builder *b, struct buf *out, size_t *index_bytes)
{
    struct parts p = {0};
    struct buf *all[] = {&p.order,    &p.term_offsets,     &p.posting_offsets, &p.dictionary,
                         &p.postings, &p.position_offsets, &p.positions};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        buf_init(all[i], BUILD_MAX);
    end_block(b);
    enum err e = b->failed || !make_parts(b, &p) ? ERR_LIMIT : ERR_OK;
    if (e == ERR_OK)
        e = write_out(b, &p, out, index_bytes);
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        buf_free(all[i]);
    return e;
}
