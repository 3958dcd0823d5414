/* SPDX-License-Identifier: Apache-2.0
 *
 * Adding messages: gather (threads, quota), compose on the predicted head, commit.
 */
#include "core/message_private.h"

#include "base/num.h"

#include <assert.h>
#include <string.h>

/* ---- threads ---- */

static bool recent_find(const struct account *a, uint64_t key, uint64_t *thread)
{
    for (size_t i = 0; i < THREADS_RECENT; i++) {
        if (a->recent[i].thread && a->recent[i].key == key) {
            *thread = a->recent[i].thread;
            return true;
        }
    }
    return false;
}

enum err message_gather_threads(struct account *a, str mime, struct thread_found *out)
{
    struct store *s = accounts_store(a->owner);
    BUF_AUTO struct buf value = BUF_INIT(STORE_VALUE_MAX);
    *out = (struct thread_found){0};
    thread_keys_of_mime(mime, &out->keys);
    for (size_t i = 0; i < out->keys.count; i++) {
        struct store_key key = key_thread(out->keys.keys[i]);
        buf_reset(&value);
        enum err e = store_get(s, a->id, key_str(&key), &value);
        if (e == ERR_OK && thread_decode(buf_str(&value), &out->threads[i]) != ERR_OK)
            out->threads[i] = 0; /* derived: an unreadable one is as good as none */
        if (e != ERR_OK && e != ERR_NOT_FOUND)
            return e;
    }
    return ERR_OK;
}

/* The thread of a new message; its keys that nobody has yet will lead to it. */
static uint64_t join_thread(struct change *c, const struct thread_found *f, uint64_t message)
{
    struct account *a = c->account;
    uint64_t thread = 0, known[THREAD_KEYS_MAX] = {0};
    for (size_t i = 0; i < f->keys.count; i++) {
        known[i] = f->threads[i];
        if (!known[i])
            recent_find(a, f->keys.keys[i], &known[i]);
        if (!thread)
            thread = known[i];
    }
    if (!thread)
        thread = message;
    BUF_AUTO struct buf value = BUF_INIT(64);
    thread_encode(thread, &value);
    for (size_t i = 0; i < f->keys.count; i++) {
        if (known[i])
            continue;
        change_put(c, key_thread(f->keys.keys[i]), buf_str(&value));
        a->recent[a->recent_next++ % THREADS_RECENT] =
            (struct thread_recent){f->keys.keys[i], thread};
    }
    return thread;
}

/* ---- composing ---- */

static uint64_t new_size(const struct message_new *m)
{
    uint64_t content = m->has_blob  ? m->trace_len + m->content_len
                       : m->fd >= 0 ? m->trace.len + m->len
                                    : m->trace.len + m->data.len;
    return m->prefix.len + content;
}

static void add_blob(struct change *c, const struct message_new *m, struct message_cold *cold)
{
    if (m->has_blob) {
        cold->blob = m->blob;
        cold->trace_len = m->trace_len;
        cold->content_len = m->content_len;
        c->refs[c->nrefs++] = m->blob;
        return;
    }
    cold->blob = blob_id_new();
    cold->trace_len = m->trace.len;
    cold->content_len = m->fd >= 0 ? m->len : m->data.len;
    c->blobs[c->nblobs++] = (struct store_blob_new){
        .id = cold->blob,
        .prefix = m->trace,
        .data = m->fd >= 0 ? STR_NONE : m->data,
        .fd = m->fd,
        .len = cold->content_len,
    };
}

void message_put_instance(struct change *c, uint32_t mailbox, const struct message_row *row)
{
    uint8_t bytes[INSTANCE_BYTES];
    instance_encode(row, bytes);
    change_put(c, key_instance(mailbox, row->uid), str_of(bytes, sizeof bytes));
}

/* sign: +1 when the row comes into the mailbox, -1 when it leaves. */
void message_count(struct change *c, struct state_row *s, const struct message_row *row, int sign)
{
    uint64_t one = (uint64_t)(int64_t)sign, bytes = (uint64_t)(int64_t)sign * row->size;
    s->messages += one;
    s->bytes += bytes;
    if (!(row->flags & FLAG_SEEN))
        s->unseen += one;
    if (row->flags & FLAG_DELETED) {
        s->deleted += one;
        s->deleted_bytes += bytes;
    }
    c->head.messages += one;
    c->head.bytes += bytes;
}

