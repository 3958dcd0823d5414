/* SPDX-License-Identifier: Apache-2.0
 *
 * One attempt: which hosts, how safely, over which connection, and what each recipient is told in
 * the end. A host that cannot be used is passed over and its fault remembered; when no host is
 * left, the last fault is the verdict on those who are still undecided.
 */
#include "proto/relay/relay.h"

#include "base/log.h"
#include "base/num.h"
#include "format/smtp_syntax.h"
#include "os/clock.h"
#include "os/file.h"
#include "proto/relay/content.h"
#include "proto/relay/dane.h"
#include "proto/relay/dial.h"
#include "proto/relay/exchange.h"
#include "proto/relay/mx.h"
#include "proto/relay/notes.h"
#include "proto/relay/pool.h"
#include "proto/relay/scan.h"
#include "proto/relay/sts.h"

#define REAP_MS 1000

struct relay_agent {
    struct relay_config config;
    struct dns dns;
    struct tls_client *any, *verify;
    struct pool pool;
    struct sts *sts;
    struct fiber_group group; /* the reaper */
    struct arena arena;       /* holds this struct */
};

/* How the connection to one host is to be secured. */
enum level { LEVEL_NEVER, LEVEL_MAY, LEVEL_ENCRYPT, LEVEL_VERIFY, LEVEL_DANE };
struct plan {
    enum level level;
    struct dane dane;
    const char *by; /* "DANE", "MTA-STS", "name" */
    bool testing;   /* a policy that is only tried: without it when it fails (RFC 8461 5) */
    struct report_tls_note note; /* its policy, for TLS reports */
};

struct attempt {
    struct relay_agent *agent;
    struct relay_config config;
    const struct relay_job *job;
    struct arena *arena;
    struct relay_report *report;
    bool *decided;
    struct smtp_content content;
    str helo;
    struct mta_sts_policy sts;
    enum err sts_fetched;
    bool mx_secure;
    struct relay_verdict
        fault; /* of the host tried last; its outcome is permanent only if all were */
    bool faulted;
};

/* ---- faults ---- */

static void fault_at(struct attempt *a, enum relay_outcome outcome, uint16_t code, str enhanced,
                     str text, str host)
{
    struct relay_verdict v = {.outcome = outcome, .code = code};
    if (a->faulted && a->fault.outcome == RELAY_TEMPORARY && outcome == RELAY_PERMANENT)
        return; /* another host may be back later */
    if (!arena_dup(a->arena, enhanced, &v.enhanced) || !arena_dup(a->arena, text, &v.text) ||
        !arena_dup(a->arena, host, &v.host))
        return;
    a->fault = v;
    a->faulted = true;
}

static void fault(struct attempt *a, enum relay_outcome outcome, const char *enhanced, str text)
{
    fault_at(a, outcome, 0, str_c(enhanced), text, STR_NONE);
}

static str host_text(struct attempt *a, str name, const struct address *at)
{
    BUF_AUTO struct buf ip = BUF_INIT(64);
    address_render(at, &ip);
    if (str_starts(name, STR("[")))
        return name;
    return arena_fmt(a->arena, "%.*s [%.*s]", STR_ARG(name), STR_ARG(buf_str(&ip)));
}

/* In the remote's own words when it said something, else in ours. A refused greeting or hello is
 * this host's state, not the message's: it stays temporary. */
static void fault_said(struct attempt *a, const struct smtp_client *c, enum err e,
                       const char *enhanced, const char *doing, str host)
{
    struct smtp_said said = smtp_client_said(c);
    if (said.code >= 400) {
        fault_at(a, RELAY_TEMPORARY, said.code, str_c(enhanced), said.text, host);
        return;
    }
    str text = arena_fmt(a->arena, "%s with %.*s: %s", doing, STR_ARG(host), err_text(e));
    fault(a, RELAY_TEMPORARY, enhanced, text);
}

static bool all_decided(const struct attempt *a)
{
    for (size_t i = 0; i < a->job->nrecipients; i++) {
        if (!a->decided[i])
            return false;
    }
    return true;
}

