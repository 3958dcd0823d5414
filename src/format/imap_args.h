/* SPDX-License-Identifier: Apache-2.0
 *
 * imap_args: the arguments of IMAP commands, each taken from a cursor that stands behind the
 * command's name and space. Each returns imap_ok(). Except where said, the caller ends with
 * imap_end(). Everything lives in the cursor's arena or borrows from the command.
 */
#ifndef FORMAT_IMAP_ARGS_H
#define FORMAT_IMAP_ARGS_H

#include "format/imap_syntax.h"

/* BODY[section]<offset.count>, BINARY[…] (RFC 9051 6.4.5, RFC 3516). */
enum imap_section_kind {
    IMAP_SECTION_ALL,
    IMAP_SECTION_HEADER,
    IMAP_SECTION_HEADER_FIELDS,
    IMAP_SECTION_HEADER_FIELDS_NOT,
    IMAP_SECTION_TEXT,
    IMAP_SECTION_MIME,
};
struct imap_section {
    enum imap_section_kind kind;
    uint32_t *parts; /* "1.2" */
    size_t nparts;
    str *fields;
    size_t nfields;
    bool partial;
    uint64_t offset, count; /* with partial; count from 1 */
    str text;               /* between the brackets, as given, to be echoed */
};
bool imap_take_section(struct imap_cursor *c, struct imap_section *out); /* from '[' on */

enum imap_fetch_kind {
    IMAP_FETCH_ENVELOPE,
    IMAP_FETCH_FLAGS,
    IMAP_FETCH_INTERNALDATE,
    IMAP_FETCH_RFC822,
    IMAP_FETCH_RFC822_HEADER,
    IMAP_FETCH_RFC822_SIZE,
    IMAP_FETCH_RFC822_TEXT,
    IMAP_FETCH_BODY, /* without section */
    IMAP_FETCH_BODYSTRUCTURE,
    IMAP_FETCH_UID,
    IMAP_FETCH_BODY_SECTION,
    IMAP_FETCH_BODY_PEEK,
    IMAP_FETCH_BINARY,
    IMAP_FETCH_BINARY_PEEK,
    IMAP_FETCH_BINARY_SIZE,
    IMAP_FETCH_MODSEQ,
    IMAP_FETCH_EMAILID,
    IMAP_FETCH_THREADID,
    IMAP_FETCH_SAVEDATE,
    IMAP_FETCH_PREVIEW,
    IMAP_FETCH_PREVIEW_LAZY,
};
struct imap_fetch_item {
    enum imap_fetch_kind kind;
    struct imap_section section; /* BODY_SECTION to BINARY_SIZE */
};
/* PARTIAL a:b (RFC 9394): both positive, or both negative (from the end). */
struct imap_partial {
    int64_t first, last;
};
struct imap_fetch {
    struct imap_seq seq;
    struct imap_fetch_item *items;
    size_t count;
    bool has_changedsince; /* RFC 7162 */
    uint64_t changedsince;
    bool vanished;
    bool has_partial;
    struct imap_partial partial;
};
bool imap_take_fetch(struct imap_cursor *c, struct imap_fetch *out);
bool imap_take_fetch_atts(struct imap_cursor *c, struct imap_fetch *out); /* only the items */
bool imap_take_partial(struct imap_cursor *c, struct imap_partial *out);  /* "1:100" */

enum imap_store_op { IMAP_STORE_SET, IMAP_STORE_ADD, IMAP_STORE_REMOVE };
struct imap_store {
    struct imap_seq seq;
    enum imap_store_op op;
    bool silent;
    struct imap_flags flags;
    bool has_unchangedsince; /* RFC 7162 */
    uint64_t unchangedsince;
};
bool imap_take_store(struct imap_cursor *c, struct imap_store *out);

