/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/imap/search_run.h"

#include <assert.h>

#include "base/num.h"
#include "format/mime_cold.h"
#include "proto/imap/search_key.h"

#define GATHER 256
#define BATCH 65536 /* rows that wait for cold rows and texts together */
#define DAY 86400
#define NO_DAY INT64_MIN

enum answer { NO, YES, MAYBE };

/* What is known of a message while it is asked. */
struct known {
    const struct search_program *program;
    const struct message_row *row;
    bool has_cold;
    int64_t sent_day;       /* NO_DAY: no Date field */
    const uint8_t *answers; /* of the texts; NULL: not known yet */
};

static int64_t day_of(int64_t seconds) { return seconds / DAY - (seconds % DAY < 0); }

static enum answer truth(bool b) { return b ? YES : NO; }

static enum answer ask(const struct search_key *k, const struct known *m);

static enum answer ask_and(const struct search_key *k, const struct known *m)
{
    enum answer all = YES;
    for (const struct search_key *c = k->first; c; c = c->next) {
        enum answer a = ask(c, m);
        if (a == NO)
            return NO;
        if (a == MAYBE)
            all = MAYBE;
    }
    return all;
}

static enum answer ask_or(const struct search_key *k, const struct known *m)
{
    enum answer any = NO;
    for (const struct search_key *c = k->first; c; c = c->next) {
        enum answer a = ask(c, m);
        if (a == YES)
            return YES;
        if (a == MAYBE)
            any = MAYBE;
    }
    return any;
}

static enum answer ask_sent(const struct search_key *k, const struct known *m)
{
    if (!m->has_cold)
        return MAYBE;
    if (m->sent_day == NO_DAY)
        return NO;
    return truth(k->kind == SEARCH_SENTBEFORE ? m->sent_day < k->day
                 : k->kind == SEARCH_SENTON   ? m->sent_day == k->day
                                              : m->sent_day >= k->day);
}

/* Dates without time (RFC 9051 6.4.4), in the zone that INTERNALDATE is shown in. */
static bool ask_day(const struct search_key *k, const struct message_row *row)
{
    switch (k->kind) {
    case SEARCH_BEFORE:
        return day_of(row->internal_date) < k->day;
    case SEARCH_ON:
        return day_of(row->internal_date) == k->day;
    case SEARCH_SINCE:
        return day_of(row->internal_date) >= k->day;
    case SEARCH_SAVEDBEFORE:
        return day_of(row->save_date) < k->day;
    case SEARCH_SAVEDON:
        return day_of(row->save_date) == k->day;
    default:
        assert(k->kind == SEARCH_SAVEDSINCE);
        return day_of(row->save_date) >= k->day;
    }
}

static bool ask_row(const struct search_key *k, const struct known *m)
{
    const struct message_row *row = m->row;
    int64_t age = m->program->now - row->internal_date;
    switch (k->kind) {
    case SEARCH_ALL:
    case SEARCH_SAVEDATESUPPORTED:
        return true;
    case SEARCH_FLAG:
        return !k->never && (row->flags & k->flags) == k->flags;
    case SEARCH_UNFLAG:
        return !(row->flags & k->flags);
    case SEARCH_KEYWORD:
        return row->keywords & k->bits;
    case SEARCH_UNKEYWORD:
        return !(row->keywords & k->bits);
    case SEARCH_LARGER:
        return row->size > k->number;
    case SEARCH_SMALLER:
        return row->size < k->number;
    case SEARCH_YOUNGER: /* RFC 5032 */
        return age <= (int64_t)k->number;
    case SEARCH_OLDER:
        return age >= (int64_t)k->number;
    case SEARCH_SEQ:
    case SEARCH_UID:
        return set_has(k->uids, row->uid);
    case SEARCH_MODSEQ: /* RFC 7162 3.1.5 */
        return row->modseq >= k->number;
    case SEARCH_EMAILID:
        return row->message == k->number;
    case SEARCH_THREADID:
        return row->thread == k->number;
    case SEARCH_NEW:
        return false;
    default:
        return ask_day(k, row);
    }
}

