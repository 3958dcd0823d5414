/* SPDX-License-Identifier: Apache-2.0
 *
 * embedded: the inside of the embedded engine, for its own files. See docs/store.md.
 *
 * A commit passes three stages, each with at most one thread in it, so that group N is applied
 * while N + 1 is flushed and N + 2 is written: write: takes the queue; plans each commit against
 * index and overlay; one pwritev flush: one fdatasync for everything written; a failure ends the
 * process apply: one batch of the index a group, with the journal position; then the answers The
 * stages are run by workers, or by the committing thread itself when nobody else is at work.
 */
#ifndef STORE_EMBEDDED_H
#define STORE_EMBEDDED_H

#include "store/encode.h"
#include "store/engine.h"
#include "store/index.h"
#include "store/plan.h"
#include "store/segment.h"

#define WORKERS 3
#define GROUP_COMMITS 256
#define GROUP_BYTES (8u << 20)
#define VERSION_SLOTS 4096
#define FLUSH_NS_SLOW (UINT64_C(1) << 30)

struct work {
    struct list link;
    struct store_pending *pending;
    struct encoded enc;
    uint8_t type; /* enum record_type */
    uint64_t partition, expect_version;
    struct store_expect *expects; /* one block with their bytes */
    size_t nexpects;
    struct overlay_txn txn;
    struct store_result out;
};
struct group {
    struct list link, works;
    struct segment *segment; /* held, as a writer */
    uint64_t begin, end;     /* in the segment */
    uint64_t sequence;       /* of the next record */
};
struct version_slot {
    uint64_t partition, version;
    uint32_t generation;
};
struct embedded {
    struct store store; /* first */
    struct index *index;
    struct segment_table segments;
    struct overlay overlay;
    struct planner planner; /* the write stage's */
    int dir, lock_fd;
    struct buf path; /* of the data folder, ends in '/' */
    uint64_t segment_bytes, index_flush_bytes;
    unsigned reserve_percent;

    pthread_mutex_t lock;
    pthread_cond_t work; /* something for a worker */
    struct list queue, written, flushed;
    size_t queue_bytes;
    bool writing, flushing, applying, stopping;
    bool hasty;            /* the apply stage is about to run on a loop's thread */
    uint64_t flush_ns;     /* how long a flush takes, of late */
    unsigned active, idle; /* threads in a stage; sleeping workers */
    bool stalled;          /* the index takes no rows for now */
    pthread_t workers[WORKERS], keeper;
    unsigned nworkers;
    bool has_keeper;
    pthread_cond_t keep;        /* wakes the keeper */
    pthread_mutex_t compacting; /* held: no segment is dropped or made cold */

    pthread_mutex_t staging; /* held while a blob is staged */
    struct segment *stage;   /* under it: what is written, held; NULL: none */
    uint64_t stage_at;

    struct segment *current; /* the write stage's, held */
    uint64_t end, sequence;
    uint64_t group_bytes;      /* the write stage's: of late */
    _Atomic uint64_t durable;  /* position */
    struct index_batch *batch; /* the apply stage's */
    uint64_t unflushed_bytes;
    bool given_up; /* closed while the index took no rows: the next open replays them */

    pthread_mutex_t version_lock;
    struct version_slot versions[VERSION_SLOTS];
    struct store_stats stats; /* under lock */
};

/* journal.c */
/* How a commit finds a thread: COMMIT_WAKE wakes one, COMMIT_HELP waits for journal_help; of
 * COMMIT_FIBER the fiber's own thread may do it before it sleeps. */
enum commit_by { COMMIT_WAKE, COMMIT_HELP, COMMIT_FIBER };
enum err journal_submit(struct embedded *e, struct work *w, enum commit_by by) MUST;
void journal_help(struct embedded *e, struct store_pending *p);
/* This thread's loop no longer runs anything for e. */
void journal_forget_loop(struct embedded *e);
/* Submits w with its pending and waits. */
enum err journal_run(struct embedded *e, struct work *w) MUST;
enum err journal_start(struct embedded *e) MUST;
void journal_stop(struct embedded *e);
void work_free(struct work *w);
/* journal_write.c: the write stage */
void journal_write_group(struct embedded *e, struct list *works, struct list *rejected,
                         struct group **out);
enum err journal_sync(int fd) MUST; /* ends the process when the flush fails */
/* ERR_NOSPACE when so many bytes would eat into the reserve; without blobs, into half of it. */
enum err journal_room(struct embedded *e, uint64_t bytes, bool blobs) MUST;
/* stage.c */
enum err embedded_stage(struct store *s, struct store_staged *st, str bytes) MUST;
void embedded_unstage(struct store *s, struct store_staged *st);
void stage_close(struct embedded *e);
/* replay.c */
enum err replay_journal(struct embedded *e) MUST;
/* Calls fn for each record of a segment from offset to its end or to the first bad one; *end is
 * where it stopped. fn's error stops it. */
struct record_view {
    struct record_header header;
    uint64_t offset;
    str bytes; /* the whole record */
};
typedef enum err record_fn(void *arg, const struct record_view *v);
enum err segment_walk(struct embedded *e, struct segment *s, uint64_t offset, uint64_t limit,
                      record_fn *fn, void *arg, uint64_t *end) MUST;
/* Checks the meta's and the blobs' checksums. ERR_CORRUPT. */
enum err record_verify(const struct record_view *v) MUST;
/* A cold segment's record. */
struct cold_blob {
    struct blob_id id;
    uint8_t codec;
    uint64_t length, stored;
    uint32_t crc;
    uint64_t at; /* of the stored bytes in the record */
};
/* Of the record: as a whole, and the part before the stored bytes; zeros follow them up to 8. */
uint64_t cold_record_length(const struct cold_blob *b);
void cold_record_start(struct buf *out, const struct cold_blob *b, uint32_t salt);
enum err cold_blob_read(const struct record_view *v, struct cold_blob *out) MUST;

/* blob.c */
/* The whole blob, verified; *owned is to be freed by the caller when not NULL. The segment in *held
 * is to be released. */
struct blob_bytes {
    str bytes;
    void *owned;
};
/* The whole blob, verified. */
enum err blob_load(struct embedded *e, const struct blob_row *r, struct blob_bytes *out) MUST;
void blob_unload(struct blob_bytes *b);
enum err blob_row_get(struct embedded *e, const struct blob_id *id, struct blob_row *out) MUST;
enum err embedded_blob_size(struct store *s, const struct blob_id *id, uint64_t *out) MUST;
enum err embedded_blob_pieces(struct store *s, const struct blob_id *id, uint64_t offset,
                              uint64_t len, store_piece_fn *fn, void *arg) MUST;
/* compact.c */
enum err compact_segments(struct embedded *e, unsigned live_percent) MUST;
enum err compact_clean(struct embedded *e) MUST; /* at open: cold files that no row knows */
void compact_trim_tokens(struct embedded *e, uint64_t wall_ms);
/* backup.c, check.c */
enum err embedded_backup(struct store *s, str to_dir) MUST;
enum err embedded_check(struct store *s, store_finding_fn *finding, void *arg) MUST;

/* Tests: the n-th flush from now fails (0: none). */
extern atomic_int embedded_test_fail_flush;

#endif
