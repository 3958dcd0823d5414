/* SPDX-License-Identifier: Apache-2.0
 *
 * Attempts against servers that misbehave in every way we know: what each recipient is told, and
 * that nothing hangs past its deadline. A server is a script, one per connection:
 *   ">text" says a line, "<text" hears a line that begins so, "<." hears content up to the dot,
 *   "!tls" shakes hands, "!close", "!hang", "!drip" (a byte at a time, for ever), "!endless" (reply
 *   lines without end), "!raw text" says bytes as they are.
 * rule: wire-5, proc-3
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/num.h"
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
    const char *recipients[200];
    size_t nrecipients;
    struct relay_route route;
    uint64_t idle_ms;
    int attempts;
    const char *fetch; /* a path to fetch instead of an attempt */
    bool private_refused;
    /* what came of it */
    struct relay_report report;
    enum err result;
    struct relay_fetched fetched;
    enum err fetch_result;
    const char *banner_of; /* instead of an attempt */
    str banner;
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

static enum err fake_query(void *ctx, str name, enum dns_type type, struct arena *arena,
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

static void has(const char *name, enum dns_type type, bool secure, struct dns_record r)
{
    world.records[world.nrecords] = r;
    world.answers[world.nanswers].name = name;
    world.answers[world.nanswers].type = type;
    world.answers[world.nanswers].status = DNS_FOUND;
    world.answers[world.nanswers].secure = secure;
    world.answers[world.nanswers].first = world.nrecords++;
    world.answers[world.nanswers++].count = 1;
}

static void is(const char *name, enum dns_type type, enum dns_status status)
{
    world.answers[world.nanswers].name = name;
    world.answers[world.nanswers].type = type;
    world.answers[world.nanswers++].status = status;
}

static void usual_dns(bool secure)
{
    has("example.net", DNS_MX, secure,
        (struct dns_record){.preference = 10, .name = STR("mx.example.net")});
    has("mx.example.net", DNS_A, secure, (struct dns_record){.bytes = STR("\x7f\0\0\1")});
    is("mx.example.net", DNS_AAAA, DNS_NODATA);
    world.answers[world.nanswers - 1].secure = secure;
}

static enum err choose_query(void *ctx, str name, enum dns_type type, struct arena *arena,
                             struct dns_answer *out) WAITS;

/* ---- the fake server ---- */

static void hear(struct stream *s, const char *want) WAITS
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

static void drip(struct stream *s) WAITS
{
    stream_write(s, STR("250-"));
    for (int i = 0; i < 10000 && stream_error(s) == ERR_OK; i++) {
        stream_write(s, STR("x"));
        (void)!stream_flush(s);
        (void)!wait_until(deadline_in_ms(5));
    }
}

static void endless(struct stream *s) WAITS
{
    for (int i = 0; i < 100000 && stream_error(s) == ERR_OK; i++)
        stream_writef(s, "250-line %d\r\n", i);
}

static void play(struct stream *s, script steps) WAITS
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

static void serve(void *arg) WAITS
{
    struct stream *s = arg;
    int n = world.connections++;
    play(s, world.scripts[MIN(n, SCRIPTS - 1)]);
    stream_close(s);
}

static void accept_all(void *arg) WAITS
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

static void attempt_once(struct relay *relay, int fd, size_t size) WAITS
{
    struct relay_recipient recipients[200] = {0};
    struct envelope e = {.sender = STR("from@example.org"),
                         .id = STR("t1"),
                         .envid = STR("id+1"),
                         .body = world.body,
                         .requiretls = world.requiretls,
                         .smtputf8 = world.smtputf8};
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

static void fetch_once(struct relay *relay) WAITS
{
    struct relay_fetch f = {
        .method = STR("GET"),
        .url = arena_fmt(&world.arena, "http://127.0.0.1:%u%s", world.at.port, world.fetch),
        .answer_max = 100,
        .timeout_ms = 500,
    };
    world.fetch_result = relay->fetch(relay->ctx, &f, &world.arena, &world.fetched);
}

static void banner_once(struct relay *relay) WAITS
{
    struct relay_exchange x = {.kind = RELAY_EXCHANGE_BANNER,
                               .host = str_c(world.banner_of),
                               .port = world.at.port,
                               .timeout_ms = 500};
    world.result = relay->exchange(relay->ctx, &x, &world.arena, &world.banner);
}

static void run_fiber(void *arg) WAITS
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
    if (world.banner_of)
        banner_once(&relay);
    for (int i = 0; i < world.attempts && !world.fetch && !world.banner_of; i++)
        attempt_once(&relay, fd, strlen(world.content));
    world.took_ms = clock_mono_ms() - started;
    relay_agent_close(agent);
    file_close(&fd);
    fiber_group_cancel(&world.servers);
}

static void run(void)
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

static int reset(void **state)
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

static void expect(size_t i, enum relay_outcome outcome, int code, const char *enhanced)
{
    const struct relay_verdict *v = &world.report.verdicts[i];
    if (v->outcome != outcome || v->code != code || !str_eq(v->enhanced, str_c(enhanced)))
        fail_msg("recipient %zu: outcome %d code %d %.*s text \"%.*s\" host %.*s", i, v->outcome,
                 v->code, STR_ARG(v->enhanced), STR_ARG(v->text), STR_ARG(v->host));
}

/* ---- delivered ---- */

static void test_a_plain_delivery(void **state)
{
    usual_dns(false);
    SCRIPT(0, TO_DATA, "<.", ">250 2.0.0 queued", "<QUIT", ">221 bye");
    run();
    expect(0, RELAY_DELIVERED_NO_DSN, 250, "2.0.0");
    assert_string_equal(world.data, "Subject: x\n\n..dot\nbody\n");
    assert_true(str_eq(world.report.verdicts[0].text, STR("queued")));
    assert_true(str_eq(world.report.verdicts[0].host, STR("mx.example.net [127.0.0.1]")));
    assert_true(world.report.connected && str_empty(world.report.tls));
}

static void test_parameters_as_offered(void **state)
{
    usual_dns(false);
    world.body = 1;
    SCRIPT(0, HELLO, ">250-x", ">250-DSN", ">250-PIPELINING", ">250-8BITMIME", ">250 SIZE",
           "<MAIL FROM:<from@example.org> SIZE=26 BODY=8BITMIME ENVID=id+2B1",
           "<RCPT TO:<a@example.net> NOTIFY=FAILURE,DELAY ORCPT=rfc822;a+3Db@example.net",
           "!raw 250 ok\r\n250 o", "!raw k\r\n", "<DATA", ">354 go", "<.", ">250 done");
    run();
    expect(0, RELAY_DELIVERED, 250, "2.0.0");
}

static void test_helo_where_ehlo_is_unknown(void **state)
{
    usual_dns(false);
    SCRIPT(0, HELLO, ">502 what?", "<HELO mail.example.org", ">250 hello",
           "<MAIL FROM:<from@example.org>", ">250 ok", "<RCPT", ">250 ok", "<DATA", ">354 go", "<.",
           ">250 ok");
    run();
    expect(0, RELAY_DELIVERED_NO_DSN, 250, "2.0.0");
}

static void test_each_recipient_has_its_own_verdict(void **state)
{
    usual_dns(false);
    world.recipients[1] = "b@example.net";
    world.recipients[2] = "c@example.net";
    world.nrecipients = 3;
    SCRIPT(0, HELLO, ">250-x", ">250 PIPELINING", "<MAIL", "<RCPT", "<RCPT", "<RCPT", ">250 ok",
           ">550-5.1.1 no such", ">550 5.1.1 user", ">451 4.2.1 later", ">250 ok", "<DATA",
           ">354 go", "<.", ">250 taken");
    run();
    expect(0, RELAY_PERMANENT, 550, "5.1.1");
    assert_true(str_eq(world.report.verdicts[0].text, STR("no such\nuser")));
    expect(1, RELAY_TEMPORARY, 451, "4.2.1");
    expect(2, RELAY_DELIVERED_NO_DSN, 250, "2.0.0");
}

static void test_many_recipients_go_in_groups(void **state)
{
    usual_dns(false);
    static char names[150][32];
    for (size_t i = 0; i < 3; i++) {
        snprintf(names[i], sizeof(names[i]), "u%zu@example.net", i);
        world.recipients[i] = names[i];
    }
    world.nrecipients = 3;
    SCRIPT(0, PLAIN, "<MAIL", ">250 ok", "<RCPT TO:<u0@", ">250 ok", "<RCPT TO:<u1@",
           ">452 4.5.3 too many", "<RCPT TO:<u2@", ">250 ok", "<DATA", ">354 go", "<.", ">250 one",
           "<MAIL", ">250 ok", "<RCPT TO:<u1@", ">250 ok", "<DATA", ">354 go", "<.", ">250 two");
    run();
    for (size_t i = 0; i < 3; i++)
        expect(i, RELAY_DELIVERED_NO_DSN, 250, "2.0.0");
    assert_int_equal(world.connections, 1);
}

static void test_a_connection_is_kept_for_the_next_message(void **state)
{
    usual_dns(false);
    world.attempts = 2;
    world.idle_ms = 5000;
    SCRIPT(0, TO_DATA, "<.", ">250 one", "<MAIL", ">250 ok", "<RCPT", ">250 ok", "<DATA", ">354 go",
           "<.", ">250 two");
    run();
    expect(0, RELAY_DELIVERED_NO_DSN, 250, "2.0.0");
    assert_true(str_eq(world.report.verdicts[0].text, STR("two")));
    assert_int_equal(world.connections, 1);
}

static void test_a_kept_connection_that_died_is_replaced(void **state)
{
    usual_dns(false);
    world.attempts = 2;
    world.idle_ms = 5000;
    SCRIPT(0, TO_DATA, "<.", ">250 one", "<MAIL", ">421 4.4.2 bye", "!close");
    SCRIPT(1, TO_DATA, "<.", ">250 two");
    run();
    assert_true(str_eq(world.report.verdicts[0].text, STR("two")));
    assert_int_equal(world.connections, 2);
}

static void test_lmtp_answers_for_each(void **state)
{
    world.route = (struct relay_route){.kind = RELAY_LMTP, .host = STR("[127.0.0.1]")};
    world.recipients[1] = "b@example.net";
    world.nrecipients = 2;
    SCRIPT(0, ">220 hi", "<LHLO", ">250-x", ">250 PIPELINING", "<MAIL", "<RCPT", "<RCPT", ">250 ok",
           ">250 ok", ">250 ok", "<DATA", ">354 go", "<.", ">250 2.0.0 in", ">452 4.2.2 full");
    run();
    expect(0, RELAY_DELIVERED_NO_DSN, 250, "2.0.0");
    expect(1, RELAY_TEMPORARY, 452, "4.2.2");
}

/* ---- refused and broken ---- */

struct fault_case {
    const char *name, *steps[16];
    enum relay_outcome outcome;
    int code;
    const char *enhanced;
};
#define UNTIL_MAIL ">220 hi", "<EHLO", ">250 x", "<MAIL"
#define UNTIL_RCPT UNTIL_MAIL, ">250 ok", "<RCPT"
#define UNTIL_DATA UNTIL_RCPT, ">250 ok", "<DATA"
static const struct fault_case faults[] = {
    {"closes at once", {"!close"}, RELAY_TEMPORARY, 0, "4.4.2"},
    {"never greets", {"!hang"}, RELAY_TEMPORARY, 0, "4.4.2"},
    {"greets with 554", {">554 5.7.1 no"}, RELAY_TEMPORARY, 554, "4.4.2"},
    {"greets with 421", {">421 4.3.2 busy", "!close"}, RELAY_TEMPORARY, 421, "4.4.2"},
    {"speaks HTTP", {">HTTP/1.1 400 Bad Request"}, RELAY_TEMPORARY, 0, "4.4.2"},
    {"drips its greeting", {"!drip"}, RELAY_TEMPORARY, 0, "4.4.2"},
    {"greets without end", {"!endless"}, RELAY_TEMPORARY, 0, "4.4.2"},
    {"mixes codes", {"!raw 220-a\r\n250 b\r\n"}, RELAY_TEMPORARY, 0, "4.4.2"},
    {"closes after EHLO", {">220 hi", "<EHLO", "!close"}, RELAY_TEMPORARY, 0, "4.4.2"},
    {"drips EHLO", {">220 hi", "<EHLO", "!drip"}, RELAY_TEMPORARY, 0, "4.4.2"},
    {"refuses MAIL for now", {UNTIL_MAIL, ">451 4.7.1 later"}, RELAY_TEMPORARY, 451, "4.7.1"},
    {"refuses MAIL", {UNTIL_MAIL, ">550 go away"}, RELAY_PERMANENT, 550, "5.0.0"},
    {"closes after MAIL", {UNTIL_MAIL, "!close"}, RELAY_TEMPORARY, 0, "4.4.2"},
    {"answers MAIL with 354", {UNTIL_MAIL, ">354 what"}, RELAY_TEMPORARY, 354, "4.0.0"},
    {"refuses RCPT",
     {UNTIL_RCPT, ">550 5.1.1 nobody", "<RSET", ">250 ok"},
     RELAY_PERMANENT,
     550,
     "5.1.1"},
    {"closes after RCPT", {UNTIL_RCPT, "!close"}, RELAY_TEMPORARY, 0, "4.4.2"},
    {"shuts down at RCPT",
     {UNTIL_RCPT, ">421 4.3.2 down", "!close"},
     RELAY_TEMPORARY,
     421,
     "4.4.2"},
    {"refuses DATA for now",
     {UNTIL_DATA, ">451 4.3.0 no", "<RSET", ">250 ok"},
     RELAY_TEMPORARY,
     451,
     "4.3.0"},
    {"refuses DATA",
     {UNTIL_DATA, ">554 5.5.1 no", "<RSET", ">250 ok"},
     RELAY_PERMANENT,
     554,
     "5.5.1"},
    {"takes DATA too early", {UNTIL_DATA, ">250 thanks"}, RELAY_TEMPORARY, 0, "4.5.0"},
    {"closes after DATA", {UNTIL_DATA, "!close"}, RELAY_TEMPORARY, 0, "4.4.2"},
    {"refuses the content",
     {UNTIL_DATA, ">354 go", "<.", ">554 5.7.1 spam"},
     RELAY_PERMANENT,
     554,
     "5.7.1"},
    {"defers the content",
     {UNTIL_DATA, ">354 go", "<.", ">450 4.7.1 grey"},
     RELAY_TEMPORARY,
     450,
     "4.7.1"},
    {"loses the final reply", {UNTIL_DATA, ">354 go", "<.", "!close"}, RELAY_TEMPORARY, 0, "4.4.2"},
    {"never gives the final reply",
     {UNTIL_DATA, ">354 go", "<.", "!hang"},
     RELAY_TEMPORARY,
     0,
     "4.4.2"},
    {"drips the final reply", {UNTIL_DATA, ">354 go", "<.", "!drip"}, RELAY_TEMPORARY, 0, "4.4.2"},
    {"gives endless final replies",
     {UNTIL_DATA, ">354 go", "<.", "!endless"},
     RELAY_TEMPORARY,
     0,
     "4.4.2"},
};

static void test_every_fault_has_its_verdict_and_its_deadline(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
        reset(NULL);
        usual_dns(false);
        for (size_t k = 0; k < SCRIPTS; k++)
            memcpy(world.scripts[k], faults[i].steps, sizeof(faults[i].steps));
        run();
        const struct relay_verdict *v = &world.report.verdicts[0];
        if (v->outcome != faults[i].outcome || v->code != faults[i].code ||
            !str_eq(v->enhanced, str_c(faults[i].enhanced)))
            fail_msg("%s: outcome %d code %d %.*s \"%.*s\"", faults[i].name, v->outcome, v->code,
                     STR_ARG(v->enhanced), STR_ARG(v->text));
    }
}

