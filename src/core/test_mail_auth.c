/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages from outside, judged: RFC examples, our own signatures and seals, what DMARC makes of
 * it, and the filter against forged results.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/authres_filter.h"
#include "core/dkim_sign.h"
#include "core/dmarc.h"
#include "core/mail_auth.h"
#include "core/test_dns.h"
#include "os/fiber.h"
#include "os/loop.h"

#define OK(call) assert_int_equal((call), ERR_OK)
#define MESSAGE_MAX 1048576

struct judged {
    struct mail_auth_verdict verdict;
    struct arena arena;
    char field[4096];
};

static struct judged j;

static void judge_in(str zone, const struct mail_auth_facts *facts, str message, size_t step)
{
    struct test_dns t;
    struct mail_auth *m;
    test_dns_open(&t, zone);
    arena_free(&j.arena);
    arena_init(&j.arena, 65536);
    OK(mail_auth_begin(&t.dns, facts, &m));
    for (size_t at = 0; at < message.len; at += step)
        mail_auth_content(m, str_sub(message, at, step));
    OK(mail_auth_end(m, deadline_in_ms(5000), &j.arena, &j.verdict));
    mail_auth_free(m);
    snprintf(j.field, sizeof(j.field), "%.*s", STR_ARG(j.verdict.field));
}

static struct mail_auth_facts facts_of(const char *local, const char *domain)
{
    struct mail_auth_facts f = {.helo = STR("client.test"),
                                .sender = {str_c(local), str_c(domain)},
                                .hostname = STR("mx.here.test")};
    assert_true(address_parse(STR("192.0.2.1"), &f.source));
    return f;
}

static void judge(str zone, const char *domain, str message)
{
    struct mail_auth_facts f = facts_of("bounce", domain);
    judge_in(zone, &f, message, 4096);
}

static bool says(const char *text) { return strstr(j.field, text) != NULL; }
#define SAYS(text)                                                                                 \
    do {                                                                                           \
        if (!says(text))                                                                           \
            fail_msg("not said: %s\n%s", (text), j.field);                                         \
    } while (0)

/* RFC 8463 appendix A: two signatures on one message. */
#define RFC8463_KEYS                                                                               \
    "brisbane._domainkey.football.example.com TXT v=DKIM1; k=ed25519; "                            \
    "p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"                                             \
    "test._domainkey.football.example.com TXT v=DKIM1; k=rsa; "                                    \
    "p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/" \
    "J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBf" \
    "O2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB\n"
#define RFC8463_HEAD                                                                               \
    "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n"                                \
    " d=football.example.com; i=@football.example.com;\r\n"                                        \
    " q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n"                                      \
    " subject : date : message-id : from : subject : date;\r\n"                                    \
    " bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n"                                        \
    " b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus\r\n"                              \
    " Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==\r\n"                                                        \
    "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n"                                    \
    " d=football.example.com; i=@football.example.com;\r\n"                                        \
    " q=dns/txt; s=test; t=1528637909; h=from : to : subject :\r\n"                                \
    " date : message-id : from : subject : date;\r\n"                                              \
    " bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n"                                        \
    " b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3\r\n"                              \
    " DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz\r\n"                              \
    " dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=\r\n"                              \
    "From: Joe SixPack <joe@football.example.com>\r\n"                                             \
    "To: Suzie Q <suzie@shopping.example.net>\r\n"                                                 \
    "Subject: Is dinner ready?\r\n"                                                                \
    "Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n"                                              \
    "Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n"
#define RFC8463_BODY "\r\nHi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n"

