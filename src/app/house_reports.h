/* SPDX-License-Identifier: Apache-2.0
 *
 * house_reports: aggregate reports in the house: notes are counted (core/report_collect.h), a day's
 * are sent (core/report_send.h), those of others are kept (core/report_taken.h).
 */
#ifndef APP_HOUSE_REPORTS_H
#define APP_HOUSE_REPORTS_H

#include "app/house.h"
#include "core/report_send.h"

#define REPORT_FLUSH_MS 1000 /* what a crash may lose, beside as much in the gates */
#define REPORT_LOOK_MS 60000
#define REPORT_LOOK_MS_FIRST 1000 /* the relay is there by then */

/* Before the threads start. */
enum err house_reports_open(struct house_process *h) MUST;
/* On thread 0. */
enum err house_reports_start(struct house_process *h) MUST;
/* Writes what is pending; at the end. */
void house_reports_end(struct house_process *h) WAITS;
/* From any thread; never waits. */
void house_reports_observe(struct house_process *h, str note);
/* A queue_schedule note; ctx: the house. */
void house_reports_tls(void *ctx, str domain, str note);
enum err house_reports_take(struct house_process *h, str read) WAITS MUST;
/* As the configuration says; borrowed from it. */
struct report_settings report_settings_of(const struct config *c);

#endif
