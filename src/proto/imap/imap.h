/* SPDX-License-Identifier: Apache-2.0
 *
 * imap: IMAP4rev2 (RFC 9051) and IMAP4rev1 (RFC 3501). The gate serves the not-authenticated state
 * (imap_gate) and hands the session on; the house serves the rest (imap_start). One row per command
 * in commands.def, one file per family of commands.
 */
#ifndef PROTO_IMAP_IMAP_H
#define PROTO_IMAP_IMAP_H

#include "core/account.h"
#include "core/directory.h"
#include "core/house.h"
#include "net/proxy.h"
#include "net/tls.h"

struct imap_config {
    str hostname;
    uint32_t errors_max;       /* BAD commands before BYE; signed in: in a row */
    uint64_t login_timeout_ms; /* not-authenticated state as a whole */
    uint64_t idle_timeout_ms;  /* RFC 9051 5.4: at least 30 minutes */
    uint64_t keepalive_ms;     /* "* OK Still here" during IDLE, within NAT time-outs; 0: never */
    uint64_t append_max;       /* bytes of a message: APPENDLIMIT */
    uint32_t message_limit;    /* MESSAGELIMIT (RFC 9738); 0: none */
    bool auth_plain_loopback;
};

struct imap_listener {
    bool implicit_tls;
    const struct imap_config *config;
    const struct house *house;
    struct tls_server *tls;
    struct fiber_group *group; /* for the proxies of TLS sessions */
};

/* The gate's half: until signed in; then hands on and returns. Takes the stream. */
void imap_gate(struct stream *s, const struct imap_listener *l) WAITS;

/* What sessions of one house thread share. */
struct imap_house {
    struct accounts *accounts;
    struct directory *directory;
    const struct imap_config *config;
    const struct house *house; /* the local table, for signing in again (UNAUTHENTICATE) */
    struct fiber_group *group;
};

/* The house's half: starts a session that parks between commands, and returns at once. Takes the
 * stream. ended(arg) (may be NULL) runs when the session is over. */
enum err imap_start(struct stream *s, const struct session_handoff *h, struct imap_house *house,
                    void (*ended)(void *arg), void *arg) MUST;

#endif
