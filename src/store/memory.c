/* SPDX-License-Identifier: Apache-2.0
 *
 * The memory engine: rows in one skip list, blobs beside it, everything under one lock. For tests
 * and for `posthouse dev`; nothing outlives the process.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/code.h"
#include "os/clock.h"
#include "store/encode.h"
#include "store/engine.h"
#include "store/plan.h"
#include "store/skiplist.h"

struct memory_blob {
    atomic_uint holders; /* the map and the readers */
    struct blob_id id;
    size_t len;
    char bytes[];
};
struct memory {
    struct store store; /* first */
    pthread_mutex_t lock;
    struct skiplist rows;
    struct map blobs;
    struct overlay overlay; /* one commit at a time */
    struct planner planner;
    struct store_stats stats;
};

static enum err base_get(void *arg, str key, struct buf *out)
{
    struct memory *m = arg;
    struct skiplist_node *n = skiplist_get(&m->rows, key);
    if (n == NULL)
        return ERR_NOT_FOUND;
    buf_add(out, n->value);
    return buf_ok(out) ? ERR_OK : ERR_LIMIT;
}

static void blob_release(struct memory_blob *b)
{
    if (atomic_fetch_sub(&b->holders, 1) == 1)
        free(b);
}

static str blob_key(const struct blob_id *id) { return str_of(id->bytes, sizeof id->bytes); }

static enum err blobs_keep(struct memory *m, const struct encoded *e)
{
    struct record_commit c;
    TRY(record_commit_read(encoded_meta(e), e->format, &c));
    for (uint64_t n = record_count(&c); n > 0; n--) {
        struct record_blob r = record_next_blob(&c);
        struct memory_blob *b = malloc(sizeof *b + r.length);
        if (b == NULL)
            return ERR_NOMEM;
        atomic_init(&b->holders, 1);
        b->id = r.id;
        b->len = r.length;
        memcpy(b->bytes, e->bytes + r.at, r.length);
        void *old = NULL;
        if (map_put(&m->blobs, blob_key(&r.id), b, &old) != ERR_OK) {
            free(b);
            return ERR_NOMEM;
        }
        if (old != NULL)
            blob_release(old);
    }
    return ERR_OK;
}

/* A deleted blob row takes its bytes with it. */
static void blob_forget(struct memory *m, str key)
{
    static const char head[9] = {0, 0, 0, 0, 0, 0, 0, 0, 'b'};
    if (key.len != 25 || memcmp(key.data, head, sizeof head) != 0)
        return;
    struct memory_blob *b = map_remove(&m->blobs, str_skip(key, sizeof head));
    if (b != NULL)
        blob_release(b);
}

static enum err apply(struct memory *m, struct overlay_txn *t)
{
    LIST_EACH (it, &t->entries) {
        struct overlay_entry *e = container_of(it, struct overlay_entry, link);
        switch (e->kind) {
        case OVERLAY_PUT:
            TRY(skiplist_put(&m->rows, e->key, e->value));
            break;
        case OVERLAY_DELETE:
            blob_forget(m, e->key);
            skiplist_delete(&m->rows, e->key);
            break;
        case OVERLAY_DELETE_RANGE:
            skiplist_delete_range(&m->rows, e->key, e->value);
            break;
        }
    }
    return ERR_OK;
}

static enum err commit_locked(struct memory *m, const struct store_commit *c,
                              const struct encoded *enc, struct store_result *out)
{
    struct overlay_txn t;
    overlay_txn_init(&t);
    struct plan_input in = {.partition = c->partition,
                            .meta = encoded_meta(enc),
                            .format = enc->format,
                            .wall_ms = clock_wall_ms(),
                            .expect_version = c->expect_version,
                            .expects = c->expects,
                            .nexpects = c->nexpects};
    enum err e = plan_commit(&m->planner, &t, &in, out);
    if (e == ERR_OK && !out->repeated)
        e = blobs_keep(m, enc);
    if (e == ERR_OK)
        e = apply(m, &t);
    overlay_end(&m->overlay, &t);
    m->stats.commits += e == ERR_OK && !out->repeated;
    return e;
}

static enum err memory_submit(struct store *s, const struct store_commit *c,
                              struct store_pending *p)
{
    struct memory *m = (struct memory *)s;
    struct encoded enc;
    struct store_result out = {0};
    TRY(encode_commit(c, &enc));
    pthread_mutex_lock(&m->lock);
    enum err e = commit_locked(m, c, &enc, &out);
    pthread_mutex_unlock(&m->lock);
    free(enc.bytes);
    if (e == ERR_OK && !out.repeated)
        store_notify(s, c->partition);
    store_finish(p, e, e == ERR_OK ? &out : NULL);
    return ERR_OK;
}

