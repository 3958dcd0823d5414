/* SPDX-License-Identifier: Apache-2.0 */
#include "base/utf8.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 65536)
        return 0;
    str s = str_of(data, size), rest = s;
    bool valid = true;
    BUF_AUTO struct buf copy = BUF_INIT(1 << 20);
    BUF_AUTO struct buf lossy = BUF_INIT(1 << 20);
    BUF_AUTO struct buf utf7 = BUF_INIT(1 << 20);
    BUF_AUTO struct buf back = BUF_INIT(1 << 20);
    while (rest.len) {
        uint32_t c;
        valid &= utf8_take(&rest, &c);
        utf8_add(&copy, c);
    }
    assert(valid == utf8_valid(s));
    utf8_add_lossy(&lossy, s);
    assert(str_eq(buf_str(&copy), buf_str(&lossy)));
    assert(utf8_valid(buf_str(&lossy)));
    assert(!valid || str_eq(s, buf_str(&lossy)));
    assert(!utf8_is_ascii(s) || valid);
    utf7_imap_encode(&utf7, s);
    assert(utf7_imap_decode(&back, buf_str(&utf7)));
    assert(str_eq(buf_str(&back), buf_str(&lossy)));
    /* The decoder takes only what the encoder makes. */
    buf_reset(&back);
    buf_reset(&utf7);
    if (utf7_imap_decode(&back, s)) {
        utf7_imap_encode(&utf7, buf_str(&back));
        assert(str_eq(buf_str(&utf7), s));
    }
    return 0;
}
