/* SPDX-License-Identifier: Apache-2.0 */
#include "format/limits.h"

#include <assert.h>

static const str names[LIMITS_COUNT] = {
#define LIMIT(limit, value, what) [LIMIT_##limit] = STR_INIT(#limit),
#include "format/limits.def"
#undef LIMIT
};

str limit_name(enum limit l)
{
    assert(l < LIMITS_COUNT);
    return names[l];
}
