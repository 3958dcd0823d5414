/* SPDX-License-Identifier: Apache-2.0
 *
 * The embedded engine: opening, closing, reads, and the keeper that looks after it in the
 * background.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/num.h"
#include "os/background.h"
#include "os/clock.h"
#include "os/fiber.h"
#include "os/file.h"
#include "store/embedded.h"

#define FORMAT_TEXT "posthouse store 1\n"
#define KEEPER_PERIOD_S 60
#define COMPACT_LIVE_PERCENT 50

/* ---- Commits ---- */

static enum err copy_expects(const struct store_commit *c, struct work *w)
{
    size_t bytes = c->nexpects * sizeof *w->expects;
    for (size_t i = 0; i < c->nexpects; i++)
        bytes += c->expects[i].key.len + c->expects[i].value.len;
    if (c->nexpects == 0)
        return ERR_OK;
    w->expects = malloc(bytes);
    if (w->expects == NULL)
        return ERR_NOMEM;
    w->nexpects = c->nexpects;
    char *at = (char *)(w->expects + c->nexpects);
    for (size_t i = 0; i < c->nexpects; i++) {
        struct store_expect x = c->expects[i];
        memcpy(at, x.key.data, x.key.len);
        w->expects[i] = (struct store_expect){x.kind, str_of(at, x.key.len), STR_NONE};
        at += x.key.len;
        if (x.value.len > 0)
            memcpy(at, x.value.data, x.value.len);
        w->expects[i].value = str_of(at, x.value.len);
        at += x.value.len;
    }
    return ERR_OK;
}

static enum err embedded_submit(struct store *s, const struct store_commit *c,
                                struct store_pending *p)
{
    struct work *w = calloc(1, sizeof *w);
    if (w == NULL)
        return ERR_NOMEM;
    *w = (struct work){.pending = p,
                       .type = RECORD_COMMIT,
                       .partition = c->partition,
                       .expect_version = c->expect_version};
    overlay_txn_init(&w->txn);
    enum err e = encode_commit(c, &w->enc);
    if (e == ERR_OK)
        e = copy_expects(c, w);
    if (e == ERR_OK)
        e = journal_submit((struct embedded *)s, w,
                           background_thread()       ? COMMIT_WAKE
                           : fiber_current() != NULL ? COMMIT_FIBER
                           : p->lazy                 ? COMMIT_HELP
                                                     : COMMIT_WAKE);
    if (e != ERR_OK)
        work_free(w);
    return e;
}

static void embedded_help(struct store *s, struct store_pending *p)
{
    if (!background_thread()) /* others would wait for a thread that gives way to all */
        journal_help((struct embedded *)s, p);
}

/* ---- Reads ---- */

static enum err embedded_get(struct store *s, uint64_t partition, str key, struct buf *out)
{
    struct row_key k = row_user(partition, key);
    return index_get(((struct embedded *)s)->index, row_str(&k), out);
}

/* A slot holds what was published last for one of its partitions. A reader that missed fills it
 * only if nothing was published in the slot meanwhile. */
static uint64_t embedded_version(struct store *s, uint64_t partition)
{
    struct embedded *e = (struct embedded *)s;
    struct version_slot *v = &e->versions[partition % VERSION_SLOTS];
    pthread_mutex_lock(&e->version_lock);
    uint32_t generation = v->generation;
    bool hit = v->partition == partition;
    uint64_t version = v->version;
    pthread_mutex_unlock(&e->version_lock);
    if (hit)
        return version;
    struct row_key k = row_partition(partition);
    struct partition_row r = {0};
    BUF_AUTO struct buf row = BUF_INIT(64);
    enum err err = index_get(e->index, row_str(&k), &row);
    if (err == ERR_OK)
        err = row_read_partition(buf_str(&row), &r);
    if (err != ERR_OK && err != ERR_NOT_FOUND) {
        LOG_ERROR("store", "version of partition %llu is unreadable: %s",
                  (unsigned long long)partition, err_name(err));
        return 0;
    }
    pthread_mutex_lock(&e->version_lock);
    if (v->generation == generation)
        *v = (struct version_slot){partition, r.version, generation};
    pthread_mutex_unlock(&e->version_lock);
    return r.version;
}

static enum err embedded_scan(struct store *s, const struct store_scan *q, store_row_fn *row,
                              void *arg, struct store_key *last)
{
    struct embedded *e = (struct embedded *)s;
    struct row_key from = row_user(q->partition, q->from), to = row_user(q->partition, q->to);
    struct index_iter *it = index_iter_new(e->index, row_str(&from), row_str(&to), q->backwards);
    for (size_t i = 0; i < q->limit && index_iter_valid(it); i++) {
        str key = str_skip(index_iter_key(it), 8);
        struct store_row r = {key, q->keys_only ? STR_NONE : index_iter_value(it)};
        if (last != NULL) {
            memcpy(last->bytes, key.data, key.len);
            last->len = (uint8_t)key.len;
        }
        if (!row(arg, &r))
            break;
        index_iter_step(it);
    }
    return index_iter_free(it);
}

