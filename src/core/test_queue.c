/* SPDX-License-Identifier: Apache-2.0
 *
 * The queue against a relay that answers what it is told: every verdict, crashes, many rows for a
 * dead host, reports, routes, forwarding.
 * rule: accept-2, accept-5, proc-3, proc-4
 */
#include "core/test_world.h"

#include "base/num.h"
#include "core/bounce.h"
#include "core/deliver.h"
#include "core/queue_lane.h"
#include "core/queue_schedule.h"
#include "core/srs.h"
#include "core/test_slow_store.h"
#include "core/transport.h"

#ifdef __SANITIZE_ADDRESS__
#define MANY 2000
#else
#define MANY 100000
#endif
#define HOUR_MS 3600000ull

struct post {
    struct world w;
    struct directory directory;
    struct deliver_ctx ctx;
    uint64_t user;
    int fd;
    struct buf mime;
    struct envelope_recipient recipients[300];
    char names[300][40];
    struct envelope e;
    struct queue_policy policy;
    /* the relay */
    struct relay relay;
    enum relay_outcome answer;
    enum err fails;
    bool no_dsn, connected;
    unsigned jobs, together, most_together, largest;
    unsigned to_dead, to_live;
    char sender[200], domain[100], host[100];
    /* the scheduler */
    struct fiber_group group;
    struct queue_schedule *schedule;
};

static const str text = STR_INIT("From: a@b\r\nSubject: hi\r\n\r\nbody\r\n");

/* Lets the scheduler run. */
static void pause_ms(uint64_t ms) { assert_int_equal(wait_until(deadline_in_ms(ms)), ERR_TIMEOUT); }

static enum err fake_attempt(void *ctx, const struct relay_job *job, struct arena *arena,
                             struct relay_report *out)
{
    struct post *p = ctx;
    bool dead = str_eq(job->domain, STR("dead.test"));
    p->jobs++;
    p->largest = MAX(p->largest, (unsigned)job->nrecipients);
    *(dead ? &p->to_dead : &p->to_live) += 1;
    p->most_together = MAX(p->most_together, ++p->together);
    snprintf(p->sender, sizeof p->sender, "%.*s", STR_ARG(job->envelope->sender));
    snprintf(p->domain, sizeof p->domain, "%.*s", STR_ARG(job->domain));
    snprintf(p->host, sizeof p->host, "%.*s", STR_ARG(job->route.host));
    assert_true(job->size > text.len && file_is_sealed(job->fd));
    fiber_yield();
    p->together--;
    if (p->fails != ERR_OK)
        return p->fails;
    out->verdicts = ARENA_ARRAY(arena, struct relay_verdict, job->nrecipients);
    out->connected = p->connected && !dead;
    for (size_t i = 0; i < job->nrecipients; i++)
        out->verdicts[i] = (struct relay_verdict){
            .outcome = dead ? RELAY_TEMPORARY : p->answer,
            .code = dead                           ? 0
                    : p->answer == RELAY_PERMANENT ? 550
                                                   : 250,
            .enhanced = p->answer == RELAY_PERMANENT ? STR("5.1.1") : STR("4.4.1"),
            .text = STR("their own words"),
            .host = STR("mx.far.test [192.0.2.1]")};
    return ERR_OK;
}

static void post_open(struct post *p)
{
    memset(p, 0, sizeof *p);
    OK(store_open_memory(&p->w.store));
    p->w.accounts = world_accounts(&p->w);
    p->directory.store = p->w.store;
    p->ctx = (struct deliver_ctx){
        .accounts = p->w.accounts, .directory = &p->directory, .host_name = STR("mx.example.test")};
    OK(directory_domain_add(&p->directory, &(struct domain){.name = STR("example.test")}));
    struct account_entry user = {.address = STR("user@example.test"), .protocols = PROTOCOL_ALL};
    OK(directory_account_add(&p->directory, &user, &p->user));
    OK(file_memory("test", &p->fd));
    OK(file_write_all_at(p->fd, 0, text.data, text.len));
    buf_init(&p->mime, 65536);
    mime_of(text, &p->mime);
    p->e = (struct envelope){.sender = STR("user@example.test"),
                             .account = p->user,
                             .fd = p->fd,
                             .size = text.len,
                             .trace = STR("Received: by us\r\n"),
                             .mime = buf_str(&p->mime),
                             .recipients = p->recipients};
    p->policy = (struct queue_policy){.retry_first_ms = 60000,
                                      .retry_max_ms = HOUR_MS,
                                      .age_max_ms = 120 * HOUR_MS,
                                      .warn_after_ms = 4 * HOUR_MS,
                                      .attempts_max = 16,
                                      .lane_max = 8};
    p->relay = (struct relay){.ctx = p, .attempt = fake_attempt};
    p->connected = true;
    fiber_group_init(&p->group);
}

