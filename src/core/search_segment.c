/* SPDX-License-Identifier: Apache-2.0 */
#include "core/search_segment.h"

#include <assert.h>
#include <string.h>
#include <zstd.h>

#include "base/num.h"
#include "core/search_segment_private.h"

static uint32_t u32_at(str s, size_t i)
{
    uint32_t n;
    assert((i + 1) * sizeof n <= s.len);
    memcpy(&n, s.data + i * sizeof n, sizeof n);
    return n;
}

static str take(str *rest, size_t n, bool *ok)
{
    if (n > rest->len)
        *ok = false;
    str s = str_head(*rest, n);
    *rest = str_skip(*rest, n);
    return s;
}

enum err segment_open(str index, bool verify, struct segment *out)
{
    str rest = index;
    bool ok = true;
    str h = take(&rest, SEGMENT_HEADER, &ok);
    *out = (struct segment){0};
    if (!ok || !str_starts(h, STR(SEGMENT_MAGIC)) ||
        u32_at(h, SEGMENT_HEADER / 4 - 1) != segment_crc(0, str_head(h, SEGMENT_HEADER - 4)))
        return ERR_CORRUPT;
    if (u32_at(h, 1) != SEGMENT_VERSION)
        return ERR_UNSUPPORTED;
    if (verify && segment_crc(0, rest) != u32_at(h, 7))
        return ERR_CORRUPT;
    out->docs = u32_at(h, 2);
    out->terms = u32_at(h, 3);
    out->blocks = u32_at(h, 4);
    out->positions_at = u32_at(h, 8);
    out->positions_bytes = u32_at(h, 9);
    out->ids = take(&rest, (size_t)out->docs * 8, &ok);
    out->texts = take(&rest, (size_t)out->docs * 12, &ok);
    out->term_offsets = take(&rest, ((size_t)out->terms + 1) * 4, &ok);
    out->posting_offsets = take(&rest, ((size_t)out->terms + 1) * 4, &ok);
    out->block_table = take(&rest, (size_t)out->blocks * 12, &ok);
    out->dictionary = take(&rest, u32_at(h, 5), &ok);
    out->postings = take(&rest, u32_at(h, 6), &ok);
    return ok && rest.len == 0 ? ERR_OK : ERR_CORRUPT;
}

uint64_t segment_id(const struct segment *s, uint32_t doc)
{
    uint64_t id;
    assert(doc < s->docs);
    memcpy(&id, s->ids.data + (size_t)doc * 8, sizeof id);
    return id;
}

bool segment_text_at(const struct segment *s, uint32_t doc, struct segment_text *out)
{
    *out = (struct segment_text){u32_at(s->texts, (size_t)doc * 3),
                                 u32_at(s->texts, (size_t)doc * 3 + 1),
                                 u32_at(s->texts, (size_t)doc * 3 + 2)};
    return out->block < s->blocks;
}

bool segment_block_at(const struct segment *s, uint32_t block, uint32_t *offset, uint32_t *packed)
{
    if (block >= s->blocks)
        return false;
    *offset = u32_at(s->block_table, (size_t)block * 3);
    *packed = u32_at(s->block_table, (size_t)block * 3 + 1);
    return true;
}

enum err segment_unpack(const struct segment *s, uint32_t block, str packed, struct buf *out)
{
    uint32_t bytes = u32_at(s->block_table, (size_t)block * 3 + 2);
    if (bytes > SEGMENT_BLOCK_MAX)
        return ERR_CORRUPT;
    char *to = buf_reserve(out, bytes);
    if (!to)
        return ERR_NOMEM;
    if (ZSTD_decompress(to, bytes, packed.data, packed.len) != bytes)
        return ERR_CORRUPT;
    buf_commit(out, bytes);
    return ERR_OK;
}

/* ---- asking ---- */

struct hits {
    const struct segment *s;
    uint8_t fields; /* that count */
    uint8_t *marks; /* docs: gets score where a term has an entry */
};

uint64_t segment_varint_long(const uint8_t **at, const uint8_t *end)
{
    uint64_t n = 0;
    for (unsigned shift = 0; *at < end && shift < 64; shift += 7) {
        uint8_t c = *(*at)++;
        n |= (uint64_t)(c & 0x7f) << shift;
        if (c < 0x80)
            return n;
    }
    *at = end;
    return n;
}