static void rfc8463_example(void **state)
{
    for (size_t step = 1; step < 2000; step = step * 3 + 1) { /* any split is the same */
        struct mail_auth_facts f = facts_of("joe", "football.example.com");
        judge_in(STR(RFC8463_KEYS), &f, STR(RFC8463_HEAD RFC8463_BODY), step);
        SAYS("dkim=pass header.d=football.example.com header.s=brisbane");
        SAYS("dkim=pass header.d=football.example.com header.s=test");
        SAYS("dmarc=none");
    }
    judge(STR(RFC8463_KEYS), "x.test", STR(RFC8463_HEAD "Subject: added\r\n" RFC8463_BODY));
    assert_false(says("dkim=pass")); /* oversigned (5.4.2) */
    judge(STR(RFC8463_KEYS), "x.test", STR(RFC8463_HEAD "X-Other: added\r\n" RFC8463_BODY));
    SAYS("dkim=pass");
    judge(STR(RFC8463_KEYS), "x.test", STR(RFC8463_HEAD RFC8463_BODY "More\r\n"));
    SAYS("dkim=fail reason=\"body was altered\"");
    judge(STR(RFC8463_KEYS), "x.test", STR(RFC8463_HEAD RFC8463_BODY "\r\n\r\n"));
    SAYS("dkim=pass"); /* empty lines at the end do not count */
    judge(STR("brisbane._domainkey.football.example.com FAIL\n"
              "test._domainkey.football.example.com TXT v=DKIM1; p=\n"),
          "x.test", STR(RFC8463_HEAD RFC8463_BODY));
    SAYS("dkim=temperror reason=\"key not available\"");
    SAYS("dkim=permerror reason=\"key revoked\"");
}

/* ---- our own signatures ---- */

struct keys {
    struct buf rsa, ed, zone;
};
static struct keys keys;

static void add_key(struct buf *pem, bool ed25519, const char *name)
{
    BUF_AUTO struct buf record = BUF_INIT(4096);
    if (!pem->len)
        OK(dkim_make_key(ed25519, pem, &record));
    else
        OK(dkim_key_record(buf_str(pem), &record));
    buf_addf(&keys.zone, "%s TXT %.*s\n", name, STR_ARG(buf_str(&record)));
}

static int make_keys(void **state)
{
    buf_init(&keys.rsa, 8192);
    buf_init(&keys.ed, 8192);
    buf_init(&keys.zone, 65536);
    add_key(&keys.rsa, false, "r1._domainkey.author.test");
    add_key(&keys.ed, true, "e1._domainkey.author.test");
    add_key(&keys.rsa, false, "r1._domainkey.list.test");
    add_key(&keys.ed, true, "e1._domainkey.second.test");
    buf_add_c(&keys.zone, "_dmarc.author.test TXT v=DMARC1; p=reject\n");
    return 0;
}

static int drop_keys(void **state)
{
    buf_free(&keys.rsa);
    buf_free(&keys.ed);
    buf_free(&keys.zone);
    arena_free(&j.arena);
    return 0;
}

#define MESSAGE                                                                                    \
    "From: \"A. Author\" <me@author.test>\r\nTo: you@here.test\r\nSubject: Greetings "             \
    "from\r\n\tafar\r\n"                                                                           \
    "Date: Mon, 23 Nov 2026 08:00:00 +0000\r\nMessage-ID: <1@author.test>\r\n\r\n"                 \
    "Hello  there,\r\n\r\nthis is the body. \r\n"

static void sign(str message, struct buf *out)
{
    const struct dkim_signer signers[] = {
        {STR("author.test"), STR("r1"), false, buf_str(&keys.rsa)},
        {STR("author.test"), STR("e1"), true, buf_str(&keys.ed)},
    };
    OK(dkim_sign(signers, 2, message, clock_wall_s(), out));
    buf_add(out, message);
    assert_true(buf_ok(out));
}

