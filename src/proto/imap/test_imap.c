/* SPDX-License-Identifier: Apache-2.0
 *
 * The gate's half with a house that answers as the test wants; the house's half over mailboxes; and
 * the pure parts: list patterns, flags, ids.
 * rule: wire-2, wire-3, wire-4
 */
#include "core/test_world.h"

#include "base/num.h"
#include "core/test_fake_house.h"
#include "os/clock.h"
#include "os/sock_io.h"
#include "proto/imap/session.h"

#define HEARD_MAX 1048576
#define SECRET "AHVzZXJAZXhhbXBsZS50ZXN0AHNlY3JldA=="

struct talk {
    struct fake_house house;
    struct imap_config config;
    struct imap_listener listener;
    struct imap_house shared;
    char heard[HEARD_MAX];
    struct world world;
    struct accounts *accounts; /* of the loop that runs now */
    struct directory directory;
    struct stream *stream;
    struct fiber_group *group;
    int client, ended;
};
static struct talk t;

static int reset(void **state)
{
    memset(&t, 0, sizeof t);
    fake_house_init(&t.house);
    t.config = (struct imap_config){.hostname = STR("mail.example.test"),
                                    .errors_max = 20,
                                    .login_timeout_ms = 1000,
                                    .idle_timeout_ms = 1000,
                                    .append_max = 1000000,
                                    .auth_plain_loopback = true};
    t.listener = (struct imap_listener){.config = &t.config, .house = &t.house.table};
    return 0;
}

/* Tag and status of each tagged line: "a+ b- c!" for OK, NO, BAD; "+" for a continuation; "*" for
 * BYE. */
