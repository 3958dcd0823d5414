/* SPDX-License-Identifier: Apache-2.0 */
#include "store/segment.h"

#include <assert.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/code.h"
#include "base/log.h"
#include "base/num.h"
#include "os/file.h"
#include "os/rand.h"

static const char magic[8] = {'P', 'H', 'S', 'E', 'G', '0', '0', '1'};

void segment_name(const struct segment *s, struct buf *out)
{
    buf_addf(out, "%08x.%s", (unsigned)s->number, s->cold ? "cold" : "log");
}

static void header_write(const struct segment *s, struct buf *b)
{
    buf_add(b, str_of(magic, sizeof magic));
    buf_add_be32(b, s->number);
    buf_add_char(b, s->cold ? 'c' : 'l');
    buf_add_char(b, 1);
    buf_add_be16(b, 0);
    buf_add_be32(b, s->salt);
    while (b->len < SEGMENT_HEADER - 4)
        buf_add_char(b, 0);
    buf_add_be32(b, code_crc32c(0, b->data, b->len));
}

static bool header_read(struct segment *s, const char *h)
{
    struct reader r = reader_of(str_of(h, SEGMENT_HEADER));
    str m = read_bytes(&r, sizeof magic);
    uint32_t number = read_be32(&r);
    uint8_t kind = read_u8(&r), format = read_u8(&r);
    (void)read_be16(&r);
    s->salt = read_be32(&r);
    r = reader_of(str_of(h + SEGMENT_HEADER - 4, 4));
    return memcmp(m.data, magic, sizeof magic) == 0 && number == s->number &&
           kind == (s->cold ? 'c' : 'l') && format == 1 &&
           read_be32(&r) == code_crc32c(0, h, SEGMENT_HEADER - 4);
}

static enum err open_file(struct segment_table *t, const struct segment *s, int flags, int *fd)
{
    BUF_AUTO struct buf name = BUF_INIT(32);
    segment_name(s, &name);
    return file_open(t->dir, buf_str(&name), flags, fd);
}

static enum err table_add(struct segment_table *t, struct segment *s)
{
    if (t->count == t->cap) {
        size_t cap = t->cap == 0 ? 16 : t->cap * 2;
        struct segment **all = realloc(t->all, cap * sizeof(struct segment *));
        if (all == NULL)
            return ERR_NOMEM;
        t->all = all;
        t->cap = cap;
    }
    size_t i = t->count++;
    for (; i > 0 && t->all[i - 1]->number > s->number; i--)
        t->all[i] = t->all[i - 1];
    t->all[i] = s;
    s->holders++;
    t->next = MAX(t->next, s->number + 1);
    return ERR_OK;
}

static void segment_free(struct segment *s)
{
    if (s->map.len > 0)
        file_unmap(s->map);
    file_close(&s->fd);
    file_close(&s->reader);
    free(s);
}

/* ---- Reading the folder ---- */

static bool name_parse(const char *name, uint32_t *number, bool *cold)
{
    str n = str_c(name);
    char *end = NULL;
    if (n.len < 12 || name[8] != '.' || (!str_ends(n, STR(".log")) && !str_ends(n, STR(".cold"))))
        return false;
    *number = (uint32_t)strtoul(name, &end, 16);
    *cold = str_ends(n, STR(".cold"));
    return end == name + 8;
}

static enum err load_one(struct segment_table *t, uint32_t number, bool cold)
{
    struct segment *s = calloc(1, sizeof *s);
    char h[SEGMENT_HEADER];
    size_t got = 0;
    uint64_t size = 0;
    if (s == NULL)
        return ERR_NOMEM;
    *s = (struct segment){.number = number, .cold = cold, .sealed = true, .fd = -1, .reader = -1};
    enum err e = open_file(t, s, FILE_READ, &s->fd);
    if (e == ERR_OK)
        e = file_size(s->fd, &size);
    if (e == ERR_OK && size >= SEGMENT_HEADER)
        e = file_read_at(s->fd, 0, h, sizeof h, &got);
    if (e == ERR_OK && (got < sizeof h || !header_read(s, h)))
        size = 0; /* told apart by segments_open */
    file_close(&s->fd);
    atomic_store(&s->size, size);
    s->capacity = size;
    if (e == ERR_OK)
        e = table_add(t, s);
    if (e != ERR_OK)
        segment_free(s);
    return e;
}

static enum err load_all(struct segment_table *t)
{
    int fd = dup(t->dir);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    enum err e = d == NULL ? ERR_IO : ERR_OK;
    while (e == ERR_OK) {
        struct dirent *it = readdir(d);
        uint32_t number;
        bool cold;
        if (it == NULL)
            break;
        if (name_parse(it->d_name, &number, &cold))
            e = load_one(t, number, cold);
    }
    if (d != NULL)
        closedir(d);
    return e;
}

