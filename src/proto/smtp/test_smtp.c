/* SPDX-License-Identifier: Apache-2.0
 *
 * Whole sessions over a socket pair, with a house that answers as the test wants.
 * rule: accept-3, wire-1, wire-4, wire-7
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/num.h"
#include "core/test_fake_house.h"
#include "os/sock_io.h"
#include "proto/smtp/smtp.h"

#define HEARD_MAX 262144
#define MANY 1100

struct session {
    struct fake_house house;
    struct smtp_config config;
    struct smtp_listener listener;
    char heard[HEARD_MAX];
};
static struct session s;

static int reset(void **state)
{
    fake_house_init(&s.house);
    s.config = (struct smtp_config){
        .hostname = STR("mail.example.test"),
        .size_max = 20000,
        .recipients_max = 1000,
        .transactions_max = 5,
        .errors_max = 100,
        .command_timeout_ms = 1000,
        .data_timeout_ms = 1000,
        .message_timeout_ms = 5000,
    };
    s.listener =
        (struct smtp_listener){.config = &s.config, .house = &s.house.table, .role_id = "t"};
    return 0;
}

static void serve(enum smtp_kind kind, str input, const char *peer)
{
    int client;
    struct stream *stream = fake_connection(input, &client);
    struct address a;
    assert_true(address_parse(str_c(peer), &a));
    stream_set_peer(stream, &a, &a);
    s.listener.kind = kind;
    smtp_serve(stream, &s.listener);
    fake_heard(client, s.heard, sizeof s.heard);
}

/* The codes of all replies: "220 250 221". */
static void codes(char *out, size_t max)
{
    str rest = str_c(s.heard), line;
    size_t n = 0;
    out[0] = 0;
    while (!str_empty(rest) && n + 5 < max) {
        assert_true(str_cut(rest, '\n', &line, &rest));
        assert_true(line.len >= 5 && line.data[line.len - 1] == '\r');
        if (line.data[3] == ' ')
            n += (size_t)snprintf(out + n, max - n, "%s%.3s", n ? " " : "", line.data);
    }
}

#define HELLO "EHLO client.test\r\n"
#define AUTH "AUTH PLAIN AHVzZXJAZXhhbXBsZS50ZXN0AHNlY3JldA==\r\n"
#define TO(name) "RCPT TO:<" name "@example.test>\r\n"
#define FROM "MAIL FROM:<a@far.test>\r\n"
#define MINE "MAIL FROM:<user@example.test>\r\n"
#define QUIT "QUIT\r\n"

static void says(enum smtp_kind kind, const char *input, const char *wanted)
{
    char got[8192];
    serve(kind, str_c(input), "127.0.0.1");
    codes(got, sizeof got);
    if (strcmp(got, wanted) != 0)
        fail_msg("\n  for %s\n  wanted %s\n  got    %s\n%s", input, wanted, got, s.heard);
}

/* Order is a matter of the table; each command out of its place has its code. */
static void commands_have_their_place(void **state)
{
    static const struct {
        enum smtp_kind kind;
        const char *input, *wanted;
    } rows[] = {
        {SMTP_MX, "", "220"},
        {SMTP_MX, QUIT, "220 221"},
        {SMTP_MX, QUIT "NOOP\r\n", "220 221"},
        {SMTP_MX, FROM QUIT, "220 503 221"},
        {SMTP_MX, "\r\n" QUIT, "220 500 221"},
        {SMTP_MX, " NOOP\r\n" QUIT, "220 500 221"},
        {SMTP_MX, "HELO\r\nEHLO \r\nHELO x y\r\n" QUIT, "220 501 501 501 221"},
        {SMTP_MX, "ehlo x\r\nmail from:<a@b.test>\r\nrcpt to:<ok@example.test>\r\n" QUIT,
         "220 250 250 250 221"},
        {SMTP_MX, HELLO TO("ok") "DATA\r\n" QUIT, "220 250 503 503 221"},
        {SMTP_MX, HELLO FROM FROM QUIT, "220 250 250 503 221"},
        {SMTP_MX, HELLO FROM "DATA\r\n" QUIT, "220 250 250 554 221"},
        {SMTP_MX, HELLO FROM HELLO TO("ok") QUIT, "220 250 250 250 503 221"},
        {SMTP_MX, HELLO FROM TO("ok") "DATA now\r\n" QUIT, "220 250 250 250 501 221"},
        {SMTP_MX, "LHLO x\r\n" QUIT, "220 500 221"},
        {SMTP_MX, HELLO AUTH QUIT, "220 250 502 221"},
        {SMTP_MX, HELLO "STARTTLS\r\n" QUIT, "220 250 503 221"},
        {SMTP_MX, HELLO "XCLIENT ADDR=192.0.2.9\r\n" QUIT, "220 250 550 221"},
        {SMTP_MX, "VRFY ok\r\nVRFY\r\nEXPN x\r\nHELP\r\nNOOP x\r\nRSET\r\n" QUIT,
         "220 252 501 502 214 250 250 221"},
        {SMTP_LMTP, "HELO x\r\nEHLO x\r\nLHLO x\r\n" AUTH QUIT, "220 500 500 250 500 221"},
        {SMTP_SUBMISSION, HELLO FROM AUTH AUTH MINE QUIT, "220 250 530 235 503 250 221"},
        {SMTP_SUBMISSION, "HELO x\r\n" AUTH QUIT, "220 250 503 221"},
    };
    s.config.auth_plain_loopback = true;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        says(rows[i].kind, rows[i].input, rows[i].wanted);
}

