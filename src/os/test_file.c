/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/clock.h"
#include "os/file.h"
#include "os/rand.h"

static char dir[] = "/tmp/posthouse-file-XXXXXX";
static int dir_fd = -1;

static int setup(void **state)
{
    if (!mkdtemp(dir))
        return -1;
    return file_open(AT_FDCWD, str_c(dir), FILE_READ | FILE_DIR, &dir_fd) == ERR_OK ? 0 : -1;
}

static int teardown(void **state)
{
    file_close(&dir_fd);
    return rmdir(dir); /* fails if a test left something, a temporary file for example */
}

static void open_read_write(void **state)
{
    int fd;
    char got[64];
    size_t n;
    uint64_t size;
    assert_int_equal(file_open(dir_fd, STR("a"), FILE_READ, &fd), ERR_NOT_FOUND);
    assert_int_equal(file_open(dir_fd, STR("a\0b"), FILE_READ, &fd), ERR_INVALID);
    assert_int_equal(file_open(dir_fd, STR(""), FILE_READ, &fd), ERR_INVALID);
    int flags = FILE_READ | FILE_WRITE | FILE_CREATE | FILE_EXCLUSIVE;
    assert_int_equal(file_open(dir_fd, STR("a"), flags, &fd), ERR_OK);
    int second;
    assert_int_equal(file_open(dir_fd, STR("a"), flags, &second), ERR_EXISTS);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_int_equal(file_write_all_at(fd, 3, "hello", 5), ERR_OK);
    assert_int_equal(file_write_out(fd, 3, 5), ERR_OK);
    assert_int_equal(file_read_at(fd, 2, got, sizeof got, &n), ERR_OK);
    assert_int_equal(n, 6);
    assert_memory_equal(got, "\0hello", 6);
    assert_int_equal(file_size(fd, &size), ERR_OK);
    assert_int_equal(size, 8);
    assert_int_equal(file_reserve(fd, 0, 65536), ERR_OK);
    assert_int_equal(file_truncate(fd, 4), ERR_OK);
    assert_int_equal(file_size(fd, &size), ERR_OK);
    assert_int_equal(size, 4);
    assert_int_equal(file_sync_data(fd), ERR_OK);
    assert_int_equal(file_sync_dir(dir_fd), ERR_OK);
    file_close(&fd);
    assert_int_equal(fd, -1);
    assert_int_equal(file_remove(dir_fd, STR("a")), ERR_OK);
    assert_int_equal(file_remove(dir_fd, STR("a")), ERR_NOT_FOUND);
}

static void replace_and_read_whole(void **state)
{
    BUF_AUTO struct buf b = BUF_INIT(10);
    assert_int_equal(file_read_whole(dir_fd, STR("c"), &b), ERR_NOT_FOUND);
    assert_int_equal(file_replace(dir_fd, STR("c"), STR("0123456789")), ERR_OK);
    assert_int_equal(file_read_whole(dir_fd, STR("c"), &b), ERR_OK);
    assert_true(str_eq(buf_str(&b), STR("0123456789")));
    assert_int_equal(file_replace(dir_fd, STR("c"), STR("01234567890")), ERR_OK);
    buf_reset(&b);
    assert_int_equal(file_read_whole(dir_fd, STR("c"), &b), ERR_TOO_LARGE);
    assert_int_equal(file_replace(dir_fd, STR("no/such/c"), STR("x")), ERR_NOT_FOUND);
    assert_int_equal(file_remove(dir_fd, STR("c")), ERR_OK);
}