struct segment_postings segment_postings_of(const struct segment *s, uint32_t term)
{
    uint32_t from = u32_at(s->posting_offsets, term), to = u32_at(s->posting_offsets, term + 1);
    if (from > to || to > s->postings.len)
        return (struct segment_postings){0};
    const uint8_t *bytes = (const uint8_t *)s->postings.data;
    return (struct segment_postings){.at = bytes + from, .end = bytes + to};
}

bool segment_postings_next(const struct segment *s, struct segment_postings *p)
{
    if (p->at == p->end)
        return false;
    uint64_t step = segment_varint(&p->at, p->end);
    p->doc += step >> 1;
    if (!(step & 1))
        p->fields = p->at < p->end ? *p->at++ : 0;
    return p->doc < s->docs;
}

static void mark_postings(const struct hits *h, uint32_t term, uint8_t score)
{
    struct segment_postings p = segment_postings_of(h->s, term);
    while (segment_postings_next(h->s, &p))
        if ((p.fields & h->fields) && h->marks[p.doc] < score)
            h->marks[p.doc] = score;
}

/* The term that a place in the dictionary belongs to; not before `from`. */
static uint32_t term_at(const struct segment *s, size_t place, uint32_t from)
{
    uint32_t to = from + 1;
    for (uint32_t step = 1; to < s->terms && u32_at(s->term_offsets, to) <= place; step *= 2) {
        from = to;
        to = step < s->terms - to ? to + step : s->terms;
    }
    while (to - from > 1) {
        uint32_t mid = from + (to - from) / 2;
        if (u32_at(s->term_offsets, mid) <= place)
            from = mid;
        else
            to = mid;
    }
    return from;
}

static str term_text(const struct segment *s, uint32_t term)
{
    uint32_t at = u32_at(s->term_offsets, term), next = u32_at(s->term_offsets, term + 1);
    return next > at ? str_sub(s->dictionary, at, next - at - 1) : STR_NONE;
}

/* Calls for each term whose bytes, with the stops around it, hold the part. */
static void each_term(const struct segment *s, str part, void (*fn)(void *arg, uint32_t term),
                      void *arg)
{
    size_t at = 0;
    uint32_t term = 0;
    while (at < s->dictionary.len && s->terms) {
        size_t found = str_find(str_skip(s->dictionary, at), part);
        if (found == STR_NPOS)
            return;
        size_t place = at + found + (part.data[0] == SEGMENT_STOP);
        term = term_at(s, place, term);
        fn(arg, term);
        size_t next = u32_at(s->term_offsets, term + 1);
        at = MAX(next - 1, at + found + 1); /* on the stop before the next term */
    }
}

static void on_term(void *arg, uint32_t term)
{
    struct buf *list = arg;
    buf_add(list, str_of(&term, sizeof term));
}

/* ---- what a needle asks of the dictionary ---- */

/* Longer ones are looked for by their beginning, in whichever piece it is. */
static void add_part(struct segment_plan *p, uint8_t gap, bool from_start, str text, bool to_end)
{
    if (p->n == SEGMENT_PARTS_MAX) {
        p->exact = false;
        return;
    }
    struct segment_part *part = &p->parts[p->n++];
    if (text.len > SEGMENT_NEEDLE_MAX) {
        text = str_head(text, SEGMENT_NEEDLE_MAX);
        from_start = to_end = p->positions = p->exact = false;
    }
    part->gap = gap;
    if (from_start)
        part->bytes[part->len++] = SEGMENT_STOP;
    memcpy(part->bytes + part->len, text.data, text.len);
    part->len += text.len;
    if (to_end)
        part->bytes[part->len++] = SEGMENT_STOP;
}

static void add_chars(struct segment_plan *p, uint8_t gap, bool starts, str s, bool ends)
{
    size_t first = segment_character(s);
    if (first == s.len)
        add_part(p, gap, starts, s, ends);
    for (size_t second; first < s.len; first = second) {
        second = segment_character(str_skip(s, first));
        add_part(p, gap, true, str_head(s, first + second), true);
        s = str_skip(s, first);
        gap = SEGMENT_GAP_NONE;
    }
}

