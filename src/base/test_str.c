/* SPDX-License-Identifier: Apache-2.0 */
#include "base/str.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define assert_str(got, want) assert_true(str_eq((got), STR(want)))

static void compares(void **state)
{
    assert_true(str_eq(STR_NONE, STR("")));
    assert_true(str_eq(STR("a\0b"), STR("a\0b")));
    assert_false(str_eq(STR("a\0b"), STR("a\0c")));
    assert_false(str_eq(STR("a"), STR("ab")));
    assert_true(str_eq_nocase(STR("AbZ[`"), STR("aBz[`")));
    assert_false(str_eq_nocase(STR("@["), STR("`{")));
    assert_false(str_eq_nocase(STR("\xc4"), STR("\xe4")));
    assert_true(str_cmp(STR("a"), STR("b")) < 0);
    assert_true(str_cmp(STR("ab"), STR("a")) > 0);
    assert_true(str_cmp(STR("\xff"), STR("a")) > 0);
    assert_int_equal(str_cmp(STR_NONE, STR("")), 0);
    assert_true(str_cmp(STR_NONE, STR("x")) < 0);
    assert_true(str_eq(str_c(NULL), STR_NONE));
    assert_str(str_c("abc"), "abc");
}

static void prefixes_and_suffixes(void **state)
{
    assert_true(str_starts(STR("mail from:"), STR("mail")));
    assert_false(str_starts(STR("ma"), STR("mail")));
    assert_true(str_starts(STR_NONE, STR_NONE));
    assert_true(str_starts_nocase(STR("MAIL FROM"), STR("mail ")));
    assert_true(str_ends(STR("a.eml"), STR(".eml")));
    assert_false(str_ends(STR("eml"), STR(".eml")));
    assert_true(str_ends_nocase(STR("A.EML"), STR(".eml")));
    assert_true(str_ends(STR("x"), STR_NONE));
}

static void finds(void **state)
{
    assert_int_equal(str_find(STR("hello"), STR("llo")), 2);
    assert_int_equal(str_find(STR("hello"), STR("")), 0);
    assert_int_equal(str_find(STR_NONE, STR("")), 0);
    assert_int_equal(str_find(STR_NONE, STR("a")), STR_NPOS);
    assert_int_equal(str_find(STR("aa"), STR("aaa")), STR_NPOS);
    assert_int_equal(str_find_nocase(STR("Subject: HeLLo"), STR("hEllO")), 9);
    assert_int_equal(str_find_nocase(STR("abc"), STR("abd")), STR_NPOS);
    assert_int_equal(str_find_char(STR("a\0b"), 'b'), 2);
    assert_int_equal(str_find_char(STR("a\0b"), '\0'), 1);
    assert_int_equal(str_rfind_char(STR("a.b.c"), '.'), 3);
    assert_int_equal(str_rfind_char(STR_NONE, '.'), STR_NPOS);
}

/* Small alphabets make periodic needles, the hard cases of Two-Way. */
static void find_agrees_with_the_plain_way(void **state)
{
    srand(7);
    for (int round = 0; round < 200000; round++) {
        char hay[40], needle[12];
        size_t n = (size_t)rand() % sizeof hay, m = 1 + (size_t)rand() % sizeof needle;
        int letters = 1 + rand() % 3;
        for (size_t i = 0; i < n; i++)
            hay[i] = (char)((rand() & 1 ? 'a' : 'A') + rand() % letters);
        for (size_t i = 0; i < m; i++)
            needle[i] = (char)((rand() & 1 ? 'a' : 'A') + rand() % letters);
        str h = str_of(hay, n), x = str_of(needle, m);
        size_t want = STR_NPOS, want_nocase = STR_NPOS;
        for (size_t i = n; i-- > 0;) {
            if (str_starts(str_skip(h, i), x))
                want = i;
            if (str_starts_nocase(str_skip(h, i), x))
                want_nocase = i;
        }
        assert_int_equal(str_find(h, x), want);
        assert_int_equal(str_find_nocase(h, x), want_nocase);
    }
}

