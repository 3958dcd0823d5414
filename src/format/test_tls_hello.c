/* SPDX-License-Identifier: Apache-2.0 */
#include "format/test_cmocka.h"

#include "base/buf.h"
#include "format/tls_hello.h"

static void vector16(struct buf *out, str bytes)
{
    buf_add_be16(out, (uint16_t)bytes.len);
    buf_add(out, bytes);
}

static void extension(struct buf *out, uint16_t type, str list)
{
    BUF_AUTO struct buf body = BUF_INIT(4096);
    vector16(&body, list);
    buf_add_be16(out, type);
    vector16(out, buf_str(&body));
}

/* A record with a ClientHello: SNI and ALPN as given, each left out when it is empty. */
static void hello(struct buf *out, str name, str protocols)
{
    BUF_AUTO struct buf sni = BUF_INIT(4096), ext = BUF_INIT(4096), body = BUF_INIT(8192);
    buf_add_char(&sni, 0);
    vector16(&sni, name);
    extension(&ext, 43, STR("\x03\x04"));
    if (name.len)
        extension(&ext, 0, buf_str(&sni));
    if (protocols.len)
        extension(&ext, 16, protocols);
    buf_add(&body, STR("\x03\x03"));
    for (int i = 0; i < 32; i++)
        buf_add_char(&body, 'r');
    buf_add(&body, STR("\0\0\x02\x13\x01\x01\0"));
    vector16(&body, buf_str(&ext));
    buf_add(out, STR("\x16\x03\x01"));
    buf_add_be16(out, (uint16_t)(body.len + 4));
    buf_add_be32(out, 0x01000000u | (uint32_t)body.len);
    buf_add(out, buf_str(&body));
}

static void assert_step(str name, str protocols, enum tls_hello_step want)
{
    str got;
    BUF_AUTO struct buf in = BUF_INIT(8192);
    hello(&in, name, protocols);
    for (size_t n = 0; n < in.len; n++)
        assert_int_equal(tls_hello_read(str_of(in.data, n), &got), TLS_HELLO_MORE);
    assert_int_equal(tls_hello_read(buf_str(&in), &got), want);
    if (want == TLS_HELLO_ACME)
        assert_true(str_eq(got, name));
}

static void test_who_asks(void **state)
{
    str name = STR("mail.example.test");
    assert_step(name,
                STR("\x0a"
                    "acme-tls/1"),
                TLS_HELLO_ACME);
    assert_step(name,
                STR("\x0a"
                    "acme-tls/2"),
                TLS_HELLO_OTHER);
    assert_step(name,
                STR("\x0a"
                    "acme-tls/1\x02h2"),
                TLS_HELLO_OTHER);
    assert_step(name,
                STR("\x02h2\x0a"
                    "acme-tls/1"),
                TLS_HELLO_OTHER);
    assert_step(name,
                STR("\x0b"
                    "acme-tls/1"),
                TLS_HELLO_OTHER);
    assert_step(name, STR_NONE, TLS_HELLO_OTHER);
    assert_step(STR_NONE,
                STR("\x0a"
                    "acme-tls/1"),
                TLS_HELLO_OTHER);
}

static void test_what_is_none(void **state)
{
    str name;
    assert_int_equal(tls_hello_read(STR("GET / HTTP/1.1\r\n"), &name), TLS_HELLO_OTHER);
    assert_int_equal(tls_hello_read(STR("\x16\x03\x01\xff\xff"), &name), TLS_HELLO_OTHER);
    assert_int_equal(tls_hello_read(STR("\x16\x03\x01\0\0"), &name), TLS_HELLO_OTHER);
    assert_int_equal(tls_hello_read(STR("\x16\x03\x01\0\x04\x02\0\0\0"), &name), TLS_HELLO_OTHER);
    assert_int_equal(tls_hello_read(STR("\x16\x03\x01\0\x04\x01\0\0\x09"), &name), TLS_HELLO_OTHER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_asks),
        cmocka_unit_test(test_what_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
