/* SPDX-License-Identifier: Apache-2.0
 *
 * The walk over all partitions, and the count of blob references. While a store is served, accounts
 * are looked at between two equal versions; blob counts are compared twice when anything was
 * committed meanwhile, and only what is wrong both times in the same way is a finding.
 */
#include "core/check_private.h"

#include "base/num.h"
#include "core/directory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOKS 5
#define PARTITIONS_PAGE 256
#define BLOBS_PAGE 256

void check_found(struct check *c, bool fatal, bool reference, const char *fmt, ...)
{
    char text[400];
    va_list args;
    if (c->found.len / sizeof(struct found) > CHECK_FINDINGS_MAX)
        return;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    struct found f = {.fatal = fatal, .reference = reference};
    if (c->found.len / sizeof f == CHECK_FINDINGS_MAX)
        f.text = STR("there are more findings here");
    else if (n < 0 || !arena_dup(&c->texts, str_of(text, MIN((size_t)n, sizeof text - 1)), &f.text))
        return;
    buf_add(&c->found, str_of(&f, sizeof f));
}

void check_hold(struct check *c, const struct blob_id *blob, uint64_t size)
{
    struct held h = {*blob, size};
    buf_add(&c->held, str_of(&h, sizeof h));
}

struct scan_state {
    check_row_fn *fn;
    void *arg;
};

static bool scan_row(void *arg, const struct store_row *row)
{
    struct scan_state *s = arg;
    s->fn(s->arg, row->key, row->value);
    return true;
}

enum err check_scan(struct check *c, enum space space, check_row_fn *fn, void *arg)
{
    struct store_key from = key_space(space), to = key_space_end(space);
    struct store_scan q = {.partition = c->partition, .from = key_str(&from), .to = key_str(&to)};
    struct scan_state s = {.fn = fn, .arg = arg};
    return store_scan_all(c->store, &q, scan_row, &s);
}

/* ---- one partition ---- */

static void forget(struct check *c, size_t held_before)
{
    buf_truncate(&c->held, held_before);
    buf_reset(&c->found);
    arena_reset(&c->texts);
}

static void give_out(struct check *c, bool quiet, store_finding_fn *finding, void *arg)
{
    const struct found *f = (const struct found *)c->found.data;
    for (size_t i = 0; i < c->found.len / sizeof *f; i++) {
        if (c->mute || (f[i].reference && !quiet))
            continue;
        c->result->findings += f[i].fatal;
        finding(arg, f[i].fatal, c->partition, f[i].text);
    }
}

static enum err look(struct check *c)
{
    if (c->partition >= STORE_PARTITION_ACCOUNTS)
        return check_account(c);
    if (c->partition >= STORE_PARTITION_QUEUE &&
        c->partition < STORE_PARTITION_QUEUE + STORE_QUEUE_SHARDS)
        return check_queue(c);
    if (c->partition == STORE_PARTITION_GREYLIST)
        return check_greylist(c);
    if (c->partition == STORE_PARTITION_SENDING)
        return check_sending(c);
    if (c->partition == STORE_PARTITION_REPORTS)
        return check_reports(c);
    return ERR_OK;
}

static enum err look_until_quiet(struct check *c, struct buf *versions, store_finding_fn *finding,
                                 void *arg)
{
    size_t held_before = c->held.len;
    struct check_result before = *c->result;
    uint64_t version = 0;
    bool quiet = false;
    for (unsigned i = 0; i < LOOKS && !quiet; i++) {
        forget(c, held_before);
        *c->result = before;
        version = store_version(c->store, c->partition);
        TRY(look(c));
        quiet = store_version(c->store, c->partition) == version;
    }
    give_out(c, quiet, finding, arg);
    buf_add_be64(versions, c->partition);
    buf_add_be64(versions, version);
    return buf_ok(&c->held) && buf_ok(versions) ? ERR_OK : ERR_NOMEM;
}

