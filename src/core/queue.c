/* SPDX-License-Identifier: Apache-2.0
 *
 * Queue rows. LEFT (id) counts a message's rows; every commit that ends one expects it as it was,
 * so that exactly one commit sees the last row go and takes the message row and the blob along.
 */
#include "core/queue.h"

#include "base/num.h"
#include "os/clock.h"
#include "os/rand.h"

#include <assert.h>
#include <string.h>

#define QUEUE_TRIES 20
#define LEFT_BYTES 8

struct left {
    uint32_t rows, changes;
};

uint64_t queue_partition(uint64_t id) { return STORE_PARTITION_QUEUE + id % STORE_QUEUE_SHARDS; }

bool queue_step_legal(enum queue_state from, enum queue_state to)
{
    static const uint8_t legal[] = {
        [QUEUE_LOCAL] = 1 << 0 | 1 << QUEUE_LOCAL | 1 << QUEUE_HELD,
        [QUEUE_READY] = 1 << 0 | 1 << QUEUE_READY | 1 << QUEUE_ACTIVE | 1 << QUEUE_HELD,
        [QUEUE_ACTIVE] = 1 << 0 | 1 << QUEUE_READY | 1 << QUEUE_HELD,
        [QUEUE_HELD] = 1 << 0 | 1 << QUEUE_LOCAL | 1 << QUEUE_READY,
    };
    return from >= QUEUE_LOCAL && from <= QUEUE_HELD && legal[from] >> to & 1;
}

/* Rows wait for their time in the due index; held ones do not. */
static bool is_indexed(enum queue_state s) { return s != QUEUE_HELD; }

/* ---- composing ---- */

struct batch {
    struct arena arena;
    struct store_op *ops;
    size_t n, max;
    bool failed;
};

static void batch_init(struct batch *b, size_t max)
{
    *b = (struct batch){.arena = ARENA_INIT(8 << 20), .max = max};
    b->ops = ARENA_ARRAY(&b->arena, struct store_op, max);
    b->failed = !b->ops;
}

static void batch_op(struct batch *b, enum store_op_kind kind, struct store_key key, str value)
{
    if (b->failed)
        return;
    assert(b->n < b->max);
    struct store_op *op = &b->ops[b->n++];
    op->kind = kind;
    b->failed = !arena_dup(&b->arena, key_str(&key), &op->key) ||
                !arena_dup(&b->arena, value, &op->value) || value.len > STORE_VALUE_MAX;
}

static void put_recipient(struct batch *b, const struct queue_recipient *r)
{
    BUF_AUTO struct buf value = BUF_INIT(STORE_VALUE_MAX);
    queue_recipient_encode(r, &value);
    b->failed = b->failed || !buf_ok(&value);
    batch_op(b, STORE_PUT, key_queue_recipient(r->id, r->n), buf_str(&value));
    if (is_indexed(r->state))
        batch_op(b, STORE_PUT, key_queue_due(r->due_ms, r->id, r->n), STR_NONE);
}

static void drop_recipient(struct batch *b, const struct queue_recipient *r)
{
    batch_op(b, STORE_DELETE, key_queue_recipient(r->id, r->n), STR_NONE);
    batch_op(b, STORE_DELETE, key_queue_due(r->due_ms, r->id, r->n), STR_NONE);
}

static str left_value(struct left left, uint8_t out[LEFT_BYTES])
{
    uint64_t n = (uint64_t)left.rows << 32 | left.changes;
    for (int i = 0; i < LEFT_BYTES; i++)
        out[i] = (uint8_t)(n >> (56 - 8 * i));
    return str_of(out, LEFT_BYTES);
}

/* ---- adding ---- */

