/* SPDX-License-Identifier: Apache-2.0
 *
 * Attempts against servers that misbehave in every way we know: what each recipient is told, and
 * that nothing hangs past its deadline.
 * rule: wire-5, proc-3
 */
#include "proto/relay/test_far_server.h"

/* ---- delivered ---- */

static void test_a_plain_delivery(void **state)
{
    usual_dns(false);
    SCRIPT(0, TO_DATA, "<.", ">250 2.0.0 queued", "<QUIT", ">221 bye");
    run();
    expect(0, RELAY_DELIVERED_NO_DSN, 250, "2.0.0");
    assert_string_equal(world.data, "Subject: x\n\n..dot\nbody\n");
    assert_true(str_eq(world.report.verdicts[0].text, STR("queued")));
    assert_true(str_eq(world.report.verdicts[0].host, STR("mx.example.net [127.0.0.1]")));
    assert_true(world.report.connected && str_empty(world.report.tls));
}

static void test_parameters_as_offered(void **state)
{
    usual_dns(false);
    world.body = 1;
    SCRIPT(0, HELLO, ">250-x", ">250-DSN", ">250-PIPELINING", ">250-8BITMIME", ">250 SIZE",
           "<MAIL FROM:<from@example.org> SIZE=26 BODY=8BITMIME ENVID=id+2B1",
           "<RCPT TO:<a@example.net> NOTIFY=FAILURE,DELAY ORCPT=rfc822;a+3Db@example.net",
           "!raw 250 ok\r\n250 o", "!raw k\r\n", "<DATA", ">354 go", "<.", ">250 done");
    run();
    expect(0, RELAY_DELIVERED, 250, "2.0.0");
}

static void test_helo_where_ehlo_is_unknown(void **state)
{
    usual_dns(false);
    SCRIPT(0, HELLO, ">502 what?", "<HELO mail.example.org", ">250 hello",
           "<MAIL FROM:<from@example.org>", ">250 ok", "<RCPT", ">250 ok", "<DATA", ">354 go", "<.",
           ">250 ok");
    run();
    expect(0, RELAY_DELIVERED_NO_DSN, 250, "2.0.0");
}

static void test_each_recipient_has_its_own_verdict(void **state)
{
    usual_dns(false);
    world.recipients[1] = "b@example.net";
    world.recipients[2] = "c@example.net";
    world.nrecipients = 3;
    SCRIPT(0, HELLO, ">250-x", ">250 PIPELINING", "<MAIL", "<RCPT", "<RCPT", "<RCPT", ">250 ok",
           ">550-5.1.1 no such", ">550 5.1.1 user", ">451 4.2.1 later", ">250 ok", "<DATA",
           ">354 go", "<.", ">250 taken");
    run();
    expect(0, RELAY_PERMANENT, 550, "5.1.1");
    assert_true(str_eq(world.report.verdicts[0].text, STR("no such\nuser")));
    expect(1, RELAY_TEMPORARY, 451, "4.2.1");
    expect(2, RELAY_DELIVERED_NO_DSN, 250, "2.0.0");
}

static void test_many_recipients_go_in_groups(void **state)
{
    usual_dns(false);
    static char names[150][32];
    for (size_t i = 0; i < 3; i++) {
        snprintf(names[i], sizeof(names[i]), "u%zu@example.net", i);
        world.recipients[i] = names[i];
    }
    world.nrecipients = 3;
    SCRIPT(0, PLAIN, "<MAIL", ">250 ok", "<RCPT TO:<u0@", ">250 ok", "<RCPT TO:<u1@",
           ">452 4.5.3 too many", "<RCPT TO:<u2@", ">250 ok", "<DATA", ">354 go", "<.", ">250 one",
           "<MAIL", ">250 ok", "<RCPT TO:<u1@", ">250 ok", "<DATA", ">354 go", "<.", ">250 two");
    run();
    for (size_t i = 0; i < 3; i++)
        expect(i, RELAY_DELIVERED_NO_DSN, 250, "2.0.0");
    assert_int_equal(world.connections, 1);
}

