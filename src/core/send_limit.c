/* SPDX-License-Identifier: Apache-2.0
 *
 * The lock is held for moments only and never across a wait: rows are read before it, and written
 * from copies after it.
 * tidy: allow system because the counts are shared by threads
 */
#include "core/send_limit.h"

#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "base/num.h"
#include "core/schema.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define ROW_VERSION 1
#define ROW_MAX 1024
#define SLOTS_MAX 25
#define SAVE_MAX 200  /* accounts of one commit */
#define EVICT_LOOK 64 /* of the least lately used, for one that is written */
#define LOAD_TRIES 8

/* An hour is at most 12 whole slots and two parts of one; counting 13 covers it. A day likewise. */
static const struct {
    int64_t slot_s;
    unsigned slots;
} windows[2] = {{300, 13}, {3600, 25}};
#define WINDOWS ARRAY_LEN(windows)

struct counts {
    int64_t newest; /* number of the newest slot: seconds / slot_s */
    uint32_t messages[SLOTS_MAX], recipients[SLOTS_MAX]; /* by number modulo slots */
};
struct usage {
    struct counts counts[WINDOWS];
    struct send_override own;
};
struct entry {
    struct list link; /* in the order of use */
    uint64_t account;
    struct usage usage;
    bool dirty, saving;
};
struct send_limits {
    pthread_mutex_t lock;
    struct store *store;
    struct send_policy policy;
    struct map entries;
    struct list order; /* least lately used first */
    uint64_t evicted;
};

/* ---- windows ---- */

static unsigned window_of(enum send_limit which)
{
    return which == SEND_MESSAGES_DAY || which == SEND_RECIPIENTS_DAY;
}
static const uint32_t *values_of(const struct usage *u, enum send_limit which)
{
    const struct counts *c = &u->counts[window_of(which)];
    return which >= SEND_RECIPIENTS_HOUR ? c->recipients : c->messages;
}

/* Slots that have become too old are empty again. A clock that was set back a little counts into
 * the newest slot; one that was far ahead begins anew. */
static void advance(struct counts *c, unsigned w, int64_t now_s)
{
    int64_t slots = windows[w].slots, now = now_s / windows[w].slot_s;
    int64_t steps = now - c->newest;
    if (steps <= 0 && steps > -slots)
        return;
    if (steps >= slots || steps <= -slots)
        memset(c, 0, sizeof(*c));
    for (int64_t i = 1; i <= steps && steps < slots; i++) {
        int64_t at = (c->newest + i) % slots;
        c->messages[at] = c->recipients[at] = 0;
    }
    c->newest = now;
}

static void advance_all(struct usage *u, int64_t now_s)
{
    for (unsigned w = 0; w < WINDOWS; w++)
        advance(&u->counts[w], w, now_s);
}

static uint64_t sum(const struct usage *u, enum send_limit which)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < windows[window_of(which)].slots; i++)
        n += values_of(u, which)[i];
    return n;
}

/* When enough of the oldest slots have gone for `room` more. */
static uint64_t wait_for(const struct usage *u, enum send_limit which, uint64_t excess,
                         int64_t now_s)
{
    unsigned w = window_of(which);
    int64_t slots = windows[w].slots, newest = u->counts[w].newest;
    uint64_t gone = 0;
    for (int64_t n = newest - slots + 1; n <= newest; n++) {
        gone += n < 0 ? 0 : values_of(u, which)[n % slots];
        if (gone >= excess)
            return (uint64_t)MAX((n + slots) * windows[w].slot_s - now_s, 1);
    }
    return (uint64_t)(slots * windows[w].slot_s);
}

static uint32_t limit_of(const struct send_policy *p, const struct send_override *o,
                         enum send_limit which)
{
    return o->set[which] ? o->max[which] : p->max[which];
}

