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

/* secure: a port with TLS from the start. An authority that asks there for a proof (RFC 8737) gets
 * it and nothing else; others are served with tls, or not at all while that is NULL. Closes s. */
void gate_web_serve(struct stream *s, const struct house *house, bool secure,
                    struct tls_server *tls) WAITS;

#endif
