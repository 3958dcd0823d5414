/* SPDX-License-Identifier: Apache-2.0 */
#include "format/test_cmocka.h"

#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "format/imap_args.h"
#include "format/imap_url.h"
#include "format/test_linear.h"

static struct arena arena;
static int teardown(void **state)
{
    arena_free(&arena);
    return 0;
}
static int setup(void **state)
{
    arena_init(&arena, 64 << 20);
    return 0;
}
static struct imap_cursor at(const char *text)
{
    return imap_cursor_of(str_c(text), &arena, false);
}

static void test_literal_at_end(void **state)
{
    struct imap_literal l;
    assert_true(imap_literal_at_end(STR("A1 LOGIN {11}"), &l));
    assert_true(l.size == 11 && !l.nonsync && !l.binary && l.begin == 9);
    assert_true(imap_literal_at_end(STR("A1 APPEND x ~{4+}"), &l));
    assert_true(l.size == 4 && l.nonsync && l.binary && l.begin == 12);
    static const char *const no[] = {
        "A1 NOOP", "{}",    "{+}",  "{-1}", "{1 }", "x}", "{99999999999999999999}",
        "{1}x",    "{0x1}", "{1++}"};
    for (size_t i = 0; i < ARRAY_LEN(no); i++)
        assert_false(imap_literal_at_end(str_c(no[i]), &l));
}

static void test_words(void **state)
{
    struct imap_cursor c = at("a.1 atom \"q\\\"\\\\x\" {3}\r\nabc NIL 42");
    assert_str(imap_tag(&c), "a.1");
    assert_true(imap_sp(&c));
    assert_str(imap_atom(&c), "atom");
    assert_true(imap_sp(&c));
    assert_str(imap_astring(&c), "q\"\\x");
    assert_true(imap_sp(&c));
    assert_str(imap_astring(&c), "abc");
    assert_true(imap_sp(&c));
    str s;
    assert_false(imap_nstring(&c, &s));
    assert_true(imap_sp(&c));
    assert_int_equal(imap_number(&c), 42);
    assert_true(imap_end(&c));
}

/* The first error stays, with its position. */
static void test_errors_are_sticky(void **state)
{
    static const struct {
        const char *text;
        size_t pos;
    } rows[] = {
        {"\"abc", 4},      {"\"a\\b\"", 3}, {"\"a\nb\"", 2}, {"\"\xff\"", 1}, {"{3}abc", 3},
        {"{4}\r\nabc", 5}, {"{3", 2},       {"(", 0},        {"", 0},         {"{2}\r\na", 5},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct imap_cursor c = at(rows[i].text);
        assert_int_equal(imap_astring(&c).len, 0);
        assert_false(imap_ok(&c));
        if (c.error_pos != rows[i].pos)
            fail_msg("row %zu: %zu", i, c.error_pos);
        assert_false(imap_end(&c) || imap_sp(&c) || imap_accept(&c, '"'));
        assert_int_equal(imap_peek(&c), -1);
    }
    struct imap_cursor c = at("x");
    imap_number(&c);
    imap_atom(&c);
    BUF_AUTO struct buf out = BUF_INIT(200);
    imap_error_render(&out, &c);
    assert_str(buf_str(&out), "Number expected at position 1");
}

static void test_mailbox_names(void **state)
{
    struct imap_cursor c = at("inBox");
    assert_str(imap_mailbox(&c), "INBOX");
    c = at("\"~peter/mail/&U,BTFw-/&ZeVnLIqe-\""); /* RFC 3501 5.1.3 */
    assert_str(imap_mailbox(&c),
               "~peter/mail/\xe5\x8f\xb0\xe5\x8c\x97/\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e");
    c = at("a&b");
    imap_mailbox(&c);
    assert_false(imap_ok(&c));
    c = at("a&b");
    c.utf8 = true;
    assert_str(imap_mailbox(&c), "a&b");
    c = at("foo/%*");
    assert_str(imap_list_mailbox(&c), "foo/%*");
    BUF_AUTO struct buf out = BUF_INIT(4096);
    imap_render_mailbox(&out, STR("\xe5\x8f\xb0\xe5\x8c\x97"), false);
    buf_add_char(&out, ' ');
    imap_render_mailbox(&out, STR("\xe5\x8f\xb0"), true);
    buf_add_char(&out, ' ');
    imap_render_mailbox(&out, STR("R&D x"), false);
    assert_str(buf_str(&out), "&U,BTFw- \"\xe5\x8f\xb0\" \"R&-D x\"");
}