static enum err add_once(struct store *s, const struct envelope *e, struct queue_recipient *rs,
                         size_t n, struct queue_message *m)
{
    struct batch b;
    BUF_AUTO struct buf value = BUF_INIT(STORE_VALUE_MAX);
    uint8_t left[LEFT_BYTES];
    m->id = m->created_ms << 16 | (rand_u64() & 0xffff);
    queue_message_encode(m, &value);
    batch_init(&b, 2 * n + 3);
    b.failed = b.failed || !buf_ok(&value);
    batch_op(&b, STORE_PUT, key_queue_message(m->id), buf_str(&value));
    batch_op(&b, STORE_PUT, key_queue_mime(m->id), e->mime);
    batch_op(&b, STORE_PUT, key_queue_left(m->id),
             left_value((struct left){.rows = (uint32_t)n}, left));
    for (size_t i = 0; i < n; i++) {
        rs[i].id = m->id;
        rs[i].n = (uint32_t)i;
        put_recipient(&b, &rs[i]);
    }
    struct store_key key = key_queue_message(m->id);
    struct store_expect absent = {STORE_EXPECT_ABSENT, key_str(&key), STR_NONE};
    struct store_blob_new blob = {.id = m->blob, .prefix = e->trace, .fd = e->fd, .len = e->size};
    struct store_commit c = {.partition = queue_partition(m->id),
                             .expect_version = STORE_ANY_VERSION,
                             .expects = &absent,
                             .nexpects = 1,
                             .ops = b.ops,
                             .nops = b.n,
                             .blobs = &blob,
                             .nblobs = 1};
    struct store_result result;
    enum err err = b.failed ? ERR_LIMIT : store_commit(s, &c, &result);
    arena_free(&b.arena);
    return err;
}

enum err queue_add(struct store *s, const struct envelope *e, struct queue_recipient *rs, size_t n,
                   struct queue_message *out)
{
    if (n == 0 || n > QUEUE_ROWS_MAX)
        return ERR_LIMIT;
    *out = (struct queue_message){
        .created_ms = clock_wall_ms(),
        .blob = blob_id_new(),
        .trace_len = e->trace.len,
        .content_len = e->size,
        .envelope = *e,
    };
    for (size_t i = 0; i < n; i++) {
        uint64_t hold =
            e->hold_until > 0 && rs[i].state == QUEUE_READY ? (uint64_t)e->hold_until * 1000 : 0;
        rs[i].due_ms = MAX(out->created_ms, hold);
        assert(rs[i].state == QUEUE_LOCAL || rs[i].state == QUEUE_READY);
        assert((rs[i].state == QUEUE_LOCAL) == (rs[i].account != 0));
    }
    enum err err = ERR_CONFLICT; /* the id was taken: another one */
    for (unsigned i = 0; i < QUEUE_TRIES && err == ERR_CONFLICT; i++)
        err = add_once(s, e, rs, n, out);
    return err;
}

/* ---- reading ---- */

enum err queue_get(struct store *s, uint64_t id, struct arena *arena, struct queue_message *out)
{
    BUF_AUTO struct buf value = BUF_INIT(STORE_VALUE_MAX);
    struct store_key key = key_queue_message(id);
    TRY(store_get(s, queue_partition(id), key_str(&key), &value));
    return queue_message_decode(id, buf_str(&value), arena, out);
}

enum err queue_get_mime(struct store *s, uint64_t id, struct buf *out)
{
    struct store_key key = key_queue_mime(id);
    return store_get(s, queue_partition(id), key_str(&key), out);
}

static enum err recipient_keep(struct arena *arena, struct queue_recipient *r)
{
    bool ok =
        arena_dup(arena, r->address, &r->address) && arena_dup(arena, r->original, &r->original) &&
        arena_dup(arena, r->orcpt, &r->orcpt) && arena_dup(arena, r->last_reply, &r->last_reply);
    return ok ? ERR_OK : ERR_NOMEM;
}

struct recipients_walk {
    struct arena *arena;
    struct queue_recipient *out;
    size_t n, max;
    enum err failed;
};

