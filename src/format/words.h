/* SPDX-License-Identifier: Apache-2.0
 *
 * words: encoded words in header text (RFC 2047, language suffix of RFC 2231 5). Linear time.
 */
#ifndef FORMAT_WORDS_H
#define FORMAT_WORDS_H

#include "base/buf.h"

/* Appends raw header text as valid UTF-8: folding undone, encoded words decoded, white space
 * between two of them dropped, characters split between two words of one charset put together. What
 * is not a decodable word stays as it is; raw 8-bit bytes are taken as UTF-8 if they are, else as
 * windows-1252. Control characters become spaces. */
void words_decode(struct buf *out, str raw);

/* Appends UTF-8 text for an unstructured field, folded before 76 columns with CRLF SP; column is
 * where the text begins in its line. ASCII words stay as they are. */
void words_encode(struct buf *out, str utf8, size_t column);
/* A phrase (display name): an atom sequence, a quoted string or encoded words. */
void words_encode_phrase(struct buf *out, str utf8);

#endif
