/* SPDX-License-Identifier: Apache-2.0
 *
 * The gate's table of the house over a link to the house's end, with a house that only takes notes.
 * rule: proc-1 — what a gate says is believed only about accounts that signed in through it, and
 * only about messages that it can no longer change.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "app/gate_house.h"
#include "app/house_calls.h"
#include "format/mime_cold.h"
#include "os/file.h"
#include "os/loop.h"

#include <stdio.h>
#include <string.h>

static size_t sender_checks, deliveries;
static char delivered[16]; /* the last content that came in a frame */

static enum err fake_auth(void *ctx, const struct auth_attempt *a, str password,
                          struct arena *arena, struct auth_grant *out)
{
    if (!str_eq(password, STR("right")) || a->source.port != 99 || !a->secure)
        return ERR_AUTH;
    *out = (struct auth_grant){4711, STR("anna@example.test")};
    return ERR_OK;
}
static enum err fake_sender_check(void *ctx, uint64_t account, str address)
{
    sender_checks++;
    return account == 4711 ? ERR_OK : ERR_SENDER;
}
static enum err fake_deliver(void *ctx, uint32_t home, const struct envelope *e,
                             struct deliver_result *out)
{
    deliveries++;
    if (e->fd < 0)
        snprintf(delivered, sizeof delivered, "%.*s", STR_ARG(e->content));
    return ERR_OK;
}

struct world {
    struct fiber_group group;
    struct house house;
    struct grants grants;
    struct gate_caller caller;
    struct ipc_link server;
    struct gate_house_peer peers[1];
    struct gate_house gate;
};

static void names_an_account(struct world *w)
{
    const struct house *h = &w->gate.table;
    ARENA_AUTO struct arena arena = ARENA_INIT(65536);
    assert_int_equal(h->sender_check(h->ctx, 4711, STR("anna@example.test")), ERR_UNAVAILABLE);
    assert_int_equal(sender_checks, 0);
    struct auth_attempt a = {
        .protocol = PROTOCOL_SMTP, .login = STR("anna"), .source = {.family = 4, .port = 99}};
    struct auth_grant grant;
    assert_int_equal(h->auth_password(h->ctx, &a, STR("right"), &arena, &grant), ERR_AUTH);
    a.secure = true;
    assert_int_equal(h->auth_password(h->ctx, &a, STR("wrong"), &arena, &grant), ERR_AUTH);
    assert_int_equal(h->sender_check(h->ctx, 4711, STR("x")), ERR_UNAVAILABLE);
    assert_int_equal(h->auth_password(h->ctx, &a, STR("right"), &arena, &grant), ERR_OK);
    assert_true(grant.account == 4711 && str_eq(grant.address, STR("anna@example.test")));
    assert_int_equal(h->sender_check(h->ctx, 4711, STR("x")), ERR_OK);
    assert_int_equal(h->sender_check(h->ctx, 4712, STR("x")), ERR_UNAVAILABLE); /* not hers */
    grants_reset(&w->grants); /* a new gate in its place has signed nobody in */
    assert_int_equal(h->sender_check(h->ctx, 4711, STR("x")), ERR_UNAVAILABLE);
    assert_int_equal(sender_checks, 1);
}

static void sends_what_is_not_sealed(struct world *w)
{
    const struct house *h = &w->gate.table;
    FD_AUTO int fd = -1;
    assert_int_equal(file_memory("m", &fd), ERR_OK);
    assert_int_equal(file_write_all_at(fd, 0, "x\r\n", 3), ERR_OK);
    struct envelope_recipient r = {.address = STR("anna@example.test")};
    enum err verdict = ERR_OK;
    struct envelope e = {.fd = fd, .size = 3, .recipients = &r, .nrecipients = 1, .id = STR("i")};
    struct deliver_result out = {&verdict};
    assert_int_equal(h->deliver(h->ctx, 0, &e, &out), ERR_INVALID); /* not sealed */
    assert_int_equal(file_seal(fd), ERR_OK);
    e.size = 4;
    assert_int_equal(h->deliver(h->ctx, 0, &e, &out), ERR_INVALID); /* not so long */
    e.size = 3;
    assert_int_equal(h->deliver(h->ctx, 0, &e, &out), ERR_INVALID); /* no structure row */
    assert_int_equal(deliveries, 0);
    assert_int_equal(w->gate.delivering, 0);
}

