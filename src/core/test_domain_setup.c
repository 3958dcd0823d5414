/* SPDX-License-Identifier: Apache-2.0
 *
 * Which records a domain should have, and what is said of those that the world sees.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/num.h"
#include "core/domain_setup.h"

#define OK(call) assert_int_equal((call), ERR_OK)
#define ED25519 "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="

static const struct address here = {.family = 4, .ip = {192, 0, 2, 25}};
static const struct setup_dkim dkim = {STR_INIT("s1"), STR_INIT(ED25519)};
static const struct setup_tlsa tlsa[2] = {{{1, 2, 3}}, {{9}}};
static const struct setup_facts facts = {
    .domain = STR_INIT("example.test"),
    .hostname = STR_INIT("mail.example.test"),
    .addresses = &here,
    .naddresses = 1,
    .dkim = &dkim,
    .ndkim = 1,
    .tlsa = tlsa,
    .ntlsa = 2,
    .mta_sts_id = STR_INIT("0123abcd"),
    .reports_to = STR_INIT("postmaster@example.test"),
    .ports = {.submissions = 465, .submission = 587, .imaps = 993, .pop3s = 995, .https = 443},
};
static struct arena arena;
static struct setup_record records[SETUP_RECORDS_MAX];
static size_t nrecords;

static int setup(void **state)
{
    arena_init(&arena, 16 << 20);
    return setup_records(&facts, &arena, records, SETUP_RECORDS_MAX, &nrecords) == ERR_OK ? 0 : -1;
}

static int teardown(void **state)
{
    arena_free(&arena);
    return 0;
}

static void test_zone(void **state)
{
    BUF_AUTO struct buf zone = BUF_INIT(65536);
    for (size_t i = 0; i < nrecords; i++)
        setup_render(&records[i], &zone);
    buf_add_char(&zone, 0);
    assert_string_equal(
        zone.data, "mail.example.test.\t3600\tIN\tA\t192.0.2.25\n"
                   "example.test.\t3600\tIN\tMX\t10 mail.example.test.\n"
                   "example.test.\t3600\tIN\tTXT\t\"v=spf1 mx -all\"\n"
                   "s1._domainkey.example.test.\t3600\tIN\tTXT\t\"" ED25519 "\"\n"
                   "_dmarc.example.test.\t3600\tIN\tTXT\t\"v=DMARC1; p=quarantine; "
                   "rua=mailto:postmaster@example.test\"\n"
                   "_mta-sts.example.test.\t3600\tIN\tTXT\t\"v=STSv1; id=0123abcd\"\n"
                   "mta-sts.example.test.\t3600\tIN\tCNAME\tmail.example.test.\n"
                   "_smtp._tls.example.test.\t3600\tIN\tTXT\t\"v=TLSRPTv1; "
                   "rua=mailto:postmaster@example.test\"\n"
                   "_25._tcp.mail.example.test.\t3600\tIN\tTLSA\t3 1 1 "
                   "0102030000000000000000000000000000000000000000000000000000000000\n"
                   "_25._tcp.mail.example.test.\t3600\tIN\tTLSA\t3 1 1 "
                   "0900000000000000000000000000000000000000000000000000000000000000\n"
                   "_submissions._tcp.example.test.\t3600\tIN\tSRV\t0 1 465 mail.example.test.\n"
                   "_submission._tcp.example.test.\t3600\tIN\tSRV\t10 1 587 mail.example.test.\n"
                   "_imaps._tcp.example.test.\t3600\tIN\tSRV\t0 1 993 mail.example.test.\n"
                   "_pop3s._tcp.example.test.\t3600\tIN\tSRV\t20 1 995 mail.example.test.\n"
                   "_autodiscover._tcp.example.test.\t3600\tIN\tSRV\t0 1 443 mail.example.test.\n"
                   "autoconfig.example.test.\t3600\tIN\tCNAME\tmail.example.test.\n"
                   "autodiscover.example.test.\t3600\tIN\tCNAME\tmail.example.test.\n");
}

static void test_limits(void **state)
{
    static struct setup_record few[3], others[SETUP_RECORDS_MAX];
    size_t n;
    assert_int_equal(setup_records(&facts, &arena, few, 3, &n), ERR_LIMIT);
    struct arena small = ARENA_INIT(64);
    assert_int_not_equal(setup_records(&facts, &small, others, SETUP_RECORDS_MAX, &n), ERR_OK);
    arena_free(&small);
    BUF_AUTO struct buf line = BUF_INIT(65536);
    char text[600];
    memset(text, 'x', sizeof(text));
    text[0] = '"';
    text[1] = '\n';
    struct setup_record r = {.type = DNS_TXT, .name = STR("a"), .data = str_of(text, 600)};
    setup_render(&r, &line);
    assert_int_not_equal(str_find(buf_str(&line), STR("\"\\\"\\010xxx")), STR_NPOS);
    assert_int_equal(line.len, 600 + 1 + 3 + 2 * 3 + 2 + strlen("a.\t3600\tIN\tTXT\t\n"));
}

static const struct setup_record *record(enum setup_rule rule)
{
    for (size_t i = 0; i < nrecords; i++) {
        if (records[i].rule == rule)
            return &records[i];
    }
    fail();
    return NULL;
}

static struct dns_answer found(const struct dns_record *r, size_t n)
{
    return (struct dns_answer){.status = DNS_FOUND, .records = r, .count = n, .secure = true};
}

static enum setup_state judge(enum setup_rule rule, struct dns_answer a, const char *advice)
{
    static const struct dns_record address = {.bytes = STR_INIT("\xc0\x00\x02\x19")};
    struct dns_answer host = found(&address, 1);
    struct setup_verdict v;
    OK(setup_judge(&facts, record(rule), &a, &host, &arena, &v));
    if (advice && str_find(v.advice, str_c(advice)) == STR_NPOS)
        fail_msg("advice: %.*s", STR_ARG(v.advice));
    assert_true(v.state == SETUP_RIGHT || !str_empty(v.advice));
    assert_true(str_find_char(v.advice, '\t') == STR_NPOS); /* it is shown in a sentence */
    return v.state;
}

