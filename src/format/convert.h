/* SPDX-License-Identifier: Apache-2.0
 *
 * convert: a message as a next hop can take it: in lines of at most 998 bytes with CRLF, of 7 or of
 * 8 bits, without NUL (RFC 5321 2.3.1 and 4.5.3.1.6, RFC 6152 3, RFC 2045 6). Each leaf part that
 * needs it is put into quoted-printable or base64, whichever is smaller; what needs nothing stays
 * as it is, byte for byte. Parts decode to the same bytes afterwards. Never altered is the inside
 * of multipart/signed (RFC 1847 2.1): when it would have to be, the whole is refused.
 *
 * A plan first, over a message that lies in memory or is mapped from a file; then pieces of the
 * result, of which none is larger than CONVERT_PIECE_MAX, however large the message. Linear time.
 * Nothing here waits.
 */
#ifndef FORMAT_CONVERT_H
#define FORMAT_CONVERT_H

#include "base/arena.h"
#include "base/err.h"
#include "format/cte.h"

#define CONVERT_LINE_MAX 998    /* bytes of a line without its CRLF */
#define CONVERT_PIECE_MAX 65536 /* bytes of one piece */

/* Nothing but lines of at most CONVERT_LINE_MAX bytes with CRLF, of any bytes but NUL; the last may
 * be without its end. */
bool convert_lines_legal(str bytes);

/* With CONVERT_8BIT header fields keep their 8-bit bytes, as SMTPUTF8 and common misuse have them.
 */
enum convert_to { CONVERT_7BIT, CONVERT_8BIT };

struct convert_step;
struct convert {
    const struct convert_step *steps; /* in the arena */
    size_t count, cap;
    /* where convert_next is */
    size_t step, at;
    struct cte_decoder decoder;
    struct cte_encoder encoder;
    bool coding;
};
/* The plan borrows from message and lives in the arena, as c does (give it MIME_ARENA_MAX twice).
 * ERR_UNSUPPORTED: it cannot be done by the rules; *refused says why, in a sentence. ERR_LIMIT: the
 * arena is full. */
enum err convert_plan(struct arena *a, str message, enum convert_to to, struct convert *c,
                      const char **refused) MUST;
/* Appends the next piece (out: at least CONVERT_PIECE_MAX of room). False: there is no more. */
bool convert_next(struct convert *c, struct buf *out);
/* Bytes of all pieces, found by making them; c itself does not move. */
uint64_t convert_size(const struct convert *c);

#endif
