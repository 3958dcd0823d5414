/* SPDX-License-Identifier: Apache-2.0
 *
 * test_cmocka: cmocka with the headers that it wants first, and asserts for slices.
 */
#ifndef FORMAT_TEST_CMOCKA_H
#define FORMAT_TEST_CMOCKA_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>

#include "base/str.h"

#define assert_str(value, literal)                                                                 \
    do {                                                                                           \
        str value_ = (value);                                                                      \
        if (!str_eq(value_, STR(literal)))                                                         \
            fail_msg("got \"%.*s\", want \"%s\"", STR_ARG(value_), literal);                       \
    } while (0)
#define assert_ok(call) assert_int_equal((call), 0)

#endif
