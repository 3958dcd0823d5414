/* SPDX-License-Identifier: Apache-2.0
 *
 * authres_filter: takes Authentication-Results fields that bear our own name out of a message that
 * comes from outside (RFC 8601 5), while it is spooled. Any split of the input gives the same
 * output. Nothing waits; at most AUTHRES_FILTER_HELD_MAX bytes are held back.
 */
#ifndef CORE_AUTHRES_FILTER_H
#define CORE_AUTHRES_FILTER_H

#include "base/buf.h"

#define AUTHRES_FILTER_HELD_MAX 65536

typedef void authres_sink_fn(void *context, str bytes);

/* Set id, sink and context, others zero. */
struct authres_filter {
    str id; /* our authserv-id */
    authres_sink_fn *sink;
    void *context;
    uint32_t removed; /* fields so far */
    uint8_t state;    /* private */
    struct buf held;
};
void authres_filter_add(struct authres_filter *f, str piece);
void authres_filter_end(struct authres_filter *f); /* gives out what is held */
void authres_filter_free(struct authres_filter *f);

#endif
