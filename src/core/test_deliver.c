/* SPDX-License-Identifier: Apache-2.0
 *
 * Delivery to one, to many, to foreign hosts; what a crash leaves; and the queue by hand.
 * rule: accept-1, accept-2, accept-3, accept-4
 */
#include "core/test_world.h"

#include "base/num.h"
#include "core/deliver.h"
#include "core/queue.h"
#include "core/test_slow_store.h"

#define PEOPLE 20

struct post {
    struct world w;
    struct slow_store *slow;
    struct directory directory;
    struct deliver_ctx ctx;
    uint64_t ids[PEOPLE];
    int fd;
    struct buf mime;
    struct envelope_recipient recipients[PEOPLE + 4];
    enum err results[PEOPLE + 4];
    struct envelope e;
};

static const str text = STR_INIT("Received: by x\r\nDelivered-To: loop@example.test\r\n"
                                 "Subject: hi\r\n\r\nbody\r\n");

static void person(char out[40], int i) { snprintf(out, 40, "user%d@example.test", i); }

static void post_open(struct post *p)
{
    memset(p, 0, sizeof *p);
    p->slow = slow_open(1, 0);
    p->w.store = &p->slow->store;
    p->w.accounts = world_accounts(&p->w);
    p->directory.store = p->w.store;
    p->ctx = (struct deliver_ctx){.accounts = p->w.accounts, .directory = &p->directory};
    OK(directory_domain_add(&p->directory,
                            &(struct domain){.name = STR("example.test"), .separator = '+'}));
    for (int i = 0; i < PEOPLE; i++) {
        char name[40];
        person(name, i);
        struct account_entry e = {.address = str_c(name), .protocols = PROTOCOL_ALL};
        OK(directory_account_add(&p->directory, &e, &p->ids[i]));
    }
    str targets[] = {STR_INIT("user1@example.test"), STR_INIT("user2@example.test"),
                     STR_INIT("far@elsewhere.test")};
    OK(directory_address_add(&p->directory,
                             &(struct address_entry){.address = STR("team@example.test"),
                                                     .kind = ADDRESS_GROUP,
                                                     .targets = targets,
                                                     .ntargets = 3}));
    OK(file_memory("test", &p->fd));
    OK(file_write_all_at(p->fd, 0, text.data, text.len));
    buf_init(&p->mime, 65536);
    mime_of(text, &p->mime);
    p->e = (struct envelope){.sender = STR("from@far.test"),
                             .fd = p->fd,
                             .size = text.len,
                             .trace = STR("Received: by us\r\n"),
                             .mime = buf_str(&p->mime),
                             .recipients = p->recipients};
}

static void post_close(struct post *p)
{
    accounts_close(p->w.accounts);
    store_is_clean(p->w.store);
    store_close(p->w.store);
    buf_free(&p->mime);
    file_close(&p->fd);
}

static void to(struct post *p, const char *address)
{
    p->recipients[p->e.nrecipients++] = (struct envelope_recipient){.address = str_c(address)};
}

static enum err send(struct post *p)
{
    struct deliver_result r = {p->results};
    enum err e = deliver_envelope(&p->ctx, &p->e, &r);
    return e;
}

static uint64_t has(struct post *p, int i, enum mailbox_role role)
{
    struct account *a;
    OK(account_open(p->w.accounts, p->ids[i], &a));
    const struct mailbox *m = mailbox_by_role(a, role);
    uint64_t n = m ? m->state.messages : 0;
    account_close(a);
    return n;
}

static bool count_message(void *arg, const struct queue_message *m,
                          const struct queue_recipient *rs, size_t n)
{
    *(size_t *)arg += n;
    return true;
}

static size_t queued(struct post *p, unsigned states)
{
    size_t n = 0;
    uint64_t more;
    OK(queue_list(p->w.store, &(struct queue_filter){.states = states}, count_message, &n, &more));
    assert_int_equal(more, 0);
    return n;
}

