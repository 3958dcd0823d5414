/* SPDX-License-Identifier: Apache-2.0
 *
 * schema: the rows of mail, as keys and values of store/store.h. Pure: bytes in, values out.
 * Every value begins with a type byte (the space) and a version byte; readers keep all older
 * versions and answer ERR_CORRUPT for what they cannot read. docs/decisions/003-mail-rows.md says
 * why each row is what it is.
 *
 * Partition of an account = its id. Derived are THREAD, SEARCH and SNAPSHOT; all else is truth.
 * Numbers that have no name here are free for what comes later (calendars, contacts).
 */
#ifndef CORE_SCHEMA_H
#define CORE_SCHEMA_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/set.h"
#include "store/store.h"

enum space {
    SPACE_HEAD = 1,      /* () -> struct head_row; rewritten by every commit */
    SPACE_MAILBOX = 2,   /* (mailbox u32) -> struct mailbox_row */
    SPACE_STATE = 3,     /* (mailbox u32) -> struct state_row */
    SPACE_INSTANCE = 4,  /* (mailbox u32, uid u32) -> struct message_row: the hot row */
    SPACE_MESSAGE = 5,   /* (message u64) -> struct message_cold: the cold row, never rewritten */
    SPACE_AT = 6,        /* (message u64, mailbox u32, uid u32) -> empty: where a message is */
    SPACE_CHANGE = 7,    /* (version u64) -> list of struct change_entry, one row per commit */
    SPACE_THREAD = 8,    /* (key u64) -> thread u64 */
    SPACE_ACL = 9,       /* (mailbox u32) -> who may do what there (core/acl.h) */
    SPACE_METADATA = 10, /* (scope u8, owner u64, mailbox u32, entry) -> core/metadata.h */
    SPACE_SEARCH = 11,   /* (first message u64) -> struct search_row: derived, see search_index.h */
    SPACE_SUBSCRIBED = 12, /* (owner u64, mailbox u32) -> empty: others' mailboxes (core/acl.h);
                            owner 0 -> name of a deleted one of one's own (core/subscription.h) */
    SPACE_URLKEY = 13,     /* (mailbox u32) -> key of its URLAUTH tokens (core/urlkey.h) */
    SPACE_SNAPSHOT = 14,   /* (mailbox u32) -> struct snapshot_row: derived, see snapshot.h */
    /* In queue shards (core/queue.h). */
    SPACE_QUEUE_MESSAGE = 32,
    SPACE_QUEUE_MIME = 33,
    SPACE_QUEUE_RECIPIENT = 34,
    SPACE_QUEUE_DUE = 35,
    SPACE_QUEUE_LEFT = 36,
    SPACE_QUEUE_LOG = 37,
    /* In STORE_PARTITION_REPORTS (core/report_rows.h). */
    SPACE_REPORT_DAY = 48,
    SPACE_REPORT_SEEN = 49,
    SPACE_REPORT_COUNT = 50,
    SPACE_REPORT_SENT = 51,
    SPACE_REPORT_TAKEN = 52,
    SPACE_REPORT_ROW = 53,
    /* In STORE_PARTITION_GREYLIST (core/greylist.h). */
    SPACE_GREY_TRIPLET = 64, /* (16 bytes of a hash of what it is) */
    SPACE_GREY_CLIENT = 65,  /* (family u8, 8 bytes of its network) */
    SPACE_GREY_COUNT = 66,   /* () -> be64 counter of the rows of both */
    /* In STORE_PARTITION_SENDING (core/send_limit.h). */
    SPACE_SEND_USED = 72,  /* (account u64) -> what it has sent lately */
    SPACE_SEND_LIMIT = 73, /* (account u64) -> limits of its own */
};

/* System flags of a message (RFC 9051 2.3.2). Everything else is a keyword. */
enum {
    FLAG_SEEN = 1,
    FLAG_ANSWERED = 2,
    FLAG_FLAGGED = 4,
    FLAG_DELETED = 8,
    FLAG_DRAFT = 16,
    FLAGS_ALL = 31,
};

#define MAILBOX_PATH_MAX 1000   /* bytes of UTF-8 of a whole name */
#define MAILBOX_LEVELS_MAX 32   /* '/' separated parts */
#define MAILBOXES_MAX 2000      /* of one account: a rename of all of them is one commit */
#define KEYWORDS_MAX 64         /* different keywords in one mailbox */
#define KEYWORD_NAME_MAX 100    /* bytes */
#define MESSAGE_PREFIX_MAX 2048 /* bytes of Return-Path and Delivered-To lines */
#define CHANGES_KEPT 65536      /* commits whose changes are remembered, at least */

