/* SPDX-License-Identifier: Apache-2.0
 *
 * dkim: verifying signatures (RFC 6376, 8301, 8463): body hashes that run while the message
 * arrives, key records, and the judgement over one signature. ARC uses all of it (core/arc.h).
 */
#ifndef CORE_DKIM_H
#define CORE_DKIM_H

#include "core/dns.h"
#include "core/mail_crypto.h"
#include "format/dkim_syntax.h"

#define DKIM_CHECKS_MAX 10 /* signatures of one message that are looked at, from the top */
#define DKIM_BODIES_MAX (DKIM_CHECKS_MAX + 1) /* and the newest ARC-Message-Signature's */
#define DKIM_KEYS_MAX (DKIM_BODIES_MAX + ARC_SETS_MAX)

/* RFC 8601 2.7.1. */
enum dkim_result {
    DKIM_RESULT_NONE,
    DKIM_RESULT_PASS,
    DKIM_RESULT_FAIL,
    DKIM_RESULT_POLICY,
    DKIM_RESULT_NEUTRAL,
    DKIM_RESULT_TEMPERROR,
    DKIM_RESULT_PERMERROR,
};
const char *dkim_result_name(enum dkim_result r);
struct dkim_judgement {
    enum dkim_result result;
    const char *reason; /* or NULL */
};

/* ---- bodies: one hash for all signatures that hash the same bytes ---- */
struct dkim_body_hash {
    struct dkim_body body;
    struct mail_hash hash;
    uint8_t digest[MAIL_DIGEST_BYTES]; /* after dkim_bodies_end */
};
struct dkim_bodies {
    struct dkim_body_hash *items[DKIM_BODIES_MAX];
    size_t count;
};
/* The hash for a signature, in the arena; NULL: no memory, or too many. */
struct dkim_body_hash *dkim_bodies_want(struct dkim_bodies *b, struct arena *a,
                                        const struct dkim_signature *sig);
void dkim_bodies_add(struct dkim_bodies *b, str body);
void dkim_bodies_end(struct dkim_bodies *b);
void dkim_bodies_free(struct dkim_bodies *b); /* the hashes; at any moment */

/* ---- keys: each is asked for once ---- */
enum dkim_key_state {
    DKIM_KEY_UNKNOWN, /* not asked yet, or DNS failed */
    DKIM_KEY_NONE,
    DKIM_KEY_MALFORMED,
    DKIM_KEY_FOUND,
};
struct dkim_key_entry {
    str selector, domain;
    enum dkim_key_state state;
    struct dkim_key key;
};
struct dkim_keys {
    struct dkim_key_entry *entries; /* DKIM_KEYS_MAX; NULL until the first */
    size_t count;
    size_t next; /* for those who ask: the first that nobody has taken */
};
/* NULL: no memory, or too many. */
struct dkim_key_entry *dkim_keys_want(struct dkim_keys *k, struct arena *a,
                                      const struct dkim_signature *sig);
void dkim_key_ask(const struct dns *dns, struct arena *a, struct dkim_key_entry *k) WAITS;

/* ---- one signature ---- */
/* May the key be used for the signature? false: *out says why not. */
bool dkim_key_fits(const struct dkim_signature *sig, const struct dkim_key_entry *key,
                   struct dkim_judgement *out);
/* own: the raw signature field. body: NULL when there was no room for its hash; key likewise. */
struct dkim_judgement dkim_judge(struct arena *a, const struct dkim_fields *fields,
                                 const struct dkim_signature *sig, str own,
                                 const struct dkim_body_hash *body,
                                 const struct dkim_key_entry *key, int64_t now_s);

#endif