static enum answer ask(const struct search_key *k, const struct known *m)
{
    enum answer a;
    switch (k->kind) {
    case SEARCH_AND:
        return ask_and(k, m);
    case SEARCH_OR:
        return ask_or(k, m);
    case SEARCH_NOT:
        a = ask(k->first, m);
        return a == MAYBE ? MAYBE : truth(a == NO);
    case SEARCH_TEXT:
        return m->answers ? truth(m->answers[k->term]) : MAYBE;
    case SEARCH_SENTBEFORE:
    case SEARCH_SENTON:
    case SEARCH_SENTSINCE:
        return ask_sent(k, m);
    default:
        return truth(ask_row(k, m));
    }
}

/* ---- a run ---- */

struct pending {
    uint32_t uid;
    enum answer answer;
    struct message_row row;
    int64_t sent_day;
};

struct run {
    struct imap *x;
    struct search_program *p;
    const struct search_place *place;
    struct search_found *found;
    struct buf pending; /* struct pending */
    struct buf ids;     /* u64 each: messages asked for */
    struct buf places;  /* u32 each: which pending they are */
    struct buf answers;
    size_t done, all; /* messages */
};

static struct pending *pendings(struct run *r) { return (struct pending *)r->pending.data; }
static size_t pending_count(const struct run *r) { return r->pending.len / sizeof(struct pending); }

static enum err add_found(struct run *r, const struct message_row *row, uint8_t score)
{
    r->found->modseq = MAX(r->found->modseq, row->modseq);
    if (r->p->fuzzy)
        buf_add_char(&r->found->scores, (char)score);
    return set_add(&r->found->uids, row->uid);
}

static bool tell_progress(void *arg, size_t done, size_t all)
{
    struct run *r = arg;
    imap_progress(r->x, MIN(r->done + done, r->all), r->all);
    return stream_error(r->x->stream) == ERR_OK && !r->x->closing;
}

/* Puts the messages that are still undecided into ids and places. */
static enum err collect(struct run *r)
{
    struct pending *p = pendings(r);
    buf_reset(&r->ids);
    buf_reset(&r->places);
    for (uint32_t i = 0; i < pending_count(r); i++)
        if (p[i].answer == MAYBE) {
            buf_add(&r->ids, str_of(&p[i].row.message, sizeof p[i].row.message));
            buf_add(&r->places, str_of(&i, sizeof i));
        }
    return buf_ok(&r->ids) && buf_ok(&r->places) ? ERR_OK : ERR_NOMEM;
}

static bool on_cold(void *arg, size_t i, enum err e, const struct message_cold *c)
{
    struct run *r = arg;
    struct pending *p = &pendings(r)[((const uint32_t *)r->places.data)[i]];
    struct mime_cold m;
    p->sent_day = NO_DAY;
    if (e == ERR_OK && mime_cold_decode(c->mime, &m) == ERR_OK && (m.flags & MIME_COLD_HAS_DATE))
        p->sent_day = day_of(m.sent_seconds + (int64_t)m.sent_zone_minutes * 60);
    return true;
}

#define COLD_STEP 1000 /* rows between two looks at who else wants to run */

static enum err ask_cold(struct run *r)
{
    TRY(collect(r));
    size_t n = r->ids.len / sizeof(uint64_t);
    for (size_t at = 0; at < n; at += COLD_STEP) {
        size_t count = MIN(n - at, (size_t)COLD_STEP);
        struct buf places = r->places;
        r->places.data += at * sizeof(uint32_t);
        enum err e =
            message_cold_each(r->place->account, (uint64_t *)r->ids.data + at, count, on_cold, r);
        r->places = places;
        TRY(e);
        if (fiber_current())
            fiber_yield();
    }
    for (size_t i = 0; i < n; i++) {
        struct pending *p = &pendings(r)[((const uint32_t *)r->places.data)[i]];
        struct known m = {r->p, &p->row, true, p->sent_day, NULL};
        p->answer = ask(r->p->root, &m);
    }
    return ERR_OK;
}

static enum err ask_texts(struct run *r)
{
    TRY(collect(r));
    size_t n = r->ids.len / sizeof(uint64_t), nterms = r->p->nterms;
    struct search_query q = {
        .terms = r->p->terms, .nterms = nterms, .progress = tell_progress, .arg = r};
    buf_reset(&r->answers);
    uint8_t *answers = (uint8_t *)buf_reserve(&r->answers, n * nterms);
    if (!answers)
        return ERR_LIMIT;
    return search_messages(r->place->account, &q, (uint64_t *)r->ids.data, n, answers);
}

