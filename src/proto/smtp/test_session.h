/* SPDX-License-Identifier: Apache-2.0
 *
 * test_session: a whole session on a loop, from one address, with all that its client says at once.
 * Included after cmocka.
 */
#ifndef PROTO_SMTP_TEST_SESSION_H
#define PROTO_SMTP_TEST_SESSION_H

#include <stdio.h>
#include <string.h>

#include "core/test_fake_house.h"
#include "os/fiber.h"
#include "os/loop.h"
#include "proto/smtp/smtp.h"

#define OK(call) assert_int_equal((call), ERR_OK)
#define HAS(text, part)                                                                            \
    do {                                                                                           \
        if (!strstr((text), (part)))                                                               \
            fail_msg("no \"%s\" in: %s", (part), (text));                                          \
    } while (0)
#define HAS_NOT(text, part) assert_null(strstr((text), (part)))

struct test_session {
    struct smtp_listener listener; /* its config and role_id are filled in */
    struct smtp_policy policy;
    const char *peer;
    struct stream *stream; /* the function's own */
    char heard[65536];
};

static inline void test_session_serve(void *arg)
{
    struct test_session *t = arg;
    struct smtp_config config = {
        .hostname = STR("mx.here.test"),
        .size_max = 1 << 20,
        .recipients_max = 10,
        .transactions_max = 10,
        .errors_max = 10,
        .command_timeout_ms = 5000,
        .data_timeout_ms = 5000,
        .message_timeout_ms = 20000,
        .auth_plain_loopback = true,
        .policy = t->policy,
    };
    struct address peer, local;
    assert_true(address_parse(str_c(t->peer), &peer));
    assert_true(address_parse(STR("192.0.2.25"), &local));
    stream_set_peer(t->stream, &peer, &local);
    t->listener.config = &config;
    t->listener.role_id = "t";
    smtp_serve(t->stream, &t->listener);
}

static inline void test_session_run(struct test_session *t, const char *says)
{
    struct loop *loop;
    struct fiber_group group;
    int client;
    OK(loop_open(&loop, &(struct loop_options){.name = "test"}));
    fiber_group_init(&group);
    t->stream = fake_connection(str_c(says), &client);
    OK(fiber_start(&group, "server", test_session_serve, t));
    loop_run_until_idle(loop);
    loop_close(loop);
    fake_heard(client, t->heard, sizeof(t->heard));
}

#endif
