/* SPDX-License-Identifier: Apache-2.0
 *
 * What the relay reads of others beside deliveries: greetings, pages.
 * rule: wire-5
 */
#include "proto/relay/test_far_server.h"

/* ---- exchanges ---- */

static void test_a_greeting_is_read_of_a_host_by_name(void **state)
{
    usual_dns(false);
    world.exchange = "mx.example.net";
    SCRIPT(0, ">220 mx.example.net ESMTP");
    run();
    OK(world.exchange_result);
    assert_true(str_eq(world.banner, STR("220 mx.example.net ESMTP")));
}

/* ---- fetches ---- */

/* rule: web-3 */
static void test_fetches_from_private_addresses_are_refused(void **state)
{
    world.fetch = "/x";
    world.private_refused = true;
    run();
    assert_int_equal(world.fetch_result, ERR_DENIED);
    assert_int_equal(world.connections, 0);
}

#define ASKED                                                                                      \
    "<GET /x HTTP/1.1", "<Host: 127.0.0.1:", "<User-Agent", "<Accept", "<Connection: close", "<"
static void test_pages_are_fetched(void **state)
{
    world.fetch = "/x";
    SCRIPT(0, ASKED, ">HTTP/1.1 100 Continue", ">", ">HTTP/1.1 200 OK", ">Content-Type: text/plain",
           ">Content-Length: 5", ">", "!raw hello world");
    run();
    OK(world.fetch_result);
    assert_true(world.fetched.status == 200 && str_eq(world.fetched.body, STR("hello")));
    assert_true(str_eq(world.fetched.content_type, STR("text/plain")));
    reset(NULL);
    world.fetch = "/x";
    SCRIPT(0, ASKED, ">HTTP/1.1 404 No", ">Transfer-Encoding: chunked", ">", ">3;x=y", ">abc", ">A",
           ">0123456789", ">0", ">");
    run();
    OK(world.fetch_result);
    assert_true(world.fetched.status == 404 && str_eq(world.fetched.body, STR("abc0123456789")));
    reset(NULL);
    world.fetch = "/x";
    SCRIPT(0, ASKED, ">HTTP/1.0 302 Found", ">Location: http://10.0.0.1/", ">", "!raw to the end",
           "!close");
    run();
    OK(world.fetch_result);
    assert_true(str_eq(world.fetched.location, STR("http://10.0.0.1/")));
    assert_true(str_eq(world.fetched.body, STR("to the end")));
}

static void test_hostile_pages(void **state)
{
    static const struct {
        const char *steps[12];
        enum err want;
    } cases[] = {
        {{ASKED, ">HTTP/1.1 200 OK", ">Content-Length: 1000000", ">"}, ERR_TOO_LARGE},
        {{ASKED, ">HTTP/1.1 200 OK", ">Transfer-Encoding: chunked", ">", ">ffffffffffff"},
         ERR_TOO_LARGE},
        {{ASKED, ">HTTP/1.1 200 OK", ">Content-Length: 5", ">Content-Length: 6", ">"}, ERR_SYNTAX},
        {{ASKED, ">SSH-2.0-nothing"}, ERR_SYNTAX},
        {{ASKED, ">HTTP/1.1 200 OK", ">Content-Length: 9", ">", "!raw abc", "!close"}, ERR_EOF},
        {{ASKED, ">HTTP/1.1 200 OK", "!drip"}, ERR_TIMEOUT},
        {{ASKED, ">HTTP/1.1 200 OK", "!endless"}, ERR_SYNTAX},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        reset(NULL);
        world.fetch = "/x";
        memcpy(world.scripts[0], cases[i].steps, sizeof(cases[i].steps));
        run();
        if (world.fetch_result != cases[i].want)
            fail_msg("case %zu: %s", i, err_name(world.fetch_result));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_a_greeting_is_read_of_a_host_by_name),
        T(test_fetches_from_private_addresses_are_refused),
        T(test_pages_are_fetched),
        T(test_hostile_pages),
    };
    return cmocka_run_group_tests(tests, make_world, free_world);
}
