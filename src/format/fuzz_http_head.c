/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>

#include "format/http_head.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_head h;
    if (http_head_parse(str_of(data, size), &h) != ERR_OK)
        return 0;
    assert(h.path.len > 0 && h.path.data[0] == '/' && h.method.len > 0);
    assert(str_find_char(h.path, '\r') == STR_NPOS && str_find_char(h.path, '\n') == STR_NPOS);
    assert(!(h.keep && h.body));
    return 0;
}
