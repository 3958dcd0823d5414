/* SPDX-License-Identifier: Apache-2.0
 *
 * Aggregate reports: what we write we read; what others write we read; what nobody honest writes
 * ends early. rule: wire-4
 */
#include "format/test_cmocka.h"

#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "format/dmarc_report.h"
#include "format/report_mail.h"
#include "format/test_linear.h"
#include "format/tls_report.h"
#include "format/unpack.h"

#define OK(call) assert_int_equal((call), ERR_OK)

/* ---- packing ---- */

static enum err unpack_all(str packed, size_t max, struct buf *out)
{
    ARENA_AUTO struct arena a = ARENA_INIT(65536);
    struct unpack *u = NULL;
    str piece;
    enum err e = unpack_open(&a, packed, max, &u);
    while (e == ERR_OK && (e = unpack_next(u, &piece)) == ERR_OK)
        buf_add(out, piece);
    unpack_close(u);
    return e == ERR_EOF ? ERR_OK : e;
}

static void test_gzip(void **state)
{
    BUF_AUTO struct buf in = BUF_INIT(1 << 20), packed = BUF_INIT(1 << 20), out = BUF_INIT(1 << 20);
    for (int i = 0; i < 20000; i++)
        buf_addf(&in, "%d ", i * 7919 % 1000);
    OK(gzip_pack(buf_str(&in), &packed));
    OK(unpack_all(buf_str(&packed), 1 << 20, &out));
    assert_true(str_eq(buf_str(&in), buf_str(&out)));
    for (size_t cut = 0; cut < packed.len; cut += 97) {
        buf_reset(&out);
        assert_true(unpack_all(str_head(buf_str(&packed), cut), 1 << 20, &out) != ERR_OK ||
                    cut < 2);
    }
    packed.data[packed.len - 5] ^= 1; /* the checksum */
    assert_int_equal(unpack_all(buf_str(&packed), 1 << 20, &out), ERR_SYNTAX);
}

static void test_bombs(void **state)
{
    static char zeros[1 << 20];
    BUF_AUTO struct buf in = BUF_INIT(1 << 24), packed = BUF_INIT(1 << 20), out = BUF_INIT(1 << 24);
    for (int i = 0; i < 8; i++)
        buf_add(&in, str_of(zeros, sizeof zeros));
    OK(gzip_pack(buf_str(&in), &packed));
    assert_true(packed.len * UNPACK_RATIO_MAX < in.len);
    assert_int_equal(unpack_all(buf_str(&packed), 1 << 24, &out), ERR_LIMIT);
    assert_true(out.len <= UNPACK_RATIO_FROM + 2 * UNPACK_PIECE || out.len < in.len / 2);
    assert_int_equal(unpack_all(STR("plain text"), 5, &out), ERR_LIMIT);
}

/* A member that is stored, packed in no known way, encrypted; and one with a wrong checksum. */
static void test_zip(void **state)
{
    uint8_t zip[33] = {'P', 'K', 3,           4,    20,   0,    0,        0,
                       0,   0,   [14] = 0xc2, 0x41, 0x24, 0x35, [18] = 3, [22] = 3};
    BUF_AUTO struct buf out = BUF_INIT(1024);
    memcpy(zip + 30, "abc", 3);
    OK(unpack_all(str_of(zip, sizeof zip), 100, &out));
    assert_true(str_eq(buf_str(&out), STR("abc")));
    zip[14] ^= 1;
    assert_int_equal(unpack_all(str_of(zip, sizeof zip), 100, &out), ERR_SYNTAX);
    zip[18] = 200;
    assert_int_equal(unpack_all(str_of(zip, sizeof zip), 100, &out), ERR_SYNTAX);
    zip[8] = 99;
    assert_int_equal(unpack_all(str_of(zip, sizeof zip), 100, &out), ERR_UNSUPPORTED);
    zip[6] = 1;
    assert_int_equal(unpack_all(str_of(zip, sizeof zip), 100, &out), ERR_UNSUPPORTED);
    assert_int_equal(unpack_all(str_of(zip, 20), 100, &out), ERR_SYNTAX);
}