static void start(struct post *p)
{
    struct queue_schedule_options o = {
        .deliver = &p->ctx, .relay = &p->relay, .policy = p->policy, .step = 1};
    fiber_group_init(&p->group);
    OK(queue_schedule_start(&o, &p->group, &p->schedule));
}

static void stop(struct post *p)
{
    fiber_group_cancel(&p->group);
    fiber_group_join(&p->group);
    p->schedule = NULL;
}

static void post_close(struct post *p)
{
    if (p->schedule)
        stop(p);
    accounts_close(p->w.accounts);
    store_is_clean(p->w.store);
    store_close(p->w.store);
    buf_free(&p->mime);
    file_close(&p->fd);
}

static void to(struct post *p, const char *address, uint8_t notify)
{
    size_t n = p->e.nrecipients++;
    snprintf(p->names[n], sizeof p->names[n], "%s", address);
    p->recipients[n] = (struct envelope_recipient){.address = str_c(p->names[n]), .notify = notify};
}

static void send(struct post *p)
{
    enum err results[300];
    OK(deliver_envelope(&p->ctx, &p->e, &(struct deliver_result){results}));
    for (size_t i = 0; i < p->e.nrecipients; i++)
        OK(results[i]);
    p->e.nrecipients = 0;
}

static bool count_rows(void *arg, const struct queue_message *m, const struct queue_recipient *rs,
                       size_t n)
{
    *(size_t *)arg += n;
    return true;
}

static size_t queued(struct post *p, unsigned states)
{
    size_t n = 0;
    uint64_t more;
    OK(queue_list(p->w.store, &(struct queue_filter){.states = states, .limit = SIZE_MAX},
                  count_rows, &n, &more));
    return n;
}

static uint64_t inbox(struct post *p)
{
    struct account *a;
    OK(account_open(p->w.accounts, p->user, &a));
    const struct mailbox *m = mailbox_find(a, STR("INBOX"));
    uint64_t n = m ? m->state.messages : 0;
    account_close(a);
    return n;
}

/* The first message of the sender's INBOX has this in it. */
static void inbox_says(struct post *p, const char *what)
{
    struct account *a;
    struct message_cold cold;
    BUF_AUTO struct buf raw = BUF_INIT(65536), out = BUF_INIT(1 << 20);
    OK(account_open(p->w.accounts, p->user, &a));
    OK(message_cold(a, 1, &raw, &cold));
    OK(message_read(a, &cold, 0, UINT64_MAX, &out));
    if (str_find(buf_str(&out), str_c(what)) == STR_NPOS)
        fail_msg("no \"%s\" in %.*s", what, STR_ARG(buf_str(&out)));
    account_close(a);
}

/* Until nothing is under way. Each turn of the scheduler is awaited, not slept for. */
static void settle_down(struct post *p, unsigned jobs)
{
    uint64_t end = clock_mono_ms() + 20000;
    struct queue_schedule_stats s;
    do {
        pause_ms(5);
        queue_schedule_stats(p->schedule, &s);
    } while ((p->jobs < jobs || s.running) && clock_mono_ms() < end);
    assert_true(p->jobs >= jobs);
}

struct only {
    struct queue_recipient r;
    struct arena arena;
};
static bool first_row(void *arg, const struct queue_message *m, const struct queue_recipient *rs,
                      size_t n)
{
    struct only *o = arg;
    o->r = rs[0];
    assert_true(arena_dup(&o->arena, rs[0].last_reply, &o->r.last_reply));
    return false;
}

static struct queue_recipient the_row(struct post *p, struct only *o)
{
    uint64_t more;
    o->arena = ARENA_INIT(65536);
    OK(queue_list(p->w.store, &(struct queue_filter){0}, first_row, o, &more));
    return o->r;
}

/* ---- verdicts ---- */

