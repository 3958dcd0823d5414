/* SPDX-License-Identifier: Apache-2.0
 *
 * notify: what NOTIFY (RFC 5465) keeps for a session: what was asked for, the accounts that are
 * watched, and the mailboxes as the client knows them. notify.c makes and ends it, notify_tell.c
 * looks and tells.
 */
#ifndef PROTO_IMAP_NOTIFY_H
#define PROTO_IMAP_NOTIFY_H

#include "proto/imap/place.h"

#define NOTIFY_ACCOUNTS_MAX 256            /* that share with the session */
#define NOTIFY_BYTES_MAX ((size_t)1 << 20) /* the command */
#define NOTIFY_KNOWN_MAX ((size_t)4 << 20) /* names of mailboxes */
#define NOTIFY_MESSAGES                                                                            \
    (IMAP_EVENT_MESSAGE_NEW | IMAP_EVENT_MESSAGE_EXPUNGE | IMAP_EVENT_FLAG_CHANGE)

struct notify_account {
    struct account *account; /* held open */
    struct change_watcher watcher;
    uint64_t told; /* version */
};
/* A mailbox as the client knows it. */
struct notify_known {
    uint64_t owner;
    uint32_t mailbox;
    bool subscribed, children;
    str name;
};
struct imap_notify_state {
    struct arena arena;      /* holds this struct and the command */
    struct imap_notify args; /* without the group of the selected mailbox */
    bool selected, delayed;  /* a group of the selected mailbox was given; its expunges wait */
    uint32_t selected_events;
    struct imap_fetch fetch; /* items of its MessageNew */
    uint32_t events;         /* of all groups */
    bool shared;             /* a group may reach others' mailboxes */
    struct notify_account accounts[NOTIFY_ACCOUNTS_MAX];
    size_t naccounts;
    struct arena known_arena;
    struct notify_known *known;
    size_t nknown;
    /* Who shares with whom may change in the directory. */
    struct store_watch directory;
    struct event *wake;
    bool watches_directory, directory_dirty;
    uint32_t fetch_from; /* new messages of the selected mailbox not fetched yet: from this UID */
};

/* The events that were asked for about a mailbox (not of the selected one's group). */
uint32_t notify_events_of(const struct imap_notify_state *n, const struct imap_listed *row);
/* Watches the accounts that the listing names and that are not watched yet. */
enum err notify_watch(struct imap *x, const struct imap_listing *l) MUST;
/* Remembers the listing as what the client knows. */
enum err notify_remember(struct imap_notify_state *n, const struct imap_listing *l) MUST;
/* STATUS of a mailbox: what the events ask for. */
void notify_status(struct imap *x, const struct imap_listed *row, uint32_t events, bool first);

#endif
