/* SPDX-License-Identifier: Apache-2.0 */
#include "core/search_words.h"

#include <libstemmer.h>
#include <string.h>
#include <utf8proc.h>

#include "base/num.h"
#include "base/utf8.h"

enum glyph { CLASS_NONE, CLASS_WORD, CLASS_CHARS };

static bool spaceless(uint32_t c)
{
    return (c >= 0x0e00 && c <= 0x0eff) || (c >= 0x1000 && c <= 0x109f) || /* Thai … Myanmar */
           (c >= 0x1780 && c <= 0x17ff) || (c >= 0x2e80 && c <= 0x2fdf) || /* Khmer, radicals */
           (c >= 0x3005 && c <= 0x3007) || (c >= 0x3021 && c <= 0x30ff) ||
           (c >= 0x3105 && c <= 0x312f) || (c >= 0x31f0 && c <= 0x31ff) ||
           (c >= 0x3400 && c <= 0x9fff) || (c >= 0xf900 && c <= 0xfaff) ||
           (c >= 0x20000 && c <= 0x3ffff);
}

static const uint8_t ascii[128] = {
    ['0' ... '9'] = CLASS_WORD, ['A' ... 'Z'] = CLASS_WORD, ['a' ... 'z'] = CLASS_WORD};

static enum glyph class_of(uint32_t c)
{
    if (c < 0x80)
        return ascii[c];
    if (spaceless(c))
        return CLASS_CHARS;
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return CLASS_WORD;
    case UTF8PROC_CATEGORY_SO:
        return c == 0xfffd ? CLASS_NONE : CLASS_CHARS;
    default:
        return CLASS_NONE;
    }
}

/* Class of the character at a place, and its bytes. */
static enum glyph class_at(str s, size_t at, size_t *len)
{
    uint8_t first = (uint8_t)s.data[at];
    *len = 1;
    if (first < 0x80)
        return ascii[first];
    uint32_t c;
    str rest = str_skip(s, at);
    size_t left = rest.len;
    bool valid = utf8_take(&rest, &c);
    *len = left - rest.len;
    return valid ? class_of(c) : CLASS_NONE;
}

bool search_token_next(str *rest, struct search_token *out)
{
    str s = *rest;
    size_t at = 0, len = 0;
    enum glyph c = CLASS_NONE;
    while (at < s.len && (c = class_at(s, at, &len)) == CLASS_NONE)
        at += len;
    size_t end = at;
    while (end < s.len && class_at(s, end, &len) == c)
        end += len;
    *out = (struct search_token){str_sub(s, at, end - at), c == CLASS_CHARS};
    *rest = str_skip(s, end);
    return end > at;
}

/* ---- fuzzy ---- */

#define STEM_WORD_MAX 64

static const char *const languages[] = {"english", "german",     "french",  "spanish", "italian",
                                        "dutch",   "portuguese", "russian", "swedish"};
struct search_stems {
    struct arena arena;
    struct sb_stemmer *of[ARRAY_LEN(languages)];
};

struct search_stems *search_stems_open(void)
{
    struct arena arena = ARENA_INIT(4096);
    struct search_stems *s = ARENA_NEW(&arena, struct search_stems);
    if (!s)
        return NULL;
    s->arena = arena;
    for (size_t i = 0; i < ARRAY_LEN(languages); i++)
        s->of[i] = sb_stemmer_new(languages[i], "UTF_8");
    return s;
}

void search_stems_close(struct search_stems *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < ARRAY_LEN(languages); i++)
        if (s->of[i])
            sb_stemmer_delete(s->of[i]);
    struct arena arena = s->arena;
    arena_free(&arena);
}

void search_fuzzy_of(str folded, struct search_fuzzy *out)
{
    struct search_token t;
    out->count = 0;
    while (out->count < SEARCH_FUZZY_WORDS_MAX && search_token_next(&folded, &t))
        if (t.text.len < STEM_WORD_MAX) /* longer ones are in the index in pieces only */
            out->words[out->count++] = t;
}

enum { SCORE_STEM = 80 };

static bool same_stem(struct sb_stemmer *s, str a, str b)
{
    char kept[STEM_WORD_MAX];
    if (!s)
        return false;
    const sb_symbol *stem = sb_stemmer_stem(s, (const sb_symbol *)a.data, (int)a.len);
    int len = sb_stemmer_length(s);
    if (!stem || len <= 0 || len > (int)sizeof kept)
        return false;
    memcpy(kept, stem, (size_t)len);
    stem = sb_stemmer_stem(s, (const sb_symbol *)b.data, (int)b.len);
    return stem && sb_stemmer_length(s) == len && memcmp(kept, stem, (size_t)len) == 0;
}

unsigned search_fuzzy_word(struct search_stems *s, const struct search_token *word,
                           const struct search_token *token)
{
    str a = word->text, b = token->text;
    if (word->chars != token->chars)
        return 0;
    if (word->chars)
        return str_find(b, a) != STR_NPOS ? SEARCH_MATCH : 0;
    if (str_eq(a, b))
        return SEARCH_MATCH;
    if (!s || a.len < SEARCH_STEM_PREFIX || b.len < SEARCH_STEM_PREFIX || a.len > STEM_WORD_MAX ||
        b.len > STEM_WORD_MAX || memcmp(a.data, b.data, SEARCH_STEM_PREFIX) != 0)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(languages); i++)
        if (same_stem(s->of[i], a, b))
            return SCORE_STEM;
    return 0;
}

uint8_t search_fuzzy_score(const struct search_fuzzy *f, const uint8_t *best)
{
    unsigned sum = 0;
    for (size_t i = 0; i < f->count; i++) {
        if (!best[i])
            return 0;
        sum += best[i];
    }
    return f->count ? (uint8_t)(sum / f->count) : 0;
}
