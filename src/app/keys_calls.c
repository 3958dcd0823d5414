/* SPDX-License-Identifier: Apache-2.0
 *
 * tidy: allow alloc because sets of keys are replaced while the process lives
 */
#include "app/keys_calls.h"

#include "base/log.h"
#include "base/num.h"
#include "core/credentials.h"
#include "format/tls_signed.h"
#include "os/clock.h"
#include "os/offload.h"

#include <stdlib.h>
#include <string.h>

/* ---- signatures ---- */

void key_set_drop(struct key_set *s)
{
    if (!s || --s->uses > 0)
        return;
    tls_keys_close(s->keys);
    free(s);
}

struct sign_job {
    struct key_set *set;
    const uint8_t *key;
    uint16_t scheme;
    str content;
    struct buf signature;
    enum err result;
};

static void sign_run(void *arg)
{
    struct sign_job *j = arg;
    j->result = tls_keys_sign(j->set->keys, j->key, j->scheme, j->content, &j->signature);
}

/* On a worker when it takes long, so that the loop goes on with the others. */
static void sign_with(struct keys_state *s, struct sign_job *j) WAITS
{
    if (!tls_keys_slow(j->set->keys, j->key)) {
        sign_run(j);
        return;
    }
    j->result = ERR_BUSY;
    if (s->slow >= SIGNS_SLOW_MAX)
        return;
    s->slow++;
    j->set->uses++;
    enum err e = offload_run(sign_run, j);
    key_set_drop(j->set);
    s->slow--;
    if (e != ERR_OK)
        j->result = e;
}

static enum err may_sign(struct keys_caller *c, const struct ipc_tls_sign_args *a)
{
    if (a->key.len != TLS_KEY_ID_BYTES || a->scheme > UINT16_MAX)
        return ERR_INVALID;
    if (!tls_signed_allowed(tls_signed_kind(a->content), (uint16_t)a->scheme)) {
        if (!c->warned)
            LOG_ERROR("keys", "refused to sign what is no handshake link=%s bytes=%zu", c->name,
                      a->content.len);
        c->warned = true;
        return ERR_DENIED;
    }
    return limit_take(c->state->rates, str_c(c->name), 1, clock_mono_ms(), NULL) ? ERR_OK
                                                                                 : ERR_BUSY;
}

static enum err serve_tls_sign(void *ctx, struct ipc_tls_sign_args *a, struct arena *arena,
                               struct ipc_tls_sign_results *out) WAITS
{
    struct keys_caller *c = ctx;
    struct key_set *sets[] = {c->state->now, c->state->before};
    TRY(may_sign(c, a));
    struct sign_job j = {.key = (const uint8_t *)a->key.data,
                         .scheme = (uint16_t)a->scheme,
                         .content = a->content,
                         .signature = BUF_INIT(TLS_SIGNATURE_MAX),
                         .result = ERR_NOT_FOUND};
    for (size_t i = 0; i < ARRAY_LEN(sets) && j.result == ERR_NOT_FOUND; i++) {
        j.set = sets[i];
        if (j.set)
            sign_with(c->state, &j);
    }
    if (j.result == ERR_OK && !arena_dup(arena, buf_str(&j.signature), &out->signature))
        j.result = ERR_NOMEM;
    buf_free(&j.signature);
    return j.result;
}

/* ---- passwords ---- */

static enum err room_enter(struct hash_room *r, uint32_t kib) WAITS
{
    enum err e = ERR_OK;
    if (kib > HASH_MEMORY_KIB_MAX)
        return ERR_LIMIT;
    if (r->waiting >= HASHES_WAITING_MAX)
        return ERR_BUSY;
    r->waiting++;
    while (e == ERR_OK &&
           (r->running >= r->running_max || r->memory_kib > HASH_MEMORY_KIB_MAX - kib))
        e = event_wait(&r->freed, DEADLINE_NEVER); /* the call's deadline ends it */
    r->waiting--;
    TRY(e);
    r->running++;
    r->most_running = MAX(r->most_running, r->running);
    r->memory_kib += kib;
    return ERR_OK;
}

static void room_leave(struct hash_room *r, uint32_t kib)
{
    r->running--;
    r->memory_kib -= kib;
    event_signal(&r->freed);
}

static void forget(str secret) { explicit_bzero((char *)(uintptr_t)secret.data, secret.len); }

static enum err serve_password_verify(void *ctx, struct ipc_password_verify_args *a,
                                      struct arena *arena,
                                      struct ipc_password_verify_results *out) WAITS
{
    struct keys_caller *c = ctx;
    uint32_t kib = password_memory_kib(a->stored);
    if (a->password.len == 0 || a->password.len > PASSWORD_MAX)
        return ERR_INVALID;
    enum err e = room_enter(&c->state->room, kib);
    if (e == ERR_LIMIT) {
        LOG_ERROR("keys", "a stored hash wants more memory than all may have kib=%u", kib);
        return ERR_NOMEM;
    }
    TRY(e);
    e = password_verify(a->password, a->stored);
    room_leave(&c->state->room, kib);
    forget(a->password);
    return e;
}

static enum err serve_password_hash(void *ctx, struct ipc_password_hash_args *a,
                                    struct arena *arena,
                                    struct ipc_password_hash_results *out) WAITS
{
    struct keys_caller *c = ctx;
    struct credential made = {.scram.iterations = a->iterations};
    struct password_cost cost = {a->memory_kib, a->passes};
    if (a->password.len == 0 || a->password.len > PASSWORD_MAX || a->passes == 0 ||
        a->passes > HASH_PASSES_MAX || a->salt.len != sizeof(made.scram.salt) ||
        a->iterations == 0 || a->iterations > 100 * SCRAM_ITERATIONS)
        return ERR_INVALID;
    memcpy(made.scram.salt, a->salt.data, a->salt.len);
    TRY(room_enter(&c->state->room, cost.memory_kib));
    enum err e = password_hash(a->password, cost, arena, &made);
    room_leave(&c->state->room, cost.memory_kib);
    forget(a->password);
    TRY(e);
    out->argon2id = made.argon2id;
    bool kept = arena_dup(arena, str_of(made.scram.stored_key, 32), &out->stored_key) &&
                arena_dup(arena, str_of(made.scram.server_key, 32), &out->server_key);
    return kept ? ERR_OK : ERR_NOMEM;
}

const struct ipc_service keys_calls_for_gates = {
    .role = IPC_ROLE_KEYS,
    .tls_sign = serve_tls_sign,
};
const struct ipc_service keys_calls_for_house = {
    .role = IPC_ROLE_KEYS,
    .password_verify = serve_password_verify,
    .password_hash = serve_password_hash,
};
