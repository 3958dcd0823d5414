/* SPDX-License-Identifier: Apache-2.0
 *
 * house_calls: the house's end of what gates ask (ipc.def). Nothing a gate says is believed without
 * a check: numbers and flags by range, accounts by what signed in through that gate (app/grants.h),
 * contents by seal and size, rows by decoding them.
 */
#ifndef APP_HOUSE_CALLS_H
#define APP_HOUSE_CALLS_H

#include "app/grants.h"
#include "app/ipc.h"
#include "core/house.h"

/* The ctx of a link whose other end is a gate. */
struct gate_caller {
    const struct house *house; /* of this thread, session_open included */
    struct grants *grants;
    uint32_t thread;
    uint32_t gate; /* for the log */
};
/* ctx: struct gate_caller. */
extern const struct ipc_service house_calls_for_gates;

#endif