static void decide_rest(struct attempt *a)
{
    if (!a->faulted)
        fault(a, RELAY_TEMPORARY, "4.4.1", STR("No host of the destination could be tried"));
    for (size_t i = 0; i < a->job->nrecipients; i++) {
        if (!a->decided[i])
            a->report->verdicts[i] = a->fault;
        a->decided[i] = true;
    }
}

/* ---- for TLS reports ---- */

/* Mail by MX, whose policy is the domain's own to know about; but reports are not in reports. */
static bool is_noted(const struct attempt *a)
{
    return a->job->route.kind == RELAY_MX && a->job->route.tls == RELAY_TLS_OPPORTUNISTIC &&
           !a->job->envelope->tls_report;
}

/* failure: empty for a session that is as its policy wants it. */
static void note(struct attempt *a, const struct report_tls_note *policy, str failure, str host,
                 const struct address *at, str reason)
{
    struct report_tls_note n = *policy;
    BUF_AUTO struct buf ip = BUF_INIT(64);
    if (!is_noted(a))
        return;
    if (!str_empty(failure)) {
        if (at)
            address_render(at, &ip);
        n.failure = (struct tls_report_failure){
            .type = failure, .mx = host, .receiving_ip = buf_str(&ip), .reason = reason};
    }
    notes_add(a->report, a->arena, &n);
}

/* ---- how safely ---- */

/* False: the host is not to be used; the fault says why. */
static bool plan_opportunistic(struct attempt *a, str host, uint16_t port,
                               const struct mx_addresses *at, struct plan *p) WAITS
{
    *p = (struct plan){.level = LEVEL_MAY, .note = notes_of_none()};
    if (a->job->envelope->tls_report)
        return true; /* RFC 8460 3: reports go out however TLS fails */
    if (a->config.dane && a->mx_secure && at->secure) {
        p->dane = dane_find(&a->agent->dns, host, at->canonical, port, a->arena);
        if (p->dane.status == DANE_FAILED) {
            p->note = notes_of_dane(&p->dane, a->arena);
            note(a, &p->note, STR("dnssec-invalid"), host, NULL, STR_NONE);
            fault(a, RELAY_TEMPORARY, "4.7.5",
                  arena_fmt(a->arena, "The TLSA records of %.*s cannot be looked up or are forged",
                            STR_ARG(host)));
            return false;
        }
        if (p->dane.status != DANE_ABSENT) {
            bool verify = p->dane.status == DANE_VERIFY;
            p->level = verify ? LEVEL_DANE : LEVEL_ENCRYPT;
            p->by = verify ? "DANE" : NULL;
            p->note = notes_of_dane(&p->dane, a->arena);
            return true; /* RFC 8461 2: DANE goes before MTA-STS */
        }
    }
    if (a->sts.mode == MTA_STS_NONE)
        return true;
    bool testing = a->sts.mode == MTA_STS_TESTING;
    p->note = notes_of_sts(&a->sts, a->arena);
    bool matches = mta_sts_mx_matches(&a->sts, host);
    if (!matches)
        note(a, &p->note, STR("validation-failure"), host, NULL, STR("not named by the policy"));
    if (!matches && testing) {
        p->note = notes_of_none(); /* what follows is not the policy's any more */
        return true;
    }
    if (!matches) {
        fault(a, RELAY_TEMPORARY, "4.7.5",
              arena_fmt(a->arena, "The MTA-STS policy of %.*s does not name %.*s",
                        STR_ARG(a->job->domain), STR_ARG(host)));
        return false;
    }
    p->level = LEVEL_VERIFY;
    p->by = "MTA-STS";
    p->testing = testing;
    return true;
}

