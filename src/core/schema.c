/* SPDX-License-Identifier: Apache-2.0 */
#include "core/schema.h"

#include "base/num.h"

#include <assert.h>
#include <string.h>

#define VERSION 1

int keyword_bit(const struct keyword_table *t, str name)
{
    for (uint32_t i = 0; i < t->count; i++)
        if (str_eq_nocase(t->names[i], name))
            return (int)i;
    return -1;
}

/* ---- keys ---- */

static struct store_key key_start(enum space s)
{
    return (struct store_key){.bytes = {(uint8_t)s}, .len = 1};
}

static void key_add(struct store_key *k, uint64_t n, unsigned width)
{
    assert(k->len + width <= STORE_KEY_MAX);
    for (unsigned i = 0; i < width; i++)
        k->bytes[k->len + i] = (uint8_t)(n >> (8 * (width - 1 - i)));
    k->len = (uint8_t)(k->len + width);
}

static struct store_key key_one(enum space s, uint64_t n, unsigned width)
{
    struct store_key k = key_start(s);
    key_add(&k, n, width);
    return k;
}

static struct store_key key_two(enum space s, uint64_t a, unsigned wa, uint64_t b, unsigned wb)
{
    struct store_key k = key_one(s, a, wa);
    key_add(&k, b, wb);
    return k;
}

struct store_key key_head(void) { return key_start(SPACE_HEAD); }
struct store_key key_mailbox(uint32_t mailbox) { return key_one(SPACE_MAILBOX, mailbox, 4); }
struct store_key key_state(uint32_t mailbox) { return key_one(SPACE_STATE, mailbox, 4); }
struct store_key key_message(uint64_t message) { return key_one(SPACE_MESSAGE, message, 8); }
struct store_key key_change(uint64_t version) { return key_one(SPACE_CHANGE, version, 8); }
struct store_key key_search(uint64_t first) { return key_one(SPACE_SEARCH, first, 8); }
struct store_key key_thread(uint64_t key) { return key_one(SPACE_THREAD, key, 8); }
struct store_key key_acl(uint32_t mailbox) { return key_one(SPACE_ACL, mailbox, 4); }
struct store_key key_urlkey(uint32_t mailbox) { return key_one(SPACE_URLKEY, mailbox, 4); }
struct store_key key_snapshot(uint32_t mailbox) { return key_one(SPACE_SNAPSHOT, mailbox, 4); }
struct store_key key_queue_message(uint64_t id) { return key_one(SPACE_QUEUE_MESSAGE, id, 8); }
struct store_key key_queue_mime(uint64_t id) { return key_one(SPACE_QUEUE_MIME, id, 8); }
struct store_key key_queue_left(uint64_t id) { return key_one(SPACE_QUEUE_LEFT, id, 8); }

struct store_key key_instance(uint32_t mailbox, uint32_t uid)
{
    return key_two(SPACE_INSTANCE, mailbox, 4, uid, 4);
}

struct store_key key_at(uint64_t message, uint32_t mailbox, uint32_t uid)
{
    struct store_key k = key_two(SPACE_AT, message, 8, mailbox, 4);
    key_add(&k, uid, 4);
    return k;
}

struct store_key key_subscribed(uint64_t owner, uint32_t mailbox)
{
    return key_two(SPACE_SUBSCRIBED, owner, 8, mailbox, 4);
}

struct store_key key_metadata(uint8_t scope, uint64_t owner, uint32_t mailbox)
{
    struct store_key k = key_two(SPACE_METADATA, scope, 1, owner, 8);
    key_add(&k, mailbox, 4);
    return k;
}

struct store_key key_queue_recipient(uint64_t id, uint32_t n)
{
    return key_two(SPACE_QUEUE_RECIPIENT, id, 8, n, 4);
}

struct store_key key_queue_due(uint64_t due_ms, uint64_t id, uint32_t n)
{
    struct store_key k = key_two(SPACE_QUEUE_DUE, due_ms, 8, id, 8);
    key_add(&k, n, 4);
    return k;
}

struct store_key key_queue_log(uint64_t id, uint32_t n, uint32_t slot)
{
    struct store_key k = key_two(SPACE_QUEUE_LOG, id, 8, n, 4);
    key_add(&k, slot, 4);
    return k;
}

struct store_key key_space(enum space s) { return key_start(s); }
struct store_key key_space_end(enum space s) { return key_start((enum space)(s + 1)); }

static bool key_number(str key, size_t at, unsigned width, uint64_t *out)
{
    if (at > key.len || key.len - at < width)
        return false;
    *out = 0;
    for (unsigned i = 0; i < width; i++)
        *out = *out << 8 | (uint8_t)key.data[at + i];
    return true;
}

