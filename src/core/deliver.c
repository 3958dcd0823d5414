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

#define DELIVER_BYTES_MAX (4u << 20) /* targets and rows of one message */
#define RESOLVE_BYTES_MAX (4u << 20) /* what resolving one recipient may need */
#define HEADER_SCAN_MAX 262144       /* bytes of header looked through for loops */
#define WORKERS 8                    /* accounts at a time, of one message */
#define PAUSE_FIRST_MS 5000
#define PAUSE_LAST_MS 3600000

struct target {
    uint64_t account; /* 0: foreign */
    str address;
    size_t recipient; /* the first that leads here */
    bool looped;      /* it has had the message: nothing goes there */
};
struct plan {
    struct deliver_ctx *d;
    const struct envelope *e;
    struct arena arena, scratch; /* scratch: of one recipient's resolution */
    struct target *targets;
    size_t n, max;
    size_t live;       /* targets that are not looped */
    size_t refused;    /* recipients that fail for good */
    str *delivered_to; /* of the message */
    size_t ndelivered_to;
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

static bool is_loop(const struct plan *p, const struct resolution_target *t)
{
    for (size_t i = 0; t->account && i < p->ndelivered_to; i++)
        if (str_eq_nocase(p->delivered_to[i], t->address))
            return true;
    return false;
}

static enum err target_add(struct plan *p, const struct resolution_target *t, size_t recipient,
                           size_t *live)
{
    size_t at = target_find(p, t);
    if (at == p->n && p->n == QUEUE_ROWS_MAX)
        return ERR_LIMIT;
    if (at == p->max) {
        size_t max = p->max ? p->max * 2 : 16;
        struct target *more = ARENA_ARRAY(&p->arena, struct target, max);
        if (!more)
            return ERR_NOMEM;
        if (p->n)
            memcpy(more, p->targets, p->n * sizeof *more);
        p->targets = more;
        p->max = max;
    }
    if (at == p->n) {
        struct target new = {t->account, STR_NONE, recipient, is_loop(p, t)};
        if (!arena_dup(&p->arena, t->address, &new.address))
            return ERR_NOMEM;
        p->targets[p->n++] = new;
        p->live += !new.looped;
    }
    *live += !p->targets[at].looped;
    return ERR_OK;
}

/* *verdict: OK, or why this recipient fails for good. Those of its targets that would loop are
 * none; with nothing else left it hears of it. */
static enum err resolve_one(struct plan *p, size_t i, enum err *verdict)
{
    struct resolution r = {0};
    size_t live = 0;
    arena_reset(&p->scratch);
    enum err e = forward_resolve(p->d->directory, p->e->recipients[i].address, &p->scratch, &r);
    if (e != ERR_OK) {
        *verdict = e == ERR_NOT_FOUND ? ERR_NO_USER : e;
        return err_class(e) == ERR_CLASS_TEMP ? e : ERR_OK;
    }
    for (size_t k = 0; k < r.ntargets; k++)
        TRY(target_add(p, &r.targets[k], i, &live));
    *verdict = live ? ERR_OK : r.ntargets ? ERR_LOOP : ERR_NO_USER;
    return ERR_OK;
}

/* A fault on our side stands for all recipients: nothing has been committed yet, and the sender
 * tries the whole message again (rule accept-3). */
static enum err resolve(struct plan *p, struct deliver_result *out)
{
    for (size_t i = 0; i < p->e->nrecipients; i++) {
        TRY(resolve_one(p, i, &out->recipients[i]));
        p->refused += out->recipients[i] != ERR_OK;
    }
    return p->live + p->refused > QUEUE_ROWS_MAX ? ERR_LIMIT : ERR_OK;
}

/* ---- loops ---- */

static enum err scan_header(struct plan *p, str header)
{
    str line;
    size_t max = 0;
    for (bool more = true; more && header.len;) {
        more = str_cut(header, '\n', &line, &header);
        if (str_empty(str_trim(line)))
            break;
        if (!str_starts_nocase(line, STR("Delivered-To:")))
            continue;
        if (p->ndelivered_to == max) {
            max = max ? max * 2 : 16;
            str *bigger = ARENA_ARRAY(&p->arena, str, max);
            if (!bigger)
                return ERR_NOMEM;
            if (p->ndelivered_to)
                memcpy(bigger, p->delivered_to, p->ndelivered_to * sizeof *bigger);
            p->delivered_to = bigger;
        }
        p->delivered_to[p->ndelivered_to++] = str_trim(str_skip(line, sizeof "Delivered-To:" - 1));
    }
    return ERR_OK;
}

/* Whom the message says it has been delivered to. */
static enum err find_loops(struct plan *p)
{
    size_t want = (size_t)MIN(p->e->size, (uint64_t)HEADER_SCAN_MAX), got = 0;
    if (!want)
        return ERR_OK;
    if (p->e->fd < 0)
        return scan_header(p, str_head(p->e->content, want));
    char *at = arena_alloc(&p->arena, want);
    if (!at)
        return ERR_NOMEM;
    TRY(file_read_at(p->e->fd, 0, at, want, &got));
    return scan_header(p, str_of(at, got));
}

/* ---- into an account ---- */

static enum err find_mailbox(struct account *a, bool junk, uint32_t *id)
{
    const struct mailbox *m = junk ? mailbox_by_role(a, ROLE_JUNK) : NULL;
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

static enum err put(struct deliver_ctx *d, uint64_t account, bool junk, struct message_new *m,
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
    enum err e = find_mailbox(a, junk, &mailbox);
    if (e == ERR_OK)
        e = message_add(a, mailbox, m, 1, token, &added, &result);
    account_close(a);
    return e;
}

static const struct target *only_target(const struct plan *p)
{
    const struct target *t = p->targets;
    assert(p->live == 1);
    while (t->looped)
        t++;
    return t;
}

static enum err deliver_directly(struct plan *p)
{
    const struct envelope *e = p->e;
    const struct target *t = only_target(p);
    struct message_new m = MESSAGE_NEW_INIT;
    m.fd = e->fd;
    m.data = e->content;
    m.len = e->size;
    m.trace = e->trace;
    m.mime = e->mime;
    return put(p->d, t->account, e->recipients[t->recipient].junk, &m, e->sender, t->address, NULL);
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
    return put(d, r->account, r->junk, &m, q->envelope.sender, r->address, &token);
}

static uint64_t pause_ms(uint32_t attempts)
{
    return MIN((uint64_t)PAUSE_FIRST_MS << MIN(attempts, 20u), (uint64_t)PAUSE_LAST_MS);
}

#define AGE_MAX_MS (5ull * 24 * 3600 * 1000)

/* What became of a row. */
struct outcome {
    const struct queue_recipient *row;
    enum err err;
};

/* It ends: in its account, or back to the sender when it never will work. Or it stays, to be tried
 * again. */
static struct queue_result result_of(struct deliver_ctx *d, const struct queue_message *q,
                                     const struct outcome *o)
{
    uint64_t now = clock_wall_ms(), age = d->age_max_ms ? d->age_max_ms : AGE_MAX_MS;
    const struct queue_recipient *r = o->row;
    if (o->err == ERR_OK)
        return (struct queue_result){.n = r->n};
    bool ends = err_class(o->err) == ERR_CLASS_PERM || now >= q->created_ms + age;
    return (struct queue_result){.n = r->n,
                                 .to = ends ? 0 : QUEUE_LOCAL,
                                 .due_ms = now + pause_ms(r->attempts),
                                 .counted = true,
                                 .error = o->err,
                                 .status = str_c(err_info(o->err)->enhanced),
                                 .reply = str_c(err_text(o->err))};
}

/* Does it give the sender something to hear of? */
static bool item_of(const struct outcome *o, const struct queue_result *x, struct bounce_item *out)
{
    *out = (struct bounce_item){.row = o->row, .action = DSN_DELIVERED};
    if (o->err == ERR_OK)
        return o->row->notify & NOTIFY_SUCCESS;
    out->action = DSN_FAILED;
    out->status = x->status;
    out->explanation = x->reply;
    if (x->status.len && x->status.data[0] != '5')
        out->status = STR("5.4.7"); /* RFC 3463 3.5: the time is over */
    return x->to == 0;
}

static void say_failed(const struct outcome *o, const struct queue_result *x, enum err noted)
{
    const struct queue_recipient *r = o->row;
    if (o->err != ERR_OK)
        LOG_WARN("deliver", "%s%s queue=%llu recipient=%u account=%llu cause=%s",
                 x->to ? "later" : "given up", noted == ERR_OK ? "" : " (not noted)",
                 (unsigned long long)r->id, r->n, (unsigned long long)r->account, err_name(o->err));
}

/* One commit for a page of rows, with one report about those that the sender is to hear of. */
static enum err settle_page(struct deliver_ctx *d, const struct queue_message *q,
                            const struct outcome *all, size_t n)
{
    ARENA_AUTO struct arena arena = ARENA_INIT(1 << 18);
    struct queue_result *results = ARENA_ARRAY(&arena, struct queue_result, n);
    struct bounce_item *items = ARENA_ARRAY(&arena, struct bounce_item, n);
    size_t told = 0;
    if (!results || !items)
        return ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        results[i] = result_of(d, q, &all[i]);
        told += item_of(&all[i], &results[i], &items[told]);
    }
    enum err e = bounce_settle(d, q, QUEUE_LOCAL, 0, results, n, items, told);
    for (size_t i = 0; i < n; i++)
        say_failed(&all[i], &results[i], e);
    return e == ERR_CONFLICT || e == ERR_NOT_FOUND ? ERR_OK : e; /* ended already is fine */
}

struct spread {
    struct deliver_ctx *d;
    const struct queue_message *q;
    const struct queue_recipient *rows;
    size_t n, next, noutcomes;
    struct outcome *outcomes; /* in the order in which they came */
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
        enum err e = r->account ? put_row(s->d, s->q, r, s->mime) : r->last_error;
        if (e != ERR_CANCELED)
            s->outcomes[s->noutcomes++] = (struct outcome){r, e};
    }
}

