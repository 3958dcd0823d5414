/* SPDX-License-Identifier: Apache-2.0
 *
 * dmarc_report: aggregate reports as XML (RFC 9990; RFC 7489 appendix C for the older form, with or
 * without a namespace), written and read. The reader is fed in pieces and gives a row at a time; it
 * holds one row, whatever the report's size. DOCTYPE is refused, so there are no entities but XML's
 * own. Texts come out as UTF-8 without control characters, cut at DMARC_REPORT_TEXT_MAX. Nothing
 * here waits.
 */
#ifndef FORMAT_DMARC_REPORT_H
#define FORMAT_DMARC_REPORT_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "format/limits.h"

#define DMARC_REPORT_TEXT_MAX 255               /* bytes of one text */
#define DMARC_REPORT_COUNT_MAX 1000000000000ull /* messages of one row; more is a lie */

struct dmarc_report_dkim {
    str domain, selector, result;
};
/* Messages that came by one way. Words are those of the schema: "pass", "quarantine", … */
struct dmarc_report_row {
    str source_ip;
    uint64_t count;
    str disposition;
    bool dkim_aligned, spf_aligned; /* policy_evaluated */
    str reason, comment;            /* of an override; empty: none */
    str header_from, envelope_from;
    struct dmarc_report_dkim dkim[DMARC_REPORT_DKIM_MAX];
    size_t ndkim;
    str spf_domain, spf_result;
};
/* What the domain publishes. Empty: its default. */
struct dmarc_report_policy {
    str p, sp, np, adkim, aspf, fo;
    bool testing;
};
struct dmarc_report_head {
    str org_name, email, contact, report_id, error, generator;
    int64_t begin_s, end_s; /* UTC, both inside */
    str domain;             /* where the policy was found */
    struct dmarc_report_policy policy;
};

/* ---- writing: head, rows (one at least), end ---- */
void dmarc_report_open(struct buf *out, const struct dmarc_report_head *h);
void dmarc_report_add(struct buf *out, const struct dmarc_report_row *r);
void dmarc_report_end(struct buf *out);

/* ---- reading ---- */
struct dmarc_report_reader;
/* The slices live during the call. An error ends the reading with it. */
typedef enum err dmarc_report_row_fn(void *ctx, const struct dmarc_report_row *r);
/* salt: random, against built collisions. ERR_NOMEM. */
enum err dmarc_report_reader_open(struct arena *a, unsigned long salt, dmarc_report_row_fn *row,
                                  void *ctx, struct dmarc_report_reader **out) MUST;
/* ERR_SYNTAX: not XML, a DOCTYPE, or not a report; ERR_LIMIT: too deep, too many elements, or a
 * token too long. */
enum err dmarc_report_reader_feed(struct dmarc_report_reader *r, str piece) MUST;
/* The end: what stands outside of rows, borrowed until the reader is closed. *skipped: rows without
 * a usable address or count. ERR_SYNTAX: it ended early, or has no domain, no id or no time. */
enum err dmarc_report_reader_end(struct dmarc_report_reader *r, struct dmarc_report_head *h,
                                 size_t *skipped) MUST;
void dmarc_report_reader_close(struct dmarc_report_reader *r); /* NULL is fine */

#endif