static enum err walk(struct check *c, struct buf *versions, store_finding_fn *finding, void *arg)
{
    uint64_t page[PARTITIONS_PAGE], from = 0;
    size_t got;
    buf_reset(&c->held);
    buf_reset(versions);
    do {
        TRY(store_partitions(c->store, from, page, PARTITIONS_PAGE, &got));
        for (size_t i = 0; i < got; i++) {
            c->partition = page[i];
            TRY(look_until_quiet(c, versions, finding, arg));
            from = page[i] + 1;
        }
    } while (got == PARTITIONS_PAGE);
    c->partition = 0;
    return ERR_OK;
}

/* ---- blobs ---- */

struct wrong {
    struct blob_id blob;
    uint64_t held, counted, size;
    enum { WRONG_COUNT = 1, WRONG_SIZE } what;
};

static int compare_held(const void *a, const void *b)
{
    const struct held *x = a, *y = b;
    int order = memcmp(x->blob.bytes, y->blob.bytes, sizeof x->blob.bytes);
    return order ? order : (x->size > y->size) - (x->size < y->size);
}

struct blob_walk {
    struct check *c;
    const struct held *held;
    size_t n, at;
    struct buf *wrong;
};

static void add_wrong(struct blob_walk *w, const struct blob_id *blob, uint64_t held,
                      uint64_t counted)
{
    struct wrong x = {.blob = *blob, .held = held, .counted = counted, .what = WRONG_COUNT};
    buf_add(w->wrong, str_of(&x, sizeof x));
}

/* All references to the blob at w->at; their number, and whether they agree on its size. */
static uint64_t take_held(struct blob_walk *w, bool exists)
{
    const struct held *h = &w->held[w->at];
    uint64_t n = 0, size = 0;
    bool same = true;
    for (; w->at < w->n && blob_id_eq(&w->held[w->at].blob, &h->blob); w->at++, n++)
        same = same && w->held[w->at].size == h->size;
    if (exists &&
        (store_blob_size(w->c->store, &h->blob, &size) != ERR_OK || size != h->size || !same)) {
        struct wrong x = {.blob = h->blob, .held = h->size, .counted = size, .what = WRONG_SIZE};
        buf_add(w->wrong, str_of(&x, sizeof x));
    }
    return n;
}

static void missing_until(struct blob_walk *w, const struct blob_id *before)
{
    while (w->at < w->n && (!before || memcmp(w->held[w->at].blob.bytes, before->bytes,
                                              sizeof before->bytes) < 0)) {
        struct blob_id blob = w->held[w->at].blob;
        add_wrong(w, &blob, take_held(w, false), 0);
    }
}

static enum err compare_blobs(struct check *c, struct buf *wrong)
{
    struct store_blob_count page[BLOBS_PAGE];
    struct blob_id from = BLOB_NONE;
    size_t got;
    struct blob_walk w = {.c = c,
                          .held = (const struct held *)c->held.data,
                          .n = c->held.len / sizeof(struct held),
                          .wrong = wrong};
    if (w.n)
        qsort(c->held.data, w.n, sizeof(struct held), compare_held);
    c->result->blobs = 0;
    do {
        TRY(store_blobs(c->store, &from, page, BLOBS_PAGE, &got));
        for (size_t i = 0; i < got; i++) {
            c->result->blobs++;
            missing_until(&w, &page[i].id);
            bool is_held = w.at < w.n && blob_id_eq(&w.held[w.at].blob, &page[i].id);
            uint64_t held = is_held ? take_held(&w, true) : 0;
            if (held != page[i].refs)
                add_wrong(&w, &page[i].id, held, page[i].refs);
            from = page[i].id;
        }
    } while (got == BLOBS_PAGE);
    missing_until(&w, NULL);
    return buf_ok(wrong) ? ERR_OK : ERR_NOMEM;
}

static bool still_quiet(struct check *c, const struct buf *versions)
{
    struct reader r = reader_of(buf_str(versions));
    while (r.rest.len) {
        uint64_t partition = read_be64(&r), version = read_be64(&r);
        if (store_version(c->store, partition) != version)
            return false;
    }
    return true;
}

