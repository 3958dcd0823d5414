/* SPDX-License-Identifier: Apache-2.0
 *
 * Two halves: what is pending, behind a lock and open to all threads; and what the day's rows are,
 * which only the flushing fiber knows. The key of a pending note is that of its rows.
 * tidy: allow system because threads of the house share one list of notes
 */
#include "core/report_collect.h"

#include "base/log.h"
#include "base/map.h"
#include "base/num.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 400 /* notes of one commit; three operations each */

struct pending {
    struct report_note note; /* in the batch's arena */
    uint32_t day;
    uint8_t hash[REPORT_HASH];
    uint64_t count;
};
struct batch {
    struct map notes; /* by row key */
    struct arena arena;
    uint64_t lost;
};
/* A domain as the day has it. */
struct domain_day {
    size_t rows;
    uint64_t head; /* hash of what the store has; 0: nothing */
};
struct report_collector {
    struct store *store;
    pthread_mutex_t lock;
    struct batch pending; /* under the lock */
    /* of the flushing fiber */
    bool flushing, loaded;
    uint32_t day;
    size_t rows;
    struct map known;   /* hashes of row keys */
    struct map domains; /* kind and name: struct domain_day */
    struct arena days;
};

static void batch_init(struct batch *b)
{
    map_init(&b->notes, REPORT_PENDING_MAX);
    arena_init(&b->arena, REPORT_PENDING_BYTES);
    b->lost = 0;
}

static void batch_free(struct batch *b)
{
    map_free(&b->notes);
    arena_free(&b->arena);
}

enum err report_collector_open(struct store *s, struct report_collector **out)
{
    /* tidy: allow alloc because it lives as long as the process */
    struct report_collector *c = calloc(1, sizeof *c);
    if (!c)
        return ERR_NOMEM;
    c->store = s;
    pthread_mutex_init(&c->lock, NULL);
    batch_init(&c->pending);
    map_init(&c->known, REPORT_ROWS_DAY);
    map_init(&c->domains, REPORT_DOMAINS_DAY);
    arena_init(&c->days, (size_t)REPORT_DOMAINS_DAY * 64);
    *out = c;
    return ERR_OK;
}

void report_collector_close(struct report_collector *c)
{
    if (!c)
        return;
    batch_free(&c->pending);
    map_free(&c->known);
    map_free(&c->domains);
    arena_free(&c->days);
    pthread_mutex_destroy(&c->lock);
    free(c); /* tidy: allow alloc because report_collector_open made it */
}

/* ---- taking ---- */

static bool keep(struct batch *b, str key, const struct pending *p)
{
    struct pending *kept = ARENA_NEW(&b->arena, struct pending);
    if (!kept)
        return false;
    *kept = *p;
    return arena_dup(&b->arena, p->note.domain, &kept->note.domain) &&
           arena_dup(&b->arena, p->note.head, &kept->note.head) &&
           arena_dup(&b->arena, p->note.body, &kept->note.body) &&
           map_put(&b->notes, key, kept, NULL) == ERR_OK;
}

static void add(struct report_collector *c, const struct pending *p)
{
    struct store_key key =
        report_key_seen(SPACE_REPORT_SEEN, p->note.kind, p->day, p->note.domain, p->hash);
    pthread_mutex_lock(&c->lock);
    struct batch *b = &c->pending;
    struct pending *there = map_get(&b->notes, key_str(&key));
    if (there) {
        there->count += p->count;
        /* The policy that was seen last is the one that is told (RFC 9990, "Changes in Policy"). */
        if (!str_eq(there->note.head, p->note.head) &&
            !arena_dup(&b->arena, p->note.head, &there->note.head))
            b->lost++;
    } else if (!keep(b, key_str(&key), p)) {
        b->lost += p->count;
    }
    pthread_mutex_unlock(&c->lock);
}

void report_collect(struct report_collector *c, const struct report_note *n, int64_t now_s)
{
    if (n->domain.len > REPORT_DOMAIN_MAX || str_empty(n->domain) || now_s < 0)
        return;
    struct pending p = {.note = *n, .day = (uint32_t)(now_s / REPORT_DAY_S), .count = 1};
    report_hash(n->body, p.hash);
    add(c, &p);
}

/* ---- what the day has ---- */

static str domain_key(char *room, enum report_kind kind, str domain)
{
    room[0] = (char)kind;
    memcpy(room + 1, domain.data, domain.len);
    return str_of(room, domain.len + 1);
}

