/* SPDX-License-Identifier: Apache-2.0
 *
 * acl: who may do what in a mailbox (RFC 4314). One row per shared mailbox in its owner's account;
 * without a row a mailbox is its owner's alone. The owner always has every right. Rights are bits
 * in the order of ACL_RIGHTS. docs/decisions/005-sharing.md says why.
 *
 * Identifiers: the address of an account (or an alias of one), the address of a group (or "$" and
 * it, as it is shown), "anyone" (every account of this server); "-" before one takes rights away.
 *
 * Who shares with whom is also a derived row per (grantee, owner) in the directory partition, so
 * that a mailbox list costs no look into accounts that share nothing. It may say too much, never
 * too little; when all of them are lost they are made again from the accounts.
 */
#ifndef CORE_ACL_H
#define CORE_ACL_H

#include "core/directory.h"
#include "core/mailbox.h"

#define ACL_RIGHTS "lrswipkxtea"
enum { ACL_RIGHTS_ALL = (1 << 11) - 1 };
#define ACL_ENTRIES_MAX 200 /* identifiers of one mailbox */

enum acl_kind { ACL_ANYONE = 1, ACL_ACCOUNT = 2, ACL_GROUP = 3 };
struct acl_entry {
    enum acl_kind kind;
    bool negative;
    uint64_t account; /* ACL_ACCOUNT: rights follow the account, not the address */
    str address;      /* ACL_ACCOUNT: as it was when granted; ACL_GROUP */
    uint32_t rights;
};
struct acl {
    const struct acl_entry *entries;
    size_t count;
};

/* Whose rights are asked for; kept by a session, so that memberships are looked up once. */
struct acl_who {
    uint64_t account;
    str address;                /* primary; borrowed */
    uint64_t directory_version; /* of what is remembered */
    struct buf groups;          /* remembered: u8 member, sized address */
};
void acl_who_init(struct acl_who *w, uint64_t account, str address);
void acl_who_free(struct acl_who *w);

/* The row decoded into the arena; none gives an empty list. ERR_CORRUPT. */
enum err acl_get(struct account *owner, uint32_t mailbox, struct arena *a,
                 struct acl *out) WAITS MUST;
/* All lists of an owner, by mailbox, in the arena; unreadable ones are left out. */
struct acl_of {
    uint32_t mailbox;
    struct acl acl;
};
enum err acl_all(struct account *owner, struct arena *a, const struct acl_of **out,
                 size_t *n) WAITS MUST;
/* The rights that the list gives to somebody who is not the owner. */
enum err acl_rights(struct directory *d, const struct acl *acl, struct acl_who *who,
                    uint32_t *rights) WAITS MUST;

/* An identifier as a client writes it. ERR_NOT_FOUND: no such account or group. */
enum err acl_identifier_parse(struct directory *d, str text, struct arena *a,
                              struct acl_entry *out) WAITS MUST;
bool acl_rights_parse(str letters, uint32_t *out); /* of ACL_RIGHTS, in any order */
void acl_identifier_render(const struct acl_entry *e, struct buf *out);

enum acl_how { ACL_REPLACE, ACL_ADD, ACL_REMOVE };
/* One durable commit in the owner's account (which wakes its watchers), and the derived row. No
 * rights left: the entry goes. ERR_NOT_FOUND (mailbox), ERR_LIMIT (ACL_ENTRIES_MAX), ERR_INVALID
 * (the owner's own rights cannot be changed). */
enum err acl_set(struct directory *d, struct account *owner, uint32_t mailbox,
                 const struct acl_entry *who, enum acl_how how, uint32_t rights) WAITS MUST;
/* The child gets the parent's list if it has none (a mailbox that is made below a shared one). */
enum err acl_inherit(struct account *owner, uint32_t parent, uint32_t child) WAITS MUST;

/* Owners that share (or once shared) something with somebody, ascending, in the arena. */
enum err acl_owners(struct directory *d, struct acl_who *who, struct arena *a, const uint64_t **out,
                    size_t *n) WAITS MUST;
/* Puts the derived rows again, from the lists of all accounts. */
enum err acl_rebuild(struct directory *d) WAITS MUST;

/* ---- subscriptions to others' mailboxes: rows of the subscriber's account ---- */
struct acl_subscription {
    uint64_t owner;
    uint32_t mailbox;
};
#define ACL_SUBSCRIPTIONS_MAX 2000
enum err acl_subscribe(struct account *a, uint64_t owner, uint32_t mailbox, bool on) WAITS MUST;
/* Ascending, in the arena. */
enum err acl_subscriptions(struct account *a, struct arena *arena,
                           const struct acl_subscription **out, size_t *n) WAITS MUST;

/* ---- rows; for check ---- */
void acl_encode(const struct acl *acl, struct buf *out);
enum err acl_decode(str row, struct arena *a, struct acl *out) MUST; /* borrows from the row */

#endif
