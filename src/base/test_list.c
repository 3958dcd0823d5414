/* SPDX-License-Identifier: Apache-2.0 */
#include "base/list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct item {
    int n;
    struct list link;
};

static void order_and_removal(void **state)
{
    struct list head = LIST_INIT(head);
    struct item items[5];
    assert_true(list_empty(&head));
    assert_null(list_pop_front(&head));
    for (int i = 0; i < 5; i++) {
        items[i].n = i;
        list_push_back(&head, &items[i].link);
    }
    list_remove(&items[0].link);
    list_remove(&items[0].link); /* again: no harm */
    list_push_front(&head, &items[0].link);
    int want = 0;
    LIST_EACH (it, &head) {
        struct item *item = container_of(it, struct item, link);
        assert_int_equal(item->n, want++);
        if (item->n % 2)
            list_remove(it); /* of the current element */
    }
    assert_int_equal(want, 5);
    for (int i = 0; i < 5; i += 2)
        assert_ptr_equal(list_pop_front(&head), &items[i].link);
    assert_true(list_empty(&head));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(order_and_removal)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
