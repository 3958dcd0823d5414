/* SPDX-License-Identifier: Apache-2.0
 *
 * test_people: a directory with a domain, accounts and passwords; and the client's side of SCRAM.
 * For tests only.
 */
#ifndef CORE_TEST_PEOPLE_H
#define CORE_TEST_PEOPLE_H

#include "core/test_world.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "core/credentials.h"
#include "core/house.h"

struct people {
    struct store *store;
    struct directory d;
    struct arena a;
};

static inline void people_open(struct people *p)
{
    *p = (struct people){.a = ARENA_INIT(4 << 20)};
    OK(store_open_memory(&p->store));
    p->d.store = p->store;
    OK(directory_domain_add(&p->d,
                            &(struct domain){.name = STR("example.test"), .separator = '+'}));
}

static inline void people_close(struct people *p)
{
    arena_free(&p->a);
    store_close(p->store);
}

static inline uint64_t people_account(struct people *p, const char *address)
{
    uint64_t id;
    OK(directory_account_add(
        &p->d, &(struct account_entry){.address = str_c(address), .protocols = PROTOCOL_ALL}, &id));
    return id;
}

static inline uint32_t people_password(struct people *p, uint64_t account, uint32_t which,
                                       uint32_t protocols, int64_t expires_s, const char *password)
{
    uint32_t id;
    struct credential c = {
        .id = which, .name = STR("test"), .protocols = protocols, .expires_s = expires_s};
    OK(credential_set_password(&p->d, &hasher_here, account, &c, str_c(password), PASSWORD_COST_DEV,
                               &id));
    return id;
}

/* RFC 5802 3: what a client that knows the password answers. */
static inline void scram_prove(const char *password, const uint8_t salt[16], uint32_t iterations,
                               str message, uint8_t proof[32])
{
    uint8_t salted[32], client[32], stored[32], signature[32];
    unsigned n = 32;
    assert_int_equal(PKCS5_PBKDF2_HMAC(password, (int)strlen(password), salt, 16, (int)iterations,
                                       EVP_sha256(), 32, salted),
                     1);
    HMAC(EVP_sha256(), salted, 32, (const uint8_t *)"Client Key", 10, client, &n);
    assert_int_equal(EVP_Digest(client, 32, stored, NULL, EVP_sha256(), NULL), 1);
    HMAC(EVP_sha256(), stored, 32, (const uint8_t *)message.data, message.len, signature, &n);
    for (int i = 0; i < 32; i++)
        proof[i] = client[i] ^ signature[i];
}

#endif
