/* SPDX-License-Identifier: Apache-2.0
 *
 * relay: what the relay role does, as the table of core/relay.h: attempts to deliver (attempt.c),
 * fetches (fetch.c), single exchanges (exchange.c), questions to a scanner (scan.c), DNS
 * (resolver.c). It keeps idle connections and MTA-STS policies in memory;
 * all of that can be lost at any moment.
 */
#ifndef PROTO_RELAY_RELAY_H
#define PROTO_RELAY_RELAY_H

#include "core/relay.h"
#include "net/tls.h"
#include "os/fiber.h"
#include "proto/relay/smtp_client.h"

struct relay_config {
    str hostname;
    str scanner_url;        /* scan.h; empty: none */
    uint16_t port;          /* of MX hosts; 0: 25 */
    bool private_addresses; /* deliver to MX hosts, and fetch from hosts, with private addresses */
    bool ipv6;
    bool dane, mta_sts;
    uint32_t hosts_max;  /* MX hosts tried in one attempt; 0: 10 */
    uint64_t attempt_ms; /* for all of one attempt; 0: 30 minutes */
    uint64_t connect_ms; /* for one connection; 0: 30 s */
    uint64_t reply_ms;   /* at most, for one reply; 0: what `timeouts` says */
    uint64_t idle_ms;    /* an idle connection is kept so long; 0: not at all */
    uint32_t uses_max;   /* transactions on one connection; 0: 100 */
    struct smtp_client_timeouts timeouts;
};

struct relay_agent;
/* The configuration's texts and the TLS clients outlive the agent: `any` verifies nothing (and
 * serves DANE), `verify` checks names against trusted roots (NULL: there are none). On a
 * loop. ERR_NOMEM. */
enum err relay_agent_open(const struct relay_config *config, struct dns dns, struct tls_client *any,
                          struct tls_client *verify, struct relay_agent **out) MUST;
/* New settings, for attempts from now on; the old texts must outlive those under way. */
void relay_agent_configure(struct relay_agent *a, const struct relay_config *config);
void relay_agent_table(struct relay_agent *a, struct relay *out);
/* When no attempt is under way. */
void relay_agent_close(struct relay_agent *a) WAITS;

#endif
