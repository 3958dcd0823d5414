/* SPDX-License-Identifier: Apache-2.0 */
#include "os/sock_io.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

static enum err error_of_errno(int e)
{
    switch (e) {
    case EAGAIN:
        return ERR_BUSY;
    case EPIPE:
    case ECONNRESET:
        return ERR_EOF;
    case ENOMEM:
    case ENOBUFS:
        return ERR_NOMEM;
    default:
        return ERR_IO;
    }
}

enum err sock_try_read(int fd, void *out, size_t len, size_t *got)
{
    assert(len > 0);
    *got = 0;
    ssize_t n;
    do
        n = recv(fd, out, len, 0);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return error_of_errno(errno);
    *got = (size_t)n;
    return n == 0 ? ERR_EOF : ERR_OK;
}

enum err sock_try_write(int fd, const str *parts, size_t nparts, size_t *sent)
{
    struct iovec iov[SOCK_PARTS_MAX];
    assert(nparts <= SOCK_PARTS_MAX);
    *sent = 0;
    for (size_t i = 0; i < nparts; i++)
        iov[i] = (struct iovec){(void *)(uintptr_t)parts[i].data, parts[i].len};
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = nparts};
    ssize_t n;
    do
        n = sendmsg(fd, &m, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return error_of_errno(errno);
    *sent = (size_t)n;
    return ERR_OK;
}

enum err sock_try_send_file(int fd, int file_fd, uint64_t offset, size_t len, size_t *sent)
{
    /* sendfile has no MSG_NOSIGNAL. */
    static atomic_bool pipe_ignored;
    if (!atomic_load_explicit(&pipe_ignored, memory_order_relaxed)) {
        (void)signal(SIGPIPE, SIG_IGN);
        atomic_store_explicit(&pipe_ignored, true, memory_order_relaxed);
    }
    *sent = 0;
    off_t at = (off_t)offset;
    ssize_t n;
    do
        n = sendfile(fd, file_fd, &at, len);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return error_of_errno(errno);
    *sent = (size_t)n;
    return n == 0 ? ERR_EOF : ERR_OK;
}

void sock_shutdown_write(int fd) { (void)shutdown(fd, SHUT_WR); }

void sock_shutdown_both(int fd) { (void)shutdown(fd, SHUT_RDWR); }
