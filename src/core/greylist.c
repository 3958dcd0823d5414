/* SPDX-License-Identifier: Apache-2.0
 *
 * Read, decide, write: each step is one commit that expects the rows as they were read, so two
 * house threads that are asked about one triplet agree.
 */
#include "core/greylist.h"

#include "base/log.h"
#include "base/num.h"
#include "core/directory.h"
#include "core/mail_crypto.h"
#include "core/schema.h"
#include "os/clock.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

#define ROW_VERSION 1
#define ROW_MAX (2 * GREYLIST_TEXT_MAX + 64)
#define DIGEST_BYTES 16
#define TRIES 10       /* of a commit that meets others */
#define PAGE 200       /* rows of one step of a sweep */
#define REFRESH_PART 8 /* a row is written again after this part of its lifetime */
#define WARN_EVERY_MS 60000

/* ---- rows ---- */

static struct store_key key_count(void)
{
    return (struct store_key){.bytes = {SPACE_GREY_COUNT}, .len = 1};
}

static void network_of(const struct address *a, struct greylist_row *r)
{
    r->family = a->family;
    memcpy(r->net, a->ip, a->family == 6 ? 8 : 3);
}

static struct store_key key_client(const struct greylist_row *r)
{
    struct store_key k = {.bytes = {SPACE_GREY_CLIENT, r->family}, .len = 2 + sizeof(r->net)};
    memcpy(k.bytes + 2, r->net, sizeof(r->net));
    return k;
}

static enum err key_triplet(const struct greylist_row *r, struct store_key *k)
{
    uint8_t digest[MAIL_DIGEST_BYTES];
    struct mail_hash h;
    TRY(mail_hash_begin(&h));
    mail_hash_add(&h, str_of(&r->family, 1));
    mail_hash_add(&h, str_of(r->net, sizeof(r->net)));
    mail_hash_add(&h, r->sender);
    mail_hash_add(&h, STR("\0"));
    mail_hash_add(&h, r->recipient);
    mail_hash_end(&h, digest);
    *k = (struct store_key){.bytes = {SPACE_GREY_TRIPLET}, .len = 1 + DIGEST_BYTES};
    memcpy(k->bytes + 1, digest, DIGEST_BYTES);
    return ERR_OK;
}

static void row_encode(const struct greylist_row *r, struct buf *out)
{
    buf_add_char(out, r->client ? SPACE_GREY_CLIENT : SPACE_GREY_TRIPLET);
    buf_add_char(out, ROW_VERSION);
    buf_add_char(out, (char)r->family);
    buf_add(out, str_of(r->net, sizeof(r->net)));
    buf_add_be64(out, (uint64_t)r->first_s);
    buf_add_be64(out, (uint64_t)r->last_s);
    if (r->client) {
        buf_add_be32(out, r->count);
        return;
    }
    buf_add_char(out, r->passed);
    buf_add_sized(out, r->sender);
    buf_add_sized(out, r->recipient);
}

static bool row_key_fits(str key, const struct greylist_row *r)
{
    struct store_key wanted = {.len = 0};
    if (r->client)
        wanted = key_client(r);
    else if (key_triplet(r, &wanted) != ERR_OK)
        return false;
    return str_eq(key, key_str(&wanted));
}

enum err greylist_row_decode(str key, str value, struct greylist_row *out)
{
    struct reader r = reader_of(value);
    *out = (struct greylist_row){0};
    uint8_t type = read_u8(&r), version = read_u8(&r);
    out->client = type == SPACE_GREY_CLIENT;
    out->family = read_u8(&r);
    str net = read_bytes(&r, sizeof(out->net));
    if (r.failed || version != ROW_VERSION || (!out->client && type != SPACE_GREY_TRIPLET))
        return ERR_CORRUPT;
    memcpy(out->net, net.data, sizeof(out->net));
    out->first_s = (int64_t)read_be64(&r);
    out->last_s = (int64_t)read_be64(&r);
    if (out->client) {
        out->count = read_be32(&r);
    } else {
        out->passed = read_u8(&r) == 1;
        out->sender = read_sized(&r);
        out->recipient = read_sized(&r);
    }
    bool whole = !r.failed && str_empty(r.rest) && (out->family == 4 || out->family == 6);
    return whole && row_key_fits(key, out) ? ERR_OK : ERR_CORRUPT;
}