void segment_plan_make(str needle, struct segment_plan *p)
{
    struct search_token t;
    const char *end = needle.data + needle.len;
    str between = str_head(needle, 0);
    *p = (struct segment_plan){.positions = true, .exact = true};
    for (str rest = needle; search_token_next(&rest, &t); between = str_head(rest, 0)) {
        bool starts = t.text.data > needle.data, ends = t.text.data + t.text.len < end;
        between.len = (size_t)(t.text.data - between.data);
        uint8_t gap = segment_gap_of(between);
        p->exact = p->exact && (p->n == 0 ? !starts : gap != SEGMENT_GAP_OTHER);
        if (t.chars)
            add_chars(p, gap, starts, t.text, ends);
        else
            add_part(p, gap, starts, t.text, ends);
    }
    p->exact = p->exact && p->n > 0 && between.data == end;
    p->positions = p->positions && p->n > 1;
}

static uint8_t fields_of(const struct search_term *t, bool *exact)
{
    static const uint8_t fields[] = {
        [SEARCH_IN_SUBJECT] = SEGMENT_SUBJECT, [SEARCH_IN_FROM] = SEGMENT_FROM,
        [SEARCH_IN_TO] = SEGMENT_TO,           [SEARCH_IN_CC] = SEGMENT_CC,
        [SEARCH_IN_BCC] = SEGMENT_BCC,         [SEARCH_IN_BODY] = SEGMENT_BODY,
        [SEARCH_IN_TEXT] = SEGMENT_ALL,
    };
    if (t->field != SEARCH_IN_HEADER)
        return fields[t->field];
    uint8_t f = segment_field_of_name(t->name);
    *exact = *exact && f != SEGMENT_OTHER;
    return f;
}

/* Where the positions of a term's field are; SEGMENT_CLASSES: anywhere. */
static enum segment_class class_of(const struct search_term *t, uint8_t fields)
{
    static const uint8_t of[SEGMENT_CLASSES] = {
        [SEGMENT_CLASS_SUBJECT] = SEGMENT_SUBJECT, [SEGMENT_CLASS_FROM] = SEGMENT_FROM,
        [SEGMENT_CLASS_TO] = SEGMENT_TO,           [SEGMENT_CLASS_CC] = SEGMENT_CC,
        [SEGMENT_CLASS_BCC] = SEGMENT_BCC,         [SEGMENT_CLASS_OTHER] = SEGMENT_OTHER,
        [SEGMENT_CLASS_BODY] = SEGMENT_BODY,
    };
    for (enum segment_class c = 0; c < SEGMENT_CLASSES && t->field != SEARCH_IN_TEXT; c++)
        if (fields == of[c])
            return c;
    return SEGMENT_CLASSES;
}

static enum err mark_part(const struct segment *s, const struct segment_part *part, uint8_t fields,
                          struct buf *list, struct buf *marks)
{
    size_t i = list->len / sizeof(uint32_t);
    each_term(s, str_of(part->bytes, part->len), on_term, list);
    buf_reset(marks);
    struct hits h = {s, fields, (uint8_t *)buf_reserve(marks, (size_t)s->docs + 1)};
    if (!h.marks || !buf_ok(list))
        return ERR_NOMEM;
    memset(h.marks, 0, s->docs);
    for (; i < list->len / sizeof(uint32_t); i++)
        mark_postings(&h, u32_at(buf_str(list), i), SEARCH_MATCH);
    return ERR_OK;
}

/* Which documents have all parts, and how many they are. */
static enum err ask_parts(const struct segment *s, const struct segment_plan *p, uint8_t fields,
                          struct segment_terms *terms, uint8_t *answers, size_t *left)
{
    BUF_AUTO struct buf marks = BUF_INIT(SIZE_MAX / 2);
    memset(answers, SEARCH_MATCH, s->docs);
    *left = s->docs;
    for (size_t i = 0; i < p->n && *left; i++) {
        TRY(mark_part(s, &p->parts[i], fields, &terms->list, &marks));
        terms->begin[i + 1] = (uint32_t)(terms->list.len / sizeof(uint32_t));
        *left = 0;
        for (uint32_t d = 0; d < s->docs; d++) {
            answers[d] = answers[d] & (uint8_t)marks.data[d];
            *left += answers[d] != 0;
        }
    }
    return ERR_OK;
}

/* Fewer are compared sooner than their positions are read. */
#define COMPARE_RATHER 4