static void recipients_are_answered_as_the_house_says(void **state)
{
    says(SMTP_MX,
         HELLO FROM TO("ok") TO("full") TO("off") TO("down")
             TO("nobody") "RCPT TO:<b@far.test>\r\nRCPT TO:<Postmaster>\r\n" QUIT,
         "220 250 250 250 452 550 451 550 550 250 221");
    assert_non_null(strstr(s.heard, "452 4.2.2 "));
    assert_non_null(strstr(s.heard, "550 5.2.1 "));
    assert_non_null(strstr(s.heard, "451 4.3.0 "));
    assert_non_null(strstr(s.heard, "550 5.1.1 "));
    assert_non_null(strstr(s.heard, "550 5.7.1 "));
}

static void relaying_needs_a_name(void **state)
{
    struct smtp_network net = {.bits = 24};
    assert_true(address_parse(STR("192.0.2.0"), &net.address));
    s.config.relays = &net;
    s.config.nrelays = 1;
    const str input = STR(HELLO FROM "RCPT TO:<b@far.test>\r\n" QUIT);
    serve(SMTP_MX, input, "192.0.2.77");
    assert_non_null(strstr(s.heard, "250 2.1.5 "));
    serve(SMTP_MX, input, "192.0.3.77");
    assert_non_null(strstr(s.heard, "550 5.7.1 "));
    serve(SMTP_MX, input, "10.0.0.1"); /* no private network is trusted by itself */
    assert_non_null(strstr(s.heard, "550 5.7.1 "));
    serve(SMTP_LMTP, STR("LHLO x\r\n" FROM "RCPT TO:<b@far.test>\r\n"), "192.0.2.77");
    assert_null(strstr(s.heard, "250 2.1.5 "));
}

#define MESSAGE "Subject: x\r\n\r\n..body\r\n.\r\n"

static void a_message_arrives_as_sent(void **state)
{
    says(SMTP_MX, HELLO FROM TO("ok1") TO("ok2") "DATA\r\n" MESSAGE QUIT,
         "220 250 250 250 250 354 250 221");
    assert_int_equal(s.house.delivered, 1);
    assert_int_equal(s.house.recipients, 2);
    assert_string_equal(s.house.content, "Subject: x\r\n\r\n.body\r\n");
    assert_string_equal(s.house.sender, "a@far.test");
    assert_non_null(strstr(s.house.trace, "Received: from client.test ([127.0.0.1])\r\n"));
    assert_null(strstr(s.house.trace, "Date:"));
    says(SMTP_MX,
         HELLO FROM TO("ok") "BDAT 9\r\nSubject: BDAT 10\r\ny\r\n\r\nabc\r\nBDAT 0 LAST\r\n" QUIT,
         "220 250 250 250 250 250 250 221");
    assert_string_equal(s.house.content, "Subject: y\r\n\r\nabc\r\n");
    says(SMTP_MX,
         HELLO "MAIL FROM:<> BODY=BINARYMIME\r\n" TO("ok") "BDAT 8 LAST\r\n\n\r.\r\n\nxy" QUIT,
         "220 250 250 250 250 221");
    assert_int_equal(s.house.size, 8);
}