static enum setup_state judge_text(enum setup_rule rule, const char *text, const char *advice)
{
    struct dns_record r[2] = {{.bytes = str_c(text)}, {.bytes = STR("google-site-verification=1")}};
    return judge(rule, found(r, 2), advice);
}

static void test_answers(void **state)
{
    struct dns_answer a = {.status = DNS_NXDOMAIN};
    for (enum setup_rule rule = SETUP_ADDRESS; rule <= SETUP_SRV; rule++) {
        assert_int_equal(judge(rule, a, "Add: "), SETUP_MISSING);
        assert_int_equal(judge(rule, (struct dns_answer){.status = DNS_FAILED}, "try again"),
                         SETUP_UNKNOWN);
        assert_int_equal(judge(rule, (struct dns_answer){.status = DNS_BOGUS}, "DNSSEC"),
                         SETUP_WRONG);
    }
}

static void test_mx(void **state)
{
    struct dns_record r[] = {{.preference = 10, .name = STR("mail.example.test")},
                             {.preference = 20, .name = STR("mx2.example.test")}};
    assert_int_equal(judge(SETUP_MX, found(r, 1), NULL), SETUP_RIGHT);
    assert_int_equal(judge(SETUP_MX, found(r, 2), "other MX hosts"), SETUP_RIGHT);
    r[1].preference = 5;
    assert_int_equal(judge(SETUP_MX, found(r, 2), "preferred"), SETUP_WRONG);
    assert_int_equal(judge(SETUP_MX, found(r + 1, 1), "goes elsewhere"), SETUP_WRONG);
}

static void test_spf(void **state)
{
    assert_int_equal(judge_text(SETUP_SPF, "v=spf1 mx -all", NULL), SETUP_RIGHT);
    assert_int_equal(judge_text(SETUP_SPF, "v=spf1 a:mail.example.test ~all", NULL), SETUP_RIGHT);
    assert_int_equal(judge_text(SETUP_SPF, "v=spf1 ip4:192.0.2.0/27 -all", NULL), SETUP_RIGHT);
    assert_int_equal(judge_text(SETUP_SPF, "v=spf1 ip4:192.0.2.0/28 -all", "does not name"),
                     SETUP_WRONG);
    assert_int_equal(judge_text(SETUP_SPF, "v=spf1 -mx -all", "does not name"), SETUP_WRONG);
    assert_int_equal(judge_text(SETUP_SPF, "v=spf1 include:x.test -all", "certain"), SETUP_UNKNOWN);
    assert_int_equal(judge_text(SETUP_SPF, "v=spf1 +all", "everybody"), SETUP_WRONG);
    assert_int_equal(judge_text(SETUP_SPF, "v=spf1 ip4:", "malformed"), SETUP_WRONG);
    struct dns_record two[] = {{.bytes = STR("v=spf1 mx -all")}, {.bytes = STR("v=spf1 -all")}};
    assert_int_equal(judge(SETUP_SPF, found(two, 2), "several"), SETUP_WRONG);
}

