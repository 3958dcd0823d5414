/* SPDX-License-Identifier: Apache-2.0
 *
 * tags: "a=b; c=d" lists (RFC 6376 3.2), as DKIM, ARC, DMARC, TLS-RPT and MTA-STS records use.
 */
#ifndef FORMAT_TAGS_H
#define FORMAT_TAGS_H

#include "base/arena.h"
#include "base/err.h"
#include "format/limits.h"

struct tag {
    str name;
    str value; /* white space at both ends cut, kept inside; borrowed */
    str raw;   /* all between '=' and ';' */
};
struct tag_list {
    struct tag tags[TAGS_MAX];
    size_t count;
};
/* ERR_SYNTAX: malformed, or a name twice; ERR_LIMIT: more than TAGS_MAX. Linear in the text. */
enum err tag_list_parse(str s, struct tag_list *out) MUST;
/* The tag's value; false if it is not there. Names are case-sensitive (RFC 6376 3.2). */
bool tag_get(const struct tag_list *list, const char *name, str *value);
/* Removes white space (FWS) from within a value, into the arena. */
enum err tag_strip(struct arena *a, str value, str *out) MUST;
/* Base64 with white space, decoded. ERR_SYNTAX. */
enum err tag_base64(struct arena *a, str value, size_t max, str *out) MUST;

#endif
