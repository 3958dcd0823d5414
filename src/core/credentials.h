/* SPDX-License-Identifier: Apache-2.0
 *
 * credentials: what an account signs in with. Kept as an Argon2id string and as SCRAM-SHA-256 keys;
 * the text of a password is nowhere stored. Rows of the directory partition.
 */
#ifndef CORE_CREDENTIALS_H
#define CORE_CREDENTIALS_H

#include "core/directory.h"

#define CREDENTIALS_PER_ACCOUNT_MAX 64
#define PASSWORD_MAX 1024     /* bytes */
#define SCRAM_ITERATIONS 4096 /* RFC 7677 4 */

struct scram_keys {
    uint8_t salt[16], stored_key[32], server_key[32];
    uint32_t iterations;
};
struct credential {
    uint32_t id;        /* 0: the account's password; above: app passwords */
    str name;           /* of an app password: "phone" */
    uint32_t protocols; /* enum protocol bits */
    int64_t created_s;
    int64_t expires_s; /* 0: never */
    str argon2id;      /* encoded string */
    struct scram_keys scram;
};
/* How expensive a new hash is; `posthouse dev` uses a cheap one for its test accounts. */
struct password_cost {
    uint32_t memory_kib, passes;
};
#define PASSWORD_COST_DEFAULT ((struct password_cost){19456, 2})
#define PASSWORD_COST_DEV ((struct password_cost){64, 1})

/* Prepares by SASLprep's essentials (RFC 8265 OpaqueString: NFC, no controls). ERR_INVALID. */
enum err password_prepare(str password, struct arena *a, str *out) MUST;
/* Fills argon2id and scram (out->scram.salt and iterations are set by the caller, so that all
 * credentials of an account share one salt: SCRAM names it before it knows which is meant). Slow by
 * design: runs on the offload pool. */
enum err password_hash(str prepared, struct password_cost cost, struct arena *a,
                       struct credential *out) WAITS MUST;
/* ERR_OK, ERR_AUTH. Runs on the offload pool. Also understands hashes imported from elsewhere
 * (crypt(3) forms). */
enum err password_verify(str prepared, str encoded) WAITS MUST;
/* Where passwords are hashed: the running server does it in a process of its own. A temporary error
 * says that it is away or has too much to do. */
struct hasher {
    void *ctx;
    enum err (*hash)(void *ctx, str prepared, struct password_cost cost, struct arena *a,
                     struct credential *out) WAITS;
    enum err (*verify)(void *ctx, str prepared, str encoded) WAITS;
};
extern const struct hasher hasher_here; /* the two above, in this process */
/* KiB that verifying takes while it runs; 0: less than counts. */
uint32_t password_memory_kib(str encoded);
void scram_derive(str prepared,
                  struct scram_keys *k); /* salt and iterations are set by the caller */
/* "xxxx-xxxx-xxxx-xxxx" of 80 random bits. */
str password_generate(struct arena *a);

/* The whole of it: prepares, hashes and stores. c: id 0 or CREDENTIAL_NEW, name, protocols, expiry.
 */
#define CREDENTIAL_NEW UINT32_MAX
enum err credential_set_password(struct directory *d, const struct hasher *hasher, uint64_t account,
                                 const struct credential *c, str password,
                                 struct password_cost cost, uint32_t *id) WAITS MUST;
/* Replaces the account's password (id 0) or adds an app password (id CREDENTIAL_NEW;
 * the result says which it got). */
enum err credential_put(struct directory *d, uint64_t account, const struct credential *c,
                        uint32_t *id) WAITS MUST;
/* ERR_NOT_FOUND. */
enum err credential_remove(struct directory *d, uint64_t account, uint32_t id) WAITS MUST;
/* All of an account, into the arena. */
enum err credentials_list(struct directory *d, uint64_t account, struct arena *a,
                          const struct credential **out, size_t *n) WAITS MUST;

/* 32 random bytes of this store, the same for ever (made at first use); for answers to unknown
 * logins that do not differ from those to known ones. */
enum err directory_secret(struct directory *d, uint8_t out[32]) WAITS MUST;

#endif
