/* SPDX-License-Identifier: Apache-2.0 */
#include "app/house_calls.h"

#include "app/wire.h"
#include "base/log.h"
#include "core/greylist.h"
#include "core/report_note.h"
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

/* e has the content. */
static enum err deliver(const struct gate_caller *c, str envelope, str mime, struct envelope *e,
                        struct arena *arena, str *out, str *text) WAITS
{
    struct envelope content = *e;
    struct mime_cold cold;
    if (envelope_decode(envelope, arena, e) != ERR_OK || e->nrecipients == 0 ||
        e->nrecipients > ENVELOPE_RECIPIENTS_MAX)
        return refuse(c, "an envelope");
    if (mime_cold_decode(mime, &cold) != ERR_OK)
        return refuse(c, "a message's structure");
    TRY(check_account(c, e->account));
    e->fd = content.fd;
    e->content = content.content;
    e->size = content.size;
    e->mime = mime;
    struct deliver_result result = {.recipients = ARENA_ARRAY(arena, enum err, e->nrecipients)};
    char *verdicts = arena_alloc(arena, e->nrecipients);
    if (!result.recipients || !verdicts)
        return ERR_NOMEM;
    TRY(c->house->deliver(c->house->ctx, c->thread, e, &result));
    for (size_t i = 0; i < e->nrecipients; i++)
        verdicts[i] = (char)result.recipients[i];
    *out = str_of(verdicts, e->nrecipients);
    return arena_dup(arena, str_c(result.text), text) ? ERR_OK : ERR_NOMEM;
}

static enum err serve_deliver(void *ctx, struct ipc_deliver_args *a, struct arena *arena,
                              struct ipc_deliver_results *out) WAITS
{
    struct envelope e = {.fd = a->content, .size = a->size};
    TRY(check_content(ctx, a->content, a->size));
    return deliver(ctx, a->envelope, a->mime, &e, arena, &out->verdicts, &out->text);
}

static enum err serve_deliver_small(void *ctx, struct ipc_deliver_small_args *a,
                                    struct arena *arena,
                                    struct ipc_deliver_small_results *out) WAITS
{
    struct envelope e = {.fd = -1, .content = a->content, .size = a->content.len};
    if (a->content.len > DELIVER_SMALL_MAX)
        return refuse(ctx, "a small message that is not small");
    return deliver(ctx, a->envelope, a->mime, &e, arena, &out->verdicts, &out->text);
}

static enum err serve_greylist(void *ctx, struct ipc_greylist_args *a, struct arena *arena,
                               struct ipc_greylist_results *out) WAITS
{
    (void)arena;
    struct gate_caller *c = ctx;
    struct greylist_question q = {.sender = a->sender, .recipient = a->recipient};
    if (!wire_address_take(a->source, &q.source) || (q.source.family != 4 && q.source.family != 6))
        return refuse(c, "a client's address");
    return c->house->greylist(c->house->ctx, &q, &out->wait_s);
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

static enum err serve_observe(void *ctx, struct ipc_observe_args *a, struct arena *arena,
                              struct ipc_observe_results *out) WAITS
{
    (void)arena, (void)out;
    struct gate_caller *c = ctx;
    struct reader r = reader_of(a->notes);
    while (!str_empty(r.rest)) {
        struct report_note n;
        str before = r.rest;
        if (report_note_take(&r, &n) != ERR_OK)
            return refuse(c, "a note for a report");
        if (c->house->observe)
            c->house->observe(c->house->ctx, str_head(before, before.len - r.rest.len));
    }
    return ERR_OK;
}

static enum err serve_report_take(void *ctx, struct ipc_report_take_args *a, struct arena *arena,
                                  struct ipc_report_take_results *out) WAITS
{
    (void)arena, (void)out;
    struct gate_caller *c = ctx;
    enum err e = c->house->report_take ? c->house->report_take(c->house->ctx, a->read) : ERR_OK;
    return e == ERR_CORRUPT ? refuse(c, "a report of others") : e;
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
    .greylist = serve_greylist,
    .deliver_small = serve_deliver_small,
    .session_open = serve_session_open,
    .observe = serve_observe,
    .report_take = serve_report_take,
    .page = serve_page,
    .challenge = serve_challenge,
};
