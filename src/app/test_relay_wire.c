/* SPDX-License-Identifier: Apache-2.0
 *
 * What the relay answers, as the house and the gates take it. rule: wire-5, proc-1 — the relay is
 * the process that the world talks to; one that was broken into is believed about nothing that the
 * world could not have said.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "app/relay_wire.h"
#include "base/num.h"
#include "core/report_note.h"

#include <string.h>

static enum err answer(enum dns_type type, enum dns_status status, const struct dns_record *records,
                       size_t n)
{
    BUF_AUTO struct buf row = BUF_INIT(65536);
    ARENA_AUTO struct arena arena = ARENA_INIT(65536);
    struct dns_answer a = {.status = status, .records = records, .count = n}, b;
    wire_answer_put(&a, &row);
    return wire_answer_take(buf_str(&row), type, &arena, &b);
}

static enum err address_of(enum dns_type type, str bytes)
{
    return answer(type, DNS_FOUND, &(struct dns_record){.bytes = bytes}, 1);
}

static enum err name_of(enum dns_type type, str name)
{
    return answer(type, DNS_FOUND, &(struct dns_record){.name = name}, 1);
}

static void test_records_are_of_the_type_that_was_asked(void **state)
{
    assert_int_equal(address_of(DNS_A, STR("\1\2\3\4")), ERR_OK);
    assert_int_equal(address_of(DNS_A, STR_NONE), ERR_CORRUPT);
    assert_int_equal(address_of(DNS_A, STR("0123456789abcdef")), ERR_CORRUPT);
    assert_int_equal(address_of(DNS_AAAA, STR("0123456789abcdef")), ERR_OK);
    assert_int_equal(address_of(DNS_AAAA, STR("\1\2\3\4")), ERR_CORRUPT);
    assert_int_equal(address_of(DNS_MX, STR("\1\2\3\4")), ERR_CORRUPT);
    assert_int_equal(address_of(DNS_TXT, STR("v=spf1 \xc3\xa4 -all")), ERR_OK);
    assert_int_equal(name_of(DNS_PTR, STR("mx.example.test")), ERR_OK);
    assert_int_equal(name_of(DNS_MX, STR_NONE), ERR_OK); /* RFC 7505 */
    assert_int_equal(name_of(DNS_PTR, STR("a\r\nX-Forged: yes")), ERR_CORRUPT);
    assert_int_equal(name_of(DNS_PTR, STR("two words")), ERR_CORRUPT);
    assert_int_equal(name_of(DNS_PTR, STR("\xc3\xa4.test")), ERR_CORRUPT);
}

static void test_found_means_that_there_are_records(void **state)
{
    struct dns_record r = {.bytes = STR("\1\2\3\4")};
    assert_int_equal(answer(DNS_A, DNS_NXDOMAIN, NULL, 0), ERR_OK);
    assert_int_equal(answer(DNS_A, DNS_FOUND, NULL, 0), ERR_CORRUPT);
    assert_int_equal(answer(DNS_A, DNS_BOGUS, &r, 1), ERR_CORRUPT);
}

static enum err report(struct relay_verdict v, size_t expected)
{
    BUF_AUTO struct buf row = BUF_INIT(262144);
    ARENA_AUTO struct arena arena = ARENA_INIT(65536);
    struct relay_report a = {.verdicts = &v, .tls = STR("TLSv1.3 not verified")}, b;
    wire_report_put(&a, 1, &row);
    enum err e = wire_report_take(buf_str(&row), expected, &arena, &b);
    if (e == ERR_OK)
        assert_true(str_eq(b.verdicts[0].text, v.text));
    return e;
}

static void test_verdicts_cannot_break_out_of_a_line(void **state)
{
    static char long_text[65537];
    struct relay_verdict good = {.outcome = RELAY_PERMANENT,
                                 .code = 550,
                                 .enhanced = STR("5.1.1"),
                                 .text = STR("no such user\nreally \xc3\xa4"),
                                 .host = STR("mx.example.test [192.0.2.1]")};
    struct relay_verdict v = good;
    assert_int_equal(report(v, 1), ERR_OK);
    assert_int_equal(report(v, 2), ERR_CORRUPT); /* one for each recipient */
    v.code = 600;
    assert_int_equal(report(v, 1), ERR_CORRUPT);
    v = good;
    v.enhanced = STR("5.1.1\nAction: delivered");
    assert_int_equal(report(v, 1), ERR_CORRUPT);
    v = good;
    v.host = STR("mx\n");
    assert_int_equal(report(v, 1), ERR_CORRUPT);
    v = good;
    v.text = STR("a\rb");
    assert_int_equal(report(v, 1), ERR_CORRUPT);
    memset(long_text, 'x', sizeof(long_text));
    v.text = str_of(long_text, sizeof(long_text));
    assert_int_equal(report(v, 1), ERR_CORRUPT);
}

