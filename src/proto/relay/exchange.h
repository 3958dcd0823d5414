/* SPDX-License-Identifier: Apache-2.0
 *
 * exchange: one question and one answer over TCP (core/relay.h).
 */
#ifndef PROTO_RELAY_EXCHANGE_H
#define PROTO_RELAY_EXCHANGE_H

#include "core/relay.h"

#define EXCHANGE_ADDRESSES_MAX 8
#define EXCHANGE_TIMEOUT_MS_MAX 60000

/* dns resolves a host that is no literal. Errors as struct relay says. */
enum err exchange_run(const struct dns *dns, const struct relay_exchange *x, struct arena *arena,
                      str *answer) WAITS MUST;

#endif
