/* SPDX-License-Identifier: Apache-2.0 */
#include "core/report_taken.h"

#include "base/log.h"
#include "base/num.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Ours, or below one of ours. */
static enum err is_ours(struct directory *d, str domain, bool *below) WAITS
{
    ARENA_AUTO struct arena a = ARENA_INIT(65536);
    struct domain dom;
    str first;
    for (str tail = domain; !str_empty(tail); str_cut(tail, '.', &first, &tail)) {
        enum err e = directory_domain_get(d, tail, &a, &dom);
        *below = tail.len < domain.len;
        if (e != ERR_NO_DOMAIN)
            return e == ERR_SYNTAX ? ERR_NO_DOMAIN : e;
    }
    return ERR_NO_DOMAIN;
}

/* Names below a domain are without number, and anybody may report about each: they share this. A
 * restart begins anew. */
static bool below_has_room(int64_t now_s)
{
    static _Atomic uint64_t taken; /* the day, and how many */
    uint64_t day = (uint64_t)(now_s / REPORT_DAY_S) << 32, before = atomic_load(&taken), next;
    do {
        next = before - (uint32_t)before == day ? before + 1 : day + 1;
        if ((uint32_t)next > REPORT_BELOW_DAY)
            return false;
    } while (!atomic_compare_exchange_weak(&taken, &before, next));
    return true;
}

static bool is_believable(const struct report_read_head *h, int64_t now_s)
{
    const struct report_taken *t = &h->taken;
    return t->begin_s >= now_s - REPORT_OLD_S && t->begin_s <= t->end_s &&
           t->end_s <= now_s + 2 * REPORT_DAY_S && !str_empty(t->report_id);
}

static bool count_row(void *arg, const struct store_row *row)
{
    (void)row;
    ++*(size_t *)arg;
    return true;
}

static enum err count_day(struct store *s, enum report_kind kind, str domain, uint32_t day,
                          size_t *n) WAITS
{
    uint8_t none[REPORT_ID] = {0};
    struct store_key from = report_key_taken(kind, domain, day, none);
    struct store_key to = report_key_taken(kind, domain, day + 1, none);
    struct store_scan q = {.partition = STORE_PARTITION_REPORTS,
                           .from = key_str(&from),
                           .to = key_str(&to),
                           .limit = STORE_PAGE_MAX,
                           .keys_only = true};
    *n = 0;
    return store_scan(s, &q, count_row, n, NULL);
}

/* ---- taking ---- */

struct taking {
    struct directory *directory;
    struct report_read_head head;
    uint32_t day;
    uint8_t id[REPORT_HASH];
    struct arena arena;
    struct store_op *ops;
    size_t nops;
};

static void find_id(struct taking *t)
{
    BUF_AUTO struct buf text = BUF_INIT(1024);
    buf_add_sized(&text, t->head.taken.organization);
    buf_add_sized(&text, t->head.taken.report_id);
    report_hash(buf_str(&text), t->id);
}

static enum err op(struct taking *t, struct store_key key, str value)
{
    struct store_op *o = &t->ops[t->nops++];
    *o = (struct store_op){.kind = STORE_PUT};
    return arena_dup(&t->arena, key_str(&key), &o->key) && arena_dup(&t->arena, value, &o->value)
               ? ERR_OK
               : ERR_NOMEM;
}

static enum err check_body(enum report_kind kind, str body)
{
    ARENA_AUTO struct arena a = ARENA_INIT(65536);
    struct dmarc_report_row dmarc;
    struct report_tls_note tls;
    return kind == REPORT_DMARC ? report_dmarc_take(body, &a, &dmarc)
                                : report_tls_take(body, &a, &tls);
}

static enum err take_rows(struct taking *t, struct reader *rows)
{
    struct report_read_row row;
    uint32_t n = 0;
    for (; !str_empty(rows->rest); n++) {
        BUF_AUTO struct buf value = BUF_INIT(STORE_VALUE_MAX);
        if (n == REPORT_ROWS_MAX)
            return ERR_CORRUPT;
        TRY(report_read_row_take(rows, &row));
        TRY(check_body(t->head.kind, row.body));
        report_body_encode(SPACE_REPORT_ROW, row.count, row.body, &value);
        TRY(op(t, report_key_row(t->head.kind, t->head.domain, t->day, t->id, n), buf_str(&value)));
    }
    return n == t->head.taken.rows ? ERR_OK : ERR_CORRUPT;
}