/* ---- DMARC ---- */

struct rows {
    size_t n;
    char text[4096];
};

static enum err on_row(void *ctx, const struct dmarc_report_row *r)
{
    struct rows *rows = ctx;
    size_t len = strlen(rows->text);
    if (rows->n++ < 8)
        snprintf(rows->text + len, sizeof rows->text - len,
                 "%.*s %llu %.*s %d%d %.*s %.*s|%.*s %zu:%.*s/%.*s/%.*s %.*s=%.*s\n",
                 STR_ARG(r->source_ip), (unsigned long long)r->count, STR_ARG(r->disposition),
                 r->dkim_aligned, r->spf_aligned, STR_ARG(r->reason), STR_ARG(r->header_from),
                 STR_ARG(r->envelope_from), r->ndkim, STR_ARG(r->dkim[0].domain),
                 STR_ARG(r->dkim[0].selector), STR_ARG(r->dkim[0].result), STR_ARG(r->spf_domain),
                 STR_ARG(r->spf_result));
    return ERR_OK;
}

/* piece: bytes fed at a time. The head's texts live in the arena. */
static enum err read_dmarc(struct arena *a, str xml, size_t piece, struct rows *rows,
                           struct dmarc_report_head *h, size_t *skipped)
{
    struct dmarc_report_reader *r;
    memset(rows, 0, sizeof *rows);
    OK(dmarc_report_reader_open(a, 12345, on_row, rows, &r));
    enum err e = ERR_OK;
    for (; xml.len && e == ERR_OK; xml = str_skip(xml, piece))
        e = dmarc_report_reader_feed(r, str_head(xml, piece));
    if (e == ERR_OK)
        e = dmarc_report_reader_end(r, h, skipped);
    dmarc_report_reader_close(r);
    return e;
}

static const struct dmarc_report_head head = {
    .org_name = STR_INIT("A & B <\x01>"),
    .email = STR_INIT("p@a.test"),
    .report_id = STR_INIT("id1"),
    .error = STR_INIT("too many \xff"),
    .generator = STR_INIT("Posthouse"),
    .begin_s = 86400,
    .end_s = 172799,
    .domain = STR_INIT("b.test"),
    .policy = {.p = STR_INIT("reject"), .np = STR_INIT("none"), .testing = true}};

static void test_dmarc_round_trip(void **state)
{
    struct dmarc_report_row row = {.source_ip = STR("2001:db8::1"),
                                   .count = 7,
                                   .disposition = STR("quarantine"),
                                   .spf_aligned = true,
                                   .reason = STR("local_policy"),
                                   .header_from = STR("x.b.test"),
                                   .dkim = {{STR("b.test"), STR("s1"), STR("fail")}},
                                   .ndkim = 1,
                                   .spf_domain = STR("b.test"),
                                   .spf_result = STR("pass")};
    BUF_AUTO struct buf xml = BUF_INIT(1 << 20);
    dmarc_report_open(&xml, &head);
    dmarc_report_add(&xml, &row);
    dmarc_report_add(&xml, &row);
    dmarc_report_end(&xml);
    assert_true(str_find_char(buf_str(&xml), 1) == STR_NPOS);
    for (size_t piece = 1; piece < 5000; piece = piece * 3 + 1) {
        ARENA_AUTO struct arena a = ARENA_INIT(1 << 20);
        struct rows rows;
        struct dmarc_report_head h;
        size_t skipped;
        OK(read_dmarc(&a, buf_str(&xml), piece, &rows, &h, &skipped));
        assert_int_equal(rows.n, 2);
        assert_int_equal(skipped, 0);
        const char *line = "2001:db8::1 7 quarantine 01 local_policy x.b.test| 1:b.test/s1/fail "
                           "b.test=pass\n";
        assert_memory_equal(rows.text, line, strlen(line));
        assert_true(str_eq(h.org_name, STR("A & B <?>")) && str_eq(h.domain, STR("b.test")));
        assert_true(h.begin_s == 86400 && h.end_s == 172799 && h.policy.testing);
        assert_true(str_eq(h.policy.p, STR("reject")) && str_eq(h.policy.np, STR("none")));
        assert_true(str_starts(h.error, STR("too many ?")));
    }
}

