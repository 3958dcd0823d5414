/* SPDX-License-Identifier: Apache-2.0 */
#include "core/search.h"

#include <string.h>

#include "base/log.h"
#include "base/num.h"
#include "core/search_index.h"

struct run {
    struct account *account;
    const struct search_query *query;
    struct search_matcher matcher;
    struct arena arena;
    struct search_slice slice;
};

static enum err prepare(struct run *r)
{
    const struct search_query *q = r->query;
    bool fuzzy = false;
    if (q->nterms > SEARCH_TERMS_MAX)
        return ERR_LIMIT;
    for (size_t k = 0; k < q->nterms; k++) {
        if (q->terms[k].text.len > SEARCH_NEEDLE_MAX)
            return ERR_LIMIT;
        fuzzy |= q->terms[k].fuzzy;
    }
    r->matcher.terms = q->terms;
    r->matcher.nterms = q->nterms;
    if (!fuzzy)
        return ERR_OK;
    r->matcher.stems = search_stems_open();
    r->matcher.fuzzy = ARENA_ARRAY(&r->arena, struct search_fuzzy, q->nterms);
    r->matcher.best = arena_alloc_array(&r->arena, q->nterms, sizeof *r->matcher.best);
    if (!r->matcher.stems || !r->matcher.fuzzy || !r->matcher.best)
        return ERR_NOMEM;
    for (size_t k = 0; k < q->nterms; k++)
        search_fuzzy_of(q->terms[k].text, &r->matcher.fuzzy[k]);
    return ERR_OK;
}

static enum err tell_progress(struct run *r, size_t done, size_t all)
{
    if (!search_slice_over(&r->slice) || !r->query->progress)
        return ERR_OK;
    return r->query->progress(r->query->arg, done, all) ? ERR_OK : ERR_CANCELED;
}

static enum err scan_one(struct run *r, uint64_t message, uint8_t *answers)
{
    r->matcher.answers = answers;
    enum err e = search_scan(r->account, message, &r->matcher);
    if (e == ERR_OK || e == ERR_NOT_FOUND)
        return ERR_OK;
    if (err_class(e) == ERR_CLASS_TEMP && e != ERR_CORRUPT)
        return e;
    LOG_WARN("search", "message %llu of account %llu cannot be searched: %s",
             (unsigned long long)message, (unsigned long long)account_id(r->account), err_name(e));
    return ERR_OK;
}

/* Below this many a look into the messages costs less than the index does. */
#define SCAN_RATHER 32

static enum err ask_index(struct run *r, const uint64_t *messages, size_t n, uint8_t *answers,
                          struct buf *known)
{
    uint8_t *k = (uint8_t *)buf_reserve(known, n + 1);
    if (!k)
        return ERR_NOMEM;
    memset(k, 0, n);
    if (r->query->no_index || n <= SCAN_RATHER)
        return ERR_OK;
    return search_index_ask(r->account, &r->matcher, messages, n, answers, k, &r->slice);
}

static enum err answer_all(struct run *r, const uint64_t *messages, size_t n, uint8_t *answers)
{
    BUF_AUTO struct buf known = BUF_INIT(SIZE_MAX / 2);
    size_t nterms = r->query->nterms;
    TRY(ask_index(r, messages, n, answers, &known));
    for (size_t i = 0; i < n; i++) {
        if (known.data[i])
            continue;
        TRY(scan_one(r, messages[i], answers + i * nterms));
        TRY(tell_progress(r, i + 1, n));
    }
    return ERR_OK;
}

enum err search_messages(struct account *a, const struct search_query *q, const uint64_t *messages,
                         size_t n, uint8_t *answers)
{
    struct run r = {.account = a, .query = q, .arena = ARENA_INIT(1 << 20)};
    enum err e = prepare(&r);
    if (e == ERR_OK)
        e = answer_all(&r, messages, n, answers);
    search_stems_close(r.matcher.stems);
    arena_free(&r.arena);
    return e;
}