/* The next host gets what the first could not take. */
static void test_a_dead_host_is_passed_over(void **state)
{
    has("example.net", DNS_MX, false,
        (struct dns_record){.preference = 10, .name = STR("bad.example.net")});
    world.records[world.nrecords++] =
        (struct dns_record){.preference = 20, .name = STR("mx.example.net")};
    world.answers[0].count = 2;
    has("bad.example.net", DNS_A, false, (struct dns_record){.bytes = STR("\x7f\0\0\1")});
    has("mx.example.net", DNS_A, false, (struct dns_record){.bytes = STR("\x7f\0\0\1")});
    SCRIPT(0, ">220 hi", "<EHLO", ">250 x", "<MAIL", "!close");
    SCRIPT(1, TO_DATA, "<.", ">250 ok");
    run();
    expect(0, RELAY_DELIVERED_NO_DSN, 250, "2.0.0");
    assert_int_equal(world.connections, 2);
}

static void test_a_doubtful_delivery_is_not_tried_at_the_next_host(void **state)
{
    has("example.net", DNS_MX, false,
        (struct dns_record){.preference = 10, .name = STR("mx.example.net")});
    world.records[world.nrecords++] =
        (struct dns_record){.preference = 20, .name = STR("mx.example.net")};
    world.answers[0].count = 2;
    has("mx.example.net", DNS_A, false, (struct dns_record){.bytes = STR("\x7f\0\0\1")});
    SCRIPT(0, TO_DATA, "<.", "!close");
    SCRIPT(1, TO_DATA, "<.", ">250 twice");
    run();
    expect(0, RELAY_TEMPORARY, 0, "4.4.2");
    assert_int_equal(world.connections, 1);
}

