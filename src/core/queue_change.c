/* SPDX-License-Identifier: Apache-2.0
 *
 * Steps of recipients. Each is one commit that expects the message's left row as it was read, so
 * that no step overwrites another and exactly one commit sees the last row go.
 */
#include "core/queue_private.h"

#include "base/num.h"
#include "os/clock.h"
#include "os/rand.h"

#include <assert.h>
#include <string.h>

/* Decides what becomes of one row: false leaves it. to: QUEUE_* or 0 for done. */
typedef bool decide_fn(void *arg, struct queue_recipient *r, enum queue_state *to);

static enum err read_left(struct store *s, uint64_t id, struct queue_left *left)
{
    BUF_AUTO struct buf value = BUF_INIT(64);
    struct store_key key = key_queue_left(id);
    TRY(store_get(s, queue_partition(id), key_str(&key), &value));
    struct reader r = reader_of(buf_str(&value));
    left->rows = read_be32(&r);
    left->changes = read_be32(&r);
    return r.failed || r.rest.len ? ERR_CORRUPT : ERR_OK;
}

/* A row's operations at most: recipient and due row, old due row, what is remembered of it. */
#define ROW_OPS (3 + QUEUE_LOG_MAX)
#define END_OPS 4 /* of a message, or its counter */

struct edit {
    struct store *store;
    uint64_t id;
    struct arena *arena;
    struct queue_message message;
    struct queue_left left;
    struct queue_batch batch;
    uint32_t ended;
    size_t changed;
    bool more; /* not all fitted into the commit */
    struct queue_made *made;
};

static void drop_row(struct edit *e, const struct queue_recipient *r)
{
    queue_batch_op(&e->batch, STORE_DELETE, key_queue_recipient(r->id, r->n), STR_NONE);
    for (uint32_t i = 0; i < MIN(r->attempts, (uint32_t)QUEUE_LOG_MAX); i++)
        queue_batch_op(&e->batch, STORE_DELETE, key_queue_log(r->id, r->n, i), STR_NONE);
    e->ended++;
}

static void change_row(struct edit *e, const struct queue_recipient *before,
                       struct queue_recipient *after, enum queue_state to)
{
    assert(queue_step_legal(before->state, to));
    if (before->state != QUEUE_HELD)
        queue_batch_op(&e->batch, STORE_DELETE,
                       key_queue_due(before->due_ms, before->id, before->n), STR_NONE);
    e->changed++;
    if (to == 0) {
        drop_row(e, before);
        return;
    }
    after->state = to;
    after->held_from = to == QUEUE_HELD ? before->state : 0;
    if (after->held_from == QUEUE_ACTIVE)
        after->held_from = QUEUE_READY;
    queue_batch_recipient(&e->batch, &e->message, after);
}

/* Remembers the attempt that the row has just had; the oldest makes room. */
static void log_attempt(struct edit *e, const struct queue_recipient *r)
{
    BUF_AUTO struct buf value = BUF_INIT(4096);
    struct queue_attempt a = {.number = r->attempts,
                              .at_ms = r->last_ms,
                              .error = r->last_error,
                              .status = r->last_status,
                              .host = r->last_host,
                              .reply = r->last_reply};
    queue_attempt_encode(&a, &value);
    queue_batch_op(&e->batch, STORE_PUT,
                   key_queue_log(r->id, r->n, (r->attempts - 1) % QUEUE_LOG_MAX), buf_str(&value));
}

static enum err edit_commit(struct edit *e)
{
    struct queue_batch *b = &e->batch;
    uint8_t before[QUEUE_LEFT_BYTES], after[QUEUE_LEFT_BYTES];
    struct store_key key = key_queue_left(e->id);
    struct store_expect expects[2] = {
        {STORE_EXPECT_EQUAL, key_str(&key), queue_left_value(e->left, before)}};
    bool last = e->ended == e->left.rows;
    if (last) {
        queue_batch_op(b, STORE_DELETE, key, STR_NONE);
        queue_batch_op(b, STORE_DELETE, key_queue_message(e->id), STR_NONE);
        queue_batch_op(b, STORE_DELETE, key_queue_mime(e->id), STR_NONE);
    } else {
        struct queue_left left = {e->left.rows - e->ended, e->left.changes + 1};
        queue_batch_op(b, STORE_PUT, key, queue_left_value(left, after));
    }
    struct store_commit c = {.partition = queue_partition(e->id),
                             .expect_version = STORE_ANY_VERSION,
                             .expects = expects,
                             .nexpects = 1,
                             .drops = &e->message.blob,
                             .ndrops = last ? 1 : 0};
    struct store_key made_key;
    struct store_blob_new blob;
    if (e->made) {
        struct queue_made *m = e->made;
        queue_batch_message(b, &m->out, m->envelope->mime, m->rows, m->n);
        made_key = key_queue_message(m->out.id);
        expects[c.nexpects++] =
            (struct store_expect){STORE_EXPECT_ABSENT, key_str(&made_key), STR_NONE};
        blob = (struct store_blob_new){
            .id = m->out.blob, .data = m->content, .fd = -1, .len = m->content.len};
        c.blobs = &blob;
        c.nblobs = 1;
    }
    c.ops = b->ops;
    c.nops = b->n;
    struct store_result result;
    return b->failed ? ERR_LIMIT : store_commit(e->store, &c, &result);
}