static void test_policies(void **state)
{
    assert_int_equal(judge_text(SETUP_DMARC, "v=DMARC1; p=reject", NULL), SETUP_RIGHT);
    assert_int_equal(judge_text(SETUP_DMARC, "v=DMARC1; p=none", "only watches"), SETUP_RIGHT);
    assert_int_equal(judge_text(SETUP_MTA_STS, "v=STSv1; id=0123abcd;", NULL), SETUP_RIGHT);
    assert_int_equal(judge_text(SETUP_MTA_STS, "v=STSv1; id=old", "id has not"), SETUP_WRONG);
    assert_int_equal(judge_text(SETUP_TLSRPT, "v=TLSRPTv1; rua=mailto:a@b.test", NULL),
                     SETUP_RIGHT);
    struct dns_record key = {.bytes = dkim.record};
    assert_int_equal(judge(SETUP_DKIM, found(&key, 1), NULL), SETUP_RIGHT);
    key.bytes = STR("v=DKIM1; k=ed25519; p=");
    assert_int_equal(judge(SETUP_DKIM, found(&key, 1), "not ours"), SETUP_WRONG);
}

/* A record that no key of ours fits would stop mail one day; it is pointed out. */
static void test_tlsa(void **state)
{
    struct dns_record r[3] = {{.usage = 3, .selector = 1, .matching = 1},
                              {.usage = 3, .selector = 1, .matching = 1},
                              {.usage = 3, .selector = 1, .matching = 1}};
    uint8_t stale[32] = {7};
    r[0].bytes = str_of(tlsa[0].sha256, 32);
    r[1].bytes = str_of(tlsa[1].sha256, 32);
    r[2].bytes = str_of(stale, 32);
    assert_int_equal(judge(SETUP_TLSA, found(r, 2), NULL), SETUP_RIGHT);
    assert_int_equal(judge(SETUP_TLSA, found(r + 1, 1), "do not name"), SETUP_WRONG);
    assert_int_equal(judge(SETUP_TLSA, found(r, 3), "remove: 3 1 1 07"), SETUP_WRONG);
    struct dns_answer plain = found(r, 2);
    plain.secure = false;
    assert_int_equal(judge(SETUP_TLSA, plain, "DNSSEC"), SETUP_RIGHT);
}

static void test_names(void **state)
{
    struct dns_record a = {.bytes = STR("\xc0\x00\x02\x19")};
    struct dns_record b = {.bytes = STR("\xc0\x00\x02\x1a")};
    struct dns_answer elsewhere = found(&b, 1);
    assert_int_equal(judge(SETUP_ALIAS, found(&a, 1), NULL), SETUP_RIGHT);
    assert_int_equal(judge(SETUP_ALIAS, elsewhere, "elsewhere"), SETUP_WRONG);
    elsewhere.canonical = facts.hostname;
    assert_int_equal(judge(SETUP_ALIAS, elsewhere, NULL), SETUP_RIGHT);
    assert_int_equal(judge(SETUP_ADDRESS, found(&b, 1), "elsewhere"), SETUP_WRONG);
    struct dns_record srv = {.port = 465, .name = STR("mail.example.test")};
    assert_int_equal(judge(SETUP_SRV, found(&srv, 1), NULL), SETUP_RIGHT);
    srv.port = 25;
    assert_int_equal(judge(SETUP_SRV, found(&srv, 1), "0 1 465"), SETUP_WRONG);
}

static void test_update(void **state)
{
    struct dns_update u;
    struct dns_record texts[] = {{.bytes = STR("v=spf1 -all")}, {.bytes = STR("other")}};
    struct dns_answer a = found(texts, 2), failed = {.status = DNS_FAILED};
    dns_update_begin(&u, 1, facts.domain);
    /* Others' texts at the apex stay, so what is there must be known. */
    assert_int_equal(setup_update_group(&u, record(SETUP_SPF), 1, &failed), ERR_UNAVAILABLE);
    OK(setup_update_group(&u, record(SETUP_SPF), 1, &a));
    assert_int_equal(u.updates, 2);
    OK(setup_update_group(&u, record(SETUP_TLSA), 2, NULL));
    assert_int_equal(u.updates, 5);
    /* An alias replaces another in one step, addresses in two. */
    const struct setup_record *alias = record(SETUP_ALIAS);
    struct dns_answer own = found(texts, 1), another = found(texts, 1);
    own.canonical = alias->name;
    another.canonical = STR("elsewhere.test");
    assert_true(setup_in_the_way(alias, &own));
    assert_false(setup_in_the_way(alias, &another));
    assert_false(setup_in_the_way(alias, &failed));
    OK(setup_update_group(&u, alias, 1, &another));
    assert_int_equal(u.updates, 6);
    OK(setup_update_clear(&u, alias));
    assert_int_equal(u.updates, 8);
    buf_free(&u.out);
    assert_true(setup_in_zone(STR("a.example.test"), STR("example.test")));
    assert_true(setup_in_zone(STR("example.test"), STR("example.test")));
    assert_false(setup_in_zone(STR("anexample.test"), STR("example.test")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zone), cmocka_unit_test(test_limits), cmocka_unit_test(test_answers),
        cmocka_unit_test(test_mx),   cmocka_unit_test(test_spf),    cmocka_unit_test(test_policies),
        cmocka_unit_test(test_tlsa), cmocka_unit_test(test_names),  cmocka_unit_test(test_update),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
