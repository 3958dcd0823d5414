/* SPDX-License-Identifier: Apache-2.0
 *
 * trace: the fields of our own that stand above a message that we take. Above these stand the
 * results of the judge and the scanner, which write theirs themselves; Return-Path is of each copy
 * that comes to rest (core/deliver.h).
 */
#ifndef PROTO_SMTP_TRACE_H
#define PROTO_SMTP_TRACE_H

#include "proto/smtp/session.h"

#define SMTP_TRACE_MAX 65536 /* bytes of all fields that we add */

/* Received (RFC 5321 4.4), with the session's TLS and protocol. A submission's address is not told
 * to the world. now: wall seconds. */
void trace_received(struct smtp *x, int64_t now, struct buf *out);
/* What a submission should have and lacks (RFC 6409 8). */
void trace_missing(const struct smtp *x, int64_t now, bool has_date, bool has_message_id,
                   struct buf *out);

#endif