static bool last_of_kind(const struct segment_table *t, size_t i)
{
    for (size_t j = i + 1; j < t->count; j++) {
        if (t->all[j]->cold == t->all[i]->cold)
            return false;
    }
    return true;
}

/* A crash while a segment was being made leaves an empty one at the end; anywhere else, and with
 * anything behind the header, a bad header is damage. */
static enum err check_headers(struct segment_table *t, bool read_only)
{
    for (size_t i = t->count; i-- > 0;) {
        struct segment *s = t->all[i];
        if (atomic_load(&s->size) > SEGMENT_HEADER)
            continue;
        int fd = -1;
        uint64_t size = 0;
        TRY(open_file(t, s, FILE_READ, &fd));
        enum err e = file_size(fd, &size);
        file_close(&fd);
        if (e != ERR_OK)
            return e;
        if (size > SEGMENT_HEADER) {
            LOG_ERROR("store", "segment %08x has a damaged header", (unsigned)s->number);
            return ERR_CORRUPT;
        }
        if (last_of_kind(t, i) && !read_only)
            TRY(segment_drop(t, s->number));
    }
    return ERR_OK;
}

enum err segments_open(struct segment_table *t, str dir, bool read_only)
{
    *t = (struct segment_table){.dir = -1, .next = 1};
    pthread_mutex_init(&t->lock, NULL);
    enum err e = file_open(-100 /* AT_FDCWD */, dir, FILE_READ | FILE_DIR, &t->dir);
    if (e == ERR_OK)
        e = load_all(t);
    if (e == ERR_OK)
        e = check_headers(t, read_only);
    if (e != ERR_OK)
        segments_close(t);
    return e;
}

void segments_close(struct segment_table *t)
{
    for (size_t i = 0; i < t->count; i++)
        segment_free(t->all[i]);
    free(t->all);
    file_close(&t->dir);
    pthread_mutex_destroy(&t->lock);
    *t = (struct segment_table){.dir = -1};
}

/* ---- Life of a segment ---- */

static enum err create_file(struct segment_table *t, struct segment *s)
{
    BUF_AUTO struct buf h = BUF_INIT(SEGMENT_HEADER);
    header_write(s, &h);
    TRY(open_file(t, s, FILE_READ | FILE_WRITE | FILE_CREATE | FILE_EXCLUSIVE, &s->fd));
    TRY(file_write_all_at(s->fd, 0, h.data, h.len));
    TRY(file_sync_data(s->fd));
    return file_sync_dir(t->dir);
}

enum err segment_create(struct segment_table *t, bool cold, uint64_t capacity, struct segment **out)
{
    struct segment *s = calloc(1, sizeof *s);
    if (s == NULL)
        return ERR_NOMEM;
    pthread_mutex_lock(&t->lock);
    *s = (struct segment){.number = t->next++,
                          .cold = cold,
                          .fd = -1,
                          .reader = -1,
                          .capacity = capacity,
                          .reserved = SEGMENT_HEADER,
                          .filled = SEGMENT_HEADER,
                          .salt = (uint32_t)rand_u64()};
    pthread_mutex_unlock(&t->lock);
    atomic_store(&s->size, SEGMENT_HEADER);
    enum err e = create_file(t, s);
    pthread_mutex_lock(&t->lock);
    if (e == ERR_OK)
        e = table_add(t, s);
    if (e == ERR_OK)
        s->holders++;
    pthread_mutex_unlock(&t->lock);
    if (e != ERR_OK) {
        BUF_AUTO struct buf name = BUF_INIT(32);
        segment_name(s, &name);
        (void)!file_remove(t->dir, buf_str(&name));
        segment_free(s);
        return e;
    }
    *out = s;
    return ERR_OK;
}

static size_t find(const struct segment_table *t, uint32_t number)
{
    size_t low = 0, high = t->count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (t->all[mid]->number < number)
            low = mid + 1;
        else
            high = mid;
    }
    return low < t->count && t->all[low]->number == number ? low : SIZE_MAX;
}

struct segment *segment_hold(struct segment_table *t, uint32_t number)
{
    struct segment *s = NULL;
    pthread_mutex_lock(&t->lock);
    size_t i = find(t, number);
    if (i != SIZE_MAX) {
        s = t->all[i];
        s->holders++;
    }
    pthread_mutex_unlock(&t->lock);
    return s;
}

