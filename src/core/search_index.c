/* SPDX-License-Identifier: Apache-2.0
 *
 * Who keeps the indexes: one background thread for all accounts. Session threads tell it which have
 * changed, and make its commits, which so take their places in the chain of the account's others.
 * Two fibers: one takes new messages, a batch of each account in turn; one merges. What they decode
 * and build is done by background workers, so a long merge holds up nothing.
 * tidy: allow system because session threads and the background thread share a queue
 */
#include "core/search_index.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/log.h"
#include "base/map.h"
#include "base/num.h"
#include "core/account_private.h"
#include "os/background.h"
#include "os/chan.h"

#define GATHER_MS 200 /* deliveries that come together become one segment */
#define RETRY_MS 5000 /* after a temporary error */
#define FRESH_RUN 8   /* accounts with something new before one with a backlog */
/* While so many changes a second come, most of the time is left to them: after each step a pause of
 * three times what it took. Otherwise a flood of deliveries would be a third slower, for an index
 * that nobody needs to be complete: SEARCH scans what is not in it. */
#define FLOOD_PER_S 250
#define FLOOD_PAUSES 3
#define FLOOD_PAUSE_MS_MAX 2000
#define PENDING_MAX 1048576
#define HOMES_MAX 256

/* Accounts that wait, each once, first come first served; all wait equally long. */
struct queue {
    struct map in;
    struct buf waiting; /* struct waiting; the first `taken` are gone */
    size_t taken;
};
struct waiting {
    uint64_t account, due_ms;
};

struct search_background {
    struct arena arena;
    atomic_uint refs; /* who started it, and each indexer */
    struct store *store;
    struct background *thread;
    atomic_bool stopping; /* for workers, which do not know of cancellation */
    pthread_mutex_t lock; /* of the next; held for a moment only */
    struct search_indexer *homes[HOMES_MAX];
    size_t nhomes;
    struct queue fresh; /* changed lately */
    struct loop *loop;  /* NULL: it does not run (yet) */
    bool told, ended;
    uint64_t changes; /* announced so far */
    struct loop_task tell;
    /* the background thread's: */
    struct accounts *accounts;
    struct fiber_group group;
    struct queue backlog, retry, merges;
    struct event work, merge_work;
    uint64_t counted, counted_ms, per_s; /* changes, when they were looked at; of late */
    unsigned fresh_run;
};

struct search_indexer {
    struct arena arena;
    struct search_background *background;
    struct accounts *accounts;
    struct loop *loop;
    struct fiber_group group;
};

/* ---- queues ---- */

static void queue_init(struct queue *q)
{
    map_init(&q->in, PENDING_MAX);
    buf_init(&q->waiting, 4 * (size_t)PENDING_MAX * sizeof(struct waiting));
    q->taken = 0;
}

static void queue_free(struct queue *q)
{
    map_free(&q->in);
    buf_free(&q->waiting);
}

static void queue_tidy(struct queue *q)
{
    size_t gone = q->taken * sizeof(struct waiting);
    if (gone < q->waiting.len / 2)
        return;
    memmove(q->waiting.data, q->waiting.data + gone, q->waiting.len - gone);
    buf_truncate(&q->waiting, q->waiting.len - gone);
    q->taken = 0;
}

/* False: it waits already, or there is no memory; then its next change tells of it. */
static bool queue_add(struct queue *q, uint64_t account, uint64_t due_ms)
{
    struct waiting w = {account, due_ms};
    if (map_get_u64(&q->in, account) || map_put_u64(&q->in, account, q, NULL) != ERR_OK)
        return false;
    buf_add(&q->waiting, str_of(&w, sizeof w));
    if (buf_ok(&q->waiting))
        return true;
    queue_free(q); /* and is empty, but not broken */
    q->taken = 0;
    return false;
}

static uint64_t queue_due(const struct queue *q)
{
    const struct waiting *w = (const struct waiting *)q->waiting.data + q->taken;
    return q->taken * sizeof *w < q->waiting.len ? w->due_ms : DEADLINE_NEVER;
}

static bool queue_take(struct queue *q, uint64_t *account)
{
    uint64_t due = queue_due(q);
    if (due == DEADLINE_NEVER || due > clock_mono_ms())
        return false;
    *account = ((const struct waiting *)q->waiting.data)[q->taken++].account;
    map_remove_u64(&q->in, *account);
    queue_tidy(q);
    return true;
}

/* ---- from session threads ---- */

