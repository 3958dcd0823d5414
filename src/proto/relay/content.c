/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/relay/content.h"

#include "base/num.h"
#include "os/file.h"

#include <string.h>

#define CHUNK 65536
#define TEXT_LINE_MAX 998

struct scan {
    struct content_facts facts;
    bool in_body, after_cr;
    size_t line; /* bytes of the line so far */
};

static void end_line(struct scan *s, bool crlf)
{
    size_t text = s->line - (crlf ? 1 : 0);
    s->facts.long_lines |= text > TEXT_LINE_MAX;
    s->facts.zero_bytes |= !crlf;
    s->in_body |= text == 0;
    s->line = 0;
}

static void look(struct scan *s, str in)
{
    for (size_t i = 0; i < in.len; i++) {
        uint8_t c = (uint8_t)in.data[i];
        if (c == '\n') {
            end_line(s, s->after_cr);
            s->after_cr = false;
            continue;
        }
        s->facts.zero_bytes |= c == 0 || s->after_cr;
        s->after_cr = c == '\r';
        s->line++;
        if (c >= 0x80)
            *(s->in_body ? &s->facts.body_8bit : &s->facts.header_8bit) = true;
    }
}

enum err content_look(int fd, uint64_t size, struct content_facts *out)
{
    struct scan s = {0};
    BUF_AUTO struct buf chunk = BUF_INIT(CHUNK);
    char *room = buf_reserve(&chunk, CHUNK);
    if (!room)
        return ERR_NOMEM;
    for (uint64_t at = 0; at < size;) {
        size_t got = 0;
        TRY(file_read_at(fd, at, room, MIN(size - at, (uint64_t)CHUNK), &got));
        if (got == 0)
            return ERR_IO;
        look(&s, str_of(room, got));
        at += got;
    }
    s.facts.long_lines |= s.line > TEXT_LINE_MAX;
    *out = s.facts;
    return ERR_OK;
}