static bool fits(const struct send_policy *p, const struct usage *u, uint32_t recipients,
                 int64_t now_s, struct send_refusal *why)
{
    *why = (struct send_refusal){0};
    bool ok = true;
    for (unsigned i = 0; i < SEND_LIMITS; i++) {
        enum send_limit which = (enum send_limit)i;
        uint32_t max = limit_of(p, &u->own, which);
        uint64_t cost = which >= SEND_RECIPIENTS_HOUR ? recipients : 1;
        uint64_t wanted = sum(u, which) + cost;
        if (max == 0 || wanted <= max)
            continue;
        uint64_t wait = cost > max ? 0 : wait_for(u, which, wanted - max, now_s);
        if (ok || wait == 0 || (why->wait_s != 0 && wait > why->wait_s))
            *why = (struct send_refusal){which, max, wait};
        ok = false;
    }
    return ok;
}

static void count(struct usage *u, uint32_t recipients)
{
    for (unsigned w = 0; w < WINDOWS; w++) {
        struct counts *c = &u->counts[w];
        size_t at = (size_t)(c->newest % windows[w].slots);
        c->messages[at]++;
        c->recipients[at] += recipients;
    }
}

static void uncount(struct usage *u, uint32_t recipients, int64_t taken_s)
{
    for (unsigned w = 0; w < WINDOWS; w++) {
        struct counts *c = &u->counts[w];
        int64_t n = taken_s / windows[w].slot_s;
        if (n > c->newest || n <= c->newest - (int64_t)windows[w].slots)
            continue;
        size_t at = (size_t)(n % windows[w].slots);
        c->messages[at] -= MIN(c->messages[at], 1u);
        c->recipients[at] -= MIN(c->recipients[at], recipients);
    }
}

/* ---- rows ---- */

static struct store_key row_key(enum space space, uint64_t account)
{
    struct store_key k = {.bytes = {(uint8_t)space}, .len = 9};
    for (int i = 0; i < 8; i++)
        k.bytes[1 + i] = (uint8_t)(account >> (56 - 8 * i));
    return k;
}

static void used_encode(const struct usage *u, struct buf *out)
{
    buf_add_char(out, SPACE_SEND_USED);
    buf_add_char(out, ROW_VERSION);
    for (unsigned w = 0; w < WINDOWS; w++) {
        buf_add_be64(out, (uint64_t)u->counts[w].newest);
        for (unsigned i = 0; i < windows[w].slots; i++) {
            buf_add_varint(out, u->counts[w].messages[i]);
            buf_add_varint(out, u->counts[w].recipients[i]);
        }
    }
}

static enum err used_decode(str value, struct usage *out)
{
    struct reader r = reader_of(value);
    bool known = read_u8(&r) == SPACE_SEND_USED;
    known &= read_u8(&r) == ROW_VERSION;
    for (unsigned w = 0; w < WINDOWS && known; w++) {
        out->counts[w].newest = (int64_t)(read_be64(&r) & INT64_MAX);
        for (unsigned i = 0; i < windows[w].slots; i++) {
            out->counts[w].messages[i] = (uint32_t)read_varint(&r);
            out->counts[w].recipients[i] = (uint32_t)read_varint(&r);
        }
    }
    return known && !r.failed && str_empty(r.rest) ? ERR_OK : ERR_CORRUPT;
}

static void own_encode(const struct send_override *o, struct buf *out)
{
    buf_add_char(out, SPACE_SEND_LIMIT);
    buf_add_char(out, ROW_VERSION);
    for (unsigned i = 0; i < SEND_LIMITS; i++) {
        buf_add_char(out, o->set[i]);
        buf_add_be32(out, o->set[i] ? o->max[i] : 0);
    }
}

static enum err own_decode(str value, struct send_override *out)
{
    struct reader r = reader_of(value);
    bool known = read_u8(&r) == SPACE_SEND_LIMIT;
    known &= read_u8(&r) == ROW_VERSION;
    for (unsigned i = 0; i < SEND_LIMITS && known; i++) {
        out->set[i] = read_u8(&r) == 1;
        out->max[i] = read_be32(&r);
    }
    return known && !r.failed && str_empty(r.rest) ? ERR_OK : ERR_CORRUPT;
}

enum err send_rows_check(str key, str value, uint64_t *account)
{
    struct usage u = {0};
    if (key.len != 9 || !key_u64(key, 1, account))
        return ERR_CORRUPT;
    return (uint8_t)key.data[0] == SPACE_SEND_USED ? used_decode(value, &u)
                                                   : own_decode(value, &u.own);
}

