/* SPDX-License-Identifier: Apache-2.0
 *
 * greylist: a stranger who wants to send from an address to a recipient for the first time is asked
 * to come again; a mail server does, most programs that only send junk do not. What is remembered
 * are rows of the partition STORE_PARTITION_GREYLIST, so that a restart makes nobody wait twice:
 *
 *   triplet  (network of the client, sender, recipient) → since when, whether it came again
 *   client   (network) → how many of its triplets have come again; after so many it need not wait
 *   count    how many rows there are
 *
 * Networks are /24 and /64, as large senders try again from a neighbour. Rows carry points in time
 * only; delay, window and lifetime are the policy's as it is now. Rows that are over are removed by
 * greylist_sweep(), a page at a time. At rows_max nobody new is asked to wait, and nothing grows.
 */
#ifndef CORE_GREYLIST_H
#define CORE_GREYLIST_H

#include "base/arena.h"
#include "os/sock.h"
#include "store/store.h"

#define GREYLIST_TEXT_MAX 512 /* bytes kept of a sender and of a recipient */

struct greylist_policy {
    int64_t delay_s;        /* a triplet waits so long */
    int64_t window_s;       /* and must have come again by then */
    int64_t lifetime_s;     /* then it is known, as long as it is seen again within this */
    bool by_domain;         /* of the sender only its domain counts */
    uint32_t clients_after; /* triplets that came again, until the client need not wait; 0: never */
    uint64_t rows_max;
};
struct greylist_question {
    struct address source; /* family 4 or 6 */
    str sender, recipient;
};
/* *wait_s: 0: it may pass; else it is to come again then. Errors are those of the store, and the
 * caller lets it pass: this is a help against junk, not the keeper of anything. */
enum err greylist_ask(struct store *s, const struct greylist_policy *p,
                      const struct greylist_question *q, int64_t now_s,
                      uint32_t *wait_s) WAITS MUST;

struct greylist_row {
    bool client; /* else a triplet */
    uint8_t family, net[8];
    str sender, recipient; /* of a triplet */
    bool passed;           /* a triplet that came again */
    uint32_t count;        /* client: triplets that came again */
    int64_t first_s, last_s;
};
bool greylist_is_over(const struct greylist_policy *p, const struct greylist_row *r, int64_t now_s);
void greylist_network(const struct greylist_row *r, struct buf *out); /* "192.0.2.0/24" */

/* Triplets, then clients, a page at a time: *from is where to go on (zero at first, empty at the
 * end). The callback must not wait. */
typedef bool greylist_row_fn(void *arg, const struct greylist_row *r);
enum err greylist_page(struct store *s, struct store_key *from, greylist_row_fn *fn,
                       void *arg) WAITS MUST;
/* Removes those of the next page that fn wants gone. */
enum err greylist_remove_page(struct store *s, struct store_key *from, greylist_row_fn *wanted,
                              void *arg, uint64_t *removed) WAITS MUST;
/* The same for those that are over. */
enum err greylist_sweep(struct store *s, const struct greylist_policy *p, int64_t now_s,
                        struct store_key *from, uint64_t *removed) WAITS MUST;

/* For check: ERR_CORRUPT. Text borrows from value. */
enum err greylist_row_decode(str key, str value, struct greylist_row *out) MUST;

#endif
