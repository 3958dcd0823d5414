/* SPDX-License-Identifier: Apache-2.0
 *
 * Sessions with a scanner behind them that says what the test wants. rule: proc-3
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/smtp/test_session.h"

static struct fake_house house;
static struct {
    const char *json;
    enum err error;
    bool hangs;
    unsigned asked;
    char seen[65536];
    char sender[100], helo[100], user[100], recipients[200];
} scanner;

static enum err fake_scan(void *ctx, const struct relay_scan *q, struct arena *arena, str *json)
{
    size_t got = 0;
    scanner.asked++;
    OK(file_read_at(q->fd, 0, scanner.seen, q->size, &got));
    scanner.seen[got] = 0;
    snprintf(scanner.sender, sizeof(scanner.sender), "%.*s", STR_ARG(q->sender));
    snprintf(scanner.helo, sizeof(scanner.helo), "%.*s", STR_ARG(q->helo));
    snprintf(scanner.user, sizeof(scanner.user), "%.*s", STR_ARG(q->user));
    scanner.recipients[0] = 0;
    for (size_t i = 0; i < q->nrecipients; i++)
        snprintf(scanner.recipients + strlen(scanner.recipients),
                 sizeof(scanner.recipients) - strlen(scanner.recipients), "%.*s;",
                 STR_ARG(q->recipients[i]));
    if (scanner.hangs)
        return wait_until(deadline_in_ms(60000));
    *json = str_c(scanner.json);
    return scanner.error;
}

static const struct relay relay = {.scan = fake_scan};
static struct test_session session;

typedef enum err deliver_fn(void *ctx, uint32_t home, const struct envelope *e,
                            struct deliver_result *out);

static void talk_with(deliver_fn *deliver, const char *says)
{
    fake_house_init(&house);
    if (deliver)
        house.table.deliver = deliver;
    scanner.asked = 0;
    session.peer = session.listener.kind == SMTP_MX ? "192.0.2.1" : "127.0.0.1";
    test_session_run(&session, says);
}

static void talk(const char *says) { talk_with(NULL, says); }

#define MESSAGE(content)                                                                           \
    "EHLO client.test\r\nMAIL FROM:<a@author.test>\r\nRCPT TO:<ok1@example.test>\r\n"              \
    "RCPT TO:<ok2@example.test>\r\nDATA\r\n" content "\r\n.\r\nQUIT\r\n"
#define CONTENT "From: a@author.test\r\nX-Spam-Flag: NO\r\nSubject: x\r\n\r\nhello"
#define ANSWER(action, more)                                                                       \
    "{\"action\":\"" action "\",\"score\":7.5,\"required_score\":6,\"symbols\":{\"A_B\":"          \
    "{\"score\":7.5},\"C\":{\"score\":0}}" more "}"

/* The scanner says this of the usual message. */
static void talk_scanned(const char *json)
{
    scanner.json = json;
    talk(MESSAGE(CONTENT));
}

static int setup(void **state)
{
    session.listener =
        (struct smtp_listener){.kind = SMTP_MX, .house = &house.table, .relay = &relay};
    session.policy = (struct smtp_policy){.scanner = {.enabled = true,
                                                      .deadline_ms = 5000,
                                                      .size_max = 1 << 20,
                                                      .on_reject = SCAN_DO_REJECT,
                                                      .on_soft_reject = SCAN_DO_DEFER,
                                                      .on_greylist = SCAN_DO_DEFER,
                                                      .on_add_header = SCAN_DO_QUARANTINE,
                                                      .on_rewrite_subject = SCAN_DO_REWRITE,
                                                      .on_failure = SCAN_DO_DEFER}};
    memset(&scanner, 0, sizeof(scanner));
    return 0;
}

