/* SPDX-License-Identifier: Apache-2.0
 *
 * Greylisting at RCPT: the house remembers (core/greylist.h), here is decided who is asked about at
 * all. When anything on our side is missing, the message may come.
 */
#include "core/greylist.h"

#include "base/log.h"
#include "core/spf.h"
#include "proto/smtp/session.h"

#define SPF_ARENA_MAX 1048576

static bool recipient_is_exempt(const struct smtp_greylist *g, str recipient)
{
    size_t at = str_rfind_char(recipient, '@');
    str domain = at == STR_NPOS ? STR_NONE : str_skip(recipient, at + 1);
    for (size_t i = 0; i < g->nrecipients; i++) {
        str entry = g->recipients[i];
        bool whole = str_find_char(entry, '@') != STR_NPOS;
        if (str_eq_nocase(entry, whole ? recipient : domain))
            return true;
    }
    return false;
}

/* Once for a transaction: does the sender's domain say that this host may send for it? */
static bool spf_passes(struct smtp *x)
{
    if (x->t.spf_asked || !x->listener->dns)
        return x->t.spf_pass;
    struct spf_answer a;
    ARENA_AUTO struct arena arena = ARENA_INIT(SPF_ARENA_MAX);
    struct spf_question q = {.source = *stream_peer(x->stream),
                             .helo = x->helo,
                             .sender = x->t.mail.from.addr,
                             .receiver = x->config->hostname};
    DEADLINE_SCOPE(x->config->policy.deadline_ms);
    spf_check(x->listener->dns, &q, &arena, &a);
    x->t.spf_asked = true;
    x->t.spf_pass = a.result == SPF_RESULT_PASS;
    return x->t.spf_pass;
}

static bool is_asked_about(struct smtp *x, str recipient) WAITS
{
    const struct smtp_greylist *g = &x->config->policy.greylist;
    const struct address *peer = stream_peer(x->stream);
    if (!g->enabled || !smtp_is_stranger(x) || address_is_loopback(peer) || x->allow_listed)
        return false;
    if (smtp_in_networks(peer, g->exempt, g->nexempt) || recipient_is_exempt(g, recipient))
        return false;
    return !g->spf_pass || !spf_passes(x);
}

bool smtp_greylist_may(struct smtp *x, str recipient)
{
    uint32_t wait_s = 0;
    BUF_AUTO struct buf sender = BUF_INIT(1024), text = BUF_INIT(256);
    char source[ADDRESS_TEXT_MAX];
    if (!is_asked_about(x, recipient))
        return true;
    addr_render(&sender, &x->t.mail.from.addr);
    struct greylist_question q = {
        .source = *stream_peer(x->stream), .sender = buf_str(&sender), .recipient = recipient};
    enum err e = x->house->greylist(x->house->ctx, &q, &wait_s);
    if (e != ERR_OK)
        LOG_WARN("smtp", "not greylisted id=%s cause=%s", x->t.id, err_name(e));
    if (e != ERR_OK || wait_s == 0)
        return true;
    LOG_INFO("smtp", "greylisted source=%s sender=%.*s recipient=%.*s wait_s=%u",
             address_text(&q.source, source), STR_ARG(buf_str(&sender)), STR_ARG(recipient),
             wait_s);
    buf_addf(&text, "Greylisted: not seen before, please try again in %u seconds", wait_s);
    smtp_say_str(x, 451, "4.7.1", buf_str(&text));
    return false;
}
