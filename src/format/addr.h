/* SPDX-License-Identifier: Apache-2.0
 *
 * addr: the one address parser and its one result type (rule: wire-6). Two entrances: a strict one
 * for single addresses that decisions are made on (SMTP paths, configuration, commands; RFC 5321
 * 4.1.2, RFC 6531), and a tolerant one for address lists in header fields (RFC 5322 3.4 and 4.4,
 * RFC 6532). Results live in the arena or borrow from the input. Linear time. Nothing here waits.
 */
#ifndef FORMAT_ADDR_H
#define FORMAT_ADDR_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "format/limits.h"

/* One mail address. The null address <> has both empty. */
struct addr {
    str local;  /* no quotes, no escapes; case kept */
    str domain; /* ASCII lower case, U-labels as written; a literal: "[192.0.2.1]" */
};

enum { ADDR_DOMAIN_OPTIONAL = 1 }; /* "postmaster" and "user" are addresses too */

/* The whole of text is one address, without angle brackets. ERR_SYNTAX, ERR_LIMIT (a part too long:
 * ADDR_LOCAL_MAX, ADDR_DOMAIN_MAX; or the arena is full). UTF-8 must be valid; whether it is
 * allowed is the caller's to ask with addr_is_ascii. Normalising (IDNA, NFC, case) is core's work.
 */
enum err addr_parse(struct arena *a, str text, unsigned flags, struct addr *out) MUST;
/* The same at the front of *rest, which is moved behind the address; for "<user@host> SIZE=5". */
enum err addr_take(struct arena *a, str *rest, unsigned flags, struct addr *out) MUST;

bool addr_is_ascii(const struct addr *a);
static inline bool addr_is_null(const struct addr *a) { return !a->local.len && !a->domain.len; }
/* Same local part (bytes) and domain (ASCII case-insensitive). */
bool addr_eq(const struct addr *a, const struct addr *b);
/* local@domain, the local part quoted where RFC 5321 wants it. Null gives nothing. */
void addr_render(struct buf *out, const struct addr *a);
/* Is s a domain name by RFC 5321 (letters, digits, inner hyphens, dots, UTF-8) or a literal? */
bool addr_domain_valid(str s);

enum addr_kind { ADDR_MAILBOX, ADDR_GROUP_START, ADDR_GROUP_END };

struct addr_item {
    enum addr_kind kind;
    str name;  /* display or group name (or the comment behind a bare address): no quotes, one
                  space for white space, encoded words still encoded (words.h decodes) */
    str route; /* obs-route "@a,@b", mostly empty */
    struct addr addr; /* not validated: any part may be empty or hold any byte; case kept */
};

struct addr_list {
    struct addr_item *items; /* in the arena; groups are flat: START, members, END */
    size_t count;
    enum limit limit; /* LIMIT_ADDRS_PER_FIELD_MAX when there were more */
};

/* Never refuses text; ERR_LIMIT only when the arena is full (then *out holds what fitted). */
enum err addr_list_parse(struct arena *a, str value, struct addr_list *out) MUST;

/* One mailbox for generated header fields: name (encoded when needed) and address. */
void addr_render_mailbox(struct buf *out, str name_utf8, const struct addr *a);

#endif
