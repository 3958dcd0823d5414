/* SPDX-License-Identifier: Apache-2.0
 *
 * From the rows of a day to the report: read, render, pack.
 */
#include "core/report_send_private.h"

#include "base/num.h"
#include "format/unpack.h"

#include <string.h>

#define ROWS_MAX 5000 /* of a domain and day; more than are collected (core/report_collect.h) */

/* ---- reading ---- */

struct row_walk {
    struct report_sending *g;
    struct store_key *keys; /* of the COUNT rows */
    bool failed;
};

static bool on_seen(void *arg, const struct store_row *row)
{
    struct row_walk *w = arg;
    struct report_sending *g = w->g;
    struct report_key k;
    uint64_t none;
    str body;
    if (g->nrows == ROWS_MAX || !report_key_of(row->key, &k) ||
        report_body_decode(SPACE_REPORT_SEEN, row->value, &none, &body) != ERR_OK)
        return true;
    w->failed |= !arena_dup(&g->arena, body, &g->rows[g->nrows].body);
    w->keys[g->nrows++] =
        report_key_seen(SPACE_REPORT_COUNT, k.kind, k.day, k.domain, (const uint8_t *)k.hash.data);
    return true;
}

static enum err count_of(struct report_sending *g, const struct store_key *key, uint64_t *n) WAITS
{
    BUF_AUTO struct buf value = BUF_INIT(64);
    enum err e = store_get(g->store, STORE_PARTITION_REPORTS, key_str(key), &value);
    struct reader r = reader_of(buf_str(&value));
    *n = 0;
    if (e != ERR_OK)
        return e == ERR_NOT_FOUND ? ERR_OK : e;
    *n = read_be64(&r);
    return r.failed ? ERR_CORRUPT : ERR_OK;
}

static enum err read_policy(struct report_sending *g) WAITS
{
    BUF_AUTO struct buf value = BUF_INIT(STORE_VALUE_MAX);
    struct store_key key = report_key_day(SPACE_REPORT_DAY, g->key.kind, g->key.day, g->key.domain);
    uint64_t none;
    str head;
    TRY(store_get(g->store, STORE_PARTITION_REPORTS, key_str(&key), &value));
    TRY(report_body_decode(SPACE_REPORT_DAY, buf_str(&value), &none, &head));
    return arena_dup(&g->arena, head, &g->policy) ? ERR_OK : ERR_NOMEM;
}

enum err report_build_read(struct report_sending *g)
{
    struct row_walk w = {.g = g};
    uint8_t zero[REPORT_HASH] = {0};
    struct store_key from =
        report_key_seen(SPACE_REPORT_SEEN, g->key.kind, g->key.day, g->key.domain, zero);
    struct store_key to =
        report_key_seen(SPACE_REPORT_SEEN, g->key.kind, g->key.day, g->key.domain, report_overflow);
    g->nrows = 0;
    g->rows = ARENA_ARRAY(&g->arena, struct report_counted, ROWS_MAX);
    w.keys = ARENA_ARRAY(&g->arena, struct store_key, ROWS_MAX);
    if (!g->rows || !w.keys)
        return ERR_NOMEM;
    TRY(read_policy(g));
    struct store_scan q = {
        .partition = STORE_PARTITION_REPORTS, .from = key_str(&from), .to = key_str(&to)};
    TRY(store_scan_all(g->store, &q, on_seen, &w));
    for (size_t i = 0; i < g->nrows && !w.failed; i++)
        TRY(count_of(g, &w.keys[i], &g->rows[i].count));
    struct store_key over = report_key_seen(SPACE_REPORT_COUNT, g->key.kind, g->key.day,
                                            g->key.domain, report_overflow);
    TRY(count_of(g, &over, &g->overflow));
    return w.failed ? ERR_NOMEM : g->nrows ? ERR_OK : ERR_NOT_FOUND;
}

/* ---- DMARC ---- */

static str organization(const struct report_sending *g)
{
    str name = g->s->set.organization;
    return str_empty(name) ? g->from_domain : name;
}

static str contact(const struct report_sending *g)
{
    return str_empty(g->s->set.contact) ? g->from : g->s->set.contact;
}

static enum err build_dmarc(struct report_sending *g, struct buf *out)
{
    struct dmarc_report_head h = {.org_name = organization(g),
                                  .email = g->from,
                                  .contact = g->s->set.contact,
                                  .report_id = g->id,
                                  .generator = STR("Posthouse"),
                                  .begin_s = report_begin_s(g),
                                  .end_s = report_end_s(g),
                                  .domain = g->key.domain};
    TRY(report_policy_take(g->policy, &h.policy));
    if (g->overflow > 0)
        h.error = arena_fmt(&g->arena, "%llu messages are not in this report: too many sources",
                            (unsigned long long)g->overflow);
    dmarc_report_open(out, &h);
    for (size_t i = 0; i < g->nrows; i++) {
        struct dmarc_report_row row;
        ARENA_AUTO struct arena a = ARENA_INIT(4096);
        TRY(report_dmarc_take(g->rows[i].body, &a, &row));
        row.count = g->rows[i].count;
        if (row.count > 0)
            dmarc_report_add(out, &row);
    }
    dmarc_report_end(out);
    return ERR_OK;
}

/* ---- TLS ---- */

struct tls_group {
    struct report_tls_note note;
    struct tls_report_policy policy;
    struct tls_report_failure *failures;
};

