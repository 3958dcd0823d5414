/* SPDX-License-Identifier: Apache-2.0 */
#ifndef PROTO_IMAP_CAPABILITY_H
#define PROTO_IMAP_CAPABILITY_H

#include "proto/imap/imap.h"

/* Appends "IMAP4rev2 …" (no leading space) as it is true for this connection at this moment. */
void imap_capabilities(const struct stream *s, const struct imap_config *config, bool signed_in,
                       bool tls_offered, bool secure, bool compressed, struct buf *out);

#endif
