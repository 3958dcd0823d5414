/* SPDX-License-Identifier: Apache-2.0
 *
 * A scanner's answer is taken for what it is, and nothing of it can do more than it may.
 * rule: wire-5
 */
#include "core/test_world.h"

#include "base/num.h"
#include "core/scan.h"
#include "format/json_guard.h"

static struct scan_answer a;
static struct arena arena;

static void parse(const char *json)
{
    arena_reset(&arena);
    OK(scan_answer_parse(str_c(json), &arena, &a));
}
#define IS(text, wanted) assert_true(str_eq((text), STR(wanted)))

static void what_rspamd_says(void **state)
{
    parse("{\"is_skipped\":false,\"score\":15.2,\"required_score\":15.0,\"action\":\"reject\","
          "\"thresholds\":{\"reject\":15.0,\"add header\":6.0,\"greylist\":4.0},"
          "\"symbols\":{\"GTUBE\":{\"name\":\"GTUBE\",\"score\":0,\"metric_score\":0,"
          "\"options\":[\"x\"]},\"R_SPF_ALLOW(1)\":{\"score\":-0.2},\"B_.:-\":{\"score\":1}},"
          "\"messages\":{\"smtp_message\":\"Gtube "
          "pattern\"},\"message-id\":\"x@y\",\"time_real\":0.1,"
          "\"milter\":{\"add_headers\":{\"X-A\":\"one\",\"X-B\":{\"value\":\"two\",\"order\":0},"
          "\"X-C\":[{\"value\":\"3\"},\"4\"]},\"remove_headers\":{\"X-Old\":0,\"X-Last\":-1}},"
          "\"subject\":\"[SPAM] gr\xc3\xbc\xc3\x9f\"}");
    assert_int_equal(a.action, SCAN_REJECT);
    assert_true(a.score == 15.2 && a.required == 15.0);
    IS(a.message, "Gtube pattern");
    assert_int_equal(a.nsymbols, 2);
    IS(a.symbols[0].name, "GTUBE");
    IS(a.symbols[1].name, "B_.:-");
    assert_int_equal(a.nadd, 4);
    IS(a.add[3].name, "X-C");
    IS(a.add[3].value, "4");
    assert_int_equal(a.nremove, 2);
    assert_int_equal(a.remove[1].index, -1);
    IS(a.subject, "[SPAM] gr\xc3\xbc\xc3\x9f");
    static const struct {
        const char *word;
        enum scan_action action;
    } rows[] = {{"no action", SCAN_NO_ACTION},     {"greylist", SCAN_GREYLIST},
                {"add header", SCAN_ADD_HEADER},   {"rewrite subject", SCAN_REWRITE_SUBJECT},
                {"soft reject", SCAN_SOFT_REJECT}, {"quarantine", SCAN_ADD_HEADER}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char json[200];
        snprintf(json, sizeof(json), "{\"action\":\"%s\",\"score\":1,\"required_score\":2}",
                 rows[i].word);
        parse(json);
        assert_int_equal(a.action, rows[i].action);
    }
}

#define REST "\"score\":1,\"required_score\":2"

static void rubbish_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "null",
        "[]",
        "hello",
        "{",
        "{}",
        "{" REST "}",
        "{\"action\":1," REST "}",
        "{\"action\":\"\"," REST "}",
        "{\"action\":\"reject\",\"score\":\"1\",\"required_score\":2}",
        "{\"action\":\"reject\",\"score\":1}",
        "{\"action\":\"reject\",\"score\":1e999,\"required_score\":2}",
        "{\"action\":\"reject\"," REST "} x",
        "{\"action\":\"reject\",\"action\":\"no action\"," REST "}",
        "{\"action\":\"reject\"," REST ",\"symbols\":[]}",
        "{\"action\":\"reject\"," REST ",\"symbols\":{\"A\":\"x\"}}",
        "{\"action\":\"reject\"," REST ",\"milter\":[]}",
        "{\"action\":\"reject\"," REST ",\"milter\":{\"add_headers\":\"x\"}}",
        "{\"action\":\"reject\"," REST ",\"milter\":{\"add_headers\":{\"X\":[[1]]}}}",
        "{\"action\":\"reject\"," REST ",\"milter\":{\"remove_headers\":{\"X\":\"1\"}}}",
        "{\"action\":\"re\xffject\"," REST "}",
        "{\"action\":\"reject\\u0000\"," REST "}",
        "<html>502 Bad Gateway</html>",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        arena_reset(&arena);
        if (scan_answer_parse(str_c(bad[i]), &arena, &a) != ERR_SYNTAX)
            fail_msg("taken: %s", bad[i]);
    }
}

