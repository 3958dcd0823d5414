/* SPDX-License-Identifier: Apache-2.0 */
#include "base/heap.h"

#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void empty_and_foreign_nodes(void **state)
{
    struct heap h = {0};
    struct heap_node n = {0};
    assert_null(heap_min(&h));
    heap_remove(&h, &n); /* not in: no-op */
    assert_int_equal(heap_insert(&h, &n, UINT64_MAX), ERR_OK);
    assert_ptr_equal(heap_min(&h), &n);
    heap_remove(&h, &n);
    heap_remove(&h, &n);
    assert_null(heap_min(&h));
    assert_int_equal(heap_insert(&h, &n, 1), ERR_OK);
    heap_free(&h);
    assert_int_equal(n.index, 0);
}

static void agrees_with_a_model(void **state)
{
    enum { NODES = 300 };
    struct heap h = {0};
    static struct heap_node nodes[NODES];
    size_t count = 0;
    srand(5);
    for (int step = 0; step < 100000; step++) {
        struct heap_node *n = &nodes[rand() % NODES];
        if (n->index) {
            heap_remove(&h, n);
            assert_int_equal(n->index, 0);
            count--;
        }
        if (rand() % 3) {
            assert_int_equal(heap_insert(&h, n, (uint64_t)rand() % 1000), ERR_OK);
            count++;
        }
        assert_int_equal(h.count, count);
        if (step % 50)
            continue;
        uint64_t least = UINT64_MAX;
        for (size_t i = 0; i < NODES; i++)
            if (nodes[i].index && nodes[i].key < least)
                least = nodes[i].key;
        struct heap_node *min = heap_min(&h);
        assert_true(min ? min->key == least : count == 0);
    }
    uint64_t before = 0;
    for (struct heap_node *n; (n = heap_min(&h)); before = n->key) {
        assert_true(n->key >= before);
        heap_remove(&h, n);
    }
    heap_free(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_and_foreign_nodes),
        cmocka_unit_test(agrees_with_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
