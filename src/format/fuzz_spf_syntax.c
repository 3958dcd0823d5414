/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>

#include "format/spf_syntax.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t ip[16] = {0x20, 1};
    struct spf_values v = {.sender_local = STR("a-b"),
                           .sender_domain = STR("c.test"),
                           .domain = STR("d.e.test"),
                           .ip = ip,
                           .v6 = size & 1};
    if (size > 65536)
        return 0;
    ARENA_AUTO struct arena a = ARENA_INIT(4 << 20);
    struct spf_record r;
    str name;
    if (spf_record_parse(&a, str_of(data, size), &r) == ERR_OK)
        for (size_t i = 0; i < r.count; i++)
            if (spf_expand_domain(&a, r.terms[i].domain, &v, &name) == ERR_OK)
                assert(name.len <= 253);
    if (spf_expand_domain(&a, str_of(data, size), &v, &name) == ERR_OK)
        assert(name.len <= 253);
    BUF_AUTO struct buf out = BUF_INIT(65536);
    (void)!spf_expand(&out, str_of(data, size), &v, true);
    return 0;
}
