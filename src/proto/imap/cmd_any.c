/* SPDX-License-Identifier: Apache-2.0
 *
 * Commands of every state: CAPABILITY, NOOP, LOGOUT, ID, ENABLE.
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
            LOG_INFO("imap", "client account=%llu name=\"%.*s\"",
                     (unsigned long long)x->who.account, STR_ARG(pairs.pairs[i].value));
    buf_add(imap_out(x), STR("* ID (\"name\" \"Posthouse\")\r\n"));
    imap_done(x, STR_NONE, "ID completed");
}

static const struct enabling {
    str name;
    uint32_t bits, result; /* what it turns on; what it is called in the answer */
} enablings[] = {
    {STR_INIT("IMAP4rev2"), IMAP_ENABLED_REV2, IMAP_ENABLED_REV2},
};

/* RFC 5161: what is not known is not mentioned. */
void imap_cmd_enable(struct imap *x, struct imap_cursor *c)
{
    bool wanted[ARRAY_LEN(enablings)] = {false};
    while (imap_ok(c) && !imap_at_end(c)) {
        str name = imap_atom(c);
        for (size_t i = 0; i < ARRAY_LEN(enablings); i++)
            if (str_eq_nocase(enablings[i].name, name))
                wanted[i] = true;
        if (!imap_at_end(c))
            imap_sp(c);
    }
    if (!imap_ok(c)) {
        imap_refuse(x, c);
        return;
    }
    buf_add(imap_out(x), STR("* ENABLED"));
    for (size_t i = 0; i < ARRAY_LEN(enablings); i++)
        if (wanted[i] && !imap_has(x, enablings[i].result)) {
            buf_addf(imap_out(x), " %.*s", STR_ARG(enablings[i].name));
            x->enabled |= enablings[i].bits;
        }
    buf_add(imap_out(x), STR("\r\n"));
    imap_done(x, STR_NONE, "ENABLE completed");
}
