/* SPDX-License-Identifier: Apache-2.0
 *
 * spf: check_host() of RFC 7208: may this address send for that domain? Limits of 4.6.4 are in
 * format/limits.def.
 */
#ifndef CORE_SPF_H
#define CORE_SPF_H

#include "core/dns.h"
#include "format/addr.h"
#include "os/sock.h"

enum spf_result {
    SPF_RESULT_NONE,
    SPF_RESULT_NEUTRAL,
    SPF_RESULT_PASS,
    SPF_RESULT_FAIL,
    SPF_RESULT_SOFTFAIL,
    SPF_RESULT_TEMPERROR,
    SPF_RESULT_PERMERROR,
};
const char *spf_result_name(enum spf_result r);

struct spf_question {
    struct address source; /* family 4 or 6 */
    str helo;
    struct addr sender; /* null: postmaster at helo is asked about (2.4) */
    str receiver;       /* our name, for explanations */
};
struct spf_answer {
    enum spf_result result;
    bool helo;           /* the identity was HELO */
    str domain;          /* that was asked about, lower case A-labels; may be empty */
    str explanation;     /* with a fail: the domain's own words (6.2); often empty */
    const char *problem; /* with an error: what is wrong; or NULL */
};
/* Always answers; everything in *out lives in the arena. Cancelled: temperror. */
void spf_check(const struct dns *dns, const struct spf_question *q, struct arena *arena,
               struct spf_answer *out) WAITS;

#endif
