/* SPDX-License-Identifier: Apache-2.0
 *
 * The write stage: places, plans and writes a group. What fails here leaves no trace.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/code.h"
#include "base/log.h"
#include "base/num.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/sys.h"
#include "store/embedded.h"

atomic_int embedded_test_fail_flush;

/* After a failed flush the kernel may have dropped the dirty pages and called them clean: a retry
 * would lie. The process ends and the replay decides what is there. */
enum err journal_sync(int fd)
{
    enum err e = file_sync_data(fd);
    int left = atomic_load_explicit(&embedded_test_fail_flush, memory_order_relaxed);
    if (left > 0 && atomic_fetch_sub(&embedded_test_fail_flush, 1) == 1)
        e = ERR_IO;
    if (e != ERR_OK) {
        LOG_ERROR("store", "flush of the journal failed (%s): ending, the next start replays",
                  err_name(e));
        abort();
    }
    return ERR_OK;
}

/* The reserve is kept for the index and the compactor. Commits without blobs, by which people make
 * room, may use half of it. */
enum err journal_room(struct embedded *e, uint64_t bytes, bool blobs)
{
    uint64_t free_bytes = 0, total = 0;
    TRY(file_free_bytes(e->segments.dir, &free_bytes, &total));
    uint64_t keep = total / 100 * e->reserve_percent;
    uint64_t floor = MIN(UINT64_C(64) << 20, total / 8);
    if (keep < floor)
        keep = floor;
    if (!blobs)
        keep /= 2;
    return free_bytes < keep || free_bytes - keep < bytes ? ERR_NOSPACE : ERR_OK;
}

static enum err reserve(struct embedded *e, struct segment *s, uint64_t end, bool blobs)
{
    if (end <= s->reserved)
        return ERR_OK;
    uint64_t step = MIN((uint64_t)SEGMENT_RESERVE_STEP, MAX(s->capacity / 4, UINT64_C(65536)));
    uint64_t want = MAX(end - s->reserved, MIN(step, s->capacity - s->reserved));
    uint64_t least = end - s->reserved;
    enum err err = journal_room(e, want, blobs);
    if (err == ERR_NOSPACE) {
        want = least;
        err = journal_room(e, want, blobs);
    }
    if (err == ERR_OK)
        err = file_reserve(s->fd, s->reserved, want);
    if (err == ERR_NOSPACE && want > least) {
        want = least;
        err = file_reserve(s->fd, s->reserved, want);
    }
    if (err == ERR_UNSUPPORTED)
        err = ERR_OK; /* pwritev will tell */
    if (err == ERR_OK)
        s->reserved += want;
    return err;
}

/* Bytes written over bytes are flushed alone; where they make the file longer the file system has
 * to commit its own journal too, which costs as much again. So while groups are small and each has
 * a flush of its own, zeros are written ahead; large groups share that cost, and zeros would be
 * half of what is written. Nothing depends on it: what cannot be filled is appended. */
#define FILL_BYTES (1u << 20)
#define FILL_GROUP_BYTES_MAX 65536

static void fill_ahead(struct embedded *e, struct segment *s, uint64_t end)
{
    uint64_t from = MAX(s->filled, e->end), to = MIN(end + FILL_BYTES, s->reserved);
    if (end <= s->filled || from >= to || e->group_bytes > FILL_GROUP_BYTES_MAX)
        return;
    if (file_zero_at(s->fd, from, to - from) == ERR_OK)
        s->filled = to;
}

/* ---- Rotation ---- */

static enum err end_segment(struct embedded *e)
{
    uint8_t h[RECORD_HEADER];
    struct segment *s = e->current;
    record_header_write(&(struct record_header){.type = RECORD_END,
                                                .format = RECORD_FORMAT,
                                                .length = RECORD_HEADER,
                                                .sequence = e->sequence,
                                                .durable = atomic_load(&e->durable),
                                                .wall_ms = clock_wall_ms()},
                        s->salt, h);
    enum err err = file_write_all_at(s->fd, e->end, h, sizeof h);
    if (err == ERR_OK) /* gives the unused reserve back */
        err = file_truncate(s->fd, e->end + sizeof h);
    if (err != ERR_OK)
        return err;
    TRY(journal_sync(s->fd));
    atomic_store_explicit(&s->size, e->end + sizeof h, memory_order_release);
    segment_seal(&e->segments, s);
    segment_release(&e->segments, s);
    return ERR_OK;
}

/* The new file is there before the old one is ended: a full disk stops us before any change. An
 * empty last segment behind one without an end is what a crash in between leaves. */
static enum err rotate(struct embedded *e, uint64_t need, bool blobs)
{
    struct segment *next = NULL;
    uint64_t capacity = MAX(e->segment_bytes, SEGMENT_HEADER + need + RECORD_HEADER);
    TRY(journal_room(e, need, blobs));
    TRY(segment_create(&e->segments, false, capacity, &next));
    enum err err = e->current == NULL ? ERR_OK : end_segment(e);
    if (err != ERR_OK) {
        uint32_t number = next->number;
        segment_release(&e->segments, next);
        (void)!segment_drop(&e->segments, number);
        return err;
    }
    e->current = next;
    e->end = SEGMENT_HEADER;
    return ERR_OK;
}

static bool has_blobs(const struct work *w)
{
    return w->enc.length > RECORD_HEADER + record_align(w->enc.meta_length);
}

