/* SPDX-License-Identifier: Apache-2.0
 *
 * Making segments: of messages that are new, and of segments that are small. Texts are gathered
 * on the fiber; decoding, folding and compressing happen on a worker.
 */
#include <string.h>

#include "base/log.h"
#include "base/num.h"
#include "core/account_private.h"
#include "core/search_index.h"
#include "os/offload.h"

/* ---- gathering: a batch of what search_walk gives, one behind the other ---- */

enum item { ITEM_MESSAGE, ITEM_HEADER, ITEM_BEGIN, ITEM_BODY, ITEM_END };

struct batch {
    struct buf items;
    size_t message_at; /* where the current message's items begin */
    bool too_big;
    uint64_t last;
    size_t messages;
};

static bool add_item(struct batch *b, enum item item, uint8_t a, bool html, str bytes)
{
    if (b->items.len - b->message_at + bytes.len > SEGMENT_MESSAGE_MAX) {
        b->too_big = true;
        return false;
    }
    buf_add_char(&b->items, (char)item);
    buf_add_char(&b->items, (char)a);
    buf_add_char(&b->items, html);
    buf_add_sized(&b->items, bytes);
    return buf_ok(&b->items);
}

static bool on_header(void *arg, char kind, str block)
{
    return add_item(arg, ITEM_HEADER, (uint8_t)kind, false, block);
}

static bool on_begin(void *arg, enum cte cte, str charset, bool html)
{
    return add_item(arg, ITEM_BEGIN, (uint8_t)cte, html, charset);
}

static bool on_body(void *arg, str raw) { return add_item(arg, ITEM_BODY, 0, false, raw); }
static bool on_end(void *arg) { return add_item(arg, ITEM_END, 0, false, STR_NONE); }

/* A message that cannot be read now and never will is in the index as one to be scanned. */
static enum err gather_message(struct account *a, uint64_t id, struct batch *b)
{
    static const struct search_sink sink = {on_header, on_begin, on_body, on_end};
    size_t begin = b->items.len;
    b->too_big = false;
    buf_add_char(&b->items, ITEM_MESSAGE);
    buf_add_be64(&b->items, id);
    size_t flag_at = b->items.len;
    buf_add_char(&b->items, 0);
    b->message_at = b->items.len;
    enum err e = search_walk(a, id, &sink, b);
    if (e == ERR_NOT_FOUND) {
        buf_truncate(&b->items, begin);
        return ERR_OK;
    }
    if (e != ERR_OK && e != ERR_CORRUPT && err_class(e) == ERR_CLASS_TEMP)
        return e;
    if (!buf_ok(&b->items))
        return ERR_NOMEM;
    if (e != ERR_OK || b->too_big) {
        buf_truncate(&b->items, b->message_at);
        b->items.data[flag_at] = 1;
    }
    b->messages++;
    return ERR_OK;
}

/* ---- building, on a worker ---- */

struct build_job {
    str items;
    struct segment_builder *builder;
    struct search_text text;
    struct buf out;
    size_t index_bytes;
    enum err e;
    const atomic_bool *stop;
    /* merging */
    struct account *account;
    const struct search_part *parts;
    size_t nparts;
    struct buf *blobs;       /* of the parts */
    const struct buf *alive; /* u64 each, ascending */
};

static void build_message(struct build_job *j, struct reader *r)
{
    uint64_t id = read_be64(r);
    bool too_big = read_u8(r);
    buf_reset(&j->text.out);
    while (!r->failed && r->rest.len && r->rest.data[0] != ITEM_MESSAGE) {
        enum item item = read_u8(r);
        uint8_t a = read_u8(r);
        bool html = read_u8(r);
        str bytes = read_sized(r);
        if (item == ITEM_HEADER)
            search_text_header(&j->text, bytes, (char)a);
        else if (item == ITEM_BEGIN)
            search_text_body_begin(&j->text, (enum cte)a, bytes, html);
        else if (item == ITEM_BODY)
            search_text_body(&j->text, bytes);
        else
            search_text_body_end(&j->text);
    }
    if (!buf_ok(&j->text.out) || j->text.out.len > 4 * SEGMENT_MESSAGE_MAX)
        too_big = true;
    segment_add(j->builder, id, too_big ? STR_NONE : buf_str(&j->text.out), too_big);
}

