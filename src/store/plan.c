/* SPDX-License-Identifier: Apache-2.0 */
#include "store/plan.h"

#include <string.h>

void planner_init(struct planner *p, struct overlay *o)
{
    p->overlay = o;
    buf_init(&p->row, STORE_VALUE_MAX);
    buf_init(&p->row2, STORE_VALUE_MAX);
}

void planner_free(struct planner *p)
{
    buf_free(&p->row);
    buf_free(&p->row2);
}

static enum err put(struct planner *p, struct overlay_txn *t, const struct row_key *k, str value)
{
    return overlay_add(p->overlay, t, OVERLAY_PUT, row_str(k), value, false);
}

/* ---- The space that blobs take in segments ---- */

static enum err segment_add(struct planner *p, struct overlay_txn *t, uint32_t segment,
                            int64_t bytes, int blobs, uint64_t total)
{
    struct row_key k = row_segment(segment);
    struct segment_row r = {0};
    enum err e = overlay_get(p->overlay, row_str(&k), &p->row2);
    if (e == ERR_OK)
        e = row_read_segment(buf_str(&p->row2), &r);
    if (e != ERR_OK && e != ERR_NOT_FOUND)
        return e;
    r.live_bytes += (uint64_t)bytes;
    r.live_blobs += (uint64_t)blobs;
    r.total_bytes += total;
    buf_reset(&p->row2);
    row_write_segment(&p->row2, &r);
    return put(p, t, &k, buf_str(&p->row2));
}

static enum err blob_get(struct planner *p, const struct row_key *k, struct blob_row *out)
{
    TRY(overlay_get(p->overlay, row_str(k), &p->row));
    return row_read_blob(buf_str(&p->row), out);
}

static enum err blob_put(struct planner *p, struct overlay_txn *t, const struct row_key *k,
                         const struct blob_row *r)
{
    buf_reset(&p->row);
    row_write_blob(&p->row, r);
    return put(p, t, k, buf_str(&p->row));
}

static enum err blob_new(struct planner *p, struct overlay_txn *t, const struct plan_input *in,
                         const struct record_blob *b)
{
    struct row_key k = row_blob(&b->id);
    struct blob_row r;
    enum err e = blob_get(p, &k, &r);
    if (e != ERR_NOT_FOUND)
        return e == ERR_OK ? ERR_CONFLICT : e;
    r = (struct blob_row){.segment = b->segment != 0 ? b->segment : in->segment,
                          .offset = b->segment != 0 ? b->at : in->offset + b->at,
                          .stored = b->length,
                          .length = b->length,
                          .crc = b->crc,
                          .refs = 1};
    return blob_put(p, t, &k, &r);
}

static enum err blobs_new(struct planner *p, struct overlay_txn *t, const struct plan_input *in,
                          struct record_commit *c)
{
    uint64_t n = record_count(c), bytes = 0;
    int here = 0;
    for (uint64_t i = 0; i < n; i++) {
        struct record_blob b = record_next_blob(c);
        if (c->r.failed)
            return ERR_CORRUPT;
        TRY(blob_new(p, t, in, &b));
        if (b.segment != 0) {
            TRY(segment_add(p, t, b.segment, (int64_t)b.length, 1, b.length));
            continue;
        }
        bytes += b.length;
        here++;
    }
    return here == 0 ? ERR_OK : segment_add(p, t, in->segment, (int64_t)bytes, here, bytes);
}

static enum err blob_count(struct planner *p, struct overlay_txn *t, const struct blob_id *id,
                           int by)
{
    struct row_key k = row_blob(id);
    struct blob_row r;
    enum err e = blob_get(p, &k, &r);
    if (e != ERR_OK)
        return e == ERR_NOT_FOUND ? ERR_CONFLICT : e;
    if (r.refs == UINT32_MAX && by > 0)
        return ERR_LIMIT;
    r.refs += (uint32_t)by;
    if (r.refs > 0)
        return blob_put(p, t, &k, &r);
    TRY(overlay_add(p->overlay, t, OVERLAY_DELETE, row_str(&k), STR_NONE, false));
    return segment_add(p, t, r.segment, -(int64_t)r.stored, -1, 0);
}

