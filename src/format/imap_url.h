/* SPDX-License-Identifier: Apache-2.0
 *
 * imap_url: IMAP URLs (RFC 5092) with URLAUTH (RFC 4467) and partial ranges (RFC 5550), absolute or
 * relative to the server ("/INBOX;UIDVALIDITY=1/;UID=2"). Percent encoding is taken off.
 */
#ifndef FORMAT_IMAP_URL_H
#define FORMAT_IMAP_URL_H

#include "base/arena.h"
#include "base/err.h"
#include "format/date.h"

struct imap_url {
    str user, auth, host;      /* empty when relative */
    uint32_t port;             /* 0: not given */
    str mailbox;               /* UTF-8 */
    uint32_t uidvalidity, uid; /* 0: not given */
    str section;               /* "1.2.MIME"; empty: the whole message */
    bool partial;
    uint64_t offset, count; /* count 0: to the end */
    bool has_expire;
    uint64_t expire_s; /* seconds since 1970 */
    str access;        /* "user+fred", "submit+fred", "authuser", "anonymous"; empty: no URLAUTH */
    str mechanism;     /* "INTERNAL" */
    str token;         /* hex as given; empty for a rump */
    str rump;          /* the URL up to and without ":mechanism:token"; what the token signs */
};
enum err imap_url_parse(struct arena *a, str url, struct imap_url *out) MUST; /* ERR_SYNTAX */

#endif