struct segment *segment_at(struct segment_table *t, size_t i)
{
    struct segment *s = NULL;
    pthread_mutex_lock(&t->lock);
    if (i < t->count) {
        s = t->all[i];
        s->holders++;
    }
    pthread_mutex_unlock(&t->lock);
    return s;
}

void segment_release(struct segment_table *t, struct segment *s)
{
    if (s == NULL)
        return;
    pthread_mutex_lock(&t->lock);
    bool last = --s->holders == 0;
    pthread_mutex_unlock(&t->lock);
    if (last)
        segment_free(s);
}

static enum err map_now(struct segment_table *t, struct segment *s)
{
    uint64_t len = MAX(s->capacity, atomic_load(&s->size));
    if (s->fd >= 0)
        return file_map(s->fd, len, &s->map);
    int fd = -1;
    TRY(open_file(t, s, FILE_READ, &fd));
    enum err e = file_map(fd, len, &s->map);
    file_close(&fd);
    return e;
}

static bool inside(struct segment *s, uint64_t offset, uint64_t len)
{
    uint64_t size = atomic_load_explicit(&s->size, memory_order_acquire);
    return offset <= size && len <= size - offset;
}

enum err segment_map(struct segment_table *t, struct segment *s, uint64_t len, str *out)
{
    if (!inside(s, 0, len))
        return ERR_CORRUPT;
    enum err e = ERR_OK;
    pthread_mutex_lock(&t->lock);
    if (s->map.len == 0)
        e = s->gone ? ERR_NOT_FOUND : map_now(t, s);
    if (e == ERR_OK)
        s->maps++;
    pthread_mutex_unlock(&t->lock);
    if (e == ERR_OK)
        *out = str_head(s->map, len);
    return e;
}

void segment_unmap(struct segment_table *t, struct segment *s)
{
    pthread_mutex_lock(&t->lock);
    assert(s->maps > 0);
    if (--s->maps == 0) {
        file_unmap(s->map);
        s->map = STR_NONE;
    }
    pthread_mutex_unlock(&t->lock);
}

/* The reading descriptor stays open as long as the segment, also when its file is gone. */
static enum err reader_open(struct segment_table *t, struct segment *s)
{
    enum err e = ERR_OK;
    pthread_mutex_lock(&t->lock);
    if (s->reader < 0)
        e = s->gone ? ERR_NOT_FOUND : open_file(t, s, FILE_READ, &s->reader);
    pthread_mutex_unlock(&t->lock);
    return e;
}

enum err segment_read(struct segment_table *t, struct segment *s, uint64_t offset, uint64_t len,
                      void *out)
{
    size_t got;
    if (!inside(s, offset, len))
        return ERR_CORRUPT;
    TRY(reader_open(t, s));
    TRY(file_read_at(s->reader, offset, out, len, &got));
    return got == len ? ERR_OK : ERR_CORRUPT;
}

enum err segment_open_writer(struct segment_table *t, struct segment *s)
{
    TRY(open_file(t, s, FILE_READ | FILE_WRITE, &s->fd));
    s->sealed = false;
    s->reserved = s->filled = atomic_load(&s->size);
    return ERR_OK;
}

static void close_idle(struct segment *s)
{
    if (s->sealed && s->writers == 0)
        file_close(&s->fd);
}

void segment_seal(struct segment_table *t, struct segment *s)
{
    pthread_mutex_lock(&t->lock);
    s->sealed = true;
    close_idle(s);
    pthread_mutex_unlock(&t->lock);
}

void segment_writer(struct segment_table *t, struct segment *s, int by)
{
    pthread_mutex_lock(&t->lock);
    s->writers += (unsigned)by;
    close_idle(s);
    pthread_mutex_unlock(&t->lock);
}

void segment_staged(struct segment_table *t, struct segment *s, int by)
{
    pthread_mutex_lock(&t->lock);
    s->staged += (unsigned)by;
    pthread_mutex_unlock(&t->lock);
}

enum err segment_drop(struct segment_table *t, uint32_t number)
{
    BUF_AUTO struct buf name = BUF_INIT(32);
    pthread_mutex_lock(&t->lock);
    size_t i = find(t, number);
    struct segment *s = i == SIZE_MAX ? NULL : t->all[i];
    if (s != NULL) {
        memmove(&t->all[i], &t->all[i + 1], (t->count - i - 1) * sizeof(struct segment *));
        t->count--;
        s->gone = true;
    }
    pthread_mutex_unlock(&t->lock);
    if (s == NULL)
        return ERR_NOT_FOUND;
    segment_name(s, &name);
    enum err e = file_remove(t->dir, buf_str(&name));
    segment_release(t, s);
    return e;
}
