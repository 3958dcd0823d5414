/* SPDX-License-Identifier: Apache-2.0
 *
 * acme_rows: what ACME leaves in the directory partition: the account at the certificate authority,
 * proofs of control that are being asked for, and when to try again. Keys of certificates are not
 * here: the parent has them (docs/security.md).
 *
 *   'W' 'a'       → account row
 *   'W' 's'       → state row
 *   'W' 't' token → key authorization
 *   'W' 'n' name  → key authorization (TLS-ALPN-01)
 */
#ifndef CORE_ACME_ROWS_H
#define CORE_ACME_ROWS_H

#include "base/arena.h"
#include "store/store.h"

#define ACME_TOKEN_MAX 128 /* bytes of base64url */

struct acme_account {
    str directory_url; /* of the authority that knows it */
    str kid;           /* its name there */
    str key_pem;
};
/* ERR_NOT_FOUND. */
enum err acme_account_get(struct store *s, struct arena *a, struct acme_account *out) WAITS MUST;
enum err acme_account_put(struct store *s, const struct acme_account *a) WAITS MUST;

struct acme_state {
    int64_t next_try_s; /* 0: whenever it is due */
    int64_t last_s;     /* of the last success */
    uint32_t failures;  /* since */
    str error;          /* what went wrong last; empty: nothing */
};
/* Zeros when there is no row. */
enum err acme_state_get(struct store *s, struct arena *a, struct acme_state *out) WAITS MUST;
enum err acme_state_put(struct store *s, const struct acme_state *st) WAITS MUST;

/* A token is 1 to ACME_TOKEN_MAX characters of base64url (RFC 8555 8.3), else ERR_NOT_FOUND. */
bool acme_token_valid(str token);
enum err acme_challenge_put(struct store *s, str token, str key_authorization) WAITS MUST;
enum err acme_challenge_get(struct store *s, str token, struct buf *out) WAITS MUST;
enum err acme_challenge_remove(struct store *s, str token) WAITS MUST;
/* The same by name, in lower case; what is no name of a certificate is ERR_NOT_FOUND. */
enum err acme_alpn_put(struct store *s, str name, str key_authorization) WAITS MUST;
enum err acme_alpn_get(struct store *s, str name, struct buf *out) WAITS MUST;
enum err acme_alpn_remove(struct store *s, str name) WAITS MUST;

#endif
