/* SPDX-License-Identifier: Apache-2.0
 *
 * segment: the files of the journal. `XXXXXXXX.log` holds records as they were committed,
 * `XXXXXXXX.cold` holds blobs that the compactor rewrote. Numbers ascend and are never used again.
 * Blobs are read with pread, so that a bad page of the disk is an error value and memory stays
 * small; only a walk through all records (replay, compaction, backup) maps a segment, and unmaps it
 * at its end. Who holds a segment can go on reading it when its file is gone.
 *
 *   header (64): "PHSEG001", number u32, kind u8 ('l' or 'c'), format u8, 0 u16, salt u32, zeros,
 *     crc u32 of the 60 bytes before
 */
#ifndef STORE_SEGMENT_H
#define STORE_SEGMENT_H

#include <pthread.h>
#include <stdatomic.h>

#include "store/store.h"

#define SEGMENT_HEADER 64
#define SEGMENT_RESERVE_STEP (16u << 20)

struct segment {
    uint32_t number, salt;
    bool cold;
    bool sealed;           /* under the table's lock */
    int fd;                /* while it is written; else -1 */
    _Atomic uint64_t size; /* bytes that are in the file for good */
    uint64_t reserved;     /* the writer's: blocks are there up to here */
    uint64_t filled;       /* the writer's: the file's length, with zeros behind the records */
    uint64_t capacity;
    unsigned holders, writers; /* under the table's lock */
    unsigned staged;           /* blobs in it that await their commit; the same */
    bool gone;
    int reader; /* opened at the first read; under the table's lock */
    str map;
    unsigned maps; /* users of map */
};
struct segment_table {
    pthread_mutex_t lock;
    struct segment **all; /* ascending */
    size_t count, cap;
    int dir;
    uint32_t next;
};

/* Reads the folder. A last segment that was just being made and holds nothing is removed unless
 * read_only. ERR_CORRUPT names the file in the log. */
enum err segments_open(struct segment_table *t, str dir, bool read_only) MUST;
void segments_close(struct segment_table *t);

/* The new file and its name are on disk when this returns. The result is held for the caller. */
enum err segment_create(struct segment_table *t, bool cold, uint64_t capacity,
                        struct segment **out) MUST;
/* NULL when there is none. */
struct segment *segment_hold(struct segment_table *t, uint32_t number);
void segment_release(struct segment_table *t, struct segment *s);
/* Copies [offset, offset + len); the segment must be held. ERR_CORRUPT beyond the end, ERR_IO. */
enum err segment_read(struct segment_table *t, struct segment *s, uint64_t offset, uint64_t len,
                      void *out) MUST;
/* The first len bytes mapped, until as many segment_unmap; the segment must be held. ERR_CORRUPT
 * beyond the end. */
enum err segment_map(struct segment_table *t, struct segment *s, uint64_t len, str *out) MUST;
void segment_unmap(struct segment_table *t, struct segment *s);
enum err segment_open_writer(struct segment_table *t, struct segment *s) MUST;
void segment_seal(struct segment_table *t, struct segment *s);
/* Groups in flight keep the descriptor open. */
void segment_writer(struct segment_table *t, struct segment *s, int by);
/* Bytes in it await their commit (by 1), or no longer (-1): it is not dropped meanwhile. */
void segment_staged(struct segment_table *t, struct segment *s, int by);
/* Removes it from the table and the folder; who holds it can go on reading. */
enum err segment_drop(struct segment_table *t, uint32_t number) MUST;
void segment_name(const struct segment *s, struct buf *out);
/* The i-th, held; NULL behind the last. */
struct segment *segment_at(struct segment_table *t, size_t i);

#endif