static enum err spread(struct spread *s)
{
    struct fiber_group group;
    enum err first = ERR_OK;
    fiber_group_init(&group);
    for (size_t i = 1; fiber_current() && i < MIN(s->n, (size_t)WORKERS); i++)
        if (fiber_start(&group, "deliver", spread_work, s) != ERR_OK)
            break; /* then those that are there do it */
    spread_work(s);
    if (fiber_current())
        fiber_group_join(&group);
    for (size_t at = 0; at < s->noutcomes; at += QUEUE_SETTLE_MAX) {
        enum err e = settle_page(s->d, s->q, s->outcomes + at,
                                 MIN(s->noutcomes - at, (size_t)QUEUE_SETTLE_MAX));
        if (first == ERR_OK)
            first = e;
    }
    return first;
}

void deliver_rows(struct deliver_ctx *d, const struct queue_message *q,
                  const struct queue_recipient *rows, size_t n, str mime)
{
    ARENA_AUTO struct arena arena = ARENA_INIT(1 << 20);
    struct outcome *outcomes = ARENA_ARRAY(&arena, struct outcome, n);
    if (!outcomes)
        return; /* deliver_recover() does it */
    struct spread s = {.d = d, .q = q, .rows = rows, .n = n, .outcomes = outcomes, .mime = mime};
    enum err e = spread(&s);
    if (e != ERR_OK)
        LOG_WARN("deliver", "later queue=%llu cause=%s", (unsigned long long)q->id, err_name(e));
}