bool key_u32(str key, size_t at, uint32_t *out)
{
    uint64_t n;
    if (!key_number(key, at, 4, &n))
        return false;
    *out = (uint32_t)n;
    return true;
}

bool key_u64(str key, size_t at, uint64_t *out) { return key_number(key, at, 8, out); }

/* ---- values ---- */

static void start(struct buf *out, enum space type)
{
    buf_add_char(out, (char)type);
    buf_add_char(out, VERSION);
}

/* A later version may only add at the end or change the number: unknown numbers are not guessed. */
static enum err start_read(struct reader *r, enum space type)
{
    uint8_t t = read_u8(r), version = read_u8(r);
    return r->failed || t != type || version != VERSION ? ERR_CORRUPT : ERR_OK;
}

static enum err end_read(const struct reader *r)
{
    return r->failed || r->rest.len ? ERR_CORRUPT : ERR_OK;
}

void head_encode(const struct head_row *h, struct buf *out)
{
    start(out, SPACE_HEAD);
    buf_add_be64(out, h->nonce);
    buf_add_varint(out, h->bytes);
    buf_add_varint(out, h->messages);
    buf_add_varint(out, h->next_message);
    buf_add_varint(out, h->next_mailbox);
    buf_add_varint(out, h->next_uidvalidity);
    buf_add_varint(out, h->change_floor);
}

static uint32_t read_varint32(struct reader *r)
{
    uint64_t n = read_varint(r);
    if (n > UINT32_MAX)
        r->failed = true;
    return (uint32_t)n;
}

enum err head_decode(str value, struct head_row *h)
{
    struct reader r = reader_of(value);
    TRY(start_read(&r, SPACE_HEAD));
    h->nonce = read_be64(&r);
    h->bytes = read_varint(&r);
    h->messages = read_varint(&r);
    h->next_message = read_varint(&r);
    h->next_mailbox = read_varint32(&r);
    h->next_uidvalidity = read_varint32(&r);
    h->change_floor = read_varint(&r);
    return end_read(&r);
}

enum { MAILBOX_SUBSCRIBED = 1, MAILBOX_PURGING = 2 };

void mailbox_encode(const struct mailbox_row *m, struct buf *out)
{
    assert(m->keywords.count <= KEYWORDS_MAX);
    start(out, SPACE_MAILBOX);
    buf_add_char(
        out, (char)((m->subscribed ? MAILBOX_SUBSCRIBED : 0) | (m->purging ? MAILBOX_PURGING : 0)));
    buf_add_char(out, (char)m->role);
    buf_add_be32(out, m->uidvalidity);
    buf_add_varint(out, m->created);
    buf_add_varint(out, m->sort_order);
    buf_add_sized(out, m->path);
    buf_add_varint(out, m->keywords.count);
    for (uint32_t i = 0; i < m->keywords.count; i++)
        buf_add_sized(out, m->keywords.names[i]);
}

enum err mailbox_decode(str value, struct mailbox_row *m)
{
    struct reader r = reader_of(value);
    TRY(start_read(&r, SPACE_MAILBOX));
    uint8_t bits = read_u8(&r);
    m->subscribed = bits & MAILBOX_SUBSCRIBED;
    m->purging = bits & MAILBOX_PURGING;
    m->role = read_u8(&r);
    m->uidvalidity = read_be32(&r);
    m->created = read_varint(&r);
    m->sort_order = read_varint(&r);
    m->path = read_sized(&r);
    uint64_t count = read_varint(&r);
    if (r.failed || count > KEYWORDS_MAX || m->role >= ROLE_COUNT)
        return ERR_CORRUPT;
    m->keywords.count = (uint32_t)count;
    for (uint32_t i = 0; i < m->keywords.count; i++)
        m->keywords.names[i] = read_sized(&r);
    return end_read(&r);
}

void state_encode(const struct state_row *s, struct buf *out)
{
    start(out, SPACE_STATE);
    buf_add_varint(out, s->uidnext);
    buf_add_varint(out, s->messages);
    buf_add_varint(out, s->unseen);
    buf_add_varint(out, s->deleted);
    buf_add_varint(out, s->bytes);
    buf_add_varint(out, s->deleted_bytes);
    buf_add_varint(out, s->highest_modseq);
}

enum err state_decode(str value, struct state_row *s)
{
    struct reader r = reader_of(value);
    TRY(start_read(&r, SPACE_STATE));
    s->uidnext = read_varint(&r);
    s->messages = read_varint(&r);
    s->unseen = read_varint(&r);
    s->deleted = read_varint(&r);
    s->bytes = read_varint(&r);
    s->deleted_bytes = read_varint(&r);
    s->highest_modseq = read_varint(&r);
    return end_read(&r);
}