static enum err add_one(struct change *c, struct state_row *state, uint32_t mailbox,
                        const struct message_new *m, const struct thread_found *found,
                        struct message_row *row)
{
    int64_t now = clock_wall_s();
    uint64_t id = c->head.next_message++;
    struct message_cold cold = {.prefix = m->prefix, .mime = m->mime};
    if (state->uidnext > UINT32_MAX)
        return ERR_LIMIT;
    add_blob(c, m, &cold);
    cold.thread = join_thread(c, found, id);
    cold.received = m->internal_date == INT64_MIN ? now : m->internal_date;
    *row = (struct message_row){
        .uid = (uint32_t)state->uidnext++,
        .flags = m->flags & FLAGS_ALL,
        .keywords = m->keywords,
        .modseq = c->version,
        .message = id,
        .thread = cold.thread,
        .size = message_size(&cold),
        .internal_date = cold.received,
        .save_date = now,
    };
    BUF_AUTO struct buf value = BUF_INIT(STORE_VALUE_MAX);
    cold_encode(&cold, &value);
    if (!buf_ok(&value))
        return ERR_LIMIT;
    change_put(c, key_message(id), buf_str(&value));
    change_put(c, key_at(id, mailbox, row->uid), STR_NONE);
    message_put_instance(c, mailbox, row);
    message_count(c, state, row, 1);
    return c->failed;
}

static enum err check_quota(const struct account *a, const struct quota *q,
                            const struct message_new *news, size_t n)
{
    uint64_t bytes = a->head.bytes;
    for (size_t i = 0; i < n; i++)
        if (!size_add(bytes, new_size(&news[i]), &bytes))
            return ERR_LIMIT;
    if ((q->bytes && bytes > q->bytes) || (q->messages && a->head.messages + n > q->messages))
        return ERR_QUOTA;
    return ERR_OK;
}

static enum err compose(struct change *c, struct box *b, const struct add_plan *p)
{
    struct state_row *state = change_state(c, b);
    struct message_row *rows = ARENA_ARRAY(&c->arena, struct message_row, p->n);
    c->blobs = ARENA_ARRAY(&c->arena, struct store_blob_new, p->n);
    c->refs = ARENA_ARRAY(&c->arena, struct blob_id, p->n);
    if (!state || !rows || !c->blobs || !c->refs)
        return ERR_NOMEM;
    for (size_t i = 0; i < p->n; i++) {
        TRY(add_one(c, state, b->pub.id, &p->news[i], &p->found[i], &rows[i]));
        p->added[i] =
            (struct message_added){rows[i].uid, rows[i].message, rows[i].thread, rows[i].size};
    }
    change_effect(c, EFFECT_ADDED, b->pub.id, rows, p->n);
    return c->failed;
}

enum err message_add_once(struct account *a, uint32_t mailbox, const struct add_plan *p,
                          struct message_add_result *out)
{
    struct change *c;
    struct store_result result;
    TRY(change_begin(a, &c));
    struct box *b = box_get(a, mailbox);
    enum err e = !b || b->purging || b->head_gone ? ERR_NOT_FOUND : ERR_OK;
    if (e == ERR_OK)
        e = check_quota(a, &p->quota, p->news, p->n);
    if (e == ERR_OK)
        e = compose(c, b, p);
    if (e != ERR_OK) {
        change_drop(c);
        memset(a->recent, 0, sizeof a->recent); /* may name a thread that never was */
        return e;
    }
    out->uidvalidity = b->pub.uidvalidity;
    e = change_commit(c, p->token, &result);
    out->modseq = result.version;
    out->repeated = e == ERR_OK && result.repeated;
    return e;
}

static enum err add_tries(struct account *a, uint32_t mailbox, struct add_plan *p,
                          struct message_add_result *out)
{
    unsigned tries = 0;
    enum err e;
    do {
        e = ERR_OK;
        for (size_t i = 0; e == ERR_OK && i < p->n; i++)
            e = message_gather_threads(a, p->news[i].mime, &p->found[i]);
        if (e == ERR_OK)
            e = account_quota(a, &p->quota);
        if (e == ERR_OK)
            e = message_add_once(a, mailbox, p, out);
    } while (change_again(&e, &tries));
    return e;
}

enum err message_add(struct account *a, uint32_t mailbox, const struct message_new *news, size_t n,
                     const struct store_token *token, struct message_added *added,
                     struct message_add_result *out)
{
    *out = (struct message_add_result){0};
    if (n == 0)
        return ERR_OK;
    if (n > MESSAGE_ADD_MAX)
        return ERR_LIMIT;
    for (size_t i = 0; i < n; i++) {
        if (news[i].prefix.len > MESSAGE_PREFIX_MAX)
            return ERR_LIMIT;
        if (new_size(&news[i]) > STORE_BLOB_MAX)
            return ERR_TOO_LARGE;
    }
    struct arena arena = ARENA_INIT(n * sizeof(struct thread_found) + 65536);
    struct add_plan p = {.news = news,
                         .n = n,
                         .token = token,
                         .added = added,
                         .found = ARENA_ARRAY(&arena, struct thread_found, n)};
    enum err e = p.found ? add_tries(a, mailbox, &p, out) : ERR_NOMEM;
    arena_free(&arena);
    return e;
}
