/* SPDX-License-Identifier: Apache-2.0
 *
 * keys_peer: the keys role as a gate (signatures of handshakes) or a thread of the house
 * (passwords) sees it, over one link. While keys is away a call waits KEYS_WAIT_MS for its return;
 * what was under way when it died is asked again, once. Then ERR_UNAVAILABLE.
 */
#ifndef APP_KEYS_PEER_H
#define APP_KEYS_PEER_H

#include "app/ipc_slot.h"
#include "core/credentials.h"
#include "net/tls.h"

#define KEYS_WAIT_MS 2000
#define KEYS_TRIES 2

struct keys_peer {
    struct ipc_slot slot;
    struct tls_signer signer; /* a gate's */
    struct hasher hasher;     /* a house thread's */
};
void keys_peer_init(struct keys_peer *p, struct fiber_group *group);

#endif