static double seconds(size_t (*find)(str, str), str hay, str needle)
{
    double best = 1e9;
    for (int i = 0; i < 5; i++) {
        struct timespec from, to;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
        assert_int_equal(find(hay, needle), STR_NPOS);
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
        double took = (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
        best = took < best ? took : best;
    }
    return best;
}

/* rule: wire-4 */
static void find_is_linear(void **state)
{
    size_t n = 4 << 20;
    char *a = malloc(n);
    assert_non_null(a);
    memset(a, 'a', n);
    size_t (*const finders[])(str, str) = {str_find, str_find_nocase};
    for (size_t i = 0; i < 2; i++) {
        /* a..ab: each place matches long before it fails */
        a[n / 8 - 1] = 'b';
        a[n / 4 - 1] = 'b';
        str half_needle = str_sub(str_of(a, n), 0, n / 8);
        double half = seconds(finders[i], str_sub(str_of(a, n), n / 4, n / 4), half_needle);
        a[n / 8 - 1] = 'a';
        str needle = str_sub(str_of(a, n), 0, n / 4);
        double whole = seconds(finders[i], str_sub(str_of(a, n), n / 2, n / 2), needle);
        a[n / 4 - 1] = 'a';
        assert_true(whole <= 2.5 * half + 0.002);
    }
    free(a);
}

static void slices_are_clamped(void **state)
{
    str s = STR("abcdef");
    assert_str(str_skip(s, 2), "cdef");
    assert_str(str_skip(s, 99), "");
    assert_ptr_equal(str_skip(s, 99).data, s.data + 6);
    assert_str(str_head(s, 2), "ab");
    assert_str(str_head(s, 99), "abcdef");
    assert_str(str_sub(s, 2, 3), "cde");
    assert_str(str_sub(s, 5, SIZE_MAX), "f");
    assert_str(str_sub(s, SIZE_MAX, SIZE_MAX), "");
    assert_str(str_skip(STR_NONE, 3), "");
    assert_str(str_trim(STR(" \t\r\n a b \r\n")), "a b");
    assert_str(str_trim(STR(" \t")), "");
    assert_str(str_trim(STR_NONE), "");
}

static void cuts_and_words(void **state)
{
    str head, tail, word;
    assert_true(str_cut(STR("key=value=x"), '=', &head, &tail));
    assert_str(head, "key");
    assert_str(tail, "value=x");
    assert_false(str_cut(STR("key"), '=', &head, &tail));
    assert_str(head, "key");
    assert_str(tail, "");
    tail = STR("a,b,");
    assert_true(str_cut(tail, ',', &head, &tail));
    assert_true(str_cut(tail, ',', &head, &tail));
    assert_str(head, "b");
    assert_false(str_cut(tail, ',', &head, &tail));
    assert_str(head, "");
    assert_false(str_cut(STR_NONE, ',', &head, &tail));
    str line = STR("  USER\tjoe ");
    assert_true(str_next_word(&line, &word));
    assert_str(word, "USER");
    assert_true(str_next_word(&line, &word));
    assert_str(word, "joe");
    assert_false(str_next_word(&line, &word));
    assert_str(word, "");
    assert_int_equal(line.len, 0);
}

static void hashes(void **state)
{
    assert_true(str_hash(STR("a")) != str_hash(STR("b")));
    assert_true(str_hash(STR("")) != str_hash(STR("\0")));
    assert_int_equal(str_hash(STR("same")), str_hash(STR("same")));
    /* Every byte value at every place of a word, and of the tail. */
    for (size_t len = 1; len <= 17; len++)
        for (int c = 0; c < 256; c++) {
            char a[17], b[17];
            memset(a, 'x', sizeof a);
            a[len - 1] = (char)c;
            memcpy(b, a, sizeof a);
            b[len - 1] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c >= 'a' && c <= 'z' ? c - 32 : c);
            assert_int_equal(str_hash_nocase(str_of(a, len)), str_hash_nocase(str_of(b, len)));
            b[len - 1] = (char)(c ^ 32);
            bool letter = (c | 32) >= 'a' && (c | 32) <= 'z';
            bool same = str_hash_nocase(str_of(a, len)) == str_hash_nocase(str_of(b, len));
            assert_int_equal(same, letter);
        }
}

/* Stored rows depend on these: the first vectors of the reference SipHash-2-4. */
static void stable_hash_never_changes(void **state)
{
    static const uint64_t want[] = {0x726fdb47dd0e0e31u, 0x74f839c593dc67fdu, 0x0d6c8009d9a94f5au,
                                    0x85676696d7fb7e2du, 0xcf2794e0277187b7u, 0x18765564cd99a68du,
                                    0xcbc9466e58fee3ceu, 0xab0200f58b01d137u, 0x93f5f5799a932462u,
                                    0x9e0082df0ba9e4b0u};
    char bytes[16];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)i;
    for (size_t len = 0; len < sizeof want / sizeof *want; len++)
        assert_true(str_hash_stable(str_of(bytes, len)) == want[len]);
    assert_true(str_hash_stable(str_of(bytes, 15)) == 0xa129ca6149be45e5u);
}

static void secrets(void **state)
{
    assert_true(str_eq_secret(STR("s\0cret"), STR("s\0cret")));
    assert_false(str_eq_secret(STR("secret"), STR("secreT")));
    assert_false(str_eq_secret(STR("secret"), STR("secre")));
    assert_true(str_eq_secret(STR_NONE, STR("")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compares),
        cmocka_unit_test(prefixes_and_suffixes),
        cmocka_unit_test(finds),
        cmocka_unit_test(find_agrees_with_the_plain_way),
        cmocka_unit_test(find_is_linear),
        cmocka_unit_test(slices_are_clamped),
        cmocka_unit_test(cuts_and_words),
        cmocka_unit_test(hashes),
        cmocka_unit_test(stable_hash_never_changes),
        cmocka_unit_test(secrets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
