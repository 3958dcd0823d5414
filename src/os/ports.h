/* SPDX-License-Identifier: Apache-2.0
 *
 * ports: which process listens on a TCP port, as /proc tells it, and the mode of a file. For the
 * operator's commands only: it walks all processes, and sees those of others as root only.
 */
#ifndef OS_PORTS_H
#define OS_PORTS_H

#include "base/buf.h"
#include "base/err.h"

/* "name (pid 12)" of the first that is found; empty when it cannot be seen. *same: it runs the same
 * program file as this process. ERR_NOT_FOUND: nobody listens. */
enum err ports_listener(uint16_t port, struct buf *who, bool *same) MUST;
/* Of /proc/net/tcp or tcp6: the socket's inode of a listener on the port; 0: none. */
uint64_t ports_parse(str table, uint16_t port);
/* Permission bits. ERR_NOT_FOUND, ERR_IO. */
enum err ports_file_mode(str path, unsigned *mode) MUST;

#endif
