/* SPDX-License-Identifier: Apache-2.0
 *
 * directory: domains, accounts, aliases, groups and who may use which address. Rows of the
 * partition STORE_PARTITION_DIRECTORY. One address model serves receiving and sending (rule
 * auth-3).
 *
 * Names are normalised on the way in: domains to lower-case A-labels (libidn2), local parts to NFC
 * and lower case (utf8proc). Every change is one commit; ERR_CONFLICT is retried inside.
 */
#ifndef CORE_DIRECTORY_H
#define CORE_DIRECTORY_H

#include "base/arena.h"
#include "base/err.h"
#include "store/store.h"

#define DIR_LOCAL_MAX 64   /* bytes, RFC 5321 4.5.3.1.1 */
#define DIR_DOMAIN_MAX 255 /* bytes */
#define DIR_ADDRESS_MAX 320
#define DIR_TARGETS_MAX 1000 /* of one alias or group */
#define DIR_EXPAND_MAX 5000  /* final targets of one recipient */
#define DIR_DEPTH_MAX 16     /* aliases of aliases */
#define DIR_NAME_MAX 255     /* display names */

struct directory {
    struct store *store;
};

/* ---- addresses ---- */
/* "Local+tag@EXAMPLE.test" → "local+tag@example.test". ERR_SYNTAX. */
enum err directory_normalise(str address, struct arena *a, str *out) MUST;
enum err directory_normalise_domain(str domain, struct arena *a, str *out) MUST;

/* ---- domains ---- */
struct domain {
    str name;
    str catch_all;     /* address that receives what nobody else does; empty: none */
    uint8_t separator; /* of plus-addressing, e.g. '+'; 0: off */
    uint64_t quota_bytes, quota_messages; /* defaults for new accounts; 0: unlimited */
    int64_t created_s;
};
enum err directory_domain_add(struct directory *d,
                              const struct domain *dom) WAITS MUST; /* EXISTS */
enum err directory_domain_set(struct directory *d,
                              const struct domain *dom) WAITS MUST; /* ERR_NO_DOMAIN */
enum err directory_domain_get(struct directory *d, str name, struct arena *a,
                              struct domain *out) WAITS MUST; /* ERR_NO_DOMAIN */
/* ERR_HAS_CHILDREN while an address of the domain is left. */
enum err directory_domain_remove(struct directory *d, str name) WAITS MUST;

/* ---- accounts ---- */
enum account_state {
    ACCOUNT_ACTIVE,
    ACCOUNT_DISABLED, /* no login, no reception: 550 5.2.1 */
    ACCOUNT_OF_GROUP  /* holds a group's shared mailboxes; no login */
};
struct account_entry {
    uint64_t id;
    str address;                          /* primary */
    str name;                             /* display name */
    uint64_t quota_bytes, quota_messages; /* 0: unlimited */
    enum account_state state;
    uint32_t protocols; /* enum protocol bits that a password may be used for */
    bool admin;         /* may set others' limits (IMAP SETQUOTA) */
    int64_t created_s;
};
/* Gives the id. ERR_EXISTS (address taken by anything), ERR_NO_DOMAIN. */
enum err directory_account_add(struct directory *d, const struct account_entry *e,
                               uint64_t *id) WAITS MUST;
enum err directory_account_get(struct directory *d, uint64_t id, struct arena *a,
                               struct account_entry *out) WAITS MUST; /* NOT_FOUND */
enum err directory_account_find(struct directory *d, str address, struct arena *a,
                                struct account_entry *out) WAITS MUST; /* by primary address */
enum err directory_account_set(struct directory *d, const struct account_entry *e) WAITS MUST;
/* Removes the entry, its credentials, and its addresses; the caller removes its mail. */
enum err directory_account_remove(struct directory *d, uint64_t id) WAITS MUST;

