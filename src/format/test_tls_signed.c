/* SPDX-License-Identifier: Apache-2.0 */
#include "format/test_cmocka.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "format/tls_signed.h"

static const char context[] = "TLS 1.3, server CertificateVerify";

static void add_times(struct buf *b, char c, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf_add_char(b, c);
}

static enum tls_signed verify_with(size_t spaces, const char *what, size_t hash)
{
    BUF_AUTO struct buf b = BUF_INIT(4096);
    add_times(&b, ' ', spaces);
    buf_add(&b, str_of(what, strlen(what) + 1));
    add_times(&b, 'h', hash);
    return tls_signed_kind(buf_str(&b));
}

static enum tls_signed exchange_with(uint8_t type, uint8_t group, uint8_t named, size_t point,
                                     uint8_t form)
{
    BUF_AUTO struct buf b = BUF_INIT(4096);
    add_times(&b, 'r', 64);
    buf_add_char(&b, (char)type);
    buf_add_char(&b, 0);
    buf_add_char(&b, (char)group);
    buf_add_char(&b, (char)named);
    buf_add_char(&b, (char)form);
    add_times(&b, 'p', point - 1);
    return tls_signed_kind(buf_str(&b));
}

static void test_what_servers_sign(void **state)
{
    assert_int_equal(verify_with(64, context, 32), TLS_SIGNED_1_3);
    assert_int_equal(verify_with(64, context, 48), TLS_SIGNED_1_3);
    assert_int_equal(exchange_with(3, 23, 65, 65, 4), TLS_SIGNED_1_2);
    assert_int_equal(exchange_with(3, 24, 97, 97, 4), TLS_SIGNED_1_2);
    assert_int_equal(exchange_with(3, 29, 32, 32, 'x'), TLS_SIGNED_1_2);
}

static void test_nothing_else(void **state)
{
    assert_int_equal(tls_signed_kind(STR_NONE), TLS_SIGNED_NOTHING);
    assert_int_equal(tls_signed_kind(STR("a digest of 32 bytes, of whatever")), TLS_SIGNED_NOTHING);
    assert_int_equal(verify_with(63, context, 33), TLS_SIGNED_NOTHING);
    assert_int_equal(verify_with(64, context, 64), TLS_SIGNED_NOTHING);
    assert_int_equal(verify_with(64, context, 0), TLS_SIGNED_NOTHING);
    assert_int_equal(verify_with(64, "TLS 1.3, client CertificateVerify", 32), TLS_SIGNED_NOTHING);
    assert_int_equal(exchange_with(1, 23, 65, 65, 4), TLS_SIGNED_NOTHING);
    assert_int_equal(exchange_with(3, 23, 65, 64, 4), TLS_SIGNED_NOTHING);
    assert_int_equal(exchange_with(3, 23, 65, 66, 4), TLS_SIGNED_NOTHING);
    assert_int_equal(exchange_with(3, 23, 64, 65, 4), TLS_SIGNED_NOTHING);
    assert_int_equal(exchange_with(3, 23, 65, 65, 2), TLS_SIGNED_NOTHING);
    assert_int_equal(exchange_with(3, 25, 133, 133, 4), TLS_SIGNED_NOTHING);
}

static void test_schemes(void **state)
{
    assert_true(tls_signed_allowed(TLS_SIGNED_1_2, 0x0401));
    assert_true(tls_signed_allowed(TLS_SIGNED_1_3, 0x0804));
    assert_true(tls_signed_allowed(TLS_SIGNED_1_3, 0x0403));
    assert_false(tls_signed_allowed(TLS_SIGNED_1_3, 0x0401));
    assert_false(tls_signed_allowed(TLS_SIGNED_NOTHING, 0x0403));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_servers_sign),
        cmocka_unit_test(test_nothing_else),
        cmocka_unit_test(test_schemes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
