/* SPDX-License-Identifier: Apache-2.0
 *
 * Read, decide, write: resolve the recipients into distinct targets; then either one commit in the
 * only account, or queue rows first and the accounts after.
 */
#include "core/deliver.h"

#include "base/log.h"
#include "base/num.h"
#include "core/bounce.h"
#include "core/forward.h"
#include "core/message.h"
#include "core/queue.h"
#include "os/file.h"

#include <assert.h>
#include <string.h>

#define DELIVER_BYTES_MAX (16u << 20) /* what resolving may need */
#define HEADER_SCAN_MAX 262144        /* bytes of header looked through for loops */
#define WORKERS 8                     /* accounts at a time, of one message */
#define PAUSE_FIRST_MS 5000
#define PAUSE_LAST_MS 3600000

struct target {
    uint64_t account; /* 0: foreign */
    str address;
    size_t recipient; /* the first that leads here */
    bool looped;
};
struct plan {
    struct deliver_ctx *d;
    const struct envelope *e;
    struct arena arena;
    struct target *targets;
    size_t n, max, looped;
    size_t *first; /* per recipient: its first target, or SIZE_MAX */
};

void deliver_prefix(str sender, const str *delivered_to, size_t n, struct buf *out)
{
    buf_addf(out, "Return-Path: <%.*s>\r\n", STR_ARG(sender));
    for (size_t i = 0; i < n; i++)
        buf_addf(out, "Delivered-To: %.*s\r\n", STR_ARG(delivered_to[i]));
}

/* ---- resolving ---- */

static size_t target_find(const struct plan *p, const struct resolution_target *t)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->targets[i].account == t->account &&
            (t->account || str_eq_nocase(p->targets[i].address, t->address)))
            return i;
    return p->n;
}

static enum err target_add(struct plan *p, const struct resolution_target *t, size_t recipient)
{
    size_t at = target_find(p, t);
    if (at < p->n) {
        p->first[recipient] = MIN(p->first[recipient], at);
        return ERR_OK;
    }
    if (p->n == p->max) {
        size_t max = p->max ? p->max * 2 : 16;
        struct target *more = ARENA_ARRAY(&p->arena, struct target, max);
        if (!more)
            return ERR_NOMEM;
        if (p->n)
            memcpy(more, p->targets, p->n * sizeof *more);
        p->targets = more;
        p->max = max;
    }
    p->first[recipient] = MIN(p->first[recipient], at);
    p->targets[p->n++] =
        (struct target){.account = t->account, .address = t->address, .recipient = recipient};
    return ERR_OK;
}

/* A fault on our side stands for all recipients: nothing has been committed yet, and the sender
 * tries the whole message again (rule accept-3). */
static enum err resolve(struct plan *p, struct deliver_result *out)
{
    for (size_t i = 0; i < p->e->nrecipients; i++) {
        struct resolution r = {0};
        p->first[i] = SIZE_MAX;
        enum err e = forward_resolve(p->d->directory, p->e->recipients[i].address, &p->arena, &r);
        out->recipients[i] = e == ERR_NOT_FOUND ? ERR_NO_USER : e;
        if (e != ERR_OK && err_class(e) == ERR_CLASS_TEMP)
            return e;
        for (size_t k = 0; e == ERR_OK && k < r.ntargets; k++)
            TRY(target_add(p, &r.targets[k], i));
        if (e == ERR_OK && r.ntargets == 0)
            out->recipients[i] = ERR_NO_USER;
    }
    return p->n > QUEUE_ROWS_MAX ? ERR_LIMIT : ERR_OK;
}

/* ---- loops ---- */

static void mark_loop(struct plan *p, str address)
{
    address = str_trim(address);
    for (size_t i = 0; i < p->n; i++)
        if (p->targets[i].account && !p->targets[i].looped &&
            str_eq_nocase(p->targets[i].address, address)) {
            p->targets[i].looped = true;
            p->looped++;
        }
}

/* Delivered-To of an address that we are about to deliver to. */
static void scan_header(struct plan *p, str header)
{
    str line;
    for (bool more = true; more && header.len;) {
        more = str_cut(header, '\n', &line, &header);
        if (str_empty(str_trim(line)))
            return;
        if (str_starts_nocase(line, STR("Delivered-To:")))
            mark_loop(p, str_skip(line, sizeof "Delivered-To:" - 1));
    }
}

static enum err find_loops(struct plan *p)
{
    BUF_AUTO struct buf header = BUF_INIT(HEADER_SCAN_MAX);
    size_t want = (size_t)MIN(p->e->size, (uint64_t)HEADER_SCAN_MAX), got = 0;
    char *at = want ? buf_reserve(&header, want) : NULL;
    if (want && !at)
        return ERR_NOMEM;
    if (want)
        TRY(file_read_at(p->e->fd, 0, at, want, &got));
    scan_header(p, str_of(at, got));
    return ERR_OK;
}

