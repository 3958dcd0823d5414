/* SPDX-License-Identifier: Apache-2.0 */
#include "core/bounce.h"

#include "base/code.h"
#include "base/log.h"
#include "base/num.h"
#include "base/utf8.h"
#include "core/forward.h"
#include "format/header.h"
#include "format/mime_cold.h"
#include "format/smtp_syntax.h"
#include "os/clock.h"
#include "os/rand.h"

#include <assert.h>
#include <string.h>

#define REPORT_MAX (2u << 20) /* bytes of one report */
#define RESOLVE_TRIES 3
#define RESOLVE_PAUSE_MS 500

bool bounce_wanted(const struct queue_message *m, const struct queue_recipient *r,
                   enum dsn_action action)
{
    const struct envelope *e = &m->envelope;
    if (str_empty(e->sender) || e->sender_failed || r->notify & NOTIFY_NEVER)
        return false;
    if (r->junk && !e->account) /* judged as junk when it came */
        return false;
    switch (action) {
    case DSN_FAILED:
        return !r->notify || r->notify & NOTIFY_FAILURE;
    case DSN_DELAYED:
        return !r->notify || r->notify & NOTIFY_DELAY;
    default:
        return r->notify & NOTIFY_SUCCESS;
    }
}

/* ---- the report ---- */

struct report {
    struct deliver_ctx *d;
    const struct queue_message *m;
    struct arena *arena;
    struct dsn dsn;
    struct dsn_recipient *items;
    struct buf original, content, mime;
    struct envelope envelope;
    struct queue_made made;
};

static void orcpt_split(str orcpt, struct dsn_recipient *out)
{
    if (!str_cut(orcpt, ';', &out->orcpt_type, &out->orcpt))
        out->orcpt_type = out->orcpt = STR_NONE;
}

static const char *status_of(enum dsn_action action)
{
    return action == DSN_FAILED ? "5.0.0" : action == DSN_DELAYED ? "4.0.0" : "2.0.0";
}

/* How much goes back: RET, but never a whole message for anything else than a failure. */
static enum err read_original(struct report *r) WAITS
{
    const struct queue_message *m = r->m;
    uint64_t size = m->trace_len + m->content_len;
    bool full = false;
    for (size_t i = 0; i < r->dsn.count; i++)
        full = full || r->items[i].action == DSN_FAILED;
    full = full && m->envelope.ret != SMTP_RET_HDRS && size <= BOUNCE_FULL_MAX &&
           m->envelope.body != SMTP_BODY_BINARYMIME;
    uint64_t want = full ? size : MIN(size, (uint64_t)BOUNCE_HEADER_MAX);
    TRY(store_blob_read(accounts_store(r->d->accounts), &m->blob, 0, want, &r->original));
    str text = buf_str(&r->original);
    if (!full) {
        text = str_head(text, header_size(text));
        size_t end = text.len; /* whole lines only, when the header is longer than what was read */
        while (end > 0 && text.data[end - 1] != '\n')
            end--;
        text = str_head(text, end);
    }
    r->dsn.full = full;
    r->dsn.original = text;
    r->dsn.original_8bit = !utf8_is_ascii(text);
    return ERR_OK;
}

static enum err render(struct report *r) WAITS
{
    const struct queue_message *m = r->m;
    uint8_t random[15];
    BUF_AUTO struct buf token = BUF_INIT(64);
    rand_bytes(random, sizeof random);
    code_base32(&token, str_of(random, sizeof random));
    str host = str_empty(r->d->host_name) ? STR("localhost") : r->d->host_name;
    r->dsn.reporting_mta = host;
    r->dsn.from = arena_fmt(r->arena, "postmaster@%.*s", STR_ARG(host));
    r->dsn.to = m->envelope.sender;
    r->dsn.message_id =
        arena_fmt(r->arena, "report.%.*s@%.*s", STR_ARG(buf_str(&token)), STR_ARG(host));
    r->dsn.boundary = arena_fmt(r->arena, "=_%.*s", STR_ARG(buf_str(&token)));
    r->dsn.envid = m->envelope.envid;
    r->dsn.queue_id = arena_fmt(r->arena, "%llu", (unsigned long long)m->id);
    r->dsn.now_s = clock_wall_s();
    r->dsn.arrival_s = (int64_t)(m->created_ms / 1000);
    r->dsn.recipients = r->items;
    TRY(read_original(r));
    dsn_render(&r->content, &r->dsn);
    if (!buf_ok(&r->content) || str_empty(r->dsn.from) || str_empty(r->dsn.boundary))
        return ERR_LIMIT;
    struct mime mime;
    ARENA_AUTO struct arena scratch = ARENA_INIT(MIME_ARENA_MAX);
    TRY(mime_parse(&scratch, buf_str(&r->content), &mime));
    TRY(mime_cold_encode(&scratch, &mime, &r->mime));
    return buf_ok(&r->mime) ? ERR_OK : ERR_LIMIT;
}