static void test_seq_sets(void **state)
{
    struct imap_seq seq;
    struct imap_cursor c = at("2,4:7,9,12:*");
    assert_true(imap_seq_set(&c, &seq) && imap_end(&c));
    SET_AUTO struct set set = {0};
    assert_ok(imap_seq_resolve(&seq, 15, &set));
    BUF_AUTO struct buf out = BUF_INIT(4096);
    set_render(&set, &out);
    assert_str(buf_str(&out), "2,4:7,9,12:15");
    c = at("20:*");
    assert_true(imap_seq_set(&c, &seq));
    SET_AUTO struct set high = {0};
    assert_ok(imap_seq_resolve(&seq, 15, &high));
    assert_true(set_has(&high, 15) && set_has(&high, 20) && set_size(&high) == 6);
    SET_AUTO struct set none = {0};
    assert_ok(imap_seq_resolve(&seq, 0, &none));
    assert_int_equal(set_size(&none), 0);
    c = at("$");
    assert_true(imap_seq_set(&c, &seq) && seq.saved);
    static const char *const bad[] = {"0", "1,", "1:", ",", "4294967296", "1:0", "**"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        c = at(bad[i]);
        assert_false(imap_seq_set(&c, &seq) && imap_end(&c));
    }
}

static void test_fetch(void **state)
{
    struct imap_fetch f;
    struct imap_cursor c =
        at("2:4 (FLAGS BODY[HEADER.FIELDS (DATE \"FROM\")] BODY.PEEK[4.2.MIME]<0.2048> "
           "BINARY.SIZE[1] RFC822.SIZE body PREVIEW (LAZY) BODY[] BODY[1]) "
           "(CHANGEDSINCE 12345 VANISHED PARTIAL -1:-30)");
    assert_true(imap_take_fetch(&c, &f) && imap_end(&c));
    assert_int_equal(f.count, 9);
    assert_int_equal(f.items[1].kind, IMAP_FETCH_BODY_SECTION);
    assert_int_equal(f.items[1].section.kind, IMAP_SECTION_HEADER_FIELDS);
    assert_int_equal(f.items[1].section.nfields, 2);
    assert_str(f.items[1].section.text, "HEADER.FIELDS (DATE \"FROM\")");
    assert_int_equal(f.items[2].section.kind, IMAP_SECTION_MIME);
    assert_true(f.items[2].section.nparts == 2 && f.items[2].section.parts[1] == 2);
    assert_true(f.items[2].section.partial && f.items[2].section.count == 2048);
    assert_int_equal(f.items[3].kind, IMAP_FETCH_BINARY_SIZE);
    assert_int_equal(f.items[5].kind, IMAP_FETCH_BODY);
    assert_int_equal(f.items[6].kind, IMAP_FETCH_PREVIEW_LAZY);
    assert_int_equal(f.items[7].section.nparts, 0);
    assert_true(f.changedsince == 12345 && f.vanished && f.partial.last == -30);
    /* A client's literal is not echoed as one of the client's kind (RFC 7888 4). */
    c = at("1 BODY[2.HEADER.FIELDS (\"Date\" {4+}\r\nFrom {2}\r\n)\" {1+}\r\n\n)]");
    assert_true(imap_take_fetch(&c, &f) && imap_end(&c));
    assert_str(f.items[0].section.text, "2.HEADER.FIELDS (Date From \")\\\"\" {1}\r\n\n)");
    c = at("1 FULL");
    assert_true(imap_take_fetch(&c, &f) && f.count == 5);
    static const char *const bad[] = {
        "1",
        "1 ()",
        "1 (FLAGS",
        "1 FOO",
        "1 BODY[",
        "1 BODY[0]",
        "1 BODY[1.]",
        "1 BODY[MIME]",
        "1 BODY[]<1>",
        "1 BODY[]<1.0>",
        "1 RFC822[]",
        "1 BINARY[TEXT]",
        "1 (ALL)",
        "1 FLAGS ()",
        "1 FLAGS (VANISHED)",
        "1 BODY[HEADER.FIELDS]",
        "1 BODY[HEADER.FIELDS ()]",
        "1 BODY[1TEXT]",
        "1 BODYX",
        "1 FLAGS (PARTIAL 1:-1)",
        "1 BINARY.SIZE[1]<0.1>",
        "1 ENVELOPE[]",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        c = at(bad[i]);
        if (imap_take_fetch(&c, &f) && imap_end(&c))
            fail_msg("accepted: %s", bad[i]);
    }
}

