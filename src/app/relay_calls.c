/* SPDX-License-Identifier: Apache-2.0 */
#include "app/relay_calls.h"

#include "app/relay_wire.h"
#include "os/file.h"

#define ANSWER_MAX 262144
#define FETCH_ROOM 65536 /* of a frame, for what is not the body */

static enum err give(struct buf *row, struct arena *arena, str *out)
{
    if (!buf_ok(row))
        return ERR_LIMIT;
    return arena_dup(arena, buf_str(row), out) ? ERR_OK : ERR_NOMEM;
}

static enum err serve_dns_query(void *ctx, struct ipc_dns_query_args *a, struct arena *arena,
                                struct ipc_dns_query_results *out) WAITS
{
    struct relay_caller *c = ctx;
    const struct dns *dns = &c->relay->dns;
    enum dns_type type;
    if (!wire_dns_type_take(a->type, &type))
        return ERR_UNSUPPORTED;
    if (c->queries >= c->queries_max)
        return ERR_BUSY;
    ARENA_AUTO struct arena scratch = ARENA_INIT(ANSWER_MAX);
    struct dns_answer answer;
    c->queries++;
    enum err e = dns->query(dns->ctx, a->name, type, &scratch, &answer);
    c->queries--;
    TRY(e);
    BUF_AUTO struct buf row = BUF_INIT(ANSWER_MAX);
    wire_answer_put(&answer, &row);
    return give(&row, arena, &out->answer);
}

static enum err serve_attempt(void *ctx, struct ipc_attempt_args *a, struct arena *arena,
                              struct ipc_attempt_results *out) WAITS
{
    struct relay_caller *c = ctx;
    struct relay_job job;
    struct relay_report report = {0};
    uint64_t real = 0;
    TRY(wire_job_take(a->job, arena, &job));
    if (file_size(a->content, &real) != ERR_OK || real < a->size)
        return ERR_INVALID;
    job.fd = a->content;
    job.size = a->size;
    TRY(c->relay->attempt(c->relay->ctx, &job, arena, &report));
    BUF_AUTO struct buf row = BUF_INIT(IPC_FRAME_MAX - FETCH_ROOM);
    wire_report_put(&report, job.nrecipients, &row);
    return give(&row, arena, &out->report);
}

static enum err serve_fetch(void *ctx, struct ipc_fetch_args *a, struct arena *arena,
                            struct ipc_fetch_results *out) WAITS
{
    struct relay_caller *c = ctx;
    struct relay_fetch fetch;
    struct relay_fetched fetched = {0};
    TRY(wire_fetch_take(a->request, &fetch));
    if (fetch.answer_max > IPC_FRAME_MAX - FETCH_ROOM)
        fetch.answer_max = IPC_FRAME_MAX - FETCH_ROOM;
    TRY(c->relay->fetch(c->relay->ctx, &fetch, arena, &fetched));
    BUF_AUTO struct buf row = BUF_INIT(IPC_FRAME_MAX);
    wire_fetched_put(&fetched, &row);
    return give(&row, arena, &out->answer);
}

static enum err serve_exchange(void *ctx, struct ipc_exchange_args *a, struct arena *arena,
                               struct ipc_exchange_results *out) WAITS
{
    struct relay_caller *c = ctx;
    if (a->kind > RELAY_EXCHANGE_BANNER || a->port > UINT16_MAX)
        return ERR_INVALID;
    struct relay_exchange x = {.kind = (enum relay_exchange_kind)a->kind,
                               .host = a->host,
                               .port = (uint16_t)a->port,
                               .question = a->question,
                               .timeout_ms = a->timeout_ms};
    return c->relay->exchange(c->relay->ctx, &x, arena, &out->answer);
}

static enum err serve_scan(void *ctx, struct ipc_scan_args *a, struct arena *arena,
                           struct ipc_scan_results *out) WAITS
{
    struct relay_caller *c = ctx;
    struct relay_scan q;
    uint64_t real = 0;
    TRY(wire_scan_take(a->request, arena, &q));
    if (!file_is_sealed(a->content) || file_size(a->content, &real) != ERR_OK || real != a->size)
        return ERR_INVALID;
    if (c->scans >= RELAY_GATE_SCANS_MAX)
        return ERR_BUSY;
    q.fd = a->content;
    q.size = a->size;
    c->scans++;
    enum err e = c->relay->scan(c->relay->ctx, &q, arena, &out->json);
    c->scans--;
    return e;
}

const struct ipc_service relay_calls_for_gates = {
    .role = IPC_ROLE_RELAY,
    .scan = serve_scan,
    .dns_query = serve_dns_query,
};
const struct ipc_service relay_calls_for_house = {
    .role = IPC_ROLE_RELAY,
    .dns_query = serve_dns_query,
    .attempt = serve_attempt,
    .fetch = serve_fetch,
    .exchange = serve_exchange,
};
