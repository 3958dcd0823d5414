/* SPDX-License-Identifier: Apache-2.0
 *
 * transport: which way mail goes out. Rows of the directory, each for a recipient domain, a sender
 * (address or domain), an account, or all that is left; kept in memory and read again when the
 * directory has changed.
 *
 * For one recipient the first of these decides: the recipient's domain, its nearest parent named
 * ".parent", the account, the sender's address, the sender's domain, the default; else MX. Own
 * source address and HELO are taken from the first of them that names one, so that a sender's
 * domain can have its own while the way is chosen by another row.
 */
#ifndef CORE_TRANSPORT_H
#define CORE_TRANSPORT_H

#include "core/directory.h"
#include "core/relay.h"

enum transport_match {
    TRANSPORT_RECIPIENT = 'r', /* "example.net", or ".example.net" for all below it */
    TRANSPORT_SENDER = 's',    /* "user@example.com" or "example.com" */
    TRANSPORT_ACCOUNT = 'a',   /* primary address */
    TRANSPORT_DEFAULT = 'd',   /* no name */
};
enum transport_action {
    TRANSPORT_MX,
    TRANSPORT_SMTP,
    TRANSPORT_LMTP,
    TRANSPORT_DISCARD, /* accepted, and gone: a named rule (rule accept-2) */
    TRANSPORT_FAIL,    /* back to the sender */
    TRANSPORT_HOLD,    /* waits for a person */
};
struct transport_row {
    enum transport_match match;
    str name;
    enum transport_action action;
    bool split; /* RECIPIENT of a domain of ours: unknown users are on that host */
    enum relay_tls tls;
    bool implicit_tls;
    str host; /* "name", "[literal]", or (LMTP) a path */
    uint16_t port;
    str login, password;
    str source; /* own address; empty: any */
    str helo;
    str text; /* of FAIL */
};
#define TRANSPORT_ROWS_MAX 10000

/* Adds or replaces. ERR_INVALID (no host, or a split that is not one), ERR_SYNTAX, ERR_LIMIT. */
enum err transport_set(struct directory *d, const struct transport_row *r) WAITS MUST;
enum err transport_remove(struct directory *d, enum transport_match match,
                          str name) WAITS MUST; /* ERR_NOT_FOUND */
typedef bool transport_row_fn(void *arg, const struct transport_row *r);
/* All, by match and name; fn must not wait. */
enum err transport_each(struct directory *d, transport_row_fn *fn, void *arg) WAITS MUST;
/* Is there a host for the users of this domain whom we do not know? ERR_NOT_FOUND. */
enum err transport_split(struct directory *d, str domain) WAITS MUST;

struct transport; /* one per thread */
enum err transport_open(struct directory *d, struct transport **out) MUST;
void transport_close(struct transport *t);
/* Reads the rows when they have changed. */
enum err transport_refresh(struct transport *t) WAITS MUST;
struct transport_choice {
    enum transport_action action;
    struct relay_route route; /* of MX, SMTP, LMTP */
    str text;                 /* of FAIL */
    uint64_t key;             /* equal for what goes the same way */
};
/* Slices in the arena. */
enum err transport_choose(struct transport *t, str recipient, const struct envelope *e,
                          struct arena *arena, struct transport_choice *out) WAITS MUST;
/* Does the way depend on the sender at all? */
bool transport_by_sender(const struct transport *t);

#endif
