/* SPDX-License-Identifier: Apache-2.0 */
#include "format/smtp_reply.h"

#include <assert.h>

#include "format/limits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    str rest = str_of(data, size), line;
    struct smtp_reply_reader r;
    struct smtp_ehlo ehlo;
    smtp_reply_reader_init(&r);
    while (rest.len && !r.done) {
        str_cut(rest, '\n', &line, &rest);
        if (smtp_reply_reader_add(&r, line) != ERR_OK)
            break;
        assert(r.code >= 200 && r.code < 600 && r.lines <= SMTP_REPLY_LINES_MAX);
    }
    smtp_ehlo_parse(buf_str(&r.text), &ehlo);
    smtp_ehlo_parse(str_of(data, size), &ehlo);
    /* what we say with such a text is whole lines, each with the code */
    BUF_AUTO struct buf out = BUF_INIT(16 << 20);
    smtp_reply(&out, 550, "5.7.1", str_of(data, size));
    for (rest = buf_str(&out); rest.len;) {
        str_cut(rest, '\n', &line, &rest);
        assert(str_starts(line, STR("550")) && str_ends(line, STR("\r")));
        assert(str_find_char(line, '\r') == line.len - 1 && line.len < SMTP_REPLY_TEXT_MAX);
    }
    smtp_reply_reader_free(&r);
    return 0;
}