/* FUTURERELEASE (RFC 4865). */
static bool is_held(const struct envelope *e) { return e->hold_until > clock_wall_s(); }

static struct queue_recipient row_for(const struct envelope_recipient *r)
{
    return (struct queue_recipient){
        .address = r->address,
        .original = r->address,
        .orcpt = r->orcpt,
        .notify = r->notify,
        .junk = r->junk,
    };
}

/* A row for each target; with one answer for all, also one for each recipient that is refused. */
static size_t fill_rows(const struct plan *p, const struct deliver_result *out,
                        struct queue_recipient *rows)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++) {
        const struct target *t = &p->targets[i];
        if (t->looped)
            continue;
        rows[n] = row_for(&p->e->recipients[t->recipient]);
        rows[n].state = t->account ? QUEUE_LOCAL : QUEUE_READY;
        rows[n].account = t->account;
        rows[n++].address = t->address;
    }
    for (size_t i = 0; p->e->one_answer && i < p->e->nrecipients; i++) {
        if (out->recipients[i] == ERR_OK)
            continue;
        rows[n] = row_for(&p->e->recipients[i]);
        rows[n].state = QUEUE_LOCAL;
        rows[n++].last_error = out->recipients[i];
    }
    return n;
}

static enum err deliver_by_queue(struct plan *p, struct deliver_result *out)
{
    struct queue_recipient *rows =
        ARENA_ARRAY(&p->arena, struct queue_recipient, p->live + p->refused);
    struct queue_message q;
    if (!rows)
        return ERR_NOMEM;
    size_t n = fill_rows(p, out, rows);
    TRY(queue_add(accounts_store(p->d->accounts), p->e, rows, n, &q));
    /* From here on it is durable and accepted; what fails below is done by deliver_recover(). */
    for (size_t i = 0; p->e->one_answer && i < p->e->nrecipients; i++)
        out->recipients[i] = ERR_OK;
    if (!is_held(p->e))
        deliver_rows(p->d, &q, rows, n, p->e->mime);
    return ERR_OK;
}

