/* SPDX-License-Identifier: Apache-2.0
 *
 * Queue rows. LEFT (id) counts a message's rows; every commit that ends one expects it as it was,
 * so that exactly one commit sees the last row go and takes the message row and the blob along.
 */
#include "core/queue_private.h"

#include "base/num.h"
#include "os/clock.h"
#include "os/rand.h"

#include <assert.h>
#include <string.h>

uint64_t queue_partition(uint64_t id) { return STORE_PARTITION_QUEUE + id % STORE_QUEUE_SHARDS; }

bool queue_step_legal(enum queue_state from, enum queue_state to)
{
    static const uint8_t legal[] = {
        [QUEUE_LOCAL] = 1 << 0 | 1 << QUEUE_LOCAL | 1 << QUEUE_HELD,
        [QUEUE_READY] = 1 << 0 | 1 << QUEUE_READY | 1 << QUEUE_ACTIVE | 1 << QUEUE_HELD,
        [QUEUE_ACTIVE] = 1 << 0 | 1 << QUEUE_READY | 1 << QUEUE_ACTIVE | 1 << QUEUE_HELD,
        [QUEUE_HELD] = 1 << 0 | 1 << QUEUE_LOCAL | 1 << QUEUE_READY,
    };
    return from >= QUEUE_LOCAL && from <= QUEUE_HELD && legal[from] >> to & 1;
}

bool queue_recipient_fits(const struct queue_recipient *r)
{
    bool refused = !r->account && err_class(r->last_error) == ERR_CLASS_PERM;
    enum queue_state state = r->state == QUEUE_HELD ? r->held_from : r->state;
    return state == QUEUE_LOCAL ? r->account || refused : !r->account;
}

/* ---- composing ---- */

uint32_t queue_hash(str s)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = (uint8_t)s.data[i];
        h = (h ^ (c >= 'A' && c <= 'Z' ? c + 32u : c)) * 16777619u;
    }
    return h;
}

str queue_domain_of(str address)
{
    size_t at = str_rfind_char(address, '@');
    return at == STR_NPOS ? STR_NONE : str_skip(address, at + 1);
}

uint32_t queue_sender_hash(const struct envelope *e)
{
    return e->account ? queue_hash(str_of(&e->account, sizeof e->account)) : queue_hash(e->sender);
}

void queue_batch_init(struct queue_batch *b, size_t max)
{
    *b = (struct queue_batch){.arena = ARENA_INIT(8 << 20), .max = max};
    b->ops = ARENA_ARRAY(&b->arena, struct store_op, max);
    b->failed = !b->ops;
}

void queue_batch_op(struct queue_batch *b, enum store_op_kind kind, struct store_key key, str value)
{
    if (b->failed)
        return;
    assert(b->n < b->max);
    struct store_op *op = &b->ops[b->n++];
    op->kind = kind;
    b->failed = !arena_dup(&b->arena, key_str(&key), &op->key) ||
                !arena_dup(&b->arena, value, &op->value) || value.len > STORE_VALUE_MAX;
}

void queue_batch_recipient(struct queue_batch *b, const struct queue_message *m,
                           const struct queue_recipient *r)
{
    BUF_AUTO struct buf value = BUF_INIT(STORE_VALUE_MAX), due = BUF_INIT(64);
    queue_recipient_encode(r, &value);
    b->failed = b->failed || !buf_ok(&value);
    queue_batch_op(b, STORE_PUT, key_queue_recipient(r->id, r->n), buf_str(&value));
    if (r->state == QUEUE_HELD) /* waits for nobody's time */
        return;
    queue_due_encode(m, r, &due);
    b->failed = b->failed || !buf_ok(&due);
    queue_batch_op(b, STORE_PUT, key_queue_due(r->due_ms, r->id, r->n), buf_str(&due));
}

str queue_left_value(struct queue_left left, uint8_t out[QUEUE_LEFT_BYTES])
{
    uint64_t n = (uint64_t)left.rows << 32 | left.changes;
    for (int i = 0; i < QUEUE_LEFT_BYTES; i++)
        out[i] = (uint8_t)(n >> (56 - 8 * i));
    return str_of(out, QUEUE_LEFT_BYTES);
}

/* ---- adding ---- */

void queue_batch_message(struct queue_batch *b, const struct queue_message *m, str mime,
                         struct queue_recipient *rs, size_t n)
{
    BUF_AUTO struct buf value = BUF_INIT(STORE_VALUE_MAX);
    uint8_t left[QUEUE_LEFT_BYTES];
    queue_message_encode(m, &value);
    b->failed = b->failed || !buf_ok(&value);
    queue_batch_op(b, STORE_PUT, key_queue_message(m->id), buf_str(&value));
    queue_batch_op(b, STORE_PUT, key_queue_mime(m->id), mime);
    queue_batch_op(b, STORE_PUT, key_queue_left(m->id),
                   queue_left_value((struct queue_left){.rows = (uint32_t)n}, left));
    for (size_t i = 0; i < n; i++) {
        rs[i].id = m->id;
        rs[i].n = (uint32_t)i;
        queue_batch_recipient(b, m, &rs[i]);
    }
}

