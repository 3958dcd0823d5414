/* SPDX-License-Identifier: Apache-2.0
 *
 * The gate's half with a house that answers as the test wants; the house's half over a mailbox.
 * rule: store-3, wire-1, wire-3
 */
#include "core/test_world.h"

#include "base/num.h"
#include "core/test_fake_house.h"
#include "os/sock_io.h"
#include "proto/pop3/pop3.h"

#define HEARD_MAX 65536
#define SECRET "AHVzZXJAZXhhbXBsZS50ZXN0AHNlY3JldA=="

struct talk {
    struct fake_house house;
    struct pop3_config config;
    struct pop3_listener listener;
    char heard[HEARD_MAX];
    struct world world;
    struct stream *stream;
    struct fiber_group *group;
    int client, ended;
};
static struct talk t;

static int reset(void **state)
{
    memset(&t, 0, sizeof t);
    fake_house_init(&t.house);
    t.config = (struct pop3_config){.hostname = STR("mail.example.test"),
                                    .errors_max = 20,
                                    .login_timeout_ms = 1000,
                                    .idle_timeout_ms = 1000,
                                    .auth_plain_loopback = true};
    t.listener = (struct pop3_listener){.config = &t.config, .house = &t.house.table};
    return 0;
}

/* "+OK …\r\n-ERR …" → "+-"; the lines of lists do not count. */
static void signs(char *out, size_t max)
{
    str rest = str_c(t.heard), line;
    size_t n = 0;
    while (!str_empty(rest) && n + 1 < max) {
        assert_true(str_cut(rest, '\n', &line, &rest));
        assert_true(str_ends(line, STR("\r")));
        if (str_starts(line, STR("+OK")) || str_starts(line, STR("-ERR")) ||
            str_starts(line, STR("+ ")))
            out[n++] = line.data[0] == '+' && line.data[1] == ' ' ? '>' : line.data[0];
    }
    out[n] = 0;
}

static void gate_says(const char *input, const char *wanted, const char *peer)
{
    char got[256];
    struct address a;
    struct stream *s = fake_connection(str_c(input), &t.client);
    assert_true(address_parse(str_c(peer), &a));
    stream_set_peer(s, &a, &a);
    pop3_gate(s, &t.listener);
    fake_heard(t.client, t.heard, sizeof t.heard);
    signs(got, sizeof got);
    if (strcmp(got, wanted) != 0)
        fail_msg("\n  for %s\n  wanted %s\n  got    %s\n%s", input, wanted, got, t.heard);
    file_close(&t.house.session_fd);
}