/* In the frame: what a gate may not send in it is refused, what it may arrives as it was. */
static void sends_small_ones_in_the_frame(struct world *w)
{
    static char large[DELIVER_SMALL_MAX + 1];
    struct envelope_recipient r = {.address = STR("anna@example.test")};
    BUF_AUTO struct buf row = BUF_INIT(4096), mime = BUF_INIT(65536);
    ARENA_AUTO struct arena arena = ARENA_INIT(65536);
    struct mime m;
    struct envelope e = {.fd = -1, .recipients = &r, .nrecipients = 1, .id = STR("i")};
    envelope_encode(&e, &row);
    assert_int_equal(mime_parse(&arena, STR("x\r\n"), &m), ERR_OK);
    assert_int_equal(mime_cold_encode(&arena, &m, &mime), ERR_OK);
    struct ipc_deliver_small_args a = {buf_str(&row), buf_str(&mime), str_of(large, sizeof large)};
    struct ipc_deliver_small_results out;
    struct ipc_link *l = &w->peers[0].slot.link;
    assert_int_equal(ipc_deliver_small(l, &a, &arena, &out), ERR_INVALID); /* not small */
    a.content = STR("x\r\n");
    a.mime = STR_NONE;
    assert_int_equal(ipc_deliver_small(l, &a, &arena, &out), ERR_INVALID); /* no structure row */
    assert_int_equal(deliveries, 0);
    enum err verdict = ERR_INVALID;
    e.content = a.content;
    e.size = a.content.len;
    e.mime = buf_str(&mime);
    struct deliver_result result = {&verdict};
    assert_int_equal(w->gate.table.deliver(w->gate.table.ctx, 0, &e, &result), ERR_OK);
    assert_int_equal(verdict, ERR_OK);
    assert_int_equal(deliveries, 1);
    assert_string_equal(delivered, "x\r\n");
}

static void house_goes_away(struct world *w)
{
    const struct house *h = &w->gate.table;
    ipc_link_stop(&w->server);
    assert_int_equal(wait_until(deadline_in_ms(20)), ERR_TIMEOUT);
    uint64_t before = clock_mono_ms();
    assert_int_equal(h->sender_check(h->ctx, 0, STR("x")), ERR_UNAVAILABLE);
    uint64_t took = clock_mono_ms() - before;
    assert_true(took >= HOUSE_WAIT_MS - 50 && took < HOUSE_WAIT_MS + 500);
}

static void (*body)(struct world *w);

static void world_main(void *arg)
{
    struct world *w = arg;
    body(w);
    ipc_link_stop(&w->server);
    ipc_link_stop(&w->peers[0].slot.link);
}

static void world_run(void (*fn)(struct world *w))
{
    static struct world w;
    struct loop *loop;
    int fds[2];
    memset(&w, 0, sizeof(w));
    body = fn;
    sender_checks = deliveries = 0;
    assert_int_equal(loop_open(&loop, &(struct loop_options){.name = "test"}), ERR_OK);
    fiber_group_init(&w.group);
    grants_init(&w.grants);
    w.house = (struct house){
        .auth_password = fake_auth, .sender_check = fake_sender_check, .deliver = fake_deliver};
    w.caller = (struct gate_caller){&w.house, &w.grants, 0, 0};
    w.server =
        (struct ipc_link){.name = "server", .service = &house_calls_for_gates, .ctx = &w.caller};
    assert_int_equal(sock_pair(fds), ERR_OK);
    assert_int_equal(ipc_link_start(&w.server, fds[0], &w.group), ERR_OK);
    gate_house_init(&w.gate, w.peers, 1, &w.group);
    assert_int_equal(ipc_slot_attach(gate_house_slot(&w.gate, 0), fds[1]), ERR_OK);
    assert_int_equal(fiber_start(&w.group, "main", world_main, &w), ERR_OK);
    loop_run_until_idle(loop);
    loop_close(loop);
    map_free(&w.grants.accounts);
}

static void test_only_accounts_that_signed_in_through_the_gate(void **state)
{
    world_run(names_an_account);
}
static void test_only_sealed_messages(void **state) { world_run(sends_what_is_not_sealed); }
static void test_small_messages(void **state) { world_run(sends_small_ones_in_the_frame); }
/* rule: accept-3 — a gate waits a second for the house, then it is a temporary failure. */
static void test_an_absent_house_is_temporary(void **state) { world_run(house_goes_away); }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_accounts_that_signed_in_through_the_gate),
        cmocka_unit_test(test_only_sealed_messages),
        cmocka_unit_test(test_small_messages),
        cmocka_unit_test(test_an_absent_house_is_temporary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
