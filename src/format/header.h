/* SPDX-License-Identifier: Apache-2.0
 *
 * header: the header fields of a message or part (RFC 5322 2.2), one after the other in linear
 * time. Lines end with LF or CRLF. Nothing is refused: a line that is no field (no colon, "From "
 * line, name with a space) is given with an empty name. All slices borrow from the block.
 */
#ifndef FORMAT_HEADER_H
#define FORMAT_HEADER_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "format/limits.h"

struct header_field {
    str name;      /* as written, without the white space that obs-syntax allows before the colon */
    str value;     /* raw: behind the colon up to the last line end, folding included */
    size_t offset; /* of the first byte, in the block */
    size_t size;   /* with folded lines and the last line end */
};

struct header_iter {
    str block;
    size_t pos;   /* next byte to read */
    size_t count; /* fields so far */
    bool done;
    size_t end;        /* when done: offset behind the empty line, where the body begins */
    size_t end_fields; /* when done: offset of the empty line (== end when there is none) */
    enum limit limit;  /* HEADER_FIELDS_MAX or HEADER_SIZE_MAX: later fields were not given */
};

/* block may be a whole message: iteration stops at the empty line. */
struct header_iter header_iter_of(str block);
bool header_next(struct header_iter *it, struct header_field *f);

/* Takes the line at *pos with its continuations, whatever it is, without limits; *pos is moved.
 * For callers that look at each line first (mime). *pos must be inside the block. */
void header_take_field(str block, size_t *pos, struct header_field *f);
/* Length of the empty line at pos: 0 (there is none), 1 or 2. */
size_t header_empty_line(str block, size_t pos);

/* Size of the header with its empty line. Linear; without an empty line the whole block. */
size_t header_size(str block);
/* First field of that name (ASCII case-insensitive). */
bool header_find(str block, str name, struct header_field *f);
/* Appends value without its line ends (RFC 5322 2.2.3), white space at both ends cut. */
void header_unfold(struct buf *out, str value);
/* The same, borrowing from value when there is nothing to unfold. False: the arena is full. */
bool header_unfold_arena(struct arena *a, str value, str *out) MUST;
/* BODY[HEADER.FIELDS (names)] and, with invert, .NOT: whole fields as written, and an empty line.
 */
void header_filter(struct buf *out, str block, const str *names, size_t count, bool invert);

#endif