/* Nothing is nothing sent and no limits of its own. What cannot be read is as good as that: an
 * account does not stop sending for it, and check names it. */
static enum err load(struct store *s, uint64_t account, struct usage *out) WAITS
{
    BUF_AUTO struct buf used = BUF_INIT(STORE_VALUE_MAX), own = BUF_INIT(STORE_VALUE_MAX);
    struct store_key a = row_key(SPACE_SEND_USED, account);
    struct store_key b = row_key(SPACE_SEND_LIMIT, account);
    *out = (struct usage){0};
    enum err e = store_get(s, STORE_PARTITION_SENDING, key_str(&a), &used);
    if (e != ERR_OK && e != ERR_NOT_FOUND)
        return e;
    enum err f = store_get(s, STORE_PARTITION_SENDING, key_str(&b), &own);
    if (f != ERR_OK && f != ERR_NOT_FOUND)
        return f;
    bool bad = (e == ERR_OK && used_decode(buf_str(&used), out) != ERR_OK) ||
               (f == ERR_OK && own_decode(buf_str(&own), &out->own) != ERR_OK);
    if (!bad)
        return ERR_OK;
    *out = (struct usage){0};
    LOG_ERROR("send", "rows not readable account=%llu", (unsigned long long)account);
    return ERR_OK;
}

static enum err commit(struct store *s, const struct store_op *ops, size_t n) WAITS
{
    struct store_commit c = {.partition = STORE_PARTITION_SENDING,
                             .expect_version = STORE_ANY_VERSION,
                             .ops = ops,
                             .nops = n};
    struct store_result r;
    return store_commit(s, &c, &r);
}

/* ---- the table ---- */

enum err send_limits_open(struct store *s, const struct send_policy *p, struct send_limits **out)
{
    /* tidy: allow alloc because it lives as long as the process that counts */
    struct send_limits *l = calloc(1, sizeof(*l));
    if (!l)
        return ERR_NOMEM;
    pthread_mutex_init(&l->lock, NULL);
    l->store = s;
    l->policy = *p;
    map_init(&l->entries, SEND_ACCOUNTS_MAX);
    list_init(&l->order);
    *out = l;
    return ERR_OK;
}

static void entry_free(struct send_limits *l, struct entry *e)
{
    map_remove_u64(&l->entries, e->account);
    list_remove(&e->link);
    free(e); /* tidy: allow alloc because entry_new made it */
}

void send_limits_close(struct send_limits *l)
{
    if (!l)
        return;
    while (!list_empty(&l->order))
        entry_free(l, container_of(l->order.next, struct entry, link));
    map_free(&l->entries);
    pthread_mutex_destroy(&l->lock);
    free(l); /* tidy: allow alloc because send_limits_open made it */
}

void send_limits_change(struct send_limits *l, const struct send_policy *p)
{
    pthread_mutex_lock(&l->lock);
    l->policy = *p;
    pthread_mutex_unlock(&l->lock);
}

/* One that is on the disk makes room. */
static void evict(struct send_limits *l)
{
    unsigned looked = 0;
    LIST_EACH (at, &l->order) {
        struct entry *e = container_of(at, struct entry, link);
        if (!e->dirty && !e->saving) {
            entry_free(l, e);
            l->evicted++;
            return;
        }
        if (++looked == EVICT_LOOK)
            return;
    }
}

static struct entry *entry_new(struct send_limits *l, uint64_t account, const struct usage *u)
{
    if (l->entries.count >= SEND_ACCOUNTS_MAX)
        evict(l);
    /* tidy: allow alloc because it lives until it is evicted; SEND_ACCOUNTS_MAX is the limit */
    struct entry *e = calloc(1, sizeof(*e));
    if (!e)
        return NULL;
    *e = (struct entry){.account = account, .usage = *u};
    list_push_back(&l->order, &e->link);
    if (map_put_u64(&l->entries, account, e, NULL) == ERR_OK)
        return e;
    list_remove(&e->link);
    free(e); /* tidy: allow alloc because it was made above */
    return NULL;
}

