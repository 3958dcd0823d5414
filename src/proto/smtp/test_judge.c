/* SPDX-License-Identifier: Apache-2.0
 *
 * Sessions on the port for servers, from a stranger's address, with a table of records as the DNS
 * and a house that keeps what it is given.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/greylist.h"
#include "core/test_dns.h"
#include "proto/smtp/test_session.h"

static struct {
    unsigned deliveries;
    uint8_t hints[4];
    char trace[65536], content[65536];
} got;

static enum err house_recipient(void *ctx, const struct recipient_check *c,
                                struct recipient_verdict *out)
{
    *out = (struct recipient_verdict){.local = true};
    return ERR_OK;
}

static struct {
    uint32_t wait_s;
    enum err error;
    unsigned asked;
} grey;

static enum err house_greylist(void *ctx, const struct greylist_question *q, uint32_t *wait_s)
{
    assert_true(str_eq(q->sender, STR("a@author.test")) && q->source.family == 4);
    grey.asked++;
    *wait_s = grey.wait_s;
    return grey.error;
}

static unsigned observed;

static void house_observe(void *ctx, str note) { observed++; }

static enum err delivery;

static enum err house_deliver(void *ctx, uint32_t home, const struct envelope *e,
                              struct deliver_result *out)
{
    size_t n = e->size < sizeof(got.content) - 1 ? e->size : sizeof(got.content) - 1;
    got.deliveries++;
    snprintf(got.trace, sizeof(got.trace), "%.*s", STR_ARG(e->trace));
    assert_true(e->fd < 0 && e->content.len == e->size); /* what these tests send is small */
    memcpy(got.content, e->content.data, n);
    got.content[n] = 0;
    for (size_t i = 0; i < e->nrecipients; i++) {
        out->recipients[i] = delivery;
        if (i < ARRAY_LEN(got.hints))
            got.hints[i] = e->recipients[i].junk;
    }
    return ERR_OK;
}

struct talk {
    const char *zone, *says;
    struct test_session session;
    bool slow;
    struct test_dns dns;
};

/* As slow as the DNS of somebody whose servers are gone. */
static enum err never_answers(void *ctx, str name, enum dns_type type, struct arena *arena,
                              struct dns_answer *out)
{
    return wait_until(deadline_in_ms(60000));
}

static void run(struct talk *t)
{
    struct house house = {.recipient_check = house_recipient,
                          .deliver = house_deliver,
                          .greylist = house_greylist,
                          .observe = house_observe};
    struct dns never = {.query = never_answers};
    memset(&got, 0, sizeof(got));
    test_dns_open(&t->dns, str_c(t->zone));
    t->session.listener = (struct smtp_listener){
        .kind = SMTP_MX, .house = &house, .dns = t->slow ? &never : &t->dns.dns};
    test_session_run(&t->session, t->says);
}

#define SESSION(content)                                                                           \
    "EHLO client.test\r\nMAIL FROM:<a@author.test>\r\nRCPT TO:<one@here.test>\r\n"                 \
    "RCPT TO:<two@soft.test>\r\nDATA\r\n" content "\r\n.\r\nQUIT\r\n"
#define CONTENT "From: a@author.test\r\nSubject: x\r\n\r\nhello"
#define REJECTING                                                                                  \
    "_dmarc.author.test TXT v=DMARC1; p=reject\nauthor.test TXT v=spf1 ip4:198.51.100.1 -all\n"

static struct talk talk_of(const char *zone, const char *peer, const char *says)
{
    return (struct talk){.zone = zone,
                         .says = says,
                         .session.peer = peer,
                         .session.policy = {.verify = true,
                                            .deadline_ms = 5000,
                                            .on_reject = MAIL_REJECT,
                                            .on_quarantine = MAIL_QUARANTINE,
                                            .blocklist_threshold = 1,
                                            .blocklist_deadline_ms = 5000}};
}

static void results_are_added(void **state)
{
    struct talk t = talk_of(REJECTING, "198.51.100.1", SESSION(CONTENT));
    run(&t);
    assert_int_equal(got.deliveries, 1);
    HAS(got.trace,
        "Authentication-Results: mx.here.test;\r\n\tspf=pass smtp.mailfrom=a@author.test");
    HAS(got.trace, "dmarc=pass header.from=author.test");
    assert_true(strncmp(got.trace, "Authentication-Results:", 23) == 0);
    HAS(got.trace, "\r\nReceived: ");
    assert_string_equal(got.content, CONTENT "\r\n");
    assert_int_equal(got.hints[0], 0);
}

static void what_is_asked_to_be_rejected_is(void **state)
{
    struct talk t = talk_of(REJECTING, "203.0.113.5", SESSION(CONTENT));
    run(&t);
    assert_int_equal(got.deliveries, 0);
    HAS(t.session.heard,
        "\r\n550 5.7.26 Not authenticated, and author.test asks to reject (DMARC)\r\n");
    t = talk_of(REJECTING "author.test FAIL\n", "203.0.113.5", SESSION(CONTENT));
    run(&t);
    assert_int_equal(got.deliveries, 0);
    HAS(t.session.heard, "\r\n451 4.7.0 DNS of author.test does not answer, try again later\r\n");
}

