/* SPDX-License-Identifier: Apache-2.0
 *
 * gate_web: the HTTP ports: a few small pages (core/policy_web.h), GET and HEAD, HTTP/1.1 with
 * connections that are kept (RFC 9112). Everything else is refused here, without asking the house.
 */
#ifndef APP_GATE_WEB_H
#define APP_GATE_WEB_H

#include "core/house.h"

#define WEB_REQUESTS_MAX 100 /* of one connection */
#define WEB_TIMEOUT_MS 15000
#define WEB_SESSION_MS 60000

/* tls: NULL serves in the clear. Closes s. */
void gate_web_serve(struct stream *s, const struct house *house, struct tls_server *tls) WAITS;

#endif