static bool plan_find(struct attempt *a, str host, uint16_t port, const struct mx_addresses *at,
                      struct plan *p) WAITS
{
    *p = (struct plan){0};
    switch (a->job->route.tls) {
    case RELAY_TLS_OPPORTUNISTIC:
        if (!plan_opportunistic(a, host, port, at, p))
            return false;
        break;
    case RELAY_TLS_ENCRYPT:
        p->level = LEVEL_ENCRYPT;
        break;
    case RELAY_TLS_VERIFY:
        *p = (struct plan){.level = LEVEL_VERIFY, .by = "name"};
        break;
    case RELAY_TLS_NEVER:
        break;
    }
    if (!a->job->envelope->requiretls || p->level >= LEVEL_VERIFY)
        return true;
    /* RFC 8689 4.2.1: the certificate is verified, and the name it is for was not forged. */
    if (a->mx_secure && a->job->route.tls != RELAY_TLS_NEVER) {
        *p = (struct plan){.level = LEVEL_VERIFY, .by = "name"};
        return true;
    }
    fault(a, RELAY_PERMANENT, "5.7.30", STR("REQUIRETLS: the destination cannot be verified"));
    return false;
}

/* ---- one connection ---- */

struct hop {
    str host, key, tls;
    uint16_t port;
    const struct mx_addresses *at;
    const struct plan *plan;
    bool plain; /* after TLS failed where it was only offered */
};

static enum err start_tls(struct attempt *a, const struct hop *h, struct smtp_client *c,
                          struct stream *implicit) WAITS
{
    const struct plan *p = h->plan;
    struct tls_client *t = p->level == LEVEL_VERIFY ? a->agent->verify : a->agent->any;
    const str names[] = {h->host, a->job->domain};
    struct tls_expect expect = {.name = h->host};
    if (!t)
        return ERR_TLS;
    if (p->level == LEVEL_DANE)
        expect = (struct tls_expect){.name = p->dane.base,
                                     .dane = p->dane.records,
                                     .ndane = p->dane.count,
                                     .names = names,
                                     .nnames = ARRAY_LEN(names)};
    if (str_starts(h->host, STR("["))) { /* a certificate names the bare address */
        bool v6;
        (void)smtp_address_literal(h->host, &expect.name, &v6);
    }
    return implicit ? stream_start_tls_expect(implicit, t, &expect)
                    : smtp_client_starttls(c, t, &expect);
}

static void say_tls(struct attempt *a, struct hop *h, struct smtp_client *c)
{
    struct stream_tls_info info;
    h->tls = STR_NONE;
    if (!stream_is_tls(smtp_client_stream(c)))
        return;
    stream_tls_info(smtp_client_stream(c), &info);
    h->tls = h->plan->by ? arena_fmt(a->arena, "%s verified by %s", info.version, h->plan->by)
                         : arena_fmt(a->arena, "%s not verified", info.version);
}

/* RFC 8689 4.2.1: a host that cannot be trusted with such a message stays one. Whether the message
 * goes back is known when no other host is left. False: it is no fault of that kind. */
static bool fault_requiretls(struct attempt *a, const struct stream *s, enum err e, str who)
{
    bool certificate = e == ERR_TLS && stream_tls_fault(s) != TLS_FAULT_OTHER;
    if (!a->job->envelope->requiretls || (e != ERR_UNSUPPORTED && !certificate))
        return false;
    fault(a, RELAY_PERMANENT, "5.7.10",
          arena_fmt(a->arena, "REQUIRETLS: %.*s %s", STR_ARG(who),
                    certificate ? "has no valid certificate" : "does not offer STARTTLS"));
    return true;
}