static void a_domain_may_be_milder(void **state)
{
    static const struct smtp_domain_policy soft[] = {{STR_INIT("soft.test"), MAIL_ACCEPT}};
    struct talk t = talk_of(REJECTING, "203.0.113.5", SESSION(CONTENT));
    t.session.policy.domains = soft;
    t.session.policy.ndomains = 1;
    run(&t);
    assert_int_equal(got.deliveries, 1);
    assert_int_equal(got.hints[0], 1); /* Junk, as not all could be refused */
    assert_int_equal(got.hints[1], 0);
    t = talk_of("_dmarc.author.test TXT v=DMARC1; p=quarantine\n", "203.0.113.5", SESSION(CONTENT));
    run(&t);
    assert_int_equal(got.hints[0], 1);
    t.session.policy.on_quarantine = MAIL_ACCEPT;
    run(&t);
    assert_int_equal(got.hints[0], 0);
    HAS(got.trace, "dmarc=fail");
    t = talk_of("author.test TXT v=spf1 -all\n", "203.0.113.5", SESSION(CONTENT));
    t.session.policy.on_spf_fail = MAIL_REJECT;
    run(&t);
    HAS(t.session.heard, "\r\n550 5.7.23 ");
}

static void forged_results_do_not_arrive(void **state)
{
    struct talk t =
        talk_of("", "203.0.113.5",
                SESSION("Authentication-Results: mx.here.test; dkim=pass\r\n"
                        "Authentication-Results: mx.other.test; dkim=pass\r\n" CONTENT));
    run(&t);
    assert_string_equal(got.content,
                        "Authentication-Results: mx.other.test; dkim=pass\r\n" CONTENT "\r\n");
    HAS(got.trace, "dkim=none");
    t.session.policy.verify = false;
    run(&t);
    assert_null(strstr(got.content, "mx.here.test"));
    assert_null(strstr(got.trace, "Authentication-Results"));
}

static struct dnsbl_site site(const char *text, bool allows)
{
    struct dnsbl_site s;
    assert_true(dnsbl_site_parse(str_c(text), &s));
    s.allows = allows;
    return s;
}

static void a_dead_resolver_holds_nobody(void **state)
{
    struct talk t = talk_of("", "203.0.113.5", SESSION(CONTENT));
    const struct dnsbl_site lists[] = {site("list.test", false)};
    t.slow = true;
    t.session.policy.deadline_ms = 300;
    t.session.policy.blocklists = lists;
    t.session.policy.nblocklists = 1;
    t.session.policy.blocklist_deadline_ms = 200;
    uint64_t begun = clock_mono_ms();
    run(&t);
    assert_true(clock_mono_ms() - begun < 4000);
    assert_int_equal(got.deliveries, 1);
    HAS(got.trace, "spf=temperror");
    HAS(got.trace, "dmarc=temperror");
    t.session.policy.defer_temporary = true;
    run(&t);
    assert_int_equal(got.deliveries, 0);
    HAS(t.session.heard, "\r\n451 4.7.0 ");
    /* The client goes in the middle: nothing stays behind. */
    t.says =
        "EHLO c.test\r\nMAIL FROM:<a@author.test>\r\nRCPT TO:<one@here.test>\r\nBDAT 5\r\nhello"
        "RSET\r\nQUIT\r\n";
    run(&t);
    assert_int_equal(got.deliveries, 0);
}

static void listed_sources(void **state)
{
    const struct dnsbl_site lists[] = {site("a.test", false), site("b.test", false)};
    const char *zone = "5.113.0.203.b.test A 127.0.0.2\n6.113.0.203.b.test A 127.255.255.254\n";
    struct talk t = talk_of(zone, "203.0.113.5", SESSION(CONTENT));
    t.session.policy.blocklists = lists;
    t.session.policy.nblocklists = 2;
    run(&t);
    assert_int_equal(got.deliveries, 0);
    HAS(t.session.heard, "550 5.7.1 203.0.113.5 is listed by b.test\r\n");
    t.session.policy.blocklist_tags = true;
    run(&t);
    assert_int_equal(got.deliveries, 1);
    assert_int_equal(got.hints[0], 1);
    t.session.peer = "203.0.113.6"; /* the list says that it does not answer us */
    run(&t);
    assert_int_equal(got.hints[0], 0);
    t.session.peer = "203.0.113.7";
    run(&t);
    assert_int_equal(got.hints[0], 0);
}

