/* SPDX-License-Identifier: Apache-2.0
 *
 * utf8: RFC 3629. No overlong forms, no surrogates, nothing above U+10FFFF.
 */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include "base/buf.h"

bool utf8_valid(str s);
bool utf8_is_ascii(str s); /* every byte below 0x80 */
/* Takes one code point off *s. Invalid: takes one byte, gives U+FFFD and false. s not empty. */
bool utf8_take(str *s, uint32_t *code_point);
void utf8_add(struct buf *out, uint32_t code_point);
/* Copies s with each invalid byte replaced by U+FFFD. */
void utf8_add_lossy(struct buf *out, str s);

/* Modified UTF-7 of IMAP mailbox names (RFC 3501 5.1.3). The decoder refuses what the encoder
 * would not produce (false). */
void utf7_imap_encode(struct buf *out, str utf8);
bool utf7_imap_decode(struct buf *out, str utf7);

#endif
