/* SPDX-License-Identifier: Apache-2.0
 *
 * proxy: joins two streams until both ends closed; used by the gate to serve a TLS session whose
 * other half lives in the house. While nothing flows it holds no stack and no buffers.
 */
#ifndef NET_PROXY_H
#define NET_PROXY_H

#include "net/stream.h"

/* Takes both streams (closed at the end). done(arg) runs once, on the loop, when it is over. */
enum err proxy_start(struct stream *a, struct stream *b, uint64_t idle_ms, struct fiber_group *group,
                     void (*done)(void *arg), void *arg) MUST;

#endif
