/* SPDX-License-Identifier: Apache-2.0
 *
 * fetch: what cmd_fetch.c and fetch_text.c share.
 */
#ifndef PROTO_IMAP_FETCH_H
#define PROTO_IMAP_FETCH_H

#include "format/mime_cold.h"
#include "proto/imap/session.h"

struct fetch {
    struct imap *x;
    struct imap_fetch_item *items; /* as asked, and what the session's extensions add */
    size_t nitems;
    int depth;                /* how deep the deepest item lies (enum depth) */
    unsigned sections_needed; /* MIME_COLD_NO_ bits that would make the cold row too little */
    bool has_flags, has_modseq, marks_seen;
    bool needs_mime;          /* some item looks at the structure */
    const struct set *marked; /* UIDs that this command has marked as seen */
    const struct keyword_table *keywords;
    struct keyword_table keywords_copy;
    struct imap_gathered *batch;
    enum err err;
    /* The message being told: where it begins in the output while all of it is still there, so that
     * it can be taken back when its text turns out to be gone. */
    size_t row_at;
    bool row_whole, row_gone;
};

void fetch_row_item(struct fetch *f, const struct imap_gathered *g, enum imap_fetch_kind kind,
                    struct buf *out);
/* ENVELOPE, BODY, BODYSTRUCTURE, PREVIEW from a complete cold row. */
void fetch_cold_item(const struct mime_cold *m, enum imap_fetch_kind kind, struct buf *out);
/* One message with all its items, from the open to the closing parenthesis, streamed. One that is
 * expunged meanwhile is left out. */
void fetch_one(struct fetch *f, const struct imap_gathered *g,
               const struct message_cold *cold) WAITS;
void fetch_finish_item(struct fetch *f, const struct imap_gathered *g, struct buf *out);

/* The text that a section names, streamed to `sink` (CATENATE and URLFETCH use it too). */
struct fetch_text {
    struct account *account;
    const struct message_cold *cold;
    const struct mime_cold *mime;
    struct arena *scratch;
};
/* A range of the message in the client's coordinates. exists: false for a part that is not there.
 */
struct fetch_range {
    bool exists;
    uint64_t offset, size;
};
struct fetch_range fetch_section_range(const struct fetch_text *t, const struct imap_section *s);
/* HEADER.FIELDS(.NOT): the chosen fields, into out, which holds FETCH_FIELDS_MAX; of a header that
 * is longer than FETCH_HEADER_MAX its beginning counts. */
#define FETCH_HEADER_MAX (HEADER_SIZE_MAX + MESSAGE_PREFIX_MAX + 65536)
#define FETCH_FIELDS_MAX (FETCH_HEADER_MAX + 4) /* and two line ends */
enum err fetch_header_fields(const struct fetch_text *t, const struct imap_section *s,
                             struct buf *out) WAITS MUST;

#endif