static void test_a_connection_is_kept_for_the_next_message(void **state)
{
    usual_dns(false);
    world.attempts = 2;
    world.idle_ms = 5000;
    SCRIPT(0, TO_DATA, "<.", ">250 one", "<MAIL", ">250 ok", "<RCPT", ">250 ok", "<DATA", ">354 go",
           "<.", ">250 two");
    run();
    expect(0, RELAY_DELIVERED_NO_DSN, 250, "2.0.0");
    assert_true(str_eq(world.report.verdicts[0].text, STR("two")));
    assert_int_equal(world.connections, 1);
}

static void test_a_kept_connection_that_died_is_replaced(void **state)
{
    usual_dns(false);
    world.attempts = 2;
    world.idle_ms = 5000;
    SCRIPT(0, TO_DATA, "<.", ">250 one", "<MAIL", ">421 4.4.2 bye", "!close");
    SCRIPT(1, TO_DATA, "<.", ">250 two");
    run();
    assert_true(str_eq(world.report.verdicts[0].text, STR("two")));
    assert_int_equal(world.connections, 2);
}

static void test_lmtp_answers_for_each(void **state)
{
    world.route = (struct relay_route){.kind = RELAY_LMTP, .host = STR("[127.0.0.1]")};
    world.recipients[1] = "b@example.net";
    world.nrecipients = 2;
    SCRIPT(0, ">220 hi", "<LHLO", ">250-x", ">250 PIPELINING", "<MAIL", "<RCPT", "<RCPT", ">250 ok",
           ">250 ok", ">250 ok", "<DATA", ">354 go", "<.", ">250 2.0.0 in", ">452 4.2.2 full");
    run();
    expect(0, RELAY_DELIVERED_NO_DSN, 250, "2.0.0");
    expect(1, RELAY_TEMPORARY, 452, "4.2.2");
}

/* ---- refused and broken ---- */

