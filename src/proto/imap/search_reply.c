/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/imap/search_reply.h"

#include "base/num.h"

#define FLUSH_EVERY 4096 /* numbers between two looks at the output, or at who wants to run */
#define NUMBERS_MAX ((size_t)1 << 32)

static const uint32_t *numbers_of(const struct search_reply *r)
{
    return (const uint32_t *)r->numbers.data;
}

static size_t count_of(const struct search_reply *r) { return r->uids.len / sizeof(uint32_t); }

static void add_u32(struct buf *out, uint32_t n) { buf_add(out, str_of(&n, sizeof n)); }

enum err search_reply_open(struct search_reply *r)
{
    buf_init(&r->uids, NUMBERS_MAX);
    buf_init(&r->numbers, NUMBERS_MAX);
    if (r->sorted)
        return ERR_OK;
    const struct set *s = &r->found->uids;
    for (size_t i = 0; i < s->count; i++)
        for (uint64_t uid = s->ranges[i].first; uid <= s->ranges[i].last; uid++)
            add_u32(&r->uids, (uint32_t)uid);
    return buf_ok(&r->uids) && search_reply_number(r) ? ERR_OK : ERR_NOMEM;
}

bool search_reply_number(struct search_reply *r)
{
    buf_reset(&r->numbers);
    if (r->uid)
        buf_add(&r->numbers, buf_str(&r->uids));
    for (size_t i = 0; !r->uid && i < count_of(r); i++) {
        add_u32(&r->numbers,
                mailbox_session_seq(&r->x->selected->view, ((const uint32_t *)r->uids.data)[i]));
        if (i % FLUSH_EVERY == FLUSH_EVERY - 1 && fiber_current())
            fiber_yield(); /* the session's numbers stay as they are until it is told others */
    }
    return buf_ok(&r->numbers);
}

void search_reply_close(struct search_reply *r)
{
    buf_free(&r->uids);
    buf_free(&r->numbers);
}

void search_render_numbers(const uint32_t *numbers, size_t n, struct buf *out)
{
    for (size_t i = 0, last; i < n; i = last + 1) {
        last = i;
        while (last + 1 < n && numbers[last + 1] == numbers[last] + 1)
            last++;
        if (i > 0)
            buf_add_char(out, ',');
        buf_add_u64(out, numbers[i]);
        if (last > i) {
            buf_add_char(out, ':');
            buf_add_u64(out, numbers[last]);
        }
    }
}

/* RFC 4731 3.2: of what is shown. */
static uint64_t modseq_of(const struct search_reply *r)
{
    uint32_t results = r->args->results;
    const uint32_t *uids = (const uint32_t *)r->uids.data;
    size_t n = count_of(r);
    if (!r->args->extended || n == 0 || !r->x->selected || !str_empty(r->mailbox) ||
        (results & ~(uint32_t)(SEARCH_RETURN_MIN | SEARCH_RETURN_MAX | SEARCH_RETURN_SAVE)))
        return r->found->modseq;
    uint64_t modseq = 0;
    const struct message_row *row;
    if ((results & SEARCH_RETURN_MIN) &&
        (row = view_find(r->x->selected->view.view, uids[0])) != NULL)
        modseq = row->modseq;
    if ((results & SEARCH_RETURN_MAX) &&
        (row = view_find(r->x->selected->view.view, uids[n - 1])) != NULL)
        modseq = MAX(modseq, row->modseq);
    return modseq ? modseq : r->found->modseq;
}

/* The plain form: "* SEARCH 2 84 882 (MODSEQ 917)". */
static void tell_plain(struct search_reply *r)
{
    struct buf *out = imap_out(r->x);
    buf_add(out, r->sorted ? STR("* SORT") : STR("* SEARCH"));
    for (size_t i = 0; i < count_of(r); i++) {
        buf_add_char(out, ' ');
        buf_add_u64(out, numbers_of(r)[i]);
        if (i % FLUSH_EVERY == FLUSH_EVERY - 1)
            imap_flush_check(r->x);
    }
    if (r->args->uses_modseq && count_of(r) > 0)
        buf_addf(out, " (MODSEQ %llu)", (unsigned long long)r->found->modseq);
    buf_add(out, STR("\r\n"));
}

void search_reply_partial(const struct search_reply *r, size_t *from, size_t *to)
{
    const struct imap_partial *p = &r->args->partial;
    uint64_t n = count_of(r);
    uint64_t a = (uint64_t)(p->first < 0 ? -p->first : p->first);
    uint64_t b = (uint64_t)(p->last < 0 ? -p->last : p->last);
    uint64_t low = MIN(a, b), high = MIN(MAX(a, b), n);
    *from = *to = 0;
    if (low == 0 || low > n)
        return;
    *from = p->first < 0 ? n - high : low - 1;
    *to = p->first < 0 ? n - low + 1 : high;
}

