/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>

#include "base/utf8.h"
#include "format/charset.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void convert(const struct charset *cs, str in, size_t step, struct buf *out)
{
    struct charset_conv c;
    charset_conv_init(&c, cs);
    for (; in.len; in = str_skip(in, step))
        charset_conv_add(&c, str_head(in, step), out);
    charset_conv_end(&c, out);
    charset_conv_free(&c);
}

/* "name\nbytes": always valid UTF-8, the same for every division. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    str name, bytes;
    if (size > 16384)
        return 0;
    str_cut(str_of(data, size), '\n', &name, &bytes);
    BUF_AUTO struct buf whole = BUF_INIT(1 << 20);
    BUF_AUTO struct buf split = BUF_INIT(1 << 20);
    const struct charset *cs = charset_find(name);
    convert(cs, bytes, bytes.len + 1, &whole);
    convert(cs, bytes, 1 + size % 7, &split);
    assert(buf_ok(&whole) && utf8_valid(buf_str(&whole)));
    assert(str_eq(buf_str(&whole), buf_str(&split)));
    return 0;
}