struct fault_case {
    const char *name, *steps[16];
    enum relay_outcome outcome;
    int code;
    const char *enhanced;
};
#define UNTIL_MAIL ">220 hi", "<EHLO", ">250 x", "<MAIL"
#define UNTIL_RCPT UNTIL_MAIL, ">250 ok", "<RCPT"
#define UNTIL_DATA UNTIL_RCPT, ">250 ok", "<DATA"
static const struct fault_case faults[] = {
    {"closes at once", {"!close"}, RELAY_TEMPORARY, 0, "4.4.2"},
    {"never greets", {"!hang"}, RELAY_TEMPORARY, 0, "4.4.2"},
    {"greets with 554", {">554 5.7.1 no"}, RELAY_TEMPORARY, 554, "4.4.2"},
    {"greets with 421", {">421 4.3.2 busy", "!close"}, RELAY_TEMPORARY, 421, "4.4.2"},
    {"speaks HTTP", {">HTTP/1.1 400 Bad Request"}, RELAY_TEMPORARY, 0, "4.4.2"},
    {"drips its greeting", {"!drip"}, RELAY_TEMPORARY, 0, "4.4.2"},
    {"greets without end", {"!endless"}, RELAY_TEMPORARY, 0, "4.4.2"},
    {"mixes codes", {"!raw 220-a\r\n250 b\r\n"}, RELAY_TEMPORARY, 0, "4.4.2"},
    {"closes after EHLO", {">220 hi", "<EHLO", "!close"}, RELAY_TEMPORARY, 0, "4.4.2"},
    {"drips EHLO", {">220 hi", "<EHLO", "!drip"}, RELAY_TEMPORARY, 0, "4.4.2"},
    {"refuses MAIL for now", {UNTIL_MAIL, ">451 4.7.1 later"}, RELAY_TEMPORARY, 451, "4.7.1"},
    {"refuses MAIL", {UNTIL_MAIL, ">550 go away"}, RELAY_PERMANENT, 550, "5.0.0"},
    {"closes after MAIL", {UNTIL_MAIL, "!close"}, RELAY_TEMPORARY, 0, "4.4.2"},
    {"answers MAIL with 354", {UNTIL_MAIL, ">354 what"}, RELAY_TEMPORARY, 354, "4.0.0"},
    {"refuses RCPT",
     {UNTIL_RCPT, ">550 5.1.1 nobody", "<RSET", ">250 ok"},
     RELAY_PERMANENT,
     550,
     "5.1.1"},
    {"closes after RCPT", {UNTIL_RCPT, "!close"}, RELAY_TEMPORARY, 0, "4.4.2"},
    {"shuts down at RCPT",
     {UNTIL_RCPT, ">421 4.3.2 down", "!close"},
     RELAY_TEMPORARY,
     421,
     "4.4.2"},
    {"refuses DATA for now",
     {UNTIL_DATA, ">451 4.3.0 no", "<RSET", ">250 ok"},
     RELAY_TEMPORARY,
     451,
     "4.3.0"},
    {"refuses DATA",
     {UNTIL_DATA, ">554 5.5.1 no", "<RSET", ">250 ok"},
     RELAY_PERMANENT,
     554,
     "5.5.1"},
    {"takes DATA too early", {UNTIL_DATA, ">250 thanks"}, RELAY_TEMPORARY, 0, "4.5.0"},
    {"closes after DATA", {UNTIL_DATA, "!close"}, RELAY_TEMPORARY, 0, "4.4.2"},
    {"refuses the content",
     {UNTIL_DATA, ">354 go", "<.", ">554 5.7.1 spam"},
     RELAY_PERMANENT,
     554,
     "5.7.1"},
    {"defers the content",
     {UNTIL_DATA, ">354 go", "<.", ">450 4.7.1 grey"},
     RELAY_TEMPORARY,
     450,
     "4.7.1"},
    {"loses the final reply", {UNTIL_DATA, ">354 go", "<.", "!close"}, RELAY_TEMPORARY, 0, "4.4.2"},
    {"never gives the final reply",
     {UNTIL_DATA, ">354 go", "<.", "!hang"},
     RELAY_TEMPORARY,
     0,
     "4.4.2"},
    {"drips the final reply", {UNTIL_DATA, ">354 go", "<.", "!drip"}, RELAY_TEMPORARY, 0, "4.4.2"},
    {"gives endless final replies",
     {UNTIL_DATA, ">354 go", "<.", "!endless"},
     RELAY_TEMPORARY,
     0,
     "4.4.2"},
};

static void test_every_fault_has_its_verdict_and_its_deadline(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
        reset(NULL);
        usual_dns(false);
        for (size_t k = 0; k < SCRIPTS; k++)
            memcpy(world.scripts[k], faults[i].steps, sizeof(faults[i].steps));
        run();
        const struct relay_verdict *v = &world.report.verdicts[0];
        if (v->outcome != faults[i].outcome || v->code != faults[i].code ||
            !str_eq(v->enhanced, str_c(faults[i].enhanced)))
            fail_msg("%s: outcome %d code %d %.*s \"%.*s\"", faults[i].name, v->outcome, v->code,
                     STR_ARG(v->enhanced), STR_ARG(v->text));
    }
}

/* The next host gets what the first could not take. */
static void test_a_dead_host_is_passed_over(void **state)
{
    two_hosts("bad.example.net", false);
    SCRIPT(0, ">220 hi", "<EHLO", ">250 x", "<MAIL", "!close");
    SCRIPT(1, TO_DATA, "<.", ">250 ok");
    run();
    expect(0, RELAY_DELIVERED_NO_DSN, 250, "2.0.0");
    assert_int_equal(world.connections, 2);
}

