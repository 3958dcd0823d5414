/* SPDX-License-Identifier: Apache-2.0
 *
 * overlay: rows as they will be once everything that was accepted has been applied. It lies over an
 * engine's index and holds the changes of commits in flight, so that a chain of commits to one
 * account shares one flush: each sees what those before it will have done.
 *
 * A txn holds the changes of one commit in order. It leaves the overlay when it has been applied
 * (the index then answers the same) or when it is undone (only the newest txn may be).
 */
#ifndef STORE_OVERLAY_H
#define STORE_OVERLAY_H

#include <pthread.h>

#include "base/list.h"
#include "store/store.h"

enum overlay_kind { OVERLAY_PUT, OVERLAY_DELETE, OVERLAY_DELETE_RANGE };

struct overlay_entry {
    struct list link;           /* in the txn, in order */
    struct overlay_entry *next; /* in the bucket (or among the ranges), newest first */
    uint64_t order;
    enum overlay_kind kind;
    str key, value; /* whole keys; value: the end of a range */
};
struct overlay_txn {
    struct list entries;
};

/* The index below. ERR_NOT_FOUND when absent; appends to out. */
typedef enum err overlay_base_fn(void *arg, str key, struct buf *out);

struct overlay {
    pthread_mutex_t lock;
    struct overlay_entry **buckets;
    struct overlay_entry *ranges;
    uint64_t order;
    overlay_base_fn *base;
    void *arg;
};

enum err overlay_open(struct overlay *o, overlay_base_fn *base, void *arg) MUST;
void overlay_close(struct overlay *o);
void overlay_txn_init(struct overlay_txn *t);
/* ERR_NOT_FOUND when absent or deleted; out is emptied first. */
enum err overlay_get(struct overlay *o, str key, struct buf *out) MUST;
/* key is copied; so is value unless `keep`: then it must outlive the txn. ERR_NOMEM. */
enum err overlay_add(struct overlay *o, struct overlay_txn *t, enum overlay_kind kind, str key,
                     str value, bool keep) MUST;
/* Takes the txn's changes out and frees them. */
void overlay_end(struct overlay *o, struct overlay_txn *t);
/* Moves all of `from` behind `into`. */
void overlay_txn_join(struct overlay_txn *into, struct overlay_txn *from);

#endif
