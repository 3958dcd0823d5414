/* SPDX-License-Identifier: Apache-2.0
 *
 * view: the rows of one mailbox in memory, sorted by UID, shared by all sessions of the thread; and
 * what one IMAP session knows of it. A view is loaded from its snapshot and the change log
 * (core/snapshot.h), or with one scan, and then follows the commits. Rows that nobody looks at are
 * kept packed, 8 to 14 bytes each.
 *
 * Sequence numbers: the view drops expunged rows at once. A session remembers the UIDs that it has
 * announced and whose expunge it has not ("owed"), so its numbers are
 *     seq(uid) = rows in the view below uid + owed UIDs below uid + 1,
 * and they change only when the session itself takes news. Lookups are O(log n); memory per session
 * is that of the owed and changed UIDs, as ranges.
 */
#ifndef CORE_VIEW_H
#define CORE_VIEW_H

#include "core/mailbox.h"

struct mailbox_view;

/* Counted; ERR_NOT_FOUND. The account stays open as long as the view. */
enum err view_open(struct account *a, uint32_t mailbox, struct mailbox_view **out) WAITS MUST;
void view_close(struct mailbox_view *v); /* NULL is fine */

/* NULL when the mailbox was deleted. */
const struct mailbox *view_mailbox(const struct mailbox_view *v);
size_t view_count(const struct mailbox_view *v);
uint32_t view_last_uid(const struct mailbox_view *v); /* 0 when empty */
/* By place (0 …), by UID; NULL if none. Until the next wait. */
const struct message_row *view_at(const struct mailbox_view *v, size_t index);
const struct message_row *view_find(const struct mailbox_view *v, uint32_t uid);
/* Place of the first row with a UID >= uid (view_count if none). */
size_t view_place(const struct mailbox_view *v, uint32_t uid);
/* Rows that lie one after the other in memory, from place index on: their number (0 at the end).
 * The fast way through all of them:
 *     for (size_t i = 0, n; (n = view_run(v, i, &rows)) > 0; i += n) … rows[0 … n-1] … */
size_t view_run(const struct mailbox_view *v, size_t index, const struct message_row **rows);
/* The same without a look at the rows, where UIDs follow one another without a hole: *first is that
 * of place index. 0: look. */
size_t view_solid(const struct mailbox_view *v, size_t index, uint32_t *first);
/* The first place from index on behind which, before the next place of view_run, there may be rows
 * that are wanted: whole stretches without any are passed over unread. view_count if none. */
struct view_want {
    uint64_t modseq_above; /* rows with a higher one */
    bool unseen, deleted;  /* rows without \Seen; with \Deleted */
};
size_t view_seek(const struct mailbox_view *v, size_t index, const struct view_want *want);
/* Signalled when this mailbox changes. Stop with change_watcher_stop. */
void view_watch(struct mailbox_view *v, struct change_watcher *w);

/* ---- a session with a selected mailbox ---- */
struct mailbox_session {
    struct mailbox_view *view;
    struct list link;
    struct change_watcher watcher;
    uint32_t exists_uid; /* highest announced UID */
    uint32_t announced;  /* EXISTS, less the expunges told */
    struct set owed;     /* announced, expunged, not yet told; ranges before owed_from were told */
    size_t owed_from;
    uint64_t owed_count;
    struct buf ranks; /* u32 per range: owed UIDs before it; made when needed */
    bool ranked;
    uint64_t told_version; /* while something is owed: nothing at or below it is */
    struct set changed;    /* announced, flags changed, not yet told */
    bool changed_all;      /* too many to remember: all rows with modseq > changed_since */
    uint64_t changed_since, changed_version;
    uint32_t changed_next; /* where the walk through changed_all stands */
    uint32_t keywords_told;
    bool gone_told;
    bool failed; /* out of memory: the numbers cannot be kept right; say BYE */
};
#define MAILBOX_SESSION_CHANGED_MAX 4096 /* ranges, then changed_all */

/* Everything that is there now counts as announced. wake: signalled on news (may be NULL). */
enum err mailbox_session_open(struct account *a, uint32_t mailbox, struct event *wake,
                              struct mailbox_session *s) WAITS MUST;
void mailbox_session_close(struct mailbox_session *s); /* fine on a zeroed one, and twice */

/* What the client has been told. */
uint32_t mailbox_session_exists(const struct mailbox_session *s);
/* 0: not a message of this session. A message whose expunge is owed still has its numbers. */
uint32_t mailbox_session_seq(struct mailbox_session *s, uint32_t uid);
uint32_t mailbox_session_uid(struct mailbox_session *s, uint32_t seq);
/* NULL: no such number, or expunged meanwhile (EXPUNGEISSUED, RFC 5530). */
const struct message_row *mailbox_session_row(struct mailbox_session *s, uint32_t seq);
/* Sequence numbers to UIDs (owed ones included), O(ranges log n + result ranges). Numbers beyond
 * EXISTS: ERR_INVALID (a client's BAD). */
enum err mailbox_session_uids(struct mailbox_session *s, const struct set *seqs,
                              struct set *uids) MUST;
/* HIGHESTMODSEQ that may be told: nothing at or below it is still owed. */
uint64_t mailbox_session_modseq(const struct mailbox_session *s);

enum mailbox_news_kind {
    MAILBOX_NEWS_GONE,     /* the mailbox was deleted */
    MAILBOX_NEWS_KEYWORDS, /* new keywords: FLAGS and PERMANENTFLAGS */
    MAILBOX_NEWS_EXPUNGED, /* seq (as it is at this moment), uid; only when expunges are allowed */
    MAILBOX_NEWS_EXISTS,   /* count; first_new: lowest UID not announced before */
    MAILBOX_NEWS_FLAGS,    /* seq, uid, row */
};
struct mailbox_news {
    enum mailbox_news_kind kind;
    uint32_t seq, uid;
    uint32_t count, first_new;
    const struct message_row *row;
};
/* The next thing to tell, or false. Takes it: from now on the session has told it. The caller may
 * wait between calls. expunges: false during FETCH, STORE and SEARCH by number (RFC 9051 7.5.1). */
bool mailbox_session_next(struct mailbox_session *s, bool expunges, struct mailbox_news *out);
/* Takes all owed expunges at once, for VANISHED (QRESYNC, UIDONLY). */
enum err mailbox_session_vanished(struct mailbox_session *s, struct set *out) MUST;
bool mailbox_session_has_news(const struct mailbox_session *s);

#endif
