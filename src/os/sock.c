/* SPDX-License-Identifier: Apache-2.0 */
#include "os/sock.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/num.h"
#include "os/fiber.h"
#include "os/file.h"
#include "os/sys.h"

#define ACCEPT_RUN 16 /* connections taken in one slice */

union sockaddr_any {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un local;
};

static socklen_t sockaddr_of(const struct address *a, union sockaddr_any *out)
{
    memset(out, 0, sizeof *out);
    if (a->family == 4) {
        out->v4.sin_family = AF_INET;
        out->v4.sin_port = htons(a->port);
        memcpy(&out->v4.sin_addr, a->ip, 4);
        return sizeof out->v4;
    }
    assert(a->family == 6);
    out->v6.sin6_family = AF_INET6;
    out->v6.sin6_port = htons(a->port);
    memcpy(&out->v6.sin6_addr, a->ip, 16);
    return sizeof out->v6;
}

static struct address address_of(const union sockaddr_any *sa)
{
    struct address a = {0};
    switch (sa->any.sa_family) {
    case AF_INET:
        a.family = 4;
        a.port = ntohs(sa->v4.sin_port);
        memcpy(a.ip, &sa->v4.sin_addr, 4);
        break;
    case AF_INET6:
        a.port = ntohs(sa->v6.sin6_port);
        if (IN6_IS_ADDR_V4MAPPED(&sa->v6.sin6_addr)) {
            a.family = 4;
            memcpy(a.ip, sa->v6.sin6_addr.s6_addr + 12, 4);
        } else {
            a.family = 6;
            memcpy(a.ip, &sa->v6.sin6_addr, 16);
        }
        break;
    case AF_UNIX:
        a.family = 1;
        break;
    }
    return a;
}

static enum err sockaddr_unix(str path, struct sockaddr_un *out, socklen_t *len)
{
    memset(out, 0, sizeof *out);
    if (path.len == 0 || path.len >= sizeof out->sun_path || memchr(path.data, 0, path.len))
        return ERR_INVALID;
    out->sun_family = AF_UNIX;
    memcpy(out->sun_path, path.data, path.len);
    *len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.len + 1);
    return ERR_OK;
}

static enum err sock_new(int family, int *fd)
{
    *fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return *fd >= 0 ? ERR_OK : sys_err(errno);
}

static void sock_flag(int fd, int level, int name, int value)
{
    int r = setsockopt(fd, level, name, &value, sizeof value);
    (void)r; /* a hint: on a Unix socket it means nothing */
}

/* join: before bind it joins who is there; after it, it lets others join, and a port that somebody
 * else holds is still refused. */
