/* SPDX-License-Identifier: Apache-2.0
 *
 * Staging: a large blob is written and synced into a cold segment of its own before the commit that
 * takes it, so the journal gets a record without bytes. In pieces, with pauses, and the one flush
 * when all of them have been written out: a flush of the journal that comes meanwhile finds little
 * on the disk's way. The file is shared by
 * what is staged one after another; what no commit took is dead space in it, and a file that no
 * commit named goes at the next start, like that of a compaction that never ended.
 */
#include <time.h>

#include "base/num.h"
#include "os/clock.h"
#include "os/file.h"
#include "store/embedded.h"

#define PIECE_BYTES ((size_t)256 << 10)
#define PAUSE_NS_MAX 20000000

/* Half of the time is for others. */
static void pause_after(uint64_t since_ns)
{
    struct timespec t = {0, (long)MIN(clock_mono_ns() - since_ns, (uint64_t)PAUSE_NS_MAX)};
    nanosleep(&t, NULL);
}

static enum err write_pieces(struct segment *s, uint64_t at, str bytes)
{
    while (bytes.len > 0) {
        uint64_t since = clock_mono_ns();
        str piece = str_head(bytes, PIECE_BYTES);
        TRY(file_write_all_at(s->fd, at, piece.data, piece.len));
        TRY(file_write_out(s->fd, at, piece.len)); /* the flush would not tell of it again */
        at += piece.len;
        bytes = str_skip(bytes, piece.len);
        if (bytes.len > 0)
            pause_after(since);
    }
    return journal_sync(s->fd);
}

static void stage_end(struct embedded *e)
{
    if (e->stage == NULL)
        return;
    segment_seal(&e->segments, e->stage);
    segment_release(&e->segments, e->stage);
    e->stage = NULL;
}

static enum err stage_room(struct embedded *e, uint64_t length)
{
    TRY(journal_room(e, length, true));
    if (e->stage != NULL && e->stage_at + length <= e->stage->capacity)
        return ERR_OK;
    stage_end(e);
    TRY(segment_create(&e->segments, true, MAX(e->segment_bytes, SEGMENT_HEADER + length),
                       &e->stage));
    e->stage_at = SEGMENT_HEADER;
    return ERR_OK;
}

static enum err stage_write(struct embedded *e, struct store_staged *st, str bytes)
{
    BUF_AUTO struct buf head = BUF_INIT(1024);
    static const char zeros[8];
    struct cold_blob cold = {.id = st->id,
                             .codec = BLOB_PLAIN,
                             .length = bytes.len,
                             .stored = bytes.len,
                             .crc = st->crc};
    uint64_t length = cold_record_length(&cold);
    TRY(stage_room(e, length));
    struct segment *s = e->stage;
    uint64_t at = e->stage_at;
    enum err err = file_reserve(s->fd, at, length);
    if (err != ERR_OK && err != ERR_UNSUPPORTED)
        return err;
    cold_record_start(&head, &cold, s->salt);
    if (!buf_ok(&head))
        return ERR_NOMEM;
    TRY(file_write_all_at(s->fd, at, head.data, head.len));
    TRY(file_write_all_at(s->fd, at + head.len + bytes.len, zeros, length - head.len - bytes.len));
    TRY(write_pieces(s, at + head.len, bytes));
    st->segment = segment_hold(&e->segments, s->number);
    st->number = s->number;
    st->offset = at + head.len;
    segment_staged(&e->segments, s, 1);
    e->stage_at = at + length;
    atomic_store_explicit(&s->size, e->stage_at, memory_order_release);
    return ERR_OK;
}

enum err embedded_stage(struct store *s, struct store_staged *st, str bytes)
{
    struct embedded *e = (struct embedded *)s;
    pthread_mutex_lock(&e->staging);
    enum err err = stage_write(e, st, bytes);
    pthread_mutex_unlock(&e->staging);
    return err;
}

void embedded_unstage(struct store *s, struct store_staged *st)
{
    struct embedded *e = (struct embedded *)s;
    if (st->segment == NULL)
        return;
    segment_staged(&e->segments, st->segment, -1);
    segment_release(&e->segments, st->segment);
}

void stage_close(struct embedded *e)
{
    pthread_mutex_lock(&e->staging);
    stage_end(e);
    pthread_mutex_unlock(&e->staging);
}
