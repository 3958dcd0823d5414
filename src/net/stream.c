/* SPDX-License-Identifier: Apache-2.0
 *
 * tidy: allow alloc because connections and contexts live and die one by one
 */
#include "net/stream.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "net/stream_private.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/sock_io.h"

enum err stream_open(int fd, struct stream **out)
{
    *out = NULL;
    struct stream *s = calloc(1, sizeof *s);
    if (!s || watch_open(&s->watch, fd) != ERR_OK) {
        free(s);
        file_close(&fd);
        return ERR_NOMEM;
    }
    s->in_max = STREAM_IN_MAX;
    s->in.max = s->out.max = STREAM_OUT_MAX;
    s->read_ms = s->write_ms = STREAM_TIMEOUT_MS;
    sock_no_delay(fd);
    *out = s;
    return ERR_OK;
}

enum err stream_open_with(int fd, str unread, struct stream **out)
{
    TRY(stream_open(fd, out));
    buf_add(&(*out)->in, unread);
    if (buf_ok(&(*out)->in))
        return ERR_OK;
    stream_close(*out);
    *out = NULL;
    return ERR_NOMEM;
}

static void buffer_release(struct buf *b)
{
    stream_chunk_put(b->data, b->cap);
    *b = BUF_INIT(b->max);
}

void stream_release_buffers(struct stream *s)
{
    if (s->in_at == s->in.len && s->in.data) {
        buffer_release(&s->in);
        s->in_at = 0;
        s->bulk = false;
    }
    if (s->out.len == 0 && s->out.data && !s->writing)
        buffer_release(&s->out);
}

/* Closing with unread input makes the kernel reset the connection, which can destroy our last reply
 * before the peer has read it; so a bounded amount is read away. */
#define CLOSE_DRAIN_READS 16
#define SEND_RUN 262144 /* bytes sent by a thread before it looks at the clock … */
#define SEND_RUN_MS 10  /* … and lets others run, at most so often */
static void drain(struct stream *s)
{
    char *waste = s->drained ? NULL : stream_chunk_get(STREAM_CHUNK);
    if (!waste)
        return;
    size_t got;
    for (int i = 0; i < CLOSE_DRAIN_READS; i++)
        if (sock_try_read(s->watch.fd, waste, STREAM_CHUNK, &got) != ERR_OK)
            break;
    stream_chunk_put(waste, STREAM_CHUNK);
}

static void stream_free(struct stream *s)
{
    stream_tls_free(s);
    buf_free(&s->hello);
    stream_deflate_close(s->z);
    buffer_release(&s->in);
    buffer_release(&s->out);
    free(s->client_name);
    if (s->on_close)
        s->on_close(s->on_close_arg);
    free(s);
}

void stream_close(struct stream *s)
{
    if (!s)
        return;
    if (s->error == ERR_OK || s->error == ERR_EOF)
        stream_end_write(s);
    if (s->error == ERR_OK)
        drain(s);
    int fd = s->watch.fd;
    watch_close(&s->watch);
    file_close(&fd);
    stream_free(s);
}

int stream_detach(struct stream *s, struct buf *unread)
{
    if (s->ssl || s->z)
        return -1;
    assert(s->out.len == 0 || s->error != ERR_OK);
    buf_add(unread, stream_buffered(s));
    int fd = s->watch.fd;
    watch_close(&s->watch);
    stream_free(s);
    return fd;
}

void stream_on_close(struct stream *s, void (*fn)(void *arg), void *arg)
{
    assert(!s->on_close || !fn);
    s->on_close = fn;
    s->on_close_arg = arg;
}

void stream_set_timeouts(struct stream *s, uint64_t read_ms, uint64_t write_ms)
{
    s->read_ms = read_ms;
    s->write_ms = write_ms;
}

void stream_set_in_max(struct stream *s, size_t bytes)
{
    s->in_max = MIN(MAX(bytes, 512), STREAM_OUT_MAX);
}

enum err stream_error(const struct stream *s) { return s->error; }

void stream_fail(struct stream *s, enum err e)
{
    if (e != ERR_OK)
        (void)stream_stick(s, e);
}

str stream_buffered(const struct stream *s)
{
    return str_of(s->in.data ? s->in.data + s->in_at : NULL, s->in.len - s->in_at);
}

