/* SPDX-License-Identifier: Apache-2.0
 *
 * pop3: RFC 1939 with CAPA (2449), STLS (2595), AUTH (5034), RESP-CODES, AUTH-RESP-CODE (3206),
 * UTF8 and LANG (6856). In two halves: the gate serves the AUTHORIZATION state and hands the
 * session to the house, which serves TRANSACTION and UPDATE.
 */
#ifndef PROTO_POP3_POP3_H
#define PROTO_POP3_POP3_H

#include "core/account.h"
#include "core/house.h"
#include "net/proxy.h"
#include "net/tls.h"

struct pop3_config {
    str hostname;
    uint32_t errors_max;
    uint64_t login_timeout_ms;
    uint64_t idle_timeout_ms; /* RFC 1939 3: at least 10 minutes */
    bool auth_plain_loopback;
};

struct pop3_listener {
    bool implicit_tls;
    const struct pop3_config *config;
    const struct house *house;
    struct tls_server *tls;
    struct fiber_group *group; /* for the proxies of TLS sessions */
};

/* The gate's half: until signed in; then hands on and returns. Takes the stream. */
void pop3_gate(struct stream *s, const struct pop3_listener *l) WAITS;

/* The house's half: starts a session that parks between commands, and returns at once. Takes the
 * stream. ended(arg) (may be NULL) runs when the session is over. */
enum err pop3_start(struct stream *s, const struct session_handoff *h, struct accounts *accounts,
                    const struct pop3_config *config, struct fiber_group *group,
                    void (*ended)(void *arg), void *arg) MUST;

#endif
