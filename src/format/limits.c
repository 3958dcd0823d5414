/* SPDX-License-Identifier: Apache-2.0 */
#include "format/limits.h"

#include <assert.h>

static const struct {
    str name, text;
} limits[LIMITS_COUNT] = {
#define LIMIT(limit, value, what) [LIMIT_##limit] = {STR_INIT(#limit), STR_INIT(what)},
#include "format/limits.def"
#undef LIMIT
};

str limit_name(enum limit l)
{
    assert(l < LIMITS_COUNT);
    return limits[l].name;
}

str limit_text(enum limit l)
{
    assert(l < LIMITS_COUNT);
    return limits[l].text;
}
