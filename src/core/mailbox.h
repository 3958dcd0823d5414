/* SPDX-License-Identifier: Apache-2.0
 *
 * mailbox: the mailboxes of an account: names, roles, subscriptions, and the operations on them.
 * Names are paths of UTF-8 in NFC with '/' between the levels; INBOX is the same in any case.
 * Every operation is one durable commit when it returns (purging a deleted mailbox's messages:
 * more, in the background, and again after a crash).
 */
#ifndef CORE_MAILBOX_H
#define CORE_MAILBOX_H

#include "core/account.h"

/* The published state of a mailbox. Read-only for users; lives until the next wait. */
struct mailbox {
    uint32_t id; /* MAILBOXID; never reused */
    uint32_t uidvalidity;
    str path;
    enum mailbox_role role;
    bool subscribed;
    uint64_t created, changed; /* versions; changed: the last commit that touched it in any way */
    struct state_row state;
    const struct keyword_table *keywords;
};

/* NULL: there is none. Any case of INBOX. */
const struct mailbox *mailbox_find(struct account *a, str path);
const struct mailbox *mailbox_get(struct account *a, uint32_t id);
const struct mailbox *mailbox_by_role(struct account *a, enum mailbox_role role);
/* In order of path, where '/' sorts before everything, so a tree comes parent first: begin with
 * index 0; NULL after the last. */
const struct mailbox *mailbox_at(struct account *a, size_t index);
bool mailbox_has_children(struct account *a, const struct mailbox *m);
int mailbox_path_cmp(str a, str b); /* that order; below, at or above 0 */

/* Checks and brings into the form that is kept: NFC, INBOX in capitals. ERR_INVALID (not UTF-8,
 * control characters, empty levels, "." and ".." levels), ERR_LIMIT. */
enum err mailbox_name_normalize(str path, struct buf *out) MUST;
/* "\\Drafts" … as in RFC 6154, empty for none and INBOX; and back (any case), ROLE_NONE if unknown.
 */
str mailbox_role_name(enum mailbox_role r);
enum mailbox_role mailbox_role_parse(str name);

/* Makes the missing parents too. ERR_EXISTS; ERR_INVALID; ERR_LIMIT (MAILBOXES_MAX). A role that
 * another mailbox has: ERR_EXISTS. */
enum err mailbox_create(struct account *a, str path, enum mailbox_role role,
                        uint32_t *id) WAITS MUST;
/* With all below it. INBOX: its messages move to the new mailbox, INBOX stays (RFC 9051 6.3.6).
 * ERR_NOT_FOUND, ERR_EXISTS, ERR_INVALID (into itself). */
enum err mailbox_rename(struct account *a, str from, str to) WAITS MUST;
/* ERR_DENIED for INBOX, ERR_HAS_CHILDREN. Open sessions get MAILBOX_NEWS_GONE. The name stays
 * subscribed if it was (subscription.h). */
enum err mailbox_delete(struct account *a, str path) WAITS MUST;
/* ERR_NOT_FOUND; taking off the name of a deleted mailbox is fine. */
enum err mailbox_subscribe(struct account *a, str path, bool subscribed) WAITS MUST;
enum err mailbox_set_role(struct account *a, uint32_t id, enum mailbox_role role) WAITS MUST;
/* Makes sure that the mailbox knows these keywords; *bits gets theirs. ERR_LIMIT (KEYWORDS_MAX),
 * ERR_INVALID (not an IMAP atom, or too long). Commits only when one is new. */
enum err mailbox_keywords(struct account *a, uint32_t id, const str *names, size_t n,
                          uint64_t *bits) WAITS MUST;

/* Waits until no deleted mailbox of the account has messages left, whoever takes them out. */
enum err mailbox_purge(struct account *a) WAITS MUST;

#endif
