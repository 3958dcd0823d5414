/* SPDX-License-Identifier: Apache-2.0
 *
 * params: MIME parameter lists (RFC 2045 5.1) with continuations and charsets (RFC 2231).
 */
#ifndef FORMAT_PARAMS_H
#define FORMAT_PARAMS_H

#include "base/arena.h"
#include "base/err.h"
#include "format/limits.h"

struct param {
    str name;  /* as written */
    str value; /* unquoted */
};

struct param_list {
    struct param *params; /* in the arena */
    size_t count;
    enum limit limit; /* LIMIT_PARAMS_MAX when there were more */
};

/* A structured value: Content-Type "type/subtype; …" or Content-Disposition "token; …". */
struct param_value {
    str type;    /* first token as written; empty if there is none */
    str subtype; /* behind the slash; empty if there is none */
    struct param_list params;
};

/* Parses a field value (raw, folding and comments allowed), parameters as written: name*0*="…"
 * stays as it is. Never refuses text; ERR_LIMIT only when the arena is full. */
enum err params_parse(struct arena *a, str value, struct param_value *out) MUST;

/* Joins continuations (RFC 2231 3) where they are complete from section 0 on: "n*0", "n*1" become
 * one "n", or "n*" with all of its value encoded. ERR_LIMIT only when the arena is full. */
enum err params_join(struct arena *a, struct param_list *list) MUST;

/* The first token of a structured value, without comments; empty if there is none. */
str params_token(str value);

/* The parameter `name` (no star) as UTF-8: continuations joined, percent and charset decoded, and,
 * as clients do against the standard, encoded words decoded. False if there is none, or the arena
 * is full. */
bool params_get(struct arena *a, const struct param_list *list, str name, str *out_utf8);
/* The parameter exactly as written under that name. */
bool params_get_raw(const struct param_list *list, str name, str *out);

#endif