static void tell_ranges(struct search_reply *r, size_t from, size_t to)
{
    struct buf *out = imap_out(r->x);
    for (size_t at = from; at < to;) {
        size_t end = MIN(to, at + FLUSH_EVERY);
        while (end < to && numbers_of(r)[end] == numbers_of(r)[end - 1] + 1)
            end++; /* a range is not cut in two */
        if (at > from)
            buf_add_char(out, ',');
        search_render_numbers(numbers_of(r) + at, end - at, out);
        imap_flush_check(r->x);
        at = end;
    }
}

static void tell_partial(struct search_reply *r)
{
    size_t from, to;
    struct buf *out = imap_out(r->x);
    search_reply_partial(r, &from, &to);
    buf_addf(out, " PARTIAL (%lld:%lld ", (long long)r->args->partial.first,
             (long long)r->args->partial.last);
    if (from == to)
        buf_add(out, STR("NIL"));
    else
        tell_ranges(r, from, to);
    buf_add_char(out, ')');
}

/* RFC 6203 4: one number for each message of the answer; of a page, for each on it. */
static void tell_relevancy(struct search_reply *r)
{
    struct buf *out = imap_out(r->x);
    const struct buf *scores = &r->found->scores;
    size_t from = 0, to = scores->len;
    if (r->args->results & SEARCH_RETURN_PARTIAL)
        search_reply_partial(r, &from, &to);
    buf_add(out, STR(" RELEVANCY ("));
    for (size_t i = from; i < MIN(to, scores->len); i++) {
        if (i > from)
            buf_add_char(out, ' ');
        buf_add_u64(out, (uint8_t)scores->data[i]);
        if (i % FLUSH_EVERY == FLUSH_EVERY - 1)
            imap_flush_check(r->x);
    }
    buf_add_char(out, ')');
}

static void tell_extended(struct search_reply *r)
{
    struct buf *out = imap_out(r->x);
    size_t n = count_of(r);
    uint32_t results = r->args->extended ? r->args->results : SEARCH_RETURN_ALL;
    buf_add(out, STR("* ESEARCH (TAG "));
    imap_render_string(out, r->x->tag);
    if (!str_empty(r->mailbox)) {
        buf_add(out, STR(" MAILBOX "));
        buf_add(out, r->mailbox);
        buf_addf(out, " UIDVALIDITY %u", r->uidvalidity);
    }
    buf_add(out, r->uid ? STR(") UID") : STR(")"));
    if ((results & SEARCH_RETURN_MIN) && n > 0)
        buf_addf(out, " MIN %u", numbers_of(r)[0]);
    if ((results & SEARCH_RETURN_MAX) && n > 0)
        buf_addf(out, " MAX %u", numbers_of(r)[n - 1]);
    if (results & SEARCH_RETURN_COUNT)
        buf_addf(out, " COUNT %zu", n);
    if ((results & SEARCH_RETURN_ALL) && n > 0) {
        buf_add(out, STR(" ALL "));
        tell_ranges(r, 0, n);
    }
    if (results & SEARCH_RETURN_PARTIAL)
        tell_partial(r);
    if ((results & SEARCH_RETURN_RELEVANCY) && !r->sorted && n > 0)
        tell_relevancy(r);
    if (r->args->uses_modseq && n > 0)
        buf_addf(out, " MODSEQ %llu", (unsigned long long)modseq_of(r));
    buf_add(out, STR("\r\n"));
}

void search_reply_tell(struct search_reply *r)
{
    bool rev2 = imap_has(r->x, IMAP_ENABLED_REV2) && !r->sorted; /* RFC 9051 6.4.4 */
    uint32_t shown = r->args->results &
                     ~(uint32_t)(SEARCH_RETURN_SAVE | SEARCH_RETURN_UPDATE | SEARCH_RETURN_CONTEXT);
    if (!r->args->extended && !rev2)
        tell_plain(r);
    else if (!r->args->extended || shown || !(r->args->results & SEARCH_RETURN_SAVE))
        tell_extended(r);
    imap_flush_check(r->x);
}

enum err search_reply_save(const struct search_reply *r)
{
    struct imap_search_state *state = search_state(r->x);
    const uint32_t *uids = (const uint32_t *)r->uids.data;
    size_t n = count_of(r), from, to;
    uint32_t results = r->args->results;
    if (!state)
        return ERR_NOMEM;
    set_free(&state->saved);
    bool some = results & (SEARCH_RETURN_MIN | SEARCH_RETURN_MAX | SEARCH_RETURN_PARTIAL);
    if (!some || (results & (SEARCH_RETURN_ALL | SEARCH_RETURN_COUNT)))
        return set_union(&state->saved, &r->found->uids);
    if (n > 0 && (results & SEARCH_RETURN_MIN))
        TRY(set_add(&state->saved, uids[0]));
    if (n > 0 && (results & SEARCH_RETURN_MAX))
        TRY(set_add(&state->saved, uids[n - 1]));
    search_reply_partial(r, &from, &to);
    for (; (results & SEARCH_RETURN_PARTIAL) && from < to; from++)
        TRY(set_add(&state->saved, uids[from]));
    return ERR_OK;
}