/* Greeting to AUTH. ERR_TLS: the handshake failed. */
static enum err greet(struct attempt *a, struct hop *h, struct smtp_client *c, str who) WAITS
{
    const struct relay_route *route = &a->job->route;
    enum err e = smtp_client_hello(c, true);
    a->report->connected |= smtp_client_said(c).code != 0;
    if (e != ERR_OK) {
        fault_said(a, c, e, "4.4.2", "The greeting", who);
        return e;
    }
    bool offered = smtp_client_ehlo(c)->ext & SMTP_EXT_STARTTLS;
    bool wanted =
        h->plan->level > LEVEL_MAY || (h->plan->level == LEVEL_MAY && offered && !h->plain);
    if (!wanted && !h->plain)
        note(a, &h->plan->note, STR("starttls-not-supported"), h->host,
             stream_peer(smtp_client_stream(c)), STR_NONE);
    if (wanted && !route->implicit_tls) {
        e = start_tls(a, h, c, NULL);
        note(a, &h->plan->note, e == ERR_OK ? STR_NONE : notes_failure(smtp_client_stream(c), e),
             h->host, stream_peer(smtp_client_stream(c)),
             e == ERR_OK ? STR_NONE : str_c(err_text(e)));
        if (e != ERR_OK) {
            if (!fault_requiretls(a, smtp_client_stream(c), e, who))
                fault_said(a, c, e, "4.7.5",
                           e == ERR_UNSUPPORTED ? "STARTTLS is not offered; TLS" : "TLS", who);
            return e == ERR_UNSUPPORTED ? ERR_DENIED : e;
        }
    }
    if (str_empty(route->login))
        return ERR_OK;
    e = smtp_client_auth(c, route->login, route->password);
    if (e != ERR_OK)
        fault_said(a, c, e, "4.7.8", "Signing in", who);
    return e;
}

static enum err open_client(struct attempt *a, struct hop *h, struct smtp_client **out) WAITS
{
    struct address used;
    struct stream *s;
    int fd;
    struct smtp_client_options options = {
        .timeouts = &a->config.timeouts, .helo = a->helo, .lmtp = a->job->route.kind == RELAY_LMTP};
    enum err e =
        dial(h->at->list, h->at->count, &a->job->route.source, a->config.connect_ms, &fd, &used);
    if (e != ERR_OK) {
        fault(a, RELAY_TEMPORARY, "4.4.1",
              arena_fmt(a->arena, "Connecting to %.*s port %u: %s", STR_ARG(h->host), h->port,
                        err_text(e)));
        return e;
    }
    str who = host_text(a, h->host, &used);
    sock_no_delay(fd);
    TRY(stream_open(fd, &s));
    stream_set_peer(s, &used, &a->job->route.source);
    if (a->job->route.implicit_tls) {
        DEADLINE_SCOPE(a->config.timeouts.greeting);
        e = start_tls(a, h, NULL, s);
        if (e != ERR_OK) {
            if (!fault_requiretls(a, s, e, who))
                fault(a, RELAY_TEMPORARY, "4.7.5",
                      arena_fmt(a->arena, "TLS with %.*s: %s", STR_ARG(who), err_text(e)));
            stream_close(s);
            return e;
        }
    }
    TRY(smtp_client_open(s, &options, out));
    e = greet(a, h, *out, who);
    if (e == ERR_OK) {
        say_tls(a, h, *out);
        return ERR_OK;
    }
    smtp_client_close(*out);
    return e;
}

/* ---- sending ---- */

static void name_the_host(struct attempt *a, str who)
{
    for (size_t i = 0; i < a->job->nrecipients; i++) {
        struct relay_verdict *v = &a->report->verdicts[i];
        if (a->decided[i] && v->code != 0 && str_empty(v->host))
            v->host = who;
    }
}

/* Takes the client. True: one more connection to this host makes sense (a kept one had gone). */
static bool send_over(struct attempt *a, struct hop *h, struct smtp_client *c, bool kept) WAITS
{
    const struct address *peer = stream_peer(smtp_client_stream(c));
    str who = host_text(a, h->host, peer);
    struct smtp_lack lack;
    size_t before = 0, after = 0;
    for (size_t i = 0; i < a->job->nrecipients; i++)
        before += a->decided[i];
    a->report->tls = h->tls;
    enum err e =
        smtp_client_send(c, a->job, &a->content, a->arena, a->report->verdicts, a->decided, &lack);
    if (lack.enhanced)
        fault_at(a, RELAY_PERMANENT, 0, str_c(lack.enhanced), lack.text, STR_NONE);
    for (size_t i = 0; i < a->job->nrecipients; i++)
        after += a->decided[i];
    a->report->connected |= smtp_client_said(c).code != 0;
    name_the_host(a, who);
    if (e == ERR_OK && a->config.idle_ms > 0 && smtp_client_transactions(c) < a->config.uses_max) {
        pool_put(&a->agent->pool, h->key, h->tls, c, a->config.idle_ms);
        return false;
    }
    if (e != ERR_OK)
        fault_said(a, c, e, "4.4.2", "The transaction", who);
    smtp_client_close(c);
    return e != ERR_OK && kept && after == before;
}

