/* SPDX-License-Identifier: Apache-2.0 */
#include "format/test_cmocka.h"

#include <string.h>

#include "base/num.h"
#include "format/html_text.h"
#include "format/test_linear.h"

static void assert_text(const char *html, const char *want)
{
    str in = str_c(html);
    for (size_t step = 1; step <= in.len + 1; step++) {
        BUF_AUTO struct buf out = BUF_INIT(1 << 20);
        struct html_text h;
        html_text_init(&h);
        for (str rest = in; rest.len; rest = str_skip(rest, step))
            html_text_add(&h, str_head(rest, step), &out);
        html_text_end(&h, &out);
        if (!str_eq(buf_str(&out), str_c(want)))
            fail_msg("%s by %zu: got \"%.*s\", want \"%s\"", html, step, STR_ARG(buf_str(&out)),
                     want);
    }
}

static void test_text(void **state)
{
    assert_text("<p>One  <b>two</b>\n three</p><p>four", "One two three\nfour");
    assert_text("a<br>b<BR/>c", "a\nb\nc");
    assert_text("<table><tr><td>1<td>2<tr><td>3</table>", "1 2\n3");
    assert_text("  in<i>li</i>ne ", "inline");
    assert_text("<html><head><title>No</title><style>p{x:y}</style></head><body>Yes", "Yes");
    assert_text("<script>if (a<b) '</p>' && \"</scr\"</script>x", "x");
    assert_text("<SCRIPT src=x>a</SCRIPT >b", "b");
    assert_text("<!-- <p>no --> yes<!DOCTYPE x>!<!-->a<!--->b<?php x?>", "yes!ab");
    assert_text("<a title=\"x>y\" href='z>'>t</a>", "t");
    assert_text("<a title=it's>t</a>", "t");
}

static void test_entities(void **state)
{
    assert_text("&lt;&gt;&amp;&quot;&apos;&copy;&auml;&euro;",
                "<>&\"'\xc2\xa9\xc3\xa4\xe2\x82\xac");
    assert_text("&#65;&#x42;&#X1F600;&#0;&#xD800;&#99999999;",
                "AB\xf0\x9f\x98\x80 \xef\xbf\xbd\xef\xbf\xbd");
    assert_text("a&nbsp;b&nbsp; c&zwnj;d&#8203;", "a b cd");
    assert_text("AT&T &unknown; & &; &#; &#x; &amp", "AT&T &unknown; & &; &#; &#x; &");
    assert_text("a < b <1 </>x", "a < b <1 x");
    assert_text("&aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa;",
                "&aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa;");
}

static const char *piece;

static void strip_repeated(size_t n)
{
    BUF_AUTO struct buf out = BUF_INIT(64 << 20);
    struct html_text h;
    size_t len = strlen(piece);
    char *text = test_malloc(n + len);
    for (size_t i = 0; i < n; i += len)
        memcpy(text + i, piece, len);
    html_text_init(&h);
    html_text_add(&h, str_of(text, n), &out);
    html_text_end(&h, &out);
    assert_true(buf_ok(&out) && out.len <= n + 8);
    test_free(text);
}

static void test_wire_4_linear(void **state)
{
    static const char *const pieces[] = {"<",    "<!--", "&",   "&aaaa",    "<p>",      "<script>",
                                         "</",   "a ",   "<a ", "<a x=\"",  "<!-",      "-",
                                         "<a =", "&#1",  ">",   "<style><", "<b>x</b> "};
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        piece = pieces[i];
        if (!linear_holds(strip_repeated, 300000))
            fail_msg("not linear: %s", piece);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_entities),
        cmocka_unit_test(test_wire_4_linear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
