/* SPDX-License-Identifier: Apache-2.0
 *
 * Mailbox filters (RFC 5465 5, RFC 7377 2.2) and NOTIFY (RFC 5465 3).
 */
#include "base/num.h"
#include "format/imap_args.h"

bool imap_take_filter(struct imap_cursor *c, struct imap_filter *out)
{
    static const struct {
        str name;
        enum imap_filter_kind kind;
        bool mailboxes;
    } rows[] = {
        {STR_INIT("SELECTED"), IMAP_FILTER_SELECTED, false},
        {STR_INIT("SELECTED-DELAYED"), IMAP_FILTER_SELECTED_DELAYED, false},
        {STR_INIT("INBOXES"), IMAP_FILTER_INBOXES, false},
        {STR_INIT("PERSONAL"), IMAP_FILTER_PERSONAL, false},
        {STR_INIT("SUBSCRIBED"), IMAP_FILTER_SUBSCRIBED, false},
        {STR_INIT("SUBTREE"), IMAP_FILTER_SUBTREE, true},
        {STR_INIT("SUBTREE-ONE"), IMAP_FILTER_SUBTREE_ONE, true},
        {STR_INIT("MAILBOXES"), IMAP_FILTER_MAILBOXES, true},
    };
    *out = (struct imap_filter){0};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (!imap_accept_word(c, rows[i].name))
            continue;
        out->kind = rows[i].kind;
        return !rows[i].mailboxes ||
               (imap_sp(c) && imap_words(c, imap_mailbox, &out->mailboxes, &out->count));
    }
    return imap_error(c, "Unknown mailbox filter");
}

static bool take_event(struct imap_cursor *c, struct imap_event_group *group)
{
    static const struct {
        str name;
        uint32_t bit;
    } rows[] = {
        {STR_INIT("MessageNew"), IMAP_EVENT_MESSAGE_NEW},
        {STR_INIT("MessageExpunge"), IMAP_EVENT_MESSAGE_EXPUNGE},
        {STR_INIT("FlagChange"), IMAP_EVENT_FLAG_CHANGE},
        {STR_INIT("AnnotationChange"), IMAP_EVENT_ANNOTATION_CHANGE},
        {STR_INIT("MailboxName"), IMAP_EVENT_MAILBOX_NAME},
        {STR_INIT("SubscriptionChange"), IMAP_EVENT_SUBSCRIPTION_CHANGE},
        {STR_INIT("MailboxMetadataChange"), IMAP_EVENT_MAILBOX_METADATA_CHANGE},
        {STR_INIT("ServerMetadataChange"), IMAP_EVENT_SERVER_METADATA_CHANGE},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (!imap_accept_word(c, rows[i].name))
            continue;
        group->events |= rows[i].bit;
        if (rows[i].bit == IMAP_EVENT_MESSAGE_NEW &&
            str_starts(str_skip(c->in, c->pos), STR(" ("))) {
            c->pos++;
            return imap_take_fetch_atts(c, &group->fetch);
        }
        return true;
    }
    return imap_error_kind(c, ERR_UNSUPPORTED, "Unknown event"); /* NO [BADEVENT] */
}

/* RFC 5465 5: MessageNew and MessageExpunge go together, FlagChange needs both. */
static bool check_events(struct imap_cursor *c, uint32_t events)
{
    const uint32_t both = IMAP_EVENT_MESSAGE_NEW | IMAP_EVENT_MESSAGE_EXPUNGE;
    if ((events & both) && (events & both) != both)
        return imap_error(c, "MessageNew and MessageExpunge go together");
    if ((events & (IMAP_EVENT_FLAG_CHANGE | IMAP_EVENT_ANNOTATION_CHANGE)) && !(events & both))
        return imap_error(c, "FlagChange needs MessageNew and MessageExpunge");
    return imap_ok(c);
}

static bool take_event_group(struct imap_cursor *c, struct imap_event_group *group)
{
    *group = (struct imap_event_group){0};
    if (!imap_expect(c, '(') || !imap_take_filter(c, &group->filter) || !imap_sp(c))
        return false;
    if (imap_accept_word(c, STR("NONE")))
        return imap_expect(c, ')');
    if (!imap_expect(c, '('))
        return false;
    if (imap_peek(c) != ')') {
        do {
            if (!take_event(c, group))
                return false;
        } while (imap_accept(c, ' '));
    }
    return imap_expect(c, ')') && imap_expect(c, ')') && check_events(c, group->events);
}

bool imap_take_notify(struct imap_cursor *c, struct imap_notify *out)
{
    size_t cap = 0;
    *out = (struct imap_notify){0};
    if (imap_accept_word(c, STR("NONE"))) {
        out->none = true;
        return true;
    }
    if (!imap_accept_word(c, STR("SET")))
        return imap_error(c, "SET or NONE expected");
    imap_sp(c);
    if (imap_accept_word(c, STR("STATUS"))) {
        out->status = true;
        imap_sp(c);
    }
    do {
        struct imap_event_group *groups =
            imap_grow(c, out->groups, out->count, &cap, sizeof(*groups), 1000);
        if (!groups)
            return false;
        out->groups = groups;
        if (!take_event_group(c, &groups[out->count++]))
            return false;
    } while (imap_accept(c, ' '));
    return imap_ok(c);
}
