/* SPDX-License-Identifier: Apache-2.0
 *
 * The first byte: bit 7 allow_bare_lf, the rest where the input is split.
 */
#include "format/smtp_data.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum smtp_data_step feed(str in, size_t split, bool allow, struct buf *out, size_t *left)
{
    struct smtp_data d = {.allow_bare_lf = allow};
    str parts[2] = {str_head(in, split), str_skip(in, split)}, span;
    enum smtp_data_step step = SMTP_DATA_MORE;
    for (int i = 0; i < 2 && step == SMTP_DATA_MORE; i++) {
        while ((step = smtp_data_next(&d, &parts[i], &span)) == SMTP_DATA_SPAN)
            buf_add(out, span);
        *left = parts[i].len + (i ? 0 : parts[1].len);
    }
    return step;
}

static void check_line_ends(str s)
{
    for (size_t i = 0; i < s.len; i++) {
        assert(s.data[i] != '\r' || (i + 1 < s.len && s.data[i + 1] == '\n'));
        assert(s.data[i] != '\n' || (i > 0 && s.data[i - 1] == '\r'));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size || size > 65536)
        return 0;
    str in = str_of(data + 1, size - 1);
    bool allow = data[0] & 0x80;
    size_t split = data[0] & 0x7f, left, left2;
    BUF_AUTO struct buf whole = BUF_INIT(1 << 20), parts = BUF_INIT(1 << 20);
    enum smtp_data_step step = feed(in, 0, allow, &whole, &left);
    assert(feed(in, split, allow, &parts, &left2) == step && left == left2);
    assert(str_eq(buf_str(&whole), buf_str(&parts)));
    check_line_ends(buf_str(&whole));
    if (step == SMTP_DATA_END && !allow) /* rule: wire-1 */
        assert(in.len - left == 3 || str_ends(str_head(in, in.len - left), STR("\r\n.\r\n")));

    struct smtp_stuff s = {0};
    BUF_AUTO struct buf wire = BUF_INIT(1 << 20), back = BUF_INIT(1 << 20);
    smtp_stuff_add(&s, &wire, str_head(in, split));
    smtp_stuff_add(&s, &wire, str_skip(in, split));
    smtp_stuff_end(&s, &wire);
    check_line_ends(buf_str(&wire));
    assert(feed(buf_str(&wire), split, false, &back, &left) == SMTP_DATA_END && left == 0);

    struct smtp_chunk one = {0}, two = {0};
    enum smtp_data_step a = smtp_chunk_check(&one, in, true);
    enum smtp_data_step b = smtp_chunk_check(&two, str_head(in, split), false);
    if (b == SMTP_DATA_MORE)
        b = smtp_chunk_check(&two, str_skip(in, split), true);
    assert(a == b);
    return 0;
}
