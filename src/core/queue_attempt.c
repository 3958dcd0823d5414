/* SPDX-License-Identifier: Apache-2.0
 *
 * One attempt: read, decide, lease, ask the relay, settle. What is left ACTIVE when it ends early
 * is taken back at the next start; nothing is ever ended without a verdict.
 */
#include "core/queue_schedule_private.h"

#include "base/log.h"
#include "base/num.h"
#include "core/bounce.h"
#include "core/forward.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/rand.h"

#include <assert.h>

#define ATTEMPT_BYTES_MAX (16u << 20) /* rows, route and report of one attempt */
#define DRESS_MAX 65536               /* bytes of fields put before a message */
#define STORE_TRIES 5
#define STORE_PAUSE_MS 200

struct attempt {
    struct queue_schedule *s;
    const struct lane_ref *ref;
    struct queue_tried *tried;
    struct arena *arena;
    struct queue_message m;
    struct queue_recipient *rows;
    size_t nrows;
    uint64_t now_ms, lease_ms;
    /* those that are settled together */
    const struct queue_recipient **chosen;
    struct queue_result *results;
    struct bounce_item *items;
    size_t n, nitems;
    struct transport_choice way;
    str sender; /* as it goes out */
    bool forwarded;
};

/* ---- reading ---- */

static bool is_due(const struct attempt *a, const struct queue_recipient *r)
{
    return (r->state == QUEUE_READY || r->state == QUEUE_ACTIVE) && r->due_ms <= a->now_ms;
}

static bool is_ours(const struct attempt *a, const struct queue_recipient *r)
{
    return is_due(a, r) && queue_target(a->s, queue_hash(queue_domain_of(r->address)),
                                        queue_sender_hash(&a->m.envelope)) == a->ref->target;
}

static enum err read_message(struct attempt *a) WAITS
{
    a->now_ms = clock_wall_ms();
    TRY(queue_get(a->s->store, a->ref->id, a->arena, &a->m));
    TRY(queue_recipients(a->s->store, a->ref->id, a->arena, &a->rows, &a->nrows));
    a->chosen = ARENA_ARRAY(a->arena, const struct queue_recipient *, QUEUE_JOB_RECIPIENTS);
    a->results = ARENA_ARRAY(a->arena, struct queue_result, QUEUE_JOB_RECIPIENTS);
    a->items = ARENA_ARRAY(a->arena, struct bounce_item, QUEUE_JOB_RECIPIENTS);
    return a->chosen && a->results && a->items ? ERR_OK : ERR_NOMEM;
}

/* ---- deciding ---- */

static bool is_over(const struct attempt *a)
{
    const struct envelope *e = &a->m.envelope;
    bool late =
        e->deliver_by > 0 && !e->deliver_by_notify && a->now_ms >= (uint64_t)e->deliver_by * 1000;
    return late || a->now_ms >= a->m.created_ms + a->s->o.policy.age_max_ms;
}

static bool wants_warning(const struct attempt *a, const struct queue_recipient *r)
{
    const struct envelope *e = &a->m.envelope;
    uint64_t after = a->s->o.policy.warn_after_ms;
    bool late =
        e->deliver_by > 0 && e->deliver_by_notify && a->now_ms >= (uint64_t)e->deliver_by * 1000;
    return !r->warned && (late || (after && a->now_ms >= a->m.created_ms + after));
}

static struct queue_result *result_add(struct attempt *a, const struct queue_recipient *r)
{
    assert(a->n < QUEUE_JOB_RECIPIENTS);
    a->chosen[a->n] = r;
    a->results[a->n] = (struct queue_result){.n = r->n, .to = QUEUE_READY, .due_ms = r->due_ms};
    return &a->results[a->n++];
}

static void item_add(struct attempt *a, const struct queue_recipient *r, enum dsn_action action,
                     const struct queue_result *x, str explanation)
{
    a->items[a->nitems++] = (struct bounce_item){
        .row = r,
        .action = action,
        .status = x->status,
        .host = x->host,
        .reply = x->reply,
        .explanation = explanation,
        .retry_until_s = action == DSN_DELAYED
                             ? (int64_t)((a->m.created_ms + a->s->o.policy.age_max_ms) / 1000)
                             : 0,
    };
}

/* The time is over: back to the sender, with what was heard last. */
static void result_expired(struct attempt *a, const struct queue_recipient *r,
                           struct queue_result *x, str last_error)
{
    bool by =
        a->m.envelope.deliver_by > 0 && a->now_ms >= (uint64_t)a->m.envelope.deliver_by * 1000;
    x->to = 0;
    x->status = STR("5.4.7"); /* RFC 3463 3.5; RFC 2852 4.1.4 */
    if (str_empty(x->reply)) {
        x->reply = str_empty(r->last_reply) ? last_error : r->last_reply;
        x->host = r->last_host;
    }
    item_add(a, r, DSN_FAILED, x,
             by ? STR("It could not be delivered by the time that was asked for.")
                : STR("It could not be delivered for days, and is given up."));
}