static void one_account_is_one_commit(void *arg)
{
    struct post p;
    post_open(&p);
    to(&p, "User1+tag@EXAMPLE.test");
    to(&p, "user1@example.test");
    OK(send(&p));
    OK(p.results[0]);
    OK(p.results[1]);
    assert_int_equal(has(&p, 1, ROLE_INBOX), 1);
    assert_int_equal(queued(&p, 0), 0);
    struct account *a;
    struct message_cold cold;
    BUF_AUTO struct buf raw = BUF_INIT(65536), out = BUF_INIT(65536);
    OK(account_open(p.w.accounts, p.ids[1], &a));
    OK(message_cold(a, 1, &raw, &cold));
    OK(message_read(a, &cold, 0, UINT64_MAX, &out));
    assert_true(
        str_starts(buf_str(&out), STR("Return-Path: <from@far.test>\r\nDelivered-To: user1")));
    assert_true(str_ends(buf_str(&out), text));
    account_close(a);
    p.recipients[0].junk = true;
    OK(send(&p));
    assert_int_equal(has(&p, 1, ROLE_JUNK), 1);
    post_close(&p);
}

static void many_share_one_blob(void *arg)
{
    struct post p;
    struct store_stats stats;
    char names[PEOPLE][40];
    post_open(&p);
    for (int i = 0; i < PEOPLE; i++) {
        person(names[i], i);
        to(&p, names[i]);
    }
    OK(send(&p));
    for (int i = 0; i < PEOPLE; i++) {
        OK(p.results[i]);
        assert_int_equal(has(&p, i, ROLE_INBOX), 1);
    }
    store_stats(p.w.store, &stats);
    assert_int_equal(stats.blobs, 1);
    assert_int_equal(queued(&p, 0), 0);
    post_close(&p);
}

static void foreign_mail_stays_in_the_queue(void *arg)
{
    struct post p;
    size_t changed;
    post_open(&p);
    to(&p, "team@example.test");
    to(&p, "nobody@example.test");
    OK(send(&p));
    OK(p.results[0]);
    assert_int_equal(p.results[1], ERR_NO_USER);
    assert_int_equal(has(&p, 1, ROLE_INBOX), 1);
    assert_int_equal(has(&p, 2, ROLE_INBOX), 1);
    assert_int_equal(queued(&p, 1 << QUEUE_READY), 1);
    struct queue_due due[4];
    size_t got = 0;
    for (unsigned i = 0; i < STORE_QUEUE_SHARDS && !got; i++)
        OK(queue_due(p.w.store, i, UINT64_MAX - 1, due, 4, &got));
    assert_int_equal(got, 1);
    OK(queue_hold(p.w.store, due[0].id, QUEUE_ALL, &changed));
    assert_int_equal(changed, 1);
    assert_int_equal(queued(&p, 1 << QUEUE_HELD), 1);
    store_is_clean(p.w.store);
    OK(queue_release(p.w.store, due[0].id, due[0].n, 77, &changed));
    OK(queue_due(p.w.store, due[0].id % STORE_QUEUE_SHARDS, 77, due, 4, &got));
    assert_int_equal(got, 1);
    store_is_clean(p.w.store);
    OK(queue_remove(p.w.store, due[0].id, QUEUE_ALL, &changed));
    assert_int_equal(queued(&p, 0), 0);
    assert_int_equal(queue_hold(p.w.store, due[0].id, QUEUE_ALL, &changed), ERR_NOT_FOUND);
    post_close(&p);
}

/* Killed after the accounts had it and before the queue rows went. */
static void recovery_delivers_once(void *arg)
{
    struct post p;
    post_open(&p);
    to(&p, "user3@example.test");
    to(&p, "user4@example.test");
    p.slow->queue_ends_fail = true;
    OK(send(&p)); /* it is durable: accepted */
    OK(p.results[0]);
    assert_int_equal(queued(&p, 1 << QUEUE_LOCAL), 2);
    p.slow->queue_ends_fail = false;
    OK(deliver_recover(&p.ctx, clock_wall_ms()));
    assert_int_equal(has(&p, 3, ROLE_INBOX), 1);
    assert_int_equal(has(&p, 4, ROLE_INBOX), 1);
    assert_int_equal(queued(&p, 0), 0);
    post_close(&p);
}

