/* SPDX-License-Identifier: Apache-2.0
 *
 * test_fake_house: a house that knows a few names and believes what it is told; it keeps what was
 * delivered. For the tests and fuzzers of the protocols: bytes in, bytes out, no store.
 *
 * user@example.test signs in with "secret". Recipients: ok… is here, full…, off… and down… are what
 * they say, others at example.test are unknown, other domains are foreign.
 */
#ifndef CORE_TEST_FAKE_HOUSE_H
#define CORE_TEST_FAKE_HOUSE_H

#include <assert.h>
#include <string.h>

#include "core/house.h"
#include "net/stream.h"
#include "os/file.h"
#include "os/sock.h"
#include "os/sock_io.h"

#define FAKE_CONTENT_MAX 65536

struct fake_house {
    struct house table;
    enum err deliver_all;     /* for the whole */
    enum err deliver_by_n[8]; /* for a recipient; ERR_OK is 0 */
    size_t delivered, opened; /* calls */
    size_t recipients;        /* of the last delivery */
    bool one_answer;
    char content[FAKE_CONTENT_MAX], trace[4096], sender[1024];
    size_t size;
    int session_fd; /* the last session's, or -1 */
    enum err session_answer;
};

static inline enum err fake_auth_password(void *ctx, const struct auth_attempt *a, str password,
                                          struct arena *arena, struct auth_grant *out)
{
    if (!a->secure)
        return ERR_TLS_REQUIRED;
    if (str_starts(a->login, STR("down")))
        return ERR_UNAVAILABLE;
    if (!str_eq(a->login, STR("user@example.test")) || !str_eq(password, STR("secret")))
        return ERR_AUTH;
    *out = (struct auth_grant){.account = 7, .address = STR("user@example.test")};
    return ERR_OK;
}

static inline enum err fake_scram_salt(void *ctx, const struct auth_attempt *a,
                                       struct auth_scram_salt *out)
{
    *out = (struct auth_scram_salt){.iterations = 4096};
    return ERR_OK;
}

static inline enum err fake_scram_verify(void *ctx, const struct auth_attempt *a, str message,
                                         str proof, uint8_t signature[32], struct arena *arena,
                                         struct auth_grant *out)
{
    return ERR_AUTH;
}

static inline enum err fake_external(void *ctx, const struct auth_attempt *a, struct arena *arena,
                                     struct auth_grant *out)
{
    return ERR_AUTH;
}

static inline enum err fake_recipient(void *ctx, const struct recipient_check *c,
                                      struct recipient_verdict *out)
{
    static const struct {
        str prefix;
        enum err answer;
    } rows[] = {{STR_INIT("ok"), ERR_OK},
                {STR_INIT("postmaster"), ERR_OK},
                {STR_INIT("full"), ERR_QUOTA},
                {STR_INIT("off"), ERR_DISABLED},
                {STR_INIT("down"), ERR_UNAVAILABLE}};
    *out = (struct recipient_verdict){0};
    if (str_find(c->address, STR("example.test")) == STR_NPOS)
        return c->account || c->relay_allowed ? ERR_OK : ERR_RELAY;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (str_starts(c->address, rows[i].prefix)) {
            out->local = true;
            return rows[i].answer;
        }
    return ERR_NO_USER;
}

static inline enum err fake_sender(void *ctx, uint64_t account, str address)
{
    if (str_starts(address, STR("down")))
        return ERR_UNAVAILABLE;
    return str_empty(address) || str_eq(address, STR("user@example.test")) ? ERR_OK : ERR_SENDER;
}

static inline void fake_keep(char *out, size_t max, str text)
{
    size_t n = text.len < max - 1 ? text.len : max - 1;
    memcpy(out, text.data ? text.data : "", n);
    out[n] = 0;
}

/* What the house may rely on holds for everything that a stranger sends. */
static inline enum err fake_deliver(void *ctx, uint32_t home, const struct envelope *e,
                                    struct deliver_result *out)
{
    struct fake_house *f = ctx;
    assert(e->nrecipients > 0 && e->nrecipients <= ENVELOPE_RECIPIENTS_MAX);
    assert(str_ends(e->trace, STR("\r\n")) && !str_empty(e->helo) && !str_empty(e->id));
    assert(!str_empty(e->mime));
    fake_keep(f->trace, sizeof f->trace, e->trace);
    fake_keep(f->sender, sizeof f->sender, e->sender);
    f->size = e->size;
    f->one_answer = e->one_answer;
    size_t got = 0, want = e->size < sizeof f->content - 1 ? e->size : sizeof f->content - 1;
    enum err err = ERR_OK;
    if (e->fd >= 0)
        err = want ? file_read_at(e->fd, 0, f->content, want, &got) : ERR_OK;
    else if (want > 0)
        memcpy(f->content, e->content.data, got = want);
    assert(err == ERR_OK && got == want);
    f->content[got] = 0;
    for (size_t i = 0; e->body != 2 && i < got; i++)
        assert(f->content[i] != '\n' || (i > 0 && f->content[i - 1] == '\r'));
    f->delivered++;
    f->recipients = e->nrecipients;
    for (size_t i = 0; i < e->nrecipients; i++) {
        assert(!str_empty(e->recipients[i].address));
        out->recipients[i] = i < 8 ? f->deliver_by_n[i] : ERR_OK;
    }
    return f->deliver_all;
}

static inline enum err fake_session(void *ctx, const struct session_handoff *h)
{
    struct fake_house *f = ctx;
    int fd = h->fd;
    f->opened++;
    if (f->session_answer == ERR_OK) {
        file_close(&f->session_fd);
        f->session_fd = fd;
        return ERR_OK;
    }
    file_close(&fd);
    return f->session_answer;
}

static inline void fake_house_init(struct fake_house *f)
{
    memset(f, 0, sizeof *f);
    f->session_fd = -1;
    f->table = (struct house){
        .ctx = f,
        .auth_password = fake_auth_password,
        .auth_scram_salt = fake_scram_salt,
        .auth_scram_verify = fake_scram_verify,
        .auth_external = fake_external,
        .recipient_check = fake_recipient,
        .sender_check = fake_sender,
        .deliver = fake_deliver,
        .session_open = fake_session,
    };
}

/* A connection whose client has said everything already and then ended its direction; what it hears
 * is read from *client afterwards. */
static inline struct stream *fake_connection(str input, int *client)
{
    int fds[2];
    struct stream *s;
    size_t sent = 0;
    enum err e = sock_pair(fds);
    assert(e == ERR_OK);
    *client = fds[1];
    if (input.len > 0)
        e = sock_try_write(fds[1], &input, 1, &sent);
    assert(e == ERR_OK && sent == input.len); /* up to what a socket buffers */
    sock_shutdown_write(fds[1]);
    e = stream_open(fds[0], &s);
    assert(e == ERR_OK);
    struct address peer;
    bool valid = address_parse(STR("192.0.2.1"), &peer);
    assert(valid);
    stream_set_peer(s, &peer, &peer);
    return s;
}

static inline size_t fake_heard(int client, char *out, size_t max)
{
    size_t n = 0, got;
    while (n < max - 1 && sock_try_read(client, out + n, max - 1 - n, &got) == ERR_OK)
        n += got;
    out[n] = 0;
    file_close(&client);
    return n;
}

#endif
