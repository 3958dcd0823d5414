/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>

#include "format/cte.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode(enum cte cte, str in, size_t step, struct buf *out)
{
    struct cte_decoder d;
    cte_decoder_init(&d, cte);
    for (; in.len; in = str_skip(in, step))
        cte_decode(&d, str_head(in, step), out);
    cte_decode_end(&d, out);
}

/* Every division decodes alike, the size agrees, and what is encoded comes back. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 65536)
        return 0;
    str in = str_of(data, size);
    for (int cte = CTE_7BIT; cte <= CTE_UNKNOWN; cte++) {
        BUF_AUTO struct buf whole = BUF_INIT(1 << 20);
        BUF_AUTO struct buf split = BUF_INIT(1 << 20);
        BUF_AUTO struct buf coded = BUF_INIT(1 << 20);
        BUF_AUTO struct buf back = BUF_INIT(1 << 20);
        decode(cte, in, size + 1, &whole);
        decode(cte, in, 1 + size % 5, &split);
        assert(str_eq(buf_str(&whole), buf_str(&split)));
        assert(cte_decoded_size(cte, in) == whole.len && whole.len <= size);
        struct cte_encoder e;
        cte_encoder_init(&e, cte);
        cte_encode(&e, in, &coded);
        cte_encode_end(&e, &coded);
        decode(cte, buf_str(&coded), 1 + size % 3, &back);
        assert(str_eq(buf_str(&back), in));
    }
    return 0;
}