enum imap_status_item {
    IMAP_STATUS_MESSAGES = 1 << 0,
    IMAP_STATUS_RECENT = 1 << 1,
    IMAP_STATUS_UIDNEXT = 1 << 2,
    IMAP_STATUS_UIDVALIDITY = 1 << 3,
    IMAP_STATUS_UNSEEN = 1 << 4,
    IMAP_STATUS_DELETED = 1 << 5,
    IMAP_STATUS_SIZE = 1 << 6,
    IMAP_STATUS_HIGHESTMODSEQ = 1 << 7,
    IMAP_STATUS_APPENDLIMIT = 1 << 8,
    IMAP_STATUS_MAILBOXID = 1 << 9,
    IMAP_STATUS_DELETED_STORAGE = 1 << 10,
};
uint32_t imap_take_status_items(struct imap_cursor *c); /* "(…)" to bits */

/* LIST, LSUB (RFC 9051 6.3.9, 5258, 5819, 6154, 8440, 9590). */
enum imap_list_option {
    IMAP_LIST_SUBSCRIBED = 1 << 0,
    IMAP_LIST_REMOTE = 1 << 1,
    IMAP_LIST_RECURSIVEMATCH = 1 << 2,
    IMAP_LIST_SPECIAL_USE = 1 << 3,
    IMAP_LIST_CHILDREN = 1 << 4, /* return options only, from here */
    IMAP_LIST_MYRIGHTS = 1 << 5,
    IMAP_LIST_STATUS = 1 << 6,
    IMAP_LIST_METADATA = 1 << 7,
};
struct imap_list {
    bool extended;            /* has options or several patterns */
    uint32_t select, results; /* selection and return options, IMAP_LIST_ bits */
    uint32_t status;          /* IMAP_STATUS_ bits with IMAP_LIST_STATUS */
    str *metadata;            /* entries with IMAP_LIST_METADATA */
    size_t nmetadata;
    str reference;
    str *patterns;
    size_t npatterns;
};
bool imap_take_list(struct imap_cursor *c, struct imap_list *out);

/* SELECT, EXAMINE: mailbox and parameters (RFC 7162). */
struct imap_select {
    str mailbox;
    bool condstore, qresync;
    uint32_t uidvalidity;
    uint64_t modseq;
    struct imap_seq known_uids;     /* count 0: not given */
    struct imap_seq seqs, seq_uids; /* the sequence match data; count 0: not given */
};
bool imap_take_select(struct imap_cursor *c, struct imap_select *out);

/* CREATE: mailbox and USE attributes (RFC 6154), as given ("\Sent"). */
struct imap_create {
    str mailbox;
    str *uses;
    size_t nuses;
};
bool imap_take_create(struct imap_cursor *c, struct imap_create *out);

/* ID (RFC 2971): pairs; a NIL value is empty. NIL gives none. */
struct imap_pair {
    str name, value;
    bool nil; /* the value is NIL */
};
struct imap_pairs {
    struct imap_pair *pairs;
    size_t count;
};
bool imap_take_id(struct imap_cursor *c, struct imap_pairs *out);

/* SETQUOTA root (STORAGE 512 MESSAGE 10) (RFC 9208): values in `value`, digits checked. */
struct imap_quota {
    str root;
    struct imap_quota_resource {
        str name;
        uint64_t limit;
    } * resources;
    size_t count;
};
bool imap_take_setquota(struct imap_cursor *c, struct imap_quota *out);

/* Rights (RFC 4314 2.1): bits in the order of "lrswipkxtea"; the obsolete c is k and x, d is
 * t, e and x. */
#define IMAP_RIGHTS "lrswipkxtea"
enum { IMAP_RIGHTS_ALL = (1 << 11) - 1 };
bool imap_take_rights(struct imap_cursor *c, char *op, uint32_t *rights); /* op '+', '-' or '=' */
void imap_render_rights(struct buf *out, uint32_t rights);

/* GETMETADATA and SETMETADATA (RFC 5464). */
struct imap_getmetadata {
    str mailbox; /* empty: the server */
    bool has_maxsize;
    uint64_t maxsize;
    uint32_t depth; /* 0, 1, or UINT32_MAX for infinity */
    str *entries;
    size_t count;
};
bool imap_take_getmetadata(struct imap_cursor *c, struct imap_getmetadata *out);
bool imap_take_setmetadata(struct imap_cursor *c, str *mailbox, struct imap_pairs *out);

