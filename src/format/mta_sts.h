/* SPDX-License-Identifier: Apache-2.0
 *
 * mta_sts: MTA-STS records and policies (RFC 8461).
 */
#ifndef FORMAT_MTA_STS_H
#define FORMAT_MTA_STS_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "format/limits.h"

enum mta_sts_mode { MTA_STS_NONE, MTA_STS_TESTING, MTA_STS_ENFORCE };
struct mta_sts_policy {
    enum mta_sts_mode mode;
    uint64_t max_age_s;
    str *mx; /* names or "*.example.com" */
    size_t nmx;
};
/* "v=STSv1; id=…": ERR_NOT_FOUND when it is no STS record, ERR_SYNTAX. */
enum err mta_sts_txt_parse(str txt, str *id) MUST;
/* body: at most MTA_STS_POLICY_MAX bytes, lines end with LF or CRLF. ERR_SYNTAX, ERR_LIMIT. */
enum err mta_sts_policy_parse(struct arena *a, str body, struct mta_sts_policy *out) MUST;
void mta_sts_policy_render(struct buf *out, const struct mta_sts_policy *p);
/* RFC 8461 4.1: a wildcard stands for exactly one label. */
bool mta_sts_mx_matches(const struct mta_sts_policy *p, str host);

#endif