static bool fits(const struct embedded *e, const struct work *w)
{
    return e->current != NULL && e->end + w->enc.length + RECORD_HEADER <= e->current->capacity;
}

/* ---- A group ---- */

static enum err plan_work(struct embedded *e, struct work *w)
{
    if (w->type == RECORD_MOVE)
        return plan_moves(&e->planner, &w->txn, encoded_meta(&w->enc));
    struct plan_input in = {.partition = w->partition,
                            .meta = encoded_meta(&w->enc),
                            .format = w->enc.format,
                            .segment = e->current->number,
                            .offset = e->end,
                            .wall_ms = clock_wall_ms(),
                            .expect_version = w->expect_version,
                            .expects = w->expects,
                            .nexpects = w->nexpects};
    return plan_commit(&e->planner, &w->txn, &in, &w->out);
}

static void place(struct embedded *e, struct work *w)
{
    struct record_header h = {.type = w->type,
                              .format = w->enc.format,
                              .length = w->enc.length,
                              .meta_length = w->enc.meta_length,
                              .partition = w->partition,
                              .version = w->out.version,
                              .sequence = e->sequence++,
                              .durable = atomic_load(&e->durable),
                              .wall_ms = clock_wall_ms(),
                              .meta_crc =
                                  code_crc32c(0, w->enc.bytes + RECORD_HEADER, w->enc.meta_length)};
    record_header_write(&h, e->current->salt, (uint8_t *)w->enc.bytes);
    e->end += w->enc.length;
}

static enum err write_iov(int fd, struct iovec *iov, int n, uint64_t at)
{
    while (n > 0) {
        ssize_t got = pwritev(fd, iov, MIN(n, IOV_MAX), (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got == 0 ? ERR_IO : sys_err(errno);
        at += (uint64_t)got;
        for (size_t left = (size_t)got; left > 0;) {
            size_t k = MIN(left, iov->iov_len);
            iov->iov_base = (char *)iov->iov_base + k;
            iov->iov_len -= k;
            left -= k;
            if (iov->iov_len == 0) {
                iov++;
                n--;
            }
        }
    }
    return ERR_OK;
}

static void reject(struct embedded *e, struct list *rejected, struct work *w, enum err why)
{
    overlay_end(&e->overlay, &w->txn);
    w->pending->result = why;
    list_push_back(rejected, &w->link);
}

/* Nothing of the group may be found by a replay, so the cut is on disk before the answer. */
static void undo(struct embedded *e, struct group *g, struct list *rejected, uint64_t sequence,
                 enum err why)
{
    for (struct list *l; (l = list_pop_front(&g->works)) != NULL;)
        reject(e, rejected, container_of(l, struct work, link), why);
    e->end = g->begin;
    e->sequence = sequence;
    g->segment->reserved = g->segment->filled = g->begin;
    if (file_truncate(g->segment->fd, g->begin) != ERR_OK) {
        LOG_ERROR("store", "cannot cut the journal after a failed write: ending");
        abort();
    }
    (void)!journal_sync(g->segment->fd);
}

static void group_finish(struct embedded *e, struct group *g, struct list *rejected,
                         struct iovec *iov, int n, uint64_t sequence)
{
    enum err err = n == 0 ? ERR_OK : write_iov(g->segment->fd, iov, n, g->begin);
    if (err != ERR_OK) {
        LOG_ERROR("store", "write to the journal failed: %s", err_text(err));
        undo(e, g, rejected, sequence, err == ERR_NOSPACE ? err : ERR_IO);
    }
    g->end = e->end;
    g->sequence = e->sequence;
    e->group_bytes += (g->end - g->begin) / 8 - e->group_bytes / 8;
    atomic_store_explicit(&g->segment->size, e->end, memory_order_release);
}

static enum err take_one(struct embedded *e, struct work *w)
{
    if (!fits(e, w))
        TRY(rotate(e, w->enc.length, has_blobs(w)));
    TRY(reserve(e, e->current, e->end + w->enc.length, has_blobs(w)));
    fill_ahead(e, e->current, e->end + w->enc.length);
    return plan_work(e, w);
}

static struct group *group_new(struct embedded *e)
{
    struct group *g = calloc(1, sizeof *g);
    if (g == NULL)
        return NULL;
    list_init(&g->works);
    g->segment = segment_hold(&e->segments, e->current->number);
    segment_writer(&e->segments, g->segment, 1);
    g->begin = e->end;
    return g;
}

/* A group stays in one segment: a work that needs the next one ends it and waits in `works`. */
void journal_write_group(struct embedded *e, struct list *works, struct list *rejected,
                         struct group **out)
{
    struct iovec iov[GROUP_COMMITS];
    struct group *g = NULL;
    int n = 0;
    uint64_t sequence = e->sequence;
    while (!list_empty(works)) {
        struct work *w = container_of(works->next, struct work, link);
        if (g != NULL && !fits(e, w))
            break;
        list_remove(&w->link);
        enum err err = take_one(e, w);
        if (err == ERR_OK && g == NULL && (g = group_new(e)) == NULL)
            err = ERR_NOMEM;
        if (err != ERR_OK) {
            reject(e, rejected, w, err);
            continue;
        }
        list_push_back(&g->works, &w->link);
        if (w->out.repeated)
            continue; /* nothing to write, but its answer waits for what it repeats */
        place(e, w);
        iov[n++] = (struct iovec){w->enc.bytes, w->enc.length};
    }
    if (g != NULL)
        group_finish(e, g, rejected, iov, n, sequence);
    *out = g;
}