static uint8_t *put64(uint8_t *at, uint64_t n)
{
    n = __builtin_bswap64(n);
    memcpy(at, &n, 8);
    return at + 8;
}

static uint64_t get64(const char *at)
{
    uint64_t n;
    memcpy(&n, at, 8);
    return __builtin_bswap64(n);
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "put64 and get64 swap");

/* Fixed width, since a mailbox of a million is opened by decoding a million of these. */
void instance_encode(const struct message_row *m, uint8_t out[INSTANCE_BYTES])
{
    out[0] = SPACE_INSTANCE;
    out[1] = VERSION;
    out[2] = (uint8_t)(m->flags >> 8);
    out[3] = (uint8_t)m->flags;
    uint8_t *at = put64(out + 4, m->message);
    at = put64(at, m->keywords);
    at = put64(at, m->modseq);
    at = put64(at, m->size);
    at = put64(at, (uint64_t)m->internal_date);
    at = put64(at, (uint64_t)m->save_date);
    at = put64(at, m->thread);
    assert(at == out + INSTANCE_BYTES);
}

enum err instance_decode(uint32_t uid, str value, struct message_row *m)
{
    const char *d = value.data;
    if (value.len != INSTANCE_BYTES || d[0] != SPACE_INSTANCE || d[1] != VERSION || uid == 0)
        return ERR_CORRUPT;
    m->uid = uid;
    m->flags = (uint32_t)((uint8_t)d[2] << 8 | (uint8_t)d[3]);
    m->message = get64(d + 4);
    m->keywords = get64(d + 12);
    m->modseq = get64(d + 20);
    m->size = get64(d + 28);
    m->internal_date = (int64_t)get64(d + 36);
    m->save_date = (int64_t)get64(d + 44);
    m->thread = get64(d + 52);
    return ERR_OK;
}

void cold_encode(const struct message_cold *c, struct buf *out)
{
    start(out, SPACE_MESSAGE);
    buf_add(out, str_of(c->blob.bytes, sizeof c->blob.bytes));
    buf_add_varint(out, c->trace_len);
    buf_add_varint(out, c->content_len);
    buf_add_varint(out, c->thread);
    buf_add_be64(out, (uint64_t)c->received);
    buf_add_sized(out, c->prefix);
    buf_add_sized(out, c->mime);
}

enum err cold_decode(str value, struct message_cold *c)
{
    struct reader r = reader_of(value);
    TRY(start_read(&r, SPACE_MESSAGE));
    str blob = read_bytes(&r, sizeof c->blob.bytes);
    if (r.failed)
        return ERR_CORRUPT;
    memcpy(c->blob.bytes, blob.data, blob.len);
    c->trace_len = read_varint(&r);
    c->content_len = read_varint(&r);
    c->thread = read_varint(&r);
    c->received = (int64_t)read_be64(&r);
    c->prefix = read_sized(&r);
    c->mime = read_sized(&r);
    if (c->trace_len > STORE_BLOB_MAX || c->content_len > STORE_BLOB_MAX)
        return ERR_CORRUPT;
    return end_read(&r);
}

void thread_encode(uint64_t thread, struct buf *out)
{
    start(out, SPACE_THREAD);
    buf_add_varint(out, thread);
}

enum err thread_decode(str value, uint64_t *out)
{
    struct reader r = reader_of(value);
    TRY(start_read(&r, SPACE_THREAD));
    *out = read_varint(&r);
    return end_read(&r);
}

void search_row_encode(const struct search_row *s, struct buf *out)
{
    start(out, SPACE_SEARCH);
    buf_add(out, str_of(s->blob.bytes, sizeof s->blob.bytes));
    buf_add_varint(out, s->last);
    buf_add_varint(out, s->docs);
    buf_add_varint(out, s->index_bytes);
    buf_add_varint(out, s->blob_bytes);
    buf_add_varint(out, s->text_bytes);
}

enum err search_row_decode(str value, struct search_row *s)
{
    struct reader r = reader_of(value);
    TRY(start_read(&r, SPACE_SEARCH));
    str blob = read_bytes(&r, sizeof s->blob.bytes);
    if (r.failed)
        return ERR_CORRUPT;
    memcpy(s->blob.bytes, blob.data, blob.len);
    s->last = read_varint(&r);
    s->docs = read_varint(&r);
    s->index_bytes = read_varint(&r);
    s->blob_bytes = read_varint(&r);
    s->text_bytes = read_varint(&r);
    if (s->blob_bytes > STORE_BLOB_MAX || s->index_bytes > s->blob_bytes)
        return ERR_CORRUPT;
    return end_read(&r);
}

