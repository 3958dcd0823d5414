/* SPDX-License-Identifier: Apache-2.0
 *
 * keys_calls: the keys role's ends of the calls in ipc.def. A gate is believed nothing: what it
 * asks to sign must have the form of a TLS server's handshake, and comes at a limited rate.
 * Passwords are hashed for the house, a few at a time, within a budget of memory.
 */
#ifndef APP_KEYS_CALLS_H
#define APP_KEYS_CALLS_H

#include "app/ipc.h"
#include "net/limit.h"
#include "net/tls_keys.h"

#define SIGNS_PER_S_MAX 10000  /* of one gate; a processor makes fewer handshakes */
#define SIGNS_SLOW_MAX 256     /* RSA, under way at the same time; more are refused as busy */
#define HASHES_WAITING_MAX 256 /* more are refused as busy */
/* Of all hashes at one time; one that wants more is refused. */
#define HASH_MEMORY_KIB_MAX 262144u
#define HASH_PASSES_MAX 64

/* Keys at one time. A set that was replaced serves handshakes under way until it is retired. */
struct key_set {
    struct tls_keys *keys;
    size_t uses; /* the owner's, and one for each signature under way */
};
void key_set_drop(struct key_set *s); /* NULL is fine */

/* Hashes under way. */
struct hash_room {
    uint32_t running, running_max, waiting;
    uint32_t most_running; /* ever */
    uint32_t memory_kib;
    struct event freed;
};

struct keys_state {
    struct key_set *now, *before; /* or NULL */
    size_t slow;
    struct limit_table *rates; /* by gate */
    struct hash_room room;
};
struct keys_caller {
    struct keys_state *state;
    const char *name;
    bool warned; /* of what is no handshake */
};

extern const struct ipc_service keys_calls_for_gates; /* ctx: a struct keys_caller */
extern const struct ipc_service keys_calls_for_house; /* the same */

#endif
