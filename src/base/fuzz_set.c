/* SPDX-License-Identifier: Apache-2.0 */
#include "base/set.h"

#include <assert.h>
#include <string.h>

#define VALUES 512

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct set *s, const bool *model)
{
    uint64_t size = 0;
    for (uint32_t n = 0; n < VALUES; n++) {
        assert(set_has(s, n) == model[n]);
        size += model[n];
    }
    assert(set_size(s) == size);
    for (size_t i = 0; i + 1 < s->count; i++)
        assert((uint64_t)s->ranges[i].last + 1 < s->ranges[i + 1].first);
}

/* The bytes as a stored row: whatever decodes has that one encoding. */
static void decode_row(str row)
{
    SET_AUTO struct set s = {.max = 4096};
    BUF_AUTO struct buf again = BUF_INIT(1 << 20);
    struct reader r = reader_of(row);
    if (set_decode(&r, &s) != ERR_OK)
        return;
    set_encode(&s, &again);
    SET_AUTO struct set back = {0};
    r = reader_of(buf_str(&again));
    enum err e = set_decode(&r, &back);
    assert(e == ERR_OK && r.rest.len == 0 && back.count == s.count);
    assert(s.count == 0 || !memcmp(s.ranges, back.ranges, s.count * sizeof *s.ranges));
}

/* The bytes as a program over two sets, beside a model of flags. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    SET_AUTO struct set a = {0};
    SET_AUTO struct set b = {0};
    static bool in_a[VALUES], in_b[VALUES];
    memset(in_a, 0, sizeof in_a);
    memset(in_b, 0, sizeof in_b);
    decode_row(str_of(data, size));
    for (size_t i = 0; i + 4 <= size && i < 4000; i += 4) {
        uint32_t first = (data[i + 1] | data[i + 2] << 8) % VALUES, last = first + data[i + 3] % 32;
        last = last < VALUES ? last : VALUES - 1;
        int op = data[i] % 7;
        bool into_b = op == 1 || op == 3;
        enum err e = ERR_OK;
        if (op < 4) {
            struct set *s = into_b ? &b : &a;
            e = op < 2 ? set_add_range(s, first, last) : set_remove_range(s, first, last);
            memset((into_b ? in_b : in_a) + first, op < 2, last - first + 1);
        } else {
            e = op == 4   ? set_union(&a, &b)
                : op == 5 ? set_intersect(&a, &b)
                          : set_subtract(&a, &b);
            for (size_t n = 0; n < VALUES; n++)
                in_a[n] = op == 4   ? in_a[n] || in_b[n]
                          : op == 5 ? in_a[n] && in_b[n]
                                    : in_a[n] && !in_b[n];
        }
        assert(e == ERR_OK);
    }
    check(&a, in_a);
    check(&b, in_b);
    return 0;
}
