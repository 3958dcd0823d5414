/* SPDX-License-Identifier: Apache-2.0
 *
 * search_words: folded text as tokens. The division is only a device of the index (every substring
 * of letters lies inside one token) and what FUZZY calls a word. Pure.
 */
#ifndef CORE_SEARCH_WORDS_H
#define CORE_SEARCH_WORDS_H

#include "base/str.h"
#include "core/search.h"

/* A maximal run of letters and digits, or (chars) of characters of a script that is written without
 * spaces: CJK, kana, Thai, Lao, Khmer, Myanmar, and symbols. */
struct search_token {
    str text;
    bool chars;
};
bool search_token_next(str *rest, struct search_token *out);

/* The words of a fuzzy term. */
#define SEARCH_FUZZY_WORDS_MAX 16
#define SEARCH_STEM_PREFIX 3 /* bytes that words of one stem have in common */
struct search_stems;         /* of several languages; not for two threads at once */
struct search_stems *search_stems_open(void); /* NULL without memory */
void search_stems_close(struct search_stems *s);
struct search_fuzzy {
    struct search_token words[SEARCH_FUZZY_WORDS_MAX];
    size_t count;
};
void search_fuzzy_of(str folded, struct search_fuzzy *out);
/* How well a token of a text is this word: 0, or up to SEARCH_MATCH. */
unsigned search_fuzzy_word(struct search_stems *s, const struct search_token *word,
                           const struct search_token *token);
/* What a message is worth that has the words so well. */
uint8_t search_fuzzy_score(const struct search_fuzzy *f, const uint8_t *best);

#endif