/* One commit in the only account, unless somebody wants to hear that it is there, or wants it
 * later, or another recipient must be told of. */
static bool is_direct(const struct plan *p)
{
    if (p->live != 1 || is_held(p->e) || (p->refused && p->e->one_answer))
        return false;
    const struct target *t = only_target(p);
    return t->account && !(p->e->recipients[t->recipient].notify & NOTIFY_SUCCESS);
}

/* ---- the whole ---- */

static enum err deliver(struct plan *p, struct deliver_result *out)
{
    TRY(find_loops(p));
    TRY(resolve(p, out));
    if (p->live == 0)
        return ERR_OK; /* each has its reason */
    if (!is_direct(p))
        return deliver_by_queue(p, out);
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
    struct plan p = {.d = d,
                     .e = e,
                     .arena = ARENA_INIT(DELIVER_BYTES_MAX),
                     .scratch = ARENA_INIT(RESOLVE_BYTES_MAX)};
    enum err err = deliver(&p, out);
    arena_free(&p.arena);
    arena_free(&p.scratch);
    for (size_t i = 0; err != ERR_OK && i < e->nrecipients; i++)
        out->recipients[i] = err;
    return err;
}

/* ---- after a crash, and again ---- */

static enum err account_exists(struct deliver_ctx *d, uint64_t id)
{
    ARENA_AUTO struct arena arena = ARENA_INIT(1 << 16);
    struct account_entry entry;
    return directory_account_get(d->directory, id, &arena, &entry);
}

/* The rows that are for us now; those whose account is gone are nobody's. */
static enum err choose_due(struct deliver_ctx *d, struct queue_recipient *rows, size_t *n,
                           uint64_t now_ms)
{
    size_t kept = 0;
    for (size_t i = 0; i < *n; i++) {
        struct queue_recipient *r = &rows[i];
        if (r->state != QUEUE_LOCAL || r->due_ms > now_ms)
            continue;
        enum err e = r->account ? account_exists(d, r->account) : ERR_OK;
        if (e != ERR_OK && e != ERR_NOT_FOUND)
            return e;
        if (e == ERR_NOT_FOUND) {
            r->account = 0;
            r->last_error = ERR_NO_USER;
        }
        rows[kept++] = *r;
    }
    *n = kept;
    return ERR_OK;
}

static enum err recover_message(struct deliver_ctx *d, uint64_t id, uint64_t now_ms)
{
    struct store *s = accounts_store(d->accounts);
    ARENA_AUTO struct arena arena = ARENA_INIT(8 << 20);
    BUF_AUTO struct buf mime = BUF_INIT(STORE_VALUE_MAX);
    struct queue_message q;
    struct queue_recipient *rows;
    size_t n;
    TRY(queue_get(s, id, &arena, &q));
    TRY(queue_get_mime(s, id, &mime));
    TRY(queue_recipients(s, id, &arena, &rows, &n));
    TRY(choose_due(d, rows, &n, now_ms));
    if (n > 0)
        deliver_rows(d, &q, rows, n, buf_str(&mime));
    return ERR_OK;
}

#define DUE_PAGE 256

/* A page of due rows at a time; foreign rows among them wait for the relay and are passed over. One
 * message's trouble does not keep the others. */
static enum err recover_shard(struct deliver_ctx *d, unsigned shard, uint64_t due_ms)
{
    struct queue_due due[DUE_PAGE];
    struct queue_due after = {0};
    enum err first = ERR_OK;
    uint64_t done = 0;
    size_t got;
    do {
        TRY(queue_due_after(accounts_store(d->accounts), shard, &after, due_ms, due, DUE_PAGE,
                            &got));
        for (size_t i = 0; i < got; i++) {
            after = due[i];
            if (due[i].state != QUEUE_LOCAL || due[i].id == done)
                continue;
            done = due[i].id;
            enum err e = recover_message(d, done, due_ms);
            if (e == ERR_CANCELED)
                return e;
            if (first == ERR_OK && e != ERR_NOT_FOUND) /* it has ended meanwhile */
                first = e;
        }
    } while (got == DUE_PAGE);
    return first;
}

enum err deliver_recover(struct deliver_ctx *d, uint64_t due_ms)
{
    enum err first = ERR_OK;
    for (unsigned shard = 0; shard < STORE_QUEUE_SHARDS; shard++) {
        enum err e = recover_shard(d, shard, due_ms);
        if (first == ERR_OK)
            first = e; /* the other shards go on */
    }
    return first;
}
