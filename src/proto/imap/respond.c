/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>

#include "proto/imap/session.h"

static void tagged(struct imap *x, const char *kind, str code, str text)
{
    struct buf *out = imap_out(x);
    assert(!x->answered);
    x->answered = true;
    buf_addf(out, "%.*s %s ", STR_ARG(x->tag), kind);
    if (!str_empty(code))
        buf_addf(out, "[%.*s] ", STR_ARG(code));
    buf_add(out, text);
    buf_add(out, STR("\r\n"));
    stream_out_check(x->stream);
}

void imap_flush_check(struct imap *x) { stream_out_check(x->stream); }

void imap_done(struct imap *x, str code, const char *text)
{
    imap_tell_news(x, x->tells_expunges);
    if (str_empty(code) && !x->tells_expunges && x->selected && x->selected->view.owed_count)
        code = STR("EXPUNGEISSUED"); /* RFC 5530: it may not be told now */
    if (x->account) /* signed in: bad commands count in a row, failed sign-ins all together */
        x->errors = 0;
    tagged(x, "OK", code, str_c(text));
}

void imap_no(struct imap *x, enum err e)
{
    const struct err_info *info = err_info(e);
    imap_tell_news(x, x->tells_expunges);
    tagged(x, "NO", str_c(info->imap_code), str_c(info->text));
}

void imap_no_code(struct imap *x, const char *code, const char *text)
{
    tagged(x, "NO", str_c(code), str_c(text));
}

void imap_bad_text(struct imap *x, const char *text)
{
    tagged(x, "BAD", STR_NONE, str_c(text));
    if (++x->errors >= x->config->errors_max) {
        stream_write(x->stream, STR("* BYE Too many bad commands\r\n"));
        x->closing = true;
    }
}

void imap_progress(struct imap *x, uint64_t done, uint64_t total)
{
    if (loop_now_ms() < x->progress_ms)
        return;
    x->progress_ms = deadline_in_ms(IMAP_PROGRESS_MS);
    buf_add(imap_out(x), STR("* OK [INPROGRESS ("));
    imap_render_quoted(imap_out(x), x->tag);
    buf_addf(imap_out(x), " %llu %llu)] Still at it\r\n", (unsigned long long)done,
             (unsigned long long)total);
    if (stream_flush(x->stream) != ERR_OK)
        x->closing = true;
}

void imap_bad(struct imap *x, const struct imap_cursor *c)
{
    BUF_AUTO struct buf text = BUF_INIT(512);
    imap_error_render(&text, c);
    buf_add_char(&text, '\0');
    imap_bad_text(x, buf_ok(&text) ? text.data : "Syntax error");
}

void imap_refuse(struct imap *x, const struct imap_cursor *c)
{
    if (c->kind == ERR_SYNTAX)
        imap_bad(x, c);
    else
        imap_no(x, c->kind);
}

bool imap_utf8_names(const struct imap *x)
{
    return x->enabled & (IMAP_ENABLED_REV2 | IMAP_ENABLED_UTF8);
}