static void lists_weigh_and_say_why(void **state)
{
    const struct dnsbl_site lists[] = {site("a.test=127.0.0.[2..4]*2", false),
                                       site("b.test=127.0.0.&4", false), site("ok.test", true)};
    const char *zone = "5.113.0.203.a.test A 127.0.0.4\n"
                       "5.113.0.203.a.test TXT see http://a.test/5\n"
                       "5.113.0.203.b.test A 127.0.0.6\n5.113.0.203.b.test TXT later\n"
                       "6.113.0.203.a.test A 127.0.0.10\n6.113.0.203.b.test A 127.0.0.4\n"
                       "7.113.0.203.a.test A 127.0.0.2\n7.113.0.203.b.test A 127.0.0.4\n"
                       "7.113.0.203.ok.test A 127.0.0.1\n";
    struct talk t = talk_of(zone, "203.0.113.5", SESSION(CONTENT));
    t.session.policy.blocklists = lists;
    t.session.policy.nblocklists = 3;
    t.session.policy.blocklist_threshold = 3;
    run(&t);
    HAS(t.session.heard, "550 5.7.1 203.0.113.5 is listed by a.test: see http://a.test/5\r\n");
    t.session.peer = "203.0.113.6"; /* an answer that does not count, and one that is not enough */
    run(&t);
    assert_int_equal(got.deliveries, 1);
    assert_int_equal(got.hints[0], 0);
    t.session.peer = "203.0.113.7"; /* an allow list knows it */
    run(&t);
    assert_int_equal(got.deliveries, 1);
    struct smtp_network exempt = {.bits = 29};
    assert_true(address_parse(STR("203.0.113.0"), &exempt.address));
    t.session.policy.blocklist_exempt = &exempt;
    t.session.policy.nblocklist_exempt = 1;
    t.session.peer = "203.0.113.5";
    run(&t);
    assert_int_equal(got.deliveries, 1);
}

static unsigned greylisted(struct talk *t, uint32_t wait_s, enum err error)
{
    grey.wait_s = wait_s;
    grey.error = error;
    grey.asked = 0;
    run(t);
    return grey.asked;
}

static void strangers_are_greylisted(void **state)
{
    const struct dnsbl_site lists[] = {site("ok.test", true)};
    const char *zone = "author.test TXT v=spf1 ip4:198.51.100.1 -all\n"
                       "6.113.0.203.ok.test A 127.0.0.2\n";
    struct talk t = talk_of(zone, "203.0.113.5", SESSION(CONTENT));
    assert_int_equal(greylisted(&t, 60, ERR_OK), 0); /* off by default */
    t.session.policy.greylist.enabled = true;
    assert_int_equal(greylisted(&t, 60, ERR_OK), 2);
    assert_int_equal(got.deliveries, 0);
    HAS(t.session.heard,
        "451 4.7.1 Greylisted: not seen before, please try again in 60 seconds\r\n");
    assert_int_equal(greylisted(&t, 0, ERR_OK), 2);
    assert_int_equal(got.deliveries, 1);
    /* A fault on our side keeps no mail out. rule: accept-3 */
    assert_int_equal(greylisted(&t, 60, ERR_UNAVAILABLE), 2);
    assert_int_equal(got.deliveries, 1);
    t.session.peer = "198.51.100.1"; /* SPF pass counts only when it is set so */
    assert_int_equal(greylisted(&t, 60, ERR_OK), 2);
    t.session.policy.greylist.spf_pass = true;
    assert_int_equal(greylisted(&t, 60, ERR_OK), 0);
    t.session.peer = "203.0.113.6";
    assert_int_equal(greylisted(&t, 60, ERR_OK), 2);
    t.session.policy.blocklists = lists;
    t.session.policy.nblocklists = 1;
    assert_int_equal(greylisted(&t, 60, ERR_OK), 0);
    t.session.peer = "203.0.113.5";
    static const str soft[] = {STR_INIT("soft.test"), STR_INIT("one@here.test")};
    t.session.policy.greylist.recipients = soft;
    t.session.policy.greylist.nrecipients = 1;
    assert_int_equal(greylisted(&t, 60, ERR_OK), 1);
    assert_int_equal(got.deliveries, 1); /* to those who need not wait */
    t.session.policy.greylist.nrecipients = 2;
    assert_int_equal(greylisted(&t, 60, ERR_OK), 0);
}

static void what_comes_again_is_counted_once(void **state)
{
    const char *zone = "_dmarc.author.test TXT v=DMARC1; p=none; rua=mailto:d@author.test\n";
    static const struct {
        enum err delivery;
        unsigned counted;
    } rows[] = {{ERR_OK, 1}, {ERR_UNAVAILABLE, 0}, {ERR_QUOTA, 0}, {ERR_NO_USER, 1}};
    struct talk t = talk_of(zone, "203.0.113.5", SESSION(CONTENT));
    t.session.policy.observe = true;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        observed = 0;
        delivery = rows[i].delivery;
        run(&t);
        assert_int_equal(got.deliveries, 1);
        assert_int_equal(observed, rows[i].counted);
    }
    delivery = ERR_OK;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_are_added),
        cmocka_unit_test(what_is_asked_to_be_rejected_is),
        cmocka_unit_test(a_domain_may_be_milder),
        cmocka_unit_test(forged_results_do_not_arrive),
        cmocka_unit_test(a_dead_resolver_holds_nobody),
        cmocka_unit_test(listed_sources),
        cmocka_unit_test(lists_weigh_and_say_why),
        cmocka_unit_test(strangers_are_greylisted),
        cmocka_unit_test(what_comes_again_is_counted_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
