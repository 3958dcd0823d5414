/* SPDX-License-Identifier: Apache-2.0
 *
 * ip_text: addresses as text (RFC 791 dotted quads, RFC 4291 2.2), strict: the whole slice, no
 * leading or trailing bytes, no zone. Shared by the parsers of this folder.
 */
#ifndef FORMAT_IP_TEXT_H
#define FORMAT_IP_TEXT_H

#include "base/str.h"

bool ip_parse_v4(str s, uint8_t out[4]);
bool ip_parse_v6(str s, uint8_t out[16]);

#endif
