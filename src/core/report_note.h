/* SPDX-License-Identifier: Apache-2.0
 *
 * report_note: something that is counted for aggregate reports, as bytes: made in a gate (DMARC) or
 * the relay (TLS), counted in the house, and in the end the body of a row (core/report_rows.h).
 * Pure but for the hash; decoders borrow from the bytes, believe nothing, and answer ERR_CORRUPT.
 */
#ifndef CORE_REPORT_NOTE_H
#define CORE_REPORT_NOTE_H

#include "format/dmarc_report.h"
#include "format/tls_report.h"

enum report_kind { REPORT_DMARC = 1, REPORT_TLS = 2 };
const char *report_kind_name(enum report_kind k); /* "dmarc" */

#define REPORT_DAY_S 86400
#define REPORT_DOMAIN_MAX 190 /* bytes; of a longer name nothing is collected */
#define REPORT_BODY_MAX 16384 /* bytes of an encoded body */
#define REPORT_HASH 16
#define REPORT_TEXT_MAX 255 /* bytes of one text in a body */
#define REPORT_LINES_MAX 32 /* lines of an MTA-STS policy, TLSA records */
#define REPORT_HOSTS_MAX 16 /* its patterns of hosts */

/* Something that is counted. domain: of the policy, lower case. */
struct report_note {
    enum report_kind kind;
    str domain;
    str head; /* DMARC: report_policy_put; TLS: empty */
    str body; /* report_dmarc_put, report_tls_put: what tells it from others */
};
void report_note_put(const struct report_note *n, struct buf *out);
/* The next of several. Also what head and body say is looked at. */
enum err report_note_take(struct reader *r, struct report_note *out) MUST;
void report_hash(str bytes, uint8_t out[REPORT_HASH]);
extern const uint8_t report_overflow[REPORT_HASH];

/* ---- bodies ---- */
/* Without the count. */
void report_dmarc_put(const struct dmarc_report_row *r, struct buf *out);
enum err report_dmarc_take(str body, struct arena *a, struct dmarc_report_row *out) MUST;
void report_policy_put(const struct dmarc_report_policy *p, struct buf *out);
enum err report_policy_take(str head, struct dmarc_report_policy *out) MUST;
/* One session: with the policy, and how it failed (type empty: it did not). */
struct report_tls_note {
    str policy_type;
    const str *strings;
    size_t nstrings;
    const str *mx;
    size_t nmx;
    struct tls_report_failure failure;
};
void report_tls_put(const struct report_tls_note *n, struct buf *out);
enum err report_tls_take(str body, struct arena *a, struct report_tls_note *out) MUST;

/* ---- what rows are made of ---- */
/* At most REPORT_TEXT_MAX bytes; control characters become spaces. */
void report_text_put(struct buf *out, str s);
str report_text_take(struct reader *r); /* with a control character or too long: r->failed */
enum err report_ended(const struct reader *r) MUST; /* nothing failed, nothing is left */
/* Lower case, as in keys: at most REPORT_DOMAIN_MAX of letters, digits and "-._". */
bool report_domain_valid(str s);

#endif