static bool stopped(const struct build_job *j)
{
    return j->stop && atomic_load_explicit(j->stop, memory_order_relaxed);
}

static void build_now(void *arg)
{
    struct build_job *j = arg;
    struct reader r = reader_of(j->items);
    while (!stopped(j) && !r.failed && r.rest.len && read_u8(&r) == ITEM_MESSAGE)
        build_message(j, &r);
    j->e = stopped(j) ? ERR_CANCELED : segment_finish(j->builder, &j->out, &j->index_bytes);
}

static bool is_alive(const struct buf *alive, uint64_t id)
{
    const uint64_t *ids = (const uint64_t *)alive->data;
    size_t from = 0, to = alive->len / sizeof *ids;
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (ids[mid] < id)
            from = mid + 1;
        else
            to = mid;
    }
    return from < alive->len / sizeof *ids && ids[from] == id;
}

static enum err merge_part(struct build_job *j, size_t part)
{
    struct segment s;
    str blob = buf_str(&j->blobs[part]);
    uint64_t index_bytes = j->parts[part].row.index_bytes;
    uint32_t held = UINT32_MAX;
    TRY(segment_open(str_head(blob, index_bytes), true, &s));
    for (uint32_t doc = 0; doc < s.docs; doc++) {
        struct segment_text t;
        uint64_t id = segment_id(&s, doc);
        if (stopped(j))
            return ERR_CANCELED;
        if (!is_alive(j->alive, id))
            continue;
        if (!segment_text_at(&s, doc, &t)) {
            segment_add(j->builder, id, STR_NONE, true);
            continue;
        }
        if (t.block != held) {
            uint32_t offset, packed;
            if (!segment_block_at(&s, t.block, &offset, &packed))
                return ERR_CORRUPT;
            buf_reset(&j->text.out);
            TRY(segment_unpack(&s, t.block, str_sub(blob, index_bytes + offset, packed),
                               &j->text.out));
            held = t.block;
        }
        segment_add(j->builder, id, str_sub(buf_str(&j->text.out), t.offset, t.bytes), false);
    }
    return ERR_OK;
}

static void merge_now(void *arg)
{
    struct build_job *j = arg;
    j->e = ERR_OK;
    for (size_t i = 0; i < j->nparts && j->e == ERR_OK; i++)
        j->e = merge_part(j, i);
    if (j->e == ERR_OK)
        j->e = segment_finish(j->builder, &j->out, &j->index_bytes);
}

static enum err job_open(struct account *a, struct build_job *j)
{
    j->stop = search_stop_flag(a);
    j->builder = segment_builder_open();
    search_text_init(&j->text, (size_t)64 << 20);
    buf_init(&j->out, SEGMENT_BLOB_MAX);
    return j->builder ? ERR_OK : ERR_NOMEM;
}

static void job_close(struct build_job *j)
{
    segment_builder_close(j->builder);
    search_text_free(&j->text);
    buf_free(&j->out);
}

/* ---- committing ---- */

/* The job's segment in place of the parts given (maybe none). */
struct put {
    const struct build_job *job;
    uint64_t first, last, docs;
    const struct search_part *old;
    size_t nold;
    struct blob_id blob;
    struct store_staged *staged;
};

