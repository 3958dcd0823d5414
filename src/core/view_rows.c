/* SPDX-License-Identifier: Apache-2.0
 *
 * The rows of a view, in chunks of up to CHUNK_ROWS, none empty, so that a removal moves at most
 * 64 KB and a place is found by two binary searches. A chunk that nobody looked at lately is
 * packed (row_pack.h): it is unpacked at the next look, and packed again by the keeper, which runs
 * while all others wait, so a row stays where it is until the wait of whoever looks at it.
 */
#include "core/account_private.h"

#include "base/log.h"
#include "base/num.h"

#include <assert.h>
#include <string.h>

#define CHUNK_BYTES (CHUNK_ROWS * sizeof(struct message_row))

static struct chunk *chunks(const struct mailbox_view *v) { return (struct chunk *)v->chunks.data; }
static size_t chunk_count(const struct mailbox_view *v)
{
    return v->chunks.len / sizeof(struct chunk);
}

size_t view_count(const struct mailbox_view *v) { return v->count; }

uint32_t view_last_uid(const struct mailbox_view *v)
{
    return v->count ? chunks(v)[chunk_count(v) - 1].sum.last : 0;
}

/* ---- packing ---- */

/* What the chunk holds counts for the thread's limits. */
static void weigh(const struct mailbox_view *v, struct chunk *c)
{
    struct accounts *as = v->account->owner;
    as->bytes += c->rows.cap + c->packed.cap - c->bytes;
    as->unpacked += c->rows.cap - c->unpacked;
    c->bytes = c->rows.cap + c->packed.cap;
    c->unpacked = c->rows.cap;
    if (as->keeper && as->unpacked > as->o.unpacked_max)
        view_keeper_wake(as->keeper);
}

static bool unpack(struct mailbox_view *v, struct chunk *c)
{
    buf_init(&c->rows, CHUNK_BYTES);
    struct message_row *rows =
        (struct message_row *)buf_reserve(&c->rows, c->sum.count * sizeof *rows);
    enum err e = rows ? row_unpack(buf_str(&c->packed), c->sum.count, rows) : ERR_NOMEM;
    if (e == ERR_OK && (rows[0].uid != c->sum.first || rows[c->sum.count - 1].uid != c->sum.last))
        e = ERR_CORRUPT;
    if (e == ERR_OK) {
        buf_commit(&c->rows, c->sum.count * sizeof *rows);
        weigh(v, c);
        return true;
    }
    buf_free(&c->rows);
    view_failed(v, e);
    return false;
}

/* Stands for rows that cannot be unpacked: the sessions say BYE, nothing falls over. */
static const struct message_row blank[CHUNK_ROWS + 1];

static const struct message_row *rows_of(const struct mailbox_view *v, struct chunk *c)
{
    c->used = true;
    if (!c->rows.len && !unpack((struct mailbox_view *)v, c)) /* a cache */
        return blank;
    return (const struct message_row *)c->rows.data;
}

/* To be changed: what is packed does not hold any more. NULL: see rows_of. */
static struct message_row *rows_to_change(struct mailbox_view *v, struct chunk *c)
{
    if (rows_of(v, c) == blank)
        return NULL;
    buf_free(&c->packed);
    weigh(v, c);
    return (struct message_row *)c->rows.data;
}

static bool pack(struct mailbox_view *v, struct chunk *c)
{
    BUF_AUTO struct buf out = BUF_INIT(ROW_PACK_MAX);
    row_pack((const struct message_row *)c->rows.data, c->sum.count, &out);
    buf_init(&c->packed, out.len); /* exactly so much */
    buf_add(&c->packed, buf_str(&out));
    bool ok = buf_ok(&out) && buf_ok(&c->packed);
    if (!ok)
        buf_free(&c->packed);
    weigh(v, c);
    return ok;
}

size_t view_pack(struct mailbox_view *v, size_t packs, bool all)
{
    for (size_t i = 0; i < chunk_count(v); i++) {
        struct chunk *c = &chunks(v)[i];
        bool used = c->used && !all;
        c->used = false;
        if (used || !c->rows.len)
            continue;
        if (!c->packed.len) {
            if (packs == 0) {
                c->used = used;
                break;
            }
            packs--;
            if (!pack(v, c))
                continue;
        }
        buf_free(&c->rows);
        weigh(v, c);
    }
    return packs;
}

/* ---- finding ---- */

