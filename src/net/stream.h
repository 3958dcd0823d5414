/* SPDX-License-Identifier: Apache-2.0
 *
 * stream: the one way to read and write a connection: plain, TLS, deflated, or a socketpair in a
 * test. Input and output are buffered; the buffers exist only while they hold something, so an idle
 * stream is a small struct. Errors are sticky: after EOF, time-out, cancellation or a failed write,
 * reads give nothing and writes vanish; the command loop asks stream_error() once per command. A
 * stream belongs to one thread; one fiber reads, one (maybe another) writes.
 */
#ifndef NET_STREAM_H
#define NET_STREAM_H

#include "base/buf.h"
#include "base/err.h"
#include "os/park.h"
#include "os/sock.h"

struct stream;
struct tls_server;
struct tls_client;

#define STREAM_IN_MAX 65536    /* default input buffer limit: the longest line that can be read */
#define STREAM_OUT_FLUSH 32768 /* buffered output beyond this is sent at once */

/* Takes fd (non-blocking, closed with the stream). ERR_NOMEM: fd is closed too. */
enum err stream_open(int fd, struct stream **out) MUST;
/* Output that was not flushed is lost; TLS says close_notify. Never waits. NULL is fine. */
void stream_close(struct stream *s);
/* fn(arg) runs once, when the stream is closed or detached (a session may outlive its first fiber).
 */
void stream_on_close(struct stream *s, void (*fn)(void *arg), void *arg);
#define STREAM_TIMEOUT_MS 300000 /* both, until set */
void stream_set_timeouts(struct stream *s, uint64_t read_ms,
                         uint64_t write_ms);            /* per wait; 0: none */
void stream_set_in_max(struct stream *s, size_t bytes); /* at least 512 */
enum err stream_error(const struct stream *s);          /* ERR_OK while healthy */
void stream_fail(struct stream *s, enum err e);         /* sets the sticky error if there is none */

/* Input. The slice lives until the next call that reads or skips. */
str stream_buffered(const struct stream *s);
/* Reads until more than `have` bytes are buffered; returns at once when they are. Output is flushed
 * before it waits. ERR_EOF, ERR_TIMEOUT, ERR_LINE_TOO_LONG (buffer limit reached), … sticky but for
 * LINE_TOO_LONG. To take a large body: fill(s, 0), use stream_buffered, skip it all, again; the
 * reads then grow to 64 KiB. */
enum err stream_fill(struct stream *s, size_t have) WAITS MUST;
void stream_skip(struct stream *s, size_t n);
/* The next line without its line end; ended_crlf says whether it was CRLF (else a bare LF).
 * More than max bytes before LF: ERR_LINE_TOO_LONG, the line is skipped up to its LF (bounded by
 * the read time-out), the stream stays usable. ended_crlf may be NULL. */
enum err stream_line(struct stream *s, size_t max, str *line, bool *ended_crlf) WAITS MUST;

/* Output. Vanishes after an error. WAITS only when the buffer is over STREAM_OUT_FLUSH. */
void stream_write(struct stream *s, str bytes) WAITS;
void stream_writef(struct stream *s, const char *fmt, ...) WAITS
    __attribute__((format(printf, 2, 3)));
/* The stream's own output buffer, for rendering straight into it; then stream_out_check. Rendering
 * past STREAM_OUT_MAX between two checks fails the stream with ERR_LIMIT. */
#define STREAM_OUT_MAX (16u << 20)
struct buf *stream_out(struct stream *s);
void stream_out_check(struct stream *s) WAITS; /* flushes if over STREAM_OUT_FLUSH */
enum err stream_flush(struct stream *s) WAITS MUST;
/* After a time-out or a cancellation writes vanish; this is said all the same, by one try that does
 * not wait (nothing when output was cut off before, or deflated). Only stream_close comes after. */
void stream_last_words(struct stream *s, str text);
/* Sends n bytes of a file from offset without holding them all in memory. A shorter file fails the
 * stream with ERR_IO. */
void stream_write_file(struct stream *s, int fd, uint64_t offset, uint64_t n) WAITS;

/* True when a whole line is waiting in the buffer (pipelined), so that replies can be gathered. */
bool stream_has_input(const struct stream *s);
/* True when nothing is buffered in any layer (TLS and inflate included). */
bool stream_is_idle(const struct stream *s);

