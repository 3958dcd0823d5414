/* SPDX-License-Identifier: Apache-2.0
 *
 * relay_calls: the relay's end of what gates and the house ask (ipc.def). A gate may ask for DNS
 * answers and nothing else; what it says is checked by the codec and the resolver.
 */
#ifndef APP_RELAY_CALLS_H
#define APP_RELAY_CALLS_H

#include "app/ipc.h"
#include "core/relay.h"

#define RELAY_GATE_QUERIES_MAX 256 /* that one gate may have under way; beyond it ERR_BUSY */

/* The ctx of a link to a gate or a thread of the house. */
struct relay_caller {
    const struct relay *relay;
    size_t queries, queries_max;
};
extern const struct ipc_service relay_calls_for_gates, relay_calls_for_house;

#endif