static void delivered_leaves_nothing(void *arg)
{
    static struct post p;
    post_open(&p);
    start(&p);
    to(&p, "a@far.test", 0);
    to(&p, "B@far.test", NOTIFY_SUCCESS);
    send(&p);
    settle_down(&p, 1);
    assert_int_equal(p.jobs, 1);
    assert_int_equal(p.largest, 2);
    assert_int_equal(queued(&p, 0), 0);
    assert_int_equal(inbox(&p), 0); /* the remote does DSN: it reports */
    p.answer = RELAY_DELIVERED_NO_DSN;
    to(&p, "b@far.test", NOTIFY_SUCCESS);
    to(&p, "c@far.test", 0);
    send(&p);
    settle_down(&p, 2);
    assert_int_equal(inbox(&p), 1);
    inbox_says(&p, "Action: relayed");
    inbox_says(&p, "Final-Recipient: rfc822; b@far.test");
    assert_int_equal(queued(&p, 0), 0);
    post_close(&p);
}

static void temporary_is_tried_later(void *arg)
{
    static struct post p;
    struct only o;
    size_t got;
    struct queue_attempt log[QUEUE_LOG_MAX];
    post_open(&p);
    start(&p);
    p.answer = RELAY_TEMPORARY;
    to(&p, "a@far.test", 0);
    send(&p);
    settle_down(&p, 1);
    for (unsigned i = 2; i < QUEUE_LOG_MAX + 4; i++) {
        struct queue_recipient r = the_row(&p, &o);
        size_t changed;
        assert_int_equal(r.state, QUEUE_READY);
        assert_int_equal(r.attempts, i - 1);
        uint64_t pause = r.due_ms - clock_wall_ms();
        uint64_t wanted = MIN(60000ull << (i - 2), HOUR_MS);
        assert_in_range(pause, wanted * 8 / 10, wanted * 12 / 10);
        assert_string_equal(o.r.last_reply.data, "250 their own words");
        OK(queue_retry(p.w.store, r.id, QUEUE_ALL, clock_wall_ms(), &changed));
        assert_int_equal(changed, 1);
        arena_free(&o.arena);
        settle_down(&p, i);
    }
    struct queue_recipient r = the_row(&p, &o);
    OK(queue_attempts(p.w.store, r.id, r.n, &o.arena, log, &got));
    assert_int_equal(got, QUEUE_LOG_MAX);
    assert_int_equal(log[QUEUE_LOG_MAX - 1].number, r.attempts);
    assert_true(str_eq(log[0].host, STR("mx.far.test [192.0.2.1]")));
    arena_free(&o.arena);
    p.answer = RELAY_DELIVERED;
    size_t changed;
    OK(queue_retry(p.w.store, r.id, QUEUE_ALL, clock_wall_ms(), &changed));
    settle_down(&p, p.jobs + 1);
    assert_int_equal(queued(&p, 0), 0);
    post_close(&p);
}

static void refused_goes_back(void *arg)
{
    static struct post p;
    post_open(&p);
    start(&p);
    p.answer = RELAY_PERMANENT;
    p.e.envid = STR("envelope-77");
    to(&p, "a@far.test", 0);
    to(&p, "quiet@far.test", NOTIFY_NEVER);
    send(&p);
    settle_down(&p, 1);
    assert_int_equal(queued(&p, 0), 0);
    assert_int_equal(inbox(&p), 1);
    inbox_says(&p, "Action: failed");
    inbox_says(&p, "Status: 5.1.1");
    inbox_says(&p, "550 their own words");
    inbox_says(&p, "Original-Envelope-Id: envelope-77");
    inbox_says(&p, "Return-Path: <>");
    post_close(&p);
}

/* rule: accept-5 */
static void no_report_for_a_report_nor_to_the_forged(void *arg)
{
    static struct post p;
    post_open(&p);
    start(&p);
    p.answer = RELAY_PERMANENT;
    p.e.sender = STR_NONE;
    to(&p, "a@far.test", NOTIFY_FAILURE);
    send(&p);
    settle_down(&p, 1);
    p.e.sender = STR("user@example.test");
    p.e.account = 0;
    p.e.sender_failed = true;
    to(&p, "a@far.test", 0);
    send(&p);
    settle_down(&p, 2);
    assert_int_equal(queued(&p, 0), 0);
    assert_int_equal(inbox(&p), 0);
    post_close(&p);
}

