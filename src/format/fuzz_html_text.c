/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>

#include "format/html_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void strip(str in, size_t step, struct buf *out)
{
    struct html_text h;
    html_text_init(&h);
    for (; in.len; in = str_skip(in, step))
        html_text_add(&h, str_head(in, step), out);
    html_text_end(&h, out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 65536)
        return 0;
    BUF_AUTO struct buf whole = BUF_INIT(1 << 20);
    BUF_AUTO struct buf split = BUF_INIT(1 << 20);
    strip(str_of(data, size), size + 1, &whole);
    strip(str_of(data, size), 1 + size % 7, &split);
    assert(buf_ok(&whole) && str_eq(buf_str(&whole), buf_str(&split)));
    return 0;
}