static void signing_in(void **state)
{
    static const struct {
        const char *input, *wanted;
        size_t opened;
    } rows[] = {
        {"", "+", 0},
        {"QUIT\r\n", "++", 0},
        {"STAT\r\nPASS secret\r\nUSER\r\nQUIT\r\n", "+---+", 0},
        {"USER user@example.test\r\nPASS secret\r\n", "++", 1},
        {"user user@example.test\r\npass wrong\r\nPASS secret\r\nQUIT\r\n", "++--+", 0},
        {"AUTH PLAIN " SECRET "\r\n", "+", 1},
        {"AUTH PLAIN\r\n" SECRET "\r\n", "+>", 1},
        {"AUTH PLAIN\r\n*\r\nQUIT\r\n", "+>-+", 0},
        {"AUTH PLAIN =\r\nAUTH PLAIN !\r\nAUTH NONE\r\nQUIT\r\n", "+---+", 0},
        {"AUTH LOGIN\r\ndXNlckBleGFtcGxlLnRlc3Q=\r\nc2VjcmV0\r\n", "+>>", 1},
        {"CAPA\r\nLANG\r\nLANG de\r\nUTF8\r\nSTLS\r\nAUTH\r\nQUIT\r\n", "+++-+-++", 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        t.house.opened = 0;
        gate_says(rows[i].input, rows[i].wanted, "127.0.0.1");
        assert_int_equal(t.house.opened, rows[i].opened);
    }
}

static void credentials_need_tls(void **state)
{
    gate_says("USER user@example.test\r\nPASS secret\r\nAUTH PLAIN " SECRET "\r\nQUIT\r\n", "+---+",
              "192.0.2.1");
    gate_says("CAPA\r\nQUIT\r\n", "+++", "192.0.2.1");
    assert_null(strstr(t.heard, "SASL"));
    assert_null(strstr(t.heard, "USER\r\n."));
}

static void the_house_may_be_away(void **state)
{
    t.house.session_answer = ERR_UNAVAILABLE;
    gate_says("USER user@example.test\r\nPASS secret\r\nQUIT\r\n", "++-+", "127.0.0.1");
    assert_non_null(strstr(t.heard, "-ERR [SYS/TEMP] "));
    gate_says("USER down@example.test\r\nPASS secret\r\nQUIT\r\n", "++-+", "127.0.0.1");
    assert_non_null(strstr(t.heard, "-ERR [SYS/TEMP] "));
}

/* ---- the house's half ---- */

static void on_end(void *arg) { t.ended++; }

static void house_start(void *arg)
{
    struct session_handoff h = {.protocol = PROTOCOL_POP3,
                                .who = {.account = ACCOUNT, .address = STR("a@example.test")},
                                .greeting = STR("+OK in\r\n")};
    OK(pop3_start(t.stream, &h, t.world.accounts, &t.config, t.group, on_end, NULL));
}

static void house_hears(const char *input)
{
    struct loop *loop;
    struct fiber_group group;
    OK(loop_open(&loop, &(struct loop_options){.name = "test", .slice_warn_ms = 10000}));
    fiber_group_init(&group);
    t.group = &group;
    t.stream = fake_connection(str_c(input), &t.client);
    t.ended = 0;
    OK(fiber_start(&group, "start", house_start, NULL));
    loop_run_until_idle(loop);
    assert_int_equal(t.ended, 1);
    fake_heard(t.client, t.heard, sizeof t.heard);
    loop_close(loop);
}

static void house_says(const char *input, const char *wanted)
{
    char got[256];
    house_hears(input);
    signs(got, sizeof got);
    if (strcmp(got, wanted) != 0)
        fail_msg("\n  for %s\n  wanted %s\n  got    %s\n%s", input, wanted, got, t.heard);
}

static uint32_t put(const char *text)
{
    struct message_added added;
    struct message_add_result result;
    OK(add_text(t.world.account, mailbox_id(t.world.account, "INBOX"), str_c(text), 0, NULL, &added,
                &result));
    return added.uid;
}

static int with_mailbox(void **state)
{
    reset(state);
    world_open(&t.world);
    put("Subject: one\r\n\r\n.dot\r\nline 2\r\nline 3\r\n");
    put("Subject: two\n\nbare\nlf");
    put("\r\n");
    return 0;
}

static int without_mailbox(void **state)
{
    world_close(&t.world);
    return 0;
}

static void commands_answer(void **state)
{
    static const struct {
        const char *input, *wanted;
    } rows[] = {
        {"QUIT\r\n", "++"},
        {"", "+"},
        {"STAT\r\nLIST\r\nUIDL\r\nLIST 1\r\nUIDL 3\r\nNOOP\r\nCAPA\r\nLANG\r\nQUIT\r\n",
         "++++++++++"},
        {"LIST 0\r\nLIST 4\r\nLIST x\r\nLIST 1 2\r\nUIDL 99999999999\r\nRETR\r\nTOP 1\r\nTOP 1 "
         "x\r\nDELE 0\r\nUSER x\r\n\r\nQUIT\r\n",
         "+-----------+"},
        {"RETR 1\r\nRETR 2\r\nRETR 3\r\nTOP 1 1\r\nQUIT\r\n", "++++++"},
        {"DELE 1\r\nDELE 1\r\nRETR 1\r\nLIST 1\r\nRSET\r\nRETR 1\r\nQUIT\r\n", "++---+++"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        house_says(rows[i].input, rows[i].wanted);
    t.config.errors_max = 2;
    house_says("A\r\nB\r\nNOOP\r\n", "+--");
}

static void messages_are_whole_and_stuffed(void **state)
{
    house_hears("RETR 1\r\nQUIT\r\n");
    assert_non_null(strstr(t.heard, "Subject: one\r\n\r\n..dot\r\nline 2\r\nline 3\r\n.\r\n+OK"));
    house_hears("RETR 2\r\nQUIT\r\n"); /* never a bare LF on the wire */
    assert_non_null(strstr(t.heard, "Subject: two\r\n\r\nbare\r\nlf\r\n.\r\n+OK"));
    house_hears("TOP 1 0\r\nQUIT\r\n");
    assert_non_null(strstr(t.heard, "Subject: one\r\n\r\n.\r\n+OK"));
    house_hears("TOP 1 2\r\nQUIT\r\n");
    assert_non_null(strstr(t.heard, "\r\n\r\n..dot\r\nline 2\r\n.\r\n+OK"));
    house_hears("TOP 2 1\r\nQUIT\r\n");
    assert_non_null(strstr(t.heard, "Subject: two\r\n\r\nbare\r\n.\r\n+OK"));
}

/* A message of many pieces: TOP counts lines over the seams between them. */
static void top_counts_over_pieces(void **state)
{
    static char text[150000];
    size_t n = (size_t)snprintf(text, sizeof text, "Subject: long\r\n\r\n");
    while (n + 20 < sizeof text)
        n += (size_t)snprintf(text + n, sizeof text - n, "%015zu\r\n", n);
    put(text);
    house_hears("TOP 4 3000\r\nQUIT\r\n");
    size_t lines = 0;
    const char *body = strstr(t.heard, "\r\n\r\n");
    assert_non_null(body);
    for (const char *p = body + 4; (p = strstr(p, "\r\n")) != NULL; p += 2)
        lines++;
    assert_int_equal(lines, 3000 + 2); /* the dot, and the answer to QUIT */
}

static void only_quit_deletes(void **state)
{
    house_says("DELE 1\r\nDELE 2\r\n", "+++"); /* the connection is lost */
    house_says("STAT\r\nQUIT\r\n", "+++");
    assert_non_null(strstr(t.heard, "+OK 3 "));
    house_says("DELE 1\r\nDELE 3\r\nRSET\r\nDELE 2\r\nQUIT\r\n", "++++++");
    house_says("STAT\r\nQUIT\r\n", "+++");
    assert_non_null(strstr(t.heard, "+OK 2 "));
}

/* rule: store-3. A number of UIDL is never given to another message. */
static void unique_ids_stay(void **state)
{
    char first[64];
    house_hears("UIDL 3\r\nQUIT\r\n");
    const char *at = strstr(t.heard, "+OK 3 ");
    assert_non_null(at);
    snprintf(first, sizeof first, "%.*s\r\n", (int)strcspn(at + 6, "\r"), at + 6);
    house_says("DELE 1\r\nQUIT\r\n", "+++");
    house_hears("UIDL 2\r\nQUIT\r\n");
    assert_non_null(strstr(t.heard, first));
    house_says("DELE 1\r\nDELE 2\r\nQUIT\r\n", "++++");
    put("Subject: new\r\n\r\n");
    house_hears("UIDL\r\nQUIT\r\n");
    assert_null(strstr(t.heard, first));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(signing_in, reset),
        cmocka_unit_test_setup(credentials_need_tls, reset),
        cmocka_unit_test_setup(the_house_may_be_away, reset),
        cmocka_unit_test_setup_teardown(commands_answer, with_mailbox, without_mailbox),
        cmocka_unit_test_setup_teardown(messages_are_whole_and_stuffed, with_mailbox,
                                        without_mailbox),
        cmocka_unit_test_setup_teardown(top_counts_over_pieces, with_mailbox, without_mailbox),
        cmocka_unit_test_setup_teardown(only_quit_deletes, with_mailbox, without_mailbox),
        cmocka_unit_test_setup_teardown(unique_ids_stay, with_mailbox, without_mailbox),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