/* The directory is away while the report is addressed: it is made later. rule: accept-5 */
static void a_report_waits_for_the_directory(void *arg)
{
    static struct post p;
    struct queue_message m;
    post_open(&p);
    struct queue_recipient rs[] = {{.state = QUEUE_READY, .address = STR("a@far.test")},
                                   {.state = QUEUE_READY, .address = STR("b@far.test")}};
    OK(queue_add(p.w.store, &p.e, rs, 2, &m));
    struct queue_result results[] = {{.n = 0}, {.n = 1}};
    struct bounce_item item = {.row = &rs[1], .action = DSN_FAILED};
    struct slow_store *away = slow_open(1, 0);
    away->directory_answer = ERR_UNAVAILABLE;
    p.directory.store = &away->store;
    assert_int_equal(bounce_settle(&p.ctx, &m, QUEUE_READY, 0, results, 2, &item, 1),
                     ERR_UNAVAILABLE);
    assert_int_equal(queued(&p, 0), 1); /* the other one is at its end */
    p.directory.store = p.w.store;
    store_close(&away->store);
    assert_int_equal(inbox(&p), 0);
    OK(bounce_settle(&p.ctx, &m, QUEUE_READY, 0, results, 2, &item, 1));
    assert_int_equal(queued(&p, 0), 0);
    assert_int_equal(inbox(&p), 1);
    post_close(&p);
}

static void what_nobody_knows_is_tried_again(void *arg)
{
    static struct post p;
    struct only o;
    static const enum err errors[] = {ERR_UNKNOWN, ERR_TIMEOUT, ERR_LIMIT, ERR_UNAVAILABLE};
    for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
        post_open(&p);
        start(&p);
        p.fails = errors[i];
        to(&p, "a@far.test", 0);
        send(&p);
        settle_down(&p, 1);
        struct queue_recipient r = the_row(&p, &o);
        assert_int_equal(r.state, QUEUE_READY);
        assert_int_equal(r.attempts, errors[i] == ERR_UNAVAILABLE ? 0 : 1);
        assert_int_equal(inbox(&p), 0);
        arena_free(&o.arena);
        post_close(&p);
    }
}

/* A hand that holds or removes while it is being tried. */
static void hands_and_attempts(void *arg)
{
    static struct post p;
    struct queue_message m;
    size_t n = 1, changed;
    uint32_t ns[1] = {0};
    uint64_t now = clock_wall_ms();
    post_open(&p);
    struct queue_recipient r = {.state = QUEUE_READY, .address = STR("a@far.test")};
    OK(queue_add(p.w.store, &p.e, &r, 1, &m));
    OK(queue_lease(p.w.store, m.id, ns, &n, now + 5, now + 1000));
    assert_int_equal(queue_lease(p.w.store, m.id, ns, &n, now + 6, now + 2000), ERR_CONFLICT);
    n = 1;
    OK(queue_lease(p.w.store, m.id, ns, &n, now + 1000, now + 2000)); /* the first is over */
    struct queue_result later = {.n = 0, .to = QUEUE_READY, .due_ms = now};
    assert_int_equal(queue_settle(p.w.store, m.id, QUEUE_ACTIVE, now + 1000, &later, 1, NULL),
                     ERR_CONFLICT);
    OK(queue_hold(p.w.store, m.id, QUEUE_ALL, &changed));
    assert_int_equal(queue_settle(p.w.store, m.id, QUEUE_ACTIVE, now + 2000, &later, 1, NULL),
                     ERR_CONFLICT);
    assert_int_equal(queued(&p, 1 << QUEUE_HELD), 1);
    struct queue_result done = {.n = 0};
    OK(queue_settle(p.w.store, m.id, QUEUE_ACTIVE, now + 2000, &done, 1, NULL));
    assert_int_equal(queued(&p, 0), 0);
    post_close(&p);
}

/* ---- crashes ---- */

static void leases_of_the_dead_are_taken_back(void *arg)
{
    static struct post p;
    struct queue_message m;
    uint64_t now = clock_wall_ms();
    post_open(&p);
    struct queue_recipient r[2] = {
        {.state = QUEUE_ACTIVE, .address = STR("a@far.test"), .due_ms = now + QUEUE_LEASE_MS},
        {.state = QUEUE_ACTIVE, .address = STR("b@far.test"), .due_ms = now + QUEUE_LEASE_MS}};
    OK(queue_add(p.w.store, &p.e, r, 2, &m));
    start(&p);
    settle_down(&p, 1);
    assert_int_equal(queued(&p, 0), 0);
    assert_int_equal(p.largest, 2);
    post_close(&p);
}

/* ---- many ---- */

