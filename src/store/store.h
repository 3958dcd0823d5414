/* SPDX-License-Identifier: Apache-2.0
 *
 * store: the narrow waist. Every protocol and every decision sees only this; nothing above it
 * knows which engine runs. It is declarative: one commit is one journal record (or one SQL call).
 *
 * Partition: an account or one of the reserved ones below. A commit touches one partition, is
 * atomic and serialisable against the partition's other commits, and gives the partition's new
 * version (strictly ascending; each commit that applies adds exactly 1; an absent partition has
 * version 0). Blobs are outside of partitions: immutable bytes with a count of references, which
 * commits take and drop.
 *
 * All calls are safe from any thread. Calls marked WAITS wait on a fiber and block off one.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/buf.h"
#include "base/err.h"

struct store;

/* Limits that hold on every engine. */
#define STORE_KEY_MAX 240                /* bytes, space byte included, partition not */
#define STORE_VALUE_MAX 65536            /* bytes; larger things are blobs */
#define STORE_OPS_MAX 5000               /* operations of a commit */
#define STORE_COMMIT_MAX 4194304         /* bytes of keys and values of a commit */
#define STORE_PAGE_MAX 1000              /* rows of a scan page */
#define STORE_BLOBS_MAX 512              /* staged blobs of a commit */
#define STORE_BLOB_MAX 268435456         /* bytes of one blob */
#define STORE_COMMIT_BLOBS_MAX 536870912 /* bytes of all blobs of a commit */

/* Reserved partitions; accounts begin at STORE_PARTITION_ACCOUNTS. */
enum {
    STORE_PARTITION_DIRECTORY = 1,
    STORE_PARTITION_CLUSTER = 2,
    STORE_PARTITION_GREYLIST = 4, /* core/greylist.h */
    STORE_PARTITION_SENDING = 5,  /* core/send_limit.h */
    STORE_PARTITION_REPORTS = 8,  /* statistics for and from others (core/report_rows.h) */
    STORE_PARTITION_QUEUE = 16,   /* first of STORE_QUEUE_SHARDS */
    STORE_PARTITION_ACCOUNTS = 1024,
};
#define STORE_QUEUE_SHARDS 16

/* 128 bits: 48 bits of wall clock ms, 80 random bits; ascending in time, unique everywhere. */
struct blob_id {
    uint8_t bytes[16];
};
#define BLOB_NONE ((struct blob_id){{0}})
struct blob_id blob_id_new(void);
static inline bool blob_id_eq(const struct blob_id *a, const struct blob_id *b)
{
    return __builtin_memcmp(a->bytes, b->bytes, 16) == 0;
}
bool blob_id_is_none(const struct blob_id *id);

/* Keys are the space byte and then ids, big endian, so that order in bytes is order in meaning. */
struct store_key {
    uint8_t bytes[STORE_KEY_MAX];
    uint8_t len;
};
static inline str key_str(const struct store_key *k) { return str_of(k->bytes, k->len); }
/* Becomes the first key that can stand behind it: where the next page begins. */
void store_key_next(struct store_key *k);

enum store_op_kind {
    STORE_PUT,          /* key, value */
    STORE_DELETE,       /* key; absent is fine */
    STORE_DELETE_RANGE, /* key <= k < value (value holds the end key) */
    STORE_ADD,          /* key's value as a be64 signed counter += delta; absent is 0 */
};
struct store_op {
    enum store_op_kind kind;
    str key, value;
    int64_t delta;
};
enum store_expect_kind { STORE_EXPECT_ABSENT, STORE_EXPECT_PRESENT, STORE_EXPECT_EQUAL };
struct store_expect {
    enum store_expect_kind kind;
    str key, value;
};
/* A new blob; the commit holds its first reference. The bytes come from memory (data) or, when fd
 * is >= 0, from the first `len` bytes of that file; prefix stands before them in the blob. */
