/* SPDX-License-Identifier: Apache-2.0
 *
 * A whole session from any bytes: the first chooses the listener, the rest is what the client says.
 * The house checks what it is given (core/test_fake_house.h).
 */
#include "base/log.h"
#include "core/test_fake_house.h"
#include "os/sock_io.h"
#include "proto/smtp/smtp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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
    struct smtp_listener l = {
        .kind = how % 3, .config = &config, .house = &house.table, .role_id = "f"};
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
