/* SPDX-License-Identifier: Apache-2.0
 *
 * proxy: joins two streams until both ends closed; used by the gate to serve a TLS session whose
 * other half lives in the house. While nothing flows it holds no stack and no buffers. What one end
 * has not taken, the other is not asked for (back-pressure). The end of one direction is passed on
 * (shutdown or close_notify) while the other goes on, for at most PROXY_LINGER_MS of silence.
 */
#ifndef NET_PROXY_H
#define NET_PROXY_H

#include "net/stream.h"

#define PROXY_LINGER_MS 60000

/* Takes both streams (closed at the end, also on error), with what they have buffered. idle_ms:
 * silence in both directions after which it is ended; 0: none. done(arg) (may be NULL) runs once,
 * on a fiber of the group, when it is over and both streams are closed; not when an error is
 * returned. ERR_NOMEM, ERR_CANCELED. */
enum err proxy_start(struct stream *a, struct stream *b, uint64_t idle_ms,
                     struct fiber_group *group, void (*done)(void *arg), void *arg) MUST;

#endif
