/* SPDX-License-Identifier: Apache-2.0
 *
 * The expected bytes were made with dnspython 2.3.
 */
#include "format/test_cmocka.h"

#include <stdlib.h>
#include <string.h>

#include "base/code.h"
#include "format/dns_update.h"

static const char plain_hex[] =
    "123428000001000000040000076578616d706c6504746573740000060001076578616d706c65047465737400"
    "000f00ff000000000000076578616d706c65047465737400000f000100000e100015000a046d61696c076578"
    "616d706c6504746573740001730a5f646f6d61696e6b6579076578616d706c65047465737400001000010000"
    "0e10012eff6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b"
    "6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b"
    "6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b"
    "6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b"
    "6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b"
    "6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b2d6b6b6b"
    "6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b065f"
    "696d617073045f746370076578616d706c650474657374000021000100000e1000190000000103e1046d6169"
    "6c076578616d706c65047465737400";

static const char input_hex[] =
    "123428000001000000040000076578616d706c6504746573740000060001076578616d706c65047465737400"
    "000f00ff000000000000076578616d706c65047465737400000f000100000e100015000a046d61696c076578"
    "616d706c6504746573740001730a5f646f6d61696e6b6579076578616d706c65047465737400001000010000"
    "0e10012eff6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b"
    "6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b"
    "6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b"
    "6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b"
    "6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b"
    "6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b2d6b6b6b"
    "6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b065f"
    "696d617073045f746370076578616d706c650474657374000021000100000e1000190000000103e1046d6169"
    "6c076578616d706c65047465737400036b657904746573740000ff000000000b686d61632d73686132353600"
    "00006553f100012c00000000";

static const char mac_hex[] = "3a14a6b081299efadaca9a893e94b2197dc68b43a37dc148768972fcf936c3ae";

static const char signed_hex[] =
    "123428000001000000040001076578616d706c6504746573740000060001076578616d706c65047465737400"
    "000f00ff000000000000076578616d706c65047465737400000f000100000e100015000a046d61696c076578"
    "616d706c6504746573740001730a5f646f6d61696e6b6579076578616d706c65047465737400001000010000"
    "0e10012eff6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b"
    "6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b"
    "6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b"
    "6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b"
    "6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b"
    "6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b2d6b6b6b"
    "6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b065f"
    "696d617073045f746370076578616d706c650474657374000021000100000e1000190000000103e1046d6169"
    "6c076578616d706c65047465737400036b657904746573740000fa00ff00000000003d0b686d61632d736861"
    "3235360000006553f100012c00203a14a6b081299efadaca9a893e94b2197dc68b43a37dc148768972fcf936"
    "c3ae123400000000";

static const char answer_hex[] =
    "1234a8050001000000000001076578616d706c6504746573740000060001036b6579c01400fa00ff00000000"
    "003d0b686d61632d7368613235360000006553f100012c0020c360c0fd2b7e1f6f82d9fd5e5bd17426e07aa9"
    "9e249036532afc74c99b693da9123400000000";

static const char answer_mac_hex[] =
    "c360c0fd2b7e1f6f82d9fd5e5bd17426e07aa99e249036532afc74c99b693da9";

static const char answer_input_hex[] =
    "00203a14a6b081299efadaca9a893e94b2197dc68b43a37dc148768972fcf936c3ae1234a805000100000000"
    "0000076578616d706c6504746573740000060001036b657904746573740000ff000000000b686d61632d7368"
    "613235360000006553f100012c00000000";

static void assert_hex(str bytes, const char *hex)
{
    BUF_AUTO struct buf text = BUF_INIT(1 << 20);
    code_hex(&text, bytes);
    buf_add_char(&text, 0);
    assert_string_equal(text.data, hex);
}

