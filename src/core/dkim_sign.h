/* SPDX-License-Identifier: Apache-2.0
 *
 * dkim_sign: signatures on what we send (RFC 6376, 8463) and seals on what we pass on (RFC 8617).
 * All inline: offload large messages. Nothing waits.
 */
#ifndef CORE_DKIM_SIGN_H
#define CORE_DKIM_SIGN_H

#include "base/buf.h"
#include "base/err.h"
#include "format/dkim_syntax.h"

#define DKIM_SIGNERS_MAX 4

struct dkim_signer {
    str domain, selector;
    bool ed25519; /* else RSA, 2048 bits or more */
    str key_pem;  /* PKCS #8 */
};
/* Appends a DKIM-Signature field (CRLF at its end) for each signer, for a complete message with
 * CRLF line ends; they go before the message. relaxed/relaxed, fields of RFC 6376 5.4.1 signed and
 * the important ones oversigned. ERR_INVALID: a key that is none, or an RSA key below 2048 bits, or
 * no From. ERR_LIMIT, ERR_NOMEM. */
enum err dkim_sign(const struct dkim_signer *signers, size_t n, str message, int64_t now_s,
                   struct buf *out) MUST;
/* The same for a header (with its empty line) and a body that lie apart. */
enum err dkim_sign_parts(const struct dkim_signer *signers, size_t n, str header, str body,
                         int64_t now_s, struct buf *out) MUST;
/* ARC-Seal, ARC-Message-Signature and ARC-Authentication-Results of the next instance, to go before
 * the message. results: the value of our Authentication-Results ("mx.test; …"). chain: what
 * verifying the chain gave on arrival. ERR_DENIED: the chain is broken, nothing is to be sealed;
 * ERR_LIMIT: ARC_SETS_MAX sets are there; others as dkim_sign. */
enum err arc_seal(const struct dkim_signer *signer, str results, enum dkim_chain chain, str message,
                  int64_t now_s, struct buf *out) MUST;
/* A new key; the record is the TXT text of selector._domainkey.domain. ERR_NOMEM. */
enum err dkim_make_key(bool ed25519, struct buf *private_pem, struct buf *dns_record) MUST;
/* The TXT text for a key. ERR_INVALID. */
enum err dkim_key_record(str key_pem, struct buf *dns_record) MUST;

#endif
