/* SPDX-License-Identifier: Apache-2.0
 *
 * cte: content transfer encodings (RFC 2045 6), streaming both ways with exact state across chunks:
 * any division of the input gives the same output.
 */
#ifndef FORMAT_CTE_H
#define FORMAT_CTE_H

#include "base/buf.h"

enum cte { CTE_7BIT, CTE_8BIT, CTE_BINARY, CTE_BASE64, CTE_QP, CTE_UNKNOWN };

enum cte cte_find(str token); /* white space and case forgiven; empty is CTE_7BIT */
str cte_name(enum cte c);     /* "base64"; empty for CTE_UNKNOWN */

/* base64 skips what is not of its alphabet and goes on after padding, as joined parts need it. QP
 * keeps a broken escape as it is and drops white space before a line end. The others copy. */
struct cte_decoder {
    enum cte cte;
    uint32_t bits;
    uint8_t count;         /* base64: sextets held; QP: bytes held */
    uint8_t held[3];       /* QP: "=", "=X" or "=\r" */
    uint32_t spaces;       /* QP: length of the run of white space not yet written */
    uint64_t space_map[2]; /* its first 128 (a legal line has 76), bit set for HT; more are SP */
};
void cte_decoder_init(struct cte_decoder *d, enum cte cte);
void cte_decode(struct cte_decoder *d, str chunk, struct buf *out);
void cte_decode_end(struct cte_decoder *d, struct buf *out);
/* Size of the decoded body, without keeping it (BINARY.SIZE). */
uint64_t cte_decoded_size(enum cte cte, str body);

/* Lines of at most 76 characters, CRLF. QP in text mode keeps CRLF as line ends; a bare CR or LF is
 * encoded. */
struct cte_encoder {
    enum cte cte; /* CTE_BASE64 or CTE_QP; others copy */
    uint8_t held[3];
    uint8_t count;
    uint8_t column;
};
void cte_encoder_init(struct cte_encoder *e, enum cte cte);
void cte_encode(struct cte_encoder *e, str chunk, struct buf *out);
void cte_encode_end(struct cte_encoder *e, struct buf *out);

#endif