/* ---- routing ---- */

static void test_domains_that_take_no_mail(void **state)
{
    has("example.net", DNS_MX, false, (struct dns_record){.name = STR("")});
    run();
    expect(0, RELAY_PERMANENT, 0, "5.1.10");
    reset(NULL);
    run();
    expect(0, RELAY_PERMANENT, 0, "5.1.2");
    reset(NULL);
    is("example.net", DNS_MX, DNS_BOGUS);
    run();
    expect(0, RELAY_TEMPORARY, 0, "4.4.3");
    reset(NULL);
    has("example.net", DNS_MX, false,
        (struct dns_record){.preference = 5, .name = STR("mail.example.org")});
    run();
    expect(0, RELAY_PERMANENT, 0, "5.4.6");
    assert_int_equal(world.connections, 0);
}

static void test_the_domain_stands_in_for_its_mx(void **state)
{
    has("example.net", DNS_A, false, (struct dns_record){.bytes = STR("\x7f\0\0\1")});
    SCRIPT(0, TO_DATA, "<.", ">250 ok");
    run();
    expect(0, RELAY_DELIVERED_NO_DSN, 250, "2.0.0");
}

/* ---- TLS ---- */

#define OFFER HELLO, ">250-x", ">250-STARTTLS", ">250 REQUIRETLS", "<STARTTLS", ">220 go", "!tls"
#define SECURED                                                                                    \
    OFFER, "<EHLO", ">250-x", ">250 REQUIRETLS", "<MAIL", ">250 ok", "<RCPT", ">250 ok", "<DATA",  \
        ">354 go", "<.", ">250 ok"