static bool recipient_row(void *arg, const struct store_row *row)
{
    struct recipients_walk *w = arg;
    uint64_t id;
    uint32_t n;
    if (w->n == w->max || !key_u64(row->key, 1, &id) || !key_u32(row->key, 9, &n))
        return false;
    struct queue_recipient *r = &w->out[w->n];
    w->failed = queue_recipient_decode(id, n, row->value, r);
    if (w->failed == ERR_CORRUPT) { /* set aside, check reports it */
        w->failed = ERR_OK;
        return true;
    }
    w->failed = recipient_keep(w->arena, r);
    w->n++;
    return w->failed == ERR_OK;
}

enum err queue_recipients(struct store *s, uint64_t id, struct arena *arena,
                          struct queue_recipient **out, size_t *n)
{
    struct recipients_walk w = {.arena = arena, .max = QUEUE_ROWS_MAX};
    w.out = ARENA_ARRAY(arena, struct queue_recipient, w.max);
    if (!w.out)
        return ERR_NOMEM;
    struct store_key from = key_queue_recipient(id, 0), to = key_queue_recipient(id, UINT32_MAX);
    for (size_t before = 1; w.n != before && w.failed == ERR_OK;) {
        before = w.n;
        struct store_scan q = {.partition = queue_partition(id),
                               .from = key_str(&from),
                               .to = key_str(&to),
                               .limit = STORE_PAGE_MAX};
        TRY(store_scan(s, &q, recipient_row, &w, NULL));
        if (w.n)
            from = key_queue_recipient(id, w.out[w.n - 1].n + 1);
    }
    *out = w.out;
    *n = w.n;
    return w.failed;
}

/* ---- listing ---- */

struct first_walk {
    uint64_t id;
    bool found;
};

static bool first_row(void *arg, const struct store_row *row)
{
    struct first_walk *w = arg;
    w->found = key_u64(row->key, 1, &w->id);
    return false;
}

/* The lowest message id above `after` in one shard; UINT64_MAX: none. */
static enum err next_in_shard(struct store *s, unsigned shard, uint64_t after, uint64_t *out)
{
    struct first_walk w = {0};
    struct store_key from = key_queue_message(after + 1), to = key_space_end(SPACE_QUEUE_MESSAGE);
    struct store_scan q = {.partition = STORE_PARTITION_QUEUE + shard,
                           .from = key_str(&from),
                           .to = key_str(&to),
                           .limit = 1,
                           .keys_only = true};
    TRY(store_scan(s, &q, first_row, &w, NULL));
    *out = w.found ? w.id : UINT64_MAX;
    return ERR_OK;
}

static bool matches(const struct queue_filter *f, const struct queue_message *m,
                    const struct queue_recipient *rs, size_t n)
{
    bool state = !f->states, address = str_empty(f->recipient);
    for (size_t i = 0; i < n; i++) {
        state = state || f->states >> rs[i].state & 1;
        address = address || str_find_nocase(rs[i].address, f->recipient) != STR_NPOS ||
                  str_find_nocase(rs[i].original, f->recipient) != STR_NPOS;
    }
    return state && address &&
           (str_empty(f->sender) || str_find_nocase(m->envelope.sender, f->sender) != STR_NPOS);
}

/* *shown: it matched and was shown; *go_on: what fn said. */
static enum err list_one(struct store *s, const struct queue_filter *f, uint64_t id,
                         queue_list_fn *fn, void *arg, size_t *shown, bool *go_on)
{
    struct arena arena = ARENA_INIT(8 << 20);
    struct queue_message m;
    struct queue_recipient *rs;
    size_t n;
    enum err e = queue_get(s, id, &arena, &m);
    if (e == ERR_OK)
        e = queue_recipients(s, id, &arena, &rs, &n);
    if (e == ERR_OK && matches(f, &m, rs, n)) {
        ++*shown;
        *go_on = fn(arg, &m, rs, n);
    }
    arena_free(&arena);
    return e == ERR_NOT_FOUND || e == ERR_CORRUPT ? ERR_OK : e;
}

