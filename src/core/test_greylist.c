/* SPDX-License-Identifier: Apache-2.0
 *
 * Who waits, who does not, and that nothing grows.
 */
#include "core/test_world.h"

#include "base/num.h"
#include "core/greylist.h"

static const struct greylist_policy policy = {.delay_s = 300,
                                              .window_s = 86400,
                                              .lifetime_s = 1000000,
                                              .by_domain = true,
                                              .clients_after = 3,
                                              .rows_max = 1000};
#define T0 1800000000

static uint32_t ask_with(struct store *s, const struct greylist_policy *p, const char *ip,
                         const char *sender, const char *recipient, int64_t now_s)
{
    struct greylist_question q = {.sender = str_c(sender), .recipient = str_c(recipient)};
    uint32_t wait_s;
    assert_true(address_parse(str_c(ip), &q.source));
    OK(greylist_ask(s, p, &q, now_s, &wait_s));
    return wait_s;
}
#define ASK(ip, from, to, at) ask_with(s, &policy, ip, from, to, T0 + (at))

static uint64_t rows(struct store *s)
{
    BUF_AUTO struct buf b = BUF_INIT(64);
    const char key = SPACE_GREY_COUNT;
    if (store_get(s, STORE_PARTITION_GREYLIST, str_of(&key, 1), &b) != ERR_OK)
        return 0;
    struct reader r = reader_of(buf_str(&b));
    return read_be64(&r);
}

static struct store *open_store(void)
{
    struct store *s;
    OK(store_open_memory(&s));
    return s;
}

static void close_store(struct store *s)
{
    store_is_clean(s);
    store_close(s);
}

static void comes_again_and_passes(void **state)
{
    struct store *s = open_store();
    assert_int_equal(ASK("192.0.2.1", "a@x.test", "u@here.test", 0), 300);
    assert_int_equal(ASK("192.0.2.1", "a@x.test", "u@here.test", 10), 290);
    assert_int_equal(ASK("192.0.2.1", "a@x.test", "u@here.test", -50), 300);    /* clock set back */
    assert_int_equal(ASK("192.0.2.77", "other@X.test", "U@here.test", 299), 1); /* a neighbour */
    assert_int_equal(ASK("192.0.3.1", "a@x.test", "u@here.test", 299), 300);
    assert_int_equal(ASK("192.0.2.1", "a@y.test", "u@here.test", 299), 300);
    assert_int_equal(ASK("192.0.2.1", "a@x.test", "v@here.test", 299), 300);
    assert_int_equal(ASK("192.0.2.1", "", "u@here.test", 299), 300);
    assert_int_equal(ASK("192.0.2.1", "a@x.test", "u@here.test", 300), 0);
    assert_int_equal(ASK("192.0.2.1", "a@x.test", "u@here.test", 301), 0);
    assert_int_equal(ASK("2001:db8::1", "a@x.test", "u@here.test", 0), 300);
    assert_int_equal(ASK("2001:db8::ffff:1", "a@x.test", "u@here.test", 300), 0);
    assert_int_equal(ASK("2001:db8:0:1::1", "a@x.test", "u@here.test", 300), 300);
    struct greylist_policy whole = policy;
    whole.by_domain = false;
    assert_int_equal(ask_with(s, &whole, "192.0.2.1", "a@x.test", "u@here.test", T0 + 300), 300);
    close_store(s);
}

static void too_late_begins_anew(void **state)
{
    struct store *s = open_store();
    assert_int_equal(ASK("192.0.2.1", "a@x.test", "u@here.test", 0), 300);
    assert_int_equal(ASK("192.0.2.1", "a@x.test", "u@here.test", 86401), 300);
    assert_int_equal(ASK("192.0.2.1", "a@x.test", "u@here.test", 86701), 0);
    /* Seen again keeps it known; unseen for a lifetime it is a stranger. */
    assert_int_equal(ASK("192.0.2.1", "a@x.test", "u@here.test", 86701 + 900000), 0);
    assert_int_equal(ASK("192.0.2.1", "a@x.test", "u@here.test", 86701 + 1800000), 0);
    assert_int_equal(ASK("192.0.2.1", "a@x.test", "u@here.test", 86701 + 2800001), 300);
    close_store(s);
}

static void clients_that_passed_wait_no_more(void **state)
{
    struct store *s = open_store();
    static const char *const to[] = {"u1@here.test", "u2@here.test", "u3@here.test"};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ASK("192.0.2.1", "a@x.test", to[i], 0), 300);
        assert_int_equal(ASK("192.0.2.1", "new@z.test", "u9@here.test", 0), 300);
        assert_int_equal(ASK("192.0.2.1", "a@x.test", to[i], 300), 0);
        assert_int_equal(ASK("192.0.2.1", "a@x.test", to[i], 301), 0); /* counts once */
    }
    assert_int_equal(ASK("192.0.2.200", "new@w.test", "u9@here.test", 302), 0);
    assert_int_equal(ASK("192.0.3.1", "new@w.test", "u9@here.test", 302), 300);
    struct greylist_policy never = policy;
    never.clients_after = 0;
    assert_int_equal(ask_with(s, &never, "192.0.2.200", "new@w.test", "u9@here.test", T0 + 302),
                     300);
    assert_int_equal(ASK("192.0.2.200", "new@v.test", "u9@here.test", 302 + 1000001), 300);
    close_store(s);
}

