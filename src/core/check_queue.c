/* SPDX-License-Identifier: Apache-2.0
 *
 * One queue shard: message, mime, recipient, due and left rows agree.
 */
#include "core/check_private.h"

#include "core/queue.h"

#include <stdlib.h>

struct queue_check {
    struct check *c;
    struct buf messages; /* struct queued, by id */
    struct buf dues;     /* struct queue_due as recipients want them */
    size_t at;
};
struct queued {
    uint64_t id;
    uint32_t left, rows;
    bool has_left, has_mime;
};

#define REF(q, ...) check_found((q)->c, true, true, __VA_ARGS__)
#define ROW(q, ...) check_found((q)->c, true, false, __VA_ARGS__)
#define LLX(n) ((unsigned long long)(n))

static struct queued *find(struct queue_check *q, uint64_t id)
{
    struct queued *all = (struct queued *)q->messages.data;
    size_t from = 0, to = q->messages.len / sizeof *all;
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (all[mid].id < id)
            from = mid + 1;
        else
            to = mid;
    }
    return from < q->messages.len / sizeof *all && all[from].id == id ? &all[from] : NULL;
}

static void on_message(void *arg, str key, str value)
{
    struct queue_check *q = arg;
    ARENA_AUTO struct arena arena = ARENA_INIT(1 << 20);
    struct queue_message m;
    struct queued entry = {0};
    if (key.len != 9 || !key_u64(key, 1, &entry.id) ||
        queue_message_decode(entry.id, value, &arena, &m) != ERR_OK) {
        ROW(q, "unreadable queue row %llx", LLX(entry.id));
        return;
    }
    if (queue_partition(entry.id) != q->c->partition)
        ROW(q, "queue %llx is in the wrong shard", LLX(entry.id));
    buf_add(&q->messages, str_of(&entry, sizeof entry));
    check_hold(q->c, &m.blob, m.trace_len + m.content_len);
}

static void on_mime(void *arg, str key, str value)
{
    struct queue_check *q = arg;
    uint64_t id = 0;
    struct queued *m = key_u64(key, 1, &id) ? find(q, id) : NULL;
    if (m)
        m->has_mime = true;
    else
        REF(q, "queue %llx: structure without a message", LLX(id));
}

static void on_left(void *arg, str key, str value)
{
    struct queue_check *q = arg;
    uint64_t id = 0;
    struct reader r = reader_of(value);
    struct queued *m = key_u64(key, 1, &id) ? find(q, id) : NULL;
    if (!m) {
        REF(q, "queue %llx: counter without a message", LLX(id));
        return;
    }
    m->left = read_be32(&r);
    m->has_left = !r.failed;
}

static void on_recipient(void *arg, str key, str value)
{
    struct queue_check *q = arg;
    uint64_t id = 0;
    uint32_t n = 0;
    struct queue_recipient r;
    q->c->result->queue_rows++;
    bool named = key.len == 13 && key_u64(key, 1, &id) && key_u32(key, 9, &n);
    struct queued *m = named ? find(q, id) : NULL;
    if (m)
        m->rows++;
    else
        REF(q, "queue %llx recipient %u: without a message", LLX(id), n);
    if (!named || queue_recipient_decode(id, n, value, &r) != ERR_OK) {
        ROW(q, "unreadable queue row %llx recipient %u", LLX(id), n);
        return;
    }
    if (!queue_recipient_fits(&r))
        ROW(q, "queue %llx recipient %u: state %d does not fit", LLX(id), n, (int)r.state);
    struct queue_due due = {r.due_ms, id, n};
    if (r.state != QUEUE_HELD)
        buf_add(&q->dues, str_of(&due, sizeof due));
}

static int compare_due(const void *x, const void *y)
{
    const struct queue_due *a = x, *b = y;
    if (a->due_ms != b->due_ms)
        return a->due_ms < b->due_ms ? -1 : 1;
    if (a->id != b->id)
        return a->id < b->id ? -1 : 1;
    return (a->n > b->n) - (a->n < b->n);
}

static void no_due(struct queue_check *q)
{
    const struct queue_due *d = (const struct queue_due *)q->dues.data + q->at++;
    REF(q, "queue %llx recipient %u: would never come due", LLX(d->id), d->n);
}

static void on_due(void *arg, str key, str value)
{
    struct queue_check *q = arg;
    struct queue_due d = {0};
    const struct queue_due *all = (const struct queue_due *)q->dues.data;
    size_t n = q->dues.len / sizeof d;
    if (key.len != 21 || !key_u64(key, 1, &d.due_ms) || !key_u64(key, 9, &d.id) ||
        !key_u32(key, 17, &d.n)) {
        ROW(q, "unreadable due row");
        return;
    }
    while (q->at < n && compare_due(&all[q->at], &d) < 0)
        no_due(q);
    if (q->at < n && compare_due(&all[q->at], &d) == 0)
        q->at++;
    else
        REF(q, "queue %llx recipient %u: due row without its recipient", LLX(d.id), d.n);
}

static enum err check_rows(struct queue_check *q)
{
    struct check *c = q->c;
    TRY(check_scan(c, SPACE_QUEUE_MESSAGE, on_message, q));
    TRY(check_scan(c, SPACE_QUEUE_MIME, on_mime, q));
    TRY(check_scan(c, SPACE_QUEUE_LEFT, on_left, q));
    TRY(check_scan(c, SPACE_QUEUE_RECIPIENT, on_recipient, q));
    if (!buf_ok(&q->messages) || !buf_ok(&q->dues))
        return ERR_NOMEM;
    if (q->dues.len)
        qsort(q->dues.data, q->dues.len / sizeof(struct queue_due), sizeof(struct queue_due),
              compare_due);
    TRY(check_scan(c, SPACE_QUEUE_DUE, on_due, q));
    while (q->at < q->dues.len / sizeof(struct queue_due))
        no_due(q);
    const struct queued *all = (const struct queued *)q->messages.data;
    for (size_t i = 0; i < q->messages.len / sizeof *all; i++)
        if (!all[i].has_mime || !all[i].has_left || all[i].left != all[i].rows || !all[i].rows)
            REF(q, "queue %llx: %u recipients, counted %u%s", LLX(all[i].id), all[i].rows,
                all[i].left, all[i].has_mime ? "" : ", no structure");
    return ERR_OK;
}

enum err check_queue(struct check *c)
{
    struct queue_check q = {
        .c = c, .messages = BUF_INIT(CHECK_BYTES_MAX), .dues = BUF_INIT(CHECK_BYTES_MAX)};
    enum err e = check_rows(&q);
    buf_free(&q.messages);
    buf_free(&q.dues);
    return e;
}