/* The first chunk whose last UID is uid or more. */
static size_t chunk_for_uid(const struct mailbox_view *v, uint32_t uid)
{
    size_t from = 0, to = chunk_count(v);
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (chunks(v)[mid].sum.last < uid)
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}

/* The first row of the chunk with a UID of uid or more. */
static size_t row_for_uid(const struct mailbox_view *v, struct chunk *c, uint32_t uid)
{
    if (uid <= c->sum.first)
        return 0;
    if (uid > c->sum.last)
        return c->sum.count;
    if (c->sum.last - c->sum.first + 1 == c->sum.count)
        return uid - c->sum.first; /* no holes */
    return row_find(rows_of(v, c), c->sum.count, uid);
}

/* Makes `before` right for all chunks; what did not change before `ranked` is kept. */
static void rank(const struct mailbox_view *cv)
{
    struct mailbox_view *v = (struct mailbox_view *)cv; /* a cache */
    size_t n = chunk_count(v), i = v->ranked;
    size_t before = i ? chunks(v)[i - 1].before + chunks(v)[i - 1].sum.count : 0;
    for (; i < n; i++) {
        chunks(v)[i].before = before;
        before += chunks(v)[i].sum.count;
    }
    v->ranked = n;
}

static void unrank(struct mailbox_view *v, size_t from) { v->ranked = MIN(v->ranked, from); }

static size_t chunk_for_place(const struct mailbox_view *v, size_t index)
{
    size_t from = 0, to = chunk_count(v);
    rank(v);
    while (to - from > 1) {
        size_t mid = from + (to - from) / 2;
        if (chunks(v)[mid].before <= index)
            from = mid;
        else
            to = mid;
    }
    return from;
}

const struct message_row *view_at(const struct mailbox_view *v, size_t index)
{
    const struct message_row *rows;
    return view_run(v, index, &rows) ? rows : NULL;
}

size_t view_run(const struct mailbox_view *v, size_t index, const struct message_row **rows)
{
    if (index >= v->count)
        return 0;
    struct chunk *c = &chunks(v)[chunk_for_place(v, index)];
    assert(index - c->before < c->sum.count);
    *rows = rows_of(v, c) + (index - c->before);
    return c->sum.count - (index - c->before);
}

size_t view_solid(const struct mailbox_view *v, size_t index, uint32_t *first)
{
    if (index >= v->count)
        return 0;
    const struct chunk *c = &chunks(v)[chunk_for_place(v, index)];
    if (c->sum.last - c->sum.first + 1 != c->sum.count)
        return 0;
    *first = c->sum.first + (uint32_t)(index - c->before);
    return c->sum.count - (index - c->before);
}

size_t view_seek(const struct mailbox_view *v, size_t index, const struct view_want *want)
{
    if (index >= v->count)
        return v->count;
    size_t at = chunk_for_place(v, index);
    for (size_t n = chunk_count(v); at < n; at++) {
        const struct row_sum *s = &chunks(v)[at].sum;
        if (s->modseq > want->modseq_above && (!want->unseen || s->unseen) &&
            (!want->deleted || s->deleted))
            return MAX(index, chunks(v)[at].before);
    }
    return v->count;
}

const struct message_row *view_find(const struct mailbox_view *v, uint32_t uid)
{
    size_t at = chunk_for_uid(v, uid);
    if (at == chunk_count(v) || uid < chunks(v)[at].sum.first)
        return NULL;
    struct chunk *c = &chunks(v)[at];
    const struct message_row *row = rows_of(v, c) + row_for_uid(v, c, uid);
    return row->uid == uid ? row : NULL;
}

size_t view_place(const struct mailbox_view *v, uint32_t uid)
{
    size_t at = chunk_for_uid(v, uid);
    if (at == chunk_count(v))
        return v->count;
    rank(v);
    return chunks(v)[at].before + row_for_uid(v, &chunks(v)[at], uid);
}

/* ---- changing ---- */

static void sum_again(struct chunk *c)
{
    const struct message_row *rows = (const struct message_row *)c->rows.data;
    size_t n = c->rows.len / sizeof *rows;
    c->sum = (struct row_sum){0};
    for (size_t i = 0; i < n; i++)
        row_sum_add(&c->sum, &rows[i]);
}

