/* SPDX-License-Identifier: Apache-2.0 */
#include "app/command.h"
#include "app/house_queue.h"
#include "base/num.h"
#include "core/queue.h"
#include "os/clock.h"

#include <stdio.h>

static const char *state_name(enum queue_state s)
{
    static const char *names[] = {"", "local", "ready", "active", "held"};
    return (size_t)s < ARRAY_LEN(names) ? names[s] : "";
}

static void show_recipient(struct report *r, const struct queue_recipient *q)
{
    report_item(r);
    report_u64(r, "n", q->n);
    report_str(r, "address", q->address);
    report_str(r, "state", str_c(state_name(q->state)));
    report_str(r, "original", q->original);
    report_u64(r, "attempts", q->attempts);
    report_time(r, "due", (int64_t)(q->due_ms / 1000));
    report_time(r, "last", (int64_t)(q->last_ms / 1000));
    report_str(r, "status", q->last_status);
    report_str(r, "host", q->last_host);
    report_str(r, "reply", q->last_reply);
    report_item_end(r);
}

/* A string: readers of JSON that keep numbers as doubles would round it. */
static void show_id(struct report *r, uint64_t id)
{
    char text[24];
    report_str(r, "id",
               str_of(text, (size_t)snprintf(text, sizeof(text), "%llu", (unsigned long long)id)));
}

static void show_message(struct report *r, const struct queue_message *m, size_t recipients)
{
    show_id(r, m->id);
    report_str(r, "sender", m->envelope.sender);
    report_u64(r, "size", m->trace_len + m->content_len);
    report_time(r, "queued", (int64_t)(m->created_ms / 1000));
    report_u64(r, "recipients", recipients);
}

/* A message a line; in JSON each holds its recipients. */
static bool list_one(void *arg, const struct queue_message *m,
                     const struct queue_recipient *recipients, size_t n)
{
    struct command_run *r = arg;
    report_item(&r->report);
    show_id(&r->report, m->id);
    report_str(&r->report, "sender", m->envelope.sender);
    report_u64(&r->report, "size", m->trace_len + m->content_len);
    report_time(&r->report, "queued", (int64_t)(m->created_ms / 1000));
    if (r->json) {
        report_list(&r->report, "recipients");
        for (size_t i = 0; i < n; i++)
            show_recipient(&r->report, &recipients[i]);
        report_list_end(&r->report);
    } else {
        for (size_t i = 0; i < n; i++)
            buf_addf(r->report.out, "  %.*s(%s)", STR_ARG(recipients[i].address),
                     state_name(recipients[i].state));
    }
    report_item_end(&r->report);
    return true;
}

static enum err take_filter(struct command_run *r, struct queue_filter *f)
{
    const str *sender = command_option(r, "sender"), *to = command_option(r, "recipient");
    const str *state = command_option(r, "state");
    uint64_t n = 0;
    *f = (struct queue_filter){.sender = sender ? *sender : STR_NONE,
                               .recipient = to ? *to : STR_NONE};
    for (unsigned i = QUEUE_LOCAL; state && i <= QUEUE_HELD; i++)
        if (str_eq(*state, str_c(state_name(i))))
            f->states = 1u << i;
    if (state && !f->states)
        return command_fail(r, ERR_INVALID, "--state is one of local, ready, active, held.");
    TRY(command_count_option(r, "limit", UINT32_MAX, &n));
    f->limit = n;
    return ERR_OK;
}

enum err queue_cmd_list(struct command_run *r)
{
    struct queue_filter f;
    TRY(take_filter(r, &f));
    report_list(&r->report, "messages");
    do {
        TRY(queue_list(r->admin->directory->store, &f, list_one, r, &f.after));
    } while (f.after != 0 && !f.limit);
    report_list_end(&r->report);
    return ERR_OK;
}

static enum err take_id(struct command_run *r, uint64_t *id, uint32_t *n)
{
    *n = QUEUE_ALL;
    if (!num_parse_u64(r->args[0], UINT64_MAX, id))
        return command_fail(r, ERR_INVALID, "%.*s is not the ID of a message.",
                            STR_ARG(r->args[0]));
    if (r->nargs > 1 && !num_parse_u32(r->args[1], n))
        return command_fail(r, ERR_INVALID, "%.*s is not the number of a recipient.",
                            STR_ARG(r->args[1]));
    return ERR_OK;
}

static enum err failed(struct command_run *r, enum err e)
{
    if (e == ERR_NOT_FOUND)
        return command_fail(r, e, "There is no such message or recipient: %.*s.",
                            STR_ARG(r->args[0]));
    return e;
}

/* The message that was named, shown, and its recipients. n: the one that was named, or QUEUE_ALL.
 */
