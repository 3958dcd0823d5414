/* SPDX-License-Identifier: Apache-2.0 */
#include "format/test_cmocka.h"

#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "format/limits.h"
#include "format/smtp_reply.h"

static void test_render(void **state)
{
    BUF_AUTO struct buf out = BUF_INIT(8192);
    smtp_reply(&out, 250, "2.1.0", STR("Fine"));
    smtp_reply(&out, 550, "5.7.1", STR("No\nreally\rno"));
    smtp_reply(&out, 354, NULL, STR("Go"));
    assert_str(buf_str(&out), "250 2.1.0 Fine\r\n550-5.7.1 No\r\n550 5.7.1 really?no\r\n"
                              "354 Go\r\n");
    buf_reset(&out);
    char text[2000];
    memset(text, 'x', sizeof(text));
    smtp_reply(&out, 250, "2.0.0", str_of(text, sizeof(text)));
    assert_int_equal(out.len, SMTP_REPLY_TEXT_MAX);
}

static enum err read_all(struct smtp_reply_reader *r, const char *const *lines)
{
    smtp_reply_reader_reset(r);
    for (; *lines && !r->done; lines++)
        TRY(smtp_reply_reader_add(r, str_c(*lines)));
    return ERR_OK;
}

/* rule: wire-5: replies from remote servers are as hostile as commands. */
static void test_wire_5_read(void **state)
{
    struct smtp_reply_reader r;
    smtp_reply_reader_init(&r);
    assert_ok(read_all(&r, (const char *[]){"550-5.1.1 No such", "550 5.1.1 user \x1b[2J", NULL}));
    assert_true(r.done && r.code == 550 && r.status.given);
    assert_int_equal(r.status.class * 10000 + r.status.subject * 100 + r.status.detail, 50101);
    assert_str(buf_str(&r.text), "No such\nuser ?[2J");
    assert_ok(read_all(&r, (const char *[]){"250", NULL}));
    assert_true(r.done && r.code == 250 && !r.status.given);
    assert_ok(read_all(&r, (const char *[]){"250 5.1.1 does not fit", NULL}));
    assert_false(r.status.given);
    assert_int_equal(read_all(&r, (const char *[]){"250-a", "251 b", NULL}), ERR_SYNTAX);
    static const char *const bad[] = {"",      "25",           "25x ok",  "2500 ok", "150 ok",
                                      "600 x", "HTTP/1.1 400", "250\tok", "-50 x",   NULL};
    for (size_t i = 0; bad[i]; i++)
        assert_int_equal(read_all(&r, (const char *[]){bad[i], NULL}), ERR_SYNTAX);
    smtp_reply_reader_free(&r);
}

static void test_wire_4_reply_limits(void **state)
{
    struct smtp_reply_reader r;
    smtp_reply_reader_init(&r);
    enum err e = ERR_OK;
    int n = 0;
    while ((e = smtp_reply_reader_add(&r, STR("250-more"))) == ERR_OK)
        n++;
    assert_int_equal(e, ERR_LIMIT);
    assert_int_equal(n, SMTP_REPLY_LINES_MAX);
    smtp_reply_reader_reset(&r);
    char line[SMTP_REPLY_LINE_MAX + 1];
    memset(line, 'x', sizeof(line));
    memcpy(line, "250-", 4);
    assert_int_equal(smtp_reply_reader_add(&r, str_of(line, sizeof(line))), ERR_LIMIT);
    smtp_reply_reader_reset(&r);
    for (n = 0; smtp_reply_reader_add(&r, str_of(line, sizeof(line) - 1)) == ERR_OK; n++)
        ;
    assert_int_equal(n, 16);
    smtp_reply_reader_free(&r);
}

static void test_ehlo(void **state)
{
    struct smtp_ehlo e;
    smtp_ehlo_parse(
        STR("mx.example.test SIZE 5\nPIPELINING\nsize 1000\nAUTH PLAIN SCRAM-SHA-256 X\n"
            "AUTH=LOGIN\nLIMITS RCPTMAX=50 MAILMAX=x\nX-UNKNOWN\n\nDELIVERBY 240"),
        &e);
    assert_int_equal(e.ext, SMTP_EXT_PIPELINING | SMTP_EXT_SIZE | SMTP_EXT_AUTH | SMTP_EXT_LIMITS |
                                SMTP_EXT_DELIVERBY);
    assert_int_equal(e.mechs, SMTP_MECH_PLAIN | SMTP_MECH_LOGIN | SMTP_MECH_SCRAM_SHA_256);
    assert_int_equal(e.size_max, 1000);
    assert_int_equal(e.rcpt_max, 50);
    assert_int_equal(e.mail_max, 0);
    assert_int_equal(e.by_min_s, 240);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_render),
        cmocka_unit_test(test_wire_5_read),
        cmocka_unit_test(test_wire_4_reply_limits),
        cmocka_unit_test(test_ehlo),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