/* What the relay noted for TLS reports is looked at like all that it says. */
static void test_notes(void **state)
{
    BUF_AUTO struct buf row = BUF_INIT(262144), body = BUF_INIT(4096);
    ARENA_AUTO struct arena arena = ARENA_INIT(262144);
    struct relay_verdict v = {.outcome = RELAY_DELIVERED, .code = 250};
    str notes[RELAY_NOTES_MAX + 1];
    struct relay_report a = {.verdicts = &v, .notes = notes, .nnotes = 1}, b;
    report_tls_put(&(struct report_tls_note){.policy_type = STR("sts")}, &body);
    for (size_t i = 0; i <= RELAY_NOTES_MAX; i++)
        notes[i] = buf_str(&body);
    wire_report_put(&a, 1, &row);
    assert_int_equal(wire_report_take(buf_str(&row), 1, &arena, &b), ERR_OK);
    assert_true(b.nnotes == 1 && str_eq(b.notes[0], notes[0]));
    buf_reset(&row);
    a.nnotes = RELAY_NOTES_MAX + 1;
    wire_report_put(&a, 1, &row);
    assert_int_equal(wire_report_take(buf_str(&row), 1, &arena, &b), ERR_CORRUPT);
    buf_reset(&row);
    notes[0] = STR("\1\n");
    a.nnotes = 1;
    wire_report_put(&a, 1, &row);
    assert_int_equal(wire_report_take(buf_str(&row), 1, &arena, &b), ERR_CORRUPT);
}

static void test_a_page_is_no_longer_than_asked(void **state)
{
    BUF_AUTO struct buf row = BUF_INIT(65536);
    struct relay_fetched a = {.status = 200, .body = STR("0123456789")}, b;
    wire_fetched_put(&a, &row);
    assert_int_equal(wire_fetched_take(buf_str(&row), 10, &b), ERR_OK);
    assert_int_equal(wire_fetched_take(buf_str(&row), 9, &b), ERR_CORRUPT);
    a.replay_nonce = STR("a\nb");
    buf_reset(&row);
    wire_fetched_put(&a, &row);
    assert_int_equal(wire_fetched_take(buf_str(&row), 10, &b), ERR_CORRUPT);
}

/* What a gate says of a message becomes lines of an HTTP request. rule: proc-1 */
static enum err scan(struct relay_scan q, size_t recipients)
{
    static str many[RELAY_SCAN_RECIPIENTS_MAX + 1];
    BUF_AUTO struct buf row = BUF_INIT(262144);
    ARENA_AUTO struct arena arena = ARENA_INIT(65536);
    struct relay_scan b;
    for (size_t i = 0; i < recipients; i++)
        many[i] = i % 2 ? STR("u@example.test") : STR("\xc3\xa4@example.test");
    if (!q.recipients)
        q.recipients = many;
    q.nrecipients = recipients;
    wire_scan_put(&q, &row);
    enum err e = wire_scan_take(buf_str(&row), &arena, &b);
    if (e == ERR_OK) {
        assert_int_equal(b.nrecipients, MIN(recipients, (size_t)RELAY_SCAN_RECIPIENTS_MAX));
        assert_true(str_eq(b.helo, q.helo) && str_eq(b.user, q.user) && b.timeout_ms == 7);
        assert_true(recipients == 0 || str_eq(b.recipients[0], q.recipients[0]));
    }
    return e;
}

static void test_a_scan_cannot_break_out_of_its_request(void **state)
{
    const str bad[] = {STR("a\r\nX: y"), STR("a\nb"), STR("a\rb"), STR("a\0b")};
    struct relay_scan good = {.sender = STR("a b@x.test"),
                              .source = {.family = 4, .ip = {192, 0, 2, 1}},
                              .helo = STR("h"),
                              .id = STR("id"),
                              .user = STR("u@x.test"),
                              .timeout_ms = 7};
    assert_int_equal(scan(good, 2), ERR_OK);
    assert_int_equal(scan(good, 0), ERR_OK);
    assert_int_equal(scan(good, RELAY_SCAN_RECIPIENTS_MAX + 1), ERR_OK);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct relay_scan q[5] = {good, good, good, good, good};
        q[0].sender = q[1].helo = q[2].id = q[3].user = bad[i];
        q[4].recipients = &bad[i];
        for (size_t k = 0; k < 5; k++)
            assert_int_equal(scan(q[k], 1), ERR_CORRUPT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records_are_of_the_type_that_was_asked),
        cmocka_unit_test(test_found_means_that_there_are_records),
        cmocka_unit_test(test_verdicts_cannot_break_out_of_a_line),
        cmocka_unit_test(test_notes),
        cmocka_unit_test(test_a_page_is_no_longer_than_asked),
        cmocka_unit_test(test_a_scan_cannot_break_out_of_its_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
