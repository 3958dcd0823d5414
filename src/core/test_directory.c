/* SPDX-License-Identifier: Apache-2.0
 *
 * Domains, accounts, aliases, groups; whom an address reaches and who may send as it.
 * rule: auth-3, wire-6
 */
#include "core/test_people.h"

#include <pthread.h>

#define THREADS 4
#define ROUNDS 50

static str normal(struct people *p, const char *address)
{
    str out = STR_NONE;
    enum err e = directory_normalise(str_c(address), &p->a, &out);
    return e == ERR_OK ? out : STR("!");
}

#define same(got, wanted)                                                                          \
    do {                                                                                           \
        str got_ = (got);                                                                          \
        assert_int_equal(got_.len, strlen(wanted));                                                \
        assert_memory_equal(got_.data, wanted, got_.len);                                          \
    } while (0)

static void addresses_have_one_form(void **state)
{
    struct people p;
    people_open(&p);
    same(normal(&p, "User+Tag@EXAMPLE.Test"), "user+tag@example.test");
    same(normal(&p, "\"user\"@example.test"), "user@example.test");
    same(normal(&p, "\"two words\"@example.test"), "\"two words\"@example.test");
    same(normal(&p, "\"a@b\"@example.test"), "\"a@b\"@example.test");
    /* IDNA: U-label and A-label are one domain; NFC: composed and decomposed are one local part. */
    same(normal(&p, "x@b\xc3\xbc"
                    "cher.test"),
         "x@xn--bcher-kva.test");
    same(normal(&p, "x@B\xc3\x9c"
                    "CHER.test"),
         "x@xn--bcher-kva.test");
    same(normal(&p, "x@xn--bcher-kva.test"), "x@xn--bcher-kva.test");
    same(normal(&p, "J\xc3\xbcrg@example.test"), "j\xc3\xbcrg@example.test");
    same(normal(&p, "ju\xcc\x88rg@example.test"), "j\xc3\xbcrg@example.test");
    static const char *wrong[] = {"",         "a",      "@b",      "a@",           "a@b@c",
                                  "a b@c",    "a@b..c", "a@-\x01", "a\xff@b.test", ".a@b.test",
                                  "a.@b.test"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        same(normal(&p, wrong[i]), "!");
    char longest[400];
    memset(longest, 'a', sizeof longest);
    memcpy(longest + 65, "@example.test", 14);
    same(normal(&p, longest), "!");
    assert_true(normal(&p, longest + 1).len == 64 + 13);
    people_close(&p);
}

static void domains_come_and_go(void **state)
{
    struct people p;
    struct domain got, d = {.name = STR("Other.TEST"), .catch_all = STR("All@other.test")};
    people_open(&p);
    OK(directory_domain_add(&p.d, &d));
    assert_int_equal(directory_domain_add(&p.d, &d), ERR_EXISTS);
    OK(directory_domain_get(&p.d, STR("OTHER.test"), &p.a, &got));
    same(got.name, "other.test");
    same(got.catch_all, "all@other.test");
    d.separator = '-';
    d.quota_bytes = (uint64_t)1 << 40;
    OK(directory_domain_set(&p.d, &d));
    OK(directory_domain_get(&p.d, STR("other.test"), &p.a, &got));
    assert_int_equal(got.separator, '-');
    assert_true(got.quota_bytes == (uint64_t)1 << 40);
    d.name = STR("third.test");
    assert_int_equal(directory_domain_set(&p.d, &d), ERR_NO_DOMAIN);
    people_account(&p, "a@other.test");
    assert_int_equal(directory_domain_remove(&p.d, STR("other.test")), ERR_HAS_CHILDREN);
    struct account_entry e;
    OK(directory_account_find(&p.d, STR("a@other.test"), &p.a, &e));
    OK(directory_account_remove(&p.d, e.id));
    OK(directory_domain_remove(&p.d, STR("other.test")));
    assert_int_equal(directory_domain_get(&p.d, STR("other.test"), &p.a, &got), ERR_NO_DOMAIN);
    people_close(&p);
}

static void an_address_is_one_thing(void **state)
{
    struct people p;
    uint64_t id, again;
    str target = STR("a@example.test");
    people_open(&p);
    id = people_account(&p, "a@example.test");
    struct account_entry e = {.address = STR("A@Example.test"), .protocols = PROTOCOL_ALL};
    assert_int_equal(directory_account_add(&p.d, &e, &again), ERR_EXISTS);
    struct address_entry alias = {
        .address = STR("a@example.test"), .kind = ADDRESS_ALIAS, .targets = &target, .ntargets = 1};
    assert_int_equal(directory_address_add(&p.d, &alias), ERR_EXISTS);
    alias.address = STR("b@example.test");
    OK(directory_address_add(&p.d, &alias));
    e.address = STR("b@example.test");
    assert_int_equal(directory_account_add(&p.d, &e, &again), ERR_EXISTS);
    e.address = STR("c@nowhere.test");
    assert_int_equal(directory_account_add(&p.d, &e, &again), ERR_NO_DOMAIN);
    alias.address = STR("c@nowhere.test");
    assert_int_equal(directory_address_add(&p.d, &alias), ERR_NO_DOMAIN);
    /* A removed account's address is free, and its id is never given again. */
    OK(directory_account_remove(&p.d, id));
    assert_int_equal(directory_account_remove(&p.d, id), ERR_NOT_FOUND);
    again = people_account(&p, "a@example.test");
    assert_true(again > id);
    people_close(&p);
}

static void add_list(struct people *p, enum address_kind kind, const char *address, uint8_t flags,
                     const char *targets)
{
    str items[8], rest = str_c(targets);
    size_t n = 0;
    while (str_next_word(&rest, &items[n]))
        n++;
    OK(directory_address_add(&p->d, &(struct address_entry){.address = str_c(address),
                                                            .kind = kind,
                                                            .flags = flags,
                                                            .targets = items,
                                                            .ntargets = n}));
}

static enum err reached(struct people *p, const char *address, size_t n, bool here)
{
    struct resolution r;
    TRY(directory_resolve(&p->d, str_c(address), &p->a, &r));
    assert_int_equal(r.ntargets, n);
    assert_int_equal(r.here, here);
    return ERR_OK;
}

static void addresses_reach_accounts(void **state)
{
    struct people p;
    people_open(&p);
    people_account(&p, "a@example.test");
    people_account(&p, "b@example.test");
    uint64_t off = people_account(&p, "off@example.test");
    struct account_entry e;
    OK(directory_account_get(&p.d, off, &p.a, &e));
    e.state = ACCOUNT_DISABLED;
    OK(directory_account_set(&p.d, &e));
    add_list(&p, ADDRESS_ALIAS, "both@example.test", 0, "a@example.test b@example.test");
    add_list(&p, ADDRESS_GROUP, "all@example.test", 0,
             "both@example.test a@example.test all@example.test far@elsewhere.test");
    add_list(&p, ADDRESS_ALIAS, "l1@example.test", 0, "l2@example.test");
    add_list(&p, ADDRESS_ALIAS, "l2@example.test", 0, "l1@example.test");
    add_list(&p, ADDRESS_ALIAS, "out@example.test", ADDRESS_SEND_ONLY, "a@example.test");
    add_list(&p, ADDRESS_ALIAS, "half@example.test", 0, "off@example.test a@example.test");
    add_list(&p, ADDRESS_ALIAS, "away@example.test", 0, "far@elsewhere.test");
    OK(reached(&p, "A+tag@example.test", 1, true));
    OK(reached(&p, "both@example.test", 2, true));
    OK(reached(&p, "all@example.test", 3, true));
    OK(reached(&p, "half@example.test", 1, true));
    OK(reached(&p, "away@example.test", 1, true));
    OK(reached(&p, "Far@Elsewhere.test", 1, false));
    assert_int_equal(reached(&p, "l1@example.test", 0, true), ERR_LOOP);
    assert_int_equal(reached(&p, "off@example.test", 0, true), ERR_DISABLED);
    assert_int_equal(reached(&p, "out@example.test", 0, true), ERR_DENIED);
    assert_int_equal(reached(&p, "no@example.test", 0, true), ERR_NO_USER);
    assert_int_equal(reached(&p, "+a@example.test", 0, true), ERR_NO_USER);
    OK(directory_domain_set(
        &p.d, &(struct domain){.name = STR("example.test"), .catch_all = STR("b@example.test")}));
    OK(reached(&p, "no@example.test", 1, true));
    OK(reached(&p, "a+tag@example.test", 1, true)); /* without separator: the catch-all's */
    people_close(&p);
}

/* RFC 5321 4.5.1 */
static void roles_reach_somebody_in_every_domain(void **state)
{
    struct people p;
    struct resolution r;
    people_open(&p);
    OK(directory_domain_add(&p.d, &(struct domain){.name = STR("second.test")}));
    assert_int_equal(reached(&p, "postmaster@second.test", 0, true), ERR_NO_USER);
    uint64_t a = people_account(&p, "a@example.test");
    uint64_t b = people_account(&p, "b@second.test");
    OK(directory_resolve(&p.d, STR("PostMaster@second.test"), &p.a, &r));
    assert_int_equal(r.targets[0].account, a);
    OK(reached(&p, "abuse@example.test", 1, true));
    assert_int_equal(reached(&p, "webmaster@example.test", 0, true), ERR_NO_USER);
    add_list(&p, ADDRESS_ALIAS, "postmaster@second.test", 0, "b@second.test");
    OK(directory_resolve(&p.d, STR("postmaster@second.test"), &p.a, &r));
    assert_int_equal(r.ntargets, 1);
    assert_int_equal(r.targets[0].account, b);
    people_close(&p);
}

static void foreign_addresses_keep_their_spelling(void **state)
{
    struct people p;
    struct resolution r;
    people_open(&p);
    OK(directory_resolve(&p.d, STR("Some.One@Elsewhere.test"), &p.a, &r));
    same(r.targets[0].address, "Some.One@Elsewhere.test");
    OK(directory_resolve(&p.d, STR("\"two words\"@elsewhere.test"), &p.a, &r));
    same(r.targets[0].address, "\"two words\"@elsewhere.test");
    assert_int_equal(directory_resolve(&p.d, STR("no address"), &p.a, &r), ERR_SYNTAX);
    people_close(&p);
}

/* Wide and deep lists end in a limit, not in a crash or for ever. */
static void lists_have_limits(void **state)
{
    struct people p;
    char name[64], next[64];
    people_open(&p);
    people_account(&p, "end@example.test");
    for (int i = 0; i < DIR_DEPTH_MAX + 4; i++) {
        snprintf(name, sizeof name, "deep%d@example.test", i);
        if (i < DIR_DEPTH_MAX + 3)
            snprintf(next, sizeof next, "deep%d@example.test", i + 1);
        else
            snprintf(next, sizeof next, "end@example.test");
        add_list(&p, ADDRESS_ALIAS, name, 0, next);
    }
    assert_int_equal(reached(&p, "deep0@example.test", 0, true), ERR_LOOP);
    OK(reached(&p, "deep8@example.test", 1, true));
    static str many[DIR_TARGETS_MAX + 1];
    for (size_t i = 0; i < DIR_TARGETS_MAX + 1; i++)
        many[i] = arena_fmt(&p.a, "m%zu@e.test", i);
    struct address_entry wide = {.address = STR("wide@example.test"),
                                 .kind = ADDRESS_GROUP,
                                 .targets = many,
                                 .ntargets = DIR_TARGETS_MAX + 1};
    assert_int_equal(directory_address_add(&p.d, &wide), ERR_LIMIT);
    wide.ntargets = DIR_TARGETS_MAX;
    OK(directory_address_add(&p.d, &wide));
    OK(reached(&p, "wide@example.test", DIR_TARGETS_MAX, true));
    people_close(&p);
}

static void who_receives_may_send(void **state)
{
    struct people p;
    people_open(&p);
    uint64_t a = people_account(&p, "a@example.test"), b = people_account(&p, "b@example.test");
    add_list(&p, ADDRESS_ALIAS, "sales@example.test", 0, "a@example.test");
    add_list(&p, ADDRESS_ALIAS, "in@example.test", ADDRESS_RECEIVE_ONLY, "a@example.test");
    add_list(&p, ADDRESS_ALIAS, "out@example.test", ADDRESS_SEND_ONLY, "a@example.test");
    add_list(&p, ADDRESS_GROUP, "team@example.test", 0, "a@example.test b@example.test");
    static const struct {
        const char *address;
        enum err first, second;
    } rows[] = {
        {"a@example.test", ERR_OK, ERR_SENDER},
        {"A+x@Example.Test", ERR_OK, ERR_SENDER},
        {"sales@example.test", ERR_OK, ERR_SENDER},
        {"in@example.test", ERR_SENDER, ERR_SENDER},
        {"out@example.test", ERR_OK, ERR_SENDER},
        {"team@example.test", ERR_SENDER, ERR_SENDER},
        {"a@elsewhere.test", ERR_SENDER, ERR_SENDER},
        {"nobody@example.test", ERR_SENDER, ERR_SENDER},
        {"not an address", ERR_SENDER, ERR_SENDER},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(directory_may_send(&p.d, a, str_c(rows[i].address)), rows[i].first);
        assert_int_equal(directory_may_send(&p.d, b, str_c(rows[i].address)), rows[i].second);
    }
    OK(directory_grant_send(&p.d, b, STR("Team@example.test"), true));
    OK(directory_may_send(&p.d, b, STR("team@example.test")));
    assert_int_equal(directory_may_send(&p.d, a, STR("team@example.test")), ERR_SENDER);
    OK(directory_grant_send(&p.d, b, STR("team@example.test"), false));
    assert_int_equal(directory_may_send(&p.d, b, STR("team@example.test")), ERR_SENDER);
    people_close(&p);
}

static bool count_address(void *arg, const struct address_entry *e)
{
    ++*(size_t *)arg;
    return true;
}

static void lists_come_in_pages(void **state)
{
    struct people p;
    char name[64];
    size_t n = 0;
    people_open(&p);
    for (int i = 0; i < 30; i++) {
        snprintf(name, sizeof name, "u%02d@example.test", i);
        people_account(&p, name);
    }
    OK(directory_addresses(&p.d, STR("example.test"), STR_NONE, ~0u, 20, count_address, &n));
    assert_int_equal(n, 20);
    OK(directory_addresses(&p.d, STR("example.test"), STR("u19@example.test"), ~0u, 20,
                           count_address, &n));
    assert_int_equal(n, 30);
    people_close(&p);
}

struct race {
    struct people *p;
    unsigned wins[THREADS];
    unsigned me;
};
struct racer {
    struct race *race;
    unsigned n;
};

/* All threads want the same address in each round. */
static void *race_run(void *arg)
{
    struct racer *r = arg;
    for (unsigned i = 0; i < ROUNDS; i++) {
        char name[64];
        uint64_t id;
        snprintf(name, sizeof name, "race%u@example.test", i);
        struct account_entry e = {.address = str_c(name), .protocols = PROTOCOL_ALL};
        enum err got = directory_account_add(&r->race->p->d, &e, &id);
        assert_true(got == ERR_OK || got == ERR_EXISTS);
        r->race->wins[r->n] += got == ERR_OK;
    }
    return NULL;
}

static void one_of_many_threads_gets_an_address(void **state)
{
    struct people p;
    struct race race = {.p = &p};
    struct racer racers[THREADS];
    pthread_t threads[THREADS];
    people_open(&p);
    for (unsigned i = 0; i < THREADS; i++) {
        racers[i] = (struct racer){&race, i};
        assert_int_equal(pthread_create(&threads[i], NULL, race_run, &racers[i]), 0);
    }
    unsigned sum = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        sum += race.wins[i];
    }
    assert_int_equal(sum, ROUNDS);
    people_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_have_one_form),
        cmocka_unit_test(domains_come_and_go),
        cmocka_unit_test(an_address_is_one_thing),
        cmocka_unit_test(addresses_reach_accounts),
        cmocka_unit_test(roles_reach_somebody_in_every_domain),
        cmocka_unit_test(foreign_addresses_keep_their_spelling),
        cmocka_unit_test(lists_have_limits),
        cmocka_unit_test(who_receives_may_send),
        cmocka_unit_test(lists_come_in_pages),
        cmocka_unit_test(one_of_many_threads_gets_an_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
