/* SPDX-License-Identifier: Apache-2.0
 *
 * The resolver against a name server of our own: what is found, what is not, what is signed, what
 * is forged, who is silent; and all of it in the relay's sandbox.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "os/loop.h"
#include "os/proc.h"
#include "os/sandbox.h"
#include "proto/relay/resolver.h"
#include "proto/relay/test_dns.h"

#include <sys/wait.h>

#define OK(call) assert_int_equal((call), ERR_OK)

static struct test_dns server;

struct ask {
    struct resolver *resolver;
    struct fiber_group group, resolver_group;
    void (*fn)(const struct dns *dns) WAITS;
};

static void ask_fiber(void *arg) WAITS
{
    struct ask *a = arg;
    struct dns dns;
    resolver_dns(a->resolver, &dns);
    a->fn(&dns);
    fiber_group_cancel(&a->resolver_group);
}

static void with_options(const struct resolver_options *options, void (*fn)(const struct dns *dns))
{
    struct loop *l;
    struct ask a = {.fn = fn};
    OK(loop_open(&l, &(struct loop_options){.name = "test", .slice_warn_ms = 5000}));
    fiber_group_init(&a.group);
    fiber_group_init(&a.resolver_group);
    OK(resolver_open(options, &a.resolver_group, &a.resolver));
    OK(fiber_start(&a.group, "ask", ask_fiber, &a));
    loop_run_until_idle(l);
    resolver_close(a.resolver);
    loop_close(l);
}

static void with_resolver(void (*fn)(const struct dns *dns), uint64_t timeout_ms)
{
    str zone = str_c(server.zone_option), anchor = str_c(server.anchor);
    with_options(&(struct resolver_options){.zones = &zone,
                                            .nzones = 1,
                                            .anchors = &anchor,
                                            .nanchors = 1,
                                            .dnssec = true,
                                            .timeout_ms = timeout_ms},
                 fn);
}

/* The server is all the world there is. */
static void with_forwarder(void (*fn)(const struct dns *dns), uint64_t timeout_ms)
{
    char text[64];
    snprintf(text, sizeof(text), "127.0.0.1@%u", server.port);
    str forward = str_c(text);
    with_options(
        &(struct resolver_options){.forward = &forward, .nforward = 1, .timeout_ms = timeout_ms},
        fn);
}

static struct arena arena = {.max = 16777216};

static struct dns_answer get(const struct dns *dns, const char *name, enum dns_type type)
{
    struct dns_answer a;
    OK(dns->query(dns->ctx, str_c(name), type, &arena, &a));
    return a;
}

static void find_all_types(const struct dns *dns) WAITS
{
    struct dns_answer a = get(dns, "Mail.Example.Test.", DNS_A);
    assert_int_equal(a.status, DNS_FOUND);
    assert_int_equal(a.count, 2);
    assert_false(a.secure);
    assert_true(str_eq(a.canonical, STR("mail.example.test")));
    assert_int_equal(a.records[0].bytes.len, 4);
    a = get(dns, "mail.example.test", DNS_AAAA);
    assert_true(a.status == DNS_FOUND && a.records[0].bytes.len == 16);
    a = get(dns, "example.test", DNS_MX);
    assert_true(a.status == DNS_FOUND && a.count == 1 && a.records[0].preference == 10);
    assert_true(str_eq(a.records[0].name, STR("mail.example.test")));
    a = get(dns, "null.test", DNS_MX);
    assert_true(a.status == DNS_FOUND && str_empty(a.records[0].name));
    a = get(dns, "long.test", DNS_TXT);
    assert_int_equal(a.records[0].bytes.len, 600);
    a = get(dns, "alias.test", DNS_A);
    assert_true(a.status == DNS_FOUND && a.count == 2);
    assert_true(str_eq(a.canonical, STR("mail.example.test")));
    assert_int_equal(get(dns, "mail.example.test", DNS_TLSA).status, DNS_NODATA);
    assert_int_equal(get(dns, "nobody.test", DNS_A).status, DNS_NXDOMAIN);
    assert_int_equal(get(dns, "short.example.test", DNS_A).status, DNS_FOUND);
    assert_true(server.asked_tcp > 0);
}

