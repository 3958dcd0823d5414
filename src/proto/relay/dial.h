/* SPDX-License-Identifier: Apache-2.0
 *
 * dial: connects to the first of several addresses that answers (RFC 8305): each gets a head start
 * of DIAL_STAGGER_MS before the next is tried as well.
 */
#ifndef PROTO_RELAY_DIAL_H
#define PROTO_RELAY_DIAL_H

#include "os/sock.h"

#define DIAL_STAGGER_MS 250
#define DIAL_MAX 8 /* addresses that are tried */

/* source: own address, used for its family only; NULL or family 0: any. *fd and *used: what it
 * became. The last error when none answered; ERR_TIMEOUT after ms. On a fiber. */
enum err dial(const struct address *to, size_t n, const struct address *source, uint64_t ms,
              int *fd, struct address *used) WAITS MUST;

#endif