static void report_wrong(struct check *c, const struct wrong *x, store_finding_fn *finding,
                         void *arg)
{
    BUF_AUTO struct buf text = BUF_INIT(1024);
    buf_add_c(&text, "blob ");
    for (size_t i = 0; i < sizeof x->blob.bytes; i++)
        buf_addf(&text, "%02x", x->blob.bytes[i]);
    if (x->what == WRONG_SIZE)
        buf_addf(&text, ": rows say %llu bytes, it has %llu", (unsigned long long)x->held,
                 (unsigned long long)x->counted);
    else if (!x->counted)
        buf_addf(&text, ": is missing, %llu rows refer to it", (unsigned long long)x->held);
    else if (!x->held)
        buf_addf(&text, ": nothing refers to it, the store counts %llu",
                 (unsigned long long)x->counted);
    else
        buf_addf(&text, ": %llu references, the store counts %llu", (unsigned long long)x->held,
                 (unsigned long long)x->counted);
    c->result->findings++;
    finding(arg, true, 0, buf_str(&text));
}

/* Both lists ascend by blob. A NULL second list accepts all. */
static void report_both(struct check *c, const struct buf *first, const struct buf *second,
                        store_finding_fn *finding, void *arg)
{
    const struct wrong *a = (const struct wrong *)first->data;
    for (size_t i = 0; i < first->len / sizeof *a; i++) {
        bool both = !second;
        const struct wrong *b = second ? (const struct wrong *)second->data : NULL;
        for (size_t k = 0; second && !both && k < second->len / sizeof *b; k++)
            both = blob_id_eq(&a[i].blob, &b[k].blob) && a[i].held == b[k].held &&
                   a[i].counted == b[k].counted && a[i].what == b[k].what;
        if (both)
            report_wrong(c, &a[i], finding, arg);
    }
}

#define WRONG_MAX (CHECK_FINDINGS_MAX * sizeof(struct wrong))

static enum err check_blobs(struct check *c, struct buf *versions, store_finding_fn *finding,
                            void *arg)
{
    BUF_AUTO struct buf first = BUF_INIT(WRONG_MAX), second = BUF_INIT(WRONG_MAX);
    enum err e = compare_blobs(c, &first);
    if (e == ERR_NOMEM && !buf_ok(&first)) { /* so many that the list is full */
        first.failed = false;
        e = ERR_OK;
    }
    TRY(e);
    if (!first.len || still_quiet(c, versions)) {
        report_both(c, &first, NULL, finding, arg);
        return ERR_OK;
    }
    struct check_result kept = *c->result;
    c->mute = true;
    e = walk(c, versions, finding, arg);
    *c->result = kept;
    TRY(e);
    e = compare_blobs(c, &second);
    if (e != ERR_OK && buf_ok(&second))
        return e;
    report_both(c, &first, &second, finding, arg);
    return ERR_OK;
}

/* ---- the whole ---- */

struct engine_findings {
    struct check_result *result;
    store_finding_fn *finding;
    void *arg;
};

static void engine_finding(void *arg, bool fatal, uint64_t partition, str text)
{
    struct engine_findings *f = arg;
    f->result->findings += fatal;
    f->finding(f->arg, fatal, partition, text);
}

enum err check_store(struct store *s, store_finding_fn *finding, void *arg,
                     struct check_result *out)
{
    struct check c = {.store = s,
                      .result = out,
                      .held = BUF_INIT(CHECK_BYTES_MAX),
                      .found = BUF_INIT((CHECK_FINDINGS_MAX + 1) * sizeof(struct found)),
                      .texts = ARENA_INIT(1 << 20)};
    BUF_AUTO struct buf versions = BUF_INIT(CHECK_BYTES_MAX);
    *out = (struct check_result){0};
    struct engine_findings engine = {out, finding, arg};
    enum err e = store_check(s, engine_finding, &engine);
    if (e == ERR_OK)
        e = walk(&c, &versions, finding, arg);
    if (e == ERR_OK)
        e = check_blobs(&c, &versions, finding, arg);
    buf_free(&c.held);
    buf_free(&c.found);
    arena_free(&c.texts);
    return e;
}