void snapshot_row_encode(const struct snapshot_row *s, struct buf *out)
{
    uint32_t before = 0;
    start(out, SPACE_SNAPSHOT);
    buf_add_varint(out, s->version);
    buf_add_be32(out, s->uidvalidity);
    buf_add_varint(out, s->nparts);
    for (size_t i = 0; i < s->nparts; i++) {
        const struct snapshot_part *p = &s->parts[i];
        buf_add_varint(out, p->last - before);
        buf_add_varint(out, p->rows);
        buf_add_varint(out, p->bytes);
        buf_add(out, str_of(p->blob.bytes, sizeof p->blob.bytes));
        before = p->last;
    }
}

static void read_part(struct reader *r, uint32_t before, struct snapshot_part *p)
{
    uint32_t more = read_varint32(r);
    p->last = before + more;
    p->rows = read_varint32(r);
    p->bytes = read_varint(r);
    str blob = read_bytes(r, sizeof p->blob.bytes);
    if (r->failed || p->last <= before || p->rows == 0 || p->rows > more ||
        p->bytes > STORE_BLOB_MAX) {
        r->failed = true;
        return;
    }
    memcpy(p->blob.bytes, blob.data, blob.len);
}

enum err snapshot_row_decode(str value, struct arena *arena, struct snapshot_row *s)
{
    struct reader r = reader_of(value);
    TRY(start_read(&r, SPACE_SNAPSHOT));
    s->version = read_varint(&r);
    s->uidvalidity = read_be32(&r);
    s->nparts = read_varint(&r);
    if (r.failed || s->nparts > SNAPSHOT_PARTS_MAX)
        return ERR_CORRUPT;
    struct snapshot_part *parts = ARENA_ARRAY(arena, struct snapshot_part, s->nparts + 1);
    if (!parts)
        return ERR_NOMEM;
    for (size_t i = 0; i < s->nparts && !r.failed; i++)
        read_part(&r, i ? parts[i - 1].last : 0, &parts[i]);
    s->parts = parts;
    return end_read(&r);
}

void change_encode_start(uint64_t nonce, struct buf *out)
{
    start(out, SPACE_CHANGE);
    buf_add_be64(out, nonce);
}

void change_encode_entry(const struct change_entry *e, struct buf *out)
{
    buf_add_char(out, (char)e->kind);
    if (e->kind != CHANGE_DESTROYED) {
        buf_add_varint(out, e->mailbox);
        if (e->kind <= CHANGE_EXPUNGED)
            set_encode(&e->uids, out);
        else if (e->kind == CHANGE_METADATA)
            buf_add_sized(out, e->name);
        return;
    }
    buf_add_varint(out, e->nmessages);
    for (size_t i = 0; i < e->nmessages; i++)
        buf_add_varint(out, e->messages[i]);
}

enum err change_decode_start(str value, struct reader *r, uint64_t *nonce)
{
    *r = reader_of(value);
    TRY(start_read(r, SPACE_CHANGE));
    *nonce = read_be64(r);
    return r->failed ? ERR_CORRUPT : ERR_OK;
}

static enum err decode_destroyed(struct reader *r, struct arena *arena, struct change_entry *e)
{
    uint64_t n = read_varint(r);
    if (r->failed || n > r->rest.len)
        return ERR_CORRUPT;
    uint64_t *ids = ARENA_ARRAY(arena, uint64_t, n);
    if (!ids)
        return ERR_NOMEM;
    for (uint64_t i = 0; i < n; i++)
        ids[i] = read_varint(r);
    e->messages = ids;
    e->nmessages = n;
    return r->failed ? ERR_CORRUPT : ERR_OK;
}

enum err change_decode_entry(struct reader *r, struct arena *arena, struct change_entry *e)
{
    *e = (struct change_entry){0};
    if (!r->rest.len)
        return r->failed ? ERR_CORRUPT : ERR_EOF;
    e->kind = read_u8(r);
    if (e->kind < CHANGE_ADDED || e->kind > CHANGE_METADATA)
        return ERR_CORRUPT;
    if (e->kind == CHANGE_DESTROYED)
        return decode_destroyed(r, arena, e);
    e->mailbox = read_varint32(r);
    if (r->failed)
        return ERR_CORRUPT;
    if (e->kind == CHANGE_METADATA)
        e->name = read_sized(r);
    if (r->failed)
        return ERR_CORRUPT;
    return e->kind <= CHANGE_EXPUNGED ? set_decode(r, &e->uids) : ERR_OK;
}