static void key_digest(uint8_t out[32])
{
    BIO *b = BIO_new_mem_buf(cert.data, (int)cert.len);
    X509 *x = PEM_read_bio_X509(b, NULL, NULL, NULL);
    uint8_t *der = NULL;
    int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der);
    EVP_Digest(der, (size_t)len, out, NULL, EVP_sha256(), NULL);
    OPENSSL_free(der);
    X509_free(x);
    BIO_free(b);
}

static void dane_dns(bool right, uint8_t digest[32])
{
    usual_dns(true);
    key_digest(digest);
    digest[0] ^= right ? 0 : 1;
    static char name[64];
    static struct dns_record r;
    r = (struct dns_record){.usage = 3, .selector = 1, .matching = 1, .bytes = str_of(digest, 32)};
    snprintf(name, sizeof(name), "tlsa");
    has(name, DNS_TLSA, true, r);
}

/* The port is known only once the server listens: the fake DNS is asked by this name then. */
static enum err dane_query(void *ctx, str name, enum dns_type type, struct arena *arena,
                           struct dns_answer *out) WAITS
{
    return fake_query(ctx, type == DNS_TLSA ? STR("tlsa") : name, type, arena, out);
}

static void test_tls_where_it_is_offered(void **state)
{
    usual_dns(false);
    SCRIPT(0, SECURED);
    run();
    expect(0, RELAY_DELIVERED_NO_DSN, 250, "2.0.0");
    assert_true(str_eq(world.report.tls, STR("TLSv1.3 not verified")));
}

