/* SPDX-License-Identifier: Apache-2.0
 *
 * Hostile servers: whatever comes as replies, a client's session ends, and no recipient is told
 * "delivered" unless content was asked for. rule: wire-5
 */
#include "net/stream.h"
#include "os/file.h"
#include "os/sock_io.h"
#include "proto/relay/smtp_client.h"

#include <assert.h>

static int content_fd = -1;
static const char content[] = "Subject: x\r\n\r\n.dot\r\nbody\r\n";

static void send_all(struct smtp_client *c, const struct relay_job *job)
{
    ARENA_AUTO struct arena arena = ARENA_INIT(1 << 20);
    struct smtp_content facts = {.fd = content_fd, .size = sizeof(content) - 1};
    struct relay_verdict verdicts[3] = {0};
    bool decided[3] = {false};
    struct smtp_lack lack;
    enum err e = smtp_client_send(c, job, &facts, &arena, verdicts, decided, &lack);
    for (size_t i = 0; i < job->nrecipients; i++)
        assert(e != ERR_OK || decided[i] != (lack.enhanced != NULL));
}

static void session(struct stream *s, bool lmtp)
{
    static const struct smtp_client_timeouts quick = {50, 50, 50, 50, 50, 50, 50, 50};
    struct smtp_client_options o = {.timeouts = &quick, .helo = STR("us.example"), .lmtp = lmtp};
    struct relay_recipient recipients[] = {{STR("a@example.net"), STR("rfc822;a"), 4},
                                           {STR("b@example.net"), STR_NONE, 0},
                                           {STR("c@x"), STR_NONE, 0}};
    struct envelope e = {.sender = STR("from@example.org"), .envid = STR("x"), .ret = 1};
    struct relay_job job = {.envelope = &e, .recipients = recipients, .nrecipients = 3};
    struct smtp_client *c;
    if (smtp_client_open(s, &o, &c) != ERR_OK)
        return;
    enum err err = smtp_client_hello(c, true);
    if (err == ERR_OK && smtp_client_ehlo(c)->mechs)
        err = smtp_client_auth(c, STR("user"), STR("password"));
    if (err == ERR_OK || err == ERR_DENIED || err == ERR_UNSUPPORTED)
        send_all(c, &job);
    smtp_client_close(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int fds[2];
    struct stream *s;
    size_t sent;
    if (size < 2 || size > 60000 || sock_pair(fds) != ERR_OK)
        return 0;
    if (content_fd < 0 &&
        (file_memory("content", &content_fd) != ERR_OK ||
         file_write_all_at(content_fd, 0, content, sizeof(content) - 1) != ERR_OK))
        return 0;
    str bytes = str_of(data + 1, size - 1);
    if (sock_try_write(fds[1], &bytes, 1, &sent) == ERR_OK && stream_open(fds[0], &s) == ERR_OK) {
        sock_shutdown_write(fds[1]); /* the end is an end, not a time-out */
        session(s, data[0] & 1);
    }
    file_close(&fds[1]);
    return 0;
}
