/* SPDX-License-Identifier: Apache-2.0
 *
 * arc_syntax: the ARC sets of a message (RFC 8617): collected, checked for structure, and the
 * seal's hash input. Signature fields are parsed by dkim_syntax.
 */
#ifndef FORMAT_ARC_SYNTAX_H
#define FORMAT_ARC_SYNTAX_H

#include "format/dkim_syntax.h"

struct arc_set {
    const struct dkim_field *results, *message, *seal; /* AAR, AMS, AS */
    struct dkim_signature message_sig, seal_sig;
};
struct arc_chain {
    struct arc_set *sets; /* sets[0] is i=1 */
    size_t count;         /* 0: no ARC fields */
};
/* ERR_SYNTAX: the chain is broken (RFC 8617 5.2 steps 2 and 3): a gap, a double, a malformed field,
 * or cv= not as it must be; the chain then fails. More than ARC_SETS_MAX: ERR_LIMIT. The last seal
 * with cv=fail: ERR_DENIED. */
enum err arc_chain_of(struct arena *a, const struct dkim_fields *fields,
                      struct arc_chain *out) MUST;
/* The hash input of the seal of instance n (from 1): AAR, AMS and AS of 1 to n, relaxed, the last
 * without b= and CRLF (RFC 8617 5.1.1). */
enum err arc_hash_seal(struct arena *a, const struct arc_chain *chain, size_t n, dkim_sink_fn *sink,
                       void *context) MUST;
/* "i=3; authres" to 3 and what follows; 0 when malformed. */
uint32_t arc_instance_of(str value, str *rest);

#endif
