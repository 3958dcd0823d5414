/* SPDX-License-Identifier: Apache-2.0
 *
 * tls_report: SMTP TLS reports as JSON (RFC 8460 4), written and read. Depth and number of values
 * are counted before the text is parsed, so what a stranger sends takes little stack and memory.
 * Nothing here waits.
 */
#ifndef FORMAT_TLS_REPORT_H
#define FORMAT_TLS_REPORT_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "format/limits.h"

#define TLS_REPORT_TEXT_MAX 500 /* bytes of one text */
#define TLS_REPORT_COUNT_MAX 1000000000000ull

struct tls_report_failure {
    str type; /* "starttls-not-supported", … (4.3) */
    str sending_ip, mx, helo, receiving_ip;
    str information, reason;
    uint64_t count; /* sessions */
};
struct tls_report_policy {
    str type;           /* "tlsa", "sts", "no-policy-found" */
    const str *strings; /* its lines or records */
    size_t nstrings;
    str domain;
    const str *mx; /* patterns of an STS policy */
    size_t nmx;
    uint64_t successful, failed; /* sessions */
    const struct tls_report_failure *failures;
    size_t nfailures;
};
struct tls_report {
    str organization, contact, report_id;
    int64_t begin_s, end_s; /* UTC, both inside */
    const struct tls_report_policy *policies;
    size_t npolicies;
};
/* ERR_NOMEM, or what out says. */
enum err tls_report_render(struct buf *out, const struct tls_report *r) MUST;
/* Everything lives in the arena. ERR_SYNTAX: no JSON, or no report; ERR_LIMIT: too large or too
 * deep, or the arena is full. */
enum err tls_report_parse(struct arena *a, str json, struct tls_report *out) MUST;

#endif