/* The made message gets an id of the same shard, so that one commit can hold both. */
static void made_prepare(struct edit *e)
{
    struct queue_made *m = e->made;
    uint64_t now = clock_wall_ms();
    m->out = (struct queue_message){
        .id = now << 16 | (rand_u64() & 0xfff0) | e->id % STORE_QUEUE_SHARDS,
        .created_ms = now,
        .blob = blob_id_new(),
        .content_len = m->content.len,
        .envelope = *m->envelope,
    };
    _Static_assert(STORE_QUEUE_SHARDS == 16, "the lowest four bits of an id choose the shard");
    for (size_t i = 0; i < m->n; i++)
        m->rows[i].due_ms = now;
}

static enum err edit_rows(struct edit *e, decide_fn *decide, void *arg)
{
    struct queue_recipient *rs;
    size_t n, made = e->made ? 3 + 2 * e->made->n : 0;
    TRY(read_left(e->store, e->id, &e->left));
    TRY(queue_get(e->store, e->id, e->arena, &e->message));
    TRY(queue_recipients(e->store, e->id, e->arena, &rs, &n));
    size_t max = MIN(n * ROW_OPS + END_OPS + made, (size_t)STORE_OPS_MAX);
    queue_batch_init(&e->batch, max);
    if (e->made)
        made_prepare(e);
    for (size_t i = 0; i < n; i++) {
        struct queue_recipient after = rs[i];
        enum queue_state to = rs[i].state;
        if (e->batch.n + ROW_OPS + END_OPS + made > max) {
            e->more = true;
            break;
        }
        if (!decide(arg, &after, &to))
            continue;
        change_row(e, &rs[i], &after, to);
        if (to && after.attempts > rs[i].attempts)
            log_attempt(e, &after);
    }
    enum err err = e->changed ? edit_commit(e) : ERR_OK;
    arena_free(&e->batch.arena);
    return err;
}

static enum err change_with(struct store *s, uint64_t id, decide_fn *decide, void *arg,
                            struct queue_made *made, size_t *changed)
{
    enum err err = ERR_CONFLICT;
    *changed = 0;
    for (unsigned i = 0; i < QUEUE_TRIES && err == ERR_CONFLICT; i++) {
        ARENA_AUTO struct arena arena = ARENA_INIT(8 << 20);
        struct edit e = {.store = s, .id = id, .arena = &arena, .made = made};
        err = edit_rows(&e, decide, arg);
        if (err == ERR_OK)
            *changed += e.changed;
        if (err == ERR_OK && e.more && e.changed) {
            err = ERR_CONFLICT; /* the rest of a large message, in the next commit */
            i = 0;
        }
        if (err == ERR_NOT_FOUND && *changed)
            err = ERR_OK;
    }
    return err == ERR_CONFLICT ? ERR_BUSY : err;
}

static enum err change(struct store *s, uint64_t id, decide_fn *decide, void *arg, size_t *changed)
{
    return change_with(s, id, decide, arg, NULL, changed);
}

/* ---- by hand ---- */

struct by_hand {
    uint32_t n;
    uint64_t due_ms;
    enum { HAND_HOLD, HAND_RELEASE, HAND_RETRY, HAND_REMOVE } what;
};

static bool decide_by_hand(void *arg, struct queue_recipient *r, enum queue_state *to)
{
    const struct by_hand *h = arg;
    if (h->n != QUEUE_ALL && h->n != r->n)
        return false;
    if (h->what == HAND_REMOVE) {
        *to = 0;
        return true;
    }
    if (h->what == HAND_RETRY) {
        bool later = r->due_ms > h->due_ms && (r->state == QUEUE_LOCAL || r->state == QUEUE_READY);
        r->due_ms = h->due_ms;
        return later;
    }
    if ((h->what == HAND_HOLD) == (r->state == QUEUE_HELD))
        return false;
    *to = h->what == HAND_HOLD ? QUEUE_HELD : r->held_from;
    if (h->what == HAND_RELEASE)
        r->due_ms = h->due_ms;
    return true;
}

enum err queue_hold(struct store *s, uint64_t id, uint32_t n, size_t *changed)
{
    return change(s, id, decide_by_hand, &(struct by_hand){.n = n, .what = HAND_HOLD}, changed);
}

enum err queue_release(struct store *s, uint64_t id, uint32_t n, uint64_t due_ms, size_t *changed)
{
    return change(s, id, decide_by_hand, &(struct by_hand){n, due_ms, HAND_RELEASE}, changed);
}

