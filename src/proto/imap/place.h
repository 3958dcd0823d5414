/* SPDX-License-Identifier: Apache-2.0
 *
 * place: the namespaces (RFC 2342): where a name leads before its mailbox is looked for.
 *   name                              the session's own account
 *   Other Users/<address>/name        the account with that primary address
 *   Shared/<group address>/name       the account of a group's shared mailboxes
 */
#ifndef PROTO_IMAP_PLACE_H
#define PROTO_IMAP_PLACE_H

#include "proto/imap/session.h"

#define PLACE_OTHERS STR("Other Users")
#define PLACE_SHARED STR("Shared")

struct place_route {
    struct account *account; /* held open; NULL after an error */
    str path; /* in that account, NFC; borrowed from the name, or in the command's arena */
    bool own;
};
/* ERR_NOT_FOUND: no such owner. */
enum err place_route(struct imap *x, str name, struct place_route *out) WAITS MUST;
/* The rights that the session has in a mailbox of that account. */
enum err place_rights(struct imap *x, struct account *a, uint32_t mailbox,
                      uint32_t *rights) WAITS MUST;
/* "Other Users/user@example.test/" of another's account. */
enum err place_prefix(struct imap *x, uint64_t owner, struct buf *out) WAITS MUST;
struct acl_who *place_me(struct imap *x);

#endif
