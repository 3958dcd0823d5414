/* SPDX-License-Identifier: Apache-2.0
 *
 * The partition of reports: every row can be read, counters belong to something, and a report of
 * others has the rows that it says it has.
 */
#include "core/check_private.h"

#include "core/report_rows.h"

#include <string.h>

struct report_check {
    struct check *c;
    struct buf seen; /* keys of SEEN rows behind the space byte, sized, in order */
    struct reader at;
    str next;
    /* the report whose rows are being counted */
    struct buf taken; /* keys of TAKEN rows likewise, each with its number of rows */
    uint64_t rows;
};
#define ROW(q, ...) check_found((q)->c, true, false, __VA_ARGS__)
#define REF(q, ...) check_found((q)->c, true, true, __VA_ARGS__)

static bool take_key(struct report_check *q, str key, struct report_key *k)
{
    if (report_key_of(key, k))
        return true;
    ROW(q, "unreadable key of a report row");
    return false;
}

static void on_day(void *arg, str key, str value)
{
    struct report_check *q = arg;
    struct report_key k;
    struct dmarc_report_policy policy;
    uint64_t none;
    str head;
    if (!take_key(q, key, &k))
        return;
    bool good = report_body_decode(SPACE_REPORT_DAY, value, &none, &head) == ERR_OK;
    if (!good || (k.kind == REPORT_DMARC && report_policy_take(head, &policy) != ERR_OK))
        ROW(q, "unreadable day of %.*s", STR_ARG(k.domain));
}

static bool body_reads(enum report_kind kind, str body)
{
    ARENA_AUTO struct arena a = ARENA_INIT(65536);
    struct dmarc_report_row row;
    struct report_tls_note note;
    return kind == REPORT_DMARC ? report_dmarc_take(body, &a, &row) == ERR_OK
                                : report_tls_take(body, &a, &note) == ERR_OK;
}

static void on_seen(void *arg, str key, str value)
{
    struct report_check *q = arg;
    struct report_key k;
    uint64_t none;
    str body;
    if (!take_key(q, key, &k))
        return;
    if (report_body_decode(SPACE_REPORT_SEEN, value, &none, &body) != ERR_OK ||
        !body_reads(k.kind, body))
        ROW(q, "unreadable note about %.*s", STR_ARG(k.domain));
    buf_add_sized(&q->seen, str_skip(key, 1));
}

static void on_count(void *arg, str key, str value)
{
    struct report_check *q = arg;
    struct report_key k;
    if (!take_key(q, key, &k))
        return;
    if (value.len != 8)
        ROW(q, "unreadable counter about %.*s", STR_ARG(k.domain));
    if (str_eq(k.hash, str_of(report_overflow, REPORT_HASH)))
        return;
    str tail = str_skip(key, 1);
    while (!str_empty(q->next) && str_cmp(q->next, tail) < 0)
        q->next = read_sized(&q->at);
    if (!str_eq(q->next, tail))
        REF(q, "a counter about %.*s without its note", STR_ARG(k.domain));
}

static void on_sent(void *arg, str key, str value)
{
    struct report_check *q = arg;
    struct report_key k;
    struct report_sent sent;
    if (take_key(q, key, &k) && report_sent_decode(value, &sent) != ERR_OK)
        ROW(q, "unreadable state of a report about %.*s", STR_ARG(k.domain));
}

static void on_taken(void *arg, str key, str value)
{
    struct report_check *q = arg;
    struct report_key k;
    struct report_taken t = {0};
    if (!take_key(q, key, &k))
        return;
    if (report_taken_decode(value, &t) != ERR_OK)
        ROW(q, "unreadable report about %.*s", STR_ARG(k.domain));
    buf_add_sized(&q->taken, str_skip(key, 1));
    buf_add_varint(&q->taken, t.rows);
}

/* The report that is counted ends; the next begins. */
static void next_taken(struct report_check *q)
{
    if (q->rows > 0)
        REF(q, "a report of others lacks %llu of its rows", (unsigned long long)q->rows);
    q->next = read_sized(&q->at);
    q->rows = read_varint(&q->at);
}

static void on_row(void *arg, str key, str value)
{
    struct report_check *q = arg;
    struct report_key k;
    uint64_t count;
    str body;
    if (!take_key(q, key, &k))
        return;
    if (report_body_decode(SPACE_REPORT_ROW, value, &count, &body) != ERR_OK ||
        !body_reads(k.kind, body))
        ROW(q, "unreadable row of a report about %.*s", STR_ARG(k.domain));
    str of = str_sub(key, 1, key.len - 5);
    while (!str_empty(q->next) && str_cmp(q->next, of) < 0)
        next_taken(q);
    if (!str_eq(q->next, of) || q->rows == 0)
        REF(q, "a row about %.*s without its report", STR_ARG(k.domain));
    else
        q->rows--;
}

static enum err check_rows(struct report_check *q)
{
    TRY(check_scan(q->c, SPACE_REPORT_DAY, on_day, q));
    TRY(check_scan(q->c, SPACE_REPORT_SENT, on_sent, q));
    TRY(check_scan(q->c, SPACE_REPORT_SEEN, on_seen, q));
    q->at = reader_of(buf_str(&q->seen));
    q->next = read_sized(&q->at);
    TRY(check_scan(q->c, SPACE_REPORT_COUNT, on_count, q));
    TRY(check_scan(q->c, SPACE_REPORT_TAKEN, on_taken, q));
    q->at = reader_of(buf_str(&q->taken));
    q->next = STR_NONE;
    next_taken(q);
    TRY(check_scan(q->c, SPACE_REPORT_ROW, on_row, q));
    while (!str_empty(q->next))
        next_taken(q);
    return buf_ok(&q->seen) && buf_ok(&q->taken) ? ERR_OK : ERR_NOMEM;
}

enum err check_reports(struct check *c)
{
    struct report_check q = {
        .c = c, .seen = BUF_INIT(CHECK_BYTES_MAX), .taken = BUF_INIT(CHECK_BYTES_MAX)};
    enum err e = check_rows(&q);
    buf_free(&q.seen);
    buf_free(&q.taken);
    return e;
}
