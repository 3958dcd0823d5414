/* SPDX-License-Identifier: Apache-2.0
 *
 * Both ends of ipc over a socketpair: calls of every field type, many in flight, deadlines, a peer
 * that goes away, and hostile frames (rules: proc-1, proc-3, proc-4).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "app/ipc.h"
#include "app/ipc_codec.h"
#include "app/roles.h"
#include "app/wire.h"
#include "os/file.h"
#include "os/loop.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- a server that answers in known ways ---- */

static size_t served_count;

static enum err serve_sender_check(void *ctx, struct ipc_sender_check_args *a, struct arena *arena,
                                   struct ipc_sender_check_results *r)
{
    served_count++;
    if (str_eq(a->address, STR("later@example.test")))
        return wait_until(deadline_in_ms(20)) == ERR_TIMEOUT ? ERR_OK : ERR_CANCELED;
    if (str_eq(a->address, STR("never@example.test")))
        return wait_until(deadline_in_ms(3000)) == ERR_TIMEOUT ? ERR_OK : ERR_CANCELED;
    if (str_eq(a->address, STR("canceled@example.test")))
        return ERR_CANCELED;
    return a->account == 7 ? ERR_OK : ERR_SENDER;
}

static enum err serve_auth_password(void *ctx, struct ipc_auth_password_args *a,
                                    struct arena *arena, struct ipc_auth_password_results *r)
{
    if (!str_eq(a->password, STR("pass\0word")))
        return ERR_AUTH;
    r->account = UINT64_MAX;
    r->address = arena_fmt(arena, "%.*s@example.test", STR_ARG(a->login));
    return ERR_OK;
}

/* Echoes the content of the descriptor as the verdicts. */
static enum err serve_deliver(void *ctx, struct ipc_deliver_args *a, struct arena *arena,
                              struct ipc_deliver_results *r)
{
    char text[64];
    size_t got = 0;
    TRY(file_read_at(a->content, 0, text, sizeof(text), &got));
    return arena_dup(arena, str_of(text, got), &r->verdicts) ? ERR_OK : ERR_NOMEM;
}

static enum err serve_command(void *ctx, struct ipc_command_args *a, struct arena *arena,
                              struct ipc_command_results *r)
{
    r->exit_code = 42;
    TRY(file_memory("out", &r->output));
    TRY(file_write_all_at(r->output, 0, a->argv.data, a->argv.len));
    return file_memory("err", &r->errors);
}

static const struct ipc_service test_service = {
    .role = IPC_ROLE_HOUSE,
    .sender_check = serve_sender_check,
    .auth_password = serve_auth_password,
    .deliver = serve_deliver,
    .command = serve_command,
};

/* ---- a client and a server on one loop ---- */

struct pair {
    struct loop *loop;
    struct fiber_group group;
    struct ipc_link client, server;
    int hostile; /* the raw end, when there is no client link */
    struct watch hostile_watch;
    void (*body)(struct pair *p);
    size_t finished;
};

static void pair_main(void *arg)
{
    struct pair *p = arg;
    p->body(p);
    ipc_link_stop(&p->client);
    ipc_link_stop(&p->server);
}

static void pair_run(void (*body)(struct pair *p), bool hostile)
{
    static struct pair p;
    int fds[2];
    memset(&p, 0, sizeof(p));
    p.body = body;
    p.hostile = -1;
    assert_int_equal(loop_open(&p.loop, &(struct loop_options){.name = "test"}), ERR_OK);
    fiber_group_init(&p.group);
    assert_int_equal(sock_pair(fds), ERR_OK);
    p.server = (struct ipc_link){.name = "server", .service = &test_service};
    p.client = (struct ipc_link){.name = "client"};
    assert_int_equal(ipc_link_start(&p.server, fds[0], &p.group), ERR_OK);
    if (hostile) {
        p.hostile = fds[1];
        assert_int_equal(watch_open(&p.hostile_watch, fds[1]), ERR_OK);
    } else {
        assert_int_equal(ipc_link_start(&p.client, fds[1], &p.group), ERR_OK);
    }
    assert_int_equal(fiber_start(&p.group, "main", pair_main, &p), ERR_OK);
    loop_run_until_idle(p.loop);
    if (hostile) {
        watch_close(&p.hostile_watch);
        close(p.hostile);
    }
    loop_close(p.loop);
}