static void submissions_are_completed_and_checked(void **state)
{
    s.config.auth_plain_loopback = true;
    says(SMTP_SUBMISSION,
         HELLO AUTH "MAIL FROM:<b@example.test>\r\nMAIL FROM:<down@example.test>\r\n" MINE TO(
             "ok") "DATA\r\nFrom: user@example.test\r\n\r\n.\r\n" QUIT,
         "220 250 235 550 451 250 250 354 250 221");
    assert_non_null(strstr(s.house.trace, "\r\nDate: "));
    assert_non_null(strstr(s.house.trace, "\r\nMessage-ID: <"));
    assert_null(strstr(s.house.trace, "127.0.0.1"));
    static const char *forged[] = {
        "From: b@example.test\r\n",
        "From: user@example.test, B <b@example.test>\r\n",
        "From: user@example.test\r\nFROM : b@example.test\r\n",
        "Subject: x\r\nfrom:\r\n \"user@example.test\" <b@example.test>\r\n",
        "From: team: user@example.test, b@example.test;\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(forged); i++) {
        char input[1024];
        snprintf(input, sizeof input, HELLO AUTH MINE TO("ok") "DATA\r\n%s\r\nx\r\n.\r\n" QUIT,
                 forged[i]);
        says(SMTP_SUBMISSION, input, "220 250 235 250 250 354 550 221");
    }
}

