/* SPDX-License-Identifier: Apache-2.0
 *
 * smtp_reply: replies rendered (server) and parsed (client). RFC 5321 4.2, RFC 2034, RFC 9422.
 * What a remote server says is as hostile as a command (rule wire-5). Nothing waits.
 */
#ifndef FORMAT_SMTP_REPLY_H
#define FORMAT_SMTP_REPLY_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

/* A whole reply with CRLF. text may have several lines, split by '\n'; each line repeats code and
 * status (RFC 2034 4). enhanced may be "" or NULL. Control bytes are shown as '?', and lines are
 * cut at 512 bytes, so no text can forge a reply. */
void smtp_reply(struct buf *out, int code, const char *enhanced, str text);

struct smtp_reply_status {
    bool given;
    unsigned class, subject, detail; /* RFC 3463: 2, 4, 5; 0-999; 0-999 */
};
/* "5.1.1" at the front of *text followed by SP or the end is taken off. */
bool smtp_status_take(str *text, struct smtp_reply_status *out);

/* Collects the lines of one reply. */
struct smtp_reply_reader {
    int code;  /* 200 to 599 after the first line */
    bool done; /* the last line was seen */
    size_t lines;
    struct smtp_reply_status status; /* of the first line that has one fitting the code */
    struct buf text; /* lines without code and status, joined by '\n'; not printable bytes as '?' */
};
/* The reader owns its text; call smtp_reply_reader_free. Limits: SMTP_REPLY_LINE_MAX bytes a line,
 * SMTP_REPLY_LINES_MAX lines, SMTP_REPLY_BYTES_MAX text. */
void smtp_reply_reader_init(struct smtp_reply_reader *r);
void smtp_reply_reader_reset(struct smtp_reply_reader *r);
void smtp_reply_reader_free(struct smtp_reply_reader *r);
/* line: without CRLF. Sets r->done at the last line. ERR_SYNTAX: not a reply line, or codes differ
 * within one reply; ERR_LIMIT; the connection should then be dropped. */
enum err smtp_reply_reader_add(struct smtp_reply_reader *r, str line) MUST;

/* What the remote announced (RFC 5321 4.1.1.1). */
enum smtp_ext {
    SMTP_EXT_PIPELINING = 1 << 0,
    SMTP_EXT_SIZE = 1 << 1,
    SMTP_EXT_8BITMIME = 1 << 2,
    SMTP_EXT_ENHANCEDSTATUSCODES = 1 << 3,
    SMTP_EXT_STARTTLS = 1 << 4,
    SMTP_EXT_AUTH = 1 << 5,
    SMTP_EXT_DSN = 1 << 6,
    SMTP_EXT_SMTPUTF8 = 1 << 7,
    SMTP_EXT_CHUNKING = 1 << 8,
    SMTP_EXT_BINARYMIME = 1 << 9,
    SMTP_EXT_REQUIRETLS = 1 << 10,
    SMTP_EXT_DELIVERBY = 1 << 11,
    SMTP_EXT_FUTURERELEASE = 1 << 12,
    SMTP_EXT_MT_PRIORITY = 1 << 13,
    SMTP_EXT_RRVS = 1 << 14,
    SMTP_EXT_LIMITS = 1 << 15,
    SMTP_EXT_XCLIENT = 1 << 16,
};
enum smtp_mech {
    SMTP_MECH_PLAIN = 1 << 0,
    SMTP_MECH_LOGIN = 1 << 1,
    SMTP_MECH_SCRAM_SHA_1 = 1 << 2,
    SMTP_MECH_SCRAM_SHA_256 = 1 << 3,
    SMTP_MECH_SCRAM_SHA_256_PLUS = 1 << 4,
    SMTP_MECH_EXTERNAL = 1 << 5,
    SMTP_MECH_OAUTHBEARER = 1 << 6,
    SMTP_MECH_XOAUTH2 = 1 << 7,
};
struct smtp_ehlo {
    uint32_t ext;                                 /* SMTP_EXT_ bits */
    uint32_t mechs;                               /* SMTP_MECH_ bits */
    uint64_t size_max;                            /* 0: none given */
    uint64_t mail_max, rcpt_max, rcpt_domain_max; /* LIMITS; 0: none given */
    uint64_t by_min_s;                            /* DELIVERBY */
};
/* text: smtp_reply_reader.text of the EHLO reply. Unknown or malformed keywords are ignored. */
void smtp_ehlo_parse(str text, struct smtp_ehlo *out);

#endif