static void test_an_attempt_has_its_number_of_hosts(void **state)
{
    two_hosts("bad.example.net", false);
    world.hosts_max = 1;
    SCRIPT(0, ">220 hi", "<EHLO", ">250 x", "<MAIL", "!close");
    run();
    expect(0, RELAY_TEMPORARY, 0, "4.4.2");
    assert_int_equal(world.connections, 1);
}

static void test_a_doubtful_delivery_is_not_tried_at_the_next_host(void **state)
{
    two_hosts("mx.example.net", false);
    SCRIPT(0, TO_DATA, "<.", "!close");
    SCRIPT(1, TO_DATA, "<.", ">250 twice");
    run();
    expect(0, RELAY_TEMPORARY, 0, "4.4.2");
    assert_int_equal(world.connections, 1);
}

/* ---- routing ---- */

static void test_domains_that_take_no_mail(void **state)
{
    has("example.net", DNS_MX, false, (struct dns_record){.name = STR("")});
    run();
    expect(0, RELAY_PERMANENT, 0, "5.1.10");
    reset(NULL);
    run();
    expect(0, RELAY_PERMANENT, 0, "5.1.2");
    reset(NULL);
    is("example.net", DNS_MX, DNS_BOGUS);
    run();
    expect(0, RELAY_TEMPORARY, 0, "4.4.3");
    reset(NULL);
    has("example.net", DNS_MX, false,
        (struct dns_record){.preference = 5, .name = STR("mail.example.org")});
    run();
    expect(0, RELAY_PERMANENT, 0, "5.4.6");
    assert_int_equal(world.connections, 0);
}

static void test_the_domain_stands_in_for_its_mx(void **state)
{
    has("example.net", DNS_A, false, (struct dns_record){.bytes = STR("\x7f\0\0\1")});
    SCRIPT(0, TO_DATA, "<.", ">250 ok");
    run();
    expect(0, RELAY_DELIVERED_NO_DSN, 250, "2.0.0");
}

/* ---- TLS ---- */

#define OFFER HELLO, ">250-x", ">250-STARTTLS", ">250 REQUIRETLS", "<STARTTLS", ">220 go", "!tls"
#define SECURED                                                                                    \
    OFFER, "<EHLO", ">250-x", ">250 REQUIRETLS", "<MAIL", ">250 ok", "<RCPT", ">250 ok", "<DATA",  \
        ">354 go", "<.", ">250 ok"

static void key_digest(uint8_t out[32])
{
    BIO *b = BIO_new_mem_buf(cert.data, (int)cert.len);
    X509 *x = PEM_read_bio_X509(b, NULL, NULL, NULL);
    uint8_t *der = NULL;
    int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der);
    EVP_Digest(der, (size_t)len, out, NULL, EVP_sha256(), NULL);
    OPENSSL_free(der);
    X509_free(x);
    BIO_free(b);
}

static void dane_record(bool right, uint8_t digest[32])
{
    key_digest(digest);
    digest[0] ^= right ? 0 : 1;
    static char name[64];
    static struct dns_record r;
    r = (struct dns_record){.usage = 3, .selector = 1, .matching = 1, .bytes = str_of(digest, 32)};
    snprintf(name, sizeof(name), "tlsa");
    has(name, DNS_TLSA, true, r);
}

static void dane_dns(bool right, uint8_t digest[32])
{
    usual_dns(true);
    dane_record(right, digest);
}

/* What goes into a TLS report of this attempt. */
static void noted(const char *policy, const char *failure)
{
    struct report_tls_note n;
    assert_int_equal(world.report.nnotes, 1);
    OK(report_tls_take(world.report.notes[0], &world.arena, &n));
    assert_true(str_eq(n.policy_type, str_c(policy)) && str_eq(n.failure.type, str_c(failure)));
}

