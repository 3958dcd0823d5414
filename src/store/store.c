/* SPDX-License-Identifier: Apache-2.0 */
#include "store/store.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/code.h"
#include "os/clock.h"
#include "os/fiber.h"
#include "os/loop.h"
#include "os/offload.h"
#include "os/rand.h"
#include "store/engine.h"

struct blob_id blob_id_new(void)
{
    struct blob_id id;
    uint64_t ms = clock_wall_ms();
    for (int i = 0; i < 6; i++)
        id.bytes[i] = (uint8_t)(ms >> (40 - 8 * i));
    rand_bytes(id.bytes + 6, 10);
    return id;
}

bool blob_id_is_none(const struct blob_id *id) { return blob_id_eq(id, &BLOB_NONE); }

void store_key_next(struct store_key *k)
{
    if (k->len < STORE_KEY_MAX) {
        k->bytes[k->len++] = 0;
        return;
    }
    while (k->len > 1 && k->bytes[k->len - 1] == 0xff)
        k->len--;
    k->bytes[k->len - 1]++; /* no space is numbered 255 */
}

/* ---- Watches ---- */

struct watch_list {
    struct list nodes;
};

/* What is posted to a loop. It is apart from the caller's struct because that may go away while the
 * task is still queued. */
struct watch_node {
    struct loop_task task; /* first */
    struct list link;
    struct loop *loop;
    struct store_watch *watch; /* NULL once stopped; the watching thread's alone */
    struct store *store;
    bool queued; /* under the store's watch_lock */
    bool stopped;
};

static struct watch_node **watch_node_of(struct store_watch *w)
{
    return (struct watch_node **)(void *)&w->priv[0];
}

static void watch_run(struct loop_task *t)
{
    struct watch_node *n = (struct watch_node *)t;
    if (n->watch == NULL) {
        free(n);
        return;
    }
    pthread_mutex_lock(&n->store->watch_lock);
    n->queued = false;
    pthread_mutex_unlock(&n->store->watch_lock);
    n->watch->changed(n->watch);
}

enum err store_watch_start(struct store *s, struct store_watch *w)
{
    struct loop *loop = loop_current();
    if (loop == NULL)
        return ERR_INVALID;
    struct watch_node *n = calloc(1, sizeof *n);
    if (n == NULL)
        return ERR_NOMEM;
    *n = (struct watch_node){.task.fn = watch_run, .loop = loop, .watch = w, .store = s};
    pthread_mutex_lock(&s->watch_lock);
    struct watch_list *l = map_get_u64(&s->watches, w->partition);
    enum err e = ERR_OK;
    if (l == NULL) {
        l = calloc(1, sizeof *l);
        e = l == NULL ? ERR_NOMEM : map_put_u64(&s->watches, w->partition, l, NULL);
        if (e == ERR_OK)
            list_init(&l->nodes);
    }
    if (e == ERR_OK) {
        list_push_back(&l->nodes, &n->link);
        atomic_fetch_add(&s->nwatches, 1);
        *watch_node_of(w) = n;
    } else {
        free(l);
        free(n);
    }
    pthread_mutex_unlock(&s->watch_lock);
    return e;
}

void store_watch_stop(struct store *s, struct store_watch *w)
{
    struct watch_node *n = *watch_node_of(w);
    if (n == NULL)
        return;
    *watch_node_of(w) = NULL;
    pthread_mutex_lock(&s->watch_lock);
    list_remove(&n->link);
    atomic_fetch_sub(&s->nwatches, 1);
    struct watch_list *l = map_get_u64(&s->watches, w->partition);
    if (l != NULL && list_empty(&l->nodes)) {
        (void)map_remove_u64(&s->watches, w->partition);
        free(l);
    }
    n->watch = NULL;
    bool queued = n->queued;
    pthread_mutex_unlock(&s->watch_lock);
    if (!queued)
        free(n);
}