static enum err embedded_partitions(struct store *s, uint64_t from, uint64_t *out, size_t max,
                                    size_t *got)
{
    struct row_key k = row_partition(from), end = row_tag_end('p');
    struct index_iter *it =
        index_iter_new(((struct embedded *)s)->index, row_str(&k), row_str(&end), false);
    for (; *got < max && index_iter_valid(it); index_iter_step(it)) {
        struct reader r = reader_of(str_skip(index_iter_key(it), 9));
        out[(*got)++] = read_be64(&r);
    }
    return index_iter_free(it);
}

static enum err embedded_blobs(struct store *s, const struct blob_id *from,
                               struct store_blob_count *out, size_t max, size_t *got)
{
    struct row_key k = from != NULL ? row_blob(from) : row_tag('b'), end = row_tag_end('b');
    struct index_iter *it =
        index_iter_new(((struct embedded *)s)->index, row_str(&k), row_str(&end), false);
    enum err err = ERR_OK;
    for (; err == ERR_OK && *got < max && index_iter_valid(it); index_iter_step(it)) {
        struct blob_row r = {0};
        if (from != NULL && str_eq(index_iter_key(it), row_str(&k)))
            continue;
        err = row_read_blob(index_iter_value(it), &r);
        memcpy(out[*got].id.bytes, index_iter_key(it).data + 9, sizeof out->id.bytes);
        out[(*got)++].refs = r.refs;
    }
    enum err ended = index_iter_free(it);
    return err != ERR_OK ? err : ended;
}

static void embedded_stats(struct store *s, struct store_stats *out)
{
    struct embedded *e = (struct embedded *)s;
    pthread_mutex_lock(&e->lock);
    *out = e->stats;
    pthread_mutex_unlock(&e->lock);
    pthread_mutex_lock(&e->segments.lock);
    out->segments = e->segments.count;
    pthread_mutex_unlock(&e->segments.lock);
    struct row_key from = row_tag('s'), to = row_tag_end('s');
    struct index_iter *it = index_iter_new(e->index, row_str(&from), row_str(&to), false);
    for (; index_iter_valid(it); index_iter_step(it)) {
        struct segment_row r;
        if (row_read_segment(index_iter_value(it), &r) != ERR_OK)
            continue;
        out->bytes_live += r.live_bytes;
        out->blobs += r.live_blobs;
        out->bytes_dead += r.total_bytes > r.live_bytes ? r.total_bytes - r.live_bytes : 0;
    }
    (void)!index_iter_free(it);
}

static enum err embedded_compact(struct store *s, unsigned live_percent)
{
    return compact_segments((struct embedded *)s, live_percent);
}

/* ---- The keeper ---- */

static bool keeper_sleep(struct embedded *e)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += KEEPER_PERIOD_S;
    pthread_mutex_lock(&e->lock);
    int rc = 0;
    while (!e->stopping && rc == 0)
        rc = pthread_cond_timedwait(&e->keep, &e->lock, &until);
    bool stopping = e->stopping;
    pthread_mutex_unlock(&e->lock);
    return !stopping;
}

static void *keeper(void *arg)
{
    struct embedded *e = arg;
    while (keeper_sleep(e)) {
        compact_trim_tokens(e, clock_wall_ms());
        enum err err = compact_segments(e, COMPACT_LIVE_PERCENT);
        if (err != ERR_OK && err != ERR_CANCELED) /* that: the store closes */
            LOG_WARN("store", "compaction: %s", err_text(err));
    }
    return NULL;
}

/* ---- Opening and closing ---- */

static str path_in(struct embedded *e, struct buf *path, const char *name)
{
    buf_reset(path);
    buf_add(path, buf_str(&e->path));
    buf_add_c(path, name);
    return buf_str(path);
}

static enum err check_format(struct embedded *e)
{
    BUF_AUTO struct buf text = BUF_INIT(256);
    TRY(file_read_whole(e->dir, STR("FORMAT"), &text));
    if (str_eq(buf_str(&text), STR(FORMAT_TEXT)))
        return ERR_OK;
    LOG_ERROR("store", "this store's format is not known to this program: %.*s",
              STR_ARG(str_trim(buf_str(&text))));
    return ERR_UNSUPPORTED;
}

static enum err open_folder(struct embedded *e, const struct store_options *o)
{
    BUF_AUTO struct buf path = BUF_INIT(4096);
    bool create = o->create && !o->read_only;
    buf_init(&e->path, 4000);
    buf_add(&e->path, o->dir);
    buf_add_char(&e->path, '/');
    if (!buf_ok(&e->path))
        return ERR_LIMIT;
    if (create)
        TRY(file_make_dirs(o->dir));
    TRY(file_open(-100 /* AT_FDCWD */, o->dir, FILE_READ | FILE_DIR, &e->dir));
    int flags = o->read_only ? FILE_READ : FILE_READ | FILE_WRITE | (create ? FILE_CREATE : 0);
    TRY(file_open(e->dir, STR("LOCK"), flags | (o->read_only ? 0 : FILE_CREATE), &e->lock_fd));
    TRY(file_lock(e->lock_fd));
    enum err err = check_format(e);
    if (err != ERR_NOT_FOUND || !create)
        return err;
    TRY(file_make_dirs(path_in(e, &path, "journal")));
    TRY(file_make_dirs(path_in(e, &path, "index")));
    return file_replace(e->dir, STR("FORMAT"), STR(FORMAT_TEXT));
}

