/* SPDX-License-Identifier: Apache-2.0
 *
 * Aggregate reports from the first note to the message in the queue, and reports of others as rows.
 */
#include "core/test_world.h"

#include "core/dkim_keys.h"
#include "core/queue.h"
#include "core/report_collect.h"
#include "core/report_send.h"
#include "core/report_taken.h"
#include "core/test_dns.h"

#define DAY 20780u /* a day in 2026 */
#define NOON ((int64_t)DAY * REPORT_DAY_S + 43200)
#define DUE ((int64_t)(DAY + 1) * REPORT_DAY_S + REPORT_DELAY_S + REPORT_JITTER_S)

static struct world w;
static struct directory d;
static struct deliver_ctx deliver;
static struct report_collector *collector;
static struct arena arena;

static int open_world(void **state)
{
    struct dkim_domain_key k;
    world_open(&w);
    d = (struct directory){w.store};
    deliver = (struct deliver_ctx){.accounts = w.accounts, .directory = &d};
    arena_init(&arena, 1 << 24);
    OK(directory_domain_add(&d, &(struct domain){.name = STR("here.test")}));
    OK(dkim_keys_add(&d, STR("here.test"), STR("s"), true, NOON, &arena, &k));
    OK(dkim_keys_switch(&d, STR("here.test"), true, NOON));
    OK(report_collector_open(w.store, &collector));
    return 0;
}

static int close_world(void **state)
{
    report_collector_close(collector);
    arena_free(&arena);
    world_close(&w);
    return 0;
}

/* ---- notes ---- */

static void note_dmarc(const char *domain, const char *ip, const char *policy, int64_t now)
{
    BUF_AUTO struct buf head = BUF_INIT(4096), body = BUF_INIT(4096);
    struct dmarc_report_row row = {.source_ip = str_c(ip),
                                   .disposition = STR("none"),
                                   .spf_aligned = true,
                                   .header_from = str_c(domain),
                                   .spf_domain = str_c(domain),
                                   .spf_result = STR("pass")};
    report_policy_put(&(struct dmarc_report_policy){.p = str_c(policy)}, &head);
    report_dmarc_put(&row, &body);
    assert_true(buf_ok(&head) && buf_ok(&body));
    report_collect(
        collector,
        &(struct report_note){REPORT_DMARC, str_c(domain), buf_str(&head), buf_str(&body)}, now);
}

static void note_tls(const char *domain, const char *failure, int64_t now)
{
    BUF_AUTO struct buf body = BUF_INIT(4096);
    report_tls_put(
        &(struct report_tls_note){.policy_type = STR("sts"), .failure = {.type = str_c(failure)}},
        &body);
    report_collect(collector,
                   &(struct report_note){REPORT_TLS, str_c(domain), STR_NONE, buf_str(&body)}, now);
}

static void again(void)
{
    report_collector_close(collector);
    OK(report_collector_open(w.store, &collector));
}

struct seen {
    size_t rows;
    uint64_t count;
    str policy;
};

static bool see(void *arg, const struct store_row *row)
{
    struct seen *s = arg;
    struct reader r = reader_of(row->value);
    uint64_t none;
    str head;
    if (row->key.data[0] == SPACE_REPORT_SEEN)
        s->rows++;
    else if (row->key.data[0] == SPACE_REPORT_COUNT)
        s->count += read_be64(&r);
    else if (row->key.data[0] == SPACE_REPORT_DAY &&
             report_body_decode(SPACE_REPORT_DAY, row->value, &none, &head) == ERR_OK)
        assert_true(arena_dup(&arena, head, &s->policy));
    return true;
}

static struct seen seen(void)
{
    struct seen s = {0};
    struct store_key from = key_space(SPACE_REPORT_DAY), to = key_space(SPACE_REPORT_SENT);
    struct store_scan q = {
        .partition = STORE_PARTITION_REPORTS, .from = key_str(&from), .to = key_str(&to)};
    OK(store_scan_all(w.store, &q, see, &s));
    return s;
}

