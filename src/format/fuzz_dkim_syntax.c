/* SPDX-License-Identifier: Apache-2.0
 *
 * The input is a message, a tag list and a body at once.
 */
#include <assert.h>

#include "format/arc_syntax.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void to_buf(void *context, str bytes) { buf_add(context, bytes); }

static void body(struct buf *out, enum dkim_canon canon, str in, size_t split)
{
    struct dkim_body b = {.canon = canon, .limit = UINT64_MAX, .sink = to_buf, .context = out};
    dkim_body_add(&b, str_head(in, split));
    dkim_body_add(&b, str_skip(in, split));
    dkim_body_end(&b);
    assert(b.total == out->len);
}

/* Any split gives the same, and what is canonical stays as it is. */
static void check_body(str in)
{
    for (int canon = 0; canon < 2; canon++) {
        BUF_AUTO struct buf whole = BUF_INIT(1 << 20), parts = BUF_INIT(1 << 20),
                            again = BUF_INIT(1 << 20);
        body(&whole, canon, in, 0);
        body(&parts, canon, in, in.len / 3);
        body(&again, canon, buf_str(&whole), whole.len / 2);
        assert(str_eq(buf_str(&whole), buf_str(&parts)));
        assert(str_eq(buf_str(&whole), buf_str(&again)));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 65536)
        return 0;
    ARENA_AUTO struct arena a = ARENA_INIT(32 << 20);
    str in = str_of(data, size);
    struct dkim_fields fields;
    struct dkim_signature sig;
    struct dkim_key key;
    struct arc_chain chain;
    if (dkim_fields_of(&a, in, &fields) != ERR_OK)
        return 0;
    BUF_AUTO struct buf out = BUF_INIT(4 << 20);
    for (size_t i = 0; i < fields.count && i < 5; i++)
        for (int kind = DKIM_SIGNATURE; kind <= DKIM_ARC_SEAL; kind++)
            if (dkim_signature_parse(&a, fields.fields[i].value, kind, &sig) == ERR_OK)
                assert(dkim_hash_header(&a, &fields, &sig, fields.fields[i].raw, to_buf, &out) ==
                       ERR_OK);
    if (arc_chain_of(&a, &fields, &chain) == ERR_OK)
        for (size_t n = 1; n <= chain.count && n < 5; n++)
            assert(arc_hash_seal(&a, &chain, n, to_buf, &out) == ERR_OK);
    (void)!dkim_signature_parse(&a, in, DKIM_SIGNATURE, &sig);
    (void)!dkim_key_parse(&a, in, &key);
    check_body(in);
    return 0;
}
