/* SPDX-License-Identifier: Apache-2.0
 *
 * search: which messages of an account hold a text. The meaning is that of a full scan: a term
 * matches when its folded text is a substring of the folded text of the field (docs/decisions/
 * 006-search.md). The index only makes it fast: what is not in the index yet, or cannot be decided
 * by it, is read and compared.
 *
 * Folding: decoded (RFC 2047, charset, transfer encoding), NFKD, full case folding; so "É", "é"
 * and "e" with a combining acute are the same, as in i;unicode-casemap (RFC 5051).
 */
#ifndef CORE_SEARCH_H
#define CORE_SEARCH_H

#include "core/message.h"

enum search_field {
    SEARCH_IN_SUBJECT,
    SEARCH_IN_FROM,
    SEARCH_IN_TO,
    SEARCH_IN_CC,
    SEARCH_IN_BCC,
    SEARCH_IN_HEADER, /* the field called `name` */
    SEARCH_IN_BODY,   /* text parts, HTML as its text, messages inside */
    SEARCH_IN_TEXT,   /* all of the above, names of fields and headers of parts too */
};
struct search_term {
    enum search_field field;
    str name;   /* HEADER: lower case */
    str text;   /* folded; empty: the field exists (BODY, TEXT: every message) */
    bool fuzzy; /* all words of the text, by stem, in any order (RFC 6203) */
};
#define SEARCH_TERMS_MAX 256    /* in one query */
#define SEARCH_NEEDLE_MAX 65536 /* bytes of a folded text */
#define SEARCH_MATCH 100        /* a full match; fuzzy ones are 1 to 100 (RFC 6203 4) */

/* Folds UTF-8 in chunks; the result does not depend on how the input is cut. */
struct search_fold {
    uint32_t marks[32]; /* combining marks waiting to be put in order */
    uint8_t classes[32];
    uint8_t nmarks, npartial;
    char partial[4];
};
void search_fold_add(struct search_fold *f, str utf8, struct buf *out);
void search_fold_end(struct search_fold *f, struct buf *out);
void search_fold_all(str utf8, struct buf *out);

/* Called between slices of a long query: done of all messages; false stops it (ERR_CANCELED). */
typedef bool search_progress_fn(void *arg, size_t done, size_t all) WAITS;
struct search_query {
    const struct search_term *terms;
    size_t nterms;
    bool no_index;                /* scan everything: what answers are compared with */
    search_progress_fn *progress; /* may be NULL */
    void *arg;
};
/* answers[i * nterms + k]: 0, or how well term k matches message i (1 to SEARCH_MATCH). Messages
 * that are unreadable match nothing, those that are gone nothing or what they matched before.
 * Yields every few ms. */
enum err search_messages(struct account *a, const struct search_query *q, const uint64_t *messages,
                         size_t n, uint8_t *answers) WAITS MUST;

/* ---- the index ---- */
/* Keeps the index of every account that changes, on one background thread (os/background.h). What
 * arrives while it has nothing else to do is in the index within a second. */
struct search_background;
enum err search_background_start(struct store *s, struct search_background **out) WAITS MUST;
/* When it returns its thread has ended. The loops of all its indexers must be running: what it has
 * begun is committed there. NULL is fine. */
void search_background_stop(struct search_background *b) WAITS;
/* A session thread's part: it tells of changes and makes the commits of the accounts whose home it
 * is, those whose id modulo the number of indexers is its place in the order of their starts. Fails
 * only without memory. */
struct search_indexer;
enum err search_indexer_start(struct accounts *as, struct search_background *b,
                              struct search_indexer **out) MUST;
/* On its thread, after search_background_stop, before accounts_close. NULL is fine. */
void search_indexer_stop(struct search_indexer *x) WAITS;
/* Now and until there is nothing left to do; what the background does too. For tests, benches. */
enum err search_index_update(struct account *a) WAITS MUST;
/* Forgets the index of the account; it will be made anew. */
enum err search_index_drop(struct account *a) WAITS MUST;
struct search_index_status {
    uint64_t segments, messages, bytes, last; /* last: the newest message that is indexed */
};
enum err search_index_status(struct account *a, struct search_index_status *out) WAITS MUST;

#endif
