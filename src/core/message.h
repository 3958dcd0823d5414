/* SPDX-License-Identifier: Apache-2.0
 *
 * message: adding, reading, flagging, copying, moving and expunging messages. Each operation is
 * durable, and visible in the views of this thread, when it returns ERR_OK. It is one commit up to
 * MESSAGE_BATCH messages; larger ones are several, each whole: after an error the results say what
 * was done. Concurrent commits by others are met by composing again, MESSAGE_TRIES times, then
 * ERR_BUSY.
 */
#ifndef CORE_MESSAGE_H
#define CORE_MESSAGE_H

#include "core/view.h"

#define MESSAGE_BATCH 1000  /* messages in a commit */
#define MESSAGE_ADD_MAX 500 /* messages added in a commit (STORE_BLOBS_MAX) */
#define MESSAGE_TRIES 20

/* ---- adding ---- */
struct message_new {
    /* Content: bytes in memory; or of a file (fd >= 0), its first len bytes; or a blob that exists
     * (has_blob): trace_len and content_len say how it is made up, trace is then not used. */
    str data;
    int fd;       /* -1: none */
    uint64_t len; /* bytes of the file */
    bool has_blob;
    struct blob_id blob;
    uint64_t trace_len, content_len;
    str prefix; /* Return-Path, Delivered-To; at most MESSAGE_PREFIX_MAX */
    str trace;  /* Received …; stands before the content in the blob */
    str mime;   /* mime_cold_encode() of the content */
    uint32_t flags;
    uint64_t keywords;     /* bits: see mailbox_keywords() */
    int64_t internal_date; /* seconds; INT64_MIN: now */
};
#define MESSAGE_NEW_INIT ((struct message_new){.fd = -1, .internal_date = INT64_MIN})
struct message_added {
    uint32_t uid;
    uint64_t message, thread, size;
};
struct message_add_result {
    uint32_t uidvalidity;
    uint64_t modseq;
    bool repeated; /* the token was known: added earlier, `added` is not filled in */
};
/* All or none of n (up to MESSAGE_ADD_MAX). token: NULL or one for idempotency. ERR_QUOTA,
 * ERR_NOT_FOUND (mailbox), ERR_LIMIT, ERR_CONFLICT (has_blob: unknown blob), and temporary ones. */
enum err message_add(struct account *a, uint32_t mailbox, const struct message_new *news, size_t n,
                     const struct store_token *token, struct message_added *added,
                     struct message_add_result *out) WAITS MUST;

/* ---- reading ---- */
/* The cold row; slices live in raw. ERR_NOT_FOUND, ERR_CORRUPT. */
enum err message_cold(struct account *a, uint64_t message, struct buf *raw,
                      struct message_cold *out) WAITS MUST;
/* Cold rows of many, in the order given (ascending runs are read by one scan). fn must not wait and
 * not call the store; e is ERR_OK, ERR_NOT_FOUND (expunged meanwhile) or ERR_CORRUPT, then c is
 * NULL. */
typedef bool message_cold_fn(void *arg, size_t i, enum err e, const struct message_cold *c);
enum err message_cold_each(struct account *a, const uint64_t *messages, size_t n,
                           message_cold_fn *fn, void *arg) WAITS MUST;
/* A range of the message as clients read it, in pieces without a copy; cut at the end. */
enum err message_pieces(struct account *a, const struct message_cold *c, uint64_t offset,
                        uint64_t len, store_piece_fn *fn, void *arg) WAITS MUST;
enum err message_read(struct account *a, const struct message_cold *c, uint64_t offset,
                      uint64_t len, struct buf *out) WAITS MUST;

/* ---- changing ---- */
enum flag_how { FLAGS_ADD, FLAGS_REMOVE, FLAGS_REPLACE };
struct flag_change {
    enum flag_how how;
    uint32_t flags;
    uint64_t keywords; /* bits: see mailbox_keywords() */
    /* FLAGS_REPLACE leaves these as they are (rights to some flags only, RFC 4314 4). */
    uint32_t kept_flags;
    bool keeps_keywords;
    bool has_unchanged_since;
    uint64_t unchanged_since; /* RFC 7162 3.1.3 */
};
struct flag_result {
    struct set changed; /* really changed: got the new modseq */
    struct set failed;  /* modseq above unchanged_since */
    uint64_t modseq;    /* of the last commit; 0: nothing changed */
};
/* UIDs that do not exist are left out. `by`: this session is not told of its own change. The caller
 * frees both sets, also after an error. */
enum err message_set_flags(struct account *a, uint32_t mailbox, const struct set *uids,
                           const struct flag_change *c, struct mailbox_session *by,
                           struct flag_result *out) WAITS MUST;

/* Removes the UIDs whatever their flags (the caller has chosen); `expunged` gets those that were
 * there. modseq may be NULL. */
enum err message_expunge(struct account *a, uint32_t mailbox, const struct set *uids,
                         struct set *expunged, uint64_t *modseq) WAITS MUST;
/* Only those with \Deleted at the moment of the commit (EXPUNGE, UID EXPUNGE, CLOSE). */
enum err message_expunge_deleted(struct account *a, uint32_t mailbox, const struct set *uids,
                                 struct set *expunged, uint64_t *modseq) WAITS MUST;

/* COPYUID: the i-th UID of source became the i-th of target, both ascending. */
struct message_copied {
    uint32_t uidvalidity;
    struct set source, target;
    uint64_t modseq; /* of the target account */
};
/* Within an account the messages stay the same (EMAILID); into another they are new ones that share
 * the blob. Flags and keywords go along, internal dates too. ERR_QUOTA. */
enum err message_copy(struct account *from, uint32_t mailbox, const struct set *uids,
                      struct account *to, uint32_t to_mailbox,
                      struct message_copied *out) WAITS MUST;
/* Within an account one commit per batch: never in both, never in none. Into another account: added
 * there, then expunged here; a crash between leaves both. */
enum err message_move(struct account *from, uint32_t mailbox, const struct set *uids,
                      struct account *to, uint32_t to_mailbox,
                      struct message_copied *out) WAITS MUST;

#endif
