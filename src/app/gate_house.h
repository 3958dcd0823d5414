/* SPDX-License-Identifier: Apache-2.0
 *
 * gate_house: the house as a gate sees it: `struct house` of core/house.h, filled with calls over
 * the links to the house's threads. While the house is away a call waits HOUSE_WAIT_MS for its
 * return, then answers ERR_UNAVAILABLE (a client sees 4xx).
 */
#ifndef APP_GATE_HOUSE_H
#define APP_GATE_HOUSE_H

#include "app/ipc_slot.h"
#include "core/house.h"

#define HOUSE_WAIT_MS 1000
#define SMALL_OUT_MAX 4194304 /* bytes in a link; above it small messages go as files too */
#define NOTES_MAX 262144 /* bytes of notes for reports that wait to be told; then they are lost */
#define NOTES_PAUSE_MS 1000 /* between two tellings */

struct gate_house_peer {
    struct ipc_slot slot;
    char name[24];
};
struct gate_house {
    struct house table;
    struct gate_house_peer *peers; /* one per house thread */
    uint32_t npeers;
    uint32_t last;       /* the peer that any_link chose */
    uint32_t delivering; /* deliver calls in flight */
    struct event delivered;
    struct fiber_group *group;
    struct buf notes; /* for reports (core/report_rows.h); what a crash loses */
    uint64_t notes_lost;
    bool telling; /* a fiber waits to tell them */
};

/* peers: npeers structs, zeroed, the caller's, for as long as the group runs. */
void gate_house_init(struct gate_house *g, struct gate_house_peer *peers, uint32_t npeers,
                     struct fiber_group *group);
/* Of the link to that thread of the house; NULL: no such thread. */
struct ipc_slot *gate_house_slot(struct gate_house *g, uint32_t thread);
/* Tells the house now what it is to count; at the end. */
void gate_house_tell(struct gate_house *g) WAITS;

#endif
