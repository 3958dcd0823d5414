/* SPDX-License-Identifier: Apache-2.0
 *
 * No hour and no day ever has more than the limit, whoever sends at the same time and whatever is
 * restarted.
 */
#include "core/test_world.h"

#include "base/num.h"
#include "core/send_limit.h"

#include <pthread.h>

#define T0 1800000000
#define MINUTE 60
#define HOUR 3600

static struct send_limits *open_limits(struct store *s, uint32_t messages_hour,
                                       uint32_t messages_day, uint32_t recipients_hour,
                                       uint32_t recipients_day)
{
    struct send_policy p = {{messages_hour, messages_day, recipients_hour, recipients_day}};
    struct send_limits *l;
    OK(send_limits_open(s, &p, &l));
    return l;
}

static struct store *open_store(void)
{
    struct store *s;
    OK(store_open_memory(&s));
    return s;
}

static void close_both(struct send_limits *l, struct store *s)
{
    OK(send_limits_save(l));
    send_limits_close(l);
    store_is_clean(s);
    store_close(s);
}

static void takes_to_the_limit(void **state)
{
    struct store *s = open_store();
    struct send_limits *l = open_limits(s, 3, 0, 0, 0);
    struct send_refusal why;
    for (int i = 0; i < 3; i++)
        OK(send_limit_take(l, ACCOUNT, 1, T0 + i * MINUTE, &why));
    assert_int_equal(send_limit_take(l, ACCOUNT, 1, T0 + 10 * MINUTE, &why), ERR_SEND_LIMIT);
    assert_int_equal(why.which, SEND_MESSAGES_HOUR);
    assert_int_equal(why.max, 3);
    assert_true(why.wait_s >= 50 * MINUTE && why.wait_s <= 55 * MINUTE);
    BUF_AUTO struct buf text = BUF_INIT(200);
    send_refusal_text(&why, &text);
    assert_true(str_starts(buf_str(&text), STR("Your sending limit of 3 messages an hour is "
                                               "reached, try again in 5")));
    OK(send_limit_take(l, ACCOUNT + 1, 1, T0 + 10 * MINUTE, &why)); /* not its neighbour's */
    uint64_t at = 10 * MINUTE + why.wait_s;
    assert_int_equal(send_limit_take(l, ACCOUNT, 1, T0 + 59 * MINUTE, &why), ERR_SEND_LIMIT);
    at = 59 * MINUTE + why.wait_s;
    assert_int_equal(send_limit_take(l, ACCOUNT, 1, T0 + (int64_t)at - 1, &why), ERR_SEND_LIMIT);
    OK(send_limit_take(l, ACCOUNT, 1, T0 + (int64_t)at, &why)); /* it goes on when it said so */
    close_both(l, s);
}

static void recipients_count_by_themselves(void **state)
{
    struct store *s = open_store();
    struct send_limits *l = open_limits(s, 0, 0, 100, 150);
    struct send_refusal why;
    OK(send_limit_take(l, ACCOUNT, 60, T0, &why));
    assert_int_equal(send_limit_take(l, ACCOUNT, 50, T0, &why), ERR_SEND_LIMIT);
    assert_int_equal(why.which, SEND_RECIPIENTS_HOUR);
    OK(send_limit_take(l, ACCOUNT, 40, T0, &why)); /* a smaller one still goes */
    assert_int_equal(send_limit_take(l, ACCOUNT, 101, T0, &why), ERR_SEND_LIMIT);
    assert_int_equal(why.wait_s, 0); /* never */
    OK(send_limit_take(l, ACCOUNT, 50, T0 + 2 * HOUR, &why));
    assert_int_equal(send_limit_take(l, ACCOUNT, 1, T0 + 4 * HOUR, &why), ERR_SEND_LIMIT);
    assert_int_equal(why.which, SEND_RECIPIENTS_DAY);
    assert_true(why.wait_s > 19 * HOUR && why.wait_s <= 21 * HOUR);
    OK(send_limit_take(l, ACCOUNT, 1, T0 + 26 * HOUR, &why));
    close_both(l, s);
}

/* At random times, against a list of what was sent: never more in any hour or day, and never
 * refused while what the windows count would fit. */