struct store_staged;
struct store_blob_new {
    struct blob_id id;
    str prefix;
    str data;
    int fd;
    uint64_t len;                      /* bytes of data or of the file, without the prefix */
    const struct store_staged *staged; /* not NULL: it is there already; only the id counts here */
};
/* A large blob can go to the disk ahead of its commit, so that neither the commit nor those that
 * share its flush wait for so many bytes. Written in pieces, at most half of the time, by a worker;
 * on disk when this returns. What no commit takes, before the drop or a crash, is dead space. */
enum err store_blob_stage(struct store *s, const struct blob_id *id, str bytes,
                          struct store_staged **out) WAITS MUST;
/* When the commits that name it are answered, or instead of them. NULL is fine. */
void store_staged_drop(struct store_staged *st);
#define STORE_ANY_VERSION UINT64_MAX
struct store_token {
    uint8_t bytes[16]; /* all zero: none */
};

struct store_commit {
    uint64_t partition;
    uint64_t expect_version;  /* or STORE_ANY_VERSION */
    uint64_t owner_epoch;     /* 0: not checked; lower than the partition's known one: ERR_FENCED */
    struct store_token token; /* the same token twice in a partition applies once */
    const struct store_expect *expects;
    size_t nexpects;
    const struct store_op *ops;
    size_t nops;
    const struct store_blob_new *blobs; /* staged: references taken with the first store */
    size_t nblobs;
    const struct blob_id *refs; /* take one more reference each; unknown blob: ERR_CONFLICT */
    size_t nrefs;
    const struct blob_id *drops; /* drop one reference each; the last frees the blob (in time);
                                  * unknown blob: ERR_CONFLICT */
    size_t ndrops;
};
struct store_result {
    uint64_t version; /* of the partition after the commit; of the earlier one for a known token */
    bool repeated;    /* the token was known: nothing was applied now */
};

/* Partition 0 is the engine's own (ERR_INVALID). A commit to a store opened read-only: ERR_DENIED.
 * OK: durable and visible. Otherwise nothing was applied: CONFLICT (an expectation or the version
 * did not hold), FENCED, BUSY (try again), NOSPACE, IO, LIMIT; or UNKNOWN (ask again with the same
 * token). All memory named by the commit may go when this returns. */
enum err store_commit(struct store *s, const struct store_commit *c,
                      struct store_result *out) WAITS MUST;

/* The same in two halves, so that one fiber can put commits of a partition in order without waiting
 * between them (a chain: the second expects the version that the first will give). Commits of one
 * partition that are submitted from one thread are applied in the order of submission. */
struct store_pending;
/* Copies what it needs: all memory and descriptors named by the commit may go when this returns.
 * ERR_BUSY when STORE_QUEUE_BYTES_MAX already wait. */
#define STORE_QUEUE_BYTES_MAX 134217728
enum err store_submit(struct store *s, const struct store_commit *c,
                      struct store_pending **out) MUST;
/* On the thread that submitted; frees p. */
enum err store_await(struct store_pending *p, struct store_result *out) WAITS MUST;

/* Reads see every commit that was answered OK before the call. */
/* ERR_NOT_FOUND when absent. Appends to out. */
enum err store_get(struct store *s, uint64_t partition, str key, struct buf *out) WAITS MUST;
uint64_t store_version(struct store *s, uint64_t partition); /* 0: never written; does not wait */

struct store_row {
    str key, value;
};
struct store_scan {
    uint64_t partition;
    str from, to;   /* from <= key < to */
    bool backwards; /* from the end */
    size_t limit;   /* rows; at most STORE_PAGE_MAX */
    bool keys_only;
};
/* Calls row for each, in order, in one consistent view; the slices live during the call only; row
 * must not wait and must not call the store; returning false ends the page. *last (may be NULL)
 * gets the last key seen, for the next page. */
typedef bool store_row_fn(void *arg, const struct store_row *row);
enum err store_scan(struct store *s, const struct store_scan *q, store_row_fn *row, void *arg,
                    struct store_key *last) WAITS MUST;
