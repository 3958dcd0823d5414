/* SPDX-License-Identifier: Apache-2.0
 *
 * imap_search_syntax: SEARCH, SORT, THREAD and ESEARCH (RFC 9051 6.4.4, 4731, 5182, 5032 WITHIN,
 * 5256 SORT and THREAD, 5957 DISPLAY, 6203 FUZZY, 7162 MODSEQ, 7377 MULTISEARCH, 8474 ids,
 * 8514 SAVEDATE, 9394 PARTIAL, 5267 CONTEXT). The keys become a tree in the cursor's arena.
 * Limits: SEARCH_KEYS_MAX, SEARCH_DEPTH_MAX.
 */
#ifndef FORMAT_IMAP_SEARCH_SYNTAX_H
#define FORMAT_IMAP_SEARCH_SYNTAX_H

#include "format/imap_args.h"

enum search_kind {
    SEARCH_AND, /* first, then next of each */
    SEARCH_OR,
    SEARCH_NOT,
    SEARCH_FUZZY,
    SEARCH_ALL,
    SEARCH_FLAG,      /* flag: has all these system flags */
    SEARCH_UNFLAG,    /* flag: has none of them */
    SEARCH_KEYWORD,   /* text */
    SEARCH_UNKEYWORD, /* text */
    SEARCH_NEW,       /* recent and not seen */
    SEARCH_BEFORE,    /* day; of the internal date */
    SEARCH_ON,
    SEARCH_SINCE,
    SEARCH_SENTBEFORE, /* day; of the Date field */
    SEARCH_SENTON,
    SEARCH_SENTSINCE,
    SEARCH_SAVEDBEFORE, /* day; of the save date */
    SEARCH_SAVEDON,
    SEARCH_SAVEDSINCE,
    SEARCH_SAVEDATESUPPORTED,
    SEARCH_LARGER, /* number, bytes */
    SEARCH_SMALLER,
    SEARCH_YOUNGER, /* number, seconds */
    SEARCH_OLDER,
    SEARCH_FROM, /* text */
    SEARCH_TO,
    SEARCH_CC,
    SEARCH_BCC,
    SEARCH_SUBJECT,
    SEARCH_BODY,
    SEARCH_TEXT,
    SEARCH_HEADER,  /* field, text (empty text: the field exists) */
    SEARCH_SEQ,     /* seq: sequence numbers, or "$" */
    SEARCH_UID,     /* seq */
    SEARCH_MODSEQ,  /* number; field and text hold entry name and type, mostly empty */
    SEARCH_EMAILID, /* text */
    SEARCH_THREADID,
};
struct search_node {
    enum search_kind kind;
    struct search_node *first, *next; /* children; next sibling */
    uint32_t flag;                    /* IMAP_FLAG_ bits */
    str field, text;                  /* in the charset given; see imap_search.charset */
    uint64_t number;
    int64_t day; /* since 1970-01-01 */
    struct imap_seq seq;
};

enum search_return {
    SEARCH_RETURN_MIN = 1 << 0,
    SEARCH_RETURN_MAX = 1 << 1,
    SEARCH_RETURN_ALL = 1 << 2,
    SEARCH_RETURN_COUNT = 1 << 3,
    SEARCH_RETURN_SAVE = 1 << 4,
    SEARCH_RETURN_PARTIAL = 1 << 5,
    SEARCH_RETURN_UPDATE = 1 << 6,
    SEARCH_RETURN_CONTEXT = 1 << 7,
    SEARCH_RETURN_RELEVANCY = 1 << 8,
};
enum sort_key {
    SORT_ARRIVAL,
    SORT_CC,
    SORT_DATE,
    SORT_FROM,
    SORT_SIZE,
    SORT_SUBJECT,
    SORT_TO,
    SORT_DISPLAYFROM,
    SORT_DISPLAYTO,
    SORT_RELEVANCY,
};
struct sort_criterion {
    enum sort_key key;
    bool reverse;
};
enum thread_algorithm { THREAD_ORDEREDSUBJECT, THREAD_REFERENCES, THREAD_REFS };

struct imap_search {
    struct imap_filter *sources; /* ESEARCH IN (…) */
    size_t nsources;
    bool extended;    /* RETURN was given: answer with ESEARCH */
    uint32_t results; /* SEARCH_RETURN_ bits; "RETURN ()" is ALL */
    struct imap_partial partial;
    str charset; /* as given; empty: US-ASCII or UTF-8 */
    struct sort_criterion *sort;
    size_t nsort;
    enum thread_algorithm thread;
    struct search_node *root; /* a SEARCH_AND */
    bool uses_modseq;         /* a MODSEQ key stands somewhere (RFC 7162 3.1.5) */
    bool uses_fuzzy;          /* a FUZZY key stands somewhere; RELEVANCY needs one (RFC 6203 4) */
    bool uses_numbers;        /* message numbers stand somewhere, "$" aside */
};
/* Each takes all that stands behind the command's name and space, to the end. */
bool imap_take_search(struct imap_cursor *c, struct imap_search *out);
bool imap_take_sort(struct imap_cursor *c, struct imap_search *out);
bool imap_take_thread(struct imap_cursor *c, struct imap_search *out);
bool imap_take_esearch(struct imap_cursor *c, struct imap_search *out);

#endif