static void make_dirs(void **state)
{
    char deep[128];
    snprintf(deep, sizeof deep, "%s/x/y/z", dir);
    assert_int_equal(file_make_dirs(str_c(deep)), ERR_OK);
    assert_int_equal(file_make_dirs(str_c(deep)), ERR_OK);
    struct stat st;
    assert_int_equal(stat(deep, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(stat(deep, &st), 0);
        assert_int_equal(st.st_mode & 0077, i == 0 ? 0 : 0055); /* another user comes through */
        assert_int_equal(rmdir(deep), 0);
        *strrchr(deep, '/') = 0;
    }
    uint64_t room, total;
    assert_int_equal(file_free_bytes(dir_fd, &room, &total), ERR_OK);
    assert_true(room <= total && total > 0);
}

static void lock_is_seen_by_another_process(void **state)
{
    int fd;
    assert_int_equal(file_open(dir_fd, STR("lock"), FILE_WRITE | FILE_CREATE, &fd), ERR_OK);
    assert_int_equal(file_lock(fd), ERR_OK);
    int pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int own;
        if (file_open(dir_fd, STR("lock"), FILE_WRITE, &own) != ERR_OK)
            _exit(1);
        _exit(file_lock(own) == ERR_BUSY ? 0 : 2);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    file_close(&fd);
    assert_int_equal(file_open(dir_fd, STR("lock"), FILE_WRITE, &fd), ERR_OK);
    assert_int_equal(file_lock(fd), ERR_OK);
    file_close(&fd);
    assert_int_equal(file_remove(dir_fd, STR("lock")), ERR_OK);
}

static void sealed_memory_never_changes(void **state)
{
    int fd;
    assert_int_equal(file_memory("message", &fd), ERR_OK);
    assert_int_equal(file_write_all_at(fd, 0, "mail", 4), ERR_OK);
    assert_false(file_is_sealed(fd));
    assert_int_equal(file_seal(fd), ERR_OK);
    assert_true(file_is_sealed(fd));
    assert_int_equal(file_write_all_at(fd, 0, "liam", 4), ERR_DENIED);
    assert_int_equal(file_truncate(fd, 2), ERR_DENIED);
    assert_ptr_equal(mmap(NULL, 4, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
    char got[8];
    size_t n;
    assert_int_equal(file_read_at(fd, 0, got, sizeof got, &n), ERR_OK);
    assert_int_equal(n, 4);
    file_close(&fd);
    assert_false(file_is_sealed(dir_fd));
}

static void clock_can_be_shifted(void **state) /* rule: wire-8 */
{
    uint64_t now = clock_wall_ms();
    setenv("POSTHOUSE_CLOCK_OFFSET_S", "2524608000", 1); /* 80 years */
    assert_true(clock_wall_ms() - now < 60000);          /* only when it is allowed */
    clock_allow_offset();
    assert_true(clock_wall_ms() - now >= UINT64_C(2524608000000));
    assert_true(clock_wall_s() > INT64_C(0x100000000));
    setenv("POSTHOUSE_CLOCK_OFFSET_S", "-60", 1);
    clock_allow_offset();
    assert_true(clock_wall_ms() < now);
    assert_int_equal(deadline_in_ms(DEADLINE_NEVER), DEADLINE_NEVER);
    assert_true(clock_mono_ns() < clock_mono_ns() + 1);
}

static void random_numbers(void **state)
{
    uint8_t a[1000] = {0}, b[1000] = {0};
    rand_bytes(a, sizeof a);
    rand_bytes(b, sizeof b);
    assert_memory_not_equal(a, b, sizeof a);
    assert_memory_not_equal(a + 900, b + 900, 100);
    int seen[7] = {0};
    for (int i = 0; i < 7000; i++)
        seen[rand_below(7)]++;
    for (int i = 0; i < 7; i++)
        assert_in_range(seen[i], 700, 1300);
    assert_int_equal(rand_below(1), 0);
    assert_int_not_equal(rand_u64(), rand_u64());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(open_read_write),
        cmocka_unit_test(replace_and_read_whole),
        cmocka_unit_test(make_dirs),
        cmocka_unit_test(lock_is_seen_by_another_process),
        cmocka_unit_test(sealed_memory_never_changes),
        cmocka_unit_test(clock_can_be_shifted),
        cmocka_unit_test(random_numbers),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
