/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/imap/sign_in.h"

#include "base/code.h"
#include "core/sasl.h"
#include "proto/imap/reader.h"

static bool is_bad(struct imap_sign_in *s, const char *text)
{
    s->bad = text;
    return false;
}

bool imap_sign_in_login(struct imap_sign_in *s, struct imap_cursor *c)
{
    struct sasl sasl;
    str login = imap_astring(c);
    imap_sp(c);
    str password = imap_astring(c);
    if (!imap_end(c))
        return false;
    if (!s->secure) {
        s->refused = ERR_TLS_REQUIRED;
        return false;
    }
    sasl_init(&sasl, s->house, s->stream, PROTOCOL_IMAP, s->secure, s->arena);
    sasl.attempt.login = login;
    s->refused = s->house->auth_password(s->house->ctx, &sasl.attempt, password, s->arena, &s->who);
    sasl_free(&sasl);
    return s->refused == ERR_OK;
}

static bool read_response(struct imap_sign_in *s, struct buf *out)
{
    str line;
    if (stream_flush(s->stream) != ERR_OK)
        return false;
    enum err e = stream_line(s->stream, IMAP_COMMAND_PREAUTH_MAX, &line, NULL);
    if (e != ERR_OK)
        return e == ERR_LINE_TOO_LONG ? is_bad(s, "Line too long") : false;
    if (str_eq(line, STR("*")))
        return is_bad(s, "Authentication cancelled");
    buf_reset(out);
    if (code_base64_decode(out, line) == ERR_OK && buf_ok(out))
        return true;
    return is_bad(s, "Not base64");
}

static void challenge_send(struct imap_sign_in *s, str challenge)
{
    struct buf *out = stream_out(s->stream);
    buf_add(out, STR("+ "));
    code_base64(out, challenge);
    buf_add(out, STR("\r\n"));
}

static bool exchange(struct imap_sign_in *s, struct sasl *sasl, str mechanism, const str *initial64)
{
    BUF_AUTO struct buf message = BUF_INIT(SASL_MESSAGE_MAX);
    BUF_AUTO struct buf challenge = BUF_INIT(SASL_MESSAGE_MAX);
    enum err why = ERR_OK;
    if (initial64 && !str_eq(*initial64, STR("=")) &&
        code_base64_decode(&message, *initial64) != ERR_OK)
        return is_bad(s, "Not base64");
    str initial = buf_str(&message);
    enum sasl_result r = sasl_start(sasl, mechanism, initial64 ? &initial : NULL, &challenge, &why);
    while (r == SASL_CONTINUE) {
        challenge_send(s, buf_str(&challenge));
        if (!read_response(s, &message))
            return false;
        buf_reset(&challenge);
        r = sasl_step(sasl, buf_str(&message), &challenge, &why);
    }
    if (r == SASL_FAILED) {
        if (why == ERR_SYNTAX)
            return is_bad(s, "Malformed authentication message");
        s->refused = why;
        return false;
    }
    if (challenge.len == 0)
        return true;
    challenge_send(s, buf_str(&challenge)); /* RFC 9051 6.2.2: data with success, one more round */
    return read_response(s, &message);
}

bool imap_sign_in_authenticate(struct imap_sign_in *s, struct imap_cursor *c)
{
    struct sasl sasl;
    str mechanism = imap_atom(c), initial = STR_NONE;
    bool has_initial = imap_ok(c) && !imap_at_end(c);
    if (has_initial) {
        imap_sp(c);
        initial = imap_accept(c, '=') ? STR("=") : str_skip(c->in, c->pos); /* SASL-IR, RFC 4959 */
    }
    if (!imap_ok(c))
        return false;
    sasl_init(&sasl, s->house, s->stream, PROTOCOL_IMAP, s->secure, s->arena);
    bool signed_in = exchange(s, &sasl, mechanism, has_initial ? &initial : NULL);
    s->who = sasl.grant;
    sasl_free(&sasl);
    return signed_in;
}