void greylist_network(const struct greylist_row *r, struct buf *out)
{
    struct address a = {.family = r->family};
    memcpy(a.ip, r->net, sizeof(r->net));
    address_render(&a, out);
    buf_add_c(out, r->family == 6 ? "/64" : "/24");
}

bool greylist_is_over(const struct greylist_policy *p, const struct greylist_row *r, int64_t now_s)
{
    if (r->client || r->passed)
        return now_s > r->last_s + p->lifetime_s;
    return now_s > r->first_s + p->window_s;
}

/* ---- one question ---- */

/* A row as it is, with its bytes for the expectation. */
struct found {
    struct store_key key;
    struct buf value;
    bool present, live;
    struct greylist_row row;
};

/* What nobody can read is as good as absent here; check names it. */
static enum err row_get(struct store *s, const struct greylist_policy *p, int64_t now_s,
                        struct found *f) WAITS
{
    struct greylist_row row;
    enum err e = store_get(s, STORE_PARTITION_GREYLIST, key_str(&f->key), &f->value);
    if (e == ERR_NOT_FOUND)
        return ERR_OK;
    TRY(e);
    f->present = true;
    f->live = greylist_row_decode(key_str(&f->key), buf_str(&f->value), &row) == ERR_OK &&
              !greylist_is_over(p, &row, now_s);
    if (!f->live)
        return ERR_OK;
    f->row.passed = row.passed;
    f->row.count = row.count;
    f->row.first_s = row.first_s;
    f->row.last_s = row.last_s;
    return ERR_OK;
}

/* Puts the rows, each expected as it was read, and counts those that are new. */
static enum err rows_put(struct store *s, struct found *const *rows, size_t n) WAITS
{
    BUF_AUTO struct buf a = BUF_INIT(ROW_MAX), b = BUF_INIT(ROW_MAX);
    struct buf *values[2] = {&a, &b};
    struct store_key count = key_count();
    struct store_expect expects[2];
    struct store_op ops[3];
    int64_t added = 0;
    size_t nops = n;
    assert(n >= 1 && n <= 2);
    for (size_t i = 0; i < n; i++) {
        struct found *f = rows[i];
        row_encode(&f->row, values[i]);
        if (!buf_ok(values[i]))
            return ERR_LIMIT;
        expects[i] = (struct store_expect){f->present ? STORE_EXPECT_EQUAL : STORE_EXPECT_ABSENT,
                                           key_str(&f->key), buf_str(&f->value)};
        ops[i] = (struct store_op){
            .kind = STORE_PUT, .key = key_str(&f->key), .value = buf_str(values[i])};
        added += !f->present;
    }
    if (added)
        ops[nops++] = (struct store_op){.kind = STORE_ADD, .key = key_str(&count), .delta = added};
    struct store_commit c = {.partition = STORE_PARTITION_GREYLIST,
                             .expect_version = STORE_ANY_VERSION,
                             .expects = expects,
                             .nexpects = n,
                             .ops = ops,
                             .nops = nops};
    struct store_result r;
    return store_commit(s, &c, &r);
}

static enum err has_room(struct store *s, uint64_t max, bool *room) WAITS
{
    BUF_AUTO struct buf value = BUF_INIT(64);
    struct store_key key = key_count();
    enum err e = store_get(s, STORE_PARTITION_GREYLIST, key_str(&key), &value);
    *room = true;
    if (e == ERR_NOT_FOUND)
        return ERR_OK;
    TRY(e);
    struct reader r = reader_of(buf_str(&value));
    *room = read_be64(&r) < max;
    return ERR_OK;
}

static void warn_full(uint64_t max)
{
    static _Atomic uint64_t last;
    uint64_t now = clock_mono_ms(), before = atomic_load(&last);
    if ((before == 0 || now - before > WARN_EVERY_MS) &&
        atomic_compare_exchange_strong(&last, &before, now))
        LOG_WARN("greylist", "full, nobody new is asked to wait rows=%llu",
                 (unsigned long long)max);
}

