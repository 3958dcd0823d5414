/* SPDX-License-Identifier: Apache-2.0
 *
 * smtp_client: the client's side of one SMTP or LMTP connection: greeting, EHLO (or HELO),
 * STARTTLS, AUTH, and any number of transactions (RFC 5321, 2033, 2920, 3207, 4954, 3461, 6531,
 * 3030, 8689). Whatever the remote says is hostile (rule wire-5): lines, replies and their number
 * are limited, and each reply has one deadline for the whole of it (RFC 5321 4.5.3.2), so that a
 * server that drips bytes costs no more than a silent one. What is sent has CRLF line ends only
 * (rule wire-1).
 */
#ifndef PROTO_RELAY_SMTP_CLIENT_H
#define PROTO_RELAY_SMTP_CLIENT_H

#include "core/relay.h"
#include "format/smtp_reply.h"
#include "net/stream.h"
#include "net/tls.h"

/* Milliseconds for whole replies; for data: the wait for room to send more. */
struct smtp_client_timeouts {
    uint64_t greeting, hello, mail, rcpt, data_begin, data_block, data_end, other;
};
extern const struct smtp_client_timeouts smtp_client_timeouts_rfc5321;

struct smtp_client_options {
    const struct smtp_client_timeouts *timeouts;
    str helo; /* a name, or "[192.0.2.1]" */
    bool lmtp;
};

struct smtp_client;
/* Takes the stream (closed with the client, also on error). ERR_NOMEM. */
enum err smtp_client_open(struct stream *s, const struct smtp_client_options *o,
                          struct smtp_client **out) MUST;
/* Ends the connection: QUIT is said without waiting for an answer. NULL is fine. */
void smtp_client_close(struct smtp_client *c) WAITS;

/* Each of the next three: ERR_OK; ERR_DENIED: the remote said no, see smtp_client_said; another
 * error: the connection is of no more use (its reply may still have come: said.code != 0). */
enum err smtp_client_hello(struct smtp_client *c, bool greeting) WAITS MUST;
/* STARTTLS and the new EHLO. expect: net/tls.h. ERR_UNSUPPORTED: not offered. ERR_TLS: the
 * handshake or the certificate. */
enum err smtp_client_starttls(struct smtp_client *c, struct tls_client *t,
                              const struct tls_expect *expect) WAITS MUST;
/* SCRAM-SHA-256, PLAIN or LOGIN, the first that is offered; the last two only over TLS or to this
 * host. ERR_UNSUPPORTED: none is offered. */
enum err smtp_client_auth(struct smtp_client *c, str login, str password) WAITS MUST;

/* Content as it is; where a hop cannot take it so, it is converted on the way (format/convert.h).
 */
struct smtp_content {
    int fd;
    uint64_t size;
    bool has_8bit;    /* in header or body */
    bool binary;      /* NUL, bare CR or LF, or lines over 998 bytes: needs BINARYMIME */
    bool header_8bit; /* needs SMTPUTF8 */
};
/* What the message needs and this hop does not take (an extension, its size, a conversion that
 * cannot be made): then nothing was sent, and another hop may take it. */
struct smtp_lack {
    const char *enhanced; /* NULL: nothing is lacking */
    str text;             /* in the arena */
};
/* One transaction. Fills verdicts[i] where it is decided: outcome, code, enhanced, text (in the
 * arena), and sets decided[i]; what stays undecided (the hop lacks something, the connection broke,
 * 421, or the remote wants no mail now) may be tried elsewhere. When the content was sent and no
 * answer came, the verdict is temporary. ERR_OK: the connection is good for one more; an error: it
 * is of no more use. */
enum err smtp_client_send(struct smtp_client *c, const struct relay_job *job,
                          const struct smtp_content *content, struct arena *arena,
                          struct relay_verdict *verdicts, bool *decided,
                          struct smtp_lack *lack) WAITS MUST;

struct smtp_said {
    uint16_t code; /* 0: nothing was said */
    struct smtp_reply_status status;
    str text; /* until the next reply */
};
struct smtp_said smtp_client_said(const struct smtp_client *c);
const struct smtp_ehlo *smtp_client_ehlo(const struct smtp_client *c);
struct stream *smtp_client_stream(struct smtp_client *c);
size_t smtp_client_transactions(const struct smtp_client *c);
/* The remote has closed it, or said something unasked (421). Never waits. */
bool smtp_client_stale(struct smtp_client *c);

#endif
