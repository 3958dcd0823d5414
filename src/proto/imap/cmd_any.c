/* SPDX-License-Identifier: Apache-2.0
 *
 * Commands of every state: CAPABILITY, NOOP, CHECK, LOGOUT, ID.
 */
#include "base/log.h"
#include "base/num.h"
#include "proto/imap/capability.h"
#include "proto/imap/session.h"

void imap_cmd_capability(struct imap *x, struct imap_cursor *c)
{
    if (!imap_end(c)) {
        imap_refuse(x, c);
        return;
    }
    buf_add(imap_out(x), STR("* CAPABILITY "));
    imap_capabilities(x->stream, x->config, x->account != NULL, false, x->secure, x->compressed,
                      imap_out(x));
    buf_add(imap_out(x), STR("\r\n"));
    imap_done(x, STR_NONE, "CAPABILITY completed");
}

void imap_cmd_noop(struct imap *x, struct imap_cursor *c)
{
    if (!imap_end(c))
        imap_refuse(x, c);
    else
        imap_done(x, STR_NONE, "NOOP completed");
}

/* RFC 3501 6.4.1; everything is on disk at any time. */
void imap_cmd_check(struct imap *x, struct imap_cursor *c)
{
    if (!imap_end(c))
        imap_refuse(x, c);
    else
        imap_done(x, STR_NONE, "CHECK completed");
}

void imap_cmd_logout(struct imap *x, struct imap_cursor *c)
{
    if (!imap_end(c)) {
        imap_refuse(x, c);
        return;
    }
    imap_unselect(x);
    stream_write(x->stream, STR("* BYE Goodbye\r\n"));
    imap_done(x, STR_NONE, "LOGOUT completed");
    x->closing = true;
}

/* RFC 2971. What the client says goes to the log, where support looks for it. */
void imap_cmd_id(struct imap *x, struct imap_cursor *c)
{
    struct imap_pairs pairs;
    if (!imap_take_id(c, &pairs) || !imap_end(c)) {
        imap_refuse(x, c);
        return;
    }
    for (size_t i = 0; i < pairs.count; i++)
        if (str_eq_nocase(pairs.pairs[i].name, STR("name")))
            LOG_INFO("imap", "client account=%llu name=%.*s", (unsigned long long)x->who.account,
                     STR_ARG(pairs.pairs[i].value));
    buf_add(imap_out(x), STR("* ID (\"name\" \"Posthouse\")\r\n"));
    imap_done(x, STR_NONE, "ID completed");
}