static void no_window_has_more(void **state)
{
    struct store *s = open_store();
    struct send_limits *l = open_limits(s, 50, 300, 0, 0);
    static int64_t sent[20000];
    size_t n = 0, refused = 0;
    int64_t now = T0;
    srand(1);
    for (int i = 0; i < 20000; i++) {
        struct send_refusal why;
        now += rand() % 3 == 0 ? rand() % 120 : 0;
        enum err e = send_limit_take(l, ACCOUNT, 1, now, &why);
        size_t hour = 0, day = 0, hour_over = 0, day_over = 0;
        for (size_t k = n; k-- > 0 && sent[k] > now - 25 * HOUR - 1;) {
            hour += sent[k] > now - HOUR;
            day += sent[k] > now - 24 * HOUR;
            hour_over += sent[k] > now - HOUR - 5 * MINUTE;
            day_over += sent[k] > now - 25 * HOUR;
        }
        if (e == ERR_OK) {
            assert_true(hour < 50 && day < 300);
            sent[n++] = now;
        } else {
            refused++;
            assert_true(hour_over >= 50 || day_over >= 300);
        }
    }
    assert_true(n > 1000 && refused > 1000);
    close_both(l, s);
}

static void given_back_is_not_counted(void **state)
{
    struct store *s = open_store();
    struct send_limits *l = open_limits(s, 1, 0, 0, 0);
    struct send_refusal why;
    for (int i = 0; i < 10; i++) {
        OK(send_limit_take(l, ACCOUNT, 5, T0 + i * 7 * MINUTE, &why));
        send_limit_give_back(l, ACCOUNT, 5, T0 + i * 7 * MINUTE);
    }
    send_limit_give_back(l, ACCOUNT, 5, T0); /* more than was taken harms nobody */
    OK(send_limit_take(l, ACCOUNT, 1, T0 + 2 * HOUR, &why));
    assert_int_equal(send_limit_take(l, ACCOUNT, 1, T0 + 2 * HOUR, &why), ERR_SEND_LIMIT);
    close_both(l, s);
}

static void a_restart_forgets_nothing(void **state)
{
    struct store *s = open_store();
    struct send_limits *l = open_limits(s, 2, 0, 0, 0);
    struct send_refusal why;
    struct send_status status;
    struct send_policy p = {{2, 0, 0, 0}};
    OK(send_limit_take(l, ACCOUNT, 7, T0, &why));
    OK(send_limits_save(l));
    OK(send_limit_take(l, ACCOUNT, 1, T0 + 1, &why));
    OK(send_limits_save(l));
    OK(send_limits_save(l)); /* nothing to write */
    send_limits_close(l);
    OK(send_limit_status(NULL, s, &p, ACCOUNT, T0 + 2, &status)); /* no server runs */
    assert_int_equal(status.used[SEND_MESSAGES_HOUR], 2);
    assert_int_equal(status.used[SEND_RECIPIENTS_DAY], 8);
    l = open_limits(s, 2, 0, 0, 0);
    assert_int_equal(send_limit_take(l, ACCOUNT, 1, T0 + 2, &why), ERR_SEND_LIMIT);
    OK(send_limit_status(l, s, &p, ACCOUNT, T0 + 25 * HOUR, &status));
    assert_int_equal(status.used[SEND_MESSAGES_HOUR], 0);
    close_both(l, s);
}

static void an_account_has_its_own(void **state)
{
    struct store *s = open_store();
    struct send_limits *l = open_limits(s, 2, 0, 0, 0);
    struct send_override own = {.set = {true}, .max = {4}};
    struct send_refusal why;
    OK(send_limit_take(l, ACCOUNT, 1, T0, &why));
    OK(send_limit_set(l, s, ACCOUNT, &own)); /* holds at once */
    for (int i = 0; i < 3; i++)
        OK(send_limit_take(l, ACCOUNT, 1, T0, &why));
    assert_int_equal(send_limit_take(l, ACCOUNT, 1, T0, &why), ERR_SEND_LIMIT);
    own.max[0] = 0; /* no limit */
    OK(send_limit_set(l, s, ACCOUNT, &own));
    OK(send_limit_take(l, ACCOUNT, 1, T0, &why));
    OK(send_limits_save(l));
    send_limits_close(l);
    l = open_limits(s, 2, 0, 0, 0);
    OK(send_limit_take(l, ACCOUNT, 1, T0, &why));
    own.set[0] = false; /* the default again */
    OK(send_limit_set(l, s, ACCOUNT, &own));
    assert_int_equal(send_limit_take(l, ACCOUNT, 1, T0, &why), ERR_SEND_LIMIT);
    struct send_policy more = {{100, 0, 0, 0}};
    send_limits_change(l, &more);
    OK(send_limit_take(l, ACCOUNT, 1, T0, &why));
    OK(send_limit_forget(l, s, ACCOUNT));
    struct send_status status;
    OK(send_limit_status(l, s, &more, ACCOUNT, T0, &status));
    assert_int_equal(status.used[SEND_MESSAGES_DAY], 0);
    close_both(l, s);
}