static enum err put_once(struct account *a, const struct put *p)
{
    struct change *c;
    BUF_AUTO struct buf value = BUF_INIT(1024);
    const struct build_job *j = p->job;
    struct search_row row = {.last = p->last,
                             .docs = p->docs,
                             .index_bytes = j->index_bytes,
                             .blob_bytes = j->out.len,
                             .text_bytes = segment_text_bytes(j->builder),
                             .blob = p->blob};
    TRY(change_begin(a, &c));
    c->blobs = ARENA_ARRAY(&c->arena, struct store_blob_new, 1);
    c->drops = ARENA_ARRAY(&c->arena, struct blob_id, p->nold + 1);
    if (!c->blobs || !c->drops) {
        change_drop(c);
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < p->nold; i++) {
        if (p->old[i].first != p->first)
            change_delete(c, key_search(p->old[i].first));
        c->drops[c->ndrops++] = p->old[i].row.blob;
    }
    if (p->nold)
        search_row_encode(&p->old[0].row, &value);
    change_expect(c, key_search(p->first), buf_str(&value));
    buf_reset(&value);
    search_row_encode(&row, &value);
    c->blobs[c->nblobs++] = (struct store_blob_new){
        .id = row.blob, .data = buf_str(&j->out), .fd = -1, .len = j->out.len, .staged = p->staged};
    change_put(c, key_search(p->first), buf_str(&value));
    return change_commit(c, NULL, NULL);
}

/* What is built is not built again because others were quicker. */
static enum err put_here(struct account *a, void *arg)
{
    enum err e;
    unsigned tries = 0;
    do
        e = put_once(a, arg);
    while (e != ERR_OK && change_again(&e, &tries));
    return e;
}

static enum err put_segment(struct account *a, const struct build_job *j, uint64_t first,
                            uint64_t last, uint64_t docs, const struct search_part *old,
                            size_t nold)
{
    struct put p = {j, first, last, docs, old, nold, blob_id_new(), NULL};
    if (j->out.len >= SEARCH_STAGE_BYTES)
        TRY(store_blob_stage(accounts_store(account_accounts(a)), &p.blob, buf_str(&j->out),
                             &p.staged));
    enum err e = search_commit_at_home(a, put_here, &p);
    store_staged_drop(p.staged);
    return e;
}

/* ---- the next new messages ---- */

static bool on_id(void *arg, const struct store_row *row)
{
    uint64_t id;
    if (key_u64(row->key, 1, &id))
        buf_add(arg, str_of(&id, sizeof id));
    return true;
}

static enum err read_ids(struct account *a, uint64_t from, uint64_t to, size_t max, struct buf *out)
{
    struct store_key begin = key_message(from), end = key_message(to);
    struct search_slice slice = {0};
    size_t got;
    do {
        search_slice_over(&slice);
        size_t before = out->len;
        struct store_scan q = {.partition = account_id(a),
                               .from = key_str(&begin),
                               .to = key_str(&end),
                               .limit = MIN(max, (size_t)STORE_PAGE_MAX),
                               .keys_only = true};
        TRY(store_scan(accounts_store(account_accounts(a)), &q, on_id, out, NULL));
        if (!buf_ok(out))
            return ERR_NOMEM;
        got = (out->len - before) / sizeof(uint64_t);
        max -= MIN(max, got);
        if (got > 0)
            begin = key_message(((uint64_t *)out->data)[out->len / sizeof(uint64_t) - 1] + 1);
    } while (got == STORE_PAGE_MAX && max > 0);
    return ERR_OK;
}

static enum err build_batch(struct account *a, const struct batch *b, uint64_t first)
{
    struct build_job j = {.items = buf_str(&b->items)};
    enum err e = job_open(a, &j);
    if (e == ERR_OK)
        e = offload_run(build_now, &j);
    if (e == ERR_OK)
        e = j.e;
    if (e == ERR_OK)
        e = put_segment(a, &j, first, b->last, b->messages, NULL, 0);
    job_close(&j);
    return e;
}

static enum err gather_batch(struct account *a, const struct buf *ids, struct batch *b)
{
    struct search_slice slice = {0};
    for (size_t i = 0; i < ids->len / sizeof(uint64_t); i++) {
        uint64_t id = ((const uint64_t *)ids->data)[i];
        TRY(gather_message(a, id, b));
        b->last = id;
        if (b->items.len >= SEARCH_BATCH_BYTES)
            return ERR_OK;
        search_slice_over(&slice);
    }
    return ERR_OK;
}