static enum err listen_on(const struct address *at, int backlog, bool join, int *fd)
{
    union sockaddr_any sa;
    socklen_t len = sockaddr_of(at, &sa);
    FD_AUTO int s = -1;
    TRY(sock_new(sa.any.sa_family, &s));
    sock_flag(s, SOL_SOCKET, SO_REUSEADDR, 1);
    if (join)
        sock_flag(s, SOL_SOCKET, SO_REUSEPORT, 1);
    if (at->family == 6)
        sock_flag(s, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    if (bind(s, &sa.any, len) != 0)
        return sys_err(errno);
    sock_flag(s, SOL_SOCKET, SO_REUSEPORT, 1);
    if (listen(s, backlog) != 0)
        return sys_err(errno);
    *fd = s;
    s = -1;
    return ERR_OK;
}

enum err sock_listen(struct address *at, int backlog, int *fd)
{
    TRY(listen_on(at, backlog, false, fd));
    return sock_local(*fd, at);
}

enum err sock_listen_more(const struct address *at, int backlog, int *fd)
{
    return listen_on(at, backlog, true, fd);
}

/* A socket file that nobody listens behind is left from a killed process. */
static bool sock_unix_dead(const struct sockaddr_un *sa, socklen_t len)
{
    struct stat st;
    if (lstat(sa->sun_path, &st) != 0 || !S_ISSOCK(st.st_mode))
        return false;
    FD_AUTO int s = -1;
    if (sock_new(AF_UNIX, &s) != ERR_OK)
        return false;
    return connect(s, (const struct sockaddr *)sa, len) != 0 && errno == ECONNREFUSED;
}

enum err sock_listen_unix(str path, int backlog, int *fd)
{
    struct sockaddr_un sa;
    socklen_t len;
    TRY(sockaddr_unix(path, &sa, &len));
    FD_AUTO int s = -1;
    TRY(sock_new(AF_UNIX, &s));
    if (sock_unix_dead(&sa, len))
        unlink(sa.sun_path);
    if (bind(s, (struct sockaddr *)&sa, len) != 0 || listen(s, backlog) != 0)
        return sys_err(errno);
    *fd = s;
    s = -1;
    return ERR_OK;
}

/* Errors of the connection that was to be taken, not of the listener (accept(2), "Error handling").
 */
static bool accept_passing(int e)
{
    return e == EINTR || e == ECONNABORTED || e == EPROTO || e == ENETDOWN || e == ENOPROTOOPT ||
           e == EHOSTDOWN || e == ENONET || e == EHOSTUNREACH || e == ENETUNREACH || e == ETIMEDOUT;
}

/* A flood that is accepted without a wait would starve the sessions that it brings. */
static void accept_fairly(void)
{
    static _Thread_local unsigned accepted;
    if (++accepted % ACCEPT_RUN == 0)
        fiber_yield();
}

enum err sock_accept(struct watch *w, int *fd, struct address *peer)
{
    accept_fairly();
    for (;;) {
        union sockaddr_any sa = {0};
        socklen_t len = sizeof sa;
        int s = accept4(w->fd, &sa.any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (s >= 0) {
            *fd = s;
            if (peer)
                *peer = address_of(&sa);
            return ERR_OK;
        }
        if (errno == EAGAIN)
            TRY(wait_fd(w, WAIT_READ, DEADLINE_NEVER));
        else if (!accept_passing(errno))
            return sys_err(errno);
    }
}

static enum err sock_await_connected(int fd, uint64_t deadline_ms)
{
    struct watch w;
    TRY(watch_open(&w, fd));
    enum err e = wait_fd(&w, WAIT_WRITE, deadline_ms);
    int failure = 0;
    socklen_t len = sizeof failure;
    while (e == ERR_OK) {
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &len) != 0)
            e = sys_err(errno);
        else if (failure != 0)
            e = sys_err(failure);
        else if (getpeername(fd, &(struct sockaddr){0}, &(socklen_t){sizeof(struct sockaddr)}) == 0)
            break;
        else /* a new watch may first tell of the unconnected socket */
            e = wait_fd(&w, WAIT_WRITE, deadline_ms);
    }
    watch_close(&w);
    return e;
}

enum err sock_connect(const struct address *to, const struct address *from, uint64_t deadline_ms,
                      int *fd)
{
    union sockaddr_any sa;
    FD_AUTO int s = -1;
    socklen_t len = sockaddr_of(to, &sa);
    TRY(sock_new(sa.any.sa_family, &s));
    if (from && from->family != 0) {
        union sockaddr_any own;
        socklen_t own_len = sockaddr_of(from, &own);
        if (from->port == 0)
            sock_flag(s, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
        if (bind(s, &own.any, own_len) != 0)
            return sys_err(errno);
    }
    if (connect(s, &sa.any, len) != 0) {
        if (errno != EINPROGRESS && errno != EINTR)
            return sys_err(errno);
        TRY(sock_await_connected(s, deadline_ms));
    }
    *fd = s;
    s = -1;
    return ERR_OK;
}

enum err sock_connect_unix(str path, int *fd)
{
    struct sockaddr_un sa;
    socklen_t len;
    TRY(sockaddr_unix(path, &sa, &len));
    FD_AUTO int s = -1;
    TRY(sock_new(AF_UNIX, &s));
    if (connect(s, (struct sockaddr *)&sa, len) != 0)
        return errno == EAGAIN ? ERR_BUSY : sys_err(errno);
    *fd = s;
    s = -1;
    return ERR_OK;
}

enum err sock_pair(int fds[2])
{
    int r = socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds);
    return r == 0 ? ERR_OK : sys_err(errno);
}