static void add_rows(struct post *p, unsigned n, const char *domain, uint64_t account)
{
    struct envelope e = p->e;
    struct queue_message m;
    e.account = account;
    for (unsigned i = 0; i < n; i++) {
        char name[60];
        snprintf(name, sizeof name, "u%u@%s", i, domain);
        struct queue_recipient r = {.state = QUEUE_READY, .address = str_c(name)};
        OK(queue_add(p->w.store, &e, &r, 1, &m));
    }
}

static void a_dead_host_delays_nobody_else(void *arg)
{
    static struct post p;
    struct queue_schedule_stats s;
    post_open(&p);
    add_rows(&p, MANY, "dead.test", p.user);
    start(&p);
    settle_down(&p, 1);
    uint64_t began = clock_mono_ms();
    for (unsigned i = 0; i < 50; i++) {
        to(&p, "a@far.test", 0);
        send(&p);
        unsigned live = p.to_live;
        while (p.to_live == live && clock_mono_ms() < began + 30000)
            pause_ms(1);
    }
    uint64_t took = clock_mono_ms() - began;
    queue_schedule_stats(p.schedule, &s);
    print_message("50 deliveries beside %d dead rows: %llu ms; references %zu, looked at %llu\n",
                  MANY, (unsigned long long)took, s.waiting, (unsigned long long)s.rows);
    assert_int_equal(p.to_live, 50);
    assert_true(p.to_dead <= LANE_FIRST + 1);
    assert_true(took < 10000);
    assert_true(s.waiting <= LANE_WINDOW);
    post_close(&p);
}

/* A page after the other, with the place of the next in the filter itself. */
static void lists_come_in_pages(void *arg)
{
    static struct post p;
    struct queue_filter f = {.limit = 7};
    size_t rows = 0, pages = 0;
    post_open(&p);
    add_rows(&p, 50, "far.test", p.user);
    do {
        OK(queue_list(p.w.store, &f, count_rows, &rows, &f.after));
        pages++;
    } while (f.after && pages < 100);
    assert_int_equal(rows, 50);
    assert_in_range(pages, 8, 9);
    post_close(&p);
}

static void put_row(struct post *p, uint64_t id, const struct store_key *key, str value)
{
    struct store_op op = {.kind = STORE_PUT, .key = key_str(key), .value = value};
    struct store_commit c = {.partition = queue_partition(id),
                             .expect_version = STORE_ANY_VERSION,
                             .ops = &op,
                             .nops = 1};
    OK(store_commit(p->w.store, &c, NULL));
}

/* More than a page of the store, one of them not readable: the others are all there. */
static void a_damaged_row_hides_no_other(void *arg)
{
    static struct post p;
    static struct queue_recipient rs[1500], *got;
    struct queue_message m;
    size_t n;
    ARENA_AUTO struct arena arena = ARENA_INIT(8 << 20);
    BUF_AUTO struct buf whole = BUF_INIT(STORE_VALUE_MAX);
    post_open(&p);
    for (size_t i = 0; i < ARRAY_LEN(rs); i++)
        rs[i] = (struct queue_recipient){.state = QUEUE_READY, .address = STR("a@far.test")};
    OK(queue_add(p.w.store, &p.e, rs, ARRAY_LEN(rs), &m));
    struct store_key key = key_queue_recipient(m.id, 5);
    OK(store_get(p.w.store, queue_partition(m.id), key_str(&key), &whole));
    put_row(&p, m.id, &key, STR("damaged"));
    OK(queue_recipients(p.w.store, m.id, &arena, &got, &n));
    assert_int_equal(n, ARRAY_LEN(rs) - 1);
    assert_int_equal(got[n - 1].n, ARRAY_LEN(rs) - 1);
    put_row(&p, m.id, &key, buf_str(&whole));
    post_close(&p);
}

static void large_recipient_lists_are_split(void *arg)
{
    static struct post p;
    post_open(&p);
    start(&p);
    for (unsigned i = 0; i < 250; i++) {
        char name[40];
        snprintf(name, sizeof name, "u%u@%s", i, i < 240 ? "far.test" : "other.test");
        to(&p, name, 0);
    }
    send(&p);
    settle_down(&p, 4);
    for (int i = 0; i < 2000 && queued(&p, 0); i++)
        pause_ms(5);
    assert_int_equal(queued(&p, 0), 0);
    assert_int_equal(p.jobs, 4);
    assert_int_equal(p.largest, QUEUE_JOB_RECIPIENTS);
    post_close(&p);
}

