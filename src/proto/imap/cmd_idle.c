/* SPDX-License-Identifier: Apache-2.0
 *
 * IDLE (RFC 2177). While it lasts the session is parked: news wake it, and so does DONE.
 */
#include "proto/imap/session.h"

void imap_cmd_idle(struct imap *x, struct imap_cursor *c)
{
    if (!imap_end(c)) {
        imap_refuse(x, c);
        return;
    }
    buf_reset(&x->idle_tag);
    buf_add(&x->idle_tag, x->tag);
    if (!buf_ok(&x->idle_tag)) {
        imap_no(x, ERR_LIMIT);
        return;
    }
    x->idling = true;
    stream_write(x->stream, STR("+ idling\r\n"));
}

/* The line that ends IDLE. */
void imap_idle_line(struct imap *x, str line)
{
    x->idling = false;
    x->answered = false;
    x->tells_expunges = true;
    x->tag = buf_str(&x->idle_tag);
    if (str_eq_nocase(str_trim(line), STR("DONE")))
        imap_done(x, STR_NONE, "IDLE completed");
    else
        imap_bad_text(x, "DONE was expected");
}