static void test_store_status_select(void **state)
{
    struct imap_store s;
    struct imap_cursor c =
        at("1:* (UNCHANGEDSINCE 77) +FLAGS.SILENT (\\Seen \\deleted $Label \\X)");
    assert_true(imap_take_store(&c, &s) && imap_end(&c));
    assert_true(s.op == IMAP_STORE_ADD && s.silent && s.unchangedsince == 77);
    assert_int_equal(s.flags.system, IMAP_FLAG_SEEN | IMAP_FLAG_DELETED);
    assert_int_equal(s.flags.count, 2);
    c = at("1 FLAGS \\Seen NonJunk");
    assert_true(imap_take_store(&c, &s) && imap_end(&c) && s.flags.count == 1 && !s.silent);
    c = at("1 FLAGS ()");
    assert_true(imap_take_store(&c, &s) && imap_end(&c));
    c = at("1 +FLAGS");
    assert_false(imap_take_store(&c, &s));
    c = at("(UIDNEXT MESSAGES size)");
    assert_int_equal(imap_take_status_items(&c),
                     IMAP_STATUS_UIDNEXT | IMAP_STATUS_MESSAGES | IMAP_STATUS_SIZE);
    struct imap_select sel; /* RFC 7162 3.2.5.2 */
    c = at("INBOX (QRESYNC (67890007 90060115194045000 1:29997 (5000,7500 15000,22500)))");
    assert_true(imap_take_select(&c, &sel) && imap_end(&c));
    assert_true(sel.qresync && sel.uidvalidity == 67890007 && sel.known_uids.count == 1);
    assert_true(sel.modseq == 90060115194045000 && sel.seq_uids.count == 2);
    c = at("x (CONDSTORE)");
    assert_true(imap_take_select(&c, &sel) && sel.condstore);
    c = at("x (CONDSTORE");
    assert_false(imap_take_select(&c, &sel));
}

static void test_list(void **state)
{
    struct imap_list l;
    struct imap_cursor c = at("(SUBSCRIBED RECURSIVEMATCH) \"\" (\"a%\" *) RETURN (CHILDREN "
                              "STATUS (MESSAGES) METADATA (/shared/a) SPECIAL-USE)");
    assert_true(imap_take_list(&c, &l) && imap_end(&c));
    assert_true(l.extended && l.npatterns == 2 && l.nmetadata == 1);
    assert_int_equal(l.select, IMAP_LIST_SUBSCRIBED | IMAP_LIST_RECURSIVEMATCH);
    assert_int_equal(l.status, IMAP_STATUS_MESSAGES);
    c = at("\"\" %");
    assert_true(imap_take_list(&c, &l) && imap_end(&c) && !l.extended);
    c = at("(RECURSIVEMATCH) \"\" %");
    assert_false(imap_take_list(&c, &l));
    c = at("() \"\" () RETURN ()");
    assert_false(imap_take_list(&c, &l));
}