static enum err blob_counts(struct planner *p, struct overlay_txn *t, struct record_commit *c,
                            int by)
{
    uint64_t n = record_count(c);
    for (uint64_t i = 0; i < n; i++) {
        struct blob_id id = record_next_id(c);
        if (c->r.failed)
            return ERR_CORRUPT;
        TRY(blob_count(p, t, &id, by));
    }
    return ERR_OK;
}

/* ---- Rows ---- */

static enum err expect_one(struct planner *p, uint64_t partition, const struct store_expect *x)
{
    struct row_key k = row_user(partition, x->key);
    enum err e = overlay_get(p->overlay, row_str(&k), &p->row);
    if (e != ERR_OK && e != ERR_NOT_FOUND)
        return e;
    bool present = e == ERR_OK, holds = false;
    switch (x->kind) {
    case STORE_EXPECT_ABSENT:
        holds = !present;
        break;
    case STORE_EXPECT_PRESENT:
        holds = present;
        break;
    case STORE_EXPECT_EQUAL:
        holds = present && str_eq(buf_str(&p->row), x->value);
        break;
    }
    return holds ? ERR_OK : ERR_CONFLICT;
}

static enum err add_one(struct planner *p, struct overlay_txn *t, const struct row_key *k,
                        int64_t delta)
{
    uint64_t n = 0;
    enum err e = overlay_get(p->overlay, row_str(k), &p->row);
    if (e == ERR_OK) {
        struct reader r = reader_of(buf_str(&p->row));
        n = read_be64(&r);
        if (r.failed || r.rest.len != 0)
            return ERR_INVALID;
    } else if (e != ERR_NOT_FOUND) {
        return e;
    }
    buf_reset(&p->row);
    buf_add_be64(&p->row, n + (uint64_t)delta);
    return put(p, t, k, buf_str(&p->row));
}

static enum err op_one(struct planner *p, struct overlay_txn *t, uint64_t partition,
                       const struct record_op *op)
{
    struct row_key k = row_user(partition, op->key);
    switch (op->kind) {
    case STORE_PUT:
        return overlay_add(p->overlay, t, OVERLAY_PUT, row_str(&k), op->value, true);
    case STORE_DELETE:
        return overlay_add(p->overlay, t, OVERLAY_DELETE, row_str(&k), STR_NONE, false);
    case STORE_DELETE_RANGE: {
        if (str_cmp(op->key, op->value) >= 0)
            return ERR_OK;
        struct row_key end = row_user(partition, op->value);
        return overlay_add(p->overlay, t, OVERLAY_DELETE_RANGE, row_str(&k), row_str(&end), false);
    }
    case STORE_ADD:
        return add_one(p, t, &k, op->delta);
    }
    return ERR_CORRUPT;
}

static enum err ops_all(struct planner *p, struct overlay_txn *t, uint64_t partition,
                        struct record_commit *c)
{
    uint64_t n = record_count(c);
    for (uint64_t i = 0; i < n; i++) {
        struct record_op op = record_next_op(c);
        if (c->r.failed || op.key.len > STORE_KEY_MAX ||
            (op.kind == STORE_DELETE_RANGE && op.value.len > STORE_KEY_MAX))
            return ERR_CORRUPT;
        TRY(op_one(p, t, partition, &op));
    }
    return c->r.failed || c->r.rest.len != 0 ? ERR_CORRUPT : ERR_OK;
}

/* ---- The partition ---- */

static bool token_none(const struct store_token *t)
{
    static const struct store_token none;
    return memcmp(t, &none, sizeof none) == 0;
}

static enum err token_known(struct planner *p, const struct plan_input *in,
                            const struct store_token *token, struct store_result *out)
{
    if (in->replay || token_none(token))
        return ERR_OK;
    struct row_key k = row_token(in->partition, token);
    enum err e = overlay_get(p->overlay, row_str(&k), &p->row);
    if (e == ERR_NOT_FOUND)
        return ERR_OK;
    struct token_row r = {0};
    if (e == ERR_OK)
        e = row_read_token(buf_str(&p->row), &r);
    *out = (struct store_result){.version = r.version, .repeated = true};
    return e;
}

