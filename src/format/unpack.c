/* SPDX-License-Identifier: Apache-2.0 */
#include "format/unpack.h"

#include "base/num.h"

#include <zlib.h>

#define ZIP_HEAD 30 /* bytes of a local file header before its name (APPNOTE 4.3.7) */
#define ZIP_STORED 0
#define ZIP_DEFLATED 8
#define ZIP_ENCRYPTED 1
#define ZIP_SIZES_BEHIND 8 /* sizes and checksum stand behind the data */
#define WINDOW 15
#define WINDOW_GZIP (WINDOW + 16)

struct unpack {
    z_stream z;
    bool inflating, done;
    str rest; /* of what is not deflated */
    size_t in, out, out_max;
    bool check;
    uint32_t crc_wanted;
    uLong crc;
    char piece[UNPACK_PIECE];
};

static uint32_t le(str s, size_t at, unsigned width)
{
    uint32_t n = 0;
    for (unsigned i = 0; i < width; i++)
        n |= (uint32_t)(uint8_t)s.data[at + i] << (8 * i);
    return n;
}

static enum err inflate_begin(struct unpack *u, str packed, int window)
{
    u->z.next_in = (Bytef *)(uintptr_t)packed.data;
    u->z.avail_in = (uInt)packed.len;
    u->inflating = true;
    return inflateInit2(&u->z, window) == Z_OK ? ERR_OK : ERR_NOMEM;
}

/* The first member; what follows it is not looked at. */
static enum err zip_begin(struct unpack *u, str packed)
{
    if (packed.len < ZIP_HEAD)
        return ERR_SYNTAX;
    uint32_t flags = le(packed, 6, 2), method = le(packed, 8, 2), size = le(packed, 18, 4);
    size_t data = ZIP_HEAD + le(packed, 26, 2) + le(packed, 28, 2);
    bool behind = flags & ZIP_SIZES_BEHIND;
    if (data > packed.len)
        return ERR_SYNTAX;
    if (flags & ZIP_ENCRYPTED || (method != ZIP_DEFLATED && (method != ZIP_STORED || behind)))
        return ERR_UNSUPPORTED;
    u->check = !behind;
    u->crc_wanted = le(packed, 14, 4);
    u->crc = crc32(0, NULL, 0);
    str member = str_skip(packed, data);
    if (method == ZIP_DEFLATED)
        return inflate_begin(u, member, -WINDOW);
    if (size > member.len)
        return ERR_SYNTAX;
    u->rest = str_head(member, size);
    return ERR_OK;
}

enum err unpack_open(struct arena *a, str packed, size_t out_max, struct unpack **out)
{
    struct unpack *u = ARENA_NEW(a, struct unpack);
    if (!u || packed.len > UINT32_MAX)
        return ERR_NOMEM;
    u->in = packed.len;
    u->out_max = out_max;
    enum err e = ERR_OK;
    if (str_starts(packed, STR("\x1f\x8b")))
        e = inflate_begin(u, packed, WINDOW_GZIP);
    else if (str_starts(packed, STR("PK\x03\x04")))
        e = zip_begin(u, packed);
    else
        u->rest = packed;
    *out = u;
    if (e != ERR_OK)
        unpack_close(u);
    return e;
}

static enum err inflate_piece(struct unpack *u, str *piece)
{
    u->z.next_out = (Bytef *)u->piece;
    u->z.avail_out = sizeof u->piece;
    int r = inflate(&u->z, Z_NO_FLUSH);
    if (r == Z_MEM_ERROR)
        return ERR_NOMEM;
    u->done = r == Z_STREAM_END;
    *piece = str_of(u->piece, sizeof u->piece - u->z.avail_out);
    /* Neither an end nor progress: it was cut off. */
    return u->done || (r == Z_OK && piece->len > 0) ? ERR_OK : ERR_SYNTAX;
}

enum err unpack_next(struct unpack *u, str *piece)
{
    *piece = STR_NONE;
    if (u->done)
        return ERR_EOF;
    if (u->inflating) {
        TRY(inflate_piece(u, piece));
    } else {
        *piece = str_head(u->rest, UNPACK_PIECE);
        u->rest = str_skip(u->rest, piece->len);
        u->done = str_empty(u->rest);
    }
    u->out += piece->len;
    if (u->out > u->out_max || (u->out > UNPACK_RATIO_FROM && u->out / UNPACK_RATIO_MAX > u->in))
        return ERR_LIMIT;
    if (u->check && piece->len > 0)
        u->crc = crc32(u->crc, (const Bytef *)piece->data, (uInt)piece->len);
    if (u->check && u->done && u->crc != u->crc_wanted)
        return ERR_SYNTAX;
    return ERR_OK;
}

void unpack_close(struct unpack *u)
{
    if (u && u->inflating)
        (void)inflateEnd(&u->z);
    if (u)
        u->inflating = false;
    if (u)
        u->done = true;
}

enum err gzip_pack(str bytes, struct buf *out)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)bytes.data, .avail_in = (uInt)bytes.len};
    if (bytes.len > UINT32_MAX || deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, WINDOW_GZIP,
                                               8, Z_DEFAULT_STRATEGY) != Z_OK)
        return ERR_NOMEM;
    int r = Z_OK;
    while (r == Z_OK) {
        char *to = buf_reserve(out, UNPACK_PIECE);
        if (!to)
            break;
        z.next_out = (Bytef *)to;
        z.avail_out = UNPACK_PIECE;
        r = deflate(&z, Z_FINISH); /* Z_OK: it wants more room */
        buf_commit(out, UNPACK_PIECE - z.avail_out);
    }
    (void)deflateEnd(&z);
    return r == Z_STREAM_END ? ERR_OK : ERR_LIMIT;
}