/* Seen again: the row is written anew now and then, not each time. */
static enum err refresh(struct store *s, const struct greylist_policy *p, struct found *f,
                        int64_t now_s) WAITS
{
    if (now_s - f->row.last_s < p->lifetime_s / REFRESH_PART)
        return ERR_OK;
    f->row.last_s = now_s;
    return rows_put(s, (struct found *const[]){f}, 1);
}

static enum err begin_triplet(struct store *s, const struct greylist_policy *p, struct found *f,
                              int64_t now_s, uint32_t *wait_s) WAITS
{
    bool room;
    if (!f->present) {
        TRY(has_room(s, p->rows_max, &room));
        if (!room) {
            warn_full(p->rows_max);
            return ERR_OK;
        }
    }
    f->row.passed = false;
    f->row.first_s = f->row.last_s = now_s;
    TRY(rows_put(s, (struct found *const[]){f}, 1));
    *wait_s = (uint32_t)p->delay_s;
    return ERR_OK;
}

static enum err pass_triplet(struct store *s, struct found *triplet, struct found *client,
                             int64_t now_s) WAITS
{
    triplet->row.passed = true;
    triplet->row.last_s = now_s;
    if (!client->live) {
        client->row.count = 0;
        client->row.first_s = now_s;
    }
    client->row.count += client->row.count < UINT32_MAX;
    client->row.last_s = now_s;
    return rows_put(s, (struct found *const[]){triplet, client}, 2);
}

static enum err decide(struct store *s, const struct greylist_policy *p, struct found *triplet,
                       struct found *client, int64_t now_s, uint32_t *wait_s) WAITS
{
    TRY(row_get(s, p, now_s, client));
    if (client->live && p->clients_after > 0 && client->row.count >= p->clients_after)
        return refresh(s, p, client, now_s);
    TRY(row_get(s, p, now_s, triplet));
    if (!triplet->live)
        return begin_triplet(s, p, triplet, now_s, wait_s);
    if (triplet->row.passed)
        return refresh(s, p, triplet, now_s);
    int64_t left = triplet->row.first_s + p->delay_s - now_s;
    if (left <= 0)
        return pass_triplet(s, triplet, client, now_s);
    *wait_s = (uint32_t)MIN(left, p->delay_s); /* the clock may have been set back */
    return ERR_OK;
}

static bool question_row(const struct greylist_policy *p, const struct greylist_question *q,
                         struct arena *a, struct greylist_row *out)
{
    str sender = q->sender, recipient;
    size_t at = str_rfind_char(sender, '@');
    if (p->by_domain && at != STR_NPOS)
        sender = str_skip(sender, at + 1);
    *out = (struct greylist_row){0};
    network_of(&q->source, out);
    if (directory_normalise(q->recipient, a, &recipient) != ERR_OK)
        recipient = q->recipient;
    return arena_dup_lower(a, str_head(sender, GREYLIST_TEXT_MAX), &out->sender) &&
           arena_dup(a, str_head(recipient, GREYLIST_TEXT_MAX), &out->recipient);
}

enum err greylist_ask(struct store *s, const struct greylist_policy *p,
                      const struct greylist_question *q, int64_t now_s, uint32_t *wait_s)
{
    ARENA_AUTO struct arena a = ARENA_INIT(65536);
    struct greylist_row asked;
    *wait_s = 0;
    if (q->source.family != 4 && q->source.family != 6)
        return ERR_INVALID;
    if (!question_row(p, q, &a, &asked))
        return ERR_NOMEM;
    enum err e = ERR_CONFLICT;
    for (int i = 0; i < TRIES && e == ERR_CONFLICT; i++) {
        struct found triplet = {.value = BUF_INIT(STORE_VALUE_MAX), .row = asked};
        struct found client = {.value = BUF_INIT(STORE_VALUE_MAX), .row = asked};
        client.row.client = true;
        client.key = key_client(&asked);
        e = key_triplet(&asked, &triplet.key);
        if (e == ERR_OK)
            e = decide(s, p, &triplet, &client, now_s, wait_s);
        buf_free(&triplet.value);
        buf_free(&client.value);
    }
    return e;
}

/* ---- many rows ---- */

struct page {
    greylist_row_fn *fn;
    void *arg;
    size_t rows;
    bool stopped;
    struct store_expect *picked; /* NULL: only looked at */
    size_t npicked;
    struct arena *arena;
    bool full;
};

