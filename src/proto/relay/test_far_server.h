/* SPDX-License-Identifier: Apache-2.0
 *
 * test_far_server: a server and a DNS that play what a test says, and an agent that meets them.
 * The server is a script, one per connection:
 *   ">text" says a line, "<text" hears a line that begins so, "<." hears content up to the dot,
 *   "!tls" shakes hands, "!close", "!hang", "!drip" (a byte at a time, for ever), "!endless" (reply
 *   lines without end), "!raw text" says bytes as they are.
 * Included once per program.
 */
#ifndef PROTO_RELAY_TEST_FAR_SERVER_H
#define PROTO_RELAY_TEST_FAR_SERVER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/num.h"
#include "core/report_note.h"
#include "net/stream.h"
#include "os/file.h"
#include "os/loop.h"
#include "proto/relay/relay.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#define OK(call) assert_int_equal((call), ERR_OK)
#define SCRIPTS 6

typedef const char *const *script;

static struct {
    /* what a test sets */
    const char *scripts[SCRIPTS][40];
    struct dns_record records[16];
    struct {
        const char *name;
        enum dns_type type;
        enum dns_status status;
        bool secure;
        size_t first, count;
    } answers[16];
    size_t nrecords, nanswers;
    const char *content;
    uint8_t body;
    bool requiretls, smtputf8;
    int64_t deliver_by;
    const char *recipients[200];
    size_t nrecipients;
    struct relay_route route;
    uint64_t idle_ms;
    uint32_t hosts_max;
    int attempts;
    const char *fetch; /* a path to fetch instead of an attempt */
    bool private_refused;
    /* what came of it */
    struct relay_report report;
    enum err result;
    struct relay_fetched fetched;
    enum err fetch_result;
    const char *exchange; /* a host whose greeting to read instead of an attempt */
    str banner;
    enum err exchange_result;
    char heard[65536], data[65536];
    int connections;
    uint64_t took_ms;
    /* the machinery */
    struct address at;
    int listen_fd;
    struct tls_server *tls;
    struct tls_client *any, *verify;
    struct arena arena;
    struct fiber_group servers;
} world;

static struct buf ca, ca_key, cert, key;

/* ---- the fake DNS ---- */

static inline enum err fake_query(void *ctx, str name, enum dns_type type, struct arena *arena,
                                  struct dns_answer *out) WAITS
{
    *out = (struct dns_answer){.status = DNS_NXDOMAIN, .canonical = name};
    for (size_t i = 0; i < world.nanswers; i++) {
        if (!str_eq(name, str_c(world.answers[i].name)))
            continue;
        out->status = DNS_NODATA;
        if (world.answers[i].type != type)
            continue;
        out->status = world.answers[i].status;
        out->secure = world.answers[i].secure;
        out->records = &world.records[world.answers[i].first];
        out->count = world.answers[i].count;
        return ERR_OK;
    }
    return ERR_OK;
}

static inline void has(const char *name, enum dns_type type, bool secure, struct dns_record r)
{
    world.records[world.nrecords] = r;
    world.answers[world.nanswers].name = name;
    world.answers[world.nanswers].type = type;
    world.answers[world.nanswers].status = DNS_FOUND;
    world.answers[world.nanswers].secure = secure;
    world.answers[world.nanswers].first = world.nrecords++;
    world.answers[world.nanswers++].count = 1;
}

static inline void is(const char *name, enum dns_type type, enum dns_status status)
{
    world.answers[world.nanswers].name = name;
    world.answers[world.nanswers].type = type;
    world.answers[world.nanswers++].status = status;
}

static inline void usual_dns(bool secure)
{
    has("example.net", DNS_MX, secure,
        (struct dns_record){.preference = 10, .name = STR("mx.example.net")});
    has("mx.example.net", DNS_A, secure, (struct dns_record){.bytes = STR("\x7f\0\0\1")});
    is("mx.example.net", DNS_AAAA, DNS_NODATA);
    world.answers[world.nanswers - 1].secure = secure;
}

/* Two mail hosts, `first` before mx.example.net; the certificate is for the latter alone. */
static inline void two_hosts(const char *first, bool secure)
{
    has("example.net", DNS_MX, secure, (struct dns_record){.preference = 10, .name = str_c(first)});
    world.records[world.nrecords++] =
        (struct dns_record){.preference = 20, .name = STR("mx.example.net")};
    world.answers[world.nanswers - 1].count = 2;
    has(first, DNS_A, secure, (struct dns_record){.bytes = STR("\x7f\0\0\1")});
    has("mx.example.net", DNS_A, secure, (struct dns_record){.bytes = STR("\x7f\0\0\1")});
}

/* The port is known only once the server listens: the fake DNS is asked by this name then. */
static inline enum err dane_query(void *ctx, str name, enum dns_type type, struct arena *arena,
                                  struct dns_answer *out) WAITS
{
    return fake_query(ctx, type == DNS_TLSA ? STR("tlsa") : name, type, arena, out);
}

static bool dane_on;

