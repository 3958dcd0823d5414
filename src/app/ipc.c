/* SPDX-License-Identifier: Apache-2.0
 *
 * Two fibers per link: one reads frames and starts calls or hands out replies, one gathers what is
 * to be sent into few writes. The writing one owns the link's end: it joins all others and cleans
 * up.
 */
#include "app/ipc.h"

#include "app/ipc_codec.h"
#include "base/log.h"
#include "base/num.h"
#include "os/clock.h"
#include "os/file.h"

#include <assert.h>
#include <string.h>

#define READ_BYTES 65536
#define BUFFER_KEPT_MAX 262144 /* what a burst made larger is given back */
#define WRITE_TIMEOUT_MS 30000
#define CALL_ARENA_MAX (3 * (size_t)IPC_FRAME_MAX + 65536)

/* A call of this end that waits for its reply; lives on the caller's stack. */
struct pending {
    struct event answered;
    struct arena *arena;
    void *results;
    enum ipc_method method;
    enum err result;
    bool done;
};

/* A call of the other end; lives in its own arena. */
struct served {
    struct arena arena;
    struct ipc_link *link;
    void *args;
    size_t bytes;
    uint32_t id;
    enum ipc_method method;
};

/* ---- sending ---- */

static enum err undo_frame(struct ipc_link *l, size_t at, struct ipc_writer *w, size_t nfds,
                           enum err e)
{
    buf_truncate(&l->out, at);
    for (size_t i = 0; i < nfds; i++)
        file_close(&w->fds[i]);
    return e;
}

/* A caller that gives up closes its descriptors, and their numbers are another file's then: they
 * are sent from copies. Those of a reply are the link's (owned). */
static enum err enqueue(struct ipc_link *l, uint8_t kind, enum ipc_method method, uint32_t id,
                        enum err e, const void *fields, bool owned)
{
    size_t at = l->out.len;
    struct ipc_writer w;
    if (!ipc_frame_put(&l->out, kind, method, id, e, fields, &w))
        return undo_frame(l, at, &w, owned ? w.nfds : 0,
                          at > IPC_OUT_MAX / 2 ? ERR_BUSY : ERR_LIMIT);
    if (l->nout_fds + w.nfds > IPC_OUT_FDS_MAX)
        return undo_frame(l, at, &w, owned ? w.nfds : 0, ERR_BUSY);
    for (size_t i = 0; !owned && i < w.nfds; i++) {
        w.fds[i] = file_duplicate(w.fds[i]);
        if (w.fds[i] < 0)
            return undo_frame(l, at, &w, i, ERR_BUSY);
    }
    for (size_t i = 0; i < w.nfds; i++)
        l->out_fds[l->nout_fds++] = (struct ipc_fd_queued){at, w.fds[i]};
    event_signal(&l->write_wanted);
    return ERR_OK;
}

/* How much of the output goes with the first *nfds descriptors: whole frames, SOCK_FDS_MAX at most.
 */
static size_t batch_end(const struct ipc_link *l, size_t *nfds)
{
    *nfds = MIN(l->nout_fds, (size_t)SOCK_FDS_MAX);
    if (l->nout_fds <= SOCK_FDS_MAX)
        return l->out.len;
    size_t end = l->out_fds[*nfds].at;
    while (*nfds > 0 && l->out_fds[*nfds - 1].at == end)
        (*nfds)--;
    assert(*nfds > 0);
    return end;
}

static void batch_take(struct ipc_link *l, struct ipc_fd_queued fds[SOCK_FDS_MAX], size_t *nfds)
{
    size_t end = batch_end(l, nfds);
    if (end == l->out.len) {
        struct buf swap = l->sending;
        l->sending = l->out;
        l->out = swap;
    } else {
        buf_add(&l->sending, str_head(buf_str(&l->out), end));
        buf_consume(&l->out, end);
    }
    memcpy(fds, l->out_fds, *nfds * sizeof(*fds));
    l->nout_fds -= *nfds;
    memmove(l->out_fds, l->out_fds + *nfds, l->nout_fds * sizeof(*fds));
    for (size_t i = 0; i < l->nout_fds; i++)
        l->out_fds[i].at -= end;
}

static void buffer_emptied(struct buf *b)
{
    size_t max = b->max;
    if (b->cap <= BUFFER_KEPT_MAX) {
        buf_reset(b);
        return;
    }
    buf_free(b);
    buf_init(b, max);
}

static enum err send_batch(struct ipc_link *l) WAITS
{
    struct ipc_fd_queued queued[SOCK_FDS_MAX];
    int fds[SOCK_FDS_MAX];
    size_t nfds;
    batch_take(l, queued, &nfds);
    for (size_t i = 0; i < nfds; i++)
        fds[i] = queued[i].fd;
    enum err e = buf_ok(&l->sending) ? ERR_OK : ERR_NOMEM;
    if (e == ERR_OK) {
        DEADLINE_SCOPE(WRITE_TIMEOUT_MS);
        e = sock_send(&l->watch, buf_str(&l->sending), fds, nfds);
    }
    for (size_t i = 0; i < nfds; i++)
        file_close(&queued[i].fd);
    buffer_emptied(&l->sending);
    return e;
}