static struct domain_day *domain_of(struct report_collector *c, enum report_kind kind, str domain)
{
    char room[REPORT_DOMAIN_MAX + 1];
    str key = domain_key(room, kind, domain);
    struct domain_day *d = map_get(&c->domains, key);
    if (d || c->domains.count >= REPORT_DOMAINS_DAY)
        return d;
    d = ARENA_NEW(&c->days, struct domain_day);
    return d && map_put(&c->domains, key, d, NULL) == ERR_OK ? d : NULL;
}

static bool on_row(void *arg, const struct store_row *row)
{
    struct report_collector *c = arg;
    struct report_key k;
    if (!report_key_of(row->key, &k))
        return true;
    struct domain_day *d = domain_of(c, k.kind, k.domain);
    if (d && map_put_u64(&c->known, str_hash(row->key), c, NULL) == ERR_OK) {
        d->rows++;
        c->rows++;
    }
    return true;
}

static enum err load_kind(struct report_collector *c, enum report_kind kind, uint32_t day) WAITS
{
    struct store_key from = report_key_days(SPACE_REPORT_SEEN, kind, day);
    struct store_key to = report_key_days(SPACE_REPORT_SEEN, kind, day + 1);
    struct store_scan q = {.partition = STORE_PARTITION_REPORTS,
                           .from = key_str(&from),
                           .to = key_str(&to),
                           .keys_only = true};
    return store_scan_all(c->store, &q, on_row, c);
}

static enum err load(struct report_collector *c, uint32_t day) WAITS
{
    if (c->loaded && c->day == day)
        return ERR_OK;
    c->loaded = false;
    map_free(&c->known);
    map_free(&c->domains);
    arena_reset(&c->days);
    map_init(&c->known, REPORT_ROWS_DAY);
    map_init(&c->domains, REPORT_DOMAINS_DAY);
    c->rows = 0;
    TRY(load_kind(c, REPORT_DMARC, day));
    TRY(load_kind(c, REPORT_TLS, day));
    c->day = day;
    c->loaded = true;
    return ERR_OK;
}

/* ---- writing ---- */

struct writing {
    struct report_collector *c;
    struct arena arena;
    struct store_op ops[3 * BATCH];
    size_t nops;
    struct pending *notes[BATCH];
    size_t n;
    bool failed;
};

static void op(struct writing *w, enum store_op_kind kind, struct store_key key, str value,
               int64_t delta)
{
    struct store_op *o = &w->ops[w->nops++];
    *o = (struct store_op){.kind = kind, .delta = delta};
    w->failed |=
        !arena_dup(&w->arena, key_str(&key), &o->key) || !arena_dup(&w->arena, value, &o->value);
}

static void put_head(struct writing *w, struct domain_day *d, const struct pending *p)
{
    uint64_t head = str_hash_stable(p->note.head) | 1;
    BUF_AUTO struct buf value = BUF_INIT(REPORT_BODY_MAX);
    if (d->head == head)
        return;
    d->head = head;
    report_body_encode(SPACE_REPORT_DAY, 0, p->note.head, &value);
    w->failed |= !buf_ok(&value);
    op(w, STORE_PUT, report_key_day(SPACE_REPORT_DAY, p->note.kind, p->day, p->note.domain),
       buf_str(&value), 0);
}

/* Its own row, or the one of all that have no room. False: not even that. */
static bool put_note(struct writing *w, const struct pending *p)
{
    struct report_collector *c = w->c;
    struct domain_day *d = domain_of(c, p->note.kind, p->note.domain);
    struct store_key key =
        report_key_seen(SPACE_REPORT_SEEN, p->note.kind, p->day, p->note.domain, p->hash);
    uint64_t hash = str_hash(key_str(&key));
    const uint8_t *counted = p->hash;
    BUF_AUTO struct buf value = BUF_INIT(REPORT_BODY_MAX + 64);
    if (!d)
        return false;
    bool known = map_get_u64(&c->known, hash) != NULL;
    if (!known && (d->rows >= REPORT_ROWS_DOMAIN || c->rows >= REPORT_ROWS_DAY ||
                   map_put_u64(&c->known, hash, c, NULL) != ERR_OK)) {
        counted = report_overflow;
    } else if (!known) {
        d->rows++;
        c->rows++;
        report_body_encode(SPACE_REPORT_SEEN, 0, p->note.body, &value);
        w->failed |= !buf_ok(&value);
        op(w, STORE_PUT, key, buf_str(&value), 0);
    }
    put_head(w, d, p);
    op(w, STORE_ADD,
       report_key_seen(SPACE_REPORT_COUNT, p->note.kind, p->day, p->note.domain, counted), STR_NONE,
       (int64_t)p->count);
    return true;
}