/* TLS (net/tls.h). Flushes, then shakes hands within the read time-out for each wait; use a
 * DEADLINE_SCOPE around it. Fails with ERR_TLS (or TIMEOUT, EOF, …). The input buffer must be empty
 * before (rule wire-2), else ERR_INVALID and the stream fails. */
enum err stream_start_tls_server(struct stream *s, struct tls_server *t) WAITS MUST;
/* For a port with TLS from the start, where nothing can have come in the clear: what is in the
 * input buffer is the beginning of the handshake. */
enum err stream_start_tls_server_seen(struct stream *s, struct tls_server *t) WAITS MUST;
enum err stream_start_tls_client(struct stream *s, struct tls_client *t, str host_name) WAITS MUST;
/* The same with DANE: `name` and more names, TLSA records (net/tls.h). ERR_UNSUPPORTED before a
 * byte is sent: none of the records is usable (RFC 7672 2.1: then encrypt without authentication).
 */
struct tls_expect;
enum err stream_start_tls_expect(struct stream *s, struct tls_client *t,
                                 const struct tls_expect *expect) WAITS MUST;
bool stream_is_tls(const struct stream *s);
/* Why the other end's certificate was not accepted, after ERR_TLS; OTHER: it was not that, or is
 * not known. */
enum tls_fault {
    TLS_FAULT_OTHER,
    TLS_FAULT_NAME,
    TLS_FAULT_DATE,
    TLS_FAULT_TRUST,
    TLS_FAULT_DANE, /* no TLSA record matches it */
};
enum tls_fault stream_tls_fault(const struct stream *s);

struct stream_tls_info {
    const char *version; /* "TLSv1.3"; borrowed for the stream's life */
    const char *cipher;
    str server_name;             /* SNI, or empty */
    str alpn;                    /* chosen protocol, or empty */
    str client_certificate_name; /* RFC822 name or CN of a verified client certificate, or empty */
    bool resumed;
};
void stream_tls_info(const struct stream *s, struct stream_tls_info *out);
/* Channel binding data: "tls-exporter" (RFC 9266; TLS 1.3 only) or "tls-server-end-point"
 * (RFC 5929). ERR_UNSUPPORTED. */
enum err stream_channel_binding(struct stream *s, str type, struct buf *out) MUST;

/* IMAP COMPRESS=DEFLATE (RFC 4978), over TLS or plain; both directions from now on. Flushes first;
 * bytes already read count as compressed. Each flush is a sync point. While parked the compressor
 * is gone and of the decompressor only its window (what came in lately, at most 32 KiB) stays. */
enum err stream_start_deflate(struct stream *s) WAITS MUST;

/* Idle without a stack: frees the buffers and parks on the descriptor (and event, may be NULL).
 * resume(arg) runs on a fresh fiber; p->reason says why. Input that is already there starts it
 * soon. PARK_READABLE means that stream_fill has something to say (bytes or an error), not only
 * that some TLS record came. The stream must be idle (stream_is_idle) and flushed. p stays in place
 * meanwhile; to stop early: park_stop(p). */
enum err stream_park(struct stream *s, struct park *p, struct event *event, uint64_t deadline_ms,
                     struct fiber_group *group, const char *name, fiber_fn *resume, void *arg) MUST;
/* Waits, keeping the stack, for input or the event or the deadline. */
enum wait_any_result stream_wait(struct stream *s, struct event *event, uint64_t deadline_ms) WAITS;

/* Handing a plain, flushed stream on: gives up the descriptor and the bytes read so far, frees s
 * and returns the fd. TLS or deflated: -1, and s stays. */
int stream_detach(struct stream *s, struct buf *unread);
/* A stream over a received descriptor, with the bytes that its first reader had read. */
enum err stream_open_with(int fd, str unread, struct stream **out) MUST;

/* The descriptor, which stays the stream's. */
int stream_fd(const struct stream *s);

/* Who is at the other end (PROXY protocol and XCLIENT replace it). */
void stream_set_peer(struct stream *s, const struct address *peer, const struct address *local);
const struct address *stream_peer(const struct stream *s);
const struct address *stream_local(const struct stream *s);

#endif
