/* SPDX-License-Identifier: Apache-2.0
 *
 * code: text encodings of bytes, and checksums. Encoders append to a buf (sticky errors).
 */
#ifndef BASE_CODE_H
#define BASE_CODE_H

#include "base/buf.h"
#include "base/err.h"

void code_base64(struct buf *out, str bytes);    /* RFC 4648 4, padded, one line */
void code_base64url(struct buf *out, str bytes); /* RFC 4648 5, no padding */
/* Strict: whole groups, right padding, unused bits zero, no other bytes; ERR_SYNTAX. ERR_LIMIT when
 * out has no room. Nothing is appended on error. */
enum err code_base64_decode(struct buf *out, str text) MUST;
enum err code_base64url_decode(struct buf *out, str text) MUST;
void code_hex(struct buf *out, str bytes); /* lower case */
enum err code_hex_decode(struct buf *out, str text) MUST;
void code_base32(struct buf *out, str bytes); /* RFC 4648 6, lower case, no padding */

/* CRC-32C, by the processor's instruction where there is one. Start with 0; goes on from `crc`. */
uint32_t code_crc32c(uint32_t crc, const void *data, size_t len);

#endif
