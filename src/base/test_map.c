/* SPDX-License-Identifier: Apache-2.0 */
#include "base/map.h"

#include "base/num.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static char values[4096];

static void puts_gets_removes(void **state)
{
    struct map m;
    void *old = &m;
    map_init(&m, 10);
    assert_null(map_get(&m, STR("a")));
    assert_null(map_remove(&m, STR("a")));
    assert_int_equal(map_put(&m, STR("a"), &values[1], &old), ERR_OK);
    assert_null(old);
    assert_int_equal(map_put(&m, STR(""), &values[2], NULL), ERR_OK);
    assert_int_equal(map_put(&m, STR("a\0"), &values[3], NULL), ERR_OK);
    assert_int_equal(map_put(&m, STR("A"), &values[4], NULL), ERR_OK);
    assert_ptr_equal(map_get(&m, STR("a")), &values[1]);
    assert_ptr_equal(map_get(&m, STR_NONE), &values[2]);
    assert_ptr_equal(map_get(&m, STR("a\0")), &values[3]);
    assert_int_equal(map_put(&m, STR("a"), &values[5], &old), ERR_OK);
    assert_ptr_equal(old, &values[1]);
    assert_int_equal(m.count, 4);
    assert_ptr_equal(map_remove(&m, STR("a")), &values[5]);
    assert_null(map_get(&m, STR("a")));
    map_free(&m);
    assert_null(map_get(&m, STR("A")));
    assert_int_equal(map_put(&m, STR("A"), &values[4], NULL), ERR_OK);
    map_free(&m);
}

static void nocase_keys(void **state)
{
    struct map m;
    map_init_nocase(&m, 10);
    assert_int_equal(map_put(&m, STR("Content-Type"), &values[1], NULL), ERR_OK);
    assert_int_equal(map_put(&m, STR("CONTENT-type"), &values[2], NULL), ERR_OK);
    assert_int_equal(m.count, 1);
    assert_ptr_equal(map_get(&m, STR("content-type")), &values[2]);
    assert_null(map_get(&m, STR("content_type")));
    assert_ptr_equal(map_remove(&m, STR("conTENT-TYPE")), &values[2]);
    map_free(&m);
}

static void limit_of_entries(void **state)
{
    struct map m;
    map_init(&m, 3);
    for (uint64_t i = 0; i < 3; i++)
        assert_int_equal(map_put_u64(&m, i, &values[i], NULL), ERR_OK);
    assert_int_equal(map_put_u64(&m, 3, &values[3], NULL), ERR_LIMIT);
    assert_int_equal(map_put_u64(&m, 2, &values[7], NULL), ERR_OK); /* replaces */
    assert_ptr_equal(map_remove_u64(&m, 0), &values[0]);
    assert_int_equal(map_put_u64(&m, 3, &values[3], NULL), ERR_OK);
    map_free(&m);
    struct map none;
    map_init(&none, 0);
    assert_int_equal(map_put(&none, STR("a"), &values[0], NULL), ERR_LIMIT);
    map_free(&none);
}

/* Churn with a plain array as the model, by number and by name. */
static void agrees_with_a_model(void **state)
{
    struct map numbers, names;
    void *model[1000] = {0};
    size_t count = 0;
    map_init(&numbers, 1000);
    map_init(&names, 1000);
    srand(11);
    for (int step = 0; step < 300000; step++) {
        size_t k = (size_t)rand() % ARRAY_LEN(model);
        char text[32];
        str name = str_of(text, (size_t)snprintf(text, sizeof text, "key-%zu-%.*s", k, (int)(k % 9),
                                                 "abcdefghi"));
        if (rand() % 2) {
            void *value = &values[rand() % 4096], *old, *old_too;
            assert_int_equal(map_put_u64(&numbers, k, value, &old), ERR_OK);
            assert_int_equal(map_put(&names, name, value, &old_too), ERR_OK);
            assert_ptr_equal(old, model[k]);
            assert_ptr_equal(old_too, model[k]);
            count += !model[k];
            model[k] = value;
        } else {
            assert_ptr_equal(map_remove_u64(&numbers, k), model[k]);
            assert_ptr_equal(map_remove(&names, name), model[k]);
            count -= !!model[k];
            model[k] = NULL;
        }
        assert_int_equal(numbers.count, count);
        assert_int_equal(names.count, count);
        assert_ptr_equal(map_get_u64(&numbers, k), model[k]);
        assert_ptr_equal(map_get(&names, name), model[k]);
    }
    for (size_t k = 0; k < ARRAY_LEN(model); k++)
        assert_ptr_equal(map_get_u64(&numbers, k), model[k]);
    assert_true(numbers.cap <= 4096);
    map_free(&numbers);
    map_free(&names);
}

static void iteration_with_removal(void **state)
{
    struct map m;
    bool seen[500] = {0};
    map_init(&m, 500);
    for (uint64_t i = 0; i < 500; i++)
        assert_int_equal(map_put_u64(&m, i, &values[i], NULL), ERR_OK);
    str key;
    void *value;
    for (size_t at = 0; map_next(&m, &at, &key, &value);) {
        uint64_t n;
        assert_int_equal(key.len, sizeof n);
        memcpy(&n, key.data, sizeof n);
        assert_ptr_equal(value, &values[n]);
        assert_false(seen[n]);
        seen[n] = true;
        if (n % 3)
            assert_ptr_equal(map_remove_u64(&m, n), value);
    }
    size_t left = 0;
    for (size_t at = 0; map_next(&m, &at, NULL, NULL);)
        left++;
    assert_int_equal(left, 167);
    assert_int_equal(m.count, 167);
    for (size_t i = 0; i < 500; i++)
        assert_true(seen[i]);
    map_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(puts_gets_removes),      cmocka_unit_test(nocase_keys),
        cmocka_unit_test(limit_of_entries),       cmocka_unit_test(agrees_with_a_model),
        cmocka_unit_test(iteration_with_removal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
