/* SPDX-License-Identifier: Apache-2.0
 *
 * proxy_proto: the PROXY protocol header, versions 1 and 2 (haproxy's proxy-protocol.txt), from a
 * peer that the configuration names. Nothing is allocated; nothing waits.
 */
#ifndef FORMAT_PROXY_PROTO_H
#define FORMAT_PROXY_PROTO_H

#include "base/err.h"

enum proxy_family { PROXY_UNKNOWN, PROXY_INET, PROXY_INET6, PROXY_UNIX };
struct proxy_header {
    int version;                  /* 1 or 2 */
    bool local;                   /* v2 LOCAL or v1 UNKNOWN: use the socket's own addresses */
    enum proxy_family family;     /* of source and dest; UNKNOWN and UNIX carry no address here */
    uint8_t source[16], dest[16]; /* 4 or 16 bytes, network order */
    uint16_t source_port, dest_port;
    bool tls;            /* v2 PP2_TYPE_SSL says that the client came over TLS */
    str authority, alpn; /* v2 TLVs, borrowed; may be empty */
};
enum proxy_result {
    PROXY_DONE, /* *used bytes are the header */
    PROXY_MORE, /* a valid beginning: bring more, at most PROXY_HEADER_MAX in all */
    PROXY_BAD,  /* not a PROXY header: drop the connection */
};
#define PROXY_HEADER_MAX 4096 /* bytes, v2 with TLVs; v1 has at most 107 */
enum proxy_result proxy_header_parse(str in, struct proxy_header *out, size_t *used) MUST;

#endif