/* Where it goes: the sender's mailboxes here, or his host. */
static enum err address_report(struct report *r) WAITS
{
    struct resolution to = {0};
    str sender = r->m->envelope.sender;
    enum err e = ERR_BUSY;
    for (int i = 0; i < RESOLVE_TRIES && e != ERR_OK && err_class(e) == ERR_CLASS_TEMP; i++) {
        if (i > 0 && wait_until(deadline_in_ms(RESOLVE_PAUSE_MS)) != ERR_TIMEOUT)
            return ERR_CANCELED;
        e = forward_resolve(r->d->directory, sender, r->arena, &to);
    }
    TRY(e);
    size_t n = MIN(to.ntargets, (size_t)BOUNCE_ROWS_MAX);
    struct queue_recipient *rows = ARENA_ARRAY(r->arena, struct queue_recipient, n + 1);
    if (!rows)
        return ERR_NOMEM;
    for (size_t i = 0; i < n; i++)
        rows[i] = (struct queue_recipient){
            .state = to.targets[i].account ? QUEUE_LOCAL : QUEUE_READY,
            .account = to.targets[i].account,
            .address = to.targets[i].address,
            .original = sender,
            .notify = NOTIFY_NEVER, /* RFC 3461 6.2 */
        };
    r->envelope = (struct envelope){
        .fd = -1,
        .body = SMTP_BODY_8BITMIME,
        .smtputf8 = !utf8_is_ascii(sender),
        .helo = r->d->host_name,
        .mime = buf_str(&r->mime),
        .size = r->content.len,
    };
    r->made = (struct queue_made){
        .envelope = &r->envelope, .content = buf_str(&r->content), .rows = rows, .n = n};
    return n ? ERR_OK : ERR_NO_USER;
}

static enum err make(struct report *r, const struct bounce_item *items, size_t n) WAITS
{
    r->items = ARENA_ARRAY(r->arena, struct dsn_recipient, n);
    if (!r->items)
        return ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        const struct bounce_item *x = &items[i];
        if (!bounce_wanted(r->m, x->row, x->action))
            continue;
        struct dsn_recipient *d = &r->items[r->dsn.count++];
        *d = (struct dsn_recipient){
            .action = x->action,
            .address = x->row->address,
            .status = str_empty(x->status) ? str_c(status_of(x->action)) : x->status,
            .diagnostic = x->reply,
            .explanation = x->explanation,
            .last_attempt_s = clock_wall_s(),
            .retry_until_s = x->retry_until_s,
        };
        str_cut(x->host, ' ', &d->remote_mta, &(str){0}); /* "name [address]" */
        orcpt_split(x->row->orcpt, d);
    }
    if (r->dsn.count == 0)
        return ERR_NOT_FOUND;
    TRY(render(r));
    return address_report(r);
}

static void say_ends(const struct queue_message *m, const struct bounce_item *items, size_t n,
                     enum err report)
{
    static const char *names[] = {"failed", "delayed", "delivered", "relayed", "expanded"};
    for (size_t i = 0; i < n; i++)
        LOG_INFO("queue", "%s queue=%llu recipient=%.*s status=%.*s host=%.*s reply=%.*s report=%s",
                 names[items[i].action], (unsigned long long)m->id, STR_ARG(items[i].row->address),
                 STR_ARG(items[i].status), STR_ARG(items[i].host),
                 STR_ARG(str_head(items[i].reply, 200)), report == ERR_OK ? "yes" : "no");
}

/* Trouble that passes, so that the report can be made later. What lacks memory or is unreadable
 * would lack it again. */
static bool is_passing(enum err e)
{
    return err_class(e) == ERR_CLASS_TEMP && e != ERR_NOMEM && e != ERR_CORRUPT;
}

/* Nothing else would tell him: a row that ends as delivered needs no report so much. */
static bool waits_for_report(const struct queue_message *m, const struct bounce_item *items,
                             size_t nitems, uint32_t n)
{
    for (size_t i = 0; i < nitems; i++)
        if (items[i].row->n == n && bounce_wanted(m, items[i].row, items[i].action))
            return items[i].action == DSN_FAILED || items[i].action == DSN_DELAYED;
    return false;
}

/* Without the report only those are settled that can do without it; the others stay as they are and
 * are tried again. Returns why. */
static enum err settle_others(struct report *r, enum queue_state from, uint64_t lease_ms,
                              const struct queue_result *results, size_t n,
                              const struct bounce_item *items, size_t nitems, enum err why) WAITS
{
    struct queue_result *kept = ARENA_ARRAY(r->arena, struct queue_result, n);
    size_t nkept = 0;
    if (why == ERR_CANCELED || !kept)
        return why;
    for (size_t i = 0; i < n; i++)
        if (!waits_for_report(r->m, items, nitems, results[i].n))
            kept[nkept++] = results[i];
    if (nkept == 0)
        return why;
    enum err e =
        queue_settle(accounts_store(r->d->accounts), r->m->id, from, lease_ms, kept, nkept, NULL);
    return nkept == n ? e : why;
}

enum err bounce_settle(struct deliver_ctx *d, const struct queue_message *m, enum queue_state from,
                       uint64_t lease_ms, const struct queue_result *results, size_t n,
                       const struct bounce_item *items, size_t nitems)
{
    ARENA_AUTO struct arena arena = ARENA_INIT(4 << 20);
    struct report r = {.d = d,
                       .m = m,
                       .arena = &arena,
                       .original = BUF_INIT(BOUNCE_FULL_MAX),
                       .content = BUF_INIT(REPORT_MAX),
                       .mime = BUF_INIT(STORE_VALUE_MAX)};
    enum err made = nitems ? make(&r, items, nitems) : ERR_NOT_FOUND;
    struct store *s = accounts_store(d->accounts);
    enum err e =
        is_passing(made)
            ? settle_others(&r, from, lease_ms, results, n, items, nitems, made)
            : queue_settle(s, m->id, from, lease_ms, results, n, made == ERR_OK ? &r.made : NULL);
    if (e == ERR_LIMIT && made == ERR_OK) {
        made = e; /* a report that cannot be made must not keep the rows */
        e = queue_settle(s, m->id, from, lease_ms, results, n, NULL);
    }
    if (e == ERR_OK) {
        say_ends(m, items, nitems, made);
        if (made == ERR_OK)
            deliver_rows(d, &r.made.out, r.made.rows, r.made.n, buf_str(&r.mime));
    }
    buf_free(&r.original);
    buf_free(&r.content);
    buf_free(&r.mime);
    return e;
}