static void test_smaller_commands(void **state)
{
    struct imap_pairs p;
    struct imap_cursor c = at("(\"name\" \"x\" \"os\" NIL)");
    assert_true(imap_take_id(&c, &p) && p.count == 2 && p.pairs[1].nil);
    struct imap_quota q;
    c = at("\"\" (STORAGE 512 MESSAGE 3)");
    assert_true(imap_take_setquota(&c, &q) && q.count == 2 && q.resources[0].limit == 512);
    char op;
    uint32_t rights;
    c = at("+lrsd");
    assert_true(imap_take_rights(&c, &op, &rights));
    BUF_AUTO struct buf out = BUF_INIT(100);
    imap_render_rights(&out, rights);
    assert_str(buf_str(&out), "lrsxte");
    assert_int_equal(op, '+');
    c = at("lrZ");
    assert_false(imap_take_rights(&c, &op, &rights));
    struct imap_getmetadata g;
    c = at("\"INBOX\" (MAXSIZE 1024 DEPTH infinity) (/shared/comment /private/comment)");
    assert_true(imap_take_getmetadata(&c, &g) && g.count == 2 && g.maxsize == 1024);
    c = at("(DEPTH 1) \"\" /shared/x");
    assert_true(imap_take_getmetadata(&c, &g) && g.depth == 1 && g.count == 1);
    str mailbox;
    c = at("INBOX (/private/comment {3}\r\na b /shared/comment NIL)");
    assert_true(imap_take_setmetadata(&c, &mailbox, &p) && imap_end(&c) && p.pairs[1].nil);
    struct imap_create cr;
    c = at("MySent (USE (\\Sent \\Archive))");
    assert_true(imap_take_create(&c, &cr) && imap_end(&c) && cr.nuses == 2);
    uint32_t size, first, last;
    c = at("1000 1:10");
    assert_true(imap_take_uidbatches(&c, &size, &first, &last) && last == 10);
}

static void test_notify(void **state)
{
    struct imap_notify n; /* RFC 5465 3.1 */
    struct imap_cursor c = at("SET STATUS (selected MessageNew (FLAGS UID) MessageExpunge) "
                              "(subtree (Lists \"A b\") (MessageNew MessageExpunge FlagChange))");
    assert_false(imap_take_notify(&c, &n)); /* events of a group stand in parentheses */
    c = at("SET (selected (MessageNew (UID BODY.PEEK[HEADER.FIELDS (From)]) MessageExpunge)) "
           "(subtree (Lists \"A b\") (MessageNew MessageExpunge FlagChange)) (personal NONE)");
    assert_true(imap_take_notify(&c, &n) && imap_end(&c));
    assert_true(n.count == 3 && n.groups[0].fetch.count == 2 && n.groups[1].filter.count == 2);
    c = at("NONE");
    assert_true(imap_take_notify(&c, &n) && n.none);
    c = at("SET (selected (FlagChange))");
    assert_false(imap_take_notify(&c, &n));
}

/* Steps of APPEND as letters, the text given in pieces around the streamed literals. */
static void append_steps(const char *const *pieces, const char *want)
{
    struct imap_append a = {0};
    char got[32] = "";
    for (; *pieces; pieces++) {
        struct imap_cursor c = at(*pieces);
        enum imap_append_step step;
        do {
            step = imap_append_next(&c, &a);
            size_t n = strlen(got);
            assert_true(n < sizeof(got) - 1);
            got[n] = "MLTUCEB"[step];
            got[n + 1] = 0;
        } while (step == IMAP_APPEND_MESSAGE || step == IMAP_APPEND_URL ||
                 step == IMAP_APPEND_COMPLETE);
        if (step == IMAP_APPEND_BAD)
            break;
    }
    assert_string_equal(got, want);
}