static void result_warn(struct attempt *a, const struct queue_recipient *r, struct queue_result *x)
{
    x->warned = true;
    struct queue_result said = *x;
    if (str_empty(said.reply)) {
        said.reply = r->last_reply;
        said.status = r->last_status;
        said.host = r->last_host;
    }
    item_add(a, r, DSN_DELAYED, &said, STR_NONE);
}

static uint64_t next_due(const struct attempt *a, const struct queue_recipient *r)
{
    const struct queue_policy *p = &a->s->o.policy;
    uint64_t pause = p->retry_first_ms;
    for (uint32_t i = 0; i < r->attempts && pause < p->retry_max_ms; i++)
        pause *= 2;
    pause = MIN(pause, p->retry_max_ms);
    uint64_t due = clock_wall_ms() + pause - pause / 10 + rand_below(pause / 5 + 1);
    /* The end is heard of in time (RFC 2852 4.1.4), however long the pause. */
    uint64_t over = a->m.created_ms + p->age_max_ms;
    if (a->m.envelope.deliver_by > 0)
        over = MIN(over, (uint64_t)a->m.envelope.deliver_by * 1000);
    return over > a->now_ms ? MIN(due, over) : due;
}

/* ---- settling ---- */

static enum err settle(struct attempt *a, enum queue_state from) WAITS
{
    enum err e = ERR_BUSY;
    if (a->n == 0)
        return ERR_OK;
    for (int i = 0; i < STORE_TRIES && e != ERR_OK; i++) {
        if (i > 0 && wait_until(deadline_in_ms((uint64_t)STORE_PAUSE_MS << i)) != ERR_TIMEOUT)
            return ERR_CANCELED;
        e = bounce_settle(a->s->o.deliver, &a->m, from, a->lease_ms, a->results, a->n, a->items,
                          a->nitems);
        if (e == ERR_CONFLICT || e == ERR_NOT_FOUND || e == ERR_CANCELED)
            return e; /* somebody changed or removed it by hand */
    }
    if (e != ERR_OK)
        LOG_ERROR("queue", "queue=%llu cannot be settled: %s", (unsigned long long)a->m.id,
                  err_text(e));
    return e;
}

static void settled(struct attempt *a) { a->n = a->nitems = 0; }

/* Too old, or its sender is to be told: without asking anybody. Returns what is left to try. */
static enum err settle_aged(struct attempt *a, bool relay, str last_error) WAITS
{
    bool over = is_over(a);
    for (size_t i = 0; i < a->nrows; i++) {
        const struct queue_recipient *r = &a->rows[i];
        if (!is_ours(a, r) || (!over && (relay || !wants_warning(a, r))))
            continue;
        if (a->n == QUEUE_JOB_RECIPIENTS) {
            a->tried->more = true;
            break;
        }
        struct queue_result *x = result_add(a, r);
        if (over)
            result_expired(a, r, x, last_error);
        else
            result_warn(a, r, x);
    }
    enum err e = settle(a, QUEUE_READY);
    settled(a);
    return over && e == ERR_OK ? ERR_NOT_FOUND : e;
}

/* ---- choosing ---- */

static enum err same_sender(struct attempt *a, const struct queue_recipient *r, bool *same) WAITS
{
    str sender;
    TRY(forward_sender(a->s->o.deliver->directory, &a->m.envelope, r, a->arena, &sender));
    if (a->n == 0) {
        a->sender = sender;
        a->forwarded = sender.data != a->m.envelope.sender.data;
    }
    *same = str_eq(sender, a->sender);
    return ERR_OK;
}

/* Recipients of one domain (their hashes agree already) with one sender: one transaction. */
static enum err choose(struct attempt *a) WAITS
{
    for (size_t i = 0; i < a->nrows; i++) {
        const struct queue_recipient *r = &a->rows[i];
        bool same = false;
        if (!is_ours(a, r))
            continue;
        if (a->n == QUEUE_JOB_RECIPIENTS) {
            a->tried->more = true;
            break;
        }
        if (a->n > 0 &&
            !str_eq_nocase(queue_domain_of(r->address), queue_domain_of(a->chosen[0]->address))) {
            a->tried->more = true;
            continue;
        }
        TRY(same_sender(a, r, &same));
        if (same)
            result_add(a, r);
        else
            a->tried->more = true;
    }
    if (a->n == 0)
        return ERR_NOT_FOUND;
    return transport_choose(a->s->transport, a->chosen[0]->address, &a->m.envelope, a->arena,
                            &a->way);
}

