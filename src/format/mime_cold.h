/* SPDX-License-Identifier: Apache-2.0
 *
 * mime_cold: the cold row of a message (store.md): all that FETCH, SORT and THREAD want to know
 * without opening it. Written once at delivery, versioned, at most MIME_COLD_MAX bytes. Where a
 * message needs more, the row leaves out sections (a flag each), and the reader renders them on
 * demand from the blob with mime.h.
 */
#ifndef FORMAT_MIME_COLD_H
#define FORMAT_MIME_COLD_H

#include "format/mime.h"

enum {
    MIME_COLD_NO_ENVELOPE = 1, /* the section is not in the row: render it */
    MIME_COLD_NO_BODY = 2,
    MIME_COLD_NO_STRUCTURE = 4,
    MIME_COLD_NO_PARTS = 8,
    MIME_COLD_HAS_ATTACHMENT = 16,
    MIME_COLD_IS_REPLY = 32, /* mime_base_subject took off a reply or forward mark */
    MIME_COLD_HAS_DATE = 64, /* sent_seconds is from a Date field that could be read */
};

/* Encodes the row of m. ERR_LIMIT when scratch is full. */
enum err mime_cold_encode(struct arena *scratch, const struct mime *m, struct buf *out) MUST;

/* A part as the row keeps it. */
struct mime_cold_part {
    uint32_t index, parent; /* MIME_NO_PART for the message itself */
    enum mime_kind kind;
    enum cte cte;
    uint64_t header_offset, header_size, body_offset, body_size;
    str type;    /* "text/plain", lower case */
    str charset; /* of text parts, as written; may be empty */
};

/* All slices borrow from the row. */
struct mime_cold {
    unsigned flags;
    enum limit limit; /* that the structure had reached */
    int64_t sent_seconds;
    int32_t sent_zone_minutes;
    uint64_t size; /* of the message */
    uint32_t parts_count;
    uint64_t message_id_hash;  /* str_hash_stable of the id without brackets; 0: none */
    uint32_t references_count; /* References, or In-Reply-To where there are none (RFC 5256) */
    str references;            /* big-endian u64 each: mime_cold_reference() */
    str base_subject;          /* UTF-8 */
    str from_mailbox, to_mailbox, cc_mailbox; /* local part of the first address (RFC 5256 3) */
    str from_display, to_display;             /* RFC 5957, UTF-8 */
    str preview;                              /* UTF-8, RFC 8970 */
    str envelope, body, structure;            /* IMAP text */
    str parts;                                /* encoded; read with the calls below */
};

/* ERR_CORRUPT; ERR_UNSUPPORTED for a version of the future. */
enum err mime_cold_decode(str row, struct mime_cold *out) MUST;
uint64_t mime_cold_reference(const struct mime_cold *c, uint32_t i);

/* In order of mime.parts; false at the end. */
struct mime_cold_iter {
    struct reader rest;
    uint32_t index;
};
struct mime_cold_iter mime_cold_iter_of(const struct mime_cold *c);
bool mime_cold_next(struct mime_cold_iter *it, struct mime_cold_part *part);

/* The part that an IMAP section names: {} is the message, {1, 2} is "1.2" (RFC 9051 6.4.5). False
 * if there is none. For "1.2.HEADER" and "1.2.TEXT" the part must be MIME_MESSAGE:
 * mime_cold_inside() gives the message inside, whose header and body these are. "1.2.MIME" is the
 * part's own header. */
bool mime_cold_find(const struct mime_cold *c, const uint32_t *path, size_t depth,
                    struct mime_cold_part *part);
bool mime_cold_inside(const struct mime_cold *c, const struct mime_cold_part *message,
                      struct mime_cold_part *inside);
/* With MIME_COLD_NO_PARTS: fills in the parts (in the arena) from the parsed message. */
enum err mime_cold_parts_of(struct arena *a, const struct mime *m, struct mime_cold *c) MUST;

#endif
