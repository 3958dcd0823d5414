/* SPDX-License-Identifier: Apache-2.0
 *
 * search_state: what the search family keeps for a session: the saved result (RFC 5182) and the
 * searches that are kept up to date (RFC 5267).
 */
#ifndef PROTO_IMAP_SEARCH_STATE_H
#define PROTO_IMAP_SEARCH_STATE_H

#include "proto/imap/session.h"

struct search_context; /* search_context.c */

struct imap_search_state {
    struct set saved; /* UIDs of the selected mailbox */
    struct list contexts;
    size_t ncontexts;
};

/* The session's state, made when it is first needed; NULL without memory. */
struct imap_search_state *search_state(struct imap *x);

#endif
