/* SPDX-License-Identifier: Apache-2.0
 *
 * mime: the structure of a message (RFC 2045, 2046, 5322) found in one pass and linear time, and
 * its IMAP renderings (RFC 9051 7.5.2). The message may be mapped from a file; all slices borrow
 * from it. Any byte string is a message. At a limit the rest becomes an opaque body and `limit`
 * names it. Nothing here waits.
 */
#ifndef FORMAT_MIME_H
#define FORMAT_MIME_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "format/cte.h"
#include "format/limits.h"

enum mime_kind {
    MIME_LEAF,
    MIME_MULTIPART, /* children are its parts */
    MIME_MESSAGE,   /* message/rfc822 or message/global: one child, the message inside */
};

#define MIME_NO_PART UINT32_MAX

struct mime_part {
    enum mime_kind kind;
    uint32_t parent, first_child, next;  /* index into parts, or MIME_NO_PART */
    uint32_t depth;                      /* 0 for the message itself */
    uint64_t header_offset, header_size; /* with the empty line */
    uint64_t body_offset, body_size;     /* without the line end that belongs to the boundary */
    uint64_t header_lines, body_lines;   /* line ends */
    str type, subtype; /* as written or, when missing or broken, the default (RFC 2045 5.2) */
    enum cte cte;
    /* Raw field values; .data is NULL where there is no such field. */
    str content_type, disposition, id, description, encoding, md5, language, location;
};

struct mime {
    str message;
    struct mime_part *parts; /* [0] is the message; children come after their parent, in order */
    size_t count;
    enum limit limit;
};

/* ERR_LIMIT only when the arena is full (give it MIME_ARENA_MAX); ERR_OK with m->limit otherwise.
 */
enum err mime_parse(struct arena *a, str message, struct mime *m) MUST;

static inline str mime_header(const struct mime *m, const struct mime_part *p)
{
    return str_sub(m->message, p->header_offset, p->header_size);
}
static inline str mime_body(const struct mime *m, const struct mime_part *p)
{
    return str_sub(m->message, p->body_offset, p->body_size);
}

/* IMAP texts, parentheses included. Strings are quoted where they can be, literals "{n}\r\n" where
 * not (8-bit, CR, LF); encoded words stay encoded; NUL becomes a space. The text is good for
 * IMAP4rev1 and rev2 alike (RFC 9051 only adds message/global to the nested forms). ERR_LIMIT when
 * one header needs more than MIME_ARENA_MAX; out's own errors are sticky as ever. */
enum err mime_render_envelope(str header, struct buf *out) MUST;
/* extended: BODYSTRUCTURE, else BODY */
enum err mime_render_body(const struct mime *m, bool extended, struct buf *out) MUST;

/* Subject without "Re:", "Fwd:", list tags (RFC 5256 2.1), as UTF-8; raw is the field's value.
 * *is_reply tells whether something was removed that marks a reply or forward. */
void mime_base_subject(str raw, struct buf *out, bool *is_reply);
/* Each "<…>" of References, In-Reply-To or Message-ID, without its brackets; those that are no
 * message ids (RFC 5256 3: "valid") are passed over. */
bool mime_next_message_id(str *rest, str *id);

#endif