static void test_tls_where_it_is_offered(void **state)
{
    usual_dns(false);
    SCRIPT(0, SECURED);
    run();
    expect(0, RELAY_DELIVERED_NO_DSN, 250, "2.0.0");
    assert_true(str_eq(world.report.tls, STR("TLSv1.3 not verified")));
    noted("no-policy-found", "");
}

static void test_tls_that_fails_is_done_without_where_it_is_only_offered(void **state)
{
    usual_dns(false);
    SCRIPT(0, HELLO, ">250-x", ">250 STARTTLS", "<STARTTLS", ">220 go",
           "!raw no tls here at all\r\n");
    SCRIPT(1, HELLO, ">250-x", ">250 STARTTLS", "<MAIL", ">250 ok", "<RCPT", ">250 ok", "<DATA",
           ">354 go", "<.", ">250 ok");
    run();
    expect(0, RELAY_DELIVERED_NO_DSN, 250, "2.0.0");
    assert_true(str_empty(world.report.tls));
    noted("no-policy-found", "validation-failure");
}

/* rule: wire-2 */
static void test_what_was_injected_before_tls_is_not_believed(void **state)
{
    usual_dns(false);
    world.route.tls = RELAY_TLS_ENCRYPT;
    SCRIPT(0, HELLO, ">250-x", ">250 STARTTLS", "<STARTTLS", "!raw 220 go\r\n250 injected\r\n",
           "!tls");
    run();
    expect(0, RELAY_TEMPORARY, 0, "4.7.5");
}

static void test_routes_that_demand_tls(void **state)
{
    usual_dns(false);
    world.route.tls = RELAY_TLS_ENCRYPT;
    SCRIPT(0, PLAIN, "<QUIT");
    run();
    expect(0, RELAY_TEMPORARY, 0, "4.7.5");
    reset(NULL);
    usual_dns(false);
    world.route.tls = RELAY_TLS_VERIFY;
    SCRIPT(0, SECURED);
    run();
    expect(0, RELAY_DELIVERED_NO_DSN, 250, "2.0.0");
    assert_true(str_eq(world.report.tls, STR("TLSv1.3 verified by name")));
    assert_int_equal(world.report.nnotes, 0); /* the policy is ours */
    reset(NULL);
    world.route = (struct relay_route){
        .kind = RELAY_HOST, .host = STR("[127.0.0.1]"), .tls = RELAY_TLS_VERIFY};
    SCRIPT(0, OFFER);
    run(); /* the certificate is for a name */
    expect(0, RELAY_TEMPORARY, 0, "4.7.5");
}

static void test_dane_right(void **state)
{
    uint8_t digest[32];
    dane_dns(true, digest);
    SCRIPT(0, SECURED);
    with_dane();
    expect(0, RELAY_DELIVERED_NO_DSN, 250, "2.0.0");
    assert_true(str_eq(world.report.tls, STR("TLSv1.3 verified by DANE")));
    noted("tlsa", "");
}

static void test_dane_wrong(void **state)
{
    uint8_t digest[32];
    dane_dns(false, digest);
    SCRIPT(0, OFFER);
    SCRIPT(1, TO_DATA, "<.", ">250 in the clear");
    with_dane();
    expect(0, RELAY_TEMPORARY, 0, "4.7.5");
    assert_int_equal(world.connections, 1); /* never without TLS */
    noted("tlsa", "validation-failure");
}

static void test_dane_and_no_tls_offered(void **state)
{
    uint8_t digest[32];
    dane_dns(true, digest);
    SCRIPT(0, PLAIN, "<QUIT");
    with_dane();
    expect(0, RELAY_TEMPORARY, 0, "4.7.5");
    noted("tlsa", "starttls-not-supported");
}