static void test_append(void **state)
{
    append_steps((const char *[]){"{10}", "", NULL}, "MLCE");
    append_steps((const char *[]){"(\\Seen) \"17-Jul-1996 02:44:25 -0700\" {10+}", "", NULL},
                 "MLCE");
    append_steps((const char *[]){"{10}", " (\\Draft) {3}", "", NULL}, "MLCMLCE");
    append_steps((const char *[]){"UTF8 (~{10}", ")", NULL}, "MLCE");
    append_steps((const char *[]){"CATENATE (URL \"/a;UID=1\" TEXT {4}", " URL /b)", NULL},
                 "MUTUCE");
    append_steps((const char *[]){"CATENATE (TEXT {4}", " TEXT {5}", ")", NULL}, "MTTCE");
    append_steps((const char *[]){"{10}", "x", NULL}, "MLCB");
    append_steps((const char *[]){"CATENATE ()", NULL}, "MB");
    append_steps((const char *[]){"(\\Seen {10}", NULL}, "B");
    append_steps((const char *[]){"\"17-Foo-1996 02:44:25 -0700\" {10+}", NULL}, "B");
    assert_true(imap_literal_is_message(STR("A1 APPEND INBOX {10}")));
    assert_true(imap_literal_is_message(STR("A1 append {5}\r\nINBOX (\\Seen) {10}")));
    assert_true(imap_literal_is_message(STR("A1 UID REPLACE 3 INBOX ~{10}")));
    assert_true(imap_literal_is_message(STR("A1 APPEND INBOX CATENATE (TEXT {10}")));
    assert_false(imap_literal_is_message(STR("A1 APPEND INBOX CATENATE (URL {10}")));
    assert_false(imap_literal_is_message(STR("A1 APPEND {5}")));
    assert_false(imap_literal_is_message(STR("A1 LOGIN a {5}")));
    assert_false(imap_literal_is_message(STR("A1 APPENDX a {5}")));
}

static void test_render(void **state)
{
    BUF_AUTO struct buf out = BUF_INIT(4096);
    imap_render_astring(&out, STR("atom"));
    imap_render_astring(&out, STR("nil"));
    imap_render_astring(&out, STR(""));
    imap_render_astring(&out, STR("a\"b\\c"));
    imap_render_astring(&out, STR("a\r\n"));
    imap_render_nstring(&out, false, STR_NONE);
    imap_render_nstring(&out, true, STR("\xc3\xa4"));
    assert_str(buf_str(&out), "atom\"nil\"\"\"\"a\\\"b\\\\c\"{3}\r\na\r\nNIL{2}\r\n\xc3\xa4");
    buf_reset(&out);
    str keywords[] = {STR_INIT("$Forwarded")};
    imap_render_flags(&out, IMAP_FLAG_SEEN | IMAP_FLAG_ANSWERED, keywords, 1);
    imap_render_flags(&out, 0, NULL, 0);
    imap_render_date_time(&out, 837596665, -420);
    assert_str(buf_str(&out), "(\\Answered \\Seen $Forwarded)()\"17-Jul-1996 02:44:25 -0700\"");
}

