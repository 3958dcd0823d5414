/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening: from the index's position to the end of the journal. A torn tail of the last segment is
 * cut; a bad record anywhere else stops and reports. The two are told apart by what follows: every
 * record says up to where the journal was on disk when it was written, so a good record that claims
 * the bad place as flushed proves that the bad place once was good.
 */
#include <string.h>

#include "base/code.h"
#include "base/log.h"
#include "base/num.h"
#include "os/file.h"
#include "store/embedded.h"

#define BATCH_BYTES (4u << 20)

enum err record_verify(const struct record_view *v)
{
    const struct record_header *h = &v->header;
    if (h->format != RECORD_FORMAT &&
        !(h->format == RECORD_FORMAT_STAGED && h->type == RECORD_COMMIT))
        return ERR_CORRUPT;
    str meta = str_sub(v->bytes, RECORD_HEADER, h->meta_length);
    if (code_crc32c(0, meta.data, meta.len) != h->meta_crc)
        return ERR_CORRUPT;
    if (h->type == RECORD_BLOB) {
        struct cold_blob b;
        return cold_blob_read(v, &b);
    }
    if (h->type != RECORD_COMMIT)
        return ERR_OK;
    struct record_commit c;
    TRY(record_commit_read(meta, h->format, &c));
    for (uint64_t n = record_count(&c); n > 0; n--) {
        struct record_blob b = record_next_blob(&c);
        if (b.segment != 0 && !c.r.failed)
            continue; /* checked from its row */
        if (c.r.failed || b.at > v->bytes.len || b.length > v->bytes.len - b.at ||
            code_crc32c(0, v->bytes.data + b.at, b.length) != b.crc)
            return ERR_CORRUPT;
    }
    return c.r.failed ? ERR_CORRUPT : ERR_OK;
}

static enum err walk(const struct segment *s, str all, record_fn *fn, void *arg, uint64_t *end)
{
    while (all.len - *end >= RECORD_HEADER) {
        struct record_view v = {.offset = *end};
        const uint8_t *at = (const uint8_t *)all.data + *end;
        if (record_header_read(at, s->salt, &v.header) != ERR_OK ||
            v.header.length > all.len - *end)
            return ERR_OK;
        v.bytes = str_of(at, v.header.length);
        TRY(fn(arg, &v));
        *end += v.header.length;
        if (v.header.type == RECORD_END)
            return ERR_OK;
    }
    return ERR_OK;
}

enum err segment_walk(struct embedded *e, struct segment *s, uint64_t offset, uint64_t limit,
                      record_fn *fn, void *arg, uint64_t *end)
{
    str all;
    *end = offset;
    if (limit <= offset)
        return ERR_OK;
    TRY(segment_map(&e->segments, s, limit, &all));
    enum err err = walk(s, all, fn, arg, end);
    segment_unmap(&e->segments, s);
    return err;
}

/* ---- Replay ---- */

struct replay {
    struct embedded *e;
    struct segment *segment;
    struct overlay_txn txn;
    uint64_t sequence, unapplied, durable_seen;
    bool bad, ended;
};

static enum err replay_apply(struct replay *r, uint64_t end)
{
    struct embedded *e = r->e;
    struct row_key k = row_position();
    BUF_AUTO struct buf row = BUF_INIT(64);
    if (r->unapplied == 0)
        return ERR_OK;
    row_write_position(&row,
                       &(struct position_row){position_of(r->segment->number, end), r->sequence});
    index_batch_clear(e->batch);
    index_batch_txn(e->batch, &r->txn);
    index_batch_put(e->batch, row_str(&k), buf_str(&row));
    TRY(index_write(e->index, e->batch));
    overlay_end(&e->overlay, &r->txn);
    r->unapplied = 0;
    return ERR_OK;
}

static enum err replay_plan(struct replay *r, const struct record_view *v)
{
    struct embedded *e = r->e;
    str meta = str_sub(v->bytes, RECORD_HEADER, v->header.meta_length);
    struct store_result out = {0};
    if (v->header.type == RECORD_MOVE)
        return plan_moves(&e->planner, &r->txn, meta);
    struct plan_input in = {.partition = v->header.partition,
                            .meta = meta,
                            .format = v->header.format,
                            .segment = r->segment->number,
                            .offset = v->offset,
                            .wall_ms = v->header.wall_ms,
                            .replay = true};
    TRY(plan_commit(&e->planner, &r->txn, &in, &out));
    return out.version == v->header.version ? ERR_OK : ERR_CORRUPT;
}