void stream_skip(struct stream *s, size_t n)
{
    assert(n <= s->in.len - s->in_at);
    s->in_at += n;
    if (s->in_at == s->in.len)
        s->in_at = s->in.len = 0;
}

/* Makes room behind the unread bytes and says how much; 0: at in_max or without memory. */
static size_t in_room(struct stream *s)
{
    size_t unread = s->in.len - s->in_at;
    if (unread >= s->in_max)
        return 0;
    size_t cap = s->bulk ? STREAM_CHUNK_BULK : STREAM_CHUNK;
    if (unread == 0 && s->in.cap < cap) {
        buffer_release(&s->in);
        s->in_at = 0;
        s->in.data = stream_chunk_get(cap);
        s->in.cap = s->in.data ? cap : 0;
    } else if (s->in_at > 0 && s->in.cap - s->in.len < STREAM_CHUNK / 2) {
        buf_consume(&s->in, s->in_at);
        s->in_at = 0;
    }
    if (s->in.cap - s->in.len < STREAM_CHUNK / 4 &&
        !buf_reserve(&s->in, MAX(s->in.cap, STREAM_CHUNK)))
        return 0;
    return MIN(s->in.cap - s->in.len, s->in_max - unread);
}

/* One try to read into the buffer: ERR_OK with at least one new byte, ERR_BUSY, … Not sticky. */
static enum err try_fill(struct stream *s, int *want)
{
    size_t room = in_room(s), got;
    if (room == 0)
        return s->in.len - s->in_at >= s->in_max ? ERR_LINE_TOO_LONG : ERR_NOMEM;
    enum err e = stream_try_read(s, s->in.data + s->in.len, room, &got, want);
    s->in.len += got;
    if (e == ERR_OK && !s->ssl && !s->z)
        s->bulk = got == room && room >= STREAM_CHUNK / 2;
    else if (e == ERR_OK)
        s->bulk = s->bulk || got >= STREAM_CHUNK / 2;
    return e;
}

/* TLS and inflate give a record at a time; what they already hold is taken along. */
static void fill_more(struct stream *s)
{
    int want;
    while (s->bulk && !s->drained && s->in.cap - s->in.len >= STREAM_CHUNK &&
           s->in.len - s->in_at + STREAM_CHUNK <= s->in_max)
        if (try_fill(s, &want) != ERR_OK)
            return; /* seen again by the next read */
}

enum err stream_fill(struct stream *s, size_t have)
{
    while (s->in.len - s->in_at <= have) {
        if (s->error != ERR_OK)
            return s->error;
        int want;
        enum err e = try_fill(s, &want);
        if (e == ERR_OK && s->bulk && (s->ssl || s->z))
            fill_more(s);
        if (e == ERR_OK)
            continue;
        if (e == ERR_LINE_TOO_LONG)
            return e;
        if (e == ERR_BUSY && !s->writing)
            TRY(stream_flush(s)); /* the peer may be waiting for it */
        if (e == ERR_BUSY)
            e = stream_raw_wait(s, want, s->read_ms);
        if (e != ERR_OK)
            return stream_stick(s, e);
    }
    return ERR_OK;
}

static enum err skip_long_line(struct stream *s)
{
    for (;;) {
        size_t lf = str_find_char(stream_buffered(s), '\n');
        stream_skip(s, lf == STR_NPOS ? s->in.len - s->in_at : lf + 1);
        if (lf != STR_NPOS)
            return ERR_LINE_TOO_LONG;
        TRY(stream_fill(s, 0));
    }
}

enum err stream_line(struct stream *s, size_t max, str *line, bool *ended_crlf)
{
    size_t limit = MIN(max, s->in_max - 1), searched = 0, lf;
    *line = STR_NONE;
    if (s->error != ERR_OK)
        return s->error;
    for (;;) {
        str have = stream_buffered(s);
        lf = str_find_char(str_skip(have, searched), '\n');
        if (lf != STR_NPOS)
            break;
        searched = have.len;
        if (searched > limit)
            return skip_long_line(s);
        TRY(stream_fill(s, searched));
    }
    str all = str_head(stream_buffered(s), searched + lf);
    stream_skip(s, all.len + 1);
    if (all.len > limit)
        return ERR_LINE_TOO_LONG;
    bool crlf = all.len > 0 && all.data[all.len - 1] == '\r';
    if (ended_crlf)
        *ended_crlf = crlf;
    *line = str_head(all, all.len - crlf);
    return ERR_OK;
}