static enum err add_with_id(struct store *s, const struct queue_message *m, str mime,
                            struct queue_recipient *rs, size_t n, const struct store_blob_new *blob,
                            struct store_token token)
{
    struct queue_batch b;
    queue_batch_init(&b, 2 * n + 3);
    queue_batch_message(&b, m, mime, rs, n);
    struct store_key key = key_queue_message(m->id);
    struct store_expect absent = {STORE_EXPECT_ABSENT, key_str(&key), STR_NONE};
    struct store_commit c = {.partition = queue_partition(m->id),
                             .expect_version = STORE_ANY_VERSION,
                             .token = token,
                             .expects = &absent,
                             .nexpects = 1,
                             .ops = b.ops,
                             .nops = b.n,
                             .blobs = blob,
                             .nblobs = 1};
    struct store_result result;
    enum err err = b.failed ? ERR_LIMIT : store_commit(s, &c, &result);
    arena_free(&b.arena);
    return err;
}

uint64_t queue_id_new(void) { return clock_wall_ms() << 16 | (rand_u64() & 0xffff); }

static enum err add_once(struct store *s, const struct envelope *e, struct queue_recipient *rs,
                         size_t n, struct queue_message *m)
{
    struct store_blob_new blob = {
        .id = m->blob, .prefix = e->trace, .data = e->content, .fd = e->fd, .len = e->size};
    m->id = m->created_ms << 16 | (rand_u64() & 0xffff);
    return add_with_id(s, m, e->mime, rs, n, &blob, (struct store_token){0});
}

enum err queue_add_as(struct store *s, uint64_t id, struct queue_made *made)
{
    struct store_token token = {{'q', 'm', 'a', 'd', 'e'}};
    if (made->n == 0 || made->n > QUEUE_ROWS_MAX)
        return ERR_LIMIT;
    for (int i = 0; i < 8; i++)
        token.bytes[8 + i] = (uint8_t)(id >> (56 - 8 * i));
    made->out = (struct queue_message){
        .id = id,
        .created_ms = clock_wall_ms(),
        .blob = blob_id_new(),
        .content_len = made->content.len,
        .envelope = *made->envelope,
    };
    for (size_t i = 0; i < made->n; i++)
        made->rows[i].due_ms = made->out.created_ms;
    struct store_blob_new blob = {
        .id = made->out.blob, .data = made->content, .fd = -1, .len = made->content.len};
    enum err e =
        add_with_id(s, &made->out, made->envelope->mime, made->rows, made->n, &blob, token);
    return e == ERR_CONFLICT ? ERR_OK : e; /* the id is there: it was this one */
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
        uint64_t hold = e->hold_until > 0 ? (uint64_t)e->hold_until * 1000 : 0;
        assert(rs[i].state >= QUEUE_LOCAL && rs[i].state <= QUEUE_ACTIVE);
        assert(queue_recipient_fits(&rs[i]));
        if (rs[i].state != QUEUE_ACTIVE)
            rs[i].due_ms = MAX(out->created_ms, hold);
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
        arena_dup(arena, r->orcpt, &r->orcpt) && arena_dup(arena, r->last_reply, &r->last_reply) &&
        arena_dup(arena, r->last_status, &r->last_status) &&
        arena_dup(arena, r->last_host, &r->last_host);
    return ok ? ERR_OK : ERR_NOMEM;
}

struct recipients_walk {
    struct arena *arena;
    struct queue_recipient *out;
    size_t n, max;
    enum err failed;
};

static bool recipient_room(struct recipients_walk *w)
{
    if (w->n < w->max)
        return true;
    size_t max = w->max ? MIN(w->max * 8, (size_t)QUEUE_ROWS_MAX) : 4;
    struct queue_recipient *more =
        w->n < QUEUE_ROWS_MAX ? ARENA_ARRAY(w->arena, struct queue_recipient, max) : NULL;
    if (!more)
        return false;
    if (w->n)
        memcpy(more, w->out, w->n * sizeof *more);
    w->out = more;
    w->max = max;
    return true;
}

static bool recipient_row(void *arg, const struct store_row *row)
{
    struct recipients_walk *w = arg;
    uint64_t id;
    uint32_t n;
    if (!recipient_room(w)) {
        w->failed = ERR_NOMEM;
        return false;
    }
    if (!key_u64(row->key, 1, &id) || !key_u32(row->key, 9, &n))
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
    struct recipients_walk w = {.arena = arena};
    struct store_key from = key_queue_recipient(id, 0), to = key_queue_recipient(id, UINT32_MAX);
    struct store_scan q = {
        .partition = queue_partition(id), .from = key_str(&from), .to = key_str(&to)};
    TRY(store_scan_all(s, &q, recipient_row, &w));
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
    for (unsigned i = 0; i < STORE_QUEUE_SHARDS; i++)
        TRY(next_in_shard(s, i, f->after, &next[i]));
    *more = 0; /* only now: it may be f->after itself */
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

/* ---- what is due ---- */

struct due_walk {
    struct queue_due *out;
    size_t n;
};

static bool due_row(void *arg, const struct store_row *row)
{
    struct due_walk *w = arg;
    struct queue_due *d = &w->out[w->n];
    *d = (struct queue_due){0};
    w->n += key_u64(row->key, 1, &d->due_ms) && key_u64(row->key, 9, &d->id) &&
            key_u32(row->key, 17, &d->n) && queue_due_decode(row->value, d) == ERR_OK;
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
                           .limit = MIN(max, STORE_PAGE_MAX)};
    enum err e = store_scan(s, &q, due_row, &w, NULL);
    *got = w.n;
    return e;
}

enum err queue_due(struct store *s, unsigned shard, uint64_t now_ms, struct queue_due *out,
                   size_t max, size_t *got)
{
    return queue_due_after(s, shard, &(struct queue_due){0}, now_ms, out, max, got);
}