static void signed_here_passes_there(void **state)
{
    BUF_AUTO struct buf m = BUF_INIT(MESSAGE_MAX);
    sign(STR(MESSAGE), &m);
    judge(buf_str(&keys.zone), "elsewhere.test", buf_str(&m));
    SAYS("dkim=pass header.d=author.test header.s=r1");
    SAYS("dkim=pass header.d=author.test header.s=e1");
    SAYS("dmarc=pass header.from=author.test policy.dmarc=reject");
    assert_true(j.verdict.dmarc_pass);
    assert_int_equal(j.verdict.disposition, MAIL_ACCEPT);
    for (size_t at = 0; at < m.len; at += 97) { /* one byte altered: never both a pass */
        char kept = m.data[at];
        m.data[at] = kept == 'x' ? 'y' : 'x';
        judge(buf_str(&keys.zone), "elsewhere.test", buf_str(&m));
        assert_false(strstr(j.field, "header.s=r1") && strstr(j.field, "header.s=e1") &&
                     !strstr(j.field, "fail") && !strstr(j.field, "permerror"));
        m.data[at] = kept;
    }
}

static void a_key_too_short_signs_nothing(void **state)
{
    BUF_AUTO struct buf out = BUF_INIT(MESSAGE_MAX);
    struct dkim_signer s = {STR("author.test"), STR("e1"), false, buf_str(&keys.ed)};
    assert_int_equal(dkim_sign(&s, 1, STR(MESSAGE), 1, &out), ERR_INVALID);
    s = (struct dkim_signer){STR("author.test"), STR("r1"), false, buf_str(&keys.rsa)};
    assert_int_equal(dkim_sign(&s, 1, STR("To: a@b\r\n\r\n"), 1, &out), ERR_INVALID);
    assert_int_equal(out.len, 0);
}

static void unsigned_mail_meets_the_policy(void **state)
{
    judge(buf_str(&keys.zone), "elsewhere.test", STR(MESSAGE));
    SAYS("dkim=none");
    SAYS("dmarc=fail header.from=author.test policy.dmarc=reject");
    assert_int_equal(j.verdict.disposition, MAIL_REJECT);
    assert_int_equal(j.verdict.reject_as, ERR_UNAUTHENTICATED);
    /* SPF could not be asked, and it might have passed: come again. */
    judge(STR("_dmarc.author.test TXT v=DMARC1; p=reject\nmail.author.test FAIL\n"),
          "mail.author.test", STR(MESSAGE));
    assert_int_equal(j.verdict.disposition, MAIL_REJECT);
    assert_int_equal(j.verdict.reject_as, ERR_UNAVAILABLE);
    SAYS("dmarc=temperror");
    /* SPF alone is enough, from a host below unless aspf=s. */
    judge(STR("_dmarc.author.test TXT v=DMARC1; p=reject\n"
              "mail.author.test TXT v=spf1 ip4:192.0.2.1 -all\n"),
          "mail.author.test", STR(MESSAGE));
    assert_true(j.verdict.dmarc_pass);
    judge(STR("_dmarc.author.test TXT v=DMARC1; p=quarantine; aspf=s\n"
              "mail.author.test TXT v=spf1 ip4:192.0.2.1 -all\n"),
          "mail.author.test", STR(MESSAGE));
    assert_int_equal(j.verdict.disposition, MAIL_QUARANTINE);
    judge(STR("_dmarc.author.test TXT v=DMARC1; p=reject; t=y\n"), "x.test", STR(MESSAGE));
    assert_int_equal(j.verdict.disposition, MAIL_QUARANTINE);
    judge(STR("_dmarc.author.test FAIL\n"), "x.test", STR(MESSAGE));
    assert_int_equal(j.verdict.disposition, MAIL_ACCEPT);
    assert_true(j.verdict.temporary);
}

static void several_authors(void **state)
{
    judge(buf_str(&keys.zone), "x.test", STR("From: a@author.test, b@other.test\r\n\r\nx\r\n"));
    assert_int_equal(j.verdict.disposition, MAIL_QUARANTINE);
    SAYS("dmarc=permerror reason=\"From with several domains\"");
    judge(buf_str(&keys.zone), "x.test",
          STR("From: a@other.test\r\nFrom: a@author.test\r\n\r\nx\r\n"));
    assert_int_equal(j.verdict.disposition, MAIL_QUARANTINE);
    judge(buf_str(&keys.zone), "x.test", STR("From: a@author.test, b@AUTHOR.test\r\n\r\nx\r\n"));
    assert_int_equal(j.verdict.disposition, MAIL_REJECT);
    judge(buf_str(&keys.zone), "x.test", STR("Subject: no author\r\n\r\nx\r\n"));
    assert_int_equal(j.verdict.disposition, MAIL_ACCEPT);
}

