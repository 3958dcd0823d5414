/* SPDX-License-Identifier: Apache-2.0
 *
 * The compactor: what lives in a mostly dead segment is copied into a cold segment, compressed; a
 * MOVE record then gives the rows their new places; when that is flushed in the index, the old file
 * goes. A crash between any two steps leaves a copy too many, never one too few.
 */
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/code.h"
#include "base/log.h"
#include "base/num.h"
#include "os/file.h"
#include "store/embedded.h"

#define MOVES_MAX 1000
#define ZSTD_LEVEL 3
#define TOKEN_KEEP_HOURS 25

struct compaction {
    struct embedded *e;
    struct segment *from, *to; /* to: held, may be NULL */
    uint64_t end;              /* of to */
    struct plan_move moves[MOVES_MAX];
    size_t nmoves;
    struct buf record;
};

static enum err submit_moves(struct embedded *e, const struct plan_move *moves, size_t n)
{
    struct work *w = calloc(1, sizeof *w);
    BUF_AUTO struct buf meta = BUF_INIT(1 << 20);
    plan_move_write(&meta, moves, n);
    uint64_t length = RECORD_HEADER + record_align(meta.len);
    char *bytes = calloc(1, length);
    if (w == NULL || bytes == NULL || !buf_ok(&meta)) {
        free(w);
        free(bytes);
        return ERR_NOMEM;
    }
    memcpy(bytes + RECORD_HEADER, meta.data, meta.len);
    *w = (struct work){.type = RECORD_MOVE,
                       .enc = {bytes, (uint32_t)length, (uint32_t)meta.len, RECORD_FORMAT}};
    overlay_txn_init(&w->txn);
    return journal_run(e, w);
}

/* The copies are on disk before the journal says that they are the blobs. */
static enum err moves_commit(struct compaction *c)
{
    if (c->nmoves == 0)
        return ERR_OK;
    TRY(journal_sync(c->to->fd));
    atomic_store_explicit(&c->to->size, c->end, memory_order_release);
    TRY(submit_moves(c->e, c->moves, c->nmoves));
    c->nmoves = 0;
    return ERR_OK;
}

static enum err cold_close(struct compaction *c)
{
    TRY(moves_commit(c));
    if (c->to == NULL)
        return ERR_OK;
    segment_seal(&c->e->segments, c->to);
    segment_release(&c->e->segments, c->to);
    c->to = NULL;
    return ERR_OK;
}

static enum err cold_room(struct compaction *c, uint64_t length)
{
    if (c->to != NULL && c->end + length <= c->to->capacity)
        return ERR_OK;
    TRY(cold_close(c));
    TRY(segment_create(&c->e->segments, true, MAX(c->e->segment_bytes, SEGMENT_HEADER + length),
                       &c->to));
    c->end = SEGMENT_HEADER;
    return ERR_OK;
}

/* Frames behind their table; false: not worth it, or no memory. */
static bool pack_frames(str bytes, struct buf *out)
{
    size_t count = (bytes.len + BLOB_FRAME - 1) / BLOB_FRAME;
    BUF_AUTO struct buf frames = BUF_INIT(2 * (uint64_t)STORE_BLOB_MAX);
    buf_add_be32(out, (uint32_t)count);
    for (size_t at = 0; at < bytes.len; at += BLOB_FRAME) {
        str piece = str_sub(bytes, at, BLOB_FRAME);
        size_t bound = ZSTD_compressBound(piece.len);
        char *to = buf_reserve(&frames, bound);
        size_t got = to == NULL ? 0 : ZSTD_compress(to, bound, piece.data, piece.len, ZSTD_LEVEL);
        if (to == NULL || ZSTD_isError(got))
            return false;
        buf_commit(&frames, got);
        buf_add_be32(out, (uint32_t)got);
    }
    buf_add(out, buf_str(&frames));
    return buf_ok(out) && out->len < bytes.len / 16 * 15;
}

static void pack(const struct blob_bytes *b, struct cold_blob *cold, struct buf *out)
{
    cold->codec = BLOB_ZSTD;
    if (!pack_frames(b->bytes, out)) {
        cold->codec = BLOB_PLAIN;
        buf_reset(out);
        buf_add(out, b->bytes);
    }
    cold->stored = out->len;
}