static void test_tls_that_fails_is_done_without_where_it_is_only_offered(void **state)
{
    usual_dns(false);
    SCRIPT(0, HELLO, ">250-x", ">250 STARTTLS", "<STARTTLS", ">220 go",
           "!raw no tls here at all\r\n");
    SCRIPT(1, HELLO, ">250-x", ">250 STARTTLS", "<MAIL", ">250 ok", "<RCPT", ">250 ok", "<DATA",
           ">354 go", "<.", ">250 ok");
    run();
    expect(0, RELAY_DELIVERED_NO_DSN, 250, "2.0.0");
    assert_true(str_empty(world.report.tls));
}

/* rule: wire-2 */
static void test_what_was_injected_before_tls_is_not_believed(void **state)
{
    usual_dns(false);
    world.route.tls = RELAY_TLS_ENCRYPT;
    SCRIPT(0, HELLO, ">250-x", ">250 STARTTLS", "<STARTTLS", "!raw 220 go\r\n250 injected\r\n",
           "!tls");
    run();
    expect(0, RELAY_TEMPORARY, 0, "4.7.5");
}

static void test_routes_that_demand_tls(void **state)
{
    usual_dns(false);
    world.route.tls = RELAY_TLS_ENCRYPT;
    SCRIPT(0, PLAIN, "<QUIT");
    run();
    expect(0, RELAY_TEMPORARY, 0, "4.7.5");
    reset(NULL);
    usual_dns(false);
    world.route.tls = RELAY_TLS_VERIFY;
    SCRIPT(0, SECURED);
    run();
    expect(0, RELAY_DELIVERED_NO_DSN, 250, "2.0.0");
    assert_true(str_eq(world.report.tls, STR("TLSv1.3 verified by name")));
    reset(NULL);
    world.route = (struct relay_route){
        .kind = RELAY_HOST, .host = STR("[127.0.0.1]"), .tls = RELAY_TLS_VERIFY};
    SCRIPT(0, OFFER);
    run(); /* the certificate is for a name */
    expect(0, RELAY_TEMPORARY, 0, "4.7.5");
}

