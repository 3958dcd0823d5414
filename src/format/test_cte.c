/* SPDX-License-Identifier: Apache-2.0 */
#include "format/test_cmocka.h"

#include <string.h>

#include "base/code.h"
#include "base/num.h"
#include "format/cte.h"
#include "format/test_linear.h"

static void decode_split(enum cte cte, str in, size_t step, struct buf *out)
{
    struct cte_decoder d;
    cte_decoder_init(&d, cte);
    for (; in.len; in = str_skip(in, step))
        cte_decode(&d, str_head(in, step), out);
    cte_decode_end(&d, out);
}

/* The same for every division of the input, and the size agrees. */
static void assert_decode(enum cte cte, str in, str want)
{
    for (size_t step = 1; step <= in.len + 1; step++) {
        BUF_AUTO struct buf out = BUF_INIT(1 << 20);
        decode_split(cte, in, step, &out);
        if (!str_eq(buf_str(&out), want))
            fail_msg("%.*s by %zu: got \"%.*s\", want \"%.*s\"", STR_ARG(in), step,
                     STR_ARG(buf_str(&out)), STR_ARG(want));
    }
    assert_int_equal(cte_decoded_size(cte, in), want.len);
}

static void test_base64(void **state)
{
    assert_decode(CTE_BASE64, STR(""), STR(""));
    assert_decode(CTE_BASE64, STR("Zm9vYmFy"), STR("foobar"));
    assert_decode(CTE_BASE64, STR("Zm9vYg=="), STR("foob"));
    assert_decode(CTE_BASE64, STR("Zm9v\r\nYmE=\r\n"), STR("fooba"));
    assert_decode(CTE_BASE64, STR("Z*m 9-v\tY\0m F.y"), STR("foobar"));
    assert_decode(CTE_BASE64, STR("Zm9vYg==Zm9v"), STR("foobfoo"));
    assert_decode(CTE_BASE64, STR("Zm9vYg"), STR("foob"));
    assert_decode(CTE_BASE64, STR("Zm9vY"), STR("foo"));
    assert_decode(CTE_BASE64, STR("===="), STR(""));
}

static void test_qp(void **state)
{
    assert_decode(CTE_QP, STR("a=3Db=e4"), STR("a=b\xe4"));
    assert_decode(CTE_QP, STR("soft=\r\nbreak=\nhere= \t\r\nend"), STR("softbreakhereend"));
    assert_decode(CTE_QP, STR("trail \t\r\nnext  \nlast \t"), STR("trail\r\nnext\nlast"));
    assert_decode(CTE_QP, STR("in \t ner"), STR("in \t ner"));
    assert_decode(CTE_QP, STR("=zz =4 =4z =\r x"), STR("=zz =4 =4z =\r x"));
    assert_decode(CTE_QP, STR("a\rb \rc \r\nd"), STR("a\rb \rc\r\nd"));
    assert_decode(CTE_QP, STR("=3D=\r\n=3D="), STR("=="));
    assert_decode(CTE_QP, STR("==41"), STR("=A"));
    assert_decode(CTE_QP, STR("=4"), STR("=4"));
    assert_decode(CTE_QP, STR("=4=41=4\r\n"), STR("=4A=4\r\n"));
    assert_decode(CTE_QP, STR("\r\n\r\n\r\r\n\n"), STR("\r\n\r\n\r\r\n\n"));
    assert_decode(CTE_QP, STR("= x"), STR("= x"));
}

/* A run of white space comes back as it was, however long. */
static void test_qp_long_space(void **state)
{
    static const size_t lengths[] = {64, 65, 75, CTE_SPACES_MAX, CTE_SPACES_MAX + 1, 5000};
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        char text[5001];
        memset(text, '\t', sizeof(text));
        text[0] = text[lengths[i] / 2] = ' ';
        text[lengths[i]] = '.';
        BUF_AUTO struct buf out = BUF_INIT(1 << 20);
        decode_split(CTE_QP, str_of(text, lengths[i] + 1), 7, &out);
        assert_true(str_eq(buf_str(&out), str_of(text, lengths[i] + 1)));
        assert_int_equal(cte_decoded_size(CTE_QP, str_of(text, lengths[i] + 1)), out.len);
    }
}