static enum err memory_get(struct store *s, uint64_t partition, str key, struct buf *out)
{
    struct memory *m = (struct memory *)s;
    struct row_key k = row_user(partition, key);
    pthread_mutex_lock(&m->lock);
    enum err e = base_get(m, row_str(&k), out);
    pthread_mutex_unlock(&m->lock);
    return e;
}

static uint64_t memory_version(struct store *s, uint64_t partition)
{
    struct memory *m = (struct memory *)s;
    struct row_key k = row_partition(partition);
    struct partition_row r = {0};
    pthread_mutex_lock(&m->lock);
    struct skiplist_node *n = skiplist_get(&m->rows, row_str(&k));
    if (n != NULL && row_read_partition(n->value, &r) != ERR_OK)
        r.version = 0;
    pthread_mutex_unlock(&m->lock);
    return r.version;
}

static void scan_locked(struct memory *m, const struct store_scan *q, store_row_fn *row, void *arg,
                        struct store_key *last)
{
    struct row_key from = row_user(q->partition, q->from), to = row_user(q->partition, q->to);
    struct skiplist_node *n = q->backwards ? skiplist_before(&m->rows, row_str(&to))
                                           : skiplist_seek(&m->rows, row_str(&from));
    for (size_t i = 0; i < q->limit && n != NULL; i++) {
        if (q->backwards ? str_cmp(n->key, row_str(&from)) < 0 : str_cmp(n->key, row_str(&to)) >= 0)
            return;
        struct store_row r = {str_skip(n->key, 8), q->keys_only ? STR_NONE : n->value};
        if (last != NULL) {
            memcpy(last->bytes, r.key.data, r.key.len);
            last->len = (uint8_t)r.key.len;
        }
        if (!row(arg, &r))
            return;
        n = q->backwards ? n->prev : n->next[0];
    }
}

static enum err memory_scan(struct store *s, const struct store_scan *q, store_row_fn *row,
                            void *arg, struct store_key *last)
{
    struct memory *m = (struct memory *)s;
    pthread_mutex_lock(&m->lock);
    scan_locked(m, q, row, arg, last);
    pthread_mutex_unlock(&m->lock);
    return ERR_OK;
}

static struct memory_blob *blob_hold(struct memory *m, const struct blob_id *id)
{
    pthread_mutex_lock(&m->lock);
    struct memory_blob *b = map_get(&m->blobs, blob_key(id));
    if (b != NULL)
        atomic_fetch_add(&b->holders, 1);
    pthread_mutex_unlock(&m->lock);
    return b;
}

static enum err memory_blob_size(struct store *s, const struct blob_id *id, uint64_t *out)
{
    struct memory_blob *b = blob_hold((struct memory *)s, id);
    if (b == NULL)
        return ERR_NOT_FOUND;
    *out = b->len;
    blob_release(b);
    return ERR_OK;
}

static enum err memory_blob_pieces(struct store *s, const struct blob_id *id, uint64_t offset,
                                   uint64_t len, store_piece_fn *fn, void *arg)
{
    struct memory_blob *b = blob_hold((struct memory *)s, id);
    if (b == NULL)
        return ERR_NOT_FOUND;
    str piece = str_sub(str_of(b->bytes, b->len), offset, len);
    if (piece.len > 0)
        (void)fn(arg, piece);
    blob_release(b);
    return ERR_OK;
}

static enum err memory_partitions(struct store *s, uint64_t from, uint64_t *out, size_t max,
                                  size_t *got)
{
    struct memory *m = (struct memory *)s;
    struct row_key k = row_partition(from), end = row_tag_end('p');
    pthread_mutex_lock(&m->lock);
    struct skiplist_node *n = skiplist_seek(&m->rows, row_str(&k));
    while (n != NULL && *got < max && str_cmp(n->key, row_str(&end)) < 0) {
        struct reader r = reader_of(str_skip(n->key, 9));
        out[(*got)++] = read_be64(&r);
        n = n->next[0];
    }
    pthread_mutex_unlock(&m->lock);
    return ERR_OK;
}

