/* SPDX-License-Identifier: Apache-2.0
 *
 * Folding however the text is cut, text of arbitrary headers and bodies, a segment of it that must
 * answer as the text does, and segments of arbitrary bytes.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "core/search_segment_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fold_is_the_same(str in, size_t cut)
{
    BUF_AUTO struct buf whole = BUF_INIT(1 << 22);
    BUF_AUTO struct buf parts = BUF_INIT(1 << 22);
    struct search_fold f = {0};
    search_fold_all(in, &whole);
    search_fold_add(&f, str_head(in, cut), &parts);
    search_fold_add(&f, str_skip(in, cut), &parts);
    search_fold_end(&f, &parts);
    assert(str_eq(buf_str(&whole), buf_str(&parts)));
}

/* Whatever comes behind the index part. */
static enum err read_rest(void *arg, uint64_t at, uint64_t len, struct buf *out)
{
    const str *rest = arg;
    buf_add(out, str_sub(*rest, MIN(at, rest->len), len));
    return ERR_OK;
}

/* false: what it would have needed is not there. */
static bool ask(const struct segment *s, str rest, str needle, bool fuzzy, uint8_t *answers,
                bool *verify)
{
    struct search_term t = {.field = SEARCH_IN_TEXT, .text = needle, .fuzzy = fuzzy};
    struct search_fuzzy words;
    uint8_t unused;
    search_fuzzy_of(needle, &words);
    struct search_matcher m = {.terms = &t, .nterms = 1, .answers = &unused, .fuzzy = &words};
    const struct segment_source source = {read_rest, &rest};
    enum err e = segment_ask(s, &m, 0, &source, answers, verify);
    assert(e == ERR_OK || e == ERR_CORRUPT);
    return e == ERR_OK;
}

/* Whole characters of one record only: what a needle may be. */
static str needle_of(str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (search_is_record(s.data[i]))
            s = str_head(s, i);
    while (s.len && ((uint8_t)s.data[0] & 0xc0) == 0x80)
        s = str_skip(s, 1);
    while (s.len && (uint8_t)s.data[s.len - 1] >= 0x80)
        s.len--;
    return s;
}

/* As many as make the positions worth reading, each a shorter piece of the text. */
#define DOCS 8
static str doc_text(str records, size_t doc)
{
    str s = str_skip(records, doc * records.len / 16);
    while (s.len && !search_is_record(s.data[0]))
        s = str_skip(s, 1);
    return s;
}

static void check_answers(const struct segment *s, str rest, str records, str needle)
{
    uint8_t answers[DOCS];
    bool verify;
    if (str_empty(needle))
        return;
    bool answered = ask(s, rest, needle, false, answers, &verify);
    assert(answered);
    for (size_t doc = 0; doc < DOCS; doc++) {
        bool is = str_find(doc_text(records, doc), needle) != STR_NPOS;
        assert(answers[doc] || !is);
        assert(!answers[doc] || is || verify);
    }
}

/* What a segment says of pieces of its texts, and of pieces put together, is what the texts say. */
static void segment_answers(str records, size_t at, size_t len)
{
    struct segment_builder *b = segment_builder_open();
    BUF_AUTO struct buf out = BUF_INIT(1 << 26);
    BUF_AUTO struct buf two = BUF_INIT(1 << 16);
    struct segment s;
    size_t index_bytes;
    assert(b);
    for (size_t doc = 0; doc < DOCS; doc++)
        segment_add(b, 7 + doc, doc_text(records, doc), false);
    enum err e = segment_finish(b, &out, &index_bytes);
    assert(e == ERR_OK);
    segment_builder_close(b);
    e = segment_open(str_head(buf_str(&out), index_bytes), true, &s);
    assert(e == ERR_OK && s.docs == DOCS && segment_id(&s, 0) == 7);
    str rest = str_skip(buf_str(&out), index_bytes);
    str needle = needle_of(str_sub(records, at, len));
    check_answers(&s, rest, records, needle);
    buf_add(&two, needle);
    buf_add(&two, needle_of(str_sub(records, at + len + 3, len / 2 + 1)));
    check_answers(&s, rest, records, buf_str(&two));
    buf_add_char(&two, ' ');
    buf_add(&two, needle);
    check_answers(&s, rest, records, buf_str(&two));
}

static void any_bytes(str in)
{
    struct segment s;
    BUF_AUTO struct buf bytes = BUF_INIT(1 << 22);
    BUF_AUTO struct buf answers = BUF_INIT(1 << 22);
    BUF_AUTO struct buf block = BUF_INIT(1 << 24);
    bool verify;
    buf_add(&bytes, STR(SEGMENT_MAGIC));
    buf_add(&bytes, in);
    if (bytes.len < SEGMENT_HEADER)
        return;
    uint32_t crc = segment_crc(0, str_head(buf_str(&bytes), SEGMENT_HEADER - 4));
    memcpy(bytes.data + SEGMENT_HEADER - 4, &crc, sizeof crc);
    if (segment_open(buf_str(&bytes), false, &s) != ERR_OK)
        return;
    uint8_t *to = (uint8_t *)buf_reserve(&answers, (size_t)s.docs + 1);
    if (!to)
        return;
    ask(&s, in, STR("a"), false, to, &verify);
    ask(&s, in, STR("x y"), false, to, &verify);
    ask(&s, in, STR("abc"), true, to, &verify);
    uint32_t offset, packed;
    if (segment_block_at(&s, 0, &offset, &packed) &&
        segment_unpack(&s, 0, str_sub(in, offset, packed), &block) == ERR_OK)
        assert(buf_ok(&block));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct search_text t;
    str in = str_of(data, MIN(size, (size_t)SEARCH_FEED_MAX));
    size_t at = size ? data[0] : 0;
    fold_is_the_same(in, MIN(at, in.len));
    search_text_init(&t, 1 << 22);
    search_text_header(&t, in, SEARCH_RECORD_FIELD);
    search_text_body_begin(&t, (enum cte)(at % 6), at & 8 ? STR("utf-8") : STR_NONE, at & 16);
    search_text_body(&t, in);
    search_text_body_end(&t);
    if (buf_ok(&t.out))
        segment_answers(buf_str(&t.out), MIN(at * 3, t.out.len), 1 + at % 40);
    search_text_free(&t);
    any_bytes(in);
    return 0;
}
