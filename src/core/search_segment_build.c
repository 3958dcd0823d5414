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

struct term {
    uint32_t at, len; /* in names */
    uint32_t hash;
    uint32_t entry; /* of the last document that has it */
    uint32_t count;
};
struct entry {
    uint32_t term, doc;
    uint8_t fields;
};
struct segment_builder {
    struct arena arena;
    struct buf ids, texts, names, terms, entries, table; /* table: u32, place of a term + 1 */
    struct buf block, blocks, packed;                    /* the block being filled */
    size_t text_bytes;
    uint32_t docs, nterms, table_mask, nblocks;
    bool failed;
};

static void put_u32(struct buf *b, uint32_t n) { buf_add(b, str_of(&n, sizeof n)); }

static uint32_t *slots(struct segment_builder *b) { return (uint32_t *)b->table.data; }
static struct term *terms(struct segment_builder *b) { return (struct term *)b->terms.data; }
static struct entry *entries(struct segment_builder *b) { return (struct entry *)b->entries.data; }

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
    struct buf *all[] = {&b->ids,   &b->texts, &b->names,  &b->terms, &b->entries,
                         &b->table, &b->block, &b->blocks, &b->packed};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        buf_init(all[i], BUILD_MAX);
    b->failed = !make_table(b, 4096);
    return b;
}

void segment_builder_close(struct segment_builder *b)
{
    if (!b)
        return;
    struct buf *all[] = {&b->ids,   &b->texts, &b->names,  &b->terms, &b->entries,
                         &b->table, &b->block, &b->blocks, &b->packed};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        buf_free(all[i]);
    struct arena arena = b->arena;
    arena_free(&arena);
}

size_t segment_text_bytes(const struct segment_builder *b) { return b->text_bytes; }

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
    struct term t = {
        .at = (uint32_t)b->names.len, .len = (uint32_t)text.len, .hash = hash, .entry = UINT32_MAX};
    slots(b)[at] = ++b->nterms;
    buf_add(&b->names, text);
    buf_add(&b->terms, str_of(&t, sizeof t));
    if (!buf_ok(&b->names) || !buf_ok(&b->terms) ||
        (b->nterms > b->table_mask / 2 && !make_table(b, (b->table_mask + 1) * 2)))
        b->failed = true;
    return b->nterms - 1;
}

static void add_term(struct segment_builder *b, str text, uint8_t fields)
{
    uint32_t i = b->failed ? 0 : find_term(b, text);
    if (b->failed)
        return;
    struct term *t = &terms(b)[i];
    if (t->entry != UINT32_MAX && entries(b)[t->entry].doc == b->docs) {
        entries(b)[t->entry].fields |= fields;
        return;
    }
    struct entry e = {i, b->docs, fields};
    t->entry = (uint32_t)(b->entries.len / sizeof e);
    t->count++;
    buf_add(&b->entries, str_of(&e, sizeof e));
    b->failed = b->failed || !buf_ok(&b->entries);
}

static size_t character(str s)
{
    size_t n = 1;
    while (n < s.len && ((uint8_t)s.data[n] & 0xc0) == 0x80)
        n++;
    return n;
}

static void add_token(struct segment_builder *b, const struct search_token *t, uint8_t fields)
{
    str s = t->text;
    if (t->chars) { /* each two neighbours; one alone by itself */
        size_t first = character(s);
        if (first == s.len)
            add_term(b, s, fields);
        for (size_t second; first < s.len; first = second) {
            second = character(str_skip(s, first));
            add_term(b, str_head(s, first + second), fields);
            s = str_skip(s, first);
        }
        return;
    }
    /* Overlapping pieces: any SEGMENT_NEEDLE_MAX bytes lie inside one of them. */
    while (s.len > SEGMENT_WORD_MAX) {
        add_term(b, str_head(s, SEGMENT_WORD_MAX), fields);
        s = str_skip(s, SEGMENT_WORD_MAX / 2);
    }
    add_term(b, s, fields);
}

static void add_tokens(struct segment_builder *b, str text, uint8_t fields)
{
    struct search_token t;
    while (search_token_next(&text, &t))
        add_token(b, &t, fields);
}

