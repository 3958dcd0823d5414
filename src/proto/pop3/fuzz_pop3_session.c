/* SPDX-License-Identifier: Apache-2.0
 *
 * Both halves from any bytes: the gate's before signing in (first byte even), the house's over a
 * mailbox of three messages (odd).
 */
#include <stdlib.h>

#include "base/num.h"
#include "core/fuzz_mailbox.h"
#include "core/test_fake_house.h"
#include "os/loop.h"
#include "os/sock_io.h"
#include "proto/pop3/pop3.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const str texts[] = {
    STR_INIT("Subject: one\r\n\r\n.line\r\n..\r\nend"),
    STR_INIT("no header\n\n\n\r\r\n"),
    STR_INIT("\r\n"),
};

struct half {
    struct stream *s;
    struct accounts *accounts;
    struct fiber_group *group;
    const struct pop3_config *config;
};

static void house_half(void *arg)
{
    struct half *h = arg;
    struct session_handoff handoff = {.protocol = PROTOCOL_POP3,
                                      .who = {.account = FUZZ_ACCOUNT, .address = STR("a@b.test")},
                                      .greeting = STR("+OK\r\n")};
    MUST_BE_OK(pop3_start(h->s, &handoff, h->accounts, h->config, h->group, NULL, NULL));
}

static void house_run(struct stream *s, const struct pop3_config *config)
{
    struct loop *loop;
    struct fiber_group group;
    struct store *store;
    struct half h = {.s = s, .config = config, .group = &group};
    MUST_BE_OK(loop_open(&loop, &(struct loop_options){.name = "fuzz", .slice_warn_ms = 60000}));
    fiber_group_init(&group);
    h.accounts = fuzz_mailbox(texts, ARRAY_LEN(texts), &store);
    MUST_BE_OK(fiber_start(&group, "start", house_half, &h));
    loop_run_until_idle(loop);
    accounts_close(h.accounts);
    store_close(store);
    loop_close(loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fake_house house;
    static char heard[65536];
    int client;
    if (size == 0 || size > 65536)
        return 0;
    log_set_sink(fuzz_silent);
    fake_house_init(&house);
    struct pop3_config config = {.hostname = STR("mail.example.test"),
                                 .errors_max = 30,
                                 .login_timeout_ms = 20,
                                 .idle_timeout_ms = 20,
                                 .auth_plain_loopback = true};
    struct pop3_listener l = {.config = &config, .house = &house.table};
    struct stream *s = fake_connection(str_of(data + 1, size - 1), &client);
    struct address loopback;
    if ((data[0] & 2) && address_parse(STR("127.0.0.1"), &loopback))
        stream_set_peer(s, &loopback, &loopback);
    if (data[0] & 1)
        house_run(s, &config);
    else
        pop3_gate(s, &l);
    fake_heard(client, heard, sizeof heard);
    file_close(&house.session_fd);
    return 0;
}