/* ---- serving calls ---- */

static void served_fiber(void *arg) WAITS
{
    struct served *c = arg;
    struct arena arena = c->arena; /* c lives in it */
    struct ipc_link *l = c->link;
    const struct ipc_row *row = &ipc_rows[c->method];
    void *results = arena_alloc(&arena, row->results_size + 1);
    enum err e = ERR_NOMEM;
    if (results) {
        row->empty_results(results);
        DEADLINE_SCOPE(row->deadline_ms);
        e = row->serve(l->service, l->ctx, c->args, &arena, results);
    }
    row->close_args(c->args);
    if (l->up) {
        enum err sent = enqueue(l, IPC_KIND_REPLY, c->method, c->id, e, results, true);
        if (sent != ERR_OK && enqueue(l, IPC_KIND_REPLY, c->method, c->id, sent, NULL, true))
            LOG_WARN("ipc", "reply lost link=%s method=%s cause=%s", l->name, row->name,
                     err_name(sent));
    }
    l->ncalls--;
    l->call_bytes -= c->bytes;
    event_signal(&l->calls_changed);
    arena_free(&arena);
}

static void drop_in_fds(struct ipc_link *l, size_t n)
{
    l->nin_fds -= n;
    memmove(l->in_fds, l->in_fds + n, l->nin_fds * sizeof(l->in_fds[0]));
}

static enum err wait_for_room(struct ipc_link *l) WAITS
{
    while (l->ncalls >= IPC_CALLS_MAX || l->call_bytes > IPC_CALL_BYTES_MAX)
        TRY(event_wait(&l->calls_changed, DEADLINE_NEVER));
    return ERR_OK;
}

static enum err take_call(struct ipc_link *l, const struct ipc_head *head, str body) WAITS
{
    const struct ipc_row *row = &ipc_rows[head->method];
    if (!l->service || !row->served(l->service)) {
        LOG_ERROR("ipc", "the other end may not ask this: call refused link=%s method=%s", l->name,
                  row->name);
        return ERR_DENIED;
    }
    TRY(wait_for_room(l));
    struct arena arena = ARENA_INIT(CALL_ARENA_MAX);
    struct served *c = ARENA_NEW(&arena, struct served);
    void *args = arena_alloc(&arena, row->args_size + 1);
    if (!c || !args || !arena_dup(&arena, body, &body)) {
        arena_free(&arena);
        return ERR_NOMEM;
    }
    struct ipc_reader r = {.r = reader_of(body), .fds = l->in_fds, .nfds = head->nfds};
    row->take_args(&r, args);
    if (!ipc_reader_done(&r)) {
        arena_free(&arena);
        return ERR_CORRUPT;
    }
    drop_in_fds(l, head->nfds);
    *c = (struct served){arena, l, args, body.len, head->id, head->method};
    l->ncalls++;
    l->call_bytes += body.len;
    enum err e = fiber_start(&l->calls, row->name, served_fiber, c);
    if (e == ERR_OK)
        return ERR_OK;
    l->ncalls--;
    l->call_bytes -= body.len;
    row->close_args(args);
    arena_free(&arena);
    return enqueue(l, IPC_KIND_REPLY, head->method, head->id, ERR_BUSY, NULL, false);
}

static enum err take_reply(struct ipc_link *l, const struct ipc_head *head, str body)
{
    const struct ipc_row *row = &ipc_rows[head->method];
    struct ipc_reader r = {.r = reader_of(body), .fds = l->in_fds, .nfds = head->nfds};
    uint16_t e = read_be16(&r.r);
    if (e >= ERR_COUNT)
        return ERR_CORRUPT;
    struct pending *p = map_remove_u64(&l->pending, head->id);
    if (!p) { /* the caller gave up */
        for (size_t i = 0; i < head->nfds; i++)
            file_close(&l->in_fds[i]);
        drop_in_fds(l, head->nfds);
        return ERR_OK;
    }
    p->result = ERR_UNAVAILABLE;
    p->done = true;
    event_signal(&p->answered);
    if (p->method != head->method)
        return ERR_CORRUPT;
    if (e == ERR_OK)
        row->take_results(&r, p->results);
    if (!ipc_reader_done(&r)) {
        if (e == ERR_OK)
            row->empty_results(p->results);
        return ERR_CORRUPT;
    }
    drop_in_fds(l, head->nfds);
    /* The other end was cancelled, not this one: loops that end with ERR_CANCELED go on. */
    p->result = e == ERR_CANCELED ? ERR_UNAVAILABLE : (enum err)e;
    if (e == ERR_OK && !row->keep_results(p->results, p->arena))
        p->result = ERR_LIMIT;
    return ERR_OK;
}

