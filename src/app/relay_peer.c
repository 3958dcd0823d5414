/* SPDX-License-Identifier: Apache-2.0 */
#include "app/relay_peer.h"

#include "app/relay_calls.h"
#include "app/relay_wire.h"
#include "base/num.h"
#include "core/scan.h"
#include "os/file.h"

/* ---- the link ---- */

static struct ipc_link *up(struct relay_peer *p) WAITS
{
    return ipc_slot_up(&p->slot, RELAY_WAIT_MS);
}

/* ---- the table ---- */

static enum err peer_query(void *ctx, str name, enum dns_type type, struct arena *arena,
                           struct dns_answer *out) WAITS
{
    struct ipc_link *link = up(ctx);
    struct ipc_dns_query_results r;
    *out = (struct dns_answer){.status = DNS_FAILED};
    if (!link)
        return ERR_UNAVAILABLE;
    TRY(ipc_dns_query(link, &(struct ipc_dns_query_args){name, type}, arena, &r));
    return wire_answer_take(r.answer, type, arena, out) == ERR_OK ? ERR_OK : ERR_UNAVAILABLE;
}

static enum err peer_attempt(void *ctx, const struct relay_job *job, struct arena *arena,
                             struct relay_report *out) WAITS
{
    struct ipc_link *link = up(ctx);
    BUF_AUTO struct buf row = BUF_INIT(IPC_FRAME_MAX - 4096);
    wire_job_put(job, &row);
    if (!link)
        return ERR_UNAVAILABLE;
    if (!buf_ok(&row))
        return ERR_LIMIT;
    struct ipc_attempt_results r;
    enum err e =
        ipc_attempt(link, &(struct ipc_attempt_args){buf_str(&row), job->size, job->fd}, arena, &r);
    if (e == ERR_UNAVAILABLE) /* it may have been delivered */
        return ERR_UNKNOWN;
    TRY(e);
    return wire_report_take(r.report, job->nrecipients, arena, out) == ERR_OK ? ERR_OK
                                                                              : ERR_UNKNOWN;
}

static enum err peer_fetch(void *ctx, const struct relay_fetch *f, struct arena *arena,
                           struct relay_fetched *out) WAITS
{
    struct ipc_link *link = up(ctx);
    BUF_AUTO struct buf row = BUF_INIT(IPC_FRAME_MAX - 4096);
    wire_fetch_put(f, &row);
    if (!link)
        return ERR_UNAVAILABLE;
    if (!buf_ok(&row))
        return ERR_LIMIT;
    struct ipc_fetch_results r;
    TRY(ipc_fetch(link, &(struct ipc_fetch_args){buf_str(&row)}, arena, &r));
    return wire_fetched_take(r.answer, f->answer_max, out) == ERR_OK ? ERR_OK : ERR_UNAVAILABLE;
}

static enum err peer_exchange(void *ctx, const struct relay_exchange *x, struct arena *arena,
                              str *answer) WAITS
{
    struct ipc_link *link = up(ctx);
    if (!link)
        return ERR_UNAVAILABLE;
    struct ipc_exchange_results r;
    TRY(ipc_exchange(link,
                     &(struct ipc_exchange_args){.kind = x->kind,
                                                 .host = x->host,
                                                 .port = x->port,
                                                 .question = x->question,
                                                 .timeout_ms = x->timeout_ms},
                     arena, &r));
    if (r.answer.len > RELAY_EXCHANGE_MAX)
        return ERR_UNAVAILABLE;
    *answer = r.answer;
    return ERR_OK;
}

/* Those that are too many wait here, not in the link, where DNS answers would wait behind them. */
static enum err peer_scan(void *ctx, const struct relay_scan *q, struct arena *arena,
                          str *json) WAITS
{
    struct relay_peer *p = ctx;
    BUF_AUTO struct buf row = BUF_INIT(IPC_FRAME_MAX - 4096);
    struct ipc_scan_results r;
    while (p->scans >= RELAY_GATE_SCANS_MAX)
        TRY(event_wait(&p->scan_ended, DEADLINE_NEVER)); /* the caller's scope has a deadline */
    struct ipc_link *link = up(p);
    wire_scan_put(q, &row);
    if (!link)
        return ERR_UNAVAILABLE;
    if (!buf_ok(&row))
        return ERR_LIMIT;
    p->scans++;
    enum err e = ipc_scan(link, &(struct ipc_scan_args){buf_str(&row), q->size, q->fd}, arena, &r);
    p->scans--;
    event_signal(&p->scan_ended);
    TRY(e);
    *json = r.json;
    return r.json.len <= SCAN_ANSWER_MAX ? ERR_OK : ERR_UNAVAILABLE;
}

void relay_peer_init(struct relay_peer *p, struct fiber_group *group)
{
    ipc_slot_init(&p->slot, "relay", NULL, NULL, group);
    p->scans = 0;
    event_init(&p->scan_ended);
    p->table = (struct relay){.ctx = p,
                              .attempt = peer_attempt,
                              .fetch = peer_fetch,
                              .exchange = peer_exchange,
                              .scan = peer_scan,
                              .dns = {.ctx = p, .query = peer_query}};
}