static void test_dane_forged(void **state)
{
    usual_dns(true);
    is("tlsa", DNS_TLSA, DNS_BOGUS);
    SCRIPT(0, TO_DATA, "<.", ">250 ok");
    with_dane();
    expect(0, RELAY_TEMPORARY, 0, "4.7.5");
    assert_int_equal(world.connections, 0);
    noted("tlsa", "dnssec-invalid");
}

static void test_dane_unusable_records_still_encrypt(void **state)
{
    usual_dns(true);
    has("tlsa", DNS_TLSA, true,
        (struct dns_record){.usage = 1, .selector = 1, .matching = 1, .bytes = STR("x")});
    SCRIPT(0, SECURED);
    with_dane();
    expect(0, RELAY_DELIVERED_NO_DSN, 250, "2.0.0");
    assert_true(str_eq(world.report.tls, STR("TLSv1.3 not verified")));
}

static void test_requiretls(void **state)
{
    uint8_t digest[32];
    dane_dns(true, digest);
    world.requiretls = true;
    SCRIPT(0, OFFER, "<EHLO", ">250-x", ">250 REQUIRETLS",
           "<MAIL FROM:<from@example.org> REQUIRETLS", ">250 ok", "<RCPT", ">250 ok", "<DATA",
           ">354 go", "<.", ">250 ok");
    with_dane();
    expect(0, RELAY_DELIVERED_NO_DSN, 250, "2.0.0");
    reset(NULL);
    dane_dns(true, digest);
    world.requiretls = true;
    SCRIPT(0, OFFER, "<EHLO", ">250 x", "<QUIT");
    with_dane();
    expect(0, RELAY_PERMANENT, 0, "5.7.30");
    reset(NULL);
    dane_dns(true, digest);
    world.requiretls = true;
    SCRIPT(0, HELLO, ">250 mx.example.net", "<QUIT");
    with_dane();
    expect(0, RELAY_PERMANENT, 0, "5.7.10");
    reset(NULL);
    usual_dns(false);
    world.requiretls = true;
    run();
    expect(0, RELAY_PERMANENT, 0, "5.7.30");
    assert_int_equal(world.connections, 0);
}

/* RFC 8689 4.2.1: each host is tried, and the message goes back only when none is left. */
static void test_requiretls_looks_for_a_host_that_can(void **state)
{
    uint8_t digest[32];
    const struct {
        const char *first[12];
    } lacks[] = {
        {{HELLO, ">250 no STARTTLS", "<QUIT"}},
        {{OFFER, "<EHLO", ">250 no REQUIRETLS", "<QUIT"}},
    };
    for (size_t i = 0; i < ARRAY_LEN(lacks); i++) {
        reset(NULL);
        world.hosts_max = 1; /* of usual mail */
        two_hosts("mx.example.net", true);
        dane_record(true, digest);
        world.requiretls = true;
        memcpy(world.scripts[0], lacks[i].first, sizeof(lacks[i].first));
        SCRIPT(1, SECURED);
        with_dane();
        expect(0, RELAY_DELIVERED_NO_DSN, 250, "2.0.0");
        assert_int_equal(world.connections, 2);
    }
    reset(NULL);
    two_hosts("other.example.net", true);
    world.requiretls = true;
    SCRIPT(0, OFFER); /* its certificate is for another name */
    SCRIPT(1, SECURED);
    run();
    expect(0, RELAY_DELIVERED_NO_DSN, 250, "2.0.0");
    assert_int_equal(world.connections, 2);
}

