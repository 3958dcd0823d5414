/* SPDX-License-Identifier: Apache-2.0
 *
 * session: what the files of proto/imap share in the house. A session is a struct in its own arena;
 * it runs on a fiber while there is something to do and is parked without a stack otherwise.
 */
#ifndef PROTO_IMAP_SESSION_H
#define PROTO_IMAP_SESSION_H

#include <string.h>

#include "core/acl.h"
#include "core/message.h"
#include "core/view.h"
#include "format/imap_args.h"
#include "proto/imap/imap.h"
#include "proto/imap/reader.h"

#define IMAP_SESSION_ARENA_MAX ((size_t)1 << 20)  /* what lives as long as the session */
#define IMAP_COMMAND_ARENA_MAX ((size_t)16 << 20) /* parsed commands, search results */

/* ENABLEd (RFC 5161); bits. */
enum imap_enabled {
    IMAP_ENABLED_REV2 = 1,
    IMAP_ENABLED_UTF8 = 2,      /* UTF8=ACCEPT */
    IMAP_ENABLED_CONDSTORE = 4, /* also by use (RFC 7162 3.1) */
    IMAP_ENABLED_QRESYNC = 8,
    IMAP_ENABLED_UIDONLY = 16,
};

/* The selected mailbox; its account may be another's (shared mailboxes). */
struct imap_selected {
    struct account *account;
    uint32_t mailbox;
    uint32_t rights; /* IMAP_RIGHTS bits; see imap_rights_recheck */
    bool read_only, own;
    uint64_t account_version, directory_version; /* that the rights were asked at */
    struct mailbox_session view;
};

/* State that a family of commands keeps for a session; NULL until first used. Freed by its family's
 * imap_*_end at the end of the session (session.c calls them). */
struct imap_search_state; /* $ and CONTEXT */
struct imap_notify_state;

struct imap {
    struct stream *stream;
    struct imap_house *house;
    const struct imap_config *config;
    struct arena arena;   /* the session's; holds this struct */
    struct arena scratch; /* the command's */
    struct auth_grant who;
    struct account *account;         /* own; NULL after UNAUTHENTICATE */
    struct acl_who me;               /* whose rights in others' mailboxes; place.c */
    uint32_t enabled;                /* IMAP_ENABLED_ bits */
    struct imap_selected *selected;  /* NULL: none; else selection */
    struct imap_selected *selection; /* its memory, kept for the session */
    struct imap_search_state *search;
    struct imap_notify_state *notify;
    /* the command being served */
    struct buf command;
    str unread; /* text that announces message data which nobody has taken yet; empty: none */
    str tag;    /* in command */
    bool uid;   /* it came as UID … */
    bool answered;
    bool tells_expunges;  /* before its answer */
    uint64_t progress_ms; /* when to tell of progress next */
    uint32_t errors;
    bool closing, compressed, secure;
    bool idling; /* IDLE; its tag is idle_tag */
    struct buf idle_tag;
    uint64_t quiet_since_ms; /* when the last command ended */
    struct event wake;       /* signalled by watchers: news for IDLE and NOTIFY */
    struct park park;
    str greeting;
    void (*ended)(void *arg);
    void *ended_arg;
};

typedef void imap_command_fn(struct imap *x, struct imap_cursor *c) WAITS;
#define COMMAND(name, handler, state, flags) imap_command_fn imap_cmd_##handler;
#include "proto/imap/commands.def"
#undef COMMAND

/* ---- answers (respond.c). Exactly one tagged answer per command. ---- */
/* "tag OK text"; code may be empty, else "[CODE …] " is put before the text. News of the selected
 * mailbox are told before it. */
void imap_done(struct imap *x, str code, const char *text) WAITS;
/* "tag NO [CODE] text" from the error's row. */
void imap_no(struct imap *x, enum err e) WAITS;
void imap_no_code(struct imap *x, const char *code, const char *text) WAITS;
/* "tag BAD text at position n"; counts. */
void imap_bad(struct imap *x, const struct imap_cursor *c) WAITS;
void imap_bad_text(struct imap *x, const char *text) WAITS;
/* INPROGRESS (RFC 9585), now and then during a long command. */
#define IMAP_PROGRESS_MS 5000
void imap_progress(struct imap *x, uint64_t done, uint64_t total) WAITS;
/* The cursor's error as BAD or NO, by its kind. */
void imap_refuse(struct imap *x, const struct imap_cursor *c) WAITS;
/* The untagged lines go straight into this buffer; call imap_flush_check between many of them. */
static inline struct buf *imap_out(struct imap *x) { return stream_out(x->stream); }
void imap_flush_check(struct imap *x) WAITS;
/* Tells what has happened in the selected mailbox. expunges: RFC 9051 7.5.1 allows them now. */
void imap_tell_news(struct imap *x, bool expunges) WAITS;
bool imap_utf8_names(const struct imap *x); /* mailbox names as UTF-8, not modified UTF-7 */
static inline bool imap_has(const struct imap *x, uint32_t enabled)
{
    return (x->enabled & enabled) == enabled;
}

