/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <assert.h>

static const struct err_info table[ERR_COUNT] = {
#define ERR(name, class, smtp, enhanced, imap, http, jmap, text)                                   \
    [ERR_##name] = {#name, ERR_CLASS_##class, smtp, enhanced, imap, http, jmap, text},
#include "base/err.def"
#undef ERR
};

const struct err_info *err_info(enum err e)
{
    assert((unsigned)e < ERR_COUNT);
    return &table[e];
}
