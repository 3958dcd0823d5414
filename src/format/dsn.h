/* SPDX-License-Identifier: Apache-2.0
 *
 * dsn: delivery status notifications, rendered: a whole multipart/report message (RFC 3461, 3462,
 * 6522, 3464; 6533 for UTF-8 addresses). CRLF line ends only, lines at most 998 bytes. No text
 * given here can break out of its line. Nothing waits.
 */
#ifndef FORMAT_DSN_H
#define FORMAT_DSN_H

#include "base/buf.h"
#include "base/err.h"

enum dsn_action { DSN_FAILED, DSN_DELAYED, DSN_DELIVERED, DSN_RELAYED, DSN_EXPANDED };
struct dsn_recipient {
    enum dsn_action action;
    str address;            /* final recipient */
    str orcpt_type, orcpt;  /* as RCPT gave it, decoded; may be empty */
    str status;             /* "5.1.1" */
    str remote_mta;         /* host name; may be empty */
    str diagnostic;         /* the remote's reply, lines split by '\n'; may be empty */
    str explanation;        /* a sentence for a person; may be empty */
    int64_t last_attempt_s; /* 0: none */
    int64_t retry_until_s;  /* DELAYED; 0: none */
};
struct dsn {
    str reporting_mta; /* our host name */
    str from;          /* "postmaster@example.com" */
    str to;            /* the envelope sender of the original */
    str message_id;    /* without <> */
    str boundary;      /* unique, of atom characters */
    str envid;         /* may be empty */
    str queue_id;      /* may be empty */
    int64_t now_s, arrival_s;
    int zone_minutes;
    const struct dsn_recipient *recipients;
    size_t count;       /* from 1 */
    bool full;          /* `original` is the whole message, else its header */
    bool original_8bit; /* the original has bytes above 0x7f */
    str original;       /* lines end with CRLF */
};
void dsn_render(struct buf *out, const struct dsn *d);

#endif
