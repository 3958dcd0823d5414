/* SPDX-License-Identifier: Apache-2.0 */
#include "format/proxy_proto.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A header is found at the same length, whatever follows; every beginning of it asks for more. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_header h;
    size_t used, n;
    if (proxy_header_parse(str_of(data, size), &h, &used) != PROXY_DONE)
        return 0;
    assert(used > 0 && used <= size && used <= PROXY_HEADER_MAX);
    assert(proxy_header_parse(str_of(data, used), &h, &n) == PROXY_DONE && n == used);
    assert(proxy_header_parse(str_of(data, used - 1), &h, &n) == PROXY_MORE);
    assert(proxy_header_parse(str_of(data, used / 2), &h, &n) == PROXY_MORE);
    return 0;
}
