/* SPDX-License-Identifier: Apache-2.0
 *
 * url: the text that an IMAP URL names (RFC 5092), for CATENATE and URLFETCH.
 */
#ifndef PROTO_IMAP_URL_H
#define PROTO_IMAP_URL_H

#include "core/spool.h"
#include "format/imap_url.h"
#include "proto/imap/session.h"

/* Adds the message, section and range of the URL in that mailbox; the caller has checked the
 * rights. ERR_NOT_FOUND, ERR_SYNTAX (section), and those of the spool. */
enum err imap_url_spool(struct imap *x, struct account *a, uint32_t mailbox,
                        const struct imap_url *url, struct spool *out) WAITS MUST;

#endif
