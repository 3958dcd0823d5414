/* SPDX-License-Identifier: Apache-2.0
 *
 * AUTH (RFC 4954). The exchange itself is core/sasl.h; here is what SMTP says of its end.
 */
#include "base/log.h"
#include "core/sasl.h"
#include "proto/smtp/session.h"

static bool line_ok(void *ctx, str line, bool crlf) { return smtp_line_ends_well(ctx, line, crlf); }

static void refuse(struct smtp *x, enum err why)
{
    if (why == ERR_UNSUPPORTED)
        smtp_say_bad(x, 504, "5.5.4", "Mechanism not available");
    else if (why == ERR_SYNTAX)
        smtp_say_bad(x, 501, "5.5.2", "Malformed authentication message");
    else
        smtp_say_err(x, why);
}

static void exchange(struct smtp *x, const struct smtp_auth *auth, struct sasl *sasl)
{
    const struct sasl_wire wire = {
        .prefix = "334 ", .line_max = SMTP_AUTH_LINE_MAX, .line_ok = line_ok, .ctx = x};
    enum err why;
    char source[ADDRESS_TEXT_MAX];
    const str *initial = auth->has_initial ? &auth->initial : NULL;
    switch (sasl_exchange(sasl, &wire, auth->mechanism, initial, &why)) {
    case SASL_END_SIGNED_IN:
        x->who = sasl->grant;
        smtp_say(x, 235, "2.7.0", "Authentication successful");
        LOG_INFO("smtp", "signed in account=%llu source=%s", (unsigned long long)x->who.account,
                 address_text(stream_peer(x->stream), source));
        break;
    case SASL_END_REFUSED:
        refuse(x, why);
        break;
    case SASL_END_CANCELLED:
        smtp_say_bad(x, 501, "5.7.0", "Authentication cancelled");
        break;
    case SASL_END_NOT_BASE64:
        smtp_say_bad(x, 501, "5.5.2", "Not base64");
        break;
    case SASL_END_TOO_LONG:
        smtp_say_bad(x, 500, "5.5.6", "Authentication exchange line is too long");
        break;
    case SASL_END_LOST:
        if (why != ERR_OK)
            smtp_say_last(x, why);
        break;
    }
}

void smtp_cmd_auth(struct smtp *x, str args)
{
    struct smtp_auth auth;
    struct smtp_fault fault;
    struct sasl sasl;
    if (x->listener->kind == SMTP_MX && !x->config->auth_on_mx) {
        smtp_say_bad(x, 502, "5.5.1", "AUTH is for the submission ports 465 and 587");
        return;
    }
    if (!x->extended || x->who.account || x->t.open) {
        smtp_say_bad(x, 503, "5.5.1", x->who.account ? "Signed in already" : "Not now");
        return;
    }
    if (smtp_parse_auth(args, &auth, &fault) != ERR_OK) {
        smtp_say_fault(x, &fault);
        return;
    }
    BUF_AUTO struct buf copy = BUF_INIT(SMTP_AUTH_LINE_MAX); /* the line goes with the next read */
    buf_add_sized(&copy, auth.mechanism);
    buf_add_sized(&copy, auth.initial);
    struct reader r = reader_of(buf_str(&copy));
    auth.mechanism = read_sized(&r);
    auth.initial = read_sized(&r);
    sasl_init(&sasl, x->house, x->stream, PROTOCOL_SMTP, x->secure, &x->connection);
    exchange(x, &auth, &sasl);
    sasl_free(&sasl);
}
