/* SPDX-License-Identifier: Apache-2.0
 *
 * search_sort: the order of SORT (RFC 5256, 5957, 6203), and a walk through the cold rows of what
 * was found, which THREAD uses too.
 */
#ifndef PROTO_IMAP_SEARCH_SORT_H
#define PROTO_IMAP_SEARCH_SORT_H

#include "format/mime_cold.h"
#include "proto/imap/search_run.h"

/* Calls fn for each message of uids that is still there, ascending; cold is NULL when not asked for
 * or not readable. fn must not wait. */
typedef void search_row_fn(void *arg, const struct message_row *row, const struct mime_cold *cold);
enum err search_each_row(const struct search_place *place, const struct set *uids, bool cold,
                         search_row_fn *fn, void *arg) WAITS MUST;
/* The Date field, or the internal date (RFC 5256 2.2). */
int64_t search_sent(const struct message_row *row, const struct mime_cold *cold);

#define SEARCH_SORT_BYTES_MAX ((size_t)512 << 20)
/* UIDs (u32 each) into `uids` in the order of args->sort. */
enum err search_sort(const struct search_place *place, const struct imap_search *args,
                     const struct search_found *found, struct buf *uids) WAITS MUST;

#endif
