/* SPDX-License-Identifier: Apache-2.0 */
#include "base/set.h"

#include "base/num.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void set_free(struct set *s)
{
    free(s->ranges);
    *s = (struct set){.max = s->max};
}

static size_t limit(const struct set *s) { return s->max ? s->max : SET_RANGES_MAX; }

static enum err make_room(struct set *s, size_t count)
{
    if (count > limit(s))
        return ERR_LIMIT;
    if (count <= s->cap)
        return ERR_OK;
    size_t cap = MIN(MAX(MAX(s->cap * 2, count), 4), limit(s));
    struct range *ranges = reallocarray(s->ranges, cap, sizeof *ranges);
    if (!ranges)
        return ERR_NOMEM;
    s->ranges = ranges;
    s->cap = cap;
    return ERR_OK;
}

/* The first range whose last value is n or more. */
static size_t lower_bound(const struct set *s, uint64_t n)
{
    size_t from = 0, to = s->count;
    while (from < to) {
        size_t mid = from + (to - from) / 2;
        if (s->ranges[mid].last < n)
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}

/* Replaces `count` ranges at `at` by the `with_count` ranges of `with`. */
static enum err splice(struct set *s, size_t at, size_t count, const struct range *with,
                       size_t with_count)
{
    assert(at + count <= s->count);
    size_t total = s->count - count + with_count;
    TRY(make_room(s, total));
    size_t behind = s->count - at - count;
    if (behind && count != with_count)
        memmove(s->ranges + at + with_count, s->ranges + at + count, behind * sizeof *s->ranges);
    if (with_count)
        memcpy(s->ranges + at, with, with_count * sizeof *with);
    s->count = total;
    return ERR_OK;
}

/* Adds a range that begins at or after the beginning of the last one. */
static enum err append(struct set *s, struct range r)
{
    struct range *last = s->count ? &s->ranges[s->count - 1] : NULL;
    assert(!last || r.first >= last->first);
    if (last && r.first <= (uint64_t)last->last + 1) {
        last->last = MAX(last->last, r.last);
        return ERR_OK;
    }
    TRY(make_room(s, s->count + 1));
    s->ranges[s->count++] = r;
    return ERR_OK;
}

enum err set_add_range(struct set *s, uint32_t first, uint32_t last)
{
    assert(first <= last);
    if (s->count == 0 || first >= s->ranges[s->count - 1].first)
        return append(s, (struct range){first, last});
    /* Everything from `at` to before `end` touches the new range and melts into it. */
    size_t at = lower_bound(s, first ? (uint64_t)first - 1 : 0), end = at;
    struct range r = {first, last};
    for (; end < s->count && s->ranges[end].first <= (uint64_t)last + 1; end++) {
        r.first = MIN(r.first, s->ranges[end].first);
        r.last = MAX(r.last, s->ranges[end].last);
    }
    return splice(s, at, end - at, &r, 1);
}

enum err set_remove_range(struct set *s, uint32_t first, uint32_t last)
{
    assert(first <= last);
    size_t at = lower_bound(s, first), end = at, kept = 0;
    struct range keep[2];
    for (; end < s->count && s->ranges[end].first <= last; end++) {
        struct range r = s->ranges[end];
        if (r.first < first)
            keep[kept++] = (struct range){r.first, first - 1};
        if (r.last > last)
            keep[kept++] = (struct range){last + 1, r.last};
    }
    return splice(s, at, end - at, keep, kept);
}

bool set_has(const struct set *s, uint32_t n)
{
    size_t at = lower_bound(s, n);
    return at < s->count && s->ranges[at].first <= n;
}

uint64_t set_size(const struct set *s)
{
    uint64_t size = 0;
    for (size_t i = 0; i < s->count; i++)
        size += (uint64_t)s->ranges[i].last - s->ranges[i].first + 1;
    return size;
}

/* The results below are built aside, so that a failure leaves the set as it was. */
static enum err finish(enum err e, struct set *result, struct set *into)
{
    if (e == ERR_OK) {
        free(into->ranges);
        *into = *result;
    } else {
        free(result->ranges);
    }
    return e;
}

static enum err merge(const struct set *a, const struct set *b, struct set *out)
{
    for (size_t i = 0, j = 0; i < a->count || j < b->count;) {
        bool from_a = j == b->count || (i < a->count && a->ranges[i].first <= b->ranges[j].first);
        TRY(append(out, from_a ? a->ranges[i++] : b->ranges[j++]));
    }
    return ERR_OK;
}

enum err set_union(struct set *into, const struct set *from)
{
    if (from->count == 0 || into == from)
        return ERR_OK;
    struct set out = {.max = into->max};
    return finish(merge(into, from, &out), &out, into);
}

static enum err overlap(const struct set *a, const struct set *b, struct set *out)
{
    for (size_t i = 0, j = 0; i < a->count && j < b->count;) {
        uint32_t first = MAX(a->ranges[i].first, b->ranges[j].first);
        uint32_t last = MIN(a->ranges[i].last, b->ranges[j].last);
        if (first <= last)
            TRY(append(out, (struct range){first, last}));
        if (a->ranges[i].last < b->ranges[j].last)
            i++;
        else
            j++;
    }
    return ERR_OK;
}

enum err set_intersect(struct set *into, const struct set *with)
{
    struct set out = {.max = into->max};
    return finish(overlap(into, with, &out), &out, into);
}

static enum err without(const struct set *a, const struct set *b, struct set *out)
{
    size_t j = 0;
    for (size_t i = 0; i < a->count; i++) {
        uint64_t first = a->ranges[i].first, last = a->ranges[i].last;
        while (j < b->count && b->ranges[j].last < first)
            j++;
        for (size_t k = j; first <= last && k < b->count && b->ranges[k].first <= last; k++) {
            if (b->ranges[k].first > first)
                TRY(append(out, (struct range){(uint32_t)first, b->ranges[k].first - 1}));
            first = (uint64_t)b->ranges[k].last + 1;
            j = k;
        }
        if (first <= last)
            TRY(append(out, (struct range){(uint32_t)first, (uint32_t)last}));
    }
    return ERR_OK;
}

enum err set_subtract(struct set *from, const struct set *what)
{
    struct set out = {.max = from->max};
    return finish(without(from, what, &out), &out, from);
}

void set_render(const struct set *s, struct buf *out)
{
    for (size_t i = 0; i < s->count; i++) {
        if (i)
            buf_add_char(out, ',');
        buf_add_u64(out, s->ranges[i].first);
        if (s->ranges[i].last == s->ranges[i].first)
            continue;
        buf_add_char(out, ':');
        buf_add_u64(out, s->ranges[i].last);
    }
}

/* Each range is its gap and its length - 1. Ranges are not adjacent, so every gap but the first is
 * counted from two past the range before: each set has one encoding. */
void set_encode(const struct set *s, struct buf *out)
{
    uint64_t from = 0;
    buf_add_varint(out, s->count);
    for (size_t i = 0; i < s->count; i++) {
        buf_add_varint(out, s->ranges[i].first - from);
        buf_add_varint(out, s->ranges[i].last - s->ranges[i].first);
        from = (uint64_t)s->ranges[i].last + 2;
    }
}

static enum err decode(struct reader *r, struct set *out)
{
    uint64_t count = read_varint(r), from = 0;
    if (r->failed || count > r->rest.len / 2) /* two bytes a range at least */
        return ERR_CORRUPT;
    if (count > limit(out))
        return ERR_LIMIT;
    TRY(make_room(out, count));
    for (uint64_t i = 0; i < count; i++) {
        uint64_t first, last;
        if (__builtin_add_overflow(from, read_varint(r), &first) ||
            __builtin_add_overflow(first, read_varint(r), &last) || r->failed || last > UINT32_MAX)
            return ERR_CORRUPT;
        out->ranges[out->count++] = (struct range){(uint32_t)first, (uint32_t)last};
        from = last + 2;
    }
    return ERR_OK;
}

enum err set_decode(struct reader *r, struct set *out)
{
    struct set made = {.max = out->max};
    return finish(decode(r, &made), &made, out);
}