/* Those that would loop are no targets; a recipient with nothing else left hears of it. */
static void drop_loops(struct plan *p, struct deliver_result *out)
{
    for (size_t i = 0; p->looped && i < p->e->nrecipients; i++)
        if (p->first[i] != SIZE_MAX && p->targets[p->first[i]].looped)
            out->recipients[i] = ERR_LOOP;
    size_t kept = 0;
    for (size_t i = 0; i < p->n; i++)
        if (!p->targets[i].looped)
            p->targets[kept++] = p->targets[i];
    p->n = kept;
}

/* ---- into an account ---- */

static enum err find_mailbox(struct account *a, uint8_t hint, uint32_t *id)
{
    const struct mailbox *m = hint == 1 ? mailbox_by_role(a, ROLE_JUNK) : NULL;
    if (!m)
        m = mailbox_find(a, STR("INBOX"));
    if (!m) {
        TRY(account_create_mailboxes(a));
        m = mailbox_find(a, STR("INBOX"));
    }
    if (!m)
        return ERR_UNAVAILABLE;
    *id = m->id;
    return ERR_OK;
}

static enum err put(struct deliver_ctx *d, uint64_t account, uint8_t hint, struct message_new *m,
                    str sender, str address, const struct store_token *token)
{
    struct account *a;
    struct message_added added;
    struct message_add_result result;
    uint32_t mailbox = 0;
    BUF_AUTO struct buf prefix = BUF_INIT(MESSAGE_PREFIX_MAX);
    deliver_prefix(sender, &address, 1, &prefix);
    if (!buf_ok(&prefix))
        return ERR_LIMIT;
    m->prefix = buf_str(&prefix);
    TRY(account_open(d->accounts, account, &a));
    enum err e = find_mailbox(a, hint, &mailbox);
    if (e == ERR_OK)
        e = message_add(a, mailbox, m, 1, token, &added, &result);
    account_close(a);
    return e;
}

static enum err deliver_directly(struct plan *p)
{
    const struct envelope *e = p->e;
    const struct target *t = &p->targets[0];
    struct message_new m = MESSAGE_NEW_INIT;
    m.fd = e->fd;
    m.len = e->size;
    m.trace = e->trace;
    m.mime = e->mime;
    return put(p->d, t->account, e->recipients[t->recipient].mailbox_hint, &m, e->sender,
               t->address, NULL);
}

/* ---- from the queue ---- */

static struct store_token row_token(const struct queue_recipient *r)
{
    struct store_token t = {{'q', 'r', 'o', 'w'}};
    for (int i = 0; i < 8; i++)
        t.bytes[4 + i] = (uint8_t)(r->id >> (56 - 8 * i));
    for (int i = 0; i < 4; i++)
        t.bytes[12 + i] = (uint8_t)(r->n >> (24 - 8 * i));
    return t;
}

static enum err put_row(struct deliver_ctx *d, const struct queue_message *q,
                        const struct queue_recipient *r, str mime)
{
    struct message_new m = MESSAGE_NEW_INIT;
    struct store_token token = row_token(r);
    m.has_blob = true;
    m.blob = q->blob;
    m.trace_len = q->trace_len;
    m.content_len = q->content_len;
    m.mime = mime;
    m.internal_date = (int64_t)(q->created_ms / 1000);
    return put(d, r->account, r->mailbox_hint, &m, q->envelope.sender, r->address, &token);
}

static uint64_t pause_ms(uint32_t attempts)
{
    return MIN((uint64_t)PAUSE_FIRST_MS << MIN(attempts, 20u), (uint64_t)PAUSE_LAST_MS);
}

#define AGE_MAX_MS (5ull * 24 * 3600 * 1000)

/* It stays, to be tried again; or goes back to the sender when it never will work. */
static void row_failed(struct deliver_ctx *d, const struct queue_message *q,
                       const struct queue_recipient *r, enum err e)
{
    uint64_t now = clock_wall_ms(), age = d->age_max_ms ? d->age_max_ms : AGE_MAX_MS;
    bool ends = err_class(e) == ERR_CLASS_PERM || now >= q->created_ms + age;
    struct queue_result x = {.n = r->n,
                             .to = ends ? 0 : QUEUE_LOCAL,
                             .due_ms = now + pause_ms(r->attempts),
                             .counted = true,
                             .error = e,
                             .status = str_c(err_info(e)->enhanced),
                             .reply = str_c(err_text(e))};
    struct bounce_item item = {
        .row = r, .action = DSN_FAILED, .status = x.status, .explanation = x.reply};
    if (ends && item.status.len && item.status.data[0] != '5')
        item.status = STR("5.4.7"); /* RFC 3463 3.5: the time is over */
    enum err kept = bounce_settle(d, q, QUEUE_LOCAL, 0, &x, 1, &item, ends ? 1 : 0);
    LOG_WARN("deliver", "queue=%llu recipient=%u account=%llu error=%s%s%s",
             (unsigned long long)r->id, r->n, (unsigned long long)r->account, err_name(e),
             ends ? ", given up" : ", later", kept == ERR_OK ? "" : " (not noted)");
}

