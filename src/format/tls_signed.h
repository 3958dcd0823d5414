/* SPDX-License-Identifier: Apache-2.0
 *
 * tls_signed: what a TLS server signs in a handshake (RFC 8446 4.4.3, RFC 8422 5.4), and nothing
 * else: whoever holds the key looks at it before it signs. Nothing that certificates, mail or other
 * protocols sign has one of these forms.
 */
#ifndef FORMAT_TLS_SIGNED_H
#define FORMAT_TLS_SIGNED_H

#include "base/str.h"

#define TLS_SIGNED_MAX 165 /* bytes: TLS 1.2 with a point of P-384 */

enum tls_signed {
    TLS_SIGNED_NOTHING, /* it is none */
    TLS_SIGNED_1_2,     /* both randoms and the parameters of ECDHE over a named group */
    TLS_SIGNED_1_3,     /* the server's CertificateVerify over a transcript hash */
};
enum tls_signed tls_signed_kind(str content);
/* Whether that may be signed with that scheme (RFC 8446 4.2.3): 1.3 knows no PKCS #1 v1.5. */
bool tls_signed_allowed(enum tls_signed kind, uint16_t scheme);

#endif
