/* SPDX-License-Identifier: Apache-2.0
 *
 * index: the ordered rows on disk: RocksDB, its write-ahead log off. One column family; the bytes
 * in memory are bounded by one cache and two small write buffers. All calls from any thread.
 */
#ifndef STORE_INDEX_H
#define STORE_INDEX_H

#include "store/overlay.h"

struct index;
struct index_batch;
struct index_iter;

/* ERR_CORRUPT, ERR_IO, ERR_NOSPACE; the reason goes to the log. */
enum err index_open(str dir, uint64_t cache_bytes, bool read_only, struct index **out) MUST;
void index_close(struct index *x); /* flushes */

enum err index_get(struct index *x, str key, struct buf *out) MUST; /* appends; ERR_NOT_FOUND */

struct index_batch *index_batch_new(void);
void index_batch_free(struct index_batch *b);
void index_batch_clear(struct index_batch *b);
void index_batch_put(struct index_batch *b, str key, str value);
void index_batch_delete(struct index_batch *b, str key);
void index_batch_txn(struct index_batch *b, const struct overlay_txn *t);
enum err index_write(struct index *x, struct index_batch *b) MUST; /* all or nothing */

/* from <= key < to, in one consistent view. first: at the beginning or, backwards, at the end. */
struct index_iter *index_iter_new(struct index *x, str from, str to, bool backwards);
bool index_iter_valid(const struct index_iter *it);
void index_iter_step(struct index_iter *it);
str index_iter_key(const struct index_iter *it);
str index_iter_value(const struct index_iter *it);
enum err index_iter_free(struct index_iter *it); /* ERR_IO when it ended by a fault */

enum err index_flush(struct index *x, bool wait) MUST;
enum err index_checkpoint(struct index *x, str dir) MUST; /* dir must not exist */
enum err index_verify(struct index *x) MUST;              /* reads all rows with their checksums */

#endif
