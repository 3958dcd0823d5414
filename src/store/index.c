/* SPDX-License-Identifier: Apache-2.0 */
#include "store/index.h"

#include <rocksdb/c.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

/* Sizes for a house of 40 MB in all; the cache holds data blocks, indexes and filters alike. */
#define WRITE_BUFFER (8u << 20)
#define BLOCK_BYTES 8192
#define METADATA_BYTES 4096
#define BLOOM_BITS 10
#define OPEN_FILES 256

struct index {
    rocksdb_t *db;
    rocksdb_options_t *options;
    rocksdb_cache_t *cache;
    rocksdb_writeoptions_t *write;
    rocksdb_readoptions_t *read;
    bool read_only;
};
/* The C API gives rocksdb_writebatch_t; ours is that. */
#define BATCH(b) ((rocksdb_writebatch_t *)(b))

struct index_iter {
    rocksdb_iterator_t *it;
    rocksdb_readoptions_t *options;
    bool backwards;
    size_t from_len, to_len;
    char bounds[]; /* the iterator borrows them */
};

static enum err failed(const char *what, char *text)
{
    enum err e = ERR_IO;
    if (strstr(text, "No space left") != NULL)
        e = ERR_NOSPACE;
    else if (strncmp(text, "Corruption", 10) == 0)
        e = ERR_CORRUPT;
    LOG_ERROR("store", "index: %s failed: %s", what, text);
    rocksdb_free(text);
    return e;
}

static void table_options(struct index *x, uint64_t cache_bytes)
{
    rocksdb_block_based_table_options_t *t = rocksdb_block_based_options_create();
    x->cache = rocksdb_cache_create_lru(cache_bytes);
    rocksdb_block_based_options_set_block_cache(t, x->cache);
    rocksdb_block_based_options_set_block_size(t, BLOCK_BYTES);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(t, 1);
    /* In partitions: one whole filter or index block of a file is larger than a shard of a small
     * cache, which would then read and check it again for every key. */
    rocksdb_block_based_options_set_index_type(
        t, rocksdb_block_based_table_index_type_two_level_index_search);
    rocksdb_block_based_options_set_partition_filters(t, 1);
    rocksdb_block_based_options_set_metadata_block_size(t, METADATA_BYTES);
    rocksdb_block_based_options_set_pin_top_level_index_and_filter(t, 1);
    rocksdb_block_based_options_set_filter_policy(
        t, rocksdb_filterpolicy_create_bloom_full(BLOOM_BITS));
    rocksdb_block_based_options_set_whole_key_filtering(t, 1);
    rocksdb_block_based_options_set_format_version(t, 5);
    rocksdb_options_set_block_based_table_factory(x->options, t);
    rocksdb_block_based_options_destroy(t);
}

static void set_options(struct index *x, uint64_t cache_bytes)
{
    rocksdb_options_t *o = x->options = rocksdb_options_create();
    table_options(x, cache_bytes);
    rocksdb_options_set_create_if_missing(o, !x->read_only);
    rocksdb_options_set_paranoid_checks(o, 1);
    rocksdb_options_set_write_buffer_size(o, WRITE_BUFFER);
    rocksdb_options_set_max_write_buffer_number(o, 3);
    rocksdb_options_set_max_background_jobs(o, 2);
    rocksdb_options_set_max_open_files(o, OPEN_FILES);
    rocksdb_options_set_compression(o, rocksdb_lz4_compression);
    rocksdb_options_set_min_level_to_compress(o, 2);
    rocksdb_options_set_info_log_level(o, 3); /* errors */
    rocksdb_options_set_keep_log_file_num(o, 2);
    rocksdb_options_set_max_log_file_size(o, 1 << 20);
    rocksdb_options_set_stats_dump_period_sec(o, 0);
    rocksdb_options_set_stats_persist_period_sec(o, 0);
    rocksdb_options_set_skip_stats_update_on_db_open(o, 1);
    rocksdb_options_set_skip_checking_sst_file_sizes_on_db_open(o, 1);
    rocksdb_options_set_allow_concurrent_memtable_write(o, 0); /* there is one writer */
    rocksdb_options_set_enable_write_thread_adaptive_yield(o, 0);
    rocksdb_options_set_level_compaction_dynamic_level_bytes(o, 1);
    rocksdb_options_set_max_bytes_for_level_base(o, 64 << 20);
    rocksdb_options_set_target_file_size_base(o, 16 << 20);
    rocksdb_options_set_bytes_per_sync(o, 1 << 20);
    rocksdb_options_set_arena_block_size(o, 256 << 10);
    rocksdb_options_set_manifest_preallocation_size(o, 65536);
}

enum err index_open(str dir, uint64_t cache_bytes, bool read_only, struct index **out)
{
    char path[4096], *text = NULL;
    if (dir.len >= sizeof path)
        return ERR_LIMIT;
    memcpy(path, dir.data, dir.len);
    path[dir.len] = '\0';
    struct index *x = calloc(1, sizeof *x);
    if (x == NULL)
        return ERR_NOMEM;
    x->read_only = read_only;
    set_options(x, cache_bytes);
    x->write = rocksdb_writeoptions_create();
    rocksdb_writeoptions_disable_WAL(x->write, 1);
    x->read = rocksdb_readoptions_create();
    x->db = read_only ? rocksdb_open_for_read_only(x->options, path, 0, &text)
                      : rocksdb_open(x->options, path, &text);
    if (text != NULL) {
        enum err e = failed("open", text);
        index_close(x);
        return e;
    }
    *out = x;
    return ERR_OK;
}