static enum err check_sender(struct pair *p, uint64_t account, str address)
{
    struct ipc_sender_check_results r;
    return ipc_sender_check(&p->client, &(struct ipc_sender_check_args){account, address}, NULL,
                            &r);
}

static void calls_body(struct pair *p)
{
    assert_int_equal(check_sender(p, 7, STR("a@example.test")), ERR_OK);
    assert_int_equal(check_sender(p, 8, STR("a@example.test")), ERR_SENDER);
    /* Whoever says it over a link must not end the loops of this end. */
    assert_int_equal(check_sender(p, 7, STR("canceled@example.test")), ERR_UNAVAILABLE);
    ARENA_AUTO struct arena arena = ARENA_INIT(65536);
    struct ipc_auth_password_results r;
    struct ipc_auth_password_args a = {.protocol = 1, .login = STR("anna")};
    assert_int_equal(ipc_auth_password(&p->client, &a, &arena, &r), ERR_AUTH);
    a.password = STR("pass\0word");
    assert_int_equal(ipc_auth_password(&p->client, &a, &arena, &r), ERR_OK);
    assert_true(r.account == UINT64_MAX);
    assert_true(str_eq(r.address, STR("anna@example.test")));
    p->finished = 1;
}

static void test_calls_carry_every_field_both_ways(void **state) { pair_run(calls_body, false); }

struct many {
    struct pair *p;
    int number;
    size_t *ok;
};

static void deliver_one(void *arg)
{
    struct many *m = arg;
    char text[32];
    int n = snprintf(text, sizeof(text), "message %d", m->number);
    FD_AUTO int fd = -1;
    ARENA_AUTO struct arena arena = ARENA_INIT(65536);
    struct ipc_deliver_results r;
    if (file_memory("m", &fd) != ERR_OK || file_write_all_at(fd, 0, text, (size_t)n) != ERR_OK)
        return;
    struct ipc_deliver_args a = {.envelope = str_of(text, (size_t)n), .content = fd};
    if (ipc_deliver(&m->p->client, &a, &arena, &r) == ERR_OK &&
        str_eq(r.verdicts, str_of(text, (size_t)n)))
        (*m->ok)++;
}

static void many_body(struct pair *p)
{
    static struct many many[300];
    size_t ok = 0;
    struct fiber_group g;
    fiber_group_init(&g);
    for (int i = 0; i < 300; i++) {
        many[i] = (struct many){p, i, &ok};
        assert_int_equal(fiber_start(&g, "deliver", deliver_one, &many[i]), ERR_OK);
    }
    fiber_group_join(&g);
    assert_int_equal(ok, 300);
}

/* More descriptors at once than one sendmsg takes: each still meets its own frame. */
static void test_many_in_flight_keep_their_descriptors(void **state) { pair_run(many_body, false); }

static void command_body(struct pair *p)
{
    ARENA_AUTO struct arena arena = ARENA_INIT(65536);
    struct ipc_command_results r;
    struct ipc_command_args a = {.argv = STR("domain\0list")};
    assert_int_equal(ipc_command(&p->client, &a, &arena, &r), ERR_OK);
    assert_int_equal(r.exit_code, 42);
    char text[32];
    size_t got;
    assert_int_equal(file_read_at(r.output, 0, text, sizeof(text), &got), ERR_OK);
    assert_int_equal(got, 11);
    assert_memory_equal(text, "domain\0list", 11);
    file_close(&r.output);
    file_close(&r.errors);
}