static bool chunk_insert(struct mailbox_view *v, size_t at)
{
    struct chunk fresh = {.rows = BUF_INIT(CHUNK_BYTES), .used = true};
    size_t n = chunk_count(v);
    if (!buf_reserve(&v->chunks, sizeof fresh)) {
        v->chunks.failed = false;
        return false;
    }
    buf_commit(&v->chunks, sizeof fresh);
    memmove(&chunks(v)[at + 1], &chunks(v)[at], (n - at) * sizeof fresh);
    chunks(v)[at] = fresh;
    unrank(v, at);
    return true;
}

static void chunk_remove(struct mailbox_view *v, size_t at)
{
    struct chunk *c = &chunks(v)[at];
    buf_free(&c->rows);
    buf_free(&c->packed);
    weigh(v, c);
    memmove(c, c + 1, (chunk_count(v) - at - 1) * sizeof(struct chunk));
    buf_truncate(&v->chunks, v->chunks.len - sizeof(struct chunk));
    unrank(v, at);
}

/* A full chunk gives its upper half to a new one behind it. */
static bool chunk_split(struct mailbox_view *v, size_t at)
{
    if (!chunk_insert(v, at + 1))
        return false;
    struct chunk *c = &chunks(v)[at], *next = &chunks(v)[at + 1];
    size_t half = c->sum.count / 2 * sizeof(struct message_row);
    buf_add(&next->rows, str_skip(buf_str(&c->rows), half));
    if (!buf_ok(&next->rows)) {
        chunk_remove(v, at + 1);
        return false;
    }
    buf_truncate(&c->rows, half);
    sum_again(c);
    sum_again(next);
    weigh(v, next);
    return true;
}

static bool row_insert(struct mailbox_view *v, size_t at, const struct message_row *row)
{
    if (!rows_to_change(v, &chunks(v)[at]))
        return false;
    if (chunks(v)[at].sum.count == CHUNK_ROWS) {
        if (!chunk_split(v, at))
            return false;
        at += row->uid > chunks(v)[at].sum.last;
    }
    struct chunk *c = &chunks(v)[at];
    size_t place = row_for_uid(v, c, row->uid), behind = c->sum.count - place;
    if (!buf_reserve(&c->rows, sizeof *row)) {
        c->rows.failed = false;
        return false;
    }
    struct message_row *rows = (struct message_row *)c->rows.data;
    buf_commit(&c->rows, sizeof *row);
    memmove(&rows[place + 1], &rows[place], behind * sizeof *row);
    rows[place] = *row;
    sum_again(c);
    weigh(v, c);
    unrank(v, at + 1);
    v->count++;
    return true;
}

static bool row_append(struct mailbox_view *v, const struct message_row *row)
{
    size_t n = chunk_count(v);
    if (n == 0 || chunks(v)[n - 1].sum.count == CHUNK_ROWS) {
        if (!chunk_insert(v, n))
            return false;
        n++;
    } else if (!rows_to_change(v, &chunks(v)[n - 1])) {
        return false;
    }
    struct chunk *c = &chunks(v)[n - 1];
    buf_add(&c->rows, str_of(row, sizeof *row));
    if (!buf_ok(&c->rows)) {
        c->rows.failed = false;
        if (c->rows.len == 0)
            chunk_remove(v, n - 1);
        return false;
    }
    row_sum_add(&c->sum, row);
    weigh(v, c);
    v->count++;
    return true;
}

enum row_put view_row_put(struct mailbox_view *v, const struct message_row *row)
{
    if (row->uid > view_last_uid(v)) {
        snapshot_touch(v, row->uid);
        return row_append(v, row) ? ROW_PUT_NEW : ROW_PUT_FAILED;
    }
    size_t at = chunk_for_uid(v, row->uid);
    struct chunk *c = &chunks(v)[at];
    size_t place = row_for_uid(v, c, row->uid);
    const struct message_row *here = rows_of(v, c) + place;
    if (memcmp(here, row, sizeof *row) == 0)
        return ROW_PUT_SAME;
    snapshot_touch(v, row->uid);
    if (here->uid != row->uid)
        return row_insert(v, at, row) ? ROW_PUT_NEW : ROW_PUT_FAILED;
    struct message_row *rows = rows_to_change(v, c);
    struct message_row old = rows[place];
    rows[place] = *row;
    c->sum.unseen += !(row->flags & FLAG_SEEN);
    c->sum.unseen -= !(old.flags & FLAG_SEEN);
    c->sum.deleted += !!(row->flags & FLAG_DELETED);
    c->sum.deleted -= !!(old.flags & FLAG_DELETED);
    c->sum.modseq = MAX(c->sum.modseq, row->modseq);
    return ROW_PUT_CHANGED;
}

