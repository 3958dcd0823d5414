/* SPDX-License-Identifier: Apache-2.0
 *
 * AUTH (RFC 4954). The exchange itself is core/sasl.h; here are its frames: 334 and base64.
 */
#include "base/code.h"
#include "base/log.h"
#include "core/sasl.h"
#include "proto/smtp/session.h"

/* Reads the client's next message. False: an answer has been given, or the stream is broken. */
static bool read_response(struct smtp *x, struct buf *out)
{
    str line;
    bool crlf;
    if (stream_flush(x->stream) != ERR_OK)
        return false;
    enum err e = stream_line(x->stream, SMTP_AUTH_LINE_MAX, &line, &crlf);
    if (e == ERR_LINE_TOO_LONG) {
        smtp_say_bad(x, 500, "5.5.6", "Authentication exchange line is too long");
        return false;
    }
    if (e != ERR_OK)
        smtp_say_last(x, e);
    if (e != ERR_OK || !smtp_line_ends_well(x, line, crlf))
        return false;
    if (str_eq(line, STR("*"))) {
        smtp_say_bad(x, 501, "5.7.0", "Authentication cancelled");
        return false;
    }
    buf_reset(out);
    if (code_base64_decode(out, line) != ERR_OK || !buf_ok(out)) {
        smtp_say_bad(x, 501, "5.5.2", "Not base64");
        return false;
    }
    return true;
}

static void challenge_send(struct smtp *x, str challenge)
{
    struct buf *out = stream_out(x->stream);
    buf_add(out, STR("334 "));
    code_base64(out, challenge);
    buf_add(out, STR("\r\n"));
}

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
    BUF_AUTO struct buf message = BUF_INIT(SASL_MESSAGE_MAX);
    BUF_AUTO struct buf challenge = BUF_INIT(SASL_MESSAGE_MAX);
    enum err why = ERR_OK;
    str initial;
    if (auth->has_initial && code_base64_decode(&message, auth->initial) != ERR_OK) {
        smtp_say_bad(x, 501, "5.5.2", "Not base64");
        return;
    }
    initial = buf_str(&message);
    enum sasl_result r =
        sasl_start(sasl, auth->mechanism, auth->has_initial ? &initial : NULL, &challenge, &why);
    while (r == SASL_CONTINUE) {
        challenge_send(x, buf_str(&challenge));
        if (!read_response(x, &message))
            return;
        buf_reset(&challenge);
        r = sasl_step(sasl, buf_str(&message), &challenge, &why);
    }
    if (r == SASL_FAILED) {
        refuse(x, why);
        return;
    }
    if (challenge.len > 0) { /* RFC 4954 4: data with success takes one more round */
        challenge_send(x, buf_str(&challenge));
        if (!read_response(x, &message))
            return;
    }
    x->who = sasl->grant;
    smtp_say(x, 235, "2.7.0", "Authentication successful");
    LOG_INFO("smtp", "signed in account=%llu", (unsigned long long)x->who.account);
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