static enum err commit(struct writing *w) WAITS
{
    struct store_commit commit = {.partition = STORE_PARTITION_REPORTS,
                                  .expect_version = STORE_ANY_VERSION,
                                  .ops = w->ops,
                                  .nops = w->nops};
    struct store_result result;
    if (w->failed)
        return ERR_NOMEM;
    return w->nops ? store_commit(w->c->store, &commit, &result) : ERR_OK;
}

/* Rows that may not be there are not known: they are looked for again. */
static void put_back(struct writing *w)
{
    w->c->loaded = false;
    for (size_t i = 0; i < w->n; i++)
        add(w->c, w->notes[i]);
}

/* Notes of one day, as many as a commit takes. */
static enum err write_some(struct report_collector *c, struct pending **all, size_t n,
                           uint64_t *lost) WAITS
{
    /* tidy: allow alloc because it is too large for the stack of a fiber */
    struct writing *w = calloc(1, sizeof *w);
    for (size_t i = 0; !w && i < n; i++)
        add(c, all[i]);
    if (!w)
        return ERR_NOMEM;
    w->c = c;
    arena_init(&w->arena, STORE_COMMIT_MAX);
    for (size_t i = 0; i < n; i++) {
        w->notes[w->n++] = all[i];
        if (!put_note(w, all[i]))
            *lost += all[i]->count;
    }
    enum err e = commit(w);
    if (e != ERR_OK && e != ERR_UNKNOWN) /* rather lost than counted twice */
        put_back(w);
    arena_free(&w->arena);
    free(w); /* tidy: allow alloc because it was made here */
    return e == ERR_UNKNOWN ? ERR_OK : e;
}

static enum err write_day(struct report_collector *c, struct batch *b, uint32_t day,
                          uint64_t *lost) WAITS
{
    struct pending *some[BATCH];
    size_t n = 0, bytes = 0, i = 0;
    enum err first = load(c, day);
    void *value;
    bool more = true;
    while (more) {
        more = map_next(&b->notes, &i, NULL, &value);
        struct pending *p = value;
        if (more && p->day != day)
            continue;
        if (n > 0 && (!more || n == BATCH || bytes > STORE_COMMIT_MAX / 2)) {
            enum err e = first == ERR_OK ? write_some(c, some, n, lost) : first;
            for (size_t k = 0; first != ERR_OK && k < n; k++)
                add(c, some[k]);
            first = first == ERR_OK ? e : first;
            n = bytes = 0;
        }
        if (more) {
            some[n++] = p;
            bytes += p->note.body.len + p->note.head.len + 3 * STORE_KEY_MAX;
        }
    }
    return first;
}

/* What is too late for its day's report. */
static uint64_t drop_late(struct batch *b, int64_t now_s)
{
    uint64_t lost = 0;
    str key;
    void *value;
    for (size_t i = 0; map_next(&b->notes, &i, &key, &value);) {
        struct pending *p = value;
        if (((int64_t)p->day + 1) * REPORT_DAY_S + REPORT_GRACE_S > now_s)
            continue;
        lost += p->count;
        (void)map_remove(&b->notes, key);
    }
    return lost;
}

static enum err flush(struct report_collector *c, int64_t now_s) WAITS
{
    struct batch b;
    uint32_t today = (uint32_t)(now_s / REPORT_DAY_S);
    pthread_mutex_lock(&c->lock);
    b = c->pending;
    batch_init(&c->pending);
    pthread_mutex_unlock(&c->lock);
    uint64_t lost = b.lost + drop_late(&b, now_s);
    enum err e = ERR_OK;
    bool yesterday = false;
    void *value;
    for (size_t i = 0; map_next(&b.notes, &i, NULL, &value);)
        yesterday |= ((struct pending *)value)->day < today;
    if (yesterday)
        e = write_day(c, &b, today - 1, &lost);
    if (b.notes.count > 0) {
        enum err second = write_day(c, &b, today, &lost);
        e = e == ERR_OK ? second : e;
    }
    if (lost > 0)
        LOG_WARN("report", "no room, or too late: notes lost=%llu", (unsigned long long)lost);
    batch_free(&b);
    return e;
}

enum err report_collector_flush(struct report_collector *c, int64_t now_s)
{
    if (c->flushing)
        return ERR_BUSY;
    c->flushing = true;
    enum err e = flush(c, now_s);
    c->flushing = false;
    return e;
}