static void test_results_carry_descriptors(void **state) { pair_run(command_body, false); }

static void slow_fiber(void *arg)
{
    struct pair *p = arg;
    assert_int_equal(check_sender(p, 7, STR("later@example.test")), ERR_OK);
    p->finished++;
}

static void gone_fiber(void *arg)
{
    struct pair *p = arg;
    assert_int_equal(check_sender(p, 7, STR("never@example.test")), ERR_UNAVAILABLE);
    p->finished++;
}

static void gone_body(struct pair *p)
{
    struct fiber_group g;
    fiber_group_init(&g);
    assert_int_equal(fiber_start(&g, "slow", slow_fiber, p), ERR_OK);
    assert_int_equal(fiber_start(&g, "gone", gone_fiber, p), ERR_OK);
    assert_int_equal(wait_until(deadline_in_ms(200)), ERR_TIMEOUT);
    assert_int_equal(p->finished, 1); /* the slow one; the other call still waits */
    uint64_t before = clock_mono_ms();
    ipc_link_stop(&p->client);
    fiber_group_join(&g);
    assert_int_equal(p->finished, 2);
    assert_true(clock_mono_ms() - before < 500);
    assert_int_equal(check_sender(p, 7, STR("a@example.test")), ERR_UNAVAILABLE);
}

/* A call whose peer goes away answers ERR_UNAVAILABLE at once, not at its deadline. */
static void test_a_lost_peer_answers_unavailable(void **state) { pair_run(gone_body, false); }

static void deadline_body(struct pair *p)
{
    DEADLINE_SCOPE(100);
    assert_int_equal(check_sender(p, 7, STR("never@example.test")), ERR_UNAVAILABLE);
}

/* rule: proc-3 */
static void test_every_call_has_a_deadline(void **state) { pair_run(deadline_body, false); }

/* What is in a descriptor that came is what was in it when it was given. */
static void take_stuck(struct pair *p, size_t *seen)
{
    static char bytes[65536];
    char text[8];
    DEADLINE_SCOPE(2000);
    while (*seen == 0) {
        int fds[SOCK_FDS_MAX];
        size_t got = 0, nfds = SOCK_FDS_MAX, n = 0;
        if (sock_recv(&p->hostile_watch, bytes, sizeof(bytes), &got, fds, &nfds) != ERR_OK)
            return;
        for (size_t i = 0; i < nfds; i++, ++*seen) {
            assert_int_equal(file_read_at(fds[i], 0, text, 3, &n), ERR_OK);
            assert_memory_equal(text, "old", 3);
            close(fds[i]);
        }
    }
}

static enum err deliver_stuck(struct pair *p, int fd)
{
    struct ipc_deliver_results r;
    ARENA_AUTO struct arena arena = ARENA_INIT(65536);
    struct ipc_deliver_args a = {.envelope = STR("e"), .content = fd};
    DEADLINE_SCOPE(50);
    return ipc_deliver(&p->server, &a, &arena, &r);
}