static void counted(void **state)
{
    struct dmarc_report_policy p;
    for (int i = 0; i < 3; i++)
        note_dmarc("a.test", "192.0.2.1", "none", NOON);
    note_dmarc("a.test", "192.0.2.2", "none", NOON);
    OK(report_collector_flush(collector, NOON));
    again(); /* as after a restart */
    note_dmarc("a.test", "192.0.2.1", "reject", NOON + 1);
    OK(report_collector_flush(collector, NOON + 1));
    struct seen s = seen();
    assert_int_equal(s.rows, 2);
    assert_int_equal(s.count, 5);
    OK(report_policy_take(s.policy, &p));
    assert_true(str_eq(p.p, STR("reject"))); /* the last that was seen */
    store_is_clean(w.store);
}

static void bounded(void **state)
{
    for (unsigned i = 0; i < REPORT_ROWS_DOMAIN + 50; i++) {
        char ip[32];
        snprintf(ip, sizeof ip, "10.0.%u.%u", i / 256, i % 256);
        note_dmarc("a.test", ip, "none", NOON);
    }
    OK(report_collector_flush(collector, NOON));
    again();
    note_dmarc("a.test", "192.0.2.1", "none", NOON);
    note_dmarc("a.test", "10.0.0.1", "none", NOON);
    OK(report_collector_flush(collector, NOON));
    struct seen s = seen();
    assert_int_equal(s.rows, REPORT_ROWS_DOMAIN);
    assert_int_equal(s.count, REPORT_ROWS_DOMAIN + 52);
    for (unsigned i = 0; i < REPORT_PENDING_MAX + 10; i++) { /* none of these waits for memory */
        char ip[32];
        snprintf(ip, sizeof ip, "10.1.%u.%u", i / 256, i % 256);
        note_dmarc("b.test", ip, "none", NOON);
    }
    OK(report_collector_flush(collector, NOON));
    store_is_clean(w.store);
}

static void midnight(void **state)
{
    int64_t end = (int64_t)(DAY + 1) * REPORT_DAY_S;
    note_dmarc("a.test", "192.0.2.1", "none", end - 1);
    note_dmarc("a.test", "192.0.2.1", "none", end);
    OK(report_collector_flush(collector, end + 2));
    assert_int_equal(seen().count, 2);
    assert_int_equal(seen().rows, 2);
    note_dmarc("a.test", "192.0.2.1", "none", end - 1);
    OK(report_collector_flush(collector, end + REPORT_GRACE_S)); /* its report may be on its way */
    assert_int_equal(seen().count, 2);
}

/* ---- sending ---- */

static struct post {
    uint32_t status;
    enum err err;
    unsigned posts;
    char url[200];
} web;

static enum err fetch(void *ctx, const struct relay_fetch *f, struct arena *a,
                      struct relay_fetched *out)
{
    assert_true(str_eq(f->method, STR("POST")));
    assert_true(str_eq(f->content_type, STR("application/tlsrpt+gzip")));
    assert_true(str_starts(f->body, STR("\x1f\x8b")));
    snprintf(web.url, sizeof web.url, "%.*s", STR_ARG(f->url));
    web.posts++;
    *out = (struct relay_fetched){.status = web.status};
    return web.err;
}

static enum err send_due(const char *zone, int64_t now)
{
    static struct test_dns dns;
    static struct relay relay;
    test_dns_open(&dns, str_c(zone));
    relay = (struct relay){.fetch = fetch, .dns = dns.dns};
    struct report_sender s = {.deliver = &deliver,
                              .relay = &relay,
                              .set = {.dmarc = true, .tls = true, .hostname = STR("mx.here.test")}};
    return report_send_due(&s, now);
}

struct queued {
    size_t messages;
    char to[1000];
    struct envelope envelope;
    uint64_t id;
};

static bool on_queued(void *arg, const struct queue_message *m, const struct queue_recipient *r,
                      size_t n)
{
    struct queued *q = arg;
    q->messages++;
    q->id = m->id;
    q->envelope = m->envelope;
    assert_true(str_empty(m->envelope.sender));
    for (size_t i = 0; i < n; i++) {
        size_t len = strlen(q->to);
        snprintf(q->to + len, sizeof q->to - len, "%s%.*s", len ? " " : "", STR_ARG(r[i].address));
    }
    return true;
}