/* Ten thousand arrays would overflow a fiber's stack in a parser that recurses. */
static void deep_nesting_is_refused(void **state)
{
    BUF_AUTO struct buf json = BUF_INIT(SCAN_ANSWER_MAX + 16);
    buf_add_c(&json, "{\"action\":\"reject\"," REST ",\"x\":");
    while (json.len < 100000)
        buf_add_char(&json, '[');
    arena_reset(&arena);
    assert_int_equal(scan_answer_parse(buf_str(&json), &arena, &a), ERR_SYNTAX);
    assert_true(json_is_shallow(STR("[[\"]]]][[[[[[\\\"[[[[\"],{\"[\":[]}]"), 3));
    assert_false(json_is_shallow(STR("[[[[]]]]"), 3));
    buf_reset(&json);
    while (buf_ok(&json))
        buf_add_c(&json, "          ");
    assert_int_equal(scan_answer_parse(str_of(json.data, json.len), &arena, &a), ERR_SYNTAX);
}

static void values_are_cleaned(void **state)
{
    parse("{\"action\":\"add header\"," REST ",\"messages\":{\"smtp_message\":"
          "\"a\\r\\n250 OK \xc3\xa4\"},\"subject\":\"a\\r\\nBcc: x\\u0007\","
          "\"milter\":{\"add_headers\":{"
          "\"X-Fold\":\"one\\r\\n\\ttwo\\n  \\nthree\\r\\n\\r\\nbody\\n\","
          "\"X: y\":\"1\",\"X\\r\\nY\":\"1\",\"\":\"1\",\"Received\":\"1\",\"delivered-to\":\"1\","
          "\"X-8\":\"\xc3\xa4\\u0001\"},\"remove_headers\":{\"Received\":0,\"X-1\":0}}}");
    IS(a.message, "a??250 OK ??");
    IS(a.subject, "a  Bcc: x");
    assert_int_equal(a.nadd, 2);
    IS(a.add[0].value, "one\r\n\ttwo\r\n\tthree\r\n\tbody");
    IS(a.add[1].value, "???");
    assert_int_equal(a.nremove, 1);
}

/* Who wrote a message, and how it is built, was looked at already and is not a scanner's to say. */
static void what_is_looked_at_stays(void **state)
{
    parse("{\"action\":\"add header\"," REST ",\"milter\":{\"add_headers\":{\"From\":\"a@b.test\","
          "\"SENDER\":\"x\",\"Date\":\"x\",\"Message-Id\":\"x\",\"MIME-Version\":\"1.0\","
          "\"Content-Type\":\"text/html\",\"content-transfer-encoding\":\"base64\",\"X-A\":\"1\"},"
          "\"remove_headers\":{\"From\":0,\"Sender\":1,\"date\":-1,\"Message-ID\":0,"
          "\"Content-Type\":0,\"Mime-Version\":0,\"X-B\":0}}}");
    assert_int_equal(a.nadd, 1);
    IS(a.add[0].name, "X-A");
    assert_int_equal(a.nremove, 1);
    IS(a.remove[0].name, "X-B");
}

/* RFC 5322 3.6: fields that stand once. */
static void no_second_subject_comes(void **state)
{
    assert_false(scan_field_fits(STR("SUBJECT"), STR("From: a\r\nSubject: b\r\n\r\nTo: x\r\n")));
    assert_true(scan_field_fits(STR("To"), STR("From: a\r\nSubject: b\r\n\r\nTo: x\r\n")));
    assert_true(scan_field_fits(STR("X-A"), STR("X-A: a\r\n\r\n")));
}