/* ---- aliases and groups ---- */
enum address_kind { ADDRESS_ACCOUNT, ADDRESS_ALIAS, ADDRESS_GROUP };
enum {
    ADDRESS_SEND_ONLY = 1,
    ADDRESS_RECEIVE_ONLY = 2,
    ADDRESS_TO_MAILBOX = 4, /* a group's mail goes to its shared mailbox */
    ADDRESS_TO_MEMBERS = 8  /* … and to its members too; without TO_MAILBOX only to them anyway */
};
struct address_entry {
    str address;
    enum address_kind kind;
    uint8_t flags;
    uint64_t account;   /* ADDRESS_ACCOUNT; of a group: that of its shared mailboxes, 0 for none */
    str name;           /* of a group */
    const str *targets; /* addresses, here or foreign */
    size_t ntargets;
};
enum err directory_address_get(struct directory *d, str address, struct arena *a,
                               struct address_entry *out) WAITS MUST; /* NOT_FOUND */
/* Aliases and groups only. */
enum err directory_address_add(struct directory *d, const struct address_entry *e) WAITS MUST;
enum err directory_address_set(struct directory *d, const struct address_entry *e) WAITS MUST;
/* A group's account goes too; the caller removes its mail. */
enum err directory_address_remove(struct directory *d, str address) WAITS MUST;
/* Gives a group an account for shared mailboxes, if it has none, and sets how its mail is delivered
 * (ADDRESS_TO_ bits). ERR_NOT_FOUND: no such group. */
enum err directory_group_share(struct directory *d, str address, uint8_t to,
                               uint64_t *account) WAITS MUST;
/* Does the group lead to the account, through groups and aliases? ERR_NOT_FOUND: no such group. */
enum err directory_is_member(struct directory *d, str group, uint64_t account,
                             bool *member) WAITS MUST;

/* Lists by name, a page at a time: `after` exclusive, empty at the start. The callback must not
 * wait. */
typedef bool directory_domain_fn(void *arg, const struct domain *dom);
typedef bool directory_account_fn(void *arg, const struct account_entry *e);
typedef bool directory_address_fn(void *arg, const struct address_entry *e);
enum err directory_domains(struct directory *d, str after, size_t limit, directory_domain_fn *fn,
                           void *arg) WAITS MUST;
enum err directory_accounts(struct directory *d, uint64_t after_id, size_t limit,
                            directory_account_fn *fn, void *arg) WAITS MUST;
/* kind_mask: bits 1 << enum address_kind. domain: empty for all. */
enum err directory_addresses(struct directory *d, str domain, str after, unsigned kind_mask,
                             size_t limit, directory_address_fn *fn, void *arg) WAITS MUST;

/* ---- resolution ---- */
struct resolution_target {
    uint64_t account; /* 0: foreign */
    str address;      /* final address: Delivered-To here, or RCPT there */
};
struct resolution {
    str address; /* normalised recipient */
    const struct resolution_target *targets;
    size_t ntargets;
    bool here; /* the domain is ours */
};
/* Follows aliases, groups, catch-all and plus-addressing; each account once; a loop ends quietly
 * (ERR_LOOP when nothing else is reached).
 * ERR_NO_DOMAIN is not an error here: a foreign domain gives one foreign target, spelled as given,
 * and here = false.
 * ERR_NO_USER, ERR_DISABLED, ERR_DENIED (send-only), ERR_SYNTAX, ERR_LIMIT. */
enum err directory_resolve(struct directory *d, str address, struct arena *a,
                           struct resolution *out) WAITS MUST;
/* What you receive you may send as (but receive-only addresses), and what was granted. ERR_SENDER.
 */
enum err directory_may_send(struct directory *d, uint64_t account, str address) WAITS MUST;
enum err directory_grant_send(struct directory *d, uint64_t account, str address,
                              bool granted) WAITS MUST;
/* What was granted to it. list gets an array in the arena. */
enum err directory_grants(struct directory *d, uint64_t account, struct arena *a, const str **list,
                          size_t *n) WAITS MUST;
#define DIR_GRANTS_MAX STORE_PAGE_MAX /* of one account, that are listed */

#endif