static void test_requiretls_and_no_host_that_can(void **state)
{
    uint8_t digest[32];
    two_hosts("mx.example.net", true);
    dane_record(true, digest);
    world.requiretls = true;
    SCRIPT(0, HELLO, ">250 no STARTTLS", "<QUIT");
    SCRIPT(1, OFFER, "<EHLO", ">250 no REQUIRETLS", "<QUIT");
    with_dane();
    expect(0, RELAY_PERMANENT, 0, "5.7.30");
    assert_int_equal(world.connections, 2);
    reset(NULL);
    two_hosts("mx.example.net", true); /* the one that is away may be able to */
    dane_record(true, digest);
    world.requiretls = true;
    SCRIPT(0, HELLO, ">250 no STARTTLS", "<QUIT");
    SCRIPT(1, "!close");
    with_dane();
    expect(0, RELAY_TEMPORARY, 0, "4.4.2");
    reset(NULL);
    usual_dns(true);
    dane_record(false, digest);
    world.requiretls = true;
    SCRIPT(0, OFFER);
    with_dane();
    expect(0, RELAY_PERMANENT, 0, "5.7.10");
    reset(NULL);
    usual_dns(true);
    world.requiretls = true;
    SCRIPT(0, HELLO, ">250-x", ">250 STARTTLS", "<STARTTLS", ">220 go", "!close");
    run(); /* that may have been the network */
    expect(0, RELAY_TEMPORARY, 0, "4.7.5");
}

/* ---- what the next hop lacks ---- */

static void test_internationalized_mail_needs_smtputf8(void **state)
{
    usual_dns(false);
    world.smtputf8 = true;
    world.recipients[0] = "\xc3\xa4@example.net";
    SCRIPT(0, PLAIN, "<QUIT");
    run();
    expect(0, RELAY_PERMANENT, 0, "5.6.7");
}

static void test_too_large_is_not_even_tried(void **state)
{
    usual_dns(false);
    SCRIPT(0, HELLO, ">250-x", ">250 SIZE 5", "<QUIT");
    run();
    expect(0, RELAY_PERMANENT, 0, "5.3.4");
}

/* What one host cannot take another may. */
static void test_a_host_that_lacks_something_is_passed_over(void **state)
{
    two_hosts("bad.example.net", false);
    world.smtputf8 = true;
    world.recipients[0] = "\xc3\xa4@example.net";
    SCRIPT(0, PLAIN, "<QUIT");
    SCRIPT(1, HELLO, ">250-x", ">250-8BITMIME", ">250 SMTPUTF8",
           "<MAIL FROM:<from@example.org> SMTPUTF8", ">250 ok", "<RCPT TO:<\xc3\xa4@", ">250 ok",
           "<DATA", ">354 go", "<.", ">250 ok");
    run();
    expect(0, RELAY_DELIVERED_NO_DSN, 250, "2.0.0");
    reset(NULL);
    two_hosts("bad.example.net", false);
    SCRIPT(0, HELLO, ">250-x", ">250 SIZE 5", "<QUIT");
    SCRIPT(1, TO_DATA, "<.", ">250 ok");
    run();
    expect(0, RELAY_DELIVERED_NO_DSN, 250, "2.0.0");
    reset(NULL);
    two_hosts("bad.example.net", false);
    world.deliver_by = clock_wall_s() + 1000;
    SCRIPT(0, PLAIN, "<QUIT");
    SCRIPT(1, HELLO, ">250-x", ">250 DELIVERBY 60", "<MAIL FROM:<from@example.org> BY=", ">250 ok",
           "<RCPT", ">250 ok", "<DATA", ">354 go", "<.", ">250 ok");
    run();
    expect(0, RELAY_DELIVERED_NO_DSN, 250, "2.0.0");
    reset(NULL);
    two_hosts("bad.example.net", false);
    world.deliver_by = clock_wall_s() + 1000;
    SCRIPT(0, PLAIN, "<QUIT");
    SCRIPT(1, PLAIN, "<QUIT");
    run();
    expect(0, RELAY_PERMANENT, 0, "5.3.3");
    assert_int_equal(world.connections, 2);
}

/* RFC 2852 4.1.4.2: no other host makes it earlier. */
static void test_a_delivery_whose_time_is_over_is_given_up(void **state)
{
    two_hosts("bad.example.net", false);
    world.deliver_by = clock_wall_s() - 1;
    SCRIPT(0, HELLO, ">250-x", ">250 DELIVERBY", "<QUIT");
    run();
    expect(0, RELAY_PERMANENT, 0, "5.4.7");
    assert_int_equal(world.connections, 1);
}