/* ---- mailboxes by name (place.c) ---- */
/* A mailbox that the signed-in account may see, its own or another's. Holds its account open. */
struct imap_place {
    struct account *account;
    uint32_t mailbox;
    uint32_t rights; /* IMAP_RIGHTS bits that the signed-in account has here */
    bool own;
};
#define IMAP_RIGHT(letter) (1u << (strchr(IMAP_RIGHTS, letter) - IMAP_RIGHTS))
/* Any of these makes a mailbox writable: s w i t e */
#define IMAP_RIGHTS_WRITE                                                                          \
    (IMAP_RIGHT('s') | IMAP_RIGHT('w') | IMAP_RIGHT('i') | IMAP_RIGHT('t') | IMAP_RIGHT('e'))
/* ERR_NOT_FOUND (also when it may not be seen), ERR_DENIED (a right of `needed` is missing). The
 * caller closes it, also after an error. */
enum err imap_place_find(struct imap *x, str name, uint32_t needed,
                         struct imap_place *out) WAITS MUST;
void imap_place_close(struct imap_place *p);
/* The published state; NULL when it was deleted. Until the next wait. */
const struct mailbox *imap_place_mailbox(const struct imap_place *p);
/* The name as this session sees it (with "Other Users/…" in front where it belongs). */
void imap_place_name(struct imap *x, struct account *a, const struct mailbox *m,
                     struct buf *out) WAITS;
/* Attributes as LIST shows them: "\\HasNoChildren \\Sent"; of others' mailboxes none. */
void imap_list_attributes(struct imap *x, struct account *a, const struct mailbox *m,
                          struct buf *out);
/* The rights of the selected mailbox, asked again if they may have changed (RFC 4314 5.1). False:
 * it may no longer be read; BYE was said, the session is closing. */
bool imap_rights_recheck(struct imap *x) WAITS;
void imap_place_end(struct imap *x);

/* Operations by name, wherever the name leads; they check the rights. */
/* The caller closes *made, also after an error. */
enum err imap_mailbox_create(struct imap *x, str name, enum mailbox_role role,
                             struct imap_place *made) WAITS MUST;
enum err imap_mailbox_delete(struct imap *x, str name) WAITS MUST;
enum err imap_mailbox_rename(struct imap *x, str from, str to) WAITS MUST;
enum err imap_mailbox_subscribe(struct imap *x, str name, bool on) WAITS MUST;

/* ---- all mailboxes that the account may look up ('l'): place_list.c ---- */
struct imap_listed {
    struct account *account; /* NULL: only a level above others ("Other Users") */
    uint32_t mailbox, rights;
    bool own, subscribed, children;
    bool gone;              /* deleted and still subscribed, or a level above such a name */
    enum mailbox_role role; /* of own ones */
    str name;               /* as this session sees it */
};
struct imap_listing {
    struct imap_listed *rows; /* a tree comes parent first */
    size_t n, cap;
    struct account **owners; /* held open */
    size_t nowners, owners_cap;
    struct arena *arena;
};
enum { IMAP_LISTING_SHARED = 1 /* others' mailboxes too */, IMAP_LISTING_GONE = 2 };
/* what: IMAP_LISTING_ bits. In the arena; the caller closes it, also after an error. */
enum err imap_listing_gather(struct imap *x, unsigned what, struct arena *arena,
                             struct imap_listing *out) WAITS MUST;
void imap_listing_close(struct imap_listing *l);
/* By its name, owner, subscription; SELECTED is the caller's. */
bool imap_filter_has(const struct imap_filter *f, const struct imap_listed *row); /* notify.c */
bool imap_list_matches(str pattern, str name);
void imap_render_namespaces(struct imap *x, struct buf *out); /* the whole response */
void imap_render_status(struct imap *x, str name, const struct mailbox *m, uint32_t items,
                        struct buf *out);