/* Killed right after the queue commit: nobody has it yet; one account is gone meanwhile. */
static void recovery_does_what_was_left(void *arg)
{
    struct post p;
    struct queue_message m;
    post_open(&p);
    struct queue_recipient rs[] = {
        {.state = QUEUE_LOCAL, .account = p.ids[5], .address = STR("user5@example.test")},
        {.state = QUEUE_LOCAL, .account = p.ids[6], .address = STR("user6@example.test")},
        {.state = QUEUE_READY, .address = STR("far@elsewhere.test")},
    };
    OK(queue_add(p.w.store, &p.e, rs, 3, &m));
    OK(directory_account_remove(&p.directory, p.ids[6]));
    OK(deliver_recover(&p.ctx, clock_wall_ms()));
    assert_int_equal(has(&p, 5, ROLE_INBOX), 1);
    assert_int_equal(has(&p, 6, ROLE_INBOX), 0);
    assert_int_equal(queued(&p, 1 << QUEUE_READY), 2); /* one still, and the report on user6 */
    assert_int_equal(queued(&p, 1 << QUEUE_HELD | 1 << QUEUE_LOCAL), 0);
    OK(deliver_recover(&p.ctx, clock_wall_ms()));
    assert_int_equal(queued(&p, 0), 2);
    post_close(&p);
}

static void a_full_mailbox_waits_and_blocks_nobody(void *arg)
{
    struct post p;
    post_open(&p);
    p.w.quota.messages = 1;
    to(&p, "user7@example.test");
    OK(send(&p));
    OK(send(&p));
    assert_int_equal(p.results[0], ERR_QUOTA); /* alone: it is the answer */
    assert_int_equal(has(&p, 7, ROLE_INBOX), 1);
    to(&p, "user8@example.test");
    OK(send(&p));
    OK(p.results[0]); /* durable in the queue */
    assert_int_equal(has(&p, 8, ROLE_INBOX), 1);
    assert_int_equal(queued(&p, 1 << QUEUE_LOCAL), 1);
    p.w.quota.messages = 0;
    OK(deliver_recover(&p.ctx, clock_wall_ms())); /* not due yet */
    assert_int_equal(has(&p, 7, ROLE_INBOX), 1);
    post_close(&p);
}

static void loops_end(void *arg)
{
    struct post p;
    uint64_t id;
    post_open(&p);
    struct account_entry e = {.address = STR("loop@example.test"), .protocols = PROTOCOL_ALL};
    OK(directory_account_add(&p.directory, &e, &id));
    to(&p, "loop@example.test");
    to(&p, "user9@example.test");
    OK(send(&p));
    assert_int_equal(p.results[0], ERR_LOOP);
    OK(p.results[1]);
    assert_int_equal(has(&p, 9, ROLE_INBOX), 1);
    assert_int_equal(queued(&p, 0), 0);
    post_close(&p);
}

/* Whoever has had it gets it no more; the others of the group do. */
static void a_loop_of_one_is_not_the_groups(void *arg)
{
    struct post p;
    uint64_t id;
    post_open(&p);
    struct account_entry e = {.address = STR("loop@example.test"), .protocols = PROTOCOL_ALL};
    OK(directory_account_add(&p.directory, &e, &id));
    str targets[] = {STR_INIT("loop@example.test"), STR_INIT("user2@example.test")};
    OK(directory_address_add(&p.directory,
                             &(struct address_entry){.address = STR("both@example.test"),
                                                     .kind = ADDRESS_GROUP,
                                                     .targets = targets,
                                                     .ntargets = 2}));
    to(&p, "both@example.test");
    OK(send(&p));
    OK(p.results[0]);
    assert_int_equal(has(&p, 2, ROLE_INBOX), 1);
    assert_int_equal(queued(&p, 0), 0);
    post_close(&p);
}

/* ---- one answer for all (SMTP) ---- */

static void inbox_of_user0(struct post *p, struct buf *out)
{
    struct account *a;
    struct message_cold cold;
    BUF_AUTO struct buf raw = BUF_INIT(65536);
    OK(account_open(p->w.accounts, p->ids[0], &a));
    OK(message_cold(a, 1, &raw, &cold));
    OK(message_read(a, &cold, 0, UINT64_MAX, out));
    account_close(a);
}

