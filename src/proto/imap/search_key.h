/* SPDX-License-Identifier: Apache-2.0
 *
 * search_key: the compiled form of a search key, between search_compile.c and search_run.c.
 */
#ifndef PROTO_IMAP_SEARCH_KEY_H
#define PROTO_IMAP_SEARCH_KEY_H

#include "proto/imap/search_run.h"

struct search_key {
    enum search_kind kind; /* every text key is SEARCH_TEXT; FUZZY is gone */
    struct search_key *first, *next;
    bool never;
    uint32_t flags; /* FLAG_ bits */
    uint64_t bits;  /* keywords; 0: the mailbox does not know it */
    uint64_t number;
    int64_t day;
    str name;         /* of a keyword */
    struct set *uids; /* SEQ and UID */
    size_t term;      /* TEXT: index into the program's terms */
};

#endif