#define DONE_PAGE 32 /* rows of one commit: they are on a fiber's stack */

/* They are in their accounts: the rows end, and who asked for it hears of it. */
static enum err rows_done(struct deliver_ctx *d, const struct queue_message *q,
                          const struct queue_recipient *const *rows, size_t n)
{
    struct queue_result results[DONE_PAGE];
    struct bounce_item items[DONE_PAGE];
    enum err first = ERR_OK;
    for (size_t at = 0; at < n; at += DONE_PAGE) {
        size_t count = MIN(n - at, (size_t)DONE_PAGE), told = 0;
        for (size_t i = 0; i < count; i++) {
            const struct queue_recipient *r = rows[at + i];
            results[i] = (struct queue_result){.n = r->n};
            if (r->notify & NOTIFY_SUCCESS)
                items[told++] = (struct bounce_item){.row = r, .action = DSN_DELIVERED};
        }
        enum err e = bounce_settle(d, q, QUEUE_LOCAL, 0, results, count, items, told);
        if (first == ERR_OK && e != ERR_CONFLICT && e != ERR_NOT_FOUND) /* ended already is fine */
            first = e;
    }
    return first;
}

struct spread {
    struct deliver_ctx *d;
    const struct queue_message *q;
    const struct queue_recipient *rows;
    size_t n, next, ndone;
    const struct queue_recipient **done; /* rows that are at their end */
    str mime;
};

/* One of several fibers that take the next account. None waits for another's account (rule
 * accept-4).
 */
static void spread_work(void *arg)
{
    struct spread *s = arg;
    while (s->next < s->n) {
        const struct queue_recipient *r = &s->rows[s->next++];
        if (r->state != QUEUE_LOCAL)
            continue;
        enum err e = put_row(s->d, s->q, r, s->mime);
        if (e == ERR_OK)
            s->done[s->ndone++] = r;
        else if (e != ERR_CANCELED)
            row_failed(s->d, s->q, r, e);
    }
}

static enum err spread(struct spread *s)
{
    struct fiber_group group;
    fiber_group_init(&group);
    for (size_t i = 1; fiber_current() && i < MIN(s->n, (size_t)WORKERS); i++)
        if (fiber_start(&group, "deliver", spread_work, s) != ERR_OK)
            break; /* then those that are there do it */
    spread_work(s);
    if (fiber_current())
        fiber_group_join(&group);
    if (!s->ndone)
        return ERR_OK;
    return rows_done(s->d, s->q, s->done, s->ndone);
}

void deliver_rows(struct deliver_ctx *d, const struct queue_message *q,
                  const struct queue_recipient *rows, size_t n, str mime)
{
    ARENA_AUTO struct arena arena = ARENA_INIT(1 << 20);
    const struct queue_recipient **done = ARENA_ARRAY(&arena, const struct queue_recipient *, n);
    if (!done)
        return; /* deliver_recover() does it */
    struct spread s = {.d = d, .q = q, .rows = rows, .n = n, .done = done, .mime = mime};
    enum err e = spread(&s);
    if (e != ERR_OK)
        LOG_WARN("deliver", "queue=%llu error=%s, later", (unsigned long long)q->id, err_name(e));
}

/* FUTURERELEASE (RFC 4865). */
static bool is_held(const struct envelope *e) { return e->hold_until > clock_wall_s(); }

static enum err deliver_by_queue(struct plan *p)
{
    struct queue_recipient *rows = ARENA_ARRAY(&p->arena, struct queue_recipient, p->n);
    struct queue_message q;
    if (!rows)
        return ERR_NOMEM;
    for (size_t i = 0; i < p->n; i++) {
        const struct target *t = &p->targets[i];
        const struct envelope_recipient *r = &p->e->recipients[t->recipient];
        rows[i] = (struct queue_recipient){
            .state = t->account ? QUEUE_LOCAL : QUEUE_READY,
            .account = t->account,
            .address = t->address,
            .original = r->address,
            .orcpt = r->orcpt,
            .notify = r->notify,
            .mailbox_hint = r->mailbox_hint,
        };
    }
    TRY(queue_add(accounts_store(p->d->accounts), p->e, rows, p->n, &q));
    /* From here on it is durable and accepted; what fails below is done by deliver_recover(). */
    if (!is_held(p->e))
        deliver_rows(p->d, &q, rows, p->n, p->e->mime);
    return ERR_OK;
}

