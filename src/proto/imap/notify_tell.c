/* SPDX-License-Identifier: Apache-2.0
 *
 * Looking at what was committed since, and telling what was asked for (RFC 5465 5).
 */
#include <string.h>

#include "base/num.h"
#include "proto/imap/notify.h"

#define NOTED_BYTES_MAX ((size_t)8 << 20) /* of what one look notes; beyond it all is told */

bool imap_notify_has_news(const struct imap *x)
{
    const struct imap_notify_state *n = x->notify;
    if (!n)
        return false;
    for (size_t i = 0; i < n->naccounts; i++)
        if (n->accounts[i].watcher.dirty)
            return true;
    if (x->selected && n->selected && x->selected->view.watcher.dirty)
        return true;
    return n->directory_dirty || n->fetch_from != 0;
}

void notify_status(struct imap *x, const struct imap_listed *row, uint32_t events, bool first)
{
    const uint32_t arrivals = IMAP_EVENT_MESSAGE_NEW | IMAP_EVENT_MESSAGE_EXPUNGE;
    const struct mailbox *m = mailbox_get(row->account, row->mailbox);
    uint32_t items = IMAP_STATUS_UIDVALIDITY;
    if (!m || !(row->rights & IMAP_RIGHT('r')))
        return;
    if (events & arrivals)
        items |= IMAP_STATUS_MESSAGES | IMAP_STATUS_UIDNEXT;
    if ((events & IMAP_EVENT_FLAG_CHANGE) || !first)
        items |= IMAP_STATUS_UNSEEN;
    /* RFC 5465 3.1, 5.1: it is what every change of a flag moves. */
    if ((events & IMAP_EVENT_FLAG_CHANGE) || imap_has(x, IMAP_ENABLED_CONDSTORE))
        items |= IMAP_STATUS_HIGHESTMODSEQ;
    imap_render_status(x, row->name, m, items, imap_out(x));
    imap_flush_check(x);
}

/* ---- what the change log says ---- */

struct noted {
    uint32_t mailbox;
    uint32_t events; /* of messages; or METADATA_CHANGE with a name */
    str name;
};
struct look {
    struct imap_notify_state *n;
    struct arena *arena;
    struct account *account;
    bool own, mailboxes; /* names, subscriptions or rights may have changed */
    struct buf noted;    /* struct noted */
    bool all;            /* the log does not go back so far */
};

static struct noted *noted_of(struct look *l, uint32_t mailbox)
{
    struct noted *list = (struct noted *)l->noted.data;
    size_t n = l->noted.len / sizeof *list;
    for (size_t i = n; i-- > 0 && n - i <= 64;) /* the same few over and over */
        if (list[i].mailbox == mailbox && str_empty(list[i].name))
            return &list[i];
    struct noted one = {.mailbox = mailbox};
    buf_add(&l->noted, str_of(&one, sizeof one));
    return buf_ok(&l->noted) ? (struct noted *)l->noted.data + n : NULL;
}

static bool note(void *arg, uint64_t version, const struct change_entry *e)
{
    static const uint32_t events[] = {
        [CHANGE_ADDED] = IMAP_EVENT_MESSAGE_NEW,
        [CHANGE_FLAGS] = IMAP_EVENT_FLAG_CHANGE,
        [CHANGE_EXPUNGED] = IMAP_EVENT_MESSAGE_EXPUNGE,
    };
    struct look *l = arg;
    struct noted one = {.mailbox = e->mailbox};
    if (e->kind == CHANGE_METADATA) {
        one.events =
            e->mailbox ? IMAP_EVENT_MAILBOX_METADATA_CHANGE : IMAP_EVENT_SERVER_METADATA_CHANGE;
        /* What others write about their own is theirs (private scope). */
        bool theirs = !l->own && str_starts(e->name, STR("/private"));
        if (!str_empty(e->name) && !theirs && arena_dup(l->arena, e->name, &one.name))
            buf_add(&l->noted, str_of(&one, sizeof one));
    } else if (e->kind <= CHANGE_EXPUNGED) {
        struct noted *at = noted_of(l, e->mailbox);
        if (at)
            at->events |= events[e->kind];
    } else if (e->kind != CHANGE_DESTROYED) {
        l->mailboxes = true;
    }
    return buf_ok(&l->noted);
}

static enum err look(struct look *l, struct notify_account *w)
{
    struct account_status status;
    w->watcher.dirty = false;
    account_status(w->account, &status);
    uint64_t since = w->told;
    w->told = status.version;
    enum err e = account_changes(w->account, since, note, l);
    if (e == ERR_EXPIRED || e == ERR_CORRUPT || !buf_ok(&l->noted)) {
        l->all = l->mailboxes = true;
        return ERR_OK;
    }
    return e;
}