static void signs(char *out, size_t max)
{
    str rest = str_c(t.heard), line, tag, status;
    size_t n = 0;
    while (!str_empty(rest) && n + 3 < max) {
        assert_true(str_cut(rest, '\n', &line, &rest));
        assert_true(str_ends(line, STR("\r")));
        if (str_starts(line, STR("* BYE")))
            out[n++] = '*';
        if (!str_cut(line, ' ', &tag, &status) || str_eq(tag, STR("*")))
            continue;
        if (str_eq(tag, STR("+"))) {
            out[n++] = '+';
        } else if (tag.len == 1) {
            out[n++] = tag.data[0];
            out[n++] = str_starts(status, STR("OK "))   ? '+'
                       : str_starts(status, STR("NO ")) ? '-'
                                                        : '!';
        }
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
    imap_gate(s, &t.listener);
    fake_heard(t.client, t.heard, sizeof t.heard);
    signs(got, sizeof got);
    if (strcmp(got, wanted) != 0)
        fail_msg("\n  for %.200s\n  wanted %s\n  got    %s\n%s", input, wanted, got, t.heard);
    file_close(&t.house.session_fd);
}

static void signing_in(void **state)
{
    static const struct {
        const char *input, *wanted;
        size_t opened;
    } rows[] = {
        {"", "", 0},
        {"a NOOP\r\nb LOGOUT\r\n", "a+*b+", 0},
        {"a SELECT INBOX\r\nb FETCH 1 FLAGS\r\nc LOGOUT\r\n", "a!b!*c+", 0},
        {"a LOGIN user@example.test wrong\r\nb LOGIN user@example.test secret\r\n", "a-", 1},
        {"a LOGIN \"user@example.test\" {6+}\r\nsecret\r\n", "", 1},
        {"a LOGIN {17}\r\nuser@example.test {6}\r\nsecret\r\n", "++", 1},
        {"a AUTHENTICATE PLAIN " SECRET "\r\n", "", 1},
        {"a AUTHENTICATE PLAIN\r\n" SECRET "\r\n", "+", 1},
        {"a AUTHENTICATE PLAIN\r\n*\r\nb LOGOUT\r\n", "+a!*b+", 0},
        {"a AUTHENTICATE PLAIN =\r\nb AUTHENTICATE PLAIN !\r\nc AUTHENTICATE X\r\nd LOGOUT\r\n",
         "a!b!c-*d+", 0},
        {"a STARTTLS\r\nb LOGIN down@example.test x\r\nc LOGOUT\r\n", "a!b-*c+", 0},
        {"\r\n\r\na NOOP x\r\n", "a!", 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        t.house.opened = 0;
        gate_says(rows[i].input, rows[i].wanted, "127.0.0.1");
        assert_int_equal(t.house.opened, rows[i].opened);
    }
}

static void credentials_need_tls(void **state)
{
    gate_says("a LOGIN user@example.test secret\r\nb AUTHENTICATE PLAIN " SECRET
              "\r\nc CAPABILITY\r\n",
              "a-b-c+", "192.0.2.1");
    assert_non_null(strstr(t.heard, " LOGINDISABLED"));
    assert_null(strstr(t.heard, "AUTH="));
    assert_int_equal(t.house.opened, 0);
}

static void too_much_before_signing_in(void **state)
{
    static char input[40000];
    memset(input, 'x', sizeof input - 1);
    memcpy(input, "a LOGIN ", 8);
    memcpy(input + sizeof input - 21, "\r\nb NOOP\r\nc LOGOUT\r\n", 20);
    input[sizeof input - 1] = '\0';
    gate_says(input, "b+*c+", "127.0.0.1");
    t.config.errors_max = 3;
    gate_says("a X\r\nb X\r\nc X\r\nd NOOP\r\n", "a!b!c!*", "127.0.0.1");
}

/* ---- the house's half ---- */

static void on_end(void *arg) { t.ended++; }

static void house_start(void *arg)
{
    struct session_handoff h = {.protocol = PROTOCOL_IMAP,
                                .who = {.account = ACCOUNT, .address = STR("a@example.test")},
                                .greeting = STR("0 OK in\r\n")};
    t.shared = (struct imap_house){.accounts = t.accounts,
                                   .directory = &t.directory,
                                   .config = &t.config,
                                   .house = &t.house.table,
                                   .group = t.group};
    OK(imap_start(t.stream, &h, &t.shared, on_end, NULL));
}

static void house_says(str input, const char *wanted)
{
    char got[256];
    struct loop *loop;
    struct fiber_group group;
    OK(loop_open(&loop, &(struct loop_options){.name = "test", .slice_warn_ms = 10000}));
    fiber_group_init(&group);
    t.group = &group;
    t.accounts = world_accounts(&t.world);
    t.directory = (struct directory){t.world.store};
    t.stream = fake_connection(input, &t.client);
    t.ended = 0;
    OK(fiber_start(&group, "start", house_start, NULL));
    loop_run_until_idle(loop);
    assert_int_equal(t.ended, 1);
    fake_heard(t.client, t.heard, sizeof t.heard);
    accounts_close(t.accounts);
    loop_close(loop);
    signs(got, sizeof got);
    if (strcmp(got, wanted) != 0)
        fail_msg("\n  wanted %s\n  got    %s\n%s", wanted, got, t.heard);
}

#define SAYS(input, wanted) house_says(STR(input), wanted)
#define HEARD(text) assert_non_null(strstr(t.heard, text))

static void a_session(void **state)
{
    world_open(&t.world);
    SAYS("a APPEND INBOX (\\Seen k) \" 1-Feb-2024 10:00:00 +0000\" {12+}\r\nSubject: \"x\"\r\n"
         "b SELECT INBOX\r\nc FETCH 1 (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)\r\n"
         "d UID FETCH 1 (BODY[]<2.3>)\r\ne STORE 1 -FLAGS (\\Seen)\r\nf FETCH 1 BODY[]\r\n"
         "g LOGOUT\r\n",
         "0+a+b+c+d+e+f+*g+");
    HEARD(
        "* 1 FETCH (UID 1 FLAGS (\\Seen k) INTERNALDATE \" 1-Feb-2024 10:00:00 +0000\" RFC822.SIZE "
        "12 ENVELOPE (NIL \"\\\"x\\\"\" NIL NIL NIL NIL NIL NIL NIL NIL))\r\n");
    HEARD("* 1 FETCH (BODY[]<2> {3}\r\nbje UID 1)\r\n");
    HEARD("* 1 FETCH (BODY[] {12}\r\nSubject: \"x\" FLAGS (\\Seen k))\r\n");
    SAYS("a SELECT INBOX\r\nb COPY 1 Sent\r\nc MOVE 1 Archive\r\nd FETCH 1 FLAGS\r\ne EXPUNGE\r\n",
         "0+a+b+c+d!e+");
    HEARD("* 1 EXPUNGE\r\nc OK");
    world_close(&t.world);
}

static void out_of_step_never(void **state)
{
    world_open(&t.world);
    /* Refused commands whose data come anyway; commands that end in the middle. */
    SAYS("a APPEND nowhere {4+}\r\nX LO (\\Seen) {3+}\r\nX L\r\nb NOOP\r\n"
         "c SELECT {5+}\r\nINBOX\r\nd REPLACE 9 INBOX {4+}\r\nX LO\r\ne UID FETCH 1 {3+}\r\nX L\r\n"
         "f APPEND INBOX () \"rubbish\" {4+}\r\nX LO\r\ng NOOP\r\n",
         "0+a-b+c+d-e!f!g+");
    SAYS("a APPEND INBOX {2000000}\r\nb NOOP\r\n", "0+a-b+");
    t.config.errors_max = 2;
    SAYS("a X\r\nb X\r\nc NOOP\r\n", "0+a!b!*");
    world_close(&t.world);
}

/* Rule wire-4: a line and a literal that are too long are refused and skipped. */
static void too_large(void **state)
{
    static char input[100000];
    world_open(&t.world);
    memset(input, 'y', sizeof input);
    memcpy(input, "a SELECT ", 9);
    memcpy(input + sizeof input - 10, "\r\nb NOOP\r\n", 10);
    house_says(str_of(input, sizeof input), "0+a!b+");
    HEARD("a BAD [TOOBIG]");
    SAYS("a SELECT {9000000}\r\nb NOOP\r\n", "0+a!b+");
    world_close(&t.world);
}

static void signing_out(void **state)
{
    world_open(&t.world);
    SAYS("a ENABLE UIDONLY\r\nb SELECT INBOX\r\nc UNAUTHENTICATE\r\nd NOOP\r\ne SELECT INBOX\r\n"
         "f LOGIN user@example.test secret\r\ng LOGOUT\r\n",
         "0+a+b+c+d+e!f-*g+"); /* not from 192.0.2.1 without TLS */
    HEARD("f NO [PRIVACYREQUIRED]");
    world_close(&t.world);
}

/* ---- pure parts ---- */

static void patterns(void **state)
{
    static const struct {
        const char *pattern, *name;
        bool matches;
    } rows[] = {
        {"*", "a/b", true},         {"%", "a", true},        {"%", "a/b", false},
        {"%/%", "a/b", true},       {"a*", "a/b/c", true},   {"a%", "abc", true},
        {"a%", "a/b", false},       {"*b", "a/b", true},     {"*/b", "b", false},
        {"%a/b", "aa/b", true},     {"*a%c", "x/abc", true}, {"*a%c", "xa/c", false},
        {"a*b%c", "a/b/bxc", true}, {"", "", true},          {"", "a", false},
        {"a", "a", true},           {"a", "A", false},       {"%%%", "abc", true},
        {"*%*", "a/b", true},       {"%*%", "", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (imap_list_matches(str_c(rows[i].pattern), str_c(rows[i].name)) != rows[i].matches)
            fail_msg("%s against %s", rows[i].pattern, rows[i].name);
}

static void patterns_are_quick(void **state)
{
    static char pattern[1000], name[1000];
    for (size_t i = 0; i < sizeof pattern; i += 2)
        memcpy(pattern + i, "*a", 2);
    pattern[sizeof pattern - 1] = 'b';
    memset(name, 'a', sizeof name);
    uint64_t begin = clock_mono_ms();
    assert_false(imap_list_matches(str_of(pattern, sizeof pattern), str_of(name, sizeof name)));
    assert_true(clock_mono_ms() - begin < 1000);
}

static void flags_and_ids(void **state)
{
    BUF_AUTO struct buf out = BUF_INIT(1000);
    struct keyword_table keywords = {.count = 2, .names = {STR("one"), STR("two")}};
    struct message_row row = {.flags = FLAG_SEEN | FLAG_DRAFT, .keywords = 2};
    imap_render_row_flags(&row, &keywords, &out);
    imap_render_id('M', 0xab, &out);
    row = (struct message_row){.keywords = 1 | (uint64_t)1 << 63}; /* one that nobody knows */
    imap_render_row_flags(&row, &keywords, &out);
    assert_true(str_eq(buf_str(&out), STR("(\\Seen \\Draft two)(M00000000000000ab)(one)")));
    for (uint32_t f = 0; f <= FLAGS_ALL; f++)
        assert_int_equal(imap_flags_to(imap_flags_of(f)), f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(signing_in, reset),
        cmocka_unit_test_setup(credentials_need_tls, reset),
        cmocka_unit_test_setup(too_much_before_signing_in, reset),
        cmocka_unit_test_setup(a_session, reset),
        cmocka_unit_test_setup(out_of_step_never, reset),
        cmocka_unit_test_setup(too_large, reset),
        cmocka_unit_test_setup(signing_out, reset),
        cmocka_unit_test(patterns),
        cmocka_unit_test(patterns_are_quick),
        cmocka_unit_test(flags_and_ids),
    };
    return cmocka_run_group_tests_name("imap", tests, NULL, NULL);
}
