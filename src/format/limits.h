/* SPDX-License-Identifier: Apache-2.0
 *
 * limits: the named limits of format/. A parser that reaches one goes on as limits.def says and
 * puts the code into its result; nothing else of the input is lost.
 */
#ifndef FORMAT_LIMITS_H
#define FORMAT_LIMITS_H

#include "base/str.h"

enum {
#define LIMIT(name, value, text) name = value,
#include "format/limits.def"
#undef LIMIT
};

enum limit {
    LIMIT_NONE,
#define LIMIT(name, value, text) LIMIT_##name,
#include "format/limits.def"
#undef LIMIT
    LIMITS_COUNT
};

str limit_name(enum limit l); /* "MIME_PARTS_MAX"; empty for LIMIT_NONE */

#endif