static void no_resolver_accepts(void **state)
{
    BUF_AUTO struct buf m = BUF_INIT(MESSAGE_MAX);
    struct mail_auth *auth;
    struct dns none = {0};
    struct mail_auth_facts f = facts_of("me", "author.test");
    sign(STR(MESSAGE), &m);
    OK(mail_auth_begin(&none, &f, &auth));
    mail_auth_content(auth, buf_str(&m));
    OK(mail_auth_end(auth, deadline_in_ms(1000), &j.arena, &j.verdict));
    mail_auth_free(auth);
    snprintf(j.field, sizeof(j.field), "%.*s", STR_ARG(j.verdict.field));
    SAYS("spf=temperror");
    SAYS("dkim=temperror");
    SAYS("dmarc=temperror");
    assert_int_equal(j.verdict.disposition, MAIL_ACCEPT);
}

/* ---- fibers: answers that come late, or never ---- */

struct slow_dns {
    struct test_dns table;
    uint64_t delay_ms;
    unsigned canceled;
};

static enum err slow_query(void *ctx, str name, enum dns_type type, struct arena *arena,
                           struct dns_answer *out)
{
    struct slow_dns *s = ctx;
    enum err e = wait_until(deadline_in_ms(s->delay_ms));
    if (e == ERR_CANCELED) {
        s->canceled++;
        return e;
    }
    return test_dns_query(&s->table, name, type, arena, out);
}

static void serve_slowly(void *arg)
{
    struct slow_dns *s = arg;
    BUF_AUTO struct buf m = BUF_INIT(MESSAGE_MAX);
    struct dns dns = {.ctx = s, .query = slow_query};
    struct mail_auth *auth;
    struct mail_auth_facts f = facts_of("me", "author.test");
    sign(STR(MESSAGE), &m);
    uint64_t begun = clock_mono_ms();
    OK(mail_auth_begin(&dns, &f, &auth));
    mail_auth_content(auth, buf_str(&m));
    OK(mail_auth_end(auth, deadline_in_ms(400), &j.arena, &j.verdict));
    assert_true(clock_mono_ms() - begun < 3000);
    mail_auth_free(auth);
    snprintf(j.field, sizeof(j.field), "%.*s", STR_ARG(j.verdict.field));
    OK(mail_auth_begin(&dns, &f, &auth)); /* and one that is given up in the middle */
    mail_auth_content(auth, str_head(buf_str(&m), 3000));
    mail_auth_free(auth);
}

static void run_slowly(struct slow_dns *s)
{
    struct loop *loop;
    struct fiber_group group;
    OK(loop_open(&loop, &(struct loop_options){.name = "test"}));
    fiber_group_init(&group);
    OK(fiber_start(&group, "serve", serve_slowly, s));
    loop_run_until_idle(loop);
    loop_close(loop);
}

static void answers_come_beside(void **state)
{
    struct slow_dns s = {.delay_ms = 20};
    test_dns_open(&s.table, buf_str(&keys.zone));
    run_slowly(&s);
    SAYS("dkim=pass header.d=author.test header.s=r1");
    SAYS("dmarc=pass");
    s.delay_ms = 60000;
    run_slowly(&s);
    assert_true(s.canceled > 0);
    SAYS("spf=temperror");
    SAYS("dkim=temperror");
    SAYS("dmarc=temperror");
}

/* ---- ARC ---- */