static void test_url(void **state)
{
    struct imap_url u;
    assert_ok(imap_url_parse(/* RFC 4467 9 */
                             &arena,
                             STR("imap://joe@example.com/INBOX/;uid=20/"
                                 ";section=1.2;urlauth=submit+fred:internal:"
                                 "91354a473744909de610943775f92038"),
                             &u));
    assert_str(u.user, "joe");
    assert_str(u.host, "example.com");
    assert_str(u.mailbox, "INBOX");
    assert_int_equal(u.uid, 20);
    assert_str(u.section, "1.2");
    assert_str(u.access, "submit+fred");
    assert_str(u.mechanism, "internal");
    assert_str(u.rump, "imap://joe@example.com/INBOX/;uid=20/;section=1.2;urlauth=submit+fred");
    assert_ok(imap_url_parse(/* RFC 5092 10, 5550 */
                             &arena,
                             STR("imap://fred;AUTH=GSSAPI@[2001:db8::1]:143/g%C3%B6/"
                                 "x;UIDVALIDITY=785799047/;UID=113330;"
                                 "section=1.5.9/"
                                 ";PARTIAL=1024.5;expire=2026-12-31T00:00:00Z;urlauth=anonymous"),
                             &u));
    assert_str(u.auth, "GSSAPI");
    assert_str(u.mailbox, "g\xc3\xb6/x");
    assert_true(u.uidvalidity == 785799047 && u.port == 143 && u.offset == 1024 && u.count == 5);
    assert_true(u.has_expire && u.expire_s == 1798675200);
    assert_ok(imap_url_parse(&arena, STR("/INBOX;UIDVALIDITY=1/;UID=2"), &u));
    assert_int_equal(u.uid, 2);
    static const char *const bad[] = {
        "",
        "x",
        "/a%zz",
        "/a%",
        "/a;UID=0",
        "/a;UID=x",
        "/a;FOO=1",
        "imap://",
        "imap://h:x/",
        "/a;UID=1;URLAUTH=",
        "/a;UID=1;URLAUTH=anonymous:INTERNAL",
        "/a%00;UID=1",
        "/a;UID=1;URLAUTH=anonymous:INTERNAL:xyz",
        "/a;UID=1;EXPIRE=2026;URLAUTH=anonymous",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (imap_url_parse(&arena, str_c(bad[i]), &u) == ERR_OK)
            fail_msg("accepted %s", bad[i]);
}

static char *repeat(const char *head, const char *unit, size_t n, const char *tail, size_t *len)
{
    size_t h = strlen(head), u = strlen(unit), t = strlen(tail), count = n / u;
    char *text = malloc(h + count * u + t + 1);
    memcpy(text, head, h);
    for (size_t i = 0; i < count; i++)
        memcpy(text + h + i * u, unit, u);
    memcpy(text + h + count * u, tail, t + 1);
    *len = h + count * u + t;
    return text;
}

static void linear_fetch(size_t n)
{
    size_t len;
    char *text = repeat("1 BODY[HEADER.FIELDS (a", " b", n, ")]", &len);
    struct imap_cursor c = imap_cursor_of(str_of(text, len), &arena, false);
    struct imap_fetch f;
    assert_true(imap_take_fetch(&c, &f));
    arena_reset(&arena);
    free(text);
}
static void linear_quoted(size_t n)
{
    size_t len;
    char *text = repeat("\"", "\\\\", n, "\"", &len);
    struct imap_cursor c = imap_cursor_of(str_of(text, len), &arena, false);
    imap_astring(&c);
    assert_true(imap_ok(&c));
    arena_reset(&arena);
    free(text);
}
static void linear_seq(size_t n)
{
    size_t len;
    char *text = repeat("1", ",3", n, "", &len);
    struct imap_cursor c = imap_cursor_of(str_of(text, len), &arena, false);
    struct imap_seq seq;
    assert_true(imap_seq_set(&c, &seq));
    SET_AUTO struct set set = {0};
    assert_ok(imap_seq_resolve(&seq, 9, &set));
    arena_reset(&arena);
    free(text);
}

static void test_wire_4_linear(void **state)
{
    assert_true(linear_holds(linear_fetch, 9000));
    assert_true(linear_holds(linear_quoted, 200000));
    assert_true(linear_holds(linear_seq, 90000));
}

static void test_wire_4_limits(void **state)
{
    size_t len;
    char *text = repeat("1", ",3", 2 * IMAP_SEQ_RANGES_MAX + 10, "", &len);
    struct imap_cursor c = imap_cursor_of(str_of(text, len), &arena, false);
    struct imap_seq seq;
    assert_false(imap_seq_set(&c, &seq));
    assert_int_equal(c.kind, ERR_LIMIT);
    free(text);
    text = repeat("1 BODY[1", ".1", 1000, "]", &len);
    c = imap_cursor_of(str_of(text, len), &arena, false);
    struct imap_fetch f;
    assert_false(imap_take_fetch(&c, &f));
    assert_int_equal(c.kind, ERR_LIMIT);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_literal_at_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_words, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors_are_sticky, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mailbox_names, setup, teardown),
        cmocka_unit_test_setup_teardown(test_seq_sets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fetch, setup, teardown),
        cmocka_unit_test_setup_teardown(test_store_status_select, setup, teardown),
        cmocka_unit_test_setup_teardown(test_list, setup, teardown),
        cmocka_unit_test_setup_teardown(test_smaller_commands, setup, teardown),
        cmocka_unit_test_setup_teardown(test_notify, setup, teardown),
        cmocka_unit_test_setup_teardown(test_append, setup, teardown),
        cmocka_unit_test_setup_teardown(test_render, setup, teardown),
        cmocka_unit_test_setup_teardown(test_url, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wire_4_linear, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wire_4_limits, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