static uint8_t field_of(const struct search_record *r)
{
    if (r->kind == SEARCH_RECORD_BODY)
        return SEGMENT_BODY;
    if (r->kind == SEARCH_RECORD_PART)
        return SEGMENT_META;
    return segment_field_of_name(r->name);
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
    struct search_record r;
    buf_add(&b->ids, str_of(&id, sizeof id));
    put_u32(&b->texts, too_big ? SEGMENT_NO_BLOCK : b->nblocks);
    put_u32(&b->texts, (uint32_t)b->block.len);
    put_u32(&b->texts, too_big ? 0 : (uint32_t)text.len);
    if (!too_big) {
        buf_add(&b->block, text);
        b->text_bytes += text.len;
        for (str rest = text; search_record_next(&rest, &r);) {
            uint8_t fields = field_of(&r);
            if (r.kind == SEARCH_RECORD_BODY)
                add_tokens(b, r.text, fields);
            else {
                add_tokens(b, r.name, SEGMENT_META);
                add_tokens(b, r.value, fields);
            }
        }
        if (b->block.len >= BLOCK_BYTES)
            end_block(b);
    }
    b->docs++;
    b->failed = b->failed || !buf_ok(&b->ids) || !buf_ok(&b->texts) || !buf_ok(&b->block);
}

/* ---- putting it together ---- */

static int by_name(const void *pa, const void *pb, void *arg)
{
    struct segment_builder *b = arg;
    const struct term *x = &terms(b)[*(const uint32_t *)pa], *y = &terms(b)[*(const uint32_t *)pb];
    return str_cmp(str_of(b->names.data + x->at, x->len), str_of(b->names.data + y->at, y->len));
}

struct parts {
    struct buf order, starts, sorted, term_offsets, posting_offsets, dictionary, postings;
};

/* Entries by term; within one the documents ascend. */
static bool sort_entries(struct segment_builder *b, struct parts *p)
{
    size_t n = b->entries.len / sizeof(struct entry);
    uint32_t at = 0;
    for (uint32_t i = 0; i < b->nterms; i++) {
        put_u32(&p->starts, at);
        at += terms(b)[i].count;
    }
    char *to = buf_reserve(&p->sorted, n * sizeof(struct entry) + 1);
    if (!to || !buf_ok(&p->starts))
        return false;
    uint32_t *starts = (uint32_t *)p->starts.data;
    for (size_t i = 0; i < n; i++)
        ((struct entry *)to)[starts[entries(b)[i].term]++] = entries(b)[i];
    buf_commit(&p->sorted, n * sizeof(struct entry));
    return true;
}

static void add_postings(struct segment_builder *b, struct parts *p, uint32_t term)
{
    const struct term *t = &terms(b)[term];
    uint32_t end = ((uint32_t *)p->starts.data)[term]; /* moved there by sort_entries */
    const struct entry *e = (const struct entry *)p->sorted.data + (end - t->count);
    uint32_t before = 0;
    uint8_t fields = 0;
    for (uint32_t i = 0; i < t->count; i++) {
        bool same = i > 0 && e[i].fields == fields;
        buf_add_varint(&p->postings, (uint64_t)(e[i].doc - before) << 1 | same);
        if (!same)
            buf_add_char(&p->postings, (char)e[i].fields);
        before = e[i].doc;
        fields = e[i].fields;
    }
}

static bool make_parts(struct segment_builder *b, struct parts *p)
{
    for (uint32_t i = 0; i < b->nterms; i++)
        put_u32(&p->order, i);
    if (!buf_ok(&p->order) || !sort_entries(b, p))
        return false;
    uint32_t *order = (uint32_t *)p->order.data;
    if (b->nterms)
        qsort_r(order, b->nterms, sizeof *order, by_name, b);
    buf_add_char(&p->dictionary, SEGMENT_STOP);
    for (uint32_t i = 0; i < b->nterms; i++) {
        const struct term *t = &terms(b)[order[i]];
        put_u32(&p->term_offsets, (uint32_t)p->dictionary.len);
        put_u32(&p->posting_offsets, (uint32_t)p->postings.len);
        buf_add(&p->dictionary, str_of(b->names.data + t->at, t->len));
        buf_add_char(&p->dictionary, SEGMENT_STOP);
        add_postings(b, p, order[i]);
    }
    put_u32(&p->term_offsets, (uint32_t)p->dictionary.len);
    put_u32(&p->posting_offsets, (uint32_t)p->postings.len);
    return buf_ok(&p->term_offsets) && buf_ok(&p->posting_offsets) && buf_ok(&p->dictionary) &&
           buf_ok(&p->postings);
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
    for (int i = 0; i < 3; i++)
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
    return buf_ok(out) ? ERR_OK : ERR_LIMIT;
}

enum err segment_finish(struct segment_builder *b, struct buf *out, size_t *index_bytes)
{
    struct parts p = {0};
    struct buf *all[] = {&p.order,           &p.starts,     &p.sorted,  &p.term_offsets,
                         &p.posting_offsets, &p.dictionary, &p.postings};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        buf_init(all[i], BUILD_MAX);
    end_block(b);
    enum err e = b->failed || !make_parts(b, &p) || b->failed ? ERR_LIMIT : ERR_OK;
    if (e == ERR_OK)
        e = write_out(b, &p, out, index_bytes);
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        buf_free(all[i]);
    return e;
}