static str key_of(struct attempt *a, const struct hop *h)
{
    const struct relay_route *r = &a->job->route;
    BUF_AUTO struct buf source = BUF_INIT(64);
    address_render(&r->source, &source);
    return arena_fmt(a->arena, "%d %.*s %u %d %d %.*s %.*s %.*s %llx", r->kind, STR_ARG(h->host),
                     h->port, r->implicit_tls, h->plan->level, STR_ARG(buf_str(&source)),
                     STR_ARG(a->helo), STR_ARG(r->login),
                     (unsigned long long)(str_empty(r->login) ? 0 : str_hash(r->password)));
}

static void use_host(struct attempt *a, struct hop *h) WAITS
{
    struct smtp_client *c;
    h->key = key_of(a, h);
    while ((c = pool_take(&a->agent->pool, h->key, a->arena, &h->tls))) {
        if (!send_over(a, h, c, true))
            return;
    }
    enum err e = open_client(a, h, &c);
    struct plan without = {.level = LEVEL_MAY, .note = notes_of_none()};
    if ((e == ERR_TLS || e == ERR_DENIED) && h->plan->testing && !a->job->envelope->requiretls) {
        h->plan = &without;
        h->key = key_of(a, h);
        e = open_client(a, h, &c);
    }
    if (e == ERR_TLS && h->plan->level == LEVEL_MAY && !a->job->route.implicit_tls) {
        h->plain = true; /* RFC 7435: some protection or none, but mail */
        e = open_client(a, h, &c);
    }
    if (e == ERR_OK)
        (void)send_over(a, h, c, false);
}

static void try_host(struct attempt *a, str host, uint16_t port) WAITS
{
    struct mx_addresses at;
    struct plan plan;
    bool mx = a->job->route.kind == RELAY_MX;
    enum mx_status s = mx_addresses(&a->agent->dns, host, port, a->config.ipv6,
                                    !mx || a->config.private_addresses, a->arena, &at);
    if (s != MX_OK) {
        const char *why = at.refused       ? "has a private address only"
                          : s == MX_FAILED ? "cannot be looked up"
                                           : "has no address";
        fault(a, s == MX_FAILED ? RELAY_TEMPORARY : RELAY_PERMANENT,
              s == MX_FAILED ? "4.4.3" : "5.4.4",
              arena_fmt(a->arena, "The mail host %.*s %s", STR_ARG(host), why));
        return;
    }
    if (!mx)
        a->mx_secure = at.secure || str_starts(host, STR("["));
    if (!plan_find(a, host, port, &at, &plan))
        return;
    struct hop h = {.host = host, .port = port, .at = &at, .plan = &plan};
    use_host(a, &h);
}

/* ---- the whole ---- */

static bool route_fault(struct attempt *a, enum mx_status s)
{
    switch (s) {
    case MX_OK:
        return false;
    case MX_NULL: /* RFC 7505 4.1 */
        fault(a, RELAY_PERMANENT, "5.1.10", STR("The domain takes no mail (null MX)"));
        break;
    case MX_NO_DOMAIN:
        fault(a, RELAY_PERMANENT, "5.1.2", STR("The domain does not exist or has no mail host"));
        break;
    case MX_LOOP:
        fault(a, RELAY_PERMANENT, "5.4.6",
              STR("Mail for the domain comes to this host, which does not serve it"));
        break;
    case MX_FAILED:
        fault(a, RELAY_TEMPORARY, "4.4.3", STR("The domain's mail hosts cannot be looked up"));
        break;
    }
    return true;
}

static struct fetch_options fetch_options_of(const struct relay_agent *agent,
                                             const struct relay_config *config)
{
    return (struct fetch_options){.dns = &agent->dns,
                                  .verify = agent->verify,
                                  .private_ok = config->private_addresses,
                                  .ipv6 = config->ipv6,
                                  .connect_ms = config->connect_ms};
}

