/* SPDX-License-Identifier: Apache-2.0 */
#include "core/spool.h"

#include <assert.h>
#include <stdatomic.h>

#include "os/file.h"

static _Atomic uint64_t spool_total; /* bytes held by all spools of this process */

void spool_init(struct spool *s, uint64_t max)
{
    *s = (struct spool){.fd = -1, .max = max};
    buf_init(&s->memory, SPOOL_MEMORY_MAX);
}

void spool_free(struct spool *s)
{
    buf_free(&s->memory);
    if (s->mapped.data)
        file_unmap(s->mapped);
    file_close(&s->fd);
    atomic_fetch_sub(&spool_total, s->size);
    s->size = 0;
    s->mapped = STR_NONE;
}

static enum err move_out(struct spool *s)
{
    if (s->fd < 0)
        TRY(file_memory("message", &s->fd));
    uint64_t written = s->size - s->memory.len;
    TRY(file_write_all_at(s->fd, written, s->memory.data, s->memory.len));
    buf_reset(&s->memory);
    return ERR_OK;
}

void spool_add(struct spool *s, str bytes)
{
    while (s->err == ERR_OK && bytes.len > 0) {
        if (bytes.len > s->max - s->size) {
            s->err = ERR_TOO_LARGE;
            return;
        }
        size_t room = SPOOL_MEMORY_MAX - s->memory.len;
        str piece = str_head(bytes, room);
        if (atomic_load(&spool_total) + piece.len > SPOOL_TOTAL_MAX) {
            s->err = ERR_NOSPACE;
            return;
        }
        buf_add(&s->memory, piece);
        if (!buf_ok(&s->memory)) {
            s->err = ERR_NOMEM;
            return;
        }
        s->size += piece.len;
        atomic_fetch_add(&spool_total, piece.len);
        bytes = str_skip(bytes, piece.len);
        if (s->memory.len == SPOOL_MEMORY_MAX)
            s->err = move_out(s);
    }
}

enum err spool_finish(struct spool *s, str *content)
{
    TRY(s->err);
    if (s->fd < 0) {
        *content = buf_str(&s->memory);
        return ERR_OK;
    }
    TRY(move_out(s));
    TRY(file_seal(s->fd));
    TRY(file_map(s->fd, s->size, &s->mapped));
    *content = s->mapped;
    return ERR_OK;
}

enum err spool_replace(struct spool *s, struct spool *changed, str *content)
{
    str whole;
    enum err e = spool_finish(changed, &whole);
    if (e != ERR_OK) {
        spool_free(changed);
        return e;
    }
    spool_free(s);
    *s = *changed;
    *content = whole;
    return ERR_OK;
}

enum err spool_to_file(struct spool *s)
{
    if (s->fd >= 0)
        return ERR_OK;
    TRY(file_memory("message", &s->fd));
    enum err e = file_write_all_at(s->fd, 0, s->memory.data, s->memory.len);
    if (e == ERR_OK)
        e = file_seal(s->fd);
    if (e != ERR_OK)
        file_close(&s->fd);
    return e;
}
