/* SPDX-License-Identifier: Apache-2.0 */
#include "core/queue_private.h"

#include "base/num.h"

#include <string.h>

#define VERSION 1           /* of message rows, due rows and attempts */
#define RECIPIENT_VERSION 2 /* 1 had no status, no host and no mark of a warning */

void queue_message_encode(const struct queue_message *m, struct buf *out)
{
    struct envelope e = m->envelope;
    e.trace = STR_NONE;
    e.nrecipients = 0;
    buf_add_char(out, SPACE_QUEUE_MESSAGE);
    buf_add_char(out, VERSION);
    buf_add_be64(out, m->created_ms);
    buf_add(out, str_of(m->blob.bytes, sizeof m->blob.bytes));
    buf_add_varint(out, m->trace_len);
    buf_add_varint(out, m->content_len);
    envelope_encode(&e, out);
}

enum err queue_message_decode(uint64_t id, str value, struct arena *arena, struct queue_message *m)
{
    struct reader r = reader_of(value);
    *m = (struct queue_message){.id = id};
    if (read_u8(&r) != SPACE_QUEUE_MESSAGE || read_u8(&r) != VERSION)
        return ERR_CORRUPT;
    m->created_ms = read_be64(&r);
    str blob = read_bytes(&r, sizeof m->blob.bytes);
    if (r.failed)
        return ERR_CORRUPT;
    memcpy(m->blob.bytes, blob.data, blob.len);
    m->trace_len = read_varint(&r);
    m->content_len = read_varint(&r);
    if (r.failed)
        return ERR_CORRUPT;
    return envelope_decode(r.rest, arena, &m->envelope);
}

void queue_recipient_encode(const struct queue_recipient *q, struct buf *out)
{
    buf_add_char(out, SPACE_QUEUE_RECIPIENT);
    buf_add_char(out, RECIPIENT_VERSION);
    buf_add_char(out, (char)q->state);
    buf_add_char(out, (char)q->held_from);
    buf_add_char(out, (char)q->notify);
    buf_add_char(out, (char)q->junk);
    buf_add_be64(out, q->account);
    buf_add_be64(out, q->due_ms);
    buf_add_be64(out, q->last_ms);
    buf_add_varint(out, q->attempts);
    buf_add_sized(out, str_c(err_name(q->last_error))); /* names last, numbers may move */
    buf_add_sized(out, q->address);
    buf_add_sized(out, q->original);
    buf_add_sized(out, q->orcpt);
    buf_add_sized(out, str_head(q->last_reply, QUEUE_REPLY_MAX));
    buf_add_sized(out, str_head(q->last_status, QUEUE_STATUS_MAX));
    buf_add_sized(out, str_head(q->last_host, QUEUE_HOST_MAX));
    buf_add_char(out, q->warned);
}

static enum err error_by_name(str name)
{
    for (int i = 0; i < ERR_COUNT; i++)
        if (str_eq(name, str_c(err_name((enum err)i))))
            return (enum err)i;
    return ERR_UNKNOWN;
}

enum err queue_recipient_decode(uint64_t id, uint32_t n, str value, struct queue_recipient *q)
{
    struct reader r = reader_of(value);
    *q = (struct queue_recipient){.id = id, .n = n};
    if (read_u8(&r) != SPACE_QUEUE_RECIPIENT)
        return ERR_CORRUPT;
    uint8_t version = read_u8(&r);
    if (version < 1 || version > RECIPIENT_VERSION)
        return ERR_CORRUPT;
    q->state = read_u8(&r);
    q->held_from = read_u8(&r);
    q->notify = read_u8(&r);
    q->junk = read_u8(&r);
    q->account = read_be64(&r);
    q->due_ms = read_be64(&r);
    q->last_ms = read_be64(&r);
    uint64_t attempts = read_varint(&r);
    q->attempts = (uint32_t)attempts;
    q->last_error = error_by_name(read_sized(&r));
    q->address = read_sized(&r);
    q->original = read_sized(&r);
    q->orcpt = read_sized(&r);
    q->last_reply = read_sized(&r);
    if (version >= 2) {
        q->last_status = read_sized(&r);
        q->last_host = read_sized(&r);
        q->warned = read_u8(&r) != 0;
    }
    bool ok = !r.failed && !r.rest.len && attempts <= UINT32_MAX && q->state >= QUEUE_LOCAL &&
              q->state <= QUEUE_HELD && (q->state == QUEUE_HELD) == (q->held_from != 0);
    return ok ? ERR_OK : ERR_CORRUPT;
}

void queue_due_encode(const struct queue_message *m, const struct queue_recipient *r,
                      struct buf *out)
{
    const struct envelope *e = &m->envelope;
    buf_add_char(out, SPACE_QUEUE_DUE);
    buf_add_char(out, VERSION);
    buf_add_char(out, (char)r->state);
    buf_add_char(out, (char)(e->priority ? e->priority : QUEUE_PRIORITY_NORMAL));
    buf_add_char(out, r->warned);
    buf_add_be32(out, queue_hash(queue_domain_of(r->address)));
    buf_add_be32(out, queue_sender_hash(e));
    buf_add_be64(out, e->deliver_by > 0 ? (uint64_t)e->deliver_by * 1000 : 0);
}

enum err queue_due_decode(str value, struct queue_due *d)
{
    struct reader r = reader_of(value);
    if (read_u8(&r) != SPACE_QUEUE_DUE || read_u8(&r) != VERSION)
        return ERR_CORRUPT;
    d->state = read_u8(&r);
    d->priority = read_u8(&r);
    d->warned = read_u8(&r) != 0;
    d->domain = read_be32(&r);
    d->sender = read_be32(&r);
    d->deliver_by_ms = read_be64(&r);
    return r.failed || r.rest.len ? ERR_CORRUPT : ERR_OK;
}

void queue_attempt_encode(const struct queue_attempt *a, struct buf *out)
{
    buf_add_char(out, SPACE_QUEUE_LOG);
    buf_add_char(out, VERSION);
    buf_add_varint(out, a->number);
    buf_add_be64(out, a->at_ms);
    buf_add_sized(out, str_c(err_name(a->error)));
    buf_add_sized(out, str_head(a->status, QUEUE_STATUS_MAX));
    buf_add_sized(out, str_head(a->host, QUEUE_HOST_MAX));
    buf_add_sized(out, str_head(a->reply, QUEUE_REPLY_MAX));
}

enum err queue_attempt_decode(str value, struct queue_attempt *a)
{
    struct reader r = reader_of(value);
    *a = (struct queue_attempt){0};
    if (read_u8(&r) != SPACE_QUEUE_LOG || read_u8(&r) != VERSION)
        return ERR_CORRUPT;
    uint64_t number = read_varint(&r);
    a->number = (uint32_t)number;
    a->at_ms = read_be64(&r);
    a->error = error_by_name(read_sized(&r));
    a->status = read_sized(&r);
    a->host = read_sized(&r);
    a->reply = read_sized(&r);
    return r.failed || r.rest.len || number > UINT32_MAX ? ERR_CORRUPT : ERR_OK;
}
