/* SPDX-License-Identifier: Apache-2.0
 *
 * check_host() on RFC 7208's examples (appendix A), on each limit, and on a matrix.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "core/spf.h"
#include "core/test_dns.h"

/* Appendix A, with the record under test added by the caller. */
#define APPENDIX_A                                                                                 \
    "example.com MX 10 mail-a.example.com\nexample.com MX 20 mail-b.example.com\n"                 \
    "example.com A 192.0.2.10\nexample.com A 192.0.2.11\n"                                         \
    "amy.example.com A 192.0.2.65\nbob.example.com A 192.0.2.66\n"                                 \
    "mail-a.example.com A 192.0.2.129\nmail-b.example.com A 192.0.2.130\n"                         \
    "www.example.com CNAME example.com\n"                                                          \
    "example.org MX 10 mail-c.example.org\nmail-c.example.org A 192.0.2.140\n"                     \
    "10.2.0.192.in-addr.arpa PTR example.com\n11.2.0.192.in-addr.arpa PTR example.com\n"           \
    "65.2.0.192.in-addr.arpa PTR amy.example.com\n66.2.0.192.in-addr.arpa PTR bob.example.com\n"   \
    "129.2.0.192.in-addr.arpa PTR mail-a.example.com\n"                                            \
    "130.2.0.192.in-addr.arpa PTR mail-b.example.com\n"                                            \
    "140.2.0.192.in-addr.arpa PTR mail-c.example.org\n"                                            \
    "4.0.0.10.in-addr.arpa PTR bob.example.com\n"

static struct spf_answer last; /* its words only with `words` */
static char words[512];

static enum spf_result check_as(const char *zone, const char *ip, const char *local,
                                const char *domain, const char *helo)
{
    struct test_dns t;
    ARENA_AUTO struct arena arena = ARENA_INIT(16 << 20);
    test_dns_open(&t, str_c(zone));
    struct spf_question q = {.helo = str_c(helo),
                             .sender = {str_c(local), str_c(domain)},
                             .receiver = STR("mx.receiver.test")};
    assert_true(address_parse(str_c(ip), &q.source));
    spf_check(&t.dns, &q, &arena, &last);
    snprintf(words, sizeof(words), "%.*s", STR_ARG(last.explanation));
    return last.result;
}

static enum spf_result check(const char *zone, const char *ip)
{
    return check_as(zone, ip, "strong-bad", "example.com", "mail.example.com");
}

