/* SPDX-License-Identifier: Apache-2.0
 *
 * sock_io: one try at a socket call, without waiting. ERR_BUSY means that the call would block:
 * wait with wait_fd and try again. Nothing raises SIGPIPE.
 */
#ifndef OS_SOCK_IO_H
#define OS_SOCK_IO_H

#include "base/err.h"

/* At least one byte, or ERR_EOF, ERR_BUSY, ERR_IO (reset and the like). len > 0. */
enum err sock_try_read(int fd, void *out, size_t len, size_t *got) MUST;
/* As much of the parts as the kernel takes. ERR_BUSY (nothing taken), ERR_EOF (the peer is gone),
 * ERR_IO. At most SOCK_PARTS_MAX parts. */
#define SOCK_PARTS_MAX 8
enum err sock_try_write(int fd, const str *parts, size_t nparts, size_t *sent) MUST;
/* From a file straight to the socket. ERR_EOF when the file has no byte at offset. */
enum err sock_try_send_file(int fd, int file_fd, uint64_t offset, size_t len, size_t *sent) MUST;
void sock_shutdown_write(int fd);
void sock_shutdown_both(int fd);

#endif
