/* SPDX-License-Identifier: Apache-2.0
 *
 * srs: the sender of a message that we pass on to another host, rewritten to an address of ours, so
 * that SPF holds there, and led back when a report comes. The Sender Rewriting Scheme of
 * openspf.org:
 *
 *   SRS0=hash=day=domain=local@ours     of local@domain
 *   SRS1=hash=forwarder==rest@ours      of SRS0=rest@forwarder, who was before us
 *
 * hash: 8 characters of base32, HMAC-SHA-256 of what follows, in lower case; day: two characters, a
 * count of days modulo 1024; a token holds SRS_DAYS_MAX days. Pure.
 */
#ifndef CORE_SRS_H
#define CORE_SRS_H

#include "base/buf.h"
#include "base/err.h"

#define SRS_DAYS_MAX 21
#define SRS_SECRET_BYTES 32

/* Appends the rewritten sender. An empty sender stays empty. ERR_SYNTAX: no domain. */
enum err srs_forward(const uint8_t secret[SRS_SECRET_BYTES], str sender, str ours, int64_t now_s,
                     struct buf *out) MUST;
/* Does it look like one of these? The rest decides. */
bool srs_is(str address);
/* Appends where it leads. ERR_DENIED: not made by us; ERR_EXPIRED; ERR_SYNTAX. */
enum err srs_reverse(const uint8_t secret[SRS_SECRET_BYTES], str address, int64_t now_s,
                     struct buf *out) MUST;

#endif