static enum err commit(struct taking *t) WAITS
{
    struct store_key key = report_key_taken(t->head.kind, t->head.domain, t->day, t->id);
    BUF_AUTO struct buf value = BUF_INIT(STORE_VALUE_MAX);
    report_taken_encode(&t->head.taken, &value);
    if (!buf_ok(&value))
        return ERR_CORRUPT;
    TRY(op(t, key, buf_str(&value)));
    struct store_expect absent = {STORE_EXPECT_ABSENT, key_str(&key), STR_NONE};
    struct store_commit c = {.partition = STORE_PARTITION_REPORTS,
                             .expect_version = STORE_ANY_VERSION,
                             .expects = &absent,
                             .nexpects = 1,
                             .ops = t->ops,
                             .nops = t->nops};
    struct store_result r;
    return store_commit(t->directory->store, &c, &r);
}

static void say(const struct taking *t, const char *what)
{
    LOG_INFO("report", "%s kind=%s domain=%.*s organization=%.*s id=%.*s author=%.*s verified=%s",
             what, report_kind_name(t->head.kind), STR_ARG(t->head.domain),
             STR_ARG(t->head.taken.organization), STR_ARG(t->head.taken.report_id),
             STR_ARG(t->head.taken.author), t->head.taken.verified ? "yes" : "no");
}

static enum err take_one(struct taking *t, struct reader *rows, int64_t now_s, size_t *taken) WAITS
{
    size_t there;
    struct report_key back;
    bool below = false;
    find_id(t);
    t->day = (uint32_t)(t->head.taken.begin_s / REPORT_DAY_S);
    t->ops = ARENA_ARRAY(&t->arena, struct store_op, REPORT_ROWS_MAX + 1);
    if (!t->ops)
        return ERR_NOMEM;
    TRY(take_rows(t, rows));
    enum err e = is_ours(t->directory, t->head.domain, &below);
    if (e == ERR_NO_DOMAIN || !is_believable(&t->head, now_s)) {
        say(t, e != ERR_OK ? "not about us" : "not believed");
        return ERR_OK;
    }
    TRY(e);
    struct store_key key = report_key_taken(t->head.kind, t->head.domain, t->day, t->id);
    if (!report_key_of(key_str(&key), &back))
        return ERR_CORRUPT;
    TRY(count_day(t->directory->store, t->head.kind, t->head.domain, t->day, &there));
    if (there >= (t->head.taken.verified ? REPORT_TAKEN_DAY : REPORT_UNVERIFIED_DAY) ||
        (below && !below_has_room(now_s))) {
        say(t, "too many a day, not kept");
        return ERR_OK;
    }
    e = commit(t);
    say(t, e == ERR_OK ? "taken" : e == ERR_CONFLICT ? "known already" : "not kept");
    *taken += e == ERR_OK;
    return e == ERR_CONFLICT ? ERR_OK : e;
}

enum err report_take(struct directory *d, str read, int64_t now_s, size_t *taken)
{
    struct reader r = reader_of(read);
    struct reader rows;
    *taken = 0;
    while (!str_empty(r.rest)) {
        struct taking t = {.directory = d, .arena = ARENA_INIT(4 * REPORT_READ_MAX)};
        enum err e = report_read_take(&r, &t.head, &rows);
        if (e == ERR_OK && !report_domain_valid(t.head.domain))
            e = ERR_CORRUPT;
        if (e == ERR_OK)
            e = take_one(&t, &rows, now_s, taken);
        arena_free(&t.arena);
        TRY(e);
    }
    return ERR_OK;
}

/* ---- reading ---- */

struct listing {
    int64_t from_s;
    report_taken_fn *taken;
    report_row_fn *row;
    void *arg;
};

static bool on_taken(void *arg, const struct store_row *row)
{
    struct listing *l = arg;
    struct report_key k;
    struct report_taken t;
    if (!report_key_of(row->key, &k) || report_taken_decode(row->value, &t) != ERR_OK ||
        t.end_s < l->from_s)
        return true; /* `check` names what cannot be read */
    return l->taken(l->arg, &k, &t);
}

static bool on_row(void *arg, const struct store_row *row)
{
    struct listing *l = arg;
    struct report_key k;
    uint64_t count;
    str body;
    if (!report_key_of(row->key, &k) ||
        report_body_decode(SPACE_REPORT_ROW, row->value, &count, &body) != ERR_OK)
        return true;
    return l->row(l->arg, &k, count, body);
}

static enum err list(struct store *s, struct store_key from, struct store_key to, store_row_fn *fn,
                     struct listing *l) WAITS
{
    struct store_scan q = {
        .partition = STORE_PARTITION_REPORTS, .from = key_str(&from), .to = key_str(&to)};
    return store_scan_all(s, &q, fn, l);
}

/* The key behind all of a domain. */
static struct store_key domain_end(struct store_key k)
{
    k.bytes[k.len - 1] = 1; /* the zero behind the name */
    return k;
}

