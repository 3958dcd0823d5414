/* SPDX-License-Identifier: Apache-2.0 */
#include "app/ipc_codec.h"

#include "base/num.h"
#include "os/file.h"

#include <assert.h>

static inline void put_U32(struct ipc_writer *w, uint32_t n) { buf_add_be32(w->bytes, n); }
static inline void put_U64(struct ipc_writer *w, uint64_t n) { buf_add_be64(w->bytes, n); }
static inline void put_BYTES(struct ipc_writer *w, str s) { buf_add_sized(w->bytes, s); }
static inline void put_FD(struct ipc_writer *w, int fd)
{
    assert(fd >= 0 && w->nfds < IPC_FRAME_FDS_MAX);
    w->fds[w->nfds++] = fd;
}

static inline void take_U32(struct ipc_reader *r, uint32_t *out) { *out = read_be32(&r->r); }
static inline void take_U64(struct ipc_reader *r, uint64_t *out) { *out = read_be64(&r->r); }
static inline void take_BYTES(struct ipc_reader *r, str *out) { *out = read_sized(&r->r); }
static inline void take_FD(struct ipc_reader *r, int *out)
{
    *out = -1;
    if (r->taken < r->nfds)
        *out = r->fds[r->taken++];
    else
        r->failed = true;
}

bool ipc_reader_done(const struct ipc_reader *r)
{
    return !r->failed && !r->r.failed && str_empty(r->r.rest) && r->taken == r->nfds;
}

/* What each type means to the three functions that touch only some types. */
static inline void close_U32(uint32_t *n) { (void)n; }
static inline void close_U64(uint64_t *n) { (void)n; }
static inline void close_BYTES(str *s) { (void)s; }
static inline void close_FD(int *fd) { file_close(fd); }
static inline bool keep_U32(uint32_t *n, struct arena *a)
{
    (void)n, (void)a;
    return true;
}
static inline bool keep_U64(uint64_t *n, struct arena *a)
{
    (void)n, (void)a;
    return true;
}
static inline bool keep_BYTES(str *s, struct arena *a) { return a && arena_dup(a, *s, s); }
static inline bool keep_FD(int *fd, struct arena *a)
{
    (void)fd, (void)a;
    return true;
}
static inline void empty_U32(uint32_t *n) { (void)n; }
static inline void empty_U64(uint64_t *n) { (void)n; }
static inline void empty_BYTES(str *s) { (void)s; }
static inline void empty_FD(int *fd) { *fd = -1; }

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-variable"
#pragma GCC diagnostic ignored "-Wunused-but-set-variable"
#define F(type, field) put_##type(w, m->field);
#define IPC(name, callee, ms, args, results)                                                       \
    static void put_args_##name(struct ipc_writer *w, const void *v)                               \
    {                                                                                              \
        const struct ipc_##name##_args *m = v;                                                     \
        args                                                                                       \
    }                                                                                              \
    static void put_results_##name(struct ipc_writer *w, const void *v)                            \
    {                                                                                              \
        const struct ipc_##name##_results *m = v;                                                  \
        results                                                                                    \
    }
#include "app/ipc.def"
#undef IPC
#undef F

#define F(type, field) take_##type(r, &m->field);
#define IPC(name, callee, ms, args, results)                                                       \
    static void take_args_##name(struct ipc_reader *r, void *v)                                    \
    {                                                                                              \
        struct ipc_##name##_args *m = v;                                                           \
        args                                                                                       \
    }                                                                                              \
    static void take_results_##name(struct ipc_reader *r, void *v)                                 \
    {                                                                                              \
        struct ipc_##name##_results *m = v;                                                        \
        results                                                                                    \
    }
#include "app/ipc.def"
#undef IPC
#undef F

#define F(type, field) close_##type(&m->field);
#define IPC(name, callee, ms, args, results)                                                       \
    static void close_args_##name(void *v)                                                         \
    {                                                                                              \
        struct ipc_##name##_args *m = v;                                                           \
        args                                                                                       \
    }
#include "app/ipc.def"
#undef IPC
#undef F

#define F(type, field) ok = ok && keep_##type(&m->field, a);
#define IPC(name, callee, ms, args, results)                                                       \
    static bool keep_results_##name(void *v, struct arena *a)                                      \
    {                                                                                              \
        struct ipc_##name##_results *m = v;                                                        \
        bool ok = true;                                                                            \
        results return ok;                                                                         \
    }
#include "app/ipc.def"
#undef IPC
#undef F

#define F(type, field) empty_##type(&m->field);
#define IPC(name, callee, ms, args, results)                                                       \
    static void empty_results_##name(void *v)                                                      \
    {                                                                                              \
        struct ipc_##name##_results *m = v;                                                        \
        results                                                                                    \
    }                                                                                              \
    static bool served_##name(const struct ipc_service *s) { return s->name != NULL; }             \
    static enum err serve_##name(const struct ipc_service *s, void *ctx, void *args_,              \
                                 struct arena *arena, void *results_)                              \
    {                                                                                              \
        return s->name(ctx, args_, arena, results_);                                               \
    }
