/* SPDX-License-Identifier: Apache-2.0
 *
 * The frames of an exchange: challenges and responses as lines of base64.
 */
#include "base/code.h"
#include "core/sasl.h"

static void challenge_send(struct sasl *x, const struct sasl_wire *w, str challenge)
{
    struct buf *out = stream_out(x->stream);
    buf_add_c(out, w->prefix);
    code_base64(out, challenge);
    buf_add(out, STR("\r\n"));
}

/* SASL_END_SIGNED_IN stands for: a response is in *out. */
static enum sasl_end response_read(struct sasl *x, const struct sasl_wire *w, struct buf *out,
                                   enum err *why)
{
    str line;
    bool crlf;
    *why = stream_flush(x->stream);
    if (*why == ERR_OK)
        *why = stream_line(x->stream, w->line_max, &line, &crlf);
    if (*why != ERR_OK)
        return *why == ERR_LINE_TOO_LONG ? SASL_END_TOO_LONG : SASL_END_LOST;
    if (w->line_ok && !w->line_ok(w->ctx, line, crlf))
        return SASL_END_LOST;
    if (str_eq(line, STR("*")))
        return SASL_END_CANCELLED;
    buf_reset(out);
    bool good = code_base64_decode(out, line) == ERR_OK && buf_ok(out);
    return good ? SASL_END_SIGNED_IN : SASL_END_NOT_BASE64;
}

/* One more round: challenge out, response in. */
static enum sasl_end round_trip(struct sasl *x, const struct sasl_wire *w, struct buf *challenge,
                                struct buf *message, enum err *why)
{
    challenge_send(x, w, buf_str(challenge));
    buf_reset(challenge);
    return response_read(x, w, message, why);
}

enum sasl_end sasl_exchange(struct sasl *x, const struct sasl_wire *w, str mechanism,
                            const str *initial64, enum err *why)
{
    BUF_AUTO struct buf message = BUF_INIT(SASL_MESSAGE_MAX);
    BUF_AUTO struct buf challenge = BUF_INIT(SASL_MESSAGE_MAX);
    *why = ERR_OK;
    if (initial64 && !str_eq(*initial64, STR("=")) &&
        code_base64_decode(&message, *initial64) != ERR_OK)
        return SASL_END_NOT_BASE64;
    str initial = buf_str(&message);
    enum sasl_result r = sasl_start(x, mechanism, initial64 ? &initial : NULL, &challenge, why);
    while (r == SASL_CONTINUE) {
        enum sasl_end end = round_trip(x, w, &challenge, &message, why);
        if (end != SASL_END_SIGNED_IN)
            return end;
        r = sasl_step(x, buf_str(&message), &challenge, why);
    }
    if (r == SASL_FAILED)
        return SASL_END_REFUSED;
    if (challenge.len == 0)
        return SASL_END_SIGNED_IN;
    return round_trip(x, w, &challenge, &message, why);
}
