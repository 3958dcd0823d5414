/* SPDX-License-Identifier: Apache-2.0
 *
 * received: trace fields (RFC 5321 4.4), rendered; and the count of hops for loop detection (6.3).
 */
#ifndef FORMAT_RECEIVED_H
#define FORMAT_RECEIVED_H

#include "base/buf.h"
#include "format/addr.h"

struct received {
    str helo;                     /* as the client said; may be empty */
    str client_name;              /* from the reverse DNS, verified; may be empty */
    str client_ip;                /* "192.0.2.1", "2001:db8::1" */
    str by;                       /* our host name */
    str with;                     /* "ESMTPSA" (RFC 3848), "LMTP", "UTF8SMTPS" */
    str id;                       /* may be empty */
    str tls;                      /* "TLSv1.3 cipher …", shown as comment; may be empty */
    const struct addr *recipient; /* FOR, only with a single recipient; or NULL */
    int64_t now_s;
    int zone_minutes;
};
/* Field name to last CRLF, folded. Bytes that could break the line are shown as '?'. */
void received_render(struct buf *out, const struct received *r);
/* "Return-Path: <a@b>" with CRLF; the null address gives "<>". */
void return_path_render(struct buf *out, const struct addr *sender);
/* "ESMTPSA" and the like (RFC 3848, RFC 6531 3.7.3). */
str received_protocol(bool lmtp, bool extended, bool tls, bool auth, bool utf8);
/* Received fields in a header block. */
size_t received_count(str header);

#endif