/* ---- receiving ---- */

static enum err take_frames(struct ipc_link *l) WAITS
{
    size_t at = 0;
    enum err e = ERR_OK;
    while (e == ERR_OK) {
        str rest = str_skip(buf_str(&l->in), at);
        struct ipc_head head;
        int plausible = ipc_head_take(rest, &head);
        if (plausible < 0)
            e = ERR_CORRUPT;
        if (plausible <= 0 || rest.len < (size_t)head.length + 4)
            break;
        str body = str_sub(rest, IPC_HEAD_BYTES, (size_t)head.length + 4 - IPC_HEAD_BYTES);
        if (head.nfds > l->nin_fds)
            e = ERR_CORRUPT;
        else if (head.kind == IPC_KIND_CALL)
            e = take_call(l, &head, body);
        else
            e = take_reply(l, &head, body);
        at += (size_t)head.length + 4;
    }
    buf_consume(&l->in, MIN(at, l->in.len));
    if (l->in.len == 0)
        buffer_emptied(&l->in);
    return e;
}

static enum err receive(struct ipc_link *l) WAITS
{
    for (;;) {
        char *room = buf_reserve(&l->in, READ_BYTES);
        if (!room)
            return ERR_NOMEM;
        int fds[SOCK_FDS_MAX];
        size_t got = 0, nfds = SOCK_FDS_MAX;
        TRY(sock_recv(&l->watch, room, READ_BYTES, &got, fds, &nfds));
        buf_commit(&l->in, got);
        for (size_t i = 0; i < nfds; i++) {
            if (l->nin_fds < IPC_FDS_QUEUED_MAX)
                l->in_fds[l->nin_fds++] = fds[i];
            else
                file_close(&fds[i]);
        }
        if (l->nin_fds == IPC_FDS_QUEUED_MAX)
            return ERR_LIMIT;
        TRY(take_frames(l));
        /* So few bytes without descriptors were all that there was (a read ends at descriptors). */
        if (got < READ_BYTES && nfds == 0)
            TRY(wait_fd(&l->watch, WAIT_READ, DEADLINE_NEVER));
    }
}

static void receive_fiber(void *arg) WAITS
{
    struct ipc_link *l = arg;
    enum err e = receive(l);
    if (e != ERR_EOF && e != ERR_CANCELED)
        LOG_ERROR("ipc", "link dropped link=%s cause=%s", l->name,
                  e == ERR_CORRUPT ? "a frame broke the rules" : err_name(e));
    ipc_link_stop(l);
}

/* ---- the life of a link ---- */

static void give_up_pending(struct ipc_link *l)
{
    void *value;
    for (size_t i = 0; map_next(&l->pending, &i, NULL, &value);) {
        struct pending *p = value;
        p->done = true;
        p->result = ERR_UNAVAILABLE;
        event_signal(&p->answered);
    }
    map_free(&l->pending);
}

static void link_free(struct ipc_link *l)
{
    watch_close(&l->watch);
    file_close(&l->fd);
    for (size_t i = 0; i < l->nin_fds; i++)
        file_close(&l->in_fds[i]);
    for (size_t i = 0; i < l->nout_fds; i++)
        file_close(&l->out_fds[i].fd);
    l->nin_fds = l->nout_fds = 0;
    buf_free(&l->in);
    buf_free(&l->out);
    buf_free(&l->sending);
}

static void link_fiber(void *arg) WAITS
{
    struct ipc_link *l = arg;
    enum err e = fiber_start(&l->io, "ipc read", receive_fiber, l);
    while (l->up && e == ERR_OK) {
        if (l->out.len > 0)
            e = send_batch(l);
        else
            e = event_wait(&l->write_wanted, DEADLINE_NEVER);
    }
    l->up = false;
    fiber_group_cancel(&l->io);
    fiber_group_join(&l->io);
    give_up_pending(l);
    fiber_group_join(&l->calls);
    link_free(l);
    if (l->ended)
        l->ended(l);
}

static void assert_service_role(const struct ipc_service *s)
{
    for (int i = 0; s && i < IPC_METHODS; i++) {
        bool child = ipc_rows[i].callee == IPC_ROLE_CHILD && s->role != IPC_ROLE_PARENT;
        assert(!ipc_rows[i].served(s) || child || ipc_rows[i].callee == s->role);
    }
}