static enum err cold_write(struct compaction *c, struct cold_blob *cold, str stored)
{
    uint8_t zeros[8] = {0};
    uint64_t length = cold_record_length(cold);
    TRY(cold_room(c, length));
    buf_reset(&c->record);
    cold_record_start(&c->record, cold, c->to->salt);
    uint64_t at = c->record.len;
    buf_add(&c->record, stored);
    buf_add(&c->record, str_of(zeros, length - at - stored.len));
    if (!buf_ok(&c->record))
        return ERR_NOMEM;
    TRY(file_write_all_at(c->to->fd, c->end, c->record.data, c->record.len));
    cold->at = c->end + at;
    c->end += length;
    return ERR_OK;
}

static enum err move_blob(struct compaction *c, const struct blob_id *id, uint64_t offset)
{
    struct blob_row r;
    struct blob_bytes b;
    enum err err = blob_row_get(c->e, id, &r);
    if (err == ERR_NOT_FOUND)
        return ERR_OK; /* dead */
    if (err != ERR_OK)
        return err;
    if (r.segment != c->from->number || r.offset != offset)
        return ERR_OK; /* lives elsewhere */
    TRY(blob_load(c->e, &r, &b));
    struct cold_blob cold = {.id = *id, .length = r.length, .crc = r.crc};
    BUF_AUTO struct buf stored = BUF_INIT(2 * (uint64_t)STORE_BLOB_MAX);
    pack(&b, &cold, &stored);
    blob_unload(&b);
    if (!buf_ok(&stored))
        return ERR_NOMEM;
    TRY(cold_write(c, &cold, buf_str(&stored)));
    c->moves[c->nmoves++] = (struct plan_move){.id = *id,
                                               .old_segment = r.segment,
                                               .old_offset = r.offset,
                                               .to = {.codec = cold.codec,
                                                      .segment = c->to->number,
                                                      .offset = cold.at,
                                                      .stored = cold.stored,
                                                      .length = r.length,
                                                      .crc = r.crc}};
    return c->nmoves == MOVES_MAX ? moves_commit(c) : ERR_OK;
}

static enum err move_record(void *arg, const struct record_view *v)
{
    struct compaction *c = arg;
    if (v->header.type == RECORD_BLOB) {
        struct cold_blob b;
        TRY(cold_blob_read(v, &b));
        return move_blob(c, &b.id, v->offset + b.at);
    }
    if (v->header.type != RECORD_COMMIT)
        return ERR_OK;
    struct record_commit rc;
    TRY(record_commit_read(str_sub(v->bytes, RECORD_HEADER, v->header.meta_length),
                           v->header.format, &rc));
    for (uint64_t n = record_count(&rc); n > 0; n--) {
        struct record_blob b = record_next_blob(&rc);
        if (rc.r.failed)
            return ERR_CORRUPT;
        if (b.segment == 0)
            TRY(move_blob(c, &b.id, v->offset + b.at));
    }
    return ERR_OK;
}

static enum err segment_live(struct embedded *e, uint32_t number, struct segment_row *out)
{
    struct row_key k = row_segment(number);
    BUF_AUTO struct buf row = BUF_INIT(64);
    *out = (struct segment_row){0};
    enum err err = index_get(e->index, row_str(&k), &row);
    if (err == ERR_NOT_FOUND)
        return ERR_OK;
    return err != ERR_OK ? err : row_read_segment(buf_str(&row), out);
}

static enum err drop_emptied(struct embedded *e, struct segment *s)
{
    struct segment_row live;
    TRY(index_flush(e->index, true)); /* the position and the new places are on disk */
    TRY(segment_live(e, s->number, &live));
    if (live.live_blobs != 0) {
        LOG_ERROR("store", "segment %08x still has %llu live blobs after its compaction: kept",
                  (unsigned)s->number, (unsigned long long)live.live_blobs);
        return ERR_CORRUPT;
    }
    TRY(segment_drop(&e->segments, s->number));
    struct row_key k = row_segment(s->number);
    struct index_batch *b = index_batch_new();
    index_batch_delete(b, row_str(&k));
    enum err err = index_write(e->index, b);
    index_batch_free(b);
    return err;
}