static void age_ends_what_is_parked(void *arg)
{
    static struct post p;
    post_open(&p);
    p.policy.age_max_ms = 1;
    add_rows(&p, 20, "dead.test", p.user);
    pause_ms(5);
    start(&p);
    for (int i = 0; i < 2000 && queued(&p, 0); i++)
        pause_ms(5);
    assert_int_equal(queued(&p, 0), 0);
    assert_int_equal(p.jobs, 0);
    assert_int_equal(inbox(&p), 20);
    inbox_says(&p, "Status: 5.4.7");
    post_close(&p);
}

static void a_delay_is_told_once(void *arg)
{
    static struct post p;
    struct only o;
    size_t changed;
    post_open(&p);
    p.policy.warn_after_ms = 1;
    p.answer = RELAY_TEMPORARY;
    to(&p, "a@far.test", 0);
    to(&p, "b@far.test", NOTIFY_FAILURE);
    send(&p);
    pause_ms(3);
    start(&p);
    settle_down(&p, 1);
    assert_int_equal(inbox(&p), 1);
    inbox_says(&p, "Action: delayed");
    inbox_says(&p, "Will-Retry-Until: ");
    struct queue_recipient r = the_row(&p, &o);
    arena_free(&o.arena);
    OK(queue_retry(p.w.store, r.id, QUEUE_ALL, clock_wall_ms(), &changed));
    settle_down(&p, 2);
    assert_int_equal(inbox(&p), 1);
    assert_int_equal(queued(&p, 0), 2);
    post_close(&p);
}

/* ---- ways ---- */

static void routes_choose(void *arg)
{
    static struct post p;
    post_open(&p);
    OK(transport_set(&p.directory, &(struct transport_row){.match = TRANSPORT_RECIPIENT,
                                                           .name = STR(".far.test"),
                                                           .action = TRANSPORT_SMTP,
                                                           .host = STR("smart.test")}));
    OK(transport_set(&p.directory, &(struct transport_row){.match = TRANSPORT_RECIPIENT,
                                                           .name = STR("gone.test"),
                                                           .action = TRANSPORT_DISCARD}));
    OK(transport_set(&p.directory, &(struct transport_row){.match = TRANSPORT_RECIPIENT,
                                                           .name = STR("never.test"),
                                                           .action = TRANSPORT_FAIL,
                                                           .text = STR("closed")}));
    OK(transport_set(&p.directory, &(struct transport_row){.match = TRANSPORT_RECIPIENT,
                                                           .name = STR("wait.test"),
                                                           .action = TRANSPORT_HOLD}));
    OK(transport_set(&p.directory, &(struct transport_row){.match = TRANSPORT_ACCOUNT,
                                                           .name = STR("user@example.test"),
                                                           .action = TRANSPORT_SMTP,
                                                           .host = STR("account.test")}));
    start(&p);
    to(&p, "a@sub.far.test", 0);
    send(&p);
    settle_down(&p, 1);
    assert_string_equal(p.host, "smart.test");
    to(&p, "a@elsewhere.test", 0);
    send(&p);
    settle_down(&p, 2);
    assert_string_equal(p.host, "account.test");
    to(&p, "a@gone.test", 0);
    to(&p, "a@never.test", 0);
    to(&p, "a@wait.test", 0);
    send(&p);
    for (int i = 0; i < 2000 && queued(&p, 0) > 1; i++)
        pause_ms(5);
    assert_int_equal(queued(&p, 1 << QUEUE_HELD), 1);
    assert_int_equal(inbox(&p), 1);
    inbox_says(&p, "closed");
    assert_int_equal(p.jobs, 2);
    OK(transport_remove(&p.directory, TRANSPORT_RECIPIENT, STR(".far.test")));
    assert_int_equal(transport_remove(&p.directory, TRANSPORT_RECIPIENT, STR(".far.test")),
                     ERR_NOT_FOUND);
    post_close(&p);
}

