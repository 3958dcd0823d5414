/* SPDX-License-Identifier: Apache-2.0
 *
 * report_rows: what is kept for aggregate reports (docs/decisions/009-reports.md), all of it in
 * STORE_PARTITION_REPORTS. Statistics: lost without harm, kept for a time, never truth about mail.
 *
 *   DAY    (kind u8, day u32, domain)              what the domain publishes, as seen last
 *   SEEN   (kind, day, domain, 0, hash 16)         one way in which mail came or went
 *   COUNT  (kind, day, domain, 0, hash 16)         how often: a be64 counter, nothing else
 *   SENT   (kind, day, domain)                     what became of our report about that day
 *   TAKEN  (kind, domain, 0, day u32, id 8)        a report of others about a domain of ours
 *   ROW    (kind, domain, 0, day u32, id 8, n u32) its rows
 *
 * day: days since 1970, UTC. The hash report_overflow stands for everything that had no room.
 * Decoders borrow from the bytes; ERR_CORRUPT.
 */
#ifndef CORE_REPORT_ROWS_H
#define CORE_REPORT_ROWS_H

#include "core/report_note.h"
#include "core/schema.h"

#define REPORT_ID 8 /* bytes of the hash that name a report of others */

/* ---- keys ---- */
struct store_key report_key_day(enum space s, enum report_kind k, uint32_t day, str domain);
struct store_key report_key_seen(enum space s, enum report_kind k, uint32_t day, str domain,
                                 const uint8_t hash[REPORT_HASH]);
/* The first key of a day of a space, and of a domain's rows of it. */
struct store_key report_key_days(enum space s, enum report_kind k, uint32_t day);
struct store_key report_key_domain(enum space s, enum report_kind k, str domain);
struct store_key report_key_taken(enum report_kind k, str domain, uint32_t day,
                                  const uint8_t id[REPORT_ID]);
struct store_key report_key_row(enum report_kind k, str domain, uint32_t day,
                                const uint8_t id[REPORT_ID], uint32_t n);
/* A key of any of the spaces, taken apart; parts that it has not are empty. False: it is none. */
struct report_key {
    enum report_kind kind;
    uint32_t day, n;
    str domain, hash; /* hash: of SEEN and COUNT; the id of TAKEN and ROW */
};
bool report_key_of(str key, struct report_key *out);

/* ---- values ---- */
enum report_state {
    REPORT_WAITING = 1,  /* no destination could be found out yet, or none took it */
    REPORT_PREPARED = 2, /* its message may be in the queue */
    REPORT_DONE = 3,
};
struct report_sent {
    enum report_state state;
    uint32_t attempts;
    int64_t next_s, changed_s; /* WAITING: not before next_s */
    uint64_t queue_id;         /* of its message; 0: none */
    str id;                    /* Report-ID */
    str text;                  /* what became of it, for people */
};
void report_sent_encode(const struct report_sent *s, struct buf *out);
enum err report_sent_decode(str value, struct report_sent *out) MUST;

/* A report of others. */
struct report_taken {
    bool verified; /* its mail was authenticated as its author's (DMARC) */
    int64_t begin_s, end_s, received_s;
    str organization, email, report_id, author; /* author: domain of From */
    str policy;                                 /* DMARC: report_policy_put */
    uint64_t count, passed;                     /* messages or sessions */
    uint64_t left_out;                          /* of count, in rows that were not kept */
    uint32_t rows;
};
void report_taken_encode(const struct report_taken *t, struct buf *out);
enum err report_taken_decode(str value, struct report_taken *out) MUST;

void report_body_encode(enum space s, uint64_t count, str body, struct buf *out);
enum err report_body_decode(enum space s, str value, uint64_t *count, str *body) MUST;

#endif
