/* SPDX-License-Identifier: Apache-2.0 */
#include "base/code.h"

#include "base/num.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define assert_buf(b, want) assert_true(str_eq(buf_str(b), (want)))

/* RFC 4648 10 */
static const struct {
    str bytes, base64, base64url, base32, hex;
} vectors[] = {
    {STR_INIT(""), STR_INIT(""), STR_INIT(""), STR_INIT(""), STR_INIT("")},
    {STR_INIT("f"), STR_INIT("Zg=="), STR_INIT("Zg"), STR_INIT("my"), STR_INIT("66")},
    {STR_INIT("fo"), STR_INIT("Zm8="), STR_INIT("Zm8"), STR_INIT("mzxq"), STR_INIT("666f")},
    {STR_INIT("foo"), STR_INIT("Zm9v"), STR_INIT("Zm9v"), STR_INIT("mzxw6"), STR_INIT("666f6f")},
    {STR_INIT("foob"), STR_INIT("Zm9vYg=="), STR_INIT("Zm9vYg"), STR_INIT("mzxw6yq"),
     STR_INIT("666f6f62")},
    {STR_INIT("fooba"), STR_INIT("Zm9vYmE="), STR_INIT("Zm9vYmE"), STR_INIT("mzxw6ytb"),
     STR_INIT("666f6f6261")},
    {STR_INIT("foobar"), STR_INIT("Zm9vYmFy"), STR_INIT("Zm9vYmFy"), STR_INIT("mzxw6ytboi"),
     STR_INIT("666f6f626172")},
    {STR_INIT("\xfb\xff\xfe"), STR_INIT("+//+"), STR_INIT("-__-"), STR_INIT("7p774"),
     STR_INIT("fbfffe")},
};

static void known_texts(void **state)
{
    BUF_AUTO struct buf b = BUF_INIT(100);
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
        buf_reset(&b);
        code_base64(&b, vectors[i].bytes);
        assert_buf(&b, vectors[i].base64);
        buf_reset(&b);
        code_base64url(&b, vectors[i].bytes);
        assert_buf(&b, vectors[i].base64url);
        buf_reset(&b);
        code_base32(&b, vectors[i].bytes);
        assert_buf(&b, vectors[i].base32);
        buf_reset(&b);
        code_hex(&b, vectors[i].bytes);
        assert_buf(&b, vectors[i].hex);
        buf_reset(&b);
        assert_int_equal(code_base64_decode(&b, vectors[i].base64), ERR_OK);
        assert_buf(&b, vectors[i].bytes);
        buf_reset(&b);
        assert_int_equal(code_base64url_decode(&b, vectors[i].base64url), ERR_OK);
        assert_buf(&b, vectors[i].bytes);
        buf_reset(&b);
        assert_int_equal(code_hex_decode(&b, vectors[i].hex), ERR_OK);
        assert_buf(&b, vectors[i].bytes);
    }
}

static void refusals_append_nothing(void **state)
{
    static const str bad64[] = {STR_INIT("Z"),     STR_INIT("Zg"),       STR_INIT("Zg="),
                                STR_INIT("Zg==="), STR_INIT("===="),     STR_INIT("Zh=="),
                                STR_INIT("Zm9="),  STR_INIT("Zm9v\r\n"), STR_INIT("Zm=v"),
                                STR_INIT("Zm9-"),  STR_INIT("Zm9v===="), STR_INIT("Zg==Zg=="),
                                STR_INIT("Z\0=="), STR_INIT("Zm9\xff")};
    static const str bad_url[] = {STR_INIT("Z"), STR_INIT("Zg=="), STR_INIT("Zm9v+"),
                                  STR_INIT("Zh")};
    static const str bad_hex[] = {STR_INIT("0"), STR_INIT("0g"), STR_INIT("0 "), STR_INIT("G0"),
                                  STR_INIT("@`")};
    BUF_AUTO struct buf b = BUF_INIT(100);
    buf_add_char(&b, '!');
    for (size_t i = 0; i < ARRAY_LEN(bad64); i++)
        assert_int_equal(code_base64_decode(&b, bad64[i]), ERR_SYNTAX);
    for (size_t i = 0; i < ARRAY_LEN(bad_url); i++)
        assert_int_equal(code_base64url_decode(&b, bad_url[i]), ERR_SYNTAX);
    for (size_t i = 0; i < ARRAY_LEN(bad_hex); i++)
        assert_int_equal(code_hex_decode(&b, bad_hex[i]), ERR_SYNTAX);
    assert_buf(&b, STR("!"));
    assert_true(buf_ok(&b));
    BUF_AUTO struct buf small = BUF_INIT(2);
    assert_int_equal(code_base64_decode(&small, STR("Zm9v")), ERR_LIMIT);
    buf_reset(&small);
    assert_int_equal(code_hex_decode(&small, STR("666f6f")), ERR_LIMIT);
    buf_reset(&small);
    code_base64(&small, STR("f"));
    assert_false(buf_ok(&small));
}

static void random_bytes_come_back(void **state)
{
    BUF_AUTO struct buf text = BUF_INIT(4096);
    BUF_AUTO struct buf back = BUF_INIT(4096);
    char bytes[300];
    srand(17);
    for (size_t n = 0; n < sizeof bytes; n++) {
        for (size_t i = 0; i < n; i++)
            bytes[i] = (char)rand();
        str s = str_of(bytes, n);
        buf_reset(&text);
        buf_reset(&back);
        code_base64(&text, s);
        assert_int_equal(code_base64_decode(&back, buf_str(&text)), ERR_OK);
        assert_buf(&back, s);
        buf_reset(&text);
        buf_reset(&back);
        code_base64url(&text, s);
        assert_int_equal(code_base64url_decode(&back, buf_str(&text)), ERR_OK);
        assert_buf(&back, s);
    }
}

static uint32_t crc_by_bits(const unsigned char *p, size_t len)
{
    uint32_t crc = ~0u;
    while (len--) {
        crc ^= *p++;
        for (int i = 0; i < 8; i++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

/* RFC 3720 B.4, and the plain definition at every length around the three-lane blocks. */
static void crc32c(void **state)
{
    unsigned char bytes[10000];
    memset(bytes, 0, 32);
    assert_int_equal(code_crc32c(0, bytes, 32), 0x8a9136aau);
    memset(bytes, 0xff, 32);
    assert_int_equal(code_crc32c(0, bytes, 32), 0x62a8ab43u);
    assert_int_equal(code_crc32c(0, "123456789", 9), 0xe3069283u);
    assert_int_equal(code_crc32c(0, NULL, 0), 0);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)rand();
    for (size_t len = 0; len < sizeof bytes; len += len < 70 ? 1 : 61) {
        uint32_t want = crc_by_bits(bytes, len);
        assert_int_equal(code_crc32c(0, bytes, len), want);
        size_t cut = len / 3;
        uint32_t first = code_crc32c(0, bytes, cut);
        assert_int_equal(code_crc32c(first, bytes + cut, len - cut), want);
    }
    assert_int_equal(code_crc32c(0, bytes + 1, 9001), crc_by_bits(bytes + 1, 9001));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_texts),
        cmocka_unit_test(refusals_append_nothing),
        cmocka_unit_test(random_bytes_come_back),
        cmocka_unit_test(crc32c),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
