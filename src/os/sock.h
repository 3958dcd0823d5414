/* SPDX-License-Identifier: Apache-2.0
 *
 * sock: sockets, non-blocking and close-on-exec. Addresses are values.
 */
#ifndef OS_SOCK_H
#define OS_SOCK_H

#include "base/buf.h"
#include "base/err.h"
#include "os/wait.h"

struct address {
    uint8_t family; /* 0 none, 4, 6; 1 = Unix socket */
    uint8_t ip[16]; /* network order; the first 4 for IPv4 (v4-mapped v6 is given as 4) */
    uint16_t port;
};
bool address_parse(str text, struct address *out);             /* "1.2.3.4", "::1"; no port */
void address_render(const struct address *a, struct buf *out); /* without port */
#define ADDRESS_TEXT_MAX 46                                    /* bytes, with the NUL */
/* The same, for a log line: fills out and gives it. */
const char *address_text(const struct address *a, char out[ADDRESS_TEXT_MAX]);
bool address_is_loopback(const struct address *a);
bool address_is_private(const struct address *a); /* RFC 1918, ULA, link-local, loopback, CGNAT */
bool address_in(const struct address *a, const struct address *net, unsigned prefix_bits);

/* port 0: a free one, filled in. ERR_EXISTS when it is taken, ERR_DENIED. Family 6 listens for IPv6
 * only. */
enum err sock_listen(struct address *at, int backlog, int *fd) MUST;
/* One more socket on a port that sock_listen of this user holds: the kernel spreads connections
 * over them, so that each process with one of its own gets its share. */
enum err sock_listen_more(const struct address *at, int backlog, int *fd) MUST;
enum err sock_listen_unix(str path, int backlog, int *fd) MUST; /* replaces a dead socket file */
/* Lets other fibers run now and then also when connections keep coming. ERR_LIMIT: no descriptor is
 * free; the connection stays in the backlog. */
enum err sock_accept(struct watch *w, int *fd, struct address *peer) WAITS MUST;
enum err sock_connect(const struct address *to, const struct address *from, uint64_t deadline_ms,
                      int *fd) WAITS MUST;
enum err sock_connect_unix(str path, int *fd) MUST;
enum err sock_pair(int fds[2]) MUST; /* stream */
enum err sock_local(int fd, struct address *out) MUST;
enum err sock_peer(int fd, struct address *out) MUST;
void sock_no_delay(int fd);
void sock_keep_alive(int fd, unsigned idle_s);

/* Bytes with at most SOCK_FDS_MAX descriptors beside them; they travel with the first byte and stay
 * the sender's to close. *nfds: in, how many are expected (NULL: none); out, how many came. Those
 * beyond are closed. Received ones are close-on-exec and the caller's. */
#define SOCK_FDS_MAX 4
enum err sock_send(struct watch *w, str bytes, const int *fds, size_t nfds) WAITS MUST; /* all */
enum err sock_recv(struct watch *w, void *out, size_t len, size_t *got, int *fds,
                   size_t *nfds) WAITS MUST; /* some; ERR_EOF */

#endif