static void clean_mail_comes(void **state)
{
    talk_scanned(ANSWER("no action", ""));
    assert_int_equal(house.delivered, 1);
    HAS(house.trace, "X-Spam-Status: No, score=7.50 required=6.00\r\n\ttests=[A_B=7.50,C=0.00]\r\n"
                     "Received: ");
    HAS_NOT(house.trace, "X-Spam-Flag");
    HAS_NOT(house.content, "X-Spam-Flag"); /* a stranger's own word */
    HAS(house.content, "From: a@author.test\r\nSubject: x\r\n\r\nhello\r\n");
    assert_string_equal(scanner.sender, "a@author.test");
    assert_string_equal(scanner.helo, "client.test");
    assert_string_equal(scanner.user, "");
    assert_string_equal(scanner.recipients, "ok1@example.test;ok2@example.test;");
    assert_string_equal(scanner.seen, CONTENT "\r\n"); /* as it came */
}

static void each_action_has_its_answer(void **state)
{
    talk_scanned(ANSWER("reject", ",\"messages\":{\"smtp_message\":\"Gtube pattern\"}"));
    assert_int_equal(house.delivered, 0);
    HAS(session.heard, "\r\n550 5.7.1 Gtube pattern\r\n");
    talk_scanned(ANSWER("reject", ""));
    HAS(session.heard, "\r\n550 5.7.1 Refused as spam\r\n");
    talk_scanned(ANSWER("soft reject", ",\"messages\":{\"smtp_message\":\"Too fast\"}"));
    HAS(session.heard, "\r\n451 4.7.1 Too fast\r\n");
    talk_scanned(ANSWER("greylist", ""));
    HAS(session.heard, "\r\n451 4.7.1 Not accepted now, please try again later\r\n");
    session.policy.scanner.on_greylist = SCAN_DO_ACCEPT;
    talk(MESSAGE(CONTENT));
    assert_int_equal(house.delivered, 1);
    HAS_NOT(house.trace, "X-Spam");
    talk_scanned(ANSWER("rewrite subject", ",\"subject\":\"[SPAM] x\""));
    HAS(house.content, "From: a@author.test\r\nSubject: [SPAM] x\r\n\r\nhello\r\n");
    HAS(house.trace, "X-Spam-Flag: YES\r\nX-Spam-Status: Yes, score=7.50 required=6.00");
}

static uint8_t hints[2];
static enum err keep_hints(void *ctx, uint32_t home, const struct envelope *e,
                           struct deliver_result *out)
{
    for (size_t i = 0; i < 2; i++) {
        hints[i] = e->recipients[i].junk;
        out->recipients[i] = ERR_OK;
    }
    return ERR_OK;
}

static void suspicious_mail_goes_to_junk(void **state)
{
    scanner.json = ANSWER("add header", "");
    talk_with(keep_hints, MESSAGE(CONTENT));
    assert_true(hints[0] == 1 && hints[1] == 1);
    session.policy.scanner.on_add_header = SCAN_DO_TAG;
    talk_with(keep_hints, MESSAGE(CONTENT));
    assert_true(hints[0] == 0 && hints[1] == 0);
}

static void fields_are_added_and_removed(void **state)
{
    talk_scanned(ANSWER("no action", ",\"milter\":{\"add_headers\":{\"X-New\":\"a\\n b\"},"
                                     "\"remove_headers\":{\"Subject\":0}}"));
    HAS(house.trace, "\r\nX-New: a\r\n\tb\r\nReceived: ");
    assert_string_equal(house.content, "From: a@author.test\r\n\r\nhello\r\n");
    assert_int_equal(house.size, strlen(house.content));
}

static void a_subject_stands_once(void **state)
{
    talk_scanned(ANSWER("rewrite subject", ",\"subject\":\"[X] new\",\"milter\":{\"add_headers\":{"
                                           "\"Subject\":\"other\",\"X-A\":\"1\"}}"));
    HAS(house.content, "Subject: [X] new\r\n");
    HAS(house.trace, "X-A: 1\r\n");
    HAS_NOT(house.trace, "Subject:");
    talk_scanned(ANSWER("add header",
                        ",\"milter\":{\"add_headers\":{\"Subject\":[\"other\",\"more\"]},"
                        "\"remove_headers\":{\"Subject\":1}}"));
    HAS_NOT(house.content, "Subject:");
    HAS(house.trace, "Subject: other\r\n");
    HAS_NOT(house.trace, "more");
}