static enum err open_parts(struct embedded *e, const struct store_options *o)
{
    BUF_AUTO struct buf path = BUF_INIT(4096);
    TRY(open_folder(e, o));
    TRY(index_open(path_in(e, &path, "index"), o->cache_bytes != 0 ? o->cache_bytes : 16u << 20,
                   o->read_only, &e->index));
    TRY(segments_open(&e->segments, path_in(e, &path, "journal"), o->read_only));
    for (size_t i = 0; i < e->segments.count; i++) { /* room in the map for what will be added */
        struct segment *s = e->segments.all[i];
        if (!s->cold)
            s->capacity = MAX(s->capacity, e->segment_bytes);
    }
    TRY(replay_journal(e));
    if (o->read_only)
        return ERR_OK;
    TRY(compact_clean(e));
    TRY(journal_start(e));
    e->has_keeper = pthread_create(&e->keeper, NULL, keeper, e) == 0;
    return e->has_keeper ? ERR_OK : ERR_NOMEM;
}

static void embedded_close(struct store *s)
{
    struct embedded *e = (struct embedded *)s;
    journal_forget_loop(e);
    journal_stop(e);
    if (e->has_keeper) {
        pthread_mutex_lock(&e->lock);
        pthread_cond_broadcast(&e->keep);
        pthread_mutex_unlock(&e->lock);
        pthread_join(e->keeper, NULL);
    }
    stage_close(e);
    if (e->current != NULL) /* the reserve behind the end is of no more use */
        (void)!file_truncate(e->current->fd, e->end);
    index_close(e->index);
    segment_release(&e->segments, e->current);
    segments_close(&e->segments);
    planner_free(&e->planner);
    overlay_close(&e->overlay);
    index_batch_free(e->batch);
    file_close(&e->lock_fd);
    file_close(&e->dir);
    buf_free(&e->path);
    pthread_mutex_destroy(&e->lock);
    pthread_mutex_destroy(&e->version_lock);
    pthread_mutex_destroy(&e->compacting);
    pthread_mutex_destroy(&e->staging);
    pthread_cond_destroy(&e->work);
    pthread_cond_destroy(&e->keep);
    store_fini(&e->store);
    free(e);
}

static const struct store_engine embedded_engine = {
    .submit = embedded_submit,
    .help = embedded_help,
    .get = embedded_get,
    .version = embedded_version,
    .scan = embedded_scan,
    .blob_size = embedded_blob_size,
    .blob_pieces = embedded_blob_pieces,
    .stage = embedded_stage,
    .unstage = embedded_unstage,
    .partitions = embedded_partitions,
    .blobs = embedded_blobs,
    .stats = embedded_stats,
    .compact = embedded_compact,
    .backup = embedded_backup,
    .check = embedded_check,
    .close = embedded_close,
};

static enum err base_get(void *arg, str key, struct buf *out)
{
    return index_get(((struct embedded *)arg)->index, key, out);
}

static void init_locks(struct embedded *e)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&e->keep, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&e->lock, NULL);
    pthread_mutex_init(&e->version_lock, NULL);
    pthread_mutex_init(&e->compacting, NULL);
    pthread_mutex_init(&e->staging, NULL);
    pthread_cond_init(&e->work, NULL);
    list_init(&e->queue);
    list_init(&e->written);
    list_init(&e->flushed);
}

enum err store_open_embedded(const struct store_options *o, struct store **out)
{
    struct embedded *e = calloc(1, sizeof *e);
    if (e == NULL)
        return ERR_NOMEM;
    store_init(&e->store, &embedded_engine);
    e->store.read_only = o->read_only;
    e->dir = e->lock_fd = -1;
    e->segments.dir = -1;
    e->segment_bytes = MIN(o->segment_bytes != 0 ? o->segment_bytes : 256u << 20, 1u << 31);
    e->index_flush_bytes = o->index_flush_bytes != 0 ? o->index_flush_bytes : 512u << 20;
    e->reserve_percent = o->reserve_percent != 0 ? o->reserve_percent : 2;
    e->flush_ns = FLUSH_NS_SLOW; /* until seen otherwise */
    init_locks(e);
    e->batch = index_batch_new();
    enum err err = overlay_open(&e->overlay, base_get, e);
    planner_init(&e->planner, &e->overlay);
    if (err == ERR_OK)
        err = open_parts(e, o);
    if (err != ERR_OK) {
        embedded_close(&e->store);
        return err;
    }
    *out = &e->store;
    return ERR_OK;
}
