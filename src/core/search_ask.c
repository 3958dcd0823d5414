/* SPDX-License-Identifier: Apache-2.0
 *
 * Asking the segments of an account.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/num.h"
#include "core/account_private.h"
#include "core/search_index.h"

static bool on_row(void *arg, const struct store_row *row)
{
    struct search_manifest *m = arg;
    struct search_part p;
    if (!key_u64(row->key, 1, &p.first) || search_row_decode(row->value, &p.row) != ERR_OK) {
        m->rows.failed = true;
        return false;
    }
    buf_add(&m->rows, str_of(&p, sizeof p));
    return true;
}

enum err search_manifest_read(struct account *a, struct search_manifest *out)
{
    struct store_key from = key_space(SPACE_SEARCH), to = key_space_end(SPACE_SEARCH), last = {0};
    buf_init(&out->rows, (size_t)64 << 20);
    for (;;) {
        size_t before = manifest_count(out);
        struct store_scan q = {.partition = account_id(a),
                               .from = key_str(&from),
                               .to = key_str(&to),
                               .limit = STORE_PAGE_MAX};
        TRY(store_scan(accounts_store(account_accounts(a)), &q, on_row, out, &last));
        if (!buf_ok(&out->rows))
            return ERR_CORRUPT;
        if (manifest_count(out) - before < STORE_PAGE_MAX)
            return ERR_OK;
        from = key_search(manifest_parts(out)[manifest_count(out) - 1].first + 1);
    }
}

/* ---- one segment ---- */

struct ask {
    struct account *account;
    struct search_matcher *m;
    const uint64_t *messages;
    size_t n;
    uint8_t *answers, *known;
    struct search_slice *slice;
    struct buf order; /* u32: places in messages, by ascending id */
    size_t from, to;  /* of order: what lies in the range of the part */
    const struct search_part *part;
    struct segment s;
    struct buf index, packed, block;
    uint32_t block_held; /* in block; UINT32_MAX: none */
    struct buf marks;    /* u8 for each term and document */
    struct buf wanted;   /* u8 for each document: it is asked for */
    struct buf docs;     /* u32 for each of from to to: its document, or UINT32_MAX */
    bool verify[SEARCH_TERMS_MAX];
    bool outdated; /* a segment is of another version */
};

static struct store *store_of(const struct ask *x)
{
    return accounts_store(account_accounts(x->account));
}

static enum err load_block(struct ask *x, uint32_t block)
{
    uint32_t offset, packed;
    if (x->block_held == block)
        return ERR_OK;
    if (!segment_block_at(&x->s, block, &offset, &packed))
        return ERR_CORRUPT;
    buf_reset(&x->packed);
    buf_reset(&x->block);
    x->block_held = UINT32_MAX;
    TRY(store_blob_read(store_of(x), &x->part->row.blob, x->part->row.index_bytes + offset, packed,
                        &x->packed));
    TRY(segment_unpack(&x->s, block, buf_str(&x->packed), &x->block));
    x->block_held = block;
    return ERR_OK;
}

/* Compares a candidate with its text: all terms at once, then those that need it are taken. */
static enum err verify_doc(struct ask *x, uint32_t doc)
{
    uint8_t *marks = (uint8_t *)x->marks.data, found[SEARCH_TERMS_MAX];
    size_t nterms = x->m->nterms;
    struct segment_text t;
    bool needed = false;
    for (size_t k = 0; k < nterms; k++)
        needed |= x->verify[k] && marks[k * x->s.docs + doc];
    if (!needed || !segment_text_at(&x->s, doc, &t))
        return ERR_OK;
    TRY(load_block(x, t.block));
    x->m->answers = found;
    search_match_begin(x->m);
    search_match(x->m, str_sub(buf_str(&x->block), t.offset, t.bytes));
    search_match_end(x->m);
    for (size_t k = 0; k < nterms; k++)
        if (x->verify[k])
            marks[k * x->s.docs + doc] = found[k];
    search_slice_over(x->slice);
    return ERR_OK;
}

static enum err read_more(void *arg, uint64_t at, uint64_t len, struct buf *out)
{
    struct ask *x = arg;
    return store_blob_read(store_of(x), &x->part->row.blob, x->part->row.index_bytes + at, len,
                           out);
}

static enum err ask_terms(struct ask *x)
{
    const struct segment_source source = {read_more, x};
    size_t docs = x->s.docs;
    bool any = false;
    buf_reset(&x->marks);
    uint8_t *marks = (uint8_t *)buf_reserve(&x->marks, docs * x->m->nterms + 1);
    if (!marks)
        return ERR_NOMEM;
    for (size_t k = 0; k < x->m->nterms; k++) {
        TRY(segment_ask(&x->s, x->m, k, &source, marks + k * docs, &x->verify[k]));
        any |= x->verify[k];
        search_slice_over(x->slice);
    }
    const uint8_t *wanted = (const uint8_t *)x->wanted.data;
    for (uint32_t doc = 0; any && doc < docs; doc++)
        if (wanted[doc])
            TRY(verify_doc(x, doc));
    return ERR_OK;
}

static uint64_t message_at(const struct ask *x, size_t i)
{
    return x->messages[((const uint32_t *)x->order.data)[i]];
}