static void pick(struct page *p, const struct store_row *row)
{
    struct store_expect *x = &p->picked[p->npicked];
    *x = (struct store_expect){.kind = STORE_EXPECT_EQUAL};
    if (arena_dup(p->arena, row->key, &x->key) && arena_dup(p->arena, row->value, &x->value))
        p->npicked++;
    else
        p->full = true;
}

static bool page_row(void *arg, const struct store_row *row)
{
    struct page *p = arg;
    struct greylist_row r;
    p->rows++;
    if (greylist_row_decode(row->key, row->value, &r) != ERR_OK)
        return true; /* check names it */
    bool yes = p->fn(p->arg, &r);
    if (!p->picked) {
        p->stopped = !yes;
        return yes;
    }
    if (yes)
        pick(p, row);
    return !p->full;
}

static enum err scan_page(struct store *s, struct store_key *from, struct page *p) WAITS
{
    struct store_key first = {.bytes = {SPACE_GREY_TRIPLET}, .len = 1};
    struct store_key end = {.bytes = {SPACE_GREY_CLIENT + 1}, .len = 1}, last = {.len = 0};
    struct store_scan q = {.partition = STORE_PARTITION_GREYLIST,
                           .from = key_str(from->len ? from : &first),
                           .to = key_str(&end),
                           .limit = PAGE};
    TRY(store_scan(s, &q, page_row, p, &last));
    from->len = 0;
    if (p->rows < PAGE || p->stopped)
        return ERR_OK;
    *from = last;
    from->bytes[from->len++] = 0;
    return ERR_OK;
}

enum err greylist_page(struct store *s, struct store_key *from, greylist_row_fn *fn, void *arg)
{
    struct page p = {.fn = fn, .arg = arg};
    return scan_page(s, from, &p);
}

/* Those that are still as they were read. */
static enum err remove_picked(struct store *s, const struct store_expect *picked, size_t n) WAITS
{
    struct store_op ops[PAGE + 1];
    struct store_key count = key_count();
    assert(n <= PAGE);
    for (size_t i = 0; i < n; i++)
        ops[i] = (struct store_op){.kind = STORE_DELETE, .key = picked[i].key};
    ops[n] = (struct store_op){.kind = STORE_ADD, .key = key_str(&count), .delta = -(int64_t)n};
    struct store_commit c = {.partition = STORE_PARTITION_GREYLIST,
                             .expect_version = STORE_ANY_VERSION,
                             .expects = picked,
                             .nexpects = n,
                             .ops = ops,
                             .nops = n + 1};
    struct store_result r;
    return store_commit(s, &c, &r);
}

enum err greylist_remove_page(struct store *s, struct store_key *from, greylist_row_fn *wanted,
                              void *arg, uint64_t *removed)
{
    ARENA_AUTO struct arena arena = ARENA_INIT((size_t)PAGE * (ROW_MAX + 512));
    struct page p = {.fn = wanted, .arg = arg, .arena = &arena};
    p.picked = ARENA_ARRAY(&arena, struct store_expect, PAGE);
    if (!p.picked)
        return ERR_NOMEM;
    TRY(scan_page(s, from, &p));
    enum err e = p.npicked > 0 ? remove_picked(s, p.picked, p.npicked) : ERR_OK;
    if (e != ERR_CONFLICT) {
        *removed += e == ERR_OK ? p.npicked : 0;
        return e;
    }
    for (size_t i = 0; i < p.npicked; i++) { /* one of them was just seen again */
        e = remove_picked(s, &p.picked[i], 1);
        *removed += e == ERR_OK;
        if (e != ERR_OK && e != ERR_CONFLICT)
            return e;
    }
    return ERR_OK;
}

struct sweep {
    const struct greylist_policy *policy;
    int64_t now_s;
};

static bool is_over(void *arg, const struct greylist_row *r)
{
    const struct sweep *w = arg;
    return greylist_is_over(w->policy, r, w->now_s);
}

enum err greylist_sweep(struct store *s, const struct greylist_policy *p, int64_t now_s,
                        struct store_key *from, uint64_t *removed)
{
    struct sweep w = {p, now_s};
    return greylist_remove_page(s, from, is_over, &w, removed);
}
