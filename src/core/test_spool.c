/* SPDX-License-Identifier: Apache-2.0
 *
 * The content of a message while it arrives: small, large, too large; sealed at the end.
 * rule: wire-4, proc-4
 */
#include "core/test_world.h"

#include "core/spool.h"
#include "os/file.h"

#include <signal.h>
#include <sys/resource.h>

#define LARGE (3 * SPOOL_MEMORY_MAX + 77)

static void filled(struct spool *s, size_t n, size_t piece)
{
    static char bytes[SPOOL_MEMORY_MAX * 2];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i % 251);
    for (size_t at = 0; at < n; at += piece) {
        size_t k = n - at < piece ? n - at : piece;
        spool_add(s, str_of(bytes + at % 251, k));
    }
}

static void holds(struct spool *s, size_t n)
{
    str content;
    char c = 1;
    size_t got;
    OK(spool_finish(s, &content));
    assert_int_equal(content.len, n);
    assert_int_equal(s->size, n);
    for (size_t i = 0; i < n; i++)
        if ((uint8_t)content.data[i] != i % 251)
            fail_msg("byte %zu differs", i);
    assert_int_equal(s->fd >= 0, n >= SPOOL_MEMORY_MAX);
    if (s->fd < 0)
        return;
    OK(file_read_at(s->fd, n - 1, &c, 1, &got));
    assert_int_equal((uint8_t)c, (n - 1) % 251);
    /* Sealed: nobody changes it any more. */
    assert_int_not_equal(file_write_all_at(s->fd, 0, "x", 1), ERR_OK);
}

static void every_size_arrives_whole(void **state)
{
    static const size_t sizes[] = {
        0,    1, SPOOL_MEMORY_MAX - 1, SPOOL_MEMORY_MAX, SPOOL_MEMORY_MAX + 1, 2 * SPOOL_MEMORY_MAX,
        LARGE};
    static const size_t pieces[] = {1000, 4096, 65536, SPOOL_MEMORY_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (size_t k = 0; k < sizeof pieces / sizeof pieces[0]; k++) {
            struct spool s;
            spool_init(&s, LARGE);
            filled(&s, sizes[i], pieces[k]);
            holds(&s, sizes[i]);
            spool_free(&s);
        }
}

static void too_large_stays_an_error(void **state)
{
    struct spool s;
    str content;
    spool_init(&s, 10);
    spool_add(&s, STR("0123456789"));
    assert_int_equal(s.err, ERR_OK);
    spool_add(&s, STR("x"));
    assert_int_equal(s.err, ERR_TOO_LARGE);
    spool_add(&s, STR(""));
    assert_int_equal(spool_finish(&s, &content), ERR_TOO_LARGE);
    spool_free(&s);
}

/* A descriptor is asked for, and there is no room for the file: what is whole in memory stays so,
 * and nobody takes half a file for the message. */
static void no_file_is_no_descriptor(void **state)
{
    struct spool s;
    struct rlimit before, none = {.rlim_cur = 5};
    str content;
    char c = 0;
    size_t got = 0;
    spool_init(&s, 10);
    spool_add(&s, STR("0123456789"));
    OK(spool_finish(&s, &content));
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    none.rlim_max = before.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    enum err e = spool_to_file(&s);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_not_equal(e, ERR_OK);
    assert_int_equal(s.fd, -1);
    assert_true(str_eq(content, STR("0123456789")));
    OK(spool_to_file(&s));
    assert_true(file_is_sealed(s.fd));
    OK(file_read_at(s.fd, 9, &c, 1, &got));
    assert_int_equal(c, '9');
    spool_free(&s);
}

/* All spools of the process together are limited; what is freed can be used again. */
static void all_together_have_a_limit(void **state)
{
    enum { COUNT = 9 };
    static struct spool s[COUNT];
    uint64_t each = SPOOL_TOTAL_MAX / (COUNT - 1);
    size_t full = 0;
    for (size_t i = 0; i < COUNT; i++) {
        spool_init(&s[i], SPOOL_TOTAL_MAX);
        filled(&s[i], each, SPOOL_MEMORY_MAX);
        full += s[i].err == ERR_NOSPACE;
    }
    assert_int_equal(full, 1);
    for (size_t i = 0; i < COUNT; i++)
        spool_free(&s[i]);
    spool_init(&s[0], SPOOL_TOTAL_MAX);
    filled(&s[0], 1000, 1000);
    assert_int_equal(s[0].err, ERR_OK);
    spool_free(&s[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_size_arrives_whole),
        cmocka_unit_test(too_large_stays_an_error),
        cmocka_unit_test(no_file_is_no_descriptor),
        cmocka_unit_test(all_together_have_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
