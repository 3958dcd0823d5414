/* SPDX-License-Identifier: Apache-2.0
 *
 * relay_peer: the relay as a gate or a thread of the house sees it: `struct relay` of core/relay.h
 * (of which a gate may use `dns` and `scan` only), filled with calls over one link. While the relay
 * is away a call waits RELAY_WAIT_MS for its return, then answers ERR_UNAVAILABLE. An attempt whose
 * link went down answers ERR_UNKNOWN.
 */
#ifndef APP_RELAY_PEER_H
#define APP_RELAY_PEER_H

#include "app/ipc_slot.h"
#include "core/relay.h"

#define RELAY_WAIT_MS 2000

struct relay_peer {
    struct relay table;
    struct ipc_slot slot;
    size_t scans; /* under way */
    struct event scan_ended;
};
void relay_peer_init(struct relay_peer *p, struct fiber_group *group);

#endif