static inline enum err choose_query(void *ctx, str name, enum dns_type type, struct arena *arena,
                                    struct dns_answer *out) WAITS
{
    return dane_on ? dane_query(ctx, name, type, arena, out)
                   : fake_query(ctx, name, type, arena, out);
}

/* ---- the fake server ---- */

static inline void hear(struct stream *s, const char *want) WAITS
{
    str line;
    if (strcmp(want, ".") != 0) {
        if (stream_line(s, 4096, &line, NULL) != ERR_OK)
            return;
        if (!str_starts_nocase(line, str_c(want)))
            fail_msg("heard \"%.*s\", expected \"%s\"", STR_ARG(line), want);
        snprintf(world.heard + strlen(world.heard), sizeof(world.heard) - strlen(world.heard),
                 "%.*s\n", STR_ARG(line));
        return;
    }
    bool crlf;
    while (stream_line(s, 65536, &line, &crlf) == ERR_OK && !str_eq(line, STR("."))) {
        assert_true(crlf); /* rule: wire-1 */
        snprintf(world.data + strlen(world.data), sizeof(world.data) - strlen(world.data), "%.*s\n",
                 STR_ARG(line));
    }
}

static inline void drip(struct stream *s) WAITS
{
    stream_write(s, STR("250-"));
    for (int i = 0; i < 10000 && stream_error(s) == ERR_OK; i++) {
        stream_write(s, STR("x"));
        (void)!stream_flush(s);
        (void)!wait_until(deadline_in_ms(5));
    }
}

static inline void endless(struct stream *s) WAITS
{
    for (int i = 0; i < 100000 && stream_error(s) == ERR_OK; i++)
        stream_writef(s, "250-line %d\r\n", i);
}

static inline void play(struct stream *s, script steps) WAITS
{
    for (; *steps && stream_error(s) == ERR_OK; steps++) {
        const char *step = *steps;
        if (step[0] == '>')
            stream_writef(s, "%s\r\n", step + 1);
        else if (step[0] == '<')
            hear(s, step + 1);
        else if (strncmp(step, "!raw ", 5) == 0)
            stream_write(s, str_c(step + 5));
        else if (strcmp(step, "!tls") == 0)
            (void)!stream_start_tls_server(s, world.tls);
        else if (strcmp(step, "!drip") == 0)
            drip(s);
        else if (strcmp(step, "!endless") == 0)
            endless(s);
        else if (strcmp(step, "!hang") == 0)
            (void)!stream_fill(s, 65535);
        else
            break;
    }
    (void)!stream_flush(s);
    if (!*steps && stream_error(s) == ERR_OK) /* until the client goes */
        (void)!stream_fill(s, stream_buffered(s).len);
}

static inline void serve(void *arg) WAITS
{
    struct stream *s = arg;
    int n = world.connections++;
    play(s, world.scripts[MIN(n, SCRIPTS - 1)]);
    stream_close(s);
}

static inline void accept_all(void *arg) WAITS
{
    struct watch w;
    OK(watch_open(&w, world.listen_fd));
    int fd;
    struct address peer;
    while (sock_accept(&w, &fd, &peer) == ERR_OK) {
        struct stream *s;
        OK(stream_open(fd, &s));
        stream_set_timeouts(s, 10000, 10000);
        OK(fiber_start(&world.servers, "serve", serve, s));
    }
    watch_close(&w);
}

/* ---- running ---- */

static inline void attempt_once(struct relay *relay, int fd, size_t size) WAITS
{
    struct relay_recipient recipients[200] = {0};
    struct envelope e = {.sender = STR("from@example.org"),
                         .id = STR("t1"),
                         .envid = STR("id+1"),
                         .body = world.body,
                         .requiretls = world.requiretls,
                         .smtputf8 = world.smtputf8,
                         .deliver_by = world.deliver_by};
    for (size_t i = 0; i < world.nrecipients; i++)
        recipients[i] = (struct relay_recipient){.address = str_c(world.recipients[i]),
                                                 .orcpt = STR("rfc822;a=b@example.net"),
                                                 .notify = NOTIFY_FAILURE | NOTIFY_DELAY};
    struct relay_job job = {.domain = STR("example.net"),
                            .route = world.route,
                            .envelope = &e,
                            .fd = fd,
                            .size = size,
                            .recipients = recipients,
                            .nrecipients = world.nrecipients};
    world.result = relay->attempt(relay->ctx, &job, &world.arena, &world.report);
}

static inline void fetch_once(struct relay *relay) WAITS
{
    struct relay_fetch f = {
        .method = STR("GET"),
        .url = arena_fmt(&world.arena, "http://127.0.0.1:%u%s", world.at.port, world.fetch),
        .answer_max = 100,
        .timeout_ms = 500,
    };
    world.fetch_result = relay->fetch(relay->ctx, &f, &world.arena, &world.fetched);
}

/* The host by its name: DNS is the agent's own. */
static inline void exchange_once(struct relay *relay) WAITS
{
    struct relay_exchange x = {.kind = RELAY_EXCHANGE_BANNER,
                               .host = str_c(world.exchange),
                               .port = world.at.port,
                               .timeout_ms = 500};
    world.exchange_result = relay->exchange(relay->ctx, &x, &world.arena, &world.banner);
}

