/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>

#include "base/utf8.h"
#include "format/words.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Decoding gives clean UTF-8; encoding that and decoding gives it again but for white space. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 65536)
        return 0;
    BUF_AUTO struct buf text = BUF_INIT(1 << 20);
    BUF_AUTO struct buf coded = BUF_INIT(1 << 21);
    BUF_AUTO struct buf back = BUF_INIT(1 << 21);
    words_decode(&text, str_of(data, size));
    assert(buf_ok(&text) && utf8_valid(buf_str(&text)));
    for (size_t i = 0; i < text.len; i++)
        assert((uint8_t)text.data[i] >= ' ');
    str trimmed = str_trim(buf_str(&text));
    words_encode(&coded, trimmed, size % 80);
    assert(buf_ok(&coded) && utf8_is_ascii(buf_str(&coded)));
    words_decode(&back, buf_str(&coded));
    assert(str_eq(buf_str(&back), trimmed));
    buf_reset(&coded);
    words_encode_phrase(&coded, trimmed);
    assert(utf8_is_ascii(buf_str(&coded)));
    return 0;
}
