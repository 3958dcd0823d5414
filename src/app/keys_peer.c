/* SPDX-License-Identifier: Apache-2.0 */
#include "app/keys_peer.h"

#include <string.h>

#define SIGN_ARENA 4096
#define SIGN_MS 8000 /* of a handshake, whatever happens meanwhile */
#define HASH_ARENA 16384

/* The link for the next try of a call: the first, or when the one before went down under it. */
struct tries {
    int done;
    uint32_t starts;
};

static struct ipc_link *next_try(struct keys_peer *p, struct tries *t, enum err e) WAITS
{
    bool went_down = !p->slot.link.up || p->slot.starts != t->starts;
    if (t->done == KEYS_TRIES || (t->done > 0 && (e != ERR_UNAVAILABLE || !went_down)))
        return NULL;
    t->done++;
    struct ipc_link *link = ipc_slot_up(&p->slot, KEYS_WAIT_MS);
    t->starts = p->slot.starts;
    return link;
}

static enum err peer_sign(void *ctx, const uint8_t key[TLS_KEY_ID_BYTES], uint16_t scheme,
                          str content, struct buf *signature) WAITS
{
    struct keys_peer *p = ctx;
    ARENA_AUTO struct arena arena = ARENA_INIT(SIGN_ARENA);
    struct ipc_tls_sign_args args = {str_of(key, TLS_KEY_ID_BYTES), scheme, content};
    struct ipc_tls_sign_results r;
    struct tries tries = {0};
    enum err e = ERR_UNAVAILABLE;
    DEADLINE_SCOPE(SIGN_MS);
    for (struct ipc_link *link; (link = next_try(p, &tries, e));)
        e = ipc_tls_sign(link, &args, &arena, &r);
    TRY(e);
    buf_add(signature, r.signature);
    return buf_ok(signature) ? ERR_OK : ERR_LIMIT;
}

static enum err peer_verify(void *ctx, str prepared, str encoded) WAITS
{
    struct keys_peer *p = ctx;
    struct ipc_password_verify_args args = {prepared, encoded};
    struct ipc_password_verify_results r;
    struct tries tries = {0};
    enum err e = ERR_UNAVAILABLE;
    for (struct ipc_link *link; (link = next_try(p, &tries, e));)
        e = ipc_password_verify(link, &args, NULL, &r);
    return e;
}

static enum err hash_once(struct ipc_link *link, const struct ipc_password_hash_args *args,
                          struct arena *a, struct credential *out) WAITS
{
    ARENA_AUTO struct arena scratch = ARENA_INIT(HASH_ARENA);
    struct ipc_password_hash_results r;
    TRY(ipc_password_hash(link, args, &scratch, &r));
    if (r.stored_key.len != sizeof(out->scram.stored_key) ||
        r.server_key.len != sizeof(out->scram.server_key))
        return ERR_UNKNOWN;
    memcpy(out->scram.stored_key, r.stored_key.data, r.stored_key.len);
    memcpy(out->scram.server_key, r.server_key.data, r.server_key.len);
    return arena_dup(a, r.argon2id, &out->argon2id) ? ERR_OK : ERR_LIMIT;
}

static enum err peer_hash(void *ctx, str prepared, struct password_cost cost, struct arena *a,
                          struct credential *out) WAITS
{
    struct keys_peer *p = ctx;
    struct ipc_password_hash_args args = {
        .password = prepared,
        .memory_kib = cost.memory_kib,
        .passes = cost.passes,
        .salt = str_of(out->scram.salt, sizeof(out->scram.salt)),
        .iterations = out->scram.iterations,
    };
    struct tries tries = {0};
    enum err e = ERR_UNAVAILABLE;
    for (struct ipc_link *link; (link = next_try(p, &tries, e));)
        e = hash_once(link, &args, a, out);
    return e;
}

void keys_peer_init(struct keys_peer *p, struct fiber_group *group)
{
    ipc_slot_init(&p->slot, "keys", NULL, NULL, group);
    p->signer = (struct tls_signer){p, peer_sign};
    p->hasher = (struct hasher){p, peer_hash, peer_verify};
}
