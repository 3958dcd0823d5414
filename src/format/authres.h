/* SPDX-License-Identifier: Apache-2.0
 *
 * authres: Authentication-Results (RFC 8601), rendered and parsed; also inside
 * ARC-Authentication-Results (behind "i=N;").
 */
#ifndef FORMAT_AUTHRES_H
#define FORMAT_AUTHRES_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "format/limits.h"

struct authres_property {
    str type, name, value; /* "smtp", "mailfrom", "a@b" */
};
struct authres_result {
    str method, result; /* "dkim", "pass" */
    str reason;         /* may be empty */
    struct authres_property *properties;
    size_t count;
};
struct authres {
    str id;                         /* authserv-id */
    struct authres_result *results; /* none: "none" */
    size_t count;
};
/* The value with folding, without name and last CRLF: "mx.test;\r\n\tdkim=pass header.d=…". Values
 * are quoted where needed and never hold a CR, LF or control byte. */
void authres_render(struct buf *out, const struct authres *r);
/* value: raw. ERR_SYNTAX; then out->id is still set when it could be read (so that forged fields of
 * our name can be removed, RFC 8601 5). */
enum err authres_parse(struct arena *a, str value, struct authres *out) MUST;

#endif
