/* SPDX-License-Identifier: Apache-2.0
 *
 * send_limit: how much an account may send, in messages and in recipients, in any hour and in any
 * day. Counted in one place: where the house takes a message from somebody who signed in,
 * whatever the protocol (core/house_local.c). What aliases pass on and reports are nobody's doing
 * and do not count; named relays have no account.
 *
 * A message takes its share before it is delivered and gives it back when it is not, so any number
 * of submissions at the same time stay below the limit. The counts are in memory, one table for all
 * threads of the house, and are written behind every second and at the end: a crash forgives what
 * was sent in its last second. Windows are of slots (5 minutes, 1 hour), and the oldest one counts
 * whole: no hour and no day ever has more than the limit.
 *
 * Rows in STORE_PARTITION_SENDING: what an account has sent lately, and its own limits, if any.
 */
#ifndef CORE_SEND_LIMIT_H
#define CORE_SEND_LIMIT_H

#include "base/buf.h"
#include "store/store.h"

enum send_limit {
    SEND_MESSAGES_HOUR,
    SEND_MESSAGES_DAY,
    SEND_RECIPIENTS_HOUR,
    SEND_RECIPIENTS_DAY,
    SEND_LIMITS
};
#define SEND_ACCOUNTS_MAX 20000 /* accounts in memory: 350 bytes each */

struct send_policy {
    uint32_t max[SEND_LIMITS]; /* 0: no limit */
};
/* An account's own limits. */
struct send_override {
    bool set[SEND_LIMITS];
    uint32_t max[SEND_LIMITS];
};
struct send_refusal {
    enum send_limit which;
    uint32_t max;
    /* Until it goes on. 0: never, one message has more recipients than the limit. */
    uint64_t wait_s;
};
struct send_status {
    uint32_t used[SEND_LIMITS];
    struct send_policy limits; /* that hold for the account */
    struct send_override own;
};

struct send_limits;
/* Safe from any thread, all but open and close. ERR_NOMEM. */
enum err send_limits_open(struct store *s, const struct send_policy *p,
                          struct send_limits **out) MUST;
void send_limits_close(struct send_limits *l);
void send_limits_change(struct send_limits *l, const struct send_policy *p);

/* ERR_SEND_LIMIT (*why says which and until when) and nothing is taken; ERR_BUSY when too many
 * accounts send at once; errors of the store while the account's rows are read. */
enum err send_limit_take(struct send_limits *l, uint64_t account, uint32_t recipients,
                         int64_t now_s, struct send_refusal *why) WAITS MUST;
/* What was taken at taken_s was not sent. */
void send_limit_give_back(struct send_limits *l, uint64_t account, uint32_t recipients,
                          int64_t taken_s);
/* One line for whoever is refused. */
void send_refusal_text(const struct send_refusal *r, struct buf *out);

/* Writes what has changed. One caller at a time. */
enum err send_limits_save(struct send_limits *l) WAITS MUST;

/* For commands. l is NULL where no server runs: then the rows alone say it. */
enum err send_limit_status(struct send_limits *l, struct store *s, const struct send_policy *p,
                           uint64_t account, int64_t now_s, struct send_status *out) WAITS MUST;
enum err send_limit_set(struct send_limits *l, struct store *s, uint64_t account,
                        const struct send_override *o) WAITS MUST;
/* The account is gone. */
enum err send_limit_forget(struct send_limits *l, struct store *s, uint64_t account) WAITS MUST;

/* For check: ERR_CORRUPT. */
enum err send_rows_check(str key, str value, uint64_t *account) MUST;

#endif