void search_indexer_wake(struct search_indexer *x, uint64_t account)
{
    struct search_background *b = x->background;
    pthread_mutex_lock(&b->lock);
    b->changes++;
    if (!b->ended && queue_add(&b->fresh, account, deadline_in_ms(GATHER_MS)) && b->loop &&
        !b->told) {
        b->told = true;
        loop_post(b->loop, &b->tell);
    }
    pthread_mutex_unlock(&b->lock);
}

static void told(struct loop_task *task)
{
    struct search_background *b = container_of(task, struct search_background, tell);
    pthread_mutex_lock(&b->lock);
    b->told = false;
    pthread_mutex_unlock(&b->lock);
    event_signal(&b->work);
}

const atomic_bool *search_stop_flag(const struct account *a)
{
    return a->owner->background ? &a->owner->background->stopping : NULL;
}

/* ---- to session threads ---- */

struct errand {
    struct loop_task task;
    struct search_indexer *home;
    uint64_t account;
    search_commit_fn *fn;
    void *arg;
    enum err e;
    struct completion done;
};

static void errand_run(void *arg)
{
    struct errand *r = arg;
    struct account *a;
    r->e = account_open(r->home->accounts, r->account, &a);
    if (r->e == ERR_OK) {
        r->e = r->fn(a, r->arg);
        account_close(a);
    }
    completion_done(&r->done);
}

static void errand_arrived(struct loop_task *task)
{
    struct errand *r = container_of(task, struct errand, task);
    r->e = fiber_start(&r->home->group, "search commit", errand_run, r);
    if (r->e != ERR_OK)
        completion_done(&r->done);
}

enum err search_commit_at_home(struct account *a, search_commit_fn *fn, void *arg)
{
    struct search_background *b = a->owner->background;
    if (!b)
        return fn(a, arg);
    struct errand r = {
        .task.fn = errand_arrived, .account = a->id, .fn = fn, .arg = arg, .e = ERR_UNAVAILABLE};
    completion_init(&r.done);
    pthread_mutex_lock(&b->lock);
    r.home = b->nhomes ? b->homes[a->id % b->nhomes] : NULL;
    pthread_mutex_unlock(&b->lock);
    if (!r.home)
        return r.e;
    loop_post(r.home->loop, &r.task);
    completion_wait(&r.done);
    return r.e;
}

/* ---- the background thread ---- */

static struct search_step step(struct search_background *b, uint64_t id, search_step_fn *fn)
{
    struct account *a;
    struct search_step done = {0};
    enum err e = account_open_rows(b->accounts, id, &a);
    if (e == ERR_OK) {
        e = fn(a, &done);
        account_close(a);
    }
    if (e == ERR_OK)
        return done;
    if (e != ERR_CANCELED)
        LOG_WARN("search", "index of account %llu is late: %s", (unsigned long long)id,
                 err_name(e));
    if (err_class(e) == ERR_CLASS_TEMP && queue_add(&b->retry, id, deadline_in_ms(RETRY_MS)))
        event_signal(&b->work);
    return (struct search_step){0};
}

static bool take_account(struct search_background *b, uint64_t *id, uint64_t *due)
{
    bool taken = b->fresh_run >= FRESH_RUN && queue_take(&b->backlog, id);
    b->fresh_run = taken ? 0 : b->fresh_run + 1;
    if (taken)
        return true;
    pthread_mutex_lock(&b->lock);
    taken = queue_take(&b->fresh, id);
    *due = queue_due(&b->fresh);
    pthread_mutex_unlock(&b->lock);
    if (taken || queue_take(&b->retry, id) || queue_take(&b->backlog, id))
        return true;
    if (queue_due(&b->retry) < *due)
        *due = queue_due(&b->retry);
    return false;
}

static bool is_flood(struct search_background *b)
{
    uint64_t now = clock_mono_ms(), ms = now - b->counted_ms;
    if (ms < GATHER_MS)
        return b->per_s >= FLOOD_PER_S;
    pthread_mutex_lock(&b->lock);
    uint64_t changes = b->changes;
    pthread_mutex_unlock(&b->lock);
    b->per_s = (changes - b->counted) * 1000 / ms;
    b->counted = changes;
    b->counted_ms = now;
    return b->per_s >= FLOOD_PER_S;
}

static void give_way(struct search_background *b, uint64_t since_ms)
{
    uint64_t now = clock_mono_ms(), took = now - since_ms;
    uint64_t end = now + MIN(FLOOD_PAUSES * took, (uint64_t)FLOOD_PAUSE_MS_MAX);
    fiber_yield();
    while (now < end && is_flood(b) && !fiber_canceled()) {
        (void)!wait_until(MIN(end, now + GATHER_MS));
        now = clock_mono_ms();
    }
}

