/* SPDX-License-Identifier: Apache-2.0
 *
 * A domain's keys: publish, wait, switch; and what a signed-in sender's message gets.
 */
#include "core/test_world.h"

#include "core/dkim_keys.h"
#include "core/mail_auth.h"
#include "core/test_dns.h"

#define NOW 1795420000
#define DAY DKIM_PUBLISH_WAIT_S

static struct world w;
static struct directory d;
static struct arena arena;

static int open_world(void **state)
{
    world_open(&w);
    d = (struct directory){w.store};
    arena_init(&arena, 1 << 20);
    OK(directory_domain_add(&d, &(struct domain){.name = STR("author.test")}));
    OK(directory_domain_add(&d, &(struct domain){.name = STR("author.tes")}));
    return 0;
}

static int close_world(void **state)
{
    arena_free(&arena);
    world_close(&w);
    return 0;
}

static enum dkim_use use_of(const char *selector)
{
    struct dkim_domain_keys all;
    OK(dkim_keys_of(&d, STR("author.test"), &arena, &all));
    for (size_t i = 0; i < all.count; i++)
        if (str_eq(all.keys[i].selector, str_c(selector)))
            return all.keys[i].use;
    return 0;
}

static void add(const char *selector, bool ed25519, int64_t now)
{
    struct dkim_domain_key k;
    OK(dkim_keys_add(&d, STR("author.test"), str_c(selector), ed25519, now, &arena, &k));
    assert_int_equal(k.use, DKIM_WAITING);
}

static void rotation(void **state)
{
    struct dkim_domain_key k;
    str domain = STR("author.test");
    assert_int_equal(dkim_keys_switch(&d, domain, false, NOW), ERR_NOT_FOUND);
    add("r1", false, NOW);
    add("e1", true, NOW);
    assert_int_equal(dkim_keys_add(&d, domain, STR("r1"), false, NOW, &arena, &k), ERR_EXISTS);
    assert_int_equal(dkim_keys_add(&d, domain, STR("a.b"), false, NOW, &arena, &k), ERR_INVALID);
    assert_int_equal(dkim_keys_add(&d, STR("no.test"), STR_NONE, false, NOW, &arena, &k),
                     ERR_NO_DOMAIN);
    OK(dkim_keys_switch(&d, domain, false, NOW)); /* the first ones need not wait for anybody */
    assert_int_equal(use_of("r1"), DKIM_SIGNING);
    assert_int_equal(use_of("e1"), DKIM_SIGNING);
    add("r2", false, NOW + 10);
    assert_int_equal(dkim_keys_switch(&d, domain, false, NOW + DAY), ERR_BUSY);
    assert_int_equal(use_of("r1"), DKIM_SIGNING);
    OK(dkim_keys_switch(&d, domain, false, NOW + 10 + DAY));
    assert_int_equal(use_of("r1"), DKIM_RETIRED);
    assert_int_equal(use_of("r2"), DKIM_SIGNING);
    assert_int_equal(use_of("e1"), DKIM_SIGNING); /* the other kind has no successor */
    add("r3", false, NOW);
    OK(dkim_keys_switch(&d, domain, true, NOW));
    OK(dkim_keys_remove(&d, domain, STR("r1")));
    assert_int_equal(dkim_keys_remove(&d, domain, STR("r1")), ERR_NOT_FOUND);
    struct dkim_domain_keys other;
    OK(dkim_keys_of(&d, STR("author.tes"), &arena, &other));
    assert_int_equal(other.count, 0);
}

static str sign(const char *trace, const char *content, struct buf *out)
{
    struct envelope e = {.account = ACCOUNT, .trace = str_c(trace), .size = strlen(content)};
    OK(file_memory("message", &e.fd));
    OK(file_write_all_at(e.fd, 0, content, e.size));
    OK(dkim_sign_envelope(&d, &e, clock_wall_s(), out));
    file_close(&e.fd);
    buf_add_c(out, trace);
    buf_add_c(out, content);
    return buf_str(out);
}

static void zone_of(struct buf *zone)
{
    struct dkim_domain_keys all;
    OK(dkim_keys_of(&d, STR("author.test"), &arena, &all));
    for (size_t i = 0; i < all.count; i++) {
        BUF_AUTO struct buf record = BUF_INIT(8192);
        OK(dkim_key_record(all.keys[i].pem, &record));
        buf_addf(zone, "%.*s._domainkey.author.test TXT %.*s\n", STR_ARG(all.keys[i].selector),
                 STR_ARG(buf_str(&record)));
    }
}

/* What the submission lacked stands in the trace and is signed too. */
static void a_submission_is_signed(void **state)
{
    struct test_dns t;
    struct mail_auth *m;
    struct mail_auth_verdict v;
    BUF_AUTO struct buf zone = BUF_INIT(65536), out = BUF_INIT(65536);
    struct mail_auth_facts f = {.helo = STR("h.test"), .hostname = STR("mx.test")};
    assert_true(address_parse(STR("192.0.2.1"), &f.source));
    str message = sign("Received: from x\r\nDate: Mon, 23 Nov 2026 08:00:00 +0000\r\n",
                       "From: Me <me@AUTHOR.test>\r\nSubject: x\r\n\r\nhello\r\n", &out);
    assert_true(str_starts(message, STR("DKIM-Signature: v=1;")));
    zone_of(&zone);
    test_dns_open(&t, buf_str(&zone));
    OK(mail_auth_begin(&t.dns, &f, &m));
    mail_auth_content(m, message);
    OK(mail_auth_end(m, DEADLINE_NEVER, &arena, &v));
    mail_auth_free(m);
    assert_true(str_find(v.field, STR("dkim=pass header.d=author.test header.s=e1")) != STR_NPOS);
    assert_true(str_find(v.field, STR("dkim=pass header.d=author.test header.s=r3")) != STR_NPOS);
    assert_true(str_find(v.field, STR("header.s=r2")) == STR_NPOS); /* retired */
}

static void others_are_not_signed(void **state)
{
    BUF_AUTO struct buf out = BUF_INIT(65536);
    assert_true(str_starts(sign("", "From: a@foreign.test\r\n\r\nx", &out), STR("From:")));
    buf_reset(&out);
    assert_true(
        str_starts(sign("", "From: a@author.test, b@foreign.test\r\n\r\nx", &out), STR("From:")));
    buf_reset(&out);
    assert_true(str_starts(sign("", "no header at all", &out), STR("no")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rotation),
        cmocka_unit_test(a_submission_is_signed),
        cmocka_unit_test(others_are_not_signed),
    };
    return cmocka_run_group_tests(tests, open_world, close_world);
}