void store_notify(struct store *s, uint64_t partition)
{
    if (atomic_load_explicit(&s->nwatches, memory_order_acquire) == 0)
        return;
    pthread_mutex_lock(&s->watch_lock);
    struct watch_list *l = map_get_u64(&s->watches, partition);
    if (l != NULL) {
        LIST_EACH (it, &l->nodes) {
            struct watch_node *n = container_of(it, struct watch_node, link);
            if (n->queued)
                continue;
            n->queued = true;
            loop_post(n->loop, &n->task);
        }
    }
    pthread_mutex_unlock(&s->watch_lock);
}

/* ---- Commits ---- */

void store_init(struct store *s, const struct store_engine *engine)
{
    s->engine = engine;
    pthread_mutex_init(&s->watch_lock, NULL);
    map_init(&s->watches, 1u << 24);
    atomic_init(&s->nwatches, 0);
}

void store_fini(struct store *s)
{
    assert(atomic_load(&s->nwatches) == 0);
    map_free(&s->watches);
    pthread_mutex_destroy(&s->watch_lock);
}

void store_finish(struct store_pending *p, enum err result, const struct store_result *out)
{
    p->result = result;
    p->out = out != NULL ? *out : (struct store_result){0};
    atomic_store_explicit(&p->finished, true, memory_order_release);
    completion_done(&p->done);
}

static bool key_fits(str key) { return key.len >= 1 && key.len <= STORE_KEY_MAX; }

static enum err check_op(const struct store_op *op, size_t *bytes)
{
    if (!key_fits(op->key))
        return ERR_LIMIT;
    if (op->kind == STORE_PUT && op->value.len > STORE_VALUE_MAX)
        return ERR_LIMIT;
    if (op->kind == STORE_DELETE_RANGE && !key_fits(op->value))
        return ERR_LIMIT;
    *bytes += op->key.len + (op->kind == STORE_ADD ? 8 : op->value.len);
    return ERR_OK;
}

static enum err check_blobs(const struct store_commit *c)
{
    uint64_t bytes = 0;
    if (c->nblobs > STORE_BLOBS_MAX || c->nrefs > STORE_OPS_MAX || c->ndrops > STORE_OPS_MAX)
        return ERR_LIMIT;
    for (size_t i = 0; i < c->nblobs; i++) {
        const struct store_blob_new *b = &c->blobs[i];
        if (b->staged) {
            if (!blob_id_eq(&b->staged->id, &b->id))
                return ERR_INVALID;
            continue;
        }
        if (b->len > STORE_BLOB_MAX || b->prefix.len > STORE_BLOB_MAX - b->len)
            return ERR_LIMIT;
        if (blob_id_is_none(&b->id) || (b->fd < 0 && b->data.len != b->len))
            return ERR_INVALID;
        bytes += b->len + b->prefix.len;
    }
    return bytes > STORE_COMMIT_BLOBS_MAX ? ERR_LIMIT : ERR_OK;
}

static enum err check_commit(const struct store_commit *c)
{
    size_t bytes = 0;
    if (c->partition == 0)
        return ERR_INVALID;
    if (c->nops > STORE_OPS_MAX || c->nexpects > STORE_OPS_MAX)
        return ERR_LIMIT;
    for (size_t i = 0; i < c->nops; i++)
        TRY(check_op(&c->ops[i], &bytes));
    for (size_t i = 0; i < c->nexpects; i++) {
        if (!key_fits(c->expects[i].key) || c->expects[i].value.len > STORE_VALUE_MAX)
            return ERR_LIMIT;
        bytes += c->expects[i].key.len + c->expects[i].value.len;
    }
    if (bytes > STORE_COMMIT_MAX)
        return ERR_LIMIT;
    return check_blobs(c);
}