static enum err read_text(str xml)
{
    ARENA_AUTO struct arena a = ARENA_INIT(1 << 20);
    struct rows rows;
    struct dmarc_report_head h;
    size_t skipped;
    return read_dmarc(&a, xml, 4096, &rows, &h, &skipped);
}

#define META                                                                                       \
    "<report_metadata><org_name>o</org_name><report_id>i</report_id><date_range><begin>1</begin>"  \
    "<end>2</end></date_range></report_metadata>"
#define PUBLISHED "<policy_published><domain>d.test</domain></policy_published>"

static void test_dmarc_refused(void **state)
{
    static const struct {
        const char *text;
        enum err e;
    } cases[] = {
        {"<feedback>" META PUBLISHED "</feedback>", ERR_OK},
        {"\xef\xbb\xbf<?xml version='1.0'?><x:feedback xmlns:x='u:v'>"
         "<x:report_metadata><x:report_id>i</x:report_id><x:date_range><x:begin>1</x:begin>"
         "<x:end>2.5</x:end></x:date_range></x:report_metadata><x:policy_published><x:domain>d"
         "</x:domain></x:policy_published></x:feedback>",
         ERR_OK},
        {"<feedback>" META "</feedback>", ERR_SYNTAX},
        {"<feedback>" PUBLISHED "</feedback>", ERR_SYNTAX},
        {"<feedback>" META PUBLISHED, ERR_SYNTAX},
        {"<html><feedback>" META PUBLISHED "</feedback></html>", ERR_SYNTAX},
        {"<!DOCTYPE feedback><feedback>" META PUBLISHED "</feedback>", ERR_SYNTAX},
        {"<!DOCTYPE f [<!ENTITY a 'x'>]><feedback>&a;" META PUBLISHED "</feedback>", ERR_SYNTAX},
        {"<feedback>&a;" META PUBLISHED "</feedback>", ERR_SYNTAX},
        {"<feedback>" META PUBLISHED "</feedback><more/>", ERR_SYNTAX},
        {"{}", ERR_SYNTAX},
        {"", ERR_SYNTAX},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (read_text(str_c(cases[i].text)) != cases[i].e)
            fail_msg("case %zu: %s", i, cases[i].text);
}

static void repeated(struct buf *out, const char *before, const char *what, size_t n,
                     const char *after)
{
    buf_reset(out);
    buf_add_c(out, before);
    for (size_t i = 0; i < n; i++)
        buf_add_c(out, what);
    buf_add_c(out, after);
    assert_true(buf_ok(out));
}

static void test_dmarc_limits(void **state)
{
    BUF_AUTO struct buf xml = BUF_INIT(1 << 26);
    repeated(&xml, "<feedback>", "<a>", DMARC_REPORT_DEPTH_MAX, "");
    assert_int_equal(read_text(buf_str(&xml)), ERR_LIMIT);
    repeated(&xml, "<feedback>", "<a/>", DMARC_REPORT_ELEMENTS_MAX, "");
    assert_int_equal(read_text(buf_str(&xml)), ERR_LIMIT);
    repeated(&xml, "<feedback><a b='", "x", 3 * DMARC_REPORT_TOKEN_MAX, "'/></feedback>");
    assert_int_equal(read_text(buf_str(&xml)), ERR_LIMIT);
    /* A text without end is not one token: it is cut. */
    repeated(&xml, "<feedback>" META "<policy_published><domain>", "xyz", 200000,
             "</domain></policy_published></feedback>");
    OK(read_text(buf_str(&xml)));
}

static void test_dmarc_rows(void **state)
{
    ARENA_AUTO struct arena a = ARENA_INIT(1 << 20);
    struct rows rows;
    struct dmarc_report_head h;
    size_t skipped;
    str xml = STR("<feedback>" META PUBLISHED
                  "<record><row><source_ip>::</source_ip><count>1</count></row></record>"
                  "<record><row><count>1</count></row></record>"
                  "<record><row><source_ip>host</source_ip><count>1</count></row></record>"
                  "<record><row><source_ip>1.2.3.4</source_ip><count>-1</count></row></record>"
                  "<record><row><source_ip>1.2.3.4</source_ip><count>9999999999999</count></row>"
                  "</record>"
                  "<record><row><source_ip> 1.2.3.4\n</source_ip><count> 2 </count>"
                  "<policy_evaluated><dkim>PASS</dkim></policy_evaluated></row>"
                  "<unknown><row><count>5</count></row></unknown></record></feedback>");
    OK(read_dmarc(&a, xml, 100, &rows, &h, &skipped));
    assert_int_equal(rows.n, 2);
    assert_int_equal(skipped, 4);
    assert_string_equal(rows.text, ":: 1  00  | 0:// =\n1.2.3.4 2  10  | 0:// =\n");
}

static void read_long(size_t n)
{
    static struct buf xml = {.max = 1 << 25};
    repeated(&xml, "<feedback>" META PUBLISHED,
             "<record><row><source_ip>1.2.3.4</source_ip><count>1</count></row></record>", n / 70,
             "</feedback>");
    OK(read_text(buf_str(&xml)));
}

static void test_linear(void **state) { assert_true(linear_holds(read_long, 1000000)); }

/* ---- TLS ---- */

static void test_tls_round_trip(void **state)
{
    const str lines[] = {STR_INIT("version: STSv1"), STR_INIT("mode: \"enforce\"")};
    const str mx[] = {STR_INIT("*.b.test")};
    const struct tls_report_failure failures[] = {
        {.type = STR("certificate-expired"), .mx = STR("mx.b.test"), .count = 3}};
    const struct tls_report_policy policies[] = {
        {.type = STR("sts"),
         .strings = lines,
         .nstrings = 2,
         .domain = STR("b.test"),
         .mx = mx,
         .nmx = 1,
         .successful = 5,
         .failed = 3,
         .failures = failures,
         .nfailures = 1},
        {.type = STR("no-policy-found"), .domain = STR("b.test"), .successful = 1}};
    const struct tls_report in = {.organization = STR("Org \xc3\xa4"),
                                  .contact = STR("c@a.test"),
                                  .report_id = STR("r1"),
                                  .begin_s = 1700006400,
                                  .end_s = 1700092799,
                                  .policies = policies,
                                  .npolicies = 2};
    struct tls_report out;
    ARENA_AUTO struct arena a = ARENA_INIT(1 << 20);
    BUF_AUTO struct buf json = BUF_INIT(65536);
    OK(tls_report_render(&json, &in));
    OK(tls_report_parse(&a, buf_str(&json), &out));
    assert_true(str_eq(out.organization, in.organization) && out.begin_s == in.begin_s &&
                out.end_s == in.end_s && out.npolicies == 2);
    const struct tls_report_policy *p = &out.policies[0];
    assert_true(str_eq(p->strings[1], lines[1]) && str_eq(p->mx[0], mx[0]));
    assert_true(p->successful == 5 && p->failed == 3 && p->nfailures == 1);
    assert_true(str_eq(p->failures[0].type, failures[0].type) && p->failures[0].count == 3);
    assert_int_equal(out.policies[1].nfailures, 0);
}

#define JSON(range, policies)                                                                      \
    "{\"report-id\":\"r\",\"date-range\":{" range "},\"policies\":[" policies "]}"
#define RANGE                                                                                      \
    "\"start-datetime\":\"2026-01-01T01:00:00.5+01:00\",\"end-datetime\":\"2026-01-01T23:59:59Z\""

static enum err read_json(str json)
{
    ARENA_AUTO struct arena a = ARENA_INIT(4 << 20);
    struct tls_report t;
    return tls_report_parse(&a, json, &t);
}

static void test_tls_refused(void **state)
{
    BUF_AUTO struct buf json = BUF_INIT(1 << 22);
    ARENA_AUTO struct arena a = ARENA_INIT(1 << 20);
    struct tls_report t;
    OK(tls_report_parse(&a, STR(JSON(RANGE, "{}")), &t));
    assert_int_equal(t.begin_s, 1767225600);
    assert_int_equal(read_json(STR(JSON(RANGE, ""))), ERR_SYNTAX);
    assert_int_equal(read_json(STR(JSON("\"start-datetime\":\"2026-13-01T00:00:00Z\"", "{}"))),
                     ERR_SYNTAX);
    assert_int_equal(read_json(STR("[]")), ERR_SYNTAX);
    assert_int_equal(read_json(STR("")), ERR_SYNTAX);
    assert_int_equal(read_json(STR("{\"a\":\"\\\"[[[[[[[[[[[[[[[[[[[[[[[[[\"}")), ERR_SYNTAX);
    repeated(&json, "", "[", 100000, "");
    assert_int_equal(read_json(buf_str(&json)), ERR_LIMIT);
    repeated(&json, "[0", ",0", TLS_REPORT_VALUES_MAX + 1, "]");
    assert_int_equal(read_json(buf_str(&json)), ERR_LIMIT);
    repeated(&json, "[", " ", TLS_REPORT_BYTES_MAX, "]");
    assert_int_equal(read_json(buf_str(&json)), ERR_LIMIT);
}

/* ---- the mail ---- */

static void test_mail(void **state)
{
    const str to[] = {STR_INIT("a@b.test"), STR_INIT("c\r\nX: y@d.test")};
    struct report_mail m = {.tls = true,
                            .organization = STR("Org\r\nBcc: x"),
                            .from = STR("p@a.test"),
                            .to = to,
                            .nto = 2,
                            .domain = STR("b.test"),
                            .submitter = STR("a.test"),
                            .id = STR("abc"),
                            .boundary = STR("=_abc"),
                            .begin_s = 1,
                            .end_s = 2,
                            .packed = STR("\x1f\x8b packed")};
    BUF_AUTO struct buf out = BUF_INIT(65536);
    report_mail_render(&out, &m);
    str text = buf_str(&out);
    assert_true(buf_ok(&out));
    assert_true(str_find(text, STR("filename=\"a.test!b.test!1!2!abc.json.gz\"")) != STR_NPOS);
    assert_true(str_find(text, STR("\r\nBcc:")) == STR_NPOS);
    assert_true(str_find(text, STR("\r\nX: y")) == STR_NPOS);
    for (size_t i = 0; i < text.len; i++)
        assert_true(text.data[i] != '\n' || (i > 0 && text.data[i - 1] == '\r'));
}

static void test_mailto(void **state)
{
    BUF_AUTO struct buf out = BUF_INIT(100);
    assert_true(report_mailto(STR("MAILTO:a%2Bb@c.test?subject=x"), &out));
    assert_true(str_eq(buf_str(&out), STR("a+b@c.test")));
    static const char *const bad[] = {"https://x", "mailto:", "mailto:a%4", "mailto:a%zz",
                                      "mailto:%ff"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        buf_reset(&out);
        assert_false(report_mailto(str_c(bad[i]), &out));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gzip),
        cmocka_unit_test(test_bombs),
        cmocka_unit_test(test_zip),
        cmocka_unit_test(test_dmarc_round_trip),
        cmocka_unit_test(test_dmarc_refused),
        cmocka_unit_test(test_dmarc_limits),
        cmocka_unit_test(test_dmarc_rows),
        cmocka_unit_test(test_linear),
        cmocka_unit_test(test_tls_round_trip),
        cmocka_unit_test(test_tls_refused),
        cmocka_unit_test(test_mail),
        cmocka_unit_test(test_mailto),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