/* ---- signing in ---- */

static void test_credentials_go_to_the_smart_host(void **state)
{
    world.route = (struct relay_route){.kind = RELAY_HOST,
                                       .host = STR("[127.0.0.1]"),
                                       .login = STR("me"),
                                       .password = STR("secret")};
    SCRIPT(0, HELLO, ">250-x", ">250 AUTH PLAIN LOGIN",
           "<AUTH PLAIN AG1lAHNlY3JldA==", ">235 2.7.0 ok", "<MAIL", ">250 ok", "<RCPT", ">250 ok",
           "<DATA", ">354 go", "<.", ">250 ok");
    run();
    expect(0, RELAY_DELIVERED_NO_DSN, 250, "2.0.0");
    reset(NULL);
    world.route = (struct relay_route){.kind = RELAY_HOST,
                                       .host = STR("[127.0.0.1]"),
                                       .login = STR("me"),
                                       .password = STR("secret")};
    SCRIPT(0, HELLO, ">250-x", ">250 AUTH LOGIN", "<AUTH LOGIN", ">334 VXNlcm5hbWU6",
           "<bWU=", ">334 UGFzc3dvcmQ6", "<c2VjcmV0", ">535 5.7.8 no");
    run();
    expect(0, RELAY_TEMPORARY, 535, "4.7.8");
}

static void test_private_hosts_are_refused_unless_allowed(void **state)
{
    /* The tests allow them; a literal that is no address at all is refused in any case. */
    world.route = (struct relay_route){.kind = RELAY_HOST, .host = STR("[nonsense]")};
    run();
    expect(0, RELAY_PERMANENT, 0, "5.4.4");
}

static void test_private_mail_hosts_are_refused(void **state)
{
    usual_dns(false);
    world.private_refused = true;
    run();
    expect(0, RELAY_PERMANENT, 0, "5.4.4");
    assert_int_equal(world.connections, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_a_plain_delivery),
        T(test_parameters_as_offered),
        T(test_helo_where_ehlo_is_unknown),
        T(test_each_recipient_has_its_own_verdict),
        T(test_many_recipients_go_in_groups),
        T(test_a_connection_is_kept_for_the_next_message),
        T(test_a_kept_connection_that_died_is_replaced),
        T(test_lmtp_answers_for_each),
        T(test_every_fault_has_its_verdict_and_its_deadline),
        T(test_a_dead_host_is_passed_over),
        T(test_an_attempt_has_its_number_of_hosts),
        T(test_a_doubtful_delivery_is_not_tried_at_the_next_host),
        T(test_domains_that_take_no_mail),
        T(test_the_domain_stands_in_for_its_mx),
        T(test_tls_where_it_is_offered),
        T(test_tls_that_fails_is_done_without_where_it_is_only_offered),
        T(test_what_was_injected_before_tls_is_not_believed),
        T(test_routes_that_demand_tls),
        T(test_dane_right),
        T(test_dane_wrong),
        T(test_dane_and_no_tls_offered),
        T(test_dane_forged),
        T(test_dane_unusable_records_still_encrypt),
        T(test_requiretls),
        T(test_requiretls_looks_for_a_host_that_can),
        T(test_requiretls_and_no_host_that_can),
        T(test_internationalized_mail_needs_smtputf8),
        T(test_too_large_is_not_even_tried),
        T(test_a_host_that_lacks_something_is_passed_over),
        T(test_a_delivery_whose_time_is_over_is_given_up),
        T(test_credentials_go_to_the_smart_host),
        T(test_private_hosts_are_refused_unless_allowed),
        T(test_private_mail_hosts_are_refused),
    };
    return cmocka_run_group_tests(tests, make_world, free_world);
}
