/* SPDX-License-Identifier: Apache-2.0
 *
 * unpack: the bytes of a report that came gzipped (RFC 1952), as the first member of a zip archive,
 * or plain; told apart by how they begin, whatever their name and type say. Piece by piece, so that
 * the caller may let others run between two. Whatever the packed bytes claim, what comes out is
 * limited in size and in ratio. Nothing here waits.
 */
#ifndef FORMAT_UNPACK_H
#define FORMAT_UNPACK_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "format/limits.h"

#define UNPACK_PIECE 16384        /* bytes of one piece, at most */
#define UNPACK_RATIO_FROM 1048576 /* bytes that may come out whatever the ratio */

struct unpack;
/* The packed bytes are borrowed until unpack_close. ERR_NOMEM; ERR_UNSUPPORTED: an archive that is
 * encrypted or packed in another way; ERR_SYNTAX: an archive that ends early. */
enum err unpack_open(struct arena *a, str packed, size_t out_max, struct unpack **out) MUST;
/* The next piece, until the next call. ERR_EOF: that was all. ERR_SYNTAX: the packing is broken.
 * ERR_LIMIT: more than out_max bytes, or more than UNPACK_RATIO_MAX times what was packed. */
enum err unpack_next(struct unpack *u, str *piece) MUST;
void unpack_close(struct unpack *u); /* NULL is fine */
/* The other way: a gzip file. ERR_NOMEM, ERR_LIMIT: no room in out. */
enum err gzip_pack(str bytes, struct buf *out) MUST;

#endif