/* Which documents are asked for. Both sides ascend: one walk. *any: there are some. */
static enum err find_wanted(struct ask *x, bool *any)
{
    buf_reset(&x->wanted);
    buf_reset(&x->docs);
    uint8_t *wanted = (uint8_t *)buf_reserve(&x->wanted, (size_t)x->s.docs + 1);
    uint32_t *docs = (uint32_t *)buf_reserve(&x->docs, (x->to - x->from) * sizeof *docs);
    struct segment_text t;
    *any = false;
    if (!wanted || !docs)
        return ERR_NOMEM;
    memset(wanted, 0, x->s.docs);
    uint32_t doc = 0;
    for (size_t i = x->from; i < x->to; i++) {
        uint64_t id = message_at(x, i);
        while (doc < x->s.docs && segment_id(&x->s, doc) < id)
            doc++;
        bool found = doc < x->s.docs && segment_id(&x->s, doc) == id &&
                     segment_text_at(&x->s, doc, &t); /* else it must be scanned */
        docs[i - x->from] = found ? doc : UINT32_MAX;
        if (found)
            wanted[doc] = 1;
        *any |= found;
    }
    return ERR_OK;
}

static enum err ask_part(struct ask *x)
{
    buf_reset(&x->index);
    x->block_held = UINT32_MAX;
    TRY(store_blob_read(store_of(x), &x->part->row.blob, 0, x->part->row.index_bytes, &x->index));
    TRY(segment_open(buf_str(&x->index), false, &x->s));
    bool any;
    TRY(find_wanted(x, &any));
    if (!any)
        return ERR_OK;
    TRY(ask_terms(x));
    const uint8_t *marks = (const uint8_t *)x->marks.data;
    const uint32_t *docs = (const uint32_t *)x->docs.data;
    for (size_t i = x->from; i < x->to; i++) {
        uint32_t doc = docs[i - x->from], place = ((const uint32_t *)x->order.data)[i];
        if (doc == UINT32_MAX)
            continue;
        for (size_t k = 0; k < x->m->nterms; k++)
            x->answers[place * x->m->nterms + k] = marks[k * x->s.docs + doc];
        x->known[place] = 1;
    }
    return ERR_OK;
}

static int by_message(const void *pa, const void *pb, void *arg)
{
    const uint64_t *messages = arg;
    uint64_t a = messages[*(const uint32_t *)pa], b = messages[*(const uint32_t *)pb];
    return a < b ? -1 : a > b;
}

static enum err put_in_order(struct ask *x)
{
    bool ascending = true;
    if (x->n > UINT32_MAX)
        return ERR_LIMIT;
    uint32_t *order = (uint32_t *)buf_reserve(&x->order, (x->n + 1) * sizeof *order);
    if (!order)
        return ERR_NOMEM;
    for (size_t i = 0; i < x->n; i++) {
        order[i] = (uint32_t)i;
        ascending = ascending && (i == 0 || x->messages[i - 1] <= x->messages[i]);
    }
    if (!ascending) /* UIDs may be given in another order than message ids */
        qsort_r(order, x->n, sizeof *order, by_message, (void *)(uintptr_t)x->messages);
    return ERR_OK;
}

static enum err ask_all(struct ask *x, const struct search_manifest *manifest)
{
    TRY(put_in_order(x));
    for (size_t i = 0; i < manifest_count(manifest); i++) {
        x->part = &manifest_parts(manifest)[i];
        for (x->from = x->to; x->from < x->n && message_at(x, x->from) < x->part->first;)
            x->from++;
        for (x->to = x->from; x->to < x->n && message_at(x, x->to) <= x->part->row.last;)
            x->to++;
        if (x->from == x->to)
            continue;
        enum err e = ask_part(x);
        if (e == ERR_NOT_FOUND)
            continue; /* merged meanwhile: its messages are scanned */
        if (e == ERR_UNSUPPORTED)
            x->outdated = true;
        else if (e == ERR_CORRUPT)
            LOG_WARN("search", "segment of account %llu is unreadable: %s",
                     (unsigned long long)account_id(x->account), err_name(e));
        else if (e != ERR_OK)
            return e;
        search_slice_over(x->slice);
    }
    return ERR_OK;
}

/* An index of another version: it is made anew meanwhile. */
static void make_anew(struct account *a)
{
    struct search_indexer *x = account_accounts(a)->indexer;
    LOG_INFO("search", "index of account %llu is of another version and is made anew",
             (unsigned long long)account_id(a));
    if (search_index_drop(a) == ERR_OK && x)
        search_indexer_wake(x, account_id(a));
}

enum err search_index_ask(struct account *a, struct search_matcher *m, const uint64_t *messages,
                          size_t n, uint8_t *answers, uint8_t *known, struct search_slice *slice)
{
    struct search_manifest manifest = {0};
    struct ask x = {.account = a,
                    .m = m,
                    .messages = messages,
                    .n = n,
                    .answers = answers,
                    .known = known,
                    .slice = slice};
    struct buf *bufs[] = {&x.index, &x.packed, &x.block, &x.marks, &x.wanted, &x.order, &x.docs};
    for (size_t i = 0; i < ARRAY_LEN(bufs); i++)
        buf_init(bufs[i], SEGMENT_BLOB_MAX);
    enum err e = search_manifest_read(a, &manifest);
    if (e == ERR_OK)
        e = ask_all(&x, &manifest);
    else if (e == ERR_CORRUPT)
        e = ERR_OK; /* as if there were no index */
    if (e == ERR_OK && x.outdated)
        make_anew(a);
    for (size_t i = 0; i < ARRAY_LEN(bufs); i++)
        buf_free(bufs[i]);
    buf_free(&manifest.rows);
    return e;
}
