/* SPDX-License-Identifier: Apache-2.0
 *
 * file: the file system, and sealed memory files. Paths are bytes without NUL. Calls block the
 * thread for as long as the kernel does; what may be long goes through os/offload.h.
 */
#ifndef OS_FILE_H
#define OS_FILE_H

#include "base/buf.h"
#include "base/err.h"

#define FD_AUTO __attribute__((cleanup(file_close), unused))
void file_close(int *fd); /* closes if >= 0, sets -1 */

enum {
    FILE_READ = 1,
    FILE_WRITE = 2,
    FILE_CREATE = 4,
    FILE_EXCLUSIVE = 8,
    FILE_TRUNCATE = 16,
    FILE_DIR = 32
};
/* mode 0600. Always O_CLOEXEC. dir_fd: AT_FDCWD or a directory. */
enum err file_open(int dir_fd, str path, int flags, int *fd) MUST;
enum err file_read_at(int fd, uint64_t offset, void *out, size_t len, size_t *got) MUST;
enum err file_write_all_at(int fd, uint64_t offset, const void *data,
                           size_t len) MUST; /* NOSPACE, IO */
/* Writes zeros; the file gets longer where they end behind it. As file_write_all_at. */
enum err file_zero_at(int fd, uint64_t offset, uint64_t len) MUST;
enum err file_sync_data(int fd) MUST;
/* These bytes have been handed to the disk when it returns; only file_sync_data makes them stay. */
enum err file_write_out(int fd, uint64_t offset, uint64_t len) MUST;
enum err file_sync_dir(int dir_fd) MUST;
enum err file_size(int fd, uint64_t *out) MUST;
enum err file_truncate(int fd, uint64_t size) MUST;
/* Reserves space without changing the size. ERR_NOSPACE, ERR_UNSUPPORTED. */
enum err file_reserve(int fd, uint64_t offset, uint64_t len) MUST;
/* Whole small file. ERR_NOT_FOUND, ERR_TOO_LARGE beyond out->max. */
enum err file_read_whole(int dir_fd, str path, struct buf *out) MUST;
/* Atomically replaces: temporary file, sync, rename, sync of the directory. */
enum err file_replace(int dir_fd, str path, str contents) MUST;
enum err file_make_dirs(str path) MUST; /* mode 0700; those on the way to it 0755 */
enum err file_remove(int dir_fd, str path) MUST;
enum err file_free_bytes(int dir_fd, uint64_t *free, uint64_t *total) MUST;
/* An advisory lock for the life of the descriptor; ERR_BUSY when another process has it. */
enum err file_lock(int fd) MUST;

/* A copy of the descriptor, close-on-exec; -1 when there is none to be had. */
int file_duplicate(int fd);
/* Read-only view of the first len bytes (len > 0). ERR_NOMEM, ERR_IO. */
enum err file_map(int fd, uint64_t len, str *out) MUST;
void file_unmap(str mapped);

/* A memory file: filled, then sealed against any change, then passed to another process. */
enum err file_memory(const char *name, int *fd) MUST;
enum err file_seal(int fd) MUST;
bool file_is_sealed(int fd); /* all of WRITE, SHRINK, GROW, SEAL */

#endif