static void seal_as(const char *domain, const char *selector, bool ed25519, const char *results,
                    enum dkim_chain chain, struct buf *message)
{
    BUF_AUTO struct buf out = BUF_INIT(MESSAGE_MAX);
    struct dkim_signer s = {str_c(domain), str_c(selector), ed25519,
                            buf_str(ed25519 ? &keys.ed : &keys.rsa)};
    OK(arc_seal(&s, str_c(results), chain, buf_str(message), clock_wall_s(), &out));
    buf_add(&out, buf_str(message));
    buf_reset(message);
    buf_add(message, buf_str(&out));
}

static void judge_trusting(const char *sealer, str message)
{
    str trusted = str_c(sealer);
    struct mail_auth_facts f = facts_of("bounce", "list.test");
    f.trusted_sealers = &trusted;
    f.ntrusted_sealers = 1;
    judge_in(buf_str(&keys.zone), &f, message, 1000);
}

/* A list that alters the message seals it: DMARC fails, the trusted seal speaks for it. */
static void arc_of_a_mailing_list(void **state)
{
    BUF_AUTO struct buf m = BUF_INIT(MESSAGE_MAX);
    sign(STR(MESSAGE), &m);
    buf_add_c(&m, "-- \r\nfooter of the list\r\n");
    seal_as("list.test", "r1", false, "mx.list.test;\r\n\tdmarc=pass header.from=author.test",
            DKIM_CHAIN_NONE, &m);
    judge_trusting("stranger.test", buf_str(&m));
    SAYS("arc=pass header.d=list.test");
    assert_int_equal(j.verdict.disposition, MAIL_REJECT);
    judge_trusting("list.test", buf_str(&m));
    assert_int_equal(j.verdict.disposition, MAIL_ACCEPT);
    assert_true(j.verdict.chain_trusted);
    SAYS("dmarc=fail reason=\"trusted ARC seal\"");

    seal_as("second.test", "e1", true, "mx.second.test; arc=pass; dmarc=fail", DKIM_CHAIN_PASS, &m);
    judge_trusting("list.test", buf_str(&m));
    SAYS("arc=pass header.d=second.test");
    assert_int_equal(j.verdict.disposition, MAIL_REJECT); /* the newest seal is a stranger's */
    seal_as("list.test", "r1", false, "mx.list.test; dmarc=pass header.from=other.test",
            DKIM_CHAIN_PASS, &m);
    judge_trusting("list.test", buf_str(&m));
    assert_int_equal(j.verdict.disposition, MAIL_REJECT); /* it speaks of another author */

    size_t at = str_find(buf_str(&m), STR("dmarc=pass header.from=author"));
    assert_true(at != STR_NPOS);
    m.data[at] = 'D'; /* within the oldest set */
    judge_trusting("list.test", buf_str(&m));
    SAYS("arc=fail");
    BUF_AUTO struct buf out = BUF_INIT(MESSAGE_MAX);
    struct dkim_signer s = {STR("list.test"), STR("r1"), false, buf_str(&keys.rsa)};
    assert_int_equal(arc_seal(&s, STR("mx"), DKIM_CHAIN_FAIL, buf_str(&m), 1, &out), ERR_DENIED);
}

/* ---- DMARC's tree walk ---- */

static void find(const char *zone, const char *author, const char *at, const char *organizational,
                 enum dmarc_policy policy)
{
    struct test_dns t;
    struct dmarc_found f;
    ARENA_AUTO struct arena arena = ARENA_INIT(1 << 20);
    test_dns_open(&t, str_c(zone));
    struct dmarc_walks w = {.dns = &t.dns, .arena = &arena};
    dmarc_find(&w, str_c(author), &f);
    char text[256];
    snprintf(text, sizeof(text), "%.*s", STR_ARG(f.at));
    assert_string_equal(text, at);
    snprintf(text, sizeof(text), "%.*s", STR_ARG(f.organizational));
    assert_string_equal(text, organizational);
    assert_int_equal(f.policy, policy);
    assert_true(t.asked <= 2 * DMARC_WALK_MAX);
}