static struct queued queued(void)
{
    struct queued q = {0};
    uint64_t more;
    OK(queue_list(w.store, &(struct queue_filter){0}, on_queued, &q, &more));
    return q;
}

static struct report_sent state_of(enum report_kind kind, const char *domain)
{
    struct report_sent s = {0};
    struct report_key k = {.kind = kind, .day = DAY, .domain = str_c(domain)};
    enum err e = report_sent_get(w.store, &k, &arena, &s);
    assert_true(e == ERR_OK || e == ERR_NOT_FOUND);
    return s;
}

/* Who gets the report about a.test when its zone says this. */
static void to_whom(const char *zone, const char *to)
{
    open_world(NULL);
    note_dmarc("a.test", "192.0.2.1", "none", NOON);
    OK(report_collector_flush(collector, NOON));
    OK(send_due(zone, DUE));
    struct queued q = queued();
    if (strcmp(q.to, to) != 0)
        fail_msg("%s\ngoes to \"%s\", not to \"%s\"", zone, q.to, to);
    assert_int_equal(state_of(REPORT_DMARC, "a.test").state, REPORT_DONE);
    assert_int_equal(seen().rows + seen().count, 0);
    close_world(NULL);
}

#define A "_dmarc.a.test TXT v=DMARC1; p=none; rua="
static void consent(void **state)
{
    to_whom(A "mailto:r@a.test\n", "r@a.test");
    to_whom(A "mailto:r@sub.a.test,mailto:r@A.test,MAILTO:r@a.test\n", "r@sub.a.test r@A.test");
    to_whom(A "mailto:r@b.test\n", "");
    to_whom(A "mailto:r@b.test\na.test._report._dmarc.b.test TXT v=DMARC1\n", "r@b.test");
    to_whom(A "mailto:r@b.test\na.test._report._dmarc.b.test TXT v=DMARC1;\n", "r@b.test");
    to_whom(A "mailto:r@b.test\na.test._report._dmarc.b.test TXT v=DMARC17\n", "");
    to_whom(A "mailto:r@b.test\na.test._report._dmarc.b.test TXT v=spf1\n", "");
    to_whom(A "mailto:r@b.test\n"
              "a.test._report._dmarc.b.test TXT v=DMARC1; rua=mailto:other@b.test\n",
            "other@b.test");
    to_whom(A "mailto:r@b.test,mailto:q@a.test\n"
              "a.test._report._dmarc.b.test TXT v=DMARC1; rua=mailto:other@c.test\n",
            "q@a.test");
    to_whom(A "mailto:r%2Bx@a.test?subject=y,https://a.test/,mailto:no,mailto:x@[192.0.2.1]\n",
            "r+x@a.test");
    to_whom(A "mailto:small@a.test!1k,mailto:large@a.test!1m\n", "large@a.test");
    to_whom(A "mailto:small@a.test!1k\n", "");
    to_whom("_dmarc.a.test TXT v=DMARC1; p=none\n", "");
    to_whom("a.test TXT x\n", "");
}

static void not_before_it_is_due(void **state)
{
    note_dmarc("a.test", "192.0.2.1", "none", NOON);
    OK(report_collector_flush(collector, NOON));
    int64_t due = report_due_s(STR("mx.here.test"), REPORT_DMARC, DAY, STR("a.test"));
    assert_true(due >= (int64_t)(DAY + 1) * REPORT_DAY_S + REPORT_DELAY_S && due <= DUE);
    OK(send_due(A "mailto:r@a.test\n", due - 1));
    assert_int_equal(queued().messages, 0);
    OK(send_due(A "mailto:r@a.test\n", due));
    assert_int_equal(queued().messages, 1);
}

