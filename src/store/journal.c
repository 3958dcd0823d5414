/* SPDX-License-Identifier: Apache-2.0
 *
 * The pipeline: queue, stages, workers, answers.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "os/clock.h"
#include "store/embedded.h"

void work_free(struct work *w)
{
    free(w->enc.bytes);
    free(w->expects);
    free(w);
}

static void answer(struct embedded *e, struct work *w, enum err err)
{
    struct store_pending *p = w->pending;
    struct store_result out = w->out;
    work_free(w);
    if (p != NULL)
        store_finish(p, err, err == ERR_OK ? &out : NULL);
}

/* ---- The stages; each is entered and left with e->lock held ---- */

static void stage_write(struct embedded *e)
{
    struct list works, rejected;
    struct group *g = NULL;
    size_t bytes = 0;
    list_init(&works);
    list_init(&rejected);
    for (int n = 0; n < GROUP_COMMITS && bytes < GROUP_BYTES && !list_empty(&e->queue); n++) {
        struct list *l = list_pop_front(&e->queue);
        bytes += container_of(l, struct work, link)->enc.length;
        list_push_back(&works, l);
    }
    e->writing = true;
    pthread_mutex_unlock(&e->lock);
    journal_write_group(e, &works, &rejected, &g);
    for (struct list *l; (l = list_pop_front(&rejected)) != NULL;) {
        struct work *w = container_of(l, struct work, link);
        enum err why = w->pending->result;
        pthread_mutex_lock(&e->lock);
        e->queue_bytes -= w->enc.length;
        pthread_mutex_unlock(&e->lock);
        answer(e, w, why);
    }
    pthread_mutex_lock(&e->lock);
    while (!list_empty(&works)) { /* of the next segment: back to the front, in order */
        struct list *l = works.prev;
        list_remove(l);
        list_push_front(&e->queue, l);
    }
    e->writing = false;
    if (g != NULL)
        list_push_back(&e->written, &g->link);
}

static void stage_flush(struct embedded *e)
{
    struct list groups;
    list_init(&groups);
    struct group *last = NULL;
    bool dirty = false;
    for (struct list *l; (l = list_pop_front(&e->written)) != NULL;) {
        list_push_back(&groups, l);
        last = container_of(l, struct group, link);
        dirty |= last->end > last->begin;
    }
    e->flushing = true;
    e->stats.flushes += dirty;
    uint64_t took = e->flush_ns;
    pthread_mutex_unlock(&e->lock);
    if (dirty) {
        uint64_t since = clock_mono_ns();
        /* Rotation has flushed older segments itself. */
        (void)!journal_sync(last->segment->fd);
        atomic_store(&e->durable, position_of(last->segment->number, last->end));
        took += (clock_mono_ns() - since) / 8 - took / 8;
    }
    pthread_mutex_lock(&e->lock);
    e->flush_ns = took;
    for (struct list *l; (l = list_pop_front(&groups)) != NULL;)
        list_push_back(&e->flushed, l);
    e->flushing = false;
}

static void version_publish(struct embedded *e, const struct work *w)
{
    struct version_slot *v = &e->versions[w->partition % VERSION_SLOTS];
    pthread_mutex_lock(&e->version_lock);
    *v = (struct version_slot){w->partition, w->out.version, v->generation + 1};
    pthread_mutex_unlock(&e->version_lock);
}

static void group_answer(struct embedded *e, struct group *g, enum err err)
{
    for (struct list *l; (l = list_pop_front(&g->works)) != NULL;) {
        struct work *w = container_of(l, struct work, link);
        if (w->type == RECORD_COMMIT && !w->out.repeated && err == ERR_OK) {
            version_publish(e, w);
            store_notify(&e->store, w->partition);
        }
        pthread_mutex_lock(&e->lock);
        e->queue_bytes -= w->enc.length;
        e->stats.commits += err == ERR_OK && w->type == RECORD_COMMIT && !w->out.repeated;
        pthread_mutex_unlock(&e->lock);
        answer(e, w, err);
    }
}

static bool still_stopping(struct embedded *e)
{
    pthread_mutex_lock(&e->lock);
    bool stopping = e->stopping;
    pthread_mutex_unlock(&e->lock);
    return stopping;
}

static void set_stalled(struct embedded *e, bool stalled)
{
    pthread_mutex_lock(&e->lock);
    e->stalled = stalled;
    pthread_mutex_unlock(&e->lock);
}

/* The group is durable. The index refuses rows only while the disk is full (RocksDB resumes by
 * itself when there is space); its answer must not be OK before it can be seen. False: given up
 * because the store closes; the next open replays it. */