/* RFC 9989 4.10, B. */
static void tree_walk(void **state)
{
    find("_dmarc.example.com TXT v=DMARC1; p=reject\n", "example.com", "example.com", "example.com",
         DMARC_REJECT);
    find("_dmarc.example.com TXT v=DMARC1; p=reject; sp=quarantine\na.mail.example.com A "
         "192.0.2.1\n",
         "a.mail.example.com", "example.com", "example.com", DMARC_QUARANTINE);
    find("_dmarc.example.com TXT v=DMARC1; p=none; sp=quarantine; np=reject\n", "no.example.com",
         "example.com", "example.com", DMARC_REJECT);
    find("_dmarc.example.com TXT v=DMARC1; p=none; np=reject\nyes.example.com A 192.0.2.1\n",
         "yes.example.com", "example.com", "example.com", DMARC_NONE);
    /* Its own record is the policy; the fewest labels make the organization. */
    find("_dmarc.a.example.com TXT v=DMARC1; p=quarantine\n_dmarc.example.com TXT v=DMARC1; "
         "p=reject\n",
         "a.example.com", "a.example.com", "example.com", DMARC_QUARANTINE);
    /* psd=n: here is the organization; psd=y: one label below. */
    find("_dmarc.a.example.com TXT v=DMARC1; p=none; psd=n\n_dmarc.example.com TXT v=DMARC1; "
         "p=reject\n",
         "b.a.example.com", "a.example.com", "a.example.com", DMARC_NONE);
    find("_dmarc.bank.test TXT v=DMARC1; p=reject; psd=y\nx.giant.bank.test A 192.0.2.1\n",
         "x.giant.bank.test", "bank.test", "giant.bank.test", DMARC_REJECT);
    find("_dmarc.test TXT v=DMARC1; p=reject; psd=y\n_dmarc.giant.test TXT v=DMARC1; p=none\n",
         "x.giant.test", "giant.test", "giant.test", DMARC_NONE);
    /* Eight labels or more: seven are left at the second question. */
    find("_dmarc.d.e.f.g.h.i.j TXT v=DMARC1; p=reject\n_dmarc.c.d.e.f.g.h.i.j TXT v=DMARC1; "
         "p=none\n",
         "a.b.c.d.e.f.g.h.i.j", "d.e.f.g.h.i.j", "d.e.f.g.h.i.j", DMARC_REJECT);
    /* Two records are none. */
    find("_dmarc.example.com TXT v=DMARC1; p=reject\n_dmarc.example.com TXT v=DMARC1; p=none\n",
         "example.com", "", "example.com", DMARC_NONE);
    find("example.com A 192.0.2.1\n", "a.example.com", "", "a.example.com", DMARC_NONE);
}

/* Relaxed alignment is about organizations, not about suffixes. */
static void alignment(void **state)
{
    struct test_dns t;
    struct dmarc_found f;
    bool temporary = false;
    ARENA_AUTO struct arena arena = ARENA_INIT(1 << 20);
    test_dns_open(&t, STR("_dmarc.example.com TXT v=DMARC1; p=reject\n"
                          "_dmarc.own.example.com TXT v=DMARC1; p=none; psd=n\n"));
    struct dmarc_walks w = {.dns = &t.dns, .arena = &arena};
    str author = STR("news.example.com");
    dmarc_find(&w, author, &f);
    assert_true(dmarc_aligned(&w, &f, author, STR("news.example.com"), true, &temporary));
    assert_false(dmarc_aligned(&w, &f, author, STR("example.com"), true, &temporary));
    assert_true(dmarc_aligned(&w, &f, author, STR("example.com"), false, &temporary));
    assert_true(dmarc_aligned(&w, &f, author, STR("mail.example.com"), false, &temporary));
    assert_false(dmarc_aligned(&w, &f, author, STR("x.own.example.com"), false, &temporary));
    assert_false(dmarc_aligned(&w, &f, author, STR("badexample.com"), false, &temporary));
    assert_false(dmarc_aligned(&w, &f, author, STR("com"), false, &temporary));
    assert_false(temporary);
}

/* ---- forged results ---- */

