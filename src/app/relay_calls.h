/* SPDX-License-Identifier: Apache-2.0
 *
 * relay_calls: the relay's end of what gates and the house ask (ipc.def). A gate may ask for DNS
 * answers and for a message to be scanned by whom the configuration names; what it says is checked
 * by the codec, the resolver and relay_wire.
 */
#ifndef APP_RELAY_CALLS_H
#define APP_RELAY_CALLS_H

#include "app/ipc.h"
#include "core/relay.h"

#define RELAY_GATE_QUERIES_MAX 256 /* that one gate may have under way; beyond it ERR_BUSY */
#define RELAY_GATE_SCANS_MAX 64    /* likewise: the other calls of the link have room beside them */

/* The ctx of a link to a gate or a thread of the house. */
struct relay_caller {
    const struct relay *relay;
    size_t queries, queries_max, scans;
};
extern const struct ipc_service relay_calls_for_gates, relay_calls_for_house;

#endif
