/* SPDX-License-Identifier: Apache-2.0
 *
 * account: an account's mail as the sessions of one thread see it. `struct accounts` is the
 * thread's cache of account views over a store; views are shared by all sessions of the thread and
 * belong to it. Sessions see only what is durable ("published"); commits are composed on the
 * predicted head and submitted in a chain, so that many at once share one flush. Changes by other
 * threads and processes are followed through store_watch and the change log.
 *
 * Pointers into a view (struct mailbox, rows) live until the caller's next wait.
 */
#ifndef CORE_ACCOUNT_H
#define CORE_ACCOUNT_H

#include "base/list.h"
#include "core/schema.h"
#include "os/fiber.h"
#include "os/wait.h"

struct accounts;
struct account;

struct quota {
    uint64_t bytes, messages; /* 0: unlimited */
};
struct accounts_options {
    struct store *store; /* borrowed */
    size_t accounts_max; /* views kept while nobody uses them; 0: 1,024 */
    uint64_t bytes_max;  /* of rows in those; 0: 128 MiB */
    size_t unpacked_max; /* bytes of unpacked rows before those are packed; 0: 16 MiB */
    /* Messages from which on a mailbox has a snapshot; 0: 5,000; UINT32_MAX: none has. */
    uint32_t snapshot_min;
    uint32_t snapshot_part; /* rows of a part of it; 0: SNAPSHOT_PART_ROWS */
    /* An account's limits; NULL: none. Should come from a cache: asked for every added message. */
    void *quota_ctx;
    enum err (*quota)(void *ctx, uint64_t account, struct quota *out) WAITS;
    /* Limits in the directory were changed: what is remembered is asked again. May be NULL. */
    void (*quota_changed)(void *ctx);
};
/* For the calling thread. */
enum err accounts_open(const struct accounts_options *o, struct accounts **out) MUST;
void accounts_close(struct accounts *as) WAITS; /* all accounts must be closed */
struct store *accounts_store(const struct accounts *as);

/* The view of an account, loaded if need be; any id from STORE_PARTITION_ACCOUNTS (an account that
 * was never written is empty). Counted: one account_close each. */
enum err account_open(struct accounts *as, uint64_t id, struct account **out) WAITS MUST;
void account_close(struct account *a); /* NULL is fine */
uint64_t account_id(const struct account *a);
struct accounts *account_accounts(const struct account *a);

struct account_status {
    uint64_t version;         /* published; MODSEQ, JMAP state */
    uint64_t bytes, messages; /* usage */
    uint64_t change_floor;
    size_t mailboxes;
};
void account_status(const struct account *a, struct account_status *out);
enum err account_quota(struct account *a, struct quota *out) WAITS MUST;
/* To be called by whoever changed an account's limits in the directory. */
void account_quota_changed(struct account *a);

/* Takes in what others committed, up to a version that was current after the call began. Sessions
 * need not call it: the watch does it. */
enum err account_refresh(struct account *a) WAITS MUST;

/* INBOX Drafts Sent Junk Trash Archive with their roles, subscribed; those that exist stay. */
enum err account_create_mailboxes(struct account *a) WAITS MUST;

/* ---- waking (IDLE, NOTIFY) ---- */
/* Signals `event` whenever something was published in the account (or the mailbox, see mailbox.h),
 * and sets dirty, since events are not remembered. The owner clears dirty before it looks. One
 * event may serve any number of watchers. */
struct change_watcher {
    struct list link;
    struct event *event;
    bool dirty;
};
void account_watch(struct account *a, struct change_watcher *w);
void change_watcher_stop(struct change_watcher *w); /* no-op when not started (zeroed) */

/* ---- history ---- */
/* The changes of the commits after `since`, oldest first; returning false ends it. fn must not
 * wait. ERR_EXPIRED when `since` lies below the floor: the caller compares whole states instead. */
typedef bool account_change_fn(void *arg, uint64_t version, const struct change_entry *e);
enum err account_changes(struct account *a, uint64_t since, account_change_fn *fn,
                         void *arg) WAITS MUST;
/* UIDs expunged from a mailbox after version `since` (QRESYNC VANISHED, RFC 7162 3.2.10.2). Below
 * the floor: every UID below UIDNEXT that does not exist, which the RFC allows. */
enum err account_expunged_since(struct account *a, uint32_t mailbox, uint64_t since,
                                struct set *out) WAITS MUST;

#endif