static void build(struct dns_update *u)
{
    BUF_AUTO struct buf rdata = BUF_INIT(DNS_MESSAGE_MAX);
    dns_update_begin(u, 0x1234, STR("example.test"));
    dns_update_clear(u, STR("example.test"), 15);
    assert_true(dns_rdata_mx(10, STR("mail.example.test"), &rdata));
    dns_update_add(u, STR("example.test"), 15, 3600, buf_str(&rdata));
    char text[300];
    memset(text, 'k', sizeof(text));
    buf_reset(&rdata);
    assert_true(dns_rdata_txt(str_of(text, sizeof(text)), &rdata));
    dns_update_add(u, STR("s._domainkey.example.test"), 16, 3600, buf_str(&rdata));
    buf_reset(&rdata);
    assert_true(dns_rdata_srv(0, 1, 993, STR("mail.example.test"), &rdata));
    dns_update_add(u, STR("_imaps._tcp.example.test"), 33, 3600, buf_str(&rdata));
    assert_ok(dns_update_done(u));
}

static void test_message(void **state)
{
    struct dns_update u;
    build(&u);
    assert_hex(buf_str(&u.out), plain_hex);
    buf_free(&u.out);
}

static void test_tsig(void **state)
{
    struct dns_update u;
    build(&u);
    BUF_AUTO struct buf input = BUF_INIT(1 << 20), mac = BUF_INIT(64);
    struct dns_tsig t = {.key_name = STR("key.test"), .time_s = 1700000000, .original_id = 0x1234};
    assert_true(dns_update_tsig_input(STR_NONE, buf_str(&u.out), &t, &input));
    assert_hex(buf_str(&input), input_hex);
    assert_ok(code_hex_decode(&mac, str_c(mac_hex)));
    assert_true(dns_update_tsig_add(&u.out, &t, buf_str(&mac)));
    assert_hex(buf_str(&u.out), signed_hex);
    buf_free(&u.out);
}

static void test_answer(void **state)
{
    BUF_AUTO struct buf answer = BUF_INIT(1 << 16), without = BUF_INIT(1 << 16),
                        input = BUF_INIT(1 << 16), mac = BUF_INIT(64);
    struct dns_update_answer a;
    assert_ok(code_hex_decode(&answer, str_c(answer_hex)));
    assert_ok(dns_update_answer_parse(buf_str(&answer), &a));
    assert_true(a.has_tsig && a.rcode == 5 && a.id == 0x1234);
    assert_true(str_eq(a.tsig.key_name, STR("key.test")));
    assert_hex(a.tsig.mac, answer_mac_hex);
    dns_update_answer_unsigned(&a, &without);
    assert_ok(code_hex_decode(&mac, str_c(mac_hex)));
    assert_true(dns_update_tsig_input(buf_str(&mac), buf_str(&without), &a.tsig, &input));
    assert_hex(buf_str(&input), answer_input_hex);
    for (size_t i = 0; i < answer.len; i++) /* cut anywhere it is malformed */
        assert_int_equal(dns_update_answer_parse(str_head(buf_str(&answer), i), &a), ERR_SYNTAX);
}

static void test_refused(void **state)
{
    struct dns_update u;
    struct dns_update_answer a;
    dns_update_begin(&u, 1, STR("a..b"));
    assert_int_equal(dns_update_done(&u), ERR_INVALID);
    buf_free(&u.out);
    char label[64];
    memset(label, 'a', sizeof(label));
    dns_update_begin(&u, 1, str_of(label, sizeof(label)));
    assert_int_equal(dns_update_done(&u), ERR_INVALID);
    buf_free(&u.out);
    /* A name that points at itself ends. */
    assert_int_equal(
        dns_update_answer_parse(
            STR("\x12\x34\xa8\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x06\x00\x01"), &a),
        ERR_SYNTAX);
    /* A question is no answer. */
    assert_int_equal(
        dns_update_answer_parse(STR("\x12\x34\x28\x00\x00\x00\x00\x00\x00\x00\x00\x00"), &a),
        ERR_SYNTAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_message),
        cmocka_unit_test(test_tsig),
        cmocka_unit_test(test_answer),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