static void validate(const struct dns *dns) WAITS
{
    struct dns_answer a = get(dns, "_25._tcp.mx." TEST_DNS_SIGNED, DNS_TLSA);
    assert_int_equal(a.status, DNS_FOUND);
    assert_true(a.secure);
    assert_true(a.records[0].usage == 3 && a.records[0].selector == 1 &&
                a.records[0].matching == 1);
    assert_int_equal(a.records[0].bytes.len, 32);
    a = get(dns, "forged." TEST_DNS_SIGNED, DNS_A);
    assert_int_equal(a.status, DNS_BOGUS);
    assert_false(a.secure);
    assert_int_equal(a.count, 0);
}

static void ask_the_silent(const struct dns *dns) WAITS
{
    uint64_t before = clock_mono_ms();
    assert_int_equal(get(dns, "silent.test", DNS_A).status, DNS_FAILED);
    assert_true(clock_mono_ms() - before < 5000);
    struct dns_answer a;
    DEADLINE_SCOPE(50);
    OK(dns->query(dns->ctx, STR("silent.other.test"), DNS_MX, &arena, &a));
    assert_int_equal(a.status, DNS_FAILED);
}

static void ask_when_nobody_is_there(const struct dns *dns) WAITS
{
    char name[32];
    assert_int_equal(get(dns, "mail.example.test", DNS_A).status, DNS_FOUND);
    server.mute = true;
    uint64_t before = clock_mono_ms();
    assert_int_equal(get(dns, "short.example.test", DNS_A).status, DNS_FAILED);
    assert_true(clock_mono_ms() - before < 2500); /* not the 4 s that an answer may take */
    before = clock_mono_ms();
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof(name), "n%d.example.test", i);
        assert_int_equal(get(dns, name, DNS_A).status, DNS_FAILED);
    }
    assert_true(clock_mono_ms() - before < 2000);
    assert_int_equal(get(dns, "mail.example.test", DNS_A).status, DNS_FOUND); /* the cache knows */
    server.mute = false;
    enum dns_status status = DNS_FAILED;
    for (int i = 0; i < 100 && status == DNS_FAILED; i++) {
        assert_int_equal(wait_until(deadline_in_ms(200)), ERR_TIMEOUT);
        status = get(dns, "example.test", DNS_MX).status;
    }
    assert_int_equal(status, DNS_FOUND);
}

static void one_silent_domain(const struct dns *dns) WAITS
{
    for (int i = 0; i < 3; i++)
        assert_int_equal(get(dns, "silent.test", DNS_A).status, DNS_FAILED);
    assert_int_equal(get(dns, "nobody.test", DNS_A).status, DNS_NXDOMAIN);
    assert_int_equal(get(dns, "mail.example.test", DNS_A).status, DNS_FOUND);
}

static void ask_nonsense(const struct dns *dns) WAITS
{
    struct dns_answer a;
    char label[70];
    memset(label, 'a', sizeof(label));
    str bad[] = {STR("a..b"),  STR(".a"),         STR("a\\.b"),        STR("a b"),
                 STR("\x00x"), str_of(label, 64), STR("\xc3\xa4.test")};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(dns->query(dns->ctx, bad[i], DNS_A, &arena, &a), ERR_SYNTAX);
}

static void test_what_is_there_and_what_is_not(void **state)
{
    with_resolver(find_all_types, 5000);
}
static void test_signed_answers_are_secure_and_forged_ones_bogus(void **state)
{
    with_resolver(validate, 5000);
}
/* rule: proc-3 */
static void test_a_silent_server_costs_the_deadline_and_no_more(void **state)
{
    with_resolver(ask_the_silent, 300);
}
/* rule: proc-3 */
static void test_when_no_server_answers_questions_fail_at_once(void **state)
{
    with_forwarder(ask_when_nobody_is_there, 4000);
}
static void test_a_silent_domain_silences_no_other(void **state)
{
    with_forwarder(one_silent_domain, 1000);
}
static void test_what_is_no_name_is_not_asked(void **state) { with_resolver(ask_nonsense, 5000); }

