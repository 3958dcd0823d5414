/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/imap/reader.h"

#include <string.h>

#include "base/num.h"
#include "format/imap_args.h"

#define TAG_KEPT_MAX 128

enum err imap_read_bytes(struct stream *s, uint64_t n, struct buf *out)
{
    while (n > 0) {
        str in = str_head(stream_buffered(s), (size_t)MIN(n, (uint64_t)STREAM_IN_MAX));
        if (in.len == 0) {
            TRY(stream_fill(s, 0));
            continue;
        }
        if (out)
            buf_add(out, in);
        stream_skip(s, in.len);
        n -= in.len;
    }
    return ERR_OK;
}

void imap_refuse_literal(struct stream *s)
{
    stream_write(s, STR("* BYE [TOOBIG] So large a literal is not even read\r\n"));
    if (stream_flush(s) == ERR_OK)
        stream_fail(s, ERR_LIMIT);
}

/* RFC 7888 4: a literal that is too large is refused before its bytes come, or they are dropped. */
static enum err take_literal(struct stream *s, const struct imap_literal *literal,
                             struct buf *command)
{
    bool fits = literal->size <= command->max - command->len - 2;
    if (!fits && !literal->nonsync)
        return ERR_LIMIT;
    if (!literal->nonsync) {
        stream_write(s, STR("+ OK\r\n"));
        TRY(stream_flush(s));
    }
    if (!fits && literal->size > 16 * (uint64_t)command->max)
        imap_refuse_literal(s); /* dropping so much would only serve an attacker */
    buf_add(command, STR("\r\n"));
    TRY(imap_read_bytes(s, literal->size, fits ? command : NULL));
    return fits ? ERR_OK : ERR_LIMIT;
}

/* Of a line that is too long the tag is kept, so that it can be answered. */
static enum err first_line(struct stream *s, struct buf *command, str *line)
{
    char head[TAG_KEPT_MAX];
    if (stream_buffered(s).len == 0)
        TRY(stream_fill(s, 0));
    size_t n = MIN(stream_buffered(s).len, sizeof head);
    memcpy(head, stream_buffered(s).data, n);
    enum err e = stream_line(s, IMAP_LINE_MAX, line, NULL);
    size_t space = e == ERR_LINE_TOO_LONG ? str_find_char(str_of(head, n), ' ') : STR_NPOS;
    if (space != STR_NPOS)
        buf_add(command, str_of(head, space + 1));
    return e;
}

enum err imap_read_command(struct stream *s, struct buf *command, bool streams_ok, bool *streams)
{
    bool too_large = false;
    buf_reset(command);
    *streams = false;
    for (;;) {
        str line;
        struct imap_literal literal;
        enum err e = command->len ? stream_line(s, IMAP_LINE_MAX, &line, NULL)
                                  : first_line(s, command, &line);
        if (e != ERR_OK)
            return e;
        size_t begin = command->len;
        buf_add(command, line);
        if (!buf_ok(command))
            return ERR_LIMIT;
        if (!imap_literal_at_end(str_skip(buf_str(command), begin), &literal))
            return too_large ? ERR_LIMIT : ERR_OK;
        if (streams_ok && !too_large && imap_literal_is_message(buf_str(command))) {
            *streams = true;
            return ERR_OK;
        }
        e = take_literal(s, &literal, command);
        if (e == ERR_LIMIT && literal.nonsync && stream_error(s) == ERR_OK)
            too_large = true; /* the command goes on behind the literal */
        else if (e != ERR_OK)
            return e;
    }
}