static void stuck_body(struct pair *p)
{
    static char junk[4096];
    size_t seen = 0;
    int old, fresh;
    for (size_t n = sizeof(junk); n > 0; n /= 2)
        while (send(p->server.fd, junk, n, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
            ;
    assert_int_equal(file_memory("m", &old), ERR_OK);
    assert_int_equal(file_write_all_at(old, 0, "old", 3), ERR_OK);
    int number = old;
    assert_int_equal(deliver_stuck(p, old), ERR_UNAVAILABLE);
    file_close(&old);
    assert_int_equal(file_memory("m", &fresh), ERR_OK);
    assert_int_equal(file_write_all_at(fresh, 0, "new", 3), ERR_OK);
    assert_int_equal(fresh, number);
    take_stuck(p, &seen);
    assert_int_equal(seen, 1);
    assert_true(p->server.up); /* the calls of others go on */
    file_close(&fresh);
}

/* A peer that does not read until the caller has given up and closed its descriptor. */
static void test_no_other_file_goes_in_its_place(void **state) { pair_run(stuck_body, true); }

/* ---- hostile frames ---- */

static struct {
    const char *what;
    const char *bytes;
    size_t len;
} hostile[] = {
#define BYTES(what, text)                                                                          \
    {                                                                                              \
        what, text, sizeof(text) - 1                                                               \
    }
    BYTES("length zero", "\0\0\0\0\0\0\0\0\0\0\1\0"),
    BYTES("length of four gigabytes", "\xff\xff\xff\xff\0\0\0\0\0\0\1\0"),
    BYTES("unknown kind", "\0\0\0\x08\7\0\0\0\0\0\1\0"),
    BYTES("unknown method", "\0\0\0\x08\0\xff\xff\0\0\0\1\0"),
    BYTES("a method that is not served", "\0\0\0\x08\0\0\x09\0\0\0\1\0"),
    BYTES("a call without its fields", "\0\0\0\x08\0\0\0\0\0\0\1\0"),
    BYTES("a descriptor that did not come", "\0\0\0\x08\0\0\6\0\0\0\1\1"),
    BYTES("too many descriptors", "\0\0\0\x08\0\0\6\0\0\0\1\xff"),
    BYTES("a field longer than the frame", "\0\0\0\x11\0\0\5\0\0\0\1\0\0\0\0\0\0\0\0\0\x7f"),
    BYTES("bytes after the fields", "\0\0\0\x13\0\0\5\0\0\0\1\0\0\0\0\0\0\0\0\0\1a!"),
    BYTES("a reply with an unknown error", "\0\0\0\x0a\1\0\5\0\0\0\1\0\xff\xff"),
#undef BYTES
};
static size_t hostile_now;

static void hostile_body(struct pair *p)
{
    served_count = 0;
    str bytes = str_of(hostile[hostile_now].bytes, hostile[hostile_now].len);
    assert_int_equal(sock_send(&p->hostile_watch, bytes, NULL, 0), ERR_OK);
    char answer[64];
    size_t got;
    DEADLINE_SCOPE(2000);
    enum err e = sock_recv(&p->hostile_watch, answer, sizeof(answer), &got, NULL, NULL);
    if (e != ERR_EOF && e != ERR_IO)
        fail_msg("%s: %s", hostile[hostile_now].what, err_name(e));
    assert_int_equal(served_count, 0);
    assert_false(p->server.up);
}

/* rule: proc-1 — the first wrong byte ends the link, and nothing was called. */
static void test_hostile_frames_end_the_link(void **state)
{
    for (hostile_now = 0; hostile_now < sizeof(hostile) / sizeof(hostile[0]); hostile_now++)
        pair_run(hostile_body, true);
}

static void flood_body(struct pair *p)
{
    for (int i = 0; i < 20; i++) { /* descriptors that no frame claims */
        int fds[SOCK_FDS_MAX];
        for (int k = 0; k < SOCK_FDS_MAX; k++)
            fds[k] = p->hostile;
        if (sock_send(&p->hostile_watch, str_of("\0", 1), fds, SOCK_FDS_MAX) != ERR_OK)
            break;
    }
    char answer[8];
    size_t got;
    DEADLINE_SCOPE(2000);
    enum err e = sock_recv(&p->hostile_watch, answer, sizeof(answer), &got, NULL, NULL);
    assert_true(e == ERR_EOF || e == ERR_IO);
}

/* rule: proc-4 */
static void test_unclaimed_descriptors_are_limited(void **state) { pair_run(flood_body, true); }

static void test_frames_are_decoded_strictly(void **state)
{
    ARENA_AUTO struct arena arena = ARENA_INIT(1 << 20);
    BUF_AUTO struct buf out = BUF_INIT(IPC_FRAME_MAX);
    struct ipc_writer w;
    struct ipc_sender_check_args a = {7, STR("anna@example.test")};
    assert_true(ipc_frame_put(&out, IPC_KIND_CALL, IPC_sender_check, 1, ERR_OK, &a, &w));
    enum err e;
    assert_int_equal(ipc_frame_check(buf_str(&out), 0, &arena, &e), out.len);
    assert_int_equal(e, ERR_OK);
    for (size_t cut = 0; cut < out.len; cut++) { /* any part of a frame only asks for more */
        assert_int_equal(ipc_frame_check(str_head(buf_str(&out), cut), 0, &arena, &e), 0);
        assert_int_equal(e, ERR_OK);
    }
}

static void test_wire_addresses(void **state)
{
    struct wire_address room;
    struct address a = {.family = 6, .port = 4711}, b;
    a.ip[0] = 0xfd;
    assert_true(wire_address_take(wire_address_put(&a, &room), &b));
    assert_memory_equal(a.ip, b.ip, 16);
    assert_int_equal(b.port, 4711);
    room.bytes[0] = 9;
    assert_false(wire_address_take(str_of(room.bytes, sizeof(room.bytes)), &b));
    assert_false(wire_address_take(str_of(room.bytes, 5), &b));
    enum protocol p;
    assert_false(wire_protocol_take(0, &p));
    assert_false(wire_protocol_take(3, &p));
    assert_false(wire_protocol_take(64, &p));
    assert_true(wire_protocol_take(PROTOCOL_POP3, &p));
}

/* Who is joined with whom (links.def) is what the authority of each says (roles.def). */
static void test_links_are_what_roles_may_ask(void **state)
{
    bool linked[ROLES][ROLES] = {0};
#define LINK(asks, answers, needed) linked[ROLE_##asks][ROLE_##answers] = true;
#include "app/links.def"
#undef LINK
    for (enum role a = 0; a < ROLES; a++) {
        for (enum role b = 0; b < ROLES; b++) {
            char word[32];
            snprintf(word, sizeof(word), "%s: ", role_name(b));
            if (linked[a][b] != (strstr(role_calls(a), word) != NULL))
                fail_msg("%s and %s", role_name(a), role_name(b));
        }
    }
}

static void test_askers_have_numbers(void **state)
{
    struct server s = {.ngates = 3, .nthreads = 2};
    char name[ASKER_NAME_MAX];
    uint32_t i;
    assert_int_equal(asker_count(&s), 5);
    assert_int_equal(asker_index(&s, ROLE_GATE, 2, &i), ERR_OK);
    assert_int_equal(i, 2);
    asker_name(&s, i, name);
    assert_string_equal(name, "gate.2");
    assert_int_equal(asker_index(&s, ROLE_HOUSE, 1, &i), ERR_OK);
    assert_int_equal(i, 4);
    asker_name(&s, i, name);
    assert_string_equal(name, "house.1");
    assert_int_equal(asker_index(&s, ROLE_GATE, 3, &i), ERR_INVALID);
    assert_int_equal(asker_index(&s, ROLE_HOUSE, 2, &i), ERR_INVALID);
    assert_int_equal(asker_index(&s, ROLE_KEYS, 0, &i), ERR_INVALID);
    assert_int_equal(asker_index(&s, ROLES, 0, &i), ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls_carry_every_field_both_ways),
        cmocka_unit_test(test_many_in_flight_keep_their_descriptors),
        cmocka_unit_test(test_results_carry_descriptors),
        cmocka_unit_test(test_a_lost_peer_answers_unavailable),
        cmocka_unit_test(test_every_call_has_a_deadline),
        cmocka_unit_test(test_no_other_file_goes_in_its_place),
        cmocka_unit_test(test_hostile_frames_end_the_link),
        cmocka_unit_test(test_unclaimed_descriptors_are_limited),
        cmocka_unit_test(test_frames_are_decoded_strictly),
        cmocka_unit_test(test_wire_addresses),
        cmocka_unit_test(test_links_are_what_roles_may_ask),
        cmocka_unit_test(test_askers_have_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
