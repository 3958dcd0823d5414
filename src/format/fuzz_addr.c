/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>

#include "format/addr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is strict renders and parses to the same; a list never fails with memory. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 65536)
        return 0;
    ARENA_AUTO struct arena a = ARENA_INIT(16 << 20);
    BUF_AUTO struct buf out = BUF_INIT(1 << 20);
    struct addr addr, back;
    struct addr_list list;
    if (addr_parse(&a, str_of(data, size), ADDR_DOMAIN_OPTIONAL, &addr) == ERR_OK) {
        assert(addr.local.len <= ADDR_LOCAL_MAX && addr.domain.len <= ADDR_DOMAIN_MAX);
        addr_render(&out, &addr);
        enum err e = addr_parse(&a, buf_str(&out), ADDR_DOMAIN_OPTIONAL, &back);
        assert(addr_is_null(&addr) || (e == ERR_OK && addr_eq(&addr, &back)));
    }
    enum err e = addr_list_parse(&a, str_of(data, size), &list);
    assert(e == ERR_OK && list.count <= ADDRS_PER_FIELD_MAX + 1);
    int depth = 0;
    for (size_t i = 0; i < list.count; i++) {
        depth += list.items[i].kind == ADDR_GROUP_START;
        depth -= list.items[i].kind == ADDR_GROUP_END;
        assert(depth == 0 || depth == 1);
        buf_reset(&out);
        addr_render_mailbox(&out, list.items[i].name, &list.items[i].addr);
    }
    assert(depth == 0);
    return 0;
}
