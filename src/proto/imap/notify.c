/* SPDX-License-Identifier: Apache-2.0
 *
 * NOTIFY (RFC 5465): the command, and what it leaves in the session.
 */
#include "proto/imap/notify.h"

#include <string.h>

#include "base/num.h"

#define SUPPORTED_EVENTS                                                                           \
    "BADEVENT (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange "               \
    "MailboxMetadataChange ServerMetadataChange)"

static bool is_below(str name, str parent)
{
    return name.len > parent.len && name.data[parent.len] == '/' && str_starts(name, parent);
}

bool imap_filter_has(const struct imap_filter *f, const struct imap_listed *row)
{
    switch (f->kind) {
    case IMAP_FILTER_INBOXES: /* where mail arrives by itself */
        return row->own && str_eq(row->name, STR("INBOX"));
    case IMAP_FILTER_PERSONAL:
        return row->own;
    case IMAP_FILTER_SUBSCRIBED:
        return row->subscribed;
    case IMAP_FILTER_SELECTED:
    case IMAP_FILTER_SELECTED_DELAYED:
        return false;
    default:
        break;
    }
    for (size_t i = 0; i < f->count; i++) {
        str name = f->mailboxes[i];
        if (str_eq(row->name, name))
            return true;
        if (f->kind == IMAP_FILTER_MAILBOXES || !is_below(row->name, name))
            continue;
        if (f->kind == IMAP_FILTER_SUBTREE ||
            str_find_char(str_skip(row->name, name.len + 1), '/') == STR_NPOS)
            return true;
    }
    return false;
}

/* A group with NONE keeps the groups behind it from its mailboxes. */
uint32_t notify_events_of(const struct imap_notify_state *n, const struct imap_listed *row)
{
    uint32_t events = 0;
    for (size_t i = 0; i < n->args.count; i++) {
        const struct imap_event_group *g = &n->args.groups[i];
        if (!imap_filter_has(&g->filter, row))
            continue;
        if (g->events == 0)
            break;
        events |= g->events;
    }
    return events;
}

/* ---- what is watched ---- */

enum err notify_watch(struct imap *x, const struct imap_listing *l)
{
    struct imap_notify_state *n = x->notify;
    for (size_t i = 0; i < l->n; i++) {
        struct account *a = l->rows[i].account;
        size_t k = 0;
        while (a && k < n->naccounts && n->accounts[k].account != a)
            k++;
        if (!a || k < n->naccounts)
            continue;
        if (k == NOTIFY_ACCOUNTS_MAX)
            return ERR_LIMIT;
        struct notify_account *w = &n->accounts[k];
        struct account_status status;
        TRY(account_open(x->house->accounts, account_id(a), &w->account));
        account_status(w->account, &status);
        w->told = status.version;
        w->watcher = (struct change_watcher){.event = &x->wake};
        account_watch(w->account, &w->watcher);
        n->naccounts++;
    }
    return ERR_OK;
}

enum err notify_remember(struct imap_notify_state *n, const struct imap_listing *l)
{
    arena_free(&n->known_arena);
    arena_init(&n->known_arena, NOTIFY_KNOWN_MAX);
    n->nknown = 0;
    n->known = ARENA_ARRAY(&n->known_arena, struct notify_known, l->n + 1);
    if (!n->known)
        return ERR_LIMIT;
    for (size_t i = 0; i < l->n; i++) {
        const struct imap_listed *row = &l->rows[i];
        struct notify_known *k = &n->known[n->nknown];
        if (!row->account)
            continue;
        *k = (struct notify_known){.owner = account_id(row->account),
                                   .mailbox = row->mailbox,
                                   .subscribed = row->subscribed,
                                   .children = row->children};
        if (!arena_dup(&n->known_arena, row->name, &k->name))
            return ERR_LIMIT;
        n->nknown++;
    }
    return ERR_OK;
}

static void directory_changed(struct store_watch *w)
{
    struct imap_notify_state *n = container_of(w, struct imap_notify_state, directory);
    n->directory_dirty = true;
    event_signal(n->wake);
}

static void state_free(struct imap *x, struct imap_notify_state *n)
{
    for (size_t i = 0; i < n->naccounts; i++) {
        change_watcher_stop(&n->accounts[i].watcher);
        account_close(n->accounts[i].account);
    }
    if (n->watches_directory)
        store_watch_stop(accounts_store(x->house->accounts), &n->directory);
    arena_free(&n->known_arena);
    struct arena arena = n->arena;
    arena_free(&arena); /* n lived in it */
}

void imap_notify_end(struct imap *x)
{
    struct imap_notify_state *n = x->notify;
    x->notify = NULL;
    if (n)
        state_free(x, n);
}

