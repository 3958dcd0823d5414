/* SPDX-License-Identifier: Apache-2.0 */
#include "core/sasl.h"

#include <assert.h>
#include <string.h>

#include "base/code.h"
#include "base/num.h"
#include "format/sasl.h"
#include "os/rand.h"

enum { SCRAM_STATE_MAX = 3 * SASL_MESSAGE_MAX };

/* One row a mechanism: what it needs, and its step. */
struct mechanism {
    str name;
    bool needs_tls, needs_certificate;
    bool server_first; /* begins with a challenge when there is no initial response */
    enum sasl_result (*step)(struct sasl *x, str response, struct buf *challenge, enum err *why);
};

static enum sasl_result failed(enum err e, enum err *why)
{
    *why = e;
    return SASL_FAILED;
}

static enum sasl_result settled(enum err e, enum err *why)
{
    *why = e;
    return e == ERR_OK ? SASL_DONE : SASL_FAILED;
}

static bool keep(struct sasl *x, str s, str *out) { return arena_dup(x->arena, s, out); }

static enum sasl_result step_plain(struct sasl *x, str response, struct buf *challenge,
                                   enum err *why)
{
    struct sasl_plain m;
    if (sasl_plain_parse(response, &m) != ERR_OK)
        return failed(ERR_SYNTAX, why);
    x->attempt.login = m.authcid;
    x->attempt.authzid = m.authzid;
    return settled(
        x->house->auth_password(x->house->ctx, &x->attempt, m.password, x->arena, &x->grant), why);
}

/* Prompts are what clients look at, though no standard names them. */
static enum sasl_result step_login(struct sasl *x, str response, struct buf *challenge,
                                   enum err *why)
{
    str answer;
    if (sasl_login_parse(response, &answer) != ERR_OK)
        return failed(ERR_SYNTAX, why);
    if (x->step++ == 0) {
        if (!keep(x, answer, &x->login))
            return failed(ERR_LIMIT, why);
        buf_add(challenge, STR("Password:"));
        return SASL_CONTINUE;
    }
    x->attempt.login = x->login;
    return settled(x->house->auth_password(x->house->ctx, &x->attempt, answer, x->arena, &x->grant),
                   why);
}

static enum sasl_result step_external(struct sasl *x, str response, struct buf *challenge,
                                      enum err *why)
{
    struct stream_tls_info tls;
    if (sasl_external_parse(response, &x->attempt.authzid) != ERR_OK)
        return failed(ERR_SYNTAX, why);
    stream_tls_info(x->stream, &tls);
    x->attempt.login = tls.client_certificate_name;
    return settled(x->house->auth_external(x->house->ctx, &x->attempt, x->arena, &x->grant), why);
}

/* ---- SCRAM: RFC 5802, RFC 7677 ---- */

/* x->state holds: gs2 header (sized), client-first-bare (sized), server-first (sized). */
static void scram_nonce(struct sasl *x, str client_nonce, struct buf *out)
{
    uint8_t bytes[18];
    rand_bytes(bytes, sizeof(bytes));
    buf_add(out, client_nonce);
    code_base64(out, str_of(bytes, sizeof(bytes)));
}

static enum sasl_result scram_first(struct sasl *x, str response, bool plus, struct buf *challenge,
                                    enum err *why)
{
    struct scram_client_first m;
    struct auth_scram_salt salt;
    ARENA_AUTO struct arena scratch = ARENA_INIT(4 * SASL_MESSAGE_MAX);
    if (scram_client_first_parse(&scratch, response, &m) != ERR_OK)
        return failed(ERR_SYNTAX, why);
    bool bound = m.binding == SCRAM_BINDING_EXPORTER || m.binding == SCRAM_BINDING_ENDPOINT;
    /* RFC 5802 6: 'y' while we offer -PLUS is a downgrade attack. */
    if (plus != bound || (m.binding == SCRAM_BINDING_UNSUPPORTED && stream_is_tls(x->stream)))
        return failed(ERR_AUTH, why);
    if (!keep(x, m.user, &x->login) || !keep(x, m.authzid, &x->attempt.authzid))
        return failed(ERR_LIMIT, why);
    x->attempt.login = x->login;
    enum err e = x->house->auth_scram_salt(x->house->ctx, &x->attempt, &salt);
    if (e != ERR_OK)
        return failed(e, why);
    BUF_AUTO struct buf nonce = BUF_INIT(SASL_MESSAGE_MAX);
    BUF_AUTO struct buf first = BUF_INIT(SASL_MESSAGE_MAX);
    scram_nonce(x, m.nonce, &nonce);
    scram_server_first(&first, buf_str(&nonce), str_of(salt.salt, sizeof(salt.salt)),
                       salt.iterations);
    buf_add_sized(&x->state, m.gs2_header);
    buf_add_sized(&x->state, m.bare);
    buf_add_sized(&x->state, buf_str(&first));
    if (!buf_ok(&x->state) || !buf_ok(&first) || !keep(x, buf_str(&nonce), &x->nonce))
        return failed(ERR_LIMIT, why);
    x->step = 1;
    buf_add(challenge, buf_str(&first));
    return SASL_CONTINUE;
}

