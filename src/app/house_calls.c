/* SPDX-License-Identifier: Apache-2.0 */
#include "app/house_calls.h"

#include "app/wire.h"
#include "base/log.h"
#include "format/mime_cold.h"
#include "os/clock.h"
#include "os/file.h"

/* A gate that sends what ours never would is broken or broken into. */
static enum err refuse(const struct gate_caller *c, const char *what)
{
    LOG_ERROR("house", "gate=%u sent what a gate never sends: %s", c->gate, what);
    return ERR_INVALID;
}

/* After the house was restarted the gate's sessions have no grants here: that is temporary. */
static enum err check_account(const struct gate_caller *c, uint64_t account)
{
    if (grants_has(c->grants, account, clock_mono_ms()))
        return ERR_OK;
    LOG_WARN("house", "gate=%u named account=%llu that did not sign in through it", c->gate,
             (unsigned long long)account);
    return ERR_UNAVAILABLE;
}

static enum err granted(const struct gate_caller *c, uint64_t account)
{
    return grants_add(c->grants, account, clock_mono_ms());
}

#define TAKE_ATTEMPT(c, args, attempt)                                                             \
    struct auth_attempt attempt = {.login = (args)->login, .authzid = (args)->authzid};            \
    if (!wire_protocol_take((args)->protocol, &attempt.protocol) ||                                \
        !wire_bool_take((args)->secure, &attempt.secure) ||                                        \
        !wire_address_take((args)->source, &attempt.source))                                       \
        return refuse(c, "an attempt to sign in");

static enum err serve_auth_password(void *ctx, struct ipc_auth_password_args *a,
                                    struct arena *arena,
                                    struct ipc_auth_password_results *out) WAITS
{
    struct gate_caller *c = ctx;
    TAKE_ATTEMPT(c, a, attempt);
    struct auth_grant grant = {0};
    TRY(c->house->auth_password(c->house->ctx, &attempt, a->password, arena, &grant));
    out->account = grant.account;
    out->address = grant.address;
    return granted(c, grant.account);
}

static enum err serve_auth_scram_salt(void *ctx, struct ipc_auth_scram_salt_args *a,
                                      struct arena *arena,
                                      struct ipc_auth_scram_salt_results *out) WAITS
{
    struct gate_caller *c = ctx;
    TAKE_ATTEMPT(c, a, attempt);
    struct auth_scram_salt salt = {0};
    TRY(c->house->auth_scram_salt(c->house->ctx, &attempt, &salt));
    out->iterations = salt.iterations;
    return arena_dup(arena, str_of(salt.salt, sizeof(salt.salt)), &out->salt) ? ERR_OK : ERR_NOMEM;
}

static enum err serve_auth_scram_verify(void *ctx, struct ipc_auth_scram_verify_args *a,
                                        struct arena *arena,
                                        struct ipc_auth_scram_verify_results *out) WAITS
{
    struct gate_caller *c = ctx;
    TAKE_ATTEMPT(c, a, attempt);
    uint8_t signature[32];
    struct auth_grant grant = {0};
    TRY(c->house->auth_scram_verify(c->house->ctx, &attempt, a->auth_message, a->proof, signature,
                                    arena, &grant));
    out->account = grant.account;
    out->address = grant.address;
    if (!arena_dup(arena, str_of(signature, sizeof(signature)), &out->signature))
        return ERR_NOMEM;
    return granted(c, grant.account);
}

static enum err serve_auth_external(void *ctx, struct ipc_auth_external_args *a,
                                    struct arena *arena,
                                    struct ipc_auth_external_results *out) WAITS
{
    struct gate_caller *c = ctx;
    TAKE_ATTEMPT(c, a, attempt);
    struct auth_grant grant = {0};
    TRY(c->house->auth_external(c->house->ctx, &attempt, arena, &grant));
    out->account = grant.account;
    out->address = grant.address;
    return granted(c, grant.account);
}

static enum err serve_recipient_check(void *ctx, struct ipc_recipient_check_args *a,
                                      struct arena *arena,
                                      struct ipc_recipient_check_results *out) WAITS
{
    (void)arena;
    struct gate_caller *c = ctx;
    struct recipient_check check = {.address = a->address, .size = a->size, .account = a->account};
    if (!wire_bool_take(a->relay_allowed, &check.relay_allowed))
        return refuse(c, "a recipient");
    TRY(check_account(c, a->account));
    struct recipient_verdict verdict = {0};
    TRY(c->house->recipient_check(c->house->ctx, &check, &verdict));
    out->local = verdict.local;
    out->home = verdict.home;
    return ERR_OK;
}

