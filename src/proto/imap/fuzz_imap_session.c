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
#include "proto/imap/imap.h"

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
    put(a, STR("Subject: one\r\nMessage-ID: <1@x>\r\nContent-Type: multipart/mixed; boundary=b\r\n"
               "\r\n--b\r\n\r\ntext\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n"
               "Subject: in\r\n\r\ninner\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\n"
               "aGFsbG8A\r\n--b--\r\n"));
    put(a, STR("no header\n\n\n\r\r\n"));
    put(a, STR("From: \"=?utf-8?q?=C3=A4?=\" <a@b>\r\n\r\nx"));
    account_close(a);
    return as;
}

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
    out->account = ACCOUNT;
    return e;
}

static void house_half(void *arg)
{
    struct half *h = arg;
    struct session_handoff handoff = {.protocol = PROTOCOL_IMAP,
                                      .who = {.account = ACCOUNT, .address = STR("a@b.test")},
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
    h.accounts = mailbox_make(&store);
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
    log_set_sink(silent);
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
