/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/smtp/trace.h"

#include "base/utf8.h"
#include "format/date.h"

/* "ESMTPSA" and the like (RFC 3848, RFC 6531 4.3). */
static void add_protocol(const struct smtp *x, struct buf *out)
{
    bool utf8 = x->t.mail.seen & SMTP_MAIL_SMTPUTF8, lmtp = x->listener->kind == SMTP_LMTP;
    buf_add_c(out, utf8 ? "UTF8" : x->extended && !lmtp ? "E" : "");
    buf_add_c(out, lmtp ? "LMTP" : "SMTP");
    buf_add_c(out, x->extended && stream_is_tls(x->stream) ? "S" : "");
    buf_add_c(out, x->who.account ? "A" : "");
}

void trace_received(struct smtp *x, int64_t now, struct buf *out)
{
    struct stream_tls_info tls = {0};
    buf_addf(out, "Received: from %.*s", STR_ARG(x->helo));
    if (!x->who.account) {
        const struct address *peer = stream_peer(x->stream);
        if (peer->family == 4 || peer->family == 6) {
            buf_add_c(out, peer->family == 6 ? " ([IPv6:" : " ([");
            address_render(peer, out);
            buf_add_c(out, "])");
        }
    }
    if (stream_is_tls(x->stream)) {
        stream_tls_info(x->stream, &tls);
        buf_addf(out, "\r\n\t(using %s with cipher %s)", tls.version, tls.cipher);
    }
    buf_addf(out, "\r\n\tby %.*s (Posthouse) with ", STR_ARG(x->config->hostname));
    add_protocol(x, out);
    buf_addf(out, " id %s", x->t.id);
    /* 8-bit bytes here would make the header need SMTPUTF8 on every way (RFC 6531 3.2). */
    if (x->t.nrecipients == 1 && utf8_is_ascii(x->t.recipients[0].address))
        buf_addf(out, "\r\n\tfor <%.*s>", STR_ARG(x->t.recipients[0].address));
    buf_add_c(out, ";\r\n\t");
    date_render(out, now, 0);
    buf_add_c(out, "\r\n");
}

void trace_missing(const struct smtp *x, int64_t now, bool has_date, bool has_message_id,
                   struct buf *out)
{
    if (!has_date) {
        buf_add_c(out, "Date: ");
        date_render(out, now, 0);
        buf_add_c(out, "\r\n");
    }
    if (!has_message_id)
        buf_addf(out, "Message-ID: <%s.%lld@%.*s>\r\n", x->t.id, (long long)now,
                 STR_ARG(x->config->hostname));
}
