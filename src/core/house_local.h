/* SPDX-License-Identifier: Apache-2.0
 *
 * house_local: the functions behind the table `struct house`, in the house itself (and in tests).
 * app/ adds session_open, which needs the protocols.
 */
#ifndef CORE_HOUSE_LOCAL_H
#define CORE_HOUSE_LOCAL_H

#include "core/account.h"
#include "core/auth.h"
#include "core/deliver.h"
#include "core/greylist.h"
#include "core/send_limit.h"

struct house_local {
    struct directory directory;
    struct auth *auth;
    struct accounts *accounts;
    struct deliver_ctx *deliver;
    struct send_limits *send_limits; /* of the process; NULL: nobody is limited */
    struct greylist_policy greylist;
    uint32_t threads; /* house threads: an account's home is account % threads */
};
/* Fills every function but session_open. h lives as long as the table. */
void house_local_table(struct house_local *h, struct house *out);

enum err recipient_decide(struct house_local *h, const struct recipient_check *c,
                          struct recipient_verdict *out) WAITS MUST;

#endif
