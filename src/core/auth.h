/* SPDX-License-Identifier: Apache-2.0
 *
 * auth: who may do what, decided in one function for all protocols (rule auth-1), and the limits
 * against guessing (rule auth-5): per account and source; a source that signed in lately is slowed,
 * never locked out; failures of one account do not count against its neighbours at one address.
 */
#ifndef CORE_AUTH_H
#define CORE_AUTH_H

#include "core/credentials.h"
#include "core/house.h"

const char *protocol_name(enum protocol one); /* "imap" */

struct auth_policy {
    uint32_t failures;        /* allowed per (account, source) in period_ms before it is slowed */
    uint32_t source_failures; /* per source over all accounts, much higher */
    uint64_t period_ms;
    uint64_t remember_ms; /* how long a verified password is remembered (as a keyed hash) */
    bool external;        /* clients' certificates are asked for: gates are believed about them */
};
#define AUTH_POLICY_DEFAULT ((struct auth_policy){10, 200, 600000, 3600000, false})

struct auth; /* one per house thread */
/* d and hasher outlive it. */
enum err auth_open(struct directory *d, const struct auth_policy *p, const struct hasher *hasher,
                   struct auth **out) MUST;
void auth_close(struct auth *a);
/* Another policy from now on. Where it differs, failures are counted from zero and verified
 * passwords are forgotten. Never waits. On an error the old one holds: ERR_INVALID, ERR_NOMEM. */
enum err auth_change(struct auth *a, const struct auth_policy *p) MUST;

/* The one decision, pure: may this credential of this account be used so? */
struct auth_facts {
    enum account_state state;
    uint32_t account_protocols, credential_protocols;
    int64_t expires_s, now_s;
    bool secure;
    enum protocol protocol;
    bool act_as_other; /* authzid names somebody else */
};
enum err auth_decide(const struct auth_facts *f) MUST;

/* Every failure gives ERR_AUTH (whatever the cause), ERR_TOO_MANY (limits), ERR_TLS_REQUIRED, or a
 * temporary error; the log has the cause. */
enum err auth_password(struct auth *a, const struct auth_attempt *at, str password,
                       struct arena *arena, struct auth_grant *out) WAITS MUST;
enum err auth_scram_salt(struct auth *a, const struct auth_attempt *at,
                         struct auth_scram_salt *out) WAITS MUST;
enum err auth_scram_verify(struct auth *a, const struct auth_attempt *at, str auth_message,
                           str proof, uint8_t signature[32], struct arena *arena,
                           struct auth_grant *out) WAITS MUST;
/* at->login is what the gate says a verified client certificate names. */
enum err auth_external(struct auth *a, const struct auth_attempt *at, struct arena *arena,
                       struct auth_grant *out) WAITS MUST;

#endif