static void try_mx(struct attempt *a) WAITS
{
    struct mx_route route;
    str domain = a->job->domain;
    uint16_t port = a->job->route.port ? a->job->route.port : a->config.port;
    struct fetch_options fetch = fetch_options_of(a->agent, &a->config);
    if (str_starts(domain, STR("["))) { /* RFC 5321 4.1.3 */
        try_host(a, domain, port);
        return;
    }
    if (route_fault(a, mx_find(&a->agent->dns, domain, a->config.hostname, a->arena, &route)))
        return;
    a->mx_secure = route.secure;
    if (a->config.mta_sts && a->job->route.tls == RELAY_TLS_OPPORTUNISTIC)
        a->sts = sts_find(a->agent->sts, &fetch, domain, a->arena, &a->sts_fetched);
    if (a->sts_fetched != ERR_OK)
        note(a, &(struct report_tls_note){.policy_type = STR("sts")},
             notes_sts_failure(a->sts_fetched), STR_NONE, NULL, str_c(err_text(a->sts_fetched)));
    /* RFC 8689 4.2.1: each of them */
    size_t max = a->job->envelope->requiretls ? route.count : a->config.hosts_max;
    for (size_t i = 0; i < route.count && i < max && !all_decided(a); i++) {
        if (fiber_canceled())
            break;
        try_host(a, route.hosts[i].name, port);
    }
}

static uint16_t usual_port(const struct relay_route *r)
{
    if (r->port)
        return r->port;
    if (r->kind == RELAY_LMTP)
        return 24;
    return r->implicit_tls ? 465 : str_empty(r->login) ? 25 : 587;
}

static enum err prepare(struct attempt *a)
{
    const struct relay_job *job = a->job;
    struct content_facts facts;
    TRY(content_look(job->fd, job->size, &facts));
    a->content = (struct smtp_content){.fd = job->fd,
                                       .size = job->size,
                                       .has_8bit = facts.header_8bit || facts.body_8bit,
                                       .binary = facts.zero_bytes || facts.long_lines,
                                       .header_8bit = facts.header_8bit};
    a->report->verdicts = ARENA_ARRAY(a->arena, struct relay_verdict, job->nrecipients);
    a->decided = ARENA_ARRAY(a->arena, bool, job->nrecipients);
    a->helo = str_empty(job->route.helo) ? a->config.hostname : job->route.helo;
    return a->report->verdicts && a->decided ? ERR_OK : ERR_NOMEM;
}

static void log_attempt(const struct relay_job *job, const struct relay_report *r)
{
    static const char *const outcomes[] = {[RELAY_DELIVERED] = "delivered",
                                           [RELAY_DELIVERED_NO_DSN] = "delivered",
                                           [RELAY_TEMPORARY] = "later",
                                           [RELAY_PERMANENT] = "refused"};
    const struct relay_verdict *first = job->nrecipients ? &r->verdicts[0] : NULL;
    LOG_INFO("relay", "attempt id=%.*s domain=%.*s recipients=%zu first=%s code=%u took_ms=%u",
             STR_ARG(job->envelope->id), STR_ARG(job->domain), job->nrecipients,
             first ? outcomes[first->outcome] : "none", first ? first->code : 0, r->took_ms);
}

static enum err agent_attempt(void *ctx, const struct relay_job *job, struct arena *arena,
                              struct relay_report *out) WAITS
{
    struct relay_agent *agent = ctx;
    struct attempt a = {
        .agent = agent, .config = agent->config, .job = job, .arena = arena, .report = out};
    uint64_t started = clock_mono_ms();
    *out = (struct relay_report){0};
    DEADLINE_SCOPE(a.config.attempt_ms);
    TRY(prepare(&a));
    switch (job->route.kind) {
    case RELAY_MX:
        try_mx(&a);
        break;
    case RELAY_HOST:
    case RELAY_LMTP:
        try_host(&a, job->route.host, usual_port(&job->route));
        break;
    case RELAY_LMTP_LOCAL: /* the sandbox of the relay has no Unix sockets */
        return ERR_UNSUPPORTED;
    }
    decide_rest(&a);
    out->took_ms = (uint32_t)MIN(clock_mono_ms() - started, (uint64_t)UINT32_MAX);
    log_attempt(job, out);
    return fiber_canceled() ? ERR_UNKNOWN : ERR_OK;
}

