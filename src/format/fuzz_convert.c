/* SPDX-License-Identifier: Apache-2.0
 *
 * Whatever comes in: what comes out are lines as SMTP has them, with the same parts, each of which
 * decodes to the same bytes.
 */
#include <assert.h>
#include <string.h>

#include "format/convert.h"
#include "format/mime.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OUT_MAX (1u << 22)

static void check_lines(str out, enum convert_to to)
{
    size_t line = 0;
    for (size_t i = 0; i < out.len; i++) {
        uint8_t c = (uint8_t)out.data[i];
        if (c == '\r') {
            assert(i + 1 < out.len && out.data[i + 1] == '\n');
            i++;
            line = 0;
            continue;
        }
        assert(c != 0 && c != '\n' && (c < 0x80 || to == CONVERT_8BIT));
        assert(++line <= CONVERT_LINE_MAX);
    }
}

static void decoded(const struct mime *m, const struct mime_part *p, struct buf *out)
{
    struct cte_decoder d;
    cte_decoder_init(&d, p->cte);
    cte_decode(&d, mime_body(m, p), out);
    cte_decode_end(&d, out);
    assert(buf_ok(out));
}

static void check_body(const struct mime *a, const struct mime_part *pa, const struct mime *b,
                       const struct mime_part *pb)
{
    BUF_AUTO struct buf x = BUF_INIT(OUT_MAX), y = BUF_INIT(OUT_MAX);
    if (pa->kind == MIME_LEAF)
        decoded(a, pa, &x);
    else /* a message/global that was encoded as a whole */
        buf_add(&x, mime_body(a, pa));
    decoded(b, pb, &y);
    assert(str_eq(buf_str(&x), buf_str(&y)));
}

static void check_parts(const struct mime *a, const struct mime *b)
{
    uint32_t j = 0;
    for (uint32_t i = 0; i < a->count; i++, j++) {
        const struct mime_part *pa = &a->parts[i], *pb = &b->parts[j];
        assert(j < b->count && pa->depth == pb->depth);
        if (pb->kind == MIME_LEAF) {
            check_body(a, pa, b, pb);
            while (i + 1 < a->count && a->parts[i + 1].depth > pa->depth)
                i++;
        } else {
            assert(pa->kind == pb->kind);
        }
    }
    assert(j == b->count);
}

static void try_one(str message, enum convert_to to)
{
    struct convert c;
    struct mime before, after;
    const char *refused;
    ARENA_AUTO struct arena a = ARENA_INIT(2 * MIME_ARENA_MAX), b = ARENA_INIT(2 * MIME_ARENA_MAX);
    BUF_AUTO struct buf out = BUF_INIT(OUT_MAX), piece = BUF_INIT(CONVERT_PIECE_MAX);
    enum err e = convert_plan(&a, message, to, &c, &refused);
    if (e != ERR_OK) {
        assert(e == ERR_UNSUPPORTED && refused);
        return;
    }
    uint64_t bytes = convert_size(&c);
    while (convert_next(&c, &piece)) {
        assert(buf_ok(&piece));
        buf_add(&out, buf_str(&piece));
        buf_reset(&piece);
    }
    assert(buf_ok(&out) && out.len == bytes);
    check_lines(buf_str(&out), to);
    e = mime_parse(&b, message, &before);
    assert(e == ERR_OK);
    e = mime_parse(&b, buf_str(&out), &after);
    assert(e == ERR_OK);
    check_parts(&before, &after);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 65536)
        return 0;
    try_one(str_of(data, size), CONVERT_7BIT);
    try_one(str_of(data, size), CONVERT_8BIT);
    return 0;
}