/* Ways that lead nowhere. */
static enum err settle_here(struct attempt *a) WAITS
{
    for (size_t i = 0; i < a->n; i++) {
        struct queue_result *x = &a->results[i];
        x->to = a->way.action == TRANSPORT_HOLD ? QUEUE_HELD : 0;
        if (a->way.action == TRANSPORT_FAIL) {
            x->status = STR("5.7.1");
            x->reply = str_empty(a->way.text) ? STR("No mail goes there from here") : a->way.text;
            item_add(a, a->chosen[i], DSN_FAILED, x, STR_NONE);
        } else if (a->way.action == TRANSPORT_DISCARD) {
            LOG_INFO("queue", "discarded queue=%llu recipient=%.*s rule=route",
                     (unsigned long long)a->m.id, STR_ARG(a->chosen[i]->address));
        }
    }
    return settle(a, QUEUE_READY);
}

static enum err lease(struct attempt *a) WAITS
{
    uint32_t ns[QUEUE_JOB_RECIPIENTS];
    size_t n = a->n, kept = 0;
    for (size_t i = 0; i < n; i++)
        ns[i] = a->chosen[i]->n;
    a->lease_ms = a->now_ms + QUEUE_LEASE_MS;
    TRY(queue_lease(a->s->store, a->m.id, ns, &n, a->now_ms, a->lease_ms));
    for (size_t i = 0; i < a->n; i++) {
        bool taken = false;
        for (size_t k = 0; k < n; k++)
            taken = taken || ns[k] == a->chosen[i]->n;
        if (!taken)
            continue;
        a->chosen[kept] = a->chosen[i];
        a->results[kept++] = a->results[i];
    }
    a->n = kept;
    return ERR_OK;
}

/* ---- the bytes ---- */

struct copy {
    int fd;
    uint64_t at;
    enum err err;
};

static bool copy_piece(void *arg, str piece)
{
    struct copy *c = arg;
    c->err = file_write_all_at(c->fd, c->at, piece.data, piece.len);
    c->at += piece.len;
    return c->err == ERR_OK;
}

static enum err copy_blob(struct attempt *a, int fd, uint64_t at) WAITS
{
    struct copy c = {.fd = fd, .at = at};
    TRY(store_blob_pieces(a->s->store, &a->m.blob, 0, a->m.trace_len + a->m.content_len, copy_piece,
                          &c));
    return c.err;
}

static enum err content(struct attempt *a, int *fd, uint64_t *size) WAITS
{
    BUF_AUTO struct buf fields = BUF_INIT(DRESS_MAX);
    uint64_t bytes = a->m.trace_len + a->m.content_len;
    TRY(file_memory("queue", fd));
    TRY(copy_blob(a, *fd, 0));
    if (a->s->o.dress) {
        TRY(a->s->o.dress(a->s->o.dress_ctx, &a->m, a->forwarded, *fd, bytes, &fields));
        if (fields.len > 0) {
            TRY(file_write_all_at(*fd, 0, fields.data, fields.len));
            TRY(copy_blob(a, *fd, fields.len));
        }
    }
    *size = bytes + fields.len;
    return file_seal(*fd);
}

/* ---- asking, and what the answer means ---- */

static enum err ask(struct attempt *a, struct relay_report *report) WAITS
{
    FD_AUTO int fd = -1;
    struct envelope e = a->m.envelope;
    struct relay_recipient *to = ARENA_ARRAY(a->arena, struct relay_recipient, a->n);
    struct relay_job job = {.domain = queue_domain_of(a->chosen[0]->address),
                            .route = a->way.route,
                            .envelope = &e,
                            .recipients = to,
                            .nrecipients = a->n};
    if (!to)
        return ERR_NOMEM;
    e.sender = a->sender;
    for (size_t i = 0; i < a->n; i++)
        to[i] = (struct relay_recipient){a->chosen[i]->address, a->chosen[i]->orcpt,
                                         a->chosen[i]->notify};
    TRY(content(a, &fd, &job.size));
    job.fd = fd;
    enum err err = a->s->o.relay->attempt(a->s->o.relay->ctx, &job, a->arena, report);
    for (size_t i = 0; err == ERR_OK && a->s->o.note && i < report->nnotes; i++)
        a->s->o.note(a->s->o.note_ctx, job.domain, report->notes[i]);
    return err == ERR_OK && !report->verdicts ? ERR_UNKNOWN : err;
}

static void judge_failed(struct attempt *a, const struct queue_recipient *r, struct queue_result *x,
                         const struct relay_verdict *v)
{
    x->to = 0;
    item_add(a, r, DSN_FAILED, x, STR_NONE);
    LOG_INFO("queue", "refused queue=%llu recipient=%.*s code=%u", (unsigned long long)a->m.id,
             STR_ARG(r->address), v->code);
}

