/* SPDX-License-Identifier: Apache-2.0
 *
 * dkim_syntax: DKIM signatures and keys (RFC 6376, 8301, 8463), and what is hashed: canonical
 * header and body as streams. ARC's two DKIM-like fields (RFC 8617 4.1) share all of it. No
 * cryptography here: bytes go to a sink, which hashes them. Linear time, nothing waits.
 */
#ifndef FORMAT_DKIM_SYNTAX_H
#define FORMAT_DKIM_SYNTAX_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "format/limits.h"

enum dkim_algorithm { DKIM_RSA_SHA256, DKIM_ED25519_SHA256, DKIM_RSA_SHA1 };
enum dkim_canon { DKIM_SIMPLE, DKIM_RELAXED };
enum dkim_field_kind { DKIM_SIGNATURE, DKIM_ARC_MESSAGE, DKIM_ARC_SEAL };
enum dkim_chain { DKIM_CHAIN_NONE, DKIM_CHAIN_PASS, DKIM_CHAIN_FAIL }; /* ARC-Seal cv= */

struct dkim_signature {
    enum dkim_field_kind kind;
    enum dkim_algorithm algorithm;
    enum dkim_canon header_canon, body_canon;
    str domain, selector;
    str identity; /* i=, or "@" domain; its domain is d= or below */
    str *headers; /* h=, in order */
    size_t nheaders;
    bool has_length; /* l= */
    uint64_t length;
    bool has_time, has_expiry;
    uint64_t time_s, expiry_s;
    str body_hash, signature; /* decoded */
    uint32_t instance;        /* ARC i= */
    enum dkim_chain chain;    /* ARC-Seal */
    str b_raw;                /* the value of b= within the field, to be left out of the hash */
};
/* value: the field's raw value, folding included; results borrow from it. ERR_SYNTAX: not valid by
 * RFC 6376 6.1.1 (permerror); ERR_UNSUPPORTED: version or algorithm unknown. */
enum err dkim_signature_parse(struct arena *a, str value, enum dkim_field_kind kind,
                              struct dkim_signature *out) MUST;
/* The whole field with its last CRLF; b= is empty when signature is. Folded. For the hash, render
 * with an empty signature. */
void dkim_signature_render(struct buf *out, const struct dkim_signature *sig);

struct dkim_key {
    bool ed25519; /* else RSA */
    str key;      /* DER SubjectPublicKeyInfo (or RSAPublicKey) for RSA, 32 bytes for Ed25519 */
    bool revoked; /* p= is empty */
    bool testing; /* t=y */
    bool strict;  /* t=s: i= may not be a subdomain */
    bool sha1, sha256; /* h=: hashes allowed */
    bool email;        /* s=: email or any */
};
/* txt: the strings of the TXT record joined. ERR_SYNTAX, ERR_UNSUPPORTED (key type). */
enum err dkim_key_parse(struct arena *a, str txt, struct dkim_key *out) MUST;
void dkim_key_render(struct buf *out, bool ed25519, str key);

typedef void dkim_sink_fn(void *context, str bytes);

/* The canonical body (RFC 6376 3.4). Set canon and limit (UINT64_MAX: none), others zero. */
struct dkim_body {
    enum dkim_canon canon;
    uint64_t limit; /* l=: bytes of canonical body that are given out */
    uint64_t total; /* the same so far; with l=, total < length at the end is a fault */
    dkim_sink_fn *sink;
    void *context;
    uint64_t crlfs; /* private: line ends held back */
    bool cr, space, any;
};
void dkim_body_add(struct dkim_body *b, str in);
void dkim_body_end(struct dkim_body *b);

/* One raw field ("Name: value" with folding and CRLF), canonical, with or without its CRLF. */
void dkim_field_canon(enum dkim_canon canon, str field, bool crlf, dkim_sink_fn *sink,
                      void *context);

/* The fields of a message, made once for all signatures. */
struct dkim_field {
    str name, value, raw;
    uint32_t prev;    /* index + 1 of the one above with the same name; 0: none */
    uint32_t name_id; /* index of the last field of that name */
};
struct dkim_fields {
    struct dkim_field *fields; /* from the top */
    size_t count;
    uint32_t *slots; /* private: hash of names to index + 1 of the lowest field */
    size_t nslots;
};
enum err dkim_fields_of(struct arena *a, str header, struct dkim_fields *out) MUST;
/* Header hash input: the fields of sig->headers, each name from the bottom up (RFC 6376 5.4.2),
 * then `own` (the raw signature field that sig was parsed from) without its b= value and CRLF. */
enum err dkim_hash_header(struct arena *a, const struct dkim_fields *fields,
                          const struct dkim_signature *sig, str own, dkim_sink_fn *sink,
                          void *context) MUST;
/* The raw field without b='s value, canonical, without CRLF. */
enum err dkim_hash_own(struct arena *a, const struct dkim_signature *sig, enum dkim_canon canon,
                       str own, dkim_sink_fn *sink, void *context) MUST;

#endif
