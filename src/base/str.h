/* SPDX-License-Identifier: Apache-2.0
 *
 * str: a borrowed slice of bytes. It owns nothing, is not NUL-terminated and may hold any byte.
 * Whoever made the bytes says how long they live. Nothing here waits or allocates.
 */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct str {
    const char *data; /* may be NULL only when len is 0 */
    size_t len;       /* bytes */
} str;

/* A slice of a string literal; also usable in static initialisers. */
#define STR(literal) ((str){"" literal, sizeof(literal) - 1})
#define STR_INIT(literal)                                                                          \
    {                                                                                              \
        "" literal, sizeof(literal) - 1                                                            \
    }
#define STR_NONE ((str){NULL, 0})
/* For printf's "%.*s". */
#define STR_ARG(s) (int)(s).len, (s).data ? (s).data : ""

static inline str str_of(const void *data, size_t len) { return (str){data, len}; }
static inline bool str_empty(str s) { return s.len == 0; }
static inline char char_lower(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
} /* ASCII */
str str_c(const char *nul_terminated); /* NULL gives the empty slice */

bool str_eq(str a, str b);
bool str_eq_nocase(str a, str b); /* ASCII only */
int str_cmp(str a, str b);        /* memcmp order, the shorter first; <0, 0, >0 */
bool str_starts(str s, str prefix);
bool str_starts_nocase(str s, str prefix);
bool str_ends(str s, str suffix);
bool str_ends_nocase(str s, str suffix);

#define STR_NPOS SIZE_MAX
size_t str_find(str s, str needle);        /* first offset or STR_NPOS; linear time */
size_t str_find_nocase(str s, str needle); /* ASCII */
size_t str_find_char(str s, char c);
size_t str_rfind_char(str s, char c);

/* Clamped: never reads past the end. */
str str_skip(str s, size_t n);
str str_head(str s, size_t n);
str str_sub(str s, size_t from, size_t n);
str str_trim(str s); /* SP HT CR LF at both ends */

/* Cuts at the first sep: *head gets what is before, *tail what is after. Without sep head is all,
 * tail is empty and the result is false. head or tail may alias s. */
bool str_cut(str s, char sep, str *head, str *tail);
/* Takes the next word (run of bytes other than SP and HT) off the front of *s. */
bool str_next_word(str *s, str *word);

uint64_t str_hash(str s);        /* seeded once per process; not for storage */
uint64_t str_hash_nocase(str s); /* ASCII */
uint64_t str_hash_stable(str s); /* the same for ever and on every machine; for stored rows */

/* Constant time in the contents (not in the lengths); for secrets. */
bool str_eq_secret(str a, str b);

#endif