bool view_chunk_put(struct mailbox_view *v, const struct row_sum *sum, str packed)
{
    size_t n = chunk_count(v);
    assert(sum->first > view_last_uid(v));
    if (!chunk_insert(v, n))
        return false;
    struct chunk *c = &chunks(v)[n];
    buf_init(&c->packed, packed.len); /* exactly so much */
    buf_add(&c->packed, packed);
    c->sum = *sum;
    c->used = false;
    if (!buf_ok(&c->packed)) {
        chunk_remove(v, n);
        return false;
    }
    weigh(v, c);
    v->count += sum->count;
    return true;
}

enum err view_chunk_take(struct mailbox_view *v, uint32_t from, uint32_t to, struct row_sum *sum,
                         struct buf *packed)
{
    size_t at = chunk_for_uid(v, from);
    if (at == chunk_count(v) || chunks(v)[at].sum.first > to)
        return ERR_EOF;
    struct chunk *c = &chunks(v)[at];
    size_t begin = row_for_uid(v, c, from);
    size_t end = to >= c->sum.last ? c->sum.count : row_for_uid(v, c, to + 1);
    if (begin == end)
        return ERR_EOF;
    if (begin == 0 && end == c->sum.count && (c->packed.len || (c->rows.len && pack(v, c)))) {
        *sum = c->sum;
        buf_add(packed, buf_str(&c->packed));
    } else {
        const struct message_row *rows = rows_of(v, c);
        if (rows == blank)
            return ERR_CORRUPT;
        *sum = (struct row_sum){0};
        for (size_t i = begin; i < end; i++)
            row_sum_add(sum, &rows[i]);
        row_pack(rows + begin, end - begin, packed);
    }
    return buf_ok(packed) ? ERR_OK : ERR_NOMEM;
}

/* Neighbours that are small together become one. */
static void chunk_tidy(struct mailbox_view *v, size_t at)
{
    if (chunks(v)[at].sum.count == 0) {
        chunk_remove(v, at);
        return;
    }
    if (at + 1 >= chunk_count(v))
        return;
    struct chunk *c = &chunks(v)[at], *next = &chunks(v)[at + 1];
    if (c->sum.count + next->sum.count > CHUNK_ROWS / 2 || rows_of(v, next) == blank)
        return;
    buf_add(&c->rows, buf_str(&next->rows));
    if (buf_ok(&c->rows)) {
        sum_again(c);
        weigh(v, c);
        chunk_remove(v, at + 1);
    } else {
        c->rows.failed = false;
    }
}

/* Of one chunk, from rows[*i] on; *i moves behind its last UID. */
static enum err chunk_rows_remove(struct mailbox_view *v, size_t at, const struct message_row *gone,
                                  size_t n, size_t *i, struct set *done)
{
    struct chunk *c = &chunks(v)[at];
    struct message_row *rows = rows_to_change(v, c);
    if (!rows)
        return ERR_CORRUPT;
    size_t had = c->sum.count, from = row_for_uid(v, c, gone[*i].uid), to = from;
    uint32_t last = c->sum.last;
    enum err e = ERR_OK;
    for (size_t k = from; k < had; k++) {
        while (*i < n && gone[*i].uid < rows[k].uid)
            ++*i;
        if (*i < n && gone[*i].uid == rows[k].uid && e == ERR_OK &&
            (e = set_add(done, rows[k].uid)) == ERR_OK) {
            snapshot_touch(v, rows[k].uid);
            continue;
        }
        rows[to++] = rows[k];
    }
    buf_truncate(&c->rows, to * sizeof *rows);
    sum_again(c);
    v->count -= had - to;
    unrank(v, at + 1);
    chunk_tidy(v, at);
    while (*i < n && gone[*i].uid <= last)
        ++*i;
    return e;
}

enum err view_rows_remove(struct mailbox_view *v, const struct message_row *rows, size_t n,
                          struct set *gone)
{
    for (size_t i = 0; i < n;) {
        size_t at = chunk_for_uid(v, rows[i].uid);
        if (at == chunk_count(v))
            break;
        TRY(chunk_rows_remove(v, at, rows, n, &i, gone));
    }
    return ERR_OK;
}

void view_clear(struct mailbox_view *v)
{
    while (chunk_count(v))
        chunk_remove(v, chunk_count(v) - 1);
    buf_free(&v->chunks);
    v->count = v->ranked = 0;
}