static enum err index_behind(struct account *a, uint64_t after, struct search_step *out)
{
    BUF_AUTO struct buf ids = BUF_INIT(SEARCH_BATCH_MESSAGES * sizeof(uint64_t));
    struct batch b = {0};
    buf_init(&b.items, SEARCH_BATCH_BYTES + 4 * SEGMENT_MESSAGE_MAX);
    TRY(read_ids(a, after + 1, UINT64_MAX, SEARCH_BATCH_MESSAGES, &ids));
    enum err e = gather_batch(a, &ids, &b);
    out->made = e == ERR_OK && b.messages > 0; /* else: all of them went meanwhile */
    out->more = out->made && (ids.len == ids.max || b.items.len >= SEARCH_BATCH_BYTES);
    if (out->made)
        e = build_batch(a, &b, after + 1);
    buf_free(&b.items);
    return e;
}

/* ---- merging ---- */

#define RUN_MAX 64 /* parts of one merge */

static unsigned tier_of(const struct search_part *p)
{
    unsigned tier = 0;
    for (uint64_t n = p->row.text_bytes >> 12; n >= SEARCH_MERGE_COUNT; n /= SEARCH_MERGE_COUNT)
        tier++;
    return tier;
}

/* A run of neighbours in which enough have the same tier; smaller ones between them go along. */
static size_t find_run_of(const struct search_manifest *m, unsigned tier, size_t *from)
{
    const struct search_part *parts = manifest_parts(m);
    size_t n = 0, same = 0;
    uint64_t bytes = 0;
    for (size_t i = 0; i < manifest_count(m); i++) {
        unsigned t = tier_of(&parts[i]);
        if (t > tier || n == RUN_MAX || bytes + parts[i].row.text_bytes > SEGMENT_TEXT_MAX ||
            (n == 0 && t < tier))
            n = same = bytes = 0;
        if (t > tier || (n == 0 && t < tier))
            continue;
        bytes += parts[i].row.text_bytes;
        n++;
        if (t == tier && ++same == SEARCH_MERGE_COUNT) {
            *from = i + 1 - n;
            return n;
        }
    }
    return 0;
}

static size_t find_run(const struct search_manifest *m, size_t *from)
{
    size_t n = 0;
    for (unsigned tier = 0; tier < 8 && n == 0; tier++)
        n = find_run_of(m, tier, from);
    return n;
}

static enum err read_parts(struct account *a, struct build_job *j, struct buf *alive)
{
    struct search_slice slice = {0};
    for (size_t i = 0; i < j->nparts; i++) {
        search_slice_over(&slice);
        buf_init(&j->blobs[i], SEGMENT_BLOB_MAX);
        TRY(store_blob_read(accounts_store(account_accounts(a)), &j->parts[i].row.blob, 0,
                            UINT64_MAX, &j->blobs[i]));
    }
    return read_ids(a, j->parts[0].first, j->parts[j->nparts - 1].row.last + 1, SIZE_MAX, alive);
}

static enum err merge_run(struct account *a, const struct search_part *parts, size_t n)
{
    struct buf blobs[RUN_MAX] = {0};
    BUF_AUTO struct buf alive = BUF_INIT((size_t)64 << 20);
    struct build_job j = {.parts = parts, .nparts = n, .blobs = blobs, .alive = &alive};
    enum err e = job_open(a, &j);
    if (e == ERR_OK)
        e = read_parts(a, &j, &alive);
    if (e == ERR_OK)
        e = offload_run(merge_now, &j);
    if (e == ERR_OK)
        e = j.e;
    for (size_t i = 0; i < n; i++)
        buf_free(&blobs[i]);
    if (e == ERR_OK)
        e = put_segment(a, &j, parts[0].first, parts[n - 1].row.last, alive.len / sizeof(uint64_t),
                        parts, n);
    job_close(&j);
    return e;
}

/* ---- the whole ---- */

static enum err drop_rows(struct account *a, void *arg)
{
    struct change *c;
    TRY(change_begin(a, &c));
    struct store_key from = key_space(SPACE_SEARCH), to = key_space_end(SPACE_SEARCH);
    change_delete_range(c, from, to);
    return change_commit(c, NULL, NULL);
}

