/* SPDX-License-Identifier: Apache-2.0 */
#include "os/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/num.h"
#include "os/rand.h"
#include "os/sys.h"

#define FILE_SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

void file_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* The kernel wants a NUL; a path with one of its own would name another file. */
static enum err path_copy(str path, char out[PATH_MAX])
{
    if (path.len == 0 || path.len >= PATH_MAX || memchr(path.data, 0, path.len))
        return ERR_INVALID;
    memcpy(out, path.data, path.len);
    out[path.len] = 0;
    return ERR_OK;
}

enum err file_open(int dir_fd, str path, int flags, int *fd)
{
    char name[PATH_MAX];
    TRY(path_copy(path, name));
    int mode = flags & FILE_WRITE ? (flags & FILE_READ ? O_RDWR : O_WRONLY) : O_RDONLY;
    mode |= O_CLOEXEC | (flags & FILE_CREATE ? O_CREAT : 0) |
            (flags & FILE_EXCLUSIVE ? O_EXCL : 0) | (flags & FILE_TRUNCATE ? O_TRUNC : 0) |
            (flags & FILE_DIR ? O_DIRECTORY : 0);
    do {
        *fd = openat(dir_fd, name, mode, 0600);
    } while (*fd < 0 && errno == EINTR);
    return *fd >= 0 ? ERR_OK : sys_err(errno);
}

enum err file_read_at(int fd, uint64_t offset, void *out, size_t len, size_t *got)
{
    char *at = out;
    *got = 0;
    while (*got < len) {
        ssize_t n = pread(fd, at + *got, len - *got, (off_t)(offset + *got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return sys_err(errno);
        if (n == 0)
            break;
        *got += (size_t)n;
    }
    return ERR_OK;
}

enum err file_write_all_at(int fd, uint64_t offset, const void *data, size_t len)
{
    const char *at = data;
    while (len > 0) {
        ssize_t n = pwrite(fd, at, len, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? sys_err(errno) : ERR_IO;
        at += n;
        offset += (uint64_t)n;
        len -= (size_t)n;
    }
    return ERR_OK;
}

enum err file_zero_at(int fd, uint64_t offset, uint64_t len)
{
    static char zeros[65536]; /* never written, so it takes no memory */
    while (len > 0) {
        size_t step = MIN(len, sizeof zeros);
        TRY(file_write_all_at(fd, offset, zeros, step));
        offset += step;
        len -= step;
    }
    return ERR_OK;
}

enum err file_sync_data(int fd) { return fdatasync(fd) == 0 ? ERR_OK : sys_err(errno); }

enum err file_write_out(int fd, uint64_t offset, uint64_t len)
{
    unsigned how = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
    return sync_file_range(fd, (off_t)offset, (off_t)len, how) == 0 ? ERR_OK : sys_err(errno);
}

enum err file_sync_dir(int dir_fd) { return fsync(dir_fd) == 0 ? ERR_OK : sys_err(errno); }

enum err file_size(int fd, uint64_t *out)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return sys_err(errno);
    *out = (uint64_t)st.st_size;
    return ERR_OK;
}

enum err file_truncate(int fd, uint64_t size)
{
    int r;
    do {
        r = ftruncate(fd, (off_t)size);
    } while (r != 0 && errno == EINTR);
    return r == 0 ? ERR_OK : sys_err(errno);
}

enum err file_reserve(int fd, uint64_t offset, uint64_t len)
{
    int r;
    do {
        r = fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)len);
    } while (r != 0 && errno == EINTR);
    return r == 0 ? ERR_OK : sys_err(errno);
}

enum err file_read_whole(int dir_fd, str path, struct buf *out)
{
    FD_AUTO int fd = -1;
    TRY(file_open(dir_fd, path, FILE_READ, &fd));
    for (;;) {
        char chunk[4096];
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return sys_err(errno);
        if (n == 0)
            return ERR_OK;
        buf_add(out, str_of(chunk, (size_t)n));
        if (!buf_ok(out))
            return ERR_TOO_LARGE;
    }
}