bool stream_has_input(const struct stream *s)
{
    return s->error == ERR_OK && str_find_char(stream_buffered(s), '\n') != STR_NPOS;
}

struct buf *stream_out(struct stream *s)
{
    if (!s->out.data) {
        s->out.data = stream_chunk_get(STREAM_CHUNK);
        s->out.cap = s->out.data ? STREAM_CHUNK : 0;
    }
    return &s->out;
}

/* A peer that reads as quickly as its session renders would keep the thread to itself. Meanwhile
 * the stream counts as being written: another fiber that reads from it must not flush. */
static void send_fairly(struct stream *s, size_t n)
{
    static _Thread_local size_t run;
    static _Thread_local uint64_t since_ms;
    run += n;
    if (run < SEND_RUN || !fiber_current())
        return;
    run = 0;
    if (clock_mono_ms() - since_ms < SEND_RUN_MS)
        return;
    s->writing = true;
    fiber_yield();
    s->writing = false;
    since_ms = clock_mono_ms();
}

/* Sends the buffer and then, without copying it, more. */
static enum err send_with(struct stream *s, str more, bool sync)
{
    if (!buf_ok(&s->out))
        stream_fail(s, ERR_LIMIT);
    enum err e = s->error;
    size_t sent = 0;
    if (e == ERR_OK && (s->out.len > 0 || more.len > 0 || (s->z && sync))) {
        str parts[2] = {buf_str(&s->out), more};
        sent = s->out.len + more.len;
        e = stream_send(s, parts, 2, sync);
    }
    buf_reset(&s->out);
    if (s->out.cap > STREAM_CHUNK_BULK)
        buffer_release(&s->out);
    send_fairly(s, sent);
    return e;
}

void stream_out_check(struct stream *s)
{
    if (s->out.len > STREAM_OUT_FLUSH || !buf_ok(&s->out) || s->error != ERR_OK)
        (void)send_with(s, STR_NONE, false);
}

enum err stream_flush(struct stream *s) { return send_with(s, STR_NONE, true); }

void stream_write(struct stream *s, str bytes)
{
    if (s->error != ERR_OK)
        return;
    /* Large pieces go out from where they are; small ones are gathered. */
    if (bytes.len >= STREAM_CHUNK / 2 && s->out.len + bytes.len > STREAM_OUT_FLUSH) {
        (void)send_with(s, bytes, false);
        return;
    }
    buf_add(stream_out(s), bytes);
    stream_out_check(s);
}

void stream_writef(struct stream *s, const char *fmt, ...)
{
    if (s->error != ERR_OK)
        return;
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    struct buf *out = stream_out(s);
    size_t room = out->cap - out->len;
    int n = vsnprintf(room ? out->data + out->len : NULL, room, fmt, args);
    char *at = n < 0 ? NULL : buf_reserve(out, (size_t)n + 1);
    if (at && (size_t)n >= room) /* it did not fit before */
        (void)vsnprintf(at, (size_t)n + 1, fmt, again);
    if (at)
        buf_commit(out, (size_t)n);
    va_end(again);
    va_end(args);
    stream_out_check(s);
}

/* Small files (most messages) go through the buffer, with what is before and after them. */
static void write_file_buffered(struct stream *s, int fd, uint64_t offset, size_t n)
{
    char *at = buf_reserve(stream_out(s), n);
    size_t got = 0;
    if (at && (file_read_at(fd, offset, at, n, &got) != ERR_OK || got != n))
        stream_fail(s, ERR_IO);
    if (at)
        buf_commit(&s->out, got);
    stream_out_check(s);
}

static enum err send_file(struct stream *s, int fd, uint64_t offset, uint64_t n)
{
    while (n > 0) {
        size_t sent = 0;
        enum err e = sock_try_send_file(s->watch.fd, fd, offset, MIN(n, 1u << 20), &sent);
        if (e == ERR_BUSY)
            e = stream_raw_wait(s, WAIT_WRITE, s->write_ms);
        if (e != ERR_OK)
            return stream_stick(s, e == ERR_EOF ? ERR_IO : e);
        if (s->error != ERR_OK)
            return s->error;
        offset += sent;
        n -= sent;
    }
    return ERR_OK;
}