/* All rows of the range, in pages of q->limit rows (0: STORE_PAGE_MAX), until row returns false.
 * Each page is a view of its own: what is changed meanwhile behind the last key seen is seen.
 * Others run between pages, so a long range holds up nobody. */
enum err store_scan_all(struct store *s, const struct store_scan *q, store_row_fn *row,
                        void *arg) WAITS MUST;

enum err store_blob_size(struct store *s, const struct blob_id *id, uint64_t *out) WAITS MUST;
/* Appends at most len bytes from offset. ERR_NOT_FOUND, ERR_CORRUPT (checksum). Whole-blob reads
 * verify the checksum; ranges of a stored-as-is blob may not. */
enum err store_blob_read(struct store *s, const struct blob_id *id, uint64_t offset, uint64_t len,
                         struct buf *out) WAITS MUST;
/* Borrowed access without a copy where the engine can map the bytes: fn is called once or more with
 * ascending pieces of the range; must not wait. Returning false ends it. */
typedef bool store_piece_fn(void *arg, str piece);
enum err store_blob_pieces(struct store *s, const struct blob_id *id, uint64_t offset, uint64_t len,
                           store_piece_fn *fn, void *arg) WAITS MUST;

/* A hint that a partition changed, on the watching thread's loop, outside any fiber; may be
 * spurious and may merge several changes. Comes at most some milliseconds after the commit was
 * answered. */
struct store_watch {
    uint64_t partition;
    void (*changed)(struct store_watch *w);
    uint64_t priv[8]; /* the store's */
};
/* ERR_INVALID on a thread without a loop. Both calls on the watching thread. */
enum err store_watch_start(struct store *s, struct store_watch *w) MUST;
void store_watch_stop(struct store *s, struct store_watch *w);

/* Every partition with a version, ascending from `from`. */
enum err store_partitions(struct store *s, uint64_t from, uint64_t *out, size_t max,
                          size_t *got) WAITS MUST;

/* ---- Opening, and what every engine offers besides ---- */
struct store_options {
    str dir; /* embedded: the data folder; made if `create` */
    bool create;
    bool read_only;             /* for check and restore: writes nothing at all */
    uint64_t cache_bytes;       /* one cache for everything; 0: default 16 MiB */
    uint64_t segment_bytes;     /* 0: 256 MiB; tests use small ones */
    uint64_t index_flush_bytes; /* 0: 512 MiB of journal between index flushes */
    unsigned reserve_percent;   /* free disk kept back; reaching it answers NOSPACE; default 2 */
};
enum err store_open_memory(struct store **out) MUST;
enum err store_open_embedded(const struct store_options *o, struct store **out) MUST;
void store_close(struct store *s); /* flushes; no call may be in flight */

struct store_stats {
    uint64_t commits, groups, flushes, bytes_journal, bytes_live, bytes_dead, segments, blobs;
    uint64_t lone; /* groups that the thread of their commits wrote and flushed itself */
    uint64_t replayed_records, cut_bytes; /* of the last open */
};
void store_stats(struct store *s, struct store_stats *out);
/* Compacts segments under `live_percent` now; in the background it runs by itself. */
enum err store_compact(struct store *s, unsigned live_percent) WAITS MUST;
/* A hot backup into an empty folder that opens as a store. */
enum err store_backup(struct store *s, str to_dir) WAITS MUST;

/* Findings of a check: `partition` 0 when none. fatal: data is unreadable or wrong. */
typedef void store_finding_fn(void *arg, bool fatal, uint64_t partition, str text);
/* Verifies all checksums, that every blob reference count equals the references held (the counts
 * come from the caller's walk through refs()), live-byte counts. Reads only. */
struct store_blob_count {
    struct blob_id id;
    uint64_t refs;
};
enum err store_check(struct store *s, store_finding_fn *finding, void *arg) WAITS MUST;
/* All blobs with their reference counts, ascending by id, a page at a time (from: exclusive). */
enum err store_blobs(struct store *s, const struct blob_id *from, struct store_blob_count *out,
                     size_t max, size_t *got) WAITS MUST;

#endif