enum err sock_local(int fd, struct address *out)
{
    union sockaddr_any sa = {0};
    socklen_t len = sizeof sa;
    if (getsockname(fd, &sa.any, &len) != 0)
        return sys_err(errno);
    *out = address_of(&sa);
    return ERR_OK;
}

enum err sock_peer(int fd, struct address *out)
{
    union sockaddr_any sa = {0};
    socklen_t len = sizeof sa;
    if (getpeername(fd, &sa.any, &len) != 0)
        return sys_err(errno);
    *out = address_of(&sa);
    return ERR_OK;
}

void sock_no_delay(int fd) { sock_flag(fd, IPPROTO_TCP, TCP_NODELAY, 1); }

void sock_keep_alive(int fd, unsigned idle_s)
{
    sock_flag(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    sock_flag(fd, IPPROTO_TCP, TCP_KEEPIDLE, (int)idle_s);
    sock_flag(fd, IPPROTO_TCP, TCP_KEEPINTVL, (int)(idle_s / 4 + 1));
    sock_flag(fd, IPPROTO_TCP, TCP_KEEPCNT, 4);
}

/* Descriptors beside bytes */

union control {
    struct cmsghdr header;
    char room[CMSG_SPACE(SOCK_FDS_MAX * sizeof(int))];
};

static void control_put(struct msghdr *m, union control *c, const int *fds, size_t nfds)
{
    memset(c, 0, sizeof *c);
    m->msg_control = c->room;
    m->msg_controllen = CMSG_SPACE(nfds * sizeof(int));
    struct cmsghdr *h = CMSG_FIRSTHDR(m);
    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type = SCM_RIGHTS;
    h->cmsg_len = CMSG_LEN(nfds * sizeof(int));
    memcpy(CMSG_DATA(h), fds, nfds * sizeof(int));
}

enum err sock_send(struct watch *w, str bytes, const int *fds, size_t nfds)
{
    assert(nfds <= SOCK_FDS_MAX && (nfds == 0 || bytes.len > 0));
    while (bytes.len > 0) {
        struct iovec v = {.iov_base = (char *)bytes.data, .iov_len = bytes.len};
        struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
        union control c;
        if (nfds > 0)
            control_put(&m, &c, fds, nfds);
        ssize_t n = sendmsg(w->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0) {
            bytes = str_skip(bytes, (size_t)n);
            nfds = 0; /* they went with the first byte */
        } else if (errno == EAGAIN) {
            TRY(wait_fd(w, WAIT_WRITE, DEADLINE_NEVER));
        } else if (errno != EINTR) {
            return sys_err(errno);
        }
    }
    return ERR_OK;
}

/* What is more than the caller expects is closed: a peer cannot fill our table. */
static void control_take(struct msghdr *m, int *fds, size_t max, size_t *nfds)
{
    *nfds = 0;
    for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(h) + i * sizeof fd, sizeof fd);
            if (*nfds < max)
                fds[(*nfds)++] = fd;
            else
                close(fd);
        }
    }
}

enum err sock_recv(struct watch *w, void *out, size_t len, size_t *got, int *fds, size_t *nfds)
{
    size_t max = nfds ? MIN(*nfds, (size_t)SOCK_FDS_MAX) : 0;
    size_t taken = 0;
    assert(len > 0);
    if (!watch_may_read(w))
        TRY(wait_fd(w, WAIT_READ, DEADLINE_NEVER));
    for (;;) {
        struct iovec v = {.iov_base = out, .iov_len = len};
        union control c;
        struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
        m.msg_control = c.room;
        m.msg_controllen = sizeof c.room;
        ssize_t n = recvmsg(w->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (n >= 0) {
            control_take(&m, fds, max, &taken);
            if (nfds)
                *nfds = taken;
            *got = (size_t)n;
            /* A read ends behind descriptors, whatever follows. */
            if (n > 0 && (size_t)n < len && m.msg_controllen == 0)
                watch_emptied(w);
            return n > 0 ? ERR_OK : ERR_EOF;
        }
        if (errno == EAGAIN)
            TRY(wait_fd(w, WAIT_READ, DEADLINE_NEVER));
        else if (errno != EINTR)
            return sys_err(errno);
    }
}