static enum err show_named(struct command_run *r, struct queue_recipient **recipients,
                           size_t *count, uint32_t *n) WAITS
{
    uint64_t id;
    struct queue_message m;
    TRY(take_id(r, &id, n));
    enum err e = queue_get(r->admin->directory->store, id, &r->arena, &m);
    if (e == ERR_OK)
        e = queue_recipients(r->admin->directory->store, id, &r->arena, recipients, count);
    if (e != ERR_OK)
        return failed(r, e);
    show_message(&r->report, &m, *count);
    return ERR_OK;
}

enum err queue_cmd_show(struct command_run *r)
{
    uint32_t n;
    struct queue_recipient *recipients;
    size_t count;
    TRY(show_named(r, &recipients, &count, &n));
    report_list(&r->report, "recipient_rows");
    for (size_t i = 0; i < count; i++)
        show_recipient(&r->report, &recipients[i]);
    report_list_end(&r->report);
    return ERR_OK;
}

static enum err say_changed(struct command_run *r, enum err e, size_t changed, const char *what)
{
    if (e != ERR_OK)
        return failed(r, e);
    report_u64(&r->report, "changed", changed);
    report_say(&r->report, "%s: %zu recipients.", what, changed);
    return ERR_OK;
}

enum err queue_cmd_hold(struct command_run *r)
{
    uint64_t id;
    uint32_t n;
    size_t changed = 0;
    TRY(take_id(r, &id, &n));
    enum err e = queue_hold(r->admin->directory->store, id, n, &changed);
    return say_changed(r, e, changed, "Held");
}

/* Also where a destination is left alone for a while: what is due already waits for that only. */
static void try_now(struct command_run *r) WAITS
{
    if (r->admin->house)
        house_queue_unblock(r->admin->house);
}

enum err queue_cmd_release(struct command_run *r)
{
    uint64_t id;
    uint32_t n;
    size_t changed = 0;
    TRY(take_id(r, &id, &n));
    enum err e = queue_release(r->admin->directory->store, id, n, clock_wall_ms(), &changed);
    try_now(r);
    return say_changed(r, e, changed, "Released");
}

enum err queue_cmd_remove(struct command_run *r)
{
    uint64_t id;
    uint32_t n;
    size_t changed = 0;
    TRY(take_id(r, &id, &n));
    enum err e = queue_remove(r->admin->directory->store, id, n, &changed);
    return say_changed(r, e, changed, "Removed");
}

/* ---- again, now ---- */

struct retry {
    struct store *store;
    size_t changed;
    enum err err;
};

static bool retry_one(void *arg, const struct queue_message *m,
                      const struct queue_recipient *recipients, size_t n)
{
    struct retry *t = arg;
    size_t changed = 0;
    (void)recipients;
    (void)n;
    t->err = queue_retry(t->store, m->id, QUEUE_ALL, clock_wall_ms(), &changed);
    if (t->err == ERR_NOT_FOUND) /* it has left meanwhile */
        t->err = ERR_OK;
    t->changed += changed;
    return t->err == ERR_OK;
}

enum err queue_cmd_retry(struct command_run *r)
{
    struct retry t = {.store = r->admin->directory->store};
    if (r->nargs > 0) {
        uint64_t id;
        uint32_t n;
        TRY(take_id(r, &id, &n));
        enum err e = queue_retry(t.store, id, n, clock_wall_ms(), &t.changed);
        try_now(r);
        return say_changed(r, e, t.changed, "To be tried now");
    }
    struct queue_filter f;
    TRY(take_filter(r, &f));
    do {
        TRY(queue_list(t.store, &f, retry_one, &t, &f.after));
    } while (f.after != 0 && t.err == ERR_OK);
    try_now(r);
    return say_changed(r, t.err, t.changed, "To be tried now");
}

/* ---- what has been tried ---- */

static enum err trace_recipient(struct command_run *r, const struct queue_recipient *q)
{
    struct queue_attempt attempts[QUEUE_LOG_MAX];
    size_t n = 0;
    TRY(queue_attempts(r->admin->directory->store, q->id, q->n, &r->arena, attempts, &n));
    for (size_t i = 0; i < n; i++) {
        report_item(&r->report);
        report_u64(&r->report, "n", q->n);
        report_str(&r->report, "address", q->address);
        report_u64(&r->report, "attempt", attempts[i].number);
        report_time(&r->report, "at", (int64_t)(attempts[i].at_ms / 1000));
        report_str(&r->report, "status", attempts[i].status);
        report_str(&r->report, "host", attempts[i].host);
        report_str(&r->report, "reply", attempts[i].reply);
        report_item_end(&r->report);
    }
    return ERR_OK;
}

enum err queue_cmd_trace(struct command_run *r)
{
    uint32_t n;
    struct queue_recipient *recipients;
    size_t count;
    TRY(show_named(r, &recipients, &count, &n));
    report_list(&r->report, "attempts");
    for (size_t i = 0; i < count; i++)
        if (n == QUEUE_ALL || n == recipients[i].n)
            TRY(trace_recipient(r, &recipients[i]));
    report_list_end(&r->report);
    return ERR_OK;
}
