/* SPDX-License-Identifier: Apache-2.0
 *
 * session: what the files of proto/imap share in the house. A session is a struct in its own arena;
 * it runs on a fiber while there is something to do and is parked without a stack otherwise.
 */
#ifndef PROTO_IMAP_SESSION_H
#define PROTO_IMAP_SESSION_H

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
    uint32_t rights; /* IMAP_RIGHTS bits at SELECT; asked again when the account changes */
    bool read_only;
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
    struct account *account;        /* own; NULL after UNAUTHENTICATE */
    uint32_t enabled;               /* IMAP_ENABLED_ bits */
    struct imap_selected *selected; /* NULL: none */
    struct imap_search_state *search;
    struct imap_notify_state *notify;
    /* the command being served */
    struct buf command;
    bool streams; /* message data follow the command's text */
    str tag;      /* in command */
    bool uid;     /* it came as UID … */
    bool answered;
    uint32_t errors;
    bool closing, compressed, secure;
    bool idling; /* IDLE; its tag is idle_tag */
    struct buf idle_tag;
    struct event wake; /* signalled by watchers: news for IDLE and NOTIFY */
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

/* ---- the selected mailbox (cmd_select.c) ---- */
void imap_unselect(struct imap *x); /* no-op when none is selected */
/* The UIDs that a sequence-set names, by x->uid; "$" too. On false the command was answered. */
bool imap_named_uids(struct imap *x, const struct imap_seq *seq, struct set *uids) WAITS;

/* ---- families with state ---- */
void imap_search_end(struct imap *x);
void imap_notify_end(struct imap *x);

#endif