static enum err serve_sender_check(void *ctx, struct ipc_sender_check_args *a, struct arena *arena,
                                   struct ipc_sender_check_results *out) WAITS
{
    (void)arena, (void)out;
    struct gate_caller *c = ctx;
    TRY(check_account(c, a->account));
    return c->house->sender_check(c->house->ctx, a->account, a->address);
}

static enum err check_content(const struct gate_caller *c, int fd, uint64_t size)
{
    uint64_t real = 0;
    if (!file_is_sealed(fd) || file_size(fd, &real) != ERR_OK || real != size)
        return refuse(c, "a message that is not sealed or not as long as it said");
    return ERR_OK;
}

static enum err serve_deliver(void *ctx, struct ipc_deliver_args *a, struct arena *arena,
                              struct ipc_deliver_results *out) WAITS
{
    struct gate_caller *c = ctx;
    struct envelope e = {0};
    struct mime_cold cold;
    if (envelope_decode(a->envelope, arena, &e) != ERR_OK || e.nrecipients == 0 ||
        e.nrecipients > ENVELOPE_RECIPIENTS_MAX)
        return refuse(c, "an envelope");
    TRY(check_content(c, a->content, a->size));
    if (mime_cold_decode(a->mime, &cold) != ERR_OK)
        return refuse(c, "a message's structure");
    TRY(check_account(c, e.account));
    e.fd = a->content;
    e.size = a->size;
    e.mime = a->mime;
    struct deliver_result result = {ARENA_ARRAY(arena, enum err, e.nrecipients)};
    char *verdicts = arena_alloc(arena, e.nrecipients);
    if (!result.recipients || !verdicts)
        return ERR_NOMEM;
    TRY(c->house->deliver(c->house->ctx, c->thread, &e, &result));
    for (size_t i = 0; i < e.nrecipients; i++)
        verdicts[i] = (char)result.recipients[i];
    out->verdicts = str_of(verdicts, e.nrecipients);
    return ERR_OK;
}

static enum err serve_session_open(void *ctx, struct ipc_session_open_args *a, struct arena *arena,
                                   struct ipc_session_open_results *out) WAITS
{
    (void)arena, (void)out;
    struct gate_caller *c = ctx;
    struct session_handoff h = {
        .who = {a->account, a->address},
        .tls_version = a->tls_version,
        .unread = a->unread,
        .greeting = a->greeting,
    };
    if (!wire_protocol_take(a->protocol, &h.protocol) || !wire_bool_take(a->tls, &h.tls) ||
        !wire_address_take(a->peer, &h.peer) || !wire_address_take(a->local, &h.local) ||
        a->account == 0)
        return refuse(c, "a session");
    TRY(check_account(c, a->account));
    h.fd = a->connection;
    a->connection = -1;
    return c->house->session_open(c->house->ctx, &h);
}

static enum err serve_page(void *ctx, struct ipc_page_args *a, struct arena *arena,
                           struct ipc_page_results *out) WAITS
{
    struct gate_caller *c = ctx;
    bool secure;
    if (!wire_bool_take(a->secure, &secure))
        return refuse(c, "a page");
    return c->house->page(c->house->ctx, a->host, a->path, secure, arena, &out->body);
}

static enum err serve_challenge(void *ctx, struct ipc_challenge_args *a, struct arena *arena,
                                struct ipc_challenge_results *out) WAITS
{
    struct gate_caller *c = ctx;
    return c->house->challenge(c->house->ctx, a->name, arena, &out->chain, &out->key);
}

const struct ipc_service house_calls_for_gates = {
    .role = IPC_ROLE_HOUSE,
    .auth_password = serve_auth_password,
    .auth_scram_salt = serve_auth_scram_salt,
    .auth_scram_verify = serve_auth_scram_verify,
    .auth_external = serve_auth_external,
    .recipient_check = serve_recipient_check,
    .sender_check = serve_sender_check,
    .deliver = serve_deliver,
    .session_open = serve_session_open,
    .page = serve_page,
    .challenge = serve_challenge,
};
