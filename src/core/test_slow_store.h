/* SPDX-License-Identifier: Apache-2.0
 *
 * test_slow_store: a memory store whose commits are answered later, from another thread, in groups,
 * as a disk would; and which now and then answers what a bad day would. For the tests of core only.
 */
#ifndef CORE_TEST_SLOW_STORE_H
#define CORE_TEST_SLOW_STORE_H

#include <assert.h>
#include <time.h>

#include "base/num.h"
#include "store/engine.h"

#define SLOW_MAX 1024

struct slow_store {
    struct store store; /* first */
    struct store *inner;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t more;
    bool end;
    struct {
        struct store_commit commit;
        struct store_pending *pending;
    } queue[SLOW_MAX];
    size_t n;
    bool queue_ends_fail; /* commits in queue shards that bring no blob: as if killed before them */
    enum err directory_answer; /* of reads of the directory, when not ERR_OK */
    unsigned faults;           /* one in so many is not answered as usual; 0: none */
    uint64_t random;
    uint64_t groups, commits, largest;
    uint64_t rows_read; /* by scan and get */
};

static inline uint64_t xorshift(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

#define INNER(s) (((struct slow_store *)(s))->inner)

static enum err slow_submit(struct store *s, const struct store_commit *c, struct store_pending *p)
{
    struct slow_store *w = (struct slow_store *)s;
    pthread_mutex_lock(&w->lock);
    assert(w->n < SLOW_MAX);
    w->queue[w->n].commit = *c;
    w->queue[w->n++].pending = p;
    pthread_cond_signal(&w->more);
    pthread_mutex_unlock(&w->lock);
    return ERR_OK;
}

static void slow_one(struct slow_store *w, const struct store_commit *c, struct store_pending *p)
{
    struct store_result r = {0};
    unsigned what = w->faults ? (unsigned)(xorshift(&w->random) % w->faults) : 9;
    uint64_t kind = xorshift(&w->random) % 4;
    bool queue = c->partition >= STORE_PARTITION_QUEUE && c->partition < STORE_PARTITION_ACCOUNTS;
    enum err e = w->queue_ends_fail && queue && !c->nblobs ? ERR_IO
                 : what == 0 && kind == 0                  ? ERR_BUSY
                 : what == 0 && kind == 1                  ? ERR_CONFLICT
                 : what == 0 && kind == 2                  ? ERR_UNKNOWN /* and was not applied */
                                                           : store_commit(w->inner, c, &r);
    if (e == ERR_OK && !r.repeated)
        store_notify(&w->store, c->partition);
    if (e == ERR_OK && what == 0)
        e = ERR_UNKNOWN; /* and was applied */
    store_finish(p, e, e == ERR_OK ? &r : NULL);
}

static void *slow_thread(void *arg)
{
    struct slow_store *w = arg;
    static struct slow_store group; /* one test at a time */
    for (;;) {
        pthread_mutex_lock(&w->lock);
        while (!w->n && !w->end)
            pthread_cond_wait(&w->more, &w->lock);
        if (!w->n) {
            pthread_mutex_unlock(&w->lock);
            return NULL;
        }
        memcpy(group.queue, w->queue, w->n * sizeof w->queue[0]);
        group.n = w->n;
        w->n = 0;
        pthread_mutex_unlock(&w->lock);
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL); /* the flush */
        w->groups++;
        w->commits += group.n;
        w->largest = MAX(w->largest, group.n);
        for (size_t i = 0; i < group.n; i++)
            slow_one(w, &group.queue[i].commit, group.queue[i].pending);
    }
}

static enum err slow_get(struct store *s, uint64_t partition, str key, struct buf *out)
{
    enum err e = ((struct slow_store *)s)->directory_answer;
    if (partition == STORE_PARTITION_DIRECTORY && e != ERR_OK)
        return e;
    ((struct slow_store *)s)->rows_read++;
    return store_get(INNER(s), partition, key, out);
}
static uint64_t slow_version(struct store *s, uint64_t partition)
{
    return store_version(INNER(s), partition);
}

struct slow_rows {
    struct slow_store *store;
    store_row_fn *row;
    void *arg;
};

static bool slow_row(void *arg, const struct store_row *row)
{
    struct slow_rows *r = arg;
    r->store->rows_read++;
    return r->row(r->arg, row);
}

static enum err slow_scan(struct store *s, const struct store_scan *q, store_row_fn *row, void *arg,
                          struct store_key *last)
{
    struct slow_rows r = {(struct slow_store *)s, row, arg};
    return store_scan(INNER(s), q, slow_row, &r, last);
}

static enum err slow_blob_size(struct store *s, const struct blob_id *id, uint64_t *out)
{
    return store_blob_size(INNER(s), id, out);
}
static enum err slow_pieces(struct store *s, const struct blob_id *id, uint64_t offset,
                            uint64_t len, store_piece_fn *fn, void *arg)
{
    return store_blob_pieces(INNER(s), id, offset, len, fn, arg);
}
static enum err slow_partitions(struct store *s, uint64_t from, uint64_t *out, size_t max,
                                size_t *got)
{
    return store_partitions(INNER(s), from, out, max, got);
}
static enum err slow_blobs(struct store *s, const struct blob_id *from,
                           struct store_blob_count *out, size_t max, size_t *got)
{
    return store_blobs(INNER(s), from, out, max, got);
}
static void slow_stats(struct store *s, struct store_stats *out) { store_stats(INNER(s), out); }
static enum err slow_check(struct store *s, store_finding_fn *finding, void *arg)
{
    return store_check(INNER(s), finding, arg);
}

static void slow_close(struct store *s)
{
    struct slow_store *w = (struct slow_store *)s;
    pthread_mutex_lock(&w->lock);
    w->end = true;
    pthread_cond_signal(&w->more);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    store_close(w->inner);
    store_fini(s);
    free(w);
}

static const struct store_engine slow_engine = {
    .submit = slow_submit,
    .get = slow_get,
    .version = slow_version,
    .scan = slow_scan,
    .blob_size = slow_blob_size,
    .blob_pieces = slow_pieces,
    .partitions = slow_partitions,
    .blobs = slow_blobs,
    .stats = slow_stats,
    .check = slow_check,
    .close = slow_close,
};

static inline struct slow_store *slow_open(uint64_t seed, unsigned faults)
{
    struct slow_store *w = calloc(1, sizeof *w);
    assert(w && store_open_memory(&w->inner) == ERR_OK);
    store_init(&w->store, &slow_engine);
    w->faults = faults;
    w->random = seed * 2 + 1;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->more, NULL);
    assert(pthread_create(&w->thread, NULL, slow_thread, w) == 0);
    return w;
}

#endif