/* What was staged was on disk before its commit was written. */
static enum err staged_are_there(struct embedded *e, const struct record_view *v)
{
    struct record_commit c;
    if (v->header.type != RECORD_COMMIT || v->header.format != RECORD_FORMAT_STAGED)
        return ERR_OK;
    TRY(record_commit_read(str_sub(v->bytes, RECORD_HEADER, v->header.meta_length),
                           v->header.format, &c));
    for (uint64_t n = record_count(&c); n > 0; n--) {
        struct record_blob b = record_next_blob(&c);
        struct segment *s = b.segment != 0 ? segment_hold(&e->segments, b.segment) : NULL;
        uint64_t size = s != NULL ? atomic_load(&s->size) : 0;
        segment_release(&e->segments, s);
        if (b.segment == 0 || (b.at <= size && b.length <= size - b.at))
            continue;
        LOG_ERROR("store", "segment %08x is missing or too short for a staged blob",
                  (unsigned)b.segment);
        return ERR_CORRUPT;
    }
    return ERR_OK;
}

static enum err replay_record(void *arg, const struct record_view *v)
{
    struct replay *r = arg;
    struct embedded *e = r->e;
    if (v->header.sequence != r->sequence || record_verify(v) != ERR_OK) {
        r->bad = true;
        return ERR_CORRUPT;
    }
    if (v->header.type == RECORD_END) {
        r->ended = true;
        return ERR_OK;
    }
    if (e->store.read_only)
        return ERR_UNAVAILABLE;
    enum err err = staged_are_there(e, v);
    if (err == ERR_OK)
        err = replay_plan(r, v);
    if (err != ERR_OK) {
        LOG_ERROR("store", "record %08x:%llu does not fit the index: %s",
                  (unsigned)r->segment->number, (unsigned long long)v->offset, err_name(err));
        return err == ERR_CONFLICT ? ERR_CORRUPT : err;
    }
    r->sequence++;
    r->unapplied += v->header.length;
    e->stats.replayed_records++;
    return r->unapplied >= BATCH_BYTES ? replay_apply(r, v->offset + v->header.length) : ERR_OK;
}

/* Does a good record behind `from` claim that `at_least` had been flushed? */
static enum err lost_inside(struct embedded *e, struct segment *s, uint64_t from, uint64_t at_least,
                            bool *lost)
{
    str all;
    uint64_t size = atomic_load(&s->size);
    TRY(segment_map(&e->segments, s, size, &all));
    for (uint64_t at = from; at + RECORD_HEADER <= size && !*lost; at += 8) {
        struct record_header h;
        if (memcmp(all.data + at, "PHJR", 4) == 0 &&
            record_header_read((const uint8_t *)all.data + at, s->salt, &h) == ERR_OK)
            *lost = h.durable >= at_least;
    }
    segment_unmap(&e->segments, s);
    return ERR_OK;
}

static bool has_records(const struct segment *s) { return atomic_load(&s->size) > SEGMENT_HEADER; }

static bool is_last_hot(struct embedded *e, const struct segment *s)
{
    for (size_t i = e->segments.count; i-- > 0;) {
        const struct segment *x = e->segments.all[i];
        if (!x->cold && has_records(x))
            return x == s;
    }
    return false;
}

static enum err stop_at(const struct segment *s, uint64_t at)
{
    LOG_ERROR("store",
              "bad record in segment %08x at %llu, which is not the torn end of the journal: "
              "nothing is changed; restore from a backup or ask for help",
              (unsigned)s->number, (unsigned long long)at);
    return ERR_CORRUPT;
}

/* Zeros that were written ahead, and nothing torn. */
static enum err only_zeros(struct embedded *e, struct segment *s, uint64_t from, bool *zeros)
{
    str all;
    TRY(segment_map(&e->segments, s, atomic_load(&s->size), &all));
    str tail = str_skip(all, from);
    *zeros =
        tail.len > 0 && tail.data[0] == 0 && memcmp(tail.data, tail.data + 1, tail.len - 1) == 0;
    segment_unmap(&e->segments, s);
    return ERR_OK;
}

static enum err cut_tail(struct embedded *e, struct segment *s, uint64_t end)
{
    uint64_t size = atomic_load(&s->size);
    if (size == end)
        return ERR_OK;
    bool lost = false;
    TRY(lost_inside(e, s, end + 8, position_of(s->number, end) + 1, &lost));
    if (lost)
        return stop_at(s, end);
    e->stats.cut_bytes += size - end;
    if (e->store.read_only)
        return ERR_OK;
    bool zeros = false;
    TRY(only_zeros(e, s, end, &zeros));
    if (!zeros)
        LOG_WARN("store", "cutting %llu bytes of torn tail off segment %08x",
                 (unsigned long long)(size - end), (unsigned)s->number);
    TRY(segment_open_writer(&e->segments, s));
    enum err err = file_truncate(s->fd, end);
    if (err == ERR_OK)
        err = journal_sync(s->fd);
    file_close(&s->fd);
    s->sealed = true;
    atomic_store(&s->size, end);
    return err;
}

