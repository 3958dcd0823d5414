/* SPDX-License-Identifier: Apache-2.0 */
#include "format/test_cmocka.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "format/imap_search_syntax.h"
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

typedef bool take_fn(struct imap_cursor *c, struct imap_search *out);
static bool take(take_fn *fn, const char *text, struct imap_search *out)
{
    struct imap_cursor c = imap_cursor_of(str_c(text), &arena, false);
    return fn(&c, out);
}

/* The tree as text. */
static void show(struct buf *out, const struct search_node *n)
{
    buf_addf(out, "%d", n->kind);
    if (n->text.len)
        buf_addf(out, "\"%.*s\"", STR_ARG(n->text));
    if (!n->first)
        return;
    buf_add_char(out, '(');
    for (const struct search_node *k = n->first; k; k = k->next) {
        show(out, k);
        if (k->next)
            buf_add_char(out, ' ');
    }
    buf_add_char(out, ')');
}

static void test_tree(void **state)
{
    struct imap_search s;
    assert_true(take(
        imap_take_search,
        "CHARSET UTF-8 OR (FROM \"a b\" SINCE 1-Feb-1994) NOT TEXT {3}\r\nxyz UNSEEN 1:5 $", &s));
    assert_str(s.charset, "UTF-8");
    char want[200];
    snprintf(want, sizeof(want), "%d(%d(%d(%d\"a b\" %d) %d(%d\"xyz\")) %d %d %d)", SEARCH_AND,
             SEARCH_OR, SEARCH_AND, SEARCH_FROM, SEARCH_SINCE, SEARCH_NOT, SEARCH_TEXT,
             SEARCH_UNFLAG, SEARCH_SEQ, SEARCH_SEQ);
    BUF_AUTO struct buf out = BUF_INIT(4096);
    show(&out, s.root);
    assert_true(str_eq(buf_str(&out), str_c(want)));
    assert_int_equal(s.root->first->first->first->next->day, 8797);
}

static void test_returns(void **state)
{
    struct imap_search s;
    assert_true(take(imap_take_search, "RETURN (MIN COUNT SAVE) ALL", &s));
    assert_int_equal(s.results, SEARCH_RETURN_MIN | SEARCH_RETURN_COUNT | SEARCH_RETURN_SAVE);
    assert_true(take(imap_take_search, "RETURN () ALL", &s));
    assert_true(s.extended && s.results == SEARCH_RETURN_ALL);
    assert_true(
        take(imap_take_search, "RETURN (PARTIAL -1:-100) MODSEQ \"/flags/\\\\Draft\" all 620", &s));
    assert_true(s.uses_modseq && s.root->first->number == 620 && s.partial.last == -100);
    assert_true(take(imap_take_search, "ALL", &s));
    assert_false(s.extended);
    assert_true(take(imap_take_esearch,
                     "IN (mailboxes (a b) subtree c selected) RETURN (COUNT) FUZZY SUBJECT x", &s));
    assert_int_equal(s.nsources, 3);
    assert_true(take(imap_take_sort, "RETURN (COUNT) (REVERSE DATE SUBJECT) UTF-8 UNDELETED", &s));
    assert_true(s.nsort == 2 && s.sort[0].reverse && s.sort[1].key == SORT_SUBJECT);
    assert_true(take(imap_take_thread, "REFERENCES UTF-8 SINCE 5-Mar-2000", &s));
    assert_int_equal(s.thread, THREAD_REFERENCES);
}

static void test_bad(void **state)
{
    static const char *const bad[] = {
        "",
        "FOO",
        "OR ALL",
        "NOT",
        "(ALL",
        "ALL ",
        "ALL)",
        "FROM",
        "SINCE x",
        "LARGER",
        "UID",
        "HEADER a",
        "KEYWORD",
        "()",
        "CHARSET",
        "CHARSET X",
        "RETURN",
        "RETURN (X) ALL",
        "1:",
        "MODSEQ",
        "BEFORE 32-Jan-2000",
        "RETURN (ALL PARTIAL 1:2) ALL",
        "LARGER x",
        "RETURN (PARTIAL 1:2 PARTIAL 1:2) ALL",
    };
    struct imap_search s;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (take(imap_take_search, bad[i], &s))
            fail_msg("accepted: %s", bad[i]);
    assert_false(take(imap_take_sort, "(DATE) UTF-8", &s));
    assert_false(take(imap_take_sort, "() UTF-8 ALL", &s));
    assert_false(take(imap_take_thread, "FOO UTF-8 ALL", &s));
}

static struct imap_cursor deep(const char *unit, size_t n, char **text)
{
    size_t len = strlen(unit);
    *text = malloc(n * len + 4);
    for (size_t i = 0; i < n; i++)
        memcpy(*text + i * len, unit, len);
    memcpy(*text + n * len, "ALL", 4);
    return imap_cursor_of(str_of(*text, n * len + 3), &arena, false);
}

static void test_wire_4_limits(void **state)
{
    struct imap_search s;
    static const char *const units[] = {"NOT ", "(", "OR ALL ", "ALL "};
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        char *text;
        struct imap_cursor c = deep(units[i], 100000, &text);
        assert_false(imap_take_search(&c, &s));
        assert_int_equal(c.kind, ERR_LIMIT);
        free(text);
    }
}

static void linear_keys(size_t n)
{
    struct imap_search s;
    for (size_t i = 0; i < 100; i++) {
        char *text;
        struct imap_cursor c = deep("OR 1 BODY x ", n, &text);
        (void)imap_take_search(&c, &s);
        free(text);
        arena_reset(&arena);
    }
}
static void test_wire_4_linear(void **state) { assert_true(linear_holds(linear_keys, 30)); }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_tree, setup, teardown),
        cmocka_unit_test_setup_teardown(test_returns, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wire_4_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wire_4_linear, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