static inline void run_fiber(void *arg) WAITS
{
    struct relay_agent *agent;
    struct relay relay;
    int fd;
    struct relay_config config = {
        .hostname = STR("mail.example.org"),
        .port = world.at.port,
        .private_addresses = !world.private_refused,
        .ipv6 = true,
        .dane = true,
        .connect_ms = 500,
        .idle_ms = world.idle_ms,
        .hosts_max = world.hosts_max,
        .reply_ms = 300,
    };
    if (world.route.kind != RELAY_MX)
        world.route.port = world.at.port;
    OK(relay_agent_open(&config, (struct dns){.query = choose_query}, world.any, world.verify,
                        &agent));
    relay_agent_table(agent, &relay);
    OK(file_memory("content", &fd));
    OK(file_write_all_at(fd, 0, world.content, strlen(world.content)));
    uint64_t started = clock_mono_ms();
    if (world.fetch)
        fetch_once(&relay);
    if (world.exchange)
        exchange_once(&relay);
    for (int i = 0; i < world.attempts && !world.fetch && !world.exchange; i++)
        attempt_once(&relay, fd, strlen(world.content));
    world.took_ms = clock_mono_ms() - started;
    relay_agent_close(agent);
    file_close(&fd);
    fiber_group_cancel(&world.servers);
}

static inline void run(void)
{
    struct loop *l;
    struct fiber_group group;
    world.at = (struct address){.family = 4, .ip = {127, 0, 0, 1}};
    OK(sock_listen(&world.at, 16, &world.listen_fd));
    OK(loop_open(&l, &(struct loop_options){.name = "test", .slice_warn_ms = 5000}));
    fiber_group_init(&group);
    fiber_group_init(&world.servers);
    OK(fiber_start(&world.servers, "accept", accept_all, NULL));
    OK(fiber_start(&group, "run", run_fiber, NULL));
    loop_run_until_idle(l);
    loop_close(l);
    file_close(&world.listen_fd);
    OK(world.result);
    assert_true(world.took_ms < 6000);
}

#define SCRIPT(n, ...)                                                                             \
    do {                                                                                           \
        static const char *const steps_[] = {__VA_ARGS__, NULL};                                   \
        assert_true(sizeof(steps_) <= sizeof(world.scripts[n]));                                   \
        memcpy(world.scripts[n], steps_, sizeof(steps_));                                          \
    } while (0)
#define HELLO ">220 mx.example.net ESMTP", "<EHLO mail.example.org"
#define PLAIN HELLO, ">250-mx.example.net", ">250 SIZE 100000"
#define TO_DATA                                                                                    \
    PLAIN, "<MAIL FROM:<from@example.org>", ">250 2.1.0 ok", "<RCPT TO:<a@example.net>",           \
        ">250 2.1.5 ok", "<DATA", ">354 go"

static inline int reset(void **state)
{
    arena_free(&world.arena);
    struct tls_server *t = world.tls;
    struct tls_client *any = world.any, *verify = world.verify;
    memset(&world, 0, sizeof(world));
    world.tls = t;
    world.any = any;
    world.verify = verify;
    world.arena = ARENA_INIT(16777216);
    world.content = "Subject: x\r\n\r\n.dot\r\nbody\r\n";
    world.recipients[0] = "a@example.net";
    world.nrecipients = 1;
    world.attempts = 1;
    return 0;
}

static inline void expect(size_t i, enum relay_outcome outcome, int code, const char *enhanced)
{
    const struct relay_verdict *v = &world.report.verdicts[i];
    if (v->outcome != outcome || v->code != code || !str_eq(v->enhanced, str_c(enhanced)))
        fail_msg("recipient %zu: outcome %d code %d %.*s text \"%.*s\" host %.*s", i, v->outcome,
                 v->code, STR_ARG(v->enhanced), STR_ARG(v->text), STR_ARG(v->host));
}

static inline void with_dane(void)
{
    dane_on = true;
    run();
    dane_on = false;
}

static inline int make_world(void **state)
{
    static const str names[] = {STR_INIT("mx.example.net")};
    ca = ca_key = cert = key = BUF_INIT(65536);
    OK(tls_make_ca(STR("Test CA"), &ca, &ca_key));
    OK(tls_make_certificate(buf_str(&ca), buf_str(&ca_key), names, 1, false, &cert, &key));
    struct tls_certificate c = {buf_str(&cert), buf_str(&key)};
    OK(tls_server_open(&c, 1, NULL, &world.tls));
    OK(tls_client_open(TLS_VERIFY_NONE, STR_NONE, &world.any));
    OK(tls_client_open(TLS_VERIFY_NAME, buf_str(&ca), &world.verify));
    return 0;
}

static inline int free_world(void **state)
{
    arena_free(&world.arena);
    tls_client_close(world.any);
    tls_client_close(world.verify);
    tls_server_close(world.tls);
    buf_free(&ca);
    buf_free(&ca_key);
    buf_free(&cert);
    buf_free(&key);
    return 0;
}

#define T(name) cmocka_unit_test_setup(name, reset)

#endif
