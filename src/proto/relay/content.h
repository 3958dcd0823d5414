/* SPDX-License-Identifier: Apache-2.0
 *
 * content: what a message needs of the next hop, found by one pass over it.
 */
#ifndef PROTO_RELAY_CONTENT_H
#define PROTO_RELAY_CONTENT_H

#include "proto/relay/smtp_client.h"

struct content_facts {
    bool header_8bit, body_8bit;
    bool long_lines; /* of more than 998 bytes without CRLF (RFC 5321 4.5.3.1.6) */
    bool zero_bytes; /* NUL or bare CR or LF: BINARYMIME only */
};
enum err content_look(int fd, uint64_t size, struct content_facts *out) MUST;

#endif
