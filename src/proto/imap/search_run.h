/* SPDX-License-Identifier: Apache-2.0
 *
 * search_run: search keys made ready for a mailbox, and the messages that they find. The cheap keys
 * are asked first (rows of the view), then cold rows, then texts (core/search.h).
 */
#ifndef PROTO_IMAP_SEARCH_RUN_H
#define PROTO_IMAP_SEARCH_RUN_H

#include "core/search.h"
#include "format/imap_search_syntax.h"
#include "proto/imap/search_state.h"

struct search_key;
/* Compiled for one mailbox; lives in an arena and owns sets. */
struct search_program {
    struct arena *arena;
    struct search_key *root;
    struct search_term *terms;
    size_t nterms, terms_cap;
    bool needs_cold, needs_text, fuzzy;
    int64_t now;                       /* for YOUNGER and OLDER: one moment for the whole command */
    struct set *sets[SEARCH_KEYS_MAX]; /* to be freed */
    size_t nsets;
};

/* Where is searched. */
struct search_place {
    struct account *account;
    struct mailbox_view *view;
    uint32_t last_uid;               /* later messages are not looked at */
    struct mailbox_session *session; /* of the selected mailbox; NULL for another one */
};
struct search_place search_place_selected(struct imap *x);

/* ERR_BAD_CHARSET, ERR_SYNTAX (a sequence number where none can be), ERR_LIMIT, ERR_NOMEM. */
enum err search_compile(struct imap *x, const struct imap_search *args,
                        const struct search_place *place, struct arena *arena,
                        struct search_program **out) MUST;
/* Keywords that the mailbox did not know before. */
void search_program_refresh(struct search_program *p, const struct mailbox_view *v);
void search_program_free(struct search_program *p); /* NULL is fine */

struct search_found {
    struct set uids;
    uint64_t modseq;   /* the highest of them */
    struct buf scores; /* with fuzzy keys: a byte for each, by UID */
};
void search_found_free(struct search_found *f);
/* Messages with modseq > since, or (when it is not 0) with UID >= always_from. */
struct search_span {
    uint64_t since;
    uint32_t always_from;
};
static inline bool search_span_has(const struct search_span *s, const struct message_row *row)
{
    return row->modseq > s->since || (s->always_from && row->uid >= s->always_from);
}
/* May tell INPROGRESS (RFC 9585). */
enum err search_run(struct imap *x, struct search_program *p, const struct search_place *place,
                    const struct search_span *span, struct search_found *out) WAITS MUST;

/* Answers NO [BADCHARSET …], BAD or NO for an error of the calls above. */
void search_refuse(struct imap *x, const struct imap_search *args, enum err e) WAITS;

#endif