enum err queue_retry(struct store *s, uint64_t id, uint32_t n, uint64_t due_ms, size_t *changed)
{
    return change(s, id, decide_by_hand, &(struct by_hand){n, due_ms, HAND_RETRY}, changed);
}

enum err queue_remove(struct store *s, uint64_t id, uint32_t n, size_t *changed)
{
    return change(s, id, decide_by_hand, &(struct by_hand){.n = n, .what = HAND_REMOVE}, changed);
}

/* ---- attempts ---- */

struct lease {
    uint32_t *ns;
    size_t n, taken;
    uint64_t now_ms, until_ms;
};

static bool decide_lease(void *arg, struct queue_recipient *r, enum queue_state *to)
{
    struct lease *l = arg;
    bool over = r->state == QUEUE_ACTIVE && r->due_ms <= l->now_ms;
    if (r->state != QUEUE_READY && !over)
        return false;
    for (size_t i = l->taken; i < l->n; i++) {
        if (l->ns[i] != r->n)
            continue;
        l->ns[i] = l->ns[l->taken];
        l->ns[l->taken++] = r->n;
        r->due_ms = l->until_ms;
        *to = QUEUE_ACTIVE;
        return true;
    }
    return false;
}

enum err queue_lease(struct store *s, uint64_t id, uint32_t *ns, size_t *n, uint64_t now_ms,
                     uint64_t until_ms)
{
    struct lease l = {.ns = ns, .n = *n, .now_ms = now_ms, .until_ms = until_ms};
    enum err e = ERR_CONFLICT;
    for (unsigned i = 0; i < QUEUE_TRIES && e == ERR_CONFLICT; i++) {
        ARENA_AUTO struct arena arena = ARENA_INIT(8 << 20);
        struct edit edit = {.store = s, .id = id, .arena = &arena};
        l.taken = 0;
        e = edit_rows(&edit, decide_lease, &l);
    }
    *n = l.taken;
    return e == ERR_OK && l.taken == 0 ? ERR_CONFLICT : e;
}

struct settle {
    enum queue_state from;
    uint64_t lease_ms;
    const struct queue_result *results;
    size_t n;
};

static const struct queue_result *result_of(const struct settle *s, uint32_t n)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->results[i].n == n)
            return &s->results[i];
    return NULL;
}

static bool decide_settle(void *arg, struct queue_recipient *r, enum queue_state *to)
{
    const struct settle *s = arg;
    const struct queue_result *x = result_of(s, r->n);
    bool ours = r->state == s->from && (s->from != QUEUE_ACTIVE || r->due_ms == s->lease_ms);
    if (!x || (!ours && x->to != 0))
        return false;
    *to = x->to;
    r->due_ms = x->due_ms;
    r->warned = r->warned || x->warned;
    if (x->counted) {
        r->attempts++;
        r->last_ms = clock_wall_ms();
        r->last_error = x->error;
        r->last_status = x->status;
        r->last_host = x->host;
        r->last_reply = str_head(x->reply, QUEUE_REPLY_MAX);
    }
    return true;
}

enum err queue_settle(struct store *s, uint64_t id, enum queue_state from, uint64_t lease_ms,
                      const struct queue_result *results, size_t n, struct queue_made *made)
{
    size_t changed;
    if (n > QUEUE_SETTLE_MAX)
        return ERR_LIMIT;
    struct settle settle = {from, lease_ms, results, n};
    TRY(change_with(s, id, decide_settle, &settle, made, &changed));
    return changed ? ERR_OK : ERR_CONFLICT;
}

/* ---- what is remembered ---- */

struct log_walk {
    struct arena *arena;
    struct queue_attempt *out;
    size_t n;
    bool full;
};

static bool log_row(void *arg, const struct store_row *row)
{
    struct log_walk *w = arg;
    struct queue_attempt a;
    if (w->n == QUEUE_LOG_MAX || queue_attempt_decode(row->value, &a) != ERR_OK)
        return w->n < QUEUE_LOG_MAX;
    w->full = w->full || !arena_dup(w->arena, a.status, &a.status) ||
              !arena_dup(w->arena, a.host, &a.host) || !arena_dup(w->arena, a.reply, &a.reply);
    size_t at = w->n++;
    for (; at > 0 && w->out[at - 1].number > a.number; at--)
        w->out[at] = w->out[at - 1];
    w->out[at] = a;
    return !w->full;
}

enum err queue_attempts(struct store *s, uint64_t id, uint32_t n, struct arena *arena,
                        struct queue_attempt out[QUEUE_LOG_MAX], size_t *got)
{
    struct log_walk w = {.arena = arena, .out = out};
    struct store_key from = key_queue_log(id, n, 0), to = key_queue_log(id, n, UINT32_MAX);
    struct store_scan q = {.partition = queue_partition(id),
                           .from = key_str(&from),
                           .to = key_str(&to),
                           .limit = QUEUE_LOG_MAX};
    enum err e = store_scan(s, &q, log_row, &w, NULL);
    *got = w.n;
    return e == ERR_OK && w.full ? ERR_NOMEM : e;
}