static int confined(void *arg)
{
    struct sandbox_profile relay = {.name = "relay", .connect_out = true, .threads = true};
    if (sandbox_enter(&relay, &(struct sandbox_paths){0}) != ERR_OK)
        _exit(3);
    with_resolver(find_all_types, 5000);
    with_resolver(validate, 5000);
    _exit(0);
}

/* rule: proc-1 */
static void test_it_needs_no_file(void **state)
{
    int pid, status = 0;
    OK(proc_fork(confined, NULL, &pid));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* rule: wire-5 */
static void test_records_that_lie_about_their_length(void **state)
{
    struct dns_record r;
    static const uint8_t mx[] = {0, 10, 3, 'a', 'b', 'c', 0};
    for (size_t n = 0; n < sizeof(mx); n++)
        assert_int_equal(resolver_record_parse(DNS_MX, str_of(mx, n), &arena, &r), ERR_SYNTAX);
    OK(resolver_record_parse(DNS_MX, str_of(mx, sizeof(mx)), &arena, &r));
    assert_int_equal(resolver_record_parse(DNS_A, STR("abc"), &arena, &r), ERR_SYNTAX);
    assert_int_equal(resolver_record_parse(DNS_TXT,
                                           STR("\x05"
                                               "abc"),
                                           &arena, &r),
                     ERR_SYNTAX);
    assert_int_equal(resolver_record_parse(DNS_PTR, STR("\xc0\x0c"), &arena, &r), ERR_SYNTAX);
    assert_int_equal(resolver_record_parse(DNS_PTR,
                                           STR("\x03"
                                               "a\nb\0"),
                                           &arena, &r),
                     ERR_SYNTAX);
}

static int open_server(void **state)
{
    test_dns_open(&server);
    test_dns_add_a(&server, "mail.example.test", "192.0.2.1");
    test_dns_add_a(&server, "mail.example.test", "192.0.2.2");
    test_dns_add_a(&server, "mail.example.test", "2001:db8::1");
    test_dns_add_name(&server, "example.test", DNS_MX, 10, "mail.example.test");
    test_dns_add_name(&server, "null.test", DNS_MX, 0, "");
    test_dns_add_name(&server, "alias.test", DNS_CNAME, 0, "mail.example.test");
    char text[601];
    memset(text, 'x', 600);
    text[600] = 0;
    test_dns_add_txt(&server, "long.test", text);
    test_dns_add_a(&server, "short.example.test", "192.0.2.3");
    test_dns_add_tlsa(&server, "_25._tcp.mx." TEST_DNS_SIGNED, 3, 1, 1,
                      STR("0123456789abcdef0123456789abcdef"));
    test_dns_add_a(&server, "forged." TEST_DNS_SIGNED, "192.0.2.66");
    test_dns_start(&server);
    return 0;
}

static int close_server(void **state)
{
    test_dns_close(&server);
    arena_free(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_there_and_what_is_not),
        cmocka_unit_test(test_signed_answers_are_secure_and_forged_ones_bogus),
        cmocka_unit_test(test_a_silent_server_costs_the_deadline_and_no_more),
        cmocka_unit_test(test_when_no_server_answers_questions_fail_at_once),
        cmocka_unit_test(test_a_silent_domain_silences_no_other),
        cmocka_unit_test(test_what_is_no_name_is_not_asked),
        cmocka_unit_test(test_it_needs_no_file),
        cmocka_unit_test(test_records_that_lie_about_their_length),
    };
    return cmocka_run_group_tests(tests, open_server, close_server);
}