/* The entry, with the lock held; ERR_OK only. */
static enum err lock_entry(struct send_limits *l, uint64_t account, struct entry **out) WAITS
{
    for (int i = 0; i < LOAD_TRIES; i++) {
        struct usage u;
        pthread_mutex_lock(&l->lock);
        *out = map_get_u64(&l->entries, account);
        if (*out) {
            list_remove(&(*out)->link);
            list_push_back(&l->order, &(*out)->link);
            return ERR_OK;
        }
        uint64_t evicted = l->evicted;
        pthread_mutex_unlock(&l->lock);
        TRY(load(l->store, account, &u));
        pthread_mutex_lock(&l->lock);
        /* What was read is old if the account came and went meanwhile. */
        if (!map_get_u64(&l->entries, account) && l->evicted == evicted) {
            *out = entry_new(l, account, &u);
            if (*out)
                return ERR_OK;
            pthread_mutex_unlock(&l->lock);
            return ERR_BUSY;
        }
        pthread_mutex_unlock(&l->lock);
    }
    return ERR_BUSY;
}

/* ---- sending ---- */

enum err send_limit_take(struct send_limits *l, uint64_t account, uint32_t recipients,
                         int64_t now_s, struct send_refusal *why)
{
    struct entry *e;
    *why = (struct send_refusal){0};
    TRY(lock_entry(l, account, &e));
    advance_all(&e->usage, now_s);
    bool ok = fits(&l->policy, &e->usage, recipients, now_s, why);
    if (ok) {
        count(&e->usage, recipients);
        e->dirty = true;
    }
    pthread_mutex_unlock(&l->lock);
    return ok ? ERR_OK : ERR_SEND_LIMIT;
}

void send_limit_give_back(struct send_limits *l, uint64_t account, uint32_t recipients,
                          int64_t taken_s)
{
    pthread_mutex_lock(&l->lock);
    struct entry *e = map_get_u64(&l->entries, account);
    if (e) { /* evicted already: then it stays counted */
        uncount(&e->usage, recipients, taken_s);
        e->dirty = true;
    }
    pthread_mutex_unlock(&l->lock);
}

static void put_time(uint64_t s, struct buf *out)
{
    uint64_t minutes = (s + 59) / 60, hours = minutes / 60;
    if (hours > 0)
        buf_addf(out, "%llu h ", (unsigned long long)hours);
    buf_addf(out, "%llu min", (unsigned long long)(minutes % 60));
}

void send_refusal_text(const struct send_refusal *r, struct buf *out)
{
    const char *what = r->which >= SEND_RECIPIENTS_HOUR ? "recipients" : "messages";
    const char *period = window_of(r->which) ? "a day" : "an hour";
    if (r->wait_s == 0) {
        buf_addf(out, "More recipients than your sending limit of %u %s", r->max, period);
        return;
    }
    buf_addf(out, "Your sending limit of %u %s %s is reached, try again in ", r->max, what, period);
    put_time(r->wait_s, out);
}

/* ---- writing behind ---- */

struct batch {
    struct store_key keys[SAVE_MAX];
    uint64_t accounts[SAVE_MAX];
    struct store_op ops[SAVE_MAX];
    struct buf rows;
    size_t starts[SAVE_MAX + 1];
    size_t n;
};

static void gather(struct send_limits *l, struct batch *b)
{
    b->n = 0;
    buf_reset(&b->rows);
    pthread_mutex_lock(&l->lock);
    LIST_EACH (at, &l->order) {
        struct entry *e = container_of(at, struct entry, link);
        if (!e->dirty || b->n == SAVE_MAX)
            continue;
        b->keys[b->n] = row_key(SPACE_SEND_USED, e->account);
        b->accounts[b->n] = e->account;
        b->starts[b->n++] = b->rows.len;
        used_encode(&e->usage, &b->rows);
        e->dirty = false;
        e->saving = true;
    }
    b->starts[b->n] = b->rows.len;
    pthread_mutex_unlock(&l->lock);
    for (size_t i = 0; i < b->n; i++)
        b->ops[i] = (struct store_op){
            .kind = STORE_PUT,
            .key = key_str(&b->keys[i]),
            .value = str_sub(buf_str(&b->rows), b->starts[i], b->starts[i + 1] - b->starts[i])};
}