/* A segment's end is on disk before the first record of the next is written. So without an end,
 * any good record behind it proves damage, and without one what follows is a rotation that a crash
 * interrupted: it goes. */
static enum err drop_behind(struct embedded *e, struct segment *s, uint64_t end)
{
    bool lost = false;
    for (size_t i = 0; i < e->segments.count; i++) {
        struct segment *x = e->segments.all[i];
        if (!x->cold && x->number > s->number && has_records(x))
            TRY(lost_inside(e, x, SEGMENT_HEADER, 0, &lost));
    }
    if (lost)
        return stop_at(s, end);
    for (size_t i = e->segments.count; i-- > 0 && !e->store.read_only;) {
        struct segment *x = e->segments.all[i];
        if (!x->cold && x->number > s->number)
            TRY(segment_drop(&e->segments, x->number));
    }
    return ERR_OK;
}

static enum err replay_mapped(struct replay *r, struct segment *s, uint64_t offset)
{
    struct embedded *e = r->e;
    uint64_t end = offset;
    r->segment = s;
    r->bad = r->ended = false;
    enum err err = segment_walk(e, s, offset, atomic_load(&s->size), replay_record, r, &end);
    if (err == ERR_UNAVAILABLE) {
        LOG_ERROR("store", "the store was not closed cleanly: open it for writing once first");
        return err;
    }
    if (err != ERR_OK && !r->bad)
        return err;
    /* Never behind an end record: the next replay must see it, or would continue the segment. */
    TRY(replay_apply(r, r->ended ? end - RECORD_HEADER : end));
    bool last = is_last_hot(e, s);
    if (!last && r->ended)
        return ERR_OK;
    if (!last)
        TRY(drop_behind(e, s, end));
    e->end = end;
    return cut_tail(e, s, end);
}

/* What was read and is not applied yet lies in the mapping: it stays until all is applied. */
static enum err replay_segment(struct replay *r, struct segment *s, uint64_t offset)
{
    str held;
    uint64_t size = atomic_load(&s->size);
    if (size == 0)
        return replay_mapped(r, s, offset);
    TRY(segment_map(&r->e->segments, s, size, &held));
    enum err err = replay_mapped(r, s, offset);
    segment_unmap(&r->e->segments, s);
    return err;
}

static enum err start_writer(struct embedded *e, struct replay *r, struct segment *last)
{
    e->sequence = r->sequence;
    if (last == NULL)
        return ERR_OK;
    atomic_store(&e->durable, position_of(last->number, e->end));
    if (r->ended || e->store.read_only)
        return ERR_OK; /* the first commit begins the next segment */
    TRY(segment_open_writer(&e->segments, last));
    last->holders++;
    e->current = last;
    return ERR_OK;
}

static enum err position_get(struct embedded *e, struct position_row *out)
{
    struct row_key k = row_position();
    BUF_AUTO struct buf row = BUF_INIT(64);
    *out = (struct position_row){position_of(0, SEGMENT_HEADER), 1};
    enum err err = index_get(e->index, row_str(&k), &row);
    if (err == ERR_NOT_FOUND)
        return ERR_OK;
    return err != ERR_OK ? err : row_read_position(buf_str(&row), out);
}

enum err replay_journal(struct embedded *e)
{
    struct position_row from;
    TRY(position_get(e, &from));
    struct replay r = {.e = e, .sequence = from.sequence};
    uint32_t first = position_segment(from.position);
    struct segment *last = NULL;
    bool found = false;
    overlay_txn_init(&r.txn);
    for (size_t i = 0; i < e->segments.count; i++) {
        struct segment *s = e->segments.all[i];
        if (s->cold || s->number < first || !has_records(s))
            continue;
        uint64_t offset = s->number == first ? position_offset(from.position) : SEGMENT_HEADER;
        if (offset > atomic_load(&s->size))
            break; /* shorter than the index knows it */
        found |= s->number == first;
        enum err err = replay_segment(&r, s, offset);
        if (err != ERR_OK) {
            overlay_end(&e->overlay, &r.txn);
            return err;
        }
        last = s;
    }
    if (first != 0 && !found) {
        LOG_ERROR("store", "segment %08x of the journal is missing or too short", (unsigned)first);
        return ERR_CORRUPT;
    }
    return start_writer(e, &r, last);
}
