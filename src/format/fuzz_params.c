/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>

#include "base/utf8.h"
#include "format/params.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 65536)
        return 0;
    ARENA_AUTO struct arena a = ARENA_INIT(16 << 20);
    struct param_value v;
    str value;
    enum err e = params_parse(&a, str_of(data, size), &v);
    assert(e == ERR_OK && v.params.count <= PARAMS_MAX);
    for (size_t i = 0; i < v.params.count && i < 20; i++) {
        str name = v.params.params[i].name;
        assert(name.len && params_get_raw(&v.params, name, &value));
        str_cut(name, '*', &name, &(str){0});
        if (params_get(&a, &v.params, name, &value))
            assert(utf8_valid(value));
    }
    size_t count = v.params.count;
    assert(params_join(&a, &v.params) == ERR_OK && v.params.count <= count);
    for (size_t i = 0; i < v.params.count; i++)
        assert(v.params.params[i].name.len);
    return 0;
}
