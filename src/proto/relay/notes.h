/* SPDX-License-Identifier: Apache-2.0
 *
 * notes: what TLS reports say of a session with another mail host (RFC 8460 4): under which policy,
 * and how it failed. They go to the house in the report of the attempt; it counts them.
 */
#ifndef PROTO_RELAY_NOTES_H
#define PROTO_RELAY_NOTES_H

#include "core/relay.h"
#include "core/report_note.h"
#include "format/mta_sts.h"
#include "net/stream.h"
#include "proto/relay/dane.h"

/* The policy part of a note; texts in the arena. */
struct report_tls_note notes_of_sts(const struct mta_sts_policy *p, struct arena *arena);
struct report_tls_note notes_of_dane(const struct dane *d, struct arena *arena);
struct report_tls_note notes_of_none(void);
/* RFC 8460 4.3: of a handshake that ended so. */
str notes_failure(const struct stream *s, enum err e);
/* Of an MTA-STS policy that could not be had. */
str notes_sts_failure(enum err e);
/* Adds one session; at most RELAY_NOTES_MAX of an attempt. */
void notes_add(struct relay_report *report, struct arena *arena, const struct report_tls_note *n);

#endif
