/* SPDX-License-Identifier: Apache-2.0
 *
 * report_read: a report of others is found in a message and read, in the gate, where no file can be
 * opened (docs/decisions/009-reports.md). What comes out is short and plain, and goes to the house
 * as bytes that core/report_taken.h looks at again.
 */
#ifndef CORE_REPORT_READ_H
#define CORE_REPORT_READ_H

#include "core/report_rows.h"

#define REPORT_PACKED_MAX 8388608 /* bytes of an attachment, as packed */
#define REPORT_PARTS_MAX 4        /* attachments that are tried */
#define REPORT_ROWS_MAX 1000      /* rows of one report that are kept; the others are summed up */
#define REPORT_READ_MAX 1048576   /* bytes of what comes out */

struct report_facts {
    str author; /* domain of From; empty: nobody knows */
    bool verified;
    int64_t now_s;
};
/* Could the message, by its header, carry a report? Cheap. */
bool report_may_be(str content);
/* Appends a row list for each domain that the report is about. ERR_NOT_FOUND: there is no report in
 * it; ERR_SYNTAX, ERR_LIMIT: there is one that cannot be read. Lets other fibers run meanwhile. */
enum err report_read(str content, const struct report_facts *f, struct buf *out) WAITS MUST;

/* One of them, on the wire between gate and house. */
struct report_read_row {
    uint64_t count;
    str body;
};
struct report_read_head {
    enum report_kind kind;
    str domain;
    struct report_taken taken; /* rows and policy are part of it */
};
void report_read_put(const struct report_read_head *h, str rows, struct buf *out);
/* rows: report_read_row_take until it is empty. */
enum err report_read_take(struct reader *r, struct report_read_head *h, struct reader *rows) MUST;
void report_read_row_put(uint64_t count, str body, struct buf *rows);
enum err report_read_row_take(struct reader *rows, struct report_read_row *out) MUST;
/* A TLS report's policies, by domain. Also for what we saw of a domain of ours. */
enum err report_read_tls(const struct tls_report *t, const struct report_facts *f,
                         struct buf *out) MUST;

#endif