/* ---- the command ---- */

/* Takes the selected mailbox's group out. NULL, or why the command is BAD. */
static const char *take_selected(struct imap_notify_state *n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n->args.count; i++) {
        struct imap_event_group *g = &n->args.groups[i];
        bool delayed = g->filter.kind == IMAP_FILTER_SELECTED_DELAYED;
        n->events |= g->events;
        if (!delayed && g->filter.kind != IMAP_FILTER_SELECTED) {
            if (g->fetch.count)
                return "Only the selected mailbox's messages are fetched";
            n->shared |= g->filter.kind >= IMAP_FILTER_SUBSCRIBED;
            n->args.groups[kept++] = *g;
            continue;
        }
        if (n->selected)
            return "SELECTED is given once, or SELECTED-DELAYED";
        if (g->events & ~(uint32_t)(NOTIFY_MESSAGES | IMAP_EVENT_ANNOTATION_CHANGE))
            return "SELECTED takes events of messages only";
        n->selected = true;
        n->delayed = delayed;
        n->selected_events = g->events;
        n->fetch = g->fetch;
    }
    n->args.count = kept;
    return NULL;
}

/* The command's text is copied, since what is parsed borrows from it. */
static bool parse(struct imap *x, struct imap_cursor *c, struct imap_notify_state *n)
{
    str text;
    if (!arena_dup(&n->arena, c->in, &text)) {
        imap_no(x, ERR_LIMIT);
        return false;
    }
    struct imap_cursor own = imap_cursor_of(text, &n->arena, c->utf8);
    own.pos = c->pos;
    if (!imap_take_notify(&own, &n->args) || !imap_end(&own)) {
        if (own.kind == ERR_UNSUPPORTED)
            imap_no_code(x, SUPPORTED_EVENTS, "Unknown event");
        else
            imap_refuse(x, &own);
        return false;
    }
    const char *bad = take_selected(n);
    if (bad)
        imap_bad_text(x, bad);
    else if (n->events & IMAP_EVENT_ANNOTATION_CHANGE)
        imap_no_code(x, SUPPORTED_EVENTS, "There are no annotations of messages");
    return !x->answered;
}

static bool is_selected(const struct imap *x, const struct imap_listed *row)
{
    return x->selected && row->account == x->selected->account &&
           row->mailbox == x->selected->mailbox;
}

/* RFC 5465 3.1: the state of all mailboxes whose messages are watched. */
static void tell_first(struct imap *x, const struct imap_listing *l)
{
    for (size_t i = 0; i < l->n; i++) {
        uint32_t events = notify_events_of(x->notify, &l->rows[i]) & NOTIFY_MESSAGES;
        if (events && l->rows[i].account && !is_selected(x, &l->rows[i]))
            notify_status(x, &l->rows[i], events, true);
    }
}

static enum err begin(struct imap *x)
{
    struct imap_notify_state *n = x->notify;
    struct imap_listing all = {0};
    struct store *store = accounts_store(x->house->accounts);
    if (n->shared) {
        n->directory = (struct store_watch){.partition = STORE_PARTITION_DIRECTORY,
                                            .changed = directory_changed};
        n->watches_directory = store_watch_start(store, &n->directory) == ERR_OK;
    }
    enum err e = imap_listing_gather(x, n->shared ? IMAP_LISTING_SHARED : 0, &x->scratch, &all);
    if (e == ERR_OK)
        e = notify_watch(x, &all);
    if (e == ERR_OK)
        e = notify_remember(n, &all);
    if (e == ERR_OK && n->args.status)
        tell_first(x, &all);
    imap_listing_close(&all);
    return e;
}

void imap_cmd_notify(struct imap *x, struct imap_cursor *c)
{
    struct arena arena = ARENA_INIT(NOTIFY_BYTES_MAX);
    struct imap_notify_state *n = ARENA_NEW(&arena, struct imap_notify_state);
    if (!n) {
        imap_no(x, ERR_NOMEM);
        return;
    }
    n->arena = arena;
    n->wake = &x->wake;
    if (!parse(x, c, n)) {
        state_free(x, n);
        return;
    }
    imap_notify_end(x);
    x->notify = n;
    enum err e = ERR_OK;
    if (n->args.none)
        imap_notify_end(x);
    else if (n->args.count > 0)
        e = begin(x);
    if (e == ERR_OK) {
        imap_done(x, STR_NONE, "NOTIFY completed");
        return;
    }
    imap_notify_end(x);
    if (e == ERR_LIMIT)
        imap_no_code(x, "NOTIFICATIONOVERFLOW", "Too many mailboxes");
    else
        imap_no(x, e);
}
