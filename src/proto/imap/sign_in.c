/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/imap/sign_in.h"

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

static bool exchange(struct imap_sign_in *s, struct sasl *sasl, str mechanism, const str *initial64)
{
    const struct sasl_wire wire = {.prefix = "+ ", .line_max = IMAP_COMMAND_PREAUTH_MAX};
    enum err why;
    switch (sasl_exchange(sasl, &wire, mechanism, initial64, &why)) {
    case SASL_END_SIGNED_IN:
        return true;
    case SASL_END_REFUSED:
        if (why == ERR_SYNTAX)
            return is_bad(s, "Malformed authentication message");
        s->refused = why;
        return false;
    case SASL_END_CANCELLED:
        return is_bad(s, "Authentication cancelled");
    case SASL_END_NOT_BASE64:
        return is_bad(s, "Not base64");
    case SASL_END_TOO_LONG:
        return is_bad(s, "Line too long");
    case SASL_END_LOST:
        return false;
    }
    return false;
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
