/* SPDX-License-Identifier: Apache-2.0
 *
 * tls_hello: what a ClientHello asks for, before the handshake begins: whether it is a certificate
 * authority that wants to see a proof (RFC 8737 3), and of which name. Everything else is OpenSSL's
 * to read and to refuse. Linear time, nothing waits.
 */
#ifndef FORMAT_TLS_HELLO_H
#define FORMAT_TLS_HELLO_H

#include "base/str.h"

#define TLS_HELLO_MAX 16389 /* bytes: one record with its head (RFC 8446 5.1) */

enum tls_hello_step {
    TLS_HELLO_MORE,  /* the record is not complete (never with TLS_HELLO_MAX bytes) */
    TLS_HELLO_ACME,  /* "acme-tls/1" is the one protocol offered, and there is a name */
    TLS_HELLO_OTHER, /* anything else, also what is no ClientHello */
};
/* in: the first bytes of the connection. *name borrows from it. */
enum tls_hello_step tls_hello_read(str in, str *name);

#endif