static enum err token_keep(struct planner *p, struct overlay_txn *t, const struct plan_input *in,
                           const struct store_token *token, uint64_t version)
{
    if (token_none(token))
        return ERR_OK;
    struct row_key k = row_token(in->partition, token);
    buf_reset(&p->row);
    row_write_token(&p->row, &(struct token_row){version, in->wall_ms});
    TRY(put(p, t, &k, buf_str(&p->row)));
    k = row_expiry(in->wall_ms / TOKEN_HOUR_MS, in->partition, token);
    return put(p, t, &k, STR("\1"));
}

static enum err asked(struct planner *p, const struct plan_input *in,
                      const struct partition_row *row, uint64_t epoch)
{
    if (in->replay)
        return ERR_OK;
    if (epoch != 0 && epoch < row->epoch)
        return ERR_FENCED;
    if (in->expect_version != STORE_ANY_VERSION && in->expect_version != row->version)
        return ERR_CONFLICT;
    for (size_t i = 0; i < in->nexpects; i++)
        TRY(expect_one(p, in->partition, &in->expects[i]));
    return ERR_OK;
}

enum err plan_commit(struct planner *p, struct overlay_txn *t, const struct plan_input *in,
                     struct store_result *out)
{
    struct record_commit c;
    *out = (struct store_result){0};
    TRY(record_commit_read(in->meta, in->format, &c));
    TRY(token_known(p, in, &c.token, out));
    if (out->repeated)
        return ERR_OK;
    struct row_key k = row_partition(in->partition);
    struct partition_row row = {0};
    enum err e = overlay_get(p->overlay, row_str(&k), &p->row);
    if (e == ERR_OK)
        e = row_read_partition(buf_str(&p->row), &row);
    if (e != ERR_OK && e != ERR_NOT_FOUND)
        return e;
    TRY(asked(p, in, &row, c.owner_epoch));
    row.version++;
    if (c.owner_epoch > row.epoch)
        row.epoch = c.owner_epoch;
    TRY(blobs_new(p, t, in, &c));
    TRY(blob_counts(p, t, &c, 1));
    TRY(blob_counts(p, t, &c, -1));
    TRY(ops_all(p, t, in->partition, &c));
    TRY(token_keep(p, t, in, &c.token, row.version));
    buf_reset(&p->row);
    row_write_partition(&p->row, &row);
    out->version = row.version;
    return put(p, t, &k, buf_str(&p->row));
}

/* ---- Moves ---- */

void plan_move_write(struct buf *out, const struct plan_move *moves, size_t n)
{
    buf_add_varint(out, n);
    for (size_t i = 0; i < n; i++) {
        buf_add(out, str_of(moves[i].id.bytes, sizeof moves[i].id.bytes));
        buf_add_be32(out, moves[i].old_segment);
        buf_add_be64(out, moves[i].old_offset);
        row_write_blob(out, &moves[i].to);
    }
}

static enum err move_one(struct planner *p, struct overlay_txn *t, const struct plan_move *m)
{
    struct row_key k = row_blob(&m->id);
    struct blob_row r;
    enum err e = blob_get(p, &k, &r);
    bool still = e == ERR_OK && r.segment == m->old_segment && r.offset == m->old_offset;
    if (e != ERR_OK && e != ERR_NOT_FOUND)
        return e;
    TRY(segment_add(p, t, m->to.segment, still ? (int64_t)m->to.stored : 0, still ? 1 : 0,
                    m->to.stored));
    if (!still)
        return ERR_OK; /* freed while it was copied: the copy is dead space */
    TRY(segment_add(p, t, r.segment, -(int64_t)r.stored, -1, 0));
    struct blob_row to = m->to;
    to.refs = r.refs;
    return blob_put(p, t, &k, &to);
}

enum err plan_moves(struct planner *p, struct overlay_txn *t, str meta)
{
    struct reader r = reader_of(meta);
    uint64_t n = read_varint(&r);
    for (uint64_t i = 0; i < n && !r.failed; i++) {
        struct plan_move m = {0};
        str id = read_bytes(&r, sizeof m.id.bytes);
        m.old_segment = read_be32(&r);
        m.old_offset = read_be64(&r);
        str row = read_bytes(&r, 40);
        if (r.failed)
            break;
        memcpy(m.id.bytes, id.data, sizeof m.id.bytes);
        TRY(row_read_blob(row, &m.to));
        TRY(move_one(p, t, &m));
    }
    return r.failed ? ERR_CORRUPT : ERR_OK;
}
