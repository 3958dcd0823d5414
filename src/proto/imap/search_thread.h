/* SPDX-License-Identifier: Apache-2.0
 *
 * search_thread: THREAD=ORDEREDSUBJECT and THREAD=REFERENCES (RFC 5256 3), from what cold rows say.
 * Message ids are known by their hashes. Pure, but for memory.
 */
#ifndef PROTO_IMAP_SEARCH_THREAD_H
#define PROTO_IMAP_SEARCH_THREAD_H

#include "base/buf.h"
#include "base/err.h"

struct thread_message {
    uint32_t number; /* as it is shown; ascending with the sequence number */
    bool is_reply;   /* its subject marks a reply or forward */
    int64_t sent;
    uint64_t id;                   /* 0: none */
    uint32_t subject, subject_len; /* folded base subject, in the pool */
    uint32_t refs, nrefs;          /* in refs */
};
struct thread_input {
    const struct thread_message *messages;
    size_t count;
    str pool;
    const uint64_t *refs;
};
#define THREAD_NODES_MAX ((size_t)1 << 26)

/* Appends "(1)(2 3 (4)(5))". ERR_LIMIT, ERR_NOMEM. */
enum err thread_ordered_subject(const struct thread_input *in, struct buf *out) MUST;
enum err thread_references(const struct thread_input *in, struct buf *out) MUST;

#endif
