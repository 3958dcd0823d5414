/* SPDX-License-Identifier: Apache-2.0
 *
 * search_reply: the answers of SEARCH, SORT and ESEARCH (RFC 9051 7.3.4, RFC 4731, 5267, 9394).
 */
#ifndef PROTO_IMAP_SEARCH_REPLY_H
#define PROTO_IMAP_SEARCH_REPLY_H

#include "proto/imap/search_run.h"

struct search_reply {
    struct imap *x;
    const struct imap_search *args;
    bool uid; /* UIDs, else sequence numbers */
    const struct search_found *found;
    struct buf uids;    /* u32 each, in the order of the answer */
    struct buf numbers; /* the same as they are shown */
    bool sorted;
    uint32_t seen_uid; /* for a result that is kept up to date */
    uint64_t seen_modseq;
    str mailbox; /* MULTISEARCH: its name as shown; with uidvalidity */
    uint32_t uidvalidity;
};
/* Takes the UIDs of `found` in their order; SORT fills uids itself. */
enum err search_reply_open(struct search_reply *r) WAITS MUST;
void search_reply_close(struct search_reply *r);
/* Makes numbers of uids; false: no memory. */
bool search_reply_number(struct search_reply *r) WAITS;

/* "* SEARCH …", "* SORT …" or "* ESEARCH …". */
void search_reply_tell(struct search_reply *r) WAITS;
/* The part of the result that PARTIAL names, as [from, to). */
void search_reply_partial(const struct search_reply *r, size_t *from, size_t *to);
/* What RETURN (SAVE …) keeps (RFC 5182 2.1, RFC 9394 3.1). */
enum err search_reply_save(const struct search_reply *r) MUST;

/* "1:3,7": runs that ascend by one become ranges. */
void search_render_numbers(const uint32_t *numbers, size_t n, struct buf *out);

#endif
