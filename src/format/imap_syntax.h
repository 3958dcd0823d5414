/* SPDX-License-Identifier: Apache-2.0
 *
 * imap_syntax: the tokens of IMAP (RFC 9051 9, RFC 3501, RFC 7888 literals), taken one after the
 * other by a cursor over a complete command: the line without its last CRLF, and with each literal
 * attached behind its announcement ("{3}" CRLF and three bytes). Errors are sticky: after the
 * first one every call gives an empty value and false, so a parser takes all that it wants and asks
 * once; the position goes to the client. Values borrow from the command or live in the cursor's
 * arena. Linear time, nothing waits. imap_args.h, imap_search_syntax.h and imap_url.h stand on it.
 */
#ifndef FORMAT_IMAP_SYNTAX_H
#define FORMAT_IMAP_SYNTAX_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/set.h"
#include "format/date.h"
#include "format/limits.h"

/* For the reader of commands: does the line (without CRLF) end in the announcement of a literal?
 * "{n}" waits for a continuation, "{n+}" does not (LITERAL+; LITERAL- up to 4096 bytes), "~{n}"
 * may hold NUL (RFC 3516). */
struct imap_literal {
    uint64_t size; /* bytes that follow the CRLF */
    bool nonsync;
    bool binary;
    size_t begin; /* offset of '~' or '{' in the line */
};
bool imap_literal_at_end(str line, struct imap_literal *out);

struct imap_cursor {
    str in;
    size_t pos;
    struct arena *arena; /* of the command */
    bool utf8; /* names on the wire are UTF-8 (IMAP4rev2, UTF8=ACCEPT), not modified UTF-7 */
    const char *error; /* static text of the first error; NULL while fine */
    size_t error_pos;  /* offset in `in` */
    enum err kind;     /* ERR_SYNTAX (BAD), ERR_LIMIT, ERR_NOMEM, ERR_BAD_CHARSET */
};
static inline struct imap_cursor imap_cursor_of(str command, struct arena *a, bool utf8)
{
    return (struct imap_cursor){.in = command, .arena = a, .utf8 = utf8};
}
static inline bool imap_ok(const struct imap_cursor *c) { return !c->error; }
/* Records the error if it is the first; gives false. */
bool imap_error(struct imap_cursor *c, const char *text);
bool imap_error_kind(struct imap_cursor *c, enum err kind, const char *text);
/* "Number expected at position 17" (positions from 1), for the text of BAD. */
void imap_error_render(struct buf *out, const struct imap_cursor *c);

/* Single bytes. */
bool imap_at_end(const struct imap_cursor *c);
int imap_peek(const struct imap_cursor *c);       /* the next byte, or -1 */
bool imap_accept(struct imap_cursor *c, char ch); /* takes it if it is next */
bool imap_expect(struct imap_cursor *c, char ch); /* or an error */
bool imap_sp(struct imap_cursor *c);              /* exactly one space */
bool imap_end(struct imap_cursor *c);             /* nothing may follow */

/* Words. */
str imap_tag(struct imap_cursor *c);
str imap_atom(struct imap_cursor *c);
str imap_astring(struct imap_cursor *c);
str imap_string(struct imap_cursor *c);             /* quoted or literal */
bool imap_nstring(struct imap_cursor *c, str *out); /* false (and no error) for NIL */
/* Takes `word` if it is the next atom (ASCII case ignored, followed by a non-atom byte). */
bool imap_accept_word(struct imap_cursor *c, str word);
uint32_t imap_number(struct imap_cursor *c);    /* 0 to 2^32-1 */
uint32_t imap_nz_number(struct imap_cursor *c); /* from 1 */
uint64_t imap_number64(struct imap_cursor *c);  /* 0 to 2^63-1 */
/* A mailbox name as UTF-8; INBOX in any case is "INBOX". */
str imap_mailbox(struct imap_cursor *c);
str imap_list_mailbox(struct imap_cursor *c); /* the same with '%' and '*' */
/* "date-time" with its quotes; "1-Feb-1994" with or without. */
bool imap_date_time(struct imap_cursor *c, struct date *out);
int64_t imap_date(struct imap_cursor *c); /* days since 1970-01-01 */
/* An announcement that is the last thing of the text: its bytes are not attached, they will be
 * streamed (APPEND). */
bool imap_literal_head(struct imap_cursor *c, struct imap_literal *out);

/* sequence-set: ranges as given; 0 stands for '*'. */
struct imap_seq_range {
    uint32_t first, last;
};
struct imap_seq {
    struct imap_seq_range *ranges;
    size_t count;
    bool saved; /* "$" (RFC 5182) */
};
bool imap_seq_set(struct imap_cursor *c, struct imap_seq *out);
/* star: the largest number in use; 0 for an empty mailbox, where a lone '*' means nothing. */
enum err imap_seq_resolve(const struct imap_seq *seq, uint32_t star, struct set *out) MUST;

enum imap_flag {
    IMAP_FLAG_SEEN = 1 << 0,
    IMAP_FLAG_ANSWERED = 1 << 1,
    IMAP_FLAG_FLAGGED = 1 << 2,
    IMAP_FLAG_DELETED = 1 << 3,
    IMAP_FLAG_DRAFT = 1 << 4,
    IMAP_FLAG_RECENT = 1 << 5, /* never storable: the caller ignores or refuses it */
};
struct imap_flags {
    uint32_t system; /* IMAP_FLAG_ bits */
    str *keywords;   /* as given, also unknown "\X" ones; doubles possible */
    size_t count;
};
bool imap_flag_list(struct imap_cursor *c, struct imap_flags *out);   /* "(…)" */
bool imap_flags_loose(struct imap_cursor *c, struct imap_flags *out); /* list or bare flags */

/* For parsers on top: an array in the arena, doubled when full. NULL (and an error) at max. */
void *imap_grow(struct imap_cursor *c, void *array, size_t count, size_t *cap, size_t size,
                size_t max);
/* "(" str *(SP str) ")" or one alone, by `take`. */
bool imap_words(struct imap_cursor *c, str (*take)(struct imap_cursor *), str **out, size_t *count);

/* Rendering. */
void imap_render_quoted(struct buf *out, str s); /* only for text without CR, LF, NUL */
void imap_render_string(struct buf *out, str s); /* quoted if short and clean, else literal */
void imap_render_nstring(struct buf *out, bool given, str s);
void imap_render_astring(struct buf *out, str s); /* atom if it can be */
/* name: UTF-8 as stored. utf8: as in the cursor. */
void imap_render_mailbox(struct buf *out, str name, bool utf8);
/* "(\Seen $Keyword)" */
void imap_render_flags(struct buf *out, uint32_t system, const str *keywords, size_t count);
void imap_render_date_time(struct buf *out, int64_t seconds, int zone_minutes); /* quoted */

#endif