/* ---- the selected mailbox (cmd_select.c) ---- */
void imap_unselect(struct imap *x); /* no-op when none is selected */
/* A command that turns CONDSTORE on; the first one tells HIGHESTMODSEQ (RFC 7162 3.1). */
void imap_condstore_on(struct imap *x);
/* True while a right of the selected mailbox is held; otherwise answers NO. */
bool imap_may(struct imap *x, uint32_t rights) WAITS;
/* The UIDs that a sequence-set names, by x->uid; "$" too. On false the command was answered. */
bool imap_named_uids(struct imap *x, const struct imap_seq *seq, struct set *uids) WAITS;
/* The UIDs among `uids` that the session knows and that changed after `since`. Never waits. */
enum err imap_changed_uids(struct imap *x, const struct set *uids, uint64_t since,
                           struct set *out) MUST;
/* MESSAGELIMIT (RFC 9738): cuts uids to the newest messages when there are more than the limit;
 * *lowest gets the lowest UID that is left, 0 when nothing was cut. */
enum err imap_limit(struct imap *x, struct set *uids, uint32_t *lowest) MUST;
/* "MESSAGELIMIT 1000 4711" */
void imap_limit_code(const struct imap *x, uint32_t lowest, struct buf *code);
/* Rows of the session's messages, copied, so that the caller may wait between two batches. */
struct imap_gathered {
    uint32_t seq;
    struct message_row row;
};
struct imap_gather {
    const struct set *uids;
    size_t range; /* where the walk stands */
    uint32_t next_uid;
};
/* The next rows, ascending, at most max; 0 at the end. Messages expunged meanwhile are left out. */
size_t imap_gather(struct imap *x, struct imap_gather *g, struct imap_gathered *out, size_t max);

/* The saved search result (RFC 5182); NULL: none was saved, which is the empty set. */
const struct set *imap_search_saved(const struct imap *x);

/* ---- rendering (render.c) ---- */
uint32_t imap_flags_of(uint32_t flags); /* core's FLAG_ bits as IMAP_FLAG_ bits, and back */
uint32_t imap_flags_to(uint32_t flags);
/* "(\\Seen $Keyword)" */
void imap_render_row_flags(const struct message_row *row, const struct keyword_table *keywords,
                           struct buf *out);
/* "* 5 FETCH (" or, with UIDONLY, "* 17 UIDFETCH ("; ends with ")" CRLF. */
void imap_fetch_open(struct imap *x, uint32_t seq, uint32_t uid, struct buf *out);
void imap_fetch_close(struct buf *out);
/* An untagged FETCH with FLAGS, and UID and MODSEQ where the session wants them. */
void imap_fetch_flags(struct imap *x, uint32_t seq, const struct message_row *row,
                      const struct keyword_table *keywords, bool with_uid, bool with_modseq);
/* A literal holds no NUL (RFC 9051 4.3), of which clients' strings would end: it becomes 0x80. Only
 * a literal8, which BINARY answers with, tells it. */
void imap_hide_nul(struct buf *out, size_t from);
/* EMAILID, THREADID, MAILBOXID (RFC 8474): "M" and sixteen hex digits, and so on. */
void imap_render_id(char kind, uint64_t id, struct buf *out);

#define IMAP_UIDREQUIRED "[UIDREQUIRED] Message numbers are not used after ENABLE UIDONLY"
#define IMAP_DROP_MAX ((uint64_t)1 << 30)    /* bytes of a refused non-synchronizing literal */
void imap_drop_unread(struct imap *x) WAITS; /* session.c */
/* The line that came during IDLE (cmd_idle.c). */
void imap_idle_line(struct imap *x, str line) WAITS;

/* Back to the state before signing in: nothing selected, nothing enabled, no account. */
void imap_session_forget(struct imap *x);
/* A METADATA response with those of the entries that are there (cmd_metadata.c). */
enum err imap_metadata_tell(struct imap *x, const struct imap_listed *row, const str *entries,
                            size_t n) WAITS MUST;

/* ---- families with state ---- */
void imap_search_end(struct imap *x);
/* Around the news of the selected mailbox: results that are kept up to date. */
void imap_search_before_news(struct imap *x, bool expunges) WAITS;
void imap_search_after_news(struct imap *x) WAITS;
void imap_search_unselected(struct imap *x); /* $ and CONTEXT belong to the selected mailbox */
void imap_notify_end(struct imap *x);
/* NOTIFY (notify_tell.c): between two commands. arrived: EXISTS was told, these are new. */
bool imap_notify_has_news(const struct imap *x);
void imap_notify_tell(struct imap *x) WAITS;
void imap_notify_arrived(struct imap *x, uint32_t first_uid);
/* Tells items of messages as FETCH does, with their UIDs, without an answer or a \Seen. */
void imap_fetch_told(struct imap *x, const struct imap_fetch *args, const struct set *uids) WAITS;

#endif
