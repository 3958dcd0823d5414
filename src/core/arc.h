/* SPDX-License-Identifier: Apache-2.0
 *
 * arc: verifying a chain of seals (RFC 8617 5.2).
 */
#ifndef CORE_ARC_H
#define CORE_ARC_H

#include "core/dkim.h"
#include "format/arc_syntax.h"

struct arc_check {
    struct arc_chain chain;             /* count 0: none, or broken */
    bool broken;                        /* its structure; the result is fail without asking */
    struct dkim_body_hash *body;        /* of the newest message signature */
    struct dkim_key_entry *message_key; /* of the newest message signature */
    struct dkim_key_entry **seal_keys;  /* of each set; entries may be NULL */
};
/* Collects the sets and says which body and which keys are needed. ERR_NOMEM. */
enum err arc_begin(struct arc_check *c, struct arena *a, const struct dkim_fields *fields,
                   struct dkim_bodies *bodies, struct dkim_keys *keys) MUST;
/* result: NONE, PASS, FAIL or TEMPERROR. */
struct dkim_judgement arc_judge(const struct arc_check *c, struct arena *a,
                                const struct dkim_fields *fields, int64_t now_s);
/* Of a chain that passed: do the newest seals, as far as they are by these domains, report that
 * DMARC passed for the author's domain on arrival there? (RFC 8617 7.2.1) */
bool arc_vouches(const struct arc_check *c, struct arena *a, const str *sealers, size_t nsealers,
                 str author_domain);

#endif
