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

static void ask(const struct segment *s, str needle, bool fuzzy, uint8_t *answers, bool *verify)
{
    struct search_term t = {.field = SEARCH_IN_TEXT, .text = needle, .fuzzy = fuzzy};
    struct search_fuzzy words;
    uint8_t unused;
    search_fuzzy_of(needle, &words);
    struct search_matcher m = {.terms = &t, .nterms = 1, .answers = &unused, .fuzzy = &words};
    enum err e = segment_ask(s, &m, 0, answers, verify);
    assert(e == ERR_OK);
}

/* A piece of the text is found in its segment. */
static void segment_answers(str records, size_t at, size_t len)
{
    struct segment_builder *b = segment_builder_open();
    BUF_AUTO struct buf out = BUF_INIT(1 << 24);
    struct segment s;
    size_t index_bytes;
    uint8_t answer = 0;
    bool verify;
    assert(b);
    segment_add(b, 7, records, false);
    enum err e = segment_finish(b, &out, &index_bytes);
    assert(e == ERR_OK);
    segment_builder_close(b);
    e = segment_open(str_head(buf_str(&out), index_bytes), true, &s);
    assert(e == ERR_OK && s.docs == 1 && segment_id(&s, 0) == 7);
    str needle = str_sub(records, at, len);
    for (size_t i = 0; i < needle.len; i++)
        if (search_is_record(needle.data[i]))
            needle = str_head(needle, i);
    while (needle.len && ((uint8_t)needle.data[0] & 0xc0) == 0x80)
        needle = str_skip(needle, 1);
    while (needle.len && (uint8_t)needle.data[needle.len - 1] >= 0x80)
        needle.len--; /* whole characters only */
    ask(&s, needle, false, &answer, &verify);
    assert(answer);
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
    ask(&s, STR("a"), false, to, &verify);
    ask(&s, STR("x y"), false, to, &verify);
    ask(&s, STR("abc"), true, to, &verify);
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
        segment_answers(buf_str(&t.out), at * 3, 1 + at % 40);
    search_text_free(&t);
    any_bytes(in);
    return 0;
}