static void send_file_copied(struct stream *s, int fd, uint64_t offset, uint64_t n)
{
    char *chunk = stream_chunk_get(STREAM_CHUNK_BULK);
    if (!chunk)
        stream_fail(s, ERR_NOMEM);
    while (n > 0 && s->error == ERR_OK) {
        size_t want = MIN(n, STREAM_CHUNK_BULK), got = 0;
        if (file_read_at(fd, offset, chunk, want, &got) != ERR_OK || got == 0)
            stream_fail(s, ERR_IO);
        else
            (void)send_with(s, str_of(chunk, got), false);
        offset += got;
        n -= got;
    }
    stream_chunk_put(chunk, STREAM_CHUNK_BULK);
}

void stream_write_file(struct stream *s, int fd, uint64_t offset, uint64_t n)
{
    if (s->error != ERR_OK || n == 0)
        return;
    if (n <= STREAM_CHUNK) {
        write_file_buffered(s, fd, offset, (size_t)n);
    } else if (s->ssl || s->z) {
        send_file_copied(s, fd, offset, n);
    } else if (send_with(s, STR_NONE, false) == ERR_OK) {
        s->writing = true;
        (void)send_file(s, fd, offset, n);
        s->writing = false;
    }
}

/* Input that left the kernel and is not in s->in yet; no descriptor will tell of it. */
static bool has_hidden_input(const struct stream *s)
{
    return (s->z && !stream_deflate_is_idle(s->z)) ||
           (s->ssl && !s->drained && stream_tls_has_pending(s));
}

bool stream_is_idle(const struct stream *s)
{
    return s->in.len == s->in_at && s->out.len == 0 && !s->writing && !has_hidden_input(s);
}

/* Reads once, without waiting; true when stream_fill has something to say. */
static bool has_news(struct stream *s)
{
    int want;
    if (s->error != ERR_OK || s->in.len > s->in_at)
        return true;
    enum err e = try_fill(s, &want);
    if (e == ERR_BUSY)
        return false;
    if (e != ERR_OK)
        (void)stream_stick(s, e);
    return true;
}

static void rest(struct stream *s)
{
    stream_release_buffers(s);
    if (s->z)
        stream_deflate_rest(s->z);
}

/* Runs on the fresh fiber. A wake-up without anything to read (a TLS ticket, an old edge) parks
 * again. */
static void park_resumed(void *arg)
{
    struct stream *s = arg;
    struct park *p = s->park;
    if (p->reason == PARK_READABLE && !has_news(s)) {
        rest(s);
        if (park_start(p) == ERR_OK)
            return;
    }
    s->park = NULL;
    s->resume(s->resume_arg);
}

enum err stream_park(struct stream *s, struct park *p, struct event *event, uint64_t deadline_ms,
                     struct fiber_group *group, const char *name, fiber_fn *resume, void *arg)
{
    assert(s->in.len == s->in_at && s->out.len == 0);
    s->park = p;
    s->resume = resume;
    s->resume_arg = arg;
    *p = (struct park){.watch = &s->watch,
                       .event = event,
                       .deadline_ms = deadline_ms,
                       .group = group,
                       .name = name,
                       .resume = park_resumed,
                       .arg = s};
    if (s->error != ERR_OK || (has_hidden_input(s) && has_news(s))) {
        p->reason = PARK_READABLE;
        s->park = NULL;
        return fiber_start(group, name, resume, arg);
    }
    rest(s);
    return park_start(p);
}

enum wait_any_result stream_wait(struct stream *s, struct event *event, uint64_t deadline_ms)
{
    bool ask = s->error != ERR_OK || s->in.len > s->in_at || has_hidden_input(s);
    for (;;) {
        if (ask && has_news(s))
            return WAIT_ANY_READABLE;
        rest(s);
        enum wait_any_result r = wait_any(&s->watch, NULL, event, deadline_ms);
        if (r != WAIT_ANY_READABLE)
            return r;
        ask = true;
    }
}

void stream_set_peer(struct stream *s, const struct address *peer, const struct address *local)
{
    if (peer)
        s->peer = *peer;
    if (local)
        s->local = *local;
}

int stream_fd(const struct stream *s) { return s->watch.fd; }

const struct address *stream_peer(const struct stream *s) { return &s->peer; }

const struct address *stream_local(const struct stream *s) { return &s->local; }