static void gather(void *context, str bytes) { buf_add(context, bytes); }

static void filtered(const char *in, const char *out, uint32_t removed)
{
    for (size_t step = 1; step < 70; step++) {
        BUF_AUTO struct buf got = BUF_INIT(MESSAGE_MAX);
        struct authres_filter f = {.id = STR("mx.here.test"), .sink = gather, .context = &got};
        for (size_t at = 0; at < strlen(in); at += step)
            authres_filter_add(&f, str_sub(str_c(in), at, step));
        authres_filter_end(&f);
        authres_filter_free(&f);
        assert_int_equal(got.len, strlen(out));
        assert_memory_equal(got.data, out, got.len);
        assert_int_equal(f.removed, removed);
    }
}

static void forged_results_vanish(void **state)
{
    filtered("A: 1\r\nAuthentication-Results: mx.here.test; dkim=pass\r\nB: 2\r\n\r\nbody\r\n",
             "A: 1\r\nB: 2\r\n\r\nbody\r\n", 1);
    filtered("authentication-RESULTS :\r\n (hidden)\r\n MX.here.TEST 1;\r\n\tdkim=pass\r\n\r\nb",
             "\r\nb", 1);
    filtered("Authentication-Results: \"mx.here.test\"; x", "", 1);
    filtered("Authentication-Results: mx.other.test; dkim=pass\r\nAuthentication-Result: "
             "mx.here.test\r\nAuthentication-Results-X: mx.here.test; none\r\n\r\n",
             "Authentication-Results: mx.other.test; dkim=pass\r\nAuthentication-Result: "
             "mx.here.test\r\nAuthentication-Results-X: mx.here.test; none\r\n\r\n",
             0);
    filtered("X: y\r\n\r\nAuthentication-Results: mx.here.test; none\r\n",
             "X: y\r\n\r\nAuthentication-Results: mx.here.test; none\r\n", 0); /* the body */
    filtered("Authentication-Results: mx.here.test; garbage ((\r\nAuthentication-Results: "
             "mx.here.test\r\nC: 1\r\n",
             "C: 1\r\n", 2);
    filtered("\r\nAuthentication-Results: mx.here.test; none\r\n",
             "\r\nAuthentication-Results: mx.here.test; none\r\n", 0);
    filtered("Auth", "Auth", 0);
    filtered("", "", 0);
}

static void a_long_forged_field_vanishes(void **state)
{
    BUF_AUTO struct buf in = BUF_INIT(MESSAGE_MAX), got = BUF_INIT(MESSAGE_MAX);
    buf_add_c(&in, "Authentication-Results: (");
    for (size_t i = 0; i < 2 * AUTHRES_FILTER_HELD_MAX; i += 16)
        buf_add_c(&in, "a long comment\r\n ");
    buf_add_c(&in, ") mx.here.test; dkim=pass\r\nSubject: x\r\n\r\n");
    struct authres_filter f = {.id = STR("mx.here.test"), .sink = gather, .context = &got};
    authres_filter_add(&f, buf_str(&in));
    authres_filter_end(&f);
    authres_filter_free(&f);
    assert_int_equal(f.removed, 1);
    assert_true(str_eq(buf_str(&got), STR("Subject: x\r\n\r\n")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rfc8463_example),
        cmocka_unit_test(signed_here_passes_there),
        cmocka_unit_test(a_key_too_short_signs_nothing),
        cmocka_unit_test(unsigned_mail_meets_the_policy),
        cmocka_unit_test(several_authors),
        cmocka_unit_test(no_resolver_accepts),
        cmocka_unit_test(answers_come_beside),
        cmocka_unit_test(arc_of_a_mailing_list),
        cmocka_unit_test(tree_walk),
        cmocka_unit_test(alignment),
        cmocka_unit_test(forged_results_vanish),
        cmocka_unit_test(a_long_forged_field_vanishes),
    };
    return cmocka_run_group_tests(tests, make_keys, drop_keys);
}