/* ---- names and subscriptions ---- */

static void list_line(struct imap *x, const struct imap_listed *row, str old)
{
    struct buf *out = imap_out(x);
    str role = mailbox_role_name(row->role);
    buf_add(out, STR("* LIST ("));
    buf_add(out, row->children ? STR("\\HasChildren") : STR("\\HasNoChildren"));
    if (row->subscribed)
        buf_add(out, STR(" \\Subscribed"));
    if (!str_empty(role))
        buf_addf(out, " %.*s", STR_ARG(role));
    buf_add(out, STR(") \"/\" "));
    imap_render_mailbox(out, row->name, imap_utf8_names(x));
    if (!str_empty(old)) {
        buf_add(out, STR(" (\"OLDNAME\" ("));
        imap_render_mailbox(out, old, imap_utf8_names(x));
        buf_add(out, STR("))"));
    }
    buf_add(out, STR("\r\n"));
    imap_flush_check(x);
}

static void gone_line(struct imap *x, str name)
{
    struct buf *out = imap_out(x);
    buf_add(out, STR("* LIST (\\NonExistent) \"/\" "));
    imap_render_mailbox(out, name, imap_utf8_names(x));
    buf_add(out, STR("\r\n"));
    imap_flush_check(x);
}

/* Both lists are mostly in the same order: the search begins where the last one ended. */
static const struct notify_known *known_find(const struct imap_notify_state *n, uint64_t owner,
                                             uint32_t mailbox, size_t *at)
{
    for (size_t i = 0; i < n->nknown; i++) {
        size_t k = (*at + i) % n->nknown;
        if (n->known[k].owner == owner && n->known[k].mailbox == mailbox) {
            *at = k + 1;
            return &n->known[k];
        }
    }
    return NULL;
}

static const struct imap_listed *row_find(const struct imap_listing *l, uint64_t owner,
                                          uint32_t mailbox, size_t *at)
{
    for (size_t i = 0; i < l->n; i++) {
        size_t k = (*at + i) % l->n;
        const struct imap_listed *row = &l->rows[k];
        if (row->account && row->mailbox == mailbox && account_id(row->account) == owner) {
            *at = k + 1;
            return row;
        }
    }
    return NULL;
}

static void tell_row(struct imap *x, const struct imap_listed *row, const struct notify_known *was)
{
    uint32_t events = notify_events_of(x->notify, row);
    if (was && !str_eq(was->name, row->name)) { /* asked for under either name */
        struct imap_listed before = *row;
        before.name = was->name;
        events |= notify_events_of(x->notify, &before);
    }
    bool renamed = was && !str_eq(was->name, row->name);
    bool subscribed = was ? was->subscribed != row->subscribed : row->subscribed;
    bool parent = was && was->children != row->children; /* of what was made or deleted (5.4) */
    if ((!was || renamed || parent) && (events & IMAP_EVENT_MAILBOX_NAME))
        list_line(x, row, renamed ? was->name : STR_NONE);
    else if (subscribed && (events & IMAP_EVENT_SUBSCRIPTION_CHANGE))
        list_line(x, row, STR_NONE);
}

static void tell_mailboxes(struct imap *x, const struct imap_listing *l)
{
    struct imap_notify_state *n = x->notify;
    size_t at = 0;
    for (size_t i = 0; i < n->nknown; i++) {
        const struct notify_known *k = &n->known[i];
        struct imap_listed was = {.own = k->owner == account_id(x->account),
                                  .subscribed = k->subscribed,
                                  .name = k->name};
        if (!row_find(l, k->owner, k->mailbox, &at) &&
            (notify_events_of(n, &was) & IMAP_EVENT_MAILBOX_NAME))
            gone_line(x, k->name);
    }
    at = 0;
    for (size_t i = 0; i < l->n; i++)
        if (l->rows[i].account)
            tell_row(x, &l->rows[i],
                     known_find(n, account_id(l->rows[i].account), l->rows[i].mailbox, &at));
}

/* ---- messages and metadata ---- */

static void tell_metadata(struct imap *x, str mailbox, str entry)
{
    struct buf *out = imap_out(x);
    buf_add(out, STR("* METADATA "));
    imap_render_mailbox(out, mailbox, imap_utf8_names(x));
    buf_add_char(out, ' ');
    imap_render_astring(out, entry);
    buf_add(out, STR("\r\n"));
    imap_flush_check(x);
}

static bool is_selected(const struct imap *x, const struct imap_listed *row)
{
    return x->selected && row->account == x->selected->account &&
           row->mailbox == x->selected->mailbox;
}