static enum err agent_fetch(void *ctx, const struct relay_fetch *f, struct arena *arena,
                            struct relay_fetched *out) WAITS
{
    struct relay_agent *agent = ctx;
    struct fetch_options o = fetch_options_of(agent, &agent->config);
    return fetch_run(&o, f, arena, out);
}

/* ---- the agent ---- */

static void reap(void *arg) WAITS
{
    struct relay_agent *a = arg;
    while (wait_until(deadline_in_ms(REAP_MS)) == ERR_TIMEOUT)
        pool_reap(&a->pool);
}

static void shorten(struct smtp_client_timeouts *t, uint64_t ms)
{
    uint64_t *const all[] = {&t->greeting,   &t->hello,      &t->mail,     &t->rcpt,
                             &t->data_begin, &t->data_block, &t->data_end, &t->other};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        *all[i] = MIN(*all[i], ms);
}

void relay_agent_configure(struct relay_agent *a, const struct relay_config *config)
{
    struct relay_config c = *config;
    c.port = c.port ? c.port : 25;
    c.hosts_max = c.hosts_max ? c.hosts_max : 10;
    c.attempt_ms = c.attempt_ms ? c.attempt_ms : 1800000;
    c.connect_ms = c.connect_ms ? c.connect_ms : 30000;
    c.uses_max = c.uses_max ? c.uses_max : 100;
    if (c.timeouts.greeting == 0)
        c.timeouts = smtp_client_timeouts_rfc5321;
    if (c.reply_ms)
        shorten(&c.timeouts, c.reply_ms);
    a->config = c;
}

enum err relay_agent_open(const struct relay_config *config, struct dns dns, struct tls_client *any,
                          struct tls_client *verify, struct relay_agent **out)
{
    struct arena arena = ARENA_INIT(16384);
    struct relay_agent *a = ARENA_NEW(&arena, struct relay_agent);
    if (!a)
        return ERR_NOMEM;
    *a = (struct relay_agent){.dns = dns, .any = any, .verify = verify, .arena = arena};
    relay_agent_configure(a, config);
    pool_init(&a->pool);
    enum err e = sts_open(&a->sts);
    fiber_group_init(&a->group);
    if (e == ERR_OK)
        e = fiber_start(&a->group, "reap", reap, a);
    if (e != ERR_OK) {
        sts_close(a->sts);
        arena_free(&arena);
        return e;
    }
    *out = a;
    return ERR_OK;
}

/* The scanner is a named peer of the configuration: no word of a stranger chooses it, so it may
 * have a private address (rule web-3). */
static enum err agent_scan(void *ctx, const struct relay_scan *q, struct arena *arena,
                           str *json) WAITS
{
    struct relay_agent *a = ctx;
    struct fetch_options o = {.dns = &a->dns, .verify = a->verify, .ipv6 = true};
    return scan_run(&o, a->config.scanner_url, q, arena, json);
}

static enum err agent_exchange(void *ctx, const struct relay_exchange *x, struct arena *arena,
                               str *answer) WAITS
{
    struct relay_agent *a = ctx;
    return exchange_run(&a->dns, x, arena, answer);
}

void relay_agent_table(struct relay_agent *a, struct relay *out)
{
    *out = (struct relay){.ctx = a,
                          .attempt = agent_attempt,
                          .fetch = agent_fetch,
                          .exchange = agent_exchange,
                          .scan = agent_scan,
                          .dns = a->dns};
}

void relay_agent_close(struct relay_agent *a)
{
    fiber_group_cancel(&a->group);
    fiber_group_join(&a->group);
    pool_close(&a->pool);
    sts_close(a->sts);
    struct arena arena = a->arena;
    arena_free(&arena);
}