static enum err memory_blobs(struct store *s, const struct blob_id *from,
                             struct store_blob_count *out, size_t max, size_t *got)
{
    struct memory *m = (struct memory *)s;
    struct row_key k = from != NULL ? row_blob(from) : row_tag('b'), end = row_tag_end('b');
    enum err e = ERR_OK;
    pthread_mutex_lock(&m->lock);
    struct skiplist_node *n = skiplist_seek(&m->rows, row_str(&k));
    if (n != NULL && from != NULL && str_eq(n->key, row_str(&k)))
        n = n->next[0];
    while (n != NULL && e == ERR_OK && *got < max && str_cmp(n->key, row_str(&end)) < 0) {
        struct blob_row r = {0};
        e = row_read_blob(n->value, &r);
        memcpy(out[*got].id.bytes, n->key.data + 9, 16);
        out[(*got)++].refs = r.refs;
        n = n->next[0];
    }
    pthread_mutex_unlock(&m->lock);
    return e;
}

static void memory_stats(struct store *s, struct store_stats *out)
{
    struct memory *m = (struct memory *)s;
    struct row_key k = row_segment(0);
    struct segment_row r = {0};
    pthread_mutex_lock(&m->lock);
    *out = m->stats;
    out->blobs = m->blobs.count;
    struct skiplist_node *n = skiplist_get(&m->rows, row_str(&k));
    if (n != NULL && row_read_segment(n->value, &r) == ERR_OK)
        out->bytes_live = r.live_bytes;
    pthread_mutex_unlock(&m->lock);
}

static enum err memory_compact(struct store *s, unsigned live_percent)
{
    return ERR_OK; /* a freed blob's memory is free at once */
}

static enum err memory_backup(struct store *s, str to_dir) { return ERR_UNSUPPORTED; }

/* One row at a time is checked under the lock, so that commits go on between them. */
static enum err memory_check(struct store *s, store_finding_fn *finding, void *arg)
{
    struct memory *m = (struct memory *)s;
    struct store_blob_count page[64];
    struct blob_id from = BLOB_NONE;
    size_t got;
    do {
        got = 0;
        TRY(memory_blobs(s, &from, page, 64, &got));
        for (size_t i = 0; i < got; i++) {
            struct row_key k = row_blob(&page[i].id);
            struct blob_row r = {0};
            pthread_mutex_lock(&m->lock);
            struct skiplist_node *n = skiplist_get(&m->rows, row_str(&k));
            struct memory_blob *b = map_get(&m->blobs, blob_key(&page[i].id));
            bool gone = n == NULL;
            bool good = gone || (b != NULL && row_read_blob(n->value, &r) == ERR_OK &&
                                 b->len == r.length && code_crc32c(0, b->bytes, b->len) == r.crc);
            pthread_mutex_unlock(&m->lock);
            if (!good)
                finding(arg, true, 0, STR("a blob is missing or damaged"));
            from = page[i].id;
        }
    } while (got == 64);
    return ERR_OK;
}

static void memory_close(struct store *s)
{
    struct memory *m = (struct memory *)s;
    void *b;
    for (size_t i = 0; map_next(&m->blobs, &i, NULL, &b);)
        blob_release(b);
    map_free(&m->blobs);
    skiplist_free(&m->rows);
    planner_free(&m->planner);
    overlay_close(&m->overlay);
    pthread_mutex_destroy(&m->lock);
    store_fini(&m->store);
    free(m);
}

static const struct store_engine memory_engine = {
    .submit = memory_submit,
    .get = memory_get,
    .version = memory_version,
    .scan = memory_scan,
    .blob_size = memory_blob_size,
    .blob_pieces = memory_blob_pieces,
    .partitions = memory_partitions,
    .blobs = memory_blobs,
    .stats = memory_stats,
    .compact = memory_compact,
    .backup = memory_backup,
    .check = memory_check,
    .close = memory_close,
};

enum err store_open_memory(struct store **out)
{
    struct memory *m = calloc(1, sizeof *m);
    if (m == NULL)
        return ERR_NOMEM;
    store_init(&m->store, &memory_engine);
    pthread_mutex_init(&m->lock, NULL);
    skiplist_init(&m->rows);
    map_init(&m->blobs, SIZE_MAX / 2);
    enum err e = overlay_open(&m->overlay, base_get, m);
    planner_init(&m->planner, &m->overlay);
    if (e != ERR_OK) {
        memory_close(&m->store);
        return e;
    }
    *out = &m->store;
    return ERR_OK;
}
