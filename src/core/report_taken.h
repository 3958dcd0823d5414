/* SPDX-License-Identifier: Apache-2.0
 *
 * report_taken: reports of others about domains of ours, as rows in the house. The mail that
 * brought one lies in its mailbox whatever becomes of the rows.
 */
#ifndef CORE_REPORT_TAKEN_H
#define CORE_REPORT_TAKEN_H

#include "core/directory.h"
#include "core/report_read.h"

#define REPORT_TAKEN_DAY 1000     /* reports about a domain and day */
#define REPORT_UNVERIFIED_DAY 100 /* … of which so many may come from who knows whom */
#define REPORT_BELOW_DAY 100      /* reports that come on one day about names below our domains */
#define REPORT_OLD_S 5184000 /* 60 days: what is older or later than tomorrow is not believed */

/* What a gate has read (core/report_read.h); *taken counts the domains that were new. A report that
 * is there already stays as it is. ERR_CORRUPT: the bytes break the form. */
enum err report_take(struct directory *d, str read, int64_t now_s, size_t *taken) WAITS MUST;
/* Removes what is older: reports by the end of their day, notes of what we sent by its day. */
enum err report_prune(struct store *s, int64_t now_s, uint64_t keep_s) WAITS MUST;

/* Reports about a domain, oldest first, and their rows; fn must not wait. from_s: not those that
 * end before. */
typedef bool report_taken_fn(void *arg, const struct report_key *k, const struct report_taken *t);
enum err report_taken_list(struct store *s, enum report_kind kind, str domain, int64_t from_s,
                           report_taken_fn *fn, void *arg) WAITS MUST;
typedef bool report_row_fn(void *arg, const struct report_key *k, uint64_t count, str body);
enum err report_rows_list(struct store *s, enum report_kind kind, str domain, uint32_t from_day,
                          report_row_fn *fn, void *arg) WAITS MUST;

#endif
