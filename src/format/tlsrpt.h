/* SPDX-License-Identifier: Apache-2.0
 *
 * tlsrpt: where TLS reports go (RFC 8460 3).
 */
#ifndef FORMAT_TLSRPT_H
#define FORMAT_TLSRPT_H

#include "base/arena.h"
#include "base/err.h"
#include "format/limits.h"

struct tlsrpt_record {
    str *rua; /* "mailto:…" or "https://…" */
    size_t count;
};
/* ERR_NOT_FOUND: not "v=TLSRPTv1"; ERR_SYNTAX. */
enum err tlsrpt_parse(struct arena *a, str txt, struct tlsrpt_record *out) MUST;

#endif
