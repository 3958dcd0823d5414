/* SPDX-License-Identifier: Apache-2.0
 *
 * sts: MTA-STS policies of domains (RFC 8461): found by a TXT record, fetched over HTTPS, kept in
 * memory for as long as they say (at most STS_AGE_MAX_S), at most STS_DOMAINS_MAX of them.
 */
#ifndef PROTO_RELAY_STS_H
#define PROTO_RELAY_STS_H

#include "format/mta_sts.h"
#include "os/fiber.h"
#include "proto/relay/fetch.h"

#define STS_DOMAINS_MAX 10000
#define STS_AGE_MAX_S 31557600u
#define STS_RETRY_MS 300000        /* after a fetch that failed */
#define STS_FETCH_TIMEOUT_MS 60000 /* RFC 8461 3.3 */

struct sts;
enum err sts_open(struct sts **out) MUST;
void sts_close(struct sts *s);
/* The policy in force for the domain; MTA_STS_NONE when there is none. In the arena. *fetched: why
 * the policy that is published could not be had; ERR_OK: it is there, or none is published. */
struct mta_sts_policy sts_find(struct sts *s, const struct fetch_options *o, str domain,
                               struct arena *arena, enum err *fetched) WAITS;

#endif