enum err queue_list(struct store *s, const struct queue_filter *f, queue_list_fn *fn, void *arg,
                    uint64_t *more)
{
    uint64_t next[STORE_QUEUE_SHARDS];
    size_t shown = 0, limit = f->limit ? f->limit : 1000;
    *more = 0;
    for (unsigned i = 0; i < STORE_QUEUE_SHARDS; i++)
        TRY(next_in_shard(s, i, f->after, &next[i]));
    for (;;) {
        unsigned lowest = 0;
        bool go_on = true;
        for (unsigned i = 1; i < STORE_QUEUE_SHARDS; i++)
            if (next[i] < next[lowest])
                lowest = i;
        uint64_t id = next[lowest];
        if (id == UINT64_MAX)
            return ERR_OK;
        TRY(list_one(s, f, id, fn, arg, &shown, &go_on));
        TRY(next_in_shard(s, lowest, id, &next[lowest]));
        if (shown == limit || !go_on) {
            *more = id;
            return ERR_OK;
        }
    }
}

/* ---- changing ---- */

/* Decides what becomes of one row: false leaves it. to: QUEUE_* or 0 for done. */
typedef bool decide_fn(void *arg, struct queue_recipient *r, enum queue_state *to);

static enum err read_left(struct store *s, uint64_t id, struct left *left)
{
    BUF_AUTO struct buf value = BUF_INIT(64);
    struct store_key key = key_queue_left(id);
    TRY(store_get(s, queue_partition(id), key_str(&key), &value));
    struct reader r = reader_of(buf_str(&value));
    left->rows = read_be32(&r);
    left->changes = read_be32(&r);
    return r.failed || r.rest.len ? ERR_CORRUPT : ERR_OK;
}

static void change_row(struct batch *b, const struct queue_recipient *before,
                       struct queue_recipient *after, enum queue_state to, uint32_t *ended)
{
    assert(queue_step_legal(before->state, to));
    drop_recipient(b, before);
    if (to == 0) {
        ++*ended;
        return;
    }
    after->state = to;
    after->held_from = to == QUEUE_HELD ? before->state : 0;
    if (after->held_from == QUEUE_ACTIVE)
        after->held_from = QUEUE_READY;
    put_recipient(b, after);
}

static enum err commit_changes(struct store *s, uint64_t id, struct batch *b, struct left left,
                               uint32_t ended, const struct blob_id *blob)
{
    uint8_t before[LEFT_BYTES], after[LEFT_BYTES];
    struct store_key key = key_queue_left(id);
    struct store_expect expect = {STORE_EXPECT_EQUAL, key_str(&key), left_value(left, before)};
    bool last = ended == left.rows;
    if (last) {
        batch_op(b, STORE_DELETE, key, STR_NONE);
        batch_op(b, STORE_DELETE, key_queue_message(id), STR_NONE);
        batch_op(b, STORE_DELETE, key_queue_mime(id), STR_NONE);
    } else {
        batch_op(b, STORE_PUT, key,
                 left_value((struct left){left.rows - ended, left.changes + 1}, after));
    }
    struct store_commit c = {.partition = queue_partition(id),
                             .expect_version = STORE_ANY_VERSION,
                             .expects = &expect,
                             .nexpects = 1,
                             .ops = b->ops,
                             .nops = b->n,
                             .drops = blob,
                             .ndrops = last ? 1 : 0};
    struct store_result result;
    return b->failed ? ERR_LIMIT : store_commit(s, &c, &result);
}

static enum err change_rows(struct store *s, uint64_t id, struct arena *arena, decide_fn *decide,
                            void *arg, size_t *changed)
{
    struct queue_message m;
    struct queue_recipient *rs;
    size_t n;
    struct left left;
    uint32_t ended = 0;
    *changed = 0;
    TRY(read_left(s, id, &left));
    TRY(queue_get(s, id, arena, &m));
    TRY(queue_recipients(s, id, arena, &rs, &n));
    struct batch b;
    batch_init(&b, 4 * n + 4);
    for (size_t i = 0; i < n; i++) {
        struct queue_recipient after = rs[i];
        enum queue_state to = rs[i].state;
        if (!decide(arg, &after, &to))
            continue;
        change_row(&b, &rs[i], &after, to, &ended);
        ++*changed;
    }
    enum err e = *changed ? commit_changes(s, id, &b, left, ended, &m.blob) : ERR_OK;
    arena_free(&b.arena);
    return e;
}