static void test_copy(void **state)
{
    assert_decode(CTE_8BIT, STR("a=3D\0\xff"), STR("a=3D\0\xff"));
    assert_decode(CTE_UNKNOWN, STR("YQ=="), STR("YQ=="));
    assert_int_equal(cte_find(STR(" Quoted-Printable ")), CTE_QP);
    assert_int_equal(cte_find(STR("BASE64; x")), CTE_BASE64);
    assert_int_equal(cte_find(STR("")), CTE_7BIT);
    assert_int_equal(cte_find(STR("x-uuencode")), CTE_UNKNOWN);
    assert_str(cte_name(CTE_QP), "quoted-printable");
    assert_str(cte_name(CTE_UNKNOWN), "");
}

static void encode_split(enum cte cte, str in, size_t step, struct buf *out)
{
    struct cte_encoder e;
    cte_encoder_init(&e, cte);
    for (; in.len; in = str_skip(in, step))
        cte_encode(&e, str_head(in, step), out);
    cte_encode_end(&e, out);
}

static void test_encode(void **state)
{
    BUF_AUTO struct buf out = BUF_INIT(1 << 20);
    encode_split(CTE_QP, STR("a=b \r\nc\td \rx\ny\t"), 3, &out);
    assert_str(buf_str(&out), "a=3Db=20\r\nc\td =0Dx=0Ay=09");
    buf_reset(&out);
    encode_split(CTE_BASE64, STR("foobarx"), 2, &out);
    assert_str(buf_str(&out), "Zm9vYmFyeA==\r\n");
}

static void assert_lines(str s)
{
    str line;
    for (bool more = true; more;) {
        more = str_cut(s, '\n', &line, &s);
        assert_true(line.len <= 77);
        assert_true(!more || (line.len && line.data[line.len - 1] == '\r'));
    }
}

/* Text with CRLF line ends comes back exactly, however divided, in lines of at most 76. */
static void test_round_trip(void **state)
{
    char text[3000];
    uint32_t seed = 1;
    for (int round = 0; round < 60; round++) {
        size_t len = 0;
        while (len < sizeof(text) - 2) {
            seed = seed * 1664525 + 1013904223;
            if (seed >> 28 == 0) {
                text[len++] = '\r';
                text[len++] = '\n';
            } else
                text[len++] = (char)(seed >> 16 & (round % 2 ? 0xff : 0x3f));
        }
        for (int c = CTE_BASE64; c <= CTE_QP; c++) {
            BUF_AUTO struct buf coded = BUF_INIT(1 << 20);
            BUF_AUTO struct buf back = BUF_INIT(1 << 20);
            encode_split(c, str_of(text, len), 1 + round * 7, &coded);
            assert_lines(buf_str(&coded));
            decode_split(c, buf_str(&coded), 1 + round * 3, &back);
            assert_true(str_eq(buf_str(&back), str_of(text, len)));
        }
    }
}

static const char *piece;
static enum cte piece_cte;

static void decode_repeated(size_t n)
{
    char *text = test_malloc(n + 16);
    size_t len = strlen(piece);
    for (size_t i = 0; i < n; i += len)
        memcpy(text + i, piece, len);
    assert_true(cte_decoded_size(piece_cte, str_of(text, n)) <= n);
    test_free(text);
}

static void test_wire_4_linear(void **state)
{
    static const char *const pieces[] = {"=",   " ", "= ",   "=\r", "\t \r",
                                         "=41", "a", "\r\n", "=4",  "*"};
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++)
        for (piece_cte = CTE_BASE64; piece_cte <= CTE_QP; piece_cte++) {
            piece = pieces[i];
            assert_true(linear_holds(decode_repeated, 300000));
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_base64),        cmocka_unit_test(test_qp),
        cmocka_unit_test(test_qp_long_space), cmocka_unit_test(test_copy),
        cmocka_unit_test(test_encode),        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_wire_4_linear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