/* One commit in the only account, unless somebody wants to hear that it is there, or wants it
 * later. */
static bool is_direct(const struct plan *p)
{
    const struct target *t = &p->targets[0];
    return p->n == 1 && t->account && !is_held(p->e) &&
           !(p->e->recipients[t->recipient].notify & NOTIFY_SUCCESS);
}

/* ---- the whole ---- */

static enum err deliver(struct plan *p, struct deliver_result *out)
{
    p->first = ARENA_ARRAY(&p->arena, size_t, p->e->nrecipients);
    if (!p->first)
        return ERR_NOMEM;
    TRY(resolve(p, out));
    TRY(find_loops(p));
    drop_loops(p, out);
    if (p->n == 0)
        return ERR_OK; /* each has its reason */
    if (!is_direct(p))
        return deliver_by_queue(p);
    enum err e = deliver_directly(p);
    for (size_t i = 0; i < p->e->nrecipients; i++)
        if (out->recipients[i] == ERR_OK)
            out->recipients[i] = e;
    return ERR_OK;
}

enum err deliver_envelope(struct deliver_ctx *d, const struct envelope *e,
                          struct deliver_result *out)
{
    if (e->nrecipients == 0 || e->nrecipients > ENVELOPE_RECIPIENTS_MAX)
        return ERR_INVALID;
    struct plan p = {.d = d, .e = e, .arena = ARENA_INIT(DELIVER_BYTES_MAX)};
    enum err err = deliver(&p, out);
    arena_free(&p.arena);
    for (size_t i = 0; err != ERR_OK && i < e->nrecipients; i++)
        out->recipients[i] = err;
    return err;
}

/* ---- after a crash, and again ---- */

static enum err account_exists(struct deliver_ctx *d, uint64_t id)
{
    ARENA_AUTO struct arena arena = ARENA_INIT(1 << 16);
    struct account_entry entry;
    enum err e = directory_account_get(d->directory, id, &arena, &entry);
    return e == ERR_NOT_FOUND ? ERR_NO_USER : e;
}

static enum err recover_row(struct deliver_ctx *d, const struct queue_message *q,
                            const struct queue_recipient *r, str mime)
{
    enum err e = account_exists(d, r->account);
    if (e == ERR_OK)
        e = put_row(d, q, r, mime);
    if (e == ERR_OK)
        return rows_done(d, q, &r, 1);
    if (e != ERR_CANCELED)
        row_failed(d, q, r, e);
    return e;
}

static enum err recover_message(struct deliver_ctx *d, const struct queue_due *due)
{
    struct store *s = accounts_store(d->accounts);
    ARENA_AUTO struct arena arena = ARENA_INIT(8 << 20);
    BUF_AUTO struct buf mime = BUF_INIT(STORE_VALUE_MAX);
    struct queue_message q;
    struct queue_recipient *rows;
    size_t n;
    enum err e = queue_get(s, due->id, &arena, &q);
    if (e == ERR_NOT_FOUND)
        return ERR_OK; /* done meanwhile */
    TRY(e);
    TRY(queue_get_mime(s, due->id, &mime));
    TRY(queue_recipients(s, due->id, &arena, &rows, &n));
    for (size_t i = 0; i < n; i++)
        if (rows[i].n == due->n && rows[i].state == QUEUE_LOCAL && rows[i].due_ms <= due->due_ms)
            return recover_row(d, &q, &rows[i], buf_str(&mime));
    return ERR_OK;
}

#define DUE_PAGE 256

/* A page of due rows at a time; foreign rows among them wait for the relay and are passed over. */
static enum err recover_shard(struct deliver_ctx *d, unsigned shard, uint64_t now_ms, size_t *left)
{
    struct queue_due due[DUE_PAGE];
    struct queue_due after = {0};
    size_t got;
    do {
        TRY(queue_due_after(accounts_store(d->accounts), shard, &after, now_ms, due, DUE_PAGE,
                            &got));
        for (size_t i = 0; i < got; i++) {
            after = due[i];
            if (due[i].state != QUEUE_LOCAL)
                continue;
            enum err e = recover_message(d, &due[i]);
            if (e == ERR_CANCELED)
                return e;
            *left += e != ERR_OK;
        }
    } while (got == DUE_PAGE);
    return ERR_OK;
}

enum err deliver_recover(struct deliver_ctx *d, size_t *left)
{
    uint64_t now = clock_wall_ms();
    enum err first = ERR_OK;
    *left = 0;
    for (unsigned shard = 0; shard < STORE_QUEUE_SHARDS; shard++) {
        enum err e = recover_shard(d, shard, now, left);
        if (first == ERR_OK)
            first = e; /* the other shards go on */
    }
    return first;
}