static enum err compact_one(struct compaction *c, struct segment *s)
{
    uint64_t end, size = atomic_load(&s->size);
    c->from = s;
    TRY(segment_walk(c->e, s, SEGMENT_HEADER, size, move_record, c, &end));
    /* A cold file may end in what a crash left; live blobs behind it would keep the file below. */
    if (end != size && !s->cold) {
        LOG_ERROR("store", "segment %08x is damaged at %llu: not compacted", (unsigned)s->number,
                  (unsigned long long)end);
        return ERR_CORRUPT;
    }
    TRY(moves_commit(c));
    /* Also a barrier: what was committed before it has been applied. */
    TRY(submit_moves(c->e, NULL, 0));
    return drop_emptied(c->e, s);
}

static bool worth_it(struct embedded *e, struct segment *s, unsigned live_percent)
{
    struct segment_row r;
    uint64_t size = atomic_load(&s->size);
    pthread_mutex_lock(&e->segments.lock);
    bool sealed = s->sealed && s->staged == 0;
    pthread_mutex_unlock(&e->segments.lock);
    return sealed && position_segment(atomic_load(&e->durable)) != s->number &&
           segment_live(e, s->number, &r) == ERR_OK && r.live_bytes * 100 < size * live_percent;
}

static enum err compact_all(struct compaction *c, unsigned live_percent)
{
    struct embedded *e = c->e;
    uint32_t last = e->segments.next; /* what this run makes is not its food */
    uint32_t number = 0;
    for (size_t i = 0;; i++) {
        struct segment *s = segment_at(&e->segments, i);
        if (s == NULL || s->number >= last) {
            segment_release(&e->segments, s);
            return ERR_OK;
        }
        enum err err = ERR_OK;
        if (s->number > number && worth_it(e, s, live_percent)) {
            number = s->number;
            err = compact_one(c, s);
            i--; /* the table closed up */
        }
        segment_release(&e->segments, s);
        if (err == ERR_CORRUPT)
            i++; /* left as it is; the others go on */
        else if (err != ERR_OK)
            return err;
    }
}

enum err compact_segments(struct embedded *e, unsigned live_percent)
{
    struct compaction *c = calloc(1, sizeof *c);
    if (c == NULL)
        return ERR_NOMEM;
    c->e = e;
    buf_init(&c->record, 2 * (uint64_t)STORE_BLOB_MAX);
    pthread_mutex_lock(&e->compacting);
    enum err err = compact_all(c, live_percent);
    enum err closed = cold_close(c);
    if (closed != ERR_OK && c->to != NULL)
        segment_release(&e->segments, c->to);
    pthread_mutex_unlock(&e->compacting);
    buf_free(&c->record);
    free(c);
    return err != ERR_OK ? err : closed;
}

/* A crash leaves cold files whose MOVE never came, and rows of files that are gone. */
enum err compact_clean(struct embedded *e)
{
    for (size_t i = e->segments.count; i-- > 0;) {
        struct segment *s = e->segments.all[i];
        struct row_key k = row_segment(s->number);
        BUF_AUTO struct buf row = BUF_INIT(64);
        if (!s->cold)
            continue;
        enum err err = index_get(e->index, row_str(&k), &row);
        if (err == ERR_NOT_FOUND) {
            LOG_INFO("store", "removing the unfinished cold segment %08x", (unsigned)s->number);
            err = segment_drop(&e->segments, s->number);
        }
        if (err != ERR_OK)
            return err;
    }
    return ERR_OK;
}

void compact_trim_tokens(struct embedded *e, uint64_t wall_ms)
{
    uint64_t hour = wall_ms / TOKEN_HOUR_MS;
    static const struct store_token none;
    if (hour < TOKEN_KEEP_HOURS)
        return;
    struct row_key from = row_tag('x'), to = row_expiry(hour - TOKEN_KEEP_HOURS, 0, &none);
    struct index_iter *it = index_iter_new(e->index, row_str(&from), row_str(&to), false);
    struct index_batch *b = index_batch_new();
    size_t n = 0;
    for (; index_iter_valid(it) && n < 10000; index_iter_step(it), n++) {
        str key = index_iter_key(it);
        struct row_key token = row_tag('t');
        memcpy(token.bytes + token.len, key.data + 13, 24);
        token.len += 24;
        index_batch_delete(b, row_str(&token));
        index_batch_delete(b, key);
    }
    enum err err = index_iter_free(it);
    if (err == ERR_OK && n > 0)
        err = index_write(e->index, b);
    if (err != ERR_OK)
        LOG_WARN("store", "old tokens were not trimmed: %s", err_name(err));
    index_batch_free(b);
}