static void mixed(struct post *p)
{
    uint64_t id;
    post_open(p);
    struct account_entry e = {.address = STR("loop@example.test"), .protocols = PROTOCOL_ALL};
    OK(directory_account_add(&p->directory, &e, &id));
    p->e.sender = STR("user0@example.test");
    p->e.one_answer = true;
    to(p, "removed@example.test");
    to(p, "user9@example.test");
    to(p, "loop@example.test");
}

static void says(const struct buf *b, const char *what)
{
    if (str_find(buf_str(b), str_c(what)) == STR_NPOS)
        fail_msg("no \"%s\" in %.*s", what, (int)b->len, b->data);
}

/* A 5xx would deny what user9 has. rule: accept-2, accept-5 */
static void who_fails_beside_others_is_reported(void *arg)
{
    struct post p;
    BUF_AUTO struct buf report = BUF_INIT(1 << 20);
    mixed(&p);
    p.recipients[0].orcpt = STR("rfc822;once@example.test");
    OK(send(&p));
    for (int i = 0; i < 3; i++)
        OK(p.results[i]);
    assert_int_equal(has(&p, 9, ROLE_INBOX), 1);
    assert_int_equal(has(&p, 0, ROLE_INBOX), 1); /* one report for all */
    assert_int_equal(queued(&p, 0), 0);
    inbox_of_user0(&p, &report);
    says(&report, "Return-Path: <>");
    says(&report, "Original-Recipient: rfc822; once@example.test");
    says(&report, "Final-Recipient: rfc822; removed@example.test");
    says(&report, "Status: 5.1.1");
    says(&report, "Final-Recipient: rfc822; loop@example.test");
    says(&report, "Status: 5.4.6");
    post_close(&p);
}

/* rule: accept-5 */
static void nobody_is_told_who_must_not_be(void *arg)
{
    struct post p;
    for (int i = 0; i < 3; i++) {
        mixed(&p);
        if (i == 0)
            p.e.sender = STR_NONE;
        p.e.sender_failed = i == 1;
        for (int k = 0; i == 2 && k < 3; k++)
            p.recipients[k].notify = NOTIFY_NEVER;
        OK(send(&p));
        OK(p.results[0]);
        assert_int_equal(has(&p, 9, ROLE_INBOX), 1);
        assert_int_equal(has(&p, 0, ROLE_INBOX), 0);
        assert_int_equal(queued(&p, 0), 0);
        post_close(&p);
    }
}

static void if_all_fail_it_is_the_answer(void *arg)
{
    struct post p;
    mixed(&p);
    p.recipients[1].address = STR("another@example.test");
    OK(send(&p));
    assert_int_equal(p.results[0], ERR_NO_USER);
    assert_int_equal(p.results[1], ERR_NO_USER);
    assert_int_equal(p.results[2], ERR_LOOP);
    assert_int_equal(has(&p, 0, ROLE_INBOX), 0);
    assert_int_equal(queued(&p, 0), 0);
    post_close(&p);
}

/* rule: accept-3 */
static void trouble_while_resolving_delivers_nothing(void *arg)
{
    struct post p;
    mixed(&p);
    p.slow->directory_answer = ERR_UNAVAILABLE;
    assert_int_equal(send(&p), ERR_UNAVAILABLE);
    for (int i = 0; i < 3; i++)
        assert_int_equal(p.results[i], ERR_UNAVAILABLE);
    p.slow->directory_answer = ERR_OK;
    assert_int_equal(has(&p, 9, ROLE_INBOX), 0);
    assert_int_equal(queued(&p, 0), 0);
    post_close(&p);
}