/* The folder that holds path, open for a sync. */
static enum err parent_open(int dir_fd, str path, int *fd)
{
    size_t slash = str_rfind_char(path, '/');
    if (slash == STR_NPOS)
        return file_open(dir_fd, STR("."), FILE_READ | FILE_DIR, fd);
    return file_open(dir_fd, str_head(path, MAX(slash, (size_t)1)), FILE_READ | FILE_DIR, fd);
}

static enum err file_write_new(int dir_fd, const char *name, str contents)
{
    FD_AUTO int fd = -1;
    TRY(file_open(dir_fd, str_c(name), FILE_WRITE | FILE_CREATE | FILE_EXCLUSIVE, &fd));
    TRY(file_write_all_at(fd, 0, contents.data, contents.len));
    return file_sync_data(fd);
}

enum err file_replace(int dir_fd, str path, str contents)
{
    char name[PATH_MAX], temporary[PATH_MAX];
    TRY(path_copy(path, name));
    int n = snprintf(temporary, sizeof temporary, "%s.%016llx.new", name,
                     (unsigned long long)rand_u64());
    if (n < 0 || (size_t)n >= sizeof temporary)
        return ERR_INVALID;
    FD_AUTO int parent = -1;
    TRY(parent_open(dir_fd, path, &parent));
    enum err e = file_write_new(dir_fd, temporary, contents);
    if (e == ERR_OK && renameat(dir_fd, temporary, dir_fd, name) != 0)
        e = sys_err(errno);
    if (e != ERR_OK) {
        unlinkat(dir_fd, temporary, 0);
        return e;
    }
    return file_sync_dir(parent);
}

static enum err dir_make(const char *name, mode_t mode)
{
    if (mkdir(name, mode) == 0)
        return ERR_OK;
    struct stat st;
    if (errno == EEXIST && stat(name, &st) == 0)
        return S_ISDIR(st.st_mode) ? ERR_OK : ERR_EXISTS;
    return sys_err(errno);
}

enum err file_make_dirs(str path)
{
    char name[PATH_MAX];
    TRY(path_copy(path, name));
    for (char *slash = strchr(name + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        TRY(dir_make(name, 0755)); /* whoever gets the last one must reach it */
        *slash = '/';
    }
    return dir_make(name, 0700);
}

enum err file_remove(int dir_fd, str path)
{
    char name[PATH_MAX];
    TRY(path_copy(path, name));
    return unlinkat(dir_fd, name, 0) == 0 ? ERR_OK : sys_err(errno);
}

enum err file_free_bytes(int dir_fd, uint64_t *free, uint64_t *total)
{
    struct statvfs st;
    int r = dir_fd == AT_FDCWD ? statvfs(".", &st) : fstatvfs(dir_fd, &st);
    if (r != 0)
        return sys_err(errno);
    *free = (uint64_t)st.f_bavail * st.f_frsize;
    *total = (uint64_t)st.f_blocks * st.f_frsize;
    return ERR_OK;
}

enum err file_lock(int fd)
{
    int r;
    do {
        r = flock(fd, LOCK_EX | LOCK_NB);
    } while (r != 0 && errno == EINTR);
    if (r == 0)
        return ERR_OK;
    return errno == EWOULDBLOCK ? ERR_BUSY : sys_err(errno);
}

enum err file_memory(const char *name, int *fd)
{
    *fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return *fd >= 0 ? ERR_OK : sys_err(errno);
}

enum err file_seal(int fd)
{
    return fcntl(fd, F_ADD_SEALS, FILE_SEALS) == 0 ? ERR_OK : sys_err(errno);
}

bool file_is_sealed(int fd)
{
    int seals = fcntl(fd, F_GET_SEALS);
    return seals >= 0 && (seals & FILE_SEALS) == FILE_SEALS;
}
