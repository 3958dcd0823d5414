/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/imap/search_sort.h"

#include <assert.h>
#include <stdlib.h>

#include "base/num.h"
#include "os/offload.h"

#define STEP 500 /* messages between two looks at who else wants to run */

struct step {
    struct message_row rows[STEP];
    uint64_t ids[STEP];
    search_row_fn *fn;
    void *arg;
};

static bool on_cold(void *arg, size_t i, enum err e, const struct message_cold *c)
{
    struct step *s = arg;
    struct mime_cold m;
    bool readable = e == ERR_OK && mime_cold_decode(c->mime, &m) == ERR_OK;
    s->fn(s->arg, &s->rows[i], readable ? &m : NULL);
    return true;
}

static size_t take_step(const struct search_place *place, const struct set *uids, size_t *range,
                        uint32_t *next, struct step *s)
{
    size_t n = 0;
    for (; *range < uids->count; ++*range) {
        const struct range *r = &uids->ranges[*range];
        size_t at = view_place(place->view, MAX(*next, r->first));
        const struct message_row *rows;
        for (size_t run; (run = view_run(place->view, at, &rows)) > 0; at += run)
            for (size_t i = 0; i < run; i++) {
                if (rows[i].uid > r->last)
                    goto next_range;
                if (n == STEP)
                    return n;
                s->rows[n] = rows[i];
                s->ids[n++] = rows[i].message;
                *next = rows[i].uid + 1;
            }
    next_range:;
    }
    return n;
}

enum err search_each_row(const struct search_place *place, const struct set *uids, bool cold,
                         search_row_fn *fn, void *arg)
{
    ARENA_AUTO struct arena arena = ARENA_INIT(sizeof(struct step) + 65536);
    struct step *s = ARENA_NEW(&arena, struct step);
    size_t range = 0, n;
    uint32_t next = 0;
    if (!s)
        return ERR_NOMEM;
    s->fn = fn;
    s->arg = arg;
    while ((n = take_step(place, uids, &range, &next, s)) > 0) {
        if (cold)
            TRY(message_cold_each(place->account, s->ids, n, on_cold, s));
        for (size_t i = 0; !cold && i < n; i++)
            fn(arg, &s->rows[i], NULL);
        if (fiber_current())
            fiber_yield();
    }
    return ERR_OK;
}

int64_t search_sent(const struct message_row *row, const struct mime_cold *cold)
{
    return cold && (cold->flags & MIME_COLD_HAS_DATE) ? cold->sent_seconds : row->internal_date;
}

/* ---- keys ---- */

/* A number, or text in the pool. */
struct sort_value {
    int64_t number;
    uint32_t at, len;
};
struct sorting {
    const struct imap_search *args;
    const struct search_found *found;
    struct buf values; /* struct sort_value, nsort for each message */
    struct buf pool, uids, order;
    size_t seen;
};

static bool is_text(enum sort_key k)
{
    return k != SORT_ARRIVAL && k != SORT_DATE && k != SORT_SIZE && k != SORT_RELEVANCY;
}

static str text_of(enum sort_key k, const struct mime_cold *m)
{
    switch (k) {
    case SORT_CC:
        return m->cc_mailbox;
    case SORT_FROM:
        return m->from_mailbox;
    case SORT_TO:
        return m->to_mailbox;
    case SORT_DISPLAYFROM:
        return m->from_display;
    case SORT_DISPLAYTO:
        return m->to_display;
    default:
        assert(k == SORT_SUBJECT);
        return m->base_subject;
    }
}

static int64_t number_of(const struct sorting *s, enum sort_key k, const struct message_row *row,
                         const struct mime_cold *m)
{
    const struct buf *scores = &s->found->scores;
    switch (k) {
    case SORT_ARRIVAL:
        return row->internal_date;
    case SORT_SIZE:
        return (int64_t)row->size;
    case SORT_RELEVANCY: /* the best first */
        return s->seen < scores->len ? -(int64_t)(uint8_t)scores->data[s->seen] : 0;
    default:
        return search_sent(row, m);
    }
}

