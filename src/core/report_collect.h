/* SPDX-License-Identifier: Apache-2.0
 *
 * report_collect: what we see of others' mail (DMARC) and of TLS to other hosts, counted for the
 * reports that core/report_send.h makes of it. Notes are gathered in memory and written in batches,
 * so mail waits for none of this; a crash loses the last seconds of them. Everything is bounded:
 * what has no room is counted as such and said in the report.
 */
#ifndef CORE_REPORT_COLLECT_H
#define CORE_REPORT_COLLECT_H

#include "core/report_rows.h"

#define REPORT_PENDING_MAX 8192 /* different notes between two writes */
#define REPORT_PENDING_BYTES 8388608
#define REPORT_ROWS_DOMAIN 2000  /* different notes of a domain and day */
#define REPORT_ROWS_DAY 50000    /* of all domains */
#define REPORT_DOMAINS_DAY 10000 /* domains of a day */
#define REPORT_GRACE_S 300       /* so long after midnight a day's notes are taken */

struct report_collector;
enum err report_collector_open(struct store *s, struct report_collector **out) MUST; /* NOMEM */
void report_collector_close(struct report_collector *c); /* what is pending is lost */
/* One more of this note at that time. From any thread; never waits. */
void report_collect(struct report_collector *c, const struct report_note *n, int64_t now_s);
/* Writes what is pending. On one thread; ERR_BUSY: another fiber is at it. What could not be
 * written for now stays pending. */
enum err report_collector_flush(struct report_collector *c, int64_t now_s) WAITS MUST;

#endif
