/* SPDX-License-Identifier: Apache-2.0
 *
 * queue_private: shared by the queue*.c files.
 */
#ifndef CORE_QUEUE_PRIVATE_H
#define CORE_QUEUE_PRIVATE_H

#include "core/queue.h"

#define QUEUE_TRIES 20
#define QUEUE_LEFT_BYTES 8

/* How many recipient rows a message has, and how often that was written. */
struct queue_left {
    uint32_t rows, changes;
};
str queue_left_value(struct queue_left left, uint8_t out[QUEUE_LEFT_BYTES]);

/* The operations of one commit. Sticky. */
struct queue_batch {
    struct arena arena;
    struct store_op *ops;
    size_t n, max;
    bool failed;
};
void queue_batch_init(struct queue_batch *b, size_t max);
void queue_batch_op(struct queue_batch *b, enum store_op_kind kind, struct store_key key,
                    str value);
/* Recipient and due row; two operations at most. */
void queue_batch_recipient(struct queue_batch *b, const struct queue_message *m,
                           const struct queue_recipient *r);
/* A new message: 3 operations, and 2 a recipient. Fills in id and n of the rows. */
void queue_batch_message(struct queue_batch *b, const struct queue_message *m, str mime,
                         struct queue_recipient *rs, size_t n);

void queue_due_encode(const struct queue_message *m, const struct queue_recipient *r,
                      struct buf *out);
enum err queue_due_decode(str value, struct queue_due *out) MUST;
void queue_attempt_encode(const struct queue_attempt *a, struct buf *out);
enum err queue_attempt_decode(str value, struct queue_attempt *out) MUST;

#endif