static enum err submit(struct store *s, const struct store_commit *c, bool lazy,
                       struct store_pending **out)
{
    *out = NULL;
    if (s->read_only)
        return ERR_DENIED;
    TRY(check_commit(c));
    struct store_pending *p = calloc(1, sizeof *p);
    if (p == NULL)
        return ERR_NOMEM;
    p->store = s;
    p->lazy = lazy;
    completion_init(&p->done);
    enum err e = s->engine->submit(s, c, p);
    if (e != ERR_OK) {
        free(p);
        return e;
    }
    *out = p;
    return ERR_OK;
}

enum err store_submit(struct store *s, const struct store_commit *c, struct store_pending **out)
{
    return submit(s, c, false, out);
}

enum err store_await(struct store_pending *p, struct store_result *out)
{
    if (p->store->engine->help != NULL && fiber_current() == NULL)
        p->store->engine->help(p->store, p);
    completion_wait(&p->done);
    enum err e = p->result;
    if (out != NULL)
        *out = p->out;
    free(p);
    return e;
}

enum err store_commit(struct store *s, const struct store_commit *c, struct store_result *out)
{
    struct store_pending *p;
    TRY(submit(s, c, fiber_current() == NULL, &p));
    return store_await(p, out);
}

/* ---- Staging ---- */

struct stage_call {
    struct store_staged *st;
    str bytes;
    enum err result;
};

static void stage_run(void *arg)
{
    struct stage_call *c = arg;
    struct store_staged *st = c->st;
    st->crc = code_crc32c(0, c->bytes.data, c->bytes.len);
    if (st->store->engine->stage) {
        c->result = st->store->engine->stage(st->store, st, c->bytes);
        return;
    }
    buf_init(&st->copy, STORE_BLOB_MAX);
    buf_add(&st->copy, c->bytes);
    c->result = buf_ok(&st->copy) ? ERR_OK : ERR_NOMEM;
}

enum err store_blob_stage(struct store *s, const struct blob_id *id, str bytes,
                          struct store_staged **out)
{
    *out = NULL;
    if (s->read_only)
        return ERR_DENIED;
    if (bytes.len > STORE_BLOB_MAX)
        return ERR_LIMIT;
    struct store_staged *st = calloc(1, sizeof *st);
    if (st == NULL)
        return ERR_NOMEM;
    *st = (struct store_staged){.store = s, .id = *id, .length = bytes.len};
    struct stage_call c = {.st = st, .bytes = bytes};
    enum err e = offload_run(stage_run, &c);
    if (e == ERR_OK)
        e = c.result;
    if (e != ERR_OK) {
        store_staged_drop(st);
        return e;
    }
    *out = st;
    return ERR_OK;
}

void store_staged_drop(struct store_staged *st)
{
    if (st == NULL)
        return;
    if (st->store->engine->unstage)
        st->store->engine->unstage(st->store, st);
    buf_free(&st->copy);
    free(st);
}

/* ---- Reads ---- */

enum err store_get(struct store *s, uint64_t partition, str key, struct buf *out)
{
    if (partition == 0)
        return ERR_INVALID;
    if (!key_fits(key))
        return ERR_LIMIT;
    return s->engine->get(s, partition, key, out);
}

uint64_t store_version(struct store *s, uint64_t partition)
{
    return partition == 0 ? 0 : s->engine->version(s, partition);
}

enum err store_scan(struct store *s, const struct store_scan *q, store_row_fn *row, void *arg,
                    struct store_key *last)
{
    if (q->partition == 0)
        return ERR_INVALID;
    if (q->limit > STORE_PAGE_MAX || q->from.len > STORE_KEY_MAX || q->to.len > STORE_KEY_MAX)
        return ERR_LIMIT;
    if (last != NULL)
        last->len = 0;
    if (q->limit == 0 || str_cmp(q->from, q->to) >= 0)
        return ERR_OK;
    return s->engine->scan(s, q, row, arg, last);
}

struct pages {
    store_row_fn *row;
    void *arg;
    size_t n; /* rows of this page */
    bool ended;
};