static void dns_away(void **state)
{
    note_dmarc("a.test", "192.0.2.1", "none", NOON);
    OK(report_collector_flush(collector, NOON));
    OK(send_due("_dmarc.a.test FAIL\n", DUE));
    struct report_sent s = state_of(REPORT_DMARC, "a.test");
    assert_int_equal(s.state, REPORT_WAITING);
    OK(send_due(A "mailto:r@a.test\n", s.next_s - 1));
    assert_int_equal(queued().messages, 0);
    OK(send_due(A "mailto:r@a.test\n", s.next_s));
    assert_int_equal(queued().messages, 1);
    assert_int_equal(state_of(REPORT_DMARC, "a.test").state, REPORT_DONE);
}

static void too_old(void **state)
{
    note_dmarc("a.test", "192.0.2.1", "none", NOON);
    OK(report_collector_flush(collector, NOON));
    OK(send_due(A "mailto:r@a.test\n", NOON + REPORT_AGE_MAX_S + 2 * REPORT_DAY_S));
    assert_int_equal(queued().messages, 0);
    assert_int_equal(seen().rows, 0);
    assert_int_equal(state_of(REPORT_DMARC, "a.test").state, REPORT_DONE);
}

/* A crash between the queue's commit and ours: the rows and PREPARED are still there. */
static void once(void **state)
{
    note_dmarc("a.test", "192.0.2.1", "none", NOON);
    OK(report_collector_flush(collector, NOON));
    OK(send_due(A "mailto:r@a.test\n", DUE));
    struct report_sent s = state_of(REPORT_DMARC, "a.test");
    assert_int_equal(s.queue_id, queued().id);
    s.state = REPORT_PREPARED;
    BUF_AUTO struct buf value = BUF_INIT(4096);
    report_sent_encode(&s, &value);
    struct store_key key = report_key_day(SPACE_REPORT_SENT, REPORT_DMARC, DAY, STR("a.test"));
    struct store_op op = {.kind = STORE_PUT, .key = key_str(&key), .value = buf_str(&value)};
    struct store_commit c = {.partition = STORE_PARTITION_REPORTS,
                             .expect_version = STORE_ANY_VERSION,
                             .ops = &op,
                             .nops = 1};
    struct store_result r;
    OK(store_commit(w.store, &c, &r));
    again();
    note_dmarc("a.test", "192.0.2.1", "none", NOON);
    OK(report_collector_flush(collector, NOON));
    OK(send_due(A "mailto:r@a.test\n", DUE + 1));
    assert_int_equal(queued().messages, 1);
    size_t removed;
    OK(queue_remove(w.store, s.queue_id, QUEUE_ALL, &removed)); /* it has been delivered */
    OK(store_commit(w.store, &c, &r));
    again();
    note_dmarc("a.test", "192.0.2.1", "none", NOON);
    OK(report_collector_flush(collector, NOON));
    OK(send_due(A "mailto:r@a.test\n", DUE + 2));
    assert_int_equal(queued().messages, 0);
    assert_int_equal(state_of(REPORT_DMARC, "a.test").state, REPORT_DONE);
}

static void posted(void **state)
{
    const char *zone = "_smtp._tls.a.test TXT v=TLSRPTv1; rua=https://a.test/report\n";
    note_tls("a.test", "", NOON);
    note_tls("a.test", "certificate-expired", NOON);
    OK(report_collector_flush(collector, NOON));
    web = (struct post){.status = 500};
    OK(send_due(zone, DUE));
    struct report_sent s = state_of(REPORT_TLS, "a.test");
    assert_int_equal(s.state, REPORT_WAITING);
    web.status = 201;
    OK(send_due(zone, s.next_s));
    assert_int_equal(web.posts, 2);
    assert_string_equal(web.url, "https://a.test/report");
    assert_int_equal(state_of(REPORT_TLS, "a.test").state, REPORT_DONE);
    assert_int_equal(queued().messages, 0);
}

static void tls_mailed(void **state)
{
    note_tls("a.test", "", NOON);
    OK(report_collector_flush(collector, NOON));
    OK(send_due("_smtp._tls.a.test TXT v=TLSRPTv1; rua=mailto:any@where.test\n", DUE));
    struct queued q = queued();
    assert_string_equal(q.to, "any@where.test"); /* no consent is asked for (RFC 8460 3) */
    assert_true(q.envelope.tls_report);
}