/* Rule accept-3: our fault is 4xx, never 250 and never 5xx. */
static void faults_of_ours_are_temporary(void **state)
{
    static const struct {
        enum err fault;
        const char *wanted;
    } rows[] = {
        {ERR_UNAVAILABLE, "220 250 250 250 354 451 221"},
        {ERR_IO, "220 250 250 250 354 451 221"},
        {ERR_NOSPACE, "220 250 250 250 354 452 221"},
        {ERR_NOMEM, "220 250 250 250 354 452 221"},
        {ERR_BUSY, "220 250 250 250 354 451 221"},
        {ERR_CORRUPT, "220 250 250 250 354 451 221"},
        {ERR_UNKNOWN, "220 250 250 250 354 451 221"},
        {ERR_QUOTA, "220 250 250 250 354 452 221"},
        {ERR_LOOP, "220 250 250 250 354 554 221"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        s.house.deliver_all = rows[i].fault;
        says(SMTP_MX, HELLO FROM TO("ok") "DATA\r\n" MESSAGE QUIT, rows[i].wanted);
    }
    s.config.auth_plain_loopback = true;
    says(SMTP_SUBMISSION, HELLO "AUTH PLAIN AGRvd25AZXhhbXBsZS50ZXN0AHg=\r\n" QUIT,
         "220 250 451 221");
}

static void recipients_fold_into_one_answer_but_for_lmtp(void **state)
{
    s.house.deliver_by_n[1] = ERR_LOOP;
    says(SMTP_MX, HELLO FROM TO("ok1") TO("ok2") TO("ok3") "DATA\r\n" MESSAGE QUIT,
         "220 250 250 250 250 250 354 554 221");
    s.house.deliver_by_n[2] = ERR_IO; /* "try again" before "never" */
    says(SMTP_MX, HELLO FROM TO("ok1") TO("ok2") TO("ok3") "DATA\r\n" MESSAGE QUIT,
         "220 250 250 250 250 250 354 451 221");
    assert_true(s.house.one_answer);
    says(SMTP_LMTP, "LHLO x\r\n" FROM TO("ok1") TO("ok2") TO("ok3") "DATA\r\n" MESSAGE QUIT,
         "220 250 250 250 250 250 354 250 554 451 221");
    assert_false(s.house.one_answer);
    s.house.deliver_all = ERR_UNAVAILABLE;
    says(SMTP_LMTP, "LHLO x\r\n" FROM TO("ok1") TO("ok2") "BDAT 2 LAST\r\n\r\n" QUIT,
         "220 250 250 250 250 451 451 221");
}

/* ---- rule wire-1 ---- */

static char logged[LOG_LINE_MAX + 1]; /* the last line */
static void keep_line(enum log_level level, str line)
{
    snprintf(logged, sizeof(logged), "%.*s", STR_ARG(line));
}

static void only_crlf_ends_a_line(void **state)
{
    static const struct {
        const char *input, *wanted;
    } rows[] = {
        {"NOOP\nQUIT\r\n", "220 554"},
        {"NOOP\rx\r\nQUIT\r\n", "220 554"},
        {"\nQUIT\r\n", "220 554"},
        {HELLO FROM TO("ok") "DATA\r\nx\n.\r\n" QUIT, "220 250 250 250 354 554"},
        {HELLO FROM TO("ok") "DATA\r\nx\r\n.\n" QUIT, "220 250 250 250 354 554"},
        {HELLO FROM TO("ok") "DATA\r\nx\r.\r\n.\r\n" QUIT, "220 250 250 250 354 554"},
        {HELLO FROM TO("ok") "BDAT 3 LAST\r\nx\n\n" QUIT, "220 250 250 250 554"},
        {HELLO FROM TO("ok") "BDAT 2\r\nx\rBDAT 1 LAST\r\n\n" QUIT, "220 250 250 250 250 250 221"},
        {HELLO FROM TO("ok") "BDAT 2 LAST\r\nx\r" QUIT, "220 250 250 250 554"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        says(SMTP_MX, rows[i].input, rows[i].wanted);
    s.config.allow_bare_lf = true;
    says(SMTP_MX, "NOOP\n" HELLO FROM TO("ok") "DATA\nx\n.\ny\r\n.\r\n" QUIT,
         "220 250 250 250 250 354 250 221");
    assert_string_equal(s.house.content, "x\r\n\r\ny\r\n"); /* a line of a dot alone loses it */
    log_set_sink(keep_line);
    serve(SMTP_MX, STR("NOOP\n"), "192.0.2.1"); /* from this host only */
    log_set_sink(NULL);
    assert_non_null(strstr(s.heard, "554 "));
    assert_non_null(strstr(logged, "refused source=192.0.2.1 cause=\"bare CR or LF"));
}

/* ---- limits ---- */

static void every_limit_has_its_reply(void **state)
{
    static char input[HEARD_MAX];
    size_t n = (size_t)snprintf(input, sizeof input, HELLO FROM);
    for (int i = 0; i < MANY; i++)
        n += (size_t)snprintf(input + n, sizeof input - n, "RCPT TO:<ok%d@example.test>\r\n", i);
    snprintf(input + n, sizeof input - n, "DATA\r\nx\r\n.\r\n" QUIT);
    serve(SMTP_MX, str_c(input), "127.0.0.1");
    assert_non_null(strstr(s.heard, "452 4.5.3 "));
    assert_int_equal(s.house.recipients, 1000);

    s.config.errors_max = 3;
    says(SMTP_MX, "A\r\nB\r\nC\r\nD\r\n", "220 500 500 500 421");
    s.config.errors_max = 100;
    says(SMTP_MX,
         HELLO FROM "RSET\r\n" FROM "RSET\r\n" FROM "RSET\r\n" FROM "RSET\r\n" FROM "RSET\r\n" FROM
                    "NOOP\r\n",
         "220 250 250 250 250 250 250 250 250 250 250 250 421");
    says(SMTP_MX, HELLO "MAIL FROM:<a@b.test> SIZE=20001\r\n" QUIT, "220 250 552 221");
    says(SMTP_MX, HELLO FROM TO("ok") "BDAT 40001\r\n" QUIT, "220 250 250 250 552");
    says(SMTP_MX, HELLO FROM TO("ok") "BDAT 99999999999999999999\r\n" QUIT, "220 250 250 250 501");

    memset(input, 'x', 100000);
    memcpy(input + 5000, "\r\n", 2);
    memcpy(input + 99990, "\r\nQUIT\r\n", 9);
    says(SMTP_MX, input, "220 500 500 221");
}

static void an_end_in_the_middle_delivers_nothing(void **state)
{
    static const char *inputs[] = {
        HELLO FROM TO("ok") "DATA\r\nhalf",         HELLO FROM TO("ok") "DATA\r\nhalf\r\n.",
        HELLO FROM TO("ok") "DATA\r\nhalf\r\n.\r",  HELLO FROM TO("ok") "BDAT 10 LAST\r\nhalf",
        HELLO FROM TO("ok") "BDAT 4\r\nhalfBDAT 0", HELLO FROM TO("ok") "DATA",
    };
    for (size_t i = 0; i < ARRAY_LEN(inputs); i++)
        serve(SMTP_MX, str_c(inputs[i]), "127.0.0.1");
    assert_int_equal(s.house.delivered, 0);
}

static void a_silent_client_is_told(void **state)
{
    int fds[2];
    struct stream *stream;
    s.config.command_timeout_ms = 30;
    assert_int_equal(sock_pair(fds), ERR_OK);
    assert_int_equal(stream_open(fds[0], &stream), ERR_OK);
    smtp_serve(stream, &s.listener);
    fake_heard(fds[1], s.heard, sizeof s.heard);
    assert_non_null(strstr(s.heard, "\r\n421 "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(commands_have_their_place, reset),
        cmocka_unit_test_setup(recipients_are_answered_as_the_house_says, reset),
        cmocka_unit_test_setup(relaying_needs_a_name, reset),
        cmocka_unit_test_setup(a_message_arrives_as_sent, reset),
        cmocka_unit_test_setup(submissions_are_completed_and_checked, reset),
        cmocka_unit_test_setup(faults_of_ours_are_temporary, reset),
        cmocka_unit_test_setup(recipients_fold_into_one_answer_but_for_lmtp, reset),
        cmocka_unit_test_setup(only_crlf_ends_a_line, reset),
        cmocka_unit_test_setup(every_limit_has_its_reply, reset),
        cmocka_unit_test_setup(an_end_in_the_middle_delivers_nothing, reset),
        cmocka_unit_test_setup(a_silent_client_is_told, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