/* Does the plan decide, given where a term looks? */
static bool decides(const struct segment_plan *p, enum segment_class class)
{
    bool exact = p->exact;
    if (class < SEGMENT_CLASS_BODY) /* the name is not part of what is searched */
        for (size_t i = 1; i < p->n; i++)
            exact = exact && p->parts[i].gap != SEGMENT_GAP_COLON;
    return exact;
}

static enum err ask_exact(const struct segment *s, const struct search_term *t,
                          const struct segment_source *source, uint8_t *answers, bool *verify)
{
    struct segment_plan p;
    struct segment_terms terms = {.list = BUF_INIT(SEGMENT_BLOB_MAX)};
    size_t left;
    segment_plan_make(t->text, &p);
    uint8_t fields = fields_of(t, &p.exact);
    enum segment_class class = class_of(t, fields);
    bool positions = p.positions;
    enum err e = ask_parts(s, &p, fields, &terms, answers, &left);
    if (e == ERR_OK && positions && left > COMPARE_RATHER)
        e = segment_ask_positions(s, &p, &terms, class, source, answers);
    else
        positions = false;
    buf_free(&terms.list);
    *verify = left > 0 && !(decides(&p, class) && (p.n == 1 || positions));
    return e;
}

/* ---- fuzzy ---- */

struct fuzzy_hits {
    struct hits hits;
    const struct search_matcher *m;
    const struct search_token *word;
};

static void on_fuzzy(void *arg, uint32_t term)
{
    struct fuzzy_hits *f = arg;
    struct search_token t = {term_text(f->hits.s, term), f->word->chars};
    unsigned score = search_fuzzy_word(f->m->stems, f->word, &t);
    if (score)
        mark_postings(&f->hits, term, (uint8_t)score);
}

static void ask_word(struct fuzzy_hits *f)
{
    str w = f->word->text;
    struct segment_plan p = {0};
    if (f->word->chars)
        add_part(&p, 0, false, w, false);
    else
        add_part(&p, 0, true, str_head(w, SEARCH_STEM_PREFIX), false);
    each_term(f->hits.s, str_of(p.parts[0].bytes, p.parts[0].len), on_fuzzy, f);
}

/* Can the dictionary alone answer for this word? */
static bool word_is_simple(const struct search_token *w)
{
    size_t first = segment_character(w->text);
    return !w->chars || first == w->text.len ||
           first + segment_character(str_skip(w->text, first)) == w->text.len;
}

static enum err ask_fuzzy(const struct segment *s, const struct search_matcher *m, size_t term,
                          uint8_t *answers, bool *verify)
{
    const struct search_fuzzy *f = &m->fuzzy[term];
    BUF_AUTO struct buf marks = BUF_INIT(SIZE_MAX / 2);
    uint8_t *best = (uint8_t *)buf_reserve(&marks, (size_t)s->docs * MAX(f->count, 1u) + 1);
    bool exact = true;
    uint8_t fields = fields_of(&m->terms[term], &exact);
    if (!best)
        return ERR_NOMEM;
    memset(best, 0, (size_t)s->docs * f->count);
    for (size_t w = 0; w < f->count; w++) {
        exact = exact && word_is_simple(&f->words[w]);
        struct fuzzy_hits h = {{s, fields, best + w * s->docs}, m, &f->words[w]};
        if (word_is_simple(&f->words[w]))
            ask_word(&h);
        else
            memset(best + w * s->docs, SEARCH_MATCH, s->docs);
    }
    for (uint32_t d = 0; d < s->docs; d++) {
        uint8_t of_doc[SEARCH_FUZZY_WORDS_MAX] = {0};
        for (size_t w = 0; w < f->count; w++)
            of_doc[w] = best[w * s->docs + d];
        answers[d] = search_fuzzy_score(f, of_doc);
    }
    *verify = !exact;
    return ERR_OK;
}

enum err segment_ask(const struct segment *s, const struct search_matcher *m, size_t term,
                     const struct segment_source *source, uint8_t *answers, bool *verify)
{
    const struct search_term *t = &m->terms[term];
    if (t->fuzzy)
        return ask_fuzzy(s, m, term, answers, verify);
    if (str_empty(t->text) && (t->field == SEARCH_IN_TEXT || t->field == SEARCH_IN_BODY)) {
        memset(answers, SEARCH_MATCH, s->docs);
        *verify = false;
        return ERR_OK;
    }
    return ask_exact(s, t, source, answers, verify);
}
