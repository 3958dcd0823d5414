/* SPDX-License-Identifier: Apache-2.0
 *
 * A hot backup: a checkpoint of the index, links to the closed segments, a copy of the open one up
 * to what is on disk. The restored folder replays from the checkpoint's position like any other.
 */
#include <errno.h>
#include <unistd.h>

#include "base/num.h"
#include "os/file.h"
#include "os/sys.h"
#include "store/embedded.h"

#define COPY_STEP (1u << 20)

static enum err copy_bytes(struct embedded *e, struct segment *s, int to_dir, str name,
                           uint64_t size)
{
    FD_AUTO int fd = -1;
    BUF_AUTO struct buf step = BUF_INIT(COPY_STEP);
    TRY(file_open(to_dir, name, FILE_WRITE | FILE_CREATE | FILE_EXCLUSIVE, &fd));
    char *bytes = buf_reserve(&step, COPY_STEP);
    if (bytes == NULL)
        return ERR_NOMEM;
    for (uint64_t at = 0; at < size; at += COPY_STEP) {
        uint64_t n = MIN(size - at, (uint64_t)COPY_STEP);
        TRY(segment_read(&e->segments, s, at, n, bytes));
        TRY(file_write_all_at(fd, at, bytes, n));
    }
    return file_sync_data(fd);
}

static enum err copy_segment(struct embedded *e, struct segment *s, int to_dir, uint64_t durable)
{
    BUF_AUTO struct buf name = BUF_INIT(32);
    segment_name(s, &name);
    pthread_mutex_lock(&e->segments.lock);
    bool sealed = s->sealed;
    pthread_mutex_unlock(&e->segments.lock);
    bool open = !s->cold && s->number == position_segment(durable);
    if (!s->cold && s->number > position_segment(durable))
        return ERR_OK;
    if (open)
        return copy_bytes(e, s, to_dir, buf_str(&name), position_offset(durable));
    if (!sealed) /* staged blobs are written behind what is there: a link would grow with it */
        return copy_bytes(e, s, to_dir, buf_str(&name), atomic_load(&s->size));
    buf_add_char(&name, '\0');
    if (linkat(e->segments.dir, name.data, to_dir, name.data, 0) == 0)
        return ERR_OK;
    if (errno != EXDEV && errno != EPERM && errno != EMLINK)
        return sys_err(errno);
    return copy_bytes(e, s, to_dir, str_of(name.data, name.len - 1), atomic_load(&s->size));
}

static enum err copy_journal(struct embedded *e, str to)
{
    FD_AUTO int dir = -1;
    uint64_t durable = atomic_load(&e->durable);
    TRY(file_make_dirs(to));
    TRY(file_open(-100 /* AT_FDCWD */, to, FILE_READ | FILE_DIR, &dir));
    for (size_t i = 0;; i++) {
        struct segment *s = segment_at(&e->segments, i);
        if (s == NULL)
            return file_sync_dir(dir);
        enum err err = copy_segment(e, s, dir, durable);
        segment_release(&e->segments, s);
        if (err != ERR_OK)
            return err;
    }
}

static enum err backup_locked(struct embedded *e, str to)
{
    BUF_AUTO struct buf path = BUF_INIT(4096);
    FD_AUTO int dir = -1;
    TRY(file_make_dirs(to));
    buf_add(&path, to);
    buf_add_c(&path, "/index");
    if (!buf_ok(&path))
        return ERR_LIMIT;
    TRY(index_checkpoint(e->index, buf_str(&path))); /* refuses a folder that is there */
    buf_truncate(&path, to.len);
    buf_add_c(&path, "/journal");
    TRY(copy_journal(e, buf_str(&path)));
    TRY(file_open(-100 /* AT_FDCWD */, to, FILE_READ | FILE_DIR, &dir));
    BUF_AUTO struct buf format = BUF_INIT(256);
    TRY(file_read_whole(e->dir, STR("FORMAT"), &format));
    return file_replace(dir, STR("FORMAT"), buf_str(&format)); /* last: now it is a store */
}

enum err embedded_backup(struct store *s, str to_dir)
{
    struct embedded *e = (struct embedded *)s;
    if (s->read_only)
        return ERR_UNSUPPORTED;
    pthread_mutex_lock(&e->compacting); /* no segment goes while we link */
    enum err err = backup_locked(e, to_dir);
    pthread_mutex_unlock(&e->compacting);
    return err;
}