/* ---- of others ---- */

static bool on_taken(void *arg, const struct report_key *k, const struct report_taken *t)
{
    struct report_taken *sum = arg;
    sum->rows += t->rows;
    sum->count += t->count;
    sum->passed += t->passed;
    sum->left_out++; /* reports */
    sum->verified = t->verified;
    return true;
}

static struct report_taken taken(enum report_kind kind)
{
    struct report_taken sum = {0};
    OK(report_taken_list(w.store, kind, STR("here.test"), 0, on_taken, &sum));
    return sum;
}

static void about_ourselves(void **state)
{
    note_dmarc("here.test", "192.0.2.1", "none", NOON);
    note_dmarc("here.test", "192.0.2.1", "none", NOON);
    OK(report_collector_flush(collector, NOON));
    OK(send_due("_dmarc.here.test TXT v=DMARC1; p=none; rua=mailto:postmaster@here.test\n", DUE));
    assert_int_equal(queued().messages, 0);
    struct report_taken t = taken(REPORT_DMARC);
    assert_true(t.left_out == 1 && t.count == 2 && t.passed == 2 && t.rows == 1 && t.verified);
}

static enum err take(const char *domain, const char *id, bool verified, int64_t begin, size_t *n)
{
    BUF_AUTO struct buf out = BUF_INIT(65536), rows = BUF_INIT(65536), body = BUF_INIT(4096);
    struct report_read_head h = {.kind = REPORT_DMARC,
                                 .domain = str_c(domain),
                                 .taken = {.verified = verified,
                                           .begin_s = begin,
                                           .end_s = begin + REPORT_DAY_S - 1,
                                           .received_s = NOON,
                                           .organization = STR("Org"),
                                           .report_id = str_c(id),
                                           .count = 3,
                                           .rows = 1}};
    report_dmarc_put(&(struct dmarc_report_row){.source_ip = STR("::1")}, &body);
    report_read_row_put(3, buf_str(&body), &rows);
    report_read_put(&h, buf_str(&rows), &out);
    return report_take(&d, buf_str(&out), NOON, n);
}

static void believed(void **state)
{
    size_t n;
    int64_t begin = NOON - 2 * REPORT_DAY_S;
    OK(take("here.test", "1", true, begin, &n));
    assert_int_equal(n, 1);
    OK(take("here.test", "1", true, begin, &n)); /* the same again */
    assert_int_equal(n, 0);
    OK(take("sub.here.test", "1", true, begin, &n));
    assert_int_equal(n, 1);
    OK(take("elsewhere.test", "1", true, begin, &n));
    assert_int_equal(n, 0);
    OK(take("here.test", "2", true, begin - REPORT_OLD_S, &n));
    assert_int_equal(n, 0);
    OK(take("here.test", "3", true, NOON + 3 * REPORT_DAY_S, &n));
    assert_int_equal(n, 0);
    assert_int_equal(take("no domain", "4", true, begin, &n), ERR_CORRUPT);
    assert_int_equal(report_take(&d, STR("\1\5abc"), NOON, &n), ERR_CORRUPT);
    for (int i = 0; i < REPORT_UNVERIFIED_DAY + 5; i++) {
        char id[20];
        snprintf(id, sizeof id, "u%d", i);
        OK(take("here.test", id, false, begin, &n));
    }
    assert_int_equal(taken(REPORT_DMARC).left_out, REPORT_UNVERIFIED_DAY);
    OK(take("here.test", "v", true, begin, &n));
    assert_int_equal(n, 1);
    store_is_clean(w.store);
}

/* Anybody can make up names below our domains: together they are no more than a domain's. */
static void made_up_names(void **state)
{
    size_t n, all = 0;
    for (int i = 0; i < REPORT_BELOW_DAY + 20; i++) {
        char domain[40];
        snprintf(domain, sizeof domain, "x%d.here.test", i);
        OK(take(domain, "1", i % 2, NOON - (1 + i % 9) * REPORT_DAY_S, &n));
        all += n;
    }
    assert_in_range(all, 1, REPORT_BELOW_DAY);
    OK(take("here.test", "mine", true, NOON - REPORT_DAY_S, &n));
    assert_int_equal(n, 1);
    store_is_clean(w.store);
}

