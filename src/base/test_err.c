/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void every_row_is_usable(void **state)
{
    for (int e = 0; e < ERR_COUNT; e++) {
        const struct err_info *info = err_info((enum err)e);
        assert_true(strlen(info->name) > 0 && strlen(info->text) > 0);
        /* RFC 3463: the class of the enhanced code is the first digit of the reply. */
        assert_int_equal(info->enhanced[0] - '0', info->smtp_code / 100);
        assert_true(info->http_status >= 200 && info->http_status < 600);
        for (const char *c = info->text; *c; c++)
            assert_true(*c >= ' ' && *c <= '~');
    }
}

static void ok_is_zero_and_alone(void **state)
{
    assert_int_equal(ERR_OK, 0);
    for (int e = 0; e < ERR_COUNT; e++)
        assert_int_equal(err_class((enum err)e) == ERR_CLASS_OK, e == ERR_OK);
    assert_string_equal(err_name(ERR_QUOTA), "QUOTA");
    assert_string_equal(err_text(ERR_QUOTA), "Mailbox full");
}

/* rule: accept-3. Faults on our side are never a permanent refusal. */
static void our_faults_are_temporary(void **state)
{
    static const enum err ours[] = {ERR_EOF,    ERR_TIMEOUT, ERR_CANCELED,    ERR_IO,
                                    ERR_NOMEM,  ERR_NOSPACE, ERR_UNAVAILABLE, ERR_CONFLICT,
                                    ERR_FENCED, ERR_UNKNOWN, ERR_CORRUPT,     ERR_BUSY};
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
        assert_int_equal(err_class(ours[i]), ERR_CLASS_TEMP);
        assert_int_equal(err_info(ours[i])->smtp_code / 100, 4);
    }
}

static enum err pass(enum err e)
{
    TRY(e);
    return ERR_EXISTS;
}

static void try_returns_the_error(void **state)
{
    assert_int_equal(pass(ERR_OK), ERR_EXISTS);
    assert_int_equal(pass(ERR_IO), ERR_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_is_usable),
        cmocka_unit_test(ok_is_zero_and_alone),
        cmocka_unit_test(our_faults_are_temporary),
        cmocka_unit_test(try_returns_the_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
