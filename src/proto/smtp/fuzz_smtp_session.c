/* SPDX-License-Identifier: Apache-2.0
 *
 * A whole session from any bytes: the first chooses the listener, the rest is what the client says.
 * The house checks what it is given (core/test_fake_house.h).
 */
#include "base/log.h"
#include "core/greylist.h"
#include "core/report_read.h"
#include "core/test_fake_house.h"
#include "os/sock_io.h"
#include "proto/smtp/smtp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A scanner that answers with what it is shown, if that is an answer, else with a good one. */
static enum err scan(void *ctx, const struct relay_scan *q, struct arena *arena, str *json)
{
    static const str usual =
        STR_INIT("{\"action\":\"rewrite "
                 "subject\",\"score\":7,\"required_score\":6,\"subject\":\"[X]\",\"milter\":{"
                 "\"add_headers\":{\"Subject\":\"a\"},\"remove_headers\":{\"To\":-1,\"X\":0}}}");
    char *room = arena_alloc(arena, q->size + 1);
    size_t got = 0;
    if (!room || (q->size > 0 && file_read_at(q->fd, 0, room, q->size, &got) != ERR_OK))
        return ERR_IO;
    str shown = str_of(room, got);
    size_t body = str_find(shown, STR("\r\n\r\n{"));
    *json = body == STR_NPOS ? usual : str_skip(shown, body + 4);
    return ERR_OK;
}

static enum err greylist(void *ctx, const struct greylist_question *q, uint32_t *wait_s)
{
    *wait_s = q->sender.len % 4 == 1 ? 300 : 0;
    return ERR_OK;
}

static enum err report_take(void *ctx, str read)
{
    struct reader r = reader_of(read), rows;
    struct report_read_head h;
    while (!str_empty(r.rest)) {
        enum err e = report_read_take(&r, &h, &rows);
        assert(e == ERR_OK);
    }
    return ERR_OK;
}

static void guard(struct smtp_policy *p)
{
    p->scanner = (struct smtp_scanner){.enabled = true,
                                       .submissions = true,
                                       .deadline_ms = 50,
                                       .size_max = 4096,
                                       .on_reject = SCAN_DO_REJECT,
                                       .on_soft_reject = SCAN_DO_DEFER,
                                       .on_greylist = SCAN_DO_TAG,
                                       .on_add_header = SCAN_DO_QUARANTINE,
                                       .on_rewrite_subject = SCAN_DO_REWRITE,
                                       .on_failure = SCAN_DO_TAG};
    p->greylist.enabled = true;
    p->report_mailbox = STR("ok1");
}

static void silent(enum log_level level, str line) { (void)level; }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fake_house house;
    static char heard[65536];
    static const struct smtp_network anyone[] = {{.address = {.family = 4}, .bits = 0}};
    int client;
    if (size == 0 || size > 65536)
        return 0;
    log_set_sink(silent);
    fake_house_init(&house);
    unsigned how = data[0];
    struct smtp_config config = {
        .hostname = STR("mail.example.test"),
        .size_max = 8192,
        .recipients_max = 100,
        .transactions_max = 100,
        .errors_max = 50,
        .command_timeout_ms = 5,
        .data_timeout_ms = 5,
        .message_timeout_ms = 100,
        .allow_bare_lf = how & 4,
        .auth_plain_loopback = true,
        .auth_on_mx = how & 8,
        .proxies = anyone,
        .nproxies = how & 16 ? 1 : 0,
        .xclients = anyone,
        .nxclients = how & 32 ? 1 : 0,
    };
    static const struct relay relay = {.scan = scan};
    struct smtp_listener l = {
        .kind = how % 3, .config = &config, .house = &house.table, .role_id = "f"};
    if (how & 128) {
        guard(&config.policy);
        house.table.greylist = greylist;
        house.table.report_take = report_take;
        l.relay = &relay;
    }
    struct stream *s = fake_connection(str_of(data + 1, size - 1), &client);
    if (how & 64) {
        struct address loopback;
        if (address_parse(STR("127.0.0.1"), &loopback))
            stream_set_peer(s, &loopback, &loopback);
    }
    smtp_serve(s, &l);
    fake_heard(client, heard, sizeof heard);
    return 0;
}