/* APPEND and REPLACE with literals that are streamed, MULTIAPPEND (RFC 3502) and CATENATE
 * (RFC 4469). The caller takes the mailbox (and REPLACE's number) itself, then calls
 * imap_append_next over the text up to a literal; after the literal's bytes it makes a new cursor
 * over the text behind it and goes on with the same state. */
enum imap_append_step {
    IMAP_APPEND_MESSAGE,  /* flags and date of a message are in *out; its data follow */
    IMAP_APPEND_LITERAL,  /* the whole message: stream out->literal, then go on */
    IMAP_APPEND_TEXT,     /* a CATENATE part: stream out->literal, then go on */
    IMAP_APPEND_URL,      /* a CATENATE part: out->url */
    IMAP_APPEND_COMPLETE, /* the message is complete */
    IMAP_APPEND_END,      /* the command is complete */
    IMAP_APPEND_BAD,      /* c->error */
};
struct imap_append {
    struct imap_flags flags;
    bool has_date;
    struct date date;
    struct imap_literal literal;
    bool utf8; /* UTF8 (~{…}) (RFC 6855) */
    str url;
    uint32_t messages; /* complete ones */
    uint8_t state;     /* private, zero at the start */
    bool in_utf8, first_part;
};
enum imap_append_step imap_append_next(struct imap_cursor *c, struct imap_append *a);
/* For the reader: is the literal announced at the end of this line message content (to be
 * streamed) rather than an argument (to be attached)? */
bool imap_literal_is_message(str line);
/* The URL of a CATENATE part may be a literal, which is an argument. */
bool imap_literal_is_url(str text, const struct imap_literal *literal);

/* Sources of ESEARCH (RFC 7377) and filters of NOTIFY (RFC 5465). */
enum imap_filter_kind {
    IMAP_FILTER_SELECTED,
    IMAP_FILTER_SELECTED_DELAYED,
    IMAP_FILTER_INBOXES,
    IMAP_FILTER_PERSONAL,
    IMAP_FILTER_SUBSCRIBED,
    IMAP_FILTER_SUBTREE,
    IMAP_FILTER_SUBTREE_ONE,
    IMAP_FILTER_MAILBOXES,
};
struct imap_filter {
    enum imap_filter_kind kind;
    str *mailboxes; /* SUBTREE to MAILBOXES */
    size_t count;
};
bool imap_take_filter(struct imap_cursor *c, struct imap_filter *out);

enum imap_event {
    IMAP_EVENT_MESSAGE_NEW = 1 << 0,
    IMAP_EVENT_MESSAGE_EXPUNGE = 1 << 1,
    IMAP_EVENT_FLAG_CHANGE = 1 << 2,
    IMAP_EVENT_ANNOTATION_CHANGE = 1 << 3,
    IMAP_EVENT_MAILBOX_NAME = 1 << 4,
    IMAP_EVENT_SUBSCRIPTION_CHANGE = 1 << 5,
    IMAP_EVENT_MAILBOX_METADATA_CHANGE = 1 << 6,
    IMAP_EVENT_SERVER_METADATA_CHANGE = 1 << 7,
};
struct imap_event_group {
    struct imap_filter filter;
    uint32_t events;         /* 0: NONE */
    struct imap_fetch fetch; /* items of MessageNew (…); count 0: none */
};
struct imap_notify {
    bool none; /* NOTIFY NONE */
    bool status;
    struct imap_event_group *groups;
    size_t count;
};
bool imap_take_notify(struct imap_cursor *c, struct imap_notify *out);

/* UIDBATCHES size [first:last] (RFC 9… draft): last 0 when no range is given. */
bool imap_take_uidbatches(struct imap_cursor *c, uint32_t *size, uint32_t *first, uint32_t *last);

#endif