static void with_dane(void);

static void test_dane_right(void **state)
{
    uint8_t digest[32];
    dane_dns(true, digest);
    SCRIPT(0, SECURED);
    with_dane();
    expect(0, RELAY_DELIVERED_NO_DSN, 250, "2.0.0");
    assert_true(str_eq(world.report.tls, STR("TLSv1.3 verified by DANE")));
}

static void test_dane_wrong(void **state)
{
    uint8_t digest[32];
    dane_dns(false, digest);
    SCRIPT(0, OFFER);
    SCRIPT(1, TO_DATA, "<.", ">250 in the clear");
    with_dane();
    expect(0, RELAY_TEMPORARY, 0, "4.7.5");
    assert_int_equal(world.connections, 1); /* never without TLS */
}

static void test_dane_and_no_tls_offered(void **state)
{
    uint8_t digest[32];
    dane_dns(true, digest);
    SCRIPT(0, PLAIN, "<QUIT");
    with_dane();
    expect(0, RELAY_TEMPORARY, 0, "4.7.5");
}

static void test_dane_forged(void **state)
{
    usual_dns(true);
    is("tlsa", DNS_TLSA, DNS_BOGUS);
    SCRIPT(0, TO_DATA, "<.", ">250 ok");
    with_dane();
    expect(0, RELAY_TEMPORARY, 0, "4.7.5");
    assert_int_equal(world.connections, 0);
}

static void test_dane_unusable_records_still_encrypt(void **state)
{
    usual_dns(true);
    has("tlsa", DNS_TLSA, true,
        (struct dns_record){.usage = 1, .selector = 1, .matching = 1, .bytes = STR("x")});
    SCRIPT(0, SECURED);
    with_dane();
    expect(0, RELAY_DELIVERED_NO_DSN, 250, "2.0.0");
    assert_true(str_eq(world.report.tls, STR("TLSv1.3 not verified")));
}

static void test_requiretls(void **state)
{
    uint8_t digest[32];
    dane_dns(true, digest);
    world.requiretls = true;
    SCRIPT(0, OFFER, "<EHLO", ">250-x", ">250 REQUIRETLS",
           "<MAIL FROM:<from@example.org> REQUIRETLS", ">250 ok", "<RCPT", ">250 ok", "<DATA",
           ">354 go", "<.", ">250 ok");
    with_dane();
    expect(0, RELAY_DELIVERED_NO_DSN, 250, "2.0.0");
    reset(NULL);
    dane_dns(true, digest);
    world.requiretls = true;
    SCRIPT(0, OFFER, "<EHLO", ">250 x", "<QUIT");
    with_dane();
    expect(0, RELAY_PERMANENT, 0, "5.7.30");
    reset(NULL);
    usual_dns(false);
    world.requiretls = true;
    run();
    expect(0, RELAY_PERMANENT, 0, "5.7.30");
    assert_int_equal(world.connections, 0);
}

/* ---- what the next hop lacks ---- */

static void test_internationalized_mail_needs_smtputf8(void **state)
{
    usual_dns(false);
    world.smtputf8 = true;
    world.recipients[0] = "\xc3\xa4@example.net";
    SCRIPT(0, PLAIN, "<QUIT");
    run();
    expect(0, RELAY_PERMANENT, 0, "5.6.7");
}

