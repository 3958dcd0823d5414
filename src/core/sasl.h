/* SPDX-License-Identifier: Apache-2.0
 *
 * sasl: the server's side of a SASL exchange (RFC 4422) for every protocol of the gate: PLAIN
 * (RFC 4616), LOGIN, SCRAM-SHA-256 and -PLUS (RFC 7677, 5802), EXTERNAL. sasl_exchange speaks the
 * whole of it on a stream; how it ended is for the protocol to say. The house decides.
 */
#ifndef CORE_SASL_H
#define CORE_SASL_H

#include "core/house.h"

#define SASL_MESSAGE_MAX 12288 /* bytes, decoded; RFC 4954 4 asks for 12288 octets of base64 */

struct sasl {
    const struct house *house;
    struct stream *stream; /* for channel binding, the peer, the client certificate */
    struct auth_attempt attempt;
    struct arena *arena; /* of the connection; holds the grant */
    /* the module's */
    int mechanism, step;
    struct buf state; /* messages kept between steps */
    str nonce, login;
    /* the result */
    struct auth_grant grant;
};

/* What may be tried now: secure says TLS or an exempted loopback. Appends " NAME" for each. */
void sasl_mechanisms(const struct stream *s, bool secure, struct buf *out);

void sasl_init(struct sasl *x, const struct house *house, struct stream *s, enum protocol protocol,
               bool secure, struct arena *connection);
void sasl_free(struct sasl *x);

enum sasl_result {
    SASL_CONTINUE, /* send the challenge, read a response, call sasl_step */
    SASL_DONE,     /* x->grant is filled in; a non-empty challenge is data to send with success */
    SASL_FAILED, /* *why: ERR_AUTH, ERR_SYNTAX, ERR_UNSUPPORTED, ERR_TLS_REQUIRED, temporary ones */
};
/* initial: decoded initial response, or NULL when the client sent none. */
enum sasl_result sasl_start(struct sasl *x, str mechanism, const str *initial,
                            struct buf *challenge, enum err *why) WAITS;
enum sasl_result sasl_step(struct sasl *x, str response, struct buf *challenge,
                           enum err *why) WAITS;

/* ---- a whole exchange on a stream ---- */
struct sasl_wire {
    const char *prefix; /* of a challenge: "334 " (RFC 4954), "+ " (RFC 9051, RFC 5034) */
    size_t line_max;    /* bytes of a response line */
    /* May this line be taken (rule wire-1)? It answers itself when not. NULL: any line end. */
    bool (*line_ok)(void *ctx, str line, bool crlf);
    void *ctx;
};
enum sasl_end {
    SASL_END_SIGNED_IN, /* x->grant */
    SASL_END_REFUSED,   /* *why, as with SASL_FAILED */
    SASL_END_CANCELLED, /* the client sent "*" */
    SASL_END_NOT_BASE64,
    SASL_END_TOO_LONG, /* a response line */
    SASL_END_LOST,     /* the stream failed (*why), or line_ok has answered (*why is ERR_OK) */
};
/* initial64: the initial response as it came, "=" for an empty one; NULL: none. mechanism and
 * *initial64 must outlive reads of the stream. Data with success take one more round. */
enum sasl_end sasl_exchange(struct sasl *x, const struct sasl_wire *w, str mechanism,
                            const str *initial64, enum err *why) WAITS;

#endif