static void judge_temporary(struct attempt *a, const struct queue_recipient *r,
                            struct queue_result *x)
{
    x->counted = true;
    x->error = ERR_UNAVAILABLE;
    x->due_ms = next_due(a, r);
    if (is_over(a))
        result_expired(a, r, x, STR_NONE);
    else if (wants_warning(a, r))
        result_warn(a, r, x);
}

static void judge(struct attempt *a, size_t i, const struct relay_verdict *v)
{
    struct queue_result *x = &a->results[i];
    const struct queue_recipient *r = a->chosen[i];
    x->status = v->enhanced;
    x->host = v->host;
    x->reply = v->text;
    if (v->code > 0)
        x->reply = arena_fmt(a->arena, "%u %.*s", v->code, STR_ARG(v->text));
    switch (v->outcome) {
    case RELAY_DELIVERED:
    case RELAY_DELIVERED_NO_DSN:
        x->to = 0;
        LOG_INFO("queue", "sent queue=%llu recipient=%.*s host=%.*s reply=%.*s",
                 (unsigned long long)a->m.id, STR_ARG(r->address), STR_ARG(v->host),
                 STR_ARG(str_head(x->reply, 200)));
        if (v->outcome == RELAY_DELIVERED_NO_DSN && r->notify & NOTIFY_SUCCESS)
            item_add(a, r, DSN_RELAYED, x, STR_NONE); /* RFC 3461 5.2.2 */
        return;
    case RELAY_PERMANENT:
        judge_failed(a, r, x, v);
        return;
    case RELAY_TEMPORARY:
        break;
    }
    judge_temporary(a, r, x);
}

static void judge_all(struct attempt *a, const struct relay_report *report)
{
    size_t temporary = 0;
    for (size_t i = 0; i < a->n; i++) {
        const struct relay_verdict *v = &report->verdicts[i];
        judge(a, i, v);
        if (v->outcome != RELAY_TEMPORARY)
            continue;
        temporary++;
        if (a->tried->error.len == 0)
            buf_add(&a->tried->error, str_head(v->text, LANE_ERROR_MAX));
    }
    a->tried->outcome = temporary == 0 ? LANE_GOOD : report->connected ? LANE_SLOW : LANE_TROUBLE;
}

/* Nothing is known: the rows are READY again, soon. Nobody is told, nothing is lost. */
static void judge_nothing(struct attempt *a, enum err e)
{
    bool away = e == ERR_UNAVAILABLE || e == ERR_BUSY;
    uint64_t pause = away ? QUEUE_AWAY_PAUSE_MS : QUEUE_UNKNOWN_PAUSE_MS;
    a->tried->outcome = LANE_NOTHING;
    if (away)
        a->s->away_until_ms = deadline_in_ms(QUEUE_AWAY_PAUSE_MS);
    for (size_t i = 0; i < a->n; i++) {
        struct queue_result *x = &a->results[i];
        x->due_ms = clock_wall_ms() + pause;
        x->counted = !away;
        x->error = e;
        x->status = STR("4.3.0");
        x->reply = str_c(err_text(e));
        if (!away && err_class(e) == ERR_CLASS_PERM)
            x->due_ms = next_due(a, a->chosen[i]);
    }
    LOG_INFO("queue", "queue=%llu attempt without an answer: %s", (unsigned long long)a->m.id,
             err_name(e));
}

static enum err run(struct attempt *a, bool relay, str last_error) WAITS
{
    TRY(read_message(a));
    TRY(settle_aged(a, relay, last_error));
    if (!relay)
        return ERR_OK;
    TRY(choose(a));
    if (a->way.action > TRANSPORT_LMTP)
        return settle_here(a);
    TRY(lease(a));
    struct relay_report report = {0};
    enum err e = ask(a, &report);
    if (e == ERR_CANCELED)
        return e; /* the house ends: taken back at its next start */
    if (e == ERR_OK)
        judge_all(a, &report);
    else
        judge_nothing(a, e);
    return settle(a, QUEUE_ACTIVE);
}

void queue_attempt(struct queue_schedule *s, const struct lane_ref *ref, bool relay, str last_error,
                   struct queue_tried *out)
{
    ARENA_AUTO struct arena arena = ARENA_INIT(ATTEMPT_BYTES_MAX);
    struct attempt *a = ARENA_NEW(&arena, struct attempt);
    if (!a)
        return;
    *a = (struct attempt){.s = s, .ref = ref, .tried = out, .arena = &arena};
    enum err e = run(a, relay, last_error);
    if (e != ERR_OK && e != ERR_NOT_FOUND && e != ERR_CONFLICT && e != ERR_CANCELED)
        LOG_WARN("queue", "queue=%llu attempt failed here: %s", (unsigned long long)ref->id,
                 err_text(e));
}
