/* SPDX-License-Identifier: Apache-2.0
 *
 * smtp_private: between smtp_client.c (the connection), smtp_auth.c and smtp_send.c.
 */
#ifndef PROTO_RELAY_SMTP_PRIVATE_H
#define PROTO_RELAY_SMTP_PRIVATE_H

#include "proto/relay/smtp_client.h"

struct smtp_client {
    struct stream *stream;
    struct smtp_client_timeouts timeouts;
    str helo;
    bool lmtp, dead;
    struct smtp_ehlo ehlo;
    struct smtp_reply_reader reply;
    size_t transactions;
    struct arena arena; /* holds this struct */
};

/* Reads one whole reply within ms. ERR_OK whatever its code is; 421 also marks the connection dead.
 */
enum err smtp_client_reply(struct smtp_client *c, uint64_t ms) WAITS MUST;
/* Sends a line (with CRLF) and reads the reply. */
enum err smtp_client_ask(struct smtp_client *c, str line, uint64_t ms) WAITS MUST;

static inline unsigned smtp_client_class(const struct smtp_client *c)
{
    return (unsigned)c->reply.code / 100;
}

#endif