static bool write_patiently(struct embedded *e)
{
    uint64_t since = clock_mono_ms();
    if (e->given_up)
        return false; /* nothing may be applied behind what is missing */
    while (index_write(e->index, e->batch) != ERR_OK) {
        set_stalled(e, true);
        if (still_stopping(e)) {
            e->given_up = true;
            return false;
        }
        struct timespec pause = {0, 100000000};
        nanosleep(&pause, NULL);
        if (clock_mono_ms() - since > 10000) {
            LOG_ERROR("store", "the index takes no rows for 10 s; commits wait");
            since = clock_mono_ms();
        }
    }
    if (e->stalled)
        set_stalled(e, false);
    return true;
}

/* False: the index did not take it at once, and this thread must not wait for it. */
static bool group_apply(struct embedded *e, struct group *g, bool hasty)
{
    struct overlay_txn all;
    overlay_txn_init(&all);
    index_batch_clear(e->batch);
    LIST_EACH (it, &g->works)
        overlay_txn_join(&all, &container_of(it, struct work, link)->txn);
    if (g->end > g->begin) {
        struct row_key k = row_position();
        BUF_AUTO struct buf row = BUF_INIT(64);
        row_write_position(
            &row, &(struct position_row){position_of(g->segment->number, g->end), g->sequence});
        index_batch_txn(e->batch, &all);
        index_batch_put(e->batch, row_str(&k), buf_str(&row));
        if (hasty && (e->given_up || index_write(e->index, e->batch) != ERR_OK)) {
            overlay_txn_join(&container_of(g->works.next, struct work, link)->txn, &all);
            return false;
        }
        if (!hasty && !write_patiently(e)) {
            overlay_end(&e->overlay, &all);
            group_answer(e, g, ERR_UNKNOWN);
            return true;
        }
    }
    overlay_end(&e->overlay, &all);
    group_answer(e, g, ERR_OK);
    return true;
}

static void stage_apply(struct embedded *e)
{
    struct group *g = container_of(list_pop_front(&e->flushed), struct group, link);
    bool hasty = e->hasty;
    e->applying = true;
    pthread_mutex_unlock(&e->lock);
    if (!group_apply(e, g, hasty)) {
        pthread_mutex_lock(&e->lock);
        list_push_front(&e->flushed, &g->link);
        e->applying = false;
        return;
    }
    uint64_t bytes = g->end - g->begin;
    e->unflushed_bytes += bytes;
    if (e->unflushed_bytes >= e->index_flush_bytes) {
        e->unflushed_bytes = 0;
        (void)!index_flush(e->index, false); /* logged; only the replay gets longer */
    }
    segment_writer(&e->segments, g->segment, -1);
    segment_release(&e->segments, g->segment);
    free(g);
    pthread_mutex_lock(&e->lock);
    e->stats.groups++;
    e->stats.bytes_journal += bytes;
    e->applying = false;
}

typedef void stage_fn(struct embedded *e);

static stage_fn *runnable(const struct embedded *e)
{
    if (!e->flushing && !list_empty(&e->written))
        return stage_flush;
    if (!e->applying && !list_empty(&e->flushed))
        return stage_apply;
    /* Written groups are bounded: the next is written while one is flushed. */
    if (!e->writing && !list_empty(&e->queue))
        return stage_write;
    return NULL;
}

static void run_stage(struct embedded *e, stage_fn *stage)
{
    e->active++;
    stage(e);
    e->active--;
    /* This thread takes one of what can be done now; a second thing needs a second thread. */
    bool flush = !e->flushing && !list_empty(&e->written);
    bool apply = !e->applying && !list_empty(&e->flushed);
    bool write = !e->writing && !list_empty(&e->queue);
    if (flush + apply + write > 1 && e->idle > 0)
        pthread_cond_signal(&e->work);
}

static void *worker(void *arg)
{
    struct embedded *e = arg;
    pthread_mutex_lock(&e->lock);
    for (;;) {
        stage_fn *stage = runnable(e);
        if (stage != NULL) {
            run_stage(e, stage);
            continue;
        }
        if (e->stopping && list_empty(&e->queue) && list_empty(&e->written) &&
            list_empty(&e->flushed) && e->active == 0)
            break;
        e->idle++;
        pthread_cond_wait(&e->work, &e->lock);
        e->idle--;
    }
    pthread_cond_broadcast(&e->work);
    pthread_mutex_unlock(&e->lock);
    return NULL;
}