/* The binding data that the client must have used, by the name in its gs2 header. */
static enum err scram_binding_data(struct sasl *x, str gs2_header, struct buf *out)
{
    if (str_starts(gs2_header, STR("p=tls-exporter,")))
        return stream_channel_binding(x->stream, STR("tls-exporter"), out);
    if (str_starts(gs2_header, STR("p=tls-server-end-point,")))
        return stream_channel_binding(x->stream, STR("tls-server-end-point"), out);
    return ERR_OK;
}

static enum sasl_result scram_final(struct sasl *x, str response, struct buf *challenge,
                                    enum err *why)
{
    struct scram_client_final m;
    uint8_t signature[32];
    ARENA_AUTO struct arena scratch = ARENA_INIT(4 * SASL_MESSAGE_MAX);
    BUF_AUTO struct buf binding = BUF_INIT(1024);
    BUF_AUTO struct buf message = BUF_INIT(SCRAM_STATE_MAX);
    if (scram_client_final_parse(&scratch, response, &m) != ERR_OK)
        return failed(ERR_SYNTAX, why);
    struct reader r = reader_of(buf_str(&x->state));
    str gs2 = read_sized(&r), bare = read_sized(&r), first = read_sized(&r);
    assert(!r.failed);
    if (scram_binding_data(x, gs2, &binding) != ERR_OK ||
        !scram_binding_matches(m.binding, gs2, buf_str(&binding)) || !str_eq(m.nonce, x->nonce))
        return failed(ERR_AUTH, why);
    buf_addf(&message, "%.*s,%.*s,%.*s", STR_ARG(bare), STR_ARG(first), STR_ARG(m.without_proof));
    if (!buf_ok(&message))
        return failed(ERR_LIMIT, why);
    enum err e = x->house->auth_scram_verify(x->house->ctx, &x->attempt, buf_str(&message), m.proof,
                                             signature, x->arena, &x->grant);
    if (e != ERR_OK)
        return failed(e, why);
    scram_server_final(challenge, str_of(signature, sizeof(signature)));
    return SASL_DONE;
}

static enum sasl_result step_scram(struct sasl *x, str response, struct buf *challenge,
                                   enum err *why)
{
    if (x->step == 0)
        return scram_first(x, response, false, challenge, why);
    return scram_final(x, response, challenge, why);
}

static enum sasl_result step_scram_plus(struct sasl *x, str response, struct buf *challenge,
                                        enum err *why)
{
    if (x->step == 0)
        return scram_first(x, response, true, challenge, why);
    return scram_final(x, response, challenge, why);
}

/* Strongest first, as clients that take the first they know expect. */
static const struct mechanism mechanisms[] = {
    {STR_INIT("SCRAM-SHA-256-PLUS"), true, false, false, step_scram_plus},
    {STR_INIT("SCRAM-SHA-256"), false, false, false, step_scram},
    {STR_INIT("PLAIN"), false, false, false, step_plain},
    {STR_INIT("LOGIN"), false, false, true, step_login},
    {STR_INIT("EXTERNAL"), true, true, false, step_external},
};

static bool offered(const struct mechanism *m, const struct stream *s, bool secure)
{
    if (!secure || (m->needs_tls && !stream_is_tls(s)))
        return false;
    if (!m->needs_certificate)
        return true;
    struct stream_tls_info tls;
    stream_tls_info(s, &tls);
    return !str_empty(tls.client_certificate_name);
}

void sasl_mechanisms(const struct stream *s, bool secure, struct buf *out)
{
    for (size_t i = 0; i < ARRAY_LEN(mechanisms); i++)
        if (offered(&mechanisms[i], s, secure)) {
            buf_add_char(out, ' ');
            buf_add(out, mechanisms[i].name);
        }
}

void sasl_init(struct sasl *x, const struct house *house, struct stream *s, enum protocol protocol,
               bool secure, struct arena *connection)
{
    *x = (struct sasl){.house = house, .stream = s, .arena = connection, .mechanism = -1};
    buf_init(&x->state, SCRAM_STATE_MAX);
    x->attempt.protocol = protocol;
    x->attempt.secure = secure;
    x->attempt.source = *stream_peer(s);
}

void sasl_free(struct sasl *x) { buf_free(&x->state); }

enum sasl_result sasl_start(struct sasl *x, str name, const str *initial, struct buf *challenge,
                            enum err *why)
{
    for (size_t i = 0; i < ARRAY_LEN(mechanisms); i++) {
        const struct mechanism *m = &mechanisms[i];
        if (!str_eq_nocase(m->name, name))
            continue;
        if (!x->attempt.secure)
            return failed(ERR_TLS_REQUIRED, why);
        if (!offered(m, x->stream, true))
            return failed(ERR_UNSUPPORTED, why);
        x->mechanism = (int)i;
        if (initial)
            return m->step(x, *initial, challenge, why);
        if (m->server_first)
            buf_add(challenge, STR("Username:"));
        return SASL_CONTINUE;
    }
    return failed(ERR_UNSUPPORTED, why);
}

enum sasl_result sasl_step(struct sasl *x, str response, struct buf *challenge, enum err *why)
{
    assert(x->mechanism >= 0);
    return mechanisms[x->mechanism].step(x, response, challenge, why);
}