/* Killed right after the queue commit. rule: accept-1, accept-2 */
static void a_kill_before_the_report_loses_none(void *arg)
{
    struct post p;
    struct queue_message m;
    mixed(&p);
    struct queue_recipient rs[] = {
        {.state = QUEUE_LOCAL, .last_error = ERR_NO_USER, .address = STR("a@example.test")},
        {.state = QUEUE_LOCAL, .account = p.ids[9], .address = STR("user9@example.test")},
        {.state = QUEUE_LOCAL, .last_error = ERR_LOOP, .address = STR("b@example.test")},
    };
    OK(queue_add(p.w.store, &p.e, rs, 3, &m));
    store_is_clean(p.w.store);
    OK(deliver_recover(&p.ctx, clock_wall_ms()));
    assert_int_equal(has(&p, 9, ROLE_INBOX), 1);
    assert_int_equal(has(&p, 0, ROLE_INBOX), 1);
    assert_int_equal(queued(&p, 0), 0);
    post_close(&p);
}

static void envelopes_come_back(void **state)
{
    struct envelope_recipient rs[2] = {{STR_INIT("a@b"), STR_INIT("rfc822;a@b"), 3, 1},
                                       {STR_INIT("c@d"), STR_INIT(""), 0, 0}};
    struct envelope e = {.sender = STR("s@t"),
                         .envid = STR("id"),
                         .ret = 1,
                         .body = 2,
                         .smtputf8 = true,
                         .one_answer = true,
                         .deliver_by_notify = true,
                         .priority = 3,
                         .deliver_by = -5,
                         .hold_until = 1ll << 40,
                         .account = 7,
                         .source = {.family = 4, .ip = {127, 0, 0, 1}, .port = 25},
                         .helo = STR("h"),
                         .id = STR("i"),
                         .trace = STR("t"),
                         .size = 1ull << 33,
                         .recipients = rs,
                         .nrecipients = 2};
    BUF_AUTO struct buf one = BUF_INIT(4096), two = BUF_INIT(4096);
    ARENA_AUTO struct arena arena = ARENA_INIT(1 << 16);
    struct envelope back;
    envelope_encode(&e, &one);
    OK(envelope_decode(buf_str(&one), &arena, &back));
    envelope_encode(&back, &two);
    assert_true(str_eq(buf_str(&one), buf_str(&two)));
    assert_true(back.requiretls == false && back.smtputf8 && back.one_answer &&
                back.deliver_by == -5);
    for (size_t n = 0; n < one.len; n++)
        assert_int_not_equal(envelope_decode(str_head(buf_str(&one), n), &arena, &back), ERR_OK);
}

#define ON_FIBER(name)                                                                             \
    static void test_##name(void **state) { on_fiber(name, NULL); }
ON_FIBER(one_account_is_one_commit)
ON_FIBER(many_share_one_blob)
ON_FIBER(foreign_mail_stays_in_the_queue)
ON_FIBER(recovery_delivers_once)
ON_FIBER(recovery_does_what_was_left)
ON_FIBER(a_full_mailbox_waits_and_blocks_nobody)
ON_FIBER(loops_end)
ON_FIBER(a_loop_of_one_is_not_the_groups)
ON_FIBER(who_fails_beside_others_is_reported)
ON_FIBER(nobody_is_told_who_must_not_be)
ON_FIBER(if_all_fail_it_is_the_answer)
ON_FIBER(trouble_while_resolving_delivers_nothing)
ON_FIBER(a_kill_before_the_report_loses_none)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_account_is_one_commit),
        cmocka_unit_test(test_many_share_one_blob),
        cmocka_unit_test(test_foreign_mail_stays_in_the_queue),
        cmocka_unit_test(test_recovery_delivers_once),
        cmocka_unit_test(test_recovery_does_what_was_left),
        cmocka_unit_test(test_a_full_mailbox_waits_and_blocks_nobody),
        cmocka_unit_test(test_loops_end),
        cmocka_unit_test(test_a_loop_of_one_is_not_the_groups),
        cmocka_unit_test(test_who_fails_beside_others_is_reported),
        cmocka_unit_test(test_nobody_is_told_who_must_not_be),
        cmocka_unit_test(test_if_all_fail_it_is_the_answer),
        cmocka_unit_test(test_trouble_while_resolving_delivers_nothing),
        cmocka_unit_test(test_a_kill_before_the_report_loses_none),
        cmocka_unit_test(envelopes_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
