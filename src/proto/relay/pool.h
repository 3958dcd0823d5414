/* SPDX-License-Identifier: Apache-2.0
 *
 * pool: connections that wait for one more message to the same host in the same way. The key says
 * host, port, TLS, own address, name and login; who takes a connection gets exactly what it asked
 * for. At most POOL_MAX wait; the longest waiting goes first.
 */
#ifndef PROTO_RELAY_POOL_H
#define PROTO_RELAY_POOL_H

#include "base/list.h"
#include "proto/relay/smtp_client.h"

#define POOL_MAX 256

struct pool {
    struct list idle; /* oldest first */
    size_t count;
};
void pool_init(struct pool *p);
void pool_close(struct pool *p) WAITS;
/* A live connection, now the caller's, with the text about its TLS (in the arena); or NULL. */
struct smtp_client *pool_take(struct pool *p, str key, struct arena *arena, str *tls) WAITS;
/* Takes the client. */
void pool_put(struct pool *p, str key, str tls, struct smtp_client *c, uint64_t idle_ms) WAITS;
void pool_reap(struct pool *p) WAITS; /* closes what has waited its time */

#endif