static void forwarding_and_splitting(void *arg)
{
    static struct post p;
    post_open(&p);
    str target = STR("Else@far.test");
    OK(directory_address_add(&p.directory,
                             &(struct address_entry){.address = STR("old@example.test"),
                                                     .kind = ADDRESS_ALIAS,
                                                     .targets = &target,
                                                     .ntargets = 1}));
    start(&p);
    p.e.sender = STR("Someone@origin.test");
    p.e.account = 0;
    to(&p, "old@example.test", 0);
    send(&p);
    settle_down(&p, 1);
    assert_true(str_starts(str_c(p.sender), STR("SRS0=")));
    assert_true(str_ends(str_c(p.sender), STR("=origin.test=Someone@example.test")));
    p.e.sender = STR_NONE; /* a report comes back to it */
    char back[200];
    snprintf(back, sizeof back, "%s", p.sender);
    p.recipients[p.e.nrecipients++] = (struct envelope_recipient){.address = str_c(back)};
    send(&p);
    settle_down(&p, 2);
    assert_string_equal(p.domain, "origin.test");
    enum err result;
    back[6] = back[6] == 'a' ? 'b' : 'a';
    p.recipients[0].address = str_c(back);
    p.e.nrecipients = 1;
    OK(deliver_envelope(&p.ctx, &p.e, &(struct deliver_result){&result}));
    assert_int_equal(err_class(result), ERR_CLASS_PERM);
    OK(transport_set(&p.directory, &(struct transport_row){.match = TRANSPORT_RECIPIENT,
                                                           .name = STR("example.test"),
                                                           .action = TRANSPORT_SMTP,
                                                           .split = true,
                                                           .host = STR("old.host.test")}));
    p.e.nrecipients = 0;
    to(&p, "stranger@example.test", 0);
    to(&p, "user@example.test", 0);
    send(&p);
    settle_down(&p, 3);
    assert_string_equal(p.host, "old.host.test");
    assert_int_equal(inbox(&p), 1);
    post_close(&p);
}

static void srs_holds(void **state)
{
    uint8_t secret[32] = {7}, other[32] = {8};
    const int64_t now = 1800000000;
    BUF_AUTO struct buf first = BUF_INIT(1024), second = BUF_INIT(1024), back = BUF_INIT(1024);
    OK(srs_forward(secret, STR("a=b@from.test"), STR("one.test"), now, &first));
    OK(srs_forward(other, buf_str(&first), STR("two.test"), now, &second));
    assert_true(str_starts(buf_str(&second), STR("SRS1=")));
    OK(srs_reverse(other, buf_str(&second), now, &back));
    assert_true(str_eq(buf_str(&back), buf_str(&first)));
    buf_reset(&back);
    OK(srs_reverse(secret, buf_str(&first), now + 20 * 86400, &back));
    assert_true(str_eq(buf_str(&back), STR("a=b@from.test")));
    assert_int_equal(srs_reverse(secret, buf_str(&first), now + 30 * 86400, &back), ERR_EXPIRED);
    assert_int_equal(srs_reverse(other, buf_str(&first), now, &back), ERR_DENIED);
    assert_int_equal(srs_reverse(secret, STR("SRS0=aaaaaaaa=aa@x"), now, &back), ERR_DENIED);
    assert_int_equal(srs_reverse(secret, STR("SRS0=@x"), now, &back), ERR_SYNTAX);
    assert_false(srs_is(STR("user@example.test")));
}

/* ---- lanes ---- */

static void lanes_start_slowly_and_back_off(void **state)
{
    struct lanes ls;
    struct lane *l;
    struct lane_ref ref;
    lanes_init(&ls, 8);
    struct lane *mine = lane_get(&ls, 5);
    for (uint64_t i = 1; i <= 100; i++)
        assert_int_equal(lane_offer(&ls, mine, &(struct lane_ref){.id = i, .target = 5}),
                         LANE_TAKEN);
    assert_int_equal(lane_offer(&ls, mine, &(struct lane_ref){.id = 1, .target = 5}), LANE_IN_HAND);
    unsigned running = 0;
    while (lanes_next(&ls, &l, &ref))
        running++;
    assert_int_equal(running, LANE_FIRST);
    for (unsigned i = 0; i < 20; i++) {
        lane_ended(&ls, mine, &ref, LANE_GOOD, STR_NONE, false, 1000);
        running--;
        while (lanes_next(&ls, &l, &ref))
            running++;
    }
    assert_int_equal(running, 8);
    lane_ended(&ls, mine, &ref, LANE_SLOW, STR_NONE, false, 1000);
    assert_int_equal(mine->limit, 4);
    lane_ended(&ls, mine, &ref, LANE_TROUBLE, STR("refused"), false, 1000);
    lane_ended(&ls, mine, &ref, LANE_TROUBLE, STR("refused"), false, 1000);
    assert_int_equal(mine->troubles, 1);
    assert_in_range(mine->blocked_until_ms, 1000 + 54000, 1000 + 66000);
    assert_int_equal(lane_offer(&ls, mine, &(struct lane_ref){.id = 999, .target = 5}),
                     LANE_PARKED);
    assert_false(lanes_next(&ls, &l, &ref));
    assert_int_equal(ls.nrefs, 0);
    lanes_unblock(&ls, 100000);
    assert_true(lanes_hungry(&ls));
    lanes_free(&ls);
}

