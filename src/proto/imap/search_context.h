/* SPDX-License-Identifier: Apache-2.0
 *
 * search_context: results that are kept up to date (RFC 5267).
 */
#ifndef PROTO_IMAP_SEARCH_CONTEXT_H
#define PROTO_IMAP_SEARCH_CONTEXT_H

#include "proto/imap/search_reply.h"

#define SEARCH_CONTEXTS_MAX 8 /* of a session; then NOUPDATE */

/* Before the search runs: what is seen by then. */
void search_context_mark(struct imap *x, struct search_reply *r);
/* After its answer. c, start: the command and where its arguments begin. Answers NOUPDATE itself.
 */
void search_context_start(struct imap *x, const struct imap_cursor *c, size_t start,
                          const struct search_reply *r);
void search_contexts_free(struct imap *x);

#endif
