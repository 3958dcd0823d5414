/* SPDX-License-Identifier: Apache-2.0
 *
 * Both halves from any bytes: the gate's before signing in (first byte even), the house's over a
 * mailbox of three messages (odd).
 */
#include <stdlib.h>

#include "base/log.h"
#include "core/mailbox.h"
#include "core/message.h"
#include "core/test_fake_house.h"
#include "format/mime_cold.h"
#include "os/loop.h"
#include "os/sock_io.h"
#include "proto/pop3/pop3.h"

#define ACCOUNT 4000u
#define MUST_BE_OK(call)                                                                           \
    do {                                                                                           \
        enum err must_ = (call);                                                                   \
        assert(must_ == ERR_OK);                                                                   \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void silent(enum log_level level, str line) { (void)level; }

static enum err no_quota(void *ctx, uint64_t account, struct quota *out)
{
    *out = (struct quota){0};
    return ERR_OK;
}

static void put(struct account *a, str text)
{
    ARENA_AUTO struct arena arena = ARENA_INIT(MIME_ARENA_MAX);
    BUF_AUTO struct buf cold = BUF_INIT(65536);
    struct mime m;
    struct message_new n = MESSAGE_NEW_INIT;
    struct message_added added;
    struct message_add_result result;
    MUST_BE_OK(mime_parse(&arena, text, &m));
    MUST_BE_OK(mime_cold_encode(&arena, &m, &cold));
    n.data = text;
    n.mime = buf_str(&cold);
    MUST_BE_OK(message_add(a, mailbox_find(a, STR("INBOX"))->id, &n, 1, NULL, &added, &result));
}

/* A mailbox anew for each input: what one deletes is there for the next. */
static struct accounts *mailbox_make(struct store **store)
{
    struct accounts *as;
    struct account *a;
    MUST_BE_OK(store_open_memory(store));
    MUST_BE_OK(accounts_open(&(struct accounts_options){.store = *store, .quota = no_quota}, &as));
    MUST_BE_OK(account_open(as, ACCOUNT, &a));
    MUST_BE_OK(account_create_mailboxes(a));
    put(a, STR("Subject: one\r\n\r\n.line\r\n..\r\nend"));
    put(a, STR("no header\n\n\n\r\r\n"));
    put(a, STR("\r\n"));
    account_close(a);
    return as;
}

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
                                      .who = {.account = ACCOUNT, .address = STR("a@b.test")},
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
    h.accounts = mailbox_make(&store);
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
    log_set_sink(silent);
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