static void much_is_cut(void **state)
{
    BUF_AUTO struct buf json = BUF_INIT(SCAN_ANSWER_MAX);
    buf_add_c(&json, "{\"action\":\"reject\"," REST ",\"symbols\":{");
    for (int i = 0; i < 500; i++)
        buf_addf(&json, "%s\"S%d\":{\"score\":%d}", i ? "," : "", i, i);
    buf_add_c(&json, "},\"milter\":{\"add_headers\":{");
    for (int i = 0; i < 60; i++) {
        buf_addf(&json, "%s\"X-%d\":\"", i ? "," : "", i);
        for (int k = 0; k < 3000; k++)
            buf_add_char(&json, 'x');
        buf_add_char(&json, '"');
    }
    buf_add_c(&json, "}},\"messages\":{\"smtp_message\":\"");
    for (int k = 0; k < 3000; k++)
        buf_add_char(&json, 'y');
    buf_add_c(&json, "\"}}");
    assert_true(buf_ok(&json));
    arena_reset(&arena);
    OK(scan_answer_parse(buf_str(&json), &arena, &a));
    assert_int_equal(a.nsymbols, SCAN_SYMBOLS_MAX);
    assert_int_equal(a.message.len, SCAN_MESSAGE_MAX);
    size_t bytes = 0;
    for (size_t i = 0; i < a.nadd; i++)
        bytes += a.add[i].name.len + a.add[i].value.len;
    assert_true(a.nadd > 5 && bytes <= SCAN_FIELDS_BYTES_MAX);
    assert_true(a.add[0].value.len <= 998);
}

/* ---- changing a message ---- */

static void gather(void *context, str bytes) { buf_add(context, bytes); }

static void edit(const struct scan_edit *e, const char *before, const char *after)
{
    BUF_AUTO struct buf out = BUF_INIT(65536);
    bool changed = scan_edit_apply(e, str_c(before), gather, &out);
    assert_int_equal(changed, after != NULL);
    buf_add_char(&out, 0);
    if (after)
        assert_string_equal(out.data, after);
}

static void fields_go_and_a_subject_comes(void **state)
{
    struct scan_removal rules[] = {{STR("x-spam-flag"), 0}, {STR("A"), 2}, {STR("B"), -1}};
    struct scan_edit e = {.remove = rules, .nremove = 3};
    edit(&e, "From: x\r\nC: 1\r\n\r\nX-Spam-Flag: in the body\r\n", NULL);
    edit(&e,
         "X-Spam-Flag: YES\r\nA: 1\r\nB: 1\r\nA: 2\r\n folded\r\nB: 2\r\nX-SPAM-flag: NO\r\n"
         "A: 3\r\n\r\nbody\r\n",
         "A: 1\r\nB: 1\r\nA: 3\r\n\r\nbody\r\n");
    e = (struct scan_edit){.subject = STR("*** SPAM *** hi")};
    edit(&e, "From: x\r\nSubject: hi\r\n\tthere\r\nTo: y\r\nSubject: two\r\n\r\nb\r\n",
         "From: x\r\nSubject: *** SPAM *** hi\r\nTo: y\r\n\r\nb\r\n");
    edit(&e, "From: x\r\n\r\nb\r\n", "Subject: *** SPAM *** hi\r\nFrom: x\r\n\r\nb\r\n");
    e.subject = STR("gr\xc3\xbc\xc3\x9f");
    edit(&e, "Subject: x\r\n\r\n", "Subject: =?UTF-8?B?Z3LDvMOf?=\r\n\r\n");
}

int main(void)
{
    arena_init(&arena, 1 << 20);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_rspamd_says),
        cmocka_unit_test(rubbish_is_refused),
        cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(values_are_cleaned),
        cmocka_unit_test(what_is_looked_at_stays),
        cmocka_unit_test(no_second_subject_comes),
        cmocka_unit_test(much_is_cut),
        cmocka_unit_test(fields_go_and_a_subject_comes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