static enum err change(struct store *s, uint64_t id, decide_fn *decide, void *arg, size_t *changed)
{
    enum err e = ERR_CONFLICT;
    for (unsigned i = 0; i < QUEUE_TRIES && e == ERR_CONFLICT; i++) {
        struct arena arena = ARENA_INIT(8 << 20);
        e = change_rows(s, id, &arena, decide, arg, changed);
        arena_free(&arena);
    }
    return e == ERR_CONFLICT ? ERR_BUSY : e;
}

struct by_hand {
    uint32_t n;
    uint64_t due_ms;
    enum { HAND_HOLD, HAND_RELEASE, HAND_REMOVE } what;
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

enum err queue_remove(struct store *s, uint64_t id, uint32_t n, size_t *changed)
{
    return change(s, id, decide_by_hand, &(struct by_hand){.n = n, .what = HAND_REMOVE}, changed);
}

struct finish {
    const uint32_t *ns;
    size_t n;
};

static bool decide_finish(void *arg, struct queue_recipient *r, enum queue_state *to)
{
    const struct finish *f = arg;
    *to = 0;
    for (size_t i = 0; i < f->n; i++)
        if (f->ns[i] == r->n)
            return true;
    return false;
}

enum err queue_finish(struct store *s, uint64_t id, const uint32_t *ns, size_t n)
{
    size_t changed;
    enum err e = change(s, id, decide_finish, &(struct finish){ns, n}, &changed);
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

struct update {
    enum queue_state from;
    const struct queue_recipient *row;
};

static bool decide_update(void *arg, struct queue_recipient *r, enum queue_state *to)
{
    const struct update *u = arg;
    if (r->n != u->row->n || r->state != u->from)
        return false;
    *r = *u->row;
    *to = u->row->state;
    return true;
}

enum err queue_update(struct store *s, enum queue_state from, const struct queue_recipient *r)
{
    size_t changed;
    TRY(change(s, r->id, decide_update, &(struct update){from, r}, &changed));
    return changed ? ERR_OK : ERR_CONFLICT;
}

/* ---- what is due ---- */

struct due_walk {
    struct queue_due *out;
    size_t n;
};

static bool due_row(void *arg, const struct store_row *row)
{
    struct due_walk *w = arg;
    struct queue_due *d = &w->out[w->n];
    w->n += key_u64(row->key, 1, &d->due_ms) && key_u64(row->key, 9, &d->id) &&
            key_u32(row->key, 17, &d->n);
    return true;
}

enum err queue_due_after(struct store *s, unsigned shard, const struct queue_due *after,
                         uint64_t now_ms, struct queue_due *out, size_t max, size_t *got)
{
    struct due_walk w = {.out = out};
    struct store_key from = key_queue_due(after->due_ms, after->id, after->n + 1);
    struct store_key to = key_queue_due(now_ms + 1, 0, 0);
    struct store_scan q = {.partition = STORE_PARTITION_QUEUE + shard,
                           .from = key_str(&from),
                           .to = key_str(&to),
                           .limit = MIN(max, STORE_PAGE_MAX),
                           .keys_only = true};
    enum err e = store_scan(s, &q, due_row, &w, NULL);
    *got = w.n;
    return e;
}

enum err queue_due(struct store *s, unsigned shard, uint64_t now_ms, struct queue_due *out,
                   size_t max, size_t *got)
{
    return queue_due_after(s, shard, &(struct queue_due){0}, now_ms, out, max, got);
}
