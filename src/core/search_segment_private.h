/* SPDX-License-Identifier: Apache-2.0
 *
 * search_segment_private: shared by the builder and the reader of segments.
 */
#ifndef CORE_SEARCH_SEGMENT_PRIVATE_H
#define CORE_SEARCH_SEGMENT_PRIVATE_H

#include "base/code.h"
#include "core/search_segment.h"

#define SEGMENT_MAGIC "PHSg"
#define SEGMENT_VERSION 2 /* 1 lacks the text of East Asian sets; scanned until it is made anew */
#define SEGMENT_STOP '\xff'
#define SEGMENT_WORD_MAX 64   /* bytes of a token in the dictionary; longer ones are cut up */
#define SEGMENT_NEEDLE_MAX 32 /* of these any part is whole in one piece */
#define SEGMENT_BLOCK_MAX (8 * SEGMENT_MESSAGE_MAX)
#define SEGMENT_NO_BLOCK UINT32_MAX

static inline uint32_t segment_crc(uint32_t crc, str s) { return code_crc32c(crc, s.data, s.len); }

/* Where in a message a token stands. */
enum {
    SEGMENT_SUBJECT = 1,
    SEGMENT_FROM = 2,
    SEGMENT_TO = 4,
    SEGMENT_CC = 8,
    SEGMENT_BCC = 16,
    SEGMENT_OTHER = 32, /* values of other fields */
    SEGMENT_META = 64,  /* names of fields, headers of parts */
    SEGMENT_BODY = 128,
    SEGMENT_ALL = 255,
};

static inline uint8_t segment_field_of_name(str name)
{
    return str_eq(name, STR("subject")) ? SEGMENT_SUBJECT
           : str_eq(name, STR("from"))  ? SEGMENT_FROM
           : str_eq(name, STR("to"))    ? SEGMENT_TO
           : str_eq(name, STR("cc"))    ? SEGMENT_CC
           : str_eq(name, STR("bcc"))   ? SEGMENT_BCC
                                        : SEGMENT_OTHER;
}

#endif
