/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine's part of a check: every record and blob in every segment against its checksum, every
 * blob row against the bytes it names, the live counts against the rows. Writes nothing.
 */
#include <stdlib.h>
#include <string.h>

#include "store/embedded.h"

struct counted {
    uint32_t number;
    struct segment_row row;
};
struct checking {
    struct embedded *e;
    store_finding_fn *finding;
    void *arg;
    struct segment *segment;
    struct counted *counts;
    size_t ncounts;
};

static void say(struct checking *c, bool fatal, const char *what, uint32_t segment, uint64_t at)
{
    BUF_AUTO struct buf text = BUF_INIT(256);
    buf_addf(&text, "%s (segment %08x at %llu)", what, (unsigned)segment, (unsigned long long)at);
    c->finding(c->arg, fatal, 0, buf_str(&text));
}

static enum err check_record(void *arg, const struct record_view *v)
{
    struct checking *c = arg;
    if (record_verify(v) != ERR_OK)
        say(c, true, "a record's checksum is wrong", c->segment->number, v->offset);
    return ERR_OK;
}

static enum err check_segment(struct checking *c, struct segment *s)
{
    uint64_t durable = atomic_load(&c->e->durable), size = atomic_load(&s->size), end = 0;
    if (!s->cold && s->number > position_segment(durable))
        return ERR_OK;
    if (!s->cold && s->number == position_segment(durable))
        size = position_offset(durable);
    c->segment = s;
    TRY(segment_walk(c->e, s, SEGMENT_HEADER, size, check_record, c, &end));
    /* A cold file may end in what a crash of the compactor left: what lives in it is checked from
     * its rows. */
    if (end != size && !s->cold)
        say(c, true, "the segment cannot be read further", s->number, end);
    return ERR_OK;
}

static enum err check_segments(struct checking *c)
{
    for (size_t i = 0;; i++) {
        struct segment *s = segment_at(&c->e->segments, i);
        if (s == NULL)
            return ERR_OK;
        enum err err = check_segment(c, s);
        segment_release(&c->e->segments, s);
        if (err != ERR_OK)
            return err;
    }
}

static enum err count_blob(struct checking *c, const struct blob_row *r)
{
    for (size_t i = 0; i < c->ncounts; i++) {
        if (c->counts[i].number != r->segment)
            continue;
        c->counts[i].row.live_bytes += r->stored;
        c->counts[i].row.live_blobs++;
        return ERR_OK;
    }
    struct counted *more = realloc(c->counts, (c->ncounts + 1) * sizeof *more);
    if (more == NULL)
        return ERR_NOMEM;
    c->counts = more;
    more[c->ncounts++] = (struct counted){r->segment, {r->stored, 1, 0}};
    return ERR_OK;
}

static void check_blob(struct checking *c, str key, const struct blob_row *r)
{
    struct blob_bytes b;
    enum err err = blob_load(c->e, r, &b);
    if (err == ERR_OK) {
        blob_unload(&b);
        return;
    }
    struct blob_id id; /* dropped or moved since our view began? */
    struct blob_row now;
    memcpy(id.bytes, key.data + 9, sizeof id.bytes);
    if (blob_row_get(c->e, &id, &now) != ERR_OK || now.segment != r->segment)
        return;
    say(c, true, "a blob is unreadable or its checksum is wrong", r->segment, r->offset);
}

static void check_count(struct checking *c, str key, const struct segment_row *r)
{
    struct reader k = reader_of(str_skip(key, 9));
    uint32_t number = read_be32(&k);
    struct segment_row want = {0};
    for (size_t i = 0; i < c->ncounts; i++) {
        if (c->counts[i].number == number) {
            want = c->counts[i].row;
            c->counts[i] = c->counts[--c->ncounts];
            break;
        }
    }
    if (want.live_bytes != r->live_bytes || want.live_blobs != r->live_blobs)
        say(c, false, "the live bytes are counted wrong", number, want.live_bytes);
}

/* One view of all engine rows: blobs come before segments in it, so the sums are compared with the
 * counts of the same moment. */
static enum err check_rows(struct checking *c)
{
    struct row_key from = row_tag('b'), to = row_tag_end('s');
    struct index_iter *it = index_iter_new(c->e->index, row_str(&from), row_str(&to), false);
    enum err err = ERR_OK;
    for (; err == ERR_OK && index_iter_valid(it); index_iter_step(it)) {
        str key = index_iter_key(it);
        struct blob_row b;
        struct segment_row s;
        bool bad = false;
        if (key.data[8] == 'b' && !(bad = row_read_blob(index_iter_value(it), &b) != ERR_OK)) {
            check_blob(c, key, &b);
            err = count_blob(c, &b);
        } else if (key.data[8] == 's' &&
                   !(bad = row_read_segment(index_iter_value(it), &s) != ERR_OK)) {
            check_count(c, key, &s);
        }
        if (bad)
            say(c, true, "a row of the index is unreadable", 0, 0);
    }
    enum err ended = index_iter_free(it);
    for (size_t i = 0; err == ERR_OK && i < c->ncounts; i++)
        say(c, false, "a segment with blobs has no count", c->counts[i].number, 0);
    return err != ERR_OK ? err : ended;
}

enum err embedded_check(struct store *s, store_finding_fn *finding, void *arg)
{
    struct checking c = {.e = (struct embedded *)s, .finding = finding, .arg = arg};
    pthread_mutex_lock(&c.e->compacting);
    enum err err = check_segments(&c);
    if (err == ERR_OK)
        err = check_rows(&c);
    if (err == ERR_OK)
        err = index_verify(c.e->index);
    pthread_mutex_unlock(&c.e->compacting);
    free(c.counts);
    if (err != ERR_CORRUPT)
        return err;
    say(&c, true, "the index cannot be read", 0, 0);
    return ERR_OK;
}