/* 5,000 of one sender do not keep another out, and turns alternate; priority goes first. */
static void senders_share_a_lane(void **state)
{
    struct lanes ls;
    struct lane *l;
    struct lane_ref ref;
    lanes_init(&ls, 1);
    struct lane *mine = lane_get(&ls, 5);
    for (uint64_t i = 1; i <= 5000; i++)
        (void)lane_offer(&ls, mine,
                         &(struct lane_ref){.id = i, .target = 5, .sender = 1, .priority = 9});
    for (uint64_t i = 1; i <= 10; i++)
        assert_int_equal(
            lane_offer(&ls, mine,
                       &(struct lane_ref){.id = 9000 + i, .target = 5, .sender = 2, .priority = 9}),
            LANE_TAKEN);
    assert_int_equal(
        lane_offer(&ls, mine,
                   &(struct lane_ref){.id = 9999, .target = 5, .sender = 3, .priority = 12}),
        LANE_TAKEN);
    assert_int_equal(mine->nrefs, LANE_WINDOW);
    unsigned others = 0;
    for (unsigned i = 0; i < 21; i++) {
        assert_true(lanes_next(&ls, &l, &ref));
        assert_true(i > 0 || ref.id == 9999);
        others += ref.sender == 2;
        lane_ended(&ls, l, &ref, LANE_GOOD, STR_NONE, false, 0);
    }
    assert_int_equal(others, 10);
    lanes_free(&ls);
}

static void lanes_have_a_cap(void **state)
{
    struct lanes ls;
    lanes_init(&ls, 4);
    for (uint64_t i = 1; i <= 3 * LANES_MAX; i++)
        assert_non_null(lane_get(&ls, i)); /* idle ones are forgotten */
    assert_int_equal(ls.by_key.count, LANES_MAX);
    for (uint64_t i = 1; i <= LANES_MAX; i++) {
        struct lane *l = lane_get(&ls, i << 20);
        assert_int_equal(lane_offer(&ls, l, &(struct lane_ref){.id = i, .target = i << 20}),
                         LANE_TAKEN);
    }
    assert_null(lane_get(&ls, 77777777));
    lanes_free(&ls);
}

#define FIBER(name)                                                                                \
    static void test_##name(void **state) { on_fiber(name, NULL); }
FIBER(delivered_leaves_nothing)
FIBER(temporary_is_tried_later)
FIBER(refused_goes_back)
FIBER(no_report_for_a_report_nor_to_the_forged)
FIBER(a_report_waits_for_the_directory)
FIBER(what_nobody_knows_is_tried_again)
FIBER(hands_and_attempts)
FIBER(leases_of_the_dead_are_taken_back)
FIBER(a_dead_host_delays_nobody_else)
FIBER(lists_come_in_pages)
FIBER(a_damaged_row_hides_no_other)
FIBER(large_recipient_lists_are_split)
FIBER(age_ends_what_is_parked)
FIBER(a_delay_is_told_once)
FIBER(routes_choose)
FIBER(forwarding_and_splitting)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(srs_holds),
        cmocka_unit_test(lanes_start_slowly_and_back_off),
        cmocka_unit_test(senders_share_a_lane),
        cmocka_unit_test(lanes_have_a_cap),
        cmocka_unit_test(test_hands_and_attempts),
        cmocka_unit_test(test_delivered_leaves_nothing),
        cmocka_unit_test(test_temporary_is_tried_later),
        cmocka_unit_test(test_refused_goes_back),
        cmocka_unit_test(test_no_report_for_a_report_nor_to_the_forged),
        cmocka_unit_test(test_a_report_waits_for_the_directory),
        cmocka_unit_test(test_what_nobody_knows_is_tried_again),
        cmocka_unit_test(test_leases_of_the_dead_are_taken_back),
        cmocka_unit_test(test_lists_come_in_pages),
        cmocka_unit_test(test_a_damaged_row_hides_no_other),
        cmocka_unit_test(test_large_recipient_lists_are_split),
        cmocka_unit_test(test_age_ends_what_is_parked),
        cmocka_unit_test(test_a_delay_is_told_once),
        cmocka_unit_test(test_routes_choose),
        cmocka_unit_test(test_forwarding_and_splitting),
        cmocka_unit_test(test_a_dead_host_delays_nobody_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
