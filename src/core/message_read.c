/* SPDX-License-Identifier: Apache-2.0 */
#include "core/message_private.h"

#include "base/num.h"

#include <assert.h>

enum err message_cold(struct account *a, uint64_t message, struct buf *raw,
                      struct message_cold *out)
{
    struct store_key key = key_message(message);
    buf_reset(raw);
    TRY(store_get(accounts_store(a->owner), a->id, key_str(&key), raw));
    return cold_decode(buf_str(raw), out);
}

/* ---- many ---- */

/* A run of ascending ids that lie close enough together to be read by one scan. */
struct run {
    const uint64_t *ids;
    size_t n, at; /* at: the next id to be answered */
    size_t first; /* index of ids[0] in the caller's order */
    message_cold_fn *fn;
    void *arg;
    bool stopped;
};
#define RUN_SPARSE 4 /* at most so many rows are read for one that is wanted */

static bool answer(struct run *r, enum err e, const struct message_cold *c)
{
    if (!r->fn(r->arg, r->first + r->at, e, c))
        r->stopped = true;
    r->at++;
    return !r->stopped;
}

static bool run_row(void *arg, const struct store_row *row)
{
    struct run *r = arg;
    uint64_t id;
    struct message_cold c;
    if (!key_u64(row->key, 1, &id))
        return true;
    while (r->at < r->n && r->ids[r->at] < id)
        if (!answer(r, ERR_NOT_FOUND, NULL))
            return false;
    if (r->at < r->n && r->ids[r->at] == id) {
        enum err e = cold_decode(row->value, &c);
        if (!answer(r, e, e == ERR_OK ? &c : NULL))
            return false;
    }
    return r->at < r->n;
}

static enum err run_scan(struct account *a, struct run *r)
{
    uint64_t last = r->ids[r->n - 1];
    while (!r->stopped && r->at < r->n) {
        struct store_key from = key_message(r->ids[r->at]), to = key_message(last + 1);
        struct store_key seen = {0};
        struct store_scan q = {.partition = a->id,
                               .from = key_str(&from),
                               .to = key_str(&to),
                               .limit = STORE_PAGE_MAX};
        size_t before = r->at;
        TRY(store_scan(accounts_store(a->owner), &q, run_row, r, &seen));
        if (r->at == before && !r->stopped) { /* nothing there but what is not wanted */
            uint64_t id = UINT64_MAX;
            if (seen.len && !key_u64(key_str(&seen), 1, &id))
                return ERR_CORRUPT;
            while (r->at < r->n && r->ids[r->at] <= id && answer(r, ERR_NOT_FOUND, NULL))
                ;
        }
    }
    return ERR_OK;
}

static size_t run_length(const uint64_t *ids, size_t n)
{
    size_t len = 1;
    while (len < n && ids[len] > ids[len - 1] && ids[len] - ids[0] <= RUN_SPARSE * (len + 1))
        len++;
    return len;
}

enum err message_cold_each(struct account *a, const uint64_t *messages, size_t n,
                           message_cold_fn *fn, void *arg)
{
    BUF_AUTO struct buf raw = BUF_INIT(STORE_VALUE_MAX);
    for (size_t i = 0; i < n;) {
        size_t len = run_length(messages + i, n - i);
        struct run r = {.ids = messages + i, .n = len, .first = i, .fn = fn, .arg = arg};
        if (len > 1) {
            TRY(run_scan(a, &r));
        } else {
            struct message_cold c;
            enum err e = message_cold(a, messages[i], &raw, &c);
            if (e != ERR_OK && e != ERR_NOT_FOUND && e != ERR_CORRUPT)
                return e;
            answer(&r, e, e == ERR_OK ? &c : NULL);
        }
        if (r.stopped)
            return ERR_OK;
        i += len;
    }
    return ERR_OK;
}

/* ---- the bytes ---- */

enum err message_pieces(struct account *a, const struct message_cold *c, uint64_t offset,
                        uint64_t len, store_piece_fn *fn, void *arg)
{
    uint64_t size = message_size(c);
    if (offset >= size)
        return ERR_OK;
    len = MIN(len, size - offset);
    if (offset < c->prefix.len && len) {
        str piece = str_sub(c->prefix, offset, len);
        if (!fn(arg, piece))
            return ERR_OK;
        offset += piece.len;
        len -= piece.len;
    }
    if (!len)
        return ERR_OK;
    return store_blob_pieces(accounts_store(a->owner), &c->blob, offset - c->prefix.len, len, fn,
                             arg);
}

static bool append(void *arg, str piece)
{
    buf_add(arg, piece);
    return buf_ok(arg);
}

enum err message_read(struct account *a, const struct message_cold *c, uint64_t offset,
                      uint64_t len, struct buf *out)
{
    TRY(message_pieces(a, c, offset, len, append, out));
    return buf_ok(out) ? ERR_OK : ERR_LIMIT;
}
