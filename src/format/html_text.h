/* SPDX-License-Identifier: Apache-2.0
 *
 * html_text: what a reader sees of HTML, as plain UTF-8 for search and previews. Not a sanitiser:
 * its output is text, never markup. Streaming, linear, any bytes; tags become white space where a
 * browser breaks, script, style, head and comments vanish, entities are decoded.
 */
#ifndef FORMAT_HTML_TEXT_H
#define FORMAT_HTML_TEXT_H

#include "base/buf.h"
#include "format/limits.h"

struct html_text {
    uint8_t state;
    uint8_t skip;  /* inside script, style, … : which */
    uint8_t quote; /* inside an attribute value */
    uint8_t dashes;
    bool space, newline, started, closing;
    uint8_t len;
    char word[HTML_ENTITY_MAX]; /* tag or entity name so far */
};

void html_text_init(struct html_text *h);
void html_text_add(struct html_text *h, str utf8, struct buf *out);
void html_text_end(struct html_text *h, struct buf *out);

#endif