enum err report_taken_list(struct store *s, enum report_kind kind, str domain, int64_t from_s,
                           report_taken_fn *fn, void *arg)
{
    struct listing l = {.from_s = from_s, .taken = fn, .arg = arg};
    struct store_key from = report_key_domain(SPACE_REPORT_TAKEN, kind, domain);
    return list(s, from, domain_end(from), on_taken, &l);
}

enum err report_rows_list(struct store *s, enum report_kind kind, str domain, uint32_t from_day,
                          report_row_fn *fn, void *arg)
{
    struct listing l = {.row = fn, .arg = arg};
    uint8_t none[REPORT_ID] = {0};
    struct store_key from = report_key_row(kind, domain, from_day, none, 0);
    struct store_key end = domain_end(report_key_domain(SPACE_REPORT_ROW, kind, domain));
    return list(s, from, end, on_row, &l);
}

/* ---- pruning ---- */

#define PRUNE_BATCH 500

struct pruning {
    struct arena arena;
    struct store_op ops[2 * PRUNE_BATCH];
    size_t nops, n;
    uint32_t before;
    bool failed;
};

static void prune_range(struct pruning *p, enum store_op_kind kind, struct store_key from,
                        struct store_key to)
{
    struct store_op *o = &p->ops[p->nops++];
    *o = (struct store_op){.kind = kind};
    p->failed |= !arena_dup(&p->arena, key_str(&from), &o->key) ||
                 (kind == STORE_DELETE_RANGE && !arena_dup(&p->arena, key_str(&to), &o->value));
}

static bool prune_row(void *arg, const struct store_row *row)
{
    struct pruning *p = arg;
    struct report_key k;
    uint8_t id[REPORT_ID];
    p->n++;
    if (!report_key_of(row->key, &k) || k.day >= p->before)
        return true;
    memcpy(id, k.hash.data, sizeof id);
    struct store_key key = report_key_taken(k.kind, k.domain, k.day, id);
    prune_range(p, STORE_DELETE, key, key);
    prune_range(p, STORE_DELETE_RANGE, report_key_row(k.kind, k.domain, k.day, id, 0),
                report_key_row(k.kind, k.domain, k.day, id, UINT32_MAX));
    return p->nops + 2 <= ARRAY_LEN(p->ops);
}

static enum err prune_commit(struct store *s, struct pruning *p) WAITS
{
    struct store_commit c = {.partition = STORE_PARTITION_REPORTS,
                             .expect_version = STORE_ANY_VERSION,
                             .ops = p->ops,
                             .nops = p->nops};
    struct store_result r;
    if (p->failed)
        return ERR_NOMEM;
    return p->nops ? store_commit(s, &c, &r) : ERR_OK;
}

static enum err prune_taken(struct store *s, struct pruning *p) WAITS
{
    struct store_key from = key_space(SPACE_REPORT_TAKEN), last = {0};
    struct store_key to = key_space_end(SPACE_REPORT_TAKEN);
    bool full;
    do {
        struct store_scan q = {.partition = STORE_PARTITION_REPORTS,
                               .from = key_str(&from),
                               .to = key_str(&to),
                               .limit = STORE_PAGE_MAX,
                               .keys_only = true};
        p->n = p->nops = 0;
        TRY(store_scan(s, &q, prune_row, p, &last));
        full = p->nops + 2 > ARRAY_LEN(p->ops) || p->n == STORE_PAGE_MAX;
        TRY(prune_commit(s, p));
        arena_reset(&p->arena);
        from = last;
        store_key_next(&from);
    } while (full);
    return ERR_OK;
}

static enum err prune(struct store *s, struct pruning *p) WAITS
{
    TRY(prune_taken(s, p));
    p->nops = 0;
    for (unsigned k = REPORT_DMARC; k <= REPORT_TLS; k++)
        prune_range(p, STORE_DELETE_RANGE, report_key_days(SPACE_REPORT_SENT, k, 0),
                    report_key_days(SPACE_REPORT_SENT, k, p->before));
    return prune_commit(s, p);
}

enum err report_prune(struct store *s, int64_t now_s, uint64_t keep_s)
{
    /* tidy: allow alloc because it is too large for the stack of a fiber */
    struct pruning *p = calloc(1, sizeof *p);
    if (!p)
        return ERR_NOMEM;
    arena_init(&p->arena, 4 << 20);
    int64_t before = (now_s - (int64_t)MIN(keep_s, (uint64_t)now_s)) / REPORT_DAY_S;
    p->before = (uint32_t)MAX(before, (int64_t)0);
    enum err e = prune(s, p);
    arena_free(&p->arena);
    free(p); /* tidy: allow alloc because it was made here */
    return e;
}