/* With nobody at work the committing thread runs the stages itself: no thread is switched to. */
void journal_help(struct embedded *e, struct store_pending *p)
{
    pthread_mutex_lock(&e->lock);
    if (e->active == 0) {
        stage_fn *stage;
        while (!atomic_load(&p->finished) && (stage = runnable(e)) != NULL)
            run_stage(e, stage);
    }
    if (runnable(e) != NULL && e->idle > 0)
        pthread_cond_signal(&e->work);
    pthread_mutex_unlock(&e->lock);
}

/* ---- A lone commit ----
 * A switch to a worker and back costs as much as a quick disk's flush. So when a loop has nothing
 * else to run, nobody is at work and only a commit or two wait, it runs the stages itself before it
 * sleeps; what its sockets bring meanwhile waits for one flush, and is one group then. Slow disks,
 * busy loops and many commits are for the workers. */

#define LONE_FLUSH_NS_MAX 400000
#define LONE_COMMITS_MAX 2
#define LONE_NS_MAX 20000000 /* after one that took so long the disk counts as slow for a while */

static bool is_lone(const struct embedded *e)
{
    size_t n = 0;
    LIST_EACH (it, &e->queue)
        if (++n > LONE_COMMITS_MAX)
            return false;
    return e->active == 0 && e->flush_ns <= LONE_FLUSH_NS_MAX;
}

/* Its own group first: what has queued behind it is a worker's. */
static void run_lone(struct embedded *e)
{
    uint64_t since = clock_mono_ns();
    e->stats.lone++;
    run_stage(e, stage_write);
    if (!e->flushing && !list_empty(&e->written))
        run_stage(e, stage_flush);
    e->hasty = true;
    if (!e->applying && !list_empty(&e->flushed))
        run_stage(e, stage_apply);
    e->hasty = false;
    if (clock_mono_ns() - since > LONE_NS_MAX)
        e->flush_ns = FLUSH_NS_SLOW;
}

static void round_ended(void *arg, bool quiet)
{
    struct embedded *e = arg;
    pthread_mutex_lock(&e->lock);
    if (quiet && is_lone(e) && runnable(e) == stage_write)
        run_lone(e);
    if (runnable(e) != NULL && e->idle > 0)
        pthread_cond_signal(&e->work);
    pthread_mutex_unlock(&e->lock);
}

void journal_forget_loop(struct embedded *e) { loop_at_round_end_forget(round_ended, e); }

static bool needs_worker(struct embedded *e, enum commit_by by)
{
    if (e->active > 0 || by == COMMIT_WAKE)
        return true;
    return by == COMMIT_FIBER && (!is_lone(e) || loop_at_round_end(round_ended, e) != ERR_OK);
}

enum err journal_submit(struct embedded *e, struct work *w, enum commit_by by)
{
    pthread_mutex_lock(&e->lock);
    enum err err = ERR_OK;
    if (e->stopping) /* the workers end when the queue is empty: nobody would answer */
        err = ERR_CANCELED;
    else if (e->stalled)
        err = ERR_NOSPACE;
    else if (e->queue_bytes > 0 && e->queue_bytes + w->enc.length > STORE_QUEUE_BYTES_MAX)
        err = ERR_BUSY;
    if (err == ERR_OK) {
        e->queue_bytes += w->enc.length;
        list_push_back(&e->queue, &w->link);
        if (needs_worker(e, by) && !e->writing && e->idle > 0)
            pthread_cond_signal(&e->work);
    }
    pthread_mutex_unlock(&e->lock);
    return err;
}

enum err journal_run(struct embedded *e, struct work *w)
{
    struct store_pending p = {.store = &e->store};
    completion_init(&p.done);
    w->pending = &p;
    enum err err = journal_submit(e, w, COMMIT_WAKE);
    if (err != ERR_OK) {
        work_free(w);
        return err;
    }
    completion_wait(&p.done);
    return p.result;
}

enum err journal_start(struct embedded *e)
{
    for (; e->nworkers < WORKERS; e->nworkers++) {
        if (pthread_create(&e->workers[e->nworkers], NULL, worker, e) != 0)
            return ERR_NOMEM;
    }
    return ERR_OK;
}

void journal_stop(struct embedded *e)
{
    pthread_mutex_lock(&e->lock);
    e->stopping = true;
    pthread_cond_broadcast(&e->work);
    pthread_mutex_unlock(&e->lock);
    for (unsigned i = 0; i < e->nworkers; i++)
        pthread_join(e->workers[i], NULL);
    e->nworkers = 0;
}