/* An account with a backlog gets its turn behind those that have something new. */
static void index_fiber(void *arg)
{
    struct search_background *b = arg;
    while (!fiber_canceled()) {
        uint64_t id, due;
        if (!take_account(b, &id, &due)) {
            if (event_wait(&b->work, due) == ERR_CANCELED)
                return;
            continue;
        }
        uint64_t since = clock_mono_ms();
        struct search_step done = step(b, id, search_index_new);
        if (done.more)
            (void)queue_add(&b->backlog, id, 0);
        if (done.made && queue_add(&b->merges, id, 0))
            event_signal(&b->merge_work);
        give_way(b, since);
    }
}

static void merge_fiber(void *arg)
{
    struct search_background *b = arg;
    while (!fiber_canceled()) {
        uint64_t id;
        if (!queue_take(&b->merges, &id)) {
            if (event_wait(&b->merge_work, DEADLINE_NEVER) == ERR_CANCELED)
                return;
            continue;
        }
        uint64_t since = clock_mono_ms();
        if (step(b, id, search_index_merge).more)
            (void)queue_add(&b->merges, id, 0);
        give_way(b, since);
    }
}

static void set_loop(struct search_background *b, struct loop *loop)
{
    pthread_mutex_lock(&b->lock);
    b->loop = loop;
    b->ended = !loop;
    pthread_mutex_unlock(&b->lock);
}

/* Here no view of a mailbox is kept, nor an account: only rows are read. */
static void background_main(void *arg)
{
    struct search_background *b = arg;
    enum err e = accounts_open(&(struct accounts_options){.store = b->store,
                                                          .accounts_max = 1,
                                                          .snapshot_min = UINT32_MAX},
                               &b->accounts);
    if (e == ERR_OK) {
        b->accounts->background = b;
        fiber_group_init(&b->group);
        set_loop(b, loop_current());
        e = fiber_start(&b->group, "search index", index_fiber, b);
        if (e == ERR_OK)
            e = fiber_start(&b->group, "search merge", merge_fiber, b);
        fiber_group_join(&b->group);
        set_loop(b, NULL);
        accounts_close(b->accounts);
    }
    if (e != ERR_OK)
        LOG_ERROR("search", "nothing is indexed: %s", err_text(e));
}

/* ---- life ---- */

static void background_drop(struct search_background *b)
{
    if (atomic_fetch_sub(&b->refs, 1) > 1)
        return;
    queue_free(&b->fresh);
    queue_free(&b->backlog);
    queue_free(&b->retry);
    queue_free(&b->merges);
    pthread_mutex_destroy(&b->lock);
    struct arena arena = b->arena;
    arena_free(&arena);
}

enum err search_background_start(struct store *s, struct search_background **out)
{
    struct arena arena = ARENA_INIT(65536);
    struct search_background *b = ARENA_NEW(&arena, struct search_background);
    if (!b)
        return ERR_NOMEM;
    b->arena = arena;
    b->store = s;
    b->tell.fn = told;
    atomic_init(&b->refs, 1);
    pthread_mutex_init(&b->lock, NULL);
    queue_init(&b->fresh);
    queue_init(&b->backlog);
    queue_init(&b->retry);
    queue_init(&b->merges);
    event_init(&b->work);
    event_init(&b->merge_work);
    enum err e = background_start("search", background_main, b, &b->thread);
    if (e != ERR_OK)
        background_drop(b);
    else
        *out = b;
    return e;
}

void search_background_stop(struct search_background *b)
{
    if (!b)
        return;
    atomic_store(&b->stopping, true);
    background_stop(b->thread);
    background_drop(b);
}

enum err search_indexer_start(struct accounts *as, struct search_background *b,
                              struct search_indexer **out)
{
    struct arena arena = ARENA_INIT(4096);
    struct search_indexer *x = ARENA_NEW(&arena, struct search_indexer);
    if (!x)
        return ERR_NOMEM;
    x->arena = arena;
    x->background = b;
    x->accounts = as;
    x->loop = loop_current();
    fiber_group_init(&x->group);
    atomic_fetch_add(&b->refs, 1);
    pthread_mutex_lock(&b->lock);
    assert(b->nhomes < HOMES_MAX);
    b->homes[b->nhomes++] = x;
    pthread_mutex_unlock(&b->lock);
    as->indexer = x;
    *out = x;
    return ERR_OK;
}

void search_indexer_stop(struct search_indexer *x)
{
    if (!x)
        return;
    x->accounts->indexer = NULL;
    fiber_group_join(&x->group); /* the last commit's fiber may be about to end */
    background_drop(x->background);
    struct arena arena = x->arena;
    arena_free(&arena);
}
