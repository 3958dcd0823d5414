/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>

#include "format/header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The fields cover the header without gaps; a filter and its inverse share it out. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 65536)
        return 0;
    str in = str_of(data, size), plain;
    ARENA_AUTO struct arena a = ARENA_INIT(1 << 20);
    BUF_AUTO struct buf out = BUF_INIT(1 << 20);
    struct header_iter it = header_iter_of(in);
    struct header_field f;
    size_t at = 0;
    while (header_next(&it, &f)) {
        assert(f.offset == at && f.size > 0);
        at += f.size;
        buf_reset(&out);
        header_unfold(&out, f.value);
        if (header_unfold_arena(&a, f.value, &plain))
            assert(str_eq(plain, buf_str(&out)));
    }
    assert(it.limit != LIMIT_NONE || at == it.end_fields);
    assert(it.end == header_size(in) && it.end <= size);
    buf_reset(&out);
    header_filter(&out, in, &(str)STR_INIT("To"), 1, true);
    header_filter(&out, in, &(str)STR_INIT("To"), 1, false);
    assert(buf_ok(&out) && out.len >= it.end_fields);
    return 0;
}
