/* SPDX-License-Identifier: Apache-2.0
 *
 * sign_in: LOGIN and AUTHENTICATE (RFC 9051 6.2.2, 6.2.3), for the gate, and for the house after
 * UNAUTHENTICATE. The caller says what came of it.
 */
#ifndef PROTO_IMAP_SIGN_IN_H
#define PROTO_IMAP_SIGN_IN_H

#include "format/imap_syntax.h"
#include "proto/imap/imap.h"

struct imap_sign_in {
    struct stream *stream;
    const struct house *house;
    bool secure;
    struct arena *arena; /* of the session; holds the grant */
    /* the result */
    struct auth_grant who;
    const char *bad;  /* text of a BAD */
    enum err refused; /* else why NO; ERR_OK: the stream is at its end */
};
/* The cursor stands behind the command's name. True: signed in. False: an error of the cursor, or
 * bad, or refused. */
bool imap_sign_in_login(struct imap_sign_in *s, struct imap_cursor *c) WAITS;
bool imap_sign_in_authenticate(struct imap_sign_in *s, struct imap_cursor *c) WAITS;

#endif
