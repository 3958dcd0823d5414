/* SPDX-License-Identifier: Apache-2.0
 *
 * smtp_data: message content on the SMTP and POP3 wires. RFC 5321 4.5.2 (dots), 2.3.8 and
 * 4.1.1.4 (only CRLF ends a line, only CRLF.CRLF ends DATA: rule wire-1), RFC 3030 (BDAT).
 * Pure state machines: any split of the input into chunks gives the same content and the same
 * verdict at the same byte. Nothing is copied on the way in.
 */
#ifndef FORMAT_SMTP_DATA_H
#define FORMAT_SMTP_DATA_H

#include "base/buf.h"
#include "base/err.h"

enum smtp_data_step {
    SMTP_DATA_SPAN,    /* *span holds content; call again */
    SMTP_DATA_MORE,    /* all input used; bring more */
    SMTP_DATA_END,     /* the final dot; *in begins with what follows it */
    SMTP_DATA_BARE_CR, /* refused: 5xx and close (rule wire-1); *in begins after the CR */
    SMTP_DATA_BARE_LF,
};

/* DATA. Zero-initialise; set allow_bare_lf for local listeners: a bare LF is then a line end too
 * and comes out as CRLF, but still only CRLF.CRLF ends the message. A bare CR is always refused. */
struct smtp_data {
    bool allow_bare_lf;
    uint8_t state; /* private; zero at the start */
};
/* Takes bytes off *in. *span (borrowed from *in, or static) is content without transparency dots;
 * the end of the last line is part of the content. */
enum smtp_data_step smtp_data_next(struct smtp_data *d, str *in, str *span);

/* BDAT content: passed through unchanged; unless binary, bare CR and LF are refused, also when a
 * CRLF is split over two chunks. Zero-initialise, one for all chunks of a message. */
struct smtp_chunk {
    bool binary;   /* BODY=BINARYMIME: no checks */
    bool after_cr; /* private */
    bool mid_line; /* the content so far does not end with CRLF */
};
/* SMTP_DATA_MORE: fine. last: `in` ends the message, so a CR may not be pending. */
enum smtp_data_step smtp_chunk_check(struct smtp_chunk *c, str in, bool last);

/* Content to the wire: doubles leading dots and repairs line ends, so that a bare CR or LF is
 * never sent (each becomes CRLF). Zero-initialise. Also for POP3 RETR and TOP. */
struct smtp_stuff {
    uint8_t state; /* private */
};
void smtp_stuff_add(struct smtp_stuff *s, struct buf *out, str in);
/* CRLF if the last line lacks it, then ".\r\n". */
void smtp_stuff_end(struct smtp_stuff *s, struct buf *out);

#endif