void index_close(struct index *x)
{
    if (x == NULL)
        return;
    if (x->db != NULL) {
        if (!x->read_only && index_flush(x, true) != ERR_OK)
            LOG_WARN("store", "index: not flushed; the journal will be replayed");
        rocksdb_close(x->db);
    }
    rocksdb_writeoptions_destroy(x->write);
    rocksdb_readoptions_destroy(x->read);
    rocksdb_options_destroy(x->options);
    rocksdb_cache_destroy(x->cache);
    free(x);
}

enum err index_get(struct index *x, str key, struct buf *out)
{
    char *text = NULL;
    rocksdb_pinnableslice_t *v = rocksdb_get_pinned(x->db, x->read, key.data, key.len, &text);
    if (text != NULL)
        return failed("get", text);
    if (v == NULL)
        return ERR_NOT_FOUND;
    size_t len;
    const char *data = rocksdb_pinnableslice_value(v, &len);
    buf_add(out, str_of(data, len));
    rocksdb_pinnableslice_destroy(v);
    return buf_ok(out) ? ERR_OK : ERR_LIMIT;
}

struct index_batch *index_batch_new(void)
{
    return (struct index_batch *)rocksdb_writebatch_create();
}

void index_batch_free(struct index_batch *b) { rocksdb_writebatch_destroy(BATCH(b)); }

void index_batch_clear(struct index_batch *b) { rocksdb_writebatch_clear(BATCH(b)); }

void index_batch_put(struct index_batch *b, str key, str value)
{
    rocksdb_writebatch_put(BATCH(b), key.data, key.len, value.data, value.len);
}

void index_batch_delete(struct index_batch *b, str key)
{
    rocksdb_writebatch_delete(BATCH(b), key.data, key.len);
}

void index_batch_txn(struct index_batch *b, const struct overlay_txn *t)
{
    LIST_EACH (it, (struct list *)&t->entries) {
        const struct overlay_entry *e = container_of(it, struct overlay_entry, link);
        if (e->kind == OVERLAY_PUT)
            index_batch_put(b, e->key, e->value);
        else if (e->kind == OVERLAY_DELETE)
            index_batch_delete(b, e->key);
        else
            rocksdb_writebatch_delete_range(BATCH(b), e->key.data, e->key.len, e->value.data,
                                            e->value.len);
    }
}

enum err index_write(struct index *x, struct index_batch *b)
{
    char *text = NULL;
    rocksdb_write(x->db, x->write, BATCH(b), &text);
    return text != NULL ? failed("write", text) : ERR_OK;
}

struct index_iter *index_iter_new(struct index *x, str from, str to, bool backwards)
{
    struct index_iter *it = malloc(sizeof *it + from.len + to.len);
    if (it == NULL)
        return NULL;
    memcpy(it->bounds, from.data, from.len);
    memcpy(it->bounds + from.len, to.data, to.len);
    it->backwards = backwards;
    it->from_len = from.len;
    it->to_len = to.len;
    it->options = rocksdb_readoptions_create();
    rocksdb_readoptions_set_iterate_lower_bound(it->options, it->bounds, from.len);
    rocksdb_readoptions_set_iterate_upper_bound(it->options, it->bounds + from.len, to.len);
    it->it = rocksdb_create_iterator(x->db, it->options);
    if (backwards)
        rocksdb_iter_seek_to_last(it->it);
    else
        rocksdb_iter_seek_to_first(it->it);
    return it;
}

bool index_iter_valid(const struct index_iter *it)
{
    return it != NULL && rocksdb_iter_valid(it->it);
}

void index_iter_step(struct index_iter *it)
{
    if (it->backwards)
        rocksdb_iter_prev(it->it);
    else
        rocksdb_iter_next(it->it);
}

str index_iter_key(const struct index_iter *it)
{
    size_t len;
    const char *data = rocksdb_iter_key(it->it, &len);
    return str_of(data, len);
}

str index_iter_value(const struct index_iter *it)
{
    size_t len;
    const char *data = rocksdb_iter_value(it->it, &len);
    return str_of(data, len);
}

enum err index_iter_free(struct index_iter *it)
{
    char *text = NULL;
    if (it == NULL)
        return ERR_NOMEM;
    rocksdb_iter_get_error(it->it, &text);
    rocksdb_iter_destroy(it->it);
    rocksdb_readoptions_destroy(it->options);
    free(it);
    return text != NULL ? failed("scan", text) : ERR_OK;
}

enum err index_flush(struct index *x, bool wait)
{
    char *text = NULL;
    rocksdb_flushoptions_t *f = rocksdb_flushoptions_create();
    rocksdb_flushoptions_set_wait(f, wait);
    rocksdb_flush(x->db, f, &text);
    rocksdb_flushoptions_destroy(f);
    return text != NULL ? failed("flush", text) : ERR_OK;
}

enum err index_checkpoint(struct index *x, str dir)
{
    char path[4096], *text = NULL;
    if (dir.len >= sizeof path)
        return ERR_LIMIT;
    memcpy(path, dir.data, dir.len);
    path[dir.len] = '\0';
    rocksdb_checkpoint_t *c = rocksdb_checkpoint_object_create(x->db, &text);
    if (text != NULL)
        return failed("checkpoint", text);
    rocksdb_checkpoint_create(c, path, 0, &text);
    rocksdb_checkpoint_object_destroy(c);
    return text != NULL ? failed("checkpoint", text) : ERR_OK;
}

enum err index_verify(struct index *x)
{
    static const char low[8], high[9] = "\xff\xff\xff\xff\xff\xff\xff\xff\xff";
    struct index_iter *it = index_iter_new(x, str_of(low, 8), str_of(high, 9), false);
    while (index_iter_valid(it))
        index_iter_step(it);
    return index_iter_free(it);
}
