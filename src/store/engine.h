/* SPDX-License-Identifier: Apache-2.0
 *
 * engine: what an engine gives to store.c, which holds everything that is the same for all of them:
 * limits, watches, blob ids. An engine's struct begins with struct store.
 */
#ifndef STORE_ENGINE_H
#define STORE_ENGINE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "base/map.h"
#include "os/chan.h"
#include "store/store.h"

struct store_engine {
    enum err (*submit)(struct store *s, const struct store_commit *c, struct store_pending *p) MUST;
    /* Called before a thread without a fiber blocks on p; may do the work itself. May be NULL. */
    void (*help)(struct store *s, struct store_pending *p);
    enum err (*get)(struct store *s, uint64_t partition, str key, struct buf *out) MUST;
    uint64_t (*version)(struct store *s, uint64_t partition);
    enum err (*scan)(struct store *s, const struct store_scan *q, store_row_fn *row, void *arg,
                     struct store_key *last) MUST;
    enum err (*blob_size)(struct store *s, const struct blob_id *id, uint64_t *out) MUST;
    /* A range that is the whole blob is verified before the first call of fn. */
    enum err (*blob_pieces)(struct store *s, const struct blob_id *id, uint64_t offset,
                            uint64_t len, store_piece_fn *fn, void *arg) MUST;
    /* NULL: the bytes are kept in memory until the commit. Blocks. */
    enum err (*stage)(struct store *s, struct store_staged *st, str bytes) MUST;
    void (*unstage)(struct store *s, struct store_staged *st);
    enum err (*partitions)(struct store *s, uint64_t from, uint64_t *out, size_t max,
                           size_t *got) MUST;
    enum err (*blobs)(struct store *s, const struct blob_id *from, struct store_blob_count *out,
                      size_t max, size_t *got) MUST;
    void (*stats)(struct store *s, struct store_stats *out);
    enum err (*compact)(struct store *s, unsigned live_percent) MUST;
    enum err (*backup)(struct store *s, str to_dir) MUST;
    enum err (*check)(struct store *s, store_finding_fn *finding, void *arg) MUST;
    void (*close)(struct store *s);
};

struct store {
    const struct store_engine *engine;
    bool read_only;
    pthread_mutex_t watch_lock;
    struct map watches; /* partition -> struct watch_list */
    atomic_size_t nwatches;
};

struct store_staged {
    struct store *store;
    struct blob_id id;
    uint64_t length;
    uint32_t crc;
    struct segment *segment; /* the engine's: where the bytes are, held; NULL: in `copy` */
    uint32_t number;
    uint64_t offset;
    struct buf copy;
};

/* A commit between submit and await. Engines that need more hang it on `work`. */
struct store_pending {
    struct completion done;
    struct store *store;
    atomic_bool finished;
    bool lazy; /* awaited at once: help() may do the work */
    enum err result;
    struct store_result out;
    void *work;
};

void store_init(struct store *s, const struct store_engine *engine);
void store_fini(struct store *s);
/* From any thread, after the commit is visible and before it is answered. */
void store_notify(struct store *s, uint64_t partition);
/* Sets the result and wakes the waiter; p is gone afterwards for the caller. */
void store_finish(struct store_pending *p, enum err result, const struct store_result *out);

#endif