static void what_is_over_goes(void **state)
{
    struct store *s = open_store();
    char to[32];
    uint64_t removed = 0;
    struct store_key from = {.len = 0};
    for (int i = 0; i < 450; i++) {
        snprintf(to, sizeof(to), "u%d@here.test", i);
        assert_int_equal(ASK("192.0.2.1", "a@x.test", to, i < 400 ? 0 : 80000), 300);
    }
    assert_int_equal(ASK("192.0.2.1", "a@x.test", "u7@here.test", 300), 0);
    assert_int_equal(rows(s), 451); /* and the client's */
    int pages = 0;
    do {
        uint64_t before = removed;
        OK(greylist_sweep(s, &policy, T0 + 86401, &from, &removed));
        assert_true(removed - before <= 200);
        pages++;
    } while (from.len > 0);
    assert_int_equal(pages, 3);
    assert_int_equal(removed, 399);
    assert_int_equal(rows(s), 52);
    assert_int_equal(ASK("192.0.2.1", "a@x.test", "u7@here.test", 86402), 0);
    OK(greylist_sweep(s, &policy, T0 + 2000000, &from, &removed));
    assert_int_equal(rows(s), 0);
    close_store(s);
}

static void when_it_is_full_nobody_new_waits(void **state)
{
    struct store *s = open_store();
    struct greylist_policy small = policy;
    char to[32];
    small.rows_max = 20;
    for (int i = 0; i < 40; i++) {
        snprintf(to, sizeof(to), "u%d@here.test", i);
        assert_int_equal(ask_with(s, &small, "192.0.2.1", "a@x.test", to, T0), i < 20 ? 300 : 0);
    }
    assert_int_equal(rows(s), 20);
    assert_int_equal(ask_with(s, &small, "192.0.2.1", "a@x.test", "u3@here.test", T0 + 1), 299);
    close_store(s);
}

struct asking {
    struct store *store;
    int64_t now_s;
    unsigned passed, waiting;
};

static void ask_fiber(void *arg)
{
    struct asking *a = arg;
    if (ask_with(a->store, &policy, "192.0.2.1", "a@x.test", "u@here.test", a->now_s))
        a->waiting++;
    else
        a->passed++;
}

static void ask_many(void *arg)
{
    struct fiber_group g;
    fiber_group_init(&g);
    for (int i = 0; i < 50; i++)
        OK(fiber_start(&g, "ask", ask_fiber, arg));
    fiber_group_join(&g);
}

static void many_at_once_agree(void **state)
{
    struct asking a = {.store = open_store(), .now_s = T0};
    on_fiber(ask_many, &a);
    assert_int_equal(a.waiting, 50);
    assert_int_equal(rows(a.store), 1);
    a.now_s += 300;
    on_fiber(ask_many, &a);
    assert_int_equal(a.passed, 50);
    assert_int_equal(rows(a.store), 2);
    assert_int_equal(ask_with(a.store, &policy, "192.0.2.1", "b@y.test", "u@here.test", a.now_s),
                     300); /* one triplet counts once for its client */
    close_store(a.store);
}

static bool all(void *arg, const struct greylist_row *r) { return true; }

static void long_names_fit(void **state)
{
    struct store *s = open_store();
    char name[2000];
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = 0;
    assert_int_equal(ASK("192.0.2.1", name, name, 0), 300);
    assert_int_equal(ASK("192.0.2.1", name, name, 300), 0);
    struct store_key from = {.len = 0};
    uint64_t removed = 0;
    OK(greylist_remove_page(s, &from, all, NULL, &removed));
    assert_int_equal(removed, 2);
    assert_int_equal(rows(s), 0);
    close_store(s);
}

static void collect(void *arg, bool fatal, uint64_t partition, str text)
{
    buf_add(arg, text);
    buf_add_char(arg, '\n');
}

/* rule: accept-2, store-2 */
static void check_sees_damage(void **state)
{
    struct store *s = open_store();
    BUF_AUTO struct buf text = BUF_INIT(65536);
    struct check_result result;
    struct store_key bad = {.bytes = {SPACE_GREY_TRIPLET, 1, 2, 3}, .len = 4};
    struct store_op op = {.kind = STORE_PUT, .key = key_str(&bad), .value = STR("\100\001?")};
    struct store_commit c = {.partition = STORE_PARTITION_GREYLIST,
                             .expect_version = STORE_ANY_VERSION,
                             .ops = &op,
                             .nops = 1};
    struct store_result r;
    assert_int_equal(ASK("192.0.2.1", "a@x.test", "u@here.test", 0), 300);
    OK(store_commit(s, &c, &r));
    OK(check_store(s, collect, &text, &result));
    assert_int_equal(result.findings, 2);
    assert_true(str_find(buf_str(&text), STR("unreadable row of the greylist")) != STR_NPOS);
    assert_true(str_find(buf_str(&text), STR("has 2 rows and counts 1")) != STR_NPOS);
    uint64_t removed = 0;
    struct store_key from = {.len = 0};
    OK(greylist_remove_page(s, &from, all, NULL, &removed));
    assert_int_equal(removed, 1); /* what nobody can read stays */
    store_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comes_again_and_passes),
        cmocka_unit_test(too_late_begins_anew),
        cmocka_unit_test(clients_that_passed_wait_no_more),
        cmocka_unit_test(what_is_over_goes),
        cmocka_unit_test(when_it_is_full_nobody_new_waits),
        cmocka_unit_test(many_at_once_agree),
        cmocka_unit_test(long_names_fit),
        cmocka_unit_test(check_sees_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