static bool page_row(void *arg, const struct store_row *row)
{
    struct pages *p = arg;
    p->n++;
    p->ended = !p->row(p->arg, row);
    return !p->ended;
}

enum err store_scan_all(struct store *s, const struct store_scan *q, store_row_fn *row, void *arg)
{
    struct pages p = {.row = row, .arg = arg};
    struct store_scan page = *q;
    struct store_key last, edge; /* the page begins, or ends, at the edge */
    page.limit = q->limit ? q->limit : STORE_PAGE_MAX;
    for (;;) {
        p.n = 0;
        TRY(store_scan(s, &page, page_row, &p, &last));
        if (p.ended || p.n < page.limit)
            return ERR_OK;
        edge = last;
        if (!q->backwards)
            store_key_next(&edge);
        *(q->backwards ? &page.to : &page.from) = key_str(&edge);
        fiber_yield();
    }
}

enum err store_blob_size(struct store *s, const struct blob_id *id, uint64_t *out)
{
    return s->engine->blob_size(s, id, out);
}

enum err store_blob_pieces(struct store *s, const struct blob_id *id, uint64_t offset, uint64_t len,
                           store_piece_fn *fn, void *arg)
{
    return s->engine->blob_pieces(s, id, offset, len, fn, arg);
}

static bool piece_to_buf(void *arg, str piece)
{
    struct buf *out = arg;
    buf_add(out, piece);
    return buf_ok(out);
}

enum err store_blob_read(struct store *s, const struct blob_id *id, uint64_t offset, uint64_t len,
                         struct buf *out)
{
    TRY(store_blob_pieces(s, id, offset, len, piece_to_buf, out));
    return buf_ok(out) ? ERR_OK : ERR_LIMIT;
}

enum err store_partitions(struct store *s, uint64_t from, uint64_t *out, size_t max, size_t *got)
{
    *got = 0;
    return s->engine->partitions(s, from, out, max, got);
}

enum err store_blobs(struct store *s, const struct blob_id *from, struct store_blob_count *out,
                     size_t max, size_t *got)
{
    *got = 0;
    return s->engine->blobs(s, from, out, max, got);
}

/* ---- Long work: off the loop's thread ---- */

struct long_call {
    struct store *s;
    enum { LONG_COMPACT, LONG_BACKUP, LONG_CHECK } what;
    unsigned percent;
    str dir;
    store_finding_fn *finding;
    void *arg;
    enum err result;
};

static void long_run(void *arg)
{
    struct long_call *c = arg;
    const struct store_engine *e = c->s->engine;
    switch (c->what) {
    case LONG_COMPACT:
        c->result = e->compact(c->s, c->percent);
        break;
    case LONG_BACKUP:
        c->result = e->backup(c->s, c->dir);
        break;
    case LONG_CHECK:
        c->result = e->check(c->s, c->finding, c->arg);
        break;
    }
}

static enum err long_call(struct long_call *c)
{
    TRY(offload_run(long_run, c));
    return c->result;
}

enum err store_compact(struct store *s, unsigned live_percent)
{
    return s->read_only ? ERR_DENIED
                        : long_call(&(struct long_call){
                              .s = s, .what = LONG_COMPACT, .percent = live_percent});
}

enum err store_backup(struct store *s, str to_dir)
{
    return long_call(&(struct long_call){.s = s, .what = LONG_BACKUP, .dir = to_dir});
}

enum err store_check(struct store *s, store_finding_fn *finding, void *arg)
{
    return long_call(
        &(struct long_call){.s = s, .what = LONG_CHECK, .finding = finding, .arg = arg});
}

void store_stats(struct store *s, struct store_stats *out)
{
    *out = (struct store_stats){0};
    s->engine->stats(s, out);
}

void store_close(struct store *s)
{
    if (s != NULL)
        s->engine->close(s);
}
