/* SPDX-License-Identifier: Apache-2.0
 *
 * certificates: the folder in which the parent keeps the certificate that came by ACME and its key
 * (docs/security.md). Only its children for that (app/apart.h) read and write it; what they give it
 * is public.
 *
 *   acme.pem       chain and key, replaced at once
 *   acme.key       the first key, until there is a chain for it
 *   acme-next.key  the key that a renewal with --next-key will take
 */
#ifndef APP_CERTIFICATES_H
#define APP_CERTIFICATES_H

#include "app/config.h"
#include "net/tls.h"

str certificates_folder(const struct config *c, struct arena *a);
/* The pair from ACME. ERR_NOT_FOUND: there is none. */
enum err certificates_acme(const struct config *c, struct arena *a,
                           struct tls_certificate *out) MUST;

/* Reads every certificate of the configuration and the one from ACME, and the CAs of clients', and
 * checks them, in a process of its own (app/apart.h). certs (max entries, slices in the arena) have
 * no keys; *keys is a sealed memory file with them (certificates_pack). ERR_INVALID and others:
 * *error is a sentence.
 */
enum err certificates_load(const struct config *c, struct arena *a, struct tls_certificate *certs,
                           size_t max, size_t *n, str *client_ca, int *keys,
                           struct buf *error) WAITS MUST;

/* What follows reads keys: the parent runs it apart. */
enum certificate_origin { CERTIFICATE_CONFIGURED, CERTIFICATE_ACME, CERTIFICATE_NEXT_KEY };
/* For each: origin byte, and sized: the certificate alone as PEM, or the 32 bytes of the next key's
 * hash. */
enum err certificates_show(const struct config *c, struct buf *list) MUST;
/* A request for the names (each followed by NUL) with the key in use, the first or the next one.
 * ERR_INVALID. */
enum err certificates_request(const struct config *c, str names, bool next, struct buf *der) MUST;
/* Takes a chain for that key. ERR_INVALID: it is for another key, expired, or no chain. */
enum err certificates_install(const struct config *c, str chain_pem, bool next) MUST;
/* Makes the next key. ERR_EXISTS: there is one. */
enum err certificates_next_key(const struct config *c) MUST;

#endif