static void collect(void *arg, bool fatal, uint64_t partition, str text)
{
    buf_addf(arg, "%d %.*s\n", fatal, STR_ARG(text));
}

/* rule: accept-2, store-2 */
static void check_sees_damage(void **state)
{
    struct store *s = open_store();
    struct send_limits *l = open_limits(s, 10, 0, 0, 0);
    struct send_refusal why;
    BUF_AUTO struct buf text = BUF_INIT(65536);
    struct check_result result;
    struct store_key bad = {.bytes = {SPACE_SEND_USED, 0, 0, 0, 0, 0, 0, 0x30, 1}, .len = 9};
    struct store_op op = {.kind = STORE_PUT, .key = key_str(&bad), .value = STR("\110\001abc")};
    struct store_commit c = {.partition = STORE_PARTITION_SENDING,
                             .expect_version = STORE_ANY_VERSION,
                             .ops = &op,
                             .nops = 1};
    struct store_result r;
    OK(send_limit_take(l, ACCOUNT, 1, T0, &why));
    OK(send_limits_save(l));
    OK(store_commit(s, &c, &r));
    OK(check_store(s, collect, &text, &result));
    assert_int_equal(result.findings, 1);
    assert_true(str_find(buf_str(&text), STR("1 unreadable row of a sending limit, account "
                                             "12289")) != STR_NPOS);
    assert_true(str_find(buf_str(&text), STR("0 a sending limit is left of account 5000")) !=
                STR_NPOS);
    OK(send_limit_take(l, 12289, 1, T0, &why)); /* it counts anew, and sends */
    OK(send_limits_save(l));
    send_limits_close(l);
    store_is_clean(s);
    store_close(s);
}

/* ---- many at once ---- */

#define THREADS 4
#define EACH 100

struct crowd {
    struct send_limits *limits;
    pthread_t id;
    unsigned taken, refused;
};

static void one(void *arg)
{
    struct crowd *c = arg;
    struct send_refusal why;
    enum err e = send_limit_take(c->limits, ACCOUNT, 3, T0, &why);
    assert_true(e == ERR_OK || e == ERR_SEND_LIMIT);
    c->taken += e == ERR_OK;
    c->refused += e != ERR_OK;
}

static void all(void *arg)
{
    struct fiber_group g;
    fiber_group_init(&g);
    for (int i = 0; i < EACH; i++)
        OK(fiber_start(&g, "send", one, arg));
    fiber_group_join(&g);
}

static void *thread(void *arg)
{
    on_fiber(all, arg);
    return NULL;
}

static void many_at_once_stay_below(void **state)
{
    struct store *s = open_store();
    struct send_limits *l = open_limits(s, 37, 0, 0, 0);
    struct crowd crowd[THREADS];
    unsigned taken = 0;
    for (int i = 0; i < THREADS; i++) {
        crowd[i] = (struct crowd){.limits = l};
        assert_int_equal(pthread_create(&crowd[i].id, NULL, thread, &crowd[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(crowd[i].id, NULL);
        assert_int_equal(crowd[i].taken + crowd[i].refused, EACH);
        taken += crowd[i].taken;
    }
    assert_int_equal(taken, 37);
    close_both(l, s);
}

static void more_accounts_than_memory(void **state)
{
    struct store *s = open_store();
    struct send_limits *l = open_limits(s, 1, 0, 0, 0);
    struct send_refusal why;
    enum err e = ERR_OK;
    for (uint64_t i = 0; i < SEND_ACCOUNTS_MAX; i++)
        OK(send_limit_take(l, ACCOUNT + i, 1, T0, &why));
    e = send_limit_take(l, ACCOUNT + SEND_ACCOUNTS_MAX, 1, T0, &why);
    assert_int_equal(e, ERR_BUSY); /* until they are written */
    OK(send_limits_save(l));
    OK(send_limit_take(l, ACCOUNT + SEND_ACCOUNTS_MAX, 1, T0, &why));
    assert_int_equal(send_limit_take(l, ACCOUNT, 1, T0, &why), ERR_SEND_LIMIT); /* it was evicted */
    OK(send_limits_save(l));
    send_limits_close(l);
    store_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_to_the_limit),
        cmocka_unit_test(recipients_count_by_themselves),
        cmocka_unit_test(no_window_has_more),
        cmocka_unit_test(given_back_is_not_counted),
        cmocka_unit_test(a_restart_forgets_nothing),
        cmocka_unit_test(an_account_has_its_own),
        cmocka_unit_test(check_sees_damage),
        cmocka_unit_test(many_at_once_stay_below),
        cmocka_unit_test(more_accounts_than_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