static void test_too_large_is_not_even_tried(void **state)
{
    usual_dns(false);
    SCRIPT(0, HELLO, ">250-x", ">250 SIZE 5", "<QUIT");
    run();
    expect(0, RELAY_PERMANENT, 0, "5.3.4");
}

/* ---- signing in ---- */

static void test_credentials_go_to_the_smart_host(void **state)
{
    world.route = (struct relay_route){.kind = RELAY_HOST,
                                       .host = STR("[127.0.0.1]"),
                                       .login = STR("me"),
                                       .password = STR("secret")};
    SCRIPT(0, HELLO, ">250-x", ">250 AUTH PLAIN LOGIN",
           "<AUTH PLAIN AG1lAHNlY3JldA==", ">235 2.7.0 ok", "<MAIL", ">250 ok", "<RCPT", ">250 ok",
           "<DATA", ">354 go", "<.", ">250 ok");
    run();
    expect(0, RELAY_DELIVERED_NO_DSN, 250, "2.0.0");
    reset(NULL);
    world.route = (struct relay_route){.kind = RELAY_HOST,
                                       .host = STR("[127.0.0.1]"),
                                       .login = STR("me"),
                                       .password = STR("secret")};
    SCRIPT(0, HELLO, ">250-x", ">250 AUTH LOGIN", "<AUTH LOGIN", ">334 VXNlcm5hbWU6",
           "<bWU=", ">334 UGFzc3dvcmQ6", "<c2VjcmV0", ">535 5.7.8 no");
    run();
    expect(0, RELAY_TEMPORARY, 535, "4.7.8");
}

static void test_private_hosts_are_refused_unless_allowed(void **state)
{
    /* The tests allow them; a literal that is no address at all is refused in any case. */
    world.route = (struct relay_route){.kind = RELAY_HOST, .host = STR("[nonsense]")};
    run();
    expect(0, RELAY_PERMANENT, 0, "5.4.4");
}

static void test_private_mail_hosts_are_refused(void **state)
{
    usual_dns(false);
    world.private_refused = true;
    run();
    expect(0, RELAY_PERMANENT, 0, "5.4.4");
    assert_int_equal(world.connections, 0);
}

/* ---- fetches ---- */

/* rule: web-3 */
static void test_fetches_from_private_addresses_are_refused(void **state)
{
    world.fetch = "/x";
    world.private_refused = true;
    run();
    assert_int_equal(world.fetch_result, ERR_DENIED);
    assert_int_equal(world.connections, 0);
}

static void test_an_exchange_looks_its_host_up(void **state)
{
    world.banner_of = "probe.example.net";
    has("probe.example.net", DNS_A, false, (struct dns_record){.bytes = STR("\x7f\0\0\1")});
    SCRIPT(0, ">220 probe.example.net");
    run();
    assert_true(str_eq(world.banner, STR("220 probe.example.net")));
    reset(NULL);
    world.banner_of = "127.0.0.1";
    SCRIPT(0, ">220 by address");
    run();
    assert_true(str_eq(world.banner, STR("220 by address")));
}

#define ASKED                                                                                      \
    "<GET /x HTTP/1.1", "<Host: 127.0.0.1:", "<User-Agent", "<Accept", "<Connection: close", "<"
static void test_pages_are_fetched(void **state)
{
    world.fetch = "/x";
    SCRIPT(0, ASKED, ">HTTP/1.1 100 Continue", ">", ">HTTP/1.1 200 OK", ">Content-Type: text/plain",
           ">Content-Length: 5", ">", "!raw hello world");
    run();
    OK(world.fetch_result);
    assert_true(world.fetched.status == 200 && str_eq(world.fetched.body, STR("hello")));
    assert_true(str_eq(world.fetched.content_type, STR("text/plain")));
    reset(NULL);
    world.fetch = "/x";
    SCRIPT(0, ASKED, ">HTTP/1.1 404 No", ">Transfer-Encoding: chunked", ">", ">3;x=y", ">abc", ">A",
           ">0123456789", ">0", ">");
    run();
    OK(world.fetch_result);
    assert_true(world.fetched.status == 404 && str_eq(world.fetched.body, STR("abc0123456789")));
    reset(NULL);
    world.fetch = "/x";
    SCRIPT(0, ASKED, ">HTTP/1.0 302 Found", ">Location: http://10.0.0.1/", ">", "!raw to the end",
           "!close");
    run();
    OK(world.fetch_result);
    assert_true(str_eq(world.fetched.location, STR("http://10.0.0.1/")));
    assert_true(str_eq(world.fetched.body, STR("to the end")));
}