/* RFC 6154 and RFC 8457 special uses. */
enum mailbox_role {
    ROLE_NONE,
    ROLE_INBOX,
    ROLE_DRAFTS,
    ROLE_SENT,
    ROLE_JUNK,
    ROLE_TRASH,
    ROLE_ARCHIVE,
    ROLE_ALL, /* virtual; never stored now */
    ROLE_FLAGGED,
    ROLE_IMPORTANT,
    ROLE_COUNT
};

/* The account as a whole. nonce is different in every commit, and every commit expects the head
 * that it was composed on: so a chain of submitted commits can never hold on top of a stranger's.
 */
struct head_row {
    uint64_t bytes, messages;  /* usage: instances, as quota counts them */
    uint64_t next_message;     /* ids begin at 1 and are never reused */
    uint32_t next_mailbox;     /* likewise */
    uint32_t next_uidvalidity; /* 0: not seeded yet */
    uint64_t change_floor;     /* CHANGE rows at or below this version are gone */
    uint64_t nonce;
};

struct keyword_table {
    uint32_t count;
    str names[KEYWORDS_MAX]; /* bit i of a row's keywords is names[i]; case is kept, not compared */
};
/* Bit of a keyword, or -1. */
int keyword_bit(const struct keyword_table *t, str name);

struct mailbox_row {
    str path; /* NFC, '/' separated, "INBOX" in capitals; empty while it is being purged */
    uint8_t role;
    bool subscribed, purging;
    uint32_t uidvalidity;
    uint64_t created;    /* version */
    uint64_t sort_order; /* JMAP; 0 */
    struct keyword_table keywords;
};
struct state_row {
    uint64_t uidnext; /* at most UINT32_MAX + 1, then the mailbox is full */
    uint64_t messages, unseen, deleted;
    uint64_t bytes, deleted_bytes;
    uint64_t highest_modseq;
};

/* A message in a mailbox. 64 bytes in memory, 60 in the store (key without). */
struct message_row {
    uint32_t uid;
    uint32_t flags;    /* FLAG_* */
    uint64_t keywords; /* bits of the mailbox's keyword table */
    uint64_t modseq;
    uint64_t message;      /* EMAILID; the same in every mailbox of the account it was copied to */
    uint64_t thread;       /* THREADID */
    uint64_t size;         /* bytes as clients read it: prefix, trace, content */
    int64_t internal_date; /* seconds, UTC */
    int64_t save_date;     /* seconds, UTC; when it came into this mailbox (RFC 8514) */
};
_Static_assert(sizeof(struct message_row) == 64, "a million of them are 64 MB");

/* The immutable part. As clients read it the message is prefix + blob; the blob is trace + content;
 * offsets in mime are relative to content, so to the client's message: + message_content_offset().
 */
struct message_cold {
    struct blob_id blob;
    uint64_t trace_len, content_len; /* bytes; the blob holds exactly their sum */
    uint64_t thread;
    int64_t received; /* seconds, UTC */
    str prefix;
    str mime; /* mime_cold_decode() it */
};
static inline uint64_t message_content_offset(const struct message_cold *c)
{
    return c->prefix.len + c->trace_len;
}
static inline uint64_t message_size(const struct message_cold *c)
{
    return c->prefix.len + c->trace_len + c->content_len;
}

/* A segment of the search index: of all messages from the key's to `last` that were there. */
struct search_row {
    uint64_t last, docs;
    uint64_t index_bytes; /* of the blob's front */
    uint64_t blob_bytes, text_bytes;
    struct blob_id blob;
};

/* The hot rows of a mailbox as they were at `version` (or some of them later), packed into blobs.
 */
struct snapshot_part {
    uint32_t last, rows; /* its last UID; the part before it ends where this one begins */
    uint64_t bytes;      /* of the blob */
    struct blob_id blob;
};
struct snapshot_row {
    uint64_t version;
    uint32_t uidvalidity;
    size_t nparts;
    const struct snapshot_part *parts; /* ascending; UIDs above the last one's are in none */
};
#define SNAPSHOT_PARTS_MAX 1000

