/* SPDX-License-Identifier: Apache-2.0
 *
 * charset: mail's character sets to UTF-8. Single-byte sets, UTF-8, UTF-7 and UTF-16 are our own;
 * the East Asian ones go through iconv, from an allow-list. Invalid input gives U+FFFD, never an
 * error; the output is always valid UTF-8.
 */
#ifndef FORMAT_CHARSET_H
#define FORMAT_CHARSET_H

#include "base/buf.h"

struct charset; /* immutable, lives for ever */

/* By name or alias, ASCII case-insensitive, "x-" forms and surrounding quotes forgiven. NULL if
 * unknown. */
const struct charset *charset_find(str name);
str charset_name(const struct charset *cs); /* the preferred MIME name, upper case */

/* glibc's iconv loads its modules from files, which a sandboxed role cannot open. Called once
 * before the sandbox closes (and before threads), this opens one descriptor of each allowed set and
 * keeps it; later conversions then find the modules in memory. Costs about 2 MB of address space.
 * Returns how many sets are not available on this machine (0: all there). Text in a set that is not
 * there is converted as if it were unknown. */
size_t charset_preload(void);

/* One conversion in chunks. Each begins in the initial shift state. */
struct charset_conv {
    const struct charset *cs;
    void *iconv;
    uint32_t state, bits, surrogate;
    uint8_t pending[16]; /* a character's bytes cut by the chunk */
    uint8_t pending_len;
};
#define CHARSET_CONV_AUTO __attribute__((cleanup(charset_conv_free)))

/* cs may be NULL (unknown): valid UTF-8 passes, other bytes become U+FFFD. */
void charset_conv_init(struct charset_conv *c, const struct charset *cs);
void charset_conv_add(struct charset_conv *c, str chunk, struct buf *out);
void charset_conv_end(struct charset_conv *c, struct buf *out); /* a cut character gives U+FFFD */
void charset_conv_free(struct charset_conv *c);                 /* again and again without harm */

/* All at once. False if the charset is unknown (then as with NULL above). An empty name is taken as
 * UTF-8 if the bytes are, else windows-1252. */
bool charset_to_utf8(str charset, str bytes, struct buf *out);

#endif