static void settle(struct send_limits *l, const struct batch *b, bool written)
{
    pthread_mutex_lock(&l->lock);
    for (size_t i = 0; i < b->n; i++) {
        struct entry *e = map_get_u64(&l->entries, b->accounts[i]);
        if (!e)
            continue;
        e->saving = false;
        e->dirty |= !written;
    }
    pthread_mutex_unlock(&l->lock);
}

enum err send_limits_save(struct send_limits *l)
{
    /* tidy: allow alloc because it is too large for a fiber's stack */
    struct batch *b = calloc(1, sizeof(*b));
    enum err e = b ? ERR_OK : ERR_NOMEM;
    size_t rounds = SEND_ACCOUNTS_MAX / SAVE_MAX + 1;
    if (b)
        buf_init(&b->rows, (size_t)SAVE_MAX * ROW_MAX);
    for (size_t i = 0; i < rounds && e == ERR_OK; i++) {
        gather(l, b);
        if (b->n == 0)
            break;
        e = buf_ok(&b->rows) ? commit(l->store, b->ops, b->n) : ERR_NOMEM;
        settle(l, b, e == ERR_OK);
    }
    if (b)
        buf_free(&b->rows);
    free(b); /* tidy: allow alloc because it was made above */
    return e;
}

/* ---- commands ---- */

static void status_of(const struct send_policy *p, struct usage *u, int64_t now_s,
                      struct send_status *out)
{
    advance_all(u, now_s);
    for (unsigned i = 0; i < SEND_LIMITS; i++) {
        out->used[i] = (uint32_t)sum(u, (enum send_limit)i);
        out->limits.max[i] = limit_of(p, &u->own, (enum send_limit)i);
    }
    out->own = u->own;
}

enum err send_limit_status(struct send_limits *l, struct store *s, const struct send_policy *p,
                           uint64_t account, int64_t now_s, struct send_status *out)
{
    struct usage u;
    if (!l) {
        TRY(load(s, account, &u));
        status_of(p, &u, now_s, out);
        return ERR_OK;
    }
    struct entry *e;
    TRY(lock_entry(l, account, &e));
    u = e->usage;
    pthread_mutex_unlock(&l->lock);
    status_of(p, &u, now_s, out);
    return ERR_OK;
}

enum err send_limit_set(struct send_limits *l, struct store *s, uint64_t account,
                        const struct send_override *o)
{
    BUF_AUTO struct buf row = BUF_INIT(ROW_MAX);
    struct store_key key = row_key(SPACE_SEND_LIMIT, account);
    bool any = false;
    for (unsigned i = 0; i < SEND_LIMITS; i++)
        any |= o->set[i];
    own_encode(o, &row);
    struct store_op op = {any ? STORE_PUT : STORE_DELETE, key_str(&key), buf_str(&row), 0};
    if (!any)
        op.value = STR_NONE;
    TRY(commit(s, &op, 1));
    if (!l)
        return ERR_OK;
    struct entry *e;
    TRY(lock_entry(l, account, &e));
    e->usage.own = *o;
    pthread_mutex_unlock(&l->lock);
    return ERR_OK;
}

enum err send_limit_forget(struct send_limits *l, struct store *s, uint64_t account)
{
    if (l) {
        pthread_mutex_lock(&l->lock);
        struct entry *e = map_get_u64(&l->entries, account);
        if (e && !e->saving) {
            entry_free(l, e);
            l->evicted++;
        }
        pthread_mutex_unlock(&l->lock);
    }
    struct store_key used = row_key(SPACE_SEND_USED, account);
    struct store_key own = row_key(SPACE_SEND_LIMIT, account);
    const struct store_op ops[] = {{.kind = STORE_DELETE, .key = key_str(&used)},
                                   {.kind = STORE_DELETE, .key = key_str(&own)}};
    return commit(s, ops, ARRAY_LEN(ops));
}
