/* SPDX-License-Identifier: Apache-2.0
 *
 * relay_wire: the values of core/relay.h and core/dns.h as BYTES fields of ipc.def. Taking is
 * strict: ERR_CORRUPT for anything that putting does not make, ERR_NOMEM at the arena's limit. What
 * is taken borrows from the input, but for the arrays and the envelope, which the arena holds.
 *
 * The relay is the process that the world talks to, so what it answers is believed no further than
 * what a resolver or a mail host could have said: addresses have their family's length, names and
 * single words hold no control character or space, and a status that says "found" has records.
 */
#ifndef APP_RELAY_WIRE_H
#define APP_RELAY_WIRE_H

#include "core/relay.h"

bool wire_dns_type_take(uint32_t n, enum dns_type *out);

void wire_answer_put(const struct dns_answer *a, struct buf *out);
/* type: what was asked. */
enum err wire_answer_take(str bytes, enum dns_type type, struct arena *arena,
                          struct dns_answer *out) MUST;

/* Without fd and size, which travel beside it. */
void wire_job_put(const struct relay_job *job, struct buf *out);
enum err wire_job_take(str bytes, struct arena *arena, struct relay_job *out) MUST;

void wire_report_put(const struct relay_report *report, size_t n, struct buf *out);
enum err wire_report_take(str bytes, size_t n, struct arena *arena, struct relay_report *out) MUST;

void wire_fetch_put(const struct relay_fetch *f, struct buf *out);
enum err wire_fetch_take(str bytes, struct relay_fetch *out) MUST;
/* Without fd and size, which travel beside it. */
void wire_scan_put(const struct relay_scan *q, struct buf *out);
enum err wire_scan_take(str bytes, struct arena *arena, struct relay_scan *out) MUST;

void wire_fetched_put(const struct relay_fetched *f, struct buf *out);
/* body_max: what was asked for. */
enum err wire_fetched_take(str bytes, uint64_t body_max, struct relay_fetched *out) MUST;

#endif
