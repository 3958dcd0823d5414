/* SPDX-License-Identifier: Apache-2.0
 *
 * The accounts of `posthouse dev`. Argon2id is slow by design, so the one password is hashed once,
 * with a cheap cost, and all accounts share the result. Everybody knows it, so it is hashed here:
 * the role keys is not there yet. Nothing else makes accounts like this.
 */
#include "app/house.h"
#include "app/roles.h"
#include "os/rand.h"

#define DEV_DOMAIN "example.test"
#define DEV_PASSWORD "secret"

static enum err dev_account(struct house_process *h, uint32_t n,
                            const struct credential *secret) WAITS
{
    ARENA_AUTO struct arena arena = ARENA_INIT(16384);
    struct account_entry entry = {
        .address = arena_fmt(&arena, "user%u@%s", n, DEV_DOMAIN),
        .name = arena_fmt(&arena, "User %u", n),
        .protocols = PROTOCOL_ALL,
        .created_s = clock_wall_s(),
    };
    uint64_t id;
    uint32_t credential;
    enum err e = directory_account_add(&h->directory, &entry, &id);
    if (e == ERR_EXISTS)
        return ERR_OK;
    TRY(e);
    TRY(credential_put(&h->directory, id, secret, &credential));
    struct account *account;
    TRY(account_open(h->threads[0].accounts, id, &account));
    e = account_create_mailboxes(account);
    account_close(account);
    return e;
}

enum err house_dev_accounts(struct house_process *h, uint32_t n)
{
    if (n == 0)
        return ERR_OK;
    ARENA_AUTO struct arena arena = ARENA_INIT(65536);
    struct domain domain = {.name = STR(DEV_DOMAIN), .separator = '+', .created_s = clock_wall_s()};
    enum err e = directory_domain_add(&h->directory, &domain);
    if (e != ERR_OK && e != ERR_EXISTS)
        return e;
    struct credential secret = {.protocols = PROTOCOL_ALL, .created_s = clock_wall_s()};
    secret.scram.iterations = SCRAM_ITERATIONS;
    rand_bytes(secret.scram.salt, sizeof(secret.scram.salt));
    TRY(password_hash(STR(DEV_PASSWORD), PASSWORD_COST_DEV, &arena, &secret));
    for (uint32_t i = 1; i <= n; i++)
        TRY(dev_account(h, i, &secret));
    return ERR_OK;
}
