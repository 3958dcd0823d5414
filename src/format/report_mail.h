/* SPDX-License-Identifier: Apache-2.0
 *
 * report_mail: the message that carries an aggregate report (RFC 9990, "Email"; RFC 8460 5.3). CRLF
 * line ends only. Names and addresses are those of checked domains and addresses; nothing here lets
 * a text break out of its line. Nothing waits.
 */
#ifndef FORMAT_REPORT_MAIL_H
#define FORMAT_REPORT_MAIL_H

#include "base/buf.h"

struct report_mail {
    bool tls;         /* else DMARC */
    str organization; /* who we are, for people */
    str from;         /* address */
    const str *to;    /* addresses */
    size_t nto;
    str domain, submitter, id; /* about whom, by whom, which; id: letters and digits */
    str boundary;
    int64_t begin_s, end_s, now_s;
    str packed; /* gzip */
};
void report_mail_render(struct buf *out, const struct report_mail *m);
/* "submitter!domain!begin!end!id.xml.gz" */
void report_mail_filename(struct buf *out, const struct report_mail *m);
/* The address of a "mailto:" URI, percent-decoded, without what stands behind '?'. False: it is
 * none. Whether it is an address is for others to say. */
bool report_mailto(str uri, struct buf *out);

#endif