static void tell_noted(struct imap *x, const struct look *l, const struct imap_listing *all)
{
    const struct noted *list = (const struct noted *)l->noted.data;
    size_t n = l->noted.len / sizeof *list, at = 0;
    for (size_t i = 0; i < n; i++) {
        if (!list[i].mailbox) {
            if (l->own && (x->notify->events & IMAP_EVENT_SERVER_METADATA_CHANGE))
                tell_metadata(x, STR_NONE, list[i].name);
            continue;
        }
        const struct imap_listed *row = row_find(all, account_id(l->account), list[i].mailbox, &at);
        uint32_t events = row ? notify_events_of(x->notify, row) & list[i].events : 0;
        if (events & IMAP_EVENT_MAILBOX_METADATA_CHANGE)
            tell_metadata(x, row->name, list[i].name);
        else if (events && !is_selected(x, row))
            notify_status(x, row, events, false);
    }
}

static void tell_all_states(struct imap *x, const struct look *l, const struct imap_listing *all)
{
    for (size_t i = 0; i < all->n; i++) {
        const struct imap_listed *row = &all->rows[i];
        uint32_t events = notify_events_of(x->notify, row) & NOTIFY_MESSAGES;
        if (row->account == l->account && events && !is_selected(x, row))
            notify_status(x, row, events, false);
    }
}

struct looks {
    struct look list[NOTIFY_ACCOUNTS_MAX];
    size_t n;
};

static enum err look_at_all(struct imap *x, struct looks *looks, bool *mailboxes)
{
    struct imap_notify_state *n = x->notify;
    for (size_t i = 0; i < n->naccounts; i++) {
        struct notify_account *w = &n->accounts[i];
        if (!w->watcher.dirty)
            continue;
        struct look *l = &looks->list[looks->n++];
        *l = (struct look){.n = n,
                           .arena = &x->scratch,
                           .account = w->account,
                           .own = w->account == x->account,
                           .noted = BUF_INIT(NOTED_BYTES_MAX)};
        TRY(look(l, w));
        *mailboxes = *mailboxes || l->mailboxes;
    }
    return ERR_OK;
}

static enum err tell_accounts(struct imap *x, struct looks *looks, struct imap_listing *all)
{
    struct imap_notify_state *n = x->notify;
    bool mailboxes = n->directory_dirty;
    n->directory_dirty = false;
    TRY(look_at_all(x, looks, &mailboxes));
    TRY(imap_listing_gather(x, n->shared ? IMAP_LISTING_SHARED : 0, &x->scratch, all));
    if (mailboxes) {
        TRY(notify_watch(x, all));
        tell_mailboxes(x, all);
        TRY(notify_remember(n, all));
    }
    for (size_t i = 0; i < looks->n; i++) {
        if (looks->list[i].all)
            tell_all_states(x, &looks->list[i], all);
        else
            tell_noted(x, &looks->list[i], all);
    }
    return ERR_OK;
}

static bool accounts_dirty(const struct imap_notify_state *n)
{
    bool dirty = n->directory_dirty;
    for (size_t i = 0; i < n->naccounts; i++)
        dirty = dirty || n->accounts[i].watcher.dirty;
    return dirty;
}

/* ---- the selected mailbox ---- */

void imap_notify_arrived(struct imap *x, uint32_t first)
{
    struct imap_notify_state *n = x->notify;
    if (n && n->fetch.count && (n->fetch_from == 0 || first < n->fetch_from))
        n->fetch_from = MAX(first, 1u);
}

static void tell_selected(struct imap *x)
{
    struct imap_notify_state *n = x->notify;
    if (!x->selected || !n->selected)
        return;
    x->selected->view.watcher.dirty = false;
    if (n->selected_events)
        imap_tell_news(x, !n->delayed);
    if (!n->fetch_from || !x->selected || x->closing)
        return;
    SET_AUTO struct set uids = {0};
    enum err e = set_add_range(&uids, n->fetch_from, UINT32_MAX);
    n->fetch_from = 0;
    if (e == ERR_OK)
        imap_fetch_told(x, &n->fetch, &uids);
}

/* RFC 5465 3.1: more than can be told ends it. */
static void overflow(struct imap *x)
{
    stream_write(x->stream, STR("* OK [NOTIFICATIONOVERFLOW] Notifications end here\r\n"));
    imap_notify_end(x);
}

void imap_notify_tell(struct imap *x)
{
    tell_selected(x);
    if (x->closing || !x->notify || !accounts_dirty(x->notify))
        return;
    struct imap_listing all = {0};
    struct looks *looks = ARENA_NEW(&x->scratch, struct looks);
    enum err e = looks ? tell_accounts(x, looks, &all) : ERR_LIMIT;
    imap_listing_close(&all);
    for (size_t i = 0; looks && i < looks->n; i++)
        buf_free(&looks->list[i].noted);
    arena_reset(&x->scratch);
    if (e != ERR_OK)
        overflow(x);
}
