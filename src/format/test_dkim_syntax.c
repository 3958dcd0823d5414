/* SPDX-License-Identifier: Apache-2.0 */
#include "format/test_cmocka.h"

#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "format/arc_syntax.h"
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

static void to_buf(void *context, str bytes) { buf_add(context, bytes); }
static void to_nothing(void *context, str bytes) { *(size_t *)context += bytes.len; }

static uint64_t body(struct buf *out, enum dkim_canon canon, uint64_t limit, str in, size_t split)
{
    struct dkim_body b = {.canon = canon, .limit = limit, .sink = to_buf, .context = out};
    dkim_body_add(&b, str_head(in, split));
    dkim_body_add(&b, str_skip(in, split));
    dkim_body_end(&b);
    return b.total;
}

/* RFC 6376 3.4.5 and 3.4.3, and the corners; every split gives the same. */
static void test_body(void **state)
{
    static const struct {
        str in, simple, relaxed;
    } rows[] = {
        {STR_INIT(" C \r\nD \t E\r\n\r\n\r\n"), STR_INIT(" C \r\nD \t E\r\n"),
         STR_INIT(" C\r\nD E\r\n")},
        {STR_INIT(""), STR_INIT("\r\n"), STR_INIT("")},
        {STR_INIT("\r\n\r\n"), STR_INIT("\r\n"), STR_INIT("")},
        {STR_INIT(" \t \r\n"), STR_INIT(" \t \r\n"), STR_INIT("")},
        {STR_INIT("a"), STR_INIT("a\r\n"), STR_INIT("a\r\n")},
        {STR_INIT("a \r\n\r\n b  c\t\r\n"), STR_INIT("a \r\n\r\n b  c\t\r\n"),
         STR_INIT("a\r\n\r\n b c\r\n")},
        {STR_INIT("a\r\n \r\n"), STR_INIT("a\r\n \r\n"), STR_INIT("a\r\n")},
        {STR_INIT("a\rb\n\r\n"), STR_INIT("a\rb\n\r\n"), STR_INIT("a\rb\n\r\n")},
        {STR_INIT("a\tb \r"), STR_INIT("a\tb \r\r\n"), STR_INIT("a b \r\r\n")},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        for (size_t split = 0; split <= rows[i].in.len; split++) {
            BUF_AUTO struct buf s = BUF_INIT(4096), r = BUF_INIT(4096);
            body(&s, DKIM_SIMPLE, UINT64_MAX, rows[i].in, split);
            body(&r, DKIM_RELAXED, UINT64_MAX, rows[i].in, split);
            if (!str_eq(buf_str(&s), rows[i].simple) || !str_eq(buf_str(&r), rows[i].relaxed))
                fail_msg("row %zu split %zu: \"%.*s\" \"%.*s\"", i, split, STR_ARG(buf_str(&s)),
                         STR_ARG(buf_str(&r)));
        }
    BUF_AUTO struct buf cut = BUF_INIT(4096);
    assert_int_equal(body(&cut, DKIM_SIMPLE, 3, STR("abcdef\r\n"), 2), 8);
    assert_str(buf_str(&cut), "abc");
}

static void test_field(void **state)
{
    BUF_AUTO struct buf out = BUF_INIT(4096);
    dkim_field_canon(DKIM_RELAXED, STR("A: X\r\n"), true, to_buf, &out);
    dkim_field_canon(DKIM_RELAXED, STR("B : Y\t\r\n\tZ  \r\n"), true, to_buf, &out);
    dkim_field_canon(DKIM_SIMPLE, STR("B : Y\t\r\n\tZ  \r\n"), true, to_buf, &out);
    dkim_field_canon(DKIM_RELAXED, STR("Empty:\r\n"), false, to_buf, &out);
    assert_str(buf_str(&out), "a:X\r\nb:Y Z\r\nB : Y\t\r\n\tZ  \r\nempty:");
}

/* RFC 8463 A.3. */
#define ED25519_FIELD                                                                              \
    "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n"                                \
    " d=football.example.com; i=@football.example.com;\r\n"                                        \
    " q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n"                                      \
    " subject : date : message-id : from : subject : date;\r\n"                                    \
    " bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n"                                        \
    " b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus\r\n"                              \
    " Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==\r\n"
#define PUBLISHED_HEADER                                                                           \
    ED25519_FIELD "From: Joe SixPack <joe@football.example.com>\r\n"                               \
                  "To: Suzie Q <suzie@shopping.example.net>\r\n"                                   \
                  "Subject: Is dinner ready?\r\n"                                                  \
                  "Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n"                                \
                  "Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n\r\n"

static void test_published_signature(void **state)
{
    struct dkim_fields fields;
    struct dkim_signature sig;
    str header = STR(PUBLISHED_HEADER);
    assert_ok(dkim_fields_of(&arena, header, &fields));
    assert_int_equal(fields.count, 6);
    assert_ok(dkim_signature_parse(&arena, fields.fields[0].value, DKIM_SIGNATURE, &sig));
    assert_int_equal(sig.algorithm, DKIM_ED25519_SHA256);
    assert_str(sig.selector, "brisbane");
    assert_true(sig.body_hash.len == 32 && sig.signature.len == 64 && sig.nheaders == 8);
    assert_true(sig.has_time && sig.time_s == 1528637909);
    BUF_AUTO struct buf out = BUF_INIT(65536);
    assert_ok(dkim_hash_header(&arena, &fields, &sig, fields.fields[0].raw, to_buf, &out));
    assert_str(buf_str(&out),
               "from:Joe SixPack <joe@football.example.com>\r\n"
               "to:Suzie Q <suzie@shopping.example.net>\r\n"
               "subject:Is dinner ready?\r\n"
               "date:Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n"
               "message-id:<20030712040037.46341.5F8J@football.example.com>\r\n"
               "dkim-signature:v=1; a=ed25519-sha256; c=relaxed/relaxed; d=football.example.com; "
               "i=@football.example.com; q=dns/txt; s=brisbane; t=1528637909; h=from : to : "
               "subject : date : message-id : from : subject : date; "
               "bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=; b=");
}

static void test_headers_bottom_up(void **state)
{
    str header = STR("X: 1\r\nFrom: a\r\nx: 2\r\nX: 3\r\n\r\n");
    struct dkim_fields fields;
    assert_ok(dkim_fields_of(&arena, header, &fields));
    str names[] = {STR_INIT("x"),    STR_INIT("X"), STR_INIT("none"),
                   STR_INIT("from"), STR_INIT("x"), STR_INIT("x")};
    str own = STR("S: b=abc ; d=e\r\n");
    struct dkim_signature sig = {.headers = names, .nheaders = 6, .b_raw = str_sub(own, 5, 4)};
    BUF_AUTO struct buf out = BUF_INIT(4096);
    assert_ok(dkim_hash_header(&arena, &fields, &sig, own, to_buf, &out));
    assert_str(buf_str(&out), "X: 3\r\nx: 2\r\nFrom: a\r\nX: 1\r\nS: b=; d=e");
}

#define SIG(more) "v=1; a=rsa-sha256; d=b.test; s=s; h=From; bh=AAAA; b=AAAA" more
static void test_bad_signatures(void **state)
{
    struct dkim_signature sig;
    assert_ok(dkim_signature_parse(&arena, STR(SIG("")), DKIM_SIGNATURE, &sig));
    assert_true(sig.header_canon == DKIM_SIMPLE && sig.body_canon == DKIM_SIMPLE);
    assert_str(sig.identity, "@b.test");
    assert_ok(dkim_signature_parse(&arena, STR(SIG("; i=x@sub.b.test; c=relaxed;")), DKIM_SIGNATURE,
                                   &sig));
    assert_true(sig.header_canon == DKIM_RELAXED && sig.body_canon == DKIM_SIMPLE);
    static const char *const bad[] = {
        "",
        ";",
        "v=1",
        SIG("; d=x"),
        SIG("; i=a@c.test"),
        SIG("; i=a@xb.test"),
        SIG("; t=x"),
        SIG("; t=5; x=4"),
        SIG("; c=foo"),
        SIG("; l=-1"),
        SIG("; q=dns/foo"),
        SIG("; =x"),
        "v=2; a=rsa-sha256; d=b.test; s=s; h=From; bh=AAAA; b=AAAA",
        "v=1; a=rsa-md5; d=b.test; s=s; h=From; bh=AAAA; b=AAAA",
        "v=1; a=rsa-sha256; d=b.test; s=s; h=To; bh=AAAA; b=AAAA",
        "v=1; a=rsa-sha256; d=b.test; s=s; h=From::To; bh=AAAA; b=AAAA",
        "v=1; a=rsa-sha256; d=b.test; s=s; h=From; bh=A*AA; b=AAAA",
        "v=1; a=rsa-sha256; d=b.test; s=s; h=From; bh=AAAA; b=",
        "v=1; a=rsa-sha256; d=[1.2.3.4]; s=s; h=From; bh=AAAA; b=AAAA",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (dkim_signature_parse(&arena, str_c(bad[i]), DKIM_SIGNATURE, &sig) == ERR_OK)
            fail_msg("accepted %s", bad[i]);
}

static void test_keys(void **state)
{
    struct dkim_key key;
    assert_ok(dkim_key_parse(
        &arena, STR("v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="), &key));
    assert_true(key.ed25519 && key.key.len == 32 && key.email && key.sha256);
    assert_ok(dkim_key_parse(&arena, STR("p=; t=y:s; h=sha256; s=tlsrpt"), &key));
    assert_true(key.revoked && key.testing && key.strict && !key.sha1 && !key.email);
    assert_ok(dkim_key_parse(&arena, STR("k=rsa; p=AA AA\r\n BBBB"), &key));
    assert_int_equal(key.key.len, 6);
    static const char *const bad[] = {
        "",      "p",   "v=DKIM2; p=AAAA",   "p=AAAA; v=DKIM1", "k=dsa; p=AAAA",
        "k=rsa", "p=A", "k=ed25519; p=AAAA", "p=AAAA; p=AAAA"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (dkim_key_parse(&arena, str_c(bad[i]), &key) == ERR_OK)
            fail_msg("accepted %s", bad[i]);
    BUF_AUTO struct buf out = BUF_INIT(4096);
    dkim_key_render(&out, true, STR("abc"));
    assert_str(buf_str(&out), "v=DKIM1; k=ed25519; p=YWJj");
}

static void test_render_parses_again(void **state)
{
    struct dkim_signature sig, back;
    struct dkim_fields fields;
    str names[] = {STR_INIT("From"), STR_INIT("To"), STR_INIT("Subject"), STR_INIT("Message-ID")};
    char long_signature[256];
    memset(long_signature, 'x', sizeof(long_signature));
    sig = (struct dkim_signature){.algorithm = DKIM_RSA_SHA256,
                                  .header_canon = DKIM_RELAXED,
                                  .body_canon = DKIM_RELAXED,
                                  .domain = STR("b.test"),
                                  .selector = STR("s1"),
                                  .identity = STR("@b.test"),
                                  .headers = names,
                                  .nheaders = 4,
                                  .has_time = true,
                                  .time_s = 4294967296,
                                  .body_hash = STR("0123"),
                                  .signature = str_of(long_signature, 256)};
    BUF_AUTO struct buf out = BUF_INIT(65536);
    dkim_signature_render(&out, &sig);
    assert_ok(dkim_fields_of(&arena, buf_str(&out), &fields));
    assert_int_equal(fields.count, 1);
    assert_ok(dkim_signature_parse(&arena, fields.fields[0].value, DKIM_SIGNATURE, &back));
    assert_true(str_eq(back.signature, sig.signature) && back.time_s == sig.time_s);
    /* what is hashed does not depend on the signature: sign first, fill in later */
    BUF_AUTO struct buf signed_hash = BUF_INIT(65536), empty_hash = BUF_INIT(65536);
    assert_ok(
        dkim_hash_own(&arena, &back, DKIM_RELAXED, fields.fields[0].raw, to_buf, &signed_hash));
    sig.signature = STR_NONE;
    buf_reset(&out);
    dkim_signature_render(&out, &sig);
    dkim_field_canon(DKIM_RELAXED, buf_str(&out), false, to_buf, &empty_hash);
    assert_true(str_eq(buf_str(&signed_hash), buf_str(&empty_hash)));
}

#define AAR(i) "ARC-Authentication-Results: i=" i "; mx.test; spf=pass\r\n"
#define AMS(i)                                                                                     \
    "ARC-Message-Signature: i=" i "; a=rsa-sha256; d=b.test; s=s; h=From; bh=AAAA; b=AAAA\r\n"
#define AS(i, cv) "ARC-Seal: i=" i "; a=rsa-sha256; cv=" cv "; d=b.test; s=s; b=BBBB\r\n"

static enum err chain(const char *header, struct arc_chain *out)
{
    struct dkim_fields fields;
    assert_ok(dkim_fields_of(&arena, str_c(header), &fields));
    struct dkim_fields *kept = ARENA_NEW(&arena, struct dkim_fields);
    *kept = fields;
    return arc_chain_of(&arena, kept, out);
}

static void test_arc(void **state)
{
    struct arc_chain c;
    assert_ok(chain("From: a\r\n", &c));
    assert_int_equal(c.count, 0);
    assert_ok(chain(AS("2", "pass") AMS("2") AAR("2") AS("1", "none") AMS("1") AAR("1"), &c));
    assert_int_equal(c.count, 2);
    BUF_AUTO struct buf out = BUF_INIT(65536);
    assert_ok(arc_hash_seal(&arena, &c, 1, to_buf, &out));
    assert_str(buf_str(&out),
               "arc-authentication-results:i=1; mx.test; spf=pass\r\n"
               "arc-message-signature:i=1; a=rsa-sha256; d=b.test; s=s; h=From; bh=AAAA; b=AAAA\r\n"
               "arc-seal:i=1; a=rsa-sha256; cv=none; d=b.test; s=s; b=");
    static const char *const bad[] = {
        AS("1", "none") AMS("1"),          AS("1", "none") AMS("1") AAR("1") AAR("1"),
        AS("2", "pass") AMS("2") AAR("2"), AS("1", "pass") AMS("1") AAR("1"),
        AS("0", "none") AMS("0") AAR("0"), AS("51", "none") AMS("51") AAR("51"),
        AS("1", "x") AMS("1") AAR("1"),    "ARC-Seal: garbage\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(chain(bad[i], &c), ERR_SYNTAX);
    assert_int_equal(chain(AS("1", "fail") AMS("1") AAR("1"), &c), ERR_DENIED);
}

static void linear_body(size_t n)
{
    static const char *const units[] = {" \t", "\r\n", "a ", "\r", "a\r\n \r\n"};
    for (size_t u = 0; u < ARRAY_LEN(units); u++)
        for (int canon = 0; canon < 2; canon++) {
            size_t total = 0;
            struct dkim_body b = {
                .canon = canon, .limit = UINT64_MAX, .sink = to_nothing, .context = &total};
            for (size_t i = 0; i < n; i++)
                dkim_body_add(&b, str_c(units[u]));
            dkim_body_end(&b);
        }
}

/* As many names in h= as are allowed, with as many fields of that name. */
static void linear_header(size_t n)
{
    BUF_AUTO struct buf header = BUF_INIT(16 << 20);
    str *names = calloc(n, sizeof(*names));
    for (size_t i = 0; i < n; i++) {
        buf_add_c(&header, i % 2 ? "X: 1\r\n" : "Y: 1\r\n");
        names[i] = i % 2 ? STR("x") : STR("z");
    }
    struct dkim_fields fields;
    str own = STR("S: b=\r\n");
    struct dkim_signature sig = {.headers = names, .nheaders = n, .b_raw = str_sub(own, 5, 0)};
    size_t total = 0;
    for (int i = 0; i < 20; i++) {
        assert_ok(dkim_fields_of(&arena, buf_str(&header), &fields));
        assert_ok(dkim_hash_header(&arena, &fields, &sig, own, to_nothing, &total));
        arena_reset(&arena);
    }
    free(names);
}

static void test_wire_4_linear(void **state)
{
    assert_true(linear_holds(linear_body, 20000));
    assert_true(linear_holds(linear_header, 1000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_body, setup, teardown),
        cmocka_unit_test_setup_teardown(test_field, setup, teardown),
        cmocka_unit_test_setup_teardown(test_published_signature, setup, teardown),
        cmocka_unit_test_setup_teardown(test_headers_bottom_up, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_signatures, setup, teardown),
        cmocka_unit_test_setup_teardown(test_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(test_render_parses_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_arc, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wire_4_linear, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