#define IS(result, record, ip)                                                                     \
    assert_int_equal(check(APPENDIX_A "example.com TXT " record "\n", ip), SPF_RESULT_##result)

static void appendix_a1(void **state)
{
    IS(PASS, "v=spf1 +all", "203.0.113.9");
    IS(PASS, "v=spf1 a -all", "192.0.2.10");
    IS(PASS, "v=spf1 a -all", "192.0.2.11");
    IS(FAIL, "v=spf1 a -all", "192.0.2.12");
    IS(FAIL, "v=spf1 a:example.org -all", "192.0.2.140");
    IS(PASS, "v=spf1 mx -all", "192.0.2.129");
    IS(PASS, "v=spf1 mx -all", "192.0.2.130");
    IS(FAIL, "v=spf1 mx -all", "192.0.2.140");
    IS(PASS, "v=spf1 mx:example.org -all", "192.0.2.140");
    IS(PASS, "v=spf1 mx mx:example.org -all", "192.0.2.140");
    IS(PASS, "v=spf1 mx/30 mx:example.org/30 -all", "192.0.2.131");
    IS(PASS, "v=spf1 mx/30 mx:example.org/30 -all", "192.0.2.143");
    IS(FAIL, "v=spf1 mx/30 mx:example.org/30 -all", "192.0.2.132");
    IS(PASS, "v=spf1 ptr -all", "192.0.2.65");
    IS(FAIL, "v=spf1 ptr -all", "192.0.2.140");
    IS(FAIL, "v=spf1 ptr -all", "10.0.0.4");
    IS(FAIL, "v=spf1 ip4:192.0.2.128/28 -all", "192.0.2.65");
    IS(PASS, "v=spf1 ip4:192.0.2.128/28 -all", "192.0.2.129");
}

/* A.2 to A.4: several domains, per-user policies, a list of addresses. */
static void appendix_a2_to_a4(void **state)
{
    const char *zone = APPENDIX_A
        "example.org TXT v=spf1 include:example.com include:example.net -all\n"
        "example.com TXT v=spf1 mx -all\nexample.net TXT v=spf1 ip4:198.51.100.1 -all\n"
        "la.example.org TXT v=spf1 redirect=example.org\n"
        "user.example.org TXT v=spf1 mx:example.org include:mobile-users._spf.%{d} -all\n"
        "mobile-users._spf.user.example.org TXT v=spf1 exists:%{l1r+}.%{d}\n"
        "mary.mobile-users._spf.user.example.org A 127.0.0.2\n"
        "list.example.org TXT v=spf1 -exists:%{ir}.list.test ?all\n"
        "9.113.0.203.list.test A 127.0.0.2\n";
    assert_int_equal(check_as(zone, "192.0.2.129", "x", "example.org", "h"), SPF_RESULT_PASS);
    assert_int_equal(check_as(zone, "198.51.100.1", "x", "la.example.org", "h"), SPF_RESULT_PASS);
    assert_int_equal(check_as(zone, "198.51.100.2", "x", "la.example.org", "h"), SPF_RESULT_FAIL);
    assert_int_equal(check_as(zone, "203.0.113.1", "mary", "user.example.org", "h"),
                     SPF_RESULT_PASS);
    assert_int_equal(check_as(zone, "203.0.113.1", "mary+tag", "user.example.org", "h"),
                     SPF_RESULT_PASS); /* %{l1r+}: the reversed name's last part is "mary" */
    assert_int_equal(check_as(zone, "203.0.113.1", "fred", "user.example.org", "h"),
                     SPF_RESULT_FAIL);
    assert_int_equal(check_as(zone, "203.0.113.9", "x", "list.example.org", "h"), SPF_RESULT_FAIL);
    assert_int_equal(check_as(zone, "203.0.113.8", "x", "list.example.org", "h"),
                     SPF_RESULT_NEUTRAL);
}

static void records_and_errors(void **state)
{
    assert_int_equal(check("other.test TXT v=spf1 -all\n", "192.0.2.1"), SPF_RESULT_NONE);
    assert_int_equal(check("example.com TXT v=spf10 -all\n", "192.0.2.1"), SPF_RESULT_NONE);
    assert_int_equal(
        check("example.com TXT v=spf1 -all\nexample.com TXT v=spf1 +all\n", "192.0.2.1"),
        SPF_RESULT_PERMERROR);
    assert_int_equal(check("example.com FAIL\n", "192.0.2.1"), SPF_RESULT_TEMPERROR);
    assert_int_equal(check("example.com BOGUS\n", "192.0.2.1"), SPF_RESULT_TEMPERROR);
    IS(PERMERROR, "v=spf1 hello -all", "192.0.2.1");
    IS(NEUTRAL, "v=spf1", "192.0.2.1");
    IS(SOFTFAIL, "v=spf1 ~all", "192.0.2.1");
    IS(NEUTRAL, "v=spf1 ?all", "192.0.2.1");
    IS(FAIL, "V=SPF1 ip6:2001:db8::/32 -ALL", "192.0.2.1");
    IS(PASS, "v=spf1 ip6:2001:db8::/32 -all", "2001:db8::77");
    IS(PERMERROR, "v=spf1 include:nothing.test -all", "192.0.2.1");
    IS(PERMERROR, "v=spf1 redirect=nothing.test", "192.0.2.1");
    IS(FAIL, "v=spf1 a:%{d2}.%{h}.test -all", "192.0.2.1");
    /* An address without a host's name is nobody's (4.3). */
    assert_int_equal(check_as("localhost TXT v=spf1 +all\n", "192.0.2.1", "a", "localhost", "h.t"),
                     SPF_RESULT_NONE);
    assert_int_equal(check_as("a.b TXT v=spf1 +all\n", "192.0.2.1", "a", "[192.0.2.1]", "h.t"),
                     SPF_RESULT_NONE);
    /* The null sender: postmaster at HELO. */
    assert_int_equal(check_as("h.test TXT v=spf1 exists:%{l}.%{o}.ok.test -all\n"
                              "postmaster.h.test.ok.test A 127.0.0.1\n",
                              "192.0.2.1", "", "", "H.Test"),
                     SPF_RESULT_PASS);
    assert_true(last.helo);
}

/* RFC 7208 4.6.4. */
static void limits(void **state)
{
    IS(FAIL, "v=spf1 a a a a a a a a a a -all", "192.0.2.1");
    IS(PERMERROR, "v=spf1 a a a a a a a a a a a -all", "192.0.2.1");
    IS(PASS, "v=spf1 a:amy.example.com a a a a a a a a a a a -all", "192.0.2.65");
    IS(PERMERROR, "v=spf1 include:example.com -all", "192.0.2.1"); /* itself, for ever */
    IS(PERMERROR, "v=spf1 redirect=example.com", "192.0.2.1");
    IS(FAIL, "v=spf1 a:x.test a:y.test -all", "192.0.2.1");
    IS(PERMERROR, "v=spf1 a:x.test a:y.test a:z.test -all", "192.0.2.1");
    IS(TEMPERROR, "v=spf1 a:down.test -all\ndown.test FAIL", "192.0.2.1");
    IS(PASS, "v=spf1 ip4:192.0.2.1 a:down.test -all\ndown.test FAIL", "192.0.2.1");
    BUF_AUTO struct buf zone = BUF_INIT(65536);
    buf_add_c(&zone, "example.com TXT v=spf1 mx ptr:z.test -all\n");
    for (int i = 0; i < 10; i++)
        buf_addf(&zone,
                 "example.com MX %d m%d.test\nm%d.test A 192.0.2.%d\n"
                 "200.2.0.192.in-addr.arpa PTR p%d.z.test\np%d.z.test A 192.0.2.150\n",
                 i, i, i, i, i, i);
    buf_add_c(&zone, "p9.z.test A 192.0.2.200\n");
    buf_add_char(&zone, 0);
    assert_int_equal(check(zone.data, "192.0.2.9"), SPF_RESULT_PASS);
    assert_int_equal(check(zone.data, "192.0.2.200"), SPF_RESULT_PASS);
    buf_truncate(&zone, zone.len - 1);
    buf_addf(&zone, "example.com MX 10 m10.test\n%c", 0);
    assert_int_equal(check(zone.data, "192.0.2.9"), SPF_RESULT_PERMERROR);
}

static void explanations(void **state)
{
    IS(FAIL,
       "v=spf1 -all exp=why.%{d}\n"
       "why.example.com TXT %{i} may not send for %{o}%{_}: see https://%{d}/?u=%{L}&by=%{r}",
       "192.0.2.1");
    assert_string_equal(words, "");
    IS(FAIL,
       "v=spf1 -all exp=why.%{d}\n"
       "why.example.com TXT %{i} may not send for %{o}%_: see https://%{d}/?u=%{L}&by=%{r}",
       "192.0.2.1");
    assert_string_equal(words, "192.0.2.1 may not send for example.com : see "
                               "https://example.com/?u=strong-bad&by=mx.receiver.test");
    /* That of the redirection counts, that of an included record does not (6.2). */
    IS(FAIL,
       "v=spf1 exp=a.test redirect=r.test\nr.test TXT v=spf1 -all exp=b.test\na.test TXT A\n"
       "b.test TXT B",
       "192.0.2.1");
    assert_string_equal(words, "B");
    IS(FAIL, "v=spf1 include:i.test -all\ni.test TXT v=spf1 -all exp=b.test\nb.test TXT B",
       "192.0.2.1");
    assert_string_equal(words, "");
}

/* Every mechanism, qualifier and family: what matches gives the qualifier's result, what does not
 * goes on to the next. */
static void matrix(void **state)
{
    static const struct {
        const char *term, *hit4, *hit6;
    } rows[] = {
        {"a:h.test", "192.0.2.1", "2001:db8::1"},
        {"a:h.test/24//64", "192.0.2.77", "2001:db8::ffff"},
        {"mx:m.test", "192.0.2.1", "2001:db8::1"},
        {"mx:m.test/31//127", "192.0.2.0", "2001:db8::"},
        {"ip4:192.0.2.0/24", "192.0.2.9", NULL},
        {"ip6:2001:db8::/64", NULL, "2001:db8::9"},
        {"ptr:h.test", "192.0.2.1", "2001:db8::1"},
        {"exists:h.test", "192.0.2.99", "2001:db8:1::1"},
        {"exists:%{v}.%{ir}.ok.test", "192.0.2.1", NULL},
        {"include:ok.example", "192.0.2.1", "2001:db8::1"},
        {"all", "203.0.113.1", "2001:db8:ffff::"},
    };
    static const char *const qualifiers[] = {"", "+", "-", "~", "?"};
    static const enum spf_result results[] = {SPF_RESULT_PASS, SPF_RESULT_PASS, SPF_RESULT_FAIL,
                                              SPF_RESULT_SOFTFAIL, SPF_RESULT_NEUTRAL};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (size_t q = 0; q < ARRAY_LEN(qualifiers); q++) {
            BUF_AUTO struct buf zone = BUF_INIT(65536);
            buf_addf(&zone,
                     "h.test A 192.0.2.1\nh.test AAAA 2001:db8::1\nm.test MX 10 h.test\n"
                     "1.2.0.192.in-addr.arpa PTR h.test\n"
                     "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa "
                     "PTR h.test\nin-addr.1.2.0.192.ok.test A 127.0.0.2\n"
                     "ok.example TXT v=spf1 ip4:192.0.2.1 ip6:2001:db8::1 -all\n"
                     "example.com TXT v=spf1 %s%s %call\n%c",
                     qualifiers[q], rows[i].term, results[q] == SPF_RESULT_FAIL ? '+' : '-', 0);
            enum spf_result other =
                results[q] == SPF_RESULT_FAIL ? SPF_RESULT_PASS : SPF_RESULT_FAIL;
            bool all =
                strcmp(rows[i].term, "all") == 0 || strcmp(rows[i].term, "exists:h.test") == 0;
            if (rows[i].hit4)
                assert_int_equal(check(zone.data, rows[i].hit4), results[q]);
            if (rows[i].hit6)
                assert_int_equal(check(zone.data, rows[i].hit6), results[q]);
            assert_int_equal(check(zone.data, "198.51.100.7"), all ? results[q] : other);
            assert_int_equal(check(zone.data, "2001:db8:5::7"), all ? results[q] : other);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appendix_a1),        cmocka_unit_test(appendix_a2_to_a4),
        cmocka_unit_test(records_and_errors), cmocka_unit_test(limits),
        cmocka_unit_test(explanations),       cmocka_unit_test(matrix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