static void a_failure_costs_what_is_declared(void **state)
{
    static const enum err errors[] = {ERR_UNAVAILABLE, ERR_TIMEOUT, ERR_EOF,       ERR_SYNTAX,
                                      ERR_BUSY,        ERR_IO,      ERR_TOO_LARGE, ERR_DENIED};
    scanner.json = ANSWER("reject", "");
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        scanner.error = errors[i];
        talk(MESSAGE(CONTENT));
        assert_int_equal(house.delivered, 0);
        HAS(session.heard, "\r\n451 4.7.1 Not checked for spam now, please try again later\r\n");
        HAS(session.heard, "\r\n221 "); /* the session goes on */
    }
    scanner.error = ERR_OK;
    talk_scanned("{\"action\":");
    HAS(session.heard, "\r\n451 4.7.1 Not checked");
    session.policy.scanner.on_failure = SCAN_DO_TAG;
    talk(MESSAGE(CONTENT));
    assert_int_equal(house.delivered, 1);
    HAS(house.trace, "X-Spam-Status: Unknown, not scanned (Syntax error)\r\n");
    session.policy.scanner.on_failure = SCAN_DO_ACCEPT;
    talk(MESSAGE(CONTENT));
    assert_int_equal(house.delivered, 1);
    HAS_NOT(house.trace, "X-Spam");
    HAS_NOT(house.content, "X-Spam"); /* forged marks go all the same */
}

static void one_that_hangs_is_not_waited_for(void **state)
{
    scanner.hangs = true;
    session.policy.scanner.deadline_ms = 100;
    uint64_t began = clock_mono_ms();
    talk(MESSAGE(CONTENT));
    assert_true(clock_mono_ms() - began < 5000);
    HAS(session.heard, "\r\n451 4.7.1 Not checked");
    HAS(session.heard, "\r\n221 ");
}

static void who_is_scanned(void **state)
{
    scanner.json = ANSWER("reject", "");
    session.policy.scanner.size_max = 10;
    talk(MESSAGE(CONTENT));
    assert_int_equal(scanner.asked, 0);
    assert_int_equal(house.delivered, 1);
    session.policy.scanner.size_max = 1 << 20;
    session.policy.scanner.enabled = false;
    talk(MESSAGE(CONTENT));
    assert_int_equal(scanner.asked, 0);
    HAS(house.content, "X-Spam-Flag: NO"); /* without a scanner nobody is the judge of it */
    session.policy.scanner.enabled = true;
    session.listener.kind = SMTP_SUBMISSION;
    static const char *const says =
        "EHLO me\r\nAUTH PLAIN AHVzZXJAZXhhbXBsZS50ZXN0AHNlY3JldA==\r\n"
        "MAIL FROM:<user@example.test>\r\nRCPT TO:<x@far.test>\r\nDATA\r\n"
        "From: user@example.test\r\nX-Spam-Flag: NO\r\n\r\nhello\r\n.\r\nQUIT\r\n";
    talk(says);
    assert_int_equal(scanner.asked, 0);
    session.policy.scanner.submissions = true;
    talk(says);
    assert_int_equal(scanner.asked, 1);
    assert_string_equal(scanner.user, "user@example.test");
    HAS(session.heard, "\r\n550 5.7.1 ");
    scanner.json = ANSWER("no action", "");
    talk(says);
    assert_int_equal(house.delivered, 1);
    HAS_NOT(house.trace, "X-Spam"); /* the world need not know */
    session.listener.kind = SMTP_LMTP;
    talk("LHLO x\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<ok1@example.test>\r\nDATA\r\n"
         "From: x\r\n\r\nx\r\n.\r\nQUIT\r\n");
    assert_int_equal(scanner.asked, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(clean_mail_comes, setup),
        cmocka_unit_test_setup(each_action_has_its_answer, setup),
        cmocka_unit_test_setup(suspicious_mail_goes_to_junk, setup),
        cmocka_unit_test_setup(fields_are_added_and_removed, setup),
        cmocka_unit_test_setup(a_subject_stands_once, setup),
        cmocka_unit_test_setup(a_failure_costs_what_is_declared, setup),
        cmocka_unit_test_setup(one_that_hangs_is_not_waited_for, setup),
        cmocka_unit_test_setup(who_is_scanned, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