static bool same_list(const str *a, size_t na, const str *b, size_t nb)
{
    for (size_t i = 0; i < na && na == nb; i++)
        if (!str_eq(a[i], b[i]))
            return false;
    return na == nb;
}

static struct tls_group *group_of(struct report_sending *g, struct tls_group *groups, size_t *n,
                                  const struct report_tls_note *note)
{
    for (size_t i = 0; i < *n; i++) {
        const struct report_tls_note *o = &groups[i].note;
        if (str_eq(o->policy_type, note->policy_type) &&
            same_list(o->strings, o->nstrings, note->strings, note->nstrings) &&
            same_list(o->mx, o->nmx, note->mx, note->nmx))
            return &groups[i];
    }
    if (*n == TLS_REPORT_POLICIES_MAX)
        return NULL;
    struct tls_group *new = &groups[*n];
    new->failures = ARENA_ARRAY(&g->arena, struct tls_report_failure, TLS_REPORT_FAILURES_MAX);
    if (!new->failures)
        return NULL;
    ++*n;
    new->note = *note;
    new->policy = (struct tls_report_policy){.type = note->policy_type,
                                             .strings = note->strings,
                                             .nstrings = note->nstrings,
                                             .domain = g->key.domain,
                                             .mx = note->mx,
                                             .nmx = note->nmx,
                                             .failures = new->failures};
    return new;
}

static enum err collect_tls(struct report_sending *g, struct tls_group *groups, size_t *n)
{
    for (size_t i = 0; i < g->nrows; i++) {
        struct report_tls_note note;
        TRY(report_tls_take(g->rows[i].body, &g->arena, &note));
        struct tls_group *t = group_of(g, groups, n, &note);
        uint64_t count = g->rows[i].count;
        if (!t || count == 0)
            continue;
        if (str_empty(note.failure.type)) {
            t->policy.successful += count;
            continue;
        }
        t->policy.failed += count;
        if (t->policy.nfailures == TLS_REPORT_FAILURES_MAX)
            continue;
        t->failures[t->policy.nfailures] = note.failure;
        t->failures[t->policy.nfailures++].count = count;
    }
    return *n ? ERR_OK : ERR_NOT_FOUND;
}

static enum err build_tls(struct report_sending *g, struct buf *out)
{
    size_t n = 0;
    struct tls_group *groups = ARENA_ARRAY(&g->arena, struct tls_group, TLS_REPORT_POLICIES_MAX);
    struct tls_report_policy *policies =
        ARENA_ARRAY(&g->arena, struct tls_report_policy, TLS_REPORT_POLICIES_MAX);
    if (!groups || !policies)
        return ERR_NOMEM;
    TRY(collect_tls(g, groups, &n));
    for (size_t i = 0; i < n; i++)
        policies[i] = groups[i].policy;
    struct tls_report t = {.organization = organization(g),
                           .contact = contact(g),
                           .report_id = g->id,
                           .begin_s = report_begin_s(g),
                           .end_s = report_end_s(g),
                           .policies = policies,
                           .npolicies = n};
    return tls_report_render(out, &t);
}

enum err report_build(struct report_sending *g)
{
    BUF_AUTO struct buf text = BUF_INIT(REPORT_TEXT_BYTES);
    TRY(g->key.kind == REPORT_TLS ? build_tls(g, &text) : build_dmarc(g, &text));
    if (!buf_ok(&text))
        return ERR_LIMIT;
    buf_reset(&g->packed);
    return gzip_pack(buf_str(&text), &g->packed);
}

/* ---- about a domain of ours ---- */

static enum err has_passed(struct report_sending *g, str body, bool *passed)
{
    struct dmarc_report_row row;
    struct report_tls_note note;
    ARENA_AUTO struct arena a = ARENA_INIT(65536);
    if (g->key.kind == REPORT_TLS) {
        TRY(report_tls_take(body, &a, &note));
        *passed = str_empty(note.failure.type);
        return ERR_OK;
    }
    TRY(report_dmarc_take(body, &a, &row));
    *passed = row.dkim_aligned || row.spf_aligned;
    return ERR_OK;
}

enum err report_build_taken(struct report_sending *g, struct buf *out)
{
    BUF_AUTO struct buf rows = BUF_INIT(4 * REPORT_READ_MAX);
    struct report_read_head h = {.kind = g->key.kind,
                                 .domain = g->key.domain,
                                 .taken = {.verified = true,
                                           .begin_s = report_begin_s(g),
                                           .end_s = report_end_s(g),
                                           .received_s = g->now_s,
                                           .organization = organization(g),
                                           .email = g->from,
                                           .report_id = g->id,
                                           .author = g->from_domain,
                                           .policy = g->policy,
                                           .count = g->overflow,
                                           .left_out = g->overflow}};
    for (size_t i = 0; i < g->nrows; i++) {
        bool passed = false;
        TRY(has_passed(g, g->rows[i].body, &passed));
        h.taken.count += g->rows[i].count;
        h.taken.passed += passed ? g->rows[i].count : 0;
        if (h.taken.rows == REPORT_ROWS_MAX) {
            h.taken.left_out += g->rows[i].count;
            continue;
        }
        report_read_row_put(g->rows[i].count, g->rows[i].body, &rows);
        h.taken.rows++;
    }
    report_read_put(&h, buf_str(&rows), out);
    return buf_ok(out) && buf_ok(&rows) ? ERR_OK : ERR_LIMIT;
}
