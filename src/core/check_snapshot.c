/* SPDX-License-Identifier: Apache-2.0
 *
 * The snapshots of an account say what its rows say. One that cannot be read is derived and made
 * anew; one that is readable and wrong would be believed, so that is a fault.
 */
#include "core/check_private.h"
#include "core/snapshot.h"

#include "base/num.h"

#include <string.h>

#define REF(c, ...) check_found((c), true, true, __VA_ARGS__)
#define DERIVED(c, ...) check_found((c), false, false, __VA_ARGS__)
#define LLU(n) ((unsigned long long)(n))

/* Rows of one chunk beside the rows of the store. */
struct beside {
    struct check *c;
    uint32_t mailbox;
    uint64_t version; /* what is not newer must be the same */
    bool still;       /* nothing happened in the mailbox since: what is here must be there */
    struct message_row rows[ROW_PACK_ROWS];
    size_t n, at, wrong;
};

static void only_here(struct beside *b)
{
    b->wrong += b->still;
    b->at++;
}

static bool on_row(void *arg, const struct store_row *row)
{
    struct beside *b = arg;
    struct message_row m;
    uint32_t uid;
    if (!key_u32(row->key, 5, &uid) || instance_decode(uid, row->value, &m) != ERR_OK)
        return true; /* told by the check of the rows */
    while (b->at < b->n && b->rows[b->at].uid < m.uid)
        only_here(b);
    bool here = b->at < b->n && b->rows[b->at].uid == m.uid;
    if (m.modseq <= b->version && (!here || memcmp(&b->rows[b->at], &m, sizeof m) != 0))
        b->wrong++;
    b->at += here;
    return true;
}

/* The rows of the store with UIDs of first to last. */
static enum err compare_range(struct beside *b, uint32_t first, uint32_t last)
{
    struct store_key from = key_instance(b->mailbox, first);
    struct store_key to =
        last == UINT32_MAX ? key_instance(b->mailbox + 1, 0) : key_instance(b->mailbox, last + 1);
    struct store_scan q = {
        .partition = b->c->partition, .from = key_str(&from), .to = key_str(&to)};
    b->at = 0;
    TRY(store_scan_all(b->c->store, &q, on_row, b));
    while (b->at < b->n)
        only_here(b);
    return ERR_OK;
}

static enum err check_part(struct beside *b, str blob, uint32_t before, uint32_t last)
{
    struct reader r;
    struct row_sum sum;
    str packed;
    TRY(snapshot_part_start(blob, &r));
    enum err e;
    while ((e = snapshot_part_chunk(&r, &sum, &packed)) == ERR_OK) {
        struct row_sum is = {0};
        if (sum.first <= before || sum.last > last)
            return ERR_CORRUPT;
        TRY(row_unpack(packed, sum.count, b->rows));
        b->n = sum.count;
        for (size_t i = 0; i < b->n; i++)
            row_sum_add(&is, &b->rows[i]);
        if (is.first != sum.first || is.last != sum.last || is.unseen != sum.unseen ||
            is.deleted != sum.deleted || is.modseq > sum.modseq)
            return ERR_CORRUPT;
        TRY(compare_range(b, before + 1, sum.last));
        before = sum.last;
    }
    return e == ERR_EOF && before == last ? ERR_OK : e == ERR_EOF ? ERR_CORRUPT : e;
}

static enum err check_parts(struct beside *b, const struct snapshot_row *row)
{
    BUF_AUTO struct buf blob = BUF_INIT(STORE_BLOB_MAX);
    for (size_t i = 0; i < row->nparts; i++) {
        buf_reset(&blob);
        enum err e = store_blob_read(b->c->store, &row->parts[i].blob, 0, UINT64_MAX, &blob);
        if (e == ERR_OK)
            e = check_part(b, buf_str(&blob), i ? row->parts[i - 1].last : 0, row->parts[i].last);
        if (e == ERR_NOMEM)
            return e;
        if (e != ERR_OK)
            DERIVED(b->c, "mailbox %u: a part of its snapshot is unreadable (derived)", b->mailbox);
    }
    return ERR_OK;
}

static enum err check_one(struct check *c, struct arena *arena, uint32_t mailbox, str value)
{
    struct snapshot_row row;
    struct state_row state;
    BUF_AUTO struct buf raw = BUF_INIT(STORE_VALUE_MAX);
    struct store_key key = key_state(mailbox);
    if (snapshot_row_decode(value, arena, &row) != ERR_OK) {
        DERIVED(c, "mailbox %u: unreadable snapshot row (derived)", mailbox);
        return ERR_OK;
    }
    c->result->snapshots++;
    for (size_t i = 0; i < row.nparts; i++)
        check_hold(c, &row.parts[i].blob, row.parts[i].bytes);
    enum err e = store_get(c->store, c->partition, key_str(&key), &raw);
    if (e != ERR_OK || state_decode(buf_str(&raw), &state) != ERR_OK) {
        REF(c, "mailbox %u: a snapshot of a mailbox that is not there", mailbox);
        return ERR_OK;
    }
    struct beside *b = ARENA_NEW(arena, struct beside);
    if (!b)
        return ERR_NOMEM;
    b->c = c;
    b->mailbox = mailbox;
    b->version = row.version;
    b->still = state.highest_modseq <= row.version;
    TRY(check_parts(b, &row));
    if (b->wrong)
        REF(c, "mailbox %u: its snapshot of version %llu differs from %zu rows", mailbox,
            LLU(row.version), b->wrong);
    return ERR_OK;
}

static void on_snapshot(void *arg, str key, str value)
{
    buf_add_sized(arg, key);
    buf_add_sized(arg, value);
}

enum err check_snapshots(struct check *c)
{
    BUF_AUTO struct buf found = BUF_INIT(CHECK_BYTES_MAX);
    struct arena arena = ARENA_INIT(1 << 20);
    enum err e = check_scan(c, SPACE_SNAPSHOT, on_snapshot, &found);
    if (e == ERR_OK && !buf_ok(&found))
        e = ERR_NOMEM;
    struct reader r = reader_of(buf_str(&found));
    while (e == ERR_OK && r.rest.len) {
        uint32_t mailbox;
        str key = read_sized(&r), value = read_sized(&r);
        arena_reset(&arena);
        if (key.len != 5 || !key_u32(key, 1, &mailbox))
            DERIVED(c, "unreadable key of a snapshot (derived)");
        else
            e = check_one(c, &arena, mailbox, value);
    }
    arena_free(&arena);
    return e;
}