/* What a commit changed. */
enum change_kind {
    CHANGE_ADDED = 1,           /* mailbox, uids */
    CHANGE_FLAGS = 2,           /* mailbox, uids */
    CHANGE_EXPUNGED = 3,        /* mailbox, uids */
    CHANGE_DESTROYED = 4,       /* messages (ids): their last instance is gone */
    CHANGE_MAILBOX_CREATED = 5, /* mailbox */
    CHANGE_MAILBOX_CHANGED = 6, /* mailbox: name, role, subscription, keywords, rights, … */
    CHANGE_MAILBOX_DELETED = 7, /* mailbox */
    CHANGE_METADATA = 8,        /* mailbox (0: the server), name of the entry */
};
struct change_entry {
    enum change_kind kind;
    uint32_t mailbox;
    struct set uids;          /* owned by whoever decoded it */
    const uint64_t *messages; /* DESTROYED: ids */
    size_t nmessages;
    str name; /* METADATA; borrowed from the row */
};

/* ---- keys ---- */
struct store_key key_head(void);
struct store_key key_mailbox(uint32_t mailbox);
struct store_key key_state(uint32_t mailbox);
struct store_key key_instance(uint32_t mailbox, uint32_t uid);
struct store_key key_message(uint64_t message);
struct store_key key_at(uint64_t message, uint32_t mailbox, uint32_t uid);
struct store_key key_change(uint64_t version);
struct store_key key_thread(uint64_t key);
struct store_key key_search(uint64_t first);
struct store_key key_acl(uint32_t mailbox);
struct store_key key_urlkey(uint32_t mailbox);
struct store_key key_snapshot(uint32_t mailbox);
struct store_key key_subscribed(uint64_t owner, uint32_t mailbox);
/* The first key of (scope, owner, mailbox); an entry's name follows. */
struct store_key key_metadata(uint8_t scope, uint64_t owner, uint32_t mailbox);
struct store_key key_queue_message(uint64_t id);
struct store_key key_queue_mime(uint64_t id);
struct store_key key_queue_left(uint64_t id);
struct store_key key_queue_recipient(uint64_t id, uint32_t n);
struct store_key key_queue_due(uint64_t due_ms, uint64_t id, uint32_t n);
struct store_key key_queue_log(uint64_t id, uint32_t n, uint32_t slot);
/* First key of a space, and the first after it. */
struct store_key key_space(enum space s);
struct store_key key_space_end(enum space s);
/* The number at an offset of a key (after the space byte: 1). False when the key is too short. */
bool key_u32(str key, size_t at, uint32_t *out);
bool key_u64(str key, size_t at, uint64_t *out);

/* ---- values: encoders append to a buf; decoders borrow from the bytes. ERR_CORRUPT. ---- */
void head_encode(const struct head_row *r, struct buf *out);
enum err head_decode(str value, struct head_row *out) MUST;
void mailbox_encode(const struct mailbox_row *r, struct buf *out);
enum err mailbox_decode(str value, struct mailbox_row *out) MUST;
void state_encode(const struct state_row *r, struct buf *out);
enum err state_decode(str value, struct state_row *out) MUST;
#define INSTANCE_BYTES 60
void instance_encode(const struct message_row *r, uint8_t out[INSTANCE_BYTES]);
enum err instance_decode(uint32_t uid, str value, struct message_row *out) MUST;
void cold_encode(const struct message_cold *r, struct buf *out);
enum err cold_decode(str value, struct message_cold *out) MUST;
void thread_encode(uint64_t thread, struct buf *out);
enum err thread_decode(str value, uint64_t *out) MUST;
void search_row_encode(const struct search_row *r, struct buf *out);
enum err search_row_decode(str value, struct search_row *out) MUST;
void snapshot_row_encode(const struct snapshot_row *r, struct buf *out);
/* The parts live in the arena. ERR_NOMEM too. */
enum err snapshot_row_decode(str value, struct arena *arena, struct snapshot_row *out) MUST;

/* A CHANGE row: nonce of its commit, then entries. */
void change_encode_start(uint64_t nonce, struct buf *out);
void change_encode_entry(const struct change_entry *e, struct buf *out);
enum err change_decode_start(str value, struct reader *r, uint64_t *nonce) MUST;
/* The next entry; ERR_EOF after the last. The caller frees e->uids; messages live in the arena. */
enum err change_decode_entry(struct reader *r, struct arena *arena, struct change_entry *e) MUST;

#endif
