/* SPDX-License-Identifier: Apache-2.0
 *
 * stream_private: what the files of net share about a stream. From below: the transport (socket or
 * TLS) tries without waiting; the deflate layer (if any) sits on it; the buffers of stream.h on
 * top.
 */
#ifndef NET_STREAM_PRIVATE_H
#define NET_STREAM_PRIVATE_H

#include <openssl/types.h>

#include "net/stream.h"

struct stream_deflate;

struct stream {
    struct watch watch;
    struct buf in, out;
    size_t in_at; /* in.data[in_at..in.len) is unread */
    size_t in_max;
    uint64_t read_ms, write_ms; /* 0: none */
    SSL *ssl;
    struct buf hello; /* came before the handshake and belongs to it; TLS reads it first */
    struct stream_deflate *z;
    struct buf held;   /* ciphertext that goes out with the next write, or before the next wait */
    char *client_name; /* of a verified certificate; malloc'd */
    void (*on_close)(void *arg);
    void *on_close_arg;
    struct park *park; /* while parked: the owner's resume */
    fiber_fn *resume;
    void *resume_arg;
    enum err error;    /* sticky */
    enum err io_error; /* what the socket said below TLS */
    struct address peer, local;
    bool drained;  /* the last try left nothing in the kernel or in TLS */
    bool bulk;     /* a read filled its room: take more the next time */
    bool writing;  /* a fiber is in send: another one must not flush */
    bool tls_open; /* handshake done, nothing fatal since: close_notify may be sent */
    bool holding;  /* a handshake of ours as the server: what it writes is held */
    bool write_ended;
};

/* --- pooled memory, per thread, in two sizes --- */
#define STREAM_CHUNK 16384
#define STREAM_CHUNK_BULK 65536
void *stream_chunk_get(size_t size); /* NULL: no memory */
void stream_chunk_put(void *p, size_t size);

/* --- transport (stream_io.c): *want is what to wait for after ERR_BUSY --- */
/* The socket itself: ERR_BUSY without asking the kernel where it was emptied. */
enum err stream_socket_read(struct stream *s, void *out, size_t len, size_t *got) MUST;
enum err stream_raw_read(struct stream *s, void *out, size_t len, size_t *got, int *want) MUST;
enum err stream_raw_write(struct stream *s, const str *parts, size_t nparts, size_t *sent,
                          int *want) MUST;
/* All of the parts (changed on the way) or a sticky error. Waits at most write_ms at a time. */
enum err stream_raw_send(struct stream *s, str *parts, size_t nparts) WAITS MUST;
enum err stream_raw_wait(struct stream *s, int want, uint64_t timeout_ms) WAITS MUST;
/* Says that no more will be written: shutdown or close_notify. */
void stream_end_write(struct stream *s);

/* --- with the deflate layer --- */
/* Decompressed (or plain) bytes, or ERR_BUSY, ERR_EOF, … Never waits. Does not touch s->in. */
enum err stream_try_read(struct stream *s, void *out, size_t len, size_t *got, int *want) MUST;
/* Compresses as needed and sends; sync: what was given is decodable at the other end. */
enum err stream_send(struct stream *s, str *parts, size_t nparts, bool sync) WAITS MUST;

enum err stream_deflate_open(struct stream_deflate **out, str unread) MUST;
void stream_deflate_close(struct stream_deflate *z);
enum err stream_deflate_read(struct stream *s, void *out, size_t len, size_t *got, int *want) MUST;
enum err stream_deflate_send(struct stream *s, const str *parts, size_t nparts,
                             bool sync) WAITS MUST;
bool stream_deflate_is_idle(const struct stream_deflate *z);
void stream_deflate_rest(struct stream_deflate *z); /* gives back what an idle stream can spare */

/* --- TLS (stream_tls.c) --- */
void stream_tls_free(struct stream *s);
enum err stream_tls_read(struct stream *s, void *out, size_t len, size_t *got, int *want) MUST;
enum err stream_tls_write(struct stream *s, str bytes, size_t *sent, int *want) MUST;
void stream_tls_end_write(struct stream *s);
bool stream_tls_has_pending(const struct stream *s); /* read from the socket, not yet given out */

/* Sets the sticky error, returns the one that sticks. */
enum err stream_stick(struct stream *s, enum err e);
void stream_release_buffers(struct stream *s); /* those that are empty */

#endif
