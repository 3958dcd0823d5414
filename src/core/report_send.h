/* SPDX-License-Identifier: Apache-2.0
 *
 * report_send: one report a day and policy domain, to those who ask for it (DMARC rua, RFC 9990;
 * TLS-RPT rua, RFC 8460). Some time after the UTC day has ended the rows of core/report_collect.h
 * become a report; its state is in the SENT row:
 *
 *   none      → WAITING    the DNS does not answer, or no key signs for our address: again later
 *   any       → PREPARED   the id of its message is noted; then it is queued under this id
 *   PREPARED  → DONE       it is queued; in the same commit the day's rows go
 *   any       → DONE       nobody asks for it, or it is too old
 *
 * A crash between two of them queues it once (core/queue.h: queue_add_as). The message is signed
 * with DKIM, has the null sender, so that no bounce comes back, and is never itself reported about
 * by TLS-RPT. What we saw of a domain of ours is not sent but taken as a report (report_taken.h).
 */
#ifndef CORE_REPORT_SEND_H
#define CORE_REPORT_SEND_H

#include "core/deliver.h"
#include "core/relay.h"
#include "core/report_rows.h"

#define REPORT_DELAY_S 1200     /* after the end of the day, at least */
#define REPORT_JITTER_S 14400   /* … and at most so much more */
#define REPORT_AGE_MAX_S 864000 /* 10 days: then a report is not sent any more */
#define REPORT_RETRY_S 1800     /* the first pause after a failure; then twice as long each time */
#define REPORT_RETRY_MAX_S 21600

struct report_settings {
    bool dmarc, tls;
    str hostname;     /* ours */
    str organization; /* empty: the domain we send from */
    str contact;      /* for people; empty: the address we send from */
    str from;         /* address; empty: postmaster of hostname's domain among ours, or the first */
};
struct report_sender {
    struct deliver_ctx *deliver;
    const struct relay *relay; /* dns, and fetch for https: destinations */
    struct report_settings set;
};
/* Everything that is due, once; one report's trouble does not keep the others. The first error. */
enum err report_send_due(struct report_sender *s, int64_t now_s) WAITS MUST;
/* When a day's report is due. */
int64_t report_due_s(str hostname, enum report_kind kind, uint32_t day, str domain);

/* What is collected and not yet sent (sent.state 0: not tried), and what was sent, by day and
 * domain, of days before one. fn may wait. */
typedef enum err report_day_fn(void *arg, const struct report_key *k,
                               const struct report_sent *sent) WAITS;
enum err report_days(struct store *s, enum space space, uint32_t before, report_day_fn *fn,
                     void *arg) WAITS MUST;
/* ERR_NOT_FOUND. In the arena. */
enum err report_sent_get(struct store *s, const struct report_key *k, struct arena *a,
                         struct report_sent *out) WAITS MUST;

#endif
