/* SPDX-License-Identifier: Apache-2.0
 *
 * http_head: the head of a request (RFC 9112 2 to 7), strict: what two readers could understand
 * differently is refused, so nothing can be smuggled past a proxy. For the few pages that are
 * served in the clear (RFC 8555 8.3, RFC 8461 3.3). Linear time, nothing waits.
 */
#ifndef FORMAT_HTTP_HEAD_H
#define FORMAT_HTTP_HEAD_H

#include "base/err.h"
#include "format/limits.h"

struct http_head {
    str method;
    str path;  /* begins with '/'; not decoded: a path with '%' is simply another path */
    str query; /* without '?' */
    str host;  /* without port; empty only in HTTP/1.0 */
    bool keep; /* the connection may go on after the answer */
    bool body; /* a body follows: the connection ends after the answer */
};
/* head: the request line and all fields, each line with its CRLF, without the empty line at the
 * end. Results borrow from it. ERR_SYNTAX: 400; ERR_UNSUPPORTED: the version is not 1.0 or 1.1;
 * ERR_LIMIT: HTTP_FIELDS_MAX. */
enum err http_head_parse(str head, struct http_head *out) MUST;

#endif