static void test_hostile_pages(void **state)
{
    static const struct {
        const char *steps[12];
        enum err want;
    } cases[] = {
        {{ASKED, ">HTTP/1.1 200 OK", ">Content-Length: 1000000", ">"}, ERR_TOO_LARGE},
        {{ASKED, ">HTTP/1.1 200 OK", ">Transfer-Encoding: chunked", ">", ">ffffffffffff"},
         ERR_TOO_LARGE},
        {{ASKED, ">HTTP/1.1 200 OK", ">Content-Length: 5", ">Content-Length: 6", ">"}, ERR_SYNTAX},
        {{ASKED, ">SSH-2.0-nothing"}, ERR_SYNTAX},
        {{ASKED, ">HTTP/1.1 200 OK", ">Content-Length: 9", ">", "!raw abc", "!close"}, ERR_EOF},
        {{ASKED, ">HTTP/1.1 200 OK", "!drip"}, ERR_TIMEOUT},
        {{ASKED, ">HTTP/1.1 200 OK", "!endless"}, ERR_SYNTAX},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        reset(NULL);
        world.fetch = "/x";
        memcpy(world.scripts[0], cases[i].steps, sizeof(cases[i].steps));
        run();
        if (world.fetch_result != cases[i].want)
            fail_msg("case %zu: %s", i, err_name(world.fetch_result));
    }
}

/* ---- main ---- */

static bool dane_on;

static enum err choose_query(void *ctx, str name, enum dns_type type, struct arena *arena,
                             struct dns_answer *out) WAITS
{
    return dane_on ? dane_query(ctx, name, type, arena, out)
                   : fake_query(ctx, name, type, arena, out);
}

static void with_dane(void)
{
    dane_on = true;
    run();
    dane_on = false;
}

static int make_world(void **state)
{
    static const str names[] = {STR_INIT("mx.example.net")};
    ca = ca_key = cert = key = BUF_INIT(65536);
    OK(tls_make_ca(STR("Test CA"), &ca, &ca_key));
    OK(tls_make_certificate(buf_str(&ca), buf_str(&ca_key), names, 1, false, &cert, &key));
    struct tls_certificate c = {buf_str(&cert), buf_str(&key)};
    OK(tls_server_open(&c, 1, &world.tls));
    OK(tls_client_open(TLS_VERIFY_NONE, STR_NONE, &world.any));
    OK(tls_client_open(TLS_VERIFY_NAME, buf_str(&ca), &world.verify));
    return 0;
}

static int free_world(void **state)
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
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_a_plain_delivery),
        T(test_parameters_as_offered),
        T(test_helo_where_ehlo_is_unknown),
        T(test_each_recipient_has_its_own_verdict),
        T(test_many_recipients_go_in_groups),
        T(test_a_connection_is_kept_for_the_next_message),
        T(test_a_kept_connection_that_died_is_replaced),
        T(test_lmtp_answers_for_each),
        T(test_every_fault_has_its_verdict_and_its_deadline),
        T(test_a_dead_host_is_passed_over),
        T(test_a_doubtful_delivery_is_not_tried_at_the_next_host),
        T(test_domains_that_take_no_mail),
        T(test_the_domain_stands_in_for_its_mx),
        T(test_tls_where_it_is_offered),
        T(test_tls_that_fails_is_done_without_where_it_is_only_offered),
        T(test_what_was_injected_before_tls_is_not_believed),
        T(test_routes_that_demand_tls),
        T(test_dane_right),
        T(test_dane_wrong),
        T(test_dane_and_no_tls_offered),
        T(test_dane_forged),
        T(test_dane_unusable_records_still_encrypt),
        T(test_requiretls),
        T(test_internationalized_mail_needs_smtputf8),
        T(test_too_large_is_not_even_tried),
        T(test_credentials_go_to_the_smart_host),
        T(test_private_hosts_are_refused_unless_allowed),
        T(test_private_mail_hosts_are_refused),
        T(test_fetches_from_private_addresses_are_refused),
        T(test_an_exchange_looks_its_host_up),
        T(test_pages_are_fetched),
        T(test_hostile_pages),
    };
    return cmocka_run_group_tests(tests, make_world, free_world);
}
