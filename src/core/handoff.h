/* SPDX-License-Identifier: Apache-2.0
 *
 * handoff: a gate passes an authenticated session to the house: a plain connection by its
 * descriptor, a TLS one by one end of a socket pair that the gate proxies (net/proxy.h).
 */
#ifndef CORE_HANDOFF_H
#define CORE_HANDOFF_H

#include "core/house.h"
#include "net/proxy.h"

/* Takes the stream on success; on error the caller still has it, to say so and close. h: all but
 * fd, peer, local, tls, tls_version and unread are filled in. */
enum err handoff(struct stream *s, const struct house *house, struct session_handoff *h,
                 uint64_t idle_timeout_ms, struct fiber_group *group) WAITS MUST;

#endif
