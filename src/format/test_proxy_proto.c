/* SPDX-License-Identifier: Apache-2.0 */
#include "format/test_cmocka.h"

#include <string.h>

#include "base/num.h"
#include "format/proxy_proto.h"

/* The whole is given, and every shorter beginning asks for more. */
static enum proxy_result parse(str in, size_t header, struct proxy_header *h)
{
    size_t used;
    for (size_t n = 0; n < header; n++)
        assert_int_equal(proxy_header_parse(str_head(in, n), h, &used), PROXY_MORE);
    enum proxy_result r = proxy_header_parse(in, h, &used);
    if (r == PROXY_DONE)
        assert_int_equal(used, header);
    return r;
}

static void test_v1(void **state)
{
    struct proxy_header h;
    str in = STR("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\nEHLO");
    assert_int_equal(parse(in, in.len - 4, &h), PROXY_DONE);
    assert_memory_equal(h.source, "\xc0\xa8\x00\x01", 4);
    assert_int_equal(h.source_port, 56324);
    assert_int_equal(h.dest_port, 443);
    in = STR("PROXY TCP6 2001:db8::1 ::ffff:1.2.3.4 1 2\r\n");
    assert_int_equal(parse(in, in.len, &h), PROXY_DONE);
    assert_memory_equal(h.source, "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01", 16);
    assert_memory_equal(h.dest, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x01\x02\x03\x04", 16);
    in = STR("PROXY UNKNOWN ff whatever\r\n");
    assert_int_equal(parse(in, in.len, &h), PROXY_DONE);
    assert_true(h.local);
    static const str bad[] = {
        STR_INIT("EHLO x\r\n"),
        STR_INIT("PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n"),
        STR_INIT("PROXY TCP4 1.2.3.4 1.2.3.256 1 2\r\n"),
        STR_INIT("PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n"),
        STR_INIT("PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n"),
        STR_INIT("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n"),
        STR_INIT("PROXY TCP6 1::2::3 ::1 1 2\r\n"),
        STR_INIT("PROXY TCP6 1:2:3:4:5:6:7:8:9 ::1 1 2\r\n"),
        STR_INIT("PROXY TCP6 1:2:3: ::1 1 2\r\n"),
        STR_INIT("PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n"),
        STR_INIT("PROXY \r\n"),
    };
    size_t used;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(proxy_header_parse(bad[i], &h, &used), PROXY_BAD);
    char longer[200];
    memset(longer, 'x', sizeof(longer));
    memcpy(longer, "PROXY ", 6);
    assert_int_equal(proxy_header_parse(str_of(longer, 106), &h, &used), PROXY_MORE);
    assert_int_equal(proxy_header_parse(str_of(longer, 107), &h, &used), PROXY_BAD);
}

#define V2 "\r\n\r\n\0\r\nQUIT\n"
static void test_v2(void **state)
{
    struct proxy_header h;
    str in = STR(V2 "\x21\x11\0\x17"
                    "\1\2\3\4\5\6\7\x08\x01\x02\0\x19"
                    "\x20\0\5\1\0\0\0\0\1\0\0");
    in.len = 16 + 12 + 11;
    assert_int_equal(parse(in, in.len, &h), PROXY_DONE);
    assert_int_equal(h.version, 2);
    assert_memory_equal(h.source, "\1\2\3\4", 4);
    assert_int_equal(h.source_port, 258);
    assert_int_equal(h.dest_port, 25);
    assert_true(h.tls);
    in = STR(V2 "\x20\0\0\0");
    assert_int_equal(parse(in, in.len, &h), PROXY_DONE);
    assert_true(h.local);
    static const str bad[] = {
        STR_INIT(V2 "\x11\x11\0\0"),
        STR_INIT(V2 "\x22\x11\0\0"),
        STR_INIT(V2 "\x21\x11\0\4\1\2\3\4"),
        STR_INIT(V2 "\x21\x41\0\0"),
        STR_INIT(V2 "\x21\x11\xff\xff"),
        STR_INIT(V2 "\x21\x11\0\x0d\1\2\3\4\5\6\7\x08\1\2\0\x19\1"),
    };
    size_t used;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(proxy_header_parse(bad[i], &h, &used), PROXY_BAD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_v1), cmocka_unit_test(test_v2)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