#include "app/ipc.def"
#undef IPC
#undef F
#pragma GCC diagnostic pop

#define FD_COUNT_U32 0
#define FD_COUNT_U64 0
#define FD_COUNT_BYTES 0
#define FD_COUNT_FD 1
#define F(type, field) +FD_COUNT_##type
#define IPC(name_, callee_, ms, args, results)                                                     \
    [IPC_##name_] = {                                                                              \
        .name = #name_,                                                                            \
        .callee = IPC_ROLE_##callee_,                                                              \
        .deadline_ms = (ms),                                                                       \
        .args_size = sizeof(struct ipc_##name_##_args),                                            \
        .results_size = sizeof(struct ipc_##name_##_results),                                      \
        .put_args = put_args_##name_,                                                              \
        .take_args = take_args_##name_,                                                            \
        .put_results = put_results_##name_,                                                        \
        .take_results = take_results_##name_,                                                      \
        .close_args = close_args_##name_,                                                          \
        .served = served_##name_,                                                                  \
        .serve = serve_##name_,                                                                    \
        .keep_results = keep_results_##name_,                                                      \
        .empty_results = empty_results_##name_,                                                    \
        .args_fds = 0 args,                                                                        \
        .results_fds = 0 results,                                                                  \
    },
const struct ipc_row ipc_rows[IPC_METHODS] = {
#include "app/ipc.def"
};
#undef IPC
#undef F

int ipc_head_take(str bytes, struct ipc_head *head)
{
    if (bytes.len < IPC_HEAD_BYTES)
        return 0;
    struct reader r = reader_of(str_head(bytes, IPC_HEAD_BYTES));
    *head = (struct ipc_head){.length = read_be32(&r),
                              .kind = read_u8(&r),
                              .method = read_be16(&r),
                              .id = read_be32(&r),
                              .nfds = read_u8(&r)};
    if (head->length < IPC_HEAD_BYTES - 4 || head->length > IPC_FRAME_MAX - 4 ||
        head->kind > IPC_KIND_REPLY || head->method >= IPC_METHODS ||
        head->nfds > IPC_FRAME_FDS_MAX)
        return -1;
    return 1;
}

bool ipc_frame_put(struct buf *out, uint8_t kind, enum ipc_method method, uint32_t id, enum err e,
                   const void *fields, struct ipc_writer *w)
{
    const struct ipc_row *row = &ipc_rows[method];
    size_t at = out->len;
    bool call = kind == IPC_KIND_CALL;
    *w = (struct ipc_writer){.bytes = out};
    buf_add_be32(out, 0);
    buf_add_char(out, (char)kind);
    buf_add_be16(out, (uint16_t)method);
    buf_add_be32(out, id);
    buf_add_char(out, (char)(call ? row->args_fds : e == ERR_OK ? row->results_fds : 0));
    if (!call)
        buf_add_be16(out, (uint16_t)e);
    if (call)
        row->put_args(w, fields);
    else if (e == ERR_OK)
        row->put_results(w, fields);
    if (!buf_ok(out) || out->len - at > IPC_FRAME_MAX) {
        out->failed = false;
        buf_truncate(out, at);
        return false;
    }
    uint32_t length = (uint32_t)(out->len - at - 4);
    for (int i = 0; i < 4; i++)
        out->data[at + (size_t)i] = (char)(length >> (24 - 8 * i));
    return true;
}

size_t ipc_frame_check(str bytes, size_t fds_there, struct arena *arena, enum err *e)
{
    struct ipc_head head;
    *e = ERR_OK;
    int plausible = ipc_head_take(bytes, &head);
    if (plausible < 0)
        *e = ERR_CORRUPT;
    if (plausible <= 0 || bytes.len < head.length + 4u)
        return 0;
    const struct ipc_row *row = &ipc_rows[head.method];
    int fds[IPC_FRAME_FDS_MAX] = {-1, -1};
    struct ipc_reader r = {
        .r = reader_of(str_sub(bytes, IPC_HEAD_BYTES, head.length + 4u - IPC_HEAD_BYTES)),
        .fds = fds,
        .nfds = MIN(head.nfds, fds_there)};
    bool call = head.kind == IPC_KIND_CALL;
    void *fields = arena_alloc(arena, MAX(row->args_size, row->results_size) + 1);
    if (!fields)
        *e = ERR_NOMEM;
    else if (call)
        row->take_args(&r, fields);
    else if (read_be16(&r.r) == ERR_OK)
        row->take_results(&r, fields);
    if (*e == ERR_OK && !ipc_reader_done(&r))
        *e = ERR_CORRUPT;
    return head.length + 4u;
}