/* For order i;unicode-casemap knows no small letters (RFC 5051): "_" comes behind "Z", not before
 * "a". */
static void capitals(char *at, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (at[i] >= 'a' && at[i] <= 'z')
            at[i] -= 'a' - 'A';
}

static void add_row(void *arg, const struct message_row *row, const struct mime_cold *m)
{
    struct sorting *s = arg;
    for (size_t i = 0; i < s->args->nsort; i++) {
        enum sort_key k = s->args->sort[i].key;
        struct sort_value v = {.at = (uint32_t)s->pool.len};
        if (is_text(k) && m)
            search_fold_all(text_of(k, m), &s->pool);
        else if (!is_text(k))
            v.number = number_of(s, k, row, m);
        v.len = (uint32_t)s->pool.len - v.at;
        if (v.len)
            capitals(s->pool.data + v.at, v.len);
        buf_add(&s->values, str_of(&v, sizeof v));
    }
    uint32_t place = (uint32_t)(s->uids.len / sizeof(uint32_t));
    buf_add(&s->uids, str_of(&row->uid, sizeof row->uid));
    buf_add(&s->order, str_of(&place, sizeof place));
    s->seen++;
}

static int compare_values(const struct sorting *s, enum sort_key k, const struct sort_value *a,
                          const struct sort_value *b)
{
    if (!is_text(k))
        return (a->number > b->number) - (a->number < b->number);
    return str_cmp(str_of(s->pool.data + a->at, a->len), str_of(s->pool.data + b->at, b->len));
}

static int compare(const void *pa, const void *pb, void *arg)
{
    const struct sorting *s = arg;
    uint32_t a = *(const uint32_t *)pa, b = *(const uint32_t *)pb;
    size_t n = s->args->nsort;
    const struct sort_value *values = (const struct sort_value *)s->values.data;
    for (size_t i = 0; i < n; i++) {
        const struct sort_criterion *c = &s->args->sort[i];
        int order = compare_values(s, c->key, &values[a * n + i], &values[b * n + i]);
        if (order)
            return c->reverse ? -order : order;
    }
    return (a > b) - (a < b); /* at last by sequence number (RFC 5256 3) */
}

static void sort_now(void *arg)
{
    struct sorting *s = arg;
    qsort_r(s->order.data, s->order.len / sizeof(uint32_t), sizeof(uint32_t), compare, s);
}

static enum err sort_all(struct sorting *s, const struct search_place *place, struct buf *uids)
{
    bool cold = false;
    for (size_t i = 0; i < s->args->nsort; i++) {
        enum sort_key k = s->args->sort[i].key;
        cold |= is_text(k) || k == SORT_DATE;
    }
    TRY(search_each_row(place, &s->found->uids, cold, add_row, s));
    if (!buf_ok(&s->values) || !buf_ok(&s->pool) || !buf_ok(&s->uids) || !buf_ok(&s->order))
        return ERR_LIMIT;
    if (s->order.len)
        TRY(offload_run(sort_now, s));
    for (size_t i = 0; i < s->order.len / sizeof(uint32_t); i++)
        buf_add(uids, str_of((uint32_t *)s->uids.data + ((uint32_t *)s->order.data)[i],
                             sizeof(uint32_t)));
    return buf_ok(uids) ? ERR_OK : ERR_LIMIT;
}

enum err search_sort(const struct search_place *place, const struct imap_search *args,
                     const struct search_found *found, struct buf *uids)
{
    struct sorting s = {.args = args, .found = found};
    buf_init(&s.values, SEARCH_SORT_BYTES_MAX);
    buf_init(&s.pool, SEARCH_SORT_BYTES_MAX);
    buf_init(&s.uids, SEARCH_SORT_BYTES_MAX);
    buf_init(&s.order, SEARCH_SORT_BYTES_MAX);
    enum err e = sort_all(&s, place, uids);
    buf_free(&s.values);
    buf_free(&s.pool);
    buf_free(&s.uids);
    buf_free(&s.order);
    return e;
}
