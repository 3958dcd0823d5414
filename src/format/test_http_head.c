/* SPDX-License-Identifier: Apache-2.0 */
#include "format/test_cmocka.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/num.h"
#include "format/http_head.h"

static void test_requests(void **state)
{
    struct http_head h;
    assert_ok(http_head_parse(STR("GET /.well-known/acme-challenge/abc?x=1 HTTP/1.1\r\n"
                                  "Host: MAIL.example.test:80\r\nUser-Agent: x\r\n"),
                              &h));
    assert_true(str_eq(h.method, STR("GET")));
    assert_true(str_eq(h.path, STR("/.well-known/acme-challenge/abc")));
    assert_true(str_eq(h.query, STR("x=1")));
    assert_true(str_eq(h.host, STR("MAIL.example.test")));
    assert_true(h.keep && !h.body);
    assert_ok(http_head_parse(STR("GET / HTTP/1.0\r\n"), &h));
    assert_true(!h.keep && str_empty(h.host));
    assert_ok(http_head_parse(STR("GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n"
                                  "Connection: x, Close\r\n"),
                              &h));
    assert_true(!h.keep && str_eq(h.host, STR("[2001:db8::1]")));
    assert_ok(http_head_parse(STR("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n"), &h));
    assert_true(h.body && !h.keep);
    assert_ok(http_head_parse(STR("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n"), &h));
    assert_true(!h.body && h.keep);
}

/* What two readers could understand differently is refused. */
static void test_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "GET / HTTP/1.1\n",
        "GET / HTTP/1.1\r\n",                       /* no Host */
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n", /* two */
        "GET / HTTP/1.1\r\nHost: a b\r\n",
        "GET / HTTP/1.1\r\nHost: a:80:80\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n", /* space before the colon */
        "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n",
        "GET / HTTP/1.1\r\nHost: a\nX: b\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: b",
        "GET  / HTTP/1.1\r\nHost: a\r\n",
        "GET http://a/ HTTP/1.1\r\nHost: a\r\n",
        "GET /a b HTTP/1.1\r\nHost: a\r\n",
        "GET /a#b HTTP/1.1\r\nHost: a\r\n",
        "G(T / HTTP/1.1\r\nHost: a\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n",
    };
    struct http_head h;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(http_head_parse(str_c(bad[i]), &h), ERR_SYNTAX);
    assert_int_equal(http_head_parse(STR("GET / HTTP/2.0\r\n"), &h), ERR_UNSUPPORTED);
    BUF_AUTO struct buf many = BUF_INIT(65536);
    buf_add_c(&many, "GET / HTTP/1.1\r\nHost: a\r\n");
    for (int i = 0; i < HTTP_FIELDS_MAX; i++)
        buf_add_c(&many, "a: b\r\n");
    assert_int_equal(http_head_parse(buf_str(&many), &h), ERR_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
