/* SPDX-License-Identifier: Apache-2.0
 *
 * common: what both halves of POP3 share.
 */
#ifndef PROTO_POP3_COMMON_H
#define PROTO_POP3_COMMON_H

#include "base/buf.h"
#include "net/stream.h"

#define POP3_LINE_MAX 255 /* RFC 2449 4, octets with CRLF */
#define POP3_AUTH_LINE_MAX 16384

/* CAPA (RFC 2449). sasl: " PLAIN …" or empty. */
void pop3_capabilities(struct buf *out, bool stls, str sasl);
/* "STAT" and its argument, spaces at both ends cut. */
void pop3_split(str line, str *verb, str *args);
/* LANG (RFC 6856 3): we speak English only. */
void pop3_lang(struct buf *out, str args);

#endif
