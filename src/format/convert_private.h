/* SPDX-License-Identifier: Apache-2.0
 *
 * convert_private: between convert.c (parts and bodies) and convert_header.c (fields).
 */
#ifndef FORMAT_CONVERT_PRIVATE_H
#define FORMAT_CONVERT_PRIVATE_H

#include "format/convert.h"

/* What stands against sending bytes as lines. */
struct convert_facts {
    bool has_8bit, long_line;
    bool raw;      /* NUL, or a bare CR or LF */
    size_t unsafe; /* bytes that quoted-printable writes as three */
};
struct convert_facts convert_look(str bytes);
static inline bool convert_needed(struct convert_facts f, enum convert_to to)
{
    return f.long_line || f.raw || (f.has_8bit && to == CONVERT_7BIT);
}

struct convert_header {
    enum convert_to to;
    bool root;    /* of a message: has MIME-Version, which goes before any other MIME field */
    str encoding; /* new Content-Transfer-Encoding; .data NULL: stays */
    str type;     /* Content-Type to add; empty: none */
};
/* The header (with its empty line, if it has one) as it is to be, in the arena. Errors as
 * convert_plan. */
enum err convert_header(struct arena *a, str header, const struct convert_header *how, str *out,
                        const char **refused) MUST;

#endif