static void pruned(void **state)
{
    size_t n;
    OK(take("here.test", "old", true, NOON - 40 * REPORT_DAY_S, &n));
    OK(take("here.test", "new", true, NOON - 2 * REPORT_DAY_S, &n));
    OK(report_prune(w.store, NOON, 50 * REPORT_DAY_S));
    assert_int_equal(taken(REPORT_DMARC).left_out, 2);
    OK(report_prune(w.store, NOON, 20 * REPORT_DAY_S));
    assert_int_equal(taken(REPORT_DMARC).left_out, 1);
    store_is_clean(w.store);
}

/* ---- check ---- */

static void on_finding(void *arg, bool fatal, uint64_t partition, str text)
{
    buf_add(arg, text);
    buf_add_char(arg, '\n');
}

static void finds(struct store_key key, enum store_op_kind kind, str value, const char *what)
{
    BUF_AUTO struct buf text = BUF_INIT(65536);
    struct check_result r;
    struct store_result result;
    struct store_op op = {.kind = kind, .key = key_str(&key), .value = value, .delta = 1};
    struct store_commit c = {.partition = STORE_PARTITION_REPORTS,
                             .expect_version = STORE_ANY_VERSION,
                             .ops = &op,
                             .nops = 1};
    size_t n;
    open_world(NULL);
    OK(take("here.test", "1", true, NOON - REPORT_DAY_S, &n));
    note_dmarc("a.test", "192.0.2.1", "none", NOON);
    OK(report_collector_flush(collector, NOON));
    store_is_clean(w.store);
    OK(store_commit(w.store, &c, &result));
    OK(check_store(w.store, on_finding, &text, &r));
    if (str_find(buf_str(&text), str_c(what)) == STR_NPOS || r.findings == 0)
        fail_msg("no \"%s\" in %.*s", what, STR_ARG(buf_str(&text)));
    report_collector_close(collector);
    account_close(w.account);
    accounts_close(w.accounts);
    store_close(w.store);
    arena_free(&arena);
}

static void checked(void **state)
{
    uint8_t hash[REPORT_HASH] = {1};
    finds(report_key_seen(SPACE_REPORT_COUNT, REPORT_DMARC, DAY, STR("a.test"), hash), STORE_ADD,
          STR_NONE, "without its note");
    finds(report_key_seen(SPACE_REPORT_SEEN, REPORT_TLS, DAY, STR("a.test"), hash), STORE_PUT,
          STR("\x31\1"), "unreadable note");
    finds(report_key_day(SPACE_REPORT_SENT, REPORT_TLS, DAY, STR("a.test")), STORE_PUT, STR("x"),
          "unreadable state");
    finds(report_key_taken(REPORT_DMARC, STR("here.test"), 1, hash), STORE_PUT, STR("x"),
          "unreadable report");
    finds(report_key_row(REPORT_DMARC, STR("here.test"), 1, hash, 0), STORE_PUT, STR("x"),
          "without its report");
    struct store_key all = key_space(SPACE_REPORT_ROW), end = key_space_end(SPACE_REPORT_ROW);
    finds(all, STORE_DELETE_RANGE, key_str(&end), "lacks 1 of its rows");
    finds((struct store_key){{SPACE_REPORT_DAY, 9}, 2}, STORE_PUT, STR("x"), "unreadable key");
}

int main(void)
{
#define WORLD(fn) cmocka_unit_test_setup_teardown(fn, open_world, close_world)
    const struct CMUnitTest tests[] = {
        WORLD(counted),
        WORLD(bounded),
        WORLD(midnight),
        cmocka_unit_test(consent),
        WORLD(not_before_it_is_due),
        WORLD(dns_away),
        WORLD(too_old),
        WORLD(once),
        WORLD(posted),
        WORLD(tls_mailed),
        WORLD(about_ourselves),
        WORLD(believed),
        WORLD(made_up_names),
        WORLD(pruned),
        cmocka_unit_test(checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