static uint8_t score_of(const struct run *r, const uint8_t *answers)
{
    unsigned sum = 0, count = 0;
    for (size_t k = 0; k < r->p->nterms; k++)
        if (r->p->terms[k].fuzzy && answers[k]) {
            sum += answers[k];
            count++;
        }
    return count ? (uint8_t)(sum / count) : 1;
}

/* Decides what is pending, and adds it to what was found. */
static enum err settle(struct run *r)
{
    bool texts = false;
    if (r->p->needs_cold)
        TRY(ask_cold(r));
    if (r->p->needs_text) {
        TRY(ask_texts(r));
        texts = true;
    }
    struct pending *p = pendings(r);
    const uint8_t *answers = (const uint8_t *)r->answers.data;
    for (size_t i = 0, n = pending_count(r); i < n; i++) {
        uint8_t score = 1;
        if (p[i].answer == MAYBE) {
            assert(texts);
            struct known m = {r->p, &p[i].row, true, p[i].sent_day, answers};
            p[i].answer = ask(r->p->root, &m);
            score = score_of(r, answers);
            answers += r->p->nterms;
        }
        if (p[i].answer == YES)
            TRY(add_found(r, &p[i].row, score));
    }
    r->done += pending_count(r);
    buf_reset(&r->pending);
    return ERR_OK;
}

static enum err ask_one(struct run *r, const struct message_row *row)
{
    struct known m = {.program = r->p, .row = row};
    enum answer a = ask(r->p->root, &m);
    bool waits = r->p->needs_cold || r->p->needs_text;
    if (a == YES && !waits)
        return add_found(r, row, 1);
    if (a == NO)
        return ERR_OK;
    struct pending p = {.uid = row->uid, .answer = a, .row = *row, .sent_day = NO_DAY};
    buf_add(&r->pending, str_of(&p, sizeof p));
    return buf_ok(&r->pending) ? ERR_OK : ERR_NOMEM;
}

/* The next rows of the mailbox; returns false when there are none. */
static enum err take_rows(struct run *r, const struct search_span *span, uint32_t *next, bool *more)
{
    const struct message_row *rows;
    struct mailbox_view *v = r->place->view;
    size_t n = MIN(view_run(v, view_place(v, *next), &rows), (size_t)16 * GATHER);
    *more = n > 0 && rows[0].uid <= r->place->last_uid;
    for (size_t i = 0; i < n && rows[i].uid <= r->place->last_uid; i++) {
        *next = rows[i].uid + 1;
        if (search_span_has(span, &rows[i]))
            TRY(ask_one(r, &rows[i]));
    }
    if (*next == 0) /* the last UID of all */
        *more = false;
    return ERR_OK;
}

static enum err run_all(struct run *r, const struct search_span *span)
{
    uint32_t next = 1;
    bool more = true;
    size_t rows = 0;
    while (more) {
        TRY(take_rows(r, span, &next, &more));
        if (pending_count(r) >= BATCH)
            TRY(settle(r));
        else if (++rows % 32 == 0 && fiber_current())
            fiber_yield();
    }
    return settle(r);
}

enum err search_run(struct imap *x, struct search_program *p, const struct search_place *place,
                    const struct search_span *span, struct search_found *out)
{
    struct run r = {.x = x, .p = p, .place = place, .found = out};
    *out = (struct search_found){0};
    buf_init(&out->scores, UINT32_MAX);
    buf_init(&r.pending, (BATCH + 16 * GATHER) * sizeof(struct pending));
    buf_init(&r.ids, (BATCH + 16 * GATHER) * sizeof(uint64_t));
    buf_init(&r.places, (BATCH + 16 * GATHER) * sizeof(uint32_t));
    buf_init(&r.answers, (size_t)64 << 20);
    r.all = view_count(place->view);
    enum err e = run_all(&r, span);
    if (e == ERR_OK && !buf_ok(&out->scores))
        e = ERR_NOMEM;
    buf_free(&r.pending);
    buf_free(&r.ids);
    buf_free(&r.places);
    buf_free(&r.answers);
    return e;
}

void search_found_free(struct search_found *f)
{
    set_free(&f->uids);
    buf_free(&f->scores);
}
