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
#include "proto/imap/imap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const str texts[] = {
    STR_INIT("Subject: one\r\nMessage-ID: <1@x>\r\nContent-Type: multipart/mixed; boundary=b\r\n"
             "\r\n--b\r\n\r\ntext\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n"
             "Subject: in\r\n\r\ninner\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\n"
             "aGFsbG8A\r\n--b--\r\n"),
    STR_INIT("no header\n\n\n\r\r\n"),
    STR_INIT("From: \"=?utf-8?q?=C3=A4?=\" <a@b>\r\n\r\nx"),
};

static struct fake_house fake;

struct half {
    struct stream *s;
    struct accounts *accounts;
    struct fiber_group *group;
    const struct imap_config *config;
    struct imap_house house;
    struct directory directory;
};

/* The fake's own account is none that a store could have. */
static enum err sign_in(void *ctx, const struct auth_attempt *a, str password, struct arena *arena,
                        struct auth_grant *out)
{
    enum err e = fake_auth_password(ctx, a, password, arena, out);
    out->account = FUZZ_ACCOUNT;
    return e;
}

static void house_half(void *arg)
{
    struct half *h = arg;
    struct session_handoff handoff = {.protocol = PROTOCOL_IMAP,
                                      .who = {.account = FUZZ_ACCOUNT, .address = STR("a@b.test")},
                                      .peer = *stream_peer(h->s),
                                      .greeting = STR("* OK\r\n")};
    h->house = (struct imap_house){.accounts = h->accounts,
                                   .directory = &h->directory,
                                   .config = h->config,
                                   .house = &fake.table,
                                   .group = h->group};
    MUST_BE_OK(imap_start(h->s, &handoff, &h->house, NULL, NULL));
}

static void house_run(struct stream *s, const struct imap_config *config)
{
    struct loop *loop;
    struct fiber_group group;
    struct store *store;
    struct half h = {.s = s, .config = config, .group = &group};
    MUST_BE_OK(loop_open(&loop, &(struct loop_options){.name = "fuzz", .slice_warn_ms = 60000}));
    fiber_group_init(&group);
    h.accounts = fuzz_mailbox(texts, ARRAY_LEN(texts), &store);
    h.directory = (struct directory){store};
    MUST_BE_OK(fiber_start(&group, "start", house_half, &h));
    loop_run_until_idle(loop);
    accounts_close(h.accounts);
    store_close(store);
    loop_close(loop);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char heard[65536];
    int client;
    if (size == 0 || size > 65536)
        return 0;
    log_set_sink(fuzz_silent);
    fake_house_init(&fake);
    fake.table.auth_password = sign_in;
    struct imap_config config = {.hostname = STR("mail.example.test"),
                                 .errors_max = 30,
                                 .login_timeout_ms = 20,
                                 .idle_timeout_ms = 20,
                                 .keepalive_ms = 10,
                                 .append_max = 65536,
                                 .message_limit = data[0] & 4 ? 2 : 0,
                                 .auth_plain_loopback = true};
    struct imap_listener l = {.config = &config, .house = &fake.table};
    struct stream *s = fake_connection(str_of(data + 1, size - 1), &client);
    struct address loopback;
    if ((data[0] & 2) && address_parse(STR("127.0.0.1"), &loopback))
        stream_set_peer(s, &loopback, &loopback);
    if (data[0] & 1)
        house_run(s, &config);
    else
        imap_gate(s, &l);
    fake_heard(client, heard, sizeof heard);
    file_close(&fake.session_fd);
    return 0;
}