enum err ipc_link_start(struct ipc_link *l, int fd, struct fiber_group *group)
{
    assert(!l->up);
    assert_service_role(l->service);
    l->fd = fd;
    l->next_id = 1;
    l->ncalls = l->call_bytes = l->nin_fds = l->nout_fds = 0;
    buf_init(&l->in, IPC_FRAME_MAX + READ_BYTES);
    buf_init(&l->out, IPC_OUT_MAX);
    buf_init(&l->sending, IPC_OUT_MAX);
    map_init(&l->pending, IPC_PENDING_MAX);
    event_init(&l->write_wanted);
    event_init(&l->calls_changed);
    fiber_group_init(&l->io);
    fiber_group_init(&l->calls);
    enum err e = watch_open(&l->watch, fd);
    if (e != ERR_OK) {
        file_close(&l->fd);
        return e;
    }
    l->up = true;
    e = fiber_start(group, l->name, link_fiber, l);
    if (e != ERR_OK) {
        l->up = false;
        link_free(l);
    }
    return e;
}

void ipc_link_stop(struct ipc_link *l)
{
    if (!l->up)
        return;
    l->up = false;
    event_signal(&l->write_wanted);
}

/* ---- calling ---- */

static enum err call(struct ipc_link *l, enum ipc_method method, const void *args,
                     struct arena *arena, void *results) WAITS
{
    const struct ipc_row *row = &ipc_rows[method];
    row->empty_results(results);
    if (!l->up)
        return ERR_UNAVAILABLE;
    struct pending p = {.arena = arena, .results = results, .method = method};
    event_init(&p.answered);
    uint32_t id = l->next_id++;
    enum err e = map_put_u64(&l->pending, id, &p, NULL);
    if (e != ERR_OK)
        return ERR_BUSY;
    e = enqueue(l, IPC_KIND_CALL, method, id, ERR_OK, args, false);
    if (e != ERR_OK) {
        map_remove_u64(&l->pending, id);
        return e;
    }
    uint64_t deadline = deadline_in_ms(row->deadline_ms);
    while (!p.done && e == ERR_OK)
        e = event_wait(&p.answered, deadline);
    if (p.done)
        return p.result;
    map_remove_u64(&l->pending, id);
    LOG_WARN("ipc", "call given up link=%s method=%s cause=%s", l->name, row->name, err_name(e));
    return e == ERR_TIMEOUT ? ERR_UNAVAILABLE : e;
}

#define IPC(name, ...)                                                                             \
    enum err ipc_##name(struct ipc_link *l, const struct ipc_##name##_args *args,                  \
                        struct arena *arena, struct ipc_##name##_results *results)                 \
    {                                                                                              \
        return call(l, IPC_##name, args, arena, results);                                          \
    }
#include "app/ipc.def"
#undef IPC

/* ---- one call off a fiber ---- */

static enum err once_receive(struct ipc_link *l, struct pending *p)
{
    while (!p->done) {
        char *room = buf_reserve(&l->in, READ_BYTES);
        if (!room)
            return ERR_NOMEM;
        size_t got = 0, nfds = SOCK_FDS_MAX;
        int fds[SOCK_FDS_MAX];
        TRY(sock_recv(&l->watch, room, READ_BYTES, &got, fds, &nfds));
        buf_commit(&l->in, got);
        for (size_t i = 0; i < nfds; i++) {
            assert(l->nin_fds < IPC_FDS_QUEUED_MAX);
            l->in_fds[l->nin_fds++] = fds[i];
        }
        TRY(take_frames(l));
        if (l->nin_fds > SOCK_FDS_MAX)
            return ERR_CORRUPT;
    }
    return p->result;
}

enum err ipc_call_once(int fd, enum ipc_method method, const void *args, struct arena *arena,
                       void *results)
{
    const struct ipc_row *row = &ipc_rows[method];
    struct ipc_link *l = ARENA_NEW(arena, struct ipc_link);
    if (!l)
        return ERR_NOMEM;
    l->name = "once";
    l->fd = -1; /* the caller's */
    row->empty_results(results);
    buf_init(&l->in, IPC_FRAME_MAX + READ_BYTES);
    buf_init(&l->out, IPC_FRAME_MAX);
    map_init(&l->pending, 1);
    event_init(&l->write_wanted);
    struct pending p = {.arena = arena, .results = results, .method = method};
    event_init(&p.answered);
    struct ipc_writer w;
    enum err e = map_put_u64(&l->pending, 1, &p, NULL);
    if (e == ERR_OK && !ipc_frame_put(&l->out, IPC_KIND_CALL, method, 1, ERR_OK, args, &w))
        e = ERR_LIMIT;
    if (e == ERR_OK)
        e = watch_open(&l->watch, fd);
    if (e == ERR_OK) {
        DEADLINE_SCOPE(row->deadline_ms);
        e = sock_send(&l->watch, buf_str(&l->out), w.fds, w.nfds);
        if (e == ERR_OK)
            e = once_receive(l, &p);
    }
    map_free(&l->pending);
    link_free(l);
    return e;
}