static enum err drop_parts(struct account *a, void *arg)
{
    const struct search_manifest *m = arg;
    enum err e = ERR_OK;
    for (size_t at = 0; e == ERR_OK && at < manifest_count(m);) {
        struct change *c;
        e = change_begin(a, &c);
        if (e != ERR_OK)
            break;
        size_t n = MIN(manifest_count(m) - at, (size_t)500);
        c->drops = ARENA_ARRAY(&c->arena, struct blob_id, n);
        for (size_t i = 0; c->drops && i < n; i++) {
            change_delete(c, key_search(manifest_parts(m)[at + i].first));
            c->drops[c->ndrops++] = manifest_parts(m)[at + i].row.blob;
        }
        e = change_commit(c, NULL, NULL);
        at += n;
    }
    return e;
}

enum err search_index_drop(struct account *a)
{
    struct search_manifest m = {0};
    enum err e = search_manifest_read(a, &m);
    if (e == ERR_CORRUPT) {
        LOG_WARN("search", "index of account %llu is unreadable and is made anew",
                 (unsigned long long)account_id(a));
        e = search_commit_at_home(a, drop_rows,
                                  NULL); /* blobs named only there: check finds them */
    } else if (e == ERR_OK) {
        e = search_commit_at_home(a, drop_parts, &m);
    }
    buf_free(&m.rows);
    return e;
}

/* Of another version, or damaged: made anew. */
static enum err step_end(struct account *a, enum err e, struct search_step *out)
{
    if (e != ERR_CORRUPT && e != ERR_UNSUPPORTED)
        return e;
    out->made = out->more = true;
    return search_index_drop(a);
}

enum err search_index_new(struct account *a, struct search_step *out)
{
    struct search_manifest m = {0};
    *out = (struct search_step){0};
    enum err e = search_manifest_read(a, &m);
    size_t count = manifest_count(&m);
    if (e == ERR_OK)
        e = index_behind(a, count ? manifest_parts(&m)[count - 1].row.last : 0, out);
    buf_free(&m.rows);
    return step_end(a, e, out);
}

enum err search_index_merge(struct account *a, struct search_step *out)
{
    struct search_manifest m = {0};
    size_t from = 0, n = 0;
    enum err e = search_manifest_read(a, &m);
    if (e == ERR_OK && (n = find_run(&m, &from)) > 0)
        e = merge_run(a, manifest_parts(&m) + from, n);
    out->made = out->more = n > 0;
    buf_free(&m.rows);
    return step_end(a, e, out);
}

static enum err update_step(struct account *a, bool *more)
{
    struct search_step step;
    TRY(search_index_new(a, &step));
    if (!step.made)
        TRY(search_index_merge(a, &step));
    *more = step.made;
    return ERR_OK;
}

#define STEPS_MAX 1000000

enum err search_index_update(struct account *a)
{
    bool more = true;
    unsigned tries = 0;
    for (unsigned i = 0; more && i < STEPS_MAX; i++) {
        if (fiber_canceled()) /* little in a step waits, and there may be many before the end */
            return ERR_CANCELED;
        enum err e = update_step(a, &more);
        if (e == ERR_CONFLICT || e == ERR_BUSY) {
            if (!change_again(&e, &tries))
                return e;
            more = true;
        } else if (e != ERR_OK) {
            return e;
        } else {
            tries = 0;
        }
    }
    return ERR_OK;
}

enum err search_index_status(struct account *a, struct search_index_status *out)
{
    struct search_manifest m = {0};
    *out = (struct search_index_status){0};
    enum err e = search_manifest_read(a, &m);
    for (size_t i = 0; e == ERR_OK && i < manifest_count(&m); i++) {
        const struct search_row *row = &manifest_parts(&m)[i].row;
        out->segments++;
        out->messages += row->docs;
        out->bytes += row->blob_bytes;
        out->last = row->last;
    }
    buf_free(&m.rows);
    return e;
}
