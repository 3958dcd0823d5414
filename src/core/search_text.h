/* SPDX-License-Identifier: Apache-2.0
 *
 * search_text: the folded text of a message, and whether terms are in it. The text is a row of
 * records, each a byte that no UTF-8 has and then its text:
 *     SEARCH_RECORD_FIELD name ": " value     a header field of the message
 *     SEARCH_RECORD_PART  name ": " value     a header field of a part
 *     SEARCH_RECORD_BODY  text                a text part, or a header field of a message inside
 * so that no match can reach from one into another. Pure; any bytes are taken.
 */
#ifndef CORE_SEARCH_TEXT_H
#define CORE_SEARCH_TEXT_H

#include "core/search_words.h"
#include "format/charset.h"
#include "format/cte.h"
#include "format/html_text.h"
#include "format/mime_cold.h"

#define SEARCH_RECORD_FIELD '\xf8'
#define SEARCH_RECORD_PART '\xf9'
#define SEARCH_RECORD_BODY '\xfa'
static inline bool search_is_record(char c) { return (uint8_t)c >= 0xf8 && (uint8_t)c <= 0xfa; }

/* Takes a record off the front of *rest; false at the end. */
struct search_record {
    char kind;
    str name, text; /* FIELD and PART: text is "name: value", value behind it */
    str value;      /* BODY: the same as text */
};
bool search_record_next(str *rest, struct search_record *out);

/* ---- making it ---- */
#define SEARCH_FEED_MAX 65536 /* bytes of a body given at once; all but the last have so many */
struct search_text {
    struct buf out; /* the records; when longer than window_max they are given to `window` */
    size_t window_max, overlap;
    void (*window)(void *arg, str records);
    void *arg;
    struct search_fold fold;
    struct buf decoded, utf8, plain; /* scratch */
    struct cte_decoder cte;
    struct charset_conv conv;
    struct html_text html;
    bool is_html, unnamed, first;
};
/* Without window: out grows up to max. */
void search_text_init(struct search_text *t, size_t max);
void search_text_free(struct search_text *t);
/* A header block; kind says what its fields become. A FIELD with addresses that are written with
 * comments, white space or escapes gives a second record that has them without. */
void search_text_header(struct search_text *t, str block, char kind);
void search_text_body_begin(struct search_text *t, enum cte cte, str charset, bool html);
void search_text_body(struct search_text *t, str raw); /* SEARCH_FEED_MAX each */
void search_text_body_end(struct search_text *t);
/* Gives what is left to `window`. */
void search_text_end(struct search_text *t);

/* Is the content of a part of this type text? *html: as HTML. */
bool search_type_is_text(str type, bool *html);

/* ---- matching ---- */
struct search_matcher {
    const struct search_term *terms;
    size_t nterms;
    uint8_t *answers;           /* nterms; filled by search_match_end and before */
    struct search_stems *stems; /* borrowed; NULL: words must be equal */
    struct search_fuzzy *fuzzy; /* nterms, prepared; NULL when no term is fuzzy */
    uint8_t (*best)[SEARCH_FUZZY_WORDS_MAX];
};
/* answers and best are cleared. */
void search_match_begin(struct search_matcher *m);
void search_match(struct search_matcher *m, str records);
/* Is every term decided as matching? */
bool search_match_done(const struct search_matcher *m);
void search_match_end(struct search_matcher *m);

#endif
